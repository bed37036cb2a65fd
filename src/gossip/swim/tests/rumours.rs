//! What nodes say of each other.

use super::*;

const CEILING: u32 = u32::MAX - (1 << 20);

/// Applies a rumour, by its letter: (A)live, (S)uspect, (D)ead, (L)eave.
pub(super) fn rumour(fixture: &mut Fixture, kind: char, node: &str, incarnation: u32) {
    fixture.hear(match kind {
        'A' => Message::Alive(alive(node, incarnation)),
        'S' => Message::Suspect(accusation(node, incarnation, "b")),
        'D' => Message::Dead(accusation(node, incarnation, "b")),
        'L' => Message::Dead(accusation(node, incarnation, node)),
        other => panic!("no rumour {other}"),
    });
}

#[test]
fn the_newest_incarnation_wins_and_an_accusation_wins_over_its_own() {
    use State::{Alive, Dead, Left, Suspect};
    // Before, each of incarnation 5; rumour; what it makes of it with incarnation 4, 5, 6 and 0.
    let table = [
        ('A', 'A', [(Alive, 5), (Alive, 5), (Alive, 6)]),
        ('A', 'S', [(Alive, 5), (Suspect, 5), (Suspect, 6)]),
        ('A', 'D', [(Alive, 5), (Dead, 5), (Dead, 6)]),
        ('A', 'L', [(Alive, 5), (Left, 5), (Left, 6)]),
        ('S', 'A', [(Suspect, 5), (Suspect, 5), (Alive, 6)]),
        ('S', 'S', [(Suspect, 5), (Suspect, 5), (Suspect, 5)]),
        ('S', 'D', [(Suspect, 5), (Dead, 5), (Dead, 6)]),
        ('S', 'L', [(Suspect, 5), (Left, 5), (Left, 6)]),
        ('D', 'A', [(Dead, 5), (Dead, 5), (Alive, 6)]),
        ('D', 'S', [(Dead, 5), (Dead, 5), (Dead, 5)]),
        ('D', 'D', [(Dead, 5), (Dead, 5), (Dead, 5)]),
        ('D', 'L', [(Dead, 5), (Dead, 5), (Dead, 5)]),
        ('L', 'A', [(Left, 5), (Left, 5), (Alive, 6)]),
        ('L', 'S', [(Left, 5), (Left, 5), (Left, 5)]),
        ('L', 'D', [(Left, 5), (Left, 5), (Left, 5)]),
        ('L', 'L', [(Left, 5), (Left, 5), (Left, 5)]),
    ];
    for (before, said, after) in table {
        for (incarnation, expected) in (4..).zip(after) {
            let mut fixture = Fixture::with(&["b", "c", "d"]);
            rumour(&mut fixture, 'A', "a", 5);
            if before != 'A' {
                rumour(&mut fixture, before, "a", 5);
            }
            fixture.told();
            let known = fixture.state("a").unwrap();
            rumour(&mut fixture, said, "a", incarnation);
            let found = fixture.state("a").unwrap();
            assert_eq!(found, expected, "{before} {said} {incarnation}");
            // What changes something is told on, and nothing else.
            assert_eq!(
                fixture.told().len(),
                usize::from(found != known),
                "{before} {said} {incarnation}"
            );
        }
    }
}

#[test]
fn what_is_said_of_the_unknown_counts_only_if_it_lives() {
    let mut fixture = Fixture::with(&["b"]);
    for kind in ['S', 'D', 'L'] {
        rumour(&mut fixture, kind, "a", 3);
    }
    rumour(&mut fixture, 'A', "a", 0);
    assert_eq!((fixture.state("a"), fixture.events().len()), (None, 0));
    rumour(&mut fixture, 'A', "a", 1);
    assert_eq!(fixture.state("a"), Some((State::Alive, 1)));
    assert_eq!(fixture.events(), ["joined a"]);
}

#[test]
fn events_follow_life_and_meta_but_not_suspicion() {
    let mut fixture = Fixture::with(&["b"]);
    rumour(&mut fixture, 'A', "a", 1);
    rumour(&mut fixture, 'S', "a", 1);
    rumour(&mut fixture, 'A', "a", 2);
    let changed = Alive {
        meta: b"new",
        ..alive("a", 3)
    };
    fixture.hear(Message::Alive(changed));
    rumour(&mut fixture, 'D', "a", 3);
    rumour(&mut fixture, 'A', "a", 4);
    rumour(&mut fixture, 'L', "a", 4);
    let events = ["joined a", "updated a", "left a", "joined a", "left a"];
    assert_eq!(fixture.events(), events);
}

#[test]
fn this_node_refutes_what_is_not_so() {
    for (kind, incarnation, expected) in [
        ('S', 0, 1),
        ('S', 1, 2),
        ('S', 50, 51),
        ('D', 0, 1),
        ('D', 1, 2),
        ('D', 7, 8),
        ('L', 1, 2),
        ('A', 0, 1),
        ('A', 1, 1),
        ('A', 2, 3),
        ('S', 1 << 31, 1 + (1 << 31)),
        ('A', CEILING, CEILING + 1),
        // Nobody believes such a one.
        ('D', CEILING + 1, 1),
        ('D', u32::MAX, 1),
        ('A', u32::MAX, 1),
    ] {
        let mut fixture = Fixture::with(&["a"]);
        rumour(&mut fixture, kind, "own", incarnation);
        let after = fixture.state("own").unwrap();
        assert_eq!(after, (State::Alive, expected), "{kind} {incarnation}");
        let refuted = expected != 1;
        assert_eq!(fixture.swim.health_score(), u32::from(refuted));
        let told = refuted.then(|| format!("alive own {expected}"));
        assert_eq!(fixture.told(), Vec::from_iter(told), "{kind} {incarnation}");
        assert_eq!(fixture.events(), Vec::<String>::new());
    }
}

#[test]
fn another_meta_under_the_same_incarnation_is_refuted() {
    let mut fixture = Fixture::with(&["a"]);
    let other = Alive {
        meta: b"old",
        ..alive("own", 1)
    };
    fixture.hear(Message::Alive(other));
    assert_eq!(fixture.told(), ["alive own 2"]);
    assert!(fixture.swim.own().meta.is_empty());
}

#[test]
fn whatever_others_may_believe_of_a_node_it_refutes() {
    for kind in ['A', 'S', 'D'] {
        for claimed in [2, 1 << 20, 1 << 31, CEILING] {
            let (mut accused, mut other) = (Fixture::with(&["a"]), Fixture::with(&["own2"]));
            // The other takes it for true, under the name that it knows.
            rumour(&mut other, kind, "own2", claimed);
            assert_eq!(other.state("own2").unwrap().1, claimed, "{kind}");
            let claim = Alive {
                meta: b"another",
                ..alive("own", claimed)
            };
            match kind {
                'A' => accused.hear(Message::Alive(claim)),
                _ => rumour(&mut accused, kind, "own", claimed),
            }
            let refuted = accused.state("own").unwrap();
            assert_eq!(refuted, (State::Alive, claimed + 1), "{kind}");
            rumour(&mut other, 'A', "own2", refuted.1);
            let believed = other.state("own2");
            assert_eq!(believed, Some((State::Alive, claimed + 1)), "{kind}");
        }
    }
}

#[test]
fn nobody_takes_the_room_that_a_node_needs_to_refute() {
    for kind in ['A', 'S', 'D', 'L'] {
        let mut fixture = Fixture::with(&["a", "b"]);
        rumour(&mut fixture, kind, "a", CEILING + 1);
        assert_eq!(fixture.state("a"), Some((State::Alive, 1)), "{kind}");
        rumour(&mut fixture, kind, "new", CEILING + 1);
        assert_eq!(fixture.state("new"), None, "{kind}");
        rumour(&mut fixture, kind, "own", CEILING + 1);
        assert_eq!(fixture.state("own"), Some((State::Alive, 1)), "{kind}");
        rumour(&mut fixture, kind, "a", CEILING);
        assert_eq!(fixture.state("a").unwrap().1, CEILING, "{kind}");
        // In that room the node itself goes on, and others only as far as news may be missing.
        rumour(&mut fixture, 'A', "a", CEILING + 1);
        assert_eq!(fixture.state("a"), Some((State::Alive, CEILING + 1)));
        rumour(&mut fixture, kind, "a", CEILING + 1_026);
        assert_eq!(fixture.state("a"), Some((State::Alive, CEILING + 1)));
        rumour(&mut fixture, kind, "a", CEILING + 1_025);
        assert_eq!(fixture.state("a").unwrap().1, CEILING + 1_025, "{kind}");
    }
}

#[test]
fn own_incarnation_stops_at_the_end_instead_of_wrapping() {
    let mut fixture = Fixture::with(&["a"]);
    fixture.swim.members.get_mut(0).unwrap().incarnation = u32::MAX - 1;
    for _ in 0..3 {
        let own = fixture.state("own").unwrap().1;
        rumour(&mut fixture, 'S', "own", own);
        assert_eq!(fixture.state("own"), Some((State::Alive, u32::MAX)));
    }
}

#[test]
fn a_name_in_use_does_not_move() {
    let other = "10.0.0.99:8301".parse().unwrap();
    let moved = |incarnation| {
        Message::Alive(Alive {
            address: other,
            ..alive("a", incarnation)
        })
    };
    for before in ['A', 'S', 'D'] {
        let mut fixture = Fixture::with(&["a", "b"]);
        rumour(&mut fixture, before, "a", 1);
        let known = fixture.state("a");
        fixture.events();
        fixture.hear(moved(9));
        assert_eq!(fixture.events(), ["conflict a 10.0.0.99:8301"]);
        assert_eq!(fixture.state("a"), known);
        assert_eq!(fixture.swim.find("a").unwrap().0.address, address_of("a"));
    }
    // One that has left makes its name free, whatever the incarnation.
    let mut fixture = Fixture::with(&["a", "b"]);
    rumour(&mut fixture, 'L', "a", 8);
    fixture.events();
    fixture.hear(moved(1));
    assert_eq!(fixture.events(), ["joined a"]);
    assert_eq!(fixture.state("a"), Some((State::Alive, 1)));
    assert_eq!(fixture.swim.find("a").unwrap().0.address, other);
}

#[test]
fn the_name_of_the_dead_is_free_after_the_time_set_for_it() {
    let config = Config {
        dead_node_reclaim: Duration::from_secs(10),
        ..Config::lan()
    };
    let mut fixture = Fixture::configured(config, &["a", "b"]);
    rumour(&mut fixture, 'D', "a", 5);
    fixture.events();
    let moved = Alive {
        address: "10.0.0.99:8301".parse().unwrap(),
        ..alive("a", 1)
    };
    fixture.now += Duration::from_secs(10);
    fixture.hear(Message::Alive(moved));
    fixture.now += Duration::from_millis(1);
    fixture.hear(Message::Alive(moved));
    assert_eq!(fixture.events(), ["conflict a 10.0.0.99:8301", "joined a"]);
}

#[test]
fn own_name_at_another_address_is_a_conflict_and_no_reason_to_refute() {
    let mut fixture = Fixture::with(&["a"]);
    let other = Alive {
        address: "10.0.0.99:8301".parse().unwrap(),
        ..alive("own", 9)
    };
    fixture.hear(Message::Alive(other));
    assert_eq!(fixture.events(), ["conflict own 10.0.0.99:8301"]);
    assert_eq!(
        (fixture.state("own"), fixture.told().len()),
        (Some((State::Alive, 1)), 0)
    );
}

#[test]
fn port_0_is_the_pools_own_port() {
    let mut fixture = Fixture::with(&["b"]);
    let old = Alive {
        address: "10.0.0.1:0".parse().unwrap(),
        ..alive("a", 1)
    };
    fixture.hear(Message::Alive(old));
    assert_eq!(fixture.swim.find("a").unwrap().0.address, address_of("a"));
}

#[test]
fn what_is_of_no_use_is_ignored() {
    let long_name = "n".repeat(256);
    let base = alive("a", 1);
    let bad = [
        Alive { node: "", ..base },
        Alive {
            node: &long_name,
            ..base
        },
        Alive {
            meta: &[0; 513],
            ..base
        },
        Alive {
            versions: Versions([0, 5, 2, 2, 5, 4]),
            ..base
        },
        Alive {
            versions: Versions([1, 0, 2, 2, 5, 4]),
            ..base
        },
        Alive {
            versions: Versions([3, 2, 2, 2, 5, 4]),
            ..base
        },
        Alive {
            address: "0.0.0.0:8301".parse().unwrap(),
            ..base
        },
        Alive {
            address: "[::]:8301".parse().unwrap(),
            ..base
        },
        Alive {
            address: "224.0.0.1:8301".parse().unwrap(),
            ..base
        },
        Alive {
            address: "255.255.255.255:8301".parse().unwrap(),
            ..base
        },
    ];
    for alive in bad {
        let mut fixture = Fixture::with(&["b"]);
        fixture.hear(Message::Alive(alive));
        assert_eq!(fixture.swim.len(), 2, "{alive:?}");
        assert_eq!(fixture.told().len(), 0);
    }
}

#[test]
fn whom_the_layer_above_refuses_is_not_taken_in() {
    let mut fixture = Fixture::with(&["b"]);
    fixture.above.refuses = Some("a");
    rumour(&mut fixture, 'A', "a", 1);
    assert_eq!(fixture.events(), ["refused a 10.0.0.1:8301: a is kept out"]);
    assert_eq!((fixture.state("a"), fixture.told().len()), (None, 0));
}

#[test]
fn a_full_table_forgets_who_died_first_and_no_one_who_lives() {
    let config = Config {
        nodes_max: 4,
        ..Config::lan()
    };
    let mut fixture = Fixture::configured(config, &["a", "b", "c"]);
    rumour(&mut fixture, 'A', "d", 1);
    assert_eq!((fixture.state("d"), fixture.swim.len()), (None, 4));
    rumour(&mut fixture, 'D', "c", 1);
    fixture.now += Duration::from_secs(1);
    rumour(&mut fixture, 'D', "a", 1);
    rumour(&mut fixture, 'A', "d", 1);
    assert_eq!(fixture.state("d"), Some((State::Alive, 1)));
    assert_eq!((fixture.state("c"), fixture.swim.len()), (None, 4));
}

#[test]
fn only_the_dead_can_be_forgotten() {
    let mut fixture = Fixture::with(&["a", "b"]);
    for name in ["a", "own", "nobody"] {
        fixture.swim.forget(name);
    }
    assert_eq!(fixture.swim.len(), 3);
    rumour(&mut fixture, 'D', "a", 1);
    fixture.swim.forget("a");
    assert_eq!((fixture.state("a"), fixture.swim.len()), (None, 2));
}

#[test]
fn a_suspect_that_says_nothing_is_dead_in_time() {
    // In a pool of three nobody else could confirm.
    let mut fixture = Fixture::with(&["a", "b"]);
    rumour(&mut fixture, 'S', "a", 1);
    fixture.pass(Duration::from_millis(3_999));
    assert_eq!(fixture.state("a"), Some((State::Suspect, 1)));
    fixture.pass(Duration::from_millis(1));
    assert_eq!(fixture.state("a"), Some((State::Dead, 1)));
    assert_eq!(fixture.events(), ["left a"]);
}

#[test]
fn independent_accusers_shorten_the_time_of_a_suspect() {
    for (accusers, millis) in [
        (&["b"][..], 24_000),
        (&["b", "b", "b"], 24_000),
        (&["b", "c"], 11_381),
        (&["b", "c", "d", "e"], 4_000),
    ] {
        let mut fixture = Fixture::with(&["a", "b", "c", "d", "e"]);
        for from in accusers {
            fixture.hear(Message::Suspect(accusation("a", 1, from)));
        }
        let (end, _) = fixture.swim.members.next_suspicion().unwrap();
        assert_eq!(end, Duration::from_millis(millis), "{accusers:?}");
    }
}

#[test]
fn a_confirmation_that_counts_is_told_on() {
    let mut fixture = Fixture::with(&["a", "b", "c", "d", "e"]);
    for (from, told) in [
        ("b", &["suspect a 1 b"][..]),
        ("b", &[]),
        ("c", &["suspect a 1 c"]),
        ("d", &["suspect a 1 d"]),
        ("e", &[]),
    ] {
        fixture.hear(Message::Suspect(accusation("a", 1, from)));
        assert_eq!(fixture.told(), told, "{from}");
    }
}

#[test]
fn a_suspect_that_refutes_is_safe() {
    let mut fixture = Fixture::with(&["a", "b", "c", "d"]);
    rumour(&mut fixture, 'S', "a", 1);
    rumour(&mut fixture, 'A', "a", 2);
    assert_eq!(fixture.swim.members.next_suspicion(), None);
    assert_eq!(fixture.told(), ["alive a 2"]);
}

#[test]
fn what_was_not_heard_during_a_pause_kills_nobody() {
    let mut fixture = Fixture::with(&["a", "b"]);
    rumour(&mut fixture, 'S', "a", 1);
    fixture.pass(Duration::from_secs(1));
    let before = fixture.swim.deadline();
    fixture.now += Duration::from_secs(600);
    let late = fixture.now.saturating_sub(before);
    fixture.handle(Input::Tick).unwrap();
    assert_eq!(fixture.state("a"), Some((State::Suspect, 1)));
    let (end, _) = fixture.swim.members.next_suspicion().unwrap();
    assert_eq!(end, Duration::from_secs(4) + late);
}

#[test]
fn an_update_is_told_under_the_next_incarnation() {
    let mut fixture = Fixture::with(&["a"]);
    let meta = || b"new".as_slice().into();
    fixture.handle(Input::Update { meta: meta() }).unwrap();
    assert_eq!(fixture.told(), ["alive own 2"]);
    assert_eq!(*fixture.swim.own().meta, *b"new");
    let long = Input::Update {
        meta: vec![0; 513].into(),
    };
    let error = fixture.handle(long).unwrap_err();
    assert_eq!(
        error.to_string(),
        "meta has 513 octets, at most 512 are allowed"
    );
    assert_eq!(fixture.told().len(), 0);
    fixture.handle(Input::Leave).unwrap();
    fixture.told();
    fixture.handle(Input::Update { meta: meta() }).unwrap();
    assert_eq!(fixture.told().len(), 0);
}

#[test]
fn a_leave_is_told_as_often_as_any_broadcast_and_nothing_is_refuted_any_more() {
    let mut fixture = Fixture::with(&["a", "b"]);
    fixture.handle(Input::Leave).unwrap();
    fixture.handle(Input::Leave).unwrap();
    for kind in ['S', 'D', 'A'] {
        rumour(&mut fixture, kind, "own", 2);
    }
    assert_eq!(fixture.state("own"), Some((State::Left, 1)));
    assert_eq!(fixture.events(), Vec::<String>::new());
    let sent = fixture.pass(Duration::from_secs(1));
    let leaves = sent
        .iter()
        .filter(|(_, _, texts)| texts.contains(&"dead own 1 own".to_owned()));
    assert_eq!(leaves.count(), 4);
    assert_eq!(fixture.events(), ["leave spread"]);
}

#[test]
fn who_is_alone_has_left_at_once() {
    let mut fixture = Fixture::with(&[]);
    fixture.handle(Input::Leave).unwrap();
    assert_eq!(fixture.events(), ["leave spread"]);
    // And who is alone by the time.
    let mut fixture = Fixture::with(&["a"]);
    fixture.handle(Input::Leave).unwrap();
    rumour(&mut fixture, 'D', "a", 1);
    fixture.events();
    fixture.pass(Duration::from_millis(200));
    assert_eq!(fixture.events(), ["leave spread"]);
}

#[test]
fn a_node_tells_of_itself_from_its_start() {
    let mut fixture = Fixture::new(Config::lan());
    fixture.hear(Message::Alive(alive("a", 1)));
    let told = fixture.told();
    assert!(told.contains(&"alive own 1".to_owned()), "{told:?}");
}
