//! Membership: who is in the pool, who has gone, and what members tell each other, on 8301 (the
//! agents of a datacenter) and 8302 (the servers of all of them), wire-compatible with memberlist
//! and serf.
//!
//! Two layers, both without I/O, clock or randomness of their own: [`swim`] finds out who lives
//! (SWIM with the Lifeguard extensions), [`serf`] stands on it with tags, ordered intents, events
//! and queries. [`wire`] reads and writes their messages; [`transport`] owns sockets; [`pool`]
//! drives them all from one task and is what other parts hold; `snapshot` keeps for a restart whom
//! it knew.
//!
//! **Invariant**: one task alone changes the state of a pool and reads its packets; streams have
//! tasks of their own, which hand it whole messages. Nobody holds a lock while waiting.

pub mod actions;
pub mod admission;
pub mod coordinate;
pub mod keyring;
pub mod membership;
pub mod pool;
pub mod serf;
mod snapshot;
pub mod swim;
pub mod tags;
pub mod transport;
pub mod wire;
