//! What members become in the catalog, applied to a real one.
//!
//! Long, since each rule is shown with the members before and after it, and all share one leader.

use super::*;
use crate::catalog::{self, Command, Outcome, Reader, Writer};
use crate::gossip::tags::{Agent, AgentServer};
use crate::types::{Index, Status};

/// An id by its last two digits.
fn id(number: u8) -> NodeId {
    let text = format!("00000000-0000-0000-0000-0000000000{number:02}");
    text.parse().unwrap()
}

fn member(name: &str, number: u8, server: bool) -> Member {
    let server = server.then_some(AgentServer {
        port: 8300,
        wan_join_port: None,
        bootstrap: false,
        expect: 3,
        tls: false,
        commands: 3,
    });
    // The name of a member need not be one that a node can have.
    let agent = Agent {
        node: "any".parse().unwrap(),
        id: id(number),
        datacenter: "dc1".parse().unwrap(),
        version: "0.1.0".into(),
        server,
    };
    Member {
        name: name.into(),
        address: [10, 0, 0, number].into(),
        port: 8301,
        tags: agent.lan_tags(),
        status: MemberStatus::Alive,
        versions: [1, 5, 2, 2, 5, 4],
    }
}

fn client(name: &str, number: u8) -> Member {
    member(name, number, false)
}

fn server(name: &str, number: u8) -> Member {
    member(name, number, true)
}

fn consul_server(name: &str, number: u8) -> Member {
    let mut member = server(name, number);
    member.tags.remove("impl");
    member
}

fn with(mut member: Member, name: &str, value: &str) -> Member {
    member.tags.insert(name.into(), value.into());
    member
}

fn now(mut member: Member, status: MemberStatus) -> Member {
    member.status = status;
    member
}

/// The leader `s1`, its pool and a catalog.
struct Leader {
    config: Config,
    writer: Writer,
    reader: Reader,
    last: Index,
}

impl Leader {
    fn new() -> Self {
        let (writer, reader) = catalog::open_server();
        let node = Node {
            id: Some(id(1)),
            meta: Meta::from_pairs([("rack".into(), "7".into())]),
            ..bare_node(&"s1".parse().unwrap(), Address::from_text("10.0.0.1"))
        };
        let config = Config {
            node,
            datacenter: "dc1".parse().unwrap(),
            interval: std::time::Duration::from_secs(60),
        };
        Self {
            config,
            writer,
            reader,
            last: Index(1),
        }
    }

    fn plan(&self, members: &[Member], reap: bool) -> Plan {
        plan(&self.config, members, &self.reader.state(), reap)
    }

    /// Does what the plan says, and sees that nothing is left to do then.
    fn follow(&mut self, members: &[Member]) {
        let operations = self.plan(members, true).operations;
        self.apply(operations);
        assert_eq!(self.plan(members, true).operations, []);
    }

    fn apply(&mut self, operations: Vec<Operation>) {
        for operation in operations {
            self.last = self.last.next();
            let command = Command {
                request: 0,
                operations: vec![operation],
            };
            let outcomes = self.writer.apply(vec![(self.last, command)]).unwrap();
            let index = self.last;
            assert_eq!(outcomes, [Outcome::Applied { index }]);
        }
    }

    fn entry(&self, name: &str) -> Option<Arc<NodeEntry>> {
        self.reader.state().node(&name.parse().unwrap()).cloned()
    }

    fn names(&self) -> Vec<String> {
        let state = self.reader.state();
        state
            .nodes()
            .map(|entry| entry.node.name.to_string())
            .collect()
    }

    /// Status and output of a node's `serfHealth`.
    fn health(&self, name: &str) -> Option<(Status, String)> {
        let entry = self.entry(name)?;
        let stored = entry.check(&"serfHealth".parse().unwrap())?;
        Some((stored.check.status, stored.check.output.to_string()))
    }

    /// Registers a service without checks, as an agent does for itself.
    fn run(&mut self, name: &str, service: &str) {
        let node = (*self.entry(name).unwrap().node).clone();
        let service = Service {
            id: service.parse().unwrap(),
            name: service.parse().unwrap(),
            meta: Meta::default(),
            ..service_of_a_server()
        };
        self.apply(vec![register(Registration {
            node,
            skip_node_update: true,
            service: Some(service),
            checks: Vec::new(),
        })]);
    }

    fn runs(&self, name: &str) -> Vec<String> {
        let entry = self.entry(name);
        let entry = entry.iter().flat_map(|entry| entry.instances());
        entry
            .map(|instance| instance.service.id.to_string())
            .collect()
    }
}

fn service_of_a_server() -> Service {
    service(&server("any", 9)).unwrap()
}

const ALIVE: &str = "Agent alive and reachable";
const FAILED: &str = "Agent not live or unreachable";

#[test]
fn members_that_are_alive_have_nodes_with_their_health() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1), client("c1", 2)]);
    assert_eq!(leader.names(), ["c1", "s1"]);
    let node = &leader.entry("c1").unwrap().node;
    assert_eq!(
        (node.id, &node.address),
        (Some(id(2)), &Address::from_text("10.0.0.2"))
    );
    for name in ["s1", "c1"] {
        assert_eq!(leader.health(name), Some((Status::Passing, ALIVE.into())));
    }
    // This server's own node is what it says itself.
    assert_eq!(*leader.entry("s1").unwrap().node, leader.config.node);
}

#[test]
fn servers_have_their_service_and_clients_have_not() {
    let mut leader = Leader::new();
    let replica = with(with(server("s2", 2), "nonvoter", "1"), "port", "8400");
    leader.follow(&[server("s1", 1), replica, client("c1", 3)]);
    assert_eq!(leader.runs("s1"), ["consul"]);
    assert_eq!(leader.runs("c1"), Vec::<String>::new());
    let entry = leader.entry("s2").unwrap();
    let service = &entry.instances().next().unwrap().service;
    assert_eq!((service.name.as_str(), service.port), ("consul", 8400));
    let meta: Vec<_> = service.meta.iter().collect();
    let expected = [
        ("non_voter", "true"),
        ("raft_version", "3"),
        ("serf_protocol_current", "2"),
        ("serf_protocol_max", "5"),
        ("serf_protocol_min", "1"),
        ("version", "1.8.7"),
    ];
    assert_eq!(meta, expected);
}

#[test]
fn a_server_that_says_something_else_has_its_service_changed() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1), server("s2", 2)]);
    leader.follow(&[server("s1", 1), with(server("s2", 2), "port", "8400")]);
    let entry = leader.entry("s2").unwrap();
    assert_eq!(entry.instances().next().unwrap().service.port, 8400);
    // It is no server any more.
    leader.run("s2", "web");
    leader.follow(&[server("s1", 1), client("s2", 2)]);
    assert_eq!(leader.runs("s2"), ["web"]);
}

#[test]
fn a_service_of_that_name_that_a_client_registered_stays() {
    let mut leader = Leader::new();
    let members = [server("s1", 1), client("c1", 2)];
    leader.follow(&members);
    leader.run("c1", "consul");
    leader.follow(&members);
    assert_eq!(leader.runs("c1"), ["consul"]);
}

#[test]
fn what_the_agent_says_of_its_node_stays() {
    let mut leader = Leader::new();
    let members = [server("s1", 1), client("c1", 2)];
    leader.follow(&members);
    let said = Node {
        id: Some(id(2)),
        meta: Meta::from_pairs([("rack".into(), "9".into())]),
        ..bare_node(&"c1".parse().unwrap(), Address::from_text("10.0.0.77"))
    };
    leader.apply(vec![register(Registration {
        node: said.clone(),
        skip_node_update: false,
        service: None,
        checks: Vec::new(),
    })]);
    leader.follow(&[server("s1", 1), now(client("c1", 2), MemberStatus::Failed)]);
    leader.follow(&members);
    assert_eq!(*leader.entry("c1").unwrap().node, said);
}

#[test]
fn a_node_moves_with_its_member_until_its_agent_has_spoken() {
    let mut leader = Leader::new();
    let at = |last| {
        let mut member = client("c1", 2);
        member.address = [10, 0, 9, last].into();
        [server("s1", 1), member]
    };
    let address = |leader: &Leader| leader.entry("c1").unwrap().node.address.clone();
    leader.follow(&at(1));
    leader.run("c1", "web");
    leader.follow(&at(2));
    assert_eq!(address(&leader), Address::from_text("10.0.9.2"));
    assert_eq!(leader.runs("c1"), ["web"]);
    // What somebody registered under an address of his own stays there.
    let named = Node {
        id: Some(id(2)),
        tagged_addresses: [("lan".into(), Address::from_text("192.0.2.7"))].into(),
        ..bare_node(&"c1".parse().unwrap(), Address::from_text("192.0.2.7"))
    };
    leader.apply(vec![register(Registration {
        node: named,
        skip_node_update: false,
        service: None,
        checks: Vec::new(),
    })]);
    leader.follow(&at(3));
    assert_eq!(address(&leader), Address::from_text("192.0.2.7"));
}

#[test]
fn a_failed_member_whose_address_changes_is_moved_when_it_is_back() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1), client("c1", 2)]);
    leader.follow(&[server("s1", 1), now(client("c1", 2), MemberStatus::Failed)]);
    let mut back = client("c1", 2);
    back.address = "2001:db8::7".parse().unwrap();
    leader.follow(&[server("s1", 1), back]);
    let node = &leader.entry("c1").unwrap().node;
    assert_eq!(node.address, Address::from_text("2001:db8::7"));
    assert_eq!(leader.health("c1"), Some((Status::Passing, ALIVE.into())));
}

#[test]
fn a_member_that_fails_turns_critical_and_recovers() {
    let mut leader = Leader::new();
    let members = [server("s1", 1), client("c1", 2)];
    leader.follow(&members);
    leader.run("c1", "web");
    let [own, other] = members.clone();
    leader.follow(&[own, now(other, MemberStatus::Failed)]);
    assert_eq!(leader.health("c1"), Some((Status::Critical, FAILED.into())));
    leader.follow(&members);
    assert_eq!(leader.health("c1"), Some((Status::Passing, ALIVE.into())));
    assert_eq!(leader.runs("c1"), ["web"]);
}

#[test]
fn who_fails_or_leaves_without_ever_having_had_a_node_gets_none() {
    let mut leader = Leader::new();
    let failed = now(client("c1", 2), MemberStatus::Failed);
    let left = now(client("c2", 3), MemberStatus::Left);
    leader.follow(&[server("s1", 1), failed, left]);
    assert_eq!(leader.names(), ["s1"]);
}

#[test]
fn who_leaves_goes_and_who_is_about_to_stays() {
    let mut leader = Leader::new();
    let all = [server("s1", 1), client("c1", 2), server("s2", 3)];
    leader.follow(&all);
    let status = |status| all.clone().map(|member| now(member, status));
    leader.follow(&status(MemberStatus::Leaving));
    leader.follow(&status(MemberStatus::None));
    assert_eq!(leader.names(), ["c1", "s1", "s2"]);
    leader.follow(&status(MemberStatus::Left));
    assert_eq!(leader.names(), ["s1"]);
}

#[test]
fn the_leader_never_loses_its_own_node() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1)]);
    let before = consul_server("s1", 1);
    for status in [
        MemberStatus::None,
        MemberStatus::Leaving,
        MemberStatus::Left,
        MemberStatus::Failed,
    ] {
        leader.follow(&[now(server("s1", 1), status)]);
        leader.follow(&[now(before.clone(), status)]);
    }
    leader.follow(&[]);
    assert_eq!(leader.health("s1"), Some((Status::Passing, ALIVE.into())));
}

#[test]
fn nodes_that_nobody_knows_any_more_go_if_they_were_members() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1), client("c1", 2)]);
    let outside = bare_node(&"outside".parse().unwrap(), Address::from_text("192.0.2.1"));
    leader.apply(vec![register(Registration {
        node: outside,
        skip_node_update: false,
        service: None,
        checks: Vec::new(),
    })]);
    // Not before the pool can know its members.
    assert_eq!(leader.plan(&[server("s1", 1)], false).operations, []);
    leader.follow(&[server("s1", 1)]);
    assert_eq!(leader.names(), ["outside", "s1"]);
}

#[test]
fn only_agents_of_this_datacenter_have_nodes() {
    let mut leader = Leader::new();
    let mut plain = client("p1", 2);
    plain.tags.clear();
    leader.follow(&[
        server("s1", 1),
        plain,
        with(client("w1", 3), "role", "web"),
        with(client("c1", 4), "dc", "dc2"),
        with(server("s2", 5), "vsn", "two"),
        consul_server("s3", 6),
    ]);
    assert_eq!(leader.names(), ["s1"]);
}

#[test]
fn a_node_whose_name_a_plain_agent_has_is_left_alone() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1), client("c1", 2)]);
    leader.follow(&[server("s1", 1), with(client("c1", 2), "role", "web")]);
    assert_eq!(leader.names(), ["c1", "s1"]);
}

#[test]
fn a_node_that_became_a_server_of_another_kind_goes() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1), client("c1", 2)]);
    leader.follow(&[server("s1", 1), consul_server("c1", 2)]);
    assert_eq!(leader.names(), ["s1"]);
}

#[test]
fn a_rebuilt_machine_takes_over_the_node_of_its_name_at_once() {
    for status in [MemberStatus::Alive, MemberStatus::Failed] {
        let mut leader = Leader::new();
        let members = [server("s1", 1), client("c1", 2)];
        leader.follow(&members);
        leader.run("c1", "web");
        let [own, old] = members;
        leader.follow(&[own.clone(), now(old, status)]);
        leader.follow(&[own, client("c1", 3)]);
        let node = &leader.entry("c1").unwrap().node;
        assert_eq!(
            (node.id, &node.address),
            (Some(id(3)), &Address::from_text("10.0.0.3"))
        );
        assert_eq!(leader.health("c1"), Some((Status::Passing, ALIVE.into())));
        // What ran there does not vanish before the new agent has spoken.
        assert_eq!(leader.runs("c1"), ["web"]);
    }
}

#[test]
fn a_renamed_machine_keeps_its_node_and_what_runs_there() {
    for status in [MemberStatus::Failed, MemberStatus::Left] {
        let mut leader = Leader::new();
        leader.follow(&[server("s1", 1), client("old", 2)]);
        leader.run("old", "web");
        let before = now(client("old", 2), status);
        leader.follow(&[server("s1", 1), before, client("new", 2)]);
        assert_eq!(leader.names(), ["new", "s1"]);
        assert_eq!(leader.runs("new"), ["web"]);
        assert_eq!(leader.health("new"), Some((Status::Passing, ALIVE.into())));
    }
}

#[test]
fn machines_that_exchange_their_names_end_up_with_them() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1), client("a", 2), client("b", 3)]);
    leader.follow(&[server("s1", 1), client("a", 3), client("b", 2)]);
    let stored = |name| leader.entry(name).unwrap().node.id;
    assert_eq!((stored("a"), stored("b")), (Some(id(3)), Some(id(2))));
    leader.follow(&[server("s1", 1), client("a", 2), client("c", 3)]);
    assert_eq!(leader.names(), ["a", "c", "s1"]);
}

#[test]
fn a_chain_of_new_names_ends_up_right() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1), client("a", 2), client("c", 4)]);
    leader.follow(&[server("s1", 1), client("b", 2), client("a", 4)]);
    let stored = |name| leader.entry(name).unwrap().node.id;
    assert_eq!(leader.names(), ["a", "b", "s1"]);
    assert_eq!((stored("a"), stored("b")), (Some(id(4)), Some(id(2))));
}

#[test]
fn two_members_with_one_id_do_not_take_the_node_from_each_other() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1), client("b", 2)]);
    leader.follow(&[server("s1", 1), client("a", 2), client("b", 2)]);
    assert_eq!(leader.names(), ["a", "b", "s1"]);
    let stored = |name| leader.entry(name).unwrap().node.id;
    assert_eq!((stored("a"), stored("b")), (None, Some(id(2))));
}

#[test]
fn a_node_without_an_id_is_that_of_the_member_with_its_name() {
    let mut leader = Leader::new();
    let there = bare_node(&"c1".parse().unwrap(), Address::from_text("10.0.0.2"));
    leader.apply(vec![register(Registration {
        node: there.clone(),
        skip_node_update: false,
        service: None,
        checks: Vec::new(),
    })]);
    leader.follow(&[server("s1", 1), client("c1", 2)]);
    assert_eq!(*leader.entry("c1").unwrap().node, there);
    assert_eq!(leader.health("c1"), Some((Status::Passing, ALIVE.into())));
}

#[test]
fn a_member_without_an_id_gets_a_node_without_one() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1), with(client("c1", 2), "id", "?")]);
    assert_eq!(leader.entry("c1").unwrap().node.id, None);
}

#[test]
fn of_two_names_that_differ_by_case_the_living_one_counts() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1), client("C1", 2)]);
    let gone = now(client("C1", 2), MemberStatus::Left);
    leader.follow(&[server("s1", 1), gone.clone(), client("c1", 2)]);
    leader.follow(&[server("s1", 1), client("c1", 2), gone]);
    assert_eq!(leader.health("c1"), Some((Status::Passing, ALIVE.into())));
}

#[test]
fn nobody_takes_this_node_with_another_spelling_of_its_name() {
    let mut leader = Leader::new();
    leader.follow(&[server("s1", 1)]);
    leader.follow(&[client("S1", 2), server("s1", 1)]);
    leader.follow(&[server("s1", 1), now(client("S1", 2), MemberStatus::Left)]);
    assert_eq!(*leader.entry("s1").unwrap().node, leader.config.node);
    assert_eq!(leader.runs("s1"), ["consul"]);
}

#[test]
fn names_that_no_node_can_have_are_told() {
    let leader = Leader::new();
    let long = "n".repeat(181);
    let plan = leader.plan(
        &[
            client("a..b", 2),
            client(&long, 3),
            client("c1", 4),
            with(client("x..y", 5), "role", "web"),
        ],
        true,
    );
    assert_eq!(plan.unusable, ["a..b".to_owned(), long]);
    assert_eq!(plan.operations.len(), 1);
}
