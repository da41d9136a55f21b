//! How the operator's Prometheus finds the agents. Labels of targets are the agents' own: what a
//! series says of a namespace is whose packets they were, not where the agent runs.
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use crate::{
    daemonset::PORT,
    monitoring::{
        Endpoint, PodMonitor, PodMonitorSpec, Relabeling, ServiceMonitor, ServiceMonitorSpec,
        pod_monitor, service_monitor,
    },
    options::{INSTANCE, Options},
};

pub fn pods(options: &Options) -> PodMonitor {
    let spec = PodMonitorSpec {
        job_label: INSTANCE.to_owned(),
        pod_metrics_endpoints: vec![endpoint()],
        selector: options.selector(),
    };
    pod_monitor(options.meta(), spec)
}

pub fn services(options: &Options) -> ServiceMonitor {
    let spec = ServiceMonitorSpec {
        endpoints: vec![endpoint()],
        job_label: INSTANCE.to_owned(),
        selector: options.selector(),
    };
    service_monitor(options.meta(), spec)
}

/// Of no address: it is there for its endpoints.
pub fn service(options: &Options) -> Service {
    Service {
        metadata: ObjectMeta {
            labels: Some(options.agent_labels()),
            ..options.meta()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some(vec![ServicePort {
                name: Some(PORT.to_owned()),
                port: options.listen.port().into(),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(PORT.to_owned())),
                ..ServicePort::default()
            }]),
            // An agent that is blind serves its metrics, and they say so.
            publish_not_ready_addresses: Some(true),
            selector: options.selector().match_labels,
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn endpoint() -> Endpoint {
    let node = Relabeling {
        action: "replace".to_owned(),
        source_labels: vec!["__meta_kubernetes_pod_node_name".to_owned()],
        target_label: Some("instance".to_owned()),
        ..Relabeling::default()
    };
    let drop = Relabeling {
        action: "labeldrop".to_owned(),
        regex: Some("namespace|pod|container|endpoint|service".to_owned()),
        ..Relabeling::default()
    };
    Endpoint {
        port: PORT.to_owned(),
        relabelings: vec![node, drop],
    }
}
