//! Figures that are computed when they are asked for.

use std::fmt;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// One figure.
pub(super) struct Single<F> {
    read: F,
    kind: MetricType,
}

impl<F> Single<F> {
    /// One that goes up and down.
    pub(super) fn gauge(read: F) -> Self {
        let kind = MetricType::Gauge;
        Self { read, kind }
    }

    /// One that only grows.
    pub(super) fn sum(read: F) -> Self {
        let kind = MetricType::Counter;
        Self { read, kind }
    }
}

impl<F> fmt::Debug for Single<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Single")
    }
}

impl<F: Fn() -> f64> EncodeMetric for Single<F> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let value = (self.read)();
        match self.kind {
            MetricType::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None),
            _ => encoder.encode_gauge(&value),
        }
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

/// Several gauges of one name, each with another value of one label.
pub(super) struct Labelled<F> {
    label: &'static str,
    read: F,
}

impl<F> Labelled<F> {
    /// What `read` computes, told apart by `label`.
    pub(super) fn new(label: &'static str, read: F) -> Self {
        Self { label, read }
    }
}

impl<F> fmt::Debug for Labelled<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Labelled({})", self.label)
    }
}

impl<F, const N: usize> EncodeMetric for Labelled<F>
where
    F: Fn() -> [(&'static str, f64); N],
{
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (value, figure) in (self.read)() {
            let labels = [(self.label, value)];
            encoder.encode_family(&labels)?.encode_gauge(&figure)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}
