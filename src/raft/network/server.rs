//! Takes other servers' connections in: who they are, and whether they belong here.
//!
//! **Invariant**: who has not said who it is, or asks for nothing then, within the time for it is
//! closed and counted, and has held no more than one short message.
//! **Invariant**: places go by address, and those of servers of the cluster are their own: nobody
//! takes them by telling other ids.
//! **Invariant**: the id of this server's cluster is told to nobody who does not know it.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::counts::{Counts, Refusal};
use super::frame::{FRAME_OCTETS_MAX, FrameReader, HELLO_OCTETS_MAX, strangers_room};
use super::link::{Reading, Writing};
use super::message::{self, First, Hello, Purpose, VERSION, Welcome};
use crate::clients::{Clients, Place};
use crate::clock;
use crate::raft::peer::Answers;
use crate::raft::proposer::COMMAND_OCTETS_MAX;
use crate::raft::types::ServerId;
use crate::rpc::{ConnectionHandler, Octets, Pending, Shares};
use crate::task::Tasks;

/// Longest wait for the first message, and until the answer to it is written.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that have not said who they are.
const STRANGERS_MAX: usize = 128;
/// Of which one address may have so many.
const STRANGERS_OF_ADDRESS_MAX: usize = 32;
/// Connections of those who are no servers of the cluster, or not yet.
const GUESTS_MAX: usize = 128;
/// Of which one address may have so many.
const GUESTS_OF_ADDRESS_MAX: usize = 32;
/// Connections from where servers of the cluster are.
const MEMBERS_MAX: usize = 512;
/// Of which one address may have so many: four for each server there, and those that it has left.
const MEMBERS_OF_ADDRESS_MAX: usize = 128;
/// Longest message where none is long, in octets.
const SHORT_OCTETS_MAX: usize = 1 << 20;
/// How long a vote of a server without a cluster binds it to that of the candidate.
const COURTED: Duration = Duration::from_secs(30);
/// Addresses that were logged, at most; after that all may be logged again.
const TOLD_MAX: usize = 1_024;

/// Serves other servers' connections.
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) answers: Arc<dyn Answers>,
    pub(super) counts: Counts,
    pub(super) tasks: Tasks,
    strangers: Arc<Clients>,
    guests: Arc<Clients>,
    members: Arc<Clients>,
    room: Shares,
    courted: Arc<Courted>,
    told: Mutex<HashSet<IpAddr>>,
}

/// Who has been let in.
pub(super) struct Guest {
    pub(super) purpose: Purpose,
    pub(super) from: ServerId,
    pub(super) address: IpAddr,
    /// The cluster that this server would enter with what it is sent.
    pub(super) joining: Option<u128>,
    pub(super) courted: Arc<Courted>,
    /// Whether other servers of this one's cluster are at that address.
    is_member: bool,
    _place: Place,
}

/// For which cluster this server, while it has none, has voted last. It enters one only with a log;
/// in between it must not help to found two. In memory, and for a while only: a vote that a stranger
/// has asked for shall not keep it from its own cluster.
#[derive(Debug, Default)]
pub(super) struct Courted(Mutex<Option<(u128, Instant)>>);

impl Courted {
    /// Whether it may vote in that cluster now; it is bound to it then.
    pub(super) fn court(&self, cluster: u128) -> bool {
        let mut bound = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if bound.is_some_and(|(to, since)| to != cluster && now < since + COURTED) {
            return false;
        }
        *bound = Some((cluster, now));
        true
    }

    /// Whether it is bound to one.
    fn is_bound(&self) -> bool {
        let bound = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bound.is_some_and(|(_, since)| clock::now() < since + COURTED)
    }
}

/// Why a connection is closed, with what both sides are told.
struct Refused(Refusal, String);

impl Server {
    pub(super) fn new(
        id: ServerId,
        answers: Arc<dyn Answers>,
        counts: Counts,
        tasks: &Tasks,
    ) -> Self {
        let clients = |all, of_address| Clients::new(all, Arc::new(AtomicUsize::new(of_address)));
        Self {
            id,
            answers,
            counts,
            tasks: tasks.clone(),
            strangers: clients(STRANGERS_MAX, STRANGERS_OF_ADDRESS_MAX),
            guests: clients(GUESTS_MAX, GUESTS_OF_ADDRESS_MAX),
            members: clients(MEMBERS_MAX, MEMBERS_OF_ADDRESS_MAX),
            room: strangers_room(),
            courted: Arc::default(),
            told: Mutex::default(),
        }
    }

    async fn run(&self, connection: Box<dyn Octets>, peer: SocketAddr) -> Result<(), Refused> {
        let stranger = self.strangers.enter(peer.ip());
        let full = |_| Refused(Refusal::Crowded, "too many connections".to_owned());
        let stranger = stranger.map_err(full)?;
        let (reading, mut writing) = tokio::io::split(connection);
        let mut reading = FrameReader::new(reading, HELLO_OCTETS_MAX);
        let hello = read_hello(&mut reading).await?;
        let admitted = match hello {
            First::Known(hello) => self.admit(&hello, peer.ip()),
            First::Other(version) => Err(Refused(
                Refusal::Version,
                format!("version {version} of the Raft messages; this server speaks {VERSION}"),
            )),
        };
        let guest = match admitted {
            Ok(admitted) => admitted,
            Err(Refused(refusal, text)) => {
                welcome(&mut writing, &Welcome::Refused(text.clone())).await?;
                return Err(Refused(refusal, text));
            }
        };
        let asks = guest.purpose == Purpose::Inquiry;
        let accepted = Welcome::Accepted {
            id: self.id,
            cluster: self.answers.cluster().filter(|_| !asks),
            initialized: self.answers.is_initialized() || self.courted.is_bound(),
        };
        welcome(&mut writing, &accepted).await?;
        drop(stranger);
        if asks {
            return Ok(());
        }
        reading.set_max(message_octets_max(guest.purpose));
        if !guest.is_member {
            reading.set_share(self.room.of(guest.address));
        }
        self.entertain(guest, reading, writing, peer).await;
        Ok(())
    }

    async fn entertain(&self, guest: Guest, reading: Reading, writing: Writing, peer: SocketAddr) {
        let _open = self.counts.open(guest.purpose);
        let served = Connection::new(self, guest).serve(reading, writing).await;
        if let Err(error) = served {
            match error.kind() {
                ErrorKind::InvalidData => {
                    self.counts.violations.inc();
                    self.tell(peer, &error.to_string());
                }
                ErrorKind::TimedOut => self.counts.refused(Refusal::Silent),
                ErrorKind::QuotaExceeded => self.counts.refused(Refusal::Crowded),
                _ => {}
            }
            tracing::debug!("the connection of the server at {peer} ended: {error}");
        }
    }

    /// Whether who connects belongs here; its place then.
    fn admit(&self, hello: &Hello, address: IpAddr) -> Result<Guest, Refused> {
        let Hello { from, purpose, .. } = *hello;
        if let Some(to) = hello.to.filter(|to| *to != self.id) {
            let text = format!("this is server {}, not {to}", self.id);
            return Err(Refused(Refusal::Target, text));
        }
        if from == self.id {
            let text = format!("{from} is this server, and no other one");
            return Err(Refused(Refusal::Target, text));
        }
        let is_member = self.answers.is_member(address);
        let places = if is_member {
            &self.members
        } else {
            &self.guests
        };
        let full = |_| {
            let text = format!("too many connections of {address}");
            Refused(Refusal::Crowded, text)
        };
        let place = places.enter(address).map_err(full)?;
        Ok(Guest {
            purpose,
            from,
            address,
            joining: self.joining(hello)?,
            courted: Arc::clone(&self.courted),
            is_member,
            _place: place,
        })
    }

    /// The cluster that this server has to enter before it is in one with who connects. A founder
    /// has an id for its cluster before it asks for a vote, so nobody without one has anything to
    /// say here but to ask whether there is a cluster.
    fn joining(&self, hello: &Hello) -> Result<Option<u128>, Refused> {
        let (from, purpose) = (hello.from, hello.purpose);
        match (hello.cluster, self.answers.cluster()) {
            _ if purpose == Purpose::Inquiry => Ok(None),
            (Some(theirs), Some(ours)) if theirs != ours => {
                let text = format!("this server is in another cluster than {theirs:032x}");
                Err(Refused(Refusal::Cluster, text))
            }
            (Some(theirs), None) => Ok(Some(theirs)),
            (None, _) => {
                let text = format!("{from} is in no cluster yet");
                Err(Refused(Refusal::Cluster, text))
            }
            (Some(_), Some(_)) => Ok(None),
        }
    }

    /// Tells of it once for an address, and again after many others.
    fn tell(&self, peer: SocketAddr, text: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        if told.insert(peer.ip()) {
            tracing::warn!("refused a connection for Raft of {peer}: {text}");
        } else {
            tracing::debug!("refused a connection for Raft of {peer}: {text}");
        }
    }
}

impl ConnectionHandler for Server {
    fn serve(&self, connection: Box<dyn Octets>, peer: SocketAddr) -> Pending<'_, ()> {
        Box::pin(async move {
            if let Err(Refused(refusal, text)) = self.run(connection, peer).await {
                self.counts.refused(refusal);
                self.tell(peer, &text);
            }
        })
    }
}

/// Longest message of such a connection, in octets.
fn message_octets_max(purpose: Purpose) -> usize {
    match purpose {
        Purpose::Log => FRAME_OCTETS_MAX,
        Purpose::Asks => COMMAND_OCTETS_MAX + (64 << 10),
        Purpose::Signs | Purpose::Snapshot | Purpose::Inquiry => SHORT_OCTETS_MAX,
    }
}

async fn read_hello(reading: &mut Reading) -> Result<First<Hello>, Refused> {
    let frame = match timeout(HELLO_TIMEOUT, reading.next()).await {
        Ok(Ok(Some(frame))) => frame,
        Ok(Ok(None)) => return Err(gone("it went away before it said who it is")),
        Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => {
            return Err(Refused(Refusal::Garbage, error.to_string()));
        }
        Ok(Err(error)) => return Err(gone(error)),
        Err(_) => {
            let text = format!("it did not say who it is within {HELLO_TIMEOUT:?}");
            return Err(Refused(Refusal::Silent, text));
        }
    };
    let first = message::read_first(&frame);
    first.map_err(|error| Refused(Refusal::Garbage, error.to_string()))
}

async fn welcome(writing: &mut Writing, welcome: &Welcome) -> Result<(), Refused> {
    let octets = message::put_first(VERSION, welcome).map_err(gone)?;
    let written = async {
        writing.write_all(&octets).await?;
        writing.flush().await
    };
    match timeout(HELLO_TIMEOUT, written).await {
        Ok(written) => written.map_err(gone),
        Err(_) => Err(gone("it does not take the answer")),
    }
}

fn gone(why: impl std::fmt::Display) -> Refused {
    Refused(Refusal::Gone, why.to_string())
}
