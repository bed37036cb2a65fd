//! The agent's way to shared state: its own catalog and its part in the cluster, or the servers.

use std::sync::Arc;

use super::{Layers, StartError, client, servers};
use crate::config::Config;
use crate::directory::{Directory, LOCATIONS_PERIOD};
use crate::gossip::membership::Membership;
use crate::metrics::Metrics;
use crate::{catalog, dns, raft, reconcile};

/// The way to shared state, and what DNS is to know of it.
pub(super) struct Opened {
    pub(super) directory: Directory,
    /// This server's part in the cluster; `None` on a client agent.
    pub(super) raft: Option<raft::Raft>,
    pub(super) freshness: Arc<dns::Freshness>,
    pub(super) behind: dns::Behind,
}

/// Shared state: on a server a catalog of its own, what orders the writes to it, and what keeps
/// the members in it. A client agent asks the servers that the pool knows.
pub(super) async fn open(
    config: &Config,
    membership: &Membership,
    metrics: &Metrics,
    layers: &Layers,
) -> Result<Opened, StartError> {
    let bounds = config.directory.clone();
    let freshness = Arc::new(dns::Freshness::new());
    if !config.identity.server {
        let tasks = &layers.middle;
        let (directory, views) =
            client::open_directory(config, membership, &freshness, metrics, tasks);
        return Ok(Opened {
            directory,
            raft: None,
            freshness,
            behind: views.map_or(dns::Behind::Nobody, dns::Behind::Servers),
        });
    }
    let (writer, reader) = catalog::open_server();
    catalog::figures::show(&reader, metrics);
    let peers = servers::peers(&membership.lan);
    let raft = raft::start(config.raft.clone(), writer, peers, metrics, &layers.back).await?;
    let directory = Directory::new(bounds, reader.clone(), raft.clone());
    directory.write_locations(LOCATIONS_PERIOD, metrics, &layers.middle);
    let node = config.identity.node.clone();
    directory.report_location(node, membership.lan.clone(), &layers.middle);
    let (reconciled, lan) = (config.reconcile.clone(), membership.lan.clone());
    reconcile::start(reconciled, lan, reader, raft.clone(), &layers.middle);
    servers::start(config, &membership.lan, &raft, &layers.middle).await;
    servers::keep_fresh(config.raft.id, &raft, &freshness, &layers.middle);
    Ok(Opened {
        behind: dns::Behind::Leader(Arc::new(directory.clone())),
        directory,
        raft: Some(raft),
        freshness,
    })
}
