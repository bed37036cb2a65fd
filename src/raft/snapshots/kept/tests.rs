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
    let mut incoming = kept.incoming().unwrap();
    incoming.write_all(b"half").unwrap();
    assert!(kept.incoming().is_err(), "one at a time");
    drop(incoming);
    assert!(directory.names().is_empty());
    // Killed while it writes: the file stays until the next start.
    fs::write(directory.0.join("snapshots/7.partial"), b"half").unwrap();
    let (kept, loaded) = directory.open();
    assert!(loaded.is_none());
    assert!(directory.names().is_empty());
    assert!(kept.incoming().is_ok());
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
