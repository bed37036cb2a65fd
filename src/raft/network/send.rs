//! Sends a snapshot: read part by part, a few of them on their way at a time.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::StreamingError;
use openraft::raft::SnapshotResponse;
use tokio::time::timeout;

use super::client::{broken, network, unexpected, unreachable};
use super::link::{Answer, Link};
use super::message::{Octets, Request, Response};
use super::target::Target;
use crate::raft::snapshots::Image;
use crate::raft::types::Types;

/// Octets of one part.
pub(super) const PART_OCTETS: usize = 256 << 10;
/// Parts on their way.
pub(super) const PARTS_IN_FLIGHT_MAX: usize = 8;
/// Longest wait until a part is kept.
const PART_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait until the whole is installed.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(300);

type Failure = StreamingError<Types>;

/// Sends it from its start, and waits until it is installed.
///
/// # Errors
/// [`StreamingError`]; the other side throws away what it has.
pub(super) async fn send(
    target: &Arc<Target>,
    vote: VoteOf<Types>,
    snapshot: SnapshotOf<Types, Image>,
) -> Result<SnapshotResponse<Types>, Failure> {
    let link = target.link().await.map_err(unreachable)?;
    send_over(&link, vote, snapshot).await
}

/// The same over a connection that is there.
pub(super) async fn send_over(
    link: &Link,
    vote: VoteOf<Types>,
    snapshot: SnapshotOf<Types, Image>,
) -> Result<SnapshotResponse<Types>, Failure> {
    let begun = link.send(&Request::SnapshotBegin).await.map_err(broken)?;
    let mut in_flight = VecDeque::from([begun.1]);
    let mut source = Source::open(snapshot.snapshot).await.map_err(unread)?;
    loop {
        let part;
        (source, part) = source.read().await.map_err(unread)?;
        if part.is_empty() {
            break;
        }
        let sent = link.send(&Request::SnapshotPart(Octets(part))).await;
        in_flight.push_back(sent.map_err(broken)?.1);
        if in_flight.len() >= PARTS_IN_FLIGHT_MAX
            && let Some(oldest) = in_flight.pop_front()
        {
            kept(oldest).await?;
        }
    }
    for part in in_flight {
        kept(part).await?;
    }
    let end = Request::SnapshotEnd {
        vote,
        meta: snapshot.meta,
        octets: source.octets,
        checksum: source.checksum,
    };
    let installed = timeout(INSTALL_TIMEOUT, link.call(&end)).await;
    let installed = installed.map_err(|_| network("the snapshot is not installed in time"))?;
    match installed.map_err(broken)? {
        Response::SnapshotEnd(response) => Ok(response),
        other => Err(unexpected(&other).into()),
    }
}

async fn kept(mut part: Answer) -> Result<(), Failure> {
    let answer = timeout(PART_TIMEOUT, part.wait()).await;
    let answer = answer.map_err(|_| network("a part of the snapshot is not kept in time"))?;
    match answer.map_err(broken)? {
        Response::SnapshotPart => Ok(()),
        other => Err(unexpected(&other).into()),
    }
}

/// A snapshot that is gone, since a newer one has taken its place, is asked for again.
#[expect(clippy::needless_pass_by_value, reason = "it is mapped over errors")]
fn unread(error: io::Error) -> Failure {
    unreachable(format_args!("cannot read the snapshot: {error}")).into()
}

/// A snapshot that is read on threads that may wait for the disk.
struct Source {
    reader: Box<dyn Read + Send>,
    octets: u64,
    checksum: u32,
}

impl Source {
    async fn open(image: Image) -> io::Result<Self> {
        let open = move || image.open();
        let reader = tokio::task::spawn_blocking(open).await??;
        Ok(Self {
            reader,
            octets: 0,
            checksum: 0,
        })
    }

    /// The next part; an empty one at the end.
    async fn read(mut self) -> io::Result<(Self, Bytes)> {
        let read = move || {
            let mut part = Vec::with_capacity(PART_OCTETS);
            let limit = PART_OCTETS as u64;
            self.reader.by_ref().take(limit).read_to_end(&mut part)?;
            self.octets += part.len() as u64;
            self.checksum = crc32c::crc32c_append(self.checksum, &part);
            Ok((self, part.into()))
        };
        tokio::task::spawn_blocking(read).await?
    }
}
