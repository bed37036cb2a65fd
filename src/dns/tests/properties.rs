//! What must hold for any packet and any catalog.

use std::collections::BTreeSet;

use hickory_proto::op::ResponseCode;
use proptest::prelude::*;

use super::world::{Ask, World, ask, meta, tagged, tags, wire};
use crate::dns::random::Random;
use crate::dns::{Reply, Transport};
use crate::types::{Address, Status};

/// A catalog with one of everything.
fn zoo() -> World {
    let mut world = World::with(|options| {
        options.alt_domain = Some("alt.example".to_owned());
        options.enable_truncate = true;
        options.unreachable_datacenters = vec!["dc2".parse().unwrap()];
        options.slow_zones = vec!["static.example".to_owned()];
    });
    world
        .node_with("n1", "10.0.0.1", |node| {
            node.meta = meta(&[("rack", "7"), ("a=b", "`c")]);
        })
        .node("Dotted.Node", "2001:db8::1")
        .node("ext", "www.example.com")
        .node("loop", "loop.node.consul");
    for number in 0..40 {
        world.instance("n1", &format!("web-{number}"), |service| {
            service.address = Address::from_text(&format!("10.1.0.{number}"));
            service.tags = tags(&["prod", "v1.0", "0"]);
        });
    }
    world
        .instance("n1", "consul", |_| {})
        .instance("Dotted.Node", "six", |service| {
            tagged(service, "lan_ipv4", "10.2.0.1");
        })
        .instance("ext", "alias", |_| {})
        .instance("n1", "chain-1", |service| {
            service.address = Address::from_text("chain2.service.consul");
        })
        .instance("n1", "chain2", |service| {
            service.address = Address::from_text("web.service.consul");
        })
        .instance("n1", "sick", |_| {})
        .check("n1", "sick", Some("sick"), Status::Critical);
    world
}

/// Names that the zoo answers in every way there is.
const NAMES: [&str; 24] = [
    "web.service.consul",
    "v1.0.web.service.dc1.consul",
    "_web._prod.service.consul",
    "_web._tcp.consul",
    "prod.0.web.service.consul",
    "six.service.alt.example",
    "alias.service.consul",
    "chain.service.consul",
    "sick.service.consul",
    "nosuch.service.consul",
    "web.service.dc2.consul",
    "n1.node.consul",
    "dotted.node.node.consul",
    "node.node.consul",
    "ext.node.consul",
    "loop.node.consul",
    "0a000001.addr.consul",
    "consul",
    "ns.consul",
    "1.0.0.10.in-addr.arpa",
    "9.9.9.9.in-addr.arpa",
    "0.10.in-addr.arpa",
    "example.com",
    "www.static.example",
];
const TYPES: [u16; 12] = [0, 1, 2, 5, 6, 12, 15, 16, 28, 33, 252, 255];

/// Asks any octets: no panic, and a well-formed reply with the same id, or a reason for none.
fn check(world: &mut World, packet: &[u8], transport: Transport) {
    let is_query = packet.len() >= 12 && packet[2] & 0x80 == 0;
    match world.raw(packet, transport) {
        Ok(reply) => {
            assert!(is_query, "{packet:02x?}");
            assert_eq!(reply[..2], packet[..2]);
            assert!(reply[2] & 0x80 != 0);
            let most = match transport {
                Transport::Udp => 65_000,
                Transport::Tcp => 65_535,
            };
            assert!(reply.len() <= most);
            super::world::Answer::read(reply);
        }
        Err(Reply::Drop) => assert!(!is_query, "{packet:02x?}"),
        Err(Reply::Slow) => assert!(is_query),
        Err(other) => panic!("{other:?}"),
    }
}

/// A query from random numbers; now and then with octets changed, added or cut off.
fn random_packet(random: &mut Random) -> Vec<u8> {
    if random.below(8) == 0 {
        let length = random.below(80);
        return (0..length).map(|_| random_octet(random)).collect();
    }
    let mut question = ask(NAMES[random.below(NAMES.len())], "A");
    question.qtype = TYPES[random.below(TYPES.len())];
    question.edns = match random.below(4) {
        0 => None,
        1 => Some(u16::try_from(random.below(65_536)).unwrap()),
        _ => Some(u16::try_from(random.below(2000)).unwrap()),
    };
    if random.below(4) == 0 {
        question.options = b"\0\x08\0\x07\0\x01\x18\0\x0a\x01\x02".to_vec();
    }
    let mut packet = question.octets();
    for _ in 0..random.below(4) {
        let at = random.below(packet.len());
        match random.below(4) {
            0 => packet[at] = random_octet(random),
            1 => packet[at] ^= 1 << random.below(8),
            2 => packet.truncate(at.max(1)),
            _ => packet.insert(at, random_octet(random)),
        }
    }
    packet
}

fn random_octet(random: &mut Random) -> u8 {
    u8::try_from(random.below(256)).unwrap()
}

fn fuzz(seed: u64, packets: u64) {
    let mut world = zoo();
    let mut random = Random::from_seed(seed);
    for _ in 0..packets {
        let packet = random_packet(&mut random);
        let transport = match random.below(16) {
            0 => Transport::Tcp,
            _ => Transport::Udp,
        };
        check(&mut world, &packet, transport);
    }
}

#[test]
fn thousands_of_broken_queries_get_sound_replies() {
    fuzz(20, 20_000);
}

/// `cargo test --release -- --ignored fuzz`; `HERALD_FUZZ_PACKETS` and `HERALD_FUZZ_SEED` choose
/// how many and which.
#[test]
#[ignore = "takes minutes: ten million packets"]
#[expect(clippy::print_stdout, reason = "a failure is repeated with the seed")]
fn fuzz_millions_of_broken_queries() {
    let number = |variable: &str| std::env::var(variable).ok()?.parse().ok();
    let packets = number("HERALD_FUZZ_PACKETS").unwrap_or(10_000_000);
    let seed = number("HERALD_FUZZ_SEED").unwrap_or_else(rand::random);
    println!("HERALD_FUZZ_SEED={seed} HERALD_FUZZ_PACKETS={packets}");
    fuzz(seed, packets);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_get_a_sound_reply_or_silence(
        packet in proptest::collection::vec(any::<u8>(), 0..600),
        tcp in any::<bool>(),
    ) {
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        check(&mut World::new(), &packet, transport);
    }

    #[test]
    fn a_question_comes_back_to_the_letter(
        labels in proptest::collection::vec("[a-zA-Z_0-9]{1,12}", 1..6),
        qtype in 0..300_u16,
    ) {
        let mut world = zoo();
        let mut question = ask(&format!("{}.ConSuL", labels.join(".")), "A");
        question.qtype = qtype;
        let packet = question.octets();
        let end = 12 + wire(&question.name).len() + 4;
        let reply = world.raw(&packet, Transport::Udp).unwrap();
        prop_assert_eq!(&reply[12..end], &packet[12..end]);
    }

    /// RFC 8020: where a name exists, all names above it exist.
    #[test]
    fn no_name_above_an_answer_is_missing(catalog in catalog()) {
        let (mut world, names) = build(&catalog);
        let mut asked = BTreeSet::new();
        for name in names {
            for qtype in ["SRV", "A", "PTR"] {
                let reply = world.ask(&ask(&name, qtype));
                if reply.rcode() == ResponseCode::NXDomain {
                    continue;
                }
                let mut rest = &*name;
                while let Some((_, above)) = rest.split_once('.') {
                    rest = above;
                    if !is_in_zone(above) || !asked.insert((above.to_owned(), qtype)) {
                        continue;
                    }
                    for qtype in ["A", "NS", "SRV"] {
                        let reply = world.ask(&ask(above, qtype));
                        prop_assert_ne!(
                            reply.rcode(), ResponseCode::NXDomain, "{} above {}", above, name
                        );
                    }
                }
            }
        }
    }

    /// TC is set exactly when answers were left out, and no size is exceeded.
    #[test]
    fn sizes_and_tc_agree(count in 1..60_usize, size in 0..4096_u16, qtype in 0..3_usize) {
        let mut world = World::with(|options| options.enable_truncate = true);
        world.node("n1", "10.0.0.1");
        for number in 0..count {
            world.instance("n1", &format!("web-{number}"), |service| {
                service.address = Address::from_text(&format!("10.1.0.{number}"));
            });
        }
        let question = ask("web.service.consul", ["A", "SRV", "ANY"][qtype]);
        let sized = if size < 12 { question.plain() } else { question.size(size) };
        let reply = world.ask(&sized);
        let most = usize::from(size.max(512));
        prop_assert!(reply.octets.len() <= most);
        prop_assert!(!reply.answers().is_empty());
        prop_assert_eq!(reply.is_truncated(), reply.answers().len() < count);
    }
}

/// Services with tags, and nodes, from a few labels that collide a lot.
type Catalog = (Vec<(String, Vec<String>, bool)>, Vec<String>);

fn catalog() -> impl Strategy<Value = Catalog> {
    let label =
        || prop::sample::select(vec!["a", "b", "_a", "_b", "service", "node", "tcp", "dc1"]);
    let dotted = || prop::collection::vec(label(), 1..4).prop_map(|labels| labels.join("."));
    let service = (
        label().prop_map(str::to_owned),
        prop::collection::vec(dotted(), 0..4),
        prop::bool::weighted(0.3),
    );
    (
        prop::collection::vec(service, 1..5),
        prop::collection::vec(dotted(), 1..4),
    )
}

/// A world with that catalog, and every name that could be answered in it.
fn build((services, nodes): &Catalog) -> (World, Vec<String>) {
    let mut world = World::new();
    let mut names = vec![
        "0a000001.addr.what.ever.consul".to_owned(),
        "ns.consul".to_owned(),
    ];
    for node in nodes {
        world.node(node, "10.0.0.1");
        names.push(format!("{node}.node.consul"));
        names.push(format!("{node}.node.dc1.consul"));
    }
    for (number, (name, service_tags, critical)) in services.iter().enumerate() {
        let id = format!("{name}-{number}");
        let list: Vec<&str> = service_tags.iter().map(String::as_str).collect();
        world.instance(&nodes[0], &id, |service| service.tags = tags(&list));
        if *critical {
            world.check(&nodes[0], &id, Some(&id), Status::Critical);
        }
        let forms = service_tags.iter().chain(service_tags).flat_map(|tag| {
            let all: Vec<String> = service_tags
                .iter()
                .map(|other| format!("{tag}.{other}"))
                .collect();
            all.into_iter().chain([tag.clone()])
        });
        let prefixes: Vec<String> = forms.map(|tag| format!("{tag}.{name}")).collect();
        let rfc2782 = service_tags.iter().map(|tag| format!("_{name}._{tag}"));
        let simple = [name.clone(), format!("_{name}._tcp"), format!("_{name}._")];
        for prefix in prefixes.iter().cloned().chain(rfc2782).chain(simple) {
            names.push(format!("{prefix}.service.consul"));
            names.push(format!("{prefix}.service.dc1.consul"));
            names.push(format!("{prefix}.consul"));
        }
    }
    (world, names)
}

fn is_in_zone(name: &str) -> bool {
    name == "consul" || name.ends_with(".consul")
}

#[test]
fn every_name_of_the_zoo_is_answered_as_itself() {
    let mut world = zoo();
    for name in NAMES {
        for qtype in TYPES {
            let question = Ask {
                qtype,
                ..ask(name, "A")
            };
            check(&mut world, &question.octets(), Transport::Udp);
            check(&mut world, &question.octets(), Transport::Tcp);
        }
    }
}
