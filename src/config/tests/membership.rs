//! Keys and flags about the pools.

use super::*;

/// 16 octets.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

#[test]
fn a_server_is_in_both_pools_and_a_client_agent_in_one() {
    let server = read(r#"{"bind_addr": "0.0.0.0", "advertise_addr": "10.1.2.3"}"#).unwrap();
    let (lan, wan) = (&server.gossip.lan, server.gossip.wan.unwrap());
    assert_eq!(lan.bind.to_string(), "0.0.0.0:8301");
    assert_eq!(lan.advertise.to_string(), "10.1.2.3:8301");
    assert_eq!(wan.bind.to_string(), "0.0.0.0:8302");
    assert_eq!(wan.advertise.to_string(), "10.1.2.3:8302");
    assert_eq!((&lan.keyring_file, &lan.snapshot), (&None, &None));
    assert_eq!(server.gossip.encrypt, None);
    assert!(server.gossip.verify_incoming && server.gossip.verify_outgoing);
    assert!(!server.gossip.rejoin_after_leave);
    assert!(read(r#"{"server": false}"#).unwrap().gossip.wan.is_none());
    let off = read(r#"{"ports": {"serf_wan": -1}}"#).unwrap();
    assert!(off.gossip.wan.is_none() && off.identity.serf_wan.is_none());
}

#[test]
fn every_key_of_membership_reaches_its_pool() {
    let config = read(&format!(
        r#"{{
        "advertise_addr": "10.0.0.1", "advertise_addr_wan": "192.0.2.1", "bind_addr": "10.0.0.1",
        "serf_lan": "10.0.0.2", "serf_wan": "[fd00::3]", "data_dir": "/nowhere/data",
        "ports": {{"serf_lan": 0, "serf_wan": 9302}}, "encrypt": "{KEY}",
        "encrypt_verify_incoming": false, "encrypt_verify_outgoing": false,
        "serf_lan_allowed_cidrs": ["10.1.2.3/8"], "serf_wan_allowed_cidrs": ["fd00::/8", "::/0"],
        "gossip_lan": {{"gossip_interval": "20ms", "gossip_nodes": 5, "probe_interval": "30ms",
            "probe_timeout": "10ms", "retransmit_mult": 6, "suspicion_mult": 7}},
        "gossip_wan": {{"gossip_interval": "2s"}},
        "reconnect_timeout": "8h", "reconnect_timeout_wan": "9h", "rejoin_after_leave": true,
        "start_join": ["a:1"], "start_join_wan": ["b"], "retry_join": ["[::1]:2", "10.0.0.9"],
        "retry_join_wan": ["c"], "retry_interval": "5s", "retry_interval_wan": "6s",
        "retry_max": 7, "retry_max_wan": 8
    }}"#
    ))
    .unwrap();
    let gossip = config.gossip;
    let (lan, wan) = (gossip.lan, gossip.wan.unwrap());
    assert_eq!(lan.bind.to_string(), "10.0.0.2:0");
    assert_eq!(lan.advertise.to_string(), "10.0.0.1:0");
    assert_eq!(wan.bind.to_string(), "[fd00::3]:9302");
    assert_eq!(wan.advertise.to_string(), "192.0.2.1:9302");
    assert_eq!(gossip.encrypt.unwrap().octets(), b"0123456789abcdef");
    assert!(!gossip.verify_incoming && !gossip.verify_outgoing && gossip.rejoin_after_leave);
    let shown = |networks: &[crate::gossip::pool::Network]| {
        let networks = networks.iter();
        let networks = networks.map(|network| format!("{}/{}", network.address, network.prefix));
        networks.collect::<Vec<_>>()
    };
    assert_eq!(shown(&lan.allowed), ["10.0.0.0/8"]);
    assert_eq!(shown(&wan.allowed), ["fd00::/8", "::/0"]);
    assert_eq!(lan.swim.gossip_interval, Duration::from_millis(20));
    assert_eq!(lan.swim.probe_interval, Duration::from_millis(30));
    assert_eq!(lan.swim.probe_timeout, Duration::from_millis(10));
    let numbers = (
        lan.swim.gossip_nodes,
        lan.swim.retransmit_multiplier,
        lan.swim.suspicion_multiplier,
    );
    assert_eq!(numbers, (5, 6, 7));
    assert_eq!(wan.swim.gossip_interval, Duration::from_secs(2));
    let hours = |hours: u64| Duration::from_secs(3_600 * hours);
    assert_eq!(lan.serf.reconnect_timeout, hours(8));
    assert_eq!(wan.serf.reconnect_timeout, hours(9));
    let path = |path: &Option<PathBuf>| path.as_ref().unwrap().display().to_string();
    assert_eq!(path(&lan.keyring_file), "/nowhere/data/serf/local.keyring");
    assert_eq!(path(&lan.snapshot), "/nowhere/data/serf/local.snapshot");
    assert_eq!(path(&wan.keyring_file), "/nowhere/data/serf/remote.keyring");
    assert_eq!(path(&wan.snapshot), "/nowhere/data/serf/remote.snapshot");
    let expected = |start: &[&str], retry: &[&str], seconds, attempts_max| Join {
        start: start.iter().map(|target| (*target).to_owned()).collect(),
        retry: retry.iter().map(|target| (*target).to_owned()).collect(),
        interval: Duration::from_secs(seconds),
        attempts_max,
    };
    assert_eq!(lan.join, expected(&["a:1"], &["[::1]:2", "10.0.0.9"], 5, 7));
    assert_eq!(wan.join, expected(&["b"], &["c"], 6, 8));
}

#[test]
fn pools_are_timed_as_the_reference_times_them() {
    let milliseconds = Duration::from_millis;
    let development = load(&[], Vec::new()).unwrap().gossip;
    for swim in [development.lan.swim, development.wan.unwrap().swim] {
        assert_eq!(swim.gossip_interval, milliseconds(100));
        assert_eq!(swim.probe_interval, milliseconds(100));
        assert_eq!(swim.probe_timeout, milliseconds(100));
        assert_eq!(swim.suspicion_multiplier, 3);
    }
    let text = |value: &str| SettingValue::Text(value.to_owned());
    let config = Config::load(&Flags {
        settings: vec![
            flag("bind", "bind_addr", text("127.0.0.1")),
            flag("data-dir", "data_dir", text("/nowhere")),
            flag("server", "server", SettingValue::Boolean(true)),
        ],
        ..Flags::default()
    });
    let gossip = config.unwrap().gossip;
    // But for hosts that come back elsewhere, which need not wait for somebody to remove the old.
    let lan = crate::gossip::swim::Config {
        dead_node_reclaim: Duration::from_secs(30),
        ..crate::gossip::swim::Config::lan()
    };
    assert_eq!(gossip.lan.swim, lan);
    assert_eq!(gossip.wan.unwrap().swim, crate::gossip::swim::Config::wan());
    let join = gossip.lan.join;
    assert_eq!(
        (join.interval, join.attempts_max),
        (milliseconds(30_000), 0)
    );
}

/// Each mistake, in a file, gets its complaint.
#[track_caller]
fn name_each(mistakes: &[(&str, &str)]) {
    for (keys, expected) in mistakes {
        let text = format!("{{\n{keys}}}");
        assert_eq!(complaint(&text), format!("c.json:2: {expected}"));
    }
}

#[test]
fn keys_and_targets_that_are_none_are_named_with_their_place() {
    name_each(&[
        (
            r#""encrypt": "c2hvcnQ=""#,
            "encrypt: key has 5 octets, it must have 16, 24 or 32",
        ),
        (r#""encrypt": "x y""#, "encrypt: key is not base64 text"),
        (
            r#""encrypt": 7"#,
            "encrypt: expected a key as a string of base64, found 7",
        ),
        (
            r#""retry_join": ["a", "provider=aws tag_key=x"]"#,
            "retry_join.item 2: cloud auto-join is not supported (\"provider=aws tag_key=x\"): \
             name agents or addresses",
        ),
        (
            r#""retry_join": ["a b"]"#,
            "retry_join.item 1: \"a b\" is nobody to join: expected a name or address, and perhaps \
             a port",
        ),
        (
            r#""start_join": ["a:70000"]"#,
            "start_join.item 1: \"a:70000\" is nobody to join: its port is not a number from 1 to \
             65535",
        ),
        (
            r#""retry_join": "a""#,
            "retry_join: expected a list, found string \"a\"",
        ),
    ]);
}

#[test]
fn values_of_membership_that_are_out_of_range_are_named_with_their_place() {
    name_each(&[
        (
            r#""retry_interval": "99ms""#,
            "retry_interval: duration of 99ms, it must be at least 100ms",
        ),
        (
            r#""retry_max": -1"#,
            "retry_max: expected a whole number from 0 to 4294967295, found -1",
        ),
        (
            r#""reconnect_timeout": "7h59m""#,
            "reconnect_timeout: duration of 7h59m0s, it must be at least 8h0m0s",
        ),
        (
            r#""serf_lan_allowed_cidrs": ["10.0.0.0/33"]"#,
            "serf_lan_allowed_cidrs.item 1: \"10.0.0.0/33\" is not a network such as \
             \"10.0.0.0/8\"",
        ),
        (
            r#""serf_wan_allowed_cidrs": ["10.0.0.1"]"#,
            "serf_wan_allowed_cidrs.item 1: \"10.0.0.1\" is not a network such as \"10.0.0.0/8\"",
        ),
        (r#""serf_lan": "x""#, "serf_lan: \"x\" is not an IP address"),
        (
            r#""ports": {"serf_lan": -1}"#,
            "ports.serf_lan: expected a whole number from 0 to 65535, found -1",
        ),
        (
            r#""gossip_lan": {"gossip_interval": "9ms"}"#,
            "gossip_lan.gossip_interval: duration of 9ms, it must be from 10ms to 1h0m0s",
        ),
        (
            r#""gossip_wan": {"gossip_nodes": 0}"#,
            "gossip_wan.gossip_nodes: expected a whole number from 1 to 1000, found 0",
        ),
        (r#""segment": "a""#, "segment: is not supported yet"),
    ]);
    let nowhere = complaint(r#"{"advertise_addr_wan": "::"}"#);
    assert_eq!(
        nowhere,
        "advertise_addr_wan :: reaches nothing: name one address"
    );
}

#[test]
fn flags_add_to_the_lists_of_files() {
    let directory = Directory::new();
    let file = directory.write("c.json", r#"{"retry_join": ["a"], "retry_max": 3}"#);
    let item = |target: &str| {
        let value = SettingValue::Item(target.to_owned());
        flag("retry-join", "retry_join", value)
    };
    let config = load(&[&file], vec![item("b"), item("c:1")]).unwrap();
    assert_eq!(config.gossip.lan.join.retry, ["a", "b", "c:1"]);
    assert_eq!(config.gossip.lan.join.attempts_max, 3);
    let error = load(&[&file], vec![item("b"), item("provider=x")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "flag -retry-join: retry_join.item 3: cloud auto-join is not supported (\"provider=x\"): \
         name agents or addresses"
    );
}

#[test]
fn the_id_of_a_node_is_the_one_that_its_directory_keeps() {
    let directory = Directory::new();
    let text = format!(r#"{{"data_dir": "{}"}}"#, directory.0.display());
    let id = |text: &str| read(text).map(|config| config.identity.node_id.to_string());
    // Nothing is written before an agent starts.
    assert_ne!(id(&text), id(&text));
    let kept = "11111111-2222-3333-4444-555555555555";
    let file = directory.write("node-id", &format!("{kept}\n"));
    assert_eq!(id(&text), Ok(kept.to_owned()));
    let given = "99999999-2222-3333-4444-555555555555";
    let both = text.replace('{', &format!("{{\"node_id\": \"{given}\", "));
    assert_eq!(id(&both), Ok(given.to_owned()));
    directory.write("node-id", "x");
    let complaint = id(&text).unwrap_err();
    let start = format!("{}: node id \"x\" is not a UUID", file.display());
    assert!(complaint.starts_with(&start), "{complaint}");
}

#[test]
fn the_id_of_a_node_is_kept_for_the_next_start() {
    let directory = Directory::new();
    let data = directory.0.join("a/b");
    let text = format!(r#"{{"data_dir": "{}"}}"#, data.display());
    let first = read(&text).unwrap().identity;
    first.keep_node_id().unwrap();
    assert_eq!(read(&text).unwrap().identity.node_id, first.node_id);
    // An id that is given is kept in its place.
    let mut second = read(&text).unwrap().identity;
    second.node_id = NodeId::random();
    second.keep_node_id().unwrap();
    assert_eq!(read(&text).unwrap().identity.node_id, second.node_id);
    second.data_dir = Some(directory.write("c.json", ""));
    let error = second.keep_node_id().unwrap_err().to_string();
    assert!(error.starts_with("cannot keep the node id in "), "{error}");
    second.data_dir = None;
    second.keep_node_id().unwrap();
}

#[test]
fn a_key_is_not_shown() {
    let config = read(&format!(r#"{{"encrypt": "{KEY}"}}"#)).unwrap();
    let shown = format!("{config:?}");
    assert!(
        !shown.contains(KEY) && !shown.contains("48, 49, 50"),
        "{shown}"
    );
}
