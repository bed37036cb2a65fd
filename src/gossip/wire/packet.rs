//! The layers around the messages of a packet, outermost first: label, encryption, CRC,
//! compression, compound. All but the message may be missing; none may be there twice.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::compression::{Deflater, Inflater, read_compressed};
use super::encryption::{Ciphers, SEAL_OCTETS};
use super::{Malformed, Message, kind};
use crate::gossip::keyring::Keyring;

/// How packets and streams of a pool are wrapped.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Label of the pool; empty for none. At most 255 octets.
    pub label: Arc<[u8]>,
    /// Whether what is sent is compressed where that makes it shorter. Default yes.
    pub compress: bool,
    /// Whether what cannot be decrypted is dropped; only with keys. Default yes.
    pub verify_incoming: bool,
    /// Whether what is sent is encrypted; only with keys. Default yes.
    pub verify_outgoing: bool,
}

/// Why a packet or stream was dropped; what it held had no effect from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Dropped {
    /// The label is not ours.
    #[error("label differs")]
    Label,
    /// No key opens it.
    #[error("no installed key decrypts it")]
    Key,
    /// The checksum is wrong.
    #[error("invalid checksum")]
    Checksum,
    /// It is no message or beyond a limit.
    #[error("{0}")]
    Malformed(&'static str),
}

impl Dropped {
    /// What the sender of a stream is told of it, in an answer of type
    /// [`StreamMessage::Error`](super::StreamMessage::Error); `None` where peers close in silence.
    pub fn answer(&self) -> Option<&'static str> {
        match self {
            Self::Label | Self::Checksum => None,
            Self::Key => Some("no installed keys could decrypt the message"),
            Self::Malformed(reason) => Some(reason),
        }
    }
}

impl From<Malformed> for Dropped {
    fn from(Malformed(reason): Malformed) -> Self {
        Self::Malformed(reason)
    }
}

/// Octets that the compressed parts of one packet may inflate to, all together.
const INFLATED_OCTETS_MAX: usize = 64 << 10;

/// Messages of a compound at most; their number has one octet.
pub const PARTS_MAX: usize = 255;

/// Octets of a checksum with its type.
const CHECKSUM_OCTETS: usize = 5;

/// Wraps and unwraps packets; keeps its buffers between them.
#[derive(Debug)]
pub struct Codec {
    settings: Settings,
    keyring: Arc<ArcSwapOption<Keyring>>,
    ciphers: Ciphers,
    plain: Vec<u8>,
    inflation: Inflation,
    deflater: Deflater,
}

impl Codec {
    /// A codec for one pool. `keyring` is asked anew for each packet.
    pub fn new(settings: Settings, keyring: Arc<ArcSwapOption<Keyring>>) -> Self {
        Self {
            settings,
            keyring,
            ciphers: Ciphers::default(),
            plain: Vec::new(),
            inflation: Inflation {
                inflater: Inflater::new(),
                room: vec![0; INFLATED_OCTETS_MAX + 1],
                octets_left: 0,
            },
            deflater: Deflater::new(),
        }
    }

    /// Unwraps one datagram and hands over each message in order. Of a compound whose last parts
    /// are cut, the complete ones are handed over, and so are those beside one that is malformed.
    ///
    /// # Errors
    /// Why it, or the first part of it that was dropped, was dropped.
    pub fn open(
        &mut self,
        datagram: &[u8],
        handle: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Dropped> {
        let Settings { label, .. } = &self.settings;
        let mut content = strip_label(datagram, label)?;
        self.ciphers.refresh(self.keyring.load().as_ref());
        if !self.ciphers.is_empty() {
            match self.ciphers.open(label, content, &mut self.plain) {
                Ok(()) => content = &self.plain,
                Err(Dropped::Key) if !self.settings.verify_incoming => {}
                Err(dropped) => return Err(dropped),
            }
        }
        self.inflation.octets_left = INFLATED_OCTETS_MAX;
        let content = strip_checksum(content)?;
        open_layer(content, Some(&mut self.inflation), true, handle)
    }

    /// Wraps `payload` (a message or compound) into `datagram`, which is cleared first. `checksum`
    /// where the receiver is known to understand one.
    pub fn seal(&mut self, payload: &[u8], checksum: bool, datagram: &mut Vec<u8>) {
        let Settings { label, .. } = &self.settings;
        datagram.clear();
        append_label(label, datagram);
        let deflater = self.settings.compress.then_some(&mut self.deflater);
        let write = |out: &mut Vec<u8>| append_content(payload, checksum, deflater, out);
        if !self.settings.verify_outgoing {
            return write(datagram);
        }
        self.ciphers.refresh(self.keyring.load().as_ref());
        self.ciphers.seal(label, datagram, write);
    }

    /// Octets by which the layers lengthen a packet at most.
    pub fn overhead(&self) -> usize {
        let label = match self.settings.label.len() {
            0 => 0,
            octets => 2 + octets,
        };
        let encryption = if self.keyring.load().is_some() {
            SEAL_OCTETS
        } else {
            0
        };
        label + encryption + CHECKSUM_OCTETS
    }
}

/// What compressed parts of packets inflate into.
#[derive(Debug)]
struct Inflation {
    inflater: Inflater,
    room: Vec<u8>,
    /// Octets that this packet may still inflate to.
    octets_left: usize,
}

/// What stands before anything else if the pool has a label, and must not if it has none.
pub(super) fn append_label(label: &[u8], out: &mut Vec<u8>) {
    if !label.is_empty() {
        out.push(kind::LABEL);
        out.push(u8::try_from(label.len()).expect("a label has at most 255 octets"));
        out.extend_from_slice(label);
    }
}

fn strip_label<'a>(datagram: &'a [u8], label: &[u8]) -> Result<&'a [u8], Dropped> {
    let Some(labelled) = datagram.strip_prefix(&[kind::LABEL]) else {
        return if label.is_empty() {
            Ok(datagram)
        } else {
            Err(Dropped::Label)
        };
    };
    let (octets, labelled) = labelled.split_first().ok_or(Dropped::Label)?;
    let (theirs, content) = labelled
        .split_at_checked((*octets).into())
        .ok_or(Dropped::Label)?;
    if theirs.is_empty() || theirs != label {
        return Err(Dropped::Label);
    }
    Ok(content)
}

/// Peers understand a checksum here only, and not within other layers.
fn strip_checksum(content: &[u8]) -> Result<&[u8], Dropped> {
    let Some(content) = content.strip_prefix(&[kind::CHECKSUM]) else {
        return Ok(content);
    };
    let (checksum, content) = content
        .split_first_chunk()
        .ok_or(Dropped::Malformed("checksum is cut"))?;
    if u32::from_be_bytes(*checksum) != crc32fast::hash(content) {
        return Err(Dropped::Checksum);
    }
    Ok(content)
}

/// Opens a message or what is around it. Each layer may be there once: one that is compressed has
/// no `inflation` for another in it, and one that is compound no compound.
fn open_layer(
    content: &[u8],
    inflation: Option<&mut Inflation>,
    compound: bool,
    handle: &mut dyn FnMut(Message<'_>),
) -> Result<(), Dropped> {
    match content.split_first() {
        Some((&kind::COMPRESSED, body)) => {
            let inflation = inflation.ok_or(Dropped::Malformed("nested compression"))?;
            let compressed = read_compressed(body)?;
            let Inflation {
                inflater,
                room,
                octets_left,
            } = inflation;
            let octets = inflater.inflate(compressed, room, *octets_left)?;
            *octets_left -= octets;
            let inflated = room.get(..octets).unwrap_or_default();
            open_layer(inflated, None, compound, handle)
        }
        Some((&kind::COMPOUND, body)) if compound => open_compound(body, inflation, handle),
        Some((&kind::COMPOUND, _)) => Err(Dropped::Malformed("nested compound")),
        _ => {
            handle(Message::decode(content)?);
            Ok(())
        }
    }
}

/// Nothing is handed over if the table of lengths is cut; parts that are there are handed over even
/// if others are cut or malformed.
fn open_compound(
    body: &[u8],
    mut inflation: Option<&mut Inflation>,
    handle: &mut dyn FnMut(Message<'_>),
) -> Result<(), Dropped> {
    const TABLE: Dropped = Dropped::Malformed("lengths of a compound are cut");
    let (parts, body) = body.split_first().ok_or(TABLE)?;
    let (lengths, mut bodies) = body
        .split_at_checked(2 * usize::from(*parts))
        .ok_or(TABLE)?;
    let (lengths, _) = lengths.as_chunks();
    let mut outcome = Ok(());
    for length in lengths {
        let length = u16::from_be_bytes(*length).into();
        let Some((part, rest)) = bodies.split_at_checked(length) else {
            return outcome.and(Err(Dropped::Malformed("parts of a compound are cut")));
        };
        bodies = rest;
        outcome = outcome.and(open_layer(part, inflation.as_deref_mut(), false, handle));
    }
    outcome
}

fn append_content(
    payload: &[u8],
    checksum: bool,
    deflater: Option<&mut Deflater>,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    if checksum {
        out.extend_from_slice(&[kind::CHECKSUM, 0, 0, 0, 0]);
    }
    let content_at = out.len();
    match deflater {
        Some(deflater) => {
            deflater.append_packet(payload, out);
        }
        None => out.extend_from_slice(payload),
    }
    if checksum {
        let (head, content) = out.split_at_mut(content_at);
        let sum = crc32fast::hash(content).to_be_bytes();
        if let Some(room) = head.get_mut(start + 1..) {
            room.copy_from_slice(&sum);
        }
    }
}

/// Appends the parts, whole messages each, as one compound.
///
/// # Panics
/// There are more than [`PARTS_MAX`], or one is longer than a datagram.
pub fn append_compound<'a>(
    parts: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    out: &mut Vec<u8>,
) {
    out.push(kind::COMPOUND);
    out.push(u8::try_from(parts.len()).expect("a compound has at most 255 parts"));
    for part in parts.clone() {
        let length = u16::try_from(part.len()).expect("a part fits into a datagram");
        out.extend_from_slice(&length.to_be_bytes());
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}
