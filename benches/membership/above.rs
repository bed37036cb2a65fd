//! The layer above the membership protocol, as little of it as a pool needs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use herald::gossip::actions::{Actions, Time};
use herald::gossip::admission::Refusal;
use herald::gossip::swim::{Delegate, Event, Name, Node, Room, State};

/// Octets of a coordinate in an answer to a ping.
const COORDINATE: [u8; 130] = [1; 130];

/// Notes who has failed, to be reached again, and who was lost since it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Above {
    pub(super) failed: BTreeMap<Name, SocketAddr>,
    pub(super) lost: Vec<SocketAddr>,
}

impl Delegate for Above {
    fn may_enter(&mut self, _node: &Node, _state: State) -> Result<(), Refusal> {
        Ok(())
    }

    fn may_merge(&mut self, _nodes: &[(Node, State)]) -> Result<(), Refusal> {
        Ok(())
    }

    fn event(&mut self, _now: Time, event: Event<'_>, _actions: &mut Actions) {
        match event {
            Event::Joined(node) => drop(self.failed.remove(&node.name)),
            Event::Left(node) => {
                self.failed.insert(node.name.clone(), node.address);
                self.lost.push(node.address);
            }
            _ => {}
        }
    }

    fn write_ack_payload(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&COORDINATE);
    }

    fn ride_along(&mut self, _room: &mut Room<'_>, _transmits_max: u32) {}

    fn write_state(&mut self, _join: bool, _out: &mut Vec<u8>) {}

    fn merge_state(&mut self, _now: Time, _join: bool, _octets: &[u8], _actions: &mut Actions) {}
}
