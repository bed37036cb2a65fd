//! What the protocol layers want done: packets to send, streams to open, and what to tell the rest
//! of the agent. Filled by [`super::serf::Serf::handle`], carried out by the pool's driver.

use std::net::SocketAddr;
use std::time::Duration;

use super::serf::Notice;
use super::swim::Name;

/// Time since the pool started; the layers know no other.
pub type Time = Duration;

/// What to do over a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Ping `node` over a stream, because packets to it seem to get lost. The answer comes back as
    /// `swim::Input::StreamAck` with the same sequence, a refusal of the host as `StreamRefused`; no
    /// answer is no input.
    Ping {
        /// Where it is.
        to: SocketAddr,
        /// Its name.
        node: Name,
        /// Of the ping.
        sequence: u32,
        /// When the answer is worth nothing any more.
        deadline: Time,
    },
    /// Exchange state with `to`. Both states come back as `serf::Input::Exchanged`.
    Exchange {
        /// Where it is.
        to: SocketAddr,
        /// Whether this is a join: of a member that had failed, to bring it back.
        join: bool,
    },
}

/// One packet to send; its payload is in the buffer of [`Actions`].
#[derive(Clone, Debug)]
struct Packet {
    to: SocketAddr,
    checksum: bool,
    range: std::ops::Range<usize>,
}

/// What one input led to. Reused: [`Actions::clear`] keeps the buffers.
#[derive(Debug, Default)]
pub struct Actions {
    octets: Vec<u8>,
    packets: Vec<Packet>,
    /// Streams to open.
    pub requests: Vec<Request>,
    /// What to tell the rest of the agent, in order.
    pub notices: Vec<Notice>,
}

impl Actions {
    /// Nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a packet whose payload `write` appends to the buffer that it is given. `checksum` where
    /// the receiver is known to understand one: memberlist does from protocol 5 on.
    pub fn send(&mut self, to: SocketAddr, checksum: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.octets.len();
        write(&mut self.octets);
        let range = start..self.octets.len();
        self.packets.push(Packet {
            to,
            checksum,
            range,
        });
    }

    /// Packets to send, in order: where to, whether with a checksum, and the payload.
    pub fn packets(&self) -> impl Iterator<Item = (SocketAddr, bool, &[u8])> {
        self.packets.iter().map(|packet| {
            let payload = self.octets.get(packet.range.clone()).unwrap_or_default();
            (packet.to, packet.checksum, payload)
        })
    }

    /// Forgets everything, keeps the buffers.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.packets.clear();
        self.requests.clear();
        self.notices.clear();
    }
}
