//! How agents are told what a user sends to all of them (`event`).

use super::several;
use crate::gossip::membership::EVENT_PREFIX;
use crate::gossip::pool::{Pool, PoolError};

/// Why an event was not sent. The texts are those of the reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EventError {
    /// It has no name.
    #[error("Missing name")]
    Name,
    /// The pool does not take it; it is too long, or the agent stops.
    #[error("{}", unsent(&.0.to_string()))]
    Pool(#[source] PoolError),
}

/// Tells all agents of the pool, this one too, an event that somebody else has written.
///
/// # Errors
/// [`EventError`].
pub(super) async fn fire(lan: &Pool, name: &str, payload: &[u8]) -> Result<(), EventError> {
    if name.is_empty() {
        return Err(EventError::Name);
    }
    let name = format!("{EVENT_PREFIX}{name}");
    let fired = lan.fire(&name, payload, false).await;
    fired.map(drop).map_err(EventError::Pool)
}

/// Why an event was not sent, as clients of the reference know it.
pub fn unsent(reason: &str) -> String {
    several(&[format!(
        "error broadcasting event to segment \"\": {reason}"
    )])
}
