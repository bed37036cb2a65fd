//! The thread that has the catalog's one writer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::catalog::{Outcome, State, Writer};
use crate::clock;
use crate::task::Tasks;
use crate::types::Index;

use super::Told;
use super::recovery::decode;

/// One entry of the log.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) index: Index,
    /// A command in its stored form; none for entries that are the library's own.
    pub(super) command: Option<Bytes>,
}

type Outcomes = Vec<Option<Outcome>>;

#[derive(Debug)]
enum Work {
    Apply(Vec<Decided>, oneshot::Sender<io::Result<Outcomes>>),
    Install(Index, Box<State>, oneshot::Sender<io::Result<()>>),
    State(oneshot::Sender<Arc<State>>),
}

/// Leads to the thread, which ends with it.
#[derive(Debug)]
pub(super) struct ApplyThread {
    work: mpsc::Sender<Work>,
}

fn ended<E>(_: E) -> io::Error {
    io::Error::other("the thread that applies has ended")
}

impl ApplyThread {
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(writer: Writer, told: Told, tasks: &Tasks) -> io::Result<Self> {
        // Whoever hands out work waits for its end: there is never more than one.
        let (work, mut queue) = mpsc::channel(1);
        let mut applier = Applier { writer, told };
        tasks.spawn_thread("herald-apply", move || {
            while let Some(work) = queue.blocking_recv() {
                applier.work(work);
            }
        })?;
        Ok(Self { work })
    }

    /// Applies and publishes a batch; the outcome of each command.
    ///
    /// # Errors
    /// An entry cannot be applied; nothing of the batch is published.
    pub(super) async fn apply(&self, batch: Vec<Decided>) -> io::Result<Outcomes> {
        let (sender, answer) = oneshot::channel();
        let work = Work::Apply(batch, sender);
        self.work.send(work).await.map_err(ended)?;
        answer.await.map_err(ended)?
    }

    /// Replaces the whole state by that of position `index`.
    ///
    /// # Errors
    /// The state is not a later one.
    pub(super) async fn install(&self, index: Index, state: State) -> io::Result<()> {
        let (sender, answer) = oneshot::channel();
        let work = Work::Install(index, Box::new(state), sender);
        self.work.send(work).await.map_err(ended)?;
        answer.await.map_err(ended)?
    }

    /// A picture of what is applied; `None` if the thread has ended.
    pub(super) async fn state(&self) -> Option<Arc<State>> {
        let (sender, answer) = oneshot::channel();
        self.work.send(Work::State(sender)).await.ok()?;
        answer.await.ok()
    }
}

struct Applier {
    writer: Writer,
    told: Told,
}

impl Applier {
    fn work(&mut self, work: Work) {
        // Whoever has gone away does not want the answer.
        match work {
            Work::Apply(batch, answer) => drop(answer.send(self.apply(batch))),
            Work::Install(index, state, answer) => drop(answer.send(self.install(index, *state))),
            Work::State(answer) => drop(answer.send(self.writer.state())),
        }
    }

    fn apply(&mut self, batch: Vec<Decided>) -> io::Result<Outcomes> {
        let start = clock::monotonic();
        let last = batch.last().map(|entry| entry.index);
        let is_command: Vec<_> = batch.iter().map(|entry| entry.command.is_some()).collect();
        let mut commands = Vec::with_capacity(batch.len());
        for Decided { index, command } in batch {
            let Some(octets) = command else { continue };
            commands.push((index, decode(index, &octets)?));
        }
        let outcomes = if commands.is_empty() {
            Vec::new()
        } else {
            let outcomes = self.writer.apply(commands);
            outcomes.map_err(|corrupt| stop(corrupt.to_string()))?
        };
        self.told.commands.inc_by(outcomes.len() as u64);
        let seconds = start.elapsed().as_secs_f64();
        self.told.apply_seconds.observe(seconds);
        if let Some(last) = last {
            self.told.applied.send_replace(last);
        }
        let mut outcomes = outcomes.into_iter();
        let each = is_command.into_iter();
        Ok(each
            .map(|is| if is { outcomes.next() } else { None })
            .collect())
    }

    fn install(&mut self, index: Index, state: State) -> io::Result<()> {
        // Equal where there was no command in between: then it is the same state.
        if state.applied() > self.writer.applied() {
            let installed = self.writer.install(state);
            installed.map_err(|corrupt| stop(corrupt.to_string()))?;
        }
        self.told.applied.send_replace(index);
        Ok(())
    }
}

/// Says once what has happened and what to do.
pub(super) fn stop(what: String) -> io::Error {
    tracing::error!(
        "{what}; this server takes no more writes and goes on answering from memory. Run the \
         release that the other servers run; if it is the same, move this server's data directory \
         away and start it again: it then gets everything from the others"
    );
    io::Error::other(what)
}
