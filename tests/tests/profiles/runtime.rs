//! A real containerd on a node of the lab, and the printed container in it, made as a kubelet makes it.
use std::{collections::HashMap, env, fs, path::Path, process::Command};

use http::uri::PathAndQuery;
use netdiag_tests::{
    netdiag::binary,
    process::{PATIENCE, Process, run, wait_until},
    require,
};
use nix::sys::signal::Signal;
use prost::Message;
use serde_json::Value;
use tonic::{Request, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use super::{
    messages::{
        Capabilities, Container, ContainerName, CreateContainer, Empty, Exec, Executed, Id, Image,
        LinuxContainer, LinuxSandbox, Metadata, Mount, NODE, Namespaces, Number, RunSandbox,
        Sandbox, SandboxSecurity, Seccomp, Security, Variable, Version,
    },
    words,
};

/// A packed image, as `cargo xtask dist` makes it, instead of one of the program under test.
const PACKED: &str = "NETDIAG_IMAGE";
/// What a kubelet hides of every container's /proc and /sys that does not ask for more
/// (k8s.io/kubernetes, pkg/securitycontext/util.go).
const MASKED: [&str; 6] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

pub struct Runtime {
    calls: tokio::runtime::Runtime,
    grpc: Grpc<Channel>,
    folder: tempfile::TempDir,
    image: String,
    /// Of the pods that were made.
    sandboxes: Vec<String>,
    daemon: Option<Process>,
}

impl Runtime {
    /// On the node with that network namespace, of that folder or the machine's own; nothing where there
    /// is none, which is said.
    pub fn on(netns: &str, programs: Option<&Path>) -> Option<Self> {
        let path = search_path(programs);
        if require::missing(&["nsenter", "runc", "tar", "sha256sum"]) {
            return None;
        }
        let there = |tool: &str| env::split_paths(&path).any(|it| it.join(tool).is_file());
        if !there("containerd") || !there("ctr") {
            require::say("containerd");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().display();
        let config = CONFIG.replace("{at}", &at.to_string());
        fs::write(folder.path().join("config.toml"), config).expect("written");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{netns}"));
        command.args(["unshare", "--mount", "--propagation", "private"]);
        // As systemd leaves a node's root; a container's volumes ask for it.
        let script = format!("mount --make-rshared /; exec containerd -c {at}/config.toml");
        command.args(["sh", "-euc", &script]).env("PATH", &path);
        let daemon = Process::start(&mut command);
        let socket = folder.path().join("socket");
        wait_until("containerd listens", PATIENCE, || socket.exists());
        let image = import(folder.path(), &path);
        let calls = tokio::runtime::Builder::new_current_thread();
        let calls = { calls }.enable_all().build().expect("a runtime");
        let endpoint =
            tonic::transport::Endpoint::from_shared(format!("unix://{}", socket.display()));
        let channel = calls.block_on(endpoint.expect("an address").connect());
        Some(Self {
            calls,
            grpc: Grpc::new(channel.expect("connected")),
            folder,
            image,
            sandboxes: Vec::new(),
            daemon: Some(daemon),
        })
    }

    pub fn version(&mut self) -> String {
        let version: Version = self.call("Version", Empty {});
        format!("{} {}", version.name, version.version)
    }

    /// Starts the container of a printed pod with other arguments. Returns its ID.
    pub fn start(&mut self, pod: &Value, seccomp_folder: &Path, args: &[&str]) -> String {
        let sandbox = self.sandbox(pod);
        let config = RunSandbox {
            config: Some(sandbox.clone()),
        };
        let Id { id } = self.call("RunPodSandbox", config);
        self.sandboxes.push(id.clone());
        let container = Container {
            args: args.iter().map(|it| (*it).to_owned()).collect(),
            image: Some(Image {
                image: self.image.clone(),
            }),
            ..container(pod, seccomp_folder)
        };
        let create = CreateContainer {
            sandbox: id,
            config: Some(container),
            sandbox_config: Some(sandbox),
        };
        let made: Id = self.call("CreateContainer", create);
        let Empty {} = self.call("StartContainer", made.clone());
        made.id
    }

    /// `netdiag ARGUMENTS` in it, as `kubectl exec` has it.
    pub fn netdiag(&mut self, container: &str, arguments: &[&str]) -> Executed {
        let words = ["/usr/bin/netdiag"].iter().chain(arguments);
        let exec = Exec {
            container: container.to_owned(),
            command: words.map(|it| (*it).to_owned()).collect(),
            limit: 60,
        };
        self.call("ExecSync", exec)
    }

    /// Of its pods.
    fn cgroup(&self) -> String {
        let name = self.folder.path().file_name().expect("a name");
        format!("/netdiag-{}", name.display())
    }

    fn sandbox(&self, pod: &Value) -> Sandbox {
        let number = self.sandboxes.len();
        let name = format!("netdiag-{number}");
        let labels = [
            ("name", &name[..]),
            ("namespace", "netdiag"),
            ("uid", &name),
        ];
        let labels = labels.map(|(k, v)| (format!("io.kubernetes.pod.{k}"), v.to_owned()));
        Sandbox {
            metadata: Some(Metadata {
                name: name.clone(),
                uid: name,
                namespace: "netdiag".to_owned(),
            }),
            log_directory: self.folder.path().display().to_string(),
            labels: HashMap::from(labels),
            linux: Some(LinuxSandbox {
                cgroup_parent: self.cgroup(),
                security: Some(SandboxSecurity {
                    namespaces: Some(namespaces(pod)),
                }),
            }),
        }
    }

    fn call<Q, A>(&mut self, method: &str, question: Q) -> A
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{method}");
        let path = PathAndQuery::try_from(path).expect("a path");
        let grpc = &mut self.grpc;
        let answer = self.calls.block_on(async {
            grpc.ready().await.expect("ready");
            let asked = grpc.unary(Request::new(question), path, ProstCodec::<Q, A>::default());
            tokio::time::timeout(PATIENCE, asked).await
        });
        match answer.expect("an answer in time") {
            Ok(answer) => answer.into_inner(),
            Err(status) => panic!("{method}: {}", status.message()),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        for id in std::mem::take(&mut self.sandboxes) {
            let id = Id { id };
            let Empty {} = self.call("StopPodSandbox", id.clone());
            let Empty {} = self.call("RemovePodSandbox", id);
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.stop(Signal::SIGTERM);
        }
        // Who makes it takes it away, in each hierarchy (of version 2 there is one).
        let own = self.cgroup();
        let all = fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
        let hierarchies = all.filter_map(|it| Some(it.ok()?.path()));
        for folder in hierarchies.chain(["/sys/fs/cgroup".into()]) {
            // It is in some of them.
            let _ = fs::remove_dir(folder.join(own.trim_start_matches('/')));
        }
    }
}

fn search_path(first: Option<&Path>) -> std::ffi::OsString {
    let usual = env::var_os("PATH").unwrap_or_default();
    let first = first.map(Path::to_owned);
    let all = first.into_iter().chain(env::split_paths(&usual));
    env::join_paths(all).expect("a search path")
}

/// Nothing outside the test's folder.
const CONFIG: &str = r#"version = 2
root = "{at}/root"
state = "{at}/state"
[grpc]
  address = "{at}/socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{at}/cni"
    conf_dir = "{at}/cni"
"#;

/// Images of one layer each (OCI image layout), imported: netdiag's as it is packed, but for a program
/// that is linked to libraries, which are beside it; and one for what holds a pod's namespaces.
const IMAGES: &str = r#"
cd {at}
mkdir -p layer/usr/bin layer/proc layer/sys layer/dev layer/etc layer/tmp
cp {binary} layer/usr/bin/netdiag
for file in $(ldd {binary} | grep -o '/[^ ]*'); do
    mkdir -p layer$(dirname $file) && cp -L $file layer$file
done
blob() {
    sum=$(sha256sum $1 | cut -c1-64) size=$(stat -c %s $1)
    mkdir -p $2/blobs/sha256 && cp $1 $2/blobs/sha256/$sum
}
case $(uname -m) in x86_64) arch=amd64;; aarch64) arch=arm64;; *) arch=$(uname -m);; esac
of=application/vnd.oci.image
tar -C layer -cf layer.tar .
image() {
    folder=$1 name=$2 entry=$3
    blob layer.tar $folder
    layer='"digest":"sha256:'$sum'","size":'$size
    printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":[%s]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $arch "$entry" $sum > config
    blob config $folder
    config='"digest":"sha256:'$sum'","size":'$size
    printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json",%s},"layers":[{"mediaType":"%s.layer.v1.tar",%s}]}' $of $of "$config" $of "$layer" > manifest
    blob manifest $folder
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"%s"}}]}' $of $sum $size $name > $folder/index.json
    printf '{"imageLayoutVersion":"1.0.0"}' > $folder/oci-layout
    tar -C $folder -cf $folder.tar .
    ctr -a {at}/socket -n k8s.io images import $folder.tar
}
image pause localhost/pause:1 '"/usr/bin/netdiag","linger","--for","1h"'
[ -n "$PACKED" ] || image own localhost/netdiag:own '"/usr/bin/netdiag"'
[ -z "$PACKED" ] || ctr -a {at}/socket -n k8s.io images import "$PACKED"
ctr -a {at}/socket -n k8s.io images ls -q | grep /netdiag: | head -n 1 > name
"#;

/// Returns what netdiag's is called.
fn import(folder: &Path, path: &std::ffi::OsStr) -> String {
    let script = IMAGES.replace("{at}", &folder.display().to_string());
    let script = script.replace("{binary}", &binary().display().to_string());
    let mut command = Command::new("sh");
    command.args(["-euc", &script]).env("PATH", path);
    command.env("PACKED", env::var_os(PACKED).unwrap_or_default());
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let name = fs::read_to_string(folder.join("name")).expect("a name");
    assert!(!name.trim().is_empty(), "{ended:?}");
    name.trim().to_owned()
}

fn namespaces(pod: &Value) -> Namespaces {
    let node = |field: &str| if pod[field] == true { NODE } else { 0 };
    Namespaces {
        network: node("hostNetwork"),
        pid: node("hostPID"),
    }
}

fn container(pod: &Value, seccomp_folder: &Path) -> Container {
    let printed = &pod["containers"][0];
    let env = printed["env"].as_array().expect("a list").iter();
    let env = env.map(|it| Variable {
        name: it["name"].as_str().expect("a name").to_owned(),
        value: it["value"].as_str().unwrap_or("worker-1").to_owned(),
    });
    // Every pod has those of Services, whether it may ask the API or not.
    let api = [("HOST", "10.96.0.1"), ("PORT", "443")].map(|(name, value)| Variable {
        name: format!("KUBERNETES_SERVICE_{name}"),
        value: value.to_owned(),
    });
    Container {
        metadata: Some(ContainerName {
            name: "netdiag".to_owned(),
        }),
        env: env.chain(api).collect(),
        mounts: mounts(pod),
        log: "netdiag.log".to_owned(),
        linux: Some(LinuxContainer {
            security: Some(security(pod, seccomp_folder)),
        }),
        ..Container::default()
    }
}

fn mounts(pod: &Value) -> Vec<Mount> {
    let volumes = pod["volumes"].as_array().expect("a list");
    let path = |name: &Value| {
        let volume = volumes.iter().find(|it| it["name"] == *name);
        let path = &volume.expect("a volume")["hostPath"]["path"];
        path.as_str().expect("a path").to_owned()
    };
    let mounted = pod["containers"][0]["volumeMounts"].as_array();
    let each = mounted.expect("a list").iter().map(|it| {
        let host_path = path(&it["name"]);
        fs::create_dir_all(&host_path).expect("made");
        Mount {
            container_path: it["mountPath"].as_str().expect("a path").to_owned(),
            host_path,
            read_only: it["readOnly"] == true,
            propagation: i32::from(it["mountPropagation"] == "HostToContainer"),
        }
    });
    each.collect()
}

fn security(pod: &Value, seccomp_folder: &Path) -> Security {
    let printed = &pod["containers"][0]["securityContext"];
    let all = |paths: &[&str]| paths.iter().map(|it| (*it).to_owned()).collect();
    let seccomp = &printed["seccompProfile"];
    let seccomp = match seccomp["localhostProfile"].as_str() {
        None => Seccomp::default(),
        Some(file) => Seccomp {
            kind: 2,
            file: seccomp_folder.join(file).display().to_string(),
        },
    };
    Security {
        capabilities: Some(Capabilities {
            add: words(&printed["capabilities"]["add"]),
            drop: words(&printed["capabilities"]["drop"]),
        }),
        namespaces: Some(namespaces(pod)),
        user: Some(Number {
            value: printed["runAsUser"].as_i64().expect("a user"),
        }),
        read_only: printed["readOnlyRootFilesystem"] == true,
        no_new_privileges: printed["allowPrivilegeEscalation"] == false,
        masked: all(&MASKED),
        read_only_paths: all(&READ_ONLY),
        seccomp: Some(seccomp),
    }
}
