//! Random command sequences against a naive model, and views against those made from nothing.
//!
//! Long, since model, generators and the checks that compare them are of no use apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::catalog::State;
use crate::catalog::index::{Family, InstanceView, ServiceView, Subset};
use crate::catalog::state::AddressOwner;
use crate::catalog::view::NodeView;
use crate::types::{CheckId, ServiceId, ServiceName};

const NODES: [&str; 5] = ["n1", "N1", "n2", "a.n1", "n3"];
const SERVICES: [&str; 3] = ["web", "WEB", "db"];
const IDS: [&str; 4] = ["x", "X", "y", "z"];
const TAGS: [&str; 5] = ["t", "T", "u.v", "w.V", "s"];
const ADDRESSES: [&str; 7] = [
    "",
    "10.0.0.1",
    "10.0.0.2",
    "::ffff:10.0.0.2",
    "2001:db8::1",
    "h.example",
    "bad..host",
];
const CHECKS: [&str; 5] = ["c1", "C1", "c2", "serfHealth", "_node_maintenance"];

/// A catalog that one can see is right.
#[derive(Clone, Debug, Default)]
struct Model(BTreeMap<NodeName, ModelNode>);

#[derive(Clone, Debug)]
struct ModelNode {
    node: Node,
    services: BTreeMap<ServiceId, Service>,
    checks: BTreeMap<CheckId, Check>,
    location: Option<Coordinate>,
}

impl Model {
    /// Whether the command was carried out.
    fn apply(&mut self, operations: &[Operation]) -> bool {
        let before = self.clone();
        let done = operations.iter().all(|operation| match operation {
            Operation::Register(registration) => self.register(registration),
            Operation::Deregister(what) => self.deregister(what),
            Operation::Locate(locations) => self.locate(locations),
        });
        if !done {
            *self = before;
        }
        done
    }

    fn register(&mut self, registration: &Registration) -> bool {
        let Registration { node, .. } = registration;
        let kept = registration.skip_node_update && self.0.contains_key(&node.name);
        if !kept && !self.put_node(node) {
            return false;
        }
        let entry = self.0.get_mut(&node.name).unwrap();
        if let Some(service) = &registration.service {
            entry.services.remove(&service.id);
            entry.services.insert(service.id.clone(), service.clone());
        }
        registration.checks.iter().all(|check| {
            let mut check = check.clone();
            if let Some(id) = &mut check.service_id {
                let Some(service) = entry.services.get(id) else {
                    return false;
                };
                *id = service.id.clone();
            }
            if let Some((known, _)) = entry.checks.get_key_value(&check.id) {
                check.id = known.clone();
            }
            entry.checks.insert(check.id.clone(), check);
            true
        })
    }

    fn put_node(&mut self, node: &Node) -> bool {
        let same_id = |entry: &&ModelNode| node.id.is_some() && entry.node.id == node.id;
        let by_id = self.0.values().find(same_id).map(|e| e.node.name.clone());
        let renamed = by_id.filter(|name| *name != node.name);
        if let (Some(owner), Some(_)) = (self.0.get(&node.name), node.id)
            && owner.node.id != node.id
            && (owner.node.id.is_some() || renamed.is_some())
        {
            let agent = owner.checks.get(&name("serfHealth"));
            if agent.is_none_or(|check| check.status != Status::Critical) {
                return false;
            }
        }
        let from = renamed.unwrap_or_else(|| node.name.clone());
        let kept = self.0.remove(&from);
        self.0.remove(&node.name);
        let kept = kept.map(|e| (e.services, e.checks, e.location));
        let (services, checks, location) = kept.unwrap_or_default();
        let entry = ModelNode {
            node: node.clone(),
            services,
            checks,
            location,
        };
        self.0.insert(node.name.clone(), entry);
        true
    }

    /// Whether `node`, known under another name, takes that of a dead one, which goes with all that
    /// is on it.
    fn is_taken_over(&self, node: &Node) -> bool {
        let elsewhere =
            |entry: &ModelNode| entry.node.id == node.id && entry.node.name != node.name;
        node.id.is_some() && self.0.contains_key(&node.name) && self.0.values().any(elsewhere)
    }

    fn deregister(&mut self, what: &Deregistration) -> bool {
        match what {
            Deregistration::Node(name) => drop(self.0.remove(name)),
            Deregistration::Service(name, id) => {
                if let Some(entry) = self.0.get_mut(name) {
                    entry.services.remove(id);
                    entry
                        .checks
                        .retain(|_, check| check.service_id.as_ref() != Some(id));
                }
            }
            Deregistration::Check(name, id) => {
                if let Some(entry) = self.0.get_mut(name) {
                    entry.checks.remove(id);
                }
            }
        }
        true
    }

    fn locate(&mut self, locations: &[Location]) -> bool {
        for Location { node, coordinate } in locations {
            if let Some(entry) = self.0.get_mut(node) {
                entry.location = Some(*coordinate);
            }
        }
        true
    }

    /// What a read of `key` shows, as text.
    fn seen(&self, key: &WatchKey) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in self.0.values() {
            entry.show(key, &mut lines);
        }
        lines
    }

    fn owner_of(&self, ip: IpAddr) -> Option<NodeName> {
        let nodes = self.0.values();
        let mut named = nodes.filter(|entry| entry.node.address.ip() == Some(ip));
        named.next().map(|entry| entry.node.name.clone())
    }

    fn services(&self) -> impl Iterator<Item = &Service> {
        self.0.values().flat_map(|entry| entry.services.values())
    }
}

impl ModelNode {
    fn show(&self, key: &WatchKey, lines: &mut Vec<String>) {
        let mut show = |value: &dyn Debug| lines.push(format!("{} {value:?}", self.node.name));
        let of_service = |name: &ServiceName| {
            let name = name.clone();
            self.services.values().filter(move |s| s.name == name)
        };
        let checks_of = |id: Option<&ServiceId>| {
            let id = id.cloned();
            self.checks.values().filter(move |c| c.service_id == id)
        };
        let labelled = |check: &Check| {
            let service = check.service_id.as_ref().map(|id| &self.services[id]);
            format!("{check:?} {:?}", service.map(|s| (&s.name, &s.tags)))
        };
        match key {
            WatchKey::Nodes => show(&self.node),
            WatchKey::Services => self.services.values().for_each(|s| show(s)),
            WatchKey::Checks => self.checks.values().for_each(|c| show(&labelled(c))),
            WatchKey::NodeServices(name) if *name == self.node.name => {
                show(&(&self.node, &self.services));
            }
            WatchKey::NodeChecks(name) if *name == self.node.name => {
                self.checks.values().for_each(|c| show(&labelled(c)));
            }
            WatchKey::NodeLocation(name) if *name == self.node.name => {
                self.location.iter().for_each(|l| show(l));
            }
            WatchKey::NodeServices(_) | WatchKey::NodeChecks(_) | WatchKey::NodeLocation(_) => {}
            WatchKey::Locations => self.location.iter().for_each(|l| show(l)),
            WatchKey::ServiceInstances(name) => {
                of_service(name).for_each(|s| show(&(&self.node, s)));
            }
            WatchKey::ServiceChecks(name) => of_service(name)
                .flat_map(|s| checks_of(Some(&s.id)))
                .for_each(|c| show(&labelled(c))),
            WatchKey::ServiceHealth(name) => of_service(name).for_each(|service| {
                let own: Vec<_> = checks_of(Some(&service.id)).collect();
                let nodes: Vec<_> = checks_of(None).collect();
                show(&(&self.node, service, own, nodes));
            }),
        }
    }
}

pub(super) fn keys() -> Vec<WatchKey> {
    let mut keys = vec![WatchKey::Nodes, WatchKey::Services, WatchKey::Checks];
    keys.push(WatchKey::Locations);
    for node in NODES.map(name::<NodeName>) {
        keys.push(WatchKey::NodeServices(node.clone()));
        keys.push(WatchKey::NodeChecks(node.clone()));
        keys.push(WatchKey::NodeLocation(node));
    }
    for service in SERVICES.map(name::<ServiceName>) {
        keys.push(WatchKey::ServiceInstances(service.clone()));
        keys.push(WatchKey::ServiceChecks(service.clone()));
        keys.push(WatchKey::ServiceHealth(service));
    }
    keys
}

/// Whether what the key names exists.
fn exists(state: &State, key: &WatchKey) -> bool {
    match key {
        WatchKey::Nodes | WatchKey::Services | WatchKey::Checks | WatchKey::Locations => true,
        WatchKey::NodeServices(name) | WatchKey::NodeChecks(name) => state.node(name).is_some(),
        WatchKey::ServiceInstances(name)
        | WatchKey::ServiceChecks(name)
        | WatchKey::ServiceHealth(name) => state.service(name).is_some(),
        WatchKey::NodeLocation(name) => state.node(name).is_some_and(|e| e.location.is_some()),
    }
}

fn any_service() -> impl Strategy<Value = Service> {
    let tags = vec(select(&TAGS[..]), 0..4);
    let lan_v6 = prop::option::weighted(0.2, select(&["2001:db8::1", "2001:db8::2"][..]));
    let (id, service_name) = (select(&IDS[..]), select(&SERVICES[..]));
    let parts = (
        id,
        service_name,
        tags,
        select(&ADDRESSES[..]),
        80..82_u16,
        lan_v6,
    );
    parts.prop_map(|(id, service_name, tags, address, port, lan_v6)| {
        let mut own = service(id, service_name, &tags, address);
        own.port = port;
        match lan_v6 {
            Some(lan_v6) => with_tagged(own, "lan_ipv6", lan_v6),
            None => own,
        }
    })
}

fn any_check() -> impl Strategy<Value = Check> {
    let status = select(&[Status::Passing, Status::Warning, Status::Critical][..]);
    let own_service = prop::option::of(select(&IDS[..]));
    (select(&CHECKS[..]), own_service, status)
        .prop_map(|(id, own_service, status)| check(id, own_service, status))
}

fn any_node() -> impl Strategy<Value = Node> {
    let id = prop::option::weighted(0.4, 1..4_u8);
    (select(&NODES[..]), select(&ADDRESSES[..]), id).prop_map(|(name, address, id)| match id {
        Some(id) => node_with_id(name, address, id),
        None => node(name, address),
    })
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let service = prop::option::weighted(0.7, any_service());
    // Each id once: of two checks with one id the last wins, and a repetition then is a change.
    let checks = vec(any_check(), 0..3).prop_map(|checks| {
        let by_id: BTreeMap<_, _> = checks.into_iter().map(|c| (c.id.clone(), c)).collect();
        by_id.into_values().collect()
    });
    let register = (any_node(), any::<bool>(), service, checks).prop_map(
        |(node, skip_node_update, service, checks)| {
            Operation::Register(Box::new(Registration {
                node,
                skip_node_update,
                service,
                checks,
            }))
        },
    );
    let what = (
        select(&NODES[..]),
        select(&IDS[..]),
        select(&CHECKS[..]),
        0..5,
    );
    let deregister = what.prop_map(|(node, id, check, kind)| match kind {
        0 => deregister_node(node),
        1 | 2 => deregister_service(node, id),
        _ => deregister_check(node, check),
    });
    // Each node once, as with the checks.
    let places = prop::collection::btree_map(select(&NODES[..]).prop_map(name), 0..3_u8, 1..3);
    let locate = places.prop_map(|places| {
        let places = places.into_iter();
        Operation::Locate(places.map(|(node, place)| located(node, place)).collect())
    });
    prop_oneof![8 => register, 2 => deregister, 1 => locate]
}

pub(super) fn any_log() -> impl Strategy<Value = Vec<Vec<Operation>>> {
    let one = vec(any_operation(), 1..2);
    let several = vec(any_operation(), 2..4);
    vec(prop_oneof![3 => one, 1 => several], 1..40)
}

fn check_contents(state: &State, model: &Model) {
    assert_eq!(state.nodes().count(), model.0.len());
    for (entry, expected) in state.nodes().zip(model.0.values()) {
        let text = |value: &dyn Debug| format!("{value:?}");
        assert_eq!(text(&entry.node), text(&expected.node));
        let services: Vec<_> = entry.instances().map(|i| text(&i.service)).collect();
        let wanted: Vec<_> = expected.services.values().map(|s| text(s)).collect();
        assert_eq!(services, wanted);
        let checks: Vec<_> = entry.checks().map(|c| text(&c.check)).collect();
        let wanted: Vec<_> = expected.checks.values().map(|c| text(c)).collect();
        assert_eq!(checks, wanted);
        let of_node = entry.node_checks().map(|c| text(&c.check));
        let wanted = expected.checks.values().filter(|c| c.service_id.is_none());
        assert!(of_node.eq(wanted.map(|c| text(c))));
        let location = entry.location.as_ref();
        assert_eq!(location.map(|found| found.coordinate), expected.location);
        for instance in entry.instances() {
            assert!(instance.node.same_spelling(&entry.node.name));
            let id = Some(&instance.service.id);
            let wanted = entry.checks().filter(|c| c.check.service_id.as_ref() == id);
            let own: Vec<_> = instance.checks.iter().map(Arc::as_ptr).collect();
            assert_eq!(own, wanted.map(Arc::as_ptr).collect::<Vec<_>>());
        }
        if let Some(id) = entry.node.id {
            assert!(Arc::ptr_eq(state.node_by_id(id).unwrap(), entry));
        }
    }
    assert_eq!(
        state.ids.len(),
        state.nodes().filter(|n| n.node.id.is_some()).count()
    );
}

/// What is counted along the way is what there is.
fn check_tally(state: &State, model: &Model) {
    assert_eq!(state.node_count(), model.0.len());
    assert_eq!(state.service_count(), state.services().count());
    assert_eq!(state.instance_count(), model.services().count() as u64);
    for status in [Status::Passing, Status::Warning, Status::Critical] {
        let checks = model.0.values().flat_map(|entry| entry.checks.values());
        let expected = checks.filter(|check| check.status == status).count() as u64;
        assert_eq!(state.check_count(status), expected, "{status:?}");
    }
}

fn check_services(state: &State, model: &Model) {
    let names: BTreeSet<_> = model.services().map(|s| s.name.clone()).collect();
    assert!(state.services().map(|s| s.name.clone()).eq(names));
    for entry in state.services() {
        let own: Vec<_> = entry.instances().map(Arc::as_ptr).collect();
        let all = state.nodes().flat_map(|node| node.instances());
        let expected = all.filter(|instance| instance.service.name == entry.name);
        assert_eq!(own, expected.map(Arc::as_ptr).collect::<Vec<_>>());
        assert_eq!(own.len(), entry.len());
        let tags: BTreeSet<_> = entry
            .instances()
            .flat_map(|i| i.service.tags.iter())
            .collect();
        assert!(entry.tags().iter().eq(tags));
    }
}

fn check_index(catalog: &Catalog, model: &Model) {
    let (state, dns) = (catalog.reader.state(), catalog.reader.dns());
    for tag in TAGS.map(str::to_ascii_lowercase) {
        let used = model.services().any(|service| service.has_tag(&tag));
        assert_eq!(dns.is_tag(tag.as_bytes()), used);
    }
    let dotted = state.node(&name("a.n1")).is_some();
    assert_eq!(dns.is_node_suffix(b"n1"), dotted);
    for ip in ADDRESSES
        .iter()
        .filter_map(|text| Address::from_text(text).ip())
    {
        let has = |service: &&Service| service.address.ip() == Some(ip);
        let owner = state.owner_of(ip);
        match model.owner_of(ip) {
            Some(node) => assert_eq!(owner, Some(AddressOwner::Node(node))),
            None => assert_eq!(owner.is_some(), model.services().any(|s| has(&s))),
        }
        if let Some(AddressOwner::Service(name)) = owner {
            assert!(model.services().filter(has).any(|s| s.name == name));
        }
    }
}

pub(super) fn check_views(catalog: &Catalog) {
    let (state, dns) = (catalog.reader.state(), catalog.reader.dns());
    assert_eq!(dns.nodes.len(), state.nodes().count());
    assert_eq!(dns.services.len(), state.services().count());
    for entry in state.nodes() {
        let slot = dns.node(&entry.node.name.folded()).unwrap();
        assert!(Arc::ptr_eq(&slot, &entry.slot));
        let fresh = NodeView::new(&entry.node);
        assert_eq!(
            format!("{:?}", slot.load().as_ref().unwrap()),
            format!("{fresh:?}")
        );
    }
    for entry in state.services() {
        let slot = dns.service(&entry.name.folded()).unwrap();
        assert!(Arc::ptr_eq(&slot, &entry.slot));
        let view = slot.load().clone().unwrap();
        let fresh = ServiceView::build(entry, |name| state.nodes.get(name));
        assert_eq!(format!("{view:?}"), format!("{fresh:?}"));
        check_subset(&view.all);
        for (_, subset) in view.subsets() {
            check_subset(subset);
            assert!(subset.registered() > 0);
        }
        assert_eq!(view.all.registered(), entry.len());
        for node in view.all.instances().iter().map(|instance| &instance.node) {
            assert!(Arc::ptr_eq(node, &state.node(&node.name).unwrap().view));
        }
    }
}

/// Order, ranges and duplicates against a scan.
fn check_subset(subset: &Subset) {
    let all: Vec<_> = subset.instances().iter().collect();
    assert!(all.windows(2).all(|pair| pair[0].compare(pair[1]).is_lt()));
    for family in [Family::V4, Family::Both, Family::V6, Family::Host] {
        for warning in [false, true] {
            let range = subset.range(family, warning);
            let inside = |v: &InstanceView| v.family() == family && v.warning == warning;
            for (place, view) in all.iter().enumerate() {
                assert_eq!(range.contains(&place), inside(view));
            }
        }
    }
    let shares = |left: &InstanceView, right: &InstanceView| {
        let host = |view: &InstanceView| view.host().map(<[u8]>::to_ascii_lowercase);
        left.v4.is_some() && left.v4 == right.v4
            || left.v6.is_some() && left.v6 == right.v6
            || left.family() == Family::Host && host(left) == host(right)
    };
    let later = |(place, view): &(usize, &&Arc<InstanceView>)| {
        all.iter().take(*place).any(|before| shares(before, view))
    };
    let duplicates = all.iter().enumerate().filter(later).count();
    assert!(duplicates == 0 || subset.duplicates() > 0);
    if !all.iter().any(|view| view.family() == Family::Both) {
        assert_eq!(subset.duplicates(), duplicates);
    }
}

/// Applies `operations` as one command, and checks every index against what it stands for.
fn step(catalog: &mut Catalog, model: &mut Model, operations: Vec<Operation>) {
    let keys = keys();
    let (old, old_model) = (catalog.reader.state(), model.clone());
    // What comes and goes within one command moves indexes without a trace.
    let single = match &*operations {
        [Operation::Register(one)] => {
            let taken_over = !one.skip_node_update && old_model.is_taken_over(&one.node);
            (one.service.is_none() || one.checks.is_empty()) && !taken_over
        }
        [Operation::Deregister(_) | Operation::Locate(_)] => true,
        _ => false,
    };
    let done = model.apply(&operations);
    let outcome = catalog.apply(operations);
    assert_eq!(matches!(outcome, Outcome::Applied { .. }), done);
    let new = catalog.reader.state();
    for key in keys {
        let (before, after) = (old.index_of(&key), new.index_of(&key));
        assert!(before <= after, "{key:?} goes backwards");
        if old_model.seen(&key) != model.seen(&key) {
            assert_eq!(after, new.applied(), "{key:?} changed and does not move");
        } else if single && exists(&old, &key) && exists(&new, &key) {
            assert_eq!(before, after, "{key:?} moves without a change");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_state_is_that_of_a_naive_model(log in any_log()) {
        let (mut catalog, mut model) = (Catalog::new(), Model::default());
        for operations in log {
            step(&mut catalog, &mut model, operations);
            let state = catalog.reader.state();
            check_contents(&state, &model);
            check_tally(&state, &model);
            check_services(&state, &model);
            check_index(&catalog, &model);
            check_views(&catalog);
        }
    }

    #[test]
    fn one_log_gives_one_state_however_it_is_cut(log in any_log(), batch in 1..9_usize) {
        let (mut whole, mut cut) = (Catalog::new(), Catalog::new());
        let commands: Vec<_> = log
            .into_iter()
            .zip(1..)
            .map(|(operations, index)| (Index(index), Command { request: 0, operations }))
            .collect();
        let outcomes = whole.writer.apply(commands.clone()).unwrap();
        let mut others = Vec::new();
        for batch in commands.chunks(batch) {
            others.extend(cut.writer.apply(batch.to_vec()).unwrap());
            check_views(&cut);
        }
        check_views(&whole);
        prop_assert_eq!(outcomes, others);
        let text = |catalog: &Catalog| format!("{:?}", catalog.reader.state());
        prop_assert_eq!(text(&whole), text(&cut));
    }

    #[test]
    fn a_repeated_registration_moves_nothing(log in any_log(), last in any_operation()) {
        let mut catalog = Catalog::new();
        for operations in log {
            catalog.apply(operations);
        }
        catalog.apply(vec![last.clone()]);
        let before = catalog.reader.state();
        catalog.apply(vec![last]);
        let after = catalog.reader.state();
        for key in keys() {
            prop_assert_eq!(before.index_of(&key), after.index_of(&key));
        }
    }

    #[test]
    fn big_services_are_kept_up_too(
        changes in vec((0..400_u16, 0..5_u8, select(&[Status::Passing, Status::Warning, Status::Critical][..])), 1..200),
    ) {
        let mut catalog = Catalog::new();
        let address = |number: u16| format!("10.0.{}.{}", number % 3, number / 4);
        let put = |number: u16, status| {
            let id = format!("i{number}");
            let own = Some(service(&id, "web", &["t"], &address(number)));
            let host = node(&format!("n{}", number % 50), "10.1.0.1");
            registration(host, own, vec![check(&id, Some(&id), status)])
        };
        let fill: Vec<_> = (0..400).map(|number| put(number, Status::Passing)).collect();
        catalog.apply(fill);
        for (number, kind, status) in changes {
            let host = format!("n{}", number % 50);
            let operation = match kind {
                0 => deregister_service(&host, &format!("i{number}")),
                1 => on(&host, None, vec![check("node", None, status)]),
                _ => put(number, status),
            };
            catalog.change([operation]);
        }
        check_views(&catalog);
    }
}
