//! Objects of Prometheus' operator (monitoring.coreos.com/v1), as far as they are written here.
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};

const VERSION: &str = "monitoring.coreos.com/v1";

/// An object of the operator's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Object<S> {
    pub api_version: String,
    pub kind: String,
    pub metadata: ObjectMeta,
    pub spec: S,
}

impl<S> Object<S> {
    fn new(kind: &str, metadata: ObjectMeta, spec: S) -> Self {
        Self {
            api_version: VERSION.to_owned(),
            kind: kind.to_owned(),
            metadata,
            spec,
        }
    }
}

pub type PodMonitor = Object<PodMonitorSpec>;
pub type ServiceMonitor = Object<ServiceMonitorSpec>;
pub type PrometheusRule = Object<RuleFile>;

pub fn pod_monitor(metadata: ObjectMeta, spec: PodMonitorSpec) -> PodMonitor {
    Object::new("PodMonitor", metadata, spec)
}

pub fn service_monitor(metadata: ObjectMeta, spec: ServiceMonitorSpec) -> ServiceMonitor {
    Object::new("ServiceMonitor", metadata, spec)
}

pub fn prometheus_rule(metadata: ObjectMeta, spec: RuleFile) -> PrometheusRule {
    Object::new("PrometheusRule", metadata, spec)
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodMonitorSpec {
    pub job_label: String,
    pub pod_metrics_endpoints: Vec<Endpoint>,
    pub selector: LabelSelector,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceMonitorSpec {
    pub endpoints: Vec<Endpoint>,
    pub job_label: String,
    pub selector: LabelSelector,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    pub port: String,
    pub relabelings: Vec<Relabeling>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Relabeling {
    pub action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_labels: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_label: Option<String>,
}

/// What a rule file of Prometheus is, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    pub groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub alert: String,
    pub expr: String,
    #[serde(rename = "for")]
    pub lasting: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}
