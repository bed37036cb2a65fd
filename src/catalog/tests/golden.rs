//! Files in the stored forms of this format version, which every later build must read.
//!
//! They are under `tests/vectors/stored`. A change that these tests do not survive breaks the log
//! and the snapshots of everybody who upgrades: make new files beside the old ones instead, never
//! in their place. `cargo test --lib -- --ignored writes_the_golden_files` makes those that are
//! missing, and leaves alone those that are there.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::catalog::snapshot;
use crate::catalog::stored::{decode, encode};
use crate::types::CheckDefinition;

fn path(file: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/vectors/stored").join(file)
}

fn full_node() -> Node {
    let mut node = node_with_id("Node-1.rack", "10.0.0.1", 7);
    let tagged = Address::from_text("2001:db8::1");
    node.tagged_addresses.insert("lan_ipv6".into(), tagged);
    node.meta = Meta::from_pairs([("zone".to_owned(), "a".to_owned())]);
    node
}

fn full_service() -> Service {
    let mut service = service("web-1", "Web", &["Primary", "v1.2"], "web.example.org");
    service.meta = Meta::from_pairs([("version".to_owned(), "1.0".to_owned())]);
    service.enable_tag_override = true;
    with_tagged(service, "wan", "192.0.2.1")
}

fn full_check() -> Check {
    let mut check = check("web-1:http", Some("web-1"), Status::Warning);
    check.notes = "asks for /health".into();
    check.output = "HTTP 429 Too Many Requests: caf\u{e9}".into();
    check.check_type = CheckType::Http;
    check.definition = Some(Box::new(CheckDefinition {
        interval: Some(Duration::from_millis(10_500)),
        timeout: Some(Duration::from_secs(1)),
        deregister_critical_service_after: Some(Duration::from_secs(600)),
        http: "http://10.0.0.1/health".into(),
        header: vec![("Accept".into(), vec!["text/plain".into(), "*/*".into()])],
        method: "GET".into(),
        tls_skip_verify: true,
        tcp: "10.0.0.1:80".into(),
    }));
    check
}

/// Each kind of operation, with all fields and with none.
fn commands() -> Vec<(&'static str, Command)> {
    let small = registration(node("n2", ""), None, Vec::new());
    let full = registration(full_node(), Some(full_service()), vec![full_check()]);
    let own = on("n2", None, vec![check("serfHealth", None, Status::Passing)]);
    let other = registration(
        node("n3", "::ffff:10.0.0.3"),
        Some(service("db", "db", &[], "")),
        vec![check("db", Some("db"), Status::Critical)],
    );
    let gone = vec![
        deregister_check("n3", "none"),
        deregister_service("n3", "none"),
        deregister_node("none"),
    ];
    let request = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
    let commands = [
        ("register_full.command", vec![full]),
        ("register_small.command", vec![small]),
        ("register_several.command", vec![own, other]),
        ("deregister.command", gone),
        ("locate.command", vec![locate("n2", 3), locate("none", 4)]),
    ];
    let command = |operations| Command {
        request,
        operations,
    };
    let named = commands.into_iter();
    named
        .map(|(name, operations)| (name, command(operations)))
        .collect()
}

/// A catalog in which these commands were applied, and in which something of each kind has gone.
fn catalog() -> Catalog {
    let mut catalog = Catalog::new();
    for (_, command) in commands() {
        catalog.apply(command.operations);
    }
    catalog.change([registration(
        node("n4", "10.0.0.4"),
        Some(service("old", "old", &["t"], "")),
        Vec::new(),
    )]);
    catalog.change([locate("n4", 9)]);
    catalog.change([deregister_node("n4")]);
    catalog.change([on(
        "n3",
        None,
        vec![check("_node_maintenance", None, Status::Critical)],
    )]);
    catalog
}

fn snapshot_octets() -> Vec<u8> {
    let mut octets = Vec::new();
    snapshot::write(&catalog().reader.state(), &mut octets).unwrap();
    octets
}

#[test]
fn stored_commands_of_this_format_are_read() {
    for (file, expected) in commands() {
        let octets = fs::read(path(file)).unwrap();
        let command = decode(&octets).unwrap();
        assert_eq!(format!("{command:?}"), format!("{expected:?}"), "{file}");
        // Servers of one release write the same, whichever of them leads.
        assert_eq!(encode(&expected), octets, "{file}");
    }
}

#[test]
fn a_snapshot_of_this_format_is_read() {
    let octets = fs::read(path("catalog.snapshot")).unwrap();
    let state = snapshot::read(&mut &octets[..]).unwrap();
    let expected = catalog();
    let mut restored = Catalog::new();
    restored.writer.install(state).unwrap();
    let text = |catalog: &Catalog| format!("{:?}", catalog.reader.state());
    assert_eq!(text(&restored), text(&expected));
    assert_eq!(snapshot_octets(), octets);
    // So do they agree on what they hold.
    let digest = restored.reader.state().digest();
    assert_eq!(digest, 0x9532_5949_0b6e_d017);
}

#[test]
#[ignore = "makes the files that others read; see the top of this file"]
fn writes_the_golden_files() {
    let commands = commands().into_iter();
    let mut files: Vec<_> = commands
        .map(|(file, command)| (file, encode(&command).to_vec()))
        .collect();
    files.push(("catalog.snapshot", snapshot_octets()));
    fs::create_dir_all(path("")).unwrap();
    for (file, octets) in files {
        if !path(file).exists() {
            fs::write(path(file), octets).unwrap();
        }
    }
}
