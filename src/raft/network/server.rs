//! Takes other servers' connections in: who they are, and whether they belong here.
//!
//! **Invariant**: who has not said who it is within the time for it is closed and counted, and has
//! held no more than one short message.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::connection::Connection;
use super::counts::{Counts, Refusal};
use super::frame::{FRAME_OCTETS_MAX, FrameReader, HELLO_OCTETS_MAX};
use super::link::{Reading, Writing};
use super::message::{self, First, Hello, Purpose, VERSION, Welcome};
use crate::clients::Clients;
use crate::raft::peer::Answers;
use crate::raft::types::ServerId;
use crate::rpc::{ConnectionHandler, Octets, Pending};
use crate::task::Tasks;

/// Longest wait for the first message, and until the answer to it is written.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that have not said who they are.
const STRANGERS_MAX: usize = 128;
/// Of which one address may have so many.
const STRANGERS_OF_ADDRESS_MAX: usize = 32;
/// Connections of servers.
const CONNECTIONS_MAX: usize = 256;
/// Of which one server may have so many: one for each purpose, and those that it has left.
const CONNECTIONS_OF_SERVER_MAX: usize = 32;
/// Addresses that were logged, at most; after that all may be logged again.
const TOLD_MAX: usize = 1_024;

/// Serves other servers' connections.
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) answers: Arc<dyn Answers>,
    pub(super) counts: Counts,
    pub(super) tasks: Tasks,
    strangers: Arc<Clients>,
    places: Arc<Mutex<HashMap<ServerId, usize>>>,
    told: Mutex<HashSet<IpAddr>>,
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
        let of_address = Arc::new(AtomicUsize::new(STRANGERS_OF_ADDRESS_MAX));
        Self {
            id,
            answers,
            counts,
            tasks: tasks.clone(),
            strangers: Clients::new(STRANGERS_MAX, of_address),
            places: Arc::default(),
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
            First::Known(hello) => self.admit(hello).await,
            First::Other(version) => Err(Refused(
                Refusal::Version,
                format!("version {version} of the Raft messages; this server speaks {VERSION}"),
            )),
        };
        let (purpose, _place) = match admitted {
            Ok(admitted) => admitted,
            Err(Refused(refusal, text)) => {
                welcome(&mut writing, &Welcome::Refused(text.clone())).await?;
                return Err(Refused(refusal, text));
            }
        };
        let accepted = Welcome::Accepted {
            id: self.id,
            cluster: self.answers.cluster(),
            initialized: self.answers.is_initialized(),
        };
        welcome(&mut writing, &accepted).await?;
        drop(stranger);
        if purpose == Purpose::Inquiry {
            return Ok(());
        }
        let _open = self.counts.open(purpose);
        reading.set_max(FRAME_OCTETS_MAX);
        let served = Connection::new(self, purpose).serve(reading, writing).await;
        if let Err(error) = served {
            if error.kind() == std::io::ErrorKind::InvalidData {
                self.counts.violations.inc();
            }
            tracing::debug!("the connection of the server at {peer} ended: {error}");
        }
        Ok(())
    }

    /// Whether who connects belongs here; its place then.
    async fn admit(&self, hello: Hello) -> Result<(Purpose, Held), Refused> {
        let Hello { from, purpose, .. } = hello;
        if let Some(to) = hello.to.filter(|to| *to != self.id) {
            let text = format!("this is server {}, not {to}", self.id);
            return Err(Refused(Refusal::Target, text));
        }
        let full = || Refused(Refusal::Crowded, format!("too many connections of {from}"));
        let place = self.hold(from).ok_or_else(full)?;
        let votes = purpose == Purpose::Signs;
        match (hello.cluster, self.answers.cluster()) {
            _ if purpose == Purpose::Inquiry => {}
            (Some(theirs), Some(ours)) if theirs != ours => {
                let text = format!("this server is in cluster {ours:032x}, not in {theirs:032x}");
                return Err(Refused(Refusal::Cluster, text));
            }
            // Whoever sends entries, snapshots or signs of life takes this server for a member.
            (Some(theirs), None) if purpose != Purpose::Asks => {
                let entered = self.answers.enter(theirs).await;
                entered.map_err(|failed| Refused(Refusal::Failed, failed.to_string()))?;
            }
            (None, Some(ours)) => {
                let text = format!("this server is in cluster {ours:032x}, {from} in none");
                return Err(Refused(Refusal::Cluster, text));
            }
            (None, None) if !votes => {
                let text = format!("{from} is in no cluster yet");
                return Err(Refused(Refusal::Cluster, text));
            }
            _ => {}
        }
        Ok((purpose, place))
    }

    fn hold(&self, from: ServerId) -> Option<Held> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let of_server = places.get(&from).copied().unwrap_or_default();
        let all = places.values().sum::<usize>();
        if of_server >= CONNECTIONS_OF_SERVER_MAX || all >= CONNECTIONS_MAX {
            return None;
        }
        places.insert(from, of_server + 1);
        Some(Held {
            places: Arc::clone(&self.places),
            from,
        })
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

/// The place of a connection of a server.
struct Held {
    places: Arc<Mutex<HashMap<ServerId, usize>>>,
    from: ServerId,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = places.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.from);
            }
        }
    }
}

async fn read_hello(reading: &mut Reading) -> Result<First<Hello>, Refused> {
    let frame = match timeout(HELLO_TIMEOUT, reading.next()).await {
        Ok(Ok(Some(frame))) => frame,
        Ok(Ok(None)) => return Err(gone("it went away before it said who it is")),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
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
