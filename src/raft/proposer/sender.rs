//! The other end of the queue: gathers what waits into batches, and gives them to whoever leads.
//!
//! What a batch costs (a sync of three disks, and some twenty hand-overs between threads of three
//! servers) does not depend on its length. So few are under way at once: what comes meanwhile is the
//! next one. Whoever is alone never waits.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Brought, Caller, Queued};
use crate::catalog::Outcome;
use crate::raft::ProposeError;
use crate::raft::node::{Core, Fate, Way};
use crate::raft::peer::AskError;
use crate::raft::status::Role;
use crate::raft::types::ServerId;

/// Batches that may be on their way at once, to whomever.
const BATCHES_MAX: usize = 64;
/// Batches of this server in the log that are not applied yet, while it leads.
const HERE_MAX: usize = 1;
/// Batches on their way to another server that leads. More than one, so that the next is there when
/// that server takes it.
const THERE_MAX: usize = 4;
/// Longest wait, after another server has carried a command out, until it is applied here too.
const APPLIED_HERE: Duration = Duration::from_millis(100);

type Outcomes = Vec<Result<Outcome, Fate>>;

pub(super) struct Sender {
    core: Core,
    batch_length_max: usize,
    /// Who led when the last batch went.
    leader: Option<ServerId>,
    /// How often that has changed.
    epoch: u64,
    /// Batches that are under way to that leader.
    to_leader: usize,
}

/// What goes together.
#[derive(Default)]
struct Batch {
    own: Vec<Queued>,
    brought: Vec<Brought>,
}

/// What has come of the commands of this server's own callers.
struct Answered {
    epoch: u64,
    own: Vec<(Caller, Result<Outcome, Fate>)>,
}

impl Batch {
    fn len(&self) -> usize {
        let brought = self.brought.iter().map(|brought| brought.commands.len());
        self.own.len() + brought.sum::<usize>()
    }

    /// Whoever was told that there is no outcome in time may try again elsewhere: what was not given
    /// to anybody by then is not given any more.
    fn forget_gone(&mut self) {
        self.own.retain(|queued| !queued.caller.has_gone());
        self.brought.retain(|brought| !brought.answer.is_closed());
    }
}

impl Sender {
    pub(super) fn new(core: Core, batch_length_max: usize) -> Self {
        Self {
            core,
            batch_length_max,
            leader: None,
            epoch: 0,
            to_leader: 0,
        }
    }

    /// Until nobody can propose any more.
    pub(super) async fn run(
        mut self,
        mut queued: mpsc::Receiver<Queued>,
        mut brought: mpsc::Receiver<Brought>,
    ) {
        let core = self.core.clone();
        let (mut under_way, mut decided) = (FuturesUnordered::new(), FuturesUnordered::new());
        let mut status = core.status.subscribe();
        let mut batch = Batch::default();
        loop {
            let takes = self.has_room() && under_way.len() < BATCHES_MAX;
            tokio::select! {
                Some(answered) = under_way.next() => {
                    let answered: Answered = answered;
                    if answered.epoch == self.epoch {
                        self.to_leader -= 1;
                    }
                    decided.push(answer(&core, answered.own));
                    continue;
                }
                Some(()) = decided.next() => continue,
                // Batches that are lost with a leader do not keep others from the next one.
                _ = status.changed() => continue,
                count = queued.recv_many(&mut batch.own, self.batch_length_max), if takes => {
                    if count == 0 {
                        break;
                    }
                }
                Some(one) = brought.recv(), if takes => batch.brought.push(one),
            }
            // Those who were answered together come back together: who is about to has its turn.
            tokio::task::yield_now().await;
            self.gather(&mut batch, &mut queued, &mut brought);
            batch.forget_gone();
            if batch.len() == 0 {
                continue;
            }
            self.to_leader += 1;
            let batch = std::mem::take(&mut batch);
            under_way.push(send(&core, self.epoch, batch));
        }
    }

    /// Whether another batch may be under way.
    fn has_room(&mut self) -> bool {
        let (leader, most) = match self.core.way() {
            Way::Here => (Some(self.core.id), HERE_MAX),
            Way::There(leader, _) => (Some(leader), THERE_MAX),
            Way::Nowhere => (None, BATCHES_MAX),
        };
        if leader != self.leader {
            self.leader = leader;
            self.epoch += 1;
            self.to_leader = 0;
        }
        self.to_leader < most
    }

    /// Takes what else waits.
    fn gather(
        &self,
        batch: &mut Batch,
        queued: &mut mpsc::Receiver<Queued>,
        brought: &mut mpsc::Receiver<Brought>,
    ) {
        while batch.len() < self.batch_length_max
            && let Ok(more) = brought.try_recv()
        {
            batch.brought.push(more);
        }
        while batch.len() < self.batch_length_max
            && let Ok(more) = queued.try_recv()
        {
            batch.own.push(more);
        }
    }
}

/// Gives callers their outcomes, once they find here what they have written.
async fn answer(core: &Core, answered: Vec<(Caller, Result<Outcome, Fate>)>) {
    let index = |(_, result): &(_, Result<Outcome, Fate>)| match result {
        Ok(Outcome::Applied { index }) => Some(*index),
        _ => None,
    };
    if let Some(last) = answered.iter().filter_map(index).max() {
        drop(timeout(APPLIED_HERE, core.wait_applied(last)).await);
    }
    for (caller, result) in answered {
        caller.answer(result);
    }
}

/// Gives a batch to whoever leads. Those who have brought something get their outcomes.
async fn send(core: &Core, epoch: u64, batch: Batch) -> Answered {
    let way = core.way();
    let sent = !matches!(way, Way::Nowhere);
    let split = |queued: Queued| {
        let mut caller = queued.caller;
        caller.sent = sent;
        (queued.command, caller)
    };
    let (mut commands, callers): (Vec<_>, Vec<_>) = batch.own.into_iter().map(split).unzip();
    let mut waiting = Vec::with_capacity(batch.brought.len());
    for brought in batch.brought {
        if matches!(way, Way::Here) {
            waiting.push((brought.commands.len(), brought.answer));
            commands.extend(brought.commands);
        } else {
            // Brought to this server, since it led.
            drop(
                brought
                    .answer
                    .send(vec![Err(Fate::NotLeading); brought.commands.len()]),
            );
        }
    }
    let count = commands.len();
    let mut results = carry_out(core, way, commands).await;
    results.resize(count, Err(Fate::Unknown));
    let mut results = results.into_iter();
    let own = callers.into_iter().zip(results.by_ref()).collect();
    for (count, answer) in waiting {
        // Whoever has brought it may not listen any more.
        drop(answer.send(results.by_ref().take(count).collect()));
    }
    Answered { epoch, own }
}

async fn carry_out(core: &Core, way: Way, commands: Vec<Bytes>) -> Outcomes {
    let count = commands.len();
    match way {
        Way::Here => core.submit(commands).await,
        Way::There(leader, address) if count > 0 => {
            let asked = core.asks.propose(leader, address, commands);
            match timeout(core.deadline, asked).await {
                Ok(Ok(results)) => results.into_iter().map(fate).collect(),
                Ok(Err(AskError::NotSent(_))) => vec![Err(Fate::NotLeading); count],
                Ok(Err(AskError::Unknown(_))) | Err(_) => Vec::new(),
            }
        }
        Way::Nowhere if core.status.borrow().role == Role::Stopped => {
            vec![Err(Fate::Stopped); count]
        }
        Way::There(..) | Way::Nowhere => vec![Err(Fate::NotLeading); count],
    }
}

/// What another server says of a command. It has done nothing unless it says so, or does not know.
fn fate(result: Result<Outcome, ProposeError>) -> Result<Outcome, Fate> {
    result.map_err(|error| match error {
        ProposeError::NoLeader | ProposeError::Busy { .. } | ProposeError::NoRoom => {
            Fate::NotLeading
        }
        // Whoever forwards checks the size first, so this is another limit than our own.
        ProposeError::Deadline { .. } | ProposeError::TooLarge { .. } => Fate::Unknown,
    })
}

#[cfg(test)]
mod tests;
