//! Services and checks in files.

use super::*;
use crate::local::Mechanism;
use crate::types::Status;

/// The definitions of one file.
fn defined(text: &str) -> crate::local::FileDefinitions {
    read(text).unwrap().definitions
}

#[test]
fn the_service_file_of_a_tutorial_is_taken_as_written() {
    let definitions = defined(
        r#"{"services": [{
            "id": "hello1", "name": "hello", "tags": ["primary"], "address": "localhost",
            "port": 5050,
            "checks": [{"http": "http://localhost:5050/health", "tls_skip_verify": false,
                "method": "GET", "interval": "10s", "timeout": "1s"}]
        }]}"#,
    );
    let [placed] = &definitions.services[..] else {
        panic!("{definitions:?}");
    };
    let service = &placed.definition.service;
    assert_eq!(
        (service.id.as_str(), service.name.as_str()),
        ("hello1", "hello")
    );
    assert_eq!(service.port, 5050);
    let [check] = &placed.definition.checks[..] else {
        panic!("{placed:?}");
    };
    let Mechanism::Http(schedule, http) = &check.mechanism else {
        panic!("{check:?}");
    };
    assert_eq!(schedule.interval, Duration::from_secs(10));
    assert_eq!(
        (&*http.url, &*http.method),
        ("http://localhost:5050/health", "GET")
    );
}

#[test]
fn every_key_of_a_service_reaches_its_definition() {
    let definitions = defined(
        r#"{"service": {
            "id": "w1", "name": "web", "tags": ["a", "b"], "address": "10.0.0.1", "port": 80,
            "meta": {"Rack": "7"}, "weights": {"passing": 5, "warning": 2},
            "enable_tag_override": true, "token": "",
            "tagged_addresses": {"wan": {"address": "192.0.2.1", "port": 8080}},
            "check": {"ttl": "1s"}, "checks": [{"tcp": "a:1", "interval": "5s"}]
        }}"#,
    );
    let service = &definitions.services[0].definition.service;
    assert_eq!(
        service.tags.iter().map(|tag| &**tag).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(service.address.to_string(), "10.0.0.1");
    assert_eq!(service.meta.get("Rack"), Some("7"));
    assert_eq!((service.weights.passing, service.weights.warning), (5, 2));
    assert!(service.enable_tag_override);
    assert_eq!(service.tagged_addresses.as_ref().unwrap()["wan"].port, 8080);
    // The list comes first in numbering, as over HTTP.
    let checks = &definitions.services[0].definition.checks;
    assert!(matches!(checks[0].mechanism, Mechanism::Tcp(..)));
    assert!(matches!(checks[1].mechanism, Mechanism::Ttl(_)));
}

#[test]
fn every_key_of_a_check_reaches_its_definition() {
    let definitions = defined(
        r#"{"check": {
            "check_id": "c", "name": "n", "notes": "text", "http": "https://h/", "method": "put",
            "header": {"X-Probe": ["1", "2"]}, "body": "b", "tls_skip_verify": true,
            "tls_server_name": "s", "disable_redirects": true, "interval": "5s", "timeout": "2s",
            "status": "passing", "success_before_passing": 1, "failures_before_warning": 2,
            "failures_before_critical": 3, "deregister_critical_service_after": "10m",
            "output_max_size": 100, "service_id": "w1"
        }, "checks": [
            {"id": "udp", "udp": "a:1", "interval": "5s"},
            {"id": "grpc", "grpc": "a:1/s", "grpc_use_tls": true, "interval": "5s"},
            {"id": "h2", "h2ping": "a:1", "h2ping_use_tls": false, "interval": "5s"},
            {"id": "h2s", "h2ping": "a:1", "interval": "5s"},
            {"id": "os", "os_service": "sshd", "interval": "5s"},
            {"id": "d", "docker_container_id": "x", "shell": "/bin/sh", "args": ["x"],
                "interval": "10s"},
            {"id": "al", "alias_node": "n", "alias_service": "s"},
            {"id": "sc", "script_args": ["true"], "interval": "10s"}
        ]}"#,
    );
    let check = &definitions.checks.last().unwrap().definition;
    assert_eq!(check.id.as_ref().unwrap().as_str(), "c");
    assert_eq!((&*check.name, &*check.notes), ("n", "text"));
    assert_eq!(check.service_id.as_ref().unwrap().as_str(), "w1");
    assert_eq!(check.status, Some(Status::Passing));
    assert_eq!(
        (
            check.success_before_passing,
            check.failures_before_warning,
            check.failures_before_critical
        ),
        (1, 2, 3)
    );
    assert_eq!(check.output_octets_max, Some(100));
    assert_eq!(
        check.deregister_critical_service_after,
        Some(Duration::from_secs(600))
    );
    let Mechanism::Http(_, http) = &check.mechanism else {
        panic!("{check:?}");
    };
    assert!(http.tls_skip_verify && http.disable_redirects);
    assert_eq!(
        (&*http.method, &*http.body, &*http.tls_server_name),
        ("PUT", "b", "s")
    );
    let types: Vec<_> = definitions
        .checks
        .iter()
        .map(|placed| placed.definition.mechanism.check_type().as_str())
        .collect();
    let all = "udp grpc h2ping h2ping os_service docker alias script http";
    assert_eq!(types.join(" "), all);
    let pings: Vec<_> = definitions
        .checks
        .iter()
        .filter_map(|placed| match placed.definition.mechanism {
            Mechanism::H2Ping { tls, .. } => Some(tls),
            _ => None,
        })
        .collect();
    assert_eq!(pings, [false, true], "TLS unless told otherwise");
}

#[test]
fn keys_are_known_as_people_write_them() {
    let definitions = defined(
        r#"{"Service": {"Name": "web", "EnableTagOverride": true, "Check": {
            "checkID": "c", "TTL": "1s", "DeregisterCriticalServiceAfter": "1m"}}}"#,
    );
    let web = &definitions.services[0].definition;
    assert!(web.service.enable_tag_override);
    assert_eq!(web.checks[0].id.as_ref().unwrap().as_str(), "c");
    assert!(complaint(r#"{"Data_Dir": "/d", "datadir": "/e"}"#).contains("key datadir"));
}

#[test]
fn services_of_all_files_add_up() {
    let directory = Directory::new();
    directory.write(
        "a.json",
        r#"{"service": {"name": "one"}, "services": [{"name": "two"}]}"#,
    );
    directory.write("b.json", r#"{"service": {"name": "three"}}"#);
    directory.write(
        "c.json",
        r#"{"SERVICE": {"name": "four"}, "check": {"name": "c", "ttl": "1s"}}"#,
    );
    directory.write("d.json", r#"{"check": {"name": "d", "ttl": "1s"}}"#);
    let definitions = load(&[&directory.0], Vec::new()).unwrap().definitions;
    let shown: Vec<String> = definitions
        .services
        .iter()
        .map(|placed| {
            let (_, file) = placed.place.rsplit_once('/').unwrap();
            format!("{} {file}", placed.definition.service.name)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "two a.json:1",
            "one a.json:1",
            "three b.json:1",
            "four c.json:1"
        ]
    );
    let checks = definitions.checks.iter();
    let checks: Vec<_> = checks.map(|placed| &*placed.definition.name).collect();
    assert_eq!(checks, ["c", "d"]);
}

#[test]
fn a_check_without_a_name_takes_its_id_and_needs_one_of_them() {
    let definitions = defined(r#"{"check": {"id": "c", "ttl": "1s"}}"#);
    assert_eq!(&*definitions.checks[0].definition.name, "c");
    assert!(complaint(r#"{"check": {"ttl": "1s"}}"#).contains("check: Missing check name"));
}

#[test]
fn the_rules_of_registration_hold_with_file_line_and_key() {
    for (text, message) in [
        (
            "{\"service\":\n{\"port\": 1}}",
            "c.json:2: service: Missing service name",
        ),
        (
            "{\"services\": [{\"name\": \"a\"},\n{\"name\": \"web\", \"port\": 65536}]}",
            "c.json:2: services.item 2.port: expected a whole number from 0 to 65535, found 65536",
        ),
        (
            "{\"service\": {\"name\": \"web\", \"checks\": [\n{\"http\": \"http://a/\"}]}}",
            "c.json:2: service.checks.item 1: Invalid check: Interval must be > 0 for Script, \
             HTTP, or TCP checks",
        ),
        (
            "{\"check\": {\"name\": \"c\",\n\"ttl\": 30}}",
            "c.json:2: check.ttl: expected a duration such as \"10s\", found 30",
        ),
        (
            "{\"check\": {\"name\": \"c\",\n\"tll\": \"30s\"}}",
            "c.json:2: invalid config key check.tll, did you mean ttl?",
        ),
        (
            r#"{"check": {"name": "c", "ttl": "30s", "status": "ok"}}"#,
            "c.json:1: check: Bad check status",
        ),
        (
            r#"{"service": {"name": "web", "meta": {"a b": "1"}}}"#,
            "c.json:1: service: Invalid Service Meta: Couldn't load metadata pair ('a b', '1'): \
             Key contains invalid characters",
        ),
        (
            r#"{"service": {"name": "web", "weights": {"passing": 0}}}"#,
            "c.json:1: service: Invalid Weights: Passing must be greater than 0",
        ),
        (
            r#"{"service": {"name": "web", "connect": {"native": true}}}"#,
            "c.json:1: service.connect: is not supported yet",
        ),
        (
            r#"{"service": "web"}"#,
            "c.json:1: service: expected a list, found string \"web\"",
        ),
    ] {
        assert_eq!(complaint(text), message);
    }
}

#[test]
fn lists_are_as_long_as_over_http() {
    let tags = |count: usize| {
        let tags = vec!["a"; count];
        serde_json::json!({"service": {"name": "web", "tags": tags}}).to_string()
    };
    assert_eq!(defined(&tags(1_024)).services.len(), 1);
    assert_eq!(
        complaint(&tags(1_025)),
        "c.json:1: service: 1025 tags, at most 1024 are allowed"
    );
}

#[test]
fn so_many_mistakes_are_told_and_no_more() {
    let services = vec![serde_json::json!({"name": "a", "bogus": 1}); 500];
    let text = serde_json::json!({"services": services}).to_string();
    assert_eq!(complaint(&text).lines().count(), 100);
}

#[test]
fn every_mistake_is_told_at_once() {
    let complaints = complaint(
        "{\"recursors\": [\"192.0.2.1\"],\n\"serevr\": true,\n\"ui\": 1,\n\"services\": [\n\
         {\"name\": 1, \"port\": 1},\n{\"name\": \"b\", \"prt\": 2, \"tags\": \"x\"}]}",
    );
    assert_eq!(
        complaints.lines().collect::<Vec<_>>(),
        [
            "c.json:1: recursors: is not supported yet",
            "c.json:2: invalid config key serevr, did you mean server?",
            "c.json:3: ui: expected a boolean, found 1",
            "c.json:5: services.item 1.name: expected a string, found 1",
            "c.json:6: invalid config key services.item 2.prt, did you mean port?",
            "c.json:6: services.item 2.tags: expected a list, found string \"x\"",
        ]
    );
}

#[test]
fn only_what_a_restart_changes_is_said_to_need_one() {
    let written = |text: &str| read(text).unwrap().written;
    let before = written(r#"{"datacenter": "one", "ports": {"dns": 1}, "log_level": "info"}"#);
    let after = written(
        r#"{"Datacenter": "two", "ports": {"http": 2, "dns": 1}, "log_level": "warn",
            "dns_config": {"node_ttl": "1s", "workers": 1}, "service": {"name": "web"},
            "node_meta": {"a": "1"}, "limits": {"http_max_conns_per_client": 1}}"#,
    );
    assert_eq!(
        before.needing_restart(&after),
        ["datacenter", "dns_config.workers", "ports.http"]
    );
    assert!(before.needing_restart(&before).is_empty());
}
