use super::*;
use crate::types::MemberStatus;

const ID: &str = "204be26b-3673-d00d-0bce-ad280c546c67";

fn agent(server: Option<AgentServer>) -> Agent {
    Agent {
        node: "n1".parse().unwrap(),
        id: ID.parse().unwrap(),
        datacenter: "dc1".parse().unwrap(),
        version: "0.1.0".into(),
        server,
    }
}

fn server() -> AgentServer {
    AgentServer {
        port: 8300,
        wan_join_port: Some(8302),
        bootstrap: true,
        expect: 0,
        tls: false,
        commands: 2,
    }
}

fn pairs(tags: &Tags) -> Vec<String> {
    let tags = tags.iter();
    tags.map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn member(name: &str, tags: Tags) -> Member {
    Member {
        name: name.into(),
        address: [10, 0, 0, 1].into(),
        port: 8301,
        tags,
        status: MemberStatus::Alive,
        versions: [1, 5, 2, 2, 5, 4],
    }
}

/// What a server of Consul 1.8.7 says, with other tags laid over it; an empty value takes one away.
fn foreign(changes: &[(&str, &str)]) -> Tags {
    let tags = [
        ("acls", "0"),
        ("bootstrap", "1"),
        ("build", "1.8.7:"),
        ("dc", "dc1"),
        ("ft_fs", "1"),
        ("id", ID),
        ("port", "8300"),
        ("raft_vsn", "3"),
        ("role", "consul"),
        ("segment", ""),
        ("vsn", "2"),
        ("vsn_max", "3"),
        ("vsn_min", "2"),
        ("wan_join_port", "8302"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut tags: Tags = tags.into_iter().map(owned).collect();
    for (name, value) in changes {
        match *value {
            "" => drop(tags.remove(*name)),
            value => drop(tags.insert((*name).to_owned(), value.to_owned())),
        }
    }
    tags
}

#[test]
fn a_server_says_what_consul_servers_say_and_what_it_is() {
    let expected = [
        "acls=0",
        "bootstrap=1",
        "build=1.8.7:herald",
        "cmd=2",
        "dc=dc1",
        "ft_fs=1",
        "id=204be26b-3673-d00d-0bce-ad280c546c67",
        "impl=herald/0.1.0",
        "port=8300",
        "raft_vsn=3",
        "role=consul",
        "segment=",
        "vsn=2",
        "vsn_max=3",
        "vsn_min=2",
        "wan_join_port=8302",
    ];
    let own = agent(Some(server()));
    assert_eq!(pairs(&own.lan_tags()), expected);
    let wan = own.wan_tags().unwrap();
    assert_eq!(pairs(&wan), expected[..15]);
    assert_eq!(own.wan_name(), "n1.dc1");
}

#[test]
fn a_server_tells_how_many_it_waits_for_and_that_it_wants_tls() {
    let tags = agent(Some(AgentServer {
        bootstrap: false,
        expect: 3,
        tls: true,
        wan_join_port: None,
        ..server()
    }));
    let tags = tags.lan_tags();
    assert_eq!(tags.get("expect").unwrap(), "3");
    assert_eq!(tags.get("use_tls").unwrap(), "1");
    assert_eq!(tags.get("bootstrap"), None);
    assert_eq!(tags.get("wan_join_port"), None);
}

#[test]
fn a_client_has_no_port_and_is_not_in_the_wan_pool() {
    let own = agent(None);
    let expected = [
        "acls=0",
        "build=1.8.7:herald",
        "dc=dc1",
        "id=204be26b-3673-d00d-0bce-ad280c546c67",
        "impl=herald/0.1.0",
        "role=node",
        "segment=",
        "vsn=2",
        "vsn_max=3",
        "vsn_min=2",
    ];
    assert_eq!(pairs(&own.lan_tags()), expected);
    assert_eq!(own.wan_tags(), None);
}

#[test]
fn all_tags_fit_into_what_a_member_may_say() {
    let own = Agent {
        datacenter: "d".repeat(63).parse().unwrap(),
        version: "100.100.100-alpha.100".into(),
        ..agent(Some(AgentServer {
            port: u16::MAX,
            wan_join_port: Some(u16::MAX),
            expect: u32::MAX,
            tls: true,
            commands: u16::MAX,
            ..server()
        }))
    };
    // One octet before a text of up to 31, three before longer ones, four at the start.
    let octets = |text: &String| text.len() + if text.len() < 32 { 1 } else { 3 };
    let tags = own.lan_tags();
    let sum: usize = tags
        .iter()
        .map(|(name, value)| octets(name) + octets(value))
        .sum();
    assert!(sum + 4 <= 512, "{sum}");
}

#[test]
fn own_tags_read_as_a_server_of_herald() {
    let own = agent(Some(server()));
    let read = Server::of(&member("n1", own.lan_tags())).unwrap();
    assert!(read.is_herald());
    assert_eq!(read.id, Some(own.id));
    assert_eq!(read.datacenter, own.datacenter);
    assert_eq!(read.address, ([10, 0, 0, 1], 8300).into());
    assert_eq!(read.wan_join_port, Some(8302));
    assert_eq!((read.bootstrap, read.expect), (true, 0));
    assert_eq!(read.build.to_string(), "1.8.7");
    assert_eq!((read.protocol, read.raft_version), (2, 3));
    assert_eq!((read.tls, read.read_replica), (false, false));
    assert_eq!(read.implementation, "herald/0.1.0");
    assert_eq!(read.commands, Some(2));
    assert_eq!(read.node(), "n1");
    let wan = Server::of(&member(&own.wan_name(), own.wan_tags().unwrap())).unwrap();
    assert_eq!((wan.node(), wan.name.as_str()), ("n1", "n1.dc1"));
}

#[test]
fn servers_of_consul_are_servers_but_not_of_herald() {
    for changes in [
        &[][..],
        &[("bootstrap", ""), ("expect", "3")],
        &[
            ("raft_vsn", ""),
            ("wan_join_port", ""),
            ("ft_fs", ""),
            ("id", ""),
        ],
        &[
            ("nonvoter", "1"),
            ("use_tls", "1"),
            ("sl_alpha", "10.0.0.1:8303"),
        ],
        &[("build", "2.0.0-rust:abc")],
        &[("grpc_port", "8502"), ("ft_si", "1"), ("read_replica", "1")],
    ] {
        let read = Server::of(&member("s1", foreign(changes))).unwrap();
        assert!(!read.is_herald(), "{changes:?}");
        assert!(is_foreign_server(&foreign(changes)));
    }
    let changes = [("nonvoter", "1"), ("use_tls", "1"), ("expect", "5")];
    let read = Server::of(&member("s1", foreign(&changes))).unwrap();
    assert_eq!((read.read_replica, read.tls, read.expect), (true, true, 5));
}

#[test]
fn whoever_says_something_unreadable_is_no_server() {
    for (name, value) in [
        ("role", "node"),
        ("role", ""),
        ("port", ""),
        ("port", "x"),
        ("port", "0"),
        ("port", "65536"),
        ("vsn", ""),
        ("vsn", "two"),
        ("dc", ""),
        ("dc", "d c"),
        ("build", ""),
        ("build", "master"),
        ("build", "1.8"),
        ("build", "99999999999.1.1"),
        ("expect", "q"),
        ("wan_join_port", "-1"),
        ("raft_vsn", "x"),
        ("ft_x", "yes"),
        ("sl_alpha", "10.0.0.1"),
        ("cmd", "all"),
    ] {
        let read = Server::of(&member("s1", foreign(&[(name, value)])));
        assert_eq!(read, None, "{name}={value}");
    }
    assert_eq!(Server::of(&member("plain", Tags::new())), None);
}

#[test]
fn releases_are_found_wherever_they_stand_and_compare_by_age() {
    let build = |major, minor, patch| {
        Some(Build {
            major,
            minor,
            patch,
        })
    };
    for (text, expected) in [
        ("1.8.7:", build(1, 8, 7)),
        ("v1.10.0+ent", build(1, 10, 0)),
        ("7 and 1.2.3", build(1, 2, 3)),
        ("1.2.3.4", build(1, 2, 3)),
        ("1.2. 3.4.5", build(3, 4, 5)),
        ("\u{663}.1.2", None),
        ("1..2.3", None),
        ("1.2", None),
        ("", None),
    ] {
        assert_eq!(Build::find(text), expected, "{text}");
    }
    assert!(build(0, 8, 5) < build(0, 10, 0));
}

#[test]
fn roles_are_told_apart_by_their_word() {
    let role = |role: &str| Role::of(&[("role".to_owned(), role.to_owned())].into()).as_str();
    assert_eq!(role("consul"), "server");
    assert_eq!(role("node"), "client");
    assert_eq!(role("web"), "unknown");
    assert_eq!(Role::of(&Tags::new()), Role::Unknown);
}

#[test]
fn ids_that_are_none_are_not_told() {
    let with = |id: &str| node_id(&member("n1", [("id".to_owned(), id.to_owned())].into()));
    assert_eq!(with(ID).map(|id| id.to_string()), Some(ID.to_owned()));
    assert_eq!(with("7"), None);
    assert_eq!(node_id(&member("n1", Tags::new())), None);
}
