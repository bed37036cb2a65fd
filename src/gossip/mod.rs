//! Membership: who is in the pool, who has gone, and what members tell each other, on 8301 (the
//! agents of a datacenter) and 8302 (the servers of all of them), wire-compatible with memberlist
//! and serf.
//!
//! [`wire`] reads and writes the messages; nothing sends them yet.

pub mod keyring;
pub mod wire;
