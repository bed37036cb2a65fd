//! A place on a disk for what a bench writes: which file system it is, and what a sync takes there.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use herald::clock;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC,
    statfs,
};

/// A directory of this run, gone with this: below `HERALD_BENCH_DIRECTORY`, or below `target`.
pub(crate) struct Place {
    directory: PathBuf,
    count: AtomicU64,
}

impl Place {
    /// Makes the directory.
    ///
    /// # Panics
    /// It cannot be made, or is in memory, where a sync costs nothing.
    pub(crate) fn new(bench: &str) -> Self {
        let asked = std::env::var_os("HERALD_BENCH_DIRECTORY").map(PathBuf::from);
        let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        let directory = asked.unwrap_or_else(default);
        let directory = directory.join(format!("bench-{bench}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("the directory can be made");
        let count = AtomicU64::new(0);
        let place = Self { directory, count };
        assert!(
            place.file_system().is_some(),
            "{} is in memory: it does not count",
            place.directory.display()
        );
        place
    }

    /// A path below it that nothing has yet.
    pub(crate) fn fresh(&self) -> PathBuf {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        self.directory.join(count.to_string())
    }

    /// Which file system this is, and what a sync takes.
    pub(crate) fn describe(&self) -> String {
        let name = self.file_system().unwrap_or_default();
        let mut file = File::create(self.directory.join("sync")).expect("the disk has room");
        let mut syncs: Vec<Duration> = (0..200)
            .map(|_| {
                let start = clock::monotonic();
                file.write_all(&[7; 4_096]).expect("the disk has room");
                file.sync_data().expect("the disk holds");
                start.elapsed()
            })
            .collect();
        syncs.sort_unstable();
        let micros = syncs[100].as_micros();
        format!("file system {name}, a sync of 4 KiB takes {micros} µs")
    }

    /// Its name; none if it is in memory.
    fn file_system(&self) -> Option<String> {
        let found = statfs(&self.directory).expect("the directory is there");
        match found.filesystem_type() {
            TMPFS_MAGIC => None,
            EXT4_SUPER_MAGIC => Some("ext4".to_owned()),
            XFS_SUPER_MAGIC => Some("xfs".to_owned()),
            BTRFS_SUPER_MAGIC => Some("btrfs".to_owned()),
            OVERLAYFS_SUPER_MAGIC => Some("overlayfs".to_owned()),
            other => Some(format!("{other:?}")),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left is only space.
        drop(fs::remove_dir_all(&self.directory));
    }
}
