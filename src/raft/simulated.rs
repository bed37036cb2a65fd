//! A network in memory between servers in one process, for tests: it delays, loses and cuts, from
//! one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use crate::catalog::Outcome;
use crate::rpc::Pending;
use crate::types::{Consistency, Index};

use super::node::Node;
use super::peer::{Answers, AskError, Asks, Failed};
use super::snapshots::Image;
use super::types::{Peer, ServerId, Types};
use super::{FreshError, ProposeError};

/// How long somebody waits for an answer that is lost.
const LOST: Duration = Duration::from_millis(150);

/// The network of one test.
#[derive(Clone)]
pub(super) struct Simulated(Arc<Mutex<State>>);

struct State {
    random: StdRng,
    /// Longest delay of one message.
    delay: Duration,
    /// Messages of a thousand that are lost.
    lost: u32,
    /// From whom to whom nothing gets through.
    cut: BTreeSet<(ServerId, ServerId)>,
    servers: BTreeMap<ServerId, Weak<Node>>,
    /// Snapshots that arrived whole.
    snapshots: usize,
}

/// What happens to one message.
struct Passage {
    delay: Duration,
    arrives: bool,
}

impl Simulated {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: StdRng::seed_from_u64(seed),
            delay: Duration::from_millis(2),
            lost: 0,
            cut: BTreeSet::new(),
            servers: BTreeMap::new(),
            snapshots: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What a server needs to speak to the others.
    pub(super) fn of(
        &self,
        id: ServerId,
    ) -> (Connection, Arc<dyn Asks>, watch::Sender<Option<u128>>) {
        let connection = Connection {
            network: self.clone(),
            from: id,
            to: id,
        };
        let cluster = watch::channel(None).0;
        (connection.clone(), Arc::new(connection), cluster)
    }

    /// The server can be reached from now on.
    pub(super) fn connect(&self, node: &Arc<Node>) {
        let id = node.core.id;
        self.state().servers.insert(id, Arc::downgrade(node));
    }

    /// Loses so many messages of a thousand, and delays the others by up to `delay`.
    pub(super) fn disturb(&self, lost: u32, delay: Duration) {
        let mut state = self.state();
        (state.lost, state.delay) = (lost, delay);
    }

    /// Nothing gets from one to the other.
    pub(super) fn cut(&self, from: ServerId, to: ServerId) {
        self.state().cut.insert((from, to));
    }

    /// Nothing gets to the server or from it.
    pub(super) fn isolate(&self, id: ServerId) {
        let mut state = self.state();
        let others: Vec<_> = state.servers.keys().copied().collect();
        for other in others {
            state.cut.extend([(id, other), (other, id)]);
        }
    }

    /// Everything gets through.
    pub(super) fn heal(&self) {
        self.state().cut.clear();
    }

    pub(super) fn snapshots(&self) -> usize {
        self.state().snapshots
    }

    fn pass(&self, from: ServerId, to: ServerId) -> Passage {
        let mut state = self.state();
        let longest = u64::try_from(state.delay.as_micros()).unwrap();
        let delay = Duration::from_micros(state.random.random_range(0..=longest));
        let lost = state.random.random_range(0..1_000) < state.lost;
        Passage {
            delay,
            arrives: !lost && !state.cut.contains(&(from, to)),
        }
    }
}

/// Why there is no answer.
enum Lost {
    /// The message did not arrive.
    There,
    /// The answer did not arrive.
    Back,
    /// The other server failed.
    Failed(String),
}

/// From one server to another.
#[derive(Clone)]
pub(super) struct Connection {
    network: Simulated,
    from: ServerId,
    to: ServerId,
}

impl Connection {
    fn towards(&self, to: ServerId) -> Self {
        Self { to, ..self.clone() }
    }

    async fn call<T>(&self, ask: impl AsyncFnOnce(Arc<Node>) -> T) -> Result<T, Lost> {
        let passage = self.network.pass(self.from, self.to);
        tokio::time::sleep(passage.delay).await;
        let node = self.network.state().servers.get(&self.to).cloned();
        let node = node.and_then(|node| node.upgrade());
        let Some(node) = node.filter(|_| passage.arrives) else {
            tokio::time::sleep(LOST).await;
            return Err(Lost::There);
        };
        let answer = ask(node).await;
        let passage = self.network.pass(self.to, self.from);
        tokio::time::sleep(passage.delay).await;
        if !passage.arrives {
            tokio::time::sleep(LOST).await;
            return Err(Lost::Back);
        }
        Ok(answer)
    }

    async fn answered<T>(
        &self,
        ask: impl AsyncFnOnce(Arc<Node>) -> Result<T, Failed>,
    ) -> Result<T, RPCError<Types>> {
        let answer = self.call(ask).await;
        let answer = answer.and_then(|answer| answer.map_err(|failed| Lost::Failed(failed.0)));
        answer.map_err(|lost| match lost {
            Lost::There | Lost::Back => {
                RPCError::Network(NetworkError::from_string("a message was lost"))
            }
            Lost::Failed(text) => RPCError::Unreachable(Unreachable::from_string(text)),
        })
    }

    async fn asked<T>(&self, ask: impl AsyncFnOnce(Arc<Node>) -> T) -> Result<T, AskError> {
        self.call(ask).await.map_err(|lost| match lost {
            Lost::There => AskError::NotSent("no connection".to_owned()),
            Lost::Back => AskError::Unknown("no answer".to_owned()),
            Lost::Failed(text) => AskError::Unknown(text),
        })
    }
}

impl RaftNetworkFactory<Types> for Connection {
    type Network = Self;

    async fn new_client(&mut self, target: ServerId, _: &Peer) -> Self {
        self.towards(target)
    }
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.answered(async |node| node.append(request).await).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.answered(async |node| node.vote(request, false).await)
            .await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.answered(async |node| node.vote(request, true).await)
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, Image>,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let network = self.network.clone();
        let sent = self.answered(async move |node| {
            let copied = copy(&node, vote.leader_id.node_id, &snapshot.snapshot);
            let image = copied.map_err(|error| Failed(error.to_string()))?;
            let answer = node.install(vote, snapshot.meta, image).await?;
            network.state().snapshots += 1;
            Ok(answer)
        });
        sent.await.map_err(StreamingError::from)
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.answered(async |node| node.transfer(request).await)
            .await
    }
}

fn copy(node: &Node, from: ServerId, image: &Image) -> io::Result<Image> {
    let mut incoming = node.incoming(from).map_err(io::Error::other)?;
    io::copy(&mut image.open()?, &mut incoming)?;
    incoming.flush()?;
    incoming.finish()
}

impl Asks for Connection {
    fn propose(
        &self,
        leader: ServerId,
        _: SocketAddr,
        commands: Vec<Bytes>,
    ) -> Pending<'_, Result<Vec<Result<Outcome, ProposeError>>, AskError>> {
        Box::pin(async move {
            let connection = self.towards(leader);
            connection
                .asked(async |node| node.propose(commands).await)
                .await
        })
    }

    fn read_index(
        &self,
        leader: ServerId,
        _: SocketAddr,
        consistency: Consistency,
    ) -> Pending<'_, Result<Result<Index, FreshError>, AskError>> {
        Box::pin(async move {
            let connection = self.towards(leader);
            connection
                .asked(async |node| Answers::read_index(&*node, consistency).await)
                .await
        })
    }

    fn is_in_cluster(&self, _: SocketAddr) -> Pending<'_, io::Result<bool>> {
        Box::pin(async { Err(io::Error::other("there are no addresses here")) })
    }
}
