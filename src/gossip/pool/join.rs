//! Joins others, once or until it works.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use super::config::is_allowed;
use super::exchange::{look, push_pull};
use super::shared::Shared;
use crate::gossip::serf::Remembered;
use crate::gossip::transport::resolve;

/// Whom to join: a name or address with an optional port (`10.0.0.1`, `[::1]:8301`,
/// `agent.example:8301`), the pool's own port being the default. What stands before a `/` is the
/// name of the node that is expected there, for people to read.
pub type Target = String;

/// What became of a join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Agents that were reached.
    pub reached: usize,
    /// Why others were not.
    pub failed: Vec<(Target, JoinFailure)>,
}

/// Why one target was not joined; nothing was changed. The texts are for people to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinFailure {
    /// It has no address: the name is not known, or is none.
    #[error("{0}")]
    Lookup(String),
    /// It was not reached, as in `dial tcp 127.0.0.1:1: connect: connection refused`, or one of
    /// both sides refuses.
    #[error("{0}")]
    Join(String),
}

/// Nobody was reached in as many attempts as there may be. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no agent joined in {attempts} attempts, the last one: {}", reasons(.failed))]
pub struct RetryError {
    /// Attempts that were made.
    pub attempts: u32,
    /// Whom the last of them did not reach, and why.
    pub failed: Vec<(Target, JoinFailure)>,
}

/// Each target and why it was not joined, on one line.
pub fn reasons(failed: &[(Target, JoinFailure)]) -> String {
    let reasons = failed.iter();
    let reasons = reasons.map(|(target, failure)| format!("{target}: {failure}"));
    reasons.collect::<Vec<_>>().join("; ")
}

/// Joins `targets` one after the other.
pub(super) async fn join(shared: &Shared, targets: &[Target], ignore_old: bool) -> Joined {
    let mut joined = Joined::default();
    // Never closed; were it, there would be nothing to wait for.
    let _turn = shared.joins.acquire().await;
    for target in targets {
        let host = target
            .rsplit_once('/')
            .map_or(target.as_str(), |(_, host)| host);
        let port = shared.address.port();
        let addresses = match resolve(host, port, shared.stream_deadline).await {
            Ok(addresses) => addresses,
            Err(error) => {
                let failure = JoinFailure::Lookup(error);
                joined.failed.push((target.clone(), failure));
                continue;
            }
        };
        for address in addresses {
            match join_one(shared, address, ignore_old).await {
                Ok(()) => joined.reached += 1,
                Err(error) => {
                    let failure = JoinFailure::Join(error);
                    joined.failed.push((target.clone(), failure));
                }
            }
        }
    }
    joined
}

async fn join_one(shared: &Shared, to: SocketAddr, ignore_old: bool) -> Result<(), String> {
    if !is_allowed(&shared.allowed, to.ip()) {
        return Err(format!(
            "address {} is not in the allowed networks",
            to.ip()
        ));
    }
    look(shared, to).await?;
    push_pull(shared, to, true, ignore_old).await
}

/// Joins those that were there before the restart, one after the other until one answers.
pub(super) async fn rejoin(shared: Arc<Shared>, remembered: Remembered) {
    for (name, address) in remembered.alive {
        if name == shared.name {
            continue;
        }
        let pool = shared.scope.as_str();
        let _turn = shared.joins.acquire().await;
        match join_one(&shared, address, false).await {
            Ok(()) => {
                tracing::info!(pool, "rejoined the pool through {name} at {address}");
                return;
            }
            Err(error) => {
                tracing::info!(
                    pool,
                    "could not rejoin through {name} at {address}: {error}"
                );
            }
        }
    }
}

/// Keeps trying to join `targets` until one is reached; how many were.
///
/// `interval` is the time between the end of an attempt and the next one; `attempts_max` of 0 is
/// for ever. Each attempt that fails is told in the log; what came of all of them is for the caller
/// to tell.
///
/// # Errors
/// Nobody was reached in `attempts_max` attempts.
pub async fn retry_join(
    pool: &Pool,
    targets: &[Target],
    interval: Duration,
    attempts_max: u32,
) -> Result<usize, RetryError> {
    let scope = pool.shared.scope.as_str();
    let mut attempts: u32 = 0;
    loop {
        let joined = pool.join(targets, true).await;
        if joined.reached > 0 {
            return Ok(joined.reached);
        }
        let failed = joined.failed;
        attempts = attempts.saturating_add(1);
        if attempts_max != 0 && attempts >= attempts_max {
            return Err(RetryError { attempts, failed });
        }
        let reasons = reasons(&failed);
        tracing::warn!(
            pool = scope,
            "no agent joined, next attempt in {interval:?}: {reasons}"
        );
        tokio::time::sleep(interval).await;
    }
}
