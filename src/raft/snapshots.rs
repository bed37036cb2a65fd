//! Snapshots as octets: written here, sent to others, received from others.
//!
//! Owns the files of snapshots and how long they live; `header` says what a snapshot is a picture
//! of, and what follows it is the catalog's (`catalog::snapshot`).
//!
//! **Invariant**: a file has the name of a snapshot only once it is whole and on the disk.

mod header;
mod kept;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use openraft::alias::SnapshotMetaOf;

use crate::catalog::{self, State};

use super::types::Types;

pub(super) use kept::{Kept, Loaded};

/// A whole snapshot. Clones are the same octets; those on disk go with the last clone once they are
/// replaced.
#[derive(Clone, Debug)]
pub(super) enum Image {
    /// In memory (`-dev`, tests).
    Memory(Bytes),
    /// A file.
    Disk(Arc<PathBuf>),
}

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    /// The file cannot be opened.
    #[error("snapshot cannot be opened: {0}")]
    Open(#[from] io::Error),
    /// Its head is damaged, or newer.
    #[error(transparent)]
    Header(#[from] header::HeaderError),
    /// The catalog in it is damaged, or newer.
    #[error("{0}")]
    Catalog(String),
    /// It is another one than it was said to be.
    #[error("it is a snapshot of another position, or of other servers")]
    Another,
}

impl Image {
    /// Reads it from its start.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(match self {
            Self::Memory(octets) => Box::new(io::Cursor::new(octets.clone())),
            Self::Disk(path) => Box::new(File::open(path.as_path())?),
        })
    }

    /// Its length in octets.
    ///
    /// # Errors
    /// The file cannot be seen.
    pub(super) fn octets(&self) -> io::Result<u64> {
        match self {
            Self::Memory(octets) => Ok(octets.len() as u64),
            Self::Disk(path) => Ok(path.metadata()?.len()),
        }
    }

    /// What it is a picture of. Blocks on the disk.
    ///
    /// # Errors
    /// [`ImageError`].
    pub(super) fn head(&self) -> Result<SnapshotMetaOf<Types>, ImageError> {
        Ok(header::read(&mut io::BufReader::new(self.open()?))?)
    }

    /// What it is a picture of, and the picture. Blocks on the disk.
    ///
    /// # Errors
    /// [`ImageError`].
    pub(super) fn read(&self) -> Result<(SnapshotMetaOf<Types>, State), ImageError> {
        let mut input = io::BufReader::with_capacity(1 << 18, self.open()?);
        let meta = header::read(&mut input)?;
        let state = catalog::snapshot::read(&mut input);
        let state = state.map_err(|error| ImageError::Catalog(error.to_string()))?;
        Ok((meta, state))
    }
}

/// A snapshot that is being received or written. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Incoming {
    to: To,
    octets: u64,
    octets_max: u64,
    /// What it holds while it is received.
    place: Option<Arc<Place>>,
}

#[derive(Debug)]
enum To {
    /// In memory.
    Memory(Vec<u8>),
    /// A file under a name that is no snapshot's yet.
    Disk(Partial),
}

/// The place of the one snapshot that is received at a time.
#[derive(Debug, Default)]
struct Place {
    /// Another one has it now.
    lost: AtomicBool,
}

/// An unfinished file, which goes when this is dropped.
#[derive(Debug)]
struct Partial {
    file: File,
    /// `None` once it is whole.
    path: Option<PathBuf>,
}

impl Partial {
    fn create(path: PathBuf) -> io::Result<Self> {
        let mut options = File::options();
        // It has what the log has, and is read by nobody else either.
        options.write(true).create(true).truncate(true).mode(0o600);
        Ok(Self {
            file: options.open(&path)?,
            path: Some(path),
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            remove(path);
        }
    }
}

impl io::Write for Incoming {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let (length, limit) = (self.octets + octets.len() as u64, self.octets_max);
        if length > limit {
            let text = format!("a snapshot of more than {limit} octets");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        self.hold()?;
        let written = match &mut self.to {
            To::Memory(kept) => kept.write(octets),
            To::Disk(partial) => partial.file.write(octets),
        }?;
        self.octets += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::Memory(_) => Ok(()),
            To::Disk(partial) => partial.file.flush(),
        }
    }
}

impl Incoming {
    /// One in memory, that anybody may write.
    #[cfg(test)]
    pub(super) fn in_memory() -> Self {
        Self {
            to: To::Memory(Vec::new()),
            octets: 0,
            octets_max: u64::MAX,
            place: None,
        }
    }

    /// Makes it last (fsync), and gives it as a whole. It has no snapshot's name before
    /// [`Kept::keep`].
    ///
    /// # Errors
    /// The disk is full, or fails; another one has taken its place.
    pub(super) fn finish(self) -> io::Result<Image> {
        self.hold()?;
        Ok(match self.to {
            To::Memory(octets) => Image::Memory(octets.into()),
            To::Disk(mut partial) => {
                partial.file.sync_all()?;
                let path = partial.path.take();
                Image::Disk(Arc::new(
                    path.expect("a file has its name until it is whole"),
                ))
            }
        })
    }

    fn hold(&self) -> io::Result<()> {
        match &self.place {
            Some(place) if place.lost.load(Ordering::Relaxed) => {
                Err(io::Error::other("the leader sends another snapshot now"))
            }
            _ => Ok(()),
        }
    }
}

/// Writes a picture of `state`. Blocks on the disk.
///
/// # Errors
/// The disk is full, or fails.
pub(super) fn write(
    meta: &SnapshotMetaOf<Types>,
    state: &State,
    out: Incoming,
) -> io::Result<Image> {
    let mut out = io::BufWriter::with_capacity(1 << 18, out);
    header::write(meta, &mut out)?;
    catalog::snapshot::write(state, &mut out)?;
    let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    out.finish()
}

/// Removes a file that is of no use; one that stays is removed at the next start.
fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!("{} stays for now: {error}", path.display());
    }
}
