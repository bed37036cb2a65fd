//! What the consensus library asks of another server.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use openraft::alias::{LogIdOf, SnapshotOf, VoteOf};
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::time::timeout;

use super::link::{Answer, Link, LinkError};
use super::message::{Request, Response};
use super::target::Target;
use super::{send, split};
use crate::raft::snapshots::Image;
use crate::raft::types::Types;

/// Requests of one stream without an answer.
const STREAM_IN_FLIGHT_MAX: usize = 64;
/// Octets of those, unless one alone has more.
const STREAM_OCTETS_MAX: usize = 4 << 20;
/// Longest wait for an answer while the server says that it is there: its disk is slow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pauses between attempts to reach a server: one that comes back is heard soon.
const PAUSES_MILLISECONDS: [u64; 3] = [50, 100, 200];
/// The pause after those.
const PAUSE_MAX: Duration = Duration::from_millis(300);

type Failure = RPCError<Types>;
type Appended = Result<StreamAppendResult<Types>, Failure>;

/// One server, as the library sees it.
pub(in crate::raft) struct Client {
    /// Where entries go.
    pub(super) append: Arc<Target>,
    /// Where votes go.
    pub(super) signs: Arc<Target>,
    /// Where snapshots go.
    pub(super) snapshot: Arc<Target>,
}

impl Client {
    /// Asks for something short, within the time for it.
    async fn ask(
        &self,
        action: RPCTypes,
        request: Request,
        option: &RPCOption,
    ) -> Result<Response, Failure> {
        let limit = option.hard_ttl();
        let asked = async {
            let link = self.signs.link().await.map_err(unreachable)?;
            link.call(&request).await.map_err(broken)
        };
        let late = |_| {
            RPCError::Timeout(Timeout {
                action,
                id: self.signs.own_id(),
                target: self.signs.id,
                timeout: limit,
            })
        };
        timeout(limit, asked).await.map_err(late)?
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, Failure> {
        let link = self.append.link().await.map_err(unreachable)?;
        let mut last = AppendEntriesResponse::Success;
        for part in split::split(request) {
            let called = timeout(ANSWER_TIMEOUT, link.call(&Request::Append(part))).await;
            last = match called.map_err(|_| slow())?.map_err(broken)? {
                Response::Append(response) => response,
                other => return Err(unexpected(&other)),
            };
            if last != AppendEntriesResponse::Success {
                break;
            }
        }
        Ok(last)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Appended>, Failure>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            let pipe = Pipe {
                input: Some(input),
                target: Arc::clone(&self.append),
                link: None,
                parts: VecDeque::new(),
                in_flight: VecDeque::new(),
                octets: 0,
                over: false,
            };
            let appended: BoxStream<'s, Appended> = Box::pin(stream::unfold(pipe, Pipe::next));
            Ok(appended)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, Failure> {
        let before = false;
        let request = Request::Vote { request, before };
        match self.ask(RPCTypes::Vote, request, &option).await? {
            Response::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, Failure> {
        let before = true;
        let request = Request::Vote { request, before };
        match self.ask(RPCTypes::Vote, request, &option).await? {
            Response::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, Image>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sent = send::send(&self.snapshot, vote, snapshot);
        let result = tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sent => sent,
        };
        if result.is_err() {
            // What was sent in part is thrown away there when the connection ends.
            self.snapshot.hang_up();
        }
        result
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, Failure> {
        let request = Request::Transfer(request);
        match self.ask(RPCTypes::TransferLeader, request, &option).await? {
            Response::Transfer(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let pauses = PAUSES_MILLISECONDS.map(Duration::from_millis).into_iter();
        Some(Backoff::new(pauses.chain(std::iter::repeat(PAUSE_MAX))))
    }
}

/// Entries on their way: sent one behind the other, answered in the same order.
struct Pipe<S> {
    input: Option<S>,
    target: Arc<Target>,
    /// Opened for the first request: the library pauses before it gives that, and nowhere else,
    /// after a server could not be reached.
    link: Option<Arc<Link>>,
    /// Parts of a long request that are still to be sent.
    parts: VecDeque<AppendEntriesRequest<Types>>,
    in_flight: VecDeque<Sent>,
    octets: usize,
    over: bool,
}

struct Sent {
    previous: Option<LogIdOf<Types>>,
    last: Option<LogIdOf<Types>>,
    octets: usize,
    answer: Answer,
}

impl<S> Pipe<S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin,
{
    async fn next(mut self) -> Option<(Appended, Self)> {
        if self.over {
            return None;
        }
        let appended = self.advance().await?;
        Some((appended, self))
    }

    /// Sends while there is room, until the oldest has its answer.
    async fn advance(&mut self) -> Option<Appended> {
        loop {
            while self.has_room()
                && let Some(part) = self.parts.pop_front()
            {
                if let Err(error) = self.send(part).await {
                    self.over = true;
                    return Some(Err(error));
                }
            }
            let takes = self.has_room() && self.parts.is_empty() && self.input.is_some();
            let input = self.input.as_mut().filter(|_| takes);
            tokio::select! {
                biased;
                answer = first(&mut self.in_flight), if !self.in_flight.is_empty() => {
                    return Some(self.conclude(answer));
                }
                request = following(input), if takes => match request {
                    Some(request) => self.parts.extend(split::split(request)),
                    None => self.input = None,
                },
                else => return None,
            }
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < STREAM_IN_FLIGHT_MAX && self.octets < STREAM_OCTETS_MAX
    }

    async fn send(&mut self, request: AppendEntriesRequest<Types>) -> Result<(), Failure> {
        let link = if let Some(link) = &self.link {
            link
        } else {
            let link = self.target.link().await.map_err(unreachable)?;
            self.link.insert(link)
        };
        let previous = request.prev_log_id;
        let last = request.entries.last().map(RaftEntry::log_id).or(previous);
        let sent = link.send(&Request::Append(request)).await;
        let (octets, answer) = sent.map_err(broken)?;
        self.octets += octets;
        self.in_flight.push_back(Sent {
            previous,
            last,
            octets,
            answer,
        });
        Ok(())
    }

    /// What the answer to the oldest means. Nothing follows one that is no full success.
    fn conclude(&mut self, answer: Result<Response, Failure>) -> Appended {
        self.over = true;
        let Some(sent) = self.in_flight.pop_front() else {
            return Err(network("an answer without a request"));
        };
        self.octets -= sent.octets;
        match answer? {
            Response::Append(AppendEntriesResponse::Success) => {
                self.over = false;
                Ok(Ok(sent.last))
            }
            Response::Append(AppendEntriesResponse::PartialSuccess(until)) => {
                self.over = until != sent.last;
                if until > sent.last {
                    return Err(network("more entries were taken than were sent"));
                }
                Ok(Ok(until))
            }
            Response::Append(AppendEntriesResponse::Conflict) => match sent.previous {
                Some(previous) => Ok(Err(StreamAppendError::Conflict(previous))),
                None => Err(network("a conflict where nothing comes before")),
            },
            Response::Append(AppendEntriesResponse::HigherVote(vote)) => {
                Ok(Err(StreamAppendError::HigherVote(vote)))
            }
            other => Err(unexpected(&other)),
        }
    }
}

async fn first(in_flight: &mut VecDeque<Sent>) -> Result<Response, Failure> {
    match in_flight.front_mut() {
        Some(sent) => {
            let answer = timeout(ANSWER_TIMEOUT, sent.answer.wait()).await;
            answer.map_err(|_| slow())?.map_err(broken)
        }
        None => std::future::pending().await,
    }
}

async fn following<S>(input: Option<&mut S>) -> Option<S::Item>
where
    S: Stream + Unpin,
{
    input?.next().await
}

pub(super) fn unreachable(error: impl std::fmt::Display) -> Failure {
    RPCError::Unreachable(Unreachable::from_string(error.to_string()))
}

/// The library tries again at once; if there is no connection then, it waits.
#[expect(clippy::needless_pass_by_value, reason = "it is mapped over errors")]
pub(super) fn broken(error: LinkError) -> Failure {
    network(&error.to_string())
}

pub(super) fn network(text: &str) -> Failure {
    RPCError::Network(NetworkError::from_string(text))
}

fn slow() -> Failure {
    network("the server is there, but does not answer")
}

pub(super) fn unexpected(response: &Response) -> Failure {
    match response {
        Response::Failed(text) => unreachable(text),
        _ => network("the answer is one to another question"),
    }
}
