//! Takes commands into a bounded queue, and what has gathered to the leader in one go: into the log
//! here, or in one message to another server.
//!
//! **Invariant**: a command is given away again only if it cannot have been carried out before.

mod sender;

use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::catalog::{Command, Outcome, stored};
use crate::clock;
use crate::metrics::Metrics;
use crate::types::RequestContext;

use super::node::{Core, Fate};
use sender::Sender;

/// Batches of other servers that may wait; further ones wait before that.
const BROUGHT_MAX: usize = 64;

/// Octets of one command in its stored form. What is in the log must fit into one message to the
/// other servers, or they would wait for it for ever.
pub(super) const COMMAND_OCTETS_MAX: usize = 4 << 20;

/// Bounds of the queue of commands.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Commands that may wait; further ones are refused at once. Default 4,096.
    pub queue_length_max: usize,
    /// Commands of one server that are given to the leader together. Default 512; the leader adds
    /// what another server has brought.
    pub batch_length_max: usize,
    /// Longest wait for an outcome where the request names no deadline. Default 10 s.
    pub deadline: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            queue_length_max: 4_096,
            batch_length_max: 512,
            deadline: Duration::from_secs(10),
        }
    }
}

/// Why a command has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The queue is full. Nothing changed; safe to retry after a pause.
    #[error("too many writes are waiting, at most {limit} may")]
    Busy {
        /// Commands that may wait.
        limit: usize,
    },
    /// Not applied in time. It may still be applied; registrations may be repeated safely.
    #[error("write may have been stored, but has no outcome (waited at most {limit:?})")]
    Deadline {
        /// Longest wait.
        limit: Duration,
    },
    /// Nobody orders commands: there is no leader, the agent stops, or this server has stopped
    /// writing. Nothing changed.
    #[error("No cluster leader")]
    NoLeader,
    /// The disk of this server is full: it can neither store anything nor follow a leader. Nothing
    /// changed; safe to retry, at another server at once. Begins with the text by which client agents
    /// know that.
    #[error("No cluster leader: no room for writes on the disk of this server")]
    NoRoom,
    /// Its operations are too many, or too long, for one entry of the log. Nothing changed; the same
    /// command fails again.
    #[error("write has {octets} octets, at most {limit} are taken at once")]
    TooLarge {
        /// Octets of the command in its stored form.
        octets: usize,
        /// Octets that are taken.
        limit: usize,
    },
}

/// Queues commands. Clones share the queue.
#[derive(Clone)]
pub(super) struct Proposer {
    queue: mpsc::Sender<Queued>,
    queue_length_max: usize,
    core: Core,
    counts: Counts,
}

/// Commands that had no outcome.
#[derive(Clone, Debug, Default)]
struct Counts {
    refused: Counter,
    late: Counter,
}

/// A command on its way.
#[derive(Debug)]
struct Queued {
    command: Bytes,
    caller: Caller,
}

/// Who waits for an outcome, and gets an answer whatever happens.
#[derive(Debug)]
struct Caller {
    answer: Option<oneshot::Sender<Result<Outcome, Fate>>>,
    /// Whether the command was given to somebody, so that it may have been carried out.
    sent: bool,
}

impl Caller {
    fn has_gone(&self) -> bool {
        self.answer.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn answer(mut self, result: Result<Outcome, Fate>) {
        if let Some(answer) = self.answer.take() {
            // A caller that gave up does not listen any more.
            drop(answer.send(result));
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let fate = if self.sent {
            Fate::Unknown
        } else {
            Fate::Stopped
        };
        if let Some(answer) = self.answer.take() {
            drop(answer.send(Err(fate)));
        }
    }
}

/// Commands that another server has brought to this one, since it leads.
#[derive(Debug)]
struct Brought {
    commands: Vec<Bytes>,
    answer: oneshot::Sender<Vec<Result<Outcome, Fate>>>,
}

/// Takes what other servers bring. Clones share the queue.
#[derive(Clone)]
pub(super) struct Porter(mpsc::Sender<Brought>);

impl Porter {
    /// Gives commands to the log, if this server leads, and waits for their outcomes. One result
    /// each.
    pub(super) async fn bring(&self, commands: Vec<Bytes>) -> Vec<Result<Outcome, Fate>> {
        let count = commands.len();
        let (answer, outcomes) = oneshot::channel();
        if self.0.send(Brought { commands, answer }).await.is_err() {
            return vec![Err(Fate::Stopped); count];
        }
        let outcomes = outcomes.await;
        outcomes.unwrap_or_else(|_| vec![Err(Fate::Unknown); count])
    }
}

/// Starts the queue on the thread of the library, with which it ends.
pub(super) fn start(bounds: &Bounds, core: Core, metrics: &Metrics) -> (Proposer, Porter) {
    let (queue, queued) = mpsc::channel(bounds.queue_length_max);
    let (porter, brought) = mpsc::channel(BROUGHT_MAX);
    show_queue(&queue, metrics);
    let sender = Sender::new(core.clone(), bounds.batch_length_max);
    drop(tokio::runtime::Handle::current().spawn(sender.run(queued, brought)));
    let proposer = Proposer {
        queue,
        queue_length_max: bounds.queue_length_max,
        core,
        counts: Counts::new(metrics),
    };
    (proposer, Porter(porter))
}

/// Shows how many commands wait. Does not keep the queue open.
#[expect(clippy::cast_precision_loss, reason = "a figure to be shown")]
fn show_queue(queue: &mpsc::Sender<Queued>, metrics: &Metrics) {
    let queue = queue.downgrade();
    metrics.show("raft_queue_length", "Commands that wait", move || {
        let queue = queue.upgrade();
        queue.map_or(0, |queue| queue.max_capacity() - queue.capacity()) as f64
    });
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let register = |name, help| metrics.register(name, help, Counter::default());
        Self {
            refused: register(
                "raft_commands_refused",
                "Commands refused because too many wait",
            ),
            late: register("raft_commands_late", "Commands not applied in time"),
        }
    }
}

impl Proposer {
    /// Queues `command` and waits for its outcome; while there is no leader, for one, at most
    /// `hold`.
    ///
    /// # Errors
    /// [`ProposeError`]; only after `Deadline` may the command have changed state.
    pub(super) async fn propose(
        &self,
        context: &RequestContext,
        command: Command,
    ) -> Result<Outcome, ProposeError> {
        let limit = context.deadline.unwrap_or(self.core.deadline);
        let start = clock::now();
        let hold_until = start + limit.min(self.core.hold);
        let command = stored::encode(&command);
        check_size(&command)?;
        loop {
            match self.try_once(command.clone(), start + limit).await? {
                Ok(outcome) => return Ok(outcome),
                Err(Fate::Unknown) => return Err(self.late(limit)),
                Err(Fate::Stopped) => return Err(ProposeError::NoLeader),
                Err(Fate::NotLeading) if self.core.is_full() => return Err(ProposeError::NoRoom),
                Err(Fate::NotLeading) if clock::now() >= hold_until => {
                    return Err(ProposeError::NoLeader);
                }
                Err(Fate::NoRoom) if clock::now() >= hold_until => {
                    return Err(ProposeError::NoRoom);
                }
                // Room may be made, or another server lead.
                Err(Fate::NotLeading | Fate::NoRoom) => {
                    let wait = self.core.wait_for_leader();
                    drop(timeout_at(hold_until, wait).await);
                }
            }
        }
    }

    /// One way through the queue.
    async fn try_once(
        &self,
        command: Bytes,
        until: Instant,
    ) -> Result<Result<Outcome, Fate>, ProposeError> {
        let (answer, outcome) = oneshot::channel();
        let caller = Caller {
            answer: Some(answer),
            sent: false,
        };
        let queued = self.queue.try_send(Queued { command, caller });
        queued.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.counts.refused.inc();
                ProposeError::Busy {
                    limit: self.queue_length_max,
                }
            }
            mpsc::error::TrySendError::Closed(_) => ProposeError::NoLeader,
        })?;
        let answered = timeout_at(until, outcome).await;
        Ok(answered.map_or(Err(Fate::Unknown), |answer| {
            answer.unwrap_or(Err(Fate::Unknown))
        }))
    }

    fn late(&self, limit: Duration) -> ProposeError {
        self.counts.late.inc();
        ProposeError::Deadline { limit }
    }
}

/// # Errors
/// [`ProposeError::TooLarge`].
pub(super) fn check_size(command: &Bytes) -> Result<(), ProposeError> {
    match command.len() {
        ..=COMMAND_OCTETS_MAX => Ok(()),
        octets => Err(ProposeError::TooLarge {
            octets,
            limit: COMMAND_OCTETS_MAX,
        }),
    }
}

#[cfg(test)]
mod tests;
