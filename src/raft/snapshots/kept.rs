//! The snapshots that are kept: the newest and the one before it, in `snapshots/` of the data
//! directory as `<term>-<index>.snapshot`, or in memory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use openraft::alias::SnapshotMetaOf;

use crate::catalog::State;
use crate::raft::log_store::room;
use crate::raft::types::Types;

use super::{Image, ImageError, Incoming, Partial, Place, To, remove};

const SUFFIX: &str = "snapshot";
const PARTIAL: &str = "partial";
/// Should the newest be damaged, the one before it and a longer part of the log will do.
const FILES_MAX: usize = 2;
/// Room that a snapshot leaves to the log.
const LOG_OCTETS: u64 = 16 << 20;
/// Octets of a snapshot that is received, on disk.
const DISK_OCTETS_MAX: u64 = 4 << 30;
/// The same, in memory.
const MEMORY_OCTETS_MAX: u64 = 1 << 30;

/// Why the directory of snapshots is of no use.
#[derive(Debug, thiserror::Error)]
#[error("snapshots in {directory}: {source}")]
pub(in crate::raft) struct KeptError {
    directory: String,
    source: io::Error,
}

/// The snapshots of one server. Clones are the same.
#[derive(Clone, Debug)]
pub(in crate::raft) struct Kept(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: Option<PathBuf>,
    /// The place of the one that is received.
    receiving: Mutex<Weak<Place>>,
    number: AtomicU64,
    files: Mutex<Files>,
    /// The one that was read before it is installed, so that it is not read twice.
    checked: Mutex<Option<Loaded>>,
}

#[derive(Debug, Default)]
struct Files {
    /// From oldest to newest.
    images: Vec<(SnapshotMetaOf<Types>, Image)>,
    /// Replaced, but somebody may send them still.
    replaced: Vec<Arc<PathBuf>>,
}

/// A snapshot that could be read whole.
#[derive(Debug)]
pub(in crate::raft) struct Loaded {
    /// What it is a picture of.
    pub(in crate::raft) meta: SnapshotMetaOf<Types>,
    /// The picture.
    pub(in crate::raft) state: State,
}

impl Kept {
    /// Opens the directory (or none: in memory), removes what was left unfinished, and reads the
    /// newest snapshot that is whole. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeptError`]; a damaged snapshot is none: it is named in the log and passed over.
    pub(in crate::raft) fn open(
        directory: Option<&Path>,
    ) -> Result<(Self, Option<Loaded>), KeptError> {
        let directory = directory.map(|directory| directory.join("snapshots"));
        let found = match &directory {
            None => Vec::new(),
            Some(directory) => found(directory).map_err(|source| KeptError {
                directory: directory.display().to_string(),
                source,
            })?,
        };
        let mut files = Files::default();
        let mut newest = None;
        for path in found {
            let image = Image::Disk(Arc::new(path.clone()));
            if files.images.len() == FILES_MAX {
                remove(&path);
                continue;
            }
            // Reading a picture takes seconds, and memory for a whole catalog: once is enough.
            let read = if newest.is_some() {
                image.head().map(|meta| (meta, None))
            } else {
                image.read().map(|(meta, state)| (meta, Some(state)))
            };
            match read {
                Ok((meta, state)) => {
                    files.images.insert(0, (meta.clone(), image));
                    newest = newest.or_else(|| state.map(|state| Loaded { meta, state }));
                }
                Err(error) => tracing::error!(
                    "snapshot {} is passed over, an older one and the log take its place: {error}",
                    path.display()
                ),
            }
        }
        let kept = Self(Arc::new(Shared {
            directory,
            receiving: Mutex::default(),
            number: AtomicU64::new(0),
            files: Mutex::new(files),
            checked: Mutex::default(),
        }));
        Ok((kept, newest))
    }

    /// Whether there is room for a snapshot as long as the newest one, and for the log beside it. Where
    /// the system does not tell, only a try does.
    ///
    /// # Errors
    /// There is none: the kind is that of a full disk.
    pub(in crate::raft) fn check_room(&self) -> io::Result<()> {
        let (Some(directory), Some((_, newest))) = (&self.0.directory, self.newest()) else {
            return Ok(());
        };
        let needed = newest.octets()? + LOG_OCTETS;
        let Ok(room) = room(directory) else {
            return Ok(());
        };
        if room >= needed {
            return Ok(());
        }
        let text = format!(
            "{} MiB are free, and {} are needed",
            room >> 20,
            needed >> 20
        );
        Err(io::Error::new(io::ErrorKind::StorageFull, text))
    }

    /// Where a snapshot of this server is written.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(in crate::raft) fn outgoing(&self) -> io::Result<Incoming> {
        self.partial(None, u64::MAX)
    }

    /// Where a snapshot of another server is written. If that `leads`, it takes the place of an
    /// unfinished one.
    ///
    /// # Errors
    /// The file cannot be made, or another one is being received.
    pub(in crate::raft) fn incoming(&self, leads: bool) -> io::Result<Incoming> {
        let mut receiving = lock(&self.0.receiving);
        if let Some(other) = receiving.upgrade() {
            if !leads {
                return Err(io::Error::other("a snapshot is being received already"));
            }
            other.lost.store(true, Ordering::Relaxed);
        }
        let place = Arc::<Place>::default();
        *receiving = Arc::downgrade(&place);
        drop(receiving);
        let octets_max = match &self.0.directory {
            Some(_) => DISK_OCTETS_MAX,
            None => MEMORY_OCTETS_MAX,
        };
        self.partial(Some(place), octets_max)
    }

    fn partial(&self, place: Option<Arc<Place>>, octets_max: u64) -> io::Result<Incoming> {
        let to = match &self.0.directory {
            None => To::Memory(Vec::new()),
            Some(directory) => {
                let number = self.0.number.fetch_add(1, Ordering::Relaxed);
                let path = directory.join(format!("{number}.{PARTIAL}"));
                To::Disk(Partial::create(path)?)
            }
        };
        Ok(Incoming {
            to,
            octets: 0,
            octets_max,
            place,
        })
    }

    /// Reads a snapshot that is to be installed, and keeps what it has read until then. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// [`ImageError`]: it is damaged, newer, or another one than `meta` says.
    pub(in crate::raft) fn check(
        &self,
        meta: &SnapshotMetaOf<Types>,
        image: &Image,
    ) -> Result<(), ImageError> {
        let (found, state) = image.read()?;
        let last = meta.last_log_id.map_or(0, |last| last.index);
        if found != *meta || state.applied().0 > last {
            return Err(ImageError::Another);
        }
        *lock(&self.0.checked) = Some(Loaded { meta: found, state });
        Ok(())
    }

    /// What [`Kept::check`] has read last, if it is of that position.
    pub(in crate::raft) fn take_checked(&self, meta: &SnapshotMetaOf<Types>) -> Option<Loaded> {
        let checked = lock(&self.0.checked).take();
        checked.filter(|checked| checked.meta == *meta)
    }

    /// It was not installed, or is by now.
    pub(in crate::raft) fn forget_checked(&self) {
        *lock(&self.0.checked) = None;
    }

    /// Keeps a whole snapshot as the newest, under its name. Blocks on the disk.
    ///
    /// # Errors
    /// The disk is full, or fails: then it is not kept.
    pub(in crate::raft) fn keep(
        &self,
        meta: &SnapshotMetaOf<Types>,
        image: Image,
    ) -> io::Result<Image> {
        let image = match (image, &self.0.directory) {
            (Image::Disk(path), Some(directory)) => {
                let lasting = directory.join(name(meta));
                fs::rename(path.as_path(), &lasting)?;
                File::open(directory)?.sync_all()?;
                Image::Disk(Arc::new(lasting))
            }
            (image, _) => image,
        };
        self.files().add(meta.clone(), image.clone());
        Ok(image)
    }

    /// Removes a snapshot that was not kept.
    pub(in crate::raft) fn discard(image: &Image) {
        if let Image::Disk(path) = image
            && path.extension().is_some_and(|end| end == PARTIAL)
            && path.exists()
        {
            remove(path);
        }
    }

    /// The newest.
    pub(in crate::raft) fn newest(&self) -> Option<(SnapshotMetaOf<Types>, Image)> {
        self.files().images.last().cloned()
    }

    /// A panic elsewhere does not make the list useless.
    fn files(&self) -> MutexGuard<'_, Files> {
        lock(&self.0.files)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    fn add(&mut self, meta: SnapshotMetaOf<Types>, image: Image) {
        // A snapshot of the same position has taken the other's name.
        self.images
            .retain(|(other, _)| other.last_log_id != meta.last_log_id);
        self.images.push((meta, image));
        while self.images.len() > FILES_MAX {
            if let (_, Image::Disk(path)) = self.images.remove(0) {
                self.replaced.push(path);
            }
        }
        self.replaced.retain(|path| {
            let used = Arc::strong_count(path) > 1;
            if !used {
                remove(path);
            }
            used
        });
    }
}

fn name(meta: &SnapshotMetaOf<Types>) -> String {
    let id = meta.last_log_id;
    let (term, index) = id.map_or((0, 0), |id| (id.leader_id.term, id.index));
    format!("{term}-{index}.{SUFFIX}")
}

/// Term and index of a file that has the name of a snapshot.
fn position(path: &Path) -> Option<(u64, u64)> {
    let name = path.file_stem()?.to_str()?;
    let (term, index) = name.split_once('-')?;
    (path.extension()? == SUFFIX).then_some((index.parse().ok()?, term.parse().ok()?))
}

/// The snapshots in `directory`, newest first, once what was left unfinished is gone.
fn found(directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(directory)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match position(&path) {
            Some(position) => found.push((position, path)),
            None if path.extension().is_some_and(|end| end == PARTIAL) => remove(&path),
            None => {}
        }
    }
    found.sort_by(|one, other| other.cmp(one));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests;
