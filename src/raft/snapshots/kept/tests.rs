use std::io::Write;

use super::*;
use crate::raft::snapshots::header::tests::meta;
use crate::raft::snapshots::write;

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path =
            std::env::temp_dir().join(format!("herald-snapshots-{:x}", rand::random::<u64>()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("snapshots")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    fn open(&self) -> (Kept, Option<Loaded>) {
        Kept::open(Some(&self.0)).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn keep(kept: &Kept, index: u64) -> Image {
    let out = kept.outgoing().unwrap();
    let image = write(&meta(index), &State::default(), out).unwrap();
    kept.keep(&meta(index), image).unwrap()
}

#[test]
fn two_are_kept_and_the_newest_is_loaded() {
    let directory = Directory::new();
    let (kept, loaded) = directory.open();
    assert!(loaded.is_none());
    for index in [8, 9, 10] {
        keep(&kept, index);
    }
    assert_eq!(directory.names(), ["3-10.snapshot", "3-9.snapshot"]);
    let (kept, loaded) = directory.open();
    assert_eq!(loaded.unwrap().meta, meta(10));
    assert_eq!(kept.newest().unwrap().0, meta(10));
}

#[test]
fn a_damaged_or_cut_one_is_passed_over() {
    for length in [0, 3, 40, 100] {
        let directory = Directory::new();
        let (kept, _) = directory.open();
        keep(&kept, 8);
        let Image::Disk(path) = keep(&kept, 9) else {
            panic!("it is on disk");
        };
        let whole = fs::read(path.as_path()).unwrap();
        fs::write(path.as_path(), &whole[..length.min(whole.len() - 1)]).unwrap();
        let (kept, loaded) = directory.open();
        assert_eq!(loaded.unwrap().meta, meta(8));
        assert_eq!(kept.newest().unwrap().0, meta(8));
    }
}

#[test]
fn an_unfinished_one_leaves_nothing_behind() {
    let directory = Directory::new();
    let (kept, _) = directory.open();
    let mut incoming = kept.incoming(false).unwrap();
    incoming.write_all(b"half").unwrap();
    assert!(kept.incoming(false).is_err(), "one at a time");
    drop(incoming);
    assert!(directory.names().is_empty());
    // Killed while it writes: the file stays until the next start.
    fs::write(directory.0.join("snapshots/7.partial"), b"half").unwrap();
    let (kept, loaded) = directory.open();
    assert!(loaded.is_none());
    assert!(directory.names().is_empty());
    assert!(kept.incoming(false).is_ok());
}

#[test]
fn a_replaced_one_stays_while_somebody_sends_it() {
    let directory = Directory::new();
    let (kept, _) = directory.open();
    let sent = keep(&kept, 8);
    keep(&kept, 9);
    keep(&kept, 10);
    assert!(sent.open().is_ok());
    drop(sent);
    keep(&kept, 11);
    assert_eq!(directory.names(), ["3-10.snapshot", "3-11.snapshot"]);
}

#[test]
fn the_leader_takes_the_place_of_somebody_else() {
    let directory = Directory::new();
    for directory in [Some(directory.0.as_path()), None] {
        let (kept, _) = Kept::open(directory).unwrap();
        let mut first = kept.incoming(false).unwrap();
        first.write_all(b"half").unwrap();
        let mut second = kept.incoming(true).unwrap();
        assert!(kept.incoming(false).is_err(), "one at a time");
        assert!(first.write_all(b"more").is_err());
        assert!(first.finish().is_err());
        second.write_all(b"whole").unwrap();
        let image = second.finish().unwrap();
        assert_eq!(image.octets().unwrap(), 5);
        assert!(kept.incoming(false).is_ok());
        Kept::discard(&image);
    }
    assert!(directory.names().is_empty());
}

#[test]
fn a_snapshot_that_is_received_has_a_greatest_length() {
    let directory = Directory::new();
    for (directory, octets_max) in [(Some(directory.0.as_path()), 4 << 30), (None, 1 << 30)] {
        let (kept, _) = Kept::open(directory).unwrap();
        let mut incoming = kept.incoming(false).unwrap();
        assert_eq!(incoming.octets_max, octets_max);
        incoming.octets_max = 10;
        incoming.write_all(b"half of it").unwrap();
        let error = incoming.write_all(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        drop(incoming);
        assert!(kept.incoming(false).is_ok());
    }
}

#[test]
fn a_snapshot_is_read_once_before_it_is_installed() {
    let (kept, _) = Kept::open(None).unwrap();
    let image = |index| write(&meta(index), &State::default(), kept.outgoing().unwrap()).unwrap();
    assert!(kept.check(&meta(9), &image(9)).is_ok());
    assert!(kept.take_checked(&meta(8)).is_none());
    kept.check(&meta(9), &image(9)).unwrap();
    assert_eq!(kept.take_checked(&meta(9)).unwrap().meta, meta(9));
    assert!(kept.take_checked(&meta(9)).is_none(), "once");
    let other = kept.check(&meta(9), &image(8));
    assert!(matches!(other, Err(ImageError::Another)), "{other:?}");
    let garbage = Image::Memory(b"none".as_slice().into());
    assert!(kept.check(&meta(9), &garbage).is_err());
    assert!(kept.take_checked(&meta(9)).is_none());
}
