//! The consensus library's own tests of a log, over both backends, with the least state machine
//! that they need.

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt};
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError};

use super::{Directory, LogStore, Peer, ServerId, Tasks, Types};
use crate::raft::types::Reply;

impl From<u64> for ServerId {
    fn from(id: u64) -> Self {
        Self(id.into())
    }
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            name: String::new(),
            address: ([127, 0, 0, 1], 8300).into(),
        }
    }
}

/// Knows how far it has come, and who the servers are.
#[derive(Clone, Default)]
struct Position {
    applied: Option<LogIdOf<Types>>,
    servers: StoredMembershipOf<Types>,
    snapshot: Arc<Mutex<Option<SnapshotMetaOf<Types>>>>,
}

impl RaftSnapshotBuilder<Types> for Position {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, ()>> {
        let meta = SnapshotMetaOf::<Types> {
            last_log_id: self.applied,
            last_membership: self.servers.clone(),
        };
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(SnapshotOf::<Types, ()> { meta, snapshot: () })
    }
}

impl RaftStateMachine<Types> for Position {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        Ok((self.applied, self.servers.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(servers) = entry.payload {
                self.servers = StoredMembershipOf::<Types>::new(Some(entry.log_id), servers);
            }
            if let Some(responder) = responder {
                responder.send(Reply(None));
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, (): ()) -> io::Result<()> {
        self.applied = meta.last_log_id;
        self.servers = meta.last_membership.clone();
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, ()>>> {
        let meta = self.snapshot.lock().unwrap().clone();
        Ok(meta.map(|meta| SnapshotOf::<Types, ()> { meta, snapshot: () }))
    }
}

struct Builder {
    on_disk: bool,
    recent_max: usize,
}

impl StoreBuilder<Types, LogStore, Position, (Directory, Tasks)> for Builder {
    async fn build(&self) -> Result<((Directory, Tasks), LogStore, Position), StorageError<Types>> {
        let (directory, tasks) = (Directory::new(), Tasks::new());
        let path = self.on_disk.then_some(directory.0.as_path());
        let log = LogStore::open_with(path, self.recent_max, &tasks).unwrap();
        Ok(((directory, tasks), log, Position::default()))
    }
}

async fn conforms(on_disk: bool, recent_max: usize) {
    let builder = Builder {
        on_disk,
        recent_max,
    };
    Suite::test_all(builder).await.unwrap();
}

#[tokio::test]
async fn a_log_in_memory_conforms() {
    conforms(false, usize::MAX).await;
}

#[tokio::test]
async fn a_log_on_disk_conforms() {
    conforms(true, usize::MAX).await;
}

#[tokio::test]
async fn a_log_that_keeps_nothing_in_memory_conforms() {
    conforms(true, 0).await;
}
