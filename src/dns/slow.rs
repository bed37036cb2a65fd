//! Answers the queries that this server's memory cannot, off the worker threads.
//!
//! A worker hands over the query's octets and where the answer goes; a bounded pool of tasks asks
//! the static zones and, for what they do not cover, this agent's memory, once whoever is `behind`
//! it has told what it lacks. Owns the bounds and the deadline; what a zone answers is
//! `static_zones`.
//!
//! **Invariant**: a query that is taken gets a reply within the deadline, if only SERVFAIL; one
//! that is not taken gets SERVFAIL at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, oneshot};

use super::behind::{Behind, Known, Unanswered};
use super::config::SlowLimits;
use super::counters::Counters;
use super::desk::Memory;
use super::handler::{Received, Transport};
use super::socket::{Datagrams, Local};
use super::static_zones::{Answer, StaticZones};
use crate::clock;
use crate::task::Tasks;

/// Extended error *Not Ready* (RFC 8914 §4.15).
const NOT_READY: u16 = 14;
/// Extended error *No Reachable Authority* (RFC 8914 §4.23).
const NO_REACHABLE_AUTHORITY: u16 = 22;

/// The door to the slow path; clones lead to the same pool.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    counters: Arc<Counters>,
}

/// Where an answer goes.
#[derive(Debug)]
pub(crate) enum Return<'a> {
    /// Back through the socket that the query came from, from the address that was asked.
    Datagram {
        /// That socket.
        socket: &'a Arc<Datagrams>,
        /// That address, on a wildcard socket.
        local: Option<Local>,
    },
    /// To the task of the connection.
    Connection(oneshot::Sender<Vec<u8>>),
}

/// A query on its way.
#[derive(Debug)]
struct Job {
    query: Vec<u8>,
    source: SocketAddr,
    transport: Transport,
    origin: Origin,
    since: tokio::time::Instant,
    /// Held until the query is answered: what bounds the pool.
    _room: OwnedSemaphorePermit,
}

/// [`Return`], owned.
#[derive(Debug)]
enum Origin {
    Datagram(Arc<Datagrams>, Option<Local>),
    Connection(oneshot::Sender<Vec<u8>>),
}

/// Whom the slow path asks.
#[derive(Clone, Debug, Default)]
pub struct Help {
    /// Zones from files, asked first.
    pub zones: StaticZones,
    /// Who tells what memory lacks.
    pub behind: Behind,
}

impl From<StaticZones> for Help {
    fn from(zones: StaticZones) -> Self {
        Self {
            zones,
            behind: Behind::Nobody,
        }
    }
}

/// What the tasks of the pool share.
struct Pool {
    help: Help,
    memory: Arc<dyn Memory>,
    working: Semaphore,
    deadline: Duration,
    counters: Arc<Counters>,
}

impl Slow {
    /// Starts the pool.
    pub(crate) fn start(
        limits: &SlowLimits,
        help: Help,
        memory: Arc<dyn Memory>,
        counters: Arc<Counters>,
        tasks: &Tasks,
    ) -> Self {
        let (jobs, received) = mpsc::channel(limits.queries_max.max(1));
        let pool = Arc::new(Pool {
            help,
            memory,
            working: Semaphore::new(limits.concurrent_max),
            deadline: limits.deadline,
            counters: Arc::clone(&counters),
        });
        tasks.spawn(dispatch(received, pool, tasks.clone()));
        Self {
            jobs,
            room: Arc::new(Semaphore::new(limits.queries_max)),
            counters,
        }
    }

    /// Takes the query in `buffer`. If there is no room, SERVFAIL overwrites it and the octets of
    /// that are returned, else 0.
    pub(crate) fn hand_over(
        &self,
        received: &Received,
        buffer: &mut [u8],
        to: Return<'_>,
    ) -> usize {
        let query = buffer.get(..received.length).unwrap_or_default();
        if self.take(received, query, to).is_some() {
            return 0;
        }
        self.counters.slow_full.inc();
        fail(buffer, received.length, NO_REACHABLE_AUTHORITY)
    }

    fn take(&self, received: &Received, query: &[u8], to: Return<'_>) -> Option<()> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let job = Job {
            query: query.to_vec(),
            source: received.source,
            transport: received.transport,
            origin: match to {
                Return::Datagram { socket, local } => Origin::Datagram(Arc::clone(socket), local),
                Return::Connection(sender) => Origin::Connection(sender),
            },
            since: clock::now(),
            _room: room,
        };
        self.jobs.try_send(job).ok()
    }
}

async fn dispatch(mut jobs: mpsc::Receiver<Job>, pool: Arc<Pool>, tasks: Tasks) {
    while let Some(job) = jobs.recv().await {
        let pool = Arc::clone(&pool);
        // Bounded by the room that each job holds.
        tasks.spawn_draining(async move { pool.work(job).await });
    }
}

impl Pool {
    async fn work(&self, job: Job) {
        let deadline = job.since + self.deadline;
        let answer = tokio::time::timeout_at(deadline, self.ask(&job)).await;
        let answer = answer.unwrap_or(Err(Unanswered::Failed));
        let answer = answer.unwrap_or_else(|unanswered| {
            self.counters.slow_late.inc();
            failure(&job.query, unanswered.code())
        });
        match job.origin {
            // A connection that has gone needs no answer.
            Origin::Connection(sender) => drop(sender.send(answer)),
            Origin::Datagram(socket, local) => {
                let row = &self.counters.slow;
                match socket.send(&answer, job.source, local) {
                    Ok(_) => row.answer_shared(&answer, clock::now() - job.since),
                    Err(_) => row.refused.add_shared(1),
                }
            }
        }
    }

    async fn ask(&self, job: &Job) -> Result<Vec<u8>, Unanswered> {
        let received = Received {
            length: job.query.len(),
            transport: job.transport,
            source: job.source,
        };
        let working = self.working().await?;
        match self.help.zones.answer(&job.query, &received).await {
            Answer::Made(answer) => return Ok(answer),
            Answer::Failed => return Err(Unanswered::Failed),
            Answer::NotCovered => {}
        }
        // Something is left to answer from memory where nobody tells in time.
        let limit = job.since + self.deadline * 9 / 10;
        let mut working = Some(working);
        let attempt = |known: &Known| {
            let answer = self.memory.answer(&job.query, &received, known);
            // Who waits for others keeps nobody from working.
            working = None;
            answer
        };
        let (answer, asked) = self.help.behind.settle(limit, attempt).await?;
        let row = match job.transport {
            Transport::Udp => &self.counters.slow,
            Transport::Tcp => &self.counters.tcp,
        };
        row.stale.add_shared(u64::from(asked.stale));
        Ok(answer)
    }

    async fn working(&self) -> Result<SemaphorePermit<'_>, Unanswered> {
        let working = self.working.acquire().await;
        working.map_err(|_| Unanswered::Failed)
    }
}

impl Unanswered {
    /// The extended error.
    fn code(self) -> u16 {
        match self {
            Self::NotReady => NOT_READY,
            Self::Failed => NO_REACHABLE_AUTHORITY,
        }
    }
}

/// SERVFAIL with an extended error for `query`.
fn failure(query: &[u8], code: u16) -> Vec<u8> {
    let mut answer = query.to_vec();
    // Room for the OPT record, which is longer than the shortest one of a query.
    answer.resize(query.len() + 32, 0);
    let octets = fail(&mut answer, query.len(), code);
    answer.truncate(octets);
    answer
}

/// Overwrites the query in `buffer[..length]` with SERVFAIL and an extended error; the octets of the
/// answer.
fn fail(buffer: &mut [u8], length: usize, code: u16) -> usize {
    let query = buffer.get(..length).unwrap_or_default();
    let question = question_end(query);
    let edns = question.is_some_and(|end| has_opt(query, end));
    let end = question.unwrap_or(12);
    let [_, _, flags, rcode, counts @ ..] = buffer else {
        return 0;
    };
    // The opcode and RD are echoed; QR is set (RFC 1035 §4.1.1). CD is echoed, RCODE is 2.
    *flags = (*flags & 0x79) | 0x80;
    *rcode = (*rcode & 0x10) | 2;
    let opt: [u8; 17] = {
        let [high, low] = code.to_be_bytes();
        // Root, type 41, 1,232 octets, no flags, one option of two octets (RFC 6891 §6.1.2,
        // RFC 8914 §2).
        [
            0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 6, 0, 15, 0, 2, high, low,
        ]
    };
    let questions = u8::from(question.is_some());
    let header = [0, questions, 0, 0, 0, 0, 0, u8::from(edns)];
    for (octet, value) in counts.iter_mut().zip(header) {
        *octet = value;
    }
    match buffer.get_mut(end..end + opt.len()) {
        Some(place) if edns => {
            place.copy_from_slice(&opt);
            end + opt.len()
        }
        _ => end,
    }
}

/// Where the one question ends, unless the query is malformed.
fn question_end(query: &[u8]) -> Option<usize> {
    if query.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = 12;
    loop {
        match usize::from(*query.get(at)?) {
            0 => break,
            label @ 1..=63 => at += 1 + label,
            _ => return None,
        }
    }
    let end = at + 5;
    (end <= query.len()).then_some(end)
}

/// Whether the only record after the question is an OPT record.
fn has_opt(query: &[u8], question_end: usize) -> bool {
    let counts = query.get(6..12);
    let record = query.get(question_end..question_end + 3);
    counts == Some(&[0, 0, 0, 0, 0, 1]) && record == Some(&[0, 0, 41])
}
