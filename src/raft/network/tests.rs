//! Both sides over loopback sockets: the network as the consensus library uses it, and a node that
//! keeps what it was told.
//!
//! Long, since every purpose of a connection is tried on the same two nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use openraft::alias::{SnapshotMetaOf, VoteOf};
use openraft::network::{RPCOption, RaftNetworkV2 as _};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::testing::{blank_ent, log_id};
use openraft::{EntryPayload, Membership, RaftNetworkFactory as _, Snapshot};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::counts::Refusal;
use super::message::{First, Hello, Purpose, VERSION, Welcome};
use super::*;
use crate::catalog::{Command, Deregistration, Operation, Outcome, stored};
use crate::raft::peer::{AskError, Failed, Newest};
use crate::raft::snapshots::{Image, Incoming};
use crate::raft::types::Proposal;
use crate::raft::{FreshError, ProposeError};
use crate::rpc::Pending;
use crate::types::{Consistency, Index};

mod checked;
mod hostile;
mod secure;
mod silent;
mod streams;

const LEADER: ServerId = ServerId(1);
const FOLLOWER: ServerId = ServerId(2);
const CLUSTER: u128 = 77;

/// A node that keeps what it was told.
struct Node {
    cluster: Mutex<Option<u128>>,
    /// Index of the first entry of each request, in the order in which they were handed on.
    appended: Mutex<Vec<u64>>,
    /// Requests with entries are answered while this is open.
    open: watch::Sender<bool>,
    begun: watch::Sender<usize>,
    installed: Mutex<Option<Vec<u8>>>,
    newest: Mutex<Newest>,
    /// The term that an outdated leader is told.
    higher: Mutex<u64>,
    /// Whether whoever connects comes from where other servers are.
    is_member: Mutex<bool>,
}

impl Node {
    fn new(cluster: Option<u128>) -> Arc<Self> {
        Arc::new(Self {
            cluster: Mutex::new(cluster),
            appended: Mutex::default(),
            open: watch::Sender::new(true),
            begun: watch::Sender::new(0),
            installed: Mutex::default(),
            newest: Mutex::default(),
            higher: Mutex::new(9),
            is_member: Mutex::default(),
        })
    }
}

impl Answers for Node {
    fn append(
        &self,
        request: AppendEntriesRequest<Types>,
    ) -> Pending<'_, Result<AppendEntriesResponse<Types>, Failed>> {
        Box::pin(async move {
            if let Some(first) = request.entries.first() {
                self.appended.lock().unwrap().push(first.log_id.index);
                self.begun.send_modify(|count| *count += 1);
                let mut open = self.open.subscribe();
                drop(open.wait_for(|open| *open).await);
            }
            Ok(match request.prev_log_id.map(|id| id.index) {
                Some(666) => AppendEntriesResponse::Conflict,
                Some(777) => AppendEntriesResponse::HigherVote(vote(*self.higher.lock().unwrap())),
                _ => AppendEntriesResponse::Success,
            })
        })
    }

    fn vote(
        &self,
        request: VoteRequest<Types>,
        before: bool,
    ) -> Pending<'_, Result<VoteResponse<Types>, Failed>> {
        Box::pin(async move {
            Ok(VoteResponse::new(
                request.vote,
                request.last_log_id,
                !before,
            ))
        })
    }

    fn incoming(&self, _: ServerId) -> Result<Incoming, Failed> {
        Ok(Incoming::in_memory())
    }

    fn install(
        &self,
        vote: VoteOf<Types>,
        _: SnapshotMetaOf<Types>,
        image: Image,
    ) -> Pending<'_, Result<SnapshotResponse<Types>, Failed>> {
        Box::pin(async move {
            let mut octets = Vec::new();
            image.open().unwrap().read_to_end(&mut octets).unwrap();
            *self.installed.lock().unwrap() = Some(octets);
            Ok(SnapshotResponse::new(vote))
        })
    }

    fn transfer(
        &self,
        request: TransferLeaderRequest<Types>,
    ) -> Pending<'_, Result<TransferLeaderResponse<Types>, Failed>> {
        Box::pin(async move {
            if *request.to_node_id() == FOLLOWER {
                Ok(Ok(()))
            } else {
                Err(Failed("not me".to_owned()))
            }
        })
    }

    fn propose(&self, commands: Vec<Bytes>) -> Pending<'_, Vec<Result<Outcome, ProposeError>>> {
        Box::pin(async move {
            let result = |command: Bytes| {
                if command == busy() {
                    return Err(ProposeError::Busy { limit: 3 });
                }
                let index = Index(command.len() as u64);
                Ok(Outcome::Applied { index })
            };
            commands.into_iter().map(result).collect()
        })
    }

    fn read_index(&self, consistency: Consistency) -> Pending<'_, Result<Index, FreshError>> {
        Box::pin(async move {
            match consistency {
                Consistency::Consistent => Err(FreshError::NotReady),
                _ => Ok(Index(42)),
            }
        })
    }

    fn cluster(&self) -> Option<u128> {
        *self.cluster.lock().unwrap()
    }

    fn enter(&self, cluster: u128) -> Pending<'_, Result<(), Failed>> {
        Box::pin(async move {
            self.cluster.lock().unwrap().get_or_insert(cluster);
            Ok(())
        })
    }

    fn is_initialized(&self) -> bool {
        self.cluster().is_some() || !self.appended.lock().unwrap().is_empty()
    }

    fn newest(&self) -> Newest {
        *self.newest.lock().unwrap()
    }

    fn is_member(&self, _: IpAddr) -> bool {
        *self.is_member.lock().unwrap()
    }
}

/// A follower that listens, and a leader's network that knows where.
struct World {
    node: Arc<Node>,
    address: SocketAddr,
    network: Network,
    tasks: Tasks,
    counts: Counts,
}

impl World {
    async fn new(ours: Option<u128>, theirs: Option<u128>) -> Self {
        Self::secured(ours, theirs, [None, None]).await
    }

    async fn secured(ours: Option<u128>, theirs: Option<u128>, tls: [Option<Tls>; 2]) -> Self {
        let (tasks, metrics) = (Tasks::new(), Metrics::new());
        let node = Node::new(theirs);
        let [ours_tls, theirs_tls] = tls;
        let handler = handler(FOLLOWER, Arc::clone(&node) as _, &metrics, &tasks);
        let address = match theirs_tls {
            None => listen(handler, &tasks).await,
            Some(tls) => secure::listen(handler, tls, &tasks),
        };
        let cluster = watch::channel(ours).1;
        let network = Network::new(LEADER, cluster, Arc::new(()), ours_tls, &metrics, &tasks);
        Self {
            node,
            address,
            network,
            counts: Counts::of(&metrics),
            tasks,
        }
    }

    fn peer(&self) -> Peer {
        Peer {
            name: "follower".to_owned(),
            address: self.address,
        }
    }

    async fn client(&mut self) -> Client {
        let peer = self.peer();
        self.network.new_client(FOLLOWER, &peer).await
    }

    /// Waits until as many connections were refused for that.
    async fn refused(&self, refusal: Refusal) {
        let counted = async {
            while self.counts.refusals(refusal) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), counted)
            .await
            .unwrap();
    }
}

/// Takes connections as the port of servers does.
async fn listen(handler: Arc<dyn ConnectionHandler>, tasks: &Tasks) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let each = tasks.clone();
    tasks.spawn(async move {
        while let Ok((mut connection, peer)) = socket.accept().await {
            let handler = Arc::clone(&handler);
            each.spawn(async move {
                if let Ok(crate::rpc::octet::RAFT) = connection.read_u8().await {
                    handler.serve(Box::new(connection), peer).await;
                }
            });
        }
    });
    address
}

fn vote(term: u64) -> VoteOf<Types> {
    VoteOf::<Types>::new_committed(term, LEADER)
}

fn candidate(term: u64) -> VoteOf<Types> {
    VoteOf::<Types>::new(term, LEADER)
}

fn meta() -> SnapshotMetaOf<Types> {
    let peer = Peer {
        name: "leader".to_owned(),
        address: ([127, 0, 0, 1], 8300).into(),
    };
    let voters = vec![BTreeSet::from([LEADER])];
    let servers = Membership::new(voters, BTreeMap::from([(LEADER, peer)])).unwrap();
    let at = |index| Some(log_id::<Types>(1, LEADER, index));
    SnapshotMetaOf::<Types> {
        last_log_id: at(9),
        last_membership: openraft::StoredMembership::new(at(0), servers),
    }
}

/// The stored form of a command that removes so many nodes.
fn command(nodes: usize) -> Bytes {
    named(&"n".repeat(60), nodes)
}

fn busy() -> Bytes {
    named("busy", 1)
}

fn named(node: &str, times: usize) -> Bytes {
    let node = Deregistration::Node(node.parse().unwrap());
    stored::encode(&Command {
        request: 0,
        operations: vec![Operation::Deregister(node); times],
    })
}

/// A command of a later release, with a body of so many octets.
fn later(octets: usize) -> Bytes {
    let mut out = vec![1, 0, 0xff, 0xff];
    out.extend(u32::try_from(octets).unwrap().to_le_bytes());
    out.resize(out.len() + octets, 7);
    let checksum = crc32c::crc32c(&out);
    out.extend(checksum.to_le_bytes());
    out.into()
}

fn option() -> RPCOption {
    RPCOption::new(Duration::from_secs(20))
}

/// Entries of these indexes, each with a command of about so many octets.
fn entries(indexes: std::ops::RangeInclusive<u64>, octets: usize) -> AppendEntriesRequest<Types> {
    let previous = indexes.start().checked_sub(1);
    let command = later(octets);
    let entry = |index| {
        let mut entry = blank_ent::<Types>(1, LEADER, index);
        if octets > 0 {
            entry.payload = EntryPayload::Normal(Proposal(command.clone()));
        }
        entry
    };
    AppendEntriesRequest {
        vote: vote(1),
        prev_log_id: previous.map(|index| log_id::<Types>(1, LEADER, index)),
        entries: indexes.map(entry).collect(),
        leader_commit: None,
    }
}

fn sign_of_life() -> AppendEntriesRequest<Types> {
    AppendEntriesRequest {
        entries: Vec::new(),
        ..entries(1..=1, 0)
    }
}

#[tokio::test]
async fn every_message_finds_its_answer() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut client = world.client().await;
    let request = VoteRequest::new(candidate(3), Some(log_id::<Types>(1, LEADER, 8)));
    let granted = client.vote(request.clone(), option()).await.unwrap();
    assert!(granted.vote_granted);
    assert_eq!(
        (granted.vote, granted.last_log_id),
        (candidate(3), request.last_log_id)
    );
    let before = client.pre_vote(request, option()).await.unwrap();
    assert!(!before.vote_granted);
    let transfer = |to| TransferLeaderRequest::new(vote(3), to, None);
    let done = client.transfer_leader(transfer(FOLLOWER), option()).await;
    assert_eq!(done.unwrap(), Ok(()));
    let failed = client.transfer_leader(transfer(LEADER), option()).await;
    assert!(failed.unwrap_err().to_string().contains("not me"));
    let appended = client.append_entries(entries(4..=6, 100), option()).await;
    assert_eq!(appended.unwrap(), AppendEntriesResponse::Success);
    let conflict = client.append_entries(entries(667..=667, 0), option()).await;
    assert_eq!(conflict.unwrap(), AppendEntriesResponse::Conflict);
    let higher = client.append_entries(entries(778..=778, 0), option()).await;
    assert_eq!(higher.unwrap(), AppendEntriesResponse::HigherVote(vote(9)));
}

#[tokio::test]
async fn followers_ask_the_leader() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let ask = world.network.ask();
    // More than goes into one message.
    let large = command(14_000);
    let length = large.len() as u64;
    assert!(length > 800_000, "{length}");
    let commands = vec![command(1), busy(), large.clone(), large];
    let outcomes = ask
        .propose(FOLLOWER, world.address, commands)
        .await
        .unwrap();
    let applied = |index| {
        Ok(Outcome::Applied {
            index: Index(index),
        })
    };
    let busy = Err(ProposeError::Busy { limit: 3 });
    assert_eq!(
        outcomes,
        [
            applied(command(1).len() as u64),
            busy,
            applied(length),
            applied(length)
        ]
    );
    let read = |consistency| ask.read_index(FOLLOWER, world.address, consistency);
    assert_eq!(read(Consistency::Default).await, Ok(Ok(Index(42))));
    let stale = read(Consistency::Consistent).await;
    assert_eq!(stale, Ok(Err(FreshError::NotReady)));
    assert!(ask.is_in_cluster(world.address).await.unwrap());
    world.tasks.stop(Duration::from_secs(5)).await;
    let gone = ask.propose(FOLLOWER, world.address, vec![command(1)]).await;
    assert!(
        matches!(gone, Err(AskError::NotSent(_) | AskError::Unknown(_))),
        "{gone:?}"
    );
}

#[tokio::test]
async fn entries_are_on_their_way_before_the_first_answer_and_keep_their_order() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut client = world.client().await;
    world.node.open.send_replace(false);
    let input = futures_util::stream::iter((1..=100).map(|index| entries(index..=index, 10)));
    let mut appended = client.stream_append(input, option()).await.unwrap();
    let mut begun = world.node.begun.subscribe();
    let all = async {
        // As many as may be, while none has its answer.
        drop(begun.wait_for(|count| *count == 64).await);
        world.node.open.send_replace(true);
        std::future::pending::<()>().await;
    };
    let read = async {
        let mut last = Vec::new();
        while let Some(result) = appended.next().await {
            last.push(result.unwrap().unwrap().unwrap().index);
        }
        last
    };
    let last = tokio::select! {
        last = read => last,
        () = all => unreachable!("it does not end"),
    };
    assert_eq!(last, (1..=100).collect::<Vec<_>>());
    assert_eq!(*world.node.appended.lock().unwrap(), last);
}

#[tokio::test]
async fn a_conflict_ends_the_stream() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut client = world.client().await;
    let requests = [
        entries(665..=665, 0),
        entries(667..=667, 0),
        entries(668..=668, 0),
    ];
    let input = futures_util::stream::iter(requests);
    let results = client.stream_append(input, option()).await.unwrap();
    let results: Vec<_> = results.map(Result::unwrap).collect().await;
    let at = |index| log_id::<Types>(1, LEADER, index);
    let conflict = openraft::raft::StreamAppendError::Conflict(at(666));
    assert_eq!(results, [Ok(Some(at(665))), Err(conflict)]);
}

#[tokio::test]
async fn long_requests_go_in_parts() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut client = world.client().await;
    let input = futures_util::stream::iter([entries(1..=40, 500_000)]);
    let results = client.stream_append(input, option()).await.unwrap();
    let last = results.map(|result| result.unwrap().unwrap().unwrap().index);
    let last: Vec<u64> = last.collect().await;
    assert_eq!(last, (1..=20).map(|part| part * 2).collect::<Vec<_>>());
}

#[tokio::test]
async fn entries_that_are_held_up_do_not_hold_up_signs_of_life() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let peer = world.peer();
    let mut client = world.client().await;
    let mut heart = world.network.new_heartbeat_client(FOLLOWER, &peer).await;
    world.node.open.send_replace(false);
    let stuck = client.append_entries(entries(1..=1, 1_000_000), option());
    let beats = async {
        let mut begun = world.node.begun.subscribe();
        drop(begun.wait_for(|count| *count == 1).await);
        for _ in 0..20 {
            let input = futures_util::stream::iter([sign_of_life()]);
            let mut answers = heart.stream_append(input, option()).await.unwrap();
            assert!(answers.next().await.unwrap().unwrap().is_ok());
            assert!(answers.next().await.is_none());
        }
    };
    tokio::select! {
        _ = stuck => unreachable!("it is held up"),
        () = beats => {}
    }
}

#[tokio::test]
async fn a_snapshot_arrives_as_it_was_sent() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut client = world.client().await;
    let octets: Vec<u8> = (0..50_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let snapshot = Snapshot {
        meta: meta(),
        snapshot: Image::Memory(octets.clone().into()),
    };
    let never = std::future::pending();
    let sent = client
        .full_snapshot(vote(1), snapshot, never, option())
        .await;
    assert_eq!(sent.unwrap().vote, vote(1));
    assert!(world.node.installed.lock().unwrap().take() == Some(octets));
}

#[tokio::test]
async fn a_snapshot_is_given_up_when_that_is_asked_for() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut client = world.client().await;
    let snapshot = || Snapshot {
        meta: meta(),
        snapshot: Image::Memory(vec![1; 5_000_000].into()),
    };
    let closed = openraft::errors::ReplicationClosed::new("enough");
    let now = std::future::ready(closed);
    let given_up = client
        .full_snapshot(vote(1), snapshot(), now, option())
        .await;
    assert!(given_up.unwrap_err().to_string().contains("enough"));
    assert!(world.node.installed.lock().unwrap().is_none());
    // The next one begins anew.
    let never = std::future::pending();
    client
        .full_snapshot(vote(1), snapshot(), never, option())
        .await
        .unwrap();
    assert!(world.node.installed.lock().unwrap().is_some());
}

#[tokio::test]
async fn whoever_is_made_a_member_enters_the_cluster() {
    let mut world = World::new(Some(CLUSTER), None).await;
    assert!(
        !world
            .network
            .ask()
            .is_in_cluster(world.address)
            .await
            .unwrap()
    );
    assert_eq!(world.node.cluster(), None);
    let mut client = world.client().await;
    client
        .append_entries(entries(1..=1, 1), option())
        .await
        .unwrap();
    assert_eq!(world.node.cluster(), Some(CLUSTER));
}

#[tokio::test]
async fn a_founder_is_voted_for_and_binds_nobody_by_that() {
    let mut world = World::new(Some(CLUSTER), None).await;
    let mut client = world.client().await;
    let request = VoteRequest::new(candidate(1), None);
    client.vote(request, option()).await.unwrap();
    assert_eq!(world.node.cluster(), None);
    // For a while it is not free for others.
    let other = Network::new(
        LEADER,
        watch::channel(Some(CLUSTER + 1)).1,
        Arc::new(()),
        None,
        &Metrics::new(),
        &world.tasks,
    );
    let mut other = World {
        network: other,
        ..world
    };
    let ask = other.network.ask();
    assert!(ask.is_in_cluster(other.address).await.unwrap());
    let mut client = other.client().await;
    let request = VoteRequest::new(candidate(2), None);
    let refused = client.vote(request, option()).await.unwrap_err();
    assert!(refused.to_string().contains("just voted"), "{refused}");
}

#[tokio::test]
async fn nobody_is_heard_before_there_is_a_cluster() {
    for theirs in [None, Some(CLUSTER)] {
        let mut world = World::new(None, theirs).await;
        let mut client = world.client().await;
        let request = VoteRequest::new(candidate(1), None);
        let voted = client.vote(request, option()).await.unwrap_err();
        let appended = client.append_entries(entries(1..=1, 1), option()).await;
        for error in [voted.to_string(), appended.unwrap_err().to_string()] {
            assert!(error.contains("in no cluster yet"), "{error}");
        }
        assert_eq!(world.node.cluster(), theirs);
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_reached_again() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut client = world.client().await;
    let request = || VoteRequest::new(candidate(1), None);
    client.vote(request(), option()).await.unwrap();
    // Another program has its old address; gossip, here the log, knows the new one.
    let tasks = Tasks::new();
    let handler = handler(
        FOLLOWER,
        Arc::clone(&world.node) as _,
        &Metrics::new(),
        &tasks,
    );
    world.address = listen(handler, &tasks).await;
    client.signs.hang_up();
    let mut client = world.client().await;
    client.vote(request(), option()).await.unwrap();
    assert_eq!(world.network.signs.len(), 1);
}
