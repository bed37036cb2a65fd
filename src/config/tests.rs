//! Files, flags and their mistakes, as a whole configuration.
//!
//! Long, since each complaint is shown beside the text that earns it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("herald-config-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn load(files: &[&Path], settings: Vec<Setting>) -> Result<Config, ConfigError> {
    Config::load(&Flags {
        development: true,
        files: files.iter().map(|path| (*path).to_owned()).collect(),
        settings,
        ..Flags::default()
    })
}

/// Loads one file in development mode.
fn read(text: &str) -> Result<Config, String> {
    let directory = Directory::new();
    let file = directory.write("c.json", text);
    load(&[&file], Vec::new()).map_err(|error| {
        // The directory's name differs from run to run.
        error
            .to_string()
            .replace(&format!("{}/", directory.0.display()), "")
    })
}

fn complaint(text: &str) -> String {
    read(text).unwrap_err()
}

fn flag(flag: &'static str, key: &'static str, value: SettingValue) -> Setting {
    Setting { flag, key, value }
}

#[test]
fn development_mode_is_one_server_on_the_loopback_address() {
    let config = load(&[], Vec::new()).unwrap();
    assert!(config.identity.development && config.identity.server && config.http.ui);
    assert_eq!(config.identity.datacenter.as_str(), "dc1");
    assert_eq!(config.http.listen, ["127.0.0.1:8500".parse().unwrap()]);
    assert_eq!(config.identity.server_address.to_string(), "127.0.0.1:8300");
    assert_eq!(config.log.level, Level::Debug);
    let dns = config.dns.unwrap();
    assert_eq!(
        (dns.port, dns.addresses),
        (8600, vec![[127, 0, 0, 1].into()])
    );
    assert!(!config.leave.on_terminate && !config.leave.on_interrupt);
}

#[test]
fn outside_development_mode_a_data_directory_is_needed() {
    let error = Config::load(&Flags::default()).unwrap_err();
    assert_eq!(error.to_string(), "data_dir cannot be empty");
    let bind = flag("bind", "bind_addr", SettingValue::Text("127.0.0.1".into()));
    let data = flag("data-dir", "data_dir", SettingValue::Text("/d".into()));
    let config = Config::load(&Flags {
        settings: vec![bind, data],
        ..Flags::default()
    })
    .unwrap();
    assert!(!config.identity.server && !config.identity.development && !config.http.ui);
    assert!(config.leave.on_terminate && config.leave.on_interrupt);
    assert_eq!(config.log.level, Level::Info);
}

#[test]
fn every_key_reaches_its_part() {
    let config = read(
        r#"{
        "addresses": {"dns": "127.0.0.2 ::1", "http": "127.0.0.3"},
        "advertise_addr": "10.1.2.3", "alt_domain": "alt.", "bind_addr": "0.0.0.0",
        "check_output_max_size": 512, "check_update_interval": "7m", "client_addr": "127.0.0.4",
        "datacenter": "DC2", "default_query_time": "30s", "max_query_time": "60s",
        "dns_config": {
            "a_record_limit": 9, "allow_stale": false, "disable_compression": true,
            "enable_additional_node_meta_txt": false, "enable_truncate": true, "max_stale": "5s",
            "node_ttl": "11s", "only_passing": true, "queueing_deadline": "50ms",
            "reverse_zones": ["10.in-addr.arpa"], "service_ttl": {"*": "5s", "Web*": "23s"},
            "soa": {"expire": 4, "min_ttl": 3, "refresh": 2, "retry": 1},
            "tcp_connections_max": 17, "udp_answer_limit": 5, "udp_response_max": 4096,
            "workers": 2
        },
        "domain": "Example.", "enable_local_script_checks": true, "enable_script_checks": true,
        "leave_on_terminate": true, "skip_leave_on_interrupt": false,
        "limits": {"http_max_conns_per_client": 21}, "log_json": true, "log_level": "warn",
        "node_id": "11111111-2222-3333-4444-555555555555", "node_meta": {"rack": "7"},
        "node_name": "n1", "pid_file": "/p",
        "ports": {"dns": 8601, "http": -1, "serf_lan": 8311, "serf_wan": -1, "server": 8310},
        "server": false, "ui": false, "zones_dir": "/z"
    }"#,
    )
    .unwrap();
    let identity = &config.identity;
    assert_eq!(identity.node.as_str(), "n1");
    assert_eq!(
        identity.node_id.to_string(),
        "11111111-2222-3333-4444-555555555555"
    );
    assert_eq!(identity.datacenter.as_str(), "dc2");
    assert_eq!(identity.meta.get("rack"), Some("7"));
    assert_eq!(identity.server_address.to_string(), "10.1.2.3:8310");
    assert_eq!((identity.serf_lan.port(), identity.serf_wan), (8311, None));
    assert!(!identity.server && !config.http.ui && config.http.listen.is_empty());
    assert!(config.leave.on_terminate && config.leave.on_interrupt);
    assert!(config.log.json && config.log.level == Level::Warn);
    assert_eq!(config.pid_file.as_deref(), Some(Path::new("/p")));
    assert_eq!(config.zones_dir.as_deref(), Some(Path::new("/z")));
    assert_eq!(config.directory.wait_default, Duration::from_secs(30));
    assert_eq!(config.directory.wait_max, Duration::from_secs(60));
    assert_eq!(config.local.limits.output_octets_max, 512);
    assert_eq!(
        config.local.limits.check_update_interval,
        Duration::from_secs(420)
    );
    let limits = &config.local.limits;
    assert!(limits.enable_local_script_checks && limits.enable_script_checks);
    assert_eq!(config.http.client_connections_max, 21);
    let dns = config.dns.unwrap();
    assert_eq!(
        dns.addresses,
        ["127.0.0.2", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap())
    );
    assert_eq!((dns.port, dns.workers.map(usize::from)), (8601, Some(2)));
    assert_eq!(dns.queue_deadline, Duration::from_millis(50));
    assert_eq!(dns.tcp.connections_max, 17);
}

#[test]
fn answers_follow_dns_config() {
    let answers = read(
        r#"{"domain": "Example.", "alt_domain": "alt", "dns_config": {
            "a_record_limit": 9, "allow_stale": false, "disable_compression": true,
            "enable_additional_node_meta_txt": false, "enable_truncate": true, "max_stale": "5s",
            "node_ttl": "11s", "only_passing": true, "reverse_zones": ["10.in-addr.arpa"],
            "service_ttl": {"*": "5s", "Web*": "23s"},
            "soa": {"expire": 4, "min_ttl": 3, "refresh": 2, "retry": 1},
            "udp_answer_limit": 5, "udp_response_max": 4096
        }}"#,
    )
    .unwrap()
    .answers;
    assert_eq!(
        (answers.domain.as_str(), answers.alt_domain.as_deref()),
        ("example", Some("alt"))
    );
    assert_eq!((answers.a_record_limit, answers.udp_answer_limit), (9, 5));
    assert!(!answers.allow_stale && answers.disable_compression && answers.enable_truncate);
    assert!(!answers.enable_additional_node_meta_txt && answers.only_passing);
    assert_eq!(answers.max_stale, Duration::from_secs(5));
    assert_eq!(answers.node_ttl, Duration::from_secs(11));
    assert_eq!(answers.reverse_zones, ["10.in-addr.arpa"]);
    assert_eq!(answers.service_ttl["Web*"], Duration::from_secs(23));
    assert_eq!(answers.soa.expire, Duration::from_secs(4));
    assert_eq!(answers.soa.min_ttl, Duration::from_secs(3));
    assert_eq!(answers.soa.refresh, Duration::from_secs(2));
    assert_eq!(answers.soa.retry, Duration::from_secs(1));
    assert_eq!(answers.udp_response_max, 4096);
}

#[test]
fn domains_that_hide_reverse_names_or_each_other_are_refused() {
    let below = |key: &str, domain: &str| {
        format!("{key}: domain {domain:?} is arpa or below it, where reverse names are")
    };
    let same =
        |domain: &str| format!("alt_domain: domain {domain:?} is what the key domain says already");
    for (keys, expected) in [
        (r#"{"domain": "arpa"}"#, below("domain", "arpa")),
        (
            r#"{"alt_domain": "10.In-Addr.ARPA."}"#,
            below("alt_domain", "10.in-addr.arpa"),
        ),
        (r#"{"alt_domain": "Consul."}"#, same("consul")),
        (
            r#"{"domain": "a.example", "alt_domain": "A.Example."}"#,
            same("a.example"),
        ),
        (
            r#"{"domain": "x.arpa", "alt_domain": "x.arpa"}"#,
            [
                below("domain", "x.arpa"),
                below("alt_domain", "x.arpa"),
                same("x.arpa"),
            ]
            .join("\n"),
        ),
    ] {
        assert_eq!(complaint(keys), expected);
    }
    for keys in [
        r#"{"domain": "notarpa", "alt_domain": "arpa.example"}"#,
        r#"{"alt_domain": "sub.consul"}"#,
        r#"{"alt_domain": ""}"#,
    ] {
        read(keys).unwrap();
    }
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_the_nearest_known_one() {
    assert_eq!(
        complaint("{\n  \"serevr\": true\n}"),
        "c.json:2: invalid config key serevr, did you mean server?"
    );
    assert_eq!(
        complaint("{\"dns_config\": {\n\n\"node_tll\": \"1s\"}}"),
        "c.json:3: invalid config key dns_config.node_tll, did you mean node_ttl?"
    );
    assert_eq!(
        complaint(r#"{"bogus_key": 1}"#),
        "c.json:1: invalid config key bogus_key"
    );
}

#[test]
fn a_wrong_type_is_named_with_key_expectation_and_value() {
    for (text, message) in [
        (
            r#"{"dns_config": {"node_ttl": 5}}"#,
            "c.json:1: dns_config.node_ttl: expected a duration such as \"10s\", found 5",
        ),
        (
            r#"{"server": "yes"}"#,
            "c.json:1: server: expected a boolean, found string \"yes\"",
        ),
        (
            "{\"ports\":\n{\"dns\": \"53\"}}",
            "c.json:2: ports.dns: expected a whole number from -1 to 65535, found string \"53\"",
        ),
        (
            r#"{"dns_config": {"reverse_zones": "10.in-addr.arpa"}}"#,
            "c.json:1: dns_config.reverse_zones: expected a list, found string \
             \"10.in-addr.arpa\"",
        ),
        (
            r#"{"dns_config": 1}"#,
            "c.json:1: dns_config: expected an object, found a number",
        ),
        (
            r#"{"node_name": ["n"]}"#,
            "c.json:1: node_name: expected a node name as a string, found a list",
        ),
    ] {
        assert_eq!(complaint(text), message);
    }
}

#[test]
fn a_value_out_of_range_is_named_with_its_limit() {
    for (text, parts) in [
        (
            r#"{"ports": {"dns": 65536}}"#,
            ["ports.dns", "65536", "65535"],
        ),
        (r#"{"ports": {"http": -2}}"#, ["ports.http", "-2", "-1"]),
        (
            r#"{"dns_config": {"udp_response_max": 511}}"#,
            ["udp_response_max", "511", "512"],
        ),
        (
            r#"{"dns_config": {"udp_answer_limit": 0}}"#,
            ["udp_answer_limit", "found 0", "from 1"],
        ),
        (
            r#"{"dns_config": {"node_ttl": "2147483648s"}}"#,
            ["node_ttl", "2147483648 s", "2147483647 s"],
        ),
        (
            r#"{"max_query_time": "20"}"#,
            ["max_query_time", "\"20\"", "missing unit"],
        ),
        (
            r#"{"max_query_time": "-5s"}"#,
            ["max_query_time", "\"-5s\"", "negative"],
        ),
        (
            r#"{"bootstrap_expect": -1}"#,
            ["bootstrap_expect", "found -1", "from 0"],
        ),
        (
            r#"{"performance": {"raft_multiplier": 11}}"#,
            ["performance.raft_multiplier", "11", "10"],
        ),
        (
            r#"{"performance": {"raft_multiplier": 0}}"#,
            ["performance.raft_multiplier", "found 0", "from 1"],
        ),
        (
            r#"{"datacenter": "d c"}"#,
            ["datacenter", "\"d c\"", "letters"],
        ),
        (
            r#"{"log_level": "loud"}"#,
            ["log_level", "\"loud\"", "debug"],
        ),
        (
            r#"{"bind_addr": "host"}"#,
            ["bind_addr", "\"host\"", "IP address"],
        ),
        (
            r#"{"bind_addr": "{{ GetNothing }}"}"#,
            ["bind_addr", "GetNothing", "not supported here"],
        ),
        (r#"{"node_id": "x"}"#, ["node_id", "\"x\"", "UUID"]),
        (
            r#"{"node_meta": {"consul-x": "1"}}"#,
            ["node_meta", "consul-x", "reserved"],
        ),
    ] {
        let complaint = complaint(text);
        let all = parts.iter().all(|part| complaint.contains(part));
        assert!(all && complaint.starts_with("c.json:1: "), "{complaint}");
    }
}

#[test]
fn a_key_twice_in_one_object_is_refused() {
    assert_eq!(
        complaint("{\"ui\": true,\n \"ui\": false}"),
        "c.json:2: ui: is given twice, first in line 1"
    );
    assert_eq!(
        complaint("{\"ui\": true,\n \"UI\": false}"),
        "c.json:2: UI: is given twice, first as \"ui\""
    );
    assert!(complaint(r#"{"node_meta": {"a": "1", "a": "2"}}"#).contains("node_meta.a: is given"));
}

#[test]
fn keys_of_features_to_come_are_refused_by_name_unless_they_ask_for_nothing() {
    assert_eq!(
        complaint("{\n\"recursors\": [\"192.0.2.1\"]}"),
        "c.json:2: recursors: is not supported yet"
    );
    assert!(complaint(r#"{"ports": {"https": 8501}}"#).contains("ports.https: is not supported"));
    assert!(complaint(r#"{"protocol": 4}"#).contains("protocol: is not supported yet"));
    assert!(complaint(r#"{"disable_remote_exec": false}"#).contains("not supported yet"));
    let quiet = r#"{"recursors": [], "enable_debug": false, "acl": {}, "log_file": "",
        "disable_remote_exec": true, "protocol": 3, "raft_protocol": 3,
        "ui_content_path": "/ui/", "discovery_max_stale": "0s", "ports": {"https": -1}, "encrypt_verify_incoming": null}"#;
    assert!(read(quiet).is_ok());
}

#[test]
fn figures_are_named_and_filtered_as_told() {
    let config = read("{}").unwrap();
    assert_eq!(config.metrics, crate::metrics::Naming::default());
    assert!(!config.http.prometheus_retention.is_zero());
    let config = read(
        r#"{"telemetry": {"prometheus_retention_time": "0s", "metrics_prefix": "a.b",
            "filter_default": false, "prefix_filter": ["+a.b.dns"], "disable_hostname": true,
            "statsd_address": ""}}"#,
    )
    .unwrap();
    assert_eq!(config.metrics.prefix, "a_b");
    assert!(!config.metrics.otherwise);
    assert_eq!(config.metrics.rules, ["+a_b_dns".parse().unwrap()]);
    assert!(config.http.prometheus_retention.is_zero());
}

#[test]
fn mistakes_in_telemetry_are_named() {
    let complaint = |keys: &str| complaint(&format!("{{\"telemetry\": {keys}}}"));
    for (keys, expected) in [
        (
            r#"{"prefix_filter": ["+a", "herald"]}"#,
            "c.json:1: telemetry.prefix_filter.item 2: rule \"herald\" must begin with '+' (show) \
             or '-' (hide)",
        ),
        (
            r#"{"metrics_prefix": "9"}"#,
            "c.json:1: telemetry.metrics_prefix: prefix \"9\" must consist of letters, digits, '_' \
             and '.', and not begin with a digit",
        ),
        (
            r#"{"prometheus_retention_time": "-1s"}"#,
            "c.json:1: telemetry.prometheus_retention_time: duration \"-1s\" is negative",
        ),
        (
            r#"{"statsd_address": "127.0.0.1:8125"}"#,
            "c.json:1: telemetry.statsd_address: is not supported yet",
        ),
        (
            r#"{"disable_hostname": false}"#,
            "c.json:1: telemetry.disable_hostname: is not supported yet",
        ),
    ] {
        assert_eq!(complaint(keys), expected);
    }
}

#[test]
fn every_key_of_the_reference_is_known() {
    // What an operator may have in a file: accepted, or refused because the feature is missing,
    // but never called unknown.
    for key in "addresses advertise_addr advertise_addr_wan alt_domain autopilot bind_addr bootstrap \
        bootstrap_expect check checks check_output_max_size check_update_interval client_addr \
        data_dir datacenter default_query_time disable_anonymous_signature disable_coordinates \
        disable_host_node_id disable_http_unprintable_char_filter disable_keyring_file \
        disable_remote_exec disable_update_check discard_check_output discovery_max_stale dns_config \
        domain enable_debug enable_local_script_checks enable_syslog encrypt_verify_incoming \
        encrypt_verify_outgoing gossip_lan gossip_wan http_config leave_on_terminate limits log_file \
        log_json log_level log_rotate_bytes log_rotate_duration log_rotate_max_files max_query_time \
        node_id node_meta node_name performance pid_file ports primary_datacenter protocol \
        raft_protocol raft_snapshot_interval raft_snapshot_threshold raft_trailing_logs \
        reconnect_timeout reconnect_timeout_wan recursors rejoin_after_leave retry_interval \
        retry_interval_wan retry_join retry_join_wan retry_max serf_lan serf_wan server service \
        services session_ttl_min skip_leave_on_interrupt start_join start_join_wan syslog_facility \
        tagged_addresses telemetry translate_wan_addrs ui ui_content_path unix_sockets \
        verify_incoming verify_outgoing watches"
        .split_whitespace()
    {
        if let Err(complaint) = read(&format!("{{\"{key}\": [[1]]}}")) {
            assert!(!complaint.contains("invalid config key"), "{complaint}");
        }
    }
}

#[test]
fn later_files_win_and_lists_append() {
    let directory = Directory::new();
    let first = directory.write(
        "a.json",
        r#"{"datacenter": "one", "node_meta": {"a": "1", "b": "1"},
            "dns_config": {"reverse_zones": ["10.in-addr.arpa"], "node_ttl": "1s"}}"#,
    );
    directory.write(
        "z.json",
        r#"{"DataCenter": "three", "node_meta": {"b": "2", "B": "3"}}"#,
    );
    directory.write("m.json", r#"{"datacenter": "two"}"#);
    directory.write("ignored.txt", "not read");
    let later = Directory::new();
    let last = later.write(
        "l.json",
        r#"{"dns_config": {"reverse_zones": ["16.172.in-addr.arpa"]}}"#,
    );
    let config = load(&[&first, &directory.0, &last], Vec::new()).unwrap();
    assert_eq!(config.identity.datacenter.as_str(), "three");
    let meta: Vec<_> = config.identity.meta.iter().collect();
    assert_eq!(meta, [("B", "3"), ("a", "1"), ("b", "2")]);
    assert_eq!(config.answers.node_ttl, Duration::from_secs(1));
    let zones = ["10.in-addr.arpa", "10.in-addr.arpa", "16.172.in-addr.arpa"];
    assert_eq!(config.answers.reverse_zones, zones);
}

#[test]
fn flags_win_over_files_and_are_named_in_complaints() {
    let directory = Directory::new();
    let file = directory.write(
        "c.json",
        r#"{"datacenter": "one", "ports": {"dns": 1, "http": 2}}"#,
    );
    let settings = vec![
        flag("dns-port", "ports.dns", SettingValue::Number(0)),
        flag(
            "node-meta",
            "node_meta",
            SettingValue::Pair("a".into(), "1".into()),
        ),
        flag(
            "node-meta",
            "node_meta",
            SettingValue::Pair("b.c".into(), "2".into()),
        ),
    ];
    // `b.c` is no metadata key, which shows that the dot is not taken for a path.
    let error = load(&[&file], settings).unwrap_err().to_string();
    assert!(error.contains("b.c"), "{error}");
    let port = flag("dns-port", "ports.dns", SettingValue::Number(70_000));
    assert_eq!(
        load(&[&file], vec![port]).unwrap_err().to_string(),
        "flag -dns-port: ports.dns: expected a whole number from -1 to 65535, found 70000"
    );
    let port = flag("dns-port", "ports.dns", SettingValue::Number(3));
    let config = load(&[&file], vec![port]).unwrap();
    assert_eq!(config.dns.unwrap().port, 3);
    assert_eq!(config.http.listen.first().unwrap().port(), 2);
}

#[test]
fn a_mistake_counts_also_where_a_later_file_hides_it() {
    let directory = Directory::new();
    let first = directory.write("a.json", r#"{"ui": 1}"#);
    let second = directory.write("b.json", r#"{"ui": true}"#);
    assert!(load(&[&first, &second], Vec::new()).is_err());
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = Directory::new();
    let missing = directory.0.join("missing.json");
    let error = load(&[&missing], Vec::new()).unwrap_err().to_string();
    assert!(
        error.contains("missing.json") && error.contains("no such file"),
        "{error}"
    );
    let other = directory.write("c.conf", "{}");
    assert!(load(&[&other], Vec::new()).is_err());
}

#[test]
fn text_that_is_not_json_is_refused_with_its_line() {
    assert!(complaint("{\n\"ui\": tru\n}").starts_with("c.json:2: not valid JSON"));
    assert!(complaint("[]").contains("one object"));
    assert!(complaint("").starts_with("c.json:"));
    let deep = format!(
        "{{\"acl\": {}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(complaint(&deep).contains("c.json:1"));
}

mod definitions;
mod hcl;
mod membership;
mod raft;
mod rpc;

mod arbitrary {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::super::raw::Raw;
    use super::super::tree::Node;

    /// Keys that exist, so that values get past the first check.
    const KEYS: [&str; 12] = [
        "ports",
        "dns_config",
        "server",
        "node_meta",
        "addresses",
        "dns",
        "service_ttl",
        "soa",
        "recursors",
        "limits",
        "bind_addr",
        "datacenter",
    ];

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            ".{0,20}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let key = prop_oneof![
                proptest::sample::select(&KEYS[..]).prop_map(str::to_owned),
                ".{0,8}"
            ];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                proptest::collection::btree_map(key, inner, 0..6)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn text_never_panics(text in ".{0,200}") {
            drop(Node::parse("x", &text));
        }

        #[test]
        fn json_is_taken_or_refused_with_its_place(value in json()) {
            let text = serde_json::to_string_pretty(&value).unwrap();
            let result = Node::parse("x", &text)
                .and_then(|node| <Raw as serde::Deserialize>::deserialize(&node));
            if let Err(problem) = result {
                prop_assert!(problem.to_string().starts_with("x:"), "{problem}");
            }
        }

        #[test]
        fn merging_a_tree_with_itself_changes_no_setting(value in json()) {
            let text = value.to_string();
            if let Ok(node) = Node::parse("x", &text) {
                let once = <Raw as serde::Deserialize>::deserialize(&node).is_ok();
                let twice = node.clone().merge(node);
                prop_assert_eq!(<Raw as serde::Deserialize>::deserialize(&twice).is_ok(), once);
            }
        }
    }
}
