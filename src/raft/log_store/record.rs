//! How the log looks on disk, octet by octet: nothing here depends on how the consensus library
//! serialises its types, so that an update of it cannot change the format.
//!
//! All integers are big-endian. A value ends with the crc32c of its key and of all octets before
//! it, so that a value under another's key is noticed too. Entries are kept by index:
//!
//! ```text
//! format u16, term u64, leader u128, kind u8, body, crc32c u32
//!   kind 0  blank, no body
//!   kind 1  command: its stored form, as it is
//!   kind 2  servers: count u16 of sets of voters, each {count u16, ids u128};
//!           count u16 of servers, each {id u128, name {length u16, UTF-8}, address}
//! address  {4, octets, port u16} or {6, octets, flow u32, scope u32, port u16}
//! ```
//!
//! Facts are kept by name: `{body, crc32c u32}`, the body made here as well.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use bytes::Bytes;
use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::{EntryPayload, Membership};

use crate::raft::types::{Peer, Proposal, ServerId, Types};

/// The one format of entries that there is.
pub(super) const FORMAT: u16 = 1;

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const SERVERS: u8 = 2;
const CHECKSUM_OCTETS: usize = 4;

/// Why octets of the disk are no value of the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    /// The octets are not those that were written.
    #[error("checksum is {found:08x}, octets give {computed:08x}")]
    Checksum {
        /// What stands behind the octets.
        found: u32,
        /// What the octets give.
        computed: u32,
    },
    /// It ends too early.
    #[error("it ends after {octets} octets")]
    Short {
        /// Length of the whole value.
        octets: usize,
    },
    /// It goes on where it should end.
    #[error("{octets} octets follow its end")]
    Long {
        /// How many.
        octets: usize,
    },
    /// A later build wrote it.
    #[error("format is {found}, this build knows {FORMAT}")]
    Format {
        /// What it says.
        found: u16,
    },
    /// A field has a value that was never written.
    #[error("{field} is {value}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// The servers do not make a membership.
    #[error("servers: {0}")]
    Servers(String),
    /// Servers that are too many, or a name too long, to be written.
    #[error("{field} is {length} long, at most 65535 can be written")]
    TooLong {
        /// Which.
        field: &'static str,
        /// Its length.
        length: usize,
    },
}

/// How many octets an entry takes in memory and on disk, near enough for bounds.
pub(super) fn weight(entry: &EntryOf<Types>) -> usize {
    let body = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Membership(servers) => servers.nodes().count() * 128,
    };
    body + 96
}

/// The octets of `entry`, its index apart.
///
/// # Errors
/// [`RecordError::TooLong`].
pub(super) fn encode_entry(entry: &EntryOf<Types>) -> Result<Vec<u8>, RecordError> {
    let mut octets = Vec::with_capacity(weight(entry));
    octets.extend(FORMAT.to_be_bytes());
    octets.extend(entry.log_id.leader_id.term.to_be_bytes());
    octets.extend(entry.log_id.leader_id.node_id.0.to_be_bytes());
    match &entry.payload {
        EntryPayload::Blank => octets.push(BLANK),
        EntryPayload::Normal(proposal) => {
            octets.push(COMMAND);
            octets.extend_from_slice(&proposal.0);
        }
        EntryPayload::Membership(servers) => {
            octets.push(SERVERS);
            encode_servers(servers, &mut octets)?;
        }
    }
    Ok(seal(&entry.log_id.index.to_be_bytes(), octets))
}

/// The entry at `index`.
///
/// # Errors
/// [`RecordError`]: these are not the octets of that entry.
pub(super) fn decode_entry(index: u64, octets: &[u8]) -> Result<EntryOf<Types>, RecordError> {
    let mut body = Fields::new(unseal(&index.to_be_bytes(), octets)?);
    match body.u16()? {
        FORMAT => {}
        found => return Err(RecordError::Format { found }),
    }
    let leader_id = LeaderId {
        term: body.u64()?,
        node_id: ServerId(body.u128()?),
    };
    let payload = match body.u8()? {
        BLANK => EntryPayload::Blank,
        COMMAND => EntryPayload::Normal(Proposal(Bytes::copy_from_slice(body.rest()))),
        SERVERS => EntryPayload::Membership(decode_servers(&mut body)?),
        kind => return Err(field("kind", &kind)),
    };
    body.end()?;
    let log_id = LogIdOf::<Types>::new(leader_id, index);
    Ok(EntryOf::<Types> { log_id, payload })
}

/// A position in the log.
pub(super) fn encode_position(position: &LogIdOf<Types>) -> Vec<u8> {
    let mut octets = Vec::with_capacity(32);
    octets.extend(position.leader_id.term.to_be_bytes());
    octets.extend(position.leader_id.node_id.0.to_be_bytes());
    octets.extend(position.index.to_be_bytes());
    octets
}

/// What [`encode_position`] wrote.
///
/// # Errors
/// [`RecordError`].
pub(super) fn decode_position(octets: &[u8]) -> Result<LogIdOf<Types>, RecordError> {
    let mut body = Fields::new(octets);
    let leader_id = LeaderId {
        term: body.u64()?,
        node_id: ServerId(body.u128()?),
    };
    let position = LogIdOf::<Types>::new(leader_id, body.u64()?);
    body.end().map(|()| position)
}

/// A vote.
pub(super) fn encode_vote(vote: &VoteOf<Types>) -> Vec<u8> {
    let mut octets = Vec::with_capacity(25);
    octets.extend(vote.leader_id.term.to_be_bytes());
    octets.extend(vote.leader_id.node_id.0.to_be_bytes());
    octets.push(u8::from(vote.committed));
    octets
}

/// What [`encode_vote`] wrote.
///
/// # Errors
/// [`RecordError`].
pub(super) fn decode_vote(octets: &[u8]) -> Result<VoteOf<Types>, RecordError> {
    let mut body = Fields::new(octets);
    let leader_id = LeaderId {
        term: body.u64()?,
        node_id: ServerId(body.u128()?),
    };
    let committed = match body.u8()? {
        0 => false,
        1 => true,
        other => return Err(field("committed", &other)),
    };
    body.end()?;
    Ok(VoteOf::<Types> {
        leader_id,
        committed,
    })
}

/// An id of 128 bits.
///
/// # Errors
/// [`RecordError`].
pub(super) fn decode_id(octets: &[u8]) -> Result<u128, RecordError> {
    let mut body = Fields::new(octets);
    let id = body.u128()?;
    body.end().map(|()| id)
}

/// The number of a format.
///
/// # Errors
/// [`RecordError`].
pub(super) fn decode_format(octets: &[u8]) -> Result<u16, RecordError> {
    let mut body = Fields::new(octets);
    let format = body.u16()?;
    body.end().map(|()| format)
}

/// `body` and its checksum, as it is kept under `key`.
pub(super) fn seal(key: &[u8], mut body: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(key, &body);
    body.extend(checksum.to_be_bytes());
    body
}

/// What [`seal`] was given.
///
/// # Errors
/// [`RecordError::Short`] and [`RecordError::Checksum`].
pub(super) fn unseal<'a>(key: &[u8], octets: &'a [u8]) -> Result<&'a [u8], RecordError> {
    let short = RecordError::Short {
        octets: octets.len(),
    };
    let Some((body, found)) = octets.split_last_chunk::<CHECKSUM_OCTETS>() else {
        return Err(short);
    };
    let (found, computed) = (u32::from_be_bytes(*found), checksum(key, body));
    if found == computed {
        Ok(body)
    } else {
        Err(RecordError::Checksum { found, computed })
    }
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}

fn field(field: &'static str, value: &impl ToString) -> RecordError {
    let value = value.to_string();
    RecordError::Field { field, value }
}

fn encode_servers(
    servers: &Membership<ServerId, Peer>,
    octets: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let sets = servers.get_joint_config();
    encode_length("the number of sets of voters", sets.len(), octets)?;
    for set in sets {
        encode_length("the number of voters", set.len(), octets)?;
        octets.extend(set.iter().flat_map(|id| id.0.to_be_bytes()));
    }
    encode_length("the number of servers", servers.nodes().count(), octets)?;
    for (id, peer) in servers.nodes() {
        octets.extend(id.0.to_be_bytes());
        encode_length("the name of a server", peer.name.len(), octets)?;
        octets.extend_from_slice(peer.name.as_bytes());
        encode_address(peer.address, octets);
    }
    Ok(())
}

fn encode_length(
    field: &'static str,
    length: usize,
    octets: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let short = u16::try_from(length).map_err(|_| RecordError::TooLong { field, length })?;
    octets.extend(short.to_be_bytes());
    Ok(())
}

fn encode_address(address: SocketAddr, octets: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => {
            octets.push(4);
            octets.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            octets.push(6);
            octets.extend(ip.octets());
        }
    }
    if let SocketAddr::V6(address) = address {
        octets.extend(address.flowinfo().to_be_bytes());
        octets.extend(address.scope_id().to_be_bytes());
    }
    octets.extend(address.port().to_be_bytes());
}

fn decode_servers(body: &mut Fields<'_>) -> Result<Membership<ServerId, Peer>, RecordError> {
    let mut sets = Vec::new();
    for _ in 0..body.u16()? {
        let mut set = BTreeSet::new();
        for _ in 0..body.u16()? {
            set.insert(ServerId(body.u128()?));
        }
        sets.push(set);
    }
    let mut peers = BTreeMap::new();
    for _ in 0..body.u16()? {
        let id = ServerId(body.u128()?);
        let length = usize::from(body.u16()?);
        let name = std::str::from_utf8(body.take(length)?);
        let name = name.map_err(|error| field("the name of a server", &error))?;
        let name = name.to_owned();
        let address = decode_address(body)?;
        peers.insert(id, Peer { name, address });
    }
    Membership::new(sets, peers).map_err(|error| RecordError::Servers(error.to_string()))
}

fn decode_address(body: &mut Fields<'_>) -> Result<SocketAddr, RecordError> {
    match body.u8()? {
        4 => {
            let ip = Ipv4Addr::from(body.array::<4>()?);
            Ok(SocketAddr::from((ip, body.u16()?)))
        }
        6 => {
            let ip = Ipv6Addr::from(body.array::<16>()?);
            let (flow, scope) = (body.u32()?, body.u32()?);
            Ok(SocketAddrV6::new(ip, body.u16()?, flow, scope).into())
        }
        family => Err(field("the family of an address", &family)),
    }
}

/// Reads one field after the other; nothing is taken on trust.
struct Fields<'a> {
    rest: &'a [u8],
    octets: usize,
}

impl<'a> Fields<'a> {
    fn new(octets: &'a [u8]) -> Self {
        Self {
            rest: octets,
            octets: octets.len(),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let short = RecordError::Short {
            octets: self.octets,
        };
        let (field, rest) = self.rest.split_at_checked(length).ok_or(short)?;
        self.rest = rest;
        Ok(field)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], RecordError> {
        let short = RecordError::Short {
            octets: self.octets,
        };
        let (field, rest) = self.rest.split_first_chunk::<LENGTH>().ok_or(short)?;
        self.rest = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_be_bytes)
    }

    fn u128(&mut self) -> Result<u128, RecordError> {
        self.array().map(u128::from_be_bytes)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    fn end(&self) -> Result<(), RecordError> {
        match self.rest.len() {
            0 => Ok(()),
            octets => Err(RecordError::Long { octets }),
        }
    }
}
