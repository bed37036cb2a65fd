//! The file of the log as it was at one instant, for those who need older entries than memory has.

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use openraft::alias::EntryOf;
use redb::ReadTransaction;

use crate::raft::types::Types;

use super::disk::{ENTRIES, io_error};
use super::record::{decode_entry, weight};

/// The file as it was at one instant.
pub(super) struct View {
    transaction: ReadTransaction,
    path: PathBuf,
}

impl View {
    pub(super) fn new(transaction: ReadTransaction, path: PathBuf) -> Self {
        Self { transaction, path }
    }

    /// The entries of `range`, from its start; at least one, and not more than `octets_max` unless
    /// the first is longer.
    ///
    /// # Errors
    /// The disk fails; an entry is damaged, or is not there.
    pub(super) fn entries(
        &self,
        range: Range<u64>,
        octets_max: usize,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        let read = || self.read(range, octets_max);
        let read = catch_unwind(AssertUnwindSafe(read));
        let read = read.unwrap_or_else(|_| Err(io::Error::other("the database panicked")));
        let path = self.path.display();
        read.map_err(|error| io::Error::new(error.kind(), format!("log {path}: {error}")))
    }

    fn read(&self, range: Range<u64>, octets_max: usize) -> io::Result<Vec<EntryOf<Types>>> {
        let table = self.transaction.open_table(ENTRIES).map_err(io_error)?;
        let mut entries = Vec::new();
        let (mut expected, mut octets) = (range.start, 0);
        for row in table.range(range.clone()).map_err(io_error)? {
            let (index, value) = row.map_err(io_error)?;
            let index = index.value();
            if index != expected {
                return Err(not_readable(expected, "it is not there"));
            }
            let entry = decode_entry(index, value.value());
            let entry = entry.map_err(|error| not_readable(index, &error.to_string()))?;
            octets += weight(&entry);
            if octets > octets_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(entry);
            expected += 1;
        }
        if expected < range.end {
            return Err(not_readable(expected, "it is not there"));
        }
        Ok(entries)
    }
}

fn not_readable(index: u64, reason: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("entry {index} is damaged: {reason}"),
    )
}
