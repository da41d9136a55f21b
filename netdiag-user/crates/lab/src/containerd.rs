//! A real containerd with runc on a node of the lab: its folders, socket, configuration and log
//! are the node's own, its pods live in a process namespace that ends with it.
use super::daemon::Daemon;
use super::netns::PREFIX;
use super::plan::{Node, Plan};
use super::step::Step;

const SOCKET: &str = "{root}/run/containerd/containerd.sock";
const CONF: &str = "{root}/etc/cni/net.d";
/// How often kubelet's stand-in has asked for every pod when the traffic begins.
const ROUNDS: u32 = 4;

/// The runtime. Its log goes to that file of the node's; `plugins` is a folder of more plugins,
/// which is looked into first.
pub fn runtime(node: &Node, log: &str, before: Vec<Step>) -> Daemon {
    Daemon {
        netns: node.netns.clone(),
        program: "unshare".to_owned(),
        arguments: [
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-eu",
            "-c",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([start(node, log)])
        .collect(),
        files: vec![("{dir}/containerd.toml".to_owned(), CONFIG.to_owned())],
        before,
        after: vec![sh(&node.netns, IMAGE)],
        ..Daemon::default()
    }
}

/// Asks for pods until they are there.
pub fn kubelet(plan: &Plan, node: &Node, pods: &[String]) -> Daemon {
    let words = [
        "lab",
        "kubelet",
        "--socket",
        SOCKET,
        "--rounds",
        "{dir}/rounds",
        "--cgroup",
    ];
    let mut arguments: Vec<_> = words.map(str::to_owned).into();
    arguments.push(format!("/{PREFIX}{}", plan.id));
    arguments.extend_from_slice(pods);
    Daemon {
        netns: node.netns.clone(),
        program: "{netdiag}".to_owned(),
        arguments,
        after: vec![sh(&node.netns, &waits())],
        ..Daemon::default()
    }
}

/// A network of that name, with these plugins (JSON) and files of the node's.
pub fn network(node: &Node, name: &str, plugins: &str) -> Step {
    let conf =
        format!(r#"{{ "cniVersion": "0.4.0", "name": "{name}", "plugins": [ {plugins} ] }}"#);
    sh(
        &node.netns,
        &format!("mkdir -p {CONF}\ncat > {CONF}/10-{name}.conflist <<'END'\n{conf}\nEND\n"),
    )
}

pub fn sh(netns: &str, script: &str) -> Step {
    Step::Run {
        netns: netns.to_owned(),
        program: "sh",
        arguments: vec!["-eu".to_owned()],
        input: script.to_owned(),
    }
}

/// CNI's files and cgroups get their usual places in the daemon's own mount namespace. A shell
/// that has become process 1 leaves nobody behind when it ends.
fn start(node: &Node, log: &str) -> String {
    format!(
        "mkdir -p {{root}}/var/lib/cni {{root}}/run/containerd {CONF} {{root}}$(dirname {log})\n\
         mount -t tmpfs none /var/lib\n\
         mkdir /var/lib/cni\n\
         mount --bind {{root}}/var/lib/cni /var/lib/cni\n\
         mkdir -p /var/lib/cni/results\n\
         mount --bind {{dir}}/cni/{} /var/lib/cni/results\n\
         {CGROUPS}\
         exec containerd -c {{dir}}/containerd.toml > {{root}}{log} 2>&1",
        node.name
    )
}

/// Of version 1 where the kernel's memory controller is there, else of version 2.
const CGROUPS: &str = "mount -t tmpfs none /sys/fs/cgroup\n\
    if grep -qE '^memory[[:space:]]+[1-9]' /proc/cgroups; then\n\
        while read -r name number rest; do\n\
            case $name$number in \\#*|*[!0-9]0) continue;; esac\n\
            mkdir /sys/fs/cgroup/$name\n\
            mount -t cgroup -o $name none /sys/fs/cgroup/$name || rmdir /sys/fs/cgroup/$name\n\
        done < /proc/cgroups\n\
    else mount -t cgroup2 none /sys/fs/cgroup; fi\n";

/// Nothing outside the lab's folders; plugins of the lab's own before the system's.
const CONFIG: &str = r#"version = 2
root = "{dir}/containerd/root"
state = "{dir}/containerd/state"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{root}/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "lab.local/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{dir}/plugins"
    conf_dir = "{root}/etc/cni/net.d"
"#;

/// An image that sleeps, made of this machine's own sleep(1) and its libraries: no registry is
/// asked (OCI image layout, one layer). And the plugins that the machine has.
const IMAGE: &str = r#"
mkdir -p {dir}/plugins
for folder in /opt/cni/bin /usr/lib/cni; do
    [ ! -d $folder ] || ln -sf $folder/* {dir}/plugins/
done
mkdir -p {dir}/image/blobs/sha256 && cd {dir}/image
for folder in proc sys dev etc tmp; do mkdir -p rootfs/$folder; done
for file in /bin/sleep $(ldd /bin/sleep | grep -o '/[^ ]*'); do
    mkdir -p rootfs$(dirname $file) && cp -L $file rootfs$file
done
blob() {
    sum=$(sha256sum $1 | cut -c1-64) size=$(stat -c %s $1)
    mv $1 blobs/sha256/$sum
}
case $(uname -m) in x86_64) arch=amd64;; aarch64) arch=arm64;; *) arch=$(uname -m);; esac
of=application/vnd.oci.image
tar -C rootfs -cf layer . && blob layer
layer='"digest":"sha256:'$sum'","size":'$size
printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/bin/sleep","1000000"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $arch $sum > config
blob config
config='"digest":"sha256:'$sum'","size":'$size
printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json",%s},"layers":[{"mediaType":"%s.layer.v1.tar",%s}]}' $of $of "$config" $of "$layer" > manifest
blob manifest
name='"io.containerd.image.name":"lab.local/pause:1","org.opencontainers.image.ref.name":"lab.local/pause:1"'
printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{%s}}]}' $of $sum $size "$name" > index.json
printf '{"imageLayoutVersion":"1.0.0"}' > oci-layout
tar -cf ../pause.tar oci-layout index.json blobs
n=0
until ctr -a {root}/run/containerd/containerd.sock -n k8s.io images import --no-unpack ../pause.tar; do
    n=$((n + 1)); [ $n -lt 100 ]; sleep 0.1
done
"#;

fn waits() -> String {
    format!(
        "n=0\n\
         until [ \"$(cat {{dir}}/rounds 2>/dev/null || echo 0)\" -ge {ROUNDS} ]; do\n\
         n=$((n + 1)); [ $n -lt 200 ]; sleep 0.1\n\
         done\n"
    )
}
