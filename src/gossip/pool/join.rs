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
    /// Why others were not: target and reason, as in
    /// `dial tcp 127.0.0.1:1: connect: connection refused`.
    pub failed: Vec<(Target, String)>,
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
                joined.failed.push((target.clone(), error));
                continue;
            }
        };
        for address in addresses {
            match join_one(shared, address, ignore_old).await {
                Ok(()) => joined.reached += 1,
                Err(error) => joined.failed.push((target.clone(), error)),
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
/// for ever. Ends with an error text once they are used up: the agent stops then.
///
/// # Errors
/// Nobody was reached in `attempts_max` attempts; the last reason.
pub async fn retry_join(
    pool: &Pool,
    targets: &[Target],
    interval: Duration,
    attempts_max: u32,
) -> Result<usize, String> {
    let scope = pool.shared.scope.as_str();
    let mut attempts: u32 = 0;
    loop {
        let joined = pool.join(targets, true).await;
        if joined.reached > 0 {
            let reached = joined.reached;
            tracing::info!(pool = scope, "joined the pool, {reached} agents reached");
            return Ok(reached);
        }
        let failed = joined.failed.iter();
        let reasons: Vec<_> = failed
            .map(|(target, reason)| format!("{target}: {reason}"))
            .collect();
        let reasons = reasons.join("; ");
        attempts = attempts.saturating_add(1);
        if attempts_max != 0 && attempts >= attempts_max {
            return Err(format!(
                "no agent joined in {attempts} attempts, the last one: {reasons}"
            ));
        }
        tracing::warn!(
            pool = scope,
            "no agent joined, next attempt in {interval:?}: {reasons}"
        );
        tokio::time::sleep(interval).await;
    }
}
