//! Streams that go out: looks, push/pulls and pings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::config::is_allowed;
use super::shared::{Command, Shared};
use crate::gossip::actions::Request;
use crate::gossip::admission::Candidate;
use crate::gossip::serf::{Tags, meta};
use crate::gossip::swim::{Name, State};
use crate::gossip::transport::{Content, DialError, dial};
use crate::gossip::wire::{NodeState, Ping, PushPull, StreamMessage};

/// Letters of the other side's complaint that are passed on.
const REMOTE_ERROR_LETTERS_MAX: usize = 256;

/// What happens where the pool stops meanwhile.
const STOPPED: &str = "the agent is stopping";

/// Looks at the pool that `to` is in, without showing anything of this node, and asks the
/// admission whether it may be joined.
///
/// # Errors
/// It was not reached, or may not be joined.
pub(super) async fn look(shared: &Shared, to: SocketAddr) -> Result<(), String> {
    let content = state(shared, false, false).await?;
    let answer = round(shared, to, &content, shared.stream_deadline).await?;
    let remote = push_pull_of(to, &answer)?;
    let port = shared.address.port();
    let tags: Vec<Tags> = remote
        .nodes
        .iter()
        .map(|node| meta::decode(node.meta).unwrap_or_default())
        .collect();
    let candidates: Vec<_> = remote
        .nodes
        .iter()
        .zip(&tags)
        .filter_map(|(node, tags)| candidate(node, tags, port))
        .collect();
    shared
        .admission
        .may_join(&candidates)
        .map_err(|refusal| refusal.to_string())
}

/// Exchanges state with `to` and takes in what it knows.
///
/// # Errors
/// It was not reached, or its state is refused.
pub(super) async fn push_pull(
    shared: &Shared,
    to: SocketAddr,
    join: bool,
    ignore_old: bool,
) -> Result<(), String> {
    let content = state(shared, join, true).await?;
    let answer = round(shared, to, &content, shared.stream_deadline).await?;
    push_pull_of(to, &answer)?;
    let command = |reply| Command::Merge {
        from: to,
        content: answer,
        ignore_old,
        reply,
    };
    let merged = shared.ask(command).await;
    merged.unwrap_or_else(|| Err(STOPPED.to_owned()))
}

/// Does what the protocol asks for, unless as much is under way as may be.
pub(super) fn carry_out(shared: &Arc<Shared>, request: Request) {
    let (Request::Ping { to, .. } | Request::Exchange { to, .. }) = request;
    if !is_allowed(&shared.allowed, to.ip()) {
        return;
    }
    let Ok(place) = Arc::clone(&shared.outgoing).try_acquire_owned() else {
        tracing::debug!("no stream to {to}: too many are open");
        return;
    };
    let of_task = Arc::clone(shared);
    shared.spawn(async move {
        match request {
            Request::Ping {
                to,
                node,
                sequence,
                deadline,
            } => {
                let limit = deadline.saturating_sub(of_task.now());
                let told = match ping(&of_task, to, &node, sequence, limit).await {
                    Pinged::Answered => Some(Command::StreamAck { sequence }),
                    Pinged::Refused => Some(Command::StreamRefused { sequence }),
                    Pinged::Nothing => None,
                };
                if let Some(command) = told {
                    of_task.tell(command).await;
                }
            }
            Request::Exchange { to, join } => {
                if let Err(error) = push_pull(&of_task, to, join, false).await {
                    tracing::debug!("no exchange with {to}: {error}");
                }
            }
        }
        drop(place);
    });
}

/// What became of a ping over a stream.
enum Pinged {
    /// The node has answered.
    Answered,
    /// Its host says that nobody listens there.
    Refused,
    /// Nothing came, or something else.
    Nothing,
}

/// Pings `node` over a stream, all within `limit`.
async fn ping(
    shared: &Shared,
    to: SocketAddr,
    node: &Name,
    sequence: u32,
    limit: Duration,
) -> Pinged {
    let mut content = Vec::new();
    let ping = Ping {
        sequence,
        node,
        source: None,
    };
    StreamMessage::Ping(ping).encode(&mut content);
    let answer = timeout(limit, async {
        match dial(to, limit).await {
            Ok(stream) => Ok(talk(shared, stream, to, &content).await),
            Err(error) => Err(error),
        }
    });
    match answer.await {
        Ok(Err(DialError::Refused { .. })) => Pinged::Refused,
        Ok(Ok(Ok(answer))) => match StreamMessage::decode(&answer) {
            Ok(StreamMessage::Ack(ack)) if ack.sequence == sequence => Pinged::Answered,
            _ => Pinged::Nothing,
        },
        _ => Pinged::Nothing,
    }
}

/// Sends `content` to `to` and reads the answer, all within `limit`.
async fn round(
    shared: &Shared,
    to: SocketAddr,
    content: &[u8],
    limit: Duration,
) -> Result<Content, String> {
    let exchanged = timeout(limit, async {
        let stream = dial(to, limit).await.map_err(|error| error.to_string())?;
        talk(shared, stream, to, content).await
    });
    let answered = exchanged.await;
    answered.unwrap_or_else(|_| Err(format!("stream with {to}: i/o timeout")))
}

/// Sends `content` over a stream to `to` and reads the answer.
async fn talk(
    shared: &Shared,
    mut stream: TcpStream,
    to: SocketAddr,
    content: &[u8],
) -> Result<Content, String> {
    let failed = |error: &dyn std::fmt::Display| format!("stream with {to}: {error}");
    let written = shared.streams.write(&mut stream, content).await;
    written.map_err(|error| failed(&error))?;
    let read = shared.streams.read(&mut stream).await;
    read.map_err(|error| failed(&error))
}

async fn state(shared: &Shared, join: bool, offer: bool) -> Result<Vec<u8>, String> {
    let command = |reply| Command::State { join, offer, reply };
    let state = shared.ask(command).await;
    state.ok_or_else(|| STOPPED.to_owned())
}

fn push_pull_of(to: SocketAddr, answer: &[u8]) -> Result<PushPull<'_>, String> {
    match StreamMessage::decode(answer) {
        Ok(StreamMessage::PushPull(remote)) => Ok(remote),
        Ok(StreamMessage::Error(error)) => {
            // It is shown to people and kept in logs.
            let shown: String = error.chars().take(REMOTE_ERROR_LETTERS_MAX).collect();
            Err(format!("remote error: {}", shown.escape_debug()))
        }
        Ok(_) => Err(format!("{to} answered with another message")),
        Err(malformed) => Err(format!("{to} answered with no message: {malformed}")),
    }
}

fn candidate<'a>(node: &NodeState<'a>, tags: &'a Tags, port: u16) -> Option<Candidate<'a>> {
    let state = match node.state {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Dead,
        3 => State::Left,
        _ => return None,
    };
    let mut address = node.address;
    if address.port() == 0 {
        address.set_port(port);
    }
    Some(Candidate {
        name: node.name,
        address,
        tags,
        state,
    })
}
