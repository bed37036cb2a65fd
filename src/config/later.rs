//! Keys of the reference for features that do not exist yet. They are refused by name instead of
//! being ignored, unless their value asks for nothing.

use super::tree::Value;

/// Keys by structure of `raw`.
const KEYS: [(&str, &[&str]); 10] = [
    ("Raw", &TOP),
    ("RawAddresses", &["https", "grpc", "grpc_tls"]),
    (
        "RawPorts",
        &[
            "https",
            "grpc",
            "grpc_tls",
            "sidecar_min_port",
            "sidecar_max_port",
            "expose_min_port",
            "expose_max_port",
        ],
    ),
    (
        "RawLimits",
        &[
            "https_handshake_timeout",
            "kv_max_value_size",
            "request_limits",
            "rpc_client_timeout",
            "rpc_max_burst",
            "rpc_rate",
            "txn_max_req_len",
        ],
    ),
    ("RawCheck", &["proxy_grpc", "proxy_http"]),
    (
        "RawService",
        &[
            "connect",
            "kind",
            "locality",
            "namespace",
            "partition",
            "ports",
            "proxy",
            "socket_path",
        ],
    ),
    (
        "RawDns",
        &[
            "cache_max_age",
            "prefer_namespace",
            "recursor_strategy",
            "recursor_timeout",
            "use_cache",
        ],
    ),
    ("RawTelemetry", &TELEMETRY),
    // There is neither HTTPS nor gRPC to speak TLS.
    ("RawTls", &["grpc", "https"]),
    ("RawTlsSettings", &["tls_cipher_suites", "tls_min_version"]),
];

/// Other ways out than Prometheus; and host names in the names of figures, which a scraper adds as
/// a label by itself.
const TELEMETRY: [&str; 22] = [
    "circonus_api_app",
    "circonus_api_token",
    "circonus_api_url",
    "circonus_broker_id",
    "circonus_broker_select_tag",
    "circonus_check_display_name",
    "circonus_check_force_metric_activation",
    "circonus_check_id",
    "circonus_check_instance_id",
    "circonus_check_search_tag",
    "circonus_check_tags",
    "circonus_submission_interval",
    "circonus_submission_url",
    "disable_compat_1.9",
    "disable_hostname",
    "disable_per_tenancy_usage_metrics",
    "dogstatsd_addr",
    "dogstatsd_tags",
    "enable_host_metrics",
    "retry_failed_connection",
    "statsd_address",
    "statsite_address",
];

const TOP: [&str; 76] = [
    "acl",
    "acl_agent_master_token",
    "acl_agent_token",
    "acl_datacenter",
    "acl_default_policy",
    "acl_down_policy",
    "acl_enable_key_list_policy",
    "acl_enforce_version_8",
    "acl_master_token",
    "acl_replication_token",
    "acl_token",
    "acl_ttl",
    "advertise_addr_ipv4",
    "advertise_addr_ipv6",
    "advertise_addr_wan_ipv4",
    "advertise_addr_wan_ipv6",
    "advertise_reconnect_timeout",
    "audit",
    "auto_config",
    "auto_encrypt",
    "auto_reload_config",
    "autopilot",
    "cache",
    "config_entries",
    "connect",
    "default_intention_policy",
    "disable_anonymous_signature",
    "disable_coordinates",
    "disable_host_node_id",
    "disable_http_unprintable_char_filter",
    "disable_remote_exec",
    "disable_update_check",
    "discard_check_output",
    "discovery_max_stale",
    "enable_acl_replication",
    "enable_agent_tls_for_checks",
    "enable_central_service_config",
    "enable_debug",
    "enable_syslog",
    "experiments",
    "http_config",
    "license_path",
    "log_file",
    "log_rotate_bytes",
    "log_rotate_duration",
    "log_rotate_max_files",
    "non_voting_server",
    "peering",
    "primary_datacenter",
    "primary_gateways",
    "primary_gateways_interval",
    "protocol",
    "raft_boltdb",
    "raft_logstore",
    "raft_protocol",
    "raft_snapshot_interval",
    "read_replica",
    "recursors",
    "rpc",
    "segment",
    "segments",
    "server_name",
    "session_ttl_min",
    "syslog_facility",
    "tagged_addresses",
    "tls_cipher_suites",
    "tls_min_version",
    "tls_prefer_server_cipher_suites",
    "translate_wan_addrs",
    "ui_config",
    "ui_content_path",
    "ui_dir",
    "unix_sockets",
    "use_streaming_backend",
    "verify_incoming_https",
    "watches",
];

/// Whether `key` of the structure `name` belongs to a feature that does not exist yet.
pub(super) fn is_later(name: &str, key: &str) -> bool {
    KEYS.iter()
        .filter(|(structure, _)| *structure == name)
        .flat_map(|(_, keys)| keys.iter())
        .any(|later| later.eq_ignore_ascii_case(key))
}

/// Values that ask for what herald does anyway: versions of protocols, the path of the page.
const AS_IT_IS: [(&str, &str); 6] = [
    ("protocol", "2"),
    ("protocol", "3"),
    ("raft_protocol", "3"),
    ("tls_min_version", "TLSv1_2"),
    ("tls_min_version", "tls12"),
    ("ui_content_path", "/ui/"),
];

/// Whether the value leaves the feature off, or asks for what herald does anyway.
pub(super) fn asks_for_nothing(key: &str, value: &Value) -> bool {
    let key = key.to_ascii_lowercase();
    let as_it_is = |value: &str| AS_IT_IS.contains(&(&*key, value));
    let negative = key.starts_with("disable_");
    match value {
        Value::Null => true,
        Value::Boolean(value) => *value == negative,
        Value::Text(text) => text.is_empty() || text == "0s" || as_it_is(text),
        Value::List(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        // A port of 0 or -1 is off.
        Value::Number(number) => {
            number.as_i64().is_some_and(|number| number <= 0) || as_it_is(&number.to_string())
        }
    }
}
