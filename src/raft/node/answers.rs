//! What other servers get to hear from this one.

use bytes::Bytes;
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, VoteOf};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use std::cmp::Ordering;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::catalog::Outcome;
use crate::clock;
use crate::raft::peer::{Answers, Failed, Newest};
use crate::raft::proposer;
use crate::raft::snapshots::{Image, Incoming, Kept};
use crate::raft::types::{ServerId, Types};
use crate::raft::{FreshError, ProposeError};
use crate::rpc::Pending;
use crate::types::{Consistency, Index};

use super::{Fate, Node};

fn failed(error: impl std::fmt::Display) -> Failed {
    Failed(error.to_string())
}

impl Answers for Node {
    fn append(
        &self,
        request: AppendEntriesRequest<Types>,
    ) -> Pending<'_, Result<AppendEntriesResponse<Types>, Failed>> {
        Box::pin(async move {
            self.check_room()?;
            self.check_entries(&request)?;
            let (vote, decided) = (request.vote, request.leader_commit);
            let answer = self.core.library.append_entries(request).await;
            let answer = answer.map_err(failed)?;
            // Whoever is outdated is no leader.
            if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                self.heard.stamp();
                let metrics = self.core.library.metrics();
                let here = metrics.borrow_watched().local_committed;
                if self.core.recall.hear(&vote, decided, here) {
                    self.core.library.runtime_config().elect(true);
                }
            }
            Ok(answer)
        })
    }

    fn vote(
        &self,
        request: VoteRequest<Types>,
        before: bool,
    ) -> Pending<'_, Result<VoteResponse<Types>, Failed>> {
        Box::pin(async move {
            if self.votes_from.is_some_and(|from| clock::now() < from) {
                return Err(Failed("this server has started just now".to_owned()));
            }
            self.check_room()?;
            if !self.core.recall.may_vote(&request) {
                return Err(Failed(
                    "this server has yet to get what is decided".to_owned(),
                ));
            }
            let library = &self.core.library;
            // It would get the votes of those who hear a leader.
            if request.leadership_transfer && !self.is_voter(request.vote.leader_id.node_id) {
                return Err(Failed(
                    "no voter, to which nobody hands the lead".to_owned(),
                ));
            }
            if before {
                return library.pre_vote(request).await.map_err(failed);
            }
            let answer = library.vote(request).await.map_err(failed)?;
            if answer.vote_granted {
                self.core.begin();
            }
            Ok(answer)
        })
    }

    fn incoming(&self, from: ServerId) -> Result<Incoming, Failed> {
        let leads = self.log.leader() == Some(from);
        self.kept.incoming(leads).map_err(failed)
    }

    fn install(
        &self,
        vote: VoteOf<Types>,
        meta: SnapshotMetaOf<Types>,
        image: Image,
    ) -> Pending<'_, Result<SnapshotResponse<Types>, Failed>> {
        Box::pin(async move {
            let checked = self.check_snapshot(&vote, &meta, &image).await;
            if let Err(failed) = checked {
                Kept::discard(&image);
                return Err(failed);
            }
            let snapshot = SnapshotOf::<Types, Image> {
                meta,
                snapshot: image.clone(),
            };
            let installed = self
                .core
                .library
                .install_full_snapshot(vote, snapshot)
                .await;
            self.kept.forget_checked();
            Kept::discard(&image);
            let installed = installed.map_err(failed)?;
            // Whoever is outdated is no leader.
            if installed.vote == vote {
                self.heard.stamp();
            }
            Ok(installed)
        })
    }

    fn transfer(
        &self,
        request: TransferLeaderRequest<Types>,
    ) -> Pending<'_, Result<TransferLeaderResponse<Types>, Failed>> {
        Box::pin(async move {
            if !self.core.recall.is_whole() {
                return Err(Failed(
                    "this server has yet to get what is decided".to_owned(),
                ));
            }
            let answer = self.core.library.handle_transfer_leader(request).await;
            answer.map_err(failed)
        })
    }

    fn propose(&self, commands: Vec<Bytes>) -> Pending<'_, Vec<Result<Outcome, ProposeError>>> {
        Box::pin(async move {
            let limit = self.core.deadline;
            let error = |fate| match fate {
                // Whoever asks waits for another leader.
                Fate::NotLeading | Fate::Stopped | Fate::NoRoom => ProposeError::NoLeader,
                Fate::Unknown => ProposeError::Deadline { limit },
            };
            let size = commands.iter().try_for_each(proposer::check_size);
            if let Err(too_large) = size {
                return vec![Err(too_large); commands.len()];
            }
            let results = self.porter.bring(commands).await;
            results
                .into_iter()
                .map(|result| result.map_err(error))
                .collect()
        })
    }

    fn read_index(&self, consistency: Consistency) -> Pending<'_, Result<Index, FreshError>> {
        Box::pin(self.core.read_index(consistency))
    }

    fn cluster(&self) -> Option<u128> {
        self.log.cluster()
    }

    fn enter(&self, cluster: u128) -> Pending<'_, Result<(), Failed>> {
        Box::pin(async move {
            match self.log.cluster() {
                Some(ours) if ours == cluster => Ok(()),
                Some(_) => Err(Failed("this server is in another cluster".to_owned())),
                None => self.set_cluster(cluster).await.map_err(failed),
            }
        })
    }

    fn is_initialized(&self) -> bool {
        self.log.is_initialized()
    }

    fn newest(&self) -> Newest {
        let (term, index) = self.log.newest();
        Newest { term, index }
    }

    fn is_member(&self, address: IpAddr) -> bool {
        let is_there = |ip: IpAddr| ip.to_canonical() == address.to_canonical();
        let status = self.core.status.borrow();
        let mut others = status.servers.iter();
        others.any(|server| {
            let known = self.peers.address(server.id);
            let is_there = |at: SocketAddr| is_there(at.ip());
            server.id != self.core.id
                && (is_there(server.peer.address) || known.is_some_and(is_there))
        })
    }
}

impl Node {
    fn is_voter(&self, id: ServerId) -> bool {
        let metrics = self.core.library.metrics();
        let metrics = metrics.borrow_watched();
        let mut voters = metrics.membership_config.voter_ids();
        voters.any(|voter| voter == id)
    }

    /// Keeps in which cluster this server is, and says so to others from then on.
    pub(super) async fn set_cluster(&self, cluster: u128) -> io::Result<()> {
        self.log.set_cluster(cluster).await?;
        self.cluster.send_replace(Some(cluster));
        Ok(())
    }

    /// While the disk is full nothing new is taken in. The library would keep each message, also one
    /// without entries, until what came before it lasts; and what it applies meanwhile would be on
    /// no disk here.
    fn check_room(&self) -> Result<(), Failed> {
        if self.core.is_full() {
            return Err(Failed("the disk of this server is full".to_owned()));
        }
        Ok(())
    }

    /// The library takes entries that no leader can have for a reason to cut off what is decided.
    fn check_entries(&self, request: &AppendEntriesRequest<Types>) -> Result<(), Failed> {
        let metrics = self.core.library.metrics();
        let metrics = metrics.borrow_watched();
        // Whoever is outdated is told so, and not what is wrong with the entries.
        let Some(decided) = metrics
            .local_committed
            .filter(|_| request.vote >= metrics.vote)
        else {
            return Ok(());
        };
        let first = request.prev_log_id.iter();
        let mut ids = first.chain(request.entries.iter().map(|entry| &entry.log_id));
        if ids.all(|id| agrees(id, &decided)) {
            return Ok(());
        }
        let text = "the entries contradict what is decided";
        Err(Failed(text.to_owned()))
    }

    /// The library takes a snapshot that no leader can have for a reason to stop for good, and one
    /// that cannot be read when it is installed as well.
    async fn check_snapshot(
        &self,
        vote: &VoteOf<Types>,
        meta: &SnapshotMetaOf<Types>,
        image: &Image,
    ) -> Result<(), Failed> {
        let Some(last) = meta.last_log_id else {
            return Err(Failed("the snapshot is of nothing".to_owned()));
        };
        if last.leader_id > vote.leader_id {
            return Err(Failed("the snapshot is newer than its sender".to_owned()));
        }
        let decided = self.core.library.metrics().borrow_watched().local_committed;
        if decided.is_some_and(|decided| !agrees(&last, &decided)) {
            let text = "the snapshot contradicts what is decided";
            return Err(Failed(text.to_owned()));
        }
        let (kept, meta, image) = (self.kept.clone(), meta.clone(), image.clone());
        let read = tokio::task::spawn_blocking(move || kept.check(&meta, &image));
        let read = read.await.map_err(failed)?;
        read.map_err(failed)
    }
}

/// Whether both positions may be in one log: leaders do not go back in it.
fn agrees(id: &LogIdOf<Types>, decided: &LogIdOf<Types>) -> bool {
    match id.index.cmp(&decided.index) {
        Ordering::Less => id.leader_id <= decided.leader_id,
        Ordering::Equal => id.leader_id == decided.leader_id,
        Ordering::Greater => id.leader_id >= decided.leader_id,
    }
}
