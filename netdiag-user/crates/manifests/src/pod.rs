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
            ..container(profile, image, args)
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

/// What is imported on a node is never pulled: a runtime takes `localhost` in an image's name for the
/// node's own port 80, by plain HTTP, where any pod of the node's network may answer.
fn pull_policy(image: &str) -> Option<String> {
    let imported = image.starts_with("localhost/") || image.starts_with("localhost:");
    imported.then(|| "Never".to_owned())
}

/// The node's files, to be read. What is mounted below them is as readable as its own mount says, unless
/// all of it is made read-only (Kubernetes 1.31), which asks for no mounts that come later: those are
/// namespaces and sockets of pods, which the profile full alone looks at.
pub(crate) fn node_files(profile: Profile) -> VolumeMount {
    let later = profile == Profile::Full;
    let (propagation, recursive) = match later {
        true => ("HostToContainer", None),
        false => ("None", Some("IfPossible".to_owned())),
    };
    VolumeMount {
        mount_propagation: Some(propagation.to_owned()),
        mount_path: HOST_ROOT.to_owned(),
        name: "host".to_owned(),
        read_only: Some(true),
        recursive_read_only: recursive,
        ..VolumeMount::default()
    }
}

fn container(profile: Profile, image: &str, args: &[String]) -> Container {
    Container {
        image_pull_policy: pull_policy(image),
        args: Some(args.to_vec()),
        env: Some(vec![of_the_pod("NODE_NAME", "spec.nodeName")]),
        image: Some(image.to_owned()),
        name: CONTAINER.to_owned(),
        resources: Some(resources()),
        volume_mounts: Some(vec![node_files(profile), mount("ledger", LEDGER)]),
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

    fn the_container(profile: Profile, image: &str) -> Container {
        let pod = pod_spec(profile, &Seccomp::default(), image, &[]);
        pod.containers.into_iter().next().expect("a container")
    }

    #[test]
    fn what_is_imported_is_never_pulled() {
        let policy = |image: &str| the_container(Profile::Minimal, image).image_pull_policy;
        for image in [IMAGE, "localhost/netdiag:9", "localhost:5000/netdiag"] {
            assert_eq!(policy(image).as_deref(), Some("Never"), "{image}");
        }
        assert_eq!(policy("registry.example/netdiag:9"), None);
        assert_eq!(policy("localhost.example/netdiag:9"), None);
    }

    /// The API refuses a recursive one that lets later mounts in.
    #[test]
    fn what_is_mounted_below_the_nodes_files_is_read_only_where_nothing_comes_later() {
        let host = |profile| {
            let mounts = the_container(profile, IMAGE)
                .volume_mounts
                .unwrap_or_default();
            let mut host = mounts.into_iter().filter(|m| m.mount_path == HOST_ROOT);
            let host = host.next().expect("the node's files");
            assert_eq!(host.read_only, Some(true));
            (host.recursive_read_only, host.mount_propagation)
        };
        let of = |all: (Option<String>, Option<String>)| {
            (all.0.unwrap_or_default(), all.1.unwrap_or_default())
        };
        let minimal = of(host(Profile::Minimal));
        assert_eq!(minimal, ("IfPossible".to_owned(), "None".to_owned()));
        let full = of(host(Profile::Full));
        assert_eq!(full, (String::new(), "HostToContainer".to_owned()));
    }
}
