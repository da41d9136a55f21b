//! Both pipelines to one collector.
use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use opentelemetry::{Key, KeyValue, logs::LoggerProvider};
use opentelemetry_otlp::{LogExporter, MetricExporter, RetryPolicy, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    logs::{LogExporter as _, SdkLogger, SdkLoggerProvider},
    metrics::SdkMeterProvider,
};
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    agent::{page::Page, sending::Sending},
    metrics,
    queue::{Reach, Signal, queue},
    record::Record,
    target::Target,
};

/// What is left is sent for so long when the agent ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// Who sends.
pub struct Identity {
    pub node: String,
    pub version: String,
}

pub struct Exporter {
    logger: SdkLogger,
    logs: SdkLoggerProvider,
    metrics: SdkMeterProvider,
    worker: JoinHandle<()>,
}

impl Exporter {
    /// Nothing is asked of the collector yet. Within a tokio runtime; the node's files are below
    /// `root`.
    pub fn open(target: &Target, root: &Path, identity: Identity, page: &Page) -> Result<Self> {
        let cannot = || format!("sending to the collector {target}");
        let resource = identity.resource();
        let sending = Arc::new(Sending::default());
        let reach = |signal| Reach::new(target.clone(), signal);
        // The queue knows better what may be sent again: a count of packets adds up.
        let logs = LogExporter::builder().with_tonic();
        let logs = logs.with_retry_policy(RetryPolicy::disabled());
        let logs = target.reach(logs, root).with_context(cannot)?;
        let mut logs = logs.build().with_context(cannot)?;
        logs.set_resource(&resource);
        let (queue, worker) = queue(logs, sending.clone(), reach(Signal::Records));
        let logs = SdkLoggerProvider::builder()
            .with_log_processor(queue)
            .with_resource(resource.clone())
            .build();
        let measured = target.reach(MetricExporter::builder().with_tonic(), root);
        let measured = measured.with_context(cannot)?.build();
        let measured = measured.with_context(cannot)?;
        let reach = reach(Signal::Metrics);
        page.state().sending = Some(sending.clone());
        Ok(Self {
            logger: logs.logger("netdiag"),
            logs,
            metrics: metrics::provide(measured, resource, page, sending, reach),
            worker: tokio::spawn(worker.run()),
        })
    }

    pub fn emit(&self, records: Vec<Record>) {
        records.into_iter().for_each(|it| it.emit(&self.logger));
    }

    /// Sends what is left, for a moment.
    pub async fn close(self) {
        let metrics = self.metrics;
        // Both wait for the collector; and the queue's end is where its last holder goes.
        let measured = tokio::task::spawn_blocking(move || metrics.shutdown_with_timeout(FAREWELL));
        drop((self.logger, self.logs));
        let _ = timeout(FAREWELL, self.worker).await;
        let _ = timeout(FAREWELL, measured).await;
    }
}

impl Identity {
    /// What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say counts before this.
    fn resource(self) -> Resource {
        let said = Resource::builder().build();
        let first = std::env::var("OTEL_SERVICE_NAME").ok();
        self.beside(&said, first.filter(|it| !it.is_empty()))
    }

    fn beside(self, said: &Resource, name: Option<String>) -> Resource {
        let own = [
            KeyValue::new("service.version", self.version),
            KeyValue::new("service.instance.id", self.node.clone()),
            KeyValue::new("k8s.node.name", self.node.clone()),
            KeyValue::new("host.name", self.node),
        ];
        let known = said.get(&Key::new("service.name"));
        let known = known.map(|it| it.to_string());
        // So the SDK calls what nobody named.
        let known = known.filter(|it| !it.starts_with("unknown_service"));
        let name = name.or(known).unwrap_or_else(|| "netdiag".to_owned());
        let attributes = said
            .iter()
            .map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let mut builder = Resource::builder_empty()
            .with_attributes(attributes)
            .with_service_name(name);
        for attribute in own {
            if said.get(&attribute.key).is_none() {
                builder = builder.with_attribute(attribute);
            }
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_environment_names_counts_first() {
        let named = |said: Option<&'static str>, first: Option<&str>| {
            let attributes = said.map(|it| KeyValue::new("service.name", it));
            let said = Resource::builder_empty()
                .with_attributes(attributes)
                .with_attribute(KeyValue::new("host.name", "said"))
                .build();
            let identity = Identity {
                node: "node-a".to_owned(),
                version: "1".to_owned(),
            };
            let resource = identity.beside(&said, first.map(str::to_owned));
            ["service.name", "host.name", "k8s.node.name"].map(|key| {
                let value = resource.get(&Key::new(key));
                value.map(|it| it.to_string()).unwrap_or_default()
            })
        };
        let rest = |name: &str| [name, "said", "node-a"].map(str::to_owned);
        assert_eq!(named(Some("cni-edge"), None), rest("cni-edge"));
        assert_eq!(named(Some("cni-edge"), Some("first")), rest("first"));
        assert_eq!(
            named(Some("unknown_service:netdiag"), None),
            rest("netdiag")
        );
        assert_eq!(named(None, None), rest("netdiag"));
    }
}
