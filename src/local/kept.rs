//! Registrations and states of checks on disk, so that a restart begins where the agent ended.
//!
//! Owns the directory `local` below the data directory: `registrations`, which has what was
//! registered over HTTP (services, checks, maintenance), and `checks`, which has what each check
//! said last. Both are journals of lines with checksums. A registration is on the disk before
//! it is acknowledged; what checks say is written up to a second late. What configuration files
//! define is not kept, only what its checks said. Whoever holds the file `lock` is the one agent
//! that may use the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::types::{CheckId, Service, ServiceId};

use super::definition::CheckDefinition;

mod journal;
mod record;
mod shape;

use journal::{Journal, Kind};
pub(super) use record::{Known, Record};

const REGISTRATIONS: Kind = Kind {
    name: "registrations",
    durable: true,
};
const CHECKS: Kind = Kind {
    name: "checks",
    durable: false,
};

/// A file cannot be used as it is to be.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {source}", .path.display())]
pub struct FileError {
    /// `read`, `write` or `open`.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

impl FileError {
    fn new(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            what,
            path: path.to_owned(),
            source,
        }
    }
}

/// Why what is kept cannot be used; nothing of it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another agent has the directory.
    #[error("{} is in use by another agent", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A later version of herald has written it.
    #[error(
        "{} has version {version}, this herald knows {known}: start the herald that wrote it, or move the file away",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The newest one that is known.
        known: u32,
    },
}

/// Everything that was found on the disk.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) services: BTreeMap<ServiceId, Arc<Service>>,
    pub(super) checks: BTreeMap<CheckId, Arc<CheckDefinition>>,
    pub(super) states: BTreeMap<CheckId, Known>,
}

impl Found {
    /// Takes note of what a line says, later ones winning.
    pub(super) fn take(&mut self, record: Record) {
        match record {
            Record::Service(service) => {
                self.services.insert(service.id.clone(), service);
            }
            Record::Check(id, check) => {
                self.checks.insert(id, check);
            }
            Record::NoService(id) => drop(self.services.remove(&id)),
            Record::NoCheck(id) => drop(self.checks.remove(&id)),
            Record::State(id, known) => {
                self.states.insert(id, known);
            }
            Record::NoState(id) => drop(self.states.remove(&id)),
        }
    }
}

/// Ids of what the files have, so that nothing is removed from them that is not there.
#[derive(Debug, Default)]
struct Present {
    services: BTreeSet<ServiceId>,
    checks: BTreeSet<CheckId>,
    states: BTreeSet<CheckId>,
}

impl Present {
    /// Whether `record` changes what the files have. A removal within the same lines as what it
    /// removes comes from nowhere: each id is in them once.
    fn changes(&self, record: &Record) -> bool {
        match record {
            Record::Service(_) | Record::Check(..) | Record::State(..) => true,
            Record::NoService(id) => self.services.contains(id),
            Record::NoCheck(id) => self.checks.contains(id),
            Record::NoState(id) => self.states.contains(id),
        }
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Service(service) => drop(self.services.insert(service.id.clone())),
            Record::Check(id, _) => drop(self.checks.insert(id.clone())),
            Record::State(id, _) => drop(self.states.insert(id.clone())),
            Record::NoService(id) => drop(self.services.remove(id)),
            Record::NoCheck(id) => drop(self.checks.remove(id)),
            Record::NoState(id) => drop(self.states.remove(id)),
        }
    }
}

/// The files, open. Every call may wait for the disk.
#[derive(Debug)]
pub(super) struct Kept {
    registrations: Journal,
    checks: Journal,
    present: Present,
    /// Held for as long as this is.
    _lock: File,
}

impl Kept {
    /// Opens or makes the files below `data_dir` and reads them.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn open(data_dir: &Path) -> Result<(Self, Found), OpenError> {
        let directory = data_dir.join("local");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|source| FileError::new("write", &directory, source))?;
        let lock = lock(&directory)?;
        let (registrations, lines) = Journal::open(&directory, REGISTRATIONS)?;
        let (checks, states) = Journal::open(&directory, CHECKS)?;
        let (mut found, mut present) = (Found::default(), Present::default());
        for record in lines.into_iter().chain(states).flatten() {
            present.take(&record);
            found.take(record);
        }
        let kept = Self {
            registrations,
            checks,
            present,
            _lock: lock,
        };
        Ok((kept, found))
    }

    /// Keeps registrations, each of them whole; on the disk once this returns. `all` are those in
    /// force, for when the file is to be written anew.
    ///
    /// # Errors
    /// They cannot be written. None of them is kept.
    pub(super) fn keep(
        &mut self,
        registrations: Vec<Vec<Record>>,
        all: impl FnOnce() -> Vec<Record>,
    ) -> Result<(), FileError> {
        Self::put(
            &mut self.registrations,
            &mut self.present,
            registrations,
            all,
        )
    }

    /// The same for what checks say, which may be lost with the machine's power.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn note(
        &mut self,
        states: Vec<Record>,
        all: impl FnOnce() -> Vec<Record>,
    ) -> Result<(), FileError> {
        // One to a line: a damaged line is to take as little with it as it can.
        let lines = states.into_iter().map(|state| vec![state]).collect();
        Self::put(&mut self.checks, &mut self.present, lines, all)
    }

    fn put(
        journal: &mut Journal,
        present: &mut Present,
        mut lines: Vec<Vec<Record>>,
        all: impl FnOnce() -> Vec<Record>,
    ) -> Result<(), FileError> {
        if journal.wants_rewrite() {
            let rewritten = journal.rewrite(all());
            if let Err(error) = rewritten {
                tracing::warn!("will be tried again: {error}");
            }
        }
        for line in &mut lines {
            line.retain(|record| present.changes(record));
        }
        lines.retain(|line| !line.is_empty());
        if lines.is_empty() {
            return Ok(());
        }
        journal.append(&lines)?;
        for record in lines.iter().flatten() {
            present.take(record);
        }
        Ok(())
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let file = File::create(&path).map_err(|source| FileError::new("write", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(FileError::new("open", &path, source).into()),
    }
}

#[cfg(test)]
mod tests;
