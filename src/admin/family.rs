//! Figures of one name, as they are handed to the encoder: what there is of them was read before.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::metrics::Histogram;

/// What tells a figure from others of its name.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// A figure.
#[derive(Debug)]
pub enum Value {
    /// Goes up only.
    Counter(u64),
    /// The same, in parts.
    CounterParts(f64),
    /// Goes up and down.
    Gauge(u64),
    /// The same, in parts.
    GaugeParts(f64),
    /// How long something took: how many in each class, and all together, in microseconds.
    Times([u64; Histogram::BOUNDS_US.len() + 1], u64),
}

/// Figures of one name and kind. There may be none now.
#[derive(Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    figures: Vec<(Labels, Value)>,
}

impl Family {
    /// A counter; `_total` is added to its name.
    pub fn counter(name: &'static str, help: &'static str, count: u64) -> Self {
        Self { name, help, kind: MetricType::Counter, figures: vec![(Vec::new(), Value::Counter(count))] }
    }

    /// A gauge.
    pub fn gauge(name: &'static str, help: &'static str, amount: u64) -> Self {
        Self { name, help, kind: MetricType::Gauge, figures: vec![(Vec::new(), Value::Gauge(amount))] }
    }

    /// A counter for each value of a label.
    pub fn counters<L: Into<Cow<'static, str>>>(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        counts: impl IntoIterator<Item = (L, u64)>,
    ) -> Self {
        let figure = |(value, count): (L, u64)| (vec![(label, value.into())], Value::Counter(count));
        Self { name, help, kind: MetricType::Counter, figures: counts.into_iter().map(figure).collect() }
    }

    /// A gauge for each value of a label.
    pub fn gauges<L: Into<Cow<'static, str>>>(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        amounts: impl IntoIterator<Item = (L, u64)>,
    ) -> Self {
        let figure = |(value, amount): (L, u64)| (vec![(label, value.into())], Value::Gauge(amount));
        Self { name, help, kind: MetricType::Gauge, figures: amounts.into_iter().map(figure).collect() }
    }

    /// Times of one thing, in seconds, of which there may be several sorts.
    pub fn times(
        name: &'static str,
        help: &'static str,
        sorts: impl IntoIterator<Item = (Labels, [u64; Histogram::BOUNDS_US.len() + 1], u64)>,
    ) -> Self {
        let figure = |(labels, classes, sum_us)| (labels, Value::Times(classes, sum_us));
        Self { name, help, kind: MetricType::Histogram, figures: sorts.into_iter().map(figure).collect() }
    }

    /// Any figures.
    pub fn new(
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        figures: Vec<(Labels, Value)>,
    ) -> Self {
        Self { name, help, kind, figures }
    }
}

/// All that are told at once.
#[derive(Debug)]
pub struct Families(pub Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let mut encoder = encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
            for (labels, value) in &family.figures {
                if labels.is_empty() {
                    encode(&mut encoder, value)?;
                } else {
                    encode(&mut encoder.encode_family(labels)?, value)?;
                }
            }
        }
        Ok(())
    }
}

fn encode(encoder: &mut MetricEncoder<'_>, value: &Value) -> Result<(), fmt::Error> {
    match value {
        Value::Counter(count) => encoder.encode_counter::<NoLabelSet, _, f64>(count, None),
        Value::CounterParts(count) => encoder.encode_counter::<NoLabelSet, _, f64>(count, None),
        Value::Gauge(amount) => encoder.encode_gauge(amount),
        Value::GaugeParts(amount) => encoder.encode_gauge(amount),
        Value::Times(classes, sum_us) => {
            let bounds = Histogram::BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(classes.iter().copied()).collect();
            let count = classes.iter().sum();
            encoder.encode_histogram::<NoLabelSet>(*sum_us as f64 / 1e6, count, &buckets, None)
        }
    }
}
