//! Whom the slow path asks for what this agent's memory lacks, and what it has learned by that.
//!
//! On a server that is how new the memory is: the leader tells. On a client agent it is also names:
//! memory has those that somebody has asked for, and servers tell of the others.
//!
//! **Invariant**: an answer is made of memory alone, once everything that it lacked is known.

use std::future::Future;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use crate::directory::{Directory, Presence, Views, WantError, Wanted};

/// Most things that are asked for one query: names that a name may denote, and those in a chain of
/// aliases.
const ASKED_MAX: usize = 16;

/// Whoever can be asked.
#[derive(Clone, Debug, Default)]
pub enum Behind {
    /// Nobody: memory is all there is.
    #[default]
    Nobody,
    /// The leader, by way of the server's directory.
    Leader(Arc<Directory>),
    /// Servers, by way of the client agent's views.
    Servers(Views),
}

/// What an answer lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The certainty that memory is as new as the leader's.
    Freshness,
    /// Something that memory may not have.
    Name {
        /// What.
        wanted: Wanted,
        /// Whether it is to be as new as the leader knows it, whatever is in memory.
        fresh: bool,
    },
}

/// What was learned for one query.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub(super) names: Vec<(Wanted, Presence)>,
    pub(super) leader: Leader,
    /// Whether nobody can be asked for names.
    pub(super) alone: bool,
}

/// Whether the leader was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Leader {
    #[default]
    NotAsked,
    /// Memory is as new as the leader's.
    Followed,
    /// It could not be reached: memory is as old as it is.
    Lost,
}

/// Why a query gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// There is no data for a name yet.
    NotReady,
    /// Nobody could be asked, or nothing can be made of what was said.
    Failed,
}

impl Known {
    /// Nobody is left to be asked.
    pub(super) fn alone() -> Self {
        Self {
            leader: Leader::Lost,
            alone: true,
            ..Self::default()
        }
    }
}

impl Behind {
    /// Makes an answer by `attempt`, which says what it lacks for one, asking for that until `limit`.
    pub(super) async fn settle<T>(
        &self,
        limit: Instant,
        mut attempt: impl FnMut(&Known) -> Result<Option<T>, Lack> + Send,
    ) -> Result<T, Unanswered> {
        let mut known = match self {
            Self::Nobody => Known::alone(),
            Self::Leader(_) | Self::Servers(_) => Known::default(),
        };
        for _ in 0..ASKED_MAX {
            match attempt(&known) {
                Ok(answer) => return answer.ok_or(Unanswered::Failed),
                Err(Lack::Freshness) => {
                    let followed = self.catch_up(limit).await;
                    known.leader = if followed {
                        Leader::Followed
                    } else {
                        Leader::Lost
                    };
                }
                Err(Lack::Name { wanted, fresh }) => {
                    match self.want(wanted.clone(), fresh, limit).await {
                        Ok(presence) => known.names.push((wanted, presence)),
                        Err(_) if fresh => {
                            known.leader = Leader::Lost;
                            known.names.clear();
                        }
                        Err(unanswered) => return Err(unanswered),
                    }
                }
            }
        }
        Err(Unanswered::Failed)
    }

    async fn catch_up(&self, limit: Instant) -> bool {
        match self {
            Self::Leader(directory) => {
                let caught_up = in_time(limit, directory.catch_up()).await;
                caught_up.is_some_and(|caught_up| caught_up.is_ok())
            }
            Self::Nobody | Self::Servers(_) => false,
        }
    }

    async fn want(
        &self,
        wanted: Wanted,
        fresh: bool,
        limit: Instant,
    ) -> Result<Presence, Unanswered> {
        let Self::Servers(views) = self else {
            return Err(Unanswered::Failed);
        };
        let answer = if fresh {
            in_time(limit, views.want_fresh(wanted)).await
        } else {
            in_time(limit, views.want(wanted)).await
        };
        match answer {
            Some(Ok(presence)) => Ok(presence),
            Some(Err(WantError::Busy | WantError::Stopping)) => Err(Unanswered::Failed),
            Some(Err(WantError::Read(_) | WantError::Answer(_))) | None => {
                Err(Unanswered::NotReady)
            }
        }
    }
}

async fn in_time<T>(limit: Instant, future: impl Future<Output = T>) -> Option<T> {
    timeout_at(limit, future).await.ok()
}
