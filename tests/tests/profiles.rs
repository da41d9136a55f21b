//! The profiles of `netdiag manifests`, each tried with no more than it asks for.
#[path = "profiles/messages.rs"]
mod messages;
#[path = "profiles/runtime.rs"]
mod runtime;

use std::{collections::BTreeSet, fs, io::Write, path::Path, process::Command};

use netdiag_tests::{
    lab::Lab,
    netdiag::{binary, netdiag},
    process::{PATIENCE, Process, run, wait_until},
    require,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use messages::Executed;
use runtime::Runtime;

/// The pod of the printed DaemonSet.
fn pod(options: &[&str]) -> Value {
    let ended = netdiag(&[&["manifests", "daemonset"], options].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let daemonset: Value = serde_saphyr::from_str(&ended.text()).expect("YAML");
    daemonset["spec"]["template"]["spec"].clone()
}

/// Its container.
fn container(profile: &str) -> Value {
    pod(&["--profile", profile])["containers"][0].clone()
}

fn words(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list").iter();
    list.map(|it| it.as_str().expect("text").to_owned())
        .collect()
}

/// `netdiag ARGUMENTS` in a node, as a runtime starts such a container's process; its history is in
/// another folder than the node's.
fn confined(container: &Value, netns: &str, history: &Path, arguments: &[String]) -> Command {
    let added = words(&container["securityContext"]["capabilities"]["add"]);
    let added = added.iter().map(|it| format!(",+{}", it.to_lowercase()));
    let kept = format!("-all{}", added.collect::<String>());
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns, "setpriv", "--no-new-privs"]);
    command.args(["--inh-caps=-all", "--bounding-set", &kept]);
    command.arg(binary()).args(arguments);
    for unset in ["NODE_NAME", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
        command.env_remove(unset);
    }
    let given = container["env"].as_array().expect("a list").iter();
    for (name, value) in given.filter_map(|it| Some((it["name"].as_str()?, it["value"].as_str()?)))
    {
        match name {
            "NETDIAG_HISTORY" => command.env(name, history),
            _ => command.env(name, value),
        };
    }
    command
}

/// Names come from the CNI's files here, and from the API in a cluster.
#[test]
fn the_minimal_profile_lets_an_agent_name_a_rule() {
    if require::missing(&["ip", "nft", "curl", "setpriv"]) {
        return;
    }
    let container = container("minimal");
    let folder = tempfile::tempdir().expect("a folder");
    let lab = Lab::up(&["firewall-drop"]);
    let traffic = lab.traffic();
    let node = &lab.nodes[0];
    let cni = ["--cni-dir".to_owned(), lab.cni_dirs[0].clone()];
    let mut shipped = words(&container["args"]);
    shipped.extend(cni.clone());
    let agent = Process::start(&mut confined(&container, node, folder.path(), &shipped));
    let get = |path: &str| {
        let url = format!("http://127.0.0.1:9464/{path}");
        let curl = [
            "ip", "netns", "exec", node, "curl", "--silent", "--fail", &url,
        ];
        let ended = run(Command::new(curl[0]).args(&curl[1..]));
        (ended.code == Some(0)).then(|| ended.text())
    };
    wait_until("the agent is ready", PATIENCE, || get("readyz").is_some());
    wait_until("the finding", PATIENCE, || {
        let page = get("metrics").unwrap_or_default();
        page.contains("netdiag_finding{cause=\"firewall-drop\",severity=\"warning\",confidence=\"confirmed\",namespace=\"shop\"")
    });
    let ended = agent.stop(Signal::SIGTERM);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let kept = folder.path().read_dir().expect("a folder").count();
    assert!(kept > 0, "no history was kept");

    // The rule itself, too: nobody needs a right to stay where it is.
    let diagnose = ["diagnose", "-o", "json", "--duration", "10s"].map(str::to_owned);
    let arguments = [&diagnose[..], &cni].concat();
    let verdict = run(&mut confined(&container, node, folder.path(), &arguments)).json();
    let evidence = verdict["findings"][0]["evidence"]
        .as_array()
        .expect("a list");
    assert!(evidence.iter().any(|it| it["kind"] == "rule"), "{verdict}");
    traffic.stop(Signal::SIGINT);
}

/// A pod that keeps its history in a folder of the test's.
fn pod_in(folder: &Path, options: &[&str]) -> Value {
    let mut pod = pod(options);
    let volumes = pod["volumes"].as_array_mut().expect("a list").iter_mut();
    for volume in volumes.filter(|it| it["name"] == "history") {
        volume["hostPath"]["path"] = json!(folder.join("history"));
    }
    pod
}

/// A lab in whose node a firewall drops, with a containerd.
struct Node {
    lab: Lab,
    folder: TempDir,
    runtime: Runtime,
    _traffic: Process,
}

impl Node {
    /// Nothing where this machine cannot have one, which is said.
    fn up(containerd: Option<&Path>) -> Option<Self> {
        if require::missing(&["ip", "nft", "curl"]) {
            return None;
        }
        let lab = Lab::up(&["firewall-drop"]);
        let runtime = Runtime::on(&lab.nodes[0], containerd)?;
        Some(Self {
            folder: tempfile::tempdir().expect("a folder"),
            runtime,
            _traffic: lab.traffic(),
            lab,
        })
    }

    /// Starts the printed container with other arguments than its own.
    fn start(&mut self, options: &[&str], arguments: &[&str]) -> String {
        let pod = pod_in(self.folder.path(), options);
        self.runtime.start(&pod, self.folder.path(), arguments)
    }

    /// One that waits for commands.
    fn lingering(&mut self, options: &[&str]) -> String {
        self.start(options, &["linger", "--for", "5m"])
    }

    fn doctor(&mut self, container: &str) -> Doctor {
        let said = self.runtime.netdiag(container, &["doctor", "-o", "json"]);
        let features = serde_json::from_slice(&said.stdout);
        Doctor {
            code: said.code,
            features: features.unwrap_or_else(|_| panic!("{said:?}")),
        }
    }

    fn diagnose(&mut self, container: &str) -> Executed {
        let cni = &self.lab.cni_dirs[0];
        let words = [
            "diagnose",
            "-o",
            "json",
            "--duration",
            "8s",
            "--cni-dir",
            cni,
        ];
        self.runtime.netdiag(container, &words)
    }

    /// A printed seccomp profile, without these calls, as a file of the node's.
    fn seccomp(&self, profile: &str, without: &[&str]) -> String {
        let ended = netdiag(&["manifests", "seccomp", "--profile", profile]);
        let mut filter: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
        for rule in filter["syscalls"].as_array_mut().expect("a list") {
            let names = rule["names"].as_array_mut().expect("a list");
            names.retain(|it| !without.contains(&it.as_str().expect("a name")));
        }
        let rules = filter["syscalls"].as_array_mut().expect("a list");
        rules.retain(|it| it["names"] != json!([]));
        let name = format!("{profile}-{}.json", without.len());
        fs::write(self.folder.path().join(&name), filter.to_string()).expect("written");
        format!("localhost/{name}")
    }

    /// Of its agent's.
    fn page(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:9464/{path}");
        let netns = &self.lab.nodes[0];
        let curl = ["netns", "exec", netns, "curl", "--silent", "--fail", &url];
        run(Command::new("ip").args(curl)).text()
    }
}

struct Doctor {
    code: i32,
    features: Vec<Value>,
}

impl Doctor {
    fn of(&self, name: &str) -> &Value {
        let found = self.features.iter().find(|it| it["name"] == name);
        found.unwrap_or_else(|| panic!("{name}: {:?}", self.features))
    }

    fn has(&self, name: &str) -> bool {
        self.of(name)["available"] == true
    }

    fn names(&self) -> Vec<(String, bool)> {
        let each = self.features.iter();
        let pair = |it: &Value| {
            (
                it["name"].as_str().expect("a name").to_owned(),
                it["available"] == true,
            )
        };
        each.map(pair).collect()
    }

    /// The capabilities that it holds, as manifests spell them.
    fn rights(&self) -> BTreeSet<String> {
        let detail = self.of("rights")["detail"].as_str().expect("text");
        let held = detail.split(';').next().unwrap_or_default();
        let names = held.split("CAP_").skip(1);
        names
            .filter_map(|it| it.split_whitespace().next())
            .map(str::to_owned)
            .collect()
    }
}

/// What is not checked.
fn unchecked(verdict: &Value) -> Vec<&str> {
    let rows = verdict["not_checked"].as_array().expect("a list").iter();
    rows.filter_map(|row| row["what"].as_str()).collect()
}

/// That the verdict names the rule that drops, and the place where it is told.
fn names_the_rule(verdict: &Value, place_is_known: bool) {
    let finding = &verdict["findings"][0];
    assert_eq!(finding["cause"], "firewall-drop", "{verdict:#}");
    let evidence = finding["evidence"].as_array().expect("a list");
    assert!(
        evidence.iter().any(|it| it["kind"] == "rule"),
        "{verdict:#}"
    );
    let drop = evidence
        .iter()
        .find(|it| it["kind"] == "drop")
        .expect("a drop");
    let place = drop["location"].as_str().expect("a place");
    assert_eq!(!place.starts_with("0x"), place_is_known, "{drop:#}");
}

/// What the table in netdiag-user/docs/cluster.md says of them.
fn profiles_do_what_doctor_says(containerd: Option<&Path>) {
    let Some(mut node) = Node::up(containerd) else {
        return;
    };
    // For who runs it by hand: results are of a version.
    let _ = writeln!(std::io::stderr(), "in {}", node.runtime.version());
    for profile in ["minimal", "full"] {
        let id = node.lingering(&["--profile", profile]);
        let doctor = node.doctor(&id);
        let is_full = profile == "full";
        assert_eq!(doctor.code, 0, "{:#?}", doctor.features);
        let printed = words(&container(profile)["securityContext"]["capabilities"]["add"]);
        // Of those it gives away what doctor does not need: it runs none of the node's programs.
        let mut printed: BTreeSet<_> = printed.into_iter().collect();
        printed.remove("SYS_CHROOT");
        assert_eq!(doctor.rights(), printed);
        for seen in [
            "drops",
            "packets on hops",
            "retransmits by sockets",
            "OOM-killed processes",
        ] {
            assert!(doctor.has(seen), "{profile}: {seen}");
        }
        for more in ["names of drop locations", "pods' namespaces", "rights"] {
            assert_eq!(doctor.has(more), is_full, "{profile}: {more}");
        }
        let below = doctor.of("node's files")["detail"].as_str();
        assert!(
            below.is_some_and(|it| it.starts_with("below /host")),
            "{below:?}"
        );
        let verdict = serde_json::from_slice(&node.diagnose(&id).stdout).expect("JSON");
        names_the_rule(&verdict, is_full);
        let unchecked = unchecked(&verdict);
        let others = unchecked
            .iter()
            .any(|it| it.ends_with("processes of others"));
        assert_eq!(others, !is_full, "{unchecked:?}");
        // They are the kernel's own, and no program of the node's is started for them.
        assert!(!unchecked.contains(&"rules for Services"), "{unchecked:?}");
    }
}

#[test]
fn each_profile_does_in_containerd_what_doctor_says() {
    profiles_do_what_doctor_says(None);
}

#[test]
fn each_profile_does_so_in_another_containerd() {
    match std::env::var_os("NETDIAG_CONTAINERD") {
        Some(folder) => profiles_do_what_doctor_says(Some(Path::new(&folder))),
        None => require::say("another containerd, in the folder that NETDIAG_CONTAINERD names"),
    }
}

#[test]
fn a_seccomp_profile_that_refuses_bpf_is_named_and_the_printed_one_works() {
    let Some(mut node) = Node::up(None) else {
        return;
    };
    let strict = node.seccomp("minimal", &["bpf"]);
    let id = node.lingering(&["--seccomp-profile", &strict]);
    let doctor = node.doctor(&id);
    assert_eq!(doctor.code, 3, "{:#?}", doctor.features);
    for feature in ["eBPF maps", "packets on hops", "a packet's cost"] {
        let feature = doctor.of(feature);
        let detail = feature["detail"].as_str().expect("text");
        assert!(
            detail.starts_with("a seccomp profile refuses bpf()"),
            "{feature:#}"
        );
        let remedy = feature["remedy"].as_str().expect("text");
        assert!(
            remedy.contains("`netdiag manifests seccomp`"),
            "{feature:#}"
        );
    }
    let said = node.diagnose(&id);
    let why = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.code, 3, "{why}");
    assert!(why.contains("a seccomp profile refuses bpf()"), "{why}");
    for profile in ["minimal", "full"] {
        let usual = node.lingering(&["--profile", profile]);
        let usual = node.doctor(&usual).names();
        let own = node.seccomp(profile, &[]);
        let id = node.lingering(&["--profile", profile, "--seccomp-profile", &own]);
        assert_eq!(node.doctor(&id).names(), usual, "{profile}");
        let said = node.diagnose(&id);
        let verdict = serde_json::from_slice(&said.stdout).expect("JSON");
        names_the_rule(&verdict, profile == "full");
    }
}

/// With all that it does by itself: a server, a history, a canary.
#[test]
fn the_agent_lives_within_the_printed_seccomp_profile() {
    for profile in ["minimal", "full"] {
        let Some(mut node) = Node::up(None) else {
            return;
        };
        let own = node.seccomp(profile, &[]);
        let printed = words(&container(profile)["args"]);
        let mut arguments: Vec<_> = printed.iter().map(String::as_str).collect();
        let cni = node.lab.cni_dirs[0].clone();
        arguments.extend(["--cni-dir", &cni]);
        node.start(
            &["--profile", profile, "--seccomp-profile", &own],
            &arguments,
        );
        let finding = "netdiag_finding{cause=\"firewall-drop\",severity=\"warning\",confidence=\"confirmed\",namespace=\"shop\"";
        wait_until("the finding", PATIENCE, || {
            node.page("metrics").contains(finding)
        });
        if profile == "full" {
            let seen = "netdiag_canary_rounds_total{result=\"seen\"} ";
            wait_until("a canary is seen", PATIENCE, || {
                let page = node.page("metrics");
                let mut rounds = page.lines().filter_map(|it| it.strip_prefix(seen));
                rounds.any(|it| it != "0")
            });
        }
        let kept = fs::read_dir(node.folder.path().join("history"));
        assert!(kept.expect("a folder").count() > 0, "no history was kept");
    }
}
