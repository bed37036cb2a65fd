//! The log in a redb file: what one transaction writes, and what an open finds.
//!
//! A torn tail cannot exist: a transaction is in the file as a whole or not at all. So whatever
//! does not read as it was written is damage, and is told as such; nothing is dropped in silence.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use openraft::alias::{EntryOf, LogIdOf};
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
};

use crate::raft::types::Types;

use super::claim::Claim;
use super::condition::room;
use super::decided::{Decided, confirmed};
use super::facts::{Fact, Facts};
use super::record::{FORMAT, decode_entry, decode_format, encode_entry, seal, unseal};
use super::view::View;
use super::window::Window;

pub(super) const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
/// The name of the file.
pub(super) const FILE: &str = "log.redb";
const FORMAT_KEY: &str = "format";

/// Memory for pages of the file. What others still need is in [`Window`]; old entries are rare.
const CACHE_OCTETS_MAX: usize = 16 << 20;

/// Why a log does not open. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub(in crate::raft) enum OpenError {
    /// The system refuses the directory or the file.
    #[error("cannot open the log {path}: {source}")]
    Io {
        /// What was to be opened.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the log {path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A later build wrote it.
    #[error("the log {path} has format {found}, this build knows {FORMAT}: start a newer build")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
    /// The file does not hold what was written.
    #[error(
        "the log {path} is damaged: {reason}; {}",
        remedy(path.parent().unwrap_or(path))
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system refuses the thread that writes.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// What whoever runs the server is to do when its log is lost.
pub(in crate::raft) fn remedy(directory: &Path) -> String {
    format!(
        "move the directory {} away and start again: the server then begins anew, gets everything \
         from the others, and votes for nobody before it has",
        directory.display(),
    )
}

/// One change of what the file holds. Order counts.
#[derive(Debug)]
pub(super) enum Change {
    /// Further entries.
    Append(Vec<EntryOf<Types>>),
    /// Entries from this index on go.
    Truncate(u64),
    /// A fact is another.
    Fact(Fact),
}

/// The open file. Once [`Disk::close`]d, everything fails.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    open: RwLock<Option<Open>>,
    decided: Decided,
}

/// The database goes before the lock does.
#[derive(Debug)]
struct Open {
    /// `None` between two attempts to open it again.
    database: Option<Database>,
    _lock: File,
}

impl Open {
    fn database(&self) -> io::Result<&Database> {
        self.database.as_ref().ok_or_else(closed)
    }
}

impl Disk {
    /// Opens `log.redb` in a directory, or makes it, and reads all of it once: every value is
    /// checked, and every index follows the one before it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn open(claim: Claim, recent_max: usize) -> Result<(Self, Window), OpenError> {
        let Claim { directory, lock } = claim;
        let directory = directory.as_path();
        let path = directory.join(FILE);
        let decided = Decided::open(directory);
        let (decided, told) = decided.map_err(|source| OpenError::Io {
            path: path.clone(),
            source,
        })?;
        let guarded = || {
            let database = open_file(directory, &path)?;
            let window = scan(&database, &path, recent_max, told)?;
            Ok((database, window))
        };
        // The library may panic over a file that somebody else has changed.
        let opened = catch_unwind(AssertUnwindSafe(guarded));
        let (database, window) = opened.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(damaged(&path, text.unwrap_or("it cannot be read")))
        })?;
        let open = RwLock::new(Some(Open {
            database: Some(database),
            _lock: lock,
        }));
        let disk = Self {
            path,
            open,
            decided,
        };
        Ok((disk, window))
    }

    /// Keeps how far the log is decided until a transaction does; survives the process, not a power
    /// failure.
    pub(super) fn decide(&self, position: &LogIdOf<Types>) {
        self.decided.write(position);
    }

    /// Writes `changes` in this order, and removes up to `remove_max` of the entries before
    /// `keep_from`, all in one transaction. Once this returns they last. Whether more are to be
    /// removed.
    ///
    /// # Errors
    /// The disk is full, or fails. Whether the changes last is not known until it is opened again;
    /// no further write succeeds before.
    pub(super) fn write(
        &self,
        changes: &[Change],
        keep_from: u64,
        remove_max: usize,
    ) -> io::Result<bool> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or_else(closed)?;
        let database = open.database()?;
        let write = || write(database, changes, keep_from, remove_max);
        let written = catch_unwind(AssertUnwindSafe(write));
        let written = written.unwrap_or_else(|_| Err(io::Error::other("the database panicked")));
        written.map_err(|error| self.name(&error))
    }

    /// A view of the file as it is now.
    ///
    /// # Errors
    /// It is closed, or has failed.
    pub(super) fn view(&self) -> io::Result<View> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or_else(closed)?;
        let transaction = open.database()?.begin_read().map_err(io_error);
        let transaction = transaction.map_err(|error| self.name(&error))?;
        Ok(View::new(transaction, self.path.clone()))
    }

    /// Opens the file again after a write has failed: all that lasted before is there, and what was
    /// to be written is there as a whole or not at all.
    ///
    /// # Errors
    /// It cannot be opened, or not yet: the kind is [`ResourceBusy`](io::ErrorKind::ResourceBusy)
    /// while a [`View`] of it is left, and that of a full disk while there is no room to recover.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let failed = self.exchange(None)?;
        // Nobody who looks for older entries waits for the repair.
        let reopened = catch_unwind(AssertUnwindSafe(|| {
            drop(failed);
            self.forget_pages()?;
            Ok(settings().open(&self.path))
        }));
        let panicked = |_| Err(io::Error::other("the database panicked"));
        match reopened.unwrap_or_else(panicked)? {
            Ok(database) => self.exchange(Some(database)).map(drop),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                Err(self.name(&io::ErrorKind::ResourceBusy.into()))
            }
            Err(error) => Err(self.name(&io_error(error))),
        }
    }

    fn exchange(&self, database: Option<Database>) -> io::Result<Option<Database>> {
        let open = &mut *self.open.write().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut().ok_or_else(closed)?;
        Ok(std::mem::replace(&mut open.database, database))
    }

    /// Has the file read from the disk again: after a sync has failed, memory may have what the disk
    /// has not.
    fn forget_pages(&self) -> io::Result<()> {
        let file = File::open(&self.path)?;
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        Ok(())
    }

    /// Octets that are free where the file is.
    ///
    /// # Errors
    /// The system does not tell.
    pub(super) fn room(&self) -> io::Result<u64> {
        room(&self.path)
    }

    /// Closes the file, so that it can be opened again.
    pub(super) fn close(&self) {
        let open = &mut *self.open.write().unwrap_or_else(PoisonError::into_inner);
        *open = None;
    }

    fn name(&self, error: &io::Error) -> io::Error {
        io::Error::new(
            error.kind(),
            format!("log {}: {error}", self.path.display()),
        )
    }
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}

fn settings() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_OCTETS_MAX);
    builder
}

/// Opens the database, which checks all its pages; a new one gets its name once it is whole.
fn open_file(directory: &Path, path: &Path) -> Result<Database, OpenError> {
    let io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let mut builder = settings();
    if path.try_exists().map_err(io)? {
        builder.set_check_integrity_on_open(true);
        return builder.open(path).map_err(|error| classify(path, error));
    }
    let unfinished = directory.join("log.redb.new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(&unfinished).map_err(io)?;
    let database = builder.create(&unfinished);
    let database = database.map_err(|error| classify(path, error))?;
    found(&database).map_err(io)?;
    fs::rename(&unfinished, path).map_err(io)?;
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(io)?;
    Ok(database)
}

/// Writes the tables and the format of a new file.
fn found(database: &Database) -> io::Result<()> {
    let transaction = database.begin_write().map_err(io_error)?;
    transaction.open_table(ENTRIES).map_err(io_error)?;
    {
        let mut facts = transaction.open_table(FACTS).map_err(io_error)?;
        let format = seal(FORMAT_KEY.as_bytes(), FORMAT.to_be_bytes().to_vec());
        let inserted = facts.insert(FORMAT_KEY, format.as_slice());
        inserted.map_err(io_error)?;
    }
    transaction.commit().map_err(io_error)
}

/// Reads and checks all that is there.
fn scan(
    database: &Database,
    path: &Path,
    recent_max: usize,
    decided: Option<LogIdOf<Types>>,
) -> Result<Window, OpenError> {
    let transaction = database
        .begin_read()
        .map_err(|error| classify(path, error))?;
    let facts = scan_facts(&transaction, path)?;
    let keep_from = facts.purged.as_ref().map_or(0, |purged| purged.index + 1);
    let mut window = Window::new(facts, Some(recent_max));
    let entries = transaction.open_table(ENTRIES);
    let entries = entries.map_err(|error| classify(path, error))?;
    let rows = entries.range(keep_from..);
    let mut found = None;
    for row in rows.map_err(|error| classify(path, error))? {
        let (index, value) = row.map_err(|error| classify(path, error))?;
        let index = index.value();
        let entry = decode_entry(index, value.value())
            .map_err(|error| damaged(path, &format!("entry {index}: {error}")))?;
        if decided.is_some_and(|decided| decided.index == index) {
            found = Some(entry.log_id);
        }
        let appended = window.append(entry);
        appended.map_err(|error| damaged(path, &format!("entry {index}: {error}")))?;
        window.set_durable(u64::MAX);
    }
    let confirmed = decided.and_then(|decided| confirmed(decided, found, window.last()));
    if confirmed > window.facts().committed
        && let Some(confirmed) = confirmed
    {
        window.set(Fact::Committed(confirmed));
    }
    Ok(window)
}

fn scan_facts(transaction: &ReadTransaction, path: &Path) -> Result<Facts, OpenError> {
    let table = transaction.open_table(FACTS);
    let table = table.map_err(|error| classify(path, error))?;
    let mut facts = Facts::default();
    let mut format = None;
    let rows = table.iter().map_err(|error| classify(path, error))?;
    for row in rows {
        let (name, value) = row.map_err(|error| classify(path, error))?;
        let name = name.value();
        let bad = |error| damaged(path, &format!("{name}: {error}"));
        let body = unseal(name.as_bytes(), value.value()).map_err(bad)?;
        if name == FORMAT_KEY {
            format = Some(decode_format(body).map_err(bad)?);
        } else {
            facts.read(name, body).map_err(bad)?;
        }
    }
    let path = path.to_owned();
    match format {
        Some(FORMAT) => Ok(facts),
        Some(found) if found > FORMAT => Err(OpenError::Newer { path, found }),
        Some(found) => Err(damaged(&path, &format!("its format is {found}"))),
        None => Err(damaged(&path, "it does not say its format")),
    }
}

fn write(
    database: &Database,
    changes: &[Change],
    keep_from: u64,
    remove_max: usize,
) -> io::Result<bool> {
    // Immediate durability is the default: one fsync, at the commit.
    let transaction = database.begin_write().map_err(io_error)?;
    let more = {
        let mut entries = transaction.open_table(ENTRIES).map_err(io_error)?;
        for change in changes {
            match change {
                Change::Append(appended) => {
                    for entry in appended {
                        let value = encode_entry(entry).map_err(io::Error::other)?;
                        let inserted = entries.insert(entry.log_id.index, value.as_slice());
                        inserted.map_err(io_error)?;
                    }
                }
                Change::Truncate(from) => {
                    let kept = entries.retain_in(*from.., |_, _| false);
                    kept.map_err(io_error)?;
                }
                Change::Fact(_) => {}
            }
        }
        remove(&mut entries, keep_from, remove_max)?
    };
    let mut facts = changes.iter().filter_map(|change| match change {
        Change::Fact(fact) => Some(fact),
        Change::Append(_) | Change::Truncate(_) => None,
    });
    // Most transactions have entries only, and each table that is opened has its part in a commit.
    if let Some(first) = facts.next() {
        let mut table = transaction.open_table(FACTS).map_err(io_error)?;
        for fact in std::iter::once(first).chain(facts) {
            let name = fact.name();
            let value = seal(name.as_bytes(), fact.body());
            let inserted = table.insert(name, value.as_slice());
            inserted.map_err(io_error)?;
        }
    }
    transaction.commit().map_err(io_error)?;
    Ok(more)
}

/// Removes entries before `keep_from`, in portions: a great purge must not hold up what waits.
/// Whether there are more.
fn remove(
    entries: &mut Table<'_, u64, &[u8]>,
    keep_from: u64,
    remove_max: usize,
) -> io::Result<bool> {
    let first = entries.first().map_err(io_error)?;
    let first = first.map(|(index, _)| index.value());
    if first.is_none_or(|first| first >= keep_from) {
        return Ok(false);
    }
    let beyond = entries.range(..keep_from).map_err(io_error)?;
    let beyond = beyond.map(|row| row.map(|(index, _)| index.value()));
    let boundary = { beyond }.nth(remove_max).transpose().map_err(io_error)?;
    let removed = entries.retain_in(..boundary.unwrap_or(keep_from), |_, _| false);
    removed.map_err(io_error)?;
    Ok(boundary.is_some())
}

pub(super) fn io_error(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

fn damaged(path: &Path, reason: &str) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// What the library's refusal means for who runs the server.
fn classify(path: &Path, error: impl Into<redb::Error>) -> OpenError {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    let path = path.to_owned();
    match error.into() {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse { path },
        redb::Error::Io(source)
            if !matches!(source.kind(), InvalidData | InvalidInput | UnexpectedEof) =>
        {
            OpenError::Io { path, source }
        }
        other => damaged(&path, &other.to_string()),
    }
}
