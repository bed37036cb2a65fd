//! Connections to one server for one purpose: opened when they are needed, one at a time.
//!
//! **Invariant**: a dial goes on when nobody waits for it any more: who asks with a short patience
//! finds the connection the next time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::counts::Counts;
use super::frame::{FrameReader, HELLO_OCTETS_MAX};
use super::link::{Link, Reading, Writing};
use super::message::{self, First, Hello, Purpose, VERSION, Welcome};
use crate::raft::Peers;
use crate::raft::types::ServerId;
use crate::rpc::{Tls, dial, octet};
use crate::task::Tasks;

/// Longest wait for a connection and TLS. A lost first packet is repeated once within.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for the welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no connection. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct DialError(pub(super) String);

/// Opens connections to servers.
pub(super) struct Dialler {
    /// Who this server is.
    pub(super) id: ServerId,
    /// Its cluster.
    pub(super) cluster: watch::Receiver<Option<u128>>,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) tls: Option<Tls>,
    pub(super) counts: Counts,
    pub(super) tasks: Tasks,
}

/// What a server has said of itself.
pub(super) struct Met {
    pub(super) reading: Reading,
    pub(super) writing: Writing,
    pub(super) initialized: bool,
}

impl Dialler {
    /// Opens a connection and makes both sides known to each other.
    ///
    /// # Errors
    /// [`DialError`].
    pub(super) async fn meet(
        &self,
        address: SocketAddr,
        to: Option<ServerId>,
        purpose: Purpose,
    ) -> Result<Met, DialError> {
        let met = self.try_meet(address, to, purpose).await;
        met.inspect_err(|_| {
            self.counts.dials_failed.inc();
        })
    }

    async fn try_meet(
        &self,
        address: SocketAddr,
        to: Option<ServerId>,
        purpose: Purpose,
    ) -> Result<Met, DialError> {
        let failed = |text: &dyn std::fmt::Display| DialError(format!("{address}: {text}"));
        let dialled = dial(address, octet::RAFT, self.tls.as_ref());
        let dialled = timeout(DIAL_TIMEOUT, dialled).await;
        let connection = dialled
            .map_err(|_| failed(&format_args!("no connection within {DIAL_TIMEOUT:?}")))?
            .map_err(|error| failed(&error))?;
        let (reading, mut writing) = tokio::io::split(connection);
        let mut reading = FrameReader::new(reading, HELLO_OCTETS_MAX);
        let hello = Hello {
            cluster: *self.cluster.borrow(),
            from: self.id,
            to,
            purpose,
        };
        let exchange = async {
            writing
                .write_all(&message::put_first(VERSION, &hello)?)
                .await?;
            writing.flush().await?;
            let frame = reading.next().await?;
            let frame = frame.ok_or_else(|| message::invalid("it hung up without an answer"))?;
            message::read_first::<Welcome>(&frame)
        };
        let first = timeout(WELCOME_TIMEOUT, exchange).await;
        let first = first
            .map_err(|_| failed(&format_args!("no answer within {WELCOME_TIMEOUT:?}")))?
            .map_err(|error| failed(&error))?;
        let initialized = accepted(&first, &hello).map_err(|text| failed(&text))?;
        Ok(Met {
            reading,
            writing,
            initialized,
        })
    }
}

/// Whether the server that has accepted has a log; else why it has not accepted.
fn accepted(first: &First<Welcome>, hello: &Hello) -> Result<bool, String> {
    match first {
        First::Other(version) => Err(format!(
            "that server speaks version {version} of the Raft messages, this one {VERSION}"
        )),
        First::Known(Welcome::Refused(reason)) => Err(format!("refused: {reason}")),
        First::Known(Welcome::Accepted {
            id,
            cluster,
            initialized,
        }) => match (hello.to, hello.cluster, cluster) {
            (Some(to), _, _) if to != *id => Err(format!("that is server {id}, not {to}")),
            (_, Some(ours), Some(theirs))
                if ours != *theirs && hello.purpose != Purpose::Inquiry =>
            {
                Err(format!(
                    "that server is in cluster {theirs:032x}, this one in {ours:032x}"
                ))
            }
            _ => Ok(*initialized),
        },
    }
}

type Dialled = Result<Arc<Link>, DialError>;

#[derive(Debug)]
enum Slot {
    Idle,
    Dialling(watch::Receiver<Option<Dialled>>),
    Open(Arc<Link>),
}

/// One server, for one purpose.
pub(super) struct Target {
    dialler: Arc<Dialler>,
    pub(super) id: ServerId,
    purpose: Purpose,
    /// Where the log has it.
    known: Mutex<SocketAddr>,
    slot: Mutex<Slot>,
}

impl Target {
    pub(super) fn new(
        dialler: &Arc<Dialler>,
        id: ServerId,
        known: SocketAddr,
        purpose: Purpose,
    ) -> Arc<Self> {
        Arc::new(Self {
            dialler: Arc::clone(dialler),
            id,
            purpose,
            known: Mutex::new(known),
            slot: Mutex::new(Slot::Idle),
        })
    }

    /// Who asks.
    pub(super) fn own_id(&self) -> ServerId {
        self.dialler.id
    }

    /// The log has it there now.
    pub(super) fn set_known(&self, address: SocketAddr) {
        *lock(&self.known) = address;
    }

    /// The connection; it is opened where there is none.
    ///
    /// # Errors
    /// [`DialError`].
    pub(super) async fn link(self: &Arc<Self>) -> Dialled {
        let mut dialling = {
            let mut slot = lock(&self.slot);
            match &*slot {
                Slot::Open(link) if link.is_open() => return Ok(Arc::clone(link)),
                Slot::Dialling(dialling) => dialling.clone(),
                Slot::Idle | Slot::Open(_) => {
                    let (done, dialling) = watch::channel(None);
                    *slot = Slot::Dialling(dialling.clone());
                    let target = Arc::clone(self);
                    self.dialler
                        .tasks
                        .spawn(async move { target.dial(&done).await });
                    dialling
                }
            }
        };
        let stopped = || DialError("this server stops".to_owned());
        let dialled = dialling.wait_for(Option::is_some).await;
        let dialled = dialled.map_err(|_| stopped())?.clone();
        dialled.ok_or_else(stopped)?
    }

    /// Ends the connection, if there is one, with all that is under way on it.
    pub(super) fn hang_up(&self) {
        let mut slot = lock(&self.slot);
        if let Slot::Open(_) = *slot {
            *slot = Slot::Idle;
        }
    }

    async fn dial(&self, done: &watch::Sender<Option<Dialled>>) {
        let dialler = &self.dialler;
        let known = *lock(&self.known);
        let address = dialler.peers.address(self.id).unwrap_or(known);
        let met = dialler.meet(address, Some(self.id), self.purpose).await;
        let made = met.map(|met| {
            let (counts, tasks) = (&dialler.counts, &dialler.tasks);
            let link = Link::start(met.reading, met.writing, self.purpose, counts, tasks);
            Arc::new(link)
        });
        *lock(&self.slot) = match &made {
            Ok(link) => Slot::Open(Arc::clone(link)),
            Err(_) => Slot::Idle,
        };
        done.send_replace(Some(made));
    }
}

/// A panic elsewhere does not make what is guarded useless.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
