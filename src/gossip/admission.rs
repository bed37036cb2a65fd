//! Who may be in a pool: the checks before a join, at a merge and for each member.
//!
//! [`Lan`] and [`Wan`] ask what Consul agents ask, with their texts, and one thing more: servers of
//! herald and of Consul are never together in a LAN pool, since a leader takes every server that
//! it sees there for one that it can replicate to.

mod lan;
mod wan;

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use lan::Lan;
pub use wan::Wan;

use super::swim::State;

/// Somebody who is, or wants to be, in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Node name.
    pub name: &'a str,
    /// Gossip address.
    pub address: SocketAddr,
    /// Its tags.
    pub tags: &'a BTreeMap<String, String>,
    /// How it stands with whoever speaks of it.
    pub state: State,
}

impl Candidate<'_> {
    /// Whether whoever speaks of it takes it to be there: it answers, or only lately does not.
    fn is_present(&self) -> bool {
        matches!(self.state, State::Alive | State::Suspect)
    }
}

/// Why somebody is kept out; for people to read, names the member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Decides who may be in a pool. Called by the task that owns the pool; must not block.
pub trait Admission: Send + Sync + 'static {
    /// Whether this agent may join the pool whose members are `present`; asked before anything of
    /// this agent is shown to them.
    ///
    /// # Errors
    /// Why not.
    fn may_join(&self, present: &[Candidate<'_>]) -> Result<(), Refusal>;

    /// Whether all of `candidates` (the members on the other side of a join) may be in one pool
    /// with this agent.
    ///
    /// # Errors
    /// Why not; nobody of them is taken in.
    fn may_merge(&self, candidates: &[Candidate<'_>]) -> Result<(), Refusal>;

    /// Whether one node that somebody has heard of may be in the pool.
    ///
    /// # Errors
    /// Why not; it is not taken in.
    fn may_enter(&self, candidate: &Candidate<'_>) -> Result<(), Refusal>;
}

/// Lets everybody in: a pool of plain serf agents.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Admission for Open {
    fn may_join(&self, _present: &[Candidate<'_>]) -> Result<(), Refusal> {
        Ok(())
    }
    fn may_merge(&self, _candidates: &[Candidate<'_>]) -> Result<(), Refusal> {
        Ok(())
    }
    fn may_enter(&self, _candidate: &Candidate<'_>) -> Result<(), Refusal> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
