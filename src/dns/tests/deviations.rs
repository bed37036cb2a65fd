//! Where herald is right and the reference is not: one module for each rule.
//!
//! Long, since the rules stand here in the order of their numbers, so that each is found.

use std::time::Duration;

use hickory_proto::op::{OpCode, ResponseCode};

use super::world::{World, ask, tags};
use crate::dns::{Reply, Transport};
use crate::types::{Address, Status};

const OTHER_TYPES: [&str; 5] = ["MX", "TXT", "SRV", "CNAME", "DS"];

fn one() -> World {
    let mut world = World::new();
    world
        .node("n1", "10.0.0.1")
        .instance("n1", "web", |service| {
            service.tags = tags(&["v1.0", "a", "b", "x.y"]);
        });
    world
}

/// Rule 1, and the other half of RFC 2308.
mod rfc2308 {
    use super::*;

    #[test]
    fn every_nodata_answer_carries_the_soa() {
        let mut world = one();
        for (name, qtype) in [
            ("n1.node.consul", "AAAA"),
            ("n1.node.consul", "TXT"),
            ("web.service.consul", "AAAA"),
            ("web.service.consul", "MX"),
            ("0a000001.addr.consul", "AAAA"),
            ("consul", "A"),
            ("consul", "NS"),
            ("service.consul", "SRV"),
        ] {
            let answer = world.ask(&ask(name, qtype));
            assert!(answer.is_nodata(), "{name} {qtype}");
            assert_eq!(answer.soa_owner().as_deref(), Some("consul."));
        }
    }

    #[test]
    fn the_soa_lives_as_long_as_a_negative_answer_may() {
        let mut world = World::with(|options| options.soa.min_ttl = Duration::from_secs(15));
        let answer = world.ask(&ask("no.node.consul", "A"));
        assert_eq!(answer.message.authorities[0].ttl, 15);
    }
}

/// Rule 2.
mod a_missing_node {
    use super::*;

    #[test]
    fn is_nxdomain_for_every_type() {
        let mut world = one();
        for qtype in OTHER_TYPES
            .into_iter()
            .chain(["A", "AAAA", "ANY", "NS", "SOA"])
        {
            assert!(
                world.ask(&ask("no.node.consul", qtype)).is_nxdomain(),
                "{qtype}"
            );
        }
    }
}

/// Rule 3.
mod rfc8020 {
    use super::*;

    #[test]
    fn names_above_answers_exist() {
        let mut world = one();
        world.node("a.b.c", "10.0.0.9");
        for name in [
            "consul",
            "service.consul",
            "node.consul",
            "query.consul",
            "addr.consul",
            "dc1.consul",
            "service.dc1.consul",
            "node.dc1.consul",
            "query.dc1.consul",
            "addr.dc1.consul",
            "addr.any.suffix.consul",
            "any.suffix.consul",
            "0.web.service.consul",
            "y.web.service.dc1.consul",
            "c.node.consul",
            "b.c.node.consul",
            "_a.service.consul",
            "_tcp.service.consul",
            "_.service.consul",
            "_b.service.dc1.consul",
            "_a.consul",
            "_tcp.dc1.consul",
        ] {
            for qtype in ["A", "SRV", "ANY", "NS"] {
                if name == "consul" && qtype == "NS" {
                    continue; // the apex has NS, if no servers here
                }
                assert!(world.ask(&ask(name, qtype)).is_nodata(), "{name} {qtype}");
            }
        }
        for name in [
            "_nosuch.service.consul",
            "1.web.service.consul",
            "d.node.consul",
        ] {
            assert!(world.ask(&ask(name, "A")).is_nxdomain(), "{name}");
        }
    }

    #[test]
    fn a_zone_within_a_zone_does_not() {
        let mut world = one();
        for name in [
            "consul.consul",
            "web.service.consul.consul",
            "0a000001.addr.consul.consul",
        ] {
            assert!(world.ask(&ask(name, "A")).is_nxdomain(), "{name}");
        }
    }
}

/// Rule 4, with the text of rule 15.
mod a_name_without_eligible_instances {
    use super::*;

    #[test]
    fn is_nodata_and_says_why() {
        let mut world = one();
        world.node("n2", "10.0.0.2").instance("n2", "web-2", |_| {});
        world.check("n1", "c", Some("web"), Status::Critical);
        world.check("n2", "_node_maintenance", None, Status::Critical);
        for qtype in ["A", "SRV", "MX"] {
            let answer = world.ask(&ask("web.service.consul", qtype));
            assert!(answer.is_nodata());
            let text = "2 instances: 1 critical, 1 in maintenance".to_owned();
            assert_eq!(answer.errors(), [(0, text)]);
        }
        for name in ["a.web.service.consul", "a.b.web.service.consul"] {
            let answer = world.ask(&ask(name, "A"));
            assert!(answer.is_nodata());
            assert_eq!(answer.errors(), [(0, "1 instance: 1 critical".to_owned())]);
        }
        assert!(
            world
                .ask(&ask("web.service.consul", "A").plain())
                .is_nodata()
        );
    }

    #[test]
    fn differs_from_a_name_that_denotes_none() {
        let mut world = one();
        world.check("n1", "c", None, Status::Critical);
        assert!(world.ask(&ask("nosuch.service.consul", "A")).is_nxdomain());
        assert!(
            world
                .ask(&ask("nosuch.web.service.consul", "A"))
                .is_nxdomain()
        );
        assert!(
            world
                .ask(&ask("_web._nosuch.service.consul", "A"))
                .is_nxdomain()
        );
    }
}

/// Rule 5.
mod classes {
    use super::*;

    #[test]
    fn other_than_in_and_any_are_refused() {
        let mut world = one();
        for class in [0, 2, 3, 4, 77, 254] {
            let mut question = ask("n1.node.consul", "A");
            question.class = class;
            let answer = world.ask(&question);
            assert_eq!(answer.rcode(), ResponseCode::Refused, "{class}");
            assert!(answer.message.edns.is_some() && !answer.is_authoritative());
        }
        let mut question = ask("n1.node.consul", "A");
        question.class = 255;
        assert_eq!(world.ask(&question).answers().len(), 1);
    }
}

/// Rule 6.
mod operations {
    use super::*;

    #[test]
    fn other_than_query_are_not_built() {
        let mut world = one();
        for opcode in 1..=15_u8 {
            for edns in [None, Some(1232)] {
                let mut question = ask("n1.node.consul", "A");
                question.edns = edns;
                let mut octets = question.octets();
                octets[2] |= opcode << 3;
                let reply = world.raw(&octets, Transport::Udp).unwrap();
                assert_eq!(reply[3] & 0x0f, 4, "{opcode}");
                assert_eq!(reply[2] & 0x78, opcode << 3);
                let length = if edns.is_some() { 12 + 11 } else { 12 };
                assert_eq!(reply.len(), length);
            }
        }
        assert_eq!(u8::from(OpCode::Notify), 4);
    }

    #[test]
    fn zone_transfer_is_not_built_either() {
        let mut world = one();
        for name in ["consul", "web.service.consul", "no.node.consul"] {
            let answer = world.ask(&ask(name, "AXFR"));
            assert_eq!(answer.rcode(), ResponseCode::NotImp);
            assert!(answer.is_authoritative() && answer.authorities().is_empty());
        }
        assert!(world.ask(&ask("consul", "IXFR")).is_nodata());
        assert!(world.ask(&ask("no.node.consul", "IXFR")).is_nxdomain());
    }
}

/// Rule 7; the sizes themselves are in `sizes`.
mod rfc6891 {
    use super::*;

    #[test]
    fn an_answer_has_an_opt_record_if_the_query_had_one() {
        let mut world = one();
        for name in ["n1.node.consul", "no.node.consul", "com", "consul"] {
            let answer = world.ask(&ask(name, "A"));
            let edns = answer.message.edns.unwrap();
            assert_eq!((edns.max_payload(), edns.version()), (1232, 0));
            assert!(!edns.flags().dnssec_ok);
            assert!(world.ask(&ask(name, "A").plain()).message.edns.is_none());
        }
    }

    #[test]
    fn later_versions_get_badvers() {
        let mut world = one();
        for name in ["n1.node.consul", "com"] {
            let mut question = ask(name, "A");
            question.version = 1;
            let answer = world.ask(&question);
            assert_eq!(answer.octets[3] & 0x0f, 0);
            let edns = answer.message.edns.unwrap();
            assert_eq!((edns.rcode_high(), edns.version()), (1, 0));
            assert!(answer.message.answers.is_empty());
            assert_eq!(answer.message.queries.len(), 1);
        }
    }

    #[test]
    fn two_opt_records_are_malformed() {
        let mut world = one();
        let mut octets = ask("n1.node.consul", "A").octets();
        octets[11] = 2;
        octets.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
        let reply = world.raw(&octets, Transport::Udp).unwrap();
        assert_eq!((reply[3] & 0x0f, reply.len()), (1, 12 + 11));
    }

    #[test]
    fn an_opt_record_in_another_section_is_malformed() {
        let mut world = one();
        for count in [7, 9] {
            let mut octets = ask("n1.node.consul", "A").octets();
            octets[11] = 0;
            octets[count] = 1;
            let reply = world.raw(&octets, Transport::Udp).unwrap();
            assert_eq!((reply[3] & 0x0f, reply.len()), (1, 12));
        }
    }

    #[test]
    fn a_client_subnet_comes_back_with_scope_zero() {
        let mut world = one();
        for name in ["n1.node.consul", "no.service.consul", "com"] {
            let mut question = ask(name, "A");
            question.options = b"\0\x0a\0\x08cookie12\0\x08\0\x07\0\x01\x18\0\x0a\x01\x02".to_vec();
            let answer = world.ask(&question);
            let option = b"\0\x08\0\x07\0\x01\x18\0\x0a\x01\x02";
            assert!(answer.octets.ends_with(option));
            assert!(!answer.octets.windows(8).any(|octets| octets == b"cookie12"));
        }
    }
}

/// Rule 8.
mod addresses {
    use super::*;

    #[test]
    fn of_another_family_are_nodata_and_of_another_length_missing() {
        let mut world = one();
        for qtype in OTHER_TYPES.into_iter().chain(["AAAA"]) {
            assert!(
                world.ask(&ask("0a000001.addr.consul", qtype)).is_nodata(),
                "{qtype}"
            );
        }
        let v6 = "00000000000000000000ffff0a000001.addr.consul";
        assert!(world.ask(&ask(v6, "A")).is_nodata());
        assert_eq!(world.ask(&ask(v6, "AAAA")).answers().len(), 1);
        for digits in ["0a0000011", "0a00", "0a00000z"] {
            assert!(
                world
                    .ask(&ask(&format!("{digits}.addr.consul"), "A"))
                    .is_nxdomain()
            );
        }
    }
}

/// Rule 9.
mod other_types_of_a_service {
    use super::*;

    #[test]
    fn are_nodata() {
        let mut world = one();
        for qtype in ["TXT", "MX", "CNAME", "NS", "SOA", "PTR", "DNSKEY"] {
            assert!(
                world.ask(&ask("web.service.consul", qtype)).is_nodata(),
                "{qtype}"
            );
        }
    }
}

/// Rule 10.
mod alt_domain {
    use super::*;

    #[test]
    fn names_are_made_in_the_zone_asked() {
        let mut world = World::with(|options| options.alt_domain = Some("sub.consul".to_owned()));
        world.node("n1", "10.0.0.1").instance("n1", "web", |_| {});
        world.instance("n1", "consul", |_| {});
        let answer = world.ask(&ask("web.service.sub.consul", "SRV"));
        let endpoint = "web.service.sub.consul. SRV 1 1 80 n1.node.dc1.sub.consul.";
        assert_eq!(answer.answers(), [endpoint]);
        assert_eq!(answer.additionals(), ["n1.node.dc1.sub.consul. A 10.0.0.1"]);
        let answer = world.ask(&ask("no.service.sub.consul", "A"));
        assert_eq!(answer.soa_owner().as_deref(), Some("sub.consul."));
        assert!(answer.authorities()[0].contains("ns.sub.consul. hostmaster.sub.consul."));
        let answer = world.ask(&ask("sub.consul", "NS"));
        assert_eq!(answer.answers(), ["sub.consul. NS n1.node.dc1.sub.consul."]);
        // Reverse names have one zone only.
        let answer = world.ask(&ask("1.0.0.10.in-addr.arpa", "PTR"));
        assert!(answer.answers()[0].ends_with("PTR n1.node.dc1.consul."));
        assert!(
            world
                .ask(&ask("web.service.consul.sub.consul", "A"))
                .is_nxdomain()
        );
    }
}

/// Rule 11.
mod name_servers {
    use super::*;

    #[test]
    fn have_addresses() {
        let mut world = one();
        let answer = world.ask(&ask("NS.consul", "A"));
        assert_eq!(answer.answers(), ["NS.consul. A 10.0.0.1"]);
        assert!(world.ask(&ask("ns.consul", "MX")).is_nodata());
        world
            .node("n7", "10.0.0.7")
            .instance("n7", "consul", |_| {});
        assert_eq!(
            world.ask(&ask("ns.consul", "A")).answers(),
            ["ns.consul. A 10.0.0.7"]
        );
        let answer = world.ask(&ask("consul", "NS"));
        let target = answer.answers()[0]
            .split(' ')
            .next_back()
            .unwrap()
            .to_owned();
        assert_eq!(
            world.ask(&ask(&target, "A")).answers(),
            [format!("{target} A 10.0.0.7")]
        );
    }
}

/// Rule 12.
mod reverse_names {
    use super::*;

    #[test]
    fn have_ptr_only() {
        let mut world = World::with(|options| {
            options.reverse_zones = vec!["10.in-addr.arpa".to_owned()];
        });
        world.node("n1", "10.0.0.1").node("n2", "192.0.2.2");
        let owner = |world: &mut World, name: &str, qtype: &str| {
            let answer = world.ask(&ask(name, qtype));
            assert!(answer.is_authoritative());
            (
                answer.is_nodata(),
                answer.is_nxdomain(),
                answer.soa_owner().unwrap(),
            )
        };
        for qtype in ["A", "TXT", "NS", "SOA", "AXFR"] {
            let nodata = (true, false, "10.in-addr.arpa.".to_owned());
            assert_eq!(owner(&mut world, "1.0.0.10.in-addr.arpa", qtype), nodata);
        }
        let missing = |apex: &str| (false, true, apex.to_owned());
        let nodata = |apex: &str| (true, false, apex.to_owned());
        for (name, expected) in [
            ("9.0.0.10.in-addr.arpa", missing("10.in-addr.arpa.")),
            ("9.9.9.9.in-addr.arpa", missing("in-addr.arpa.")),
            ("x.1.0.0.10.in-addr.arpa", missing("10.in-addr.arpa.")),
            ("999.0.0.10.in-addr.arpa", missing("10.in-addr.arpa.")),
            ("0.10.in-addr.arpa", nodata("10.in-addr.arpa.")),
            ("2.192.in-addr.arpa", nodata("in-addr.arpa.")),
            ("in-addr.arpa", nodata("in-addr.arpa.")),
            ("8.b.d.0.ip6.arpa", nodata("ip6.arpa.")),
        ] {
            assert_eq!(owner(&mut world, name, "PTR"), expected, "{name}");
        }
        let apex = world.ask(&ask("10.in-addr.arpa", "SOA"));
        assert!(
            apex.answers()[0].starts_with("10.in-addr.arpa. SOA ns.consul. hostmaster.consul.")
        );
    }
}

/// Rule 13.
mod poison {
    use super::*;
    use crate::dns::tests::world::meta;

    #[test]
    fn one_bad_record_silences_nothing() {
        let mut world = one();
        let label = "l".repeat(63);
        // With `.node.dc1.<zone>` below it, this name is longer than a name can be.
        let long = format!("{label}.{label}.{}", "l".repeat(50));
        world.reload(|options| options.domain = format!("{}.consul", "d".repeat(60)));
        world.node_with(&long, "10.0.0.2", |node| node.meta = meta(&[("k", "v")]));
        world.instance(&long, "web-2", |_| {});
        world.node("bad", &format!("{}.example", "h".repeat(64)));
        world.instance("bad", "web-3", |_| {});
        let zone = format!("{}.consul", "d".repeat(60));
        let answer = world.ask(&ask(&format!("web.service.{zone}"), "SRV").size(4096));
        assert_eq!(answer.answers().len(), 1);
        assert_eq!(world.sources.unencodable.get(), 1);
        let answer = world.ask(&ask(&format!("web.service.{zone}"), "A").size(4096));
        assert_eq!(answer.answers().len(), 2);
        assert!(
            world
                .ask(&ask(&format!("bad.node.{zone}"), "A"))
                .is_nodata()
        );
    }

    #[test]
    fn long_metadata_is_split() {
        let mut world = one();
        let value = "v".repeat(512);
        world.node_with("n1", "10.0.0.1", |node| node.meta = meta(&[("k", &value)]));
        let answer = world.ask(&ask("n1.node.consul", "TXT"));
        assert_eq!(answer.answers().len(), 1);
        assert!(answer.octets.len() > 512);
        assert_eq!(
            world
                .ask(&ask("web.service.consul", "SRV").plain())
                .answers()
                .len(),
            1
        );
    }
}

/// Rule 14.
mod chains {
    use super::*;

    fn chain(links: &[(&str, &str)]) -> World {
        let mut world = World::new();
        world.node("n1", "10.0.0.1");
        for (name, target) in links {
            world.instance("n1", name, |service| {
                service.address = Address::from_text(target);
            });
        }
        world
    }

    #[test]
    fn end_at_the_first_repeat() {
        let mut world = chain(&[("a", "b.service.consul"), ("b", "A.service.CONSUL.")]);
        let answer = world.ask(&ask("a.service.consul", "A"));
        assert_eq!(
            answer.answers(),
            [
                "a.service.consul. CNAME b.service.consul.",
                "b.service.consul. CNAME A.service.CONSUL.",
            ]
        );
    }

    #[test]
    fn are_resolved_with_the_type_asked() {
        let mut world = chain(&[("a", "n1.node.consul")]);
        assert_eq!(world.ask(&ask("a.service.consul", "A")).answers().len(), 2);
        let answer = world.ask(&ask("a.service.consul", "AAAA"));
        assert_eq!(
            answer.answers(),
            ["a.service.consul. CNAME n1.node.consul."]
        );
    }

    #[test]
    fn have_at_most_four_records() {
        let mut world = chain(&[
            ("a", "b.service.consul"),
            ("b", "c.service.consul"),
            ("c", "d.service.consul"),
            ("d", "e.service.consul"),
            ("e", "n1.node.consul"),
        ]);
        assert_eq!(world.ask(&ask("a.service.consul", "A")).answers().len(), 4);
        assert_eq!(world.ask(&ask("c.service.consul", "A")).answers().len(), 4);
        assert_eq!(world.ask(&ask("e.service.consul", "A")).answers().len(), 2);
    }

    #[test]
    fn count_against_the_limits() {
        let mut world = chain(&[("a", "many.service.consul")]);
        for number in 1..=60 {
            world.instance("n1", &format!("many-{number}"), |service| {
                service.address = Address::from_text(&format!("10.2.0.{number}"));
            });
        }
        let question = ask("a.service.consul", "A");
        assert_eq!(world.ask(&question.clone().plain()).answers().len(), 3);
        assert!(world.ask(&question.clone().size(600)).octets.len() <= 600);
        assert_eq!(world.ask(&question.tcp()).answers().len(), 61);
    }
}

/// Rule 15.
mod rfc8914 {
    use super::*;
    use crate::dns::{Asked, Freshness, Handler};

    fn with(freshness: Freshness) -> World {
        let mut world = one();
        world.sources.freshness = std::sync::Arc::new(freshness);
        world.responder = crate::dns::Responder::new(world.sources.clone());
        world
    }

    #[test]
    fn answers_are_stale_after_five_seconds_without_a_leader() {
        let mut world = with(Freshness::fresh());
        assert!(world.ask(&ask("n1.node.consul", "A")).errors().is_empty());
        world.sources.freshness.heard(Duration::from_secs(4));
        assert!(world.ask(&ask("n1.node.consul", "A")).errors().is_empty());
        world.sources.freshness.heard(Duration::from_secs(6));
        let codes = |world: &mut World, name: &str| -> Vec<u16> {
            let errors = world.ask(&ask(name, "A")).errors();
            errors.into_iter().map(|(code, _)| code).collect()
        };
        assert_eq!(codes(&mut world, "n1.node.consul"), [3]);
        assert_eq!(codes(&mut world, "no.node.consul"), [19]);
        assert_eq!(codes(&mut world, "1.0.0.10.in-addr.arpa"), [3]);
        assert_eq!(codes(&mut world, "0a000001.addr.consul"), [0_u16; 0]);
        world.check("n1", "c", None, Status::Critical);
        assert_eq!(codes(&mut world, "web.service.consul"), [3, 0]);
        world.sources.freshness.lead();
        assert_eq!(codes(&mut world, "n1.node.consul"), [0_u16; 0]);
    }

    #[test]
    fn the_engine_can_count_what_was_asked_and_what_is_stale() {
        let mut world = with(Freshness::fresh());
        let counted = |world: &mut World, name: &str, qtype: &str| {
            world.ask(&ask(name, qtype));
            world.responder.asked()
        };
        let srv = |stale| Asked {
            qtype: Some(33),
            stale,
        };
        assert_eq!(counted(&mut world, "web.service.consul", "SRV"), srv(false));
        assert_eq!(counted(&mut world, "example.org", "SRV"), srv(false));
        world.sources.freshness.heard(Duration::from_secs(6));
        assert_eq!(counted(&mut world, "web.service.consul", "SRV"), srv(true));
        // What is not of the catalog is never stale, whatever was asked before.
        assert_eq!(
            counted(&mut world, "0a000001.addr.consul", "SRV"),
            srv(false)
        );
        assert_eq!(counted(&mut world, "example.org", "SRV"), srv(false));
        let mut other = ask("n1.node.consul", "A").octets();
        other[2] |= 0x20; // Not a QUERY.
        world.raw(&other, Transport::Udp).unwrap();
        assert_eq!(world.responder.asked(), Asked::default());
    }

    #[test]
    fn above_max_stale_the_leader_is_asked_first() {
        let mut world = with(Freshness::fresh());
        world.reload(|options| options.max_stale = Duration::from_secs(10));
        world.sources.freshness.heard(Duration::from_secs(60));
        let query = ask("n1.node.consul", "A").octets();
        assert_eq!(world.raw(&query, Transport::Udp), Err(Reply::Slow));
        assert_eq!(
            world.ask(&ask("0a000001.addr.consul", "A")).answers().len(),
            1
        );
        // Asked in vain, this server answers from what it has.
        let answer = world.ask_alone(&query);
        assert_eq!((answer.answers().len(), answer.errors()[0].0), (1, 3));
        world.reload(|options| options.allow_stale = false);
        world.sources.freshness.heard(Duration::ZERO);
        assert_eq!(world.raw(&query, Transport::Udp), Err(Reply::Slow));
        let answer = world.ask_alone(&query);
        assert_eq!(answer.rcode(), ResponseCode::ServFail);
        assert_eq!(answer.errors()[0].0, 22);
    }

    #[test]
    fn before_a_state_is_loaded_names_fail_at_once() {
        let mut world = with(Freshness::new());
        for name in [
            "n1.node.consul",
            "web.service.consul",
            "1.0.0.10.in-addr.arpa",
        ] {
            let answer = world.ask(&ask(name, "A"));
            assert_eq!(answer.rcode(), ResponseCode::ServFail);
            assert_eq!(answer.errors(), [(14, String::new())]);
            assert!(answer.is_authoritative());
        }
        assert_eq!(
            world.ask(&ask("0a000001.addr.consul", "A")).answers().len(),
            1
        );
        assert_eq!(world.ask(&ask("com", "A")).rcode(), ResponseCode::Refused);
        // What the zone itself says is known without a catalog.
        let apex = world.ask(&ask("consul", "SOA"));
        assert_eq!((apex.answers().len(), apex.errors().len()), (1, 0));
        for (name, qtype) in [("consul", "A"), ("service.consul", "A")] {
            let answer = world.ask(&ask(name, qtype));
            assert!(
                answer.is_nodata() && answer.errors().is_empty(),
                "{name} {qtype}"
            );
        }
        let missing = world.ask(&ask("web.service.dc9.consul", "A"));
        assert_eq!(missing.rcode(), ResponseCode::NXDomain);
        world.sources.freshness.set_loaded();
        assert_eq!(world.ask(&ask("n1.node.consul", "A")).answers().len(), 1);
    }

    #[test]
    fn an_unreachable_datacenter_is_no_nxdomain() {
        let mut world = World::with(|options| {
            options.unreachable_datacenters = vec!["dc2".parse().unwrap()];
        });
        for name in [
            "web.service.DC2.consul",
            "n1.node.dc2.consul",
            "_web._tcp.dc2.consul",
        ] {
            let answer = world.ask(&ask(name, "SRV"));
            assert_eq!(answer.rcode(), ResponseCode::ServFail);
            assert_eq!(answer.errors()[0].0, 22);
            assert!(answer.is_authoritative() && answer.authorities().is_empty());
        }
        assert!(world.ask(&ask("service.dc2.consul", "A")).is_nodata());
    }

    #[test]
    fn a_text_is_left_out_where_it_does_not_fit() {
        let mut world = one();
        // Longest question that still names a service, and a zone as long as can be.
        let zone = [&"z".repeat(63)[..], &"y".repeat(63), "x"].join(".");
        world.reload(|options| {
            options.domain.clone_from(&zone);
            options.disable_compression = true;
        });
        world.check("n1", "c", None, Status::Critical);
        let answer = world.ask(&ask(&format!("web.service.{zone}"), "A").size(512));
        assert!(answer.octets.len() <= 512);
        assert_eq!(answer.errors().len(), 1);
    }
}

/// Rule 16.
mod several_tags {
    use super::*;

    #[test]
    fn are_one_dotted_tag_or_else_all_of_them() {
        let mut world = one();
        world
            .node("n2", "10.0.0.2")
            .instance("n2", "web-2", |service| {
                service.tags = tags(&["A", "b.a"]);
            });
        let addresses = |world: &mut World, name: &str| -> Vec<String> {
            let answers = world
                .ask(&ask(&format!("{name}.service.consul"), "A"))
                .answers();
            let last = |text: &String| text.rsplit(' ').next().unwrap().to_owned();
            answers.iter().map(last).collect()
        };
        assert_eq!(addresses(&mut world, "a.web"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(addresses(&mut world, "a.B.web"), ["10.0.0.1"]);
        assert_eq!(addresses(&mut world, "b.a.web"), ["10.0.0.2"]);
        assert_eq!(addresses(&mut world, "x.y.web"), ["10.0.0.1"]);
        assert!(
            world
                .ask(&ask("a.nosuch.web.service.consul", "A"))
                .is_nxdomain()
        );
        let answer = world.ask(&ask("a.b.web.service.consul", "SRV"));
        assert_eq!(answer.answers().len(), 1);
        assert_eq!(answer.additionals(), ["n1.node.dc1.consul. A 10.0.0.1"]);
    }

    #[test]
    fn of_many_instances_are_found_off_the_workers() {
        let mut world = World::new();
        world.node("n1", "10.0.0.1");
        for number in 0..600 {
            world.instance("n1", &format!("web-{number}"), |service| {
                service.name = "web".parse().unwrap();
                service.tags = tags(if number == 7 {
                    &["a", "b"]
                } else {
                    &["a", "c"]
                });
                service.address = Address::from_text("10.1.0.7");
            });
        }
        // The rarest tag decides: one instance has `b`, too many have `c`.
        let answer = world.ask(&ask("a.b.web.service.consul", "A"));
        assert_eq!(answer.answers(), ["a.b.web.service.consul. A 10.1.0.7"]);
        let query = ask("a.c.web.service.consul", "A").octets();
        assert_eq!(world.raw(&query, Transport::Udp), Err(Reply::Slow));
        let answer = world.ask_alone(&query);
        assert_eq!(answer.answers(), ["a.c.web.service.consul. A 10.1.0.7"]);
        // With an instance that is not eligible, the whole service may have to be looked through.
        world.check("n1", "down", Some("web-7"), Status::Critical);
        let query = ask("a.b.web.service.consul", "A").octets();
        assert_eq!(world.raw(&query, Transport::Udp), Err(Reply::Slow));
        let answer = world.ask_alone(&query);
        assert_eq!(answer.rcode(), ResponseCode::NoError);
        assert!(answer.answers().is_empty());
    }
}

/// Rule 18: no minimal ANY (RFC 8482).
mod any {
    use super::*;

    #[test]
    fn is_everything_that_there_is() {
        let mut world = one();
        world.node_with("n6", "2001:db8::6", |node| {
            node.meta = crate::dns::tests::world::meta(&[("k", "v")]);
        });
        world.instance("n6", "web-6", |_| {});
        let answer = world.ask(&ask("web.service.consul", "ANY"));
        let name = "web.service.consul.";
        let both = [
            format!("{name} A 10.0.0.1"),
            format!("{name} AAAA 2001:db8::6"),
        ];
        assert_eq!(answer.answers(), both);
        let answer = world.ask(&ask("n6.node.consul", "ANY"));
        let name = "n6.node.consul.";
        let all = [
            format!("{name} AAAA 2001:db8::6"),
            format!("{name} TXT k=v"),
        ];
        assert_eq!(answer.answers(), all);
    }
}

/// Rule 19.
mod soa_and_ns {
    use super::*;

    #[test]
    fn are_at_the_apex_only() {
        let mut world = one();
        for qtype in ["SOA", "NS"] {
            for name in [
                "web.service.consul",
                "service.consul",
                "n1.node.consul",
                "ns.consul",
            ] {
                assert!(world.ask(&ask(name, qtype)).is_nodata(), "{name} {qtype}");
            }
            assert!(world.ask(&ask("no.service.consul", qtype)).is_nxdomain());
        }
    }
}

/// Rule 20.
mod rfc2181 {
    use super::*;

    #[test]
    fn no_cname_stands_beside_addresses() {
        let mut world = one();
        world.instance("n1", "web-2", |service| {
            service.address = Address::from_text("www.example.com");
        });
        let name = "web.service.consul";
        for qtype in ["A", "ANY"] {
            assert_eq!(
                world.ask(&ask(name, qtype)).answers(),
                [format!("{name}. A 10.0.0.1")]
            );
        }
        assert!(world.ask(&ask(name, "AAAA")).is_nodata());
        assert!(world.ask(&ask(name, "TXT")).is_nodata());
        assert_eq!(world.ask(&ask(name, "SRV")).answers().len(), 2);
        // Without an eligible address the alias answers every type but SRV.
        world.check("n1", "c", Some("web"), Status::Critical);
        for qtype in ["A", "AAAA", "ANY", "TXT", "MX", "CNAME"] {
            let answers = world.ask(&ask(name, qtype)).answers();
            assert_eq!(
                answers,
                [format!("{name}. CNAME www.example.com.")],
                "{qtype}"
            );
        }
        assert!(world.ask(&ask(name, "SRV")).answers()[0].contains(" SRV "));
    }

    #[test]
    fn one_of_several_host_names_is_the_alias() {
        let mut world = World::new();
        world.node("n1", "a.example").node("n2", "b.example");
        world
            .instance("n1", "web-1", |_| {})
            .instance("n2", "web-2", |_| {});
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let answers = world.ask(&ask("web.service.consul", "A")).answers();
            assert_eq!(answers.len(), 1);
            seen.extend(answers);
        }
        assert_eq!(seen.len(), 2);
    }
}
