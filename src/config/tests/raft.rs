//! How a server is told to found a cluster, and how it takes part in one.

use super::*;
use crate::raft::Compaction;

/// Loads one file of a server outside development mode.
fn server(text: &str) -> Result<Config, String> {
    let directory = Directory::new();
    let file = directory.write("c.json", text);
    let setting = |key, value: &str| Setting {
        flag: key,
        key,
        value: SettingValue::Text(value.to_owned()),
    };
    let data_dir = directory.0.join("data").display().to_string();
    let loaded = Config::load(&Flags {
        files: vec![file],
        settings: vec![
            setting("data_dir", &data_dir),
            setting("bind_addr", "127.0.0.1"),
            setting("node_name", "n1"),
        ],
        ..Flags::default()
    });
    loaded.map_err(|error| {
        let place = format!("{}/", directory.0.display());
        error.to_string().replace(&place, "")
    })
}

#[test]
fn a_server_founds_alone_or_with_as_many_as_it_is_told() {
    for (keys, bootstrap, expect) in [
        ("", false, 0),
        (r#", "bootstrap": true"#, true, 0),
        (r#", "bootstrap_expect": 0"#, false, 0),
        (r#", "bootstrap": true, "bootstrap_expect": 0"#, true, 0),
        (r#", "bootstrap_expect": 1"#, true, 0),
        (r#", "bootstrap_expect": 2"#, false, 2),
        (r#", "bootstrap_expect": 5"#, false, 5),
    ] {
        let config = server(&format!("{{\"server\": true{keys}}}")).unwrap();
        let told = (config.identity.bootstrap, config.identity.expect);
        assert_eq!(told, (bootstrap, expect), "{keys}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (text, expected) in [
        (
            r#"{"server": true, "bootstrap": true, "bootstrap_expect": 3}"#,
            "c.json:1: bootstrap_expect: 3 excludes bootstrap, which means that there are no \
             others",
        ),
        (
            r#"{"bootstrap_expect": 3}"#,
            "c.json:1: bootstrap_expect: only a server founds a cluster: it needs -server",
        ),
        (
            r#"{"bootstrap": true}"#,
            "c.json:1: bootstrap: only a server founds a cluster: it needs -server",
        ),
    ] {
        assert_eq!(server(text).unwrap_err(), expected);
    }
    assert_eq!(
        complaint(r#"{"bootstrap_expect": 3}"#),
        "c.json:1: bootstrap_expect: 3 is not possible with -dev, where a server is always alone"
    );
}

#[test]
fn timers_are_those_of_the_reference_unless_told_otherwise() {
    let config = server(r#"{"server": true}"#).unwrap();
    assert_eq!(config.raft.multiplier, 5);
    assert_eq!(config.raft.hold, Duration::from_secs(7));
    assert_eq!(config.leave.drain, Duration::from_secs(5));
    let config = server(
        r#"{"server": true, "performance": {"raft_multiplier": 1, "leave_drain_time": "1s",
            "rpc_hold_timeout": "2s"}}"#,
    )
    .unwrap();
    assert_eq!(config.raft.multiplier, 1);
    assert_eq!(config.raft.hold, Duration::from_secs(2));
    assert_eq!(config.leave.drain, Duration::from_secs(1));
}

#[test]
fn the_log_is_made_shorter_as_told() {
    let compaction = |text: &str| server(text).unwrap().raft.compaction;
    let standard = Compaction::default();
    assert_eq!(compaction(r#"{"server": true}"#), standard);
    let told = r#"{"server": true, "raft_snapshot_threshold": 500, "raft_trailing_logs": 100}"#;
    let (entries, kept) = (500, 100);
    assert_eq!(compaction(told), Compaction { entries, kept });
    let zero = r#"{"server": true, "raft_snapshot_threshold": 0, "raft_trailing_logs": 0}"#;
    assert_eq!(compaction(zero), standard);
    for (key, value) in [
        ("raft_snapshot_threshold", 16_777_217),
        ("raft_trailing_logs", -1),
    ] {
        let complaint = complaint(&format!(r#"{{"{key}": {value}}}"#));
        let named = [key, &value.to_string(), "from 0 to 16777216"];
        assert!(
            named.iter().all(|text| complaint.contains(text)),
            "{complaint}"
        );
    }
}

#[test]
fn the_log_is_kept_in_the_data_directory_but_not_in_development() {
    let config = server(r#"{"server": true}"#).unwrap();
    let directory = config.raft.directory.unwrap();
    assert!(directory.ends_with("data/raft"), "{directory:?}");
    let config = read(r#"{"data_dir": "/nowhere"}"#).unwrap();
    assert_eq!(config.raft.directory, None);
}
