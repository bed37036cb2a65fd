//! How many octets and answers go out, and what is said about those that do not.

use std::collections::BTreeMap;

use super::world::{Answer, Ask, World, ask, meta};
use crate::types::{Address, Status};

/// A service with `count` instances at addresses of their own, each on one of ten nodes with
/// metadata.
fn many(count: usize) -> World {
    let mut world = World::new();
    for number in 0..10 {
        world.node_with(&format!("n{number}"), &format!("10.0.0.{number}"), |node| {
            node.meta = meta(&[("rack", "seven")]);
        });
    }
    for number in 0..count {
        let (high, low) = (number / 250, number % 250);
        world.instance(
            &format!("n{}", number % 10),
            &format!("big-{number}"),
            |service| {
                service.address = Address::from_text(&format!("10.1.{high}.{low}"));
            },
        );
    }
    world
}

fn big(qtype: &str) -> Ask {
    ask("big.service.consul", qtype)
}

fn has_txt(answer: &Answer) -> bool {
    answer
        .additionals()
        .iter()
        .any(|record| record.contains(" TXT "))
}

#[test]
fn a_client_without_edns_gets_three_answers_and_no_tc() {
    let mut world = many(40);
    for question in [
        big("A").plain(),
        big("A").size(512),
        big("A").size(0),
        big("SRV").plain(),
    ] {
        let answer = world.ask(&question);
        assert_eq!(answer.answers().len(), 3);
        assert!(!answer.is_truncated() && answer.octets.len() <= 512);
        assert!(!has_txt(&answer));
    }
    assert_eq!(world.ask(&big("SRV").plain()).additionals().len(), 3);
    world.reload(|options| options.udp_answer_limit = 100);
    assert_eq!(world.ask(&big("A").plain()).answers().len(), 8);
    assert_eq!(world.ask(&big("A").size(1232)).answers().len(), 40);
    assert_eq!(world.ask(&big("A").plain().tcp()).answers().len(), 40);
}

#[test]
fn tc_says_that_answers_were_left_out_where_that_is_wanted() {
    let mut world = many(40);
    for (wanted, question) in [
        (true, big("A").plain()),
        (true, big("A").size(600)),
        (true, big("SRV").size(1232)),
        (false, big("A").size(1232)),
        (false, big("SRV").size(4096)),
        (false, big("A").tcp()),
    ] {
        world.reload(|options| options.enable_truncate = true);
        assert_eq!(world.ask(&question).is_truncated(), wanted, "{question:?}");
        world.reload(|options| options.enable_truncate = false);
        assert!(!world.ask(&question).is_truncated(), "{question:?}");
    }
}

#[test]
fn the_address_limit_is_no_truncation() {
    let mut world = many(40);
    world.reload(|options| {
        options.a_record_limit = 5;
        options.enable_truncate = true;
    });
    for question in [big("A"), big("ANY"), big("A").tcp()] {
        let answer = world.ask(&question);
        assert_eq!(answer.answers().len(), 5);
        assert!(!answer.is_truncated());
    }
    assert_eq!(world.ask(&big("SRV").tcp()).answers().len(), 40);
    let answer = world.ask(&big("A").plain());
    assert!(answer.answers().len() == 3 && answer.is_truncated());
}

/// Rule 7: every size is obeyed to the octet, and used up.
#[test]
fn every_size_is_obeyed_and_used() {
    for compress in [true, false] {
        let mut world = many(80);
        world.reload(|options| {
            options.enable_truncate = true;
            options.disable_compression = !compress;
        });
        for qtype in ["A", "SRV", "ANY"] {
            for size in (512..=1300).chain((1301..=4096).step_by(17)) {
                let answer = world.ask(&big(qtype).size(size));
                let octets = answer.octets.len();
                let limit = usize::from(size);
                assert!(octets <= limit, "{qtype} {size}: {octets}");
                let count = answer.answers().len();
                let least = if size == 512 { 3 } else { 4 };
                assert!(count >= least);
                assert_eq!(answer.is_truncated(), count < 80, "{qtype} {size}");
                assert!(answer.message.edns.is_some());
                if size > 512 && count < 80 {
                    // The next record, with its glue, is never larger than this.
                    let next = match (qtype, compress) {
                        ("SRV", false) => 150,
                        ("SRV", true) => 50,
                        (_, false) => 34,
                        (_, true) => 16,
                    };
                    assert!(octets + next > limit, "{qtype} {size}: {octets}");
                }
                if qtype == "SRV" {
                    let glue = answer.additionals();
                    let glue = glue.iter().filter(|record| record.contains(" A "));
                    assert_eq!(glue.count(), count);
                    assert!(!(answer.is_truncated() && has_txt(&answer)));
                }
            }
        }
    }
}

#[test]
fn the_largest_datagram_has_65000_octets() {
    let mut world = many(2500);
    for size in [64_000, 64_999, 65_000, 65_001, 65_535] {
        let answer = world.ask(&big("SRV").size(size));
        let limit = usize::from(size.min(65_000));
        assert!(answer.octets.len() <= limit);
        assert!(answer.octets.len() + 60 > limit);
    }
    world.reload(|options| options.udp_response_max = 1400);
    let answer = world.ask(&big("SRV").size(65_535));
    assert!((1340..=1400).contains(&answer.octets.len()));
    let answer = world.ask(&big("SRV").tcp());
    assert!((65_480..=65_535).contains(&answer.octets.len()));
}

#[test]
fn tcp_answers_are_as_long_as_a_message_can_be() {
    let mut world = many(2500);
    assert_eq!(world.ask(&big("A").tcp()).answers().len(), 2500);
    let answer = world.ask(&big("SRV").tcp());
    let targets: Vec<String> = answer.answers();
    assert!(targets.len() > 900);
    assert_eq!(answer.additionals().len(), targets.len());
    // Every target has its address, also where no pointer can lead to it.
    for (target, glue) in targets.iter().zip(answer.additionals()) {
        let (target, owner) = (target.rsplit(' ').next(), glue.split(' ').next());
        assert_eq!(target, owner);
    }
}

#[test]
fn metadata_goes_before_any_answer_does() {
    let mut world = many(8);
    let whole = world.ask(&big("SRV").size(4096));
    assert!(has_txt(&whole) && whole.answers().len() == 8);
    let octets = u16::try_from(whole.octets.len()).unwrap();
    assert!(has_txt(&world.ask(&big("SRV").size(octets))));
    let shorter = world.ask(&big("SRV").size(octets - 1));
    assert!(!has_txt(&shorter) && shorter.answers().len() == 8);
    assert_eq!(shorter.additionals().len(), 8);
}

/// Rule 17.
#[test]
fn nodes_obey_the_size_as_well() {
    let mut world = World::new();
    let pairs: Vec<(String, String)> = (0..30)
        .map(|number| (format!("key{number}"), "value of some length".to_owned()))
        .collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (&**k, &**v)).collect();
    world.node_with("n1", "10.0.0.1", |node| node.meta = meta(&pairs));
    for wanted in [false, true] {
        world.reload(|options| options.enable_truncate = wanted);
        for qtype in ["TXT", "ANY"] {
            let answer = world.ask(&ask("n1.node.consul", qtype).plain());
            assert!((470..=512).contains(&answer.octets.len()));
            assert_eq!(answer.is_truncated(), wanted);
            let answer = world.ask(&ask("n1.node.consul", qtype).tcp());
            assert!(answer.answers().len() >= 30 && !answer.is_truncated());
        }
        let answer = world.ask(&ask("n1.node.consul", "A").plain());
        assert_eq!(answer.answers().len(), 1);
        assert!(answer.additionals().is_empty() && !answer.is_truncated());
        assert_eq!(
            world
                .ask(&ask("n1.node.consul", "A").tcp())
                .additionals()
                .len(),
            30
        );
    }
}

#[test]
fn an_answer_of_which_nothing_fits_is_no_nodata() {
    let mut world = World::new();
    let value = "v".repeat(512);
    world.node_with("n1", "10.0.0.1", |node| node.meta = meta(&[("k", &value)]));
    let answer = world.ask(&ask("n1.node.consul", "TXT").plain());
    assert!(answer.answers().is_empty() && answer.is_truncated());
    assert!(answer.authorities().is_empty());
}

#[test]
fn answers_are_spread_evenly() {
    for (warn, size) in [(false, None), (true, None), (false, Some(4096))] {
        let mut world = many(if size.is_some() { 200 } else { 20 });
        if warn {
            for number in 0..7 {
                let id = format!("big-{number}");
                world.check(&format!("n{number}"), &id, Some(&id), Status::Warning);
            }
        }
        let mut question = big("A");
        question.edns = size;
        let (mut counts, mut total) = (BTreeMap::<String, u32>::new(), 0_u32);
        for _ in 0..2000 {
            // The first answer and any of them.
            let answer = world.ask(&question);
            for record in answer.message.answers.iter().take(3) {
                *counts.entry(record.data.to_string()).or_default() += 1;
                total += 1;
            }
        }
        assert_eq!(counts.len(), if size.is_some() { 200 } else { 20 });
        let addresses = f64::from(u32::try_from(counts.len()).unwrap());
        let expected = f64::from(total) / addresses;
        let distance = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
        let chi_squared: f64 = counts.values().map(distance).sum();
        // Mean and six standard deviations of that many degrees of freedom.
        let bound = addresses + 6.0 * (2.0 * addresses).sqrt();
        assert!(chi_squared < bound, "{chi_squared} of {bound}");
    }
}

#[test]
fn an_address_shared_by_many_instances_costs_one_record() {
    let mut world = World::new();
    world.node("n1", "10.0.0.1").node("n2", "10.0.0.2");
    for number in 0..600 {
        world.instance("n1", &format!("web-{number}"), |service| service.port = 80);
    }
    world.instance("n2", "web-last", |_| {});
    for id in ["web-7", "web-8", "web-9"] {
        world.check("n1", id, Some(id), Status::Warning);
    }
    for question in [
        ask("web.service.consul", "A"),
        ask("web.service.consul", "SRV").size(4096),
        ask("web.service.consul", "SRV").tcp(),
        ask("web.service.consul", "ANY").tcp(),
    ] {
        assert_eq!(world.ask(&question).answers().len(), 2, "{question:?}");
    }
}
