//! Who may be in the WAN pool.

use crate::gossip::tags::Server;
use crate::types::MemberStatus;

use super::{Admission, Candidate, Refusal};

/// The rules of a WAN pool: all who are there are servers.
///
/// Of whatever kind: nothing is replicated between datacenters.
#[derive(Clone, Copy, Debug)]
pub struct Wan;

impl Wan {
    fn check(candidate: &Candidate<'_>) -> Result<(), Refusal> {
        let Candidate {
            name,
            address,
            tags,
            ..
        } = candidate;
        let server = Server::read(name, address.ip(), tags, MemberStatus::None);
        if candidate.is_present() && server.is_none() {
            return Err(Refusal(format!("Member '{name}' is not a server")));
        }
        Ok(())
    }
}

impl Admission for Wan {
    fn may_join(&self, present: &[Candidate<'_>]) -> Result<(), Refusal> {
        present.iter().try_for_each(Self::check)
    }
    fn may_merge(&self, candidates: &[Candidate<'_>]) -> Result<(), Refusal> {
        candidates.iter().try_for_each(Self::check)
    }
    fn may_enter(&self, candidate: &Candidate<'_>) -> Result<(), Refusal> {
        Self::check(candidate)
    }
}
