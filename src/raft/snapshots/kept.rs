//! The snapshots that are kept: the newest and the one before it, in `snapshots/` of the data
//! directory as `<term>-<index>.snapshot`, or in memory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::alias::SnapshotMetaOf;

use crate::catalog::State;
use crate::raft::types::Types;

use super::{Image, Incoming, Partial, remove};

const SUFFIX: &str = "snapshot";
const PARTIAL: &str = "partial";
/// Should the newest be damaged, the one before it and a longer part of the log will do.
const FILES_MAX: usize = 2;

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
    /// Held once more by whoever receives one.
    receiving: Arc<()>,
    number: AtomicU64,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    /// From oldest to newest.
    images: Vec<(SnapshotMetaOf<Types>, Image)>,
    /// Replaced, but somebody may send them still.
    replaced: Vec<Arc<PathBuf>>,
}

/// A snapshot that could be read whole.
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
            receiving: Arc::default(),
            number: AtomicU64::new(0),
            files: Mutex::new(files),
        }));
        Ok((kept, newest))
    }

    /// Where a snapshot of this server is written.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(in crate::raft) fn outgoing(&self) -> io::Result<Incoming> {
        self.partial(None)
    }

    /// Where a snapshot of the leader is written.
    ///
    /// # Errors
    /// The file cannot be made, or one is being received already.
    pub(in crate::raft) fn incoming(&self) -> io::Result<Incoming> {
        let writing = Arc::clone(&self.0.receiving);
        if Arc::strong_count(&writing) > 2 {
            return Err(io::Error::other("a snapshot is being received already"));
        }
        self.partial(Some(writing))
    }

    fn partial(&self, writing: Option<Arc<()>>) -> io::Result<Incoming> {
        let Some(directory) = &self.0.directory else {
            return Ok(Incoming::Memory(Vec::new()));
        };
        let number = self.0.number.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{number}.{PARTIAL}"));
        Ok(Incoming::Disk(Partial::create(path, writing)?))
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
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
