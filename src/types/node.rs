//! A node: a machine that runs services.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Address, Meta, NodeName};

/// A node's identity, which survives renaming: a UUID (RFC 9562).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(uuid::Uuid);

/// The text is no UUID; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node id {text:?} is not a UUID: {reason}")]
pub struct NodeIdError {
    text: String,
    reason: String,
}

impl NodeId {
    /// A new random id (UUID version 4).
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    /// The id with these 128 bits.
    pub fn from_u128(bits: u128) -> Self {
        Self(uuid::Uuid::from_u128(bits))
    }

    /// Its 128 bits.
    pub fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;
    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        match uuid::Uuid::try_parse(text) {
            Ok(id) if text.len() == 36 => Ok(Self(id)),
            Ok(_) => Err(NodeIdError {
                text: text.to_owned(),
                reason: format!("{} characters, 36 are needed", text.len()),
            }),
            Err(error) => Err(NodeIdError {
                text: text.to_owned(),
                reason: error.to_string(),
            }),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
impl fmt::Debug for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A node as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Identity, where the registration gave one.
    pub id: Option<NodeId>,
    /// Name, unique in the datacenter.
    pub name: NodeName,
    /// Address that its services use unless they have their own.
    pub address: Address,
    /// Further addresses by label: `lan`, `wan`, `lan_ipv4`, `lan_ipv6` …
    pub tagged_addresses: BTreeMap<Box<str>, Address>,
    /// Metadata; answered as TXT records.
    pub meta: Meta,
}
