//! Membership: who is in the pool, who has gone, and what members tell each other, on 8301 (the
//! agents of a datacenter) and 8302 (the servers of all of them), wire-compatible with memberlist
//! and serf.
//!
//! Two layers, both without I/O, clock or randomness of their own: [`swim`] finds out who lives
//! (SWIM with the Lifeguard extensions), [`serf`] stands on it with tags, ordered intents, events
//! and queries. [`wire`] reads and writes their messages; nothing sends them yet.

pub mod actions;
pub mod admission;
pub mod coordinate;
pub mod keyring;
pub mod serf;
pub mod swim;
pub mod tags;
pub mod wire;
