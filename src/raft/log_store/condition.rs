//! Whether a log can be used, and whether it will be again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use nix::sys::statvfs::statvfs;

/// Whether a log can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::raft) enum Condition {
    /// It can.
    Open,
    /// The disk is full. What is appended waits until there is room, and then lasts.
    Full,
    /// A write failed, for this reason. The file is closed, and may be opened again.
    Failed(Arc<str>),
    /// Nobody uses it any more, or the agent stops. The file is closed.
    Closed,
}

impl Condition {
    /// Whether it can never be used again.
    pub(in crate::raft) fn is_over(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Closed)
    }
}

/// Whether it is for want of room that a write has failed.
pub(in crate::raft) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Octets that are free on the disk that `path` is on.
///
/// # Errors
/// The system does not tell.
pub(in crate::raft) fn room(path: &Path) -> io::Result<u64> {
    let disk = statvfs(path)?;
    Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
}
