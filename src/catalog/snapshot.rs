//! Snapshots of a whole state as octets.
//!
//! Owns the order of what a snapshot holds: the indexes of the tables, then all services, then each
//! node with what is on it, then the numbers of each, without which it is not whole. `chunks` has
//! the frames around that, `rows` the fields of each entry, `stored` those of the model.
//!
//! Both ways it streams: beside the state, memory is taken for a chunk and one entry.
//!
//! **Invariant**: equal states have equal octets, on every server, however each came by its state.
//! So the octets also tell whether two servers hold the same ([`State::digest`]).

mod chunks;
mod rows;

use std::io;

use super::edit::Broken;
use super::edit::build::Builder;
use super::state::State;
use super::stored::{Decoder, StoredError};

use chunks::{ChunkReader, ChunkWriter, Section};
use rows::{Counts, Heads, NodePart};

/// Why octets are no snapshot. Nothing changed; the same octets fail again.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The octets cannot be had.
    #[error("cannot read the snapshot: {0}")]
    Read(#[source] io::Error),
    /// Something else than a snapshot.
    #[error("this is no snapshot of the catalog")]
    Foreign,
    /// Octets are missing at the end.
    #[error("the snapshot is cut off after {octets} octets")]
    Cut {
        /// How many there are.
        octets: u64,
    },
    /// A later release wrote it, and this one would understand it in part only.
    #[error("the snapshot needs a later release of herald: {what} ({number})")]
    Newer {
        /// What this release does not know.
        what: &'static str,
        /// Its number, or how many octets there are of it.
        number: u64,
    },
    /// The octets are not those that were written.
    #[error("the snapshot is damaged in the chunk at octet {at}: {cause}")]
    Damaged {
        /// Where the chunk starts.
        at: u64,
        /// What is wrong.
        #[source]
        cause: StoredError,
    },
    /// Its entries contradict each other.
    #[error("the snapshot contradicts itself: {what}")]
    Broken {
        /// The broken invariant.
        what: &'static str,
    },
}

impl From<Broken> for SnapshotError {
    fn from(Broken(what): Broken) -> Self {
        Self::Broken { what }
    }
}

/// Writes `state`, streaming. Many small writes are made into few: `out` needs no buffer.
///
/// # Errors
/// Those of `out`; then what was written is no snapshot.
pub fn write(state: &State, out: &mut impl io::Write) -> io::Result<()> {
    let mut chunks = ChunkWriter::start(out)?;
    let heads = Heads {
        applied: state.applied,
        tables: state.tables,
    };
    let mut counts = Counts::default();
    chunks.entry(Section::Tables, |fields| heads.put(fields))?;
    for service in state.services() {
        counts.services += 1;
        chunks.entry(Section::Services, |fields| {
            rows::put_service(service, fields);
        })?;
    }
    for node in state.nodes() {
        counts.nodes += 1;
        chunks.entry(Section::Nodes, |fields| rows::put_node(node, fields))?;
        for instance in node.instances() {
            counts.instances += 1;
            chunks.entry(Section::Nodes, |fields| {
                rows::put_instance(instance, fields);
            })?;
        }
        for check in node.checks() {
            counts.checks += 1;
            chunks.entry(Section::Nodes, |fields| rows::put_check(check, fields))?;
        }
    }
    chunks.entry(Section::End, |fields| counts.put(fields))?;
    chunks.finish()
}

/// Reads the state that [`write()`] wrote, streaming, and no further than to its end. It is on its
/// own: nobody sees it before [`Writer::install`](super::Writer::install).
///
/// # Errors
/// [`SnapshotError`].
pub fn read(input: &mut impl io::Read) -> Result<State, SnapshotError> {
    let mut chunks = ChunkReader::start(input)?;
    let mut reading = Reading::default();
    let mut pending = Vec::new();
    let mut section = Section::Tables;
    loop {
        let next = chunks.next(&mut pending, section)?;
        section = next;
        let mut from = Decoder::new(&pending, 0);
        let done = loop {
            match from.whole_record() {
                Ok(Some(entry)) => reading.entry(section, entry, &chunks)?,
                Ok(None) => break from.len(),
                Err(cause) => return Err(chunks.failed(cause)),
            }
        };
        pending.drain(..pending.len() - done);
        if section == Section::End {
            return reading.finish(pending.is_empty());
        }
    }
}

/// What was read so far.
#[derive(Debug, Default)]
struct Reading {
    builder: Builder,
    heads: Option<Heads>,
    found: Counts,
    told: Option<Counts>,
}

impl Reading {
    fn entry<R>(
        &mut self,
        section: Section,
        mut entry: Decoder<'_>,
        chunks: &ChunkReader<'_, R>,
    ) -> Result<(), SnapshotError> {
        let failed = |cause| chunks.failed(cause);
        let entry = &mut entry;
        match section {
            Section::Tables if self.heads.is_none() => {
                self.heads = Some(Heads::take(entry).map_err(failed)?);
            }
            Section::End if self.told.is_none() => {
                self.told = Some(Counts::take(entry).map_err(failed)?);
            }
            Section::Tables | Section::End => return Err(Broken("an entry comes twice").into()),
            Section::Services => {
                self.found.services += 1;
                let row = rows::take_service(entry).map_err(failed)?;
                self.builder.service(row)?;
            }
            Section::Nodes => match NodePart::take(entry).map_err(failed)? {
                NodePart::Node(row) => {
                    self.found.nodes += 1;
                    self.builder.node(row)?;
                }
                NodePart::Instance(row) => {
                    self.found.instances += 1;
                    self.builder.instance(row)?;
                }
                NodePart::Check(row) => {
                    self.found.checks += 1;
                    self.builder.check(row)?;
                }
            },
        }
        Ok(())
    }

    fn finish(self, whole: bool) -> Result<State, SnapshotError> {
        if !whole || self.told.as_ref() != Some(&self.found) {
            return Err(Broken("it does not hold what its end says").into());
        }
        let heads = self.heads.ok_or(Broken("it has no indexes"))?;
        Ok(self.builder.finish(heads.applied, heads.tables)?)
    }
}

impl State {
    /// A number that servers with equal states agree on: same entries with same indexes, spellings
    /// and position in the log. It takes about as long as to write a snapshot.
    ///
    /// # Panics
    /// Never: nothing is written to what could fail.
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        write(self, &mut digest).expect("counting octets together does not fail");
        digest.0
    }
}

/// FNV-1a over 64 bits: against mistakes, not against foes.
#[derive(Debug)]
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl io::Write for Digest {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        for octet in octets {
            self.0 = (self.0 ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(octets.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
