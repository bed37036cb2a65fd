//! What the driver of a session and its streams share: the state, and who is to be woken.
//!
//! **Invariant**: nobody is woken, and nothing of others is called, while the state is locked.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use tokio_util::sync::CancellationToken;

use super::state::State;

/// Who is to be woken once the state is free again.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    wakers: Vec<Waker>,
    tokens: Vec<CancellationToken>,
}

impl Wakes {
    /// Wakes who waits in `slot`.
    pub(super) fn wake(&mut self, slot: &mut Option<Waker>) {
        self.wakers.extend(slot.take());
    }

    /// Cancels the token in `slot`.
    pub(super) fn cancel(&mut self, slot: &mut Option<CancellationToken>) {
        self.tokens.extend(slot.take());
    }

    fn fire(self) {
        for waker in self.wakers {
            waker.wake();
        }
        for token in self.tokens {
            token.cancel();
        }
    }
}

/// The state of a session, locked for short.
pub(super) struct Shared(Mutex<State>);

impl Shared {
    /// A session in this state.
    pub(super) fn new(state: State) -> Self {
        Self(Mutex::new(state))
    }

    /// Does `act` with the state, then wakes whom it concerns.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let (result, wakes) = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let result = act(&mut state);
            (result, state.take_wakes())
        };
        wakes.fire();
        result
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}
