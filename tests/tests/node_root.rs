//! A container in which the node's root is mounted at /host, made as a runtime makes one: a mount
//! namespace with a root of its own.
use std::process::Command;

use netdiag_tests::{
    netdiag::{binary, netdiag},
    process::{Ended, run},
    require,
};

/// The node: a first process with the root of this machine, which starts the container.
const NODE: &str = r#"
unshare --mount --propagation private sh -c "$@"
exit $?
"#;
/// Makes the root, mounts what programs need and the node's root, and becomes `netdiag "$@"` in it.
const CONTAINER: &str = r#"
set -e
root=$1 netdiag=$2 kept=$3
shift 3
mount -t tmpfs netdiag "$root"
for part in usr lib lib64 bin proc sys run; do
    if [ -d "/$part" ]; then
        mkdir "$root/$part"
        mount --rbind "/$part" "$root/$part"
    fi
done
mkdir "$root/host" "$root/etc" "$root/tmp"
mount --rbind / "$root/host"
exec setpriv --bounding-set="$kept" --inh-caps=-all chroot "$root" "/host$netdiag" "$@"
"#;

const ALL: &str = "+all";
/// Those of the minimal profile, and what chroot needs.
const FEW: &str = "-all,+bpf,+perfmon,+net_admin,+sys_chroot";

/// `netdiag ARGUMENTS` in such a container.
fn in_container(arguments: &[&str], kubernetes: bool, kept: &str) -> Ended {
    let folder = tempfile::tempdir().expect("a folder");
    let netdiag = binary();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", NODE, "sh"]);
    command.args([CONTAINER, "sh"]).arg(folder.path());
    command.arg(netdiag).arg(kept).args(arguments);
    for unset in ["NODE_NAME", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
        command.env_remove(unset);
    }
    if kubernetes {
        command.env("KUBERNETES_SERVICE_HOST", "192.0.2.1");
    }
    run(&mut command)
}

/// Where doctor says that the node's files are.
fn root_of(ended: &Ended) -> String {
    let text = String::from_utf8(ended.stdout.clone()).expect("text");
    let features: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let features = features.as_array().expect("a list");
    let own = features.iter().find(|it| it["name"] == "node's files");
    own.expect("told")["detail"]
        .as_str()
        .expect("text")
        .to_owned()
}

#[test]
fn the_nodes_root_is_found_in_a_container() {
    if require::missing(&["unshare", "setpriv", "chroot"]) {
        return;
    }
    let doctor = ["doctor", "-o", "json", "-v"];
    let found = in_container(&doctor, false, ALL);
    let told = root_of(&found);
    assert!(told.contains("/host, where process 1"), "{told}");
    let said = found.stderr.iter().filter(|line| line.contains("/host"));
    assert_eq!(said.count(), 1, "{found:?}");

    let off = in_container(&["doctor", "-o", "json", "--root", "/"], false, ALL);
    assert_eq!(root_of(&off), "below /");
    let here = netdiag(&["doctor", "-o", "json"]);
    assert_eq!(root_of(&here), "below /");
}

#[test]
fn a_pod_that_may_not_look_at_process_1_finds_it_too() {
    if require::missing(&["unshare", "setpriv", "chroot"]) {
        return;
    }
    let doctor = ["doctor", "-o", "json"];
    let found = in_container(&doctor, true, FEW);
    assert_eq!(root_of(&found), "below /host, mounted for this pod");
    let nobody = in_container(&doctor, false, FEW);
    assert_eq!(root_of(&nobody), "below /");
}
