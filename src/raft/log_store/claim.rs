//! The directory of a log, taken for this process.
//!
//! **Invariant**: one process has it; the system releases it with the process.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::disk::{FILE, OpenError};

/// A directory that is this process's, whose log is not open yet.
#[derive(Debug)]
pub(in crate::raft) struct Claim {
    pub(super) directory: PathBuf,
    pub(super) lock: File,
}

impl Claim {
    /// Takes `directory`, which is made if there is none.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(in crate::raft) fn take(directory: &Path) -> Result<Self, OpenError> {
        let lock = lock(directory, &directory.join(FILE))?;
        let directory = directory.to_owned();
        Ok(Self { directory, lock })
    }
}

/// Takes the directory for this process.
fn lock(directory: &Path, path: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).map_err(io)?;
    let lock = File::open(directory).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}
