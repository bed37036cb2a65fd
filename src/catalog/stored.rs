//! Commands and outcomes as octets, as the log and servers carry them.
//!
//! Owns the stored form: `{format u16, kind u16, length u32, body, crc32c u32}`, little endian, and
//! in the body the request id and then the operations, each with its own kind and length. `octets`
//! has the rules by which values are written, `model` the fields of each type; `snapshot` writes
//! with the same two.
//!
//! **Invariant**: equal commands have equal octets, on every server.
//! **Invariant**: fields are only appended and numbers never used again. What is older reads, with
//! defaults for what it lacks; what is newer than this release is [`StoredError::Newer`], never
//! read in part.
//! **Invariant**: nothing is allocated for what octets only announce, and none make it panic.

mod model;
mod octets;

use bytes::Bytes;

use super::command::{Command, Operation, Outcome, Refusal};

pub(super) use octets::{Decoder, Encoder, Record, Stored};

/// Format of the frame around a command.
const FORMAT: u16 = 1;
/// Octets before the body: format, kind, length.
const HEAD_OCTETS: usize = 8;
/// Octets of the checksum behind the body.
const CHECKSUM_OCTETS: usize = 4;

/// Why octets are no command or outcome. Nothing changed; the same octets fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// The octets are not those that were written.
    #[error("checksum is {found:08x}, {expected:08x} was written: the octets are damaged")]
    Checksum {
        /// What was written.
        expected: u32,
        /// What the octets give.
        found: u32,
    },
    /// A later release wrote it, and this one would understand it in part only.
    #[error("needs a later release of herald: {what} ({number})")]
    Newer {
        /// What this release does not know: a format, a kind, further fields.
        what: &'static str,
        /// Its number, or how many octets there are of it.
        number: u64,
    },
    /// No release writes this.
    #[error("malformed at octet {at}: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where, counted from the start.
        at: usize,
    },
}

/// The stored form of a command.
///
/// # Panics
/// The command takes more than 4 GiB, which the bounds on requests rule out.
pub fn encode(command: &Command) -> Bytes {
    let mut out = Encoder::default();
    let kinds = command.operations.iter().map(Operation::kind);
    out.raw(&FORMAT.to_le_bytes());
    out.raw(&kinds.max().unwrap_or_default().to_le_bytes());
    out.raw(&[0; 4]);
    out.raw(&command.request.to_le_bytes());
    for operation in &command.operations {
        operation.put(&mut out);
    }
    let mut octets = out.into_octets();
    let length = u32::try_from(octets.len() - HEAD_OCTETS);
    let length = length.expect("requests are bounded far below 4 GiB");
    if let Some(place) = octets.get_mut(4..HEAD_OCTETS) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&octets);
    octets.extend_from_slice(&checksum.to_le_bytes());
    octets.into()
}

/// The command that `octets` are the stored form of.
///
/// # Errors
/// [`StoredError`].
pub fn decode(octets: &[u8]) -> Result<Command, StoredError> {
    let (kind, body) = open(octets)?;
    let mut from = Decoder::new(body, HEAD_OCTETS);
    let request = u128::take(&mut from)?;
    let mut operations = Vec::new();
    while !from.is_empty() {
        operations.push(Operation::take(&mut from)?);
    }
    let kinds = operations.iter().map(Operation::kind);
    if kinds.max().unwrap_or_default() != kind {
        let what = "the kind is not that of the newest operation";
        return Err(StoredError::Malformed { what, at: 2 });
    }
    Ok(Command {
        request,
        operations,
    })
}

/// Whether `octets` are a whole frame, of this release or a later one. The body is not read: that
/// takes as long as [`decode`], and costs what it allocates.
///
/// # Errors
/// [`StoredError`], but never [`StoredError::Newer`].
pub fn verify(octets: &[u8]) -> Result<(), StoredError> {
    match open(octets) {
        Ok(_) | Err(StoredError::Newer { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The kind and the body of a frame whose checksum is right and whose format is known.
fn open(octets: &[u8]) -> Result<(u16, &[u8]), StoredError> {
    let mut head = Decoder::new(octets, 0);
    let [format, kind] = [head.array()?, head.array()?].map(u16::from_le_bytes);
    let length = u32::from_le_bytes(head.array()?);
    let framed = usize::try_from(length).ok();
    let framed = framed.and_then(|length| length.checked_add(HEAD_OCTETS + CHECKSUM_OCTETS));
    if framed != Some(octets.len()) {
        let what = "the length is not that of the octets";
        return Err(StoredError::Malformed { what, at: 4 });
    }
    let body = head.octets(octets.len() - HEAD_OCTETS - CHECKSUM_OCTETS)?;
    let expected = u32::from_le_bytes(head.array()?);
    let found = crc32c::crc32c(octets.get(..HEAD_OCTETS).unwrap_or_default());
    let found = crc32c::crc32c_append(found, body);
    if found != expected {
        return Err(StoredError::Checksum { expected, found });
    }
    if format == 0 {
        let what = "no release writes format 0";
        return Err(StoredError::Malformed { what, at: 0 });
    }
    // Only now: a damaged number shall not pass for a new one.
    known("format of a command", format.into(), FORMAT.into())?;
    known(
        "kind of a command",
        kind.into(),
        Operation::KIND_NEWEST.into(),
    )?;
    Ok((kind, body))
}

/// Whether a number is one that this release knows.
pub(super) fn known(what: &'static str, number: u64, newest: u64) -> Result<(), StoredError> {
    if number > newest {
        return Err(StoredError::Newer { what, number });
    }
    Ok(())
}

/// An outcome, as a server tells it to the one that forwarded the command. Without a checksum: it
/// is never kept.
pub fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    let mut out = Encoder::default();
    out.record(|fields| match outcome {
        Outcome::Applied { index } => {
            fields.required(&0_u16);
            fields.required(index);
        }
        Outcome::Refused(Refusal::MissingService { node }) => {
            fields.required(&1_u16);
            fields.required(node);
        }
        Outcome::Refused(Refusal::NodeNameTaken { name, owner }) => {
            fields.required(&2_u16);
            fields.required(name);
            fields.required(owner);
        }
    });
    out.into_octets()
}

/// The outcome that `octets` tell.
///
/// # Errors
/// [`StoredError`].
pub fn decode_outcome(octets: &[u8]) -> Result<Outcome, StoredError> {
    let mut from = Decoder::new(octets, 0);
    let outcome = from.record("octets after an outcome", |fields| {
        Ok(match u16::take(fields)? {
            0 => Outcome::Applied {
                index: fields.required()?,
            },
            1 => Outcome::Refused(Refusal::MissingService {
                node: fields.required()?,
            }),
            2 => Outcome::Refused(Refusal::NodeNameTaken {
                name: fields.required()?,
                owner: fields.required()?,
            }),
            number => {
                let (what, number) = ("kind of outcome", number.into());
                return Err(StoredError::Newer { what, number });
            }
        })
    })?;
    from.end("something follows the outcome")?;
    Ok(outcome)
}
