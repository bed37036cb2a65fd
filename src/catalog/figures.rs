//! The figures of the catalog, read from the newest state when they are asked for.

use crate::metrics::Metrics;
use crate::types::Status;

use super::reader::Reader;

/// Shows how much the catalog holds.
#[expect(clippy::cast_precision_loss, reason = "figures to be shown")]
pub fn show(reader: &Reader, metrics: &Metrics) {
    let catalog = reader.clone();
    metrics.show("catalog_nodes", "Nodes in the catalog", move || {
        catalog.state().node_count() as f64
    });
    let catalog = reader.clone();
    metrics.show(
        "catalog_services",
        "Service names in the catalog",
        move || catalog.state().service_count() as f64,
    );
    let catalog = reader.clone();
    metrics.show(
        "catalog_instances",
        "Service instances in the catalog",
        move || catalog.state().instance_count() as f64,
    );
    let catalog = reader.clone();
    metrics.show_each(
        "catalog_checks",
        "Checks in the catalog, by status",
        "status",
        move || {
            let state = catalog.state();
            [
                ("passing", Status::Passing),
                ("warning", Status::Warning),
                ("critical", Status::Critical),
            ]
            .map(|(label, status)| (label, state.check_count(status) as f64))
        },
    );
    let catalog = reader.clone();
    metrics.show(
        "catalog_index",
        "Position in the log up to which the catalog is published",
        move || catalog.applied().0 as f64,
    );
}
