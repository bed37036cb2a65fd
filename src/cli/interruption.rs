//! ^C and termination, for client commands that go on until then.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for what ends such a command.
pub(super) struct Interruption {
    interrupt: Signal,
    terminate: Signal,
}

impl Interruption {
    /// Listens from now on: to be called before anything is shown that could make people or
    /// programs send a signal.
    ///
    /// # Errors
    /// The system does not let it.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
