//! What an agent prints at its start, in the layout that operators know.

use std::net::IpAddr;

use super::{Agent, VERSION};
use crate::config::Config;
use crate::gossip::membership::Membership;
use crate::gossip::pool::Pool;

/// First line, before anything is started.
pub const GREETING: &str = "==> Starting herald agent...";

/// Who the agent is and where it listens, once everything runs; ends with an empty line.
pub fn banner(config: &Config, agent: &Agent) -> String {
    let (identity, tls) = (&config.identity, &config.tls);
    let port = |addresses: &[std::net::SocketAddr]| {
        let first = addresses.first();
        first.map_or_else(|| "-1".to_owned(), |address| address.port().to_string())
    };
    let (http, dns) = (port(agent.http_addresses()), port(agent.dns_addresses()));
    let client: Vec<String> = identity.client.iter().map(IpAddr::to_string).collect();
    let segment = if identity.server { "<all>" } else { "" };
    let Membership { lan, wan } = agent.membership();
    let encrypted = lan.encrypted();
    let lan = lan.address().port();
    // A client agent is in no such pool, and shows what it would use, as the reference does.
    let wan = wan.as_ref().map(Pool::address).or(identity.serf_wan);
    let wan = wan.map_or_else(|| "-1".to_owned(), |address| address.port().to_string());
    let lines = [
        ("Version", format!("'{VERSION}'")),
        ("Node ID", format!("'{}'", identity.node_id)),
        ("Node name", format!("'{}'", identity.node)),
        (
            "Datacenter",
            format!("'{}' (Segment: '{segment}')", identity.datacenter),
        ),
        (
            "Server",
            format!("{} (Bootstrap: {})", identity.server, identity.bootstrap),
        ),
        (
            "Client Addr",
            format!(
                "[{}] (HTTP: {http}, HTTPS: -1, gRPC: -1, DNS: {dns})",
                client.join(" ")
            ),
        ),
        (
            "Cluster Addr",
            format!("{} (LAN: {lan}, WAN: {wan})", identity.serf_lan.ip()),
        ),
        (
            "Encrypt",
            format!(
                "Gossip: {encrypted}, TLS-Outgoing: {}, TLS-Incoming: {}, Auto-Encrypt-TLS: false",
                tls.verifies_servers(),
                tls.verify_incoming
            ),
        ),
    ];
    let lines = lines.map(|(label, text)| format!("{label:>18}: {text}\n"));
    format!("{}\n", lines.concat())
}
