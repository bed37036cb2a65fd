//! The datagrams a worker has in its hands: each in a slot of its own, answered in place.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::socket::Local;

/// Datagrams moved by one system call.
pub(crate) const SLOTS: usize = 32;

/// The longest datagram, query or answer.
pub(crate) const OCTETS_MAX: usize = 65_535;

/// Distance between slots: a few cache lines more than a power of two, or the heads of all slots
/// would compete for the same cache sets.
const STRIDE: usize = 65_536 + 3 * 64;

/// Whether to wait for the first datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until one arrives, at most [`super::socket::WAIT_MAX`].
    First,
    /// Take what is there.
    No,
}

/// Moves batches through one socket.
pub(crate) trait Link {
    /// Fills `batch` with the datagrams that wait, oldest first.
    ///
    /// # Errors
    /// `WouldBlock`, also spelled `TimedOut`: none came. Others: the batch is empty.
    fn receive(&mut self, batch: &mut Batch, wait: Wait) -> io::Result<()>;

    /// Sends every reply of `batch` and says how many were refused by the system; their
    /// [`Slot::reply`] becomes 0.
    fn send(&mut self, batch: &mut Batch) -> u64;
}

/// One datagram: the query, later its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Octets of the query.
    pub(crate) length: usize,
    /// Octets of the answer; 0 is none.
    pub(crate) reply: usize,
    /// Who asks.
    pub(crate) source: SocketAddr,
    /// The address that was asked, on a wildcard socket.
    pub(crate) local: Option<Local>,
    /// When the kernel received it, since the epoch.
    pub(crate) received: Duration,
}

/// Slots with their octets. The memory of long datagrams is reserved and, untouched, costs
/// nothing.
#[derive(Debug)]
pub(crate) struct Batch {
    octets: Vec<u8>,
    slots: [Slot; SLOTS],
    filled: usize,
}

impl Slot {
    const EMPTY: Self = Self {
        length: 0,
        reply: 0,
        source: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        local: None,
        received: Duration::ZERO,
    };
}

impl Batch {
    /// An empty batch.
    pub(crate) fn new() -> Self {
        Self {
            octets: vec![0; SLOTS * STRIDE],
            slots: [Slot::EMPTY; SLOTS],
            filled: 0,
        }
    }

    /// Forgets all datagrams.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Says that the first `filled` slots hold datagrams.
    pub(crate) fn set_filled(&mut self, filled: usize) {
        self.filled = filled.min(SLOTS);
    }

    /// The filled slots.
    pub(crate) fn slots(&self) -> &[Slot] {
        self.slots.get(..self.filled).unwrap_or_default()
    }

    /// The filled slots.
    pub(crate) fn slots_mut(&mut self) -> &mut [Slot] {
        self.slots.get_mut(..self.filled).unwrap_or_default()
    }

    /// The filled slots with their buffers, each [`OCTETS_MAX`] long.
    pub(crate) fn each_mut(&mut self) -> impl Iterator<Item = (&mut Slot, &mut [u8])> {
        let buffers = self.octets.chunks_exact_mut(STRIDE).map(cut_mut);
        self.slots.iter_mut().take(self.filled).zip(buffers)
    }

    /// The filled slots with their buffers.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Slot, &[u8])> {
        let buffers = self.octets.chunks_exact(STRIDE).map(cut);
        self.slots.iter().take(self.filled).zip(buffers)
    }

    /// Every slot and every buffer, for a receive to fill.
    pub(crate) fn parts_mut(&mut self) -> (&mut [Slot; SLOTS], impl Iterator<Item = &mut [u8]>) {
        (
            &mut self.slots,
            self.octets.chunks_exact_mut(STRIDE).map(cut_mut),
        )
    }
}

fn cut(chunk: &[u8]) -> &[u8] {
    chunk.get(..OCTETS_MAX).unwrap_or_default()
}

fn cut_mut(chunk: &mut [u8]) -> &mut [u8] {
    chunk.get_mut(..OCTETS_MAX).unwrap_or_default()
}
