//! The messages of packets, as memberlist speaks them: an octet for the type, then a map.
//!
//! Maps are read by name, in any order: unknown fields are skipped, missing ones are zero. They are
//! written with their keys in order, in the old dialect, so that equal messages are equal octets.

use std::net::SocketAddr;

use super::fields::{
    SourceFields, address, meta, name_or_empty, named, read_map, versions, write_address,
};
use super::{Malformed, kind};
use crate::msgpack::{Reader, Writer};

/// Protocol versions of a node: of memberlist (least, greatest, spoken), then of serf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Versions(pub [u8; 6]);

impl Versions {
    /// What this program speaks.
    pub const OWN: Self = Self([1, 5, 2, 2, 5, 4]);
}

/// One message of a packet, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Asks a node whether it lives.
    Ping(Ping<'a>),
    /// Asks a node to ping another.
    IndirectPing(IndirectPing<'a>),
    /// Answers a ping.
    Ack(Ack<'a>),
    /// Says that an indirect ping has had no answer.
    Nack {
        /// Of the indirect ping.
        sequence: u32,
    },
    /// Says that a node may be dead.
    Suspect(Accusation<'a>),
    /// Says that a node lives, and where.
    Alive(Alive<'a>),
    /// Says that a node is dead, or has left if it says so itself.
    Dead(Accusation<'a>),
    /// Something of the layer above.
    User(&'a [u8]),
}

/// Who asks, where answers go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// Where the answer is to go.
    pub address: SocketAddr,
    /// Name of the asking node; empty if it does not say.
    pub node: &'a str,
}

/// Asks `node` whether it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping<'a> {
    /// Comes back in the answer.
    pub sequence: u32,
    /// Who is meant; empty is whoever receives it.
    pub node: &'a str,
    /// Who asks; old peers do not say.
    pub source: Option<Source<'a>>,
}

/// Asks the receiver to ping `node` at `target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndirectPing<'a> {
    /// Comes back in the answer.
    pub sequence: u32,
    /// Where `node` is.
    pub target: SocketAddr,
    /// Who is to be pinged.
    pub node: &'a str,
    /// Whether the asker wants to be told of a failure.
    pub nack: bool,
    /// Who asks.
    pub source: Option<Source<'a>>,
}

/// Answers a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Of the ping.
    pub sequence: u32,
    /// What the layer above adds (a coordinate); empty for none.
    pub payload: &'a [u8],
}

/// Says something of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accusation<'a> {
    /// Incarnation that is meant.
    pub incarnation: u32,
    /// Who is accused.
    pub node: &'a str,
    /// Who says so.
    pub from: &'a str,
}

/// Says that a node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive<'a> {
    /// Grows with each thing that the node says of itself.
    pub incarnation: u32,
    /// Its name.
    pub node: &'a str,
    /// Where it listens. A port of 0 means the receiver's own port.
    pub address: SocketAddr,
    /// What the layer above says of it (tags), at most 512 octets.
    pub meta: &'a [u8],
    /// What it speaks.
    pub versions: Versions,
}

impl<'a> Message<'a> {
    /// Reads a whole message: type octet and body. What follows the body is ignored, as peers do.
    ///
    /// # Errors
    /// It is none, or is beyond a limit.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        let (kind, body) = octets
            .split_first()
            .ok_or(Malformed("message without a type"))?;
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        Ok(match *kind {
            kind::PING => Self::Ping(Ping::decode(reader)?),
            kind::INDIRECT_PING => Self::IndirectPing(IndirectPing::decode(reader)?),
            kind::ACK => Self::Ack(Ack::decode(reader)?),
            kind::SUSPECT => Self::Suspect(Accusation::decode(reader)?),
            kind::ALIVE => Self::Alive(Alive::decode(reader)?),
            kind::DEAD => Self::Dead(Accusation::decode(reader)?),
            kind::USER if body.is_empty() => return Err(Malformed("user message is empty")),
            kind::USER => Self::User(body),
            kind::NACK => Self::Nack {
                sequence: decode_nack(reader)?,
            },
            _ => return Err(Malformed("message type is not supported on packets")),
        })
    }

    /// Appends type octet and body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind());
        match self {
            Self::Ping(ping) => ping.encode(out),
            Self::IndirectPing(ping) => ping.encode(out),
            Self::Ack(ack) => ack.encode(out),
            Self::Nack { sequence } => {
                let mut writer = Writer::old(out);
                writer.map(1);
                writer.text("SeqNo");
                writer.unsigned(*sequence);
            }
            Self::Suspect(accusation) | Self::Dead(accusation) => accusation.encode(out),
            Self::Alive(alive) => alive.encode(out),
            Self::User(octets) => out.extend_from_slice(octets),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Ping(_) => kind::PING,
            Self::IndirectPing(_) => kind::INDIRECT_PING,
            Self::Ack(_) => kind::ACK,
            Self::Nack { .. } => kind::NACK,
            Self::Suspect(_) => kind::SUSPECT,
            Self::Alive(_) => kind::ALIVE,
            Self::Dead(_) => kind::DEAD,
            Self::User(_) => kind::USER,
        }
    }
}

impl<'a> Ping<'a> {
    /// Reads the body.
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (mut sequence, mut node, mut source) = (0, "", SourceFields::default());
        read_map(reader, |key, reader| {
            match key {
                b"SeqNo" => sequence = reader.unsigned()?,
                b"Node" => node = name_or_empty(reader)?,
                _ => return source.read(key, reader),
            }
            Ok(true)
        })?;
        Ok(Self {
            sequence,
            node,
            source: source.source()?,
        })
    }

    /// Writes the body.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::old(out);
        writer.map(2 + Source::pairs(self.source.as_ref()));
        writer.text("Node");
        writer.text(self.node);
        writer.text("SeqNo");
        writer.unsigned(self.sequence);
        if let Some(source) = &self.source {
            source.write(&mut writer);
        }
    }
}

impl<'a> IndirectPing<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (mut sequence, mut node, mut nack) = (0, "", false);
        let (mut target, mut port) = (&[][..], 0);
        let mut source = SourceFields::default();
        read_map(reader, |key, reader| {
            match key {
                b"SeqNo" => sequence = reader.unsigned()?,
                b"Target" => target = reader.octets()?,
                b"Port" => port = reader.unsigned()?,
                b"Node" => node = name_or_empty(reader)?,
                b"Nack" => nack = reader.boolean()?,
                _ => return source.read(key, reader),
            }
            Ok(true)
        })?;
        Ok(Self {
            sequence,
            target: SocketAddr::new(address(target)?, port),
            node: named(node)?,
            nack,
            source: source.source()?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::old(out);
        writer.map(5 + Source::pairs(self.source.as_ref()));
        writer.text("Nack");
        writer.boolean(self.nack);
        writer.text("Node");
        writer.text(self.node);
        writer.text("Port");
        writer.unsigned(self.target.port());
        writer.text("SeqNo");
        writer.unsigned(self.sequence);
        if let Some(source) = &self.source {
            source.write(&mut writer);
        }
        writer.text("Target");
        write_address(&mut writer, self.target.ip());
    }
}

impl<'a> Ack<'a> {
    /// Reads the body.
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (mut sequence, mut payload) = (0, &[][..]);
        read_map(reader, |key, reader| {
            match key {
                b"SeqNo" => sequence = reader.unsigned()?,
                b"Payload" => payload = reader.octets()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { sequence, payload })
    }

    /// Writes the body. No payload is nil, as Go writes it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::old(out);
        writer.map(2);
        writer.text("Payload");
        if self.payload.is_empty() {
            writer.nil();
        } else {
            writer.octets(self.payload);
        }
        writer.text("SeqNo");
        writer.unsigned(self.sequence);
    }
}

fn decode_nack(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    let mut sequence = 0;
    read_map(reader, |key, reader| {
        if key != b"SeqNo" {
            return Ok(false);
        }
        sequence = reader.unsigned()?;
        Ok(true)
    })?;
    Ok(sequence)
}

impl<'a> Accusation<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (mut incarnation, mut node, mut from) = (0, "", "");
        read_map(reader, |key, reader| {
            match key {
                b"Incarnation" => incarnation = reader.unsigned()?,
                b"Node" => node = name_or_empty(reader)?,
                b"From" => from = name_or_empty(reader)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self {
            incarnation,
            node: named(node)?,
            from: named(from)?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::old(out);
        writer.map(3);
        writer.text("From");
        writer.text(self.from);
        writer.text("Incarnation");
        writer.unsigned(self.incarnation);
        writer.text("Node");
        writer.text(self.node);
    }
}

impl<'a> Alive<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (mut incarnation, mut node, mut ip, mut port) = (0, "", &[][..], 0);
        let (mut meta_octets, mut spoken) = (&[][..], None);
        read_map(reader, |key, reader| {
            match key {
                b"Incarnation" => incarnation = reader.unsigned()?,
                b"Node" => node = name_or_empty(reader)?,
                b"Addr" => ip = reader.octets()?,
                b"Port" => port = reader.unsigned()?,
                b"Meta" => meta_octets = reader.octets()?,
                b"Vsn" => spoken = versions(reader)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let spoken = spoken.ok_or(Malformed("alive message without versions"))?;
        // A node that speaks nothing cannot be talked to.
        let Versions([least, greatest, ..]) = spoken;
        if least == 0 || greatest == 0 || least > greatest {
            return Err(Malformed("bad protocol versions"));
        }
        Ok(Self {
            incarnation,
            node: named(node)?,
            address: SocketAddr::new(address(ip)?, port),
            meta: meta(meta_octets)?,
            versions: spoken,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::old(out);
        writer.map(6);
        writer.text("Addr");
        write_address(&mut writer, self.address.ip());
        writer.text("Incarnation");
        writer.unsigned(self.incarnation);
        writer.text("Meta");
        writer.octets(self.meta);
        writer.text("Node");
        writer.text(self.node);
        writer.text("Port");
        writer.unsigned(self.address.port());
        writer.text("Vsn");
        writer.octets(&self.versions.0);
    }
}
