//! What the tasks of a pool share.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::{Network, Scope};
use super::counts::Counts;
use super::keys::Asked;
use crate::clock;
use crate::gossip::actions::Time;
use crate::gossip::admission::Admission;
use crate::gossip::keyring::Keyring;
use crate::gossip::serf::{
    KeyAnswer, LamportTime, Query, QueryId, Serf, SerfError, Tags, UserEvent,
};
use crate::gossip::swim::Name;
use crate::gossip::transport::{Content, Streams};
use crate::task::Tasks;
use crate::types::Member;

/// What the driver is asked to do. Where there is a `reply`, dropping it unanswered means that the
/// pool has stopped.
pub(super) enum Command {
    /// Encode this node's side of a push/pull.
    State {
        /// Whether it is for a join.
        join: bool,
        /// Whether it shows anything of this node.
        offer: bool,
        /// The content of a stream.
        reply: oneshot::Sender<Vec<u8>>,
    },
    /// Take in the answer to a push/pull that this node began.
    Merge {
        /// Who answered.
        from: SocketAddr,
        /// The content of the stream.
        content: Content,
        /// Whether events from before are of no interest.
        ignore_old: bool,
        /// Why it was not taken in, if so.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Answer a push/pull that another began, then take it in.
    Answer {
        /// Who began.
        from: SocketAddr,
        /// The content of the stream.
        content: Content,
        /// The content of the answer.
        reply: oneshot::Sender<Vec<u8>>,
    },
    /// Take in a message of the layer above that came over a stream.
    User {
        /// Who sent it.
        from: SocketAddr,
        /// The content of the stream.
        content: Content,
    },
    /// A ping over a stream was answered.
    StreamAck {
        /// Of the ping.
        sequence: u32,
    },
    /// A ping over a stream was refused by the host.
    StreamRefused {
        /// Of the ping.
        sequence: u32,
    },
    /// As [`super::Pool::set_tags`].
    SetTags {
        /// The new ones.
        tags: Tags,
        /// Why not, if so.
        reply: oneshot::Sender<Result<(), SerfError>>,
    },
    /// As [`super::Pool::fire`].
    Fire {
        /// What it is called.
        name: String,
        /// What it carries.
        payload: Vec<u8>,
        /// Whether only the newest of several counts.
        coalesce: bool,
        /// When it was, or why not.
        reply: oneshot::Sender<Result<LamportTime, SerfError>>,
    },
    /// As [`super::Pool::force_leave`].
    ForceLeave {
        /// Who.
        node: String,
        /// Whether it is forgotten at once.
        prune: bool,
        /// Why not, if so.
        reply: oneshot::Sender<Result<(), SerfError>>,
    },
    /// As [`super::Pool::leave`].
    Leave(oneshot::Sender<()>),
    /// Ask all members something.
    Query {
        /// What.
        query: Query,
        /// All answers once there are no more, or why not.
        reply: oneshot::Sender<Result<Asked, SerfError>>,
    },
    /// Answer a key query of a member.
    AnswerKeys {
        /// Whom.
        query: QueryId,
        /// The answer.
        answer: KeyAnswer,
    },
}

/// What the tasks of a pool share.
pub(super) struct Shared {
    pub(super) scope: Scope,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Name of this node.
    pub(super) name: Name,
    pub(super) admission: Arc<dyn Admission>,
    pub(super) allowed: Vec<Network>,
    /// Time for all I/O of a stream.
    pub(super) stream_deadline: Duration,
    /// As last published.
    pub(super) members: ArcSwap<Arc<[Member]>>,
    pub(super) changed: watch::Sender<u64>,
    pub(super) events: broadcast::Sender<UserEvent>,
    pub(super) streams: Streams,
    pub(super) keyring: Arc<ArcSwapOption<Keyring>>,
    /// Calls of `join` that run at a time; others wait for their turn.
    pub(super) joins: Semaphore,
    /// Streams that the protocol opens at a time; others are not opened.
    pub(super) outgoing: Arc<Semaphore>,
    pub(super) counts: Counts,
    /// Fires once the pool is to answer nothing more.
    pub(super) closing: CancellationToken,
    pub(super) tasks: Tasks,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) started: Instant,
    pub(super) serf: Mutex<Serf>,
}

impl Shared {
    /// Time since the start: the protocol's clock.
    pub(super) fn now(&self) -> Time {
        clock::now().saturating_duration_since(self.started)
    }

    /// The protocol's state, for an instant. A panic elsewhere does not make it useless.
    pub(super) fn protocol(&self) -> MutexGuard<'_, Serf> {
        self.serf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the driver a command; whether it took it. Waits while its queue is full.
    pub(super) async fn tell(&self, command: Command) -> bool {
        self.commands.send(command).await.is_ok()
    }

    /// Hands the driver a command and waits for its reply; `None` if the pool stops first.
    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        if !self.tell(command(reply)).await {
            return None;
        }
        answer.await.ok()
    }

    /// Runs `future` until it ends or the pool closes.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = closing.cancelled() => {}
                () = future => {}
            }
        });
    }
}
