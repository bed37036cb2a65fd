//! What the membership protocol tells the layer above, and asks it.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Node, Room, State};
use crate::gossip::actions::{Actions, Time};
use crate::gossip::admission::Refusal;

/// What happened to other nodes, for the layer above. Called in the order in which it happened;
/// what this node does to itself raises none.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A node came alive that was unknown, dead or gone.
    Joined(&'a Node),
    /// A node died or left.
    Left(&'a Node),
    /// A node that is alive says something else of itself.
    Updated(&'a Node),
    /// Somebody else uses the name of `known`, from another address. Nothing was changed.
    Conflict {
        /// Who has the name.
        known: &'a Node,
        /// Where the other one is.
        other: SocketAddr,
    },
    /// A direct ping was answered, with what the other's layer above added.
    RoundTrip {
        /// Who answered.
        node: &'a Node,
        /// Time between ping and answer.
        time: Duration,
        /// What its layer above added.
        payload: &'a [u8],
    },
    /// A message of the other's layer above.
    User {
        /// Where it came from.
        from: SocketAddr,
        /// The message.
        octets: &'a [u8],
    },
    /// The admission refused somebody.
    Refused {
        /// Whom.
        node: &'a str,
        /// Where it is.
        address: SocketAddr,
        /// Why.
        refusal: &'a Refusal,
    },
    /// This node's leave has been sent as often as it will be (or there is nobody to tell).
    LeaveSpread,
}

/// The layer above.
pub trait Delegate {
    /// Whether a node may be in the pool.
    ///
    /// # Errors
    /// Why not; what was said of it is ignored.
    fn may_enter(&mut self, node: &Node, state: State) -> Result<(), Refusal>;

    /// Whether the nodes of the other side of a join may be in one pool with ours.
    ///
    /// # Errors
    /// Why not; the whole exchange is ignored.
    fn may_merge(&mut self, nodes: &[(Node, State)]) -> Result<(), Refusal>;

    /// Takes note of what happened.
    fn event(&mut self, now: Time, event: Event<'_>, actions: &mut Actions);

    /// Appends what an answer to a ping carries.
    fn write_ack_payload(&mut self, out: &mut Vec<u8>);

    /// Lets broadcasts of the layer above ride along, in what room is left; each counts as sent
    /// once more, and is dropped after `transmits_max` times.
    fn ride_along(&mut self, room: &mut Room<'_>, transmits_max: u32);

    /// Appends the state of the layer above for a push/pull.
    fn write_state(&mut self, join: bool, out: &mut Vec<u8>);

    /// Takes the state of the other's layer above; never empty.
    fn merge_state(&mut self, now: Time, join: bool, octets: &[u8], actions: &mut Actions);
}

/// One input being handled: when, and who is told what comes of it.
pub(super) struct Turn<'a> {
    pub(super) now: Time,
    pub(super) delegate: &'a mut dyn Delegate,
    pub(super) actions: &'a mut Actions,
}

impl Turn<'_> {
    pub(super) fn event(&mut self, event: Event<'_>) {
        self.delegate.event(self.now, event, self.actions);
    }
}
