//! The UDP workers: each a thread that receives a batch, has its queries answered in place, and
//! sends the answers.
//!
//! Owns the order of a query's life and what is shed; how datagrams move is `batched` or `plain`,
//! how long they may have waited is `queue`, what the answer is comes from the [`Handler`].
//!
//! **Invariants**: in the steady state a query costs no allocation, no lock and no wait but the
//! one for datagrams. A query that has waited longer than the deadline is never answered, also if
//! the process was stopped while it had the query in hand.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::batch::{Batch, Link, Slot, Wait};
use super::config::Config;
use super::counters::{Counters, Row};
use super::handler::{Handler, Received, Reply, Transport};
use super::queue::Queue;
use super::slow::{Return, Slow};
use super::socket::{Datagrams, WAIT_MAX};
use crate::clock;

/// Batches read from one socket before the others have their turn, and before the stop signal is
/// looked at.
const TURN: usize = 16;

/// Nobody waits for so long: a query that seems to was stamped before somebody set the clock.
const WAIT_BELIEVED: Duration = Duration::from_secs(600);

/// A header, the least that is a query (RFC 1035 §4.1.1).
const HEADER_OCTETS: usize = 12;

/// Makes handlers.
pub(crate) type Handlers<H> = Arc<dyn Fn() -> H + Send + Sync>;

/// What a worker needs.
pub(crate) struct Worker<H> {
    /// Its place among the workers.
    pub(crate) number: usize,
    /// Makes what answers its queries.
    pub(crate) handlers: Handlers<H>,
    /// One for each address.
    pub(crate) sockets: Vec<Arc<Datagrams>>,
    /// Takes what memory cannot answer.
    pub(crate) slow: Slow,
    /// Where it counts.
    pub(crate) counters: Arc<Counters>,
    /// Set once it shall end.
    pub(crate) stop: Arc<AtomicBool>,
}

/// One socket as a worker sees it.
struct Lane<L> {
    socket: Arc<Datagrams>,
    link: L,
    queue: Queue,
}

/// How far a batch has come.
#[derive(Default)]
struct Progress {
    /// Slots that were looked at.
    done: usize,
    /// Those of them that had waited too long.
    shed: u64,
}

/// A worker at work.
struct Desk<'a, H> {
    handlers: Handlers<H>,
    handler: H,
    slow: Slow,
    row: &'a Row,
}

impl<H: Handler> Worker<H> {
    /// Answers until it is stopped, then what is queued, for at most [`WAIT_MAX`].
    pub(crate) fn run(self, config: &Config) {
        #[cfg(target_os = "linux")]
        if config.batching {
            return self.serve(config, super::batched::Batched::new);
        }
        self.serve(config, super::plain::Plain::new);
    }

    fn serve<L: Link>(self, config: &Config, link: impl Fn(Arc<Datagrams>) -> L) {
        let Some(row) = self.counters.worker(self.number) else {
            return;
        };
        let mut desk = Desk {
            handler: (self.handlers)(),
            handlers: self.handlers,
            slow: self.slow,
            row,
        };
        let lane = |socket: &Arc<Datagrams>| Lane {
            link: link(Arc::clone(socket)),
            queue: Queue::new(
                config.queue_deadline,
                config.queue_target,
                config.receive_buffer_octets,
            ),
            socket: Arc::clone(socket),
        };
        let mut lanes: Vec<Lane<L>> = self.sockets.iter().map(lane).collect();
        let mut batch = Batch::new();
        let mut ready = readiness::Ready::new(&self.sockets);
        // A single socket can block in the receive itself.
        let first = if lanes.len() == 1 {
            Wait::First
        } else {
            Wait::No
        };
        while !self.stop.load(Ordering::Relaxed) {
            let mut idle = true;
            for lane in &mut lanes {
                idle &= desk.turn(lane, &mut batch, first) == 0;
            }
            if idle && first == Wait::No {
                ready.wait(WAIT_MAX);
            }
        }
        desk.drain(&mut lanes, &mut batch);
    }
}

impl<H: Handler> Desk<'_, H> {
    /// Serves one socket until it is empty or its turn is over; the batches that it had.
    fn turn<L: Link>(&mut self, lane: &mut Lane<L>, batch: &mut Batch, first: Wait) -> usize {
        for done in 0..TURN {
            match lane.link.receive(batch, first) {
                Ok(()) => self.serve(lane, batch),
                Err(error) if is_empty(&error) => return done,
                Err(error) => {
                    // No error is known that a bound UDP socket does not recover from.
                    tracing::warn!(%error, "cannot receive DNS queries");
                    std::thread::sleep(WAIT_MAX);
                    return done;
                }
            }
        }
        TURN
    }

    fn drain<L: Link>(&mut self, lanes: &mut [Lane<L>], batch: &mut Batch) {
        let start = clock::monotonic();
        for lane in lanes {
            while clock::monotonic() - start < WAIT_MAX {
                if self.turn(lane, batch, Wait::No) == 0 {
                    break;
                }
            }
        }
    }

    /// Takes one batch from receive to send.
    fn serve<L: Link>(&mut self, lane: &mut Lane<L>, batch: &mut Batch) {
        let now = clock::since_epoch();
        forgive(batch, now);
        let oldest = batch.slots().first().map_or(now, |slot| slot.received);
        let verdict = lane.queue.observe(now, now.saturating_sub(oldest));
        self.row.batches.add(1);
        self.row.received.add(count(batch.slots().len()));
        let earliest = now.saturating_sub(verdict.wait_max);
        let shed = self.answer_batch(&lane.socket, batch, earliest);
        let end = clock::since_epoch();
        let withdrawn = withdraw_late(batch, end.saturating_sub(verdict.wait_max));
        self.row.shed.add(shed + withdrawn);
        self.row.refused.add(lane.link.send(batch));
        for (slot, octets) in batch.each().filter(|(slot, _)| slot.reply > 0) {
            self.row.answer(octets, end.saturating_sub(slot.received));
        }
        if let Some(octets) = verdict.resize
            && let Err(error) = lane.socket.resize(octets)
        {
            tracing::warn!(%error, octets, "cannot resize the queue of DNS queries");
        }
    }

    /// Answers what was received since `earliest`; how many were not.
    ///
    /// A handler that panics costs the one query that it had in hand: the rest of the batch goes to
    /// a new one, since nobody knows what state the old one is in.
    fn answer_batch(
        &mut self,
        socket: &Arc<Datagrams>,
        batch: &mut Batch,
        earliest: Duration,
    ) -> u64 {
        let mut progress = Progress::default();
        loop {
            let answer = AssertUnwindSafe(|| {
                self.answer_all(socket, batch, earliest, &mut progress);
            });
            if catch_unwind(answer).is_ok() {
                return progress.shed;
            }
            self.row.panics.add(1);
            self.row.dropped.add(1);
            tracing::error!("a DNS query was dropped: answering it panicked, which is a bug");
            self.handler = (self.handlers)();
        }
    }

    /// Answers the slots that `progress` has not reached yet.
    fn answer_all(
        &mut self,
        socket: &Arc<Datagrams>,
        batch: &mut Batch,
        earliest: Duration,
        progress: &mut Progress,
    ) {
        for (slot, buffer) in batch.each_mut().skip(progress.done) {
            progress.done += 1;
            if slot.received < earliest {
                progress.shed += 1;
            } else if slot.length < HEADER_OCTETS {
                self.row.dropped.add(1);
            } else {
                slot.reply = self.answer(socket, slot, buffer);
            }
        }
    }

    /// Answers one query; the octets to send, or 0.
    fn answer(&mut self, socket: &Arc<Datagrams>, slot: &Slot, buffer: &mut [u8]) -> usize {
        let received = Received {
            length: slot.length,
            transport: Transport::Udp,
            source: slot.source,
        };
        let reply = self.handler.handle(&received, buffer);
        self.row.asked(self.handler.asked());
        match reply {
            Reply::Send(octets) => octets,
            Reply::Drop => {
                self.row.dropped.add(1);
                0
            }
            Reply::Slow => {
                self.row.slow.add(1);
                let local = slot.local;
                let to = Return::Datagram { socket, local };
                self.slow.hand_over(&received, buffer, to)
            }
        }
    }
}

/// Takes queries whose stamps cannot be true for new ones. One look where there are none.
fn forgive(batch: &mut Batch, now: Duration) {
    let is_false = |slot: &Slot| now.saturating_sub(slot.received) > WAIT_BELIEVED;
    if batch.slots().first().is_some_and(is_false) {
        for slot in batch.slots_mut().iter_mut().filter(|slot| is_false(slot)) {
            slot.received = now;
        }
    }
}

/// Takes back the answers to what was received before `earliest`: the process was stopped while
/// it made them. How many.
fn withdraw_late(batch: &mut Batch, earliest: Duration) -> u64 {
    let mut withdrawn = 0;
    for slot in batch.slots_mut() {
        if slot.reply > 0 && slot.received < earliest {
            slot.reply = 0;
            withdrawn += 1;
        }
    }
    withdrawn
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn is_empty(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

#[cfg(unix)]
mod readiness {
    //! Waits for the first of several sockets.

    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::Datagrams;

    pub(super) struct Ready<'a>(Vec<PollFd<'a>>);

    impl<'a> Ready<'a> {
        pub(super) fn new(sockets: &'a [Arc<Datagrams>]) -> Self {
            let watch = |socket: &'a Arc<Datagrams>| {
                PollFd::new(socket.socket().as_fd(), PollFlags::POLLIN)
            };
            Self(sockets.iter().map(watch).collect())
        }

        /// Returns at the latest after `limit`; an error is a wait that was cut short.
        pub(super) fn wait(&mut self, limit: Duration) {
            let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut self.0, limit);
        }
    }
}

#[cfg(not(unix))]
mod readiness {
    //! Waits for the first of several sockets, where nothing better is known: a short sleep.

    use std::marker::PhantomData;
    use std::sync::Arc;
    use std::time::Duration;

    use super::Datagrams;

    pub(super) struct Ready<'a>(PhantomData<&'a ()>);

    impl<'a> Ready<'a> {
        pub(super) fn new(_: &'a [Arc<Datagrams>]) -> Self {
            Self(PhantomData)
        }

        pub(super) fn wait(&mut self, limit: Duration) {
            std::thread::sleep(limit.min(Duration::from_millis(1)));
        }
    }
}
