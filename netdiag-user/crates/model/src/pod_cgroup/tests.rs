use super::*;

const UID: &str = "6f1ad7a1-89ab-4cde-8f01-23456789abcd";
const UNDER: &str = "6f1ad7a1_89ab_4cde_8f01_23456789abcd";
const SYSTEMD: &str = "0::/init.scope\n";

fn id() -> String {
    "0123456789abcdef".repeat(4)
}

/// `POD`, `SLICE` and `ID` stand for what kubelet and the runtime write.
fn path(text: &str) -> String {
    let text = text.replace("POD", &format!("pod{UID}"));
    text.replace("SLICE", &format!("pod{UNDER}.slice"))
        .replace("ID", &id())
}

fn believed(roots: &PodRoots, text: &str) -> bool {
    let found = roots.pod_and_container(&path(text));
    if let Some((uid, container)) = &found {
        assert_eq!((uid.as_str(), container.as_str()), (UID, &*id()), "{text}");
    }
    found.is_some()
}

#[test]
fn pods_by_either_driver_of_every_distribution() {
    let roots = PodRoots::new(SYSTEMD, None);
    let all = [
        // kubelet's cgroupfs driver: k3s, k0s, microk8s, Talos; CRI-O's and cri-dockerd's names.
        "/kubepods/POD/ID",
        "/kubepods/besteffort/POD/ID",
        "/kubepods/burstable/POD/ID",
        "/kubepods/burstable/POD/crio-ID",
        // systemd's: kubeadm, RKE2, OpenShift.
        "/kubepods.slice/kubepods-SLICE/cri-containerd-ID.scope",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-SLICE/docker-ID.scope",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-SLICE/crio-ID.scope/container",
        // kind's, which has a root.
        "/kubelet/kubepods/burstable/POD/ID",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-SLICE/cri-containerd-ID.scope",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/\
         kubelet-kubepods-burstable-SLICE/cri-containerd-ID.scope",
        // Runtime and kubelet disagree about the driver.
        "/system.slice/containerd.service/kubepods-SLICE:cri-containerd:ID",
        "/system.slice/containerd.service/kubepods-burstable-SLICE:cri-containerd:ID",
        "/system.slice/k3s.service/kubepods/burstable/POD/ID",
        "/system.slice/snap.microk8s.daemon-containerd.service/kubepods/POD/ID",
        "/kubepods-besteffort-SLICE:cri-containerd:ID",
        // As a pod of netdiag's sees the others.
        "/../../POD/ID",
        "/../../../besteffort/POD/ID",
        "/../../kubepods-burstable-SLICE/cri-containerd-ID.scope",
        "/../../../kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-SLICE/crio-ID.scope",
        // What a container makes below its own is its own.
        "/kubepods/POD/ID/system.slice/etcd.service",
        "/kubepods/POD/ID/kubepods/podffffffffffffffffffffffffffffffff/ID",
    ];
    for text in all {
        assert!(believed(&roots, text), "{text}");
    }
}

#[test]
fn nobody_names_himself_a_pod() {
    let named = PodRoots::new(SYSTEMD, Some("/kubelet"));
    for roots in [PodRoots::new(SYSTEMD, None), PodRoots::default(), named] {
        let all = [
            "/lxc.payload.x/kubepods/POD/ID",
            "/lxc.payload.x/POD/ID",
            "/lxc.payload.x/kubelet/kubepods/POD/ID",
            "/lxc/x/kubepods/POD/ID",
            "/system.slice/evil.service/kubepods/POD/ID",
            "/system.slice/evil.service/POD/ID",
            "/system.slice/evil.service/kubepods-SLICE:cri-containerd:ID",
            "/system.slice/evil.service/containerd.service/kubepods/POD/ID",
            "/evil.slice/containerd.service/kubepods/POD/ID",
            "/system.slice/docker-ID.scope/kubepods/POD/ID",
            "/evil/POD/ID",
            "/evil:kubepods/POD/ID",
            "/evil-kubepods.slice/evil-kubepods-SLICE/crio-ID.scope",
            "/kubepods/evil/POD/ID",
            "/kubepods/evilPOD/ID",
            "/evil-SLICE/crio-ID.scope",
            "/user.slice/user-1000.slice/user@1000.service/kubepods/POD/ID",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/kubepods-SLICE/crio-ID.scope",
            "/machine.slice/libpod-ID.scope/kubepods/POD/ID",
            "/docker/ID/kubepods/POD/ID",
            "/../../lxc.payload.x/kubepods/POD/ID",
            "/../../../../system.slice/evil.service/kubepods/POD/ID",
            "/lxc.payload.x/../kubepods/POD/ID",
            "/kubepods/POD/nobody",
            "/kubepods/burstable",
            "/",
            "",
        ];
        for text in all {
            assert!(!believed(&roots, text), "{text}");
        }
    }
}

#[test]
fn a_node_may_be_a_container_or_a_pod() {
    let docker = format!("0::/docker/{}/init.scope\n", id());
    let kind = PodRoots::new(&docker, None);
    assert!(believed(&kind, "/docker/ID/kubelet/kubepods/POD/ID"));
    assert!(believed(
        &kind,
        "/docker/ID/kubepods.slice/kubepods-SLICE/crio-ID.scope"
    ));
    assert!(!believed(&kind, "/docker/other/kubelet/kubepods/POD/ID"));
    assert!(!believed(&kind, "/docker/ID/evil.service/kubepods/POD/ID"));
    let k3d = PodRoots::new(&format!("4:memory:/docker/{}/init\n", id()), None);
    assert!(believed(&k3d, "/docker/ID/kubepods/burstable/POD/ID"));
    // Without an init system the first process is where the container is.
    let bare = PodRoots::new(&format!("0::/docker/{}\n", id()), None);
    assert!(believed(&bare, "/docker/ID/kubepods/POD/ID"));
    let outer = format!("/kubepods/pod{}/{}", "f".repeat(32), id());
    let nested = PodRoots::new(&format!("0::{outer}/init.scope\n"), None);
    assert!(believed(&nested, &format!("{outer}/kubepods/POD/ID")));
    // As seen from one of its containers.
    let within = PodRoots::new("0::/../../../../init.scope\n", None);
    assert!(believed(&within, "/../../POD/ID"));
}

#[test]
fn what_is_named_is_kubelets() {
    let lab = PodRoots::new("0::/\n", Some("netdiag-1a2b"));
    assert!(believed(&lab, "/netdiag-1a2b/kubepods/POD/ID"));
    assert!(believed(&lab, "/netdiag-1a2b/kubepods/besteffort/POD/ID"));
    assert!(!believed(&lab, "/netdiag-9/kubepods/POD/ID"));
    let slices = PodRoots::new(SYSTEMD, Some("/a.slice/a-b.slice/"));
    let pod = "/a.slice/a-b.slice/a-b-kubepods.slice/a-b-kubepods-SLICE/crio-ID.scope";
    assert!(believed(&slices, pod));
    assert!(!believed(&slices, &format!("/evil{pod}")));
    let docker = format!("0::/docker/{}/init.scope\n", id());
    let both = PodRoots::new(&docker, Some("kubelet"));
    assert!(believed(&both, "/docker/ID/kubelet/kubepods/POD/ID"));
    let elsewhere = PodRoots::new(SYSTEMD, Some("/docker/abc/kubelet"));
    assert!(believed(&elsewhere, "/docker/abc/kubelet/kubepods/POD/ID"));
}
