//! Views of single services, put together, against a catalog that has everything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::catalog::fragment::{Fragment, Owner, Stamps};
use crate::catalog::{Reader, WatchKey, open_client, open_server};
use crate::types::{Address, CheckType, Meta, Service, Status, Weights};

const NODES: u8 = 3;
const SERVICES: u8 = 3;
const IDS: u8 = 2;

/// Something that happens at the servers, or to a view.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A node gets another address.
    Move(u8, u8),
    /// An instance with this id is one of this service, at this port.
    Instance(u8, u8, u8, u16),
    /// A check of the node or of an instance turns.
    Check(u8, u8, Option<u8>, Status),
    LeaveInstance(u8, u8),
    LeaveCheck(u8, u8),
    LeaveNode(u8),
    /// A server is asked for a service; the answer is on its way.
    Look(u8),
    /// The answer comes.
    Take(u8),
    Drop(u8),
    WantNode(u8),
    DropNode(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let status = prop_oneof![
        Just(Status::Passing),
        Just(Status::Warning),
        Just(Status::Critical)
    ];
    let step = prop_oneof![
        2 => (0..NODES, 1..4_u8).prop_map(|(node, address)| Step::Move(node, address)),
        6 => (0..NODES, 0..IDS, 0..SERVICES, 80..82_u16)
            .prop_map(|(node, id, service, port)| Step::Instance(node, id, service, port)),
        6 => (0..NODES, 0..3_u8, prop::option::of(0..IDS), status)
            .prop_map(|(node, check, owner, status)| Step::Check(node, check, owner, status)),
        2 => (0..NODES, 0..IDS).prop_map(|(node, id)| Step::LeaveInstance(node, id)),
        2 => (0..NODES, 0..3_u8).prop_map(|(node, check)| Step::LeaveCheck(node, check)),
        1 => (0..NODES).prop_map(Step::LeaveNode),
        8 => (0..SERVICES).prop_map(Step::Look),
        8 => (0..SERVICES).prop_map(Step::Take),
        1 => (0..SERVICES).prop_map(Step::Drop),
        1 => (0..NODES).prop_map(Step::WantNode),
        1 => (0..NODES).prop_map(Step::DropNode),
    ];
    vec(step, 1..120)
}

fn node_name(node: u8) -> NodeName {
    format!("node{node}").parse().unwrap()
}

fn service_name(service: u8) -> ServiceName {
    format!("service{service}").parse().unwrap()
}

fn id(id: u8) -> ServiceId {
    format!("id{id}").parse().unwrap()
}

fn check_id(check: u8) -> CheckId {
    format!("check{check}").parse().unwrap()
}

fn node(node: u8, address: u8) -> Node {
    Node {
        id: None,
        name: node_name(node),
        address: Address::from_text(&format!("10.0.{node}.{address}")),
        tagged_addresses: BTreeMap::new(),
        meta: Meta::default(),
    }
}

fn service(name: u8, of: u8, port: u16) -> Service {
    Service {
        id: id(of),
        name: service_name(name),
        tags: [format!("t{port}").into()].into(),
        address: Address::None,
        port,
        meta: Meta::default(),
        weights: Weights::default(),
        enable_tag_override: false,
        tagged_addresses: None,
    }
}

fn check(of: u8, owner: Option<u8>, status: Status) -> Check {
    Check {
        id: check_id(of),
        name: "check".into(),
        status,
        notes: "".into(),
        output: "".into(),
        service_id: owner.map(id),
        check_type: CheckType::default(),
        definition: None,
    }
}

/// What a server would answer about a service.
fn picture(state: &State, name: &ServiceName) -> State {
    let mut fragment = Fragment::default();
    let entry = state.service(name).into_iter();
    for instance in entry.flat_map(|it| it.instances()) {
        let host = state.node(&instance.node).unwrap();
        let stamps = Stamps::default();
        fragment.put_node((*host.node).clone(), stamps).unwrap();
        let service = (*instance.service).clone();
        fragment
            .put_instance(&instance.node, service, stamps)
            .unwrap();
        for check in host.node_checks().chain(&instance.checks) {
            let owner = check.check.service_id.as_ref().map(|_| Owner {
                name: name.clone(),
                tags: Vec::new(),
            });
            let check = check.check.clone();
            fragment
                .put_check(&instance.node, check, owner, stamps)
                .unwrap();
        }
    }
    fragment.finish(Index(1))
}

/// The servers, and a client agent with some views.
struct World {
    servers: Writer,
    servers_reader: Reader,
    held: Held,
    reader: Reader,
    views: BTreeSet<ServiceName>,
    nodes: BTreeSet<NodeName>,
    coming: BTreeMap<ServiceName, (State, Index)>,
}

impl World {
    fn new() -> Self {
        let (servers, servers_reader) = open_server();
        let (writer, reader) = open_client();
        Self {
            servers,
            servers_reader,
            held: Held::new(writer),
            reader,
            views: BTreeSet::new(),
            nodes: BTreeSet::new(),
            coming: BTreeMap::new(),
        }
    }

    fn order(&mut self, operation: Operation) {
        let index = Index(self.servers.applied().0 + 1);
        let command = Command {
            request: 0,
            operations: vec![operation],
        };
        // A check of an instance that is not there is refused.
        drop(self.servers.apply(vec![(index, command)]).unwrap());
    }

    fn register(
        &mut self,
        of: u8,
        address: Option<u8>,
        service: Option<Service>,
        check: Option<Check>,
    ) {
        self.order(Operation::Register(Box::new(Registration {
            node: node(of, address.unwrap_or(1)),
            skip_node_update: address.is_none(),
            service,
            checks: check.into_iter().collect(),
        })));
    }

    fn look(&mut self, name: &ServiceName) {
        let state = self.servers.state();
        let index = state.index_of(&WatchKey::ServiceHealth(name.clone()));
        let picture = picture(&state, name);
        self.coming.insert(name.clone(), (picture, index));
    }

    fn take(&mut self, name: &ServiceName) {
        let Some((picture, index)) = self.coming.remove(name) else {
            return;
        };
        if picture.service(name).is_some() {
            self.held.put_service(name, &picture, index).unwrap();
            self.views.insert(name.clone());
        } else {
            self.leave(name);
        }
    }

    fn leave(&mut self, name: &ServiceName) {
        self.held.drop_service(name).unwrap();
        self.views.remove(name);
        self.coming.remove(name);
    }

    fn want_node(&mut self, name: NodeName) {
        let state = self.servers.state();
        let Some(entry) = state.node(&name) else {
            return self.drop_node(&name);
        };
        let index = state.index_of(&WatchKey::NodeServices(name.clone()));
        self.held.put_node(&entry.node, index).unwrap();
        self.nodes.insert(name);
    }

    fn drop_node(&mut self, name: &NodeName) {
        self.held.drop_node(name).unwrap();
        self.nodes.remove(name);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Move(node, address) => self.register(node, Some(address), None, None),
            Step::Instance(node, id, name, port) => {
                self.register(node, None, Some(service(name, id, port)), None);
            }
            Step::Check(node, id, owner, status) => {
                self.register(node, None, None, Some(check(id, owner, status)));
            }
            Step::LeaveInstance(node, of) => {
                self.order(gone(Deregistration::Service(node_name(node), id(of))));
            }
            Step::LeaveCheck(node, of) => {
                self.order(gone(Deregistration::Check(node_name(node), check_id(of))));
            }
            Step::LeaveNode(node) => self.order(gone(Deregistration::Node(node_name(node)))),
            Step::Look(name) => self.look(&service_name(name)),
            Step::Take(name) => self.take(&service_name(name)),
            Step::Drop(name) => self.leave(&service_name(name)),
            Step::WantNode(node) => self.want_node(node_name(node)),
            Step::DropNode(node) => self.drop_node(&node_name(node)),
        }
        self.assert_bounded();
    }

    /// Only what views need is held.
    fn assert_bounded(&self) {
        let state = self.reader.state();
        for entry in state.services() {
            assert!(self.views.contains(&entry.name), "{:?}", entry.name);
            assert!(!entry.is_empty());
        }
        for entry in state.nodes() {
            let name = &entry.node.name;
            let needed = self.nodes.contains(name) || entry.instances().count() > 0;
            assert!(needed, "{name:?}");
            assert!(self.held.nodes.contains_key(name), "{name:?}");
        }
        assert_eq!(self.held.nodes.len(), state.nodes().count());
        assert!(self.held.services.keys().eq(&self.views));
    }

    /// Everything that views hold is what DNS of the servers answers from.
    fn assert_equal(&mut self) {
        for name in self.views.clone() {
            self.look(&name);
            self.take(&name);
        }
        for name in self.nodes.clone() {
            self.want_node(name);
        }
        for name in (0..SERVICES).map(service_name) {
            let expected = seen(&self.servers_reader, &name);
            let expected = expected.filter(|_| self.views.contains(&name));
            assert_eq!(seen(&self.reader, &name), expected, "{name:?}");
        }
        for name in self.nodes.iter().map(NodeName::folded) {
            let address = |reader: &Reader| {
                let slot = reader.dns().node(&name);
                slot.and_then(|slot| slot.load().as_ref().map(|view| view.v4))
            };
            assert_eq!(address(&self.reader), address(&self.servers_reader));
        }
    }
}

/// What DNS sees of a service.
fn seen(reader: &Reader, name: &ServiceName) -> Option<Vec<String>> {
    let slot = reader.dns().service(&name.folded())?;
    let view = slot.load();
    let view = view.as_ref()?;
    let mut seen: Vec<_> = view
        .all
        .instances()
        .iter()
        .map(|it| {
            let (node, id) = (it.node.name.as_str(), it.id.as_str());
            format!(
                "{node} {id} {:?} {:?} {} {}",
                it.v4, it.tags, it.port, it.warning
            )
        })
        .collect();
    seen.sort();
    seen.push(format!(
        "{} critical of {}",
        view.all.critical(),
        view.all.registered()
    ));
    Some(seen)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn views_put_together_are_what_the_servers_have(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.assert_equal();
        for name in world.views.clone() {
            world.leave(&name);
        }
        for name in world.nodes.clone() {
            world.drop_node(&name);
        }
        let state = world.reader.state();
        prop_assert_eq!((state.nodes().count(), state.services().count()), (0, 0));
    }
}

#[test]
fn a_slot_stays_while_a_service_changes() {
    let mut world = World::new();
    world.step(Step::Instance(0, 0, 0, 80));
    let name = service_name(0);
    world.look(&name);
    world.take(&name);
    let slot = world.reader.dns().service(&name.folded()).unwrap();
    for step in [Step::Instance(1, 0, 0, 80), Step::LeaveInstance(0, 0)] {
        world.step(step);
        world.look(&name);
        world.take(&name);
        let view = slot.load();
        assert!(
            view.as_ref()
                .is_some_and(|view| !view.all.instances().is_empty())
        );
    }
}

#[test]
fn an_older_picture_of_a_node_changes_nothing_of_it() {
    let mut world = World::new();
    world.step(Step::Instance(0, 0, 0, 80));
    world.step(Step::Instance(0, 1, 1, 80));
    let (first, second) = (service_name(0), service_name(1));
    world.look(&first);
    world.step(Step::Check(0, 0, None, Status::Critical));
    world.look(&second);
    world.take(&second);
    world.take(&first);
    for name in [first, second] {
        let seen = seen(&world.reader, &name).unwrap();
        assert_eq!(seen, ["1 critical of 1"], "{name:?}");
    }
}
