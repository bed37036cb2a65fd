//! Serves the calls of one stream, one after the other.
//!
//! **Invariant**: answers leave in the order of their requests, each with the number and the method of
//! its own.
//! **Invariant**: octets of requests and answers that are held are bounded over all streams, and over
//! those of one address.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::codec::{
    Budget, FrameError, HEADER_OCTETS_MAX, Incoming, RequestHeader, ResponseHeader,
};
use super::counts::Counts;
use super::shares::{Share, Shares};
use super::{Answered, Call, Fault, Service};

/// Longest time that a request, once begun, may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that an answer may take to leave.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that a call goes on whose caller has closed its half of a connection: it may still
/// read, or be gone.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a peer to close a connection that we have closed.
const LINGER: Duration = Duration::from_secs(1);
/// Answers up to this length are not counted: as many streams as there may be can have one.
const ANSWER_FREE_OCTETS: usize = 4_096;
/// Unit in which longer ones are counted.
const ANSWER_UNIT: usize = 1_024;
/// Octets of answers that are held, over all streams.
const ANSWERS_OCTETS_MAX: usize = 256 << 20;
/// Of which one address may have so many; a single longer answer takes all of them.
const ANSWERS_OF_SOURCE_OCTETS_MAX: usize = 64 << 20;
/// Answers up to this length leave with their header as one write.
const JOINED_OCTETS_MAX: usize = 65_536;
/// The value that stands where there is none.
const EMPTY: &[u8] = &[0x80];

/// Serves streams of calls; clones share their bounds.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) service: Arc<dyn Service>,
    pub(super) counts: Counts,
    /// Longest request, in octets.
    pub(super) request_octets_max: usize,
}

/// Whose calls they are, and what they may hold.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) peer: IpAddr,
    /// Memory for requests that are being read.
    pub(super) requests: Budget,
    /// Memory for answers that are leaving.
    pub(super) answers: Share,
}

/// What carries calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// A whole connection: that its peer is gone shows in reading only.
    Connection,
    /// A stream of a session, which whoever serves it watches.
    Stream,
}

/// Room for the answers of all streams.
pub(super) fn answers() -> Shares {
    Shares::new(
        ANSWERS_OCTETS_MAX / ANSWER_UNIT,
        ANSWERS_OF_SOURCE_OCTETS_MAX / ANSWER_UNIT,
    )
}

/// Why a stream ended before its peer ended it.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamEnd {
    /// What came cannot be read. The peer was told.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A request came too slowly, or an answer was not taken.
    #[error("too slow")]
    Slow(#[from] tokio::time::error::Elapsed),
    /// A call was none. The peer was told.
    #[error("no such call")]
    Call,
}

impl From<io::Error> for StreamEnd {
    fn from(error: io::Error) -> Self {
        Self::Frame(error.into())
    }
}

impl Calls {
    /// Serves `stream` until its peer has finished, or it is of no use any more.
    pub(super) async fn serve<S>(&self, stream: S, source: &Source, carrier: Carrier)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let mut incoming = Incoming::new(stream, source.requests.clone());
        let ended = self.answer_all(&mut incoming, source, carrier).await;
        // Whoever cannot be told any more is gone.
        let goodbye = incoming.stream().shutdown();
        drop(tokio::time::timeout(ANSWER_TIMEOUT, goodbye).await);
        if let Err(error) = ended {
            tracing::debug!("calls of {} end: {error}", source.peer);
            if carrier == Carrier::Connection {
                linger(incoming.stream()).await;
            }
        }
    }

    async fn answer_all<S>(
        &self,
        incoming: &mut Incoming<S>,
        source: &Source,
        carrier: Carrier,
    ) -> Result<(), StreamEnd>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        while incoming.begin().await? {
            let request = self.receive(incoming);
            let (header, body) = tokio::time::timeout(REQUEST_TIMEOUT, request).await??;
            let answered = match body {
                Ok(body) => {
                    let call = self.call(&header.method, &body, source.peer);
                    match carrier {
                        Carrier::Stream => call.await,
                        Carrier::Connection => watched(incoming, call).await?,
                    }
                }
                Err(error) => Err(Fault::Call(error.to_string())),
            };
            let ends = matches!(answered, Err(Fault::Call(_)));
            let answer = self.send(incoming.stream(), header, answered, &source.answers);
            tokio::time::timeout(ANSWER_TIMEOUT, answer).await??;
            if ends {
                return Err(StreamEnd::Call);
            }
        }
        Ok(())
    }

    /// One request. Only a caller whose header can be read is told what is wrong with the rest.
    async fn receive<S>(
        &self,
        incoming: &mut Incoming<S>,
    ) -> Result<(RequestHeader, Result<Vec<u8>, FrameError>), FrameError>
    where
        S: AsyncRead + Unpin,
    {
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let octets = incoming.value(HEADER_OCTETS_MAX).await?.ok_or_else(cut)?;
        let header = RequestHeader::read(&octets)?;
        let body = match incoming.value(self.request_octets_max).await {
            Ok(body) => Ok(body.ok_or_else(cut)?),
            Err(FrameError::Io(error)) => return Err(error.into()),
            Err(error) => Err(error),
        };
        Ok((header, body))
    }

    async fn call(&self, method: &str, body: &[u8], peer: IpAddr) -> Answered {
        let abandoned = Abandoned(Some(&self.counts));
        let answered = self.service.call(Call { method, body, peer }).await;
        abandoned.answered(answered.is_err());
        answered
    }

    async fn send<S>(
        &self,
        stream: &mut S,
        header: RequestHeader,
        answered: Answered,
        room: &Share,
    ) -> io::Result<()>
    where
        S: AsyncWrite + Unpin,
    {
        let units = match &answered {
            Ok(body) if body.len() > ANSWER_FREE_OCTETS => body.len().div_ceil(ANSWER_UNIT),
            _ => 0,
        };
        let units = units.min(ANSWERS_OF_SOURCE_OCTETS_MAX / ANSWER_UNIT);
        let Some(held) = room.try_hold(units) else {
            self.counts.answers_refused.inc();
            let text = "rpc: too many large answers wait to be taken, try again";
            return write(stream, header, Err(Fault::Answer(text.to_owned()))).await;
        };
        write(stream, header, answered).await?;
        // What is still to leave is the stream's to bound.
        drop(held);
        stream.flush().await
    }
}

/// The answer to a call on a connection, unless the connection breaks first.
async fn watched<S>(
    incoming: &mut Incoming<S>,
    call: impl Future<Output = Answered>,
) -> Result<Answered, StreamEnd>
where
    S: AsyncRead + Unpin,
{
    tokio::pin!(call);
    tokio::select! {
        answered = &mut call => return Ok(answered),
        ended = incoming.end() => ended?,
    }
    Ok(tokio::time::timeout(HALF_CLOSED_TIMEOUT, call).await?)
}

/// Reads what the peer still sends: closing a connection with octets unread would take the last
/// answer from it.
pub(super) async fn linger(stream: &mut (impl AsyncRead + Unpin)) {
    let mut octets = [0; 512];
    let drain = async { while stream.read(&mut octets).await.is_ok_and(|count| count > 0) {} };
    // Nothing is lost if it goes on sending.
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// Counts a call that is given up.
struct Abandoned<'a>(Option<&'a Counts>);

impl Abandoned<'_> {
    fn answered(mut self, failed: bool) {
        if let Some(counts) = self.0.take() {
            counts.calls.inc();
            if failed {
                counts.failures.inc();
            }
        }
    }
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(counts) = self.0 {
            counts.abandoned.inc();
        }
    }
}

/// Writes an answer: as one, unless it is so long that it would leave in parts anyway.
async fn write<S>(stream: &mut S, header: RequestHeader, answered: Answered) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let (error, body) = match answered {
        Ok(body) => (String::new(), body),
        Err(Fault::Answer(text) | Fault::Call(text)) => (text, EMPTY.to_vec()),
    };
    let joined = body.len() <= JOINED_OCTETS_MAX;
    let texts = error.len() + header.method.len();
    let mut head = Vec::with_capacity(64 + texts + if joined { body.len() } else { 0 });
    let header = ResponseHeader {
        error,
        method: header.method,
        sequence: header.sequence,
    };
    header.write(&mut head);
    if joined {
        head.extend_from_slice(&body);
        drop(body);
        return stream.write_all(&head).await;
    }
    stream.write_all(&head).await?;
    stream.write_all(&body).await
}
