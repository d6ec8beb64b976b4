//! Writing families of metrics through the encoder of prometheus-client.
//!
//! Rule: the unit is part of the name because the encoder puts it there, and so is `_total`. Must
//! never: write a family twice on one page.

use super::cell::Histogram;
use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder,
        NoLabelSet,
    },
    metrics::{MetricType, exemplar::Exemplar},
    registry::Unit,
};
use std::{collections::HashMap, fmt};

/// The page under way.
pub(super) struct Page<'p, 'e>(pub &'p mut DescriptorEncoder<'e>);

/// No exemplars.
const NONE: Option<&Exemplar<NoLabelSet, f64>> = None;

impl Page<'_, '_> {
    /// One counter.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter(&value, NONE)
    }

    /// One counter of bytes or seconds.
    pub fn counter_of<V: EncodeCounterValue>(
        &mut self,
        unit: &Unit,
        name: &str,
        help: &str,
        value: V,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, Some(unit), MetricType::Counter)?;
        encoder.encode_counter(&value, NONE)
    }

    /// Counters that labels tell apart.
    pub fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(None, name, help, MetricType::Counter, series, |encoder, value| {
            encoder.encode_counter(value, NONE)
        })
    }

    /// Counters of bytes that labels tell apart.
    pub fn byte_counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(
            Some(&Unit::Bytes),
            name,
            help,
            MetricType::Counter,
            series,
            |encoder, value| encoder.encode_counter(value, NONE),
        )
    }

    /// One gauge.
    pub fn gauge<V: EncodeGaugeValue>(&mut self, name: &str, help: &str, value: V) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// One gauge of bytes or seconds.
    pub fn gauge_of<V: EncodeGaugeValue>(
        &mut self,
        unit: &Unit,
        name: &str,
        help: &str,
        value: V,
    ) -> fmt::Result {
        self.0.encode_descriptor(name, help, Some(unit), MetricType::Gauge)?.encode_gauge(&value)
    }

    /// Gauges that labels tell apart.
    pub fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        unit: Option<&Unit>,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(unit, name, help, MetricType::Gauge, series, |encoder, value| {
            encoder.encode_gauge(value)
        })
    }

    /// What does not change.
    pub fn info<L: EncodeLabelSet>(&mut self, name: &str, help: &str, labels: &L) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(labels)
    }

    /// A histogram.
    pub fn histogram(
        &mut self,
        unit: Option<&Unit>,
        name: &str,
        help: &str,
        histogram: &Histogram,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        encode(&mut encoder, histogram)
    }

    /// Histograms of times that labels tell apart.
    pub fn time_histograms<'h, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, &'h Histogram)>,
    ) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        self.family(unit, name, help, MetricType::Histogram, series, |encoder, histogram| {
            encode(encoder, histogram)
        })
    }

    fn family<L: EncodeLabelSet, V>(
        &mut self,
        unit: Option<&Unit>,
        name: &str,
        help: &str,
        kind: MetricType,
        series: impl IntoIterator<Item = (L, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in series {
            write(&mut encoder.encode_family(&labels)?, &value)?;
        }
        Ok(())
    }
}

fn encode(encoder: &mut MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let (sum, count, buckets) = histogram.read();
    encoder.encode_histogram(
        sum,
        count,
        &buckets,
        None::<&HashMap<usize, Exemplar<NoLabelSet, f64>>>,
    )
}
