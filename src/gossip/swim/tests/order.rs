//! What is heard twice or in another order makes no difference.
//!
//! Of one node, accusations go to one incarnation here: peers settle the order of accusations under
//! several by time, which `rumours` tests rule by rule.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Where two tables came to: state and incarnation by name.
type Table = BTreeMap<&'static str, Option<(State, u32)>>;

/// What one side of an exchange says of the three nodes, in this order.
type Side = [(State, u32); 3];

fn table(fixture: &Fixture) -> Table {
    let names = NAMES.into_iter().chain(["own"]);
    names.map(|name| (name, fixture.state(name))).collect()
}

fn take(fixture: &mut Fixture, side: Side) {
    let nodes: Vec<_> = NAMES
        .iter()
        .zip(side)
        .map(|(name, (s, i))| (*name, i, s))
        .collect();
    fixture.exchange(false, &nodes).unwrap();
}

/// A side that accuses each node under the given incarnation, if it does at all.
fn side(accused: [u32; 3]) -> impl Strategy<Value = Side> {
    accused.map(|accused| {
        prop_oneof![
            (1_u32..9).prop_map(|incarnation| (State::Alive, incarnation)),
            Just((State::Suspect, accused)),
            Just((State::Dead, accused)),
        ]
    })
}

fn sides() -> impl Strategy<Value = Vec<Side>> {
    proptest::array::uniform3(1_u32..9)
        .prop_flat_map(|accused| proptest::collection::vec(side(accused), 1..6))
}

/// Anything at all that can be said of a node.
fn rumour() -> impl Strategy<Value = (char, &'static str, u32)> {
    let names = prop::sample::select(vec!["a", "b", "c", "own", "new"]);
    (
        prop::sample::select(vec!['A', 'S', 'D', 'L']),
        names,
        0_u32..9,
    )
}

proptest! {
    #[test]
    fn the_order_of_exchanges_makes_no_difference(sides in sides(), seed in any::<u64>()) {
        let mut shuffled = sides.clone();
        let mut random = SmallRng::seed_from_u64(seed);
        for last in (1..shuffled.len()).rev() {
            shuffled.swap(random.random_range(0..=last), last);
        }
        let mut one = Fixture::with(&NAMES);
        let mut other = Fixture::with(&NAMES);
        for side in sides {
            take(&mut one, side);
        }
        for side in shuffled {
            take(&mut other, side);
        }
        prop_assert_eq!(table(&one), table(&other));
    }

    #[test]
    fn an_exchange_twice_is_as_good_as_once(sides in sides()) {
        let mut once = Fixture::with(&NAMES);
        let mut twice = Fixture::with(&NAMES);
        for side in sides {
            take(&mut once, side);
            take(&mut twice, side);
            once.told();
            twice.told();
            take(&mut twice, side);
            prop_assert_eq!(table(&once), table(&twice));
            prop_assert_eq!(twice.told(), Vec::<String>::new());
        }
        prop_assert_eq!(once.events(), twice.events());
    }

    #[test]
    fn a_rumour_twice_is_as_good_as_once(rumours in proptest::collection::vec(rumour(), 1..20)) {
        let mut fixture = Fixture::with(&NAMES);
        for (kind, name, incarnation) in rumours {
            rumours::rumour(&mut fixture, kind, name, incarnation);
            fixture.told();
            let before = (table(&fixture), fixture.swim.health_score());
            fixture.events();
            rumours::rumour(&mut fixture, kind, name, incarnation);
            prop_assert_eq!((table(&fixture), fixture.swim.health_score()), before);
            prop_assert_eq!(fixture.told(), Vec::<String>::new());
            prop_assert_eq!(fixture.events(), Vec::<String>::new());
        }
    }

    #[test]
    fn two_who_exchange_all_they_know_agree(ours in sides(), theirs in sides()) {
        let mut one = Fixture::with(&NAMES);
        let mut other = Fixture::with(&NAMES);
        for side in ours {
            take(&mut one, side);
        }
        for side in theirs {
            take(&mut other, side);
        }
        for _ in 0..2 {
            exchange(&mut one, &mut other);
        }
        for name in NAMES {
            let (one, other) = (one.state(name).unwrap(), other.state(name).unwrap());
            prop_assert_eq!(one.0, other.0, "{}", name);
        }
    }
}

/// Both sides write what they know before either takes anything in.
fn exchange(one: &mut Fixture, other: &mut Fixture) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    one.swim
        .write_exchange(false, true, &mut one.above, &mut ours);
    other
        .swim
        .write_exchange(false, true, &mut other.above, &mut theirs);
    for (fixture, octets) in [(one, theirs), (other, ours)] {
        let decoded = crate::gossip::wire::StreamMessage::decode(&octets);
        let Ok(crate::gossip::wire::StreamMessage::PushPull(mut remote)) = decoded else {
            panic!("{octets:?} is no exchange");
        };
        remote.nodes.retain(|node| node.name != "own");
        let from = address_of("z");
        fixture.handle(Input::Exchange { from, remote }).unwrap();
    }
}
