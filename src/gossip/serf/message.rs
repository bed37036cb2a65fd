//! The messages of this layer as octets: a type octet, then a map with sorted keys, in the old
//! dialect. Read in any order and either dialect, borrowed, unknown keys left out.

use std::net::{IpAddr, SocketAddr};

use super::LamportTime;
use crate::msgpack::{ReadError, Reader, Writer};

/// Type octet that memberlist puts before every message of this layer.
pub(super) const USER: u8 = 8;
const LEAVE: u8 = 0;
const JOIN: u8 = 1;
/// Type octet before the state of a push/pull.
pub(super) const STATE: u8 = 2;
const EVENT: u8 = 3;
const QUERY: u8 = 4;
const ANSWER: u8 = 5;
const RELAY: u8 = 9;

/// Octets of a message that is taken in at most; nothing that fits a packet comes near it.
const OCTETS_MAX: usize = 9 * 1_024;
/// Octets of a node's name at most.
const NAME_OCTETS_MAX: usize = 255;

/// Flag of a query: each is to acknowledge at once.
pub(super) const FLAG_ACKNOWLEDGE: u32 = 1;
/// Flag of a query: it is not to be passed on.
pub(super) const FLAG_NO_BROADCAST: u32 = 2;
/// Flag of an answer: it acknowledges only.
const FLAG_ACKNOWLEDGEMENT: u32 = 1;

/// Octets are no message of this layer; they have no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("message is empty")]
    Empty,
    #[error("message has {octets} octets, at most {OCTETS_MAX} are taken in")]
    Long { octets: usize },
    #[error("message type {0} is not known")]
    Type(u8),
    #[error(transparent)]
    Body(#[from] ReadError),
    #[error("{0} is not valid")]
    Field(&'static str),
}

/// One message, borrowed from its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Leave(Leave<'a>),
    Join(Join<'a>),
    Event(Event<'a>),
    Query(Query<'a>),
    Answer(Answer<'a>),
    Relay(Relay<'a>),
}

/// A node goes, or is declared gone by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leave<'a> {
    pub(super) time: LamportTime,
    pub(super) node: &'a str,
    pub(super) prune: bool,
}

/// A node has come, or says that it is there after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Join<'a> {
    pub(super) time: LamportTime,
    pub(super) node: &'a str,
}

/// Something that is told to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    pub(super) time: LamportTime,
    pub(super) name: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) coalesce: bool,
}

/// Something that is asked of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query<'a> {
    pub(super) time: LamportTime,
    pub(super) id: u32,
    /// Where answers go to.
    pub(super) address: SocketAddr,
    /// Who asks; empty if an old peer does not say.
    pub(super) source: &'a str,
    /// Each with its type octet, never empty.
    pub(super) filters: Vec<&'a [u8]>,
    pub(super) flags: u32,
    pub(super) relay_factor: u8,
    pub(super) timeout_nanoseconds: u64,
    pub(super) name: &'a str,
    pub(super) payload: &'a [u8],
}

/// What one node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) time: LamportTime,
    pub(super) id: u32,
    pub(super) from: &'a str,
    /// Whether it only says that the query has come.
    pub(super) acknowledgement: bool,
    pub(super) payload: &'a [u8],
}

/// A message to be passed on to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relay<'a> {
    pub(super) address: SocketAddr,
    /// Empty if an old peer does not say.
    pub(super) node: &'a str,
    /// The message, with its type octet.
    pub(super) inner: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message without memberlist's type octet.
    pub(super) fn decode(octets: &'a [u8]) -> Result<Self, MessageError> {
        if octets.len() > OCTETS_MAX {
            let octets = octets.len();
            return Err(MessageError::Long { octets });
        }
        let (kind, body) = octets.split_first().ok_or(MessageError::Empty)?;
        let reader = Reader::new(body);
        match *kind {
            LEAVE => read_leave(reader).map(Self::Leave),
            JOIN => read_join(reader).map(Self::Join),
            EVENT => read_event(reader).map(Self::Event),
            QUERY => read_query(reader).map(Self::Query),
            ANSWER => read_answer(reader).map(Self::Answer),
            RELAY => read_relay(reader).map(Self::Relay),
            kind => Err(MessageError::Type(kind)),
        }
    }

    /// Appends the message without memberlist's type octet.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Leave(leave) => write_leave(leave, out),
            Self::Join(join) => write_join(join, out),
            Self::Event(event) => write_event(event, out),
            Self::Query(query) => write_query(query, out),
            Self::Answer(answer) => write_answer(answer, out),
            Self::Relay(relay) => write_relay(relay, out),
        }
    }

    /// The message as it stands in a packet, with memberlist's type octet.
    pub(super) fn to_packet(&self) -> Vec<u8> {
        let mut octets = vec![USER];
        self.encode(&mut octets);
        octets
    }
}

/// Reads a map; `take` reads the value of each key that it knows and says whether it did.
pub(super) fn read_map<'a>(
    reader: &mut Reader<'a>,
    mut take: impl FnMut(&'a [u8], &mut Reader<'a>) -> Result<bool, MessageError>,
) -> Result<(), MessageError> {
    for _ in 0..reader.map()? {
        let key = reader.octets()?;
        if !take(key, reader)? {
            reader.skip()?;
        }
    }
    Ok(())
}

/// An address of 4 or 16 octets.
pub(super) fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(octets.into());
    }
    let octets = <[u8; 16]>::try_from(octets).ok()?;
    Some(IpAddr::from(octets).to_canonical())
}

/// The octets of an address.
pub(super) fn write_ip_address(address: IpAddr, writer: &mut Writer<'_>) {
    match address {
        IpAddr::V4(address) => writer.octets(&address.octets()),
        IpAddr::V6(address) => writer.octets(&address.octets()),
    }
}

/// Octets, or nil where there are none, as Go writes an empty slice.
pub(super) fn write_octets(octets: &[u8], writer: &mut Writer<'_>) {
    if octets.is_empty() {
        writer.nil();
    } else {
        writer.octets(octets);
    }
}

/// A name that can be one of a node.
fn node_name(name: &str) -> Result<&str, MessageError> {
    match name.len() {
        1..=NAME_OCTETS_MAX => Ok(name),
        _ => Err(MessageError::Field("node name")),
    }
}

fn socket_address(octets: &[u8], port: u16) -> Result<SocketAddr, MessageError> {
    let address = ip_address(octets).ok_or(MessageError::Field("address"))?;
    Ok(SocketAddr::new(address, port))
}

fn read_leave(mut reader: Reader<'_>) -> Result<Leave<'_>, MessageError> {
    let (mut time, mut node, mut prune) = (0, "", false);
    read_map(&mut reader, |key, value| {
        match key {
            b"LTime" => time = value.unsigned()?,
            b"Node" => node = value.text()?,
            b"Prune" => prune = value.boolean()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let node = node_name(node)?;
    Ok(Leave { time, node, prune })
}

fn write_leave(leave: &Leave<'_>, out: &mut Vec<u8>) {
    out.push(LEAVE);
    let mut writer = Writer::old(out);
    writer.map(3);
    writer.text("LTime");
    writer.unsigned(leave.time);
    writer.text("Node");
    writer.text(leave.node);
    writer.text("Prune");
    writer.boolean(leave.prune);
}

fn read_join(mut reader: Reader<'_>) -> Result<Join<'_>, MessageError> {
    let (mut time, mut node) = (0, "");
    read_map(&mut reader, |key, value| {
        match key {
            b"LTime" => time = value.unsigned()?,
            b"Node" => node = value.text()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let node = node_name(node)?;
    Ok(Join { time, node })
}

fn write_join(join: &Join<'_>, out: &mut Vec<u8>) {
    out.push(JOIN);
    let mut writer = Writer::old(out);
    writer.map(2);
    writer.text("LTime");
    writer.unsigned(join.time);
    writer.text("Node");
    writer.text(join.node);
}

fn read_event(mut reader: Reader<'_>) -> Result<Event<'_>, MessageError> {
    let mut event = Event {
        time: 0,
        name: "",
        payload: &[],
        coalesce: false,
    };
    read_map(&mut reader, |key, value| {
        match key {
            b"LTime" => event.time = value.unsigned()?,
            b"Name" => event.name = value.text()?,
            b"Payload" => event.payload = value.octets()?,
            b"CC" => event.coalesce = value.boolean()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(event)
}

fn write_event(event: &Event<'_>, out: &mut Vec<u8>) {
    out.push(EVENT);
    let mut writer = Writer::old(out);
    writer.map(4);
    writer.text("CC");
    writer.boolean(event.coalesce);
    writer.text("LTime");
    writer.unsigned(event.time);
    writer.text("Name");
    writer.text(event.name);
    writer.text("Payload");
    write_octets(event.payload, &mut writer);
}

fn read_query(mut reader: Reader<'_>) -> Result<Query<'_>, MessageError> {
    let (mut address, mut port): (&[u8], u16) = (&[], 0);
    let (mut time, mut id, mut source, mut flags) = (0, 0, "", 0);
    let (mut relay_factor, mut timeout, mut name) = (0, 0_i64, "");
    let mut filters = Vec::new();
    let mut payload: &[u8] = &[];
    read_map(&mut reader, |key, value| {
        match key {
            b"LTime" => time = value.unsigned()?,
            b"ID" => id = value.unsigned()?,
            b"Addr" => address = value.octets()?,
            b"Port" => port = value.unsigned()?,
            b"SourceNode" => source = value.text()?,
            b"Filters" => filters = read_filters(value)?,
            b"Flags" => flags = value.unsigned()?,
            b"RelayFactor" => relay_factor = value.unsigned()?,
            b"Timeout" => timeout = value.signed()?,
            b"Name" => name = value.text()?,
            b"Payload" => payload = value.octets()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Query {
        time,
        id,
        address: socket_address(address, port)?,
        source,
        filters,
        flags,
        relay_factor,
        timeout_nanoseconds: timeout.try_into().unwrap_or(0),
        name,
        payload,
    })
}

fn read_filters<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, MessageError> {
    let mut filters = Vec::new();
    for _ in 0..reader.array()? {
        let filter = reader.octets()?;
        if filter.is_empty() {
            return Err(MessageError::Field("empty filter"));
        }
        filters.push(filter);
    }
    Ok(filters)
}

fn write_query(query: &Query<'_>, out: &mut Vec<u8>) {
    out.push(QUERY);
    let mut writer = Writer::old(out);
    writer.map(11);
    writer.text("Addr");
    write_ip_address(query.address.ip(), &mut writer);
    writer.text("Filters");
    if query.filters.is_empty() {
        writer.nil();
    } else {
        writer.array(query.filters.len());
        for filter in &query.filters {
            writer.octets(filter);
        }
    }
    writer.text("Flags");
    writer.unsigned(query.flags);
    writer.text("ID");
    writer.unsigned(query.id);
    writer.text("LTime");
    writer.unsigned(query.time);
    writer.text("Name");
    writer.text(query.name);
    writer.text("Payload");
    write_octets(query.payload, &mut writer);
    writer.text("Port");
    writer.unsigned(query.address.port());
    writer.text("RelayFactor");
    writer.unsigned(query.relay_factor);
    writer.text("SourceNode");
    writer.text(query.source);
    writer.text("Timeout");
    writer.unsigned(query.timeout_nanoseconds);
}

fn read_answer(mut reader: Reader<'_>) -> Result<Answer<'_>, MessageError> {
    let (mut time, mut id, mut from, mut flags) = (0, 0, "", 0_u32);
    let mut payload: &[u8] = &[];
    read_map(&mut reader, |key, value| {
        match key {
            b"LTime" => time = value.unsigned()?,
            b"ID" => id = value.unsigned()?,
            b"From" => from = value.text()?,
            b"Flags" => flags = value.unsigned()?,
            b"Payload" => payload = value.octets()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Answer {
        time,
        id,
        from: node_name(from)?,
        acknowledgement: flags & FLAG_ACKNOWLEDGEMENT != 0,
        payload,
    })
}

fn write_answer(answer: &Answer<'_>, out: &mut Vec<u8>) {
    out.push(ANSWER);
    let mut writer = Writer::old(out);
    writer.map(5);
    writer.text("Flags");
    writer.unsigned(if answer.acknowledgement {
        FLAG_ACKNOWLEDGEMENT
    } else {
        0
    });
    writer.text("From");
    writer.text(answer.from);
    writer.text("ID");
    writer.unsigned(answer.id);
    writer.text("LTime");
    writer.unsigned(answer.time);
    writer.text("Payload");
    write_octets(answer.payload, &mut writer);
}

fn read_relay(mut reader: Reader<'_>) -> Result<Relay<'_>, MessageError> {
    let (mut address, mut port): (&[u8], u16) = (&[], 0);
    let mut node = "";
    read_map(&mut reader, |key, value| {
        match key {
            b"DestAddr" => read_map(value, |key, value| {
                match key {
                    b"IP" => address = value.octets()?,
                    b"Port" => port = value.unsigned()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            b"DestName" => node = value.text()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Relay {
        address: socket_address(address, port)?,
        node,
        inner: reader.rest(),
    })
}

fn write_relay(relay: &Relay<'_>, out: &mut Vec<u8>) {
    out.push(RELAY);
    let mut writer = Writer::old(out);
    writer.map(2);
    writer.text("DestAddr");
    writer.map(3);
    writer.text("IP");
    write_ip_address(relay.address.ip(), &mut writer);
    writer.text("Port");
    writer.unsigned(relay.address.port());
    writer.text("Zone");
    writer.text("");
    writer.text("DestName");
    writer.text(relay.node);
    writer.raw(relay.inner);
}
