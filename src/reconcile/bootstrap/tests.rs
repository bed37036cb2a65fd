use super::super::fixture::{foreign, id, now, own, peer, server, with};
use super::*;
use crate::raft::Server;

/// What a server decides that is in no cluster, after all others have said `answer`.
fn decided(own: &OwnServer, members: &[Member], answer: Asked) -> Decision {
    let mut asked = BTreeMap::new();
    loop {
        match decide(own, members, &Status::default(), &asked, false) {
            Decision::Ask(id, _) => assert_eq!(asked.insert(id, answer), None, "asked once"),
            decision => return decision,
        }
    }
}

fn founded(numbers: &[u8]) -> Decision {
    let servers = numbers.iter().map(|number| (id(*number), peer(*number)));
    Decision::Found(servers.collect())
}

fn waits_for(decision: &Decision, text: &str) {
    let Decision::Wait(reason) = decision else {
        panic!("{decision:?}");
    };
    assert!(reason.contains(text), "{reason}");
}

#[test]
fn a_server_that_is_to_lead_alone_founds_at_once() {
    let own = OwnServer {
        bootstrap: true,
        ..own(2, 0)
    };
    assert_eq!(
        decide(&own, &[], &Status::default(), &BTreeMap::new(), true),
        founded(&[2])
    );
}

#[test]
fn a_server_that_is_to_lead_alone_looks_first_for_those_that_it_is_to_join() {
    let own = OwnServer {
        bootstrap: true,
        joins: true,
        ..own(1, 0)
    };
    let early = |members: &[Member], asked, early| {
        let asked = BTreeMap::from([(id(2), asked)]);
        decide(&own, members, &Status::default(), &asked, early)
    };
    waits_for(&early(&[], Asked::Free, true), "it is to join");
    assert_eq!(early(&[], Asked::Free, false), founded(&[1]));
    let others = [server(1, 0), server(2, 0)];
    for soon in [true, false] {
        waits_for(&early(&others, Asked::InCluster, soon), "the cluster of s2");
        waits_for(&early(&others, Asked::Silent, soon), "s2 to say");
        assert_eq!(early(&others, Asked::Free, soon), founded(&[1]));
    }
}

#[test]
fn a_server_with_a_log_founds_nothing() {
    let status = Status {
        servers: vec![Server {
            id: id(1),
            peer: peer(1),
            voter: true,
        }],
        ..Status::default()
    };
    for own in [
        own(1, 1),
        own(1, 3),
        OwnServer {
            bootstrap: true,
            ..own(1, 0)
        },
    ] {
        let members = [server(2, 3), server(3, 3)];
        assert_eq!(
            decide(&own, &members, &status, &BTreeMap::new(), false),
            Decision::Member
        );
    }
}

#[test]
fn exactly_one_of_three_founds_whoever_looks() {
    let members = [server(1, 3), server(2, 3), server(3, 3)];
    assert_eq!(
        decided(&own(1, 3), &members, Asked::Free),
        founded(&[1, 2, 3])
    );
    for number in [2, 3] {
        let decision = decided(&own(number, 3), &members, Asked::Free);
        waits_for(&decision, "s1 to found");
    }
}

#[test]
fn only_one_server_needs_to_know_how_many_there_are_to_be() {
    let members = [server(1, 0), server(2, 0), server(3, 3)];
    assert_eq!(
        decided(&own(3, 3), &members, Asked::Free),
        founded(&[1, 2, 3])
    );
    for number in [1, 2] {
        waits_for(
            &decided(&own(number, 0), &members, Asked::Free),
            "take this one in",
        );
    }
}

#[test]
fn more_servers_than_expected_all_take_part() {
    let members = [server(1, 3), server(2, 3), server(3, 0), server(4, 3)];
    assert_eq!(
        decided(&own(1, 3), &members, Asked::Free),
        founded(&[1, 2, 3, 4])
    );
}

#[test]
fn fewer_servers_than_expected_wait() {
    let gone = now(server(3, 3), MemberStatus::Failed);
    let members = [server(1, 3), server(2, 3), gone];
    waits_for(
        &decided(&own(1, 3), &members, Asked::Free),
        "3 servers, 2 here",
    );
}

#[test]
fn those_who_cannot_vote_do_not_count() {
    for other in [
        foreign(server(3, 3)),
        with(server(3, 3), "dc", "dc2"),
        with(server(3, 3), "read_replica", "1"),
        with(server(3, 3), "role", "node"),
        with(server(3, 3), "id", "none"),
    ] {
        let members = [server(1, 3), server(2, 3), other];
        waits_for(
            &decided(&own(1, 3), &members, Asked::Free),
            "3 servers, 2 here",
        );
    }
}

#[test]
fn whoever_expects_another_number_is_named() {
    let members = [server(1, 3), server(2, 3), server(3, 5)];
    for number in [1, 2] {
        let decision = decided(&own(number, 3), &members, Asked::Free);
        let Decision::Mistake(text) = decision else {
            panic!("{decision:?}");
        };
        assert!(text.contains("s3 has bootstrap_expect 5"), "{text}");
    }
}

#[test]
fn whoever_leads_alone_beside_those_who_wait_is_named() {
    let alone = with(server(3, 0), "bootstrap", "1");
    let members = [server(1, 3), server(2, 3), alone];
    let decision = decided(&own(1, 3), &members, Asked::Free);
    let Decision::Mistake(text) = decision else {
        panic!("{decision:?}");
    };
    assert!(text.contains("s3 has bootstrap set"), "{text}");
}

#[test]
fn a_cluster_that_is_there_is_waited_for_and_not_founded_again() {
    let members = [server(1, 3), server(2, 3), server(3, 3)];
    let decision = decided(&own(1, 3), &members, Asked::InCluster);
    waits_for(&decision, "cluster of s2");
}

#[test]
fn whoever_does_not_answer_holds_the_beginning_up() {
    let members = [server(1, 3), server(2, 3), server(3, 3)];
    let decision = decided(&own(1, 3), &members, Asked::Silent);
    waits_for(&decision, "s2 to say at 10.0.0.2:8300");
}

#[tokio::test(start_paused = true)]
async fn servers_must_stay_in_sight_before_one_founds_with_them() {
    let mut seen = None;
    let start = clock::now();
    let two = BTreeMap::from([(id(1), peer(1)), (id(2), peer(2))]);
    let three = two.clone().into_iter().chain([(id(3), peer(3))]).collect();
    assert_eq!(settled(&mut seen, &two, start), Some(SETTLE));
    let later = start + SETTLE / 2;
    assert_eq!(settled(&mut seen, &two, later), Some(SETTLE / 2));
    assert_eq!(settled(&mut seen, &three, start + SETTLE), Some(SETTLE));
    assert_eq!(settled(&mut seen, &three, start + SETTLE * 2), None);
    // Alone there is nobody to be seen.
    let one = BTreeMap::from([(id(1), peer(1))]);
    assert_eq!(settled(&mut None, &one, start), None);
}
