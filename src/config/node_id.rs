//! The id of the node, which a restart must keep: who comes back under another id is another node.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::Identity;
use super::error::ConfigError;
use crate::types::NodeId;

/// The file that keeps it, in `data_dir`, as the reference has it.
fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("node-id")
}

/// The id that an earlier start kept; `None` if there was none.
///
/// # Errors
/// The file cannot be read or holds something else.
pub(super) fn kept(data_dir: Option<&Path>) -> Result<Option<NodeId>, ConfigError> {
    let Some(path) = data_dir.map(file) else {
        return Ok(None);
    };
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(id) => Ok(Some(id)),
            Err(source) => Err(ConfigError::NodeId { path, source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Read { path, source }),
    }
}

/// The file that keeps the node's id cannot be written. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the node id in {}: {source}", .path.display())]
pub struct NodeIdFileError {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

impl Identity {
    /// Keeps the id of the node for later starts, where there is a `data_dir`. Reads and writes a
    /// small file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_node_id(&self) -> Result<(), NodeIdFileError> {
        let Some(data_dir) = &self.data_dir else {
            return Ok(());
        };
        let path = file(data_dir);
        let id = self.node_id.to_string();
        if fs::read_to_string(&path).is_ok_and(|kept| kept.trim() == id) {
            return Ok(());
        }
        let write = || {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(data_dir)?;
            // Half an id after a crash would keep the agent from starting again.
            let temporary = path.with_extension("new");
            let mut file = fs::File::create(&temporary)?;
            file.write_all(id.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|source| NodeIdFileError {
            path: path.clone(),
            source,
        })
    }
}
