use std::collections::BTreeSet;

use super::*;
use crate::dns::tests::world::World;
use crate::types::{Address, Status};

/// A service whose instances are at these addresses, the last octets of 10.1.x.x.
fn service(addresses: impl IntoIterator<Item = usize>) -> World {
    let mut world = World::new();
    world.node("n1", "10.0.0.1");
    for (number, address) in addresses.into_iter().enumerate() {
        let (high, low) = (address / 250, address % 250);
        world.instance("n1", &format!("web-{number}"), |service| {
            service.address = Address::from_text(&format!("10.1.{high}.{low}"));
        });
    }
    world
}

fn with_subset<R>(world: &World, then: impl FnOnce(&Subset) -> R) -> R {
    let slot = world.sources.catalog.dns().service(b"web").unwrap();
    then(&slot.load().as_ref().unwrap().all)
}

/// Draws everything; the addresses in order.
fn draw(subset: &Subset, capacity: usize, random: &mut Random) -> (Order, Vec<IpAddr>) {
    let mut scratch = Scratch::default();
    let spans = Spans::of(subset, Kind::V4, false);
    let choice = Selection::new(
        subset,
        Kind::V4,
        spans,
        false,
        capacity,
        &mut scratch,
        random,
    );
    let order = choice.order;
    (order, choice.filter_map(|(_, view)| view.any()).collect())
}

#[test]
fn every_way_of_drawing_draws_each_instance_once() {
    let mut random = Random::from_seed(3);
    for (instances, capacity, expected) in [
        (100, 3, Order::Few),
        (100, 20, Order::Listed),
        (3000, 100, Order::Few),
        (3000, 150, Order::Many),
        (3000, 4000, Order::Listed),
    ] {
        let world = service(0..instances);
        with_subset(&world, |subset| {
            let (order, drawn) = draw(subset, capacity, &mut random);
            assert_eq!(order, expected);
            assert_eq!(drawn.len(), instances);
            assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), instances);
        });
    }
}

#[test]
fn equal_records_are_drawn_once_wherever_they_stand() {
    let mut random = Random::from_seed(4);
    // Runs of 1 to 60, some parts of which warn.
    let addresses = (1..=60_usize).flat_map(|run| std::iter::repeat_n(run, run));
    let mut world = service(addresses);
    for number in (0..1800).step_by(37) {
        let id = format!("web-{number}");
        world.check("n1", &id, Some(&id), Status::Warning);
    }
    with_subset(&world, |subset| {
        for (capacity, expected) in [(3, Order::Few), (4000, Order::Runs)] {
            let (order, drawn) = draw(subset, capacity, &mut random);
            assert_eq!(order, expected);
            assert_eq!(drawn.len(), 60);
            assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 60);
        }
    });
}

/// As in a shuffle of all instances, of which only the first with each address counts.
#[test]
fn an_address_of_more_instances_comes_first_more_often() {
    let mut random = Random::from_seed(5);
    let shared = std::iter::repeat_n(1, 300);
    let world = service(shared.chain(2..102));
    with_subset(&world, |subset| {
        for capacity in [3, 4000] {
            let first = |random: &mut Random| draw(subset, capacity, random).1[0];
            let shared = IpAddr::from([10, 1, 0, 1]);
            let count = (0..400).filter(|_| first(&mut random) == shared).count();
            assert!((260..340).contains(&count), "{count} of 400, 300 expected");
        }
    });
}

#[test]
fn each_instance_is_first_about_equally_often() {
    let mut random = Random::from_seed(6);
    let world = service(0..40);
    with_subset(&world, |subset| {
        for capacity in [3, 40] {
            let mut counts = HashMap::<IpAddr, usize>::new();
            for _ in 0..8000 {
                let (_, drawn) = draw(subset, capacity, &mut random);
                *counts.entry(drawn[0]).or_default() += 1;
            }
            assert_eq!(counts.len(), 40);
            assert!(
                counts.values().all(|count| (130..270).contains(count)),
                "{counts:?}"
            );
        }
    });
}

#[test]
fn a_listed_choice_draws_from_the_list_only() {
    let mut random = Random::from_seed(7);
    let world = service(0..50);
    with_subset(&world, |subset| {
        let mut scratch = Scratch::default();
        let spans = Spans::of(subset, Kind::Target, false);
        let count = scratch.list(subset, &spans, |view| view.v4.unwrap().octets()[3] < 10);
        assert_eq!(count, 10);
        let choice = Selection::new(
            subset,
            Kind::Target,
            spans,
            true,
            3,
            &mut scratch,
            &mut random,
        );
        let drawn: BTreeSet<usize> = choice.map(|(position, _)| position).collect();
        assert_eq!(drawn, (0..10).collect());
    });
}
