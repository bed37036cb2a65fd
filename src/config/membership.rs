//! The pools that an agent is in, checked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Identity;
use super::gossip_keys::{Cidr, RawGossip, RetryInterval, Targets, flatten};
use super::raw::{Attempts, Bounded, Raw};
use crate::gossip::keyring::Key;
use crate::gossip::pool::{Network, Target};
use crate::gossip::{serf, swim};

/// Time after which a host that failed may come back under its name at another address. The
/// reference waits until somebody removes the old one.
const RECLAIM: Duration = Duration::from_secs(30);

/// The pools that an agent is in.
#[derive(Clone, Debug)]
pub struct Gossip {
    /// That of its datacenter.
    pub lan: Pool,
    /// That of the servers of all datacenters; `None` for a client agent, and where it is off
    /// (`ports.serf_wan` of -1).
    pub wan: Option<Pool>,
    /// Key for pools that have no keyring file yet (`encrypt`). Default: no encryption.
    pub encrypt: Option<Key>,
    /// Whether what cannot be decrypted is dropped (`encrypt_verify_incoming`). Default yes.
    pub verify_incoming: bool,
    /// Whether what is sent is encrypted (`encrypt_verify_outgoing`). Default yes.
    pub verify_outgoing: bool,
    /// Whether members that are remembered are joined although this agent had left
    /// (`rejoin_after_leave`). Default no.
    pub rejoin_after_leave: bool,
}

/// How an agent is in one pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Where it listens; a port of 0 takes a free one.
    pub bind: SocketAddr,
    /// Where others reach it; a port of 0 stands for the one that was bound.
    pub advertise: SocketAddr,
    /// Timing of membership (`gossip_lan`, `gossip_wan`).
    pub swim: swim::Config,
    /// Timing of the layer above (`reconnect_timeout`).
    pub serf: serf::Config,
    /// Networks whose members are talked to; empty for all (`serf_lan_allowed_cidrs`).
    pub allowed: Vec<Network>,
    /// Where the keys are kept; `None` without `data_dir` or with `disable_keyring_file`.
    pub keyring_file: Option<PathBuf>,
    /// Where the members are kept for a restart; `None` without `data_dir`.
    pub snapshot: Option<PathBuf>,
    /// Whom to join.
    pub join: Join,
}

/// Whom an agent joins in one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// One of them must be reached at the start (`start_join`, `-join`).
    pub start: Vec<Target>,
    /// Tried again and again until one is reached (`retry_join`).
    pub retry: Vec<Target>,
    /// Time between two attempts (`retry_interval`). Default 30 s.
    pub interval: Duration,
    /// Attempts after which the agent stops; 0 is no bound (`retry_max`). Default 0.
    pub attempts_max: u32,
}

/// The pools that `raw` asks for.
pub(super) fn gossip(raw: &Raw, identity: &Identity) -> Gossip {
    Gossip {
        lan: lan(raw, identity),
        wan: identity.server.then(|| wan(raw, identity)).flatten(),
        encrypt: raw.encrypt.0.clone(),
        verify_incoming: raw.encrypt_verify_incoming.unwrap_or(true),
        verify_outgoing: raw.encrypt_verify_outgoing.unwrap_or(true),
        rejoin_after_leave: raw.rejoin_after_leave.unwrap_or(false),
    }
}

fn lan(raw: &Raw, identity: &Identity) -> Pool {
    let mut swim = timed(swim::Config::lan(), &raw.gossip_lan);
    swim.dead_node_reclaim = RECLAIM;
    let mut serf = serf::Config::default();
    if let Some(timeout) = raw.reconnect_timeout {
        serf.reconnect_timeout = timeout.0;
    }
    Pool {
        bind: SocketAddr::new(bind(raw, raw.serf_lan.0), identity.serf_lan.port()),
        advertise: identity.serf_lan,
        swim,
        serf,
        allowed: networks(raw.serf_lan_allowed_cidrs.as_ref()),
        keyring_file: keyring_file(raw, identity, "local.keyring"),
        snapshot: file(identity.data_dir.as_deref(), "local.snapshot"),
        join: join(
            raw.start_join.as_ref(),
            raw.retry_join.as_ref(),
            raw.retry_interval,
            raw.retry_max,
        ),
    }
}

/// `None` if it is off.
fn wan(raw: &Raw, identity: &Identity) -> Option<Pool> {
    let advertise = identity.serf_wan?;
    let mut serf = serf::Config::default();
    if let Some(timeout) = raw.reconnect_timeout_wan {
        serf.reconnect_timeout = timeout.0;
    }
    Some(Pool {
        bind: SocketAddr::new(bind(raw, raw.serf_wan.0), advertise.port()),
        advertise,
        swim: timed(swim::Config::wan(), &raw.gossip_wan),
        serf,
        allowed: networks(raw.serf_wan_allowed_cidrs.as_ref()),
        keyring_file: keyring_file(raw, identity, "remote.keyring"),
        snapshot: file(identity.data_dir.as_deref(), "remote.snapshot"),
        join: join(
            raw.start_join_wan.as_ref(),
            raw.retry_join_wan.as_ref(),
            raw.retry_interval_wan,
            raw.retry_max_wan,
        ),
    })
}

fn bind(raw: &Raw, given: Option<IpAddr>) -> IpAddr {
    let given = given.or(raw.bind_addr.0);
    given.unwrap_or(Ipv4Addr::UNSPECIFIED.into())
}

fn timed(mut swim: swim::Config, raw: &RawGossip) -> swim::Config {
    for (target, given) in [
        (&mut swim.gossip_interval, raw.gossip_interval),
        (&mut swim.probe_interval, raw.probe_interval),
        (&mut swim.probe_timeout, raw.probe_timeout),
    ] {
        if let Some(interval) = given {
            *target = interval.0;
        }
    }
    if let Some(nodes) = raw.gossip_nodes.and_then(Bounded::get) {
        swim.gossip_nodes = nodes;
    }
    if let Some(multiplier) = raw.retransmit_mult.and_then(Bounded::get) {
        swim.retransmit_multiplier = multiplier;
    }
    if let Some(multiplier) = raw.suspicion_mult.and_then(Bounded::get) {
        swim.suspicion_multiplier = multiplier;
    }
    swim
}

fn networks(cidrs: Option<&Vec<Cidr>>) -> Vec<Network> {
    cidrs.into_iter().flatten().map(|cidr| cidr.0).collect()
}

/// A file of gossip, where the reference has it.
fn file(data_dir: Option<&Path>, name: &str) -> Option<PathBuf> {
    data_dir.map(|data_dir| data_dir.join("serf").join(name))
}

fn keyring_file(raw: &Raw, identity: &Identity, name: &str) -> Option<PathBuf> {
    let kept = !raw.disable_keyring_file.unwrap_or(false);
    file(identity.data_dir.as_deref().filter(|_| kept), name)
}

fn join(
    start: Option<&Vec<Targets>>,
    retry: Option<&Vec<Targets>>,
    interval: Option<RetryInterval>,
    attempts_max: Option<Attempts>,
) -> Join {
    Join {
        start: flatten(start),
        retry: flatten(retry),
        interval: interval.map_or(Duration::from_secs(30), |interval| interval.0),
        attempts_max: attempts_max.and_then(Bounded::get).unwrap_or(0),
    }
}
