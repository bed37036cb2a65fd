//! Pings, their answers, and what becomes of those who do not answer.

use super::*;
use crate::gossip::wire::{Ack, IndirectPing, Ping, Source};

fn ack(sequence: u32) -> Message<'static> {
    let payload = b"coordinate";
    Message::Ack(Ack { sequence, payload })
}

fn source(name: &str) -> Source<'_> {
    Source {
        address: address_of(name),
        node: name,
    }
}

#[test]
fn an_answer_tells_the_time_of_the_way_and_heals() {
    let mut fixture = Fixture::with(&["a"]);
    fixture.swim.worsen(3);
    let (name, sequence) = fixture.next_ping();
    assert_eq!(
        fixture.sent(),
        [(address_of("a"), false, vec!["ping a".to_owned()])]
    );
    fixture.now += Duration::from_millis(20);
    fixture.hear(ack(sequence.wrapping_add(1)));
    assert_eq!(fixture.events(), Vec::<String>::new());
    fixture.hear(ack(sequence));
    fixture.hear(ack(sequence));
    let expected = format!("round trip {name} 20ms {:?}", b"coordinate");
    assert_eq!(fixture.events(), [expected]);
    assert_eq!(fixture.swim.health_score(), 2);
}

#[test]
fn without_an_answer_others_and_a_stream_are_tried() {
    let mut fixture = Fixture::with(&["a", "b", "c", "d", "e"]);
    let (name, sequence) = fixture.next_ping();
    fixture.sent();
    let sent = fixture.pass(Duration::from_millis(500));
    let ask = format!("ask {name} {} true", address_of(&name));
    let asks: Vec<_> = sent
        .iter()
        .filter(|(_, _, texts)| texts.contains(&ask))
        .collect();
    assert_eq!(asks.len(), 3, "{sent:?}");
    assert!(
        asks.iter()
            .all(|(to, checksum, _)| *to != address_of(&name) && !checksum)
    );
    // `sent` cleared the requests with the packets; ask again to see them.
    let mut fixture = Fixture::with(&["a", "b", "c", "d", "e"]);
    assert_eq!(fixture.next_ping(), (name.clone(), sequence));
    fixture.now += Duration::from_millis(500);
    fixture.handle(Input::Tick).unwrap();
    let request = Request::Ping {
        to: address_of(&name),
        node: name,
        sequence,
        deadline: fixture.swim.probes.next,
    };
    assert_eq!(fixture.actions.requests, [request]);
    assert_eq!(
        fixture.swim.probes.next,
        fixture.now + Duration::from_millis(500)
    );
}

#[test]
fn old_peers_are_not_asked_for_what_they_do_not_know() {
    let mut fixture = Fixture::with(&[]);
    for name in ["a", "b"] {
        let versions = Versions([1, 2, 2, 2, 5, 4]);
        fixture.hear(Message::Alive(Alive {
            versions,
            ..alive(name, 1)
        }));
    }
    fixture.swim.queue.prune(0);
    let (name, _) = fixture.next_ping();
    fixture.actions.clear();
    fixture.now += Duration::from_millis(500);
    fixture.handle(Input::Tick).unwrap();
    assert_eq!(fixture.actions.requests, []);
    let expected = format!("ask {name} {} false", address_of(&name));
    assert!(
        fixture
            .sent()
            .iter()
            .any(|(_, _, texts)| *texts == [expected.as_str()])
    );
}

#[test]
fn a_node_that_nobody_reaches_becomes_a_suspect() {
    let mut fixture = Fixture::with(&["a", "b"]);
    let (name, _) = fixture.next_ping();
    fixture.pass(Duration::from_millis(999));
    assert_eq!(fixture.state(&name), Some((State::Alive, 1)));
    fixture.pass(Duration::from_millis(1));
    assert_eq!(fixture.state(&name), Some((State::Suspect, 1)));
    // The one who was asked had nothing to say either.
    assert_eq!(fixture.swim.health_score(), 1);
}

#[test]
fn a_node_whose_host_says_that_nobody_listens_is_suspected_at_once() {
    let mut fixture = Fixture::with(&["a", "b"]);
    let (name, sequence) = fixture.next_ping();
    fixture.pass(Duration::from_millis(500));
    let stray = sequence.wrapping_add(1);
    fixture
        .handle(Input::StreamRefused { sequence: stray })
        .unwrap();
    assert_eq!(fixture.state(&name), Some((State::Alive, 1)));
    fixture.handle(Input::StreamRefused { sequence }).unwrap();
    assert_eq!(fixture.state(&name), Some((State::Suspect, 1)));
    // The host has answered: the fault is not here.
    assert_eq!(fixture.swim.health_score(), 0);
    // It has as much time as any suspect, and the next probe comes in its turn.
    fixture.pass(Duration::from_millis(3_999));
    assert_eq!(fixture.state(&name), Some((State::Suspect, 1)));
    fixture.pass(Duration::from_millis(1));
    assert_eq!(fixture.state(&name), Some((State::Dead, 1)));
}

#[test]
fn late_answers_whether_direct_or_not_save_a_node() {
    for stream in [false, true] {
        let mut fixture = Fixture::with(&["a", "b"]);
        fixture.swim.worsen(1);
        let (name, sequence) = fixture.next_ping();
        // The score doubles the time of the whole, not that of the first answer.
        fixture.pass(Duration::from_millis(1_999));
        if stream {
            fixture.handle(Input::StreamAck { sequence }).unwrap();
        } else {
            fixture.hear(ack(sequence));
        }
        fixture.pass(Duration::from_millis(1));
        assert_eq!(fixture.state(&name), Some((State::Alive, 1)));
        assert_eq!(fixture.swim.health_score(), 0);
        assert_eq!(
            fixture.events(),
            Vec::<String>::new(),
            "only direct answers have a time"
        );
    }
}

#[test]
fn missing_nacks_say_that_the_fault_is_here() {
    for (nacks, score) in [(0, 3), (1, 2), (3, 0), (9, 0)] {
        let mut fixture = Fixture::with(&["a", "b", "c", "d", "e"]);
        let (name, sequence) = fixture.next_ping();
        fixture.hear(Message::Nack { sequence });
        fixture.pass(Duration::from_millis(600));
        fixture.hear(Message::Nack {
            sequence: sequence.wrapping_add(9),
        });
        for _ in 0..nacks {
            fixture.hear(Message::Nack { sequence });
        }
        fixture.pass(Duration::from_millis(400));
        assert_eq!(fixture.state(&name), Some((State::Suspect, 1)));
        assert_eq!(fixture.swim.health_score(), score, "{nacks} nacks");
    }
}

#[test]
fn the_health_score_ends_at_seven_and_stretches_probes() {
    let mut fixture = Fixture::with(&["a"]);
    fixture.swim.worsen(100);
    assert_eq!(fixture.swim.health_score(), 7);
    fixture.next_ping();
    assert_eq!(
        fixture.swim.probes.next.saturating_sub(fixture.now),
        Duration::from_secs(8)
    );
}

#[test]
fn a_suspect_is_told_of_it_with_the_ping() {
    let mut fixture = Fixture::with(&["a"]);
    fixture.hear(Message::Suspect(accusation("a", 1, "b")));
    fixture.swim.queue.prune(0);
    fixture.next_ping();
    let expected = ["ping a".to_owned(), "suspect a 1 own".to_owned()];
    assert_eq!(fixture.sent(), [(address_of("a"), true, expected.to_vec())]);
}

#[test]
fn a_ping_for_this_node_or_for_nobody_is_answered_and_no_other() {
    let from = address_of("a");
    for (name, answered) in [("own", true), ("", true), ("a", false)] {
        let mut fixture = Fixture::with(&["a"]);
        fixture.above.payload = vec![1, 2];
        let ping = Ping {
            sequence: 9,
            node: name,
            source: None,
        };
        fixture.hear_from(from, Message::Ping(ping));
        let expected = answered.then(|| (from, false, vec!["ack 9 [1, 2]".to_owned()]));
        assert_eq!(fixture.sent(), Vec::from_iter(expected), "{name:?}");
    }
}

#[test]
fn answers_go_to_members_or_back_and_nowhere_else() {
    let from = "192.0.2.1:99".parse().unwrap();
    let victim = Some(Source {
        address: "198.51.100.7:53".parse().unwrap(),
        node: "a",
    });
    for (source, expected) in [
        (None, from),
        (Some(source("a")), address_of("a")),
        (victim, from),
        // Nobody knows it.
        (Some(source("x")), from),
    ] {
        let mut fixture = Fixture::with(&["a"]);
        fixture.hear(Message::Alive(alive("b", 1)));
        let ping = Ping {
            sequence: 9,
            node: "own",
            source,
        };
        fixture.hear_from(from, Message::Ping(ping));
        let mut texts = vec!["ack 9 []".to_owned()];
        // Only members get more than the bare answer.
        texts.extend((expected != from).then(|| "alive b 1".to_owned()));
        assert_eq!(fixture.sent(), [(expected, false, texts)], "{source:?}");
    }
}

fn ask(sequence: u32, node: &str, nack: bool) -> Message<'_> {
    Message::IndirectPing(IndirectPing {
        sequence,
        target: address_of(node),
        node,
        nack,
        source: Some(source("a")),
    })
}

#[test]
fn who_asks_for_a_ping_gets_its_answer() {
    let mut fixture = Fixture::with(&["a", "b"]);
    fixture.hear(ask(77, "b", true));
    assert_eq!(
        fixture.sent(),
        [(address_of("b"), false, vec!["ping b".to_owned()])]
    );
    let sequence = fixture.swim.probes.sequence;
    assert_ne!(sequence, 77);
    fixture.hear(ack(sequence));
    fixture.hear(ack(sequence));
    let answer = vec!["ack 77 []".to_owned()];
    assert_eq!(fixture.sent(), [(address_of("a"), false, answer)]);
    let sent = fixture.pass(Duration::from_secs(1));
    assert!(!format!("{sent:?}").contains("nack"), "{sent:?}");
}

#[test]
fn who_asks_for_a_ping_is_told_of_silence_if_it_wants_to() {
    for nack in [true, false] {
        let mut fixture = Fixture::with(&["a", "b"]);
        fixture.hear(ask(77, "b", nack));
        fixture.sent();
        let sequence = fixture.swim.probes.sequence;
        let sent = fixture.pass(Duration::from_millis(500));
        let answer = (address_of("a"), false, vec!["nack 77".to_owned()]);
        assert_eq!(sent.contains(&answer), nack, "{sent:?}");
        // Too late.
        fixture.hear(ack(sequence));
        assert_eq!(fixture.sent(), []);
    }
}

#[test]
fn pings_for_others_are_bounded_and_the_oldest_goes() {
    let mut fixture = Fixture::with(&["a", "b"]);
    fixture.hear(ask(0, "b", true));
    let first = fixture.swim.probes.sequence;
    for sequence in 1..=1_024 {
        fixture.hear(ask(sequence, "b", true));
    }
    fixture.sent();
    assert_eq!(fixture.swim.probes.waiting(), 1_024);
    fixture.hear(ack(first));
    assert_eq!(fixture.sent(), []);
    fixture.hear(ack(first.wrapping_add(1)));
    assert_eq!(fixture.sent().len(), 1);
    let sent = fixture.pass(Duration::from_millis(500));
    let nacks = sent
        .iter()
        .filter(|(_, _, texts)| texts[0].starts_with("nack"));
    assert_eq!(nacks.count(), 1_023);
    assert_eq!(fixture.swim.probes.waiting(), 0);
}

#[test]
fn pings_to_nobodys_address_are_not_sent() {
    let mut fixture = Fixture::with(&["a"]);
    for target in ["0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1"] {
        let target = target.parse().unwrap();
        fixture.hear(Message::IndirectPing(IndirectPing {
            sequence: 1,
            target,
            node: "b",
            nack: true,
            source: None,
        }));
    }
    assert_eq!((fixture.sent(), fixture.swim.probes.waiting()), (vec![], 0));
}

#[test]
fn a_probe_time_out_as_long_as_the_interval_only_skips_the_others() {
    let config = Config {
        probe_timeout: Duration::from_secs(1),
        ..Config::lan()
    };
    let mut fixture = Fixture::configured(config, &["a", "b"]);
    let (name, _) = fixture.next_ping();
    fixture.sent();
    let sent = fixture.pass(Duration::from_secs(1));
    assert_eq!(fixture.state(&name), Some((State::Suspect, 1)));
    assert!(!format!("{sent:?}").contains("ask"), "{sent:?}");
}
