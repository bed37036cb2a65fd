//! The checked vocabulary and model of the whole program: names, addresses, indexes, nodes,
//! services, checks.
//!
//! Everything here is valid by construction: a value of one of these types has passed the checks
//! that its constructor documents. No serde attributes, no I/O, no async: the edges (`http::json`
//! and later the agent RPC and the log) convert to and from their own encodings.
//!
//! **Invariant**: names compare without regard to ASCII case (RFC 4343 §3) and keep the spelling
//! in which they were registered.

mod address;
mod check;
mod context;
mod coordinate;
mod index;
mod member;
mod meta;
mod name;
mod node;
mod service;

pub use address::Address;
pub use check::{
    Check, CheckDefinition, CheckType, NODE_MAINTENANCE, SERF_HEALTH, SERVICE_MAINTENANCE, Status,
    StatusError,
};
pub use context::{Consistency, RequestContext};
pub use coordinate::{Coordinate, CoordinateError};
pub use index::Index;
pub use member::{Member, MemberStatus};
pub use meta::{Meta, MetaError};
pub use name::{
    CheckId, Datacenter, DatacenterError, NameError, NodeName, ServiceId, ServiceName, is_dns_label,
};
pub use node::{Node, NodeId, NodeIdError};
pub use service::{
    SERVERS_SERVICE, Service, TaggedAddress, TaggedAddresses, Weights, WeightsError,
};
