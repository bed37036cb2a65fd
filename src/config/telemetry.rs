//! `telemetry`: how figures are named, which are shown, and whether Prometheus may read them.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::raw::{Span, from_text};
use crate::metrics::{Naming, Rule};

/// How long Prometheus may take its time, where nothing is said: it may read the figures without
/// any configuration. They are kept in any case, and cost nothing until they are read.
const RETENTION: Duration = Duration::from_secs(24 * 3_600);

/// The keys of `telemetry`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTelemetry {
    filter_default: Option<bool>,
    metrics_prefix: Option<Prefix>,
    prefix_filter: Option<Vec<Filter>>,
    prometheus_retention_time: Option<Span>,
}

impl RawTelemetry {
    /// Names of the figures, and what is shown of them.
    pub(super) fn naming(&self) -> Naming {
        let default = Naming::default();
        let given = self.metrics_prefix.as_ref();
        let rules = self.prefix_filter.iter().flatten();
        Naming {
            prefix: given.map_or(default.prefix, |prefix| prefix.0.clone()),
            rules: rules.map(|rule| rule.0.clone()).collect(),
            otherwise: self.filter_default.unwrap_or(default.otherwise),
        }
    }

    /// Positive if Prometheus may read the figures.
    pub(super) fn prometheus_retention(&self) -> Duration {
        self.prometheus_retention_time
            .map_or(RETENTION, |span| span.0)
    }
}

/// The begin of all names.
#[derive(Clone, Debug)]
struct Prefix(String);

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a prefix as a string", |text| {
            let checked = Naming::check_prefix(text);
            checked.map(Self).map_err(|error| error.to_string())
        })
    }
}

/// A rule about names.
#[derive(Clone, Debug)]
struct Filter(Rule);

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a rule such as \"-herald.http\"", |text| {
            let rule = text.parse::<Rule>();
            rule.map(Self).map_err(|error| error.to_string())
        })
    }
}
