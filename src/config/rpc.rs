//! The agent RPC of a server, checked.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Identity;
use super::error::Problem;
use super::raw::{Bounded, Port, Raw};
use super::tree::Node;
use crate::rpc::{Config, PoolConfig, Tls, TlsConfig};

/// Connections in all: as many agents as a large datacenter has, each with one.
const CONNECTIONS_MAX: usize = 16_384;

/// Connections of one address, as in the reference.
const CONNECTIONS_OF_CLIENT_MAX: usize = 100;

/// Longest wait for what a connection is for, as in the reference.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Streams of one session. Each blocked read of an agent takes one.
const STREAMS_MAX: usize = 4_096;

/// Longest request, in octets.
const REQUEST_OCTETS_MAX: usize = 4 * 1_024 * 1_024;

/// How servers are called: over TLS if their certificates are to be checked.
pub(super) fn calls(settings: &TlsConfig, tls: Option<Tls>) -> PoolConfig {
    PoolConfig {
        tls: tls.filter(|_| settings.verifies_servers()),
        ..PoolConfig::default()
    }
}

/// Where a server listens for agents, and its bounds; `None` on a client agent.
///
/// # Errors
/// A server is to be without its port.
pub(super) fn config(
    raw: &Raw,
    tree: &Node,
    identity: &Identity,
    (settings, tls): (&TlsConfig, Option<Tls>),
) -> Result<Option<Config>, Problem> {
    if !identity.server {
        return Ok(None);
    }
    if raw
        .ports
        .server
        .is_some_and(|port| Port::get::<u16>(port).is_none())
    {
        let key = "ports.server";
        let problem = Problem::about(key, "agents find a server by this port, it cannot be off");
        return Err(match tree.place_of(key) {
            Some(place) => problem.or_at(place),
            None => problem,
        });
    }
    let bind = raw.bind_addr.0.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let of_client = raw.limits.rpc_max_conns_per_client;
    let of_client = of_client.and_then(Bounded::get);
    Ok(Some(Config {
        bind: SocketAddr::new(bind, identity.server_address.port()),
        connections_max: CONNECTIONS_MAX,
        connections_of_client_max: match of_client {
            None => CONNECTIONS_OF_CLIENT_MAX,
            // As in the reference: no bound but that of all clients together.
            Some(0) => CONNECTIONS_MAX,
            Some(count) => count,
        },
        handshake_timeout: raw
            .limits
            .rpc_handshake_timeout
            .map_or(HANDSHAKE_TIMEOUT, |span| span.0),
        streams_max: STREAMS_MAX,
        request_octets_max: REQUEST_OCTETS_MAX,
        tls: tls.filter(|_| settings.serves()),
        tls_only: settings.verify_incoming,
    }))
}
