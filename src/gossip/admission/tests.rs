use super::*;
use crate::gossip::serf::Tags;
use crate::gossip::tags::{Agent, AgentServer};

const OWN_ID: &str = "00000000-0000-0000-0000-0000000000aa";
const OTHER_ID: &str = "00000000-0000-0000-0000-0000000000bb";

/// Somebody in a pool, with the tags that matter.
#[derive(Clone)]
struct Somebody {
    name: String,
    address: SocketAddr,
    tags: Tags,
    state: State,
}

impl Somebody {
    fn new(name: &str, tags: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            name: name.to_owned(),
            address: ([10, 0, 0, 9], 8301).into(),
            tags: tags.iter().map(owned).collect(),
            state: State::Alive,
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.tags.insert(name.to_owned(), value.to_owned());
        self
    }

    fn now(mut self, state: State) -> Self {
        self.state = state;
        self
    }

    fn at(mut self, ip: [u8; 4]) -> Self {
        self.address = (ip, 8301).into();
        self
    }

    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            name: &self.name,
            address: self.address,
            tags: &self.tags,
            state: self.state,
        }
    }
}

fn consul_server(name: &str) -> Somebody {
    let tags = [
        ("role", "consul"),
        ("dc", "dc1"),
        ("segment", ""),
        ("port", "8300"),
        ("vsn", "2"),
        ("build", "1.8.7:"),
    ];
    Somebody::new(name, &tags)
}

fn consul_client(name: &str) -> Somebody {
    let tags = [
        ("role", "node"),
        ("dc", "dc1"),
        ("segment", ""),
        ("build", "1.8.7:"),
    ];
    Somebody::new(name, &tags)
}

fn herald_server(name: &str) -> Somebody {
    consul_server(name)
        .with("build", "1.8.7:herald")
        .with("impl", "herald/0.1.0")
}

fn plain(name: &str) -> Somebody {
    Somebody::new(name, &[])
}

/// The rules of `n1` at 10.0.0.1.
fn lan(server: bool) -> Lan {
    let as_server = AgentServer {
        port: 8300,
        wan_join_port: None,
        bootstrap: false,
        expect: 3,
        tls: false,
        commands: 2,
    };
    let own = Agent {
        node: "n1".parse().unwrap(),
        id: OWN_ID.parse().unwrap(),
        datacenter: "dc1".parse().unwrap(),
        version: "0.1.0".into(),
        server: server.then_some(as_server),
    };
    Lan::new(&own, [10, 0, 0, 1].into())
}

/// What all three questions say, which must agree where only one is asked about.
fn verdict(rules: &impl Admission, somebody: &Somebody) -> Result<(), String> {
    let candidate = somebody.candidate();
    let enter = rules.may_enter(&candidate);
    assert_eq!(rules.may_merge(std::slice::from_ref(&candidate)), enter);
    assert_eq!(rules.may_join(std::slice::from_ref(&candidate)), enter);
    enter.map_err(|Refusal(text)| text)
}

fn merge(rules: &Lan, all: &[Somebody]) -> Result<(), String> {
    let candidates: Vec<_> = all.iter().map(Somebody::candidate).collect();
    let merged = rules.may_merge(&candidates);
    assert_eq!(rules.may_join(&candidates), merged);
    merged.map_err(|Refusal(text)| text)
}

#[test]
fn agents_of_the_datacenter_and_plain_ones_may_enter() {
    for rules in [lan(true), lan(false)] {
        for somebody in [
            consul_client("c1"),
            herald_server("h1"),
            plain("p1"),
            Somebody::new("w1", &[("role", "web"), ("dc", "elsewhere")]),
        ] {
            assert_eq!(verdict(&rules, &somebody), Ok(()), "{}", somebody.name);
        }
    }
}

#[test]
fn members_of_another_datacenter_or_segment_are_refused() {
    for (somebody, expected) in [
        (
            consul_client("c1").with("dc", "dc2"),
            "Member 'c1' part of wrong datacenter 'dc2'",
        ),
        (
            herald_server("h1").with("dc", "dc2"),
            "Member 'h1' part of wrong datacenter 'dc2'",
        ),
        (
            Somebody::new("c2", &[("role", "node")]),
            "Member 'c2' part of wrong datacenter ''",
        ),
        (
            consul_client("c3").with("segment", "alpha"),
            "Member 'c3' part of wrong segment 'alpha' (expected '')",
        ),
        (
            plain("p1").with("segment", "alpha"),
            "Member 'p1' part of wrong segment 'alpha' (expected '')",
        ),
    ] {
        for rules in [lan(true), lan(false)] {
            assert_eq!(verdict(&rules, &somebody), Err(expected.to_owned()));
        }
    }
}

#[test]
fn one_bad_member_keeps_all_of_its_side_out() {
    let all = [consul_client("c1"), consul_client("c2").with("dc", "dc2")];
    let expected = "Member 'c2' part of wrong datacenter 'dc2'";
    assert_eq!(merge(&lan(false), &all), Err(expected.to_owned()));
}

#[test]
fn another_member_with_the_id_of_this_agent_is_refused() {
    let somebody = consul_client("c1").with("id", OWN_ID);
    let expected = format!("Member 'c1' has conflicting node ID '{OWN_ID}' with this agent's ID");
    assert_eq!(verdict(&lan(false), &somebody), Err(expected));
    let capitals = OWN_ID.to_uppercase();
    assert!(verdict(&lan(false), &consul_client("c1").with("id", &capitals)).is_err());
    // What this agent was called before is no conflict.
    for state in [State::Dead, State::Left] {
        assert_eq!(verdict(&lan(false), &somebody.clone().now(state)), Ok(()));
    }
}

#[test]
fn two_members_with_one_id_are_refused_unless_one_is_old_or_gone() {
    let first = consul_client("c1").with("id", OTHER_ID);
    let second = consul_client("c2").with("id", OTHER_ID);
    let conflict = format!("Member 'c2' has conflicting node ID '{OTHER_ID}' with member 'c1'");
    let merged = |first: Somebody, second: Somebody| merge(&lan(false), &[first, second]);
    assert_eq!(merged(first.clone(), second.clone()), Err(conflict.clone()));
    for state in [State::Dead, State::Left] {
        assert_eq!(merged(first.clone(), second.clone().now(state)), Ok(()));
        assert_eq!(merged(first.clone().now(state), second.clone()), Ok(()));
    }
    let suspect = second.clone().now(State::Suspect);
    assert_eq!(merged(first.clone(), suspect), Err(conflict.clone()));
    assert_eq!(
        merged(first.clone().with("build", "0.8.4"), second.clone()),
        Ok(())
    );
    assert_eq!(
        merged(first.clone().with("build", "?"), second.clone()),
        Ok(())
    );
    let oldest = first.clone().with("build", "0.8.5");
    assert_eq!(merged(oldest, second.clone()), Err(conflict));
    assert_eq!(merged(first.with("id", ""), second.with("id", "")), Ok(()));
}

#[test]
fn a_server_keeps_servers_of_consul_out_while_they_are_there() {
    let expected = "Member 's1' is a server of another kind (build '1.8.7:'), \
        which cannot share a pool with this one";
    for state in [State::Alive, State::Suspect] {
        let somebody = consul_server("s1").now(state);
        assert_eq!(verdict(&lan(true), &somebody), Err(expected.to_owned()));
        let all = [consul_client("c1"), herald_server("h1"), somebody];
        assert_eq!(merge(&lan(true), &all), Err(expected.to_owned()));
    }
    // One that others would not use as a server would still be taken for one by a leader.
    let odd = Somebody::new("s2", &[("role", "consul"), ("dc", "dc1")]);
    assert!(verdict(&lan(true), &odd).is_err());
    let other = consul_server("s3").with("impl", "somebody/1");
    assert!(verdict(&lan(true), &other).is_err());
}

#[test]
fn herald_servers_join_through_surviving_clients_that_list_stopped_consul_servers() {
    let left_behind = [
        consul_client("c1"),
        consul_client("c2"),
        consul_server("s1").now(State::Dead),
        consul_server("s2").now(State::Left),
        consul_server("s3").now(State::Dead).at([10, 0, 0, 3]),
        herald_server("h2"),
    ];
    assert_eq!(merge(&lan(true), &left_behind), Ok(()));
    for somebody in &left_behind {
        assert_eq!(verdict(&lan(true), somebody), Ok(()), "{}", somebody.name);
    }
}

#[test]
fn a_herald_server_takes_the_place_of_a_consul_server_of_its_name_and_address() {
    let before = consul_server("n1").with("id", OWN_ID).at([10, 0, 0, 1]);
    for state in [State::Alive, State::Suspect, State::Dead, State::Left] {
        let before = before.clone().now(state);
        assert_eq!(verdict(&lan(true), &before), Ok(()));
        let moved = before.clone().with("dc", "dc2");
        assert_eq!(verdict(&lan(true), &moved), Ok(()));
    }
    // At another address it is somebody else, who is still there.
    assert!(verdict(&lan(true), &before.at([10, 0, 0, 2])).is_err());
}

#[test]
fn a_client_joins_either_kind_of_servers() {
    let all = [
        consul_server("s1"),
        consul_server("s2"),
        consul_client("c1"),
    ];
    assert_eq!(merge(&lan(false), &all), Ok(()));
    let all = [herald_server("h1"), consul_client("c1")];
    assert_eq!(merge(&lan(false), &all), Ok(()));
}

#[test]
fn the_wan_pool_has_servers_of_both_kinds_and_nobody_else() {
    for somebody in [
        consul_server("s1.dc1"),
        herald_server("h1.dc2").with("dc", "dc2"),
    ] {
        assert_eq!(verdict(&Wan, &somebody), Ok(()));
    }
    for somebody in [
        consul_client("c1"),
        plain("c1"),
        consul_server("c1").with("port", "x"),
    ] {
        let expected = "Member 'c1' is not a server";
        assert_eq!(verdict(&Wan, &somebody), Err(expected.to_owned()));
        assert_eq!(verdict(&Wan, &somebody.now(State::Left)), Ok(()));
    }
}

#[test]
fn an_open_pool_lets_everybody_in() {
    assert_eq!(
        verdict(&Open, &consul_server("s1").with("dc", "dc2")),
        Ok(())
    );
}
