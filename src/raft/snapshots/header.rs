//! The head of a snapshot: what it is a picture of. Its own explicit encoding, little endian, so
//! that neither the consensus library nor a derive decides what is on disk:
//! `{"hrldsnap", format u16, length u32, body, crc32c u32}`, the checksum over all before it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use openraft::alias::{CommittedLeaderIdOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf};
use openraft::{Membership, StoredMembership};

use crate::raft::types::{Peer, ServerId, Types};

const MAGIC: [u8; 8] = *b"hrldsnap";
const FORMAT: u16 = 1;
/// Thousands of servers fit; the length is checked before anything is allocated.
const BODY_OCTETS_MAX: u32 = 1 << 20;

/// Why a head cannot be read. The snapshot is of no use.
#[derive(Debug, thiserror::Error)]
pub(in crate::raft) enum HeaderError {
    /// The file is cut, or cannot be read.
    #[error("head of the snapshot cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Written by a newer release, or no snapshot at all.
    #[error("format {0} of a snapshot is unknown, this release reads format {FORMAT}")]
    Format(u16),
    /// Damaged.
    #[error("head of the snapshot is damaged: {0}")]
    Damaged(&'static str),
}

/// Writes the head.
pub(in crate::raft) fn write(meta: &SnapshotMetaOf<Types>, out: &mut impl Write) -> io::Result<()> {
    let mut body = Vec::new();
    put_log_id(&mut body, meta.last_log_id.as_ref());
    put_membership(&mut body, &meta.last_membership)?;
    let length = u32::try_from(body.len()).ok();
    let length = length.filter(|length| *length <= BODY_OCTETS_MAX);
    let length = length.ok_or_else(|| io::Error::other("too many servers for a snapshot"))?;
    let mut head = Vec::with_capacity(body.len() + 18);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&body);
    let checksum = crc32c::crc32c(&head);
    head.extend_from_slice(&checksum.to_le_bytes());
    out.write_all(&head)
}

/// Reads the head; what follows is the catalog's.
pub(in crate::raft) fn read(input: &mut impl Read) -> Result<SnapshotMetaOf<Types>, HeaderError> {
    let mut start = [0; 14];
    input.read_exact(&mut start)?;
    let mut fields = Fields(&start);
    if fields.take::<8>()? != MAGIC {
        return Err(HeaderError::Damaged("it does not begin as one"));
    }
    let format = fields.u16()?;
    if format != FORMAT {
        return Err(HeaderError::Format(format));
    }
    let length = u32::from_le_bytes(fields.take()?);
    if length > BODY_OCTETS_MAX {
        return Err(HeaderError::Damaged("it is longer than any"));
    }
    let mut body = Vec::new();
    let read = input.take(u64::from(length)).read_to_end(&mut body)?;
    if read as u64 != u64::from(length) {
        return Err(HeaderError::Damaged("it is cut"));
    }
    let mut checksum = [0; 4];
    input.read_exact(&mut checksum)?;
    if u32::from_le_bytes(checksum) != crc32c::crc32c_append(crc32c::crc32c(&start), &body) {
        return Err(HeaderError::Damaged("the checksum does not match"));
    }
    decode(&body)
}

fn decode(body: &[u8]) -> Result<SnapshotMetaOf<Types>, HeaderError> {
    let mut fields = Fields(body);
    let last_log_id = fields.log_id()?;
    let last_membership = fields.membership()?;
    Ok(SnapshotMetaOf::<Types> {
        last_log_id,
        last_membership,
    })
}

fn put_log_id(out: &mut Vec<u8>, id: Option<&LogIdOf<Types>>) {
    let Some(id) = id else {
        out.push(0);
        return;
    };
    out.push(1);
    out.extend_from_slice(&id.leader_id.term.to_le_bytes());
    out.extend_from_slice(&id.leader_id.node_id.0.to_le_bytes());
    out.extend_from_slice(&id.index.to_le_bytes());
}

fn put_membership(out: &mut Vec<u8>, stored: &StoredMembershipOf<Types>) -> io::Result<()> {
    put_log_id(out, stored.log_id().as_ref());
    let membership = stored.membership();
    put_count(out, membership.get_joint_config().len())?;
    for voters in membership.get_joint_config() {
        put_count(out, voters.len())?;
        for voter in voters {
            out.extend_from_slice(&voter.0.to_le_bytes());
        }
    }
    put_count(out, membership.nodes().count())?;
    for (id, peer) in membership.nodes() {
        out.extend_from_slice(&id.0.to_le_bytes());
        for text in [&peer.name, &peer.address.to_string()] {
            put_count(out, text.len())?;
            out.extend_from_slice(text.as_bytes());
        }
    }
    Ok(())
}

fn put_count(out: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let count = u16::try_from(count).map_err(io::Error::other)?;
    out.extend_from_slice(&count.to_le_bytes());
    Ok(())
}

/// What is left of a body.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(HeaderError::Damaged("a field is cut"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, HeaderError> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    fn server(&mut self) -> Result<ServerId, HeaderError> {
        Ok(ServerId(u128::from_le_bytes(self.take()?)))
    }

    fn text(&mut self) -> Result<&str, HeaderError> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(HeaderError::Damaged("a text is cut"))?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| HeaderError::Damaged("a text is none"))
    }

    fn log_id(&mut self) -> Result<Option<LogIdOf<Types>>, HeaderError> {
        let [present] = self.take()?;
        if present == 0 {
            return Ok(None);
        }
        let leader = CommittedLeaderIdOf::<Types> {
            term: u64::from_le_bytes(self.take()?),
            node_id: self.server()?,
        };
        let index = u64::from_le_bytes(self.take()?);
        Ok(Some(LogIdOf::<Types>::new(leader, index)))
    }

    fn membership(&mut self) -> Result<StoredMembershipOf<Types>, HeaderError> {
        let log_id = self.log_id()?;
        let mut configs = Vec::new();
        for _ in 0..self.u16()? {
            let mut voters = BTreeSet::new();
            for _ in 0..self.u16()? {
                voters.insert(self.server()?);
            }
            configs.push(voters);
        }
        let mut peers = BTreeMap::new();
        for _ in 0..self.u16()? {
            let id = self.server()?;
            let name = self.text()?.to_owned();
            let address = self.text()?.parse();
            let address = address.map_err(|_| HeaderError::Damaged("an address is none"))?;
            peers.insert(id, Peer { name, address });
        }
        if configs.is_empty() && peers.is_empty() {
            return Ok(StoredMembership::new(log_id, Membership::default()));
        }
        let membership = Membership::new(configs, peers)
            .map_err(|_| HeaderError::Damaged("a server with a vote is not known"))?;
        Ok(StoredMembership::new(log_id, membership))
    }
}

#[cfg(test)]
pub(in crate::raft) mod tests {
    use super::*;

    pub(in crate::raft) fn meta(index: u64) -> SnapshotMetaOf<Types> {
        let leader = CommittedLeaderIdOf::<Types> {
            term: 3,
            node_id: ServerId(7),
        };
        let peer = |name: &str, port: u16| Peer {
            name: name.to_owned(),
            address: ([127, 0, 0, 1], port).into(),
        };
        let peers = BTreeMap::from([
            (ServerId(7), peer("one", 1)),
            (ServerId(8), peer("two", 2)),
            (ServerId(u128::MAX), peer("three", 3)),
        ]);
        let configs = vec![
            BTreeSet::from([ServerId(7), ServerId(8)]),
            BTreeSet::from([ServerId(7)]),
        ];
        SnapshotMetaOf::<Types> {
            last_log_id: Some(LogIdOf::<Types>::new(leader, index)),
            last_membership: StoredMembership::new(
                Some(LogIdOf::<Types>::new(leader, 5)),
                Membership::new(configs, peers).unwrap(),
            ),
        }
    }

    fn written(meta: &SnapshotMetaOf<Types>) -> Vec<u8> {
        let mut octets = Vec::new();
        write(meta, &mut octets).unwrap();
        octets
    }

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let empty = SnapshotMetaOf::<Types>::default();
        for meta in [meta(9), empty] {
            assert_eq!(read(&mut written(&meta).as_slice()).unwrap(), meta);
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let octets = written(&meta(9));
        for end in 0..octets.len() {
            assert!(read(&mut &octets[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..octets.len() * 8 {
            let mut damaged = octets.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&mut damaged.as_slice()).is_err(), "bit {bit}");
        }
    }
}
