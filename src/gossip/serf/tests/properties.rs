//! Whatever arrives, in whatever order.

use proptest::prelude::*;

use super::*;
use crate::gossip::serf::state::State;

/// What one side of a push/pull says of members `a` to `d`.
#[derive(Clone, Debug)]
struct Told {
    statuses: Vec<(&'static str, LamportTime, bool)>,
}

fn told() -> impl Strategy<Value = Told> {
    let name = proptest::sample::select(vec!["a", "b", "c", "d"]);
    let statuses = proptest::collection::btree_map(name, (0_u64..6, any::<bool>()), 0..4);
    statuses.prop_map(|statuses| Told {
        statuses: (statuses.into_iter())
            .map(|(name, (time, left))| (name, time, left))
            .collect(),
    })
}

/// The statuses of members and strangers after those exchanges; `c` and `d` join at the end.
fn merged(tellers: &[&Told]) -> Vec<Option<(MemberStatus, LamportTime)>> {
    let mut bench = Bench::new();
    bench.join("a", 2);
    bench.join("b", 3);
    for told in tellers {
        let left = told.statuses.iter().filter(|(.., left)| *left);
        let state = State {
            statuses: (told.statuses.iter())
                .map(|(name, time, _)| (*name, *time))
                .collect(),
            left: left.map(|(name, ..)| *name).collect(),
            ..State::default()
        };
        bench
            .layer
            .merge(bench.now, false, &state, &mut bench.actions);
    }
    bench.join("c", 4);
    bench.join("d", 5);
    ["a", "b", "c", "d"].map(|name| bench.status(name)).to_vec()
}

proptest! {
    #[test]
    fn statuses_of_push_pulls_come_out_the_same_in_any_order_and_number(
        one in told(), other in told(), third in told(),
    ) {
        let expected = merged(&[&one, &other, &third]);
        for order in [
            vec![&third, &one, &other],
            vec![&other, &third, &one],
            vec![&third, &other, &one],
            vec![&one, &one, &other, &third, &third],
            vec![&one, &other, &third, &other, &one],
        ] {
            prop_assert_eq!(merged(&order), expected.clone(), "{:?}", order);
        }
    }

    #[test]
    fn events_are_told_exactly_once_however_often_and_in_whatever_order_they_come(
        sent in proptest::collection::btree_set((1_u64..300, 0_u8..3), 1..60),
        arrivals in proptest::collection::vec(any::<prop::sample::Index>(), 0..200),
    ) {
        let sent: Vec<_> = sent.into_iter().collect();
        let all = (0..sent.len()).map(|place| sent[place]);
        let arrivals = arrivals.iter().map(|place| sent[place.index(sent.len())]);
        let mut bench = Bench::new();
        for (time, payload) in arrivals.chain(all) {
            let payload = &[payload];
            let event = message::Event { time, name: "e", payload, coalesce: false };
            bench.receive(&Message::Event(event));
        }
        let mut told: Vec<_> = bench.take_notices().into_iter().map(|notice| match notice {
            Notice::Event(event) => (event.time, event.payload[0]),
            other => panic!("{other:?}"),
        }).collect();
        told.sort_unstable();
        prop_assert_eq!(told, sent);
    }

    #[test]
    fn arbitrary_messages_never_panic(kind in 0_u8..12, body: Vec<u8>, join: bool) {
        let mut bench = Bench::new();
        bench.join("m", 2);
        let octets: Vec<u8> = std::iter::once(kind).chain(body).collect();
        bench.receive_octets(&octets);
        bench.layer.merge_state(bench.now, join, &octets, &mut bench.actions);
        let mut stranger = node("stranger", 3);
        stranger.meta = octets.into();
        let _ = bench.layer.may_enter(&stranger, swim::State::Alive);
        let _ = bench.layer.may_merge(&[(stranger, swim::State::Dead)]);
    }

    #[test]
    fn messages_with_one_octet_changed_never_panic(
        which in 0_usize..7, place: prop::sample::Index, octet: u8,
    ) {
        let inner = b"\x05\x82\xa4From\xa1m\xa2ID\x05".as_slice();
        let messages = [
            Message::Leave(message::Leave { time: 9, node: "m", prune: true }),
            Message::Join(message::Join { time: 9, node: "m" }),
            Message::Event(message::Event {
                time: 9, name: "e", payload: b"payload", coalesce: true,
            }),
            Message::Query(message::Query {
                time: 9, id: 77, address: address(2), source: "m",
                filters: vec![b"\x00\x91\xa3own", b"\x01\x82\xa4Expr\xa3w.*\xa3Tag\xa4role"],
                flags: 1, relay_factor: 3, timeout_nanoseconds: 1, name: "_serf_list-keys",
                payload: b"\x07\x81\xa3Key\xa0",
            }),
            Message::Answer(message::Answer {
                time: 9, id: 7, from: "m", acknowledgement: false, payload: b"x",
            }),
            Message::Relay(message::Relay { address: address(2), node: "m", inner }),
        ];
        let mut octets = Vec::new();
        if let Some(message) = messages.get(which) {
            message.encode(&mut octets);
        } else {
            let mut teller = Bench::new();
            teller.join("m", 2);
            teller.layer.fire("e", b"x", false, &mut teller.actions).unwrap();
            teller.layer.write_state(true, &mut octets);
        }
        let place = place.index(octets.len());
        octets[place] = octet;
        let mut bench = Bench::new();
        bench.join("m", 2);
        bench.receive_octets(&octets);
        bench.layer.merge_state(bench.now, true, &octets, &mut bench.actions);
        bench.layer.settle(&mut bench.actions);
    }

    #[test]
    fn messages_come_out_as_they_went_in(
        time: u64, id: u32, node in "[a-z]{1,40}", name in ".{0,40}",
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        flags in 0_u32..4, relay_factor: u8, timeout in 0_i64.., flag: bool,
    ) {
        let (payload, node, name) = (payload.as_slice(), node.as_str(), name.as_str());
        let timeout_nanoseconds = timeout.unsigned_abs();
        for message in [
            Message::Leave(message::Leave { time, node, prune: flag }),
            Message::Join(message::Join { time, node }),
            Message::Event(message::Event { time, name, payload, coalesce: flag }),
            Message::Query(message::Query {
                time, id, address: "[2001:db8::1]:7".parse().unwrap(), source: node,
                filters: vec![b"\x00\x90"; 3], flags, relay_factor, timeout_nanoseconds, name,
                payload,
            }),
            Message::Answer(message::Answer {
                time, id, from: node, acknowledgement: flag, payload,
            }),
            Message::Relay(message::Relay { address: address(3), node, inner: payload }),
        ] {
            let mut octets = Vec::new();
            message.encode(&mut octets);
            prop_assert_eq!(Message::decode(&octets), Ok(message));
        }
    }
}
