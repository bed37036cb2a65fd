//! Events, queries, answers and relays.
//!
//! Long, since all of them share one layer and the messages that others send it.

use std::time::Duration;

use super::*;
use crate::gossip::serf::query;
use crate::gossip::serf::{KeyAnswer, KeyOperation, Query, QueryId, SerfError};

const ID: QueryId = QueryId { time: 5, id: 77 };

/// A query of member `m` at address 2, which has joined.
fn query<'a>(name: &'a str, payload: &'a [u8]) -> message::Query<'a> {
    message::Query {
        time: ID.time,
        id: ID.id,
        address: address(2),
        source: "m",
        filters: Vec::new(),
        flags: 0,
        relay_factor: 0,
        timeout_nanoseconds: 2_000_000_000,
        name,
        payload,
    }
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.join("m", 2);
    bench.take_notices();
    bench
}

fn answer<'a>(from: &'a str, payload: Option<&'static [u8]>) -> Message<'a> {
    Message::Answer(message::Answer {
        time: ID.time,
        id: ID.id,
        from,
        acknowledgement: payload.is_none(),
        payload: payload.unwrap_or_default(),
    })
}

fn own_query(name: &str) -> Query {
    Query {
        name: name.to_owned(),
        payload: Vec::new(),
        nodes: Vec::new(),
        acknowledge: false,
        relay_factor: 0,
        timeout: None,
    }
}

/// Answers and acknowledgements that were told.
fn answers(bench: &mut Bench) -> Vec<(String, Option<Vec<u8>>)> {
    (bench.take_notices().into_iter())
        .filter_map(|notice| match notice {
            Notice::Answer { from, payload, .. } => Some((from.as_ref().to_owned(), payload)),
            _ => None,
        })
        .collect()
}

#[test]
fn an_event_is_told_and_passed_on_once() {
    let mut bench = bench();
    let event = message::Event {
        time: 3,
        name: "deploy",
        payload: b"v2",
        coalesce: true,
    };
    bench.receive(&Message::Event(event));
    bench.receive(&Message::Event(event));
    let notices = bench.take_notices();
    assert!(
        matches!(&notices[..], [Notice::Event(told)] if told.time == 3
            && told.name == "deploy" && told.payload == b"v2" && told.coalesce),
        "{notices:?}"
    );
    let broadcasts = bench.take_broadcasts();
    assert_eq!(broadcasts.len(), 1);
    assert_eq!(Message::decode(&broadcasts[0]), Ok(Message::Event(event)));
    assert_eq!(bench.layer.event_clock.time(), 4);
}

#[test]
fn an_event_that_is_too_long_is_neither_fired_nor_taken() {
    let mut bench = bench();
    let payload = vec![0; 9_300];
    let fired = (bench.layer).fire("e", &payload[..512], false, &mut bench.actions);
    assert_eq!(fired, Err(SerfError::Event("before")));
    let fired = (bench.layer).fire("e", &payload[..511], false, &mut bench.actions);
    assert_eq!(fired, Err(SerfError::Event("after")));
    bench.receive(&Message::Event(message::Event {
        time: 3,
        name: "e",
        payload: &payload,
        coalesce: false,
    }));
    assert_eq!(bench.layer.event_clock.time(), 1);
    assert_eq!(bench.take_notices(), []);
    assert_eq!(bench.take_broadcasts(), Vec::<Vec<u8>>::new());
}

#[test]
fn an_event_of_this_node_is_told_here_and_to_all() {
    let mut bench = bench();
    let fired = bench.layer.fire("e", b"x", false, &mut bench.actions);
    assert_eq!(fired, Ok(1));
    assert_eq!(bench.take_notices().len(), 1);
    let broadcasts = bench.take_broadcasts();
    assert_eq!(broadcasts.len(), 1);
    bench.receive_octets(&broadcasts[0]);
    assert_eq!(bench.take_notices(), []);
}

#[test]
fn a_query_is_acknowledged_and_passed_on_once() {
    let mut bench = bench();
    let asked = message::Query {
        flags: message::FLAG_ACKNOWLEDGE,
        ..query("_serf_ping", b"")
    };
    bench.receive(&Message::Query(asked.clone()));
    bench.receive(&Message::Query(asked.clone()));
    let packets = bench.take_packets();
    assert_eq!(packets.len(), 1);
    assert_eq!(packets[0].0, address(2));
    assert_eq!(Message::decode(&packets[0].1), Ok(answer("own", None)));
    let broadcasts = bench.take_broadcasts();
    assert_eq!(broadcasts.len(), 1);
    assert_eq!(Message::decode(&broadcasts[0]), Ok(Message::Query(asked)));
}

#[test]
fn a_query_that_is_not_to_be_passed_on_is_answered_all_the_same() {
    let mut bench = bench();
    bench.receive(&Message::Query(message::Query {
        flags: message::FLAG_ACKNOWLEDGE | message::FLAG_NO_BROADCAST,
        ..query("_serf_ping", b"")
    }));
    assert_eq!(bench.take_packets().len(), 1);
    assert_eq!(bench.take_broadcasts(), Vec::<Vec<u8>>::new());
}

#[test]
fn only_members_get_answers() {
    let mut bench = bench();
    bench.receive(&Message::Query(message::Query {
        flags: message::FLAG_ACKNOWLEDGE,
        address: address(200),
        ..query("_serf_ping", b"")
    }));
    assert_eq!(bench.take_packets(), []);
    assert_eq!(bench.take_broadcasts().len(), 1);
}

#[test]
fn filters_choose_who_answers_but_the_query_is_passed_on() {
    let web = b"\x01\x82\xa4Expr\xa3w.*\xa3Tag\xa4role".as_slice();
    let database = b"\x01\x82\xa4Expr\xa4^db$\xa3Tag\xa4role".as_slice();
    let own = b"\x00\x92\xa1m\xa3own".as_slice();
    let others = b"\x00\x91\xa1m".as_slice();
    for (filters, answers) in [
        (vec![web], 1),
        (vec![own, web], 1),
        (vec![own, database], 0),
        (vec![others], 0),
        (vec![b"\x01\x82\xa4Expr\xa1(\xa3Tag\xa4role".as_slice()], 0),
        (vec![b"\x02\x80".as_slice()], 0),
        (vec![b"\x00\xdf".as_slice()], 0),
    ] {
        let mut bench = bench();
        bench.receive(&Message::Query(message::Query {
            flags: message::FLAG_ACKNOWLEDGE,
            filters: filters.clone(),
            ..query("_serf_ping", b"")
        }));
        assert_eq!(bench.take_packets().len(), answers, "{filters:?}");
        assert_eq!(bench.take_broadcasts().len(), 1, "{filters:?}");
    }
}

#[test]
fn an_expression_that_would_take_too_much_matches_nobody() {
    let expression = "(?:\\w{100}){100}";
    let mut filter = vec![1];
    let mut writer = crate::msgpack::Writer::old(&mut filter);
    writer.map(2);
    writer.text("Expr");
    writer.text(expression);
    writer.text("Tag");
    writer.text("role");
    assert!(!query::is_asked(
        &[&filter],
        "own",
        &tags(&[("role", &"w".repeat(20_000))])
    ));
}

#[test]
fn an_empty_filter_drops_the_whole_query() {
    let mut bench = bench();
    bench.receive(&Message::Query(message::Query {
        flags: message::FLAG_ACKNOWLEDGE,
        filters: vec![b""],
        ..query("_serf_ping", b"")
    }));
    assert_eq!(bench.take_packets(), []);
    assert_eq!(bench.take_broadcasts(), Vec::<Vec<u8>>::new());
}

#[test]
fn answers_are_told_once_for_each_member_and_in_time() {
    let mut bench = bench();
    let asked = Query {
        timeout: Some(Duration::from_secs(2)),
        ..own_query("uptime")
    };
    let now = bench.now;
    let id = bench.layer.ask(now, &asked, &mut bench.actions).unwrap();
    let answer = |from, payload: Option<&'static [u8]>| {
        Message::Answer(message::Answer {
            time: id.time,
            id: id.id,
            from,
            acknowledgement: payload.is_none(),
            payload: payload.unwrap_or_default(),
        })
    };
    for message in [
        answer("m", None),
        answer("m", Some(b"1 day")),
        answer("m", Some(b"2 days")),
        answer("m", None),
        answer("n", Some(b"3 days")),
    ] {
        bench.receive(&message);
    }
    let expected = [
        ("m".to_owned(), None),
        ("m".to_owned(), Some(b"1 day".to_vec())),
        ("n".to_owned(), Some(b"3 days".to_vec())),
    ];
    assert_eq!(answers(&mut bench), expected);
    assert_eq!(bench.layer.deadline(), bench.now + Duration::from_secs(2));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.take_notices(), [Notice::QueryOver(id)]);
    bench.receive(&answer("o", Some(b"late")));
    assert_eq!(bench.take_notices(), []);
}

#[test]
fn answers_to_nothing_that_was_asked_are_dropped() {
    let mut bench = bench();
    bench.receive(&answer("m", Some(b"x")));
    assert_eq!(bench.take_notices(), []);
}

#[test]
fn this_node_answers_its_own_query() {
    let mut bench = bench();
    let asked = Query {
        acknowledge: true,
        ..Query::keys(&KeyOperation::List, 0)
    };
    let id = (bench.layer)
        .ask(bench.now, &asked, &mut bench.actions)
        .unwrap();
    let notices = bench.take_notices();
    let [acknowledged, asked] = &notices[..] else {
        panic!("{notices:?}");
    };
    assert!(matches!(acknowledged, Notice::Answer { payload: None, .. }));
    let operation = KeyOperation::List;
    assert_eq!(
        *asked,
        Notice::Keys {
            by: "own".into(),
            query: id,
            operation
        }
    );
    let given = KeyAnswer {
        done: true,
        message: String::new(),
        keys: vec!["AAECAwQFBgcICQoLDA0ODw==".to_owned()],
        primary: "AAECAwQFBgcICQoLDA0ODw==".to_owned(),
    };
    let (now, answer) = (bench.now, given.clone());
    bench
        .layer
        .answer_keys(now, id, answer.clone(), &mut bench.actions);
    bench.layer.answer_keys(now, id, answer, &mut bench.actions);
    let told = answers(&mut bench);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, "own");
    assert_eq!(KeyAnswer::decode(told[0].1.as_ref().unwrap()), Ok(given));
    assert_eq!(bench.take_packets(), []);
}

#[test]
fn default_time_for_answers_follows_from_the_number_of_members() {
    for (members, millis) in [
        (1, 3_200),
        (9, 3_200),
        (10, 6_400),
        (99, 6_400),
        (100, 9_600),
    ] {
        let timeout = query::default_timeout(Duration::from_millis(200), members);
        assert_eq!(timeout, Duration::from_millis(millis), "{members}");
    }
}

#[test]
fn key_queries_reach_the_agent_and_its_answer_the_asker() {
    let key: Vec<u8> = (0..32).collect();
    for operation in [
        KeyOperation::Install(key.clone()),
        KeyOperation::Use(key.clone()),
        KeyOperation::Remove(key),
        KeyOperation::List,
    ] {
        let mut bench = bench();
        let Query { name, payload, .. } = Query::keys(&operation, 0);
        bench.receive(&Message::Query(query(&name, &payload)));
        let expected = Notice::Keys {
            by: "m".into(),
            query: ID,
            operation,
        };
        assert_eq!(bench.take_notices(), [expected]);
        let refused = KeyAnswer {
            message: "No keyring to modify (encryption not enabled)".to_owned(),
            ..KeyAnswer::default()
        };
        let now = bench.now;
        bench
            .layer
            .answer_keys(now, ID, refused.clone(), &mut bench.actions);
        let packets = bench.take_packets();
        let Ok(Message::Answer(answer)) = Message::decode(&packets[0].1) else {
            panic!("{packets:?}");
        };
        assert_eq!(KeyAnswer::decode(answer.payload), Ok(refused));
    }
}

#[test]
fn a_key_answer_that_comes_too_late_is_not_sent() {
    let mut bench = bench();
    let Query { name, payload, .. } = Query::keys(&KeyOperation::List, 0);
    bench.receive(&Message::Query(query(&name, &payload)));
    bench.now += Duration::from_millis(2_001);
    let now = bench.now;
    bench
        .layer
        .answer_keys(now, ID, KeyAnswer::default(), &mut bench.actions);
    assert_eq!(bench.take_packets(), []);
}

#[test]
fn a_key_query_without_a_request_is_left_out() {
    for payload in [b"".as_slice(), b"\x06\x80", b"\x07", b"\x07\x81\xa3Key\xda"] {
        let mut bench = bench();
        bench.receive(&Message::Query(query("_serf_install-key", payload)));
        assert_eq!(bench.take_notices(), [], "{payload:?}");
    }
}

#[test]
fn a_list_of_many_keys_is_cut_to_fit_and_says_so() {
    let mut bench = bench();
    let Query { name, payload, .. } = Query::keys(&KeyOperation::List, 0);
    bench.receive(&Message::Query(query(&name, &payload)));
    let keys: Vec<_> = (0..100).map(|key| format!("{key:044}")).collect();
    let answer = KeyAnswer {
        done: true,
        primary: keys[0].clone(),
        keys: keys.clone(),
        ..KeyAnswer::default()
    };
    bench
        .layer
        .answer_keys(bench.now, ID, answer, &mut bench.actions);
    let packets = bench.take_packets();
    let octets = packets[0].1.len();
    assert!(octets <= 1_024 && octets > 1_024 - 46, "{octets}");
    let Ok(Message::Answer(answer)) = Message::decode(&packets[0].1) else {
        panic!("{packets:?}");
    };
    let told = KeyAnswer::decode(answer.payload).unwrap();
    let shown = told.keys.len();
    assert_eq!(told.keys, keys[..shown]);
    let message = format!("truncated key list response, showing first {shown} of 100 keys");
    assert_eq!(told.message, message);
}

#[test]
fn where_a_node_is_others_say_and_it_does_not() {
    let mut bench = bench();
    bench.receive(&Message::Query(query("_serf_conflict", b"m")));
    let packets = bench.take_packets();
    let Ok(Message::Answer(answer)) = Message::decode(&packets[0].1) else {
        panic!("{packets:?}");
    };
    let expected = b"\x06\x8b\xa4Addr\xa4\x0a\x00\x00\x02\xabDelegateCur\x04\xabDelegateMax\x05\
        \xabDelegateMin\x02\xa4Name\xa1m\xa4Port\xcd\x20\x6d\xabProtocolCur\x02\xabProtocolMax\x05\
        \xabProtocolMin\x01\xa6Status\x01\xa4Tags\x81\xa4role\xa3web";
    assert_eq!(answer.payload, expected);

    let mut bench = self::bench();
    bench.receive(&Message::Query(query("_serf_conflict", b"nobody")));
    let packets = bench.take_packets();
    let nobody = self::answer("own", Some(b"\x06\xc0"));
    assert_eq!(Message::decode(&packets[0].1), Ok(nobody));

    let mut bench = self::bench();
    bench.receive(&Message::Query(query("_serf_conflict", b"own")));
    assert_eq!(bench.take_packets(), []);
}

#[test]
fn answers_go_through_as_many_others_as_the_asker_wants() {
    let mut bench = bench();
    bench.join("n", 3);
    bench.join("o", 4);
    let mut old = node("old", 5);
    old.versions.0[1] = 4;
    bench.event(Event::Joined(&old));
    bench.join("failed", 6);
    bench.die("failed", 6);
    bench.receive(&Message::Query(message::Query {
        flags: message::FLAG_ACKNOWLEDGE,
        relay_factor: 5,
        ..query("_serf_ping", b"")
    }));
    let packets = bench.take_packets();
    let mut relays: Vec<_> = packets[1..].iter().map(|(to, _)| *to).collect();
    relays.sort();
    assert_eq!(relays, [address(2), address(3), address(4)]);
    for (_, octets) in &packets[1..] {
        let Ok(Message::Relay(relay)) = Message::decode(octets) else {
            panic!("{octets:?}");
        };
        assert_eq!((relay.address, relay.node), (address(2), "m"));
        assert_eq!(Message::decode(relay.inner), Ok(answer("own", None)));
    }
}

#[test]
fn only_members_get_what_is_to_be_passed_on() {
    let relay = |number, inner: &'static [u8]| {
        Message::Relay(message::Relay {
            address: address(number),
            node: "m",
            inner,
        })
    };
    let mut bench = bench();
    bench.receive(&relay(2, b"\x05\x80"));
    assert_eq!(bench.take_packets(), [(address(2), b"\x05\x80".to_vec())]);
    bench.receive(&relay(200, b"\x05\x80"));
    bench.receive(&relay(2, b""));
    assert_eq!(bench.take_packets(), []);
}

#[test]
fn queries_of_this_node_are_bounded() {
    let mut bench = bench();
    let long = Query {
        payload: vec![0; 1_000],
        ..own_query("q")
    };
    let now = bench.now;
    let asked = bench.layer.ask(now, &long, &mut bench.actions);
    assert_eq!(asked, Err(SerfError::Query));
    let mut ask = || bench.layer.ask(now, &own_query("q"), &mut bench.actions);
    for _ in 0..query::ASKED_MAX {
        ask().unwrap();
    }
    assert_eq!(ask(), Err(SerfError::Queries { limit: 128 }));
}

#[test]
fn a_query_of_nodes_reaches_only_those() {
    let mut bench = bench();
    let asked = Query {
        nodes: vec!["m".to_owned()],
        acknowledge: true,
        ..own_query("uptime")
    };
    bench
        .layer
        .ask(bench.now, &asked, &mut bench.actions)
        .unwrap();
    assert_eq!(bench.take_notices(), []);
    let broadcasts = bench.take_broadcasts();
    let Ok(Message::Query(query)) = Message::decode(&broadcasts[0]) else {
        panic!("{broadcasts:?}");
    };
    assert_eq!(query.filters, [b"\x00\x91\xa1m"]);
    assert_eq!(query.timeout_nanoseconds, 3_200_000_000);
    assert_eq!((query.address, query.source), (address(1), "own"));
}

#[test]
fn broadcasts_that_wait_are_bounded() {
    let mut bench = bench();
    for time in 0..5_000_u64 {
        bench.receive(&Message::Event(message::Event {
            time,
            name: "flood",
            payload: b"",
            coalesce: false,
        }));
        bench.layer.settle(&mut bench.actions);
        bench.actions.clear();
    }
    assert_eq!(bench.layer.event_queue.len(), 4_096);
}
