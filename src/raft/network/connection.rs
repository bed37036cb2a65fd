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
use openraft::raft::AppendEntriesResponse;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::check::{check, check_commands};
use super::counts::Counts;
use super::link::{Reading, Writing};
use super::message::{self, Numbered, Purpose, Request, Response, invalid};
use super::receive::Receiver;
use super::send::PARTS_IN_FLIGHT_MAX;
use super::server::{Guest, Server};
use crate::clock;
use crate::raft::peer::{Answers, Failed};

/// Requests under way on one connection.
const IN_FLIGHT_MAX: usize = 512;
/// Octets of those, unless one alone has more.
const OCTETS_MAX: usize = 16 << 20;
/// Messages of a snapshot that may wait: those that a sender has on their way, its beginning and end.
const SNAPSHOT_QUEUE: usize = PARTS_IN_FLIGHT_MAX + 4;
/// Longest wait until the system takes the answers.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the first request: who connects has something to ask.
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the next one, of those who are no servers of the cluster. Servers keep their
/// connections: one that closes just as it is used may lose the command of a client.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// A request under way: its number, octets and answer.
type UnderWay = Pin<Box<dyn Future<Output = (usize, Numbered<Response>)> + Send>>;

/// One connection of a server.
pub(super) struct Connection {
    answers: Arc<dyn Answers>,
    counts: Counts,
    guest: Guest,
    under_way: FuturesUnordered<UnderWay>,
    octets: usize,
    /// Messages of a snapshot without an answer.
    parts: usize,
    /// Whether anything was asked.
    asked: bool,
    /// How long it may go on without asking.
    until: Instant,
    snapshots: mpsc::Sender<Numbered<Request>>,
    received: mpsc::Receiver<Numbered<Response>>,
    /// Answers that are to be written.
    out: Vec<u8>,
}

impl Connection {
    pub(super) fn new(server: &Server, guest: Guest) -> Self {
        let (snapshots, requests) = mpsc::channel(SNAPSHOT_QUEUE);
        let (responses, received) = mpsc::channel(SNAPSHOT_QUEUE);
        if guest.purpose == Purpose::Snapshot {
            let parts = Receiver {
                answers: Arc::clone(&server.answers),
                from: guest.from,
                joining: guest.joining,
            };
            server.tasks.spawn(parts.receive(requests, responses));
        }
        Self {
            answers: Arc::clone(&server.answers),
            counts: server.counts.clone(),
            guest,
            under_way: FuturesUnordered::new(),
            octets: 0,
            parts: 0,
            asked: false,
            until: clock::now() + FIRST_TIMEOUT,
            snapshots,
            received,
            out: Vec::new(),
        }
    }

    /// Serves it to its end.
    ///
    /// # Errors
    /// `InvalidData`: a message makes no sense. `TimedOut`: it asks for nothing, or half a message.
    /// Others: it broke.
    pub(super) async fn serve(
        mut self,
        mut reading: Reading,
        mut writing: Writing,
    ) -> io::Result<()> {
        let snapshots = self.guest.purpose == Purpose::Snapshot;
        loop {
            let has_room = self.under_way.len() < IN_FLIGHT_MAX && self.octets < OCTETS_MAX;
            let idle = self.under_way.is_empty() && self.parts == 0 && !reading.is_amid();
            let paused = clock::now();
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
                    self.parts = self.parts.saturating_sub(1);
                    message::put(&mut self.out, &received)?;
                }
                () = sleep_until(self.until), if idle => self.idle()?,
            }
            while let Some(Some(done)) = self.under_way.next().now_or_never() {
                self.finish(done)?;
            }
            if !has_room {
                reading.pause(clock::now().saturating_duration_since(paused));
            }
            let paused = clock::now();
            self.write(&mut writing).await?;
            reading.pause(clock::now().saturating_duration_since(paused));
        }
    }

    fn begin(&mut self, number: u64, request: Request, octets: usize) -> io::Result<()> {
        if let Request::Ping = request {
            // However its messages trickle: one that only gives signs of life is idle.
            if clock::now() >= self.until && self.under_way.is_empty() && self.parts == 0 {
                self.idle()?;
            }
            let body = Response::Pong;
            return message::put(&mut self.out, &Numbered { number, body });
        }
        (self.asked, self.until) = (true, clock::now() + IDLE_TIMEOUT);
        check(
            self.guest.purpose,
            self.guest.from,
            &*self.answers,
            &request,
        )?;
        if let Err(text) = self.permit(&request)? {
            let body = Response::Failed(text);
            return message::put(&mut self.out, &Numbered { number, body });
        }
        if self.guest.purpose == Purpose::Snapshot {
            let body = request;
            self.parts += 1;
            let queued = self.snapshots.try_send(Numbered { number, body });
            return queued
                .map_err(|_| invalid("more parts of a snapshot than may be on their way"));
        }
        let (answers, joining) = (Arc::clone(&self.answers), self.guest.joining);
        let mut under_way: UnderWay = Box::pin(async move {
            let mut body = answer(&*answers, request).await;
            if let Some(cluster) = joining.filter(|_| is_taken(&body))
                && answers.is_initialized()
                && let Err(Failed(text)) = answers.enter(cluster).await
            {
                body = Response::Failed(text);
            }
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

    /// Whether this may be done, beyond making sense; else why not.
    ///
    /// # Errors
    /// `InvalidData`: whoever asks is out of place by now, or asks for what nobody could do.
    fn permit(&mut self, request: &Request) -> io::Result<Result<(), String>> {
        if let Request::Propose(commands) = request {
            return check_commands(commands);
        }
        let Some(theirs) = self.guest.joining else {
            return Ok(Ok(()));
        };
        match self.answers.cluster() {
            Some(ours) if ours == theirs => self.guest.joining = None,
            Some(_) => return Err(invalid("this server has entered another cluster")),
            None => {}
        }
        let votes = matches!(request, Request::Vote { before: false, .. });
        if votes && self.guest.joining.is_some() && !self.guest.courted.court(theirs) {
            return Ok(Err(
                "this server has just voted in another cluster".to_owned()
            ));
        }
        Ok(Ok(()))
    }

    /// Nothing was asked for as long as that may be.
    fn idle(&mut self) -> io::Result<()> {
        if self.asked && self.answers.is_member(self.guest.address) {
            self.until = clock::now() + IDLE_TIMEOUT;
            return Ok(());
        }
        let text = if self.asked {
            format!("nothing was asked within {IDLE_TIMEOUT:?}")
        } else {
            format!("a first message, and nothing asked within {FIRST_TIMEOUT:?}")
        };
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
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

/// Whether entries were taken: who sent them leads.
fn is_taken(response: &Response) -> bool {
    use AppendEntriesResponse::{PartialSuccess, Success};
    matches!(response, Response::Append(Success | PartialSuccess(_)))
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
