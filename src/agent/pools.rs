//! The pools of the agent: from its configuration to running pools.
//!
//! Servers are in two: that of all datacenters starts first, since its port is told in the other.

use std::sync::Arc;

use super::VERSION;
use super::keyring_file::{self, KeyringFileError};
use crate::catalog::Operation;
use crate::config::{self, Config, Gossip, Identity};
use crate::gossip::admission::{self, Admission};
use crate::gossip::keyring::Keyring;
use crate::gossip::membership::Membership;
use crate::gossip::pool::{self, Pool, Scope};
use crate::gossip::serf::Own;
use crate::gossip::swim::Name;
use crate::gossip::tags;
use crate::gossip::wire;
use crate::metrics::Metrics;
use crate::task::Tasks;

/// Streams that a pool serves at a time.
const STREAMS_MAX: usize = 128;

/// Why the pools do not start. Nothing of them is left running.
#[derive(Debug, thiserror::Error)]
pub enum PoolsError {
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyringFileError),
    /// A pool does not start; another program may have its port.
    #[error("{pool} pool: {source}")]
    Pool {
        /// `LAN` or `WAN`.
        pool: &'static str,
        /// Why not.
        #[source]
        source: pool::StartError,
    },
}

/// Starts the pools that `config` asks for. Reads and writes small files.
///
/// # Errors
/// [`PoolsError`].
pub(super) fn start(
    config: &Config,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Membership, PoolsError> {
    let (identity, gossip) = (&config.identity, &config.gossip);
    let lan_keys = keys("LAN", &gossip.lan, gossip)?;
    let wan = match &gossip.wan {
        Some(wan) => Some((wan, keys("WAN", wan, gossip)?)),
        None => None,
    };
    let mut own = own(identity, config.tls.tells());
    let wan = match (wan, own.wan_tags()) {
        (Some((wan, keys)), Some(tags)) => {
            let own = Own {
                name: own.wan_name().into(),
                address: wan.advertise,
                tags,
            };
            let config = pool_config(Scope::Wan, gossip, wan, own, keys);
            let started = Pool::start(config, Arc::new(admission::Wan), metrics, tasks);
            Some(started.map_err(|source| PoolsError::Pool {
                pool: "WAN",
                source,
            })?)
        }
        _ => None,
    };
    if let Some(server) = &mut own.server {
        server.wan_join_port = wan.as_ref().map(|pool| pool.address().port());
    }
    let lan = &gossip.lan;
    let admission: Arc<dyn Admission> = Arc::new(admission::Lan::new(&own, lan.advertise.ip()));
    let config = pool_config(
        Scope::Lan,
        gossip,
        lan,
        Own {
            name: Name::from(own.node.as_str()),
            address: lan.advertise,
            tags: own.lan_tags(),
        },
        lan_keys,
    );
    let lan =
        Pool::start(config, admission, metrics, tasks).map_err(|source| PoolsError::Pool {
            pool: "LAN",
            source,
        })?;
    Ok(Membership { lan, wan })
}

fn keys(
    name: &str,
    pool: &config::Pool,
    gossip: &Gossip,
) -> Result<Option<Keyring>, KeyringFileError> {
    let keys = keyring_file::open(pool.keyring_file.as_deref(), gossip.encrypt.as_ref())?;
    if let (Some(keys), Some(given)) = (&keys, &gossip.encrypt)
        && !keys.keys().contains(given)
    {
        tracing::warn!(
            target: "herald::agent",
            "the {name} keyring does not hold the key that encrypt gives, and is used as it is"
        );
    }
    Ok(keys)
}

/// This agent, as its tags tell of it, TLS included; the port of its WAN pool is
/// not known yet.
fn own(identity: &Identity, tls: bool) -> tags::Agent {
    let server = || tags::AgentServer {
        port: identity.server_address.port(),
        wan_join_port: None,
        // In development mode a server leads alone, too: no other takes it in.
        bootstrap: identity.bootstrap || identity.development,
        expect: identity.expect,
        tls,
        commands: Operation::KIND_NEWEST,
    };
    tags::Agent {
        node: identity.node.clone(),
        id: identity.node_id,
        datacenter: identity.datacenter.clone(),
        version: VERSION.to_owned(),
        server: identity.server.then(server),
    }
}

fn pool_config(
    scope: Scope,
    gossip: &Gossip,
    pool: &config::Pool,
    own: Own,
    keyring: Option<Keyring>,
) -> pool::Config {
    pool::Config {
        scope,
        bind: pool.bind,
        own,
        swim: pool.swim.clone(),
        serf: pool.serf.clone(),
        wire: wire::Settings {
            label: [].into(),
            compress: true,
            verify_incoming: gossip.verify_incoming,
            verify_outgoing: gossip.verify_outgoing,
        },
        keyring,
        keyring_file: pool.keyring_file.clone(),
        snapshot: pool.snapshot.clone(),
        rejoin_after_leave: gossip.rejoin_after_leave,
        allowed: pool.allowed.clone(),
        streams_max: STREAMS_MAX,
    }
}
