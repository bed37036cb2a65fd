//! A service instance.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Address, Meta, ServiceId, ServiceName};

/// Id and name of the service that every server registers for itself.
pub const SERVERS_SERVICE: &str = "consul";

/// DNS weights of an instance (RFC 2782): which one is answered depends on its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Weight while all checks pass: 1 to 65,535.
    pub passing: u16,
    /// Weight while any check warns: 0 to 65,535.
    pub warning: u16,
}

/// Why numbers are no weights; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// `Passing` is zero or negative.
    #[error("Invalid Weights: Passing must be greater than 0")]
    Passing,
    /// One of them does not fit a DNS weight.
    #[error("Invalid Weights: DNS Weight must be between 0 and 65535")]
    Range,
}

impl Weights {
    /// Checks numbers as registered.
    ///
    /// # Errors
    /// `passing` below 1, or either outside 0 to 65,535.
    pub fn checked(passing: i64, warning: i64) -> Result<Self, WeightsError> {
        match (passing, u16::try_from(passing), u16::try_from(warning)) {
            (..=0, ..) => Err(WeightsError::Passing),
            (_, Ok(passing), Ok(warning)) => Ok(Self { passing, warning }),
            _ => Err(WeightsError::Range),
        }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            passing: 1,
            warning: 1,
        }
    }
}

/// One of a service's further addresses, with the port that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedAddress {
    /// Where.
    pub address: Address,
    /// TCP or UDP port.
    pub port: u16,
}

/// Further addresses of a service by label.
pub type TaggedAddresses = BTreeMap<Box<str>, TaggedAddress>;

/// A service instance as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Id, unique on its node.
    pub id: ServiceId,
    /// Name under which it is looked up.
    pub name: ServiceName,
    /// Tags in registered order and spelling; lookups ignore ASCII case.
    pub tags: Arc<[Arc<str>]>,
    /// Own address; [`Address::None`] means the node's.
    pub address: Address,
    /// Port; 0 where there is none.
    pub port: u16,
    /// Metadata.
    pub meta: Meta,
    /// DNS weights.
    pub weights: Weights,
    /// Whether other registrations may change the tags.
    pub enable_tag_override: bool,
    /// Further addresses by label; `None` where there are none.
    pub tagged_addresses: Option<Box<TaggedAddresses>>,
}

impl Service {
    /// Whether it carries `tag`, without regard to ASCII case.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|have| have.eq_ignore_ascii_case(tag))
    }
}
