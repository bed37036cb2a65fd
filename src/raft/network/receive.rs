//! Receives snapshots, one after the other, in the order of the messages.
//!
//! **Invariant**: what is not whole leaves nothing behind, and nothing is installed whose octets are
//! not those that were sent.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use openraft::alias::{SnapshotMetaOf, VoteOf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::message::{Numbered, Octets, Request, Response};
use crate::raft::peer::Answers;
use crate::raft::snapshots::{Image, Incoming};
use crate::raft::types::{ServerId, Types};

/// Longest wait for the next part of a snapshot that has begun: it keeps others from being received.
const PART_TIMEOUT: Duration = Duration::from_secs(30);

/// Receives what one connection sends.
pub(super) struct Receiver {
    pub(super) answers: Arc<dyn Answers>,
    pub(super) from: ServerId,
    /// The cluster that this server enters with its first snapshot.
    pub(super) joining: Option<u128>,
}

impl Receiver {
    /// Receives until nothing is to come, or nobody wants to know.
    pub(super) async fn receive(
        self,
        mut requests: mpsc::Receiver<Numbered<Request>>,
        responses: mpsc::Sender<Numbered<Response>>,
    ) {
        let mut partial = None;
        while let Some(Numbered { number, body }) = self.next(&mut requests, &mut partial).await {
            let received = match body {
                Request::SnapshotBegin => self.begin(&mut partial),
                Request::SnapshotPart(octets) => add(&mut partial, octets).await,
                Request::SnapshotEnd {
                    vote,
                    meta,
                    octets,
                    checksum,
                } => {
                    let whole = (octets, checksum);
                    self.end(partial.take(), vote, meta, whole).await
                }
                _ => Err("no part of a snapshot".to_owned()),
            };
            let body = received.unwrap_or_else(|text| {
                if partial.take().is_some() {
                    tracing::warn!("the snapshot of the leader cannot be received: {text}");
                }
                Response::Failed(text)
            });
            if responses.send(Numbered { number, body }).await.is_err() {
                return;
            }
        }
    }

    /// What comes next; what has begun goes if that takes too long.
    async fn next(
        &self,
        requests: &mut mpsc::Receiver<Numbered<Request>>,
        partial: &mut Option<Partial>,
    ) -> Option<Numbered<Request>> {
        if partial.is_some() {
            if let Ok(next) = timeout(PART_TIMEOUT, requests.recv()).await {
                return next;
            }
            tracing::warn!("no more of the leader's snapshot came in {PART_TIMEOUT:?}");
            *partial = None;
        }
        requests.recv().await
    }

    fn begin(&self, partial: &mut Option<Partial>) -> Result<Response, String> {
        // One that was given up makes room first.
        *partial = None;
        let incoming = self.answers.incoming(self.from);
        *partial = Some(Partial {
            incoming: incoming.map_err(|failed| failed.to_string())?,
            octets: 0,
            checksum: 0,
        });
        Ok(Response::SnapshotPart)
    }

    async fn end(
        &self,
        partial: Option<Partial>,
        vote: VoteOf<Types>,
        meta: SnapshotMetaOf<Types>,
        whole: (u64, u32),
    ) -> Result<Response, String> {
        let partial = partial.ok_or("an end before the beginning")?;
        let have = (partial.octets, partial.checksum);
        if have != whole {
            return Err(format!(
                "{} octets with checksum {:08x} came of {} with {:08x}",
                have.0, have.1, whole.0, whole.1
            ));
        }
        let image: Image = on_disk(move || partial.incoming.finish()).await?;
        let installed = self.answers.install(vote, meta, image).await;
        let installed = installed.map_err(|failed| failed.to_string())?;
        if let Some(cluster) = self.joining.filter(|_| installed.vote == vote) {
            let entered = self.answers.enter(cluster).await;
            entered.map_err(|failed| failed.to_string())?;
        }
        Ok(Response::SnapshotEnd(installed))
    }
}

/// A snapshot of which more is to come.
struct Partial {
    incoming: Incoming,
    octets: u64,
    checksum: u32,
}

async fn add(partial: &mut Option<Partial>, octets: Octets) -> Result<Response, String> {
    let mut taken = partial.take().ok_or("a part before the beginning")?;
    let write = move || {
        let Octets(octets) = octets;
        taken.incoming.write_all(&octets)?;
        taken.octets += octets.len() as u64;
        taken.checksum = crc32c::crc32c_append(taken.checksum, &octets);
        io::Result::Ok(taken)
    };
    *partial = Some(on_disk(write).await?);
    Ok(Response::SnapshotPart)
}

/// Does what waits for the disk on a thread that may.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}
