use std::sync::Mutex;

use super::*;
use crate::catalog::{self, NodeEntry};
use crate::gossip::tags::Agent;
use crate::metrics::Metrics;
use crate::raft;
use crate::types::{Address, MemberStatus, Meta, NodeId, Status};

/// Longer than any test: what waits for it does not happen.
const NEVER: Duration = Duration::from_secs(3600);

/// A pool that says what it is told to.
#[derive(Clone)]
struct Told(Arc<Mutex<Arc<[Member]>>>, watch::Sender<u64>);

impl Told {
    fn new(members: &[Member]) -> Self {
        Self(Arc::new(Mutex::new(members.into())), watch::channel(0).0)
    }

    fn tell(&self, members: &[Member]) {
        *self.0.lock().unwrap() = members.into();
        self.1.send_modify(|changes| *changes += 1);
    }
}

impl Members for Told {
    fn members(&self) -> Arc<[Member]> {
        Arc::clone(&self.0.lock().unwrap())
    }
    fn members_changed(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }
}

fn client(name: &str) -> Member {
    let agent = Agent {
        node: name.parse().unwrap(),
        id: NodeId::random(),
        datacenter: "dc1".parse().unwrap(),
        version: "0.1.0".into(),
        server: None,
    };
    Member {
        name: name.into(),
        address: [10, 0, 0, 1].into(),
        port: 8301,
        tags: agent.lan_tags(),
        status: MemberStatus::Alive,
        versions: [1, 5, 2, 2, 5, 4],
    }
}

fn config(interval: Duration) -> Config {
    Config {
        node: Node {
            id: None,
            name: "s1".parse().unwrap(),
            address: Address::from_text("10.0.0.1"),
            tagged_addresses: [].into(),
            meta: Meta::default(),
        },
        datacenter: "dc1".parse().unwrap(),
        interval,
    }
}

struct Running {
    reader: Reader,
    raft: Raft,
    tasks: Tasks,
}

async fn running(interval: Duration, pool: &Told) -> Running {
    let tasks = Tasks::new();
    let (writer, reader) = catalog::open_server();
    let proposer = raft::alone(writer, &Metrics::new(), &tasks).await;
    let (members, config) = (pool.clone(), config(interval));
    start(config, members, reader.clone(), proposer.clone(), &tasks);
    Running {
        reader,
        raft: proposer,
        tasks,
    }
}

impl Running {
    fn node(&self, name: &str) -> Option<Arc<NodeEntry>> {
        self.reader.state().node(&name.parse().unwrap()).cloned()
    }

    fn status(&self, name: &str) -> Option<Status> {
        let entry = self.node(name)?;
        let stored = entry.check(&"serfHealth".parse().unwrap())?;
        Some(stored.check.status)
    }

    async fn eventually(&self, met: impl Fn(&Self) -> bool) {
        let patience = Duration::from_secs(20);
        let waiting = async {
            while !met(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(patience, waiting).await;
        in_time.expect("the condition is met in time");
    }

    async fn stop(self) {
        assert!(self.tasks.stop(Duration::from_secs(10)).await);
    }
}

fn deregistration(name: &str) -> Operation {
    Operation::Deregister(Deregistration::Node(name.parse().unwrap()))
}

#[tokio::test]
async fn every_change_of_the_members_is_followed() {
    let member = client("c1");
    let pool = Told::new(&[]);
    let running = running(NEVER, &pool).await;
    pool.tell(std::slice::from_ref(&member));
    let passing = |running: &Running| running.status("c1") == Some(Status::Passing);
    running.eventually(passing).await;
    let failed = Member {
        status: MemberStatus::Failed,
        ..member.clone()
    };
    pool.tell(&[failed]);
    let critical = |running: &Running| running.status("c1") == Some(Status::Critical);
    running.eventually(critical).await;
    let left = Member {
        status: MemberStatus::Left,
        ..member
    };
    pool.tell(&[left]);
    running
        .eventually(|running| running.node("c1").is_none())
        .await;
    running.stop().await;
}

#[tokio::test]
async fn what_others_change_is_put_right_without_a_change_of_members() {
    let pool = Told::new(&[client("c1")]);
    let running = running(Duration::from_millis(20), &pool).await;
    running
        .eventually(|running| running.node("c1").is_some())
        .await;
    let command = Command {
        request: 0,
        operations: vec![deregistration("c1")],
    };
    let context = RequestContext::default();
    running.raft.propose(&context, command).await.unwrap();
    running
        .eventually(|running| running.node("c1").is_some())
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_large_pool_takes_many_commands() {
    let names = (0..1_000).map(|number| format!("c{number}"));
    let members: Vec<_> = names.map(|name| client(&name)).collect();
    let pool = Told::new(&members);
    let running = running(NEVER, &pool).await;
    running
        .eventually(|running| running.node("c999").is_some())
        .await;
    assert_eq!(running.reader.state().nodes().count(), 1_000);
    // The first is at index 2.
    let commands = running.reader.applied().0 - 1;
    assert_eq!(commands, 1_000_u64.div_ceil(OPERATIONS_MAX as u64));
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_proposed_where_nothing_differs() {
    let pool = Told::new(&[client("c1")]);
    let running = running(NEVER, &pool).await;
    running
        .eventually(|running| running.node("c1").is_some())
        .await;
    let applied = running.reader.applied();
    // The second member shows that the round after that was made.
    let members = pool.members();
    pool.tell(&members);
    let more: Vec<_> = members.iter().cloned().chain([client("c2")]).collect();
    pool.tell(&more);
    running
        .eventually(|running| running.node("c2").is_some())
        .await;
    assert_eq!(running.reader.applied(), applied.next());
    running.stop().await;
}

#[tokio::test]
async fn a_refusal_for_one_node_does_not_hold_up_the_others() {
    let pool = Told::new(&[]);
    let running = running(NEVER, &pool).await;
    let reconciler = Reconciler {
        config: config(NEVER),
        members: pool,
        reader: running.reader.clone(),
        raft: running.raft.clone(),
        unusable: Vec::new(),
    };
    let node = |name: &str, check: Option<&str>| {
        let of_service = check.map(|service| crate::types::Check {
            service_id: Some(service.parse().unwrap()),
            ..entry::health(true)
        });
        Operation::Register(Box::new(catalog::Registration {
            node: Node {
                name: name.parse().unwrap(),
                ..config(NEVER).node
            },
            skip_node_update: true,
            service: None,
            checks: of_service.into_iter().collect(),
        }))
    };
    let operations = [node("a", None), node("b", Some("missing")), node("c", None)];
    let error = reconciler.propose(&operations).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "1 of 3 operations were refused, the last one because: \
         failed inserting check: Missing service registration on node \"b\""
    );
    assert!(running.node("a").is_some() && running.node("c").is_some());
    assert!(running.node("b").is_none());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_tried_again_ever_later() {
    let pool = Told::new(&[client("c1")]);
    let raft_tasks = Tasks::new();
    let (writer, reader) = catalog::open_server();
    let metrics = Metrics::new();
    let proposer = raft::alone(writer, &metrics, &raft_tasks).await;
    // Nobody orders commands any more.
    assert!(raft_tasks.stop(Duration::from_secs(10)).await);
    let counted = Counted(pool, Arc::default());
    let looks = Arc::clone(&counted.1);
    let tasks = Tasks::new();
    let mut reconciler = Reconciler {
        config: config(NEVER),
        members: counted,
        reader,
        raft: proposer,
        unusable: Vec::new(),
    };
    // As one that has not noticed yet that it does not lead any more.
    tasks.spawn(async move { reconciler.lead().await });
    // Pauses of 100 ms, 200 ms, 400 ms …: eight looks, the last one after 12.7 s.
    tokio::time::sleep(Duration::from_secs(13)).await;
    assert_eq!(looks.load(std::sync::atomic::Ordering::Relaxed), 8);
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

/// Counts how often the members were read.
struct Counted(Told, Arc<std::sync::atomic::AtomicUsize>);

impl Members for Counted {
    fn members(&self) -> Arc<[Member]> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.members()
    }
    fn members_changed(&self) -> watch::Receiver<u64> {
        self.0.members_changed()
    }
}

#[tokio::test]
async fn unknown_nodes_go_only_once_the_pool_had_time_to_know_them() {
    let running = running(NEVER, &Told::new(&[client("c1")])).await;
    running
        .eventually(|running| running.node("c1").is_some())
        .await;
    let (members, config) = (Told::new(&[]), config(Duration::from_millis(20)));
    let (reader, proposer) = (running.reader.clone(), running.raft.clone());
    let mut reconciler = Reconciler {
        config: config.clone(),
        members: members.clone(),
        reader: reader.clone(),
        raft: proposer.clone(),
        unusable: Vec::new(),
    };
    reconciler.round(false).await.unwrap();
    assert!(running.node("c1").is_some());
    start(config, members, reader, proposer, &running.tasks);
    running
        .eventually(|running| running.node("c1").is_none())
        .await;
    running.stop().await;
}

#[test]
fn a_name_is_complained_about_once_as_long_as_it_stays() {
    let mut known = Vec::new();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let all: Vec<String> = names(&["a", "b"]);
    assert_eq!(news(&mut known, all.clone()), all);
    assert_eq!(news(&mut known, names(&["c", "b"])), ["c"]);
    assert_eq!(news(&mut known, names(&[])), [""; 0]);
    assert_eq!(news(&mut known, names(&["b"])), ["b"]);
}

#[test]
fn commands_are_bounded_but_not_cut_within_a_node() {
    let many = |name: &str, count: usize| vec![deregistration(name); count];
    let lengths = |operations: &[Operation]| -> Vec<usize> {
        batches(operations)
            .iter()
            .map(|batch| batch.len())
            .collect()
    };
    assert_eq!(lengths(&[]), [0; 0]);
    assert_eq!(lengths(&many("a", 2)), [2]);
    let singles: Vec<_> = (0..300).map(|n| deregistration(&format!("n{n}"))).collect();
    assert_eq!(lengths(&singles), [128, 128, 44]);
    let pair_at_the_edge = [&singles[..127], &many("a", 2), &singles[..1]].concat();
    assert_eq!(lengths(&pair_at_the_edge), [127, 3]);
    assert_eq!(lengths(&many("a", 200)), [200]);
}
