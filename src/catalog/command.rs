//! The one set of commands through which shared state changes.
//!
//! Time stamps and random ids travel inside the command, so that every server that applies the
//! same log reaches the same state.

use crate::types::{Check, CheckId, Coordinate, Index, Node, NodeName, Service, ServiceId};

/// Operations applied atomically: all of them, or none if one is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Chosen at random by whoever made the command: names it in logs and answers.
    pub request: u128,
    /// What to do, in this order.
    pub operations: Vec<Operation>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Adds or replaces a node, and with it a service and checks.
    Register(Box<Registration>),
    /// Removes a node, a service or a check; what does not exist is no error.
    Deregister(Deregistration),
    /// Says where nodes are in the network; nodes that are not stored are skipped.
    Locate(Vec<Location>),
}

impl Operation {
    /// The newest kind that this release can apply; servers tell it to each other, so that none is
    /// sent what it cannot apply.
    pub const KIND_NEWEST: u16 = 3;

    /// Number of the kind. Kinds are counted up from 1, and no number is used again.
    pub fn kind(&self) -> u16 {
        match self {
            Self::Register(_) => 1,
            Self::Deregister(_) => 2,
            Self::Locate(_) => 3,
        }
    }
}

/// Where a node is in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The node.
    pub node: NodeName,
    /// Its coordinate, kept as it is and never computed with while applying.
    pub coordinate: Coordinate,
}

/// Adds or replaces entries of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The node; replaces the stored one whole, unless `skip_node_update`. A known id under another
    /// name renames the node.
    pub node: Node,
    /// Leaves a stored node as it is. A node that is not stored yet is created all the same.
    pub skip_node_update: bool,
    /// A service instance on that node; replaces the stored one with the same id. Its checks stay.
    pub service: Option<Service>,
    /// Checks on that node; each replaces the stored one with the same id.
    pub checks: Vec<Check>,
}

/// Removes entries; removing what is not there changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deregistration {
    /// A node with everything on it.
    Node(NodeName),
    /// An instance and its checks.
    Service(NodeName, ServiceId),
    /// One check.
    Check(NodeName, CheckId),
}

/// What became of a command; the same on every server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// State changed, or was already as asked (no index moves then). The index is the command's
    /// position in the log.
    Applied {
        /// Position of the command in the log.
        index: Index,
    },
    /// One operation was not possible; nothing changed.
    Refused(Refusal),
}

/// Why a command was refused. The texts are those of the reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A check names a service that its node does not have.
    #[error("failed inserting check: Missing service registration on node {node:?}")]
    MissingService {
        /// The check's node.
        node: String,
    },
    /// Another node that is alive already has this name with another id.
    #[error("failed inserting node: node name {name:?} is reserved by node {owner} with that name")]
    NodeNameTaken {
        /// Name asked for.
        name: String,
        /// Id of the node that has it.
        owner: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kind_is_that_of_the_last_operation() {
        let newest = Operation::Locate(Vec::new());
        assert_eq!(newest.kind(), Operation::KIND_NEWEST);
    }
}
