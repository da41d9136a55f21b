//! Both pipelines to one collector.
use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use opentelemetry::{KeyValue, logs::LoggerProvider};
use opentelemetry_otlp::{LogExporter, MetricExporter};
use opentelemetry_sdk::{
    Resource,
    logs::{LogExporter as _, SdkLogger, SdkLoggerProvider},
    metrics::SdkMeterProvider,
};
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    agent::{page::Page, sending::Sending},
    metrics,
    queue::{Reach, queue},
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
    /// Nothing is asked of the collector yet. Within a tokio runtime.
    pub fn open(target: &Target, identity: Identity, page: &Page) -> Result<Self> {
        let cannot = || format!("sending to the collector {target}");
        let resource = identity.resource();
        let sending = Arc::new(Sending::default());
        let reach = Arc::new(Reach::new(target.clone()));
        let logs = target.reach(LogExporter::builder().with_tonic())?;
        let mut logs = logs.build().with_context(cannot)?;
        logs.set_resource(&resource);
        let (queue, worker) = queue(logs, sending.clone(), reach.clone());
        let logs = SdkLoggerProvider::builder()
            .with_log_processor(queue)
            .with_resource(resource.clone())
            .build();
        let measured = target.reach(MetricExporter::builder().with_tonic())?;
        let measured = measured.build().with_context(cannot)?;
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
        let own = [
            KeyValue::new("service.version", self.version),
            KeyValue::new("service.instance.id", self.node.clone()),
            KeyValue::new("k8s.node.name", self.node.clone()),
            KeyValue::new("host.name", self.node),
        ];
        let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "netdiag".to_owned());
        let mut builder = Resource::builder().with_service_name(name);
        let said = Resource::builder().build();
        for attribute in own {
            if said.get(&attribute.key).is_none() {
                builder = builder.with_attribute(attribute);
            }
        }
        builder.build()
    }
}
