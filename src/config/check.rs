//! From the mirror to the configuration of each part: defaults, and checks that need more than one
//! value.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, Problem};
use super::load::{Flags, Loaded};
use super::raw::{Bounded, IpList, Level, Port, Raw, RawDns, Seconds};
use super::{Config, Identity, Leave, Log, advertise, membership, node_id, raft, rpc, tls};
use crate::types::{Meta, NodeId, NodeName};
use crate::{directory, dns, http, local, reconcile};

/// Longest wait of a server that leaves for the others to go on without it, as in the reference.
const LEAVE_DRAIN: Duration = Duration::from_secs(5);

/// Checks what was read from `flags` and spreads it over the parts.
pub(super) fn check(loaded: Loaded, flags: &Flags) -> Result<Config, ConfigError> {
    let (raw, development) = (&loaded.raw, flags.development);
    let data_dir = non_empty(raw.data_dir.as_deref());
    if data_dir.is_none() && !development {
        return Err(ConfigError::NoDataDir);
    }
    let founding = raft::founding(raw, &loaded.tree, development)?;
    let identity = identity(raw, development, founding, data_dir)?;
    let answers = answers(raw, &identity);
    check_domains(&answers)?;
    // Refuses what only shows once all of it is known.
    dns::Settings::new(answers.clone())?;
    let server = raw.server.unwrap_or(false);
    let tls = tls::settings(raw, &loaded.tree)?;
    let certificates = tls::load(&tls, &loaded.tree, &identity, &answers.domain)?;
    let calls = rpc::calls(&tls, certificates.clone());
    Ok(Config {
        log: Log {
            level: raw.log_level.0.unwrap_or(Level::Info),
            json: raw.log_json.unwrap_or(false),
        },
        metrics: raw.telemetry.naming(),
        pid_file: non_empty(raw.pid_file.as_deref()),
        leave: Leave {
            on_terminate: raw.leave_on_terminate.unwrap_or(!server),
            on_interrupt: !raw.skip_leave_on_interrupt.unwrap_or(server),
            drain: raw
                .performance
                .leave_drain_time
                .map_or(LEAVE_DRAIN, |span| span.0),
        },
        gossip: membership::gossip(raw, &identity),
        calls: calls.clone(),
        rpc: rpc::config(raw, &loaded.tree, &identity, (&tls, certificates))?,
        tls,
        raft: raft::config(raw, &identity, calls.tls),
        directory: directory(raw, &identity),
        local: local(raw, &identity),
        reconcile: reconcile(&identity),
        dns: dns(raw, &identity),
        http: http(raw, &identity),
        zones_dir: non_empty(raw.zones_dir.as_deref()),
        answers,
        identity,
        definitions: loaded.definitions,
        written: loaded.written,
        flags: flags.clone(),
    })
}

pub(super) fn non_empty(text: Option<&str>) -> Option<PathBuf> {
    text.filter(|text| !text.is_empty()).map(PathBuf::from)
}

fn identity(
    raw: &Raw,
    development: bool,
    founding: raft::Founding,
    data_dir: Option<PathBuf>,
) -> Result<Identity, ConfigError> {
    let bind = raw.bind_addr.0.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let advertise = advertise::choose(raw.advertise_addr.0, bind)?;
    let wan_address = advertise::choose_wan(raw.advertise_addr_wan.0, advertise)?;
    let lan_port = raw.ports.serf_lan.and_then(Bounded::get);
    let server_port = port_or(raw.ports.server, 8300).unwrap_or(0);
    let serf_wan = port_or(raw.ports.serf_wan, 8302);
    let client = raw.client_addr.as_ref().map(|list| list.0.clone());
    Ok(Identity {
        node: match &raw.node_name.0 {
            Some(name) => name.clone(),
            None => host_name()?,
        },
        node_id: match raw.node_id.0 {
            Some(id) => id,
            None => node_id::kept(data_dir.as_deref())?.unwrap_or_else(NodeId::random),
        },
        datacenter: match &raw.datacenter.0 {
            Some(name) => name.clone(),
            None => "dc1".parse().expect("the name is a label"),
        },
        meta: raw
            .node_meta
            .as_ref()
            .map_or_else(Meta::default, |pairs| pairs.0.clone()),
        server: raw.server.unwrap_or(false),
        bootstrap: founding.bootstrap,
        expect: founding.expect,
        development,
        server_address: SocketAddr::new(advertise, server_port),
        serf_lan: SocketAddr::new(advertise, lan_port.unwrap_or(8301)),
        serf_wan: serf_wan.map(|port| SocketAddr::new(wan_address, port)),
        wan_address,
        client: client
            .filter(|list| !list.is_empty())
            .unwrap_or_else(|| vec![Ipv4Addr::LOCALHOST.into()]),
        data_dir,
    })
}

/// The port, or `default` if none is given; `None` if it is off.
fn port_or(port: Option<Port>, default: u16) -> Option<u16> {
    port.map_or(Some(default), Port::get)
}

fn host_name() -> Result<NodeName, Problem> {
    let advice = "name the node with -node";
    let name = nix::unistd::gethostname().map_err(|error| {
        Problem::about("node_name", format!("no host name ({error}): {advice}"))
    })?;
    let name = name.to_string_lossy().into_owned();
    name.parse().map_err(|error| {
        Problem::about(
            "node_name",
            format!("the host name {name:?} does not do ({error}): {advice}"),
        )
    })
}

fn directory(raw: &Raw, identity: &Identity) -> directory::Config {
    let wait_default = raw.default_query_time.map(|span| span.0);
    let wait_max = raw.max_query_time.map(|span| span.0);
    directory::Config {
        datacenter: identity.datacenter.clone(),
        address: identity.server_address,
        wait_default: wait_default.unwrap_or(Duration::from_secs(300)),
        wait_max: wait_max.unwrap_or(Duration::from_secs(600)),
    }
}

fn local(raw: &Raw, identity: &Identity) -> local::Config {
    let mut limits = local::Limits::default();
    set(
        &mut limits.check_update_interval,
        raw.check_update_interval.map(|span| span.0),
    );
    set(
        &mut limits.output_octets_max,
        raw.check_output_max_size.and_then(Bounded::get),
    );
    set(&mut limits.enable_script_checks, raw.enable_script_checks);
    set(
        &mut limits.enable_local_script_checks,
        raw.enable_local_script_checks,
    );
    local::Config {
        node: own_node(identity),
        server: identity.server,
        limits,
        sync: local::SyncConfig::default(),
        data_dir: identity.data_dir.clone().filter(|_| !identity.development),
    }
}

fn own_node(identity: &Identity) -> crate::types::Node {
    local::node_entry(
        identity.node_id,
        identity.node.clone(),
        identity.serf_lan.ip(),
        identity.wan_address,
        &identity.meta,
    )
}

fn reconcile(identity: &Identity) -> reconcile::Config {
    reconcile::Config {
        node: own_node(identity),
        datacenter: identity.datacenter.clone(),
        interval: Duration::from_secs(60),
    }
}

fn answers(raw: &Raw, identity: &Identity) -> dns::Options {
    let from = &raw.dns_config;
    let mut options = dns::Options::new(identity.datacenter.clone(), identity.node.clone());
    if let Some(domain) = &raw.domain.0 {
        options.domain.clone_from(&domain.0);
    }
    options.alt_domain = raw.alt_domain.0.as_ref().map(|domain| domain.0.clone());
    set(&mut options.node_ttl, from.node_ttl.map(|ttl| ttl.0));
    let ttls = from.service_ttl.iter().flatten();
    options.service_ttl = ttls.map(|(name, ttl)| (name.clone(), ttl.0)).collect();
    set(&mut options.only_passing, from.only_passing);
    set(&mut options.enable_truncate, from.enable_truncate);
    set(&mut options.disable_compression, from.disable_compression);
    set(
        &mut options.enable_additional_node_meta_txt,
        from.enable_additional_node_meta_txt,
    );
    set(&mut options.allow_stale, from.allow_stale);
    set(&mut options.max_stale, from.max_stale.map(|span| span.0));
    let udp_answer_limit = from.udp_answer_limit.and_then(Bounded::get);
    set(&mut options.udp_answer_limit, udp_answer_limit);
    let a_record_limit = from.a_record_limit.and_then(Bounded::get);
    set(&mut options.a_record_limit, a_record_limit);
    let udp_response_max = from.udp_response_max.and_then(Bounded::get);
    set(&mut options.udp_response_max, udp_response_max);
    let zones = from.reverse_zones.iter().flatten();
    options.reverse_zones = zones.map(|zone| zone.0.clone()).collect();
    options.soa = soa(from);
    options
}

/// Refuses domains that hide something else: reverse names, or each other.
fn check_domains(answers: &dns::Options) -> Result<(), ConfigError> {
    // The default is the only one with a final dot.
    let domain = answers.domain.trim_end_matches('.');
    let alternative = answers.alt_domain.as_deref();
    let given = [("domain", Some(domain)), ("alt_domain", alternative)];
    let mut problems: Vec<Problem> = given
        .into_iter()
        .filter_map(|(key, domain)| Some((key, domain?)))
        .filter(|(_, domain)| domain.rsplit('.').next() == Some("arpa"))
        .map(|(key, domain)| {
            let message = format!("domain {domain:?} is arpa or below it, where reverse names are");
            Problem::about(key, message)
        })
        .collect();
    if alternative == Some(domain) {
        let message = format!("domain {domain:?} is what the key domain says already");
        problems.push(Problem::about("alt_domain", message));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ConfigError::Values(problems))
    }
}

fn soa(from: &RawDns) -> dns::Soa {
    let seconds = |value: Option<Seconds>| value.and_then(Bounded::get).map(Duration::from_secs);
    let mut soa = dns::Soa::default();
    set(&mut soa.refresh, seconds(from.soa.refresh));
    set(&mut soa.retry, seconds(from.soa.retry));
    set(&mut soa.expire, seconds(from.soa.expire));
    set(&mut soa.min_ttl, seconds(from.soa.min_ttl));
    soa
}

fn dns(raw: &Raw, identity: &Identity) -> Option<dns::Config> {
    let from = &raw.dns_config;
    let mut config = dns::Config {
        addresses: listen(raw.addresses.dns.as_ref(), identity),
        port: port_or(raw.ports.dns, 8600)?,
        ..dns::Config::default()
    };
    config.workers = from
        .workers
        .and_then(Bounded::get)
        .and_then(NonZeroUsize::new);
    set(
        &mut config.queue_deadline,
        from.queueing_deadline.map(|span| span.0),
    );
    let connections_max = from.tcp_connections_max.and_then(Bounded::get);
    set(&mut config.tcp.connections_max, connections_max);
    Some(config)
}

fn http(raw: &Raw, identity: &Identity) -> http::Config {
    let port = port_or(raw.ports.http, 8500);
    let addresses = listen(raw.addresses.http.as_ref(), identity).into_iter();
    let mut config = http::Config {
        listen: port
            .map(|port| addresses.map(|ip| SocketAddr::new(ip, port)).collect())
            .unwrap_or_default(),
        ui: raw.ui.unwrap_or(false),
        prometheus_retention: raw.telemetry.prometheus_retention(),
        ..http::Config::default()
    };
    if let Some(domain) = &raw.domain.0 {
        config.domains = vec![domain.0.clone()];
    }
    let alternative = raw.alt_domain.0.as_ref().map(|domain| domain.0.clone());
    let node = identity.node.as_str().to_ascii_lowercase();
    config.domains.extend(alternative.into_iter().chain([node]));
    let per_client = raw.limits.http_max_conns_per_client;
    config.client_connections_max = match per_client.and_then(Bounded::get) {
        None => config.client_connections_max,
        // As in the reference: no bound but that of all clients together.
        Some(0) => config.connections_max,
        Some(count) => count,
    };
    config
}

fn listen(addresses: Option<&IpList>, identity: &Identity) -> Vec<IpAddr> {
    addresses
        .map(|list| list.0.clone())
        .filter(|list| !list.is_empty())
        .unwrap_or_else(|| identity.client.clone())
}

/// Replaces a default by what was given.
fn set<T>(target: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *target = value;
    }
}
