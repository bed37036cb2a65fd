//! The frames of a snapshot: a mark with the format, then chunks
//! `{section u16, version u16, length u32, octets, crc32c u32}`, little endian.
//!
//! The octets of a section's chunks, one after the other, are its entries: one may begin in a chunk
//! and end in a later one, so that no chunk is longer than [`CHUNK_OCTETS_MAX`].

use std::io::{self, Read};

use crate::catalog::stored::{Decoder, Encoder, Record, StoredError};

use super::SnapshotError;

/// How a snapshot begins.
const MARK: [u8; 8] = *b"herald\x1aS";
/// Format of the frames.
const FORMAT: u16 = 1;
/// Version of every section.
const VERSION: u16 = 1;
/// Octets of a chunk before its own: section, version, length.
const HEAD_OCTETS: usize = 8;
/// Octets of the checksum behind a chunk.
const CHECKSUM_OCTETS: usize = 4;
/// Most octets of one chunk, without head and checksum.
const CHUNK_OCTETS_MAX: usize = 1 << 20;

/// A part of a snapshot. They come in this order; numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    /// One entry: what is known of the whole.
    Tables,
    /// Services, without their instances.
    Services,
    /// Nodes, each followed by its instances and its checks.
    Nodes,
    /// One entry: how much of everything there is.
    End,
}

impl Section {
    fn number(self) -> u16 {
        match self {
            Self::Tables => 1,
            Self::Services => 2,
            Self::Nodes => 3,
            Self::End => u16::MAX,
        }
    }

    fn numbered(number: u16) -> Option<Self> {
        let all = [Self::Tables, Self::Services, Self::Nodes, Self::End];
        all.into_iter().find(|section| section.number() == number)
    }
}

/// Collects entries into chunks.
#[derive(Debug)]
pub(super) struct ChunkWriter<'a, W> {
    out: &'a mut W,
    section: Section,
    pending: Encoder,
}

impl<'a, W: io::Write> ChunkWriter<'a, W> {
    pub(super) fn start(out: &'a mut W) -> io::Result<Self> {
        out.write_all(&MARK)?;
        out.write_all(&FORMAT.to_le_bytes())?;
        Ok(Self {
            out,
            section: Section::Tables,
            pending: Encoder::default(),
        })
    }

    /// Adds an entry, whose fields `fill` writes.
    pub(super) fn entry(
        &mut self,
        section: Section,
        fill: impl FnOnce(&mut Record<'_>),
    ) -> io::Result<()> {
        if section != self.section {
            self.flush()?;
            self.section = section;
        }
        self.pending.record(fill);
        while self.pending.len() >= CHUNK_OCTETS_MAX {
            self.chunk(CHUNK_OCTETS_MAX)?;
        }
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.out.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.pending.len() {
            0 => Ok(()),
            count => self.chunk(count),
        }
    }

    fn chunk(&mut self, count: usize) -> io::Result<()> {
        let octets = self.pending.drain(count);
        let length = u32::try_from(octets.len()).expect("a chunk is no longer than 1 MiB");
        let mut head = Encoder::default();
        head.raw(&self.section.number().to_le_bytes());
        head.raw(&VERSION.to_le_bytes());
        head.raw(&length.to_le_bytes());
        let head = head.into_octets();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head), &octets);
        self.out.write_all(&head)?;
        self.out.write_all(&octets)?;
        self.out.write_all(&checksum.to_le_bytes())
    }
}

/// Takes chunks in and checks them.
#[derive(Debug)]
pub(super) struct ChunkReader<'a, R> {
    input: &'a mut R,
    /// Where the chunk in hand starts.
    at: u64,
    /// Octets read.
    read: u64,
}

impl<'a, R: Read> ChunkReader<'a, R> {
    pub(super) fn start(input: &'a mut R) -> Result<Self, SnapshotError> {
        let mut reader = Self {
            input,
            at: 0,
            read: 0,
        };
        let mark = match reader.array() {
            // A file of another kind may be shorter than the mark.
            Err(SnapshotError::Cut { .. }) => return Err(SnapshotError::Foreign),
            mark => mark?,
        };
        if mark != MARK {
            return Err(SnapshotError::Foreign);
        }
        let format = u16::from_le_bytes(reader.array()?);
        if format == 0 {
            return Err(SnapshotError::Foreign);
        }
        newer("format of the snapshot", format, format > FORMAT)?;
        Ok(reader)
    }

    /// Adds the octets of the next chunk to `pending`, which is empty unless an entry of `section`
    /// goes on in it. The section of the chunk.
    pub(super) fn next(
        &mut self,
        pending: &mut Vec<u8>,
        section: Section,
    ) -> Result<Section, SnapshotError> {
        self.at = self.read;
        let head: [u8; HEAD_OCTETS] = self.array()?;
        let mut fields = Decoder::new(&head, 0);
        let failed = |cause| SnapshotError::Damaged { at: self.at, cause };
        let number = fields.array().map(u16::from_le_bytes).map_err(failed)?;
        let version = fields.array().map(u16::from_le_bytes).map_err(failed)?;
        let length = fields.array().map(u32::from_le_bytes).map_err(failed)?;
        let length = usize::try_from(length).ok();
        let length = length.filter(|length| *length <= CHUNK_OCTETS_MAX);
        let too_long = || fields.malformed("a chunk is longer than 1 MiB");
        let length = length.ok_or_else(|| failed(too_long()))?;
        let start = pending.len();
        self.octets(length, pending)?;
        let expected = u32::from_le_bytes(self.array::<CHECKSUM_OCTETS>()?);
        let octets = pending.get(start..).unwrap_or_default();
        let found = crc32c::crc32c_append(crc32c::crc32c(&head), octets);
        if found != expected {
            return Err(self.failed(StoredError::Checksum { expected, found }));
        }
        // Only now: a damaged number shall not pass for a new one.
        let next = Section::numbered(number);
        newer("section of the snapshot", number, next.is_none())?;
        newer("version of a section", version, version != VERSION)?;
        match next.filter(|next| *next == section || *next > section && start == 0) {
            Some(next) => Ok(next),
            None => Err(SnapshotError::Broken {
                what: "a section ends within an entry, or comes too late",
            }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut octets = Vec::with_capacity(N);
        self.octets(N, &mut octets)?;
        let octets = octets.try_into();
        octets.map_err(|_| SnapshotError::Cut { octets: self.read })
    }

    /// Grows `kept` as octets come, not as they are announced.
    fn octets(&mut self, count: usize, kept: &mut Vec<u8>) -> Result<(), SnapshotError> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let mut part = self.input.take(count);
        let read = part.read_to_end(kept).map_err(SnapshotError::Read)?;
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        self.read += read;
        if read < count {
            return Err(SnapshotError::Cut { octets: self.read });
        }
        Ok(())
    }
}

impl<R> ChunkReader<'_, R> {
    /// An entry in the chunk in hand is wrong.
    pub(super) fn failed(&self, cause: StoredError) -> SnapshotError {
        match cause {
            StoredError::Newer { what, number } => SnapshotError::Newer { what, number },
            cause => SnapshotError::Damaged { at: self.at, cause },
        }
    }
}

fn newer(what: &'static str, number: u16, unknown: bool) -> Result<(), SnapshotError> {
    if unknown {
        let number = number.into();
        return Err(SnapshotError::Newer { what, number });
    }
    Ok(())
}
