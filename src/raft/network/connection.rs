//! The requests of a connection that was welcomed: begun in their order, answered when they are done.
//!
//! **Invariant**: a request is handed on before the next one is looked at, so that entries come in
//! their order however many are under way.
//! **Invariant**: requests under way are bounded in number and octets; more are not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::counts::Counts;
use super::link::{Reading, Writing};
use super::message::{self, Numbered, Purpose, Request, Response, invalid};
use super::receive::receive;
use super::send::{PART_OCTETS, PARTS_IN_FLIGHT_MAX};
use super::server::Server;
use super::split;
use crate::raft::peer::{Answers, Failed};

/// Requests under way on one connection.
const IN_FLIGHT_MAX: usize = 512;
/// Octets of those, unless one alone has more.
const OCTETS_MAX: usize = 16 << 20;
/// Messages of a snapshot that may wait: those that a sender has on their way, its beginning and end.
const SNAPSHOT_QUEUE: usize = PARTS_IN_FLIGHT_MAX + 4;
/// Longest wait until the system takes the answers.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A request under way: its number, octets and answer.
type UnderWay = Pin<Box<dyn Future<Output = (usize, Numbered<Response>)> + Send>>;

/// One connection of a server.
pub(super) struct Connection {
    answers: Arc<dyn Answers>,
    counts: Counts,
    purpose: Purpose,
    under_way: FuturesUnordered<UnderWay>,
    octets: usize,
    snapshots: mpsc::Sender<Numbered<Request>>,
    received: mpsc::Receiver<Numbered<Response>>,
    /// Answers that are to be written.
    out: Vec<u8>,
}

impl Connection {
    pub(super) fn new(server: &Server, purpose: Purpose) -> Self {
        let (snapshots, requests) = mpsc::channel(SNAPSHOT_QUEUE);
        let (responses, received) = mpsc::channel(SNAPSHOT_QUEUE);
        if purpose == Purpose::Snapshot {
            let answers = Arc::clone(&server.answers);
            server.tasks.spawn(receive(answers, requests, responses));
        }
        Self {
            answers: Arc::clone(&server.answers),
            counts: server.counts.clone(),
            purpose,
            under_way: FuturesUnordered::new(),
            octets: 0,
            snapshots,
            received,
            out: Vec::new(),
        }
    }

    /// Serves it to its end.
    ///
    /// # Errors
    /// `InvalidData`: a message makes no sense. Others: it broke.
    pub(super) async fn serve(
        mut self,
        mut reading: Reading,
        mut writing: Writing,
    ) -> io::Result<()> {
        let snapshots = self.purpose == Purpose::Snapshot;
        loop {
            let has_room = self.under_way.len() < IN_FLIGHT_MAX && self.octets < OCTETS_MAX;
            tokio::select! {
                frame = reading.next(), if has_room => {
                    let Some(frame) = frame? else {
                        return Ok(());
                    };
                    let Numbered { number, body } = message::read::<Numbered<Request>>(&frame)?;
                    self.counts.received(body.as_str(), frame.len());
                    self.begin(number, body, frame.len())?;
                }
                Some(done) = self.under_way.next(), if !self.under_way.is_empty() => {
                    self.finish(done)?;
                }
                received = self.received.recv(), if snapshots => {
                    let received = received.ok_or(io::ErrorKind::BrokenPipe)?;
                    message::put(&mut self.out, &received)?;
                }
            }
            while let Some(Some(done)) = self.under_way.next().now_or_never() {
                self.finish(done)?;
            }
            self.write(&mut writing).await?;
        }
    }

    fn begin(&mut self, number: u64, request: Request, octets: usize) -> io::Result<()> {
        if let Request::Ping = request {
            let body = Response::Pong;
            return message::put(&mut self.out, &Numbered { number, body });
        }
        check(self.purpose, &request)?;
        if self.purpose == Purpose::Snapshot {
            let body = request;
            let queued = self.snapshots.try_send(Numbered { number, body });
            return queued
                .map_err(|_| invalid("more parts of a snapshot than may be on their way"));
        }
        let answers = Arc::clone(&self.answers);
        let mut under_way: UnderWay = Box::pin(async move {
            let body = answer(&*answers, request).await;
            (octets, Numbered { number, body })
        });
        self.octets += octets;
        // Handed on now: those under way are not looked at in their order.
        match (&mut under_way).now_or_never() {
            Some(done) => self.finish(done)?,
            None => self.under_way.push(under_way),
        }
        Ok(())
    }

    fn finish(&mut self, (octets, response): (usize, Numbered<Response>)) -> io::Result<()> {
        self.octets = self.octets.saturating_sub(octets);
        message::put(&mut self.out, &response)
    }

    async fn write(&mut self, writing: &mut Writing) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = async {
            writing.write_all(&self.out).await?;
            writing.flush().await
        };
        timeout(WRITE_TIMEOUT, written).await??;
        self.out.clear();
        Ok(())
    }
}

/// Whether a connection for this purpose may ask that, and it makes sense.
fn check(purpose: Purpose, request: &Request) -> io::Result<()> {
    match (purpose, request) {
        (Purpose::Log | Purpose::Signs, Request::Append(request)) => {
            let in_order = split::is_in_order(request).then_some(());
            in_order.ok_or_else(|| invalid("entries that do not follow each other"))
        }
        (Purpose::Snapshot, Request::SnapshotPart(octets)) if octets.0.len() > PART_OCTETS => {
            Err(invalid("a part of a snapshot that is too long"))
        }
        (Purpose::Signs, Request::Vote { .. } | Request::Transfer(_))
        | (
            Purpose::Snapshot,
            Request::SnapshotBegin | Request::SnapshotPart(_) | Request::SnapshotEnd { .. },
        )
        | (Purpose::Asks, Request::Propose(_) | Request::ReadIndex(_)) => Ok(()),
        _ => {
            let (kind, purpose) = (request.as_str(), purpose.as_str());
            Err(invalid(&format!("a {kind} on a connection for {purpose}")))
        }
    }
}

async fn answer(answers: &dyn Answers, request: Request) -> Response {
    let failed = |Failed(text)| Response::Failed(text);
    match request {
        Request::Append(request) => {
            let answered = answers.append(request).await;
            answered.map_or_else(failed, Response::Append)
        }
        Request::Vote { request, before } => {
            let answered = answers.vote(request, before).await;
            answered.map_or_else(failed, Response::Vote)
        }
        Request::Transfer(request) => {
            let answered = answers.transfer(request).await;
            answered.map_or_else(failed, Response::Transfer)
        }
        Request::Propose(commands) => {
            let commands = commands.into_iter().map(|command| command.0).collect();
            let results = answers.propose(commands).await.into_iter();
            Response::Propose(
                results
                    .map(|result| result.map(Into::into).map_err(Into::into))
                    .collect(),
            )
        }
        Request::ReadIndex(freshness) => {
            let index = answers.read_index(freshness.into()).await;
            Response::ReadIndex(index.map(|index| index.0).map_err(Into::into))
        }
        Request::Ping => Response::Pong,
        Request::SnapshotBegin | Request::SnapshotPart(_) | Request::SnapshotEnd { .. } => {
            Response::Failed("snapshots have connections of their own".to_owned())
        }
    }
}
