//! A small kubelet, with the controllers that a Job needs: a pod that is made for a node which has
//! one runs there, in the network namespace of that lab node, as a container would: in mounts of its
//! own, with the node's files where the pod asks for them, and with the capabilities that it asks
//! for and no others.
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Shared, Signal, State};
use crate::{netdiag::binary, process::wait_until};

/// Where the node's files are in a container, and the image's program.
const ENTRY: &str = "/usr/bin/netdiag";

/// A lab node as its kubelet knows it.
#[derive(Clone, Debug)]
pub struct Kubelet {
    pub netns: String,
    /// What it has as /var/lib/cni/results.
    pub cni: Option<String>,
    /// It takes nothing and says nothing any more.
    pub silent: bool,
}

/// A running container; it ends when dropped.
pub struct Running {
    child: Child,
    /// Its capabilities, for commands that are run in it.
    bounding: String,
    env: Vec<(String, String)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|it| it.is_some())
    }

    /// That command in the container.
    pub fn command(&self, words: &[String]) -> Command {
        let pid = self.child.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--mount", "--net", "--root"]);
        command.args(["/bin/setpriv", "--bounding-set", &self.bounding]);
        command.args(words).env_clear().envs(self.env.clone());
        command
    }
}

/// Takes the place of the container's root: what is in it is there for this process alone.
const ROOT: &str = r#"
set -e
mount -t tmpfs container "$R"
for d in proc sys dev usr lib lib64 bin tmp run; do mkdir -p "$R/$d"; done
for d in proc sys dev lib lib64; do if [ -d /$d ]; then mount --rbind /$d "$R/$d"; fi; done
mkdir -p "$R/usr/bin" "$R/usr/lib" "$R$H/"
mount --rbind /usr/lib "$R/usr/lib"
touch "$R/usr/bin/netdiag" "$R/bin/setpriv"
mount --bind "$BINARY" "$R/usr/bin/netdiag"
mount --bind "$(command -v setpriv)" "$R/bin/setpriv"
mount --rbind / "$R$H"
mount --make-rslave "$R$H"
mkdir -p "$R/run/netdiag"
mount --bind /run/netdiag "$R/run/netdiag"
if [ -n "$CNI" ]; then
  mount -t tmpfs var "$R$H/var/lib"
  mkdir -p "$R$H/var/lib/cni/results"
  mount --bind "$CNI" "$R$H/var/lib/cni/results"
fi
exec chroot "$R" /bin/setpriv --bounding-set "$BOUNDING" "$@"
"#;

/// Starts the pod's container on that node.
fn start(pod: &Value, node: &Kubelet, root: &Path) -> Running {
    let container = &pod["spec"]["containers"][0];
    let words = |field: &str| {
        let list = container[field].as_array().cloned().unwrap_or_default();
        list.into_iter()
            .map(|it| it.as_str().expect("text").to_owned())
            .collect::<Vec<_>>()
    };
    let mut command = words("command");
    if command.is_empty() {
        command.push(ENTRY.to_owned());
    }
    command.extend(words("args"));
    let mounts = container["volumeMounts"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of = |name: &str| mounts.iter().find(|it| it["name"] == name);
    let host = of("host").map_or("/nowhere", |it| it["mountPath"].as_str().expect("a path"));
    let bounding = bounding(&container["securityContext"]["capabilities"]);
    let env = environment(
        container,
        pod["spec"]["nodeName"].as_str().unwrap_or_default(),
    );
    fs::create_dir_all(root).expect("made");
    fs::create_dir_all("/run/netdiag").expect("made");
    let said = File::create(root.with_extension("log")).expect("made");
    let mut process = Command::new("ip");
    process
        .args([
            "netns",
            "exec",
            &node.netns,
            "unshare",
            "--mount",
            "--propagation",
            "private",
        ])
        .args(["sh", "-c", ROOT, "container"])
        .args(&command)
        .env("R", root)
        .env("H", host)
        .env("BINARY", binary())
        .env("CNI", node.cni.as_deref().unwrap_or_default())
        .env("BOUNDING", &bounding)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said);
    for variable in ["KUBECONFIG", "NETDIAG_LOG", "NODE_NAME"] {
        process.env_remove(variable);
    }
    process.envs(env.clone());
    let child = process.spawn().expect("a container");
    // Nobody's commands before it stands.
    let own = PathBuf::from(format!("/proc/{}/root", child.id()));
    wait_until("the container stands", Duration::from_secs(30), || {
        fs::read_link(&own).is_ok_and(|it| it == *root)
    });
    Running {
        child,
        bounding,
        env,
    }
}

/// As setpriv(1) has it.
fn bounding(asked: &Value) -> String {
    let added = asked["add"].as_array().cloned().unwrap_or_default();
    let names = added.iter().filter_map(Value::as_str);
    let each = names.map(|name| format!(",+{}", name.to_lowercase()));
    format!("-all{}", each.collect::<String>())
}

fn environment(container: &Value, node: &str) -> Vec<(String, String)> {
    let all = container["env"].as_array().cloned().unwrap_or_default();
    let value = |it: &Value| match it["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
        Some("spec.nodeName") => node.to_owned(),
        _ => it["value"].as_str().unwrap_or_default().to_owned(),
    };
    let named = all
        .iter()
        .filter_map(|it| Some((it["name"].as_str()?.to_owned(), value(it))));
    let own = (
        "PATH".to_owned(),
        "/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
    );
    // Every pod has those of Services, whether it may ask the API or not.
    let api = ("KUBERNETES_SERVICE_HOST".to_owned(), "10.96.0.1".to_owned());
    let port = ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned());
    named.chain([own, api, port]).collect()
}

impl State {
    /// The node's kubelet says nothing any more.
    pub(super) fn is_silent(&self, node: &str) -> bool {
        self.kubelets.get(node).is_some_and(|it| it.silent)
    }

    /// Runs a pod where its node has a kubelet that hears of it.
    pub(super) fn run(&mut self, key: &str) {
        let Some(pod) = self
            .objects
            .get("pods")
            .and_then(|all| all.get(key))
            .cloned()
        else {
            return;
        };
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let Some(kubelet) = self.kubelets.get(node).filter(|it| !it.silent).cloned() else {
            return;
        };
        let root = self.folder.join(key.replace('/', "."));
        self.containers
            .insert(key.to_owned(), start(&pod, &kubelet, &root));
        let mut pod = pod;
        pod["status"] = json!({ "phase": "Running", "containerStatuses": [{
            "name": pod["spec"]["containers"][0]["name"], "ready": true, "restartCount": 0 }] });
        self.put("pods", pod);
    }

    /// What the Job controller does with a new Job.
    pub(super) fn pod_of(&mut self, job: &Value) -> String {
        let name = job["metadata"]["name"].as_str().expect("a name");
        let namespace = job["metadata"]["namespace"].as_str().expect("a namespace");
        let mut pod = job["spec"]["template"].clone();
        let own = format!("{name}-x7x2p");
        pod["metadata"]["name"] = own.clone().into();
        pod["metadata"]["namespace"] = namespace.into();
        pod["metadata"]["uid"] = format!("uid-{own}").into();
        pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "batch/v1", "kind": "Job",
            "name": name, "uid": format!("uid-{name}"), "controller": true }]);
        pod["status"] = json!({ "phase": "Pending" });
        self.put("pods", pod);
        format!("{namespace}/{own}")
    }

    /// What is left of a pod that somebody deletes: nothing where its node says that it has ended,
    /// or where nobody waits for that.
    pub(super) fn delete_pod(&mut self, key: &str, force: bool) -> Option<Value> {
        let pod = self.objects.get("pods")?.get(key)?.clone();
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if self.is_silent(node) && !force {
            let mut pod = pod.clone();
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            self.put("pods", pod.clone());
            return Some(pod);
        }
        self.containers.remove(key);
        self.remove("pods", key);
        Some(pod)
    }

    /// The Job and what it made; the garbage collector's part comes at once.
    pub(super) fn delete_job(&mut self, key: &str) -> Option<Value> {
        let job = self.objects.get("jobs")?.get(key)?.clone();
        self.remove("jobs", key);
        let (namespace, name) = key.split_once('/')?;
        let pods = self.objects.get("pods").cloned().unwrap_or_default();
        let own = |it: &&Value| it["metadata"]["ownerReferences"][0]["name"] == name;
        for pod in pods.values().filter(own) {
            let pod = pod["metadata"]["name"].as_str().unwrap_or_default();
            self.delete_pod(&format!("{namespace}/{pod}"), false);
        }
        Some(job)
    }

    fn remove(&mut self, resource: &str, key: &str) {
        let all = self.objects.get_mut(resource);
        if let Some(object) = all.and_then(|all| all.remove(key)) {
            self.note(resource, "DELETED", object);
        }
    }
}

/// Its deadline ends a Job's pods, its time to live the Job; so does the end of its pod.
pub fn expire(shared: &Arc<Shared>, job: &Value, pod: String) {
    let seconds = |field: &str| Duration::from_secs(job["spec"][field].as_u64().unwrap_or(3600));
    let (deadline, to_live) = (
        seconds("activeDeadlineSeconds"),
        seconds("ttlSecondsAfterFinished"),
    );
    let meta = &job["metadata"];
    let part = |name: &str| meta[name].as_str().unwrap_or_default().to_owned();
    let key = format!("{}/{}", part("namespace"), part("name"));
    let shared = shared.clone();
    std::thread::spawn(move || {
        let until = std::time::Instant::now() + deadline;
        let ended = || {
            let mut state = shared.state();
            let running = state.containers.get_mut(&pod);
            running.is_some_and(Running::has_ended)
        };
        while std::time::Instant::now() < until && !ended() {
            std::thread::sleep(Duration::from_millis(200));
        }
        shared.state().delete_pod(&pod, false);
        std::thread::sleep(to_live);
        shared.state().delete_job(&key);
        let _ = shared.events.send(Signal::Changed);
    });
}
