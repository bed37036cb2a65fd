//! Exchange of all that two nodes know, and rounds of gossip.

use super::*;

#[test]
fn the_dead_of_others_are_only_suspects_here() {
    let mut fixture = Fixture::with(&["a", "b", "c", "d"]);
    let remote = [
        ("a", 2, State::Suspect),
        ("b", 1, State::Dead),
        ("c", 1, State::Left),
        ("d", 3, State::Alive),
        ("e", 1, State::Alive),
        ("f", 1, State::Dead),
        ("own", 4, State::Dead),
    ];
    fixture.exchange(false, &remote).unwrap();
    for (name, expected) in [
        ("a", Some((State::Suspect, 2))),
        ("b", Some((State::Suspect, 1))),
        ("c", Some((State::Left, 1))),
        ("d", Some((State::Alive, 3))),
        ("e", Some((State::Alive, 1))),
        ("f", None),
        ("own", Some((State::Alive, 5))),
    ] {
        assert_eq!(fixture.state(name), expected, "{name}");
    }
    assert_eq!(fixture.events(), ["left c", "joined e"]);
    assert_eq!(fixture.above.merged, [b"above"]);
    let told = fixture.told();
    assert!(told.contains(&"suspect b 1 own".to_owned()), "{told:?}");
}

#[test]
fn one_refused_node_refuses_a_whole_join_but_only_itself_otherwise() {
    let remote = [("a", 1, State::Alive), ("b", 1, State::Alive)];
    let mut fixture = Fixture::with(&[]);
    fixture.above.refuses = Some("b");
    let error = fixture.exchange(true, &remote).unwrap_err();
    assert_eq!(
        error,
        InputError::Refused(Refusal("b is kept out".to_owned()))
    );
    assert_eq!((fixture.swim.len(), fixture.above.merged.len()), (1, 0));
    fixture.exchange(false, &remote).unwrap();
    assert_eq!((fixture.swim.len(), fixture.above.merged.len()), (2, 1));
}

#[test]
fn a_merge_needs_versions_that_all_who_live_understand() {
    let ok = Versions::OWN;
    for (theirs, state, accepted) in [
        (ok, State::Alive, true),
        // Speaks what the others do not understand.
        (Versions([1, 6, 6, 2, 5, 4]), State::Alive, false),
        (Versions([1, 5, 2, 2, 7, 7]), State::Dead, false),
        // Understands nothing that this node speaks.
        (Versions([3, 5, 3, 2, 5, 4]), State::Alive, false),
        (Versions([3, 5, 3, 2, 5, 4]), State::Dead, true),
        (Versions([1, 5, 2, 2, 3, 3]), State::Alive, false),
        // Says nothing; is not taken in later.
        (Versions([0; 6]), State::Alive, true),
    ] {
        let mut fixture = Fixture::with(&[]);
        let remote = PushPull {
            join: true,
            nodes: vec![NodeState {
                name: "a",
                address: address_of("a"),
                meta: &[],
                incarnation: 1,
                state: state as u8,
                versions: theirs,
            }],
            user_state: &[],
        };
        let from = address_of("a");
        let result = fixture.handle(Input::Exchange { from, remote });
        assert_eq!(result.is_ok(), accepted, "{theirs:?} {result:?}");
        let entered = accepted && state == State::Alive && theirs == ok;
        assert_eq!(fixture.swim.len(), 1 + usize::from(entered), "{theirs:?}");
        assert_eq!(fixture.above.merged.len(), 0);
    }
}

#[test]
fn an_exchange_says_all_that_is_known_or_nothing() {
    let mut fixture = Fixture::with(&["a", "b"]);
    fixture.hear(Message::Dead(accusation("b", 1, "a")));
    for (nodes, expected) in [(true, &[("own", 0), ("a", 0), ("b", 2)][..]), (false, &[])] {
        let mut out = Vec::new();
        fixture
            .swim
            .write_exchange(true, nodes, &mut fixture.above, &mut out);
        let Ok(crate::gossip::wire::StreamMessage::PushPull(written)) =
            crate::gossip::wire::StreamMessage::decode(&out)
        else {
            panic!("{out:?} is no exchange");
        };
        assert!(written.join);
        let found: Vec<_> = written
            .nodes
            .iter()
            .map(|node| (node.name, node.state))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(written.user_state, if nodes { &[9, 1][..] } else { &[] });
    }
}

#[test]
fn exchanges_are_asked_for_in_their_interval_with_nodes_that_are_alive() {
    let mut fixture = Fixture::with(&["a", "b", "c"]);
    for dead in ["b", "c"] {
        fixture.hear(Message::Dead(accusation(dead, 1, "a")));
    }
    let mut exchanges = 0;
    for _ in 0..100 {
        let (name, sequence) = fixture.next_ping();
        assert_eq!(&*name, "a");
        fixture.hear(Message::Ack(crate::gossip::wire::Ack {
            sequence,
            payload: &[],
        }));
        for request in std::mem::take(&mut fixture.actions.requests) {
            let to = address_of("a");
            assert_eq!(request, Request::Exchange { to, join: false });
            exchanges += 1;
        }
    }
    assert!((3..=4).contains(&exchanges), "{exchanges} in 100 s");
}

#[test]
fn gossip_goes_to_three_nodes_until_there_is_nothing_to_tell() {
    let mut fixture = Fixture::with(&["a", "b", "c", "d", "e"]);
    fixture.hear(Message::Alive(alive("a", 2)));
    let gossip = |fixture: &mut Fixture| {
        fixture.now = fixture.swim.schedule.gossip;
        fixture.swim.probes.postpone(Duration::from_secs(1));
        fixture.handle(Input::Tick).unwrap();
        fixture.sent()
    };
    let first = gossip(&mut fixture);
    assert_eq!(first.len(), 3, "{first:?}");
    for (_, checksum, texts) in &first {
        assert!(checksum, "members of version 5 get checksums");
        assert_eq!(texts, &["alive a 2"]);
    }
    assert_eq!(gossip(&mut fixture).len(), 1, "the fourth and last time");
    assert_eq!(gossip(&mut fixture).len(), 0);
}

#[test]
fn the_dead_are_told_things_for_a_while_but_not_those_who_left() {
    let mut fixture = Fixture::with(&["a", "b"]);
    fixture.hear(Message::Dead(accusation("a", 1, "b")));
    fixture.hear(Message::Dead(accusation("b", 1, "b")));
    let mut told = |after: u64| {
        fixture.now = Duration::from_secs(after);
        fixture
            .above
            .riding
            .push(None, b"\x08news".as_slice().into());
        fixture.handle(Input::Tick).unwrap();
        fixture.above.riding.prune(0);
        fixture.sent().iter().map(|sent| sent.0).collect::<Vec<_>>()
    };
    assert_eq!(told(2), [address_of("a")]);
    assert_eq!(told(30), [address_of("a")]);
    assert_eq!(told(31), []);
}

#[test]
fn what_the_layer_above_has_to_say_rides_behind() {
    let mut fixture = Fixture::with(&["a"]);
    fixture.hear(Message::Suspect(accusation("a", 1, "b")));
    fixture
        .above
        .riding
        .push(None, b"\x08\x03\x80".as_slice().into());
    fixture.now = fixture.swim.schedule.gossip;
    fixture.handle(Input::Tick).unwrap();
    let sent = fixture.sent();
    let expected = ["suspect a 1 b".to_owned(), "user [3, 128]".to_owned()];
    assert!(
        sent.iter().any(|(_, _, texts)| *texts == expected),
        "{sent:?}"
    );
}

#[test]
fn messages_of_the_layer_above_reach_it() {
    let mut fixture = Fixture::with(&[]);
    fixture.hear(Message::User(b"x"));
    assert_eq!(fixture.events(), ["user 192.0.2.9:9 [120]"]);
}
