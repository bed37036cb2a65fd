//! What reaches the catalog, when, and what is tried again.
//!
//! Long, since each case needs a node, a directory that may refuse, and both sides' state.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::catalog::{self, CheckEntry, Deregistration, Instance, Reader, Registration};
use crate::gossip::tags;
use crate::local::definition::tests::{service, ttl};
use crate::local::{self, CheckDefinition, Config, Limits, Local, Report, ServiceDefinition};
use crate::raft;
use crate::reconcile;
use crate::task::Tasks;
use crate::types::{Address, Check, Member, MemberStatus, Meta, Node, NodeId, NodeName, Status};

/// Longer than any test: what waits for it does not happen.
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(20);

struct Agent {
    local: Local,
    directory: Directory,
    reader: Reader,
    node: Node,
    tasks: Tasks,
    raft_tasks: Tasks,
}

/// A catalog that may already hold something, with an agent named `n1` whose comparisons with it
/// come every `interval`.
async fn start(interval: Duration, before: Vec<Operation>) -> Agent {
    let (tasks, raft_tasks, metrics) = (Tasks::new(), Tasks::new(), Metrics::new());
    let (writer, reader) = catalog::open_server();
    let proposer = raft::alone(writer, &metrics, &raft_tasks).await;
    let directory = crate::directory::Config {
        datacenter: "dc1".parse().unwrap(),
        address: ([127, 0, 0, 1], 8300).into(),
        wait_default: NEVER,
        wait_max: NEVER,
    };
    let directory = Directory::new(directory, reader.clone(), proposer.clone());
    directory
        .write(&RequestContext::default(), before)
        .await
        .unwrap();
    let node = node("n1");
    let member = reconcile::Config {
        node: node.clone(),
        datacenter: "dc1".parse().unwrap(),
        interval: SOON,
    };
    reconcile::start(member, members(&node), reader.clone(), proposer, &tasks);
    let config = Config {
        node: node.clone(),
        server: true,
        limits: Limits::default(),
        sync: SyncConfig {
            interval,
            retry_min: SOON,
            acknowledge_wait: NEVER,
            ..SyncConfig::default()
        },
        data_dir: None,
    };
    let local = local::start(config, directory.clone(), &metrics, &tasks).unwrap();
    let agent = Agent {
        local,
        directory,
        reader,
        node,
        tasks,
        raft_tasks,
    };
    // The first comparison is over, and the member registered.
    agent.register("first", &[]).await;
    eventually(|| agent.check("serfHealth").is_some()).await;
    agent
}

/// A pool of one: a server at `node`.
fn members(node: &Node) -> Arc<[Member]> {
    let agent = tags::Agent {
        node: node.name.clone(),
        id: node.id.unwrap_or_else(NodeId::random),
        datacenter: "dc1".parse().unwrap(),
        version: "0.1.0".to_owned(),
        server: Some(tags::AgentServer {
            port: 8300,
            wan_join_port: None,
            bootstrap: true,
            expect: 0,
            tls: false,
            commands: Operation::KIND_NEWEST,
        }),
    };
    let member = Member {
        name: node.name.to_string(),
        address: [127, 0, 0, 1].into(),
        port: 8301,
        tags: agent.lan_tags(),
        status: MemberStatus::Alive,
        versions: [1, 5, 2, 2, 5, 4],
    };
    [member].into()
}

impl Agent {
    async fn register(&self, name: &str, checks: &[CheckDefinition]) {
        let definition = ServiceDefinition {
            service: service(name, name),
            checks: checks.to_vec(),
        };
        self.local
            .register_service(definition, false)
            .await
            .unwrap();
    }

    async fn write(&self, operation: Operation) {
        let context = RequestContext::default();
        self.directory
            .write(&context, vec![operation])
            .await
            .unwrap();
    }

    async fn report(&self, id: &str, status: Status, output: &str) {
        let report = Report {
            status,
            output: output.into(),
        };
        self.local
            .report(&id.parse().unwrap(), report)
            .await
            .unwrap();
    }

    fn instance(&self, id: &str) -> Option<Arc<Instance>> {
        let state = self.reader.state();
        let node = state.node(&self.node.name)?;
        node.instance(&id.parse().unwrap()).cloned()
    }

    fn check(&self, id: &str) -> Option<Arc<CheckEntry>> {
        let state = self.reader.state();
        let node = state.node(&self.node.name)?;
        node.check(&id.parse().unwrap()).cloned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
        self.raft_tasks.stopping().cancel();
    }
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    let patience = Duration::from_secs(10);
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(patience, met)
        .await
        .expect("the condition is met in time");
}

fn node(name: &str) -> Node {
    Node {
        id: None,
        name: name.parse().unwrap(),
        address: Address::from_text("127.0.0.1"),
        tagged_addresses: [].into(),
        meta: Meta::from_pairs([("rack".into(), "7".into())]),
    }
}

fn registration(node_name: &str, id: &str) -> Operation {
    Operation::Register(Box::new(Registration {
        node: node(node_name),
        skip_node_update: false,
        service: Some(service(id, id)),
        checks: vec![node_check(&format!("check-{id}"))],
    }))
}

fn node_check(id: &str) -> Check {
    Check {
        id: id.parse().unwrap(),
        name: id.into(),
        status: Status::Passing,
        notes: Box::default(),
        output: Box::default(),
        service_id: None,
        check_type: crate::types::CheckType::Unknown,
        definition: None,
    }
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

#[tokio::test]
async fn what_was_registered_is_in_the_catalog_and_in_dns_at_once() {
    let agent = start(NEVER, Vec::new()).await;
    let mut passing = ttl("", 60);
    passing.status = Some(Status::Passing);
    agent.register("web", &[passing]).await;
    assert_eq!(agent.instance("web").unwrap().checks.len(), 1);
    assert!(agent.reader.dns().service(b"web").is_some());
    agent.report("service:web", Status::Critical, "down").await;
    let check = &agent.check("service:web").unwrap().check;
    assert_eq!((check.status, &*check.output), (Status::Critical, "down"));
    let id = "web".parse().unwrap();
    agent.local.deregister_service(&id).await.unwrap();
    assert!(agent.instance("web").is_none());
    assert!(agent.check("service:web").is_none());
}

#[tokio::test]
async fn the_node_has_its_own_entry_with_the_servers_service() {
    let agent = start(NEVER, Vec::new()).await;
    let state = agent.reader.state();
    assert_eq!(*state.node(&agent.node.name).unwrap().node, agent.node);
    assert_eq!(agent.instance("consul").unwrap().service.port, 8300);
    let health = &agent.check("serfHealth").unwrap().check;
    assert_eq!(&*health.output, "Agent alive and reachable");
}

#[tokio::test]
async fn entries_of_this_node_that_the_agent_does_not_know_go_and_others_stay() {
    let before = vec![registration("n1", "stray"), registration("n2", "theirs")];
    let agent = start(NEVER, before).await;
    eventually(|| agent.instance("stray").is_none() && agent.check("check-stray").is_none()).await;
    let state = agent.reader.state();
    let other = state.node(&name("n2")).unwrap();
    assert!(other.instance(&"theirs".parse().unwrap()).is_some());
    assert!(other.check(&"check-theirs".parse().unwrap()).is_some());
    assert!(agent.instance("consul").is_some());
    assert!(agent.check("serfHealth").is_some());
}

#[tokio::test]
async fn entries_that_the_catalog_lost_come_back() {
    let agent = start(SOON, Vec::new()).await;
    agent.register("web", &[ttl("", 60)]).await;
    let lost = Deregistration::Node(agent.node.name.clone());
    agent.write(Operation::Deregister(lost)).await;
    eventually(|| agent.check("service:web").is_some() && agent.check("serfHealth").is_some())
        .await;
    let state = agent.reader.state();
    assert_eq!(*state.node(&agent.node.name).unwrap().node, agent.node);
    assert!(agent.instance("web").is_some());
}

#[tokio::test]
async fn entries_that_others_changed_are_put_right() {
    let agent = start(SOON, Vec::new()).await;
    agent.register("web", &[]).await;
    let mut changed = service("web", "web");
    changed.port = 1;
    let mut node = agent.node.clone();
    node.meta = Meta::default();
    agent
        .write(Operation::Register(Box::new(Registration {
            node,
            skip_node_update: false,
            service: Some(changed),
            checks: Vec::new(),
        })))
        .await;
    eventually(|| agent.instance("web").unwrap().service.port == 80).await;
    eventually(|| {
        let state = agent.reader.state();
        *state.node(&agent.node.name).unwrap().node == agent.node
    })
    .await;
}

#[tokio::test]
async fn a_check_whose_service_the_catalog_lost_brings_it_back() {
    let agent = start(NEVER, Vec::new()).await;
    agent.register("web", &[ttl("", 60)]).await;
    let id = "web".parse().unwrap();
    let lost = Deregistration::Service(agent.node.name.clone(), id);
    agent.write(Operation::Deregister(lost)).await;
    agent.report("service:web", Status::Warning, "").await;
    eventually(|| {
        let check = agent.check("service:web");
        check.is_some_and(|check| check.check.status == Status::Warning)
    })
    .await;
    assert!(agent.instance("web").is_some());
}

#[tokio::test]
async fn another_output_alone_does_not_reach_the_catalog_by_comparison() {
    let agent = start(SOON, Vec::new()).await;
    agent.register("web", &[ttl("", 60)]).await;
    agent.report("service:web", Status::Passing, "one").await;
    agent.report("service:web", Status::Passing, "two").await;
    // A comparison has come by when it has removed this.
    agent.write(registration("n1", "stray")).await;
    eventually(|| agent.instance("stray").is_none()).await;
    let check = &agent.check("service:web").unwrap().check;
    assert_eq!(&*check.output, "one");
    let state = agent.local.state();
    let local = state.check(&check.id).unwrap();
    assert_eq!(&*local.check.output, "two");
}

#[tokio::test]
async fn tags_that_others_may_change_are_taken_on() {
    let agent = start(SOON, Vec::new()).await;
    let mut open = service("web", "web");
    open.enable_tag_override = true;
    let definition = ServiceDefinition {
        service: open.clone(),
        checks: Vec::new(),
    };
    agent
        .local
        .register_service(definition, false)
        .await
        .unwrap();
    open.tags = ["blue".into()].into();
    agent
        .write(Operation::Register(Box::new(Registration {
            node: agent.node.clone(),
            skip_node_update: true,
            service: Some(open),
            checks: Vec::new(),
        })))
        .await;
    let id = "web".parse().unwrap();
    eventually(|| agent.local.state().service(&id).unwrap().has_tag("blue")).await;
    assert!(agent.instance("web").unwrap().service.has_tag("blue"));
}

#[tokio::test]
async fn a_refused_entry_does_not_hold_up_the_others() {
    // Another node that is alive has this one's name, under another id.
    let mut taken = node("n1");
    taken.id = Some(crate::types::NodeId::random());
    let before = Operation::Register(Box::new(Registration {
        node: taken,
        skip_node_update: false,
        service: None,
        checks: Vec::new(),
    }));
    let agent = start(NEVER, vec![before]).await;
    agent.register("web", &[ttl("", 60)]).await;
    assert!(agent.instance("web").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_registration_stands_though_nobody_takes_writes() {
    let (tasks, metrics) = (Tasks::new(), Metrics::new());
    let (writer, reader) = catalog::open_server();
    let proposer = raft::alone(writer, &metrics, &tasks).await;
    assert!(tasks.stop(NEVER).await);
    let directory = crate::directory::Config {
        datacenter: "dc1".parse().unwrap(),
        address: ([127, 0, 0, 1], 8300).into(),
        wait_default: NEVER,
        wait_max: NEVER,
    };
    let config = Config {
        node: node("n1"),
        server: true,
        limits: Limits::default(),
        sync: SyncConfig::default(),
        data_dir: None,
    };
    let directory = Directory::new(directory, reader, proposer);
    let tasks = Tasks::new();
    let local = local::start(config, directory, &metrics, &tasks).unwrap();
    let begin = clock::now();
    let definition = ServiceDefinition {
        service: service("web", "web"),
        checks: vec![ttl("", 10)],
    };
    local.register_service(definition, false).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_millis(250));
    let check = "service:web".parse().unwrap();
    let passing = Report {
        status: Status::Passing,
        output: "hi".into(),
    };
    local.report(&check, passing).await.unwrap();
    let shown = || {
        let state = local.state();
        state.check(&check).map(|local| local.check.status)
    };
    // The one timer expires it, without any task of its own.
    tokio::time::sleep(Duration::from_millis(9_700)).await;
    assert_eq!(shown(), Some(Status::Passing));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(shown(), Some(Status::Critical));
}

#[tokio::test(start_paused = true)]
async fn a_client_agent_without_servers_keeps_its_own_services() {
    let (tasks, metrics) = (Tasks::new(), Metrics::new());
    let directory = Directory::client(crate::directory::Config {
        datacenter: "dc1".parse().unwrap(),
        address: ([127, 0, 0, 1], 8300).into(),
        wait_default: NEVER,
        wait_max: NEVER,
    });
    let config = Config {
        node: node("c1"),
        server: false,
        limits: Limits::default(),
        sync: SyncConfig::default(),
        data_dir: None,
    };
    let local = local::start(config, directory, &metrics, &tasks).unwrap();
    let definition = ServiceDefinition {
        service: service("web", "web"),
        checks: vec![ttl("", 10)],
    };
    local.register_service(definition, false).await.unwrap();
    assert!(local.state().service(&"web".parse().unwrap()).is_some());
    // It goes on trying, at ever longer intervals: 15 to 30 s in the end.
    let failures = || {
        let text = metrics.text();
        let line = text.lines().find_map(|line| {
            line.strip_prefix("herald_local_sync_failures_total ")?
                .parse::<u32>()
                .ok()
        });
        line.unwrap()
    };
    tokio::time::sleep(Duration::from_secs(120)).await;
    let before = failures();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!((20..=40).contains(&(failures() - before)), "{}", failures());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_joins_is_told_at_once_what_failed_for_want_of_one() {
    let (tasks, metrics) = (Tasks::new(), Metrics::new());
    let directory = Directory::client(crate::directory::Config {
        datacenter: "dc1".parse().unwrap(),
        address: ([127, 0, 0, 1], 8300).into(),
        wait_default: NEVER,
        wait_max: NEVER,
    });
    let config = Config {
        node: node("c1"),
        server: false,
        limits: Limits::default(),
        sync: SyncConfig {
            retry_min: NEVER,
            retry_max: NEVER,
            ..SyncConfig::default()
        },
        data_dir: None,
    };
    let local = local::start(config, directory, &metrics, &tasks).unwrap();
    let failures = || {
        metrics
            .text()
            .contains("herald_local_sync_failures_total 2")
    };
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!failures());
    local.servers_changed();
    tokio::time::sleep(Duration::from_millis(2_010)).await;
    assert!(failures());
}

#[test]
fn only_what_would_be_refused_again_is_a_refusal() {
    let missing = catalog::Refusal::MissingService { node: "n1".into() };
    assert!(is_refusal(&WriteError::Refused(missing.clone())));
    assert!(!is_denied(&WriteError::Refused(missing)));
    assert!(!is_refusal(&WriteError::NoPathToDatacenter));
    let denied = catalog::Refusal::MissingService {
        node: "Permission denied".into(),
    };
    assert!(is_denied(&WriteError::Refused(denied)));
}

#[test]
fn the_same_failure_is_told_once() {
    let mut told = Told::default();
    let no_servers = || RoundError::from(ReadError::NoServers(crate::directory::NoServers));
    let no_path = RoundError::from(WriteError::NoPathToDatacenter);
    assert!(!told.success());
    assert!(told.failure(&no_servers()));
    assert!(!told.failure(&no_servers()));
    assert!(told.failure(&no_path));
    assert!(!told.failure(&no_path));
    assert!(told.success());
    assert!(!told.success());
    assert!(told.failure(&no_path));
}

#[test]
fn a_service_and_its_checks_form_one_registration() {
    let mut core = crate::local::core::Core::new(Limits::default(), true, "n1".parse().unwrap(), 7);
    let definition = ServiceDefinition {
        service: service("web", "web"),
        checks: vec![ttl("", 10), ttl("", 10)],
    };
    core.register_service(clock::now(), definition, false)
        .unwrap();
    let pending = core.pending().take();
    let operations = plan::operations(&node("n1"), core.state(), &pending);
    let [Operation::Register(registration)] = &operations[..] else {
        panic!("{operations:?}");
    };
    assert!(registration.service.is_some());
    assert_eq!(registration.checks.len(), 2);
}
