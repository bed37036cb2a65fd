use super::super::fixture::{foreign, id, now, own, peer, server, with};
use super::*;

fn voter(number: u8) -> Server {
    Server {
        id: id(number),
        peer: peer(number),
        voter: true,
    }
}

fn learner(number: u8) -> Server {
    Server {
        voter: false,
        ..voter(number)
    }
}

fn planned(members: &[Member], servers: &[Server], steady: &[u8]) -> Plan {
    let steady = steady.iter().map(|number| id(*number)).collect();
    plan(&own(1, 0), members, servers, &steady)
}

fn change(members: &[Member], servers: &[Server]) -> Option<Change> {
    planned(members, servers, &[])
        .change
        .map(|(change, _)| change)
}

/// A machine that has the name of another.
fn rebuilt(number: u8, name: &str) -> Member {
    Member {
        name: name.to_owned(),
        ..server(number, 0)
    }
}

#[test]
fn a_new_server_learns_first_and_votes_once_it_has_kept_up() {
    let members = [server(1, 0), server(2, 0)];
    let added = change(&members, &[voter(1)]);
    assert_eq!(added, Some(Change::AddLearner(id(2), peer(2))));
    let behind = planned(&members, &[voter(1), learner(2)], &[]);
    assert!(behind.learning && behind.change.is_none(), "{behind:?}");
    let steady = planned(&members, &[voter(1), learner(2)], &[2]).change;
    assert_eq!(steady.unwrap().0, Change::Promote(id(2)));
    let done = planned(&members, &[voter(1), voter(2)], &[2]);
    assert_eq!(done, Plan::default());
}

#[test]
fn whoever_is_no_peer_is_left_alone() {
    for other in [
        foreign(server(2, 0)),
        with(server(2, 0), "dc", "dc2"),
        with(server(2, 0), "role", "node"),
        now(server(2, 0), MemberStatus::Failed),
        now(server(2, 0), MemberStatus::Leaving),
    ] {
        assert_eq!(
            planned(&[server(1, 0), other], &[voter(1)], &[]),
            Plan::default()
        );
    }
}

#[test]
fn a_server_that_only_reads_never_votes() {
    let members = [server(1, 0), with(server(2, 0), "read_replica", "1")];
    let plan = planned(&members, &[voter(1), learner(2)], &[2]);
    assert_eq!(plan, Plan::default());
}

#[test]
fn who_fails_stays_and_who_leaves_goes() {
    let servers = [voter(1), voter(2), voter(3)];
    let with_third = |status| [server(1, 0), server(2, 0), now(server(3, 0), status)];
    assert_eq!(change(&with_third(MemberStatus::Failed), &servers), None);
    assert_eq!(change(&with_third(MemberStatus::Leaving), &servers), None);
    let gone = change(&with_third(MemberStatus::Left), &servers);
    assert_eq!(gone, Some(Change::Remove(id(3))));
    // Gossip forgets who failed long ago: still no reason.
    assert_eq!(change(&[server(1, 0), server(2, 0)], &servers), None);
}

#[test]
fn a_rebuilt_machine_takes_the_place_of_the_one_whose_name_it_has() {
    let members = [server(1, 0), server(2, 0), rebuilt(9, "S3")];
    let removed = change(&members, &[voter(1), voter(2), voter(3)]);
    assert_eq!(removed, Some(Change::Remove(id(3))));
    let added = change(&members, &[voter(1), voter(2)]);
    let Some(Change::AddLearner(new, _)) = added else {
        panic!("{added:?}");
    };
    assert_eq!(new, id(9));
}

#[test]
fn no_removal_leaves_the_voters_alive_without_a_majority() {
    let failed = |number| now(server(number, 0), MemberStatus::Failed);
    let left = now(server(2, 0), MemberStatus::Left);
    let members = [server(1, 0), left, failed(3)];
    let plan = planned(&members, &[voter(1), voter(2), voter(3)], &[]);
    assert_eq!(plan.change, None);
    assert!(plan.refused[0].contains("s2 stays a voter"), "{plan:?}");
    // A learner is none of them.
    let removed = change(&members, &[voter(1), learner(2), voter(3)]);
    assert_eq!(removed, Some(Change::Remove(id(2))));
}

#[test]
fn a_rebuilt_machine_waits_as_long_as_the_old_one_cannot_go() {
    let failed = now(server(2, 0), MemberStatus::Failed);
    let members = [server(1, 0), failed, rebuilt(9, "s3")];
    let plan = planned(&members, &[voter(1), voter(2), voter(3)], &[]);
    assert_eq!(plan.change, None);
    assert_eq!(plan.refused.len(), 2, "{plan:?}");
}

#[test]
fn another_address_is_written_down() {
    let moved = Member {
        address: [10, 9, 9, 9].into(),
        ..server(2, 0)
    };
    let there = Peer {
        address: ([10, 9, 9, 9], 8300).into(),
        ..peer(2)
    };
    let updated = change(&[server(1, 0), moved], &[voter(1), voter(2)]);
    assert_eq!(updated, Some(Change::Update(id(2), there)));
    // Its own it knows from its configuration, whatever gossip says.
    let elsewhere = Member {
        address: [10, 9, 9, 9].into(),
        ..server(1, 0)
    };
    assert_eq!(change(&[elsewhere], &[voter(1)]), None);
}

#[test]
fn two_servers_that_lead_alone_are_not_put_together() {
    let own = OwnServer {
        bootstrap: true,
        ..own(1, 0)
    };
    let members = [server(1, 0), with(server(2, 0), "bootstrap", "1")];
    let plan = plan(&own, &members, &[voter(1)], &BTreeSet::new());
    assert_eq!(plan.change, None);
    assert!(plan.refused[0].contains("s2 is not taken in"), "{plan:?}");
}

#[tokio::test(start_paused = true)]
async fn a_learner_must_stay_close_behind() {
    let (mut close, start) = (Close::default(), clock::now());
    let at = |index| BTreeMap::from([(id(2), Index(index))]);
    let none = BTreeSet::new();
    assert_eq!(close.steady(&at(10), Index(5_000), start), none);
    assert_eq!(close.steady(&at(4_000), Index(5_000), start), none);
    let later = start + STEADY / 2;
    assert_eq!(close.steady(&at(4_000), Index(5_001), later), none);
    assert_eq!(close.steady(&at(5_000), Index(5_001), later), none);
    assert_eq!(close.steady(&at(5_000), Index(5_001), start + STEADY), none);
    let steady = close.steady(&at(5_000), Index(5_001), later + STEADY);
    assert_eq!(steady, BTreeSet::from([id(2)]));
}
