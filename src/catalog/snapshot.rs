//! Snapshots of a whole state as octets.
//!
//! Owns the order of what a snapshot holds: the indexes of the tables, then all services, then each
//! node with what is on it, then the numbers of each, without which it is not whole. `chunks` has
//! the frames around that, `rows` the fields of each entry, `stored` those of the model.
//!
//! Both ways it streams: beside the state, memory is taken for a chunk and one entry where it is
//! written, for a few chunks and their entries where it is read.
//!
//! **Invariant**: equal states have equal octets, on every server, however each came by its state.
//! So the octets also tell whether two servers hold the same ([`State::digest`]).

mod chunks;
mod rows;

use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;

use super::edit::Broken;
use super::edit::build::{Builder, Host, Hosted, ServiceRow};
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
/// One thread reads, checks and decodes, while this one makes a state of it; where the system has no
/// thread to give, both are done by this one.
///
/// # Errors
/// [`SnapshotError`].
pub fn read(input: &mut (impl io::Read + Send)) -> Result<State, SnapshotError> {
    let (entries, queue) = mpsc::sync_channel(PORTIONS_MAX);
    let from = &mut *input;
    let both = thread::scope(|scope| {
        let decoding = thread::Builder::new()
            .name("herald-decode".to_owned())
            .spawn_scoped(scope, move || {
                decode(from, |portion| entries.send(portion).is_ok())
            })
            .ok()?;
        let mut reading = Reading::default();
        let read = queue
            .iter()
            .flatten()
            .try_for_each(|entry| reading.entry(entry));
        // Who decodes ends where nobody wants more.
        drop(queue);
        let decoded = decoding.join().unwrap_or_else(|panic| resume_unwind(panic));
        Some(
            read.map_err(SnapshotError::from)
                .and(decoded)
                .and_then(|()| reading.finish()),
        )
    });
    both.unwrap_or_else(|| read_alone(input))
}

/// The same by this thread alone.
pub(super) fn read_alone(input: &mut impl io::Read) -> Result<State, SnapshotError> {
    let mut reading = Reading::default();
    let mut read = Ok(());
    let decoded = decode(input, |portion| {
        read = portion
            .into_iter()
            .try_for_each(|entry| reading.entry(entry));
        read.is_ok()
    });
    read?;
    decoded?;
    reading.finish()
}

/// Portions of entries that may wait to be built in, each those of one chunk.
const PORTIONS_MAX: usize = 4;

/// What the state is made of.
#[derive(Debug)]
enum Entry {
    Tables(Heads),
    Service(ServiceRow),
    Node(Box<Hosted>),
    End(Counts),
}

/// Hands on what `input` holds, until its end or until nobody wants more, as `hand_on` says.
fn decode(
    input: &mut impl io::Read,
    mut hand_on: impl FnMut(Vec<Entry>) -> bool,
) -> Result<(), SnapshotError> {
    let mut chunks = ChunkReader::start(input)?;
    let mut decoding = Decoding::default();
    let mut pending = Vec::new();
    let mut section = Section::Tables;
    loop {
        section = chunks.next(&mut pending, section)?;
        let mut from = Decoder::new(&pending, 0);
        while let Some(entry) = from.whole_record().map_err(|cause| chunks.failed(cause))? {
            let taken = decoding.take(section, entry);
            taken.map_err(|error| error.tell(|cause| chunks.failed(cause)))?;
        }
        let done = pending.len() - from.len();
        pending.drain(..done);
        let wanted = hand_on(std::mem::take(&mut decoding.portion));
        if section == Section::End && !pending.is_empty() {
            return Err(Broken(SHORT).into());
        }
        if section == Section::End || !wanted {
            return Ok(());
        }
    }
}

/// What is wrong with a snapshot that lacks something.
const SHORT: &str = "it does not hold what its end says";

/// Why an entry is of no use.
enum Unfit {
    Stored(StoredError),
    Broken(Broken),
}

impl From<StoredError> for Unfit {
    fn from(error: StoredError) -> Self {
        Self::Stored(error)
    }
}

impl From<Broken> for Unfit {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl Unfit {
    fn tell(self, failed: impl FnOnce(StoredError) -> SnapshotError) -> SnapshotError {
        match self {
            Self::Stored(cause) => failed(cause),
            Self::Broken(broken) => broken.into(),
        }
    }
}

/// Entries on their way.
#[derive(Debug, Default)]
struct Decoding {
    /// The node that instances and checks are added to.
    open: Option<Host>,
    portion: Vec<Entry>,
}

impl Decoding {
    fn take(&mut self, section: Section, mut from: Decoder<'_>) -> Result<(), Unfit> {
        let from = &mut from;
        if section != Section::Nodes {
            self.close()?;
        }
        self.portion.push(match section {
            Section::Tables => Entry::Tables(Heads::take(from)?),
            Section::Services => Entry::Service(rows::take_service(from)?),
            Section::Nodes => return self.part(NodePart::take(from)?),
            Section::End => Entry::End(Counts::take(from)?),
        });
        Ok(())
    }

    fn part(&mut self, part: NodePart) -> Result<(), Unfit> {
        match (part, &mut self.open) {
            (NodePart::Node(row), _) => {
                self.close()?;
                self.open = Some(Host::new(row));
            }
            (NodePart::Instance(row), Some(host)) => host.instance(row)?,
            (NodePart::Check(row), Some(host)) => host.check(row)?,
            (NodePart::Instance(_), None) => Err(Broken("an instance without its node"))?,
            (NodePart::Check(_), None) => Err(Broken("a check without its node"))?,
        }
        Ok(())
    }

    /// The open node is whole.
    fn close(&mut self) -> Result<(), Broken> {
        if let Some(host) = self.open.take() {
            self.portion.push(Entry::Node(Box::new(host.close()?)));
        }
        Ok(())
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
    fn entry(&mut self, entry: Entry) -> Result<(), Broken> {
        match entry {
            Entry::Tables(heads) if self.heads.is_none() => self.heads = Some(heads),
            Entry::End(counts) if self.told.is_none() => self.told = Some(counts),
            Entry::Tables(_) | Entry::End(_) => return Err(Broken("an entry comes twice")),
            Entry::Service(row) => {
                self.found.services += 1;
                self.builder.service(row)?;
            }
            Entry::Node(hosted) => {
                let (instances, checks) = hosted.counts();
                self.found.nodes += 1;
                self.found.instances += instances as u64;
                self.found.checks += checks as u64;
                self.builder.node(*hosted)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<State, SnapshotError> {
        if self.told.as_ref() != Some(&self.found) {
            return Err(Broken(SHORT).into());
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
