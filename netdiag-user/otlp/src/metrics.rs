//! The metrics page's families as observable instruments: each is read from the same table, by the
//! same name and with the same labels.
use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter, MeterProvider},
};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{
        PeriodicReader, SdkMeterProvider, Stream, Temporality, data::ResourceMetrics,
        exporter::PushMetricExporter,
    },
};

use crate::{
    agent::{
        page::{
            Page,
            families::{FAMILIES, Family, Kind, Value},
        },
        sending::Sending,
    },
    queue::Reach,
};

/// Series of a family beyond the ones of `--max-series`: one of the rest for each reason and hop.
const REST: usize = 1024;

pub fn provide(
    exporter: MetricExporter,
    resource: Resource,
    page: &Page,
    sending: Arc<Sending>,
    reach: Arc<Reach>,
) -> SdkMeterProvider {
    let exporter = Counted {
        exporter,
        sending,
        reach,
    };
    let most = page.state().most + REST;
    let bounded = move |_: &_| Stream::builder().with_cardinality_limit(most).build().ok();
    let provider = SdkMeterProvider::builder()
        // How often says OTEL_METRIC_EXPORT_INTERVAL, else once a minute.
        .with_reader(PeriodicReader::builder(exporter).build())
        .with_view(bounded)
        .with_resource(resource)
        .build();
    let meter = provider.meter("netdiag");
    for family in FAMILIES {
        instrument(&meter, family, page.clone());
    }
    provider
}

fn instrument(meter: &Meter, family: &'static Family, page: Page) {
    let (name, help) = (family.full_name(), family.help);
    match (family.kind, family.in_seconds) {
        (Kind::Counter, false) => {
            let built = meter.u64_observable_counter(name).with_description(help);
            built
                .with_callback(move |to| observe(&page, family, to, whole))
                .build();
        }
        (Kind::Gauge, false) => {
            let built = meter.u64_observable_gauge(name).with_description(help);
            built
                .with_callback(move |to| observe(&page, family, to, whole))
                .build();
        }
        (Kind::Counter, true) => {
            let built = meter.f64_observable_counter(name).with_description(help);
            built
                .with_unit("s")
                .with_callback(move |to| observe(&page, family, to, seconds))
                .build();
        }
        (Kind::Gauge, true) => {
            let built = meter.f64_observable_gauge(name).with_description(help);
            built
                .with_unit("s")
                .with_callback(move |to| observe(&page, family, to, seconds))
                .build();
        }
    }
}

fn observe<T>(page: &Page, family: &Family, to: &dyn AsyncInstrument<T>, of: fn(Value) -> T) {
    let state = page.state();
    (family.series)(&state, &mut |labels, value| {
        let labels = labels.iter();
        let labels: Vec<_> = labels
            .map(|(key, value)| KeyValue::new(*key, (*value).to_owned()))
            .collect();
        to.observe(of(value), &labels);
    });
}

fn whole(value: Value) -> u64 {
    match value {
        Value::Whole(number) => number,
        Value::Seconds(seconds) => seconds as u64,
    }
}

fn seconds(value: Value) -> f64 {
    match value {
        Value::Whole(number) => number as f64,
        Value::Seconds(seconds) => seconds,
    }
}

/// Counts the requests.
struct Counted {
    exporter: MetricExporter,
    sending: Arc<Sending>,
    reach: Arc<Reach>,
}

impl PushMetricExporter for Counted {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let went = self.exporter.export(metrics).await;
        self.reach.went(&self.sending, went);
        // The SDK has nobody to tell.
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
