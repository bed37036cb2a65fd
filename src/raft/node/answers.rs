//! What other servers get to hear from this one.

use bytes::Bytes;
use openraft::alias::{SnapshotMetaOf, SnapshotOf, VoteOf};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use std::io;

use crate::catalog::Outcome;
use crate::clock;
use crate::raft::peer::{Answers, Failed};
use crate::raft::proposer;
use crate::raft::snapshots::{Image, Incoming, Kept};
use crate::raft::types::Types;
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
            let (vote, decided) = (request.vote, request.leader_commit);
            let answer = self.core.library.append_entries(request).await;
            let answer = answer.map_err(failed)?;
            // Whoever is outdated is no leader.
            if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                self.heard.stamp();
                let metrics = self.core.library.metrics();
                let here = metrics.borrow_watched().local_committed;
                self.recall.hear(&vote, decided, here);
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
            if !self.recall.may_vote(&request) {
                return Err(Failed(
                    "this server has yet to get what is decided".to_owned(),
                ));
            }
            let library = &self.core.library;
            if before {
                return library.pre_vote(request).await.map_err(failed);
            }
            let answer = library.vote(request).await.map_err(failed)?;
            if answer.vote_granted {
                self.recall.begin();
            }
            Ok(answer)
        })
    }

    fn incoming(&self) -> Result<Incoming, Failed> {
        self.kept.incoming().map_err(failed)
    }

    fn install(
        &self,
        vote: VoteOf<Types>,
        meta: SnapshotMetaOf<Types>,
        image: Image,
    ) -> Pending<'_, Result<SnapshotResponse<Types>, Failed>> {
        Box::pin(async move {
            self.check(&vote, &meta)?;
            self.heard.stamp();
            let snapshot = SnapshotOf::<Types, Image> {
                meta,
                snapshot: image.clone(),
            };
            let installed = self
                .core
                .library
                .install_full_snapshot(vote, snapshot)
                .await;
            Kept::discard(&image);
            installed.map_err(failed)
        })
    }

    fn transfer(
        &self,
        request: TransferLeaderRequest<Types>,
    ) -> Pending<'_, Result<TransferLeaderResponse<Types>, Failed>> {
        Box::pin(async move {
            let answer = self.core.library.handle_transfer_leader(request).await;
            answer.map_err(failed)
        })
    }

    fn propose(&self, commands: Vec<Bytes>) -> Pending<'_, Vec<Result<Outcome, ProposeError>>> {
        Box::pin(async move {
            let limit = self.core.deadline;
            let error = |fate| match fate {
                Fate::NotLeading | Fate::Stopped => ProposeError::NoLeader,
                Fate::Unknown => ProposeError::Deadline { limit },
            };
            let size = commands.iter().try_for_each(proposer::check_size);
            if let Err(too_large) = size {
                return vec![Err(too_large); commands.len()];
            }
            let results = self.core.submit(commands).await;
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
            if self.log.cluster().is_some() {
                return Ok(());
            }
            self.set_cluster(cluster).await.map_err(failed)
        })
    }

    fn is_initialized(&self) -> bool {
        self.log.is_initialized()
    }
}

impl Node {
    /// Keeps in which cluster this server is, and says so to others from then on.
    pub(super) async fn set_cluster(&self, cluster: u128) -> io::Result<()> {
        self.log.set_cluster(cluster).await?;
        self.cluster.send_replace(Some(cluster));
        Ok(())
    }

    /// The library takes a snapshot that no leader can have for a reason to stop for good.
    fn check(&self, vote: &VoteOf<Types>, meta: &SnapshotMetaOf<Types>) -> Result<(), Failed> {
        let Some(last) = meta.last_log_id else {
            return Err(Failed("the snapshot is of nothing".to_owned()));
        };
        if last.leader_id > vote.leader_id {
            return Err(Failed("the snapshot is newer than its sender".to_owned()));
        }
        let metrics = self.core.library.metrics();
        let decided = metrics.borrow_watched().local_committed;
        if decided.is_some_and(|decided| last > decided && last.index <= decided.index) {
            return Err(Failed(
                "the snapshot contradicts what is decided".to_owned(),
            ));
        }
        Ok(())
    }
}
