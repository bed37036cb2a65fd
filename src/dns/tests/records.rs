//! Records: owners, TTLs, weights, chains, glue, SOA and NS.

use std::time::Duration;

use hickory_proto::rr::RData;

use super::world::{Answer, World, ask, meta};
use crate::types::{Address, Status, Weights};

fn ttls(answer: &Answer) -> Vec<u32> {
    let message = &answer.message;
    let records = message.answers.iter().chain(&message.additionals);
    records.map(|record| record.ttl).collect()
}

#[test]
fn ttls_are_those_of_node_and_service() {
    let mut world = World::with(|options| {
        options.node_ttl = Duration::from_secs(7);
        options.service_ttl = [("w*".to_owned(), Duration::from_secs(9))].into();
    });
    world
        .node_with("n1", "10.0.0.1", |node| node.meta = meta(&[("a", "b")]))
        .instance("n1", "web", |_| {});
    assert_eq!(ttls(&world.ask(&ask("n1.node.consul", "A"))), [7, 7]);
    assert_eq!(
        ttls(&world.ask(&ask("WEB.service.consul", "SRV"))),
        [9, 9, 9]
    );
    assert_eq!(ttls(&world.ask(&ask("_web._tcp.consul", "SRV"))), [9, 9, 9]);
    assert_eq!(ttls(&world.ask(&ask("0a000001.addr.consul", "A"))), [7]);
    assert_eq!(ttls(&world.ask(&ask("1.0.0.10.in-addr.arpa", "PTR"))), [7]);
}

#[test]
fn a_reload_changes_ttls_at_once() {
    let mut world = World::new();
    world.node("n1", "10.0.0.1").instance("n1", "web", |_| {});
    let question = ask("web.service.consul", "A");
    assert_eq!(ttls(&world.ask(&question)), [0]);
    world.reload(|options| {
        options
            .service_ttl
            .insert("web".to_owned(), Duration::from_secs(3));
    });
    assert_eq!(ttls(&world.ask(&question)), [3]);
}

#[test]
fn weights_follow_the_checks() {
    let mut world = World::new();
    world
        .node("n1", "10.0.0.1")
        .instance("n1", "web", |service| {
            service.weights = Weights {
                passing: 10,
                warning: 3,
            };
        });
    let weight =
        |world: &mut World| match &world.ask(&ask("web.service.consul", "SRV")).message.answers[0]
            .data
        {
            RData::SRV(srv) => (srv.priority, srv.weight),
            other => panic!("{other}"),
        };
    assert_eq!(weight(&mut world), (1, 10));
    world.check("n1", "disk", None, Status::Warning);
    assert_eq!(weight(&mut world), (1, 3));
}

#[test]
fn metadata_of_nodes_follows_glue() {
    let mut world = World::new();
    world
        .node_with("n1", "10.0.0.1", |node| node.meta = meta(&[("rack", "7")]))
        .instance("n1", "web-1", |service| {
            service.address = Address::from_text("10.1.0.1");
        });
    let answer = world.ask(&ask("web.service.consul", "SRV"));
    assert_eq!(
        answer.additionals(),
        [
            "0a010001.addr.dc1.consul. A 10.1.0.1",
            "n1.node.dc1.consul. TXT rack=7"
        ]
    );
    world.reload(|options| options.enable_additional_node_meta_txt = false);
    let answer = world.ask(&ask("web.service.consul", "SRV"));
    assert_eq!(
        answer.additionals(),
        ["0a010001.addr.dc1.consul. A 10.1.0.1"]
    );
}

#[test]
fn equal_records_are_answered_once() {
    let mut world = World::new();
    world.node("n1", "10.0.0.1").node("n2", "10.0.0.1");
    for id in ["web-1", "web-2", "web-3"] {
        world.instance("n1", id, |service| {
            service.port = if id == "web-3" { 81 } else { 80 }
        });
    }
    world.instance("n2", "web-4", |_| {});
    world.check("n1", "web-2", Some("web-2"), Status::Warning);
    let answer = world.ask(&ask("web.service.consul", "A"));
    assert_eq!(answer.answers(), ["web.service.consul. A 10.0.0.1"]);
    let answer = world.ask(&ask("web.service.consul", "SRV"));
    assert_eq!(
        answer.answers(),
        [
            "web.service.consul. SRV 1 1 80 n1.node.dc1.consul.",
            "web.service.consul. SRV 1 1 80 n2.node.dc1.consul.",
            "web.service.consul. SRV 1 1 81 n1.node.dc1.consul.",
        ]
    );
}

#[test]
fn soa_and_ns_name_servers_that_resolve() {
    let mut world = World::with(|options| options.soa.min_ttl = Duration::from_secs(30));
    world
        .node("N1", "10.0.0.1")
        .node("bad_name", "10.0.0.2")
        .node("n3", "2001:db8::3");
    for node in ["N1", "bad_name", "n3"] {
        world.instance(node, "consul", |_| {});
    }
    let answer = world.ask(&ask("consul", "SOA"));
    let RData::SOA(soa) = &answer.message.answers[0].data else {
        panic!("{answer:?}");
    };
    assert_eq!(soa.mname.to_string(), "ns.consul.");
    assert_eq!(soa.rname.to_string(), "hostmaster.consul.");
    assert_eq!(
        (soa.refresh, soa.retry, soa.expire, soa.minimum),
        (3600, 600, 86400, 30)
    );
    assert_eq!(answer.message.answers[0].ttl, 30);
    assert!(soa.serial > 1_700_000_000);
    let servers = [
        "consul. NS n1.node.dc1.consul.",
        "consul. NS n3.node.dc1.consul.",
    ];
    assert_eq!(answer.authorities(), servers);
    let addresses = [
        "n1.node.dc1.consul. A 10.0.0.1",
        "n3.node.dc1.consul. AAAA 2001:db8::3",
    ];
    assert_eq!(answer.additionals(), addresses);

    let answer = world.ask(&ask("Consul", "NS"));
    assert_eq!(answer.answers().len(), 2);
    assert_eq!(answer.additionals(), addresses);
}

#[test]
fn a_zone_without_servers_has_no_ns_but_an_soa() {
    let mut world = World::new();
    let answer = world.ask(&ask("consul", "NS"));
    assert!(answer.is_authoritative());
    assert!(answer.answers().is_empty() && answer.additionals().is_empty());
    assert_eq!(world.ask(&ask("consul", "SOA")).answers().len(), 1);
}

#[test]
fn no_more_than_three_servers_are_named() {
    let mut world = World::new();
    for number in 1..=9 {
        world.node(&format!("n{number}"), &format!("10.0.0.{number}"));
        world.instance(&format!("n{number}"), "consul", |_| {});
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let answer = world.ask(&ask("consul", "NS"));
        assert_eq!(answer.answers().len(), 3);
        assert_eq!(answer.additionals().len(), 3);
        seen.extend(answer.answers());
    }
    assert_eq!(seen.len(), 9);
}

#[test]
fn a_host_name_is_an_alias_and_followed_inside_the_zone() {
    let mut world = World::new();
    world
        .node("n1", "10.0.0.1")
        .node("ext", "Db.Example.com")
        .instance("n1", "alias", |service| {
            service.address = Address::from_text("target.service.consul");
        })
        .instance("n1", "target", |_| {})
        .instance("ext", "db", |_| {});
    let name = "alias.service.consul";
    let answer = world.ask(&ask(name, "A"));
    assert_eq!(
        answer.answers(),
        [
            format!("{name}. CNAME target.service.consul."),
            "target.service.consul. A 10.0.0.1".to_owned(),
        ]
    );
    assert_eq!(
        world.ask(&ask(name, "CNAME")).answers(),
        [format!("{name}. CNAME target.service.consul.")]
    );
    for name in ["ext.node.consul", "db.service.consul"] {
        for qtype in ["A", "AAAA", "ANY", "CNAME"] {
            let answer = world.ask(&ask(name, qtype));
            assert_eq!(answer.answers(), [format!("{name}. CNAME Db.Example.com.")]);
        }
    }
}

#[test]
fn srv_to_a_host_name_brings_its_addresses() {
    let mut world = World::new();
    world
        .node("n1", "10.0.0.1")
        .node("n2", "10.0.0.2")
        .instance("n1", "a-1", |service| {
            service.address = Address::from_text("n2.node.consul");
        })
        .instance("n1", "b-1", |service| {
            service.address = Address::from_text("www.example.com");
        });
    let answer = world.ask(&ask("a.service.consul", "SRV"));
    assert_eq!(
        answer.answers(),
        ["a.service.consul. SRV 1 1 80 n2.node.consul."]
    );
    assert_eq!(answer.additionals(), ["n2.node.consul. A 10.0.0.2"]);
    let answer = world.ask(&ask("b.service.consul", "SRV"));
    assert_eq!(
        answer.answers(),
        ["b.service.consul. SRV 1 1 80 www.example.com."]
    );
    assert!(answer.additionals().is_empty());
}

#[test]
fn srv_to_a_node_with_a_host_name_brings_what_that_leads_to() {
    let mut world = World::new();
    world
        .node("n2", "10.0.0.2")
        .node("n3", "n2.node.consul")
        .instance("n3", "a-1", |_| {});
    let chain = [
        "n2.node.consul. A 10.0.0.2",
        "n3.node.dc1.consul. CNAME n2.node.consul.",
    ];
    let answer = world.ask(&ask("a.service.consul", "SRV"));
    assert_eq!(
        answer.answers(),
        ["a.service.consul. SRV 1 1 80 n3.node.dc1.consul."]
    );
    assert_eq!(answer.additionals(), chain);
    // With metadata, too.
    world.node_with("n3", "n2.node.consul", |node| {
        node.meta = meta(&[("k", "v")]);
    });
    let answer = world.ask(&ask("a.service.consul", "SRV"));
    let all = [chain[0], chain[1], "n3.node.dc1.consul. TXT k=v"];
    assert_eq!(answer.additionals(), all);
}

#[test]
fn a_service_at_its_own_name_is_at_its_node() {
    let mut world = World::new();
    world
        .node("n1", "10.0.0.1")
        .instance("n1", "web", |service| {
            service.address = Address::from_text("web.service.consul");
        });
    let name = "web.service.consul";
    assert_eq!(
        world.ask(&ask(name, "A")).answers(),
        [format!("{name}. A 10.0.0.1")]
    );
    assert_eq!(
        world.ask(&ask(name, "SRV")).answers(),
        [format!("{name}. SRV 1 1 80 n1.node.dc1.consul.")]
    );
    // By another name it is the alias that it says.
    let tagged = "_web._tcp.service.consul";
    let answer = world.ask(&ask(tagged, "A"));
    assert_eq!(
        answer.answers()[0],
        format!("{tagged}. CNAME web.service.consul.")
    );
}

#[test]
fn only_passing_leaves_out_warnings() {
    let mut world = World::with(|options| options.only_passing = true);
    world
        .node("n1", "10.0.0.1")
        .node("n2", "10.0.0.2")
        .instance("n1", "web-1", |_| {})
        .instance("n2", "web-2", |_| {})
        .check("n2", "load", None, Status::Warning);
    for qtype in ["A", "SRV", "ANY"] {
        assert_eq!(
            world.ask(&ask("web.service.consul", qtype)).answers().len(),
            1
        );
    }
    world.check("n1", "c", Some("web-1"), Status::Warning);
    let answer = world.ask(&ask("web.service.consul", "A"));
    assert!(answer.is_nodata());
    assert_eq!(answer.errors(), [(0, "2 instances: 2 warning".to_owned())]);
    world.reload(|options| options.only_passing = false);
    assert_eq!(
        world.ask(&ask("web.service.consul", "A")).answers().len(),
        2
    );
}

#[test]
fn compression_can_be_turned_off() {
    let mut world = World::new();
    world
        .node_with("n1", "10.0.0.1", |node| node.meta = meta(&[("a", "b")]))
        .node("n2", "10.0.0.2")
        .instance("n1", "web-1", |_| {})
        .instance("n2", "web-2", |_| {})
        .instance("n1", "consul", |_| {});
    let questions = [
        ("web.service.consul", "SRV"),
        ("web.service.consul", "A"),
        ("consul", "SOA"),
        ("no.service.consul", "A"),
        ("1.0.0.10.in-addr.arpa", "PTR"),
        ("9.0.0.10.in-addr.arpa", "PTR"),
    ];
    let ask_all = |world: &mut World| {
        questions.map(|(name, qtype)| {
            let answer = world.ask(&ask(name, qtype));
            let without_serial = |texts: Vec<String>| -> Vec<String> {
                let no_soa = |text: &String| !text.contains(" SOA ");
                texts.into_iter().filter(no_soa).collect()
            };
            let sections = [answer.answers(), answer.authorities(), answer.additionals()];
            (answer.octets.len(), sections.map(without_serial))
        })
    };
    let compressed = ask_all(&mut world);
    world.reload(|options| options.disable_compression = true);
    let whole = ask_all(&mut world);
    for (compressed, whole) in compressed.into_iter().zip(whole) {
        assert_eq!(compressed.1, whole.1);
        assert!(compressed.0 < whole.0);
    }
    let answer = world.ask(&ask("web.service.consul", "SRV"));
    let records = &answer.octets[12..answer.octets.len() - 11];
    assert!(!records.windows(2).any(|pair| pair == [0xc0, 0x0c]));
}
