//! Whose log this is.
//!
//! A server has promised votes and stored entries under its id. If its log is gone but the id is
//! not, the others would count it as one that has what is lost: so the id is also written beside the
//! log's directory, and a server that finds itself there without a log does not start.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::raft::log_store::{LogStore, remedy};
use crate::raft::types::ServerId;
use crate::raft::{Config, StartError};

use super::start::log_error;

/// Makes the log this server's, unless it is another one's, or this server had another one.
pub(super) async fn own(log: &LogStore, config: &Config) -> Result<(), StartError> {
    let directory = config.directory.as_deref();
    match log.owner() {
        Some(owner) if owner != config.id => Err(StartError::Log(format!(
            "the log in {} is that of server {owner}, and this one is {}: start it with its id \
             (node-id), or move the directory away: it then joins as a new one",
            directory.unwrap_or(Path::new("memory")).display(),
            config.id,
        ))),
        Some(_) => directory.map_or(Ok(()), |directory| mark(directory, config.id)),
        None => {
            if let Some(directory) = directory
                && marked(directory).map_err(log_error)? == Some(config.id.to_string())
            {
                return Err(StartError::Log(lost(directory)));
            }
            log.set_owner(config.id).await.map_err(log_error)?;
            directory.map_or(Ok(()), |directory| mark(directory, config.id))
        }
    }
}

/// The file beside the directory: `raft-owner`.
fn marker(directory: &Path) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push("-owner");
    directory.with_file_name(name)
}

/// What it says.
fn marked(directory: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(marker(directory)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has it say `id`, lastingly.
fn mark(directory: &Path, id: ServerId) -> Result<(), StartError> {
    let text = id.to_string();
    let write = || {
        if marked(directory)?.as_ref() == Some(&text) {
            return Ok(());
        }
        let path = marker(directory);
        let unfinished = path.with_extension("new");
        let mut file = File::create(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error: io::Error| {
        StartError::Log(format!("{}: {error}", marker(directory).display()))
    })
}

fn lost(directory: &Path) -> String {
    format!(
        "the log of this server is gone from {}: the others count on what was in it; {}. If there \
         are no others, or they are gone as well, remove {} alone: all that was registered is lost \
         then",
        directory.display(),
        remedy(directory),
        marker(directory).display()
    )
}
