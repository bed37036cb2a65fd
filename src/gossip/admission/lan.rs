//! Who may be in the LAN pool.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::gossip::tags::{self, Agent, Build, Role, text};

use super::{Admission, Candidate, Refusal};

/// The first release that gives every node an id of its own; older ones may share that of their
/// machine.
const IDS_UNIQUE_SINCE: Build = Build {
    major: 0,
    minor: 8,
    patch: 5,
};

/// The rules of a LAN pool.
///
/// All members are of one datacenter and of the default segment, and no two of those that are there
/// have one node id. Where this agent is a server, no server of another kind may be there. Plain
/// serf agents may.
///
/// Members that are dead or have left do not count for ids and kinds: they may be what this agent
/// replaces, or what was stopped so that it could come.
#[derive(Clone, Debug)]
pub struct Lan {
    name: String,
    ip: IpAddr,
    id: String,
    datacenter: String,
    server: bool,
}

impl Lan {
    /// The rules as `own` has them, whom others reach at `ip`.
    pub fn new(own: &Agent, ip: IpAddr) -> Self {
        Self {
            name: own.node.to_string(),
            ip: ip.to_canonical(),
            id: own.id.to_string(),
            datacenter: own.datacenter.to_string(),
            server: own.server.is_some(),
        }
    }

    /// Checks somebody without regard to others.
    fn check(&self, candidate: &Candidate<'_>) -> Result<(), Refusal> {
        if self.is_own(candidate) {
            return Ok(());
        }
        let (name, tags) = (candidate.name, candidate.tags);
        let id = text(tags, "id");
        if candidate.is_present() && name != self.name && id.eq_ignore_ascii_case(&self.id) {
            return refuse(
                name,
                &format!("has conflicting node ID '{id}' with this agent's ID"),
            );
        }
        let datacenter = text(tags, "dc");
        if Role::of(tags) != Role::Unknown && datacenter != self.datacenter {
            return refuse(name, &format!("part of wrong datacenter '{datacenter}'"));
        }
        match text(tags, "segment") {
            "" => self.check_kind(candidate),
            segment => refuse(
                name,
                &format!("part of wrong segment '{segment}' (expected '')"),
            ),
        }
    }

    /// Refuses servers of another kind, if this agent is a server.
    fn check_kind(&self, candidate: &Candidate<'_>) -> Result<(), Refusal> {
        let foreign = tags::is_foreign_server(candidate.tags);
        if !(self.server && foreign && candidate.is_present()) {
            return Ok(());
        }
        let build = text(candidate.tags, "build");
        let what = format!(
            "is a server of another kind (build '{build}'), which cannot share a pool with this one"
        );
        refuse(candidate.name, &what)
    }

    /// Whether it is this agent, or what ran in its place before: only one can have the address.
    /// What it was is no reason to keep this agent out, nor to leave it unrefuted.
    fn is_own(&self, candidate: &Candidate<'_>) -> bool {
        candidate.name == self.name && candidate.address.ip().to_canonical() == self.ip
    }

    fn check_all(&self, candidates: &[Candidate<'_>]) -> Result<(), Refusal> {
        let mut names_by_id = HashMap::new();
        for candidate in candidates {
            self.check(candidate)?;
            let id = text(candidate.tags, "id");
            if id.is_empty() || !candidate.is_present() {
                continue;
            }
            let other = names_by_id.get(&id.to_ascii_lowercase());
            if let Some(other) = other.filter(|other| **other != candidate.name) {
                let what = format!("has conflicting node ID '{id}' with member '{other}'");
                return refuse(candidate.name, &what);
            }
            let build = Build::find(text(candidate.tags, "build"));
            if build.is_some_and(|build| build >= IDS_UNIQUE_SINCE) {
                names_by_id.insert(id.to_ascii_lowercase(), candidate.name);
            }
        }
        Ok(())
    }
}

impl Admission for Lan {
    fn may_join(&self, present: &[Candidate<'_>]) -> Result<(), Refusal> {
        self.check_all(present)
    }
    fn may_merge(&self, candidates: &[Candidate<'_>]) -> Result<(), Refusal> {
        self.check_all(candidates)
    }
    fn may_enter(&self, candidate: &Candidate<'_>) -> Result<(), Refusal> {
        self.check(candidate)
    }
}

fn refuse(name: &str, what: &str) -> Result<(), Refusal> {
    Err(Refusal(format!("Member '{name}' {what}")))
}
