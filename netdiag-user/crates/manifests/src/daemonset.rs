//! The agent on every node.
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet},
        core::v1::{
            ContainerPort, EnvVar, HTTPGetAction, LocalObjectReference, PodSpec, PodTemplateSpec,
            Probe,
        },
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use crate::{
    arch::keep_to,
    options::Options,
    pod::{CONTAINER, host_path, mount, pod_spec},
    profile::Profile,
};

/// The port of metrics and health, by its name.
pub const PORT: &str = "metrics";
/// The last minutes are kept there, on the node, for `netdiag agent snapshot`.
const HISTORY: &str = "/var/lib/netdiag";

pub fn daemonset(options: &Options) -> DaemonSet {
    DaemonSet {
        metadata: options.meta(),
        spec: Some(DaemonSetSpec {
            selector: options.selector(),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    annotations: Some(
                        [("kubectl.kubernetes.io/default-container", CONTAINER)]
                            .map(|(key, value)| (key.to_owned(), value.to_owned()))
                            .into(),
                    ),
                    labels: Some(options.agent_labels()),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(options)),
            },
            update_strategy: Some(DaemonSetUpdateStrategy {
                rolling_update: Some(RollingUpdateDaemonSet {
                    max_unavailable: Some(IntOrString::String("10%".to_owned())),
                    ..RollingUpdateDaemonSet::default()
                }),
                type_: Some("RollingUpdate".to_owned()),
            }),
            ..DaemonSetSpec::default()
        }),
        ..DaemonSet::default()
    }
}

/// What the agent is started with.
pub fn arguments(options: &Options) -> Vec<String> {
    let listen = format!("--listen={}", options.listen.address());
    let mut all = vec!["agent".to_owned(), listen];
    if options.profile == Profile::Minimal && !options.canary {
        // A canary lives in a network namespace of its own, which CAP_SYS_ADMIN makes.
        all.push("--canary=0".to_owned());
    }
    all.extend(options.arguments.iter().cloned());
    all
}

fn pod(options: &Options) -> PodSpec {
    let image = options.image.as_str();
    let mut pod = pod_spec(
        options.profile,
        &options.seccomp,
        image,
        &arguments(options),
    );
    keep_to(&mut pod, &options.arch);
    pod.service_account_name = Some(options.name.to_string());
    pod.priority_class_name = options.priority_class.as_ref().map(ToString::to_string);
    let secret = options.pull_secret.as_ref();
    pod.image_pull_secrets = secret.map(|name| {
        let name = name.to_string();
        vec![LocalObjectReference { name }]
    });
    let volumes = pod.volumes.get_or_insert_default();
    volumes.push(host_path("history", HISTORY, "DirectoryOrCreate"));
    let container = &mut pod.containers[0];
    let mounts = container.volume_mounts.get_or_insert_default();
    mounts.push(mount("history", HISTORY));
    // For commands that are run in the pod too: `netdiag agent snapshot`.
    container.env.get_or_insert_default().push(EnvVar {
        name: "NETDIAG_HISTORY".to_owned(),
        value: Some(HISTORY.to_owned()),
        ..EnvVar::default()
    });
    container.ports = Some(vec![ContainerPort {
        container_port: options.listen.port().into(),
        // The node's own: there is no other in its network.
        host_port: Some(options.listen.port().into()),
        name: Some(PORT.to_owned()),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }]);
    container.liveness_probe = Some(probe(options, "/healthz", 30));
    container.readiness_probe = Some(probe(options, "/readyz", 10));
    pod
}

fn probe(options: &Options, path: &str, period: i32) -> Probe {
    let listen = options.listen;
    let own = listen.is_local().then(|| listen.address().ip().to_string());
    Probe {
        http_get: Some(HTTPGetAction {
            host: own,
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}
