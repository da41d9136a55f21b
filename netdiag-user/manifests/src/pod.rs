//! A pod in which netdiag sees its node: the node's network and processes, and its files at /host.
use k8s_openapi::{
    api::core::v1::ResourceRequirements,
    api::core::v1::{
        Container, EnvVar, EnvVarSource, HostPathVolumeSource, ObjectFieldSelector, PodSpec,
        Toleration, Volume, VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{profile::Profile, seccomp::Seccomp};

pub const CONTAINER: &str = "netdiag";
/// The image of this very version, as it is called where it was imported and nobody pushed it under
/// another name.
pub const IMAGE: &str = concat!("localhost/netdiag:", env!("CARGO_PKG_VERSION"));
/// Where netdiag looks for a node's files by itself, as `kubectl debug node/…` puts them there.
pub const HOST_ROOT: &str = "/host";
/// What the agent may take of its node at most; alerts speak of it.
pub(crate) const CPU_LIMIT_MILLI: u32 = 500;
pub(crate) const MEMORY_LIMIT_MI: u32 = 512;
/// What it has attached stands there, for the next one to take away after a kill.
const LEDGER: &str = "/run/netdiag";

/// Of a pod on one node that runs `netdiag ARGS…` of this image, whose entry point netdiag is.
pub fn pod_spec(profile: Profile, seccomp: &Seccomp, image: &str, args: &[String]) -> PodSpec {
    PodSpec {
        containers: vec![Container {
            security_context: Some(profile.security(seccomp)),
            ..container(image, args)
        }],
        // A resolver of the cluster's, for collectors that are named by their Services.
        dns_policy: Some("ClusterFirstWithHostNet".to_owned()),
        // Its hooks are at the node's links.
        host_network: Some(true),
        // What it writes down as its own, and what the kernel tells of processes, is by pids of the
        // node's: another netdiag on the node would take this one for dead.
        host_pid: Some(true),
        node_selector: Some([("kubernetes.io/os".to_owned(), "linux".to_owned())].into()),
        // A node in trouble is tainted, and is the one to look at.
        tolerations: Some(vec![Toleration {
            operator: Some("Exists".to_owned()),
            ..Toleration::default()
        }]),
        volumes: Some(vec![
            host_path("host", "/", "Directory"),
            host_path("ledger", LEDGER, "DirectoryOrCreate"),
        ]),
        ..PodSpec::default()
    }
}

fn container(image: &str, args: &[String]) -> Container {
    Container {
        args: Some(args.to_vec()),
        env: Some(vec![of_the_pod("NODE_NAME", "spec.nodeName")]),
        image: Some(image.to_owned()),
        name: CONTAINER.to_owned(),
        resources: Some(resources()),
        volume_mounts: Some(vec![
            VolumeMount {
                // Namespaces and sockets that come later are there as well.
                mount_propagation: Some("HostToContainer".to_owned()),
                mount_path: HOST_ROOT.to_owned(),
                name: "host".to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
            mount("ledger", LEDGER),
        ]),
        ..Container::default()
    }
}

/// At level light a quiet node takes some hundredths of a CPU; a crowded one has 150 MiB of names and
/// flows, and the kernel's tables (some 16 MiB) count as the pod's memory too.
fn resources() -> ResourceRequirements {
    let of = |cpu: &str, memory: &str| {
        let both = [("cpu", cpu), ("memory", memory)];
        Some(
            both.map(|(k, v)| (k.to_owned(), Quantity(v.to_owned())))
                .into(),
        )
    };
    ResourceRequirements {
        limits: of(
            &format!("{CPU_LIMIT_MILLI}m"),
            &format!("{MEMORY_LIMIT_MI}Mi"),
        ),
        requests: of("50m", "96Mi"),
        ..ResourceRequirements::default()
    }
}

/// A variable of the downward API's.
fn of_the_pod(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: field.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

pub(crate) fn host_path(name: &str, path: &str, kind: &str) -> Volume {
    Volume {
        host_path: Some(HostPathVolumeSource {
            path: path.to_owned(),
            type_: Some(kind.to_owned()),
        }),
        name: name.to_owned(),
        ..Volume::default()
    }
}

pub(crate) fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        mount_path: path.to_owned(),
        name: name.to_owned(),
        ..VolumeMount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_files_are_there_to_be_read_alone() {
        let pod = pod_spec(
            Profile::Full,
            &Seccomp::default(),
            "netdiag:1",
            &["agent".to_owned()],
        );
        let container = &pod.containers[0];
        let mounts = container.volume_mounts.as_deref().unwrap_or_default();
        let host = mounts.iter().find(|m| m.mount_path == HOST_ROOT);
        assert_eq!(host.expect("mounted").read_only, Some(true));
        let volumes = pod.volumes.as_deref().unwrap_or_default();
        for mount in mounts {
            assert!(volumes.iter().any(|v| v.name == mount.name), "{mount:?}");
        }
    }
}
