//! Accepts commands into a bounded queue, gives each its position in the log, and applies what
//! has gathered as one batch: published once, then answered.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{mpsc, oneshot};

use crate::catalog::{Command, Corrupt, Outcome, Writer};
use crate::clock;
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::{Index, RequestContext};

/// What reads of an empty catalog answer, since no index is 0. The first command comes after it:
/// whoever waits for something later must not miss that one.
const EMPTY: Index = Index(1);

/// Bounds of the proposer.
#[derive(Clone, Debug)]
pub struct Config {
    /// Commands that may wait; further ones are refused at once. Default 4,096.
    pub queue_length_max: usize,
    /// Commands applied and published together. Default 512.
    pub batch_length_max: usize,
    /// Longest wait for an outcome where the request names no deadline. Default 10 s.
    pub deadline: Duration,
}

impl Default for Config {
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
    #[error("write was not applied within {limit:?}")]
    Deadline {
        /// How long was waited.
        limit: Duration,
    },
    /// Nobody orders commands: the agent stops, or has stopped writing after [`Corrupt`]. Nothing
    /// changed.
    #[error("No cluster leader")]
    NoLeader,
}

/// Hands commands to the sequencer. Clones share its queue.
#[derive(Clone, Debug)]
pub struct Proposer {
    queue: mpsc::Sender<Proposal>,
    queue_length_max: usize,
    deadline: Duration,
    counts: Counts,
}

/// Commands that had no outcome.
#[derive(Clone, Debug, Default)]
struct Counts {
    refused: Counter,
    late: Counter,
}

#[derive(Debug)]
struct Proposal {
    command: Command,
    outcome: oneshot::Sender<Outcome>,
}

/// Starts the sequencer around the catalog's one writer.
///
/// # Errors
/// The system refuses another thread.
pub fn start(
    config: &Config,
    writer: Writer,
    metrics: &Metrics,
    tasks: &Tasks,
) -> std::io::Result<Proposer> {
    let (queue, proposals) = mpsc::channel(config.queue_length_max);
    let applied = metrics.register(
        "raft_commands_applied",
        "Commands applied to the catalog",
        Counter::default(),
    );
    let apply_seconds = metrics.register(
        "raft_apply_seconds",
        "Time to apply and publish one batch of commands",
        Histogram::new(exponential_buckets(0.000_01, 4.0, 10)),
    );
    let counts = Counts::new(metrics);
    show_queue(&queue, metrics);
    let sequencer = Sequencer {
        last: writer.applied().max(EMPTY),
        writer,
        proposals,
        batch_length_max: config.batch_length_max,
        applied,
        apply_seconds,
    };
    let (stopping, runtime) = (tasks.stopping(), tokio::runtime::Handle::current());
    // A thread of its own: applying is pure computation, which must not hold up the runtime.
    tasks.spawn_thread("herald-apply", move || {
        // What still waits when this ends gets no outcome: it was not applied.
        match runtime.block_on(stopping.run_until_cancelled(sequencer.run())) {
            None | Some(Ok(())) => {}
            Some(Err(corrupt)) => tracing::error!("writes stop, reads go on: {corrupt}"),
        }
    })?;
    Ok(Proposer {
        queue,
        queue_length_max: config.queue_length_max,
        deadline: config.deadline,
        counts,
    })
}

/// Shows how many commands wait. Does not keep the queue open.
#[expect(clippy::cast_precision_loss, reason = "a figure to be shown")]
fn show_queue(queue: &mpsc::Sender<Proposal>, metrics: &Metrics) {
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
    /// Queues `command` and waits for its outcome.
    ///
    /// # Errors
    /// [`ProposeError`]; only after `Deadline` may the command have changed state.
    pub async fn propose(
        &self,
        context: &RequestContext,
        command: Command,
    ) -> Result<Outcome, ProposeError> {
        let (outcome, answer) = oneshot::channel();
        self.queue
            .try_send(Proposal { command, outcome })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    self.counts.refused.inc();
                    ProposeError::Busy {
                        limit: self.queue_length_max,
                    }
                }
                mpsc::error::TrySendError::Closed(_) => ProposeError::NoLeader,
            })?;
        let limit = context.deadline.unwrap_or(self.deadline);
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) => Err(ProposeError::NoLeader),
            Err(_) => {
                self.counts.late.inc();
                Err(ProposeError::Deadline { limit })
            }
        }
    }
}

struct Sequencer {
    writer: Writer,
    proposals: mpsc::Receiver<Proposal>,
    batch_length_max: usize,
    last: Index,
    applied: Counter,
    apply_seconds: Histogram,
}

impl Sequencer {
    /// Applies what is proposed until nobody can propose any more.
    async fn run(mut self) -> Result<(), Corrupt> {
        let mut batch = Vec::with_capacity(self.batch_length_max);
        let length_max = self.batch_length_max;
        while self.proposals.recv_many(&mut batch, length_max).await > 0 {
            self.apply(&mut batch)?;
        }
        Ok(())
    }

    fn apply(&mut self, batch: &mut Vec<Proposal>) -> Result<(), Corrupt> {
        let (commands, callers): (Vec<_>, Vec<_>) = batch
            .drain(..)
            .map(|proposal| {
                self.last = self.last.next();
                ((self.last, proposal.command), proposal.outcome)
            })
            .unzip();
        let start = clock::monotonic();
        let outcomes = self.writer.apply(commands)?;
        self.apply_seconds.observe(start.elapsed().as_secs_f64());
        self.applied.inc_by(outcomes.len() as u64);
        for (caller, outcome) in callers.into_iter().zip(outcomes) {
            // A caller that gave up does not listen any more.
            drop(caller.send(outcome));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Deregistration, Operation, Reader, open_server};

    fn command() -> Command {
        Command {
            request: 0,
            operations: vec![Operation::Deregister(Deregistration::Node(
                "gone".parse().unwrap(),
            ))],
        }
    }

    /// A proposer whose queue nobody drains.
    fn stuck(queue_length_max: usize) -> (Proposer, mpsc::Receiver<Proposal>) {
        let (queue, proposals) = mpsc::channel(queue_length_max);
        let proposer = Proposer {
            queue,
            queue_length_max,
            deadline: Duration::from_secs(10),
            counts: Counts::default(),
        };
        (proposer, proposals)
    }

    fn started(tasks: &Tasks) -> (Proposer, Reader) {
        let (writer, reader) = open_server();
        let proposer = start(&Config::default(), writer, &Metrics::new(), tasks).unwrap();
        (proposer, reader)
    }

    #[tokio::test]
    async fn commands_get_positions_in_order() {
        let tasks = Tasks::new();
        let (proposer, reader) = started(&tasks);
        for index in 2..=4 {
            let outcome = proposer
                .propose(&RequestContext::default(), command())
                .await;
            let index = Index(index);
            assert_eq!(outcome, Ok(Outcome::Applied { index }));
            assert_eq!(reader.applied(), index);
        }
        assert!(tasks.stop(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn nobody_orders_commands_after_the_end() {
        let tasks = Tasks::new();
        let (proposer, _reader) = started(&tasks);
        assert!(tasks.stop(Duration::from_secs(10)).await);
        let outcome = proposer
            .propose(&RequestContext::default(), command())
            .await;
        assert_eq!(outcome, Err(ProposeError::NoLeader));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once_and_a_slow_one_in_time() {
        let (proposer, _proposals) = stuck(1);
        let context = RequestContext {
            deadline: Some(Duration::from_secs(3)),
            ..RequestContext::default()
        };
        let (waiting, refused) = tokio::join!(
            proposer.propose(&context, command()),
            proposer.propose(&context, command())
        );
        let limit = Duration::from_secs(3);
        assert_eq!(waiting, Err(ProposeError::Deadline { limit }));
        assert_eq!(refused, Err(ProposeError::Busy { limit: 1 }));
        let counts = &proposer.counts;
        assert_eq!((counts.refused.get(), counts.late.get()), (1, 1));
    }

    #[tokio::test]
    async fn a_corrupt_catalog_stops_writes_while_reads_go_on() {
        let (mut writer, reader) = open_server();
        writer.apply(vec![(Index(7), command())]).unwrap();
        let (proposer, proposals) = stuck(8);
        let sequencer = Sequencer {
            writer,
            proposals,
            batch_length_max: 8,
            last: Index(6),
            applied: Counter::default(),
            apply_seconds: Histogram::new([]),
        };
        let context = RequestContext::default();
        let (outcome, run) = tokio::join!(proposer.propose(&context, command()), sequencer.run());
        assert_eq!(outcome, Err(ProposeError::NoLeader));
        assert!(run.is_err());
        let outcome = proposer.propose(&context, command()).await;
        assert_eq!(outcome, Err(ProposeError::NoLeader));
        assert_eq!(reader.state().applied(), Index(7));
    }
}
