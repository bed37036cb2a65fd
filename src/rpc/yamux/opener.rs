//! The side of a session that opens streams.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::driver::Driver;
use super::shared::Shared;
use super::state::{Side, State};
use super::{Settings, Stream};
use crate::task::Tasks;

/// Opens streams on a session; clones share it. The session ends with the last of them and of its
/// streams.
#[derive(Clone, Debug)]
pub struct Opener {
    held: Arc<Held>,
}

/// What the clones of an opener share.
#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
}

impl Opener {
    /// Starts the opening side of a session. Streams that the peer opens are reset.
    pub fn start<C>(connection: C, settings: Settings, tasks: &Tasks) -> Self
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Arc::new(Shared::new(settings.bound(State::new(Side::Opening))));
        let mut driver = Driver::new(connection, settings, Arc::clone(&shared));
        tasks.spawn(async move {
            let end = driver.run(drop).await;
            tracing::debug!(%end, "session with a server ended");
        });
        Self {
            held: Arc::new(Held { shared }),
        }
    }

    /// A new stream. Nothing is sent for it before its first octets are.
    ///
    /// # Errors
    /// The session has ended, the peer takes no more streams, or all numbers were used; another
    /// session is needed.
    pub fn open(&self) -> io::Result<Stream> {
        let shared = &self.held.shared;
        let number = shared.with(State::open)?;
        Ok(Stream::new(Arc::clone(shared), number))
    }

    /// Whether no more streams can be opened. Those that are open may still work, unless the
    /// session has ended.
    pub fn is_closed(&self) -> bool {
        self.held.shared.with(|state| state.is_closed())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.with(State::release_openers);
    }
}
