//! The families as prometheus-client writes them.
use std::fmt::Error;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::{
    Page, State,
    families::{FAMILIES, Family, Kind, Value},
};

#[derive(Debug)]
pub(super) struct Families(pub Page);

impl Collector for Families {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), Error> {
        let state = self.0.state();
        FAMILIES
            .iter()
            .try_for_each(|family| encode(&mut to, family, &state))
    }
}

fn encode(to: &mut DescriptorEncoder<'_>, family: &Family, state: &State) -> Result<(), Error> {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    let unit = family.in_seconds.then_some(&Unit::Seconds);
    let mut rows = to.encode_descriptor(family.name, family.help, unit, kind)?;
    let mut written = Ok(());
    (family.series)(state, &mut |labels, value| {
        if written.is_ok() {
            written = row(&mut rows, family.kind, labels, value);
        }
    });
    written
}

fn row(
    rows: &mut MetricEncoder<'_>,
    kind: Kind,
    labels: &[(&'static str, &str)],
    value: Value,
) -> Result<(), Error> {
    // Of no labels it would write the braces.
    if labels.is_empty() {
        return number(rows, kind, value);
    }
    number(&mut rows.encode_family(&labels.to_vec())?, kind, value)
}

fn number(row: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> Result<(), Error> {
    match (kind, value) {
        (Kind::Counter, Value::Whole(n)) => row.encode_counter::<NoLabelSet, _, u64>(&n, None),
        (Kind::Counter, Value::Seconds(n)) => row.encode_counter::<NoLabelSet, _, u64>(&n, None),
        (Kind::Gauge, Value::Whole(n)) => row.encode_gauge(&n),
        (Kind::Gauge, Value::Seconds(n)) => row.encode_gauge(&n),
    }
}
