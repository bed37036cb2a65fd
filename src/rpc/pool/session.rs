//! A session with a server: its streams, and one call on one of them.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::CallError;
use super::counts::Counted;
use crate::clock;
use crate::rpc::codec::{
    Budget, FrameError, HEADER_OCTETS_MAX, Incoming, RequestHeader, ResponseHeader,
};
use crate::rpc::yamux::{Opener, Stream};

/// Longest text of an error beside the method's name, in octets.
const ERROR_OCTETS_MAX: usize = 64 << 10;

/// One session. It ends with the last holder of it and of its streams.
#[derive(Debug)]
pub(super) struct Session {
    opener: Opener,
    /// Number of the last call.
    sequence: AtomicU64,
    state: Mutex<State>,
    _counted: Counted,
}

#[derive(Debug)]
struct State {
    /// Streams that wait for the next call, the last used one last.
    idle: Vec<Incoming<Stream>>,
    /// Calls that are under way.
    calls: usize,
    /// When the last call ended.
    since: Instant,
}

impl Session {
    /// Nothing was called yet.
    pub(super) fn new(opener: Opener, counted: Counted) -> Self {
        Self {
            opener,
            sequence: AtomicU64::new(0),
            state: Mutex::new(State {
                idle: Vec::new(),
                calls: 0,
                since: clock::now(),
            }),
            _counted: counted,
        }
    }

    /// Whether calls can still begin.
    pub(super) fn is_open(&self) -> bool {
        !self.opener.is_closed()
    }

    /// A stream for one call: the one that was used last, else a new one.
    ///
    /// # Errors
    /// The session has ended, or takes no more streams. Nothing was sent.
    pub(super) fn stream(&self, budget: &Budget) -> io::Result<Incoming<Stream>> {
        loop {
            // The lock is given back before the stream is looked at.
            let kept = self.lock().idle.pop();
            let Some(mut stream) = kept else {
                let stream = self.opener.open()?;
                return Ok(Incoming::new(stream, budget.clone()));
            };
            if is_quiet(&mut stream) {
                return Ok(stream);
            }
        }
    }

    /// Keeps a stream on which a call has succeeded, if not too many are kept.
    pub(super) fn keep(&self, mut stream: Incoming<Stream>, streams_max: usize) {
        // This also gives back what the answer took of the budget.
        if !is_quiet(&mut stream) {
            return;
        }
        let mut state = self.lock();
        if state.idle.len() < streams_max {
            state.idle.push(stream);
        }
    }

    /// One request, and its answer of at most `octets_max`.
    ///
    /// # Errors
    /// Any [`CallError`] but `Connect`; the stream is of no more use.
    pub(super) async fn exchange(
        &self,
        incoming: &mut Incoming<Stream>,
        method: &str,
        body: &[u8],
        octets_max: usize,
    ) -> Result<Vec<u8>, CallError> {
        let request = RequestHeader {
            method: method.to_owned(),
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let answered = answer(incoming, &request, body, octets_max).await;
        let (header, result) = answered.map_err(|error| CallError::Broken(told(error)))?;
        if header.sequence != request.sequence {
            let text = "the answer is for another call";
            let other = io::Error::new(io::ErrorKind::InvalidData, text);
            return Err(CallError::Broken(other));
        }
        if header.error.is_empty() {
            return Ok(result);
        }
        Err(CallError::Remote(header.error))
    }

    /// When it will not have been used for `timeout`; so long from now while a call is under way.
    pub(super) fn idle_until(&self, timeout: Duration) -> Instant {
        let state = self.lock();
        let since = match state.calls {
            0 => state.since,
            _ => clock::now(),
        };
        since + timeout
    }

    /// A panic elsewhere does not make the streams useless.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is under way, however it ends.
pub(super) struct UnderWay<'a>(&'a Session);

impl<'a> UnderWay<'a> {
    /// A call begins.
    pub(super) fn begin(session: &'a Session) -> Self {
        session.lock().calls += 1;
        Self(session)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.calls -= 1;
        state.since = clock::now();
    }
}

/// Sends a request in one piece, and reads what comes back.
async fn answer(
    incoming: &mut Incoming<Stream>,
    header: &RequestHeader,
    body: &[u8],
    octets_max: usize,
) -> Result<(ResponseHeader, Vec<u8>), FrameError> {
    let mut request = Vec::with_capacity(64 + header.method.len() + body.len());
    header.write(&mut request);
    request.extend_from_slice(body);
    incoming.stream().write_all(&request).await?;
    drop(request);
    let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let header = incoming.value(HEADER_OCTETS_MAX + ERROR_OCTETS_MAX).await?;
    let header = ResponseHeader::read(&header.ok_or_else(end)?)?;
    let result = incoming.value(octets_max).await?.ok_or_else(end)?;
    Ok((header, result))
}

/// Whether nothing comes on a stream on which nothing is asked: neither an end, nor an answer.
fn is_quiet(stream: &mut Incoming<Stream>) -> bool {
    let mut begun = pin!(stream.begin());
    let mut context = Context::from_waker(Waker::noop());
    begun.as_mut().poll(&mut context).is_pending()
}

/// A failure in the words that clients know.
fn told(error: FrameError) -> io::Error {
    match error {
        FrameError::Io(error) => match error.kind() {
            kind @ io::ErrorKind::ConnectionReset => io::Error::new(kind, "connection reset"),
            kind @ (io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted) => io::Error::new(kind, "EOF"),
            _ => error,
        },
        FrameError::Value(_) => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        FrameError::Memory => io::Error::new(io::ErrorKind::OutOfMemory, error.to_string()),
    }
}
