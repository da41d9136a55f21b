//! One log record before it is the SDK's.
use std::time::SystemTime;

use jiff::Timestamp;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry_sdk::logs::SdkLogger;

use crate::model::{text, verdict::PodRef};

/// Characters of one attribute that strangers may have chosen.
const LONGEST: usize = 256;

#[derive(Clone, Debug)]
pub struct Record {
    pub event: &'static str,
    pub severity: Severity,
    pub time: Timestamp,
    pub body: String,
    pub attributes: Vec<(&'static str, AnyValue)>,
}

impl Record {
    pub fn new(event: &'static str, severity: Severity, time: Timestamp, body: String) -> Self {
        Self {
            event,
            severity,
            time,
            body,
            attributes: Vec::new(),
        }
    }

    pub fn number(mut self, key: &'static str, value: u64) -> Self {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.attributes.push((key, AnyValue::Int(value)));
        self
    }

    /// An empty text is not said.
    pub fn text(mut self, key: &'static str, value: &str) -> Self {
        if !value.is_empty() {
            let value = text::line(value, LONGEST);
            self.attributes.push((key, AnyValue::from(value)));
        }
        self
    }

    /// Text of netdiag's own making, as long as it is.
    pub fn whole(mut self, key: &'static str, value: String) -> Self {
        self.attributes.push((key, AnyValue::from(value)));
        self
    }

    /// As one text: exporters write arrays each in a way of its own.
    pub fn list(self, key: &'static str, values: &[String], between: &str) -> Self {
        let values = values.iter().map(|value| text::line(value, LONGEST));
        let joined = values.collect::<Vec<_>>().join(between);
        match joined.is_empty() {
            true => self,
            false => self.whole(key, joined),
        }
    }

    pub fn time_of(self, key: &'static str, value: Timestamp) -> Self {
        self.whole(key, value.to_string())
    }

    /// By the names of the semantic conventions.
    pub fn pod(self, pod: Option<&PodRef>) -> Self {
        let text =
            |field: Option<&String>| field.map(String::as_str).unwrap_or_default().to_owned();
        let namespace = text(pod.and_then(|pod| pod.namespace.as_ref()));
        let name = text(pod.and_then(|pod| pod.name.as_ref()));
        self.text("k8s.namespace.name", &namespace)
            .text("k8s.pod.name", &name)
    }

    /// Hands it to the SDK, which queues it.
    pub fn emit(self, logger: &SdkLogger) {
        let mut record = logger.create_log_record();
        record.set_event_name(self.event);
        record.set_timestamp(SystemTime::from(self.time));
        record.set_observed_timestamp(SystemTime::now());
        record.set_severity_number(self.severity);
        record.set_severity_text(self.severity.name());
        record.set_body(AnyValue::from(self.body));
        // Not every collector keeps the name's own field.
        record.add_attribute("event.name", self.event);
        record.add_attributes(self.attributes);
        logger.emit(record);
    }
}

/// `namespace/name`, or the address of who has no name.
pub fn pod_name(pod: &PodRef) -> Option<String> {
    match (&pod.namespace, &pod.name) {
        (Some(namespace), Some(name)) => Some(format!("{namespace}/{name}")),
        _ => pod.ip.clone(),
    }
}
