//! A connection to a server that has welcomed this one: requests and their answers, many at a time.
//!
//! **Invariant**: a request has its answer, or learns that the connection is gone; whoever waits no
//! longer leaves nothing behind but its number.
//! **Invariant**: a server that is silent while it owes an answer is asked whether it is there, and
//! left if it does not say so.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::check::{TERMS_AHEAD_MAX, within};
use super::counts::{Counts, Open};
use super::frame::FrameReader;
use super::message::{self, Numbered, Purpose, Request, Response};
use crate::clock;
use crate::rpc::Octets;
use crate::task::Tasks;

/// Requests without an answer on one connection; more wait.
const IN_FLIGHT_MAX: usize = 512;
/// Requests that wait to be written; more wait before that.
const OUTGOING_MAX: usize = 64;
/// Octets that are written together.
const WRITE_OCTETS: usize = 256 << 10;
/// Longest wait until the system takes what is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent server is noticed.
const TICK: Duration = Duration::from_millis(250);
/// Number of requests whose answer nobody waits for.
const NOBODY: u64 = 0;

pub(super) type Reading = FrameReader<ReadHalf<Box<dyn Octets>>>;
pub(super) type Writing = WriteHalf<Box<dyn Octets>>;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkError {
    /// It was not sent.
    #[error("nothing was sent: {0}")]
    NotSent(String),
    /// The connection broke; it may have been carried out.
    #[error("the connection broke before the answer")]
    Broken,
}

/// One connection. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Vec<u8>>,
    counts: Counts,
    _open: Open,
    _end: DropGuard,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
    number: AtomicU64,
    places: Arc<Semaphore>,
    closed: CancellationToken,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Response>,
    /// The term that this server was in.
    term: Option<u64>,
    _place: OwnedSemaphorePermit,
}

/// An answer that is to come.
#[derive(Debug)]
pub(super) struct Answer(oneshot::Receiver<Response>);

impl Answer {
    /// Waits for it; may be dropped and called again.
    ///
    /// # Errors
    /// [`LinkError::Broken`].
    pub(super) async fn wait(&mut self) -> Result<Response, LinkError> {
        (&mut self.0).await.map_err(|_| LinkError::Broken)
    }
}

impl Link {
    /// Serves a connection that was welcomed.
    pub(super) fn start(
        mut reading: Reading,
        writing: Writing,
        purpose: Purpose,
        counts: &Counts,
        tasks: &Tasks,
    ) -> Self {
        reading.set_max(super::frame::FRAME_OCTETS_MAX);
        let (outgoing, frames) = mpsc::channel(OUTGOING_MAX);
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Some(HashMap::new())),
            number: AtomicU64::new(NOBODY + 1),
            places: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            closed: CancellationToken::new(),
        });
        let pings = outgoing.downgrade();
        let writer = Arc::clone(&shared);
        tasks.spawn(async move {
            tokio::select! {
                () = writer.closed.cancelled() => {}
                result = write(writing, frames) => drop(result),
            }
            writer.close();
        });
        let (reader, violations) = (Arc::clone(&shared), counts.violations.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = reader.closed.cancelled() => {}
                result = reader.read(reading, &pings, silence(purpose)) => {
                    if let Err(error) = result {
                        if error.kind() == io::ErrorKind::InvalidData {
                            violations.inc();
                        }
                        tracing::debug!("a connection to a server ended: {error}");
                    }
                }
            }
            reader.close();
        });
        Self {
            _open: counts.open(purpose),
            _end: shared.closed.clone().drop_guard(),
            counts: counts.clone(),
            shared,
            outgoing,
        }
    }

    /// Whether requests can be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.shared.closed.is_cancelled()
    }

    /// Sends a request behind those that were sent before. Its octets, and its answer to come.
    ///
    /// # Errors
    /// [`LinkError::NotSent`].
    pub(super) async fn send(&self, body: &Request) -> Result<(usize, Answer), LinkError> {
        let gone = || LinkError::NotSent("the connection is gone".to_owned());
        let place = Arc::clone(&self.shared.places).acquire_owned().await;
        let place = place.map_err(|_| gone())?;
        let number = self.shared.number.fetch_add(1, Ordering::Relaxed);
        let frame = encode(number, body)?;
        let room = self.outgoing.reserve().await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            answer,
            term: body.term(),
            _place: place,
        };
        match &mut *self.shared.lock() {
            Some(all) => all.insert(number, waiting),
            None => return Err(gone()),
        };
        let octets = frame.len();
        self.counts.sent(body.as_str(), octets);
        room.send(frame);
        Ok((octets, Answer(answered)))
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// [`LinkError`].
    pub(super) async fn call(&self, body: &Request) -> Result<Response, LinkError> {
        self.send(body).await?.1.wait().await
    }
}

/// Silence of a server that owes an answer after which the connection is given up. Signs of life
/// must find their way quickly once the network is whole again, so they do not wait for the system
/// to repeat what was lost.
fn silence(purpose: Purpose) -> Duration {
    match purpose {
        Purpose::Signs => Duration::from_millis(1_500),
        _ => Duration::from_secs(5),
    }
}

fn encode(number: u64, body: &Request) -> Result<Vec<u8>, LinkError> {
    let mut frame = Vec::with_capacity(body.octets());
    let put = message::put(&mut frame, &Numbered { number, body });
    put.map_err(|error| LinkError::NotSent(error.to_string()))?;
    Ok(frame)
}

impl Shared {
    async fn read(
        &self,
        mut reading: Reading,
        pings: &mpsc::WeakSender<Vec<u8>>,
        silence: Duration,
    ) -> io::Result<()> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard = clock::now();
        loop {
            tokio::select! {
                frame = reading.next() => {
                    let Some(frame) = frame? else {
                        return Ok(());
                    };
                    heard = clock::now();
                    self.answer(message::read(&frame)?)?;
                }
                _ = tick.tick() => {
                    let now = clock::now();
                    if !self.is_owed() {
                        heard = now;
                    }
                    match now.saturating_duration_since(heard) {
                        silent if silent >= silence => {
                            let text = format!("nothing came for {silent:?}");
                            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                        }
                        silent if silent >= silence / 3 => ping(pings),
                        _ => {}
                    }
                }
            }
        }
    }

    /// # Errors
    /// `InvalidData`: the answer tells of a term that there cannot be. This server would take it on,
    /// and keep it.
    fn answer(&self, message: Numbered<Response>) -> io::Result<()> {
        let mut waiting = self.lock();
        let waiting = waiting.as_mut().and_then(|it| it.remove(&message.number));
        let Some(waiting) = waiting else {
            return Ok(());
        };
        if let Some(term) = message.body.term() {
            within("term", term, waiting.term.unwrap_or(0), TERMS_AHEAD_MAX)?;
        }
        // Who does not wait any more has no need of it.
        drop(waiting.answer.send(message.body));
        Ok(())
    }

    fn is_owed(&self) -> bool {
        self.lock().as_ref().is_some_and(|all| !all.is_empty())
    }

    /// Whoever waits learns that it is over.
    fn close(&self) {
        self.closed.cancel();
        self.places.close();
        drop(self.lock().take());
    }

    /// A panic elsewhere does not make the table useless.
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks whether anybody is there. Where there is no room, a request is about to ask the same.
fn ping(outgoing: &mpsc::WeakSender<Vec<u8>>) {
    if let (Some(outgoing), Ok(frame)) = (outgoing.upgrade(), encode(NOBODY, &Request::Ping)) {
        drop(outgoing.try_send(frame));
    }
}

async fn write(mut writing: Writing, mut frames: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(mut octets) = frames.recv().await {
        while octets.len() < WRITE_OCTETS
            && let Ok(more) = frames.try_recv()
        {
            octets.extend_from_slice(&more);
        }
        let written = async {
            writing.write_all(&octets).await?;
            writing.flush().await
        };
        timeout(WRITE_TIMEOUT, written).await??;
    }
    writing.shutdown().await
}
