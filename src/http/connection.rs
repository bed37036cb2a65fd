//! A TCP connection with deadlines: for the next request, for its header, and for a client that
//! takes nothing of its answer. (The body's deadline is in [`super::body`].)

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use crate::clock;

use super::counts::{Counts, Limit};

/// Most octets that are read and thrown away before a connection is closed.
const LINGER_OCTETS_MAX: u64 = 16 * 1024 * 1024;
/// Longest time for that.
const LINGER: Duration = Duration::from_millis(500);

/// How long a request is served on for a client that sends nothing more: it may have closed its
/// half only (`shutdown`), and must learn what became of its write; or it may be gone.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// What a client gets whose header did not come in time (RFC 9110 §15.5.9).
const HEADER_LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 41\r\n\r\nrequest header did not arrive in its time";

/// What a connection is doing.
#[derive(Debug)]
pub(crate) struct Phase(AtomicU8);

const IDLE: u8 = 0;
const HEADER: u8 = 1;
const RECEIVING: u8 = 2;
const SERVING: u8 = 3;

impl Phase {
    /// A new connection owes a header at once.
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(HEADER))
    }

    /// A request is being served until the guard, which goes into its answer, is dropped. Its body
    /// may still be on its way: see [`ReceivedBody`].
    pub(crate) fn serve(self: &Arc<Self>) -> Serving {
        self.set(RECEIVING);
        Serving(Arc::clone(self))
    }

    /// The whole request is there.
    fn received(&self) {
        if self.get() == RECEIVING {
            self.set(SERVING);
        }
    }

    fn get(&self) -> u8 {
        // Only the task of this connection reads and writes it.
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }
}

/// Held while a request is served.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Phase>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.set(IDLE);
    }
}

/// A request's body that notes when it is there whole: a client that ends before has broken off,
/// one that ends after may only have nothing more to say.
#[derive(Debug)]
pub(crate) struct ReceivedBody<B> {
    body: B,
    phase: Arc<Phase>,
}

impl<B: HttpBody> ReceivedBody<B> {
    /// Watches `body`.
    pub(crate) fn new(body: B, phase: Arc<Phase>) -> Self {
        if body.is_end_stream() {
            phase.received();
        }
        Self { body, phase }
    }
}

impl<B: HttpBody + Unpin> HttpBody for ReceivedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(context));
        if frame.is_none() || this.body.is_end_stream() {
            this.phase.received();
        }
        Poll::Ready(frame)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body that ends the serving of its request when it is sent.
#[derive(Debug)]
pub(crate) struct ServedBody {
    body: Body,
    _serving: Serving,
}

impl ServedBody {
    /// Ties both together.
    pub(crate) fn new(body: Body, serving: Serving) -> Self {
        Self {
            body,
            _serving: serving,
        }
    }
}

impl HttpBody for ServedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// How long a client may take for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// Between requests.
    pub(crate) idle: Duration,
    /// For a whole header.
    pub(crate) header: Duration,
    /// For taking the next part of an answer.
    pub(crate) write: Duration,
}

/// A stream that fails with `TimedOut` when a deadline passes.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    stream: S,
    phase: Arc<Phase>,
    deadlines: Deadlines,
    counts: Counts,
    /// Set while a read is pending, for the phase it was set in.
    read_timer: Option<(u8, Pin<Box<Sleep>>)>,
    /// Set while a write is pending.
    write_timer: Option<Pin<Box<Sleep>>>,
    /// Set when the client has closed its half while a request was served: until then that is
    /// kept from whoever serves it.
    half_closed: Option<Pin<Box<Sleep>>>,
    expired: Option<Limit>,
}

impl<S> Guarded<S> {
    /// Guards `stream`; whoever serves it tells `phase` what it does.
    pub(crate) fn new(stream: S, phase: Arc<Phase>, deadlines: Deadlines, counts: Counts) -> Self {
        Self {
            stream,
            phase,
            deadlines,
            counts,
            read_timer: None,
            write_timer: None,
            half_closed: None,
            expired: None,
        }
    }

    /// Tells the client why it is cut off, if its header was late; as much as can be sent at once.
    pub(crate) async fn explain(&mut self)
    where
        S: AsyncWrite + Unpin,
    {
        if self.expired == Some(Limit::HeaderTime) {
            let sent = self.stream.write_all(HEADER_LATE);
            // A client that does not take it has been told enough.
            drop(tokio::time::timeout(LINGER, sent).await);
        }
    }

    /// Fails for good; counted once, however often it is asked again.
    fn expire<T>(&mut self, limit: Limit) -> Poll<io::Result<T>> {
        if self.expired.replace(limit).is_none() {
            self.counts.limit_hit(limit);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// A pending read: starts or checks the timer of the phase.
    fn check_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let phase = self.phase.get();
        let (length, limit) = match phase {
            IDLE => (self.deadlines.idle, Limit::IdleTime),
            HEADER => (self.deadlines.header, Limit::HeaderTime),
            _ => {
                self.read_timer = None;
                return Poll::Pending;
            }
        };
        let timer = match &mut self.read_timer {
            Some((set_in, timer)) if *set_in == phase => timer,
            timer => &mut timer.insert((phase, sleep(length))).1,
        };
        std::task::ready!(timer.as_mut().poll(context));
        self.expire(limit)
    }

    /// The end that the client has sent, once nothing is served any more or it has lasted too long.
    fn check_half_closed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.half_closed {
            Some(timer) if self.phase.get() == SERVING => timer.as_mut().poll(context).map(Ok),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Turns a pending write into an error once it has been pending for too long.
    fn check_write<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_timer = None;
            return result;
        }
        let length = self.deadlines.write;
        let timer = self.write_timer.get_or_insert_with(|| sleep(length));
        std::task::ready!(timer.as_mut().poll(context));
        self.expire(Limit::WriteTime)
    }
}

fn sleep(length: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep_until(clock::now() + length))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.half_closed.is_some() {
            return self.check_half_closed(context);
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.check_read(context),
            Poll::Ready(Ok(()))
                if self.phase.get() == SERVING
                    && buffer.filled().len() == before
                    && buffer.remaining() > 0 =>
            {
                self.half_closed = Some(sleep(HALF_CLOSED));
                self.check_half_closed(context)
            }
            ready @ Poll::Ready(_) => {
                if self.phase.get() == IDLE && !buffer.filled().is_empty() {
                    self.phase.set(HEADER);
                }
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, octets);
        self.check_write(context, result)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.check_write(context, result)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.check_write(context, result)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Closes a connection so that the client gets to read the last answer: closing with unread
/// octets would make the system reset it. Reads on for a bounded time and amount.
pub(crate) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let rest = async {
        stream.shutdown().await?;
        let mut rest = stream.take(LINGER_OCTETS_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whether the client has read it cannot be known, and nothing is left to do then.
    drop(tokio::time::timeout(LINGER, rest).await);
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use crate::metrics::Metrics;

    use super::*;

    const DEADLINES: Deadlines = Deadlines {
        idle: Duration::from_secs(100),
        header: Duration::from_secs(10),
        write: Duration::from_secs(30),
    };

    fn guarded() -> (
        Guarded<tokio::io::DuplexStream>,
        tokio::io::DuplexStream,
        Arc<Phase>,
    ) {
        let (server, client) = duplex(64);
        let phase = Arc::new(Phase::new());
        let counts = Counts::new(&Metrics::new());
        (
            Guarded::new(server, Arc::clone(&phase), DEADLINES, counts),
            client,
            phase,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_has_a_deadline_however_it_drips() {
        let (mut server, mut client, _phase) = guarded();
        let begin = clock::now();
        let drip = async {
            while client.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        };
        let read = async {
            let mut octets = Vec::new();
            server.read_to_end(&mut octets).await
        };
        let result = tokio::select! { result = read => result, () = drip => Ok(0) };
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn serving_has_no_read_deadline_and_idling_a_longer_one() {
        let (mut server, _client, phase) = guarded();
        let serving = phase.serve();
        let mut octet = [0];
        let waiting = tokio::time::timeout(Duration::from_secs(900), server.read(&mut octet));
        assert!(waiting.await.is_err());
        drop(serving);
        let begin = clock::now();
        let error = server.read(&mut octet).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed().as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_closed_its_half_is_still_served_for_a_while() {
        let mut octet = [0];
        let (mut server, mut client, phase) = guarded();
        let receiving = phase.serve();
        client.shutdown().await.unwrap();
        // One that breaks off inside of its request gets nothing.
        assert_eq!(server.read(&mut octet).await.unwrap(), 0);
        drop(receiving);

        let (mut server, mut client, phase) = guarded();
        let serving = phase.serve();
        phase.received();
        client.shutdown().await.unwrap();
        let early = tokio::time::timeout(Duration::from_secs(4), server.read(&mut octet)).await;
        assert!(
            early.is_err(),
            "the end is kept back while a request is served"
        );
        server.write_all(b"answer").await.unwrap();
        drop(serving);
        assert_eq!(server.read(&mut octet).await.unwrap(), 0);

        let (mut server, mut client, phase) = guarded();
        let _serving = phase.serve();
        phase.received();
        client.shutdown().await.unwrap();
        let begin = clock::now();
        assert_eq!(server.read(&mut octet).await.unwrap(), 0);
        assert_eq!(begin.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_header_is_answered_408() {
        let (mut server, client, _phase) = guarded();
        assert!(server.read(&mut [0]).await.is_err());
        let (mut told, mut text) = (client, String::new());
        let read = async { told.read_to_string(&mut text).await };
        let say = async {
            server.explain().await;
            drop(server);
        };
        let (read, ()) = tokio::join!(read, say);
        read.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        assert!(
            head.ends_with(&format!("Content-Length: {}", body.len())),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_cut_off() {
        let (mut server, _client, _phase) = guarded();
        let error = server.write_all(&[0; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
