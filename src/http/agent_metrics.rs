//! `/v1/agent/metrics`: the figures as JSON, or as text for Prometheus.
//!
//! The registry counts since the agent began, so the JSON speaks of that whole time; what it does
//! not know (the least and the greatest of times that it only keeps in buckets) is null.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::clock;
use crate::metrics::{Family, Kind, Sample};

use super::Shared;
use super::error::ApiError;
use super::json::Json;
use super::query::{Query, cut};
use super::routes::Routes;

/// Media type of Prometheus text.
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Media type of `OpenMetrics` text.
const OPEN: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.read("/v1/agent/metrics", metrics)
}

/// `GET /v1/agent/metrics[?format=prometheus]`.
///
/// # Errors
/// 400: another format. 415: Prometheus is off (`telemetry.prometheus_retention_time` of 0).
async fn metrics(
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let open = accepts_open_metrics(&headers);
    let text = match query.get_filled("format") {
        None => open,
        Some("prometheus") => true,
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "unknown format {}, it must be prometheus or absent",
                cut(other)
            )));
        }
    };
    if text && api.prometheus_retention.is_zero() {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Prometheus is not enabled since its retention time is not positive",
        ));
    }
    let stops = |_| ApiError::internal("agent is stopping").retry();
    // Some figures are read from files of the system.
    let figures = api.metrics.clone();
    if text {
        let write = move || {
            if open {
                figures.text()
            } else {
                figures.plain_text()
            }
        };
        let text = tokio::task::spawn_blocking(write).await.map_err(stops)?;
        let mut response = Response::new(Body::from(text));
        let media_type = if open { OPEN } else { PLAIN };
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        return Ok(response);
    }
    let read = move || Summary::new(&figures.families(), figures.age());
    let summary = tokio::task::spawn_blocking(read).await.map_err(stops)?;
    Ok(Json(summary).into_response())
}

/// Whether the client asks for `OpenMetrics` by its media type.
fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter();
    let mut types = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    types.any(|media_type| {
        let name = media_type.split(';').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("application/openmetrics-text")
    })
}

/// Labels of one figure.
type Labels = BTreeMap<String, String>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    timestamp: String,
    gauges: Vec<Gauge>,
    /// Single values in the order in which they came; herald keeps none.
    points: [(); 0],
    counters: Vec<Sampled>,
    samples: Vec<Sampled>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Gauge {
    name: String,
    value: f64,
    labels: Labels,
}

/// A sum of what was counted or measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sampled {
    name: String,
    /// How many there were; 0 where only their sum is known.
    count: u64,
    /// `Sum` per second.
    rate: f64,
    sum: f64,
    /// These are 0 where they are not known: readers in the reference's shape count on numbers.
    min: f64,
    max: f64,
    mean: f64,
    stddev: f64,
    labels: Labels,
}

impl Summary {
    fn new(families: &[Family], age: Duration) -> Self {
        let seconds = age.as_secs_f64().max(f64::MIN_POSITIVE);
        let mut summary = Self {
            timestamp: clock::Utc::new(clock::since_epoch()).to_go_string(),
            gauges: Vec::new(),
            points: [],
            counters: Vec::new(),
            samples: Vec::new(),
        };
        for family in families {
            match family.kind {
                Kind::Counter => {
                    let counters = family.samples.iter();
                    let counters = counters.map(|sample| Sampled::counter(family, sample, seconds));
                    summary.counters.extend(counters);
                }
                Kind::Histogram => summary.samples.extend(Sampled::times(family, seconds)),
                Kind::Gauge | Kind::Info | Kind::Unknown => {
                    summary
                        .gauges
                        .extend(family.samples.iter().map(|sample| Gauge {
                            name: format!("{}{}", family.name, sample.suffix),
                            value: sample.value,
                            labels: sample.labels.iter().cloned().collect(),
                        }));
                }
            }
        }
        summary
    }
}

impl Sampled {
    /// Each event counts 1, unless it is a sum of amounts, of which no number is known.
    fn counter(family: &Family, sample: &Sample, seconds: f64) -> Self {
        let counts_events = !family.name.ends_with("_seconds");
        let one = f64::from(counts_events && sample.value > 0.0);
        Self {
            name: family.name.clone(),
            count: if counts_events {
                whole(sample.value)
            } else {
                0
            },
            rate: sample.value / seconds,
            sum: sample.value,
            min: one,
            max: one,
            mean: one,
            stddev: 0.0,
            labels: sample.labels.iter().cloned().collect(),
        }
    }

    /// One for each set of labels of a histogram.
    fn times(family: &Family, seconds: f64) -> Vec<Self> {
        let with = |suffix: &str| {
            let samples = family.samples.iter();
            let suffix = suffix.to_owned();
            samples.filter(move |sample| sample.suffix == suffix)
        };
        with("_sum")
            .map(|sum| {
                let mut counts = with("_count");
                let count = counts.find(|count| count.labels == sum.labels);
                let count = count.map_or(0.0, |count| count.value);
                Self {
                    name: family.name.clone(),
                    count: whole(count),
                    rate: sum.value / seconds,
                    sum: sum.value,
                    min: 0.0,
                    max: 0.0,
                    mean: if count > 0.0 { sum.value / count } else { 0.0 },
                    stddev: 0.0,
                    labels: sum.labels.iter().cloned().collect(),
                }
            })
            .collect()
    }
}

/// A count as it was before it was written.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole and not negative; a cast of anything else stops at the ends"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::histogram::Histogram;

    use crate::metrics::Metrics;

    use super::*;

    #[test]
    fn figures_say_what_is_known_of_them() {
        let metrics = Metrics::new();
        let shed: Counter = metrics.register("shed", "Shed", Counter::default());
        shed.inc_by(4);
        let time = metrics.register("time", "Time", Histogram::new([1.0, 10.0]));
        time.observe(0.5);
        time.observe(2.5);
        metrics.show_standard_sum("process_cpu_seconds", "Time", || 8.0);
        metrics.show_each("checks", "Checks", "status", || [("passing", 2.0)]);
        let summary = Summary::new(&metrics.families(), Duration::from_secs(2));
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(
            json["Counters"],
            serde_json::json!([
                {"Name": "herald_shed", "Count": 4, "Rate": 2.0, "Sum": 4.0, "Min": 1.0, "Max": 1.0,
                 "Mean": 1.0, "Stddev": 0.0, "Labels": {}},
                {"Name": "process_cpu_seconds", "Count": 0, "Rate": 4.0, "Sum": 8.0, "Min": 0.0,
                 "Max": 0.0, "Mean": 0.0, "Stddev": 0.0, "Labels": {}},
            ])
        );
        assert_eq!(
            json["Samples"],
            serde_json::json!([
                {"Name": "herald_time", "Count": 2, "Rate": 1.5, "Sum": 3.0, "Min": 0.0,
                 "Max": 0.0, "Mean": 1.5, "Stddev": 0.0, "Labels": {}},
            ])
        );
        assert_eq!(
            json["Gauges"],
            serde_json::json!([
                {"Name": "herald_checks", "Value": 2.0, "Labels": {"status": "passing"}},
            ])
        );
        assert_eq!(json["Points"], serde_json::json!([]));
    }

    #[test]
    fn open_metrics_is_asked_for_by_its_media_type() {
        let accepts = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(value));
            accepts_open_metrics(&headers)
        };
        assert!(accepts("application/openmetrics-text;version=1.0.0;q=0.5"));
        assert!(accepts("text/plain;q=0.3, application/OpenMetrics-text"));
        assert!(!accepts("text/plain;version=0.0.4, */*;q=0.1"));
    }
}
