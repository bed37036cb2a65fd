//! Snapshots: the same state by log and by snapshot, and what readers see when one is installed.

use std::io::{self, Read};
use std::sync::Arc;

use proptest::prelude::*;

use super::model::{any_log, check_views, keys};
use super::*;
use crate::catalog::State;
use crate::catalog::snapshot::{SnapshotError, read, read_alone, write};

fn octets(state: &State) -> Vec<u8> {
    let mut octets = Vec::new();
    write(state, &mut octets).unwrap();
    octets
}

fn restored(octets: &[u8]) -> State {
    let state = read(&mut &octets[..]).unwrap();
    let alone = read_alone(&mut &octets[..]).unwrap();
    assert_eq!(state.digest(), alone.digest());
    state
}

fn text(catalog: &Catalog) -> String {
    format!("{:?}", catalog.reader.state())
}

/// Whether two catalogs are one in everything that can be seen.
fn assert_same(one: &Catalog, other: &Catalog) {
    let (left, right) = (one.reader.state(), other.reader.state());
    for key in keys() {
        assert_eq!(left.index_of(&key), right.index_of(&key), "{key:?}");
    }
    assert_eq!(one.reader.applied(), other.reader.applied());
    assert_eq!(text(one), text(other));
    assert_eq!(left.digest(), right.digest());
    check_views(other);
}

/// Gives the octets one by one.
struct Drops<'a>(&'a [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = buffer.len().min(1);
        self.0.read(&mut buffer[..end])
    }
}

fn apply_all(catalog: &mut Catalog, log: &[Vec<Operation>]) {
    for operations in log {
        catalog.apply(operations.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_state_is_the_same_by_log_and_by_snapshot(
        log in any_log(),
        cut in any::<prop::sample::Index>(),
        behind in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(log.len() + 1);
        let behind = behind.index(cut + 1);
        let mut whole = Catalog::new();
        apply_all(&mut whole, &log[..cut]);
        let written = octets(&whole.reader.state());
        // One has nothing yet, the other a part of what the snapshot has.
        for start in [0, behind] {
            let mut other = Catalog::new();
            apply_all(&mut other, &log[..start]);
            other.writer.install(restored(&written)).unwrap();
            assert_same(&whole, &other);
            prop_assert_eq!(&octets(&other.reader.state()), &written);
            let mut rest = Catalog::new();
            apply_all(&mut rest, &log);
            apply_all(&mut other, &log[cut..]);
            assert_same(&rest, &other);
        }
    }

    #[test]
    fn a_start_shows_what_snapshot_and_log_say_and_nothing_before(
        log in any_log(),
        cut in any::<prop::sample::Index>(),
        length in 1..20_usize,
    ) {
        let cut = cut.index(log.len() + 1);
        let mut whole = Catalog::new();
        apply_all(&mut whole, &log[..cut]);
        let kept = restored(&octets(&whole.reader.state()));
        apply_all(&mut whole, &log[cut..]);
        let (writer, reader) = open_server();
        let mut recovery = writer.recover(kept).unwrap();
        for operations in log[cut..].chunks(length) {
            let mut index = recovery.applied();
            let portion = operations.iter().map(|operations| {
                index = index.next();
                let operations = operations.clone();
                (index, Command { request: 0, operations })
            });
            recovery.apply(portion.collect()).unwrap();
            prop_assert_eq!(reader.applied(), Index::ZERO);
            prop_assert_eq!(reader.state().node_count(), 0);
        }
        let mut started = Catalog { writer: recovery.finish(), reader };
        assert_same(&whole, &started);
        // It goes on like any other.
        apply_all(&mut whole, &log);
        apply_all(&mut started, &log);
        assert_same(&whole, &started);
    }

    #[test]
    fn any_state_can_follow_any_other(before in any_log(), after in any_log()) {
        let (mut one, mut other) = (Catalog::new(), Catalog::new());
        apply_all(&mut one, &before);
        apply_all(&mut other, &after);
        while other.writer.applied() <= one.writer.applied() {
            other.apply(Vec::new());
        }
        one.writer.install(restored(&octets(&other.reader.state()))).unwrap();
        assert_same(&other, &one);
    }

    #[test]
    fn a_cut_or_damaged_snapshot_is_an_error(
        log in any_log(),
        places in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 16),
    ) {
        let mut catalog = Catalog::new();
        apply_all(&mut catalog, &log);
        let mut octets = octets(&catalog.reader.state());
        for (place, bit) in places {
            let place = place.index(octets.len());
            prop_assert!(read(&mut &octets[..place]).is_err(), "{} octets", place);
            prop_assert!(read_alone(&mut &octets[..place]).is_err(), "{} octets", place);
            octets[place] ^= 1 << bit;
            prop_assert!(read(&mut &octets[..]).is_err(), "octet {}", place);
            octets[place] ^= 1 << bit;
        }
        prop_assert!(read(&mut Drops(&octets)).is_ok());
    }

    #[test]
    fn no_octets_make_it_panic(
        log in any_log(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut catalog = Catalog::new();
        apply_all(&mut catalog, &log);
        let mut changed = octets(&catalog.reader.state());
        for (place, octet) in changes {
            let place = place.index(changed.len());
            changed[place] = octet;
        }
        mend(&mut changed);
        if let Ok(state) = read(&mut &changed[..]) {
            // Whatever is let through holds together.
            let mut other = Catalog::new();
            if state.applied() > Index::ZERO {
                other.writer.install(state).unwrap();
                check_views(&other);
            }
        }
    }
}

/// Makes the checksums right, as far as there are chunks.
fn mend(octets: &mut [u8]) {
    let mut at = 10;
    while let Some(head) = octets.get(at..at + 8) {
        let length = u32::from_le_bytes(head[4..].try_into().unwrap());
        let end = at + 8 + length as usize;
        if octets.len() < end + 4 {
            return;
        }
        let checksum = crc32c::crc32c(&octets[at..end]).to_le_bytes();
        octets[end..end + 4].copy_from_slice(&checksum);
        at = end + 4;
    }
}

fn web() -> Catalog {
    let mut catalog = Catalog::new();
    for (host, status) in [("n1", Status::Passing), ("n2", Status::Critical)] {
        catalog.change([registration(
            node(host, "10.0.0.1"),
            Some(service(host, "Web", &["t"], "")),
            vec![check("c", Some(host), status)],
        )]);
    }
    catalog
}

#[test]
fn every_cut_and_every_changed_octet_of_a_snapshot_is_an_error() {
    let mut octets = octets(&web().reader.state());
    for place in 0..octets.len() {
        assert!(read(&mut &octets[..place]).is_err(), "{place} octets");
        octets[place] ^= 1 << (place % 8);
        assert!(read(&mut &octets[..]).is_err(), "octet {place}");
        octets[place] ^= 1 << (place % 8);
    }
}

#[test]
fn octets_after_the_end_are_left_to_the_caller() {
    let mut octets = octets(&web().reader.state());
    octets.extend(b"more");
    let mut rest = &octets[..];
    read(&mut rest).unwrap();
    assert_eq!(rest, b"more");
}

#[test]
fn errors_say_what_is_wrong() {
    let whole = octets(&web().reader.state());
    let error = |octets: &[u8]| read(&mut &octets[..]).unwrap_err();
    assert!(matches!(error(b"PK"), SnapshotError::Foreign));
    assert!(matches!(error(&[b'x'; 100]), SnapshotError::Foreign));
    let cut = error(&whole[..whole.len() - 1]).to_string();
    assert_eq!(
        cut,
        format!("the snapshot is cut off after {} octets", whole.len() - 1)
    );
    // Everything but the end, whose chunk has a head of 8, 5 octets and a checksum.
    let cut = error(&whole[..whole.len() - 17]);
    assert!(matches!(cut, SnapshotError::Cut { .. }), "{cut}");
    let change = |place: usize, octet: u8| {
        let mut changed = whole.clone();
        changed[place] = octet;
        mend(&mut changed);
        error(&changed)
    };
    let newer = change(8, 2).to_string();
    assert_eq!(
        newer,
        "the snapshot needs a later release of herald: format of the snapshot (2)"
    );
    let newer = change(10, 7).to_string();
    assert_eq!(
        newer,
        "the snapshot needs a later release of herald: section of the snapshot (7)"
    );
    let newer = change(12, 2).to_string();
    assert_eq!(
        newer,
        "the snapshot needs a later release of herald: version of a section (2)"
    );
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    let damaged = error(&damaged).to_string();
    assert!(
        damaged.starts_with("the snapshot is damaged in the chunk at octet 10: "),
        "{damaged}"
    );
    // The last octet before the checksum is the number of checks.
    let less = change(whole.len() - 5, 1).to_string();
    assert_eq!(
        less,
        "the snapshot contradicts itself: it does not hold what its end says"
    );
}

#[test]
fn a_long_chunk_is_not_waited_for() {
    let mut octets = octets(&web().reader.state());
    octets[14..18].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = read(&mut &octets[..]).unwrap_err();
    assert!(
        matches!(error, SnapshotError::Damaged { at: 10, .. }),
        "{error}"
    );
}

#[test]
fn entries_longer_than_a_chunk_are_cut_and_joined() {
    let mut catalog = web();
    let mut long = check("long", None, Status::Passing);
    long.output = "0123456789".repeat(300_000).into();
    catalog.change([on("n1", None, vec![long])]);
    let state = catalog.reader.state();
    let octets = octets(&state);
    let mut at = 10;
    while at < octets.len() {
        let length = u32::from_le_bytes(octets[at + 4..at + 8].try_into().unwrap());
        assert!(length <= 1 << 20);
        at += 12 + length as usize;
    }
    assert_eq!(restored(&octets).digest(), state.digest());
    assert_eq!(read(&mut Drops(&octets)).unwrap().digest(), state.digest());
}

#[test]
fn the_digest_knows_spelling_and_position() {
    let digest = |spelling: &str, extra: bool| {
        let mut catalog = Catalog::new();
        catalog.change([registration(node(spelling, ""), None, Vec::new())]);
        if extra {
            catalog.change([deregister_node("other")]);
        }
        catalog.reader.state().digest()
    };
    assert_eq!(digest("a", false), digest("a", false));
    assert_ne!(digest("a", false), digest("A", false));
    assert_ne!(digest("a", false), digest("a", true));
}

#[test]
fn workers_that_hold_slots_see_what_is_installed() {
    let mut other = web();
    let old = octets(&other.reader.state());
    other.change([
        deregister_node("n1"),
        on("n2", None, vec![check("c", Some("n2"), Status::Passing)]),
        registration(
            node("n3", "10.0.0.3"),
            Some(service("d", "db", &[], "")),
            Vec::new(),
        ),
    ]);
    let new = octets(&other.reader.state());

    let mut catalog = Catalog::new();
    catalog.writer.install(restored(&old)).unwrap();
    let (reader, dns) = (catalog.reader.clone(), catalog.reader.dns());
    let slot = dns.service(b"web").unwrap();
    let (gone, kept) = (dns.node(b"n1").unwrap(), dns.node(b"n2").unwrap());
    let view = kept.load().clone().unwrap();
    catalog.writer.install(restored(&new)).unwrap();

    // The slot that is linked is the one that was, with the newest view.
    assert!(Arc::ptr_eq(&slot, &dns.service(b"web").unwrap()));
    assert!(Arc::ptr_eq(
        &slot,
        &reader.state().service(&name("web")).unwrap().slot
    ));
    let seen = slot.load().clone().unwrap();
    let nodes: Vec<_> = seen
        .all
        .instances()
        .iter()
        .map(|i| i.node.name.clone())
        .collect();
    assert_eq!(nodes, [name::<NodeName>("n2")]);
    // A name that went is empty and unlinked; one that came is linked.
    assert!(gone.load().is_none());
    assert!(dns.node(b"n1").is_none());
    assert!(dns.service(b"db").unwrap().load().is_some());
    // What did not change was not made anew.
    assert!(Arc::ptr_eq(&view, kept.load().as_ref().unwrap()));
    assert_eq!(reader.applied(), Index(3));
}

#[test]
fn an_unchanged_service_keeps_its_view() {
    let mut other = web();
    let mut catalog = Catalog::new();
    catalog
        .writer
        .install(restored(&octets(&other.reader.state())))
        .unwrap();
    let slot = catalog.reader.dns().service(b"web").unwrap();
    let view = slot.load().clone().unwrap();
    other.change([registration(
        node("n9", ""),
        Some(service("d", "db", &[], "")),
        Vec::new(),
    )]);
    catalog
        .writer
        .install(restored(&octets(&other.reader.state())))
        .unwrap();
    assert!(Arc::ptr_eq(&view, slot.load().as_ref().unwrap()));
    check_views(&catalog);
}

#[tokio::test]
async fn those_wake_whose_index_moved_and_nobody_else() {
    let mut other = web();
    other.change([registration(
        node("n3", ""),
        Some(service("d", "db", &[], "")),
        Vec::new(),
    )]);
    let mut catalog = Catalog::new();
    catalog
        .writer
        .install(restored(&octets(&other.reader.state())))
        .unwrap();
    other.change([deregister_node("n1"), deregister_node("n2")]);
    let watch = |key: &WatchKey| catalog.reader.watch(key);
    let mut vanished = watch(&WatchKey::ServiceHealth(name("web")));
    let mut missing = watch(&WatchKey::ServiceHealth(name("none")));
    let mut node = watch(&WatchKey::NodeServices(name("n1")));
    let mut same = watch(&WatchKey::ServiceHealth(name("db")));
    catalog
        .writer
        .install(restored(&octets(&other.reader.state())))
        .unwrap();
    vanished.changed().await;
    missing.changed().await;
    node.changed().await;
    tokio::select! {
        biased;
        () = same.changed() => panic!("its index did not move"),
        () = std::future::ready(()) => {}
    }
}

#[test]
fn an_older_or_different_state_is_not_installed() {
    let mut catalog = web();
    let same = octets(&catalog.reader.state());
    let mut older = Catalog::new();
    older.change([registration(node("a", ""), None, Vec::new())]);
    let mut different = Catalog::new();
    different.change([registration(node("a", ""), None, Vec::new())]);
    different.change([registration(node("b", ""), None, Vec::new())]);
    let before = text(&catalog);
    for other in [older, different] {
        let state = restored(&octets(&other.reader.state()));
        let corrupt = catalog.writer.install(state).unwrap_err();
        assert_eq!(corrupt.index, other.reader.applied());
        assert_eq!(text(&catalog), before);
    }
    // The same at the same position is nothing new.
    let slot = catalog.reader.dns().service(b"web").unwrap();
    catalog.writer.install(restored(&same)).unwrap();
    assert!(Arc::ptr_eq(
        &slot,
        &catalog.reader.dns().service(b"web").unwrap()
    ));
    assert_eq!(text(&catalog), before);
}

#[test]
fn what_readers_have_seen_is_not_recovered_over() {
    let catalog = web();
    let same = restored(&octets(&catalog.reader.state()));
    let corrupt = catalog.writer.recover(same).unwrap_err();
    assert_eq!(corrupt.index, catalog.reader.applied());
}
