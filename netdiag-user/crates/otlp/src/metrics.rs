//! The metrics page's families as observable instruments: each is read from the same table, by the
//! same name and with the same labels.
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

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
    queue::{Reach, code},
};

/// Series of a family beyond the ones of `--max-series`: two shared ones for each reason and hop.
const REST: usize = 2048;
/// A collector that has no use for metrics is asked again so often.
const AGAIN: Duration = Duration::from_secs(3600);

pub fn provide(
    exporter: MetricExporter,
    resource: Resource,
    page: &Page,
    sending: Arc<Sending>,
    reach: Reach,
) -> SdkMeterProvider {
    let exporter = Counted {
        exporter,
        sending,
        reach,
        unknown: Mutex::default(),
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

/// Counts the requests, and makes none to who knows no metrics.
struct Counted<E> {
    exporter: E,
    /// When it said so.
    unknown: Mutex<Option<Instant>>,
    sending: Arc<Sending>,
    reach: Reach,
}

impl<E> Counted<E> {
    fn rests(&self) -> bool {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.is_some_and(|at| at.elapsed() < AGAIN)
    }

    fn heard(&self, went: &OTelSdkResult) {
        let unknown = went
            .as_ref()
            .is_err_and(|it| code(it) == Some("Unimplemented"));
        let mut at = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        *at = unknown.then(Instant::now);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Counted<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        if self.rests() {
            return Ok(());
        }
        let went = self.exporter.export(metrics).await;
        self.heard(&went);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;
    use crate::{agent::sending::count, queue::Signal, target::Target};

    /// Answers always with that status.
    struct Fake(&'static str, AtomicU64);

    impl PushMetricExporter for Fake {
        async fn export(&self, _: &ResourceMetrics) -> OTelSdkResult {
            count(&self.1, 1);
            let text = format!(
                "TonicMetricsClient export failed with gRPC code: {}",
                self.0
            );
            Err(OTelSdkError::InternalFailure(text))
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }

        fn temporality(&self) -> Temporality {
            Temporality::Cumulative
        }
    }

    #[tokio::test]
    async fn who_knows_no_metrics_is_left_alone() {
        for (status, asked) in [("Unimplemented", 1), ("Unavailable", 3)] {
            let target = Target::parse("http://192.0.2.1:4317").expect("an address");
            let counted = Counted {
                exporter: Fake(status, AtomicU64::new(0)),
                unknown: Mutex::default(),
                sending: Arc::default(),
                reach: Reach::new(target, Signal::Metrics),
            };
            for _ in 0..3 {
                let went = counted.export(&ResourceMetrics::default()).await;
                went.expect("nobody is told");
            }
            assert_eq!(counted.exporter.1.load(Relaxed), asked, "{status}");
        }
    }
}
