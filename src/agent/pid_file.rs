//! The file that tells other programs this agent's process id.

use std::fs;
use std::io;
use std::path::PathBuf;

/// The process-id file cannot be written. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[error("cannot write pid_file {}: {source}", .path.display())]
pub struct PidFileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A written file; removed when dropped.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes this process's id and nothing else.
    pub(super) fn create(path: PathBuf) -> Result<Self, PidFileError> {
        match fs::write(&path, std::process::id().to_string()) {
            Ok(()) => Ok(Self { path }),
            Err(source) => Err(PidFileError { path, source }),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove pid_file {}: {error}", self.path.display());
        }
    }
}
