//! The configuration in force, as the API shows it to people.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::VERSION;
use crate::config::{self, Config};
use crate::http::duration;

/// The configuration in force, under the names that the reference shows. No secrets.
pub(super) fn effective(config: &Config) -> Value {
    let identity = &config.identity;
    let answers = &config.answers;
    let texts = |addresses: &[SocketAddr]| -> Vec<String> {
        addresses
            .iter()
            .map(|address| format!("tcp://{address}"))
            .collect()
    };
    let dns: Vec<SocketAddr> = config
        .dns
        .iter()
        .flat_map(|dns| {
            dns.addresses
                .iter()
                .map(|ip| SocketAddr::new(*ip, dns.port))
        })
        .collect();
    let meta: BTreeMap<&str, &str> = identity.meta.iter().collect();
    let mut shown = json!({
        "AdvertiseAddrLAN": identity.serf_lan.ip().to_string(),
        "AdvertiseAddrWAN": identity.wan_address.to_string(),
        "Bootstrap": identity.bootstrap,
        "BootstrapExpect": identity.expect,
        "CheckOutputMaxSize": config.local.limits.output_octets_max,
        "CheckUpdateInterval": duration::format(config.local.limits.check_update_interval),
        "ClientAddrs": identity.client.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "DNSARecordLimit": answers.a_record_limit,
        "DNSAddrs": texts(&dns),
        "DNSAllowStale": answers.allow_stale,
        "DNSAltDomain": answers.alt_domain,
        "DNSDisableCompression": answers.disable_compression,
        "DNSDomain": answers.domain,
        "DNSEnableTruncate": answers.enable_truncate,
        "DNSNodeMetaTXT": answers.enable_additional_node_meta_txt,
        "DNSNodeTTL": duration::format(answers.node_ttl),
        "DNSOnlyPassing": answers.only_passing,
        "DNSPort": config.dns.as_ref().map_or(-1, |dns| i32::from(dns.port)),
        "DNSUDPAnswerLimit": answers.udp_answer_limit,
        "Datacenter": identity.datacenter.as_str(),
        "DefaultQueryTime": duration::format(config.directory.wait_default),
        "DevMode": identity.development,
        "EnableUI": config.http.ui,
        "HTTPAddrs": texts(&config.http.listen),
        "HTTPMaxConnsPerClient": config.http.client_connections_max,
        "LeaveDrainTime": duration::format(config.leave.drain),
        "LogLevel": config.log.level.as_str(),
        "MaxQueryTime": duration::format(config.directory.wait_max),
        "NodeID": identity.node_id.to_string(),
        "NodeMeta": meta,
        "NodeName": identity.node.as_str(),
        "RPCHoldTimeout": duration::format(config.raft.hold),
        "ServerMode": identity.server,
        "ServerPort": identity.server_address.port(),
        "Telemetry": {
            "FilterDefault": config.metrics.otherwise,
            "MetricsPrefix": config.metrics.prefix,
            "PrometheusRetentionTime": duration::format(config.http.prometheus_retention),
        },
        "Version": VERSION,
    });
    if let (Value::Object(all), Value::Object(pools)) = (&mut shown, pools(config)) {
        all.extend(pools);
        all.extend(servers(config));
    }
    shown
}

/// Those about the agent RPC. Where the key is kept is no secret, but the reference hides it, and
/// whether there is one.
fn servers(config: &Config) -> Map<String, Value> {
    let tls = &config.tls;
    let path = |path: &Option<std::path::PathBuf>| match path {
        Some(path) => path.display().to_string().into(),
        None => Value::from(""),
    };
    let mut shown = vec![
        ("CAFile", path(&tls.ca_file)),
        ("CAPath", path(&tls.ca_path)),
        ("CertFile", path(&tls.cert_file)),
        ("KeyFile", "hidden".into()),
        ("VerifyIncoming", tls.verify_incoming.into()),
        ("VerifyIncomingRPC", tls.verify_incoming.into()),
        ("VerifyOutgoing", tls.verifies_servers().into()),
        ("VerifyServerHostname", tls.verify_server_hostname.into()),
    ];
    if let Some(rpc) = &config.rpc {
        let advertised = config.identity.server_address;
        let bind = SocketAddr::new(rpc.bind.ip(), advertised.port());
        shown.extend([
            ("RPCAdvertiseAddr", format!("tcp://{advertised}").into()),
            ("RPCBindAddr", format!("tcp://{bind}").into()),
            (
                "RPCHandshakeTimeout",
                duration::format(rpc.handshake_timeout).into(),
            ),
            ("RPCMaxConnsPerClient", rpc.connections_of_client_max.into()),
        ]);
    }
    let shown = shown.into_iter();
    shown.map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Those about the pools.
fn pools(config: &Config) -> Value {
    let gossip = &config.gossip;
    let mut shown = pool("LAN", &gossip.lan);
    let wan = gossip.wan.as_ref().map(|wan| pool("WAN", wan));
    shown.extend(wan.into_iter().flatten());
    let secret = if gossip.encrypt.is_some() {
        "hidden"
    } else {
        ""
    };
    let further = [
        ("EncryptKey", secret.into()),
        ("EncryptVerifyIncoming", gossip.verify_incoming.into()),
        ("EncryptVerifyOutgoing", gossip.verify_outgoing.into()),
        ("RejoinAfterLeave", gossip.rejoin_after_leave.into()),
    ];
    shown.extend(further.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(shown)
}

fn pool(name: &str, pool: &config::Pool) -> Map<String, Value> {
    let (swim, join) = (&pool.swim, &pool.join);
    let span = |span| Value::from(duration::format(span));
    let allowed = pool.allowed.iter();
    let allowed = allowed.map(|network| format!("{}/{}", network.address, network.prefix));
    let keys = [
        (
            format!("Gossip{name}GossipInterval"),
            span(swim.gossip_interval),
        ),
        (format!("Gossip{name}GossipNodes"), swim.gossip_nodes.into()),
        (
            format!("Gossip{name}ProbeInterval"),
            span(swim.probe_interval),
        ),
        (
            format!("Gossip{name}ProbeTimeout"),
            span(swim.probe_timeout),
        ),
        (
            format!("Gossip{name}RetransmitMult"),
            swim.retransmit_multiplier.into(),
        ),
        (
            format!("Gossip{name}SuspicionMult"),
            swim.suspicion_multiplier.into(),
        ),
        (
            format!("ReconnectTimeout{name}"),
            span(pool.serf.reconnect_timeout),
        ),
        (format!("RetryJoin{name}"), join.retry.clone().into()),
        (format!("RetryJoinInterval{name}"), span(join.interval)),
        (
            format!("RetryJoinMaxAttempts{name}"),
            join.attempts_max.into(),
        ),
        (
            format!("SerfAdvertiseAddr{name}"),
            format!("tcp://{}", pool.advertise).into(),
        ),
        (
            format!("SerfAllowedCIDRs{name}"),
            allowed.collect::<Vec<_>>().into(),
        ),
        (
            format!("SerfBindAddr{name}"),
            format!("tcp://{}", pool.bind).into(),
        ),
        (format!("StartJoinAddrs{name}"), join.start.clone().into()),
    ];
    keys.into_iter().collect()
}
