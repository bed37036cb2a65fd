//! What this server knows of the cluster, as others read it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::types::Index;

use super::types::{Peer, ServerId};

/// A server of the cluster, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Who it is.
    pub id: ServerId,
    /// Its name and where it was last.
    pub peer: Peer,
    /// Whether it votes; else it only learns.
    pub voter: bool,
}

/// What this server is to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It leads, and a majority has confirmed that recently.
    Leader,
    /// It follows a leader, or looks for one.
    #[default]
    Follower,
    /// It only learns: it has no vote (yet).
    Learner,
    /// It has stopped: its storage failed, or an entry could not be applied. Reads go on.
    Stopped,
}

/// What this server knows of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// What this server is.
    pub role: Role,
    /// Term that it is in; 0 before the first election.
    pub term: u64,
    /// Who leads, as far as this server knows.
    pub leader: Option<ServerId>,
    /// Where the leader takes connections.
    pub leader_address: Option<SocketAddr>,
    /// When this server last heard from a leader (or, leading, from a majority); `None` before the
    /// first time.
    pub heard: Option<Instant>,
    /// All servers of the newest membership that is known; empty before the bootstrap.
    pub servers: Vec<Server>,
    /// Whether a change of them is half done: the majorities of before and after are both asked
    /// for. Stays so if the leader that made the change ended amid it.
    pub unsettled: bool,
    /// Whether this server lacks what it may have had once: its log was taken away, or it is new.
    pub lacking: bool,
    /// Newest position in the log.
    pub last_log: Index,
    /// Position up to which the log is decided, as far as this server knows.
    pub committed: Index,
    /// Position up to which it is applied here.
    pub applied: Index,
}

impl Status {
    /// How long ago this server last heard from a leader; zero on the leader, `None` if it never
    /// did.
    pub fn last_contact(&self, now: Instant) -> Option<Duration> {
        match self.role {
            Role::Leader => Some(Duration::ZERO),
            _ => self.heard.map(|then| now.saturating_duration_since(then)),
        }
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    /// Whether there is a state of the catalog here that the cluster had, on the server `own`.
    /// Somebody new gets a vote only once it has caught up; until then its catalog lacks what others
    /// have.
    pub fn has_state(&self, own: ServerId) -> bool {
        let votes = |server: &Server| server.id == own && server.voter;
        let caught_up = !self.lacking && self.applied > Index::ZERO;
        self.leads() || (caught_up && self.servers.iter().any(votes))
    }

    /// Whether it is a part of a cluster, so that it must never found another one.
    pub fn is_initialized(&self) -> bool {
        !self.servers.is_empty()
    }
}
