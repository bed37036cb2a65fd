//! What intents, joins and deaths make of members.

use std::time::Duration;

use super::*;
use crate::gossip::actions::Request;
use crate::gossip::serf::Memory;
use crate::gossip::serf::state::State;

use MemberStatus::{Alive, Failed, Leaving, Left};

/// A member `m` of that status, whose last intent was at 10.
fn bench_with(status: MemberStatus) -> Bench {
    let mut bench = Bench::new();
    bench.join("m", 2);
    match status {
        Alive | Failed => bench.join_intent("m", 10),
        _ => bench.leave_intent("m", 10, false),
    }
    if matches!(status, Failed | Left) {
        bench.die("m", 2);
    }
    assert_eq!(bench.status("m"), Some((status, 10)));
    bench.take_broadcasts();
    bench.actions.clear();
    bench
}

#[derive(Clone, Copy, Debug)]
enum What {
    Leave(u64),
    Join(u64),
    Die,
    Come,
}

#[test]
fn each_message_makes_of_each_status_what_the_table_says() {
    use What::{Come, Die, Join, Leave};
    // Status, message; then status, its time, whether it is passed on, and what is told.
    let table = [
        (Alive, Leave(11), Leaving, 11, true, None),
        (Alive, Leave(10), Alive, 10, false, None),
        (Alive, Leave(9), Alive, 10, false, None),
        (Alive, Join(11), Alive, 11, true, None),
        (Alive, Join(10), Alive, 10, false, None),
        (Alive, Die, Failed, 10, false, Some(Change::Failed)),
        (Leaving, Leave(11), Leaving, 11, true, None),
        (Leaving, Leave(10), Leaving, 10, false, None),
        (Leaving, Join(11), Alive, 11, true, None),
        (Leaving, Join(10), Leaving, 10, false, None),
        (Leaving, Die, Left, 10, false, Some(Change::Left)),
        (Leaving, Come, Alive, 10, false, Some(Change::Joined)),
        (Left, Leave(11), Left, 11, true, None),
        (Left, Leave(10), Left, 10, false, None),
        (Left, Join(11), Left, 11, true, None),
        (Left, Die, Left, 10, false, None),
        (Left, Come, Alive, 10, false, Some(Change::Joined)),
        (Failed, Leave(11), Left, 11, true, Some(Change::Left)),
        (Failed, Leave(10), Failed, 10, false, None),
        (Failed, Join(11), Failed, 11, true, None),
        (Failed, Join(9), Failed, 10, false, None),
        (Failed, Die, Failed, 10, false, None),
        (Failed, Come, Alive, 10, false, Some(Change::Joined)),
    ];
    for (before, what, status, time, passed_on, told) in table {
        let mut bench = bench_with(before);
        match what {
            Leave(time) => bench.leave_intent("m", time, false),
            Join(time) => bench.join_intent("m", time),
            Die => bench.die("m", 2),
            Come => bench.join("m", 2),
        }
        let row = format!("{before:?} {what:?}");
        assert_eq!(bench.status("m"), Some((status, time)), "{row}");
        assert_eq!(!bench.take_broadcasts().is_empty(), passed_on, "{row}");
        let expected: Vec<_> = told
            .map(|change| (change, "m".to_owned()))
            .into_iter()
            .collect();
        assert_eq!(bench.changes(), expected, "{row}");
    }
}

#[test]
fn intents_about_strangers_wait_for_them_and_are_passed_on_once() {
    let mut bench = Bench::new();
    bench.leave_intent("goes", 20, false);
    bench.leave_intent("goes", 20, false);
    bench.join_intent("comes", 21);
    assert_eq!(bench.take_broadcasts().len(), 2);
    bench.join("goes", 2);
    bench.join("comes", 3);
    assert_eq!(bench.status("goes"), Some((Leaving, 20)));
    assert_eq!(bench.status("comes"), Some((Alive, 21)));
    bench.die("goes", 2);
    let left = (Change::Left, "goes".to_owned());
    assert_eq!(bench.changes().last(), Some(&left));
}

#[test]
fn this_node_says_that_it_stays_when_others_say_that_it_leaves() {
    let mut bench = Bench::new();
    bench.join("m", 2);
    bench.leave_intent("own", 500, false);
    assert_eq!(bench.status("own"), Some((Alive, 501)));
    let broadcasts = bench.take_broadcasts();
    let join = message::Join {
        time: 501,
        node: "own",
    };
    assert_eq!(broadcasts.len(), 1);
    assert_eq!(Message::decode(&broadcasts[0]), Ok(Message::Join(join)));
    // The same is told again by somebody slow: that is old news.
    bench.leave_intent("own", 500, false);
    assert_eq!(bench.take_broadcasts(), Vec::<Vec<u8>>::new());
}

#[test]
fn nobody_can_prune_this_node() {
    let mut bench = Bench::new();
    bench.join("m", 2);
    bench.leave_intent("own", 500, true);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.status("own"), Some((Alive, 501)));
}

#[test]
fn an_intent_from_the_far_future_is_ignored() {
    let mut bench = bench_with(Alive);
    bench.leave_intent("m", u64::MAX, false);
    bench.join_intent("m", 1 << 40);
    assert_eq!(bench.status("m"), Some((Alive, 10)));
    assert_eq!(bench.layer.clock.time(), 11);
    assert_eq!(bench.take_broadcasts(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_failed_member_that_is_forced_to_leave_has_left() {
    let mut bench = bench_with(Failed);
    bench.join("other", 3);
    let (layer, actions) = (&mut bench.layer, &mut bench.actions);
    actions.clear();
    layer.force_leave(bench.now, "m", false, actions).unwrap();
    assert_eq!(bench.status("m"), Some((Left, 11)));
    assert_eq!(bench.changes(), [(Change::Left, "m".to_owned())]);
    let leave = message::Leave {
        time: 11,
        node: "m",
        prune: false,
    };
    let broadcasts = bench.take_broadcasts();
    assert_eq!(Message::decode(&broadcasts[0]), Ok(Message::Leave(leave)));
}

#[test]
fn a_pruned_member_is_forgotten_at_once_if_it_is_gone() {
    let mut bench = bench_with(Failed);
    bench.leave_intent("m", 11, true);
    assert_eq!(bench.status("m"), None);
    let m = "m".to_owned();
    assert_eq!(
        bench.changes(),
        [(Change::Left, m.clone()), (Change::Reaped, m)]
    );
    assert_eq!(bench.layer.forgotten.len(), 1);
    assert!(!bench.layer.members.is_address(address(2)));
}

#[test]
fn a_pruned_member_that_is_leaving_gets_time_to_go() {
    let mut bench = bench_with(Alive);
    bench.leave_intent("m", 11, true);
    bench.leave_intent("m", 12, true);
    let wait = Duration::from_secs(5 + 3);
    assert_eq!(bench.layer.deadline(), bench.now + wait);
    bench.pass(Duration::from_millis(7_999));
    assert_eq!(bench.status("m"), Some((Leaving, 12)));
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.status("m"), None);
    // One that says meanwhile that it stays is not forgotten.
    let mut bench = bench_with(Alive);
    bench.leave_intent("m", 11, true);
    bench.join_intent("m", 12);
    bench.pass(wait);
    assert_eq!(bench.status("m"), Some((Alive, 12)));
    // Nor if it fails then: nobody has said of that that it is for good.
    let mut bench = bench_with(Alive);
    bench.leave_intent("m", 11, true);
    bench.join_intent("m", 12);
    bench.die("m", 2);
    bench.pass(wait);
    assert_eq!(bench.status("m"), Some((Failed, 12)));
}

#[test]
fn gone_members_are_forgotten_after_their_time() {
    for (status, hours) in [(Failed, 72), (Left, 24)] {
        let mut bench = bench_with(status);
        let time = Duration::from_secs(hours * 3_600);
        bench.pass(time);
        assert!(bench.status("m").is_some(), "{status:?}");
        bench.take_notices();
        bench.pass(Duration::from_secs(15));
        assert_eq!(bench.status("m"), None, "{status:?}");
        assert_eq!(bench.changes(), [(Change::Reaped, "m".to_owned())]);
    }
    let mut bench = bench_with(Alive);
    bench.pass(Duration::from_secs(1_000 * 3_600));
    assert!(bench.status("m").is_some());
}

#[test]
fn a_failed_member_that_wants_it_is_forgotten_sooner() {
    let mut bench = Bench::new();
    let mut brief = node("m", 2);
    let said = tags(&[("rc_tm", "1m0s")]);
    brief.meta = meta::encode(&said).unwrap().into();
    bench.event(Event::Joined(&brief));
    bench.die("m", 2);
    bench.pass(Duration::from_secs(60));
    assert!(bench.status("m").is_some());
    bench.pass(Duration::from_secs(15));
    assert_eq!(bench.status("m"), None);
}

#[test]
fn a_failed_member_is_tried_again_and_one_that_left_is_not() {
    let tries = |status| {
        let mut bench = bench_with(status);
        bench.pass(Duration::from_secs(30));
        std::mem::take(&mut bench.actions.requests)
    };
    let to = address(2);
    assert_eq!(tries(Failed), [Request::Exchange { to, join: true }]);
    assert_eq!(tries(Left), []);
    assert_eq!(tries(Alive), []);
}

#[test]
fn the_more_are_alive_the_less_often_each_tries_the_failed() {
    let mut bench = bench_with(Failed);
    for number in 3..=11 {
        bench.join(&format!("n{number}"), number);
    }
    let mut tries = 0;
    for _ in 0..1_000 {
        bench.pass(Duration::from_secs(30));
        tries += std::mem::take(&mut bench.actions.requests).len();
    }
    // One failed and ten alive: one time in ten.
    assert!((60..140).contains(&tries), "{tries}");
}

#[test]
fn a_snapshot_is_told_who_is_alive_where_and_when() {
    let mut bench = Bench::new();
    bench.join("m", 2);
    bench.event(Event::Updated(&node("m", 3)));
    bench.die("m", 3);
    bench.join_intent("m", 40);
    bench.layer.settle(&mut bench.actions);
    bench.layer.settle(&mut bench.actions);
    let kept: Vec<_> = (bench.take_notices().into_iter())
        .filter_map(|notice| match notice {
            Notice::Remember(memory) => Some(memory),
            _ => None,
        })
        .collect();
    let expected = [
        Memory::Alive("m".into(), address(2)),
        Memory::Alive("m".into(), address(3)),
        Memory::NotAlive("m".into()),
        Memory::Clock(40),
    ];
    assert_eq!(kept, expected);
}

#[test]
fn clocks_go_on_where_they_were_before_a_restart() {
    let mut bench = Bench::remembering(&Remembered {
        clock: 5,
        event_clock: 6,
        query_clock: 7,
        ..Remembered::default()
    });
    let layer = &bench.layer;
    assert_eq!(layer.clock.time(), 6);
    assert_eq!(layer.event_clock.time(), 7);
    assert_eq!(layer.query_clock.time(), 8);
    bench.layer.settle(&mut bench.actions);
    assert_eq!(bench.take_notices(), []);
    // What was told before the restart is not told again.
    let event = |time| message::Event {
        time,
        name: "deploy",
        payload: b"",
        coalesce: false,
    };
    bench.receive(&Message::Event(event(6)));
    assert_eq!(bench.take_notices(), []);
    bench.receive(&Message::Event(event(7)));
    assert_eq!(bench.take_notices().len(), 1);
}

#[test]
fn other_tags_and_another_address_are_told_and_the_same_are_not() {
    let mut bench = bench_with(Alive);
    bench.event(Event::Updated(&node("m", 2)));
    assert_eq!(bench.changes(), []);
    let mut other = node("m", 2);
    other.meta = meta::encode(&tags(&[("role", "db")])).unwrap().into();
    bench.event(Event::Updated(&other));
    assert_eq!(bench.changes(), [(Change::Updated, "m".to_owned())]);
    let record = bench.layer.members.get("m").unwrap();
    assert_eq!(record.tags, tags(&[("role", "db")]));
    bench.event(Event::Updated(&node("m", 5)));
    assert!(bench.layer.members.is_address(address(5)));
    assert!(!bench.layer.members.is_address(address(2)));
}

#[test]
fn a_conflict_about_a_name_is_told_once_a_minute() {
    let mut bench = bench_with(Alive);
    let known = node("m", 2);
    let other = address(8);
    let conflict = Event::Conflict {
        known: &known,
        other,
    };
    bench.event(conflict);
    bench.event(conflict);
    assert_eq!(bench.take_notices().len(), 1);
    bench.now += Duration::from_secs(60);
    bench.event(conflict);
    assert_eq!(bench.take_notices().len(), 1);
}

#[test]
fn a_node_with_unreadable_tags_may_not_enter() {
    let mut bench = Bench::new();
    let mut bad = node("bad", 2);
    bad.meta = b"\xff\x81\xa1k".as_slice().into();
    let refused = bench.layer.may_enter(&bad, swim::State::Alive);
    assert!(refused.unwrap_err().0.contains("'bad' has invalid tags"));
    assert_eq!(
        bench.layer.may_enter(&node("m", 2), swim::State::Alive),
        Ok(())
    );
}

#[test]
fn too_many_members_push_out_who_is_gone_for_the_longest_time() {
    let own = node("own", 1);
    let mut members = crate::gossip::serf::members::Members::new(&own, 3);
    members.create(&node("a", 2));
    members.create(&node("b", 3));
    members.die("b", Time::from_secs(1));
    members.die("a", Time::from_secs(2));
    let displaced = members.create(&node("c", 4)).unwrap();
    assert_eq!(displaced.name.as_ref(), "b");
    assert_eq!(members.len(), 3);
}

#[test]
fn a_push_pull_tells_who_left_and_when_the_others_were_last_heard() {
    let mut teller = bench_with(Left);
    teller.join("here", 3);
    teller.join_intent("here", 12);
    teller.join("going", 4);
    teller.leave_intent("going", 13, false);
    let mut octets = Vec::new();
    teller.layer.write_state(true, &mut octets);
    let state = State::decode(&octets).unwrap();
    assert_eq!(state.statuses, [("here", 12), ("m", 10), ("own", 0)]);
    assert_eq!(state.left, ["m"]);
    assert_eq!((state.time, state.event_time, state.query_time), (14, 1, 1));

    let mut bench = Bench::new();
    bench.join("m", 2);
    bench.join("here", 3);
    bench.take_broadcasts();
    let (now, actions) = (bench.now, &mut bench.actions);
    bench.layer.merge_state(now, true, &octets, actions);
    assert_eq!(bench.status("m"), Some((Leaving, 10)));
    assert_eq!(bench.status("here"), Some((Alive, 12)));
    assert_eq!(bench.layer.clock.time(), 14);
    assert_eq!(bench.take_broadcasts(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_push_pull_that_says_that_this_node_has_left_is_refuted() {
    let mut bench = Bench::new();
    bench.join("m", 2);
    let state = State {
        time: 31,
        statuses: vec![("own", 30)],
        left: vec!["own"],
        ..State::default()
    };
    bench
        .layer
        .merge(bench.now, true, &state, &mut bench.actions);
    assert_eq!(bench.status("own"), Some((Alive, 31)));
    assert_eq!(bench.take_broadcasts().len(), 1);
}

#[test]
fn a_join_that_ignores_old_events_tells_only_later_ones() {
    let state = State {
        event_time: 8,
        events: vec![(6, "old", b"")],
        ..State::default()
    };
    let mut bench = Bench::new();
    bench.layer.ignore_old = true;
    bench
        .layer
        .merge(bench.now, true, &state, &mut bench.actions);
    assert_eq!(bench.take_notices(), []);
    let mut bench = Bench::new();
    bench
        .layer
        .merge(bench.now, true, &state, &mut bench.actions);
    assert_eq!(bench.take_notices().len(), 1);
}
