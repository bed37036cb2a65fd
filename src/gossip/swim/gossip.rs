//! Packets: what goes to whom, and what rides along.

use std::net::{IpAddr, SocketAddr};

use super::delegate::Turn;
use super::members::{Record, Slot};
use super::room::{PART_OCTETS, write_payload};
use super::{Leaving, Room, State, Swim};
use crate::gossip::actions::Time;
use crate::gossip::wire::{Message, Versions};

/// Who gets a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    /// Whether it is a member. Others, who may not be who they say they are, get the bare message:
    /// nobody is to be flooded with the help of this node.
    pub(super) member: bool,
}

impl Swim {
    /// Sends a message, and with it what fits.
    pub(super) fn send(&mut self, turn: &mut Turn<'_>, to: Receiver, message: &Message<'_>) {
        self.buffers.message.clear();
        message.encode(&mut self.buffers.message);
        self.buffers.lengths.clear();
        self.buffers.riding.clear();
        if to.member {
            self.collect(turn, self.buffers.message.len());
        }
        self.emit(turn, to.address, false, &[]);
    }

    /// Sends a message and a second one, and nothing else, to a node.
    pub(super) fn send_both(
        &mut self,
        turn: &mut Turn<'_>,
        slot: Slot,
        message: &Message<'_>,
        second: &Message<'_>,
    ) {
        let Some(record) = self.members.get(slot) else {
            return;
        };
        let (to, checksum) = (record.node.address, takes_checksums(record));
        self.buffers.message.clear();
        message.encode(&mut self.buffers.message);
        let mut octets = Vec::new();
        second.encode(&mut octets);
        self.buffers.lengths.clear();
        self.buffers.riding.clear();
        self.emit(turn, to, checksum, &octets);
    }

    /// A round of gossip: some nodes, drawn anew each time, get a packet of what there is to tell.
    pub(super) fn gossip(&mut self, turn: &mut Turn<'_>) {
        if self.leaving == Leaving::Telling && !self.members.has_live_others() {
            self.leave_told(turn, true);
        }
        let Self {
            members,
            buffers,
            random,
            config,
            ..
        } = self;
        let draw = (config.gossip_nodes, turn.now, config.gossip_to_the_dead);
        members.choose(random, draw, &mut buffers.chosen, |_, _| true);
        for place in 0..self.buffers.chosen.len() {
            self.collect(turn, 0);
            if self.buffers.lengths.is_empty() {
                return;
            }
            let chosen = self.buffers.chosen.get(place);
            let Some(record) = chosen.and_then(|&slot| self.members.get(slot)) else {
                continue;
            };
            let (to, checksum) = (record.node.address, takes_checksums(record));
            self.buffers.message.clear();
            self.emit(turn, to, checksum, &[]);
        }
    }

    /// Draws up to `count` nodes that are alive, but not `except`.
    pub(super) fn choose_alive(&mut self, now: Time, count: usize, except: Option<Slot>) {
        let Self {
            members,
            buffers,
            random,
            config,
            ..
        } = self;
        let draw = (count, now, config.gossip_to_the_dead);
        members.choose(random, draw, &mut buffers.chosen, |slot, record| {
            record.state() == State::Alive && Some(slot) != except
        });
    }

    /// An address as it is meant: old peers say port 0 where they mean the pool's own port. `None`
    /// if it can be nobody's.
    pub(super) fn complete(&self, address: SocketAddr) -> Option<SocketAddr> {
        let ip = address.ip().to_canonical();
        let port = match address.port() {
            0 => self.own().address.port(),
            port => port,
        };
        let nobody = ip.is_unspecified()
            || ip.is_multicast()
            || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        (!nobody).then_some(SocketAddr::new(ip, port))
    }

    /// Collects what rides along with a message of `taken` octets (0 for none).
    fn collect(&mut self, turn: &mut Turn<'_>, taken: usize) {
        let transmits_max = self.transmits_max();
        let Self {
            config,
            members,
            queue,
            buffers,
            ..
        } = self;
        let mut room = Room::new(
            config.packet_octets_max,
            taken,
            &mut buffers.riding,
            &mut buffers.lengths,
        );
        let own = &members.own().node.name;
        let mut own_told = false;
        queue.fill(&mut room, PART_OCTETS, transmits_max, |key| {
            own_told |= key == Some(own);
        });
        turn.delegate.ride_along(&mut room, transmits_max);
        self.leave_told(turn, own_told);
    }

    /// Emits the packet that the buffers hold, with `second` behind its first message.
    fn emit(&mut self, turn: &mut Turn<'_>, to: SocketAddr, checksum: bool, second: &[u8]) {
        let buffers = &mut self.buffers;
        if let (false, Ok(length)) = (second.is_empty(), u16::try_from(second.len())) {
            buffers.riding.extend_from_slice(second);
            buffers.lengths.push(length);
        }
        turn.actions.send(to, checksum, |out| {
            write_payload(out, &buffers.message, &buffers.riding, &buffers.lengths);
        });
    }
}

/// Whether a node is known to understand checksums.
fn takes_checksums(record: &Record) -> bool {
    greatest_version(record) >= 5
}

/// Greatest version of the protocol that a node understands.
pub(super) fn greatest_version(record: &Record) -> u8 {
    let Versions([_, greatest, ..]) = record.node.versions;
    greatest
}
