//! Who the servers are: the first ones, and each change of them; who leads on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::alias::LogIdOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant as _};
use tokio::time::timeout;

use crate::raft::types::{Peer, SERVERS_MAX, ServerId, Types};
use crate::raft::{Change, ChangeError};
use crate::types::Index;

use super::{Core, Node};

/// Longest wait for a change to be decided.
const CHANGE: Duration = Duration::from_secs(10);
/// Longest wait for another server to lead.
const STEP_DOWN: Duration = Duration::from_secs(5);

impl Node {
    /// See [`super::super::Raft::bootstrap`]. Works on the thread of the library.
    pub(in crate::raft) async fn bootstrap(
        self: &Arc<Self>,
        servers: BTreeMap<ServerId, Peer>,
    ) -> Result<(), ChangeError> {
        let node = Arc::clone(self);
        self.change_on_thread(async move { node.found(servers).await })
            .await
    }

    async fn found(&self, servers: BTreeMap<ServerId, Peer>) -> Result<(), ChangeError> {
        let held = self.changing.try_lock();
        let _held = held.map_err(|_| ChangeError::UnderWay)?;
        let library = &self.core.library;
        if library.is_initialized().await.map_err(failed)? {
            let what = "this server has a log already: it is a part of a cluster";
            return Err(ChangeError::Failed(what.to_owned()));
        }
        if !servers.contains_key(&self.core.id) {
            let what = "this server is not among those that are to found the cluster";
            return Err(ChangeError::Failed(what.to_owned()));
        }
        if servers.len() > SERVERS_MAX {
            return Err(too_many());
        }
        let alone = servers.len() == 1;
        if self.log.cluster().is_none() {
            self.set_cluster(rand::random()).await.map_err(failed)?;
        }
        self.core.begin();
        library.initialize(servers).await.map_err(failed)?;
        if alone {
            let mut status = self.core.status.subscribe();
            let leads = status.wait_for(|status| status.leads());
            let leads = timeout(CHANGE, leads).await;
            leads
                .map_err(|_| ChangeError::Failed("this server does not lead yet".to_owned()))?
                .map_err(failed)?;
        }
        Ok(())
    }

    /// See [`super::super::Raft::change`]. Goes on where the caller gives up.
    pub(in crate::raft) async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let held = Arc::clone(&self.changing).try_lock_owned();
        let held = held.map_err(|_| ChangeError::UnderWay)?;
        let core = self.core.clone();
        self.change_on_thread(async move {
            let _held = held;
            core.change(change).await
        })
        .await
    }

    /// See [`super::super::Raft::step_down`].
    pub(in crate::raft) async fn step_down(&self) -> bool {
        let core = self.core.clone();
        let moved = self.change_on_thread(async move { Ok(core.step_down().await) });
        // Whoever has ended does not lead.
        moved.await.unwrap_or(true)
    }

    /// Where each other server is that has answered the leader just now.
    pub(in crate::raft) fn progress(&self) -> BTreeMap<ServerId, Index> {
        self.core.progress()
    }

    /// Runs `work` on the thread of the library: it goes on though the caller gives up, and its
    /// timers are those of the library.
    async fn change_on_thread<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let done = self.on_thread(work).await;
        done.unwrap_or_else(|| Err(ChangeError::Failed("this server stops".to_owned())))
    }

    /// Does `work` by the clock of the library's thread, whoever waits for it; `None` if that has
    /// ended.
    pub(in crate::raft) async fn on_thread<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.runtime.spawn(work).await.ok()
    }
}

impl Core {
    /// See [`super::recall::Recall::begin`].
    pub(super) fn begin(&self) {
        self.recall.begin();
        self.library.runtime_config().elect(true);
    }

    fn progress(&self) -> BTreeMap<ServerId, Index> {
        let metrics = self.library.metrics();
        let metrics = metrics.borrow_watched();
        let others = metrics.replication.iter().flatten();
        let others = others.filter(|(id, _)| **id != self.id);
        // Who was never reached has no place, not the first one: it is close to nothing. The place
        // of one that is silent by now is what it was.
        let answers = metrics.heartbeat.as_ref();
        let reached = |(id, matched): (&ServerId, &Option<LogIdOf<Types>>)| {
            let answered = answers?.get(id)?.as_ref()?;
            let place = Index(matched.as_ref()?.index);
            (answered.elapsed() < self.timers.silence).then_some((*id, place))
        };
        others.filter_map(reached).collect()
    }

    /// Whether the server is in the cluster, or one more may be.
    fn has_room_for(&self, id: ServerId) -> bool {
        let metrics = self.library.metrics();
        let metrics = metrics.borrow_watched();
        let servers = metrics.membership_config.membership();
        servers.get_node(&id).is_some() || servers.nodes().count() < SERVERS_MAX
    }

    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let is_voter = |id| {
            let metrics = self.library.metrics();
            let metrics = metrics.borrow_watched();
            metrics
                .membership_config
                .voter_ids()
                .any(|voter| voter == id)
        };
        let (members, retain) = match change {
            Change::AddLearner(id, _) if !self.has_room_for(id) => return Err(too_many()),
            Change::AddLearner(id, peer) => {
                (ChangeMembers::AddNodes(BTreeMap::from([(id, peer)])), true)
            }
            Change::Promote(id) => (ChangeMembers::AddVoterIds(BTreeSet::from([id])), true),
            Change::Remove(id) if is_voter(id) => {
                (ChangeMembers::RemoveVoters(BTreeSet::from([id])), false)
            }
            Change::Remove(id) => (ChangeMembers::RemoveNodes(BTreeSet::from([id])), true),
            Change::Update(id, peer) => {
                (ChangeMembers::SetNodes(BTreeMap::from([(id, peer)])), true)
            }
            // Nothing on top of the change that was begun, so that only its end is left.
            Change::Settle => (ChangeMembers::AddVoterIds(BTreeSet::new()), true),
        };
        let changed = timeout(CHANGE, self.library.change_membership(members, retain)).await;
        match changed {
            Err(_) => Err(ChangeError::Failed(format!(
                "not decided within {CHANGE:?}"
            ))),
            Ok(changed) => changed.map(drop).map_err(refused),
        }
    }

    pub(super) async fn step_down(&self) -> bool {
        if !self.status.borrow().leads() {
            return true;
        }
        let progress = self.progress();
        let status = Arc::clone(&self.status.borrow());
        let voters = status.servers.iter().filter(|server| server.voter);
        // One that does not answer could not take over.
        let others = voters.filter(|server| progress.contains_key(&server.id));
        let heir = others.max_by_key(|server| progress.get(&server.id));
        let Some(heir) = heir else {
            return false;
        };
        let asked = self.library.trigger().transfer_leader(heir.id).await;
        if asked.is_err() {
            return true;
        }
        let mut status = self.status.subscribe();
        let moved = status.wait_for(|status| status.leader.is_some_and(|leader| leader != self.id));
        matches!(timeout(STEP_DOWN, moved).await, Ok(Ok(_)))
    }
}

fn too_many() -> ChangeError {
    failed(format!("a cluster has at most {SERVERS_MAX} servers"))
}

fn failed(error: impl std::fmt::Display) -> ChangeError {
    ChangeError::Failed(error.to_string())
}

fn refused(error: RaftError<Types, ClientWriteError<Types>>) -> ChangeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ChangeError::NotLeading,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_),
        )) => ChangeError::UnderWay,
        error => failed(error),
    }
}
