//! DNS of the agent: what it answers from, and as what.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;

use super::StartError;
use super::reload::Answers;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::{catalog, dns};

/// Starts DNS, unless it is off, and what explains its answers: static zones first, since the
/// answers must know their names.
pub(super) async fn start(
    config: &Config,
    (catalog, freshness): (catalog::Reader, Arc<dns::Freshness>),
    behind: dns::Behind,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Option<(dns::Handle, (Answers, dns::Explainer))>, StartError> {
    let Some(listen) = &config.dns else {
        return Ok(None);
    };
    let zones = match config.zones_dir.clone() {
        Some(path) => tokio::task::spawn_blocking(move || dns::StaticZones::load(&path))
            .await
            .map_err(|error| StartError::Thread(error.into()))??,
        None => dns::StaticZones::none(),
    };
    let mut options = config.answers.clone();
    options.slow_zones = zones.origins().to_vec();
    let slow_zones = options.slow_zones.clone();
    let settings = Arc::new(ArcSwap::from_pointee(dns::Settings::new(options)?));
    let sources = dns::Sources {
        catalog,
        settings: Arc::clone(&settings),
        freshness,
        unencodable: metrics.register(
            "dns_unencodable",
            "Records left out of answers because they cannot be encoded",
            Counter::default(),
        ),
    };
    let help = dns::Help { zones, behind };
    let explainer = dns::Explainer::new(sources.clone(), help.clone());
    let handlers = move || dns::Responder::new(sources.clone());
    let handle = dns::start(listen, help, handlers, metrics, tasks)?;
    let answers = Answers {
        settings,
        slow_zones,
    };
    Ok(Some((handle, (answers, explainer))))
}
