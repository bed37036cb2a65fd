//! What goes over a stream, as memberlist speaks it: one message each way, then both sides close.

use std::net::SocketAddr;

use super::fields::{address, meta, name_or_empty, named, read_map, versions, write_address};
use super::{Ack, Malformed, Ping, Versions, kind};
use crate::msgpack::{Reader, Writer};

/// Nodes of a push/pull at most; more are refused before they are read.
pub const NODES_MAX: usize = 1 << 20;

/// Octets of the user state or of a user message at most; more are refused before they are read.
pub const USER_OCTETS_MAX: usize = 20 << 20;

/// The last state of a node: it has left.
const STATE_MAX: u8 = 3;

/// A node as it stands in a push/pull; borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeState<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it listens. A port of 0 means the receiver's own port.
    pub address: SocketAddr,
    /// What the layer above says of it (tags).
    pub meta: &'a [u8],
    /// Its incarnation.
    pub incarnation: u32,
    /// 0 alive, 1 suspect, 2 dead, 3 left.
    pub state: u8,
    /// What it speaks.
    pub versions: Versions,
}

/// All that one side of a push/pull knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushPull<'a> {
    /// Whether the initiator joins.
    pub join: bool,
    /// The nodes it knows.
    pub nodes: Vec<NodeState<'a>>,
    /// State of the layer above.
    pub user_state: &'a [u8],
}

/// The message of a stream, unwrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamMessage<'a> {
    /// State is exchanged.
    PushPull(PushPull<'a>),
    /// Something of the layer above; no peer sends it.
    User(&'a [u8]),
    /// A ping whose packets got lost.
    Ping(Ping<'a>),
    /// Its answer.
    Ack(Ack<'a>),
    /// The other side could not read ours.
    Error(&'a str),
}

impl<'a> StreamMessage<'a> {
    /// Reads the plain content of a stream (without label, encryption and compression). What
    /// follows it is ignored.
    ///
    /// # Errors
    /// It is no message or beyond a limit.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        let (kind, body) = octets
            .split_first()
            .ok_or(Malformed("message without a type"))?;
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        Ok(match *kind {
            kind::PUSH_PULL => Self::PushPull(PushPull::decode(reader)?),
            kind::USER => {
                let octets = read_user_header(reader)?;
                Self::User(reader.take(octets)?)
            }
            kind::PING => Self::Ping(Ping::decode(reader)?),
            kind::ACK => Self::Ack(Ack::decode(reader)?),
            kind::ERROR => Self::Error(read_error(reader)?),
            _ => return Err(Malformed("message type is not supported on streams")),
        })
    }

    /// Appends the plain content to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::PushPull(state) => state.encode(out),
            Self::User(octets) => {
                out.push(kind::USER);
                let mut writer = Writer::old(out);
                writer.map(1);
                writer.text("UserMsgLen");
                write_length(&mut writer, octets.len());
                writer.raw(octets);
            }
            Self::Ping(ping) => {
                out.push(kind::PING);
                ping.encode(out);
            }
            Self::Ack(ack) => {
                out.push(kind::ACK);
                ack.encode(out);
            }
            Self::Error(text) => {
                out.push(kind::ERROR);
                let mut writer = Writer::old(out);
                writer.map(1);
                writer.text("Error");
                writer.text(text);
            }
        }
    }
}

/// What stands before the nodes of a push/pull.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PushPullHeader {
    pub(super) nodes: usize,
    pub(super) user_octets: usize,
    join: bool,
}

impl PushPullHeader {
    /// Reads it and refuses counts beyond the limits, before anything is read or made for them.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut header = Self::default();
        read_map(reader, |key, reader| {
            match key {
                b"Nodes" => header.nodes = reader.unsigned()?,
                b"UserStateLen" => header.user_octets = reader.unsigned()?,
                b"Join" => header.join = reader.boolean()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if header.nodes > NODES_MAX {
            return Err(Malformed("number of nodes exceeds the limit"));
        }
        if header.user_octets > USER_OCTETS_MAX {
            return Err(Malformed("length of the user state exceeds the limit"));
        }
        Ok(header)
    }
}

impl<'a> PushPull<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let header = PushPullHeader::decode(reader)?;
        // Each node grows the list when it is there; the announced number reserves nothing.
        let mut nodes = Vec::new();
        for _ in 0..header.nodes {
            nodes.extend(NodeState::decode(reader)?);
        }
        Ok(Self {
            join: header.join,
            nodes,
            user_state: reader.take(header.user_octets)?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(kind::PUSH_PULL);
        let mut writer = Writer::old(out);
        writer.map(3);
        writer.text("Join");
        writer.boolean(self.join);
        writer.text("Nodes");
        write_length(&mut writer, self.nodes.len());
        writer.text("UserStateLen");
        write_length(&mut writer, self.user_state.len());
        for node in &self.nodes {
            node.encode(&mut writer);
        }
        writer.raw(self.user_state);
    }
}

impl<'a> NodeState<'a> {
    /// Reads a node. One that is beyond a limit is `None`, as if the other side did not know it:
    /// peers let such nodes in, and one of them must not keep the pool from exchanging the rest.
    fn decode(reader: &mut Reader<'a>) -> Result<Option<Self>, Malformed> {
        let mut value = Reader::new(reader.raw()?);
        Ok(Self::decode_value(&mut value).ok())
    }

    fn decode_value(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (mut name, mut ip, mut port, mut meta_octets) = ("", &[][..], 0, &[][..]);
        let (mut incarnation, mut state, mut spoken) = (0, 0, None);
        read_map(reader, |key, reader| {
            match key {
                b"Name" => name = name_or_empty(reader)?,
                b"Addr" => ip = reader.octets()?,
                b"Port" => port = reader.unsigned()?,
                b"Meta" => meta_octets = reader.octets()?,
                b"Incarnation" => incarnation = reader.unsigned()?,
                b"State" => state = reader.unsigned()?,
                b"Vsn" => spoken = versions(reader)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if state > STATE_MAX {
            return Err(Malformed("state of a node is unknown"));
        }
        Ok(Self {
            name: named(name)?,
            address: SocketAddr::new(address(ip)?, port),
            meta: meta(meta_octets)?,
            incarnation,
            state,
            versions: spoken.unwrap_or(Versions([0; 6])),
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.map(7);
        writer.text("Addr");
        write_address(writer, self.address.ip());
        writer.text("Incarnation");
        writer.unsigned(self.incarnation);
        writer.text("Meta");
        writer.octets(self.meta);
        writer.text("Name");
        writer.text(self.name);
        writer.text("Port");
        writer.unsigned(self.address.port());
        writer.text("State");
        writer.unsigned(self.state);
        writer.text("Vsn");
        writer.octets(&self.versions.0);
    }
}

/// Reads what stands before a user message: how many octets follow.
pub(super) fn read_user_header(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let mut octets = 0;
    read_map(reader, |key, reader| {
        if key != b"UserMsgLen" {
            return Ok(false);
        }
        octets = reader.unsigned()?;
        Ok(true)
    })?;
    if octets > USER_OCTETS_MAX {
        return Err(Malformed("length of the user message exceeds the limit"));
    }
    Ok(octets)
}

fn read_error<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    let mut text = "";
    read_map(reader, |key, reader| {
        if key != b"Error" {
            return Ok(false);
        }
        text = reader.text()?;
        Ok(true)
    })?;
    Ok(text)
}

fn write_length(writer: &mut Writer<'_>, length: usize) {
    writer.unsigned(u64::try_from(length).expect("lengths have at most 64 bits"));
}
