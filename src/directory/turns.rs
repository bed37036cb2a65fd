//! Turns for answers that take long to write, so that they do not hold up others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// Longest wait for a turn.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Why an answer was not written. Nothing changed; a retry may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    /// Too many others are being written.
    #[error("large answers are waiting for more than {WAIT_MAX:?}, try again")]
    Busy,
    /// The agent stops.
    #[error("agent is stopping")]
    Stopping,
}

/// What `write` makes on a thread of its own, once it has one of the `turns`. It keeps its turn
/// also when nobody waits for it any more: a client that goes away does not make room for the next.
///
/// # Errors
/// [`TurnError`].
pub async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    write: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TurnError> {
    let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(turns).acquire_owned()).await;
    let turn = turn.map_err(|_| TurnError::Busy)?;
    let turn = turn.map_err(|_| TurnError::Stopping)?;
    let written = tokio::task::spawn_blocking(move || {
        let written = write();
        drop(turn);
        written
    });
    written.await.map_err(|_| TurnError::Stopping)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[tokio::test]
    async fn a_large_answer_keeps_its_turn_after_its_client_has_gone() {
        let turns = Arc::new(Semaphore::new(1));
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (finish, may_finish) = sync_channel::<()>(1);
        let write = move || {
            begun.send(()).unwrap();
            may_finish.recv().unwrap();
        };
        tokio::select! {
            _ = in_turn(&turns, write) => unreachable!("it may not finish yet"),
            begun = has_begun => begun.unwrap(),
        }
        assert_eq!(turns.available_permits(), 0);
        finish.send(()).unwrap();
        assert!(in_turn(&turns, || 7).await.is_ok_and(|value| value == 7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_answer_does_not_wait_for_ever() {
        let turns = Arc::new(Semaphore::new(0));
        assert_eq!(in_turn(&turns, || ()).await.unwrap_err(), TurnError::Busy);
    }
}
