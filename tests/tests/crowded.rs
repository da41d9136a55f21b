//! What a pod can make many of costs the node's netdiag a bounded time and memory, and takes
//! nothing from what it says of the others.
use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use netdiag_tests::{
    netdiag::{binary, command_in, sentence, start_in},
    netns::sh,
    process::{Ended, PATIENCE, Process, run},
    require,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

const TOOLS: [&str; 3] = ["ip", "unshare", "sh"];
/// KiB that an audit of a node with one pod may write to (RLIMIT_DATA): three times what it takes.
const MEMORY: &str = "49152";
/// What a listing of a pod's own namespace is read to.
const MOST: usize = 512;

/// Cgroups are the machine's: who makes a pod there, and who wants to see the same pods twice.
static PODS: Mutex<()> = Mutex::new(());

/// A node with one pod behind a veth.
struct Node {
    name: String,
    pod: String,
}

impl Node {
    fn up() -> Self {
        let name = format!("nd-crowd-{}", nix::unistd::gettid());
        let pod = format!("{name}-pod");
        let node = Self { name, pod };
        let (here, pod) = (node.name.as_str(), node.pod.as_str());
        sh(&["ip", "netns", "add", here]);
        sh(&["ip", "netns", "add", pod]);
        node.ip(
            here,
            "link add caliweb type veth peer name eth0 netns",
            &[pod],
        );
        for (netns, what) in [
            (here, "link set lo up"),
            (here, "link set caliweb up"),
            (here, "route add 10.77.1.2/32 dev caliweb"),
            (pod, "link set lo up"),
            (pod, "link set eth0 up"),
            (pod, "addr add 10.77.1.2/32 dev eth0"),
            (pod, "route add 169.254.1.1 dev eth0"),
            (pod, "route add default via 169.254.1.1 dev eth0"),
        ] {
            node.ip(netns, what, &[]);
        }
        node
    }

    fn ip(&self, netns: &str, what: &str, more: &[&str]) {
        let words: Vec<&str> = what.split(' ').collect();
        sh(&[&["ip", "-n", netns], &words[..], more].concat());
    }

    /// Lines for `ip -batch` inside the pod.
    fn batch(&self, lines: &str) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), lines).expect("written");
        let path = file.path().display().to_string();
        sh(&["ip", "-n", &self.pod, "-batch", &path]);
    }

    fn audit(&self, more: &[&str]) -> Ended {
        let ask = [&["audit", "-o", "json"], more].concat();
        run(&mut command_in(&self.name, &ask))
    }

    /// The same with little memory.
    fn small_audit(&self) -> Ended {
        self.within(MEMORY, &["audit", "-o", "json"])
    }

    fn within(&self, kib: &str, ask: &[&str]) -> Ended {
        let mut small = Command::new("ip");
        small.args(["netns", "exec", &self.name, "sh", "-c"]);
        small.args(["ulimit -d \"$1\"; shift; exec \"$@\"", "sh", kib]);
        small.arg(binary()).args(ask);
        run(&mut small)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for netns in [&self.pod, &self.name] {
            // One that was not made is not missed.
            let _ = Command::new("ip").args(["netns", "del", netns]).output();
        }
    }
}

fn told(verdict: &Value, what: &str) -> bool {
    let rows = verdict["not_checked"].as_array().expect("a list");
    rows.iter().any(|row| row["what"].as_str() == Some(what))
}

fn healthy(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let verdict = ended.json();
    assert_eq!(verdict["verdict"], "healthy", "{verdict:#}");
    verdict
}

#[test]
fn a_pod_of_many_routes_and_links_is_read_to_a_bound() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = Node::up();
    let plain = healthy(&node.small_audit());
    let (mut routes, mut links) = (String::new(), String::new());
    for n in 0..20_000 {
        let _ = writeln!(
            routes,
            "route add 172.16.{}.{}/32 dev eth0",
            n / 256,
            n % 256
        );
    }
    for n in 0..1500 {
        let _ = writeln!(links, "link add a{n} type veth peer name b{n}");
    }
    node.batch(&routes);
    node.batch(&links);
    let crowded = healthy(&node.small_audit());
    for what in ["routes", "links"] {
        let row = format!("{what} inside 1 pod with more than {MOST}");
        assert!(!told(&plain, &row) && told(&crowded, &row), "{crowded:#}");
    }
}

#[test]
fn no_more_memory_is_one_sentence() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = Node::up();
    // The kernel's types alone are more.
    let ended = node.within("16384", &["diagnose", "--duration", "1s"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let said = sentence(&ended);
    assert!(said.starts_with("netdiag: out of memory: "), "{said}");
}

/// It holds itself to its own bounds, whoever starts it.
#[test]
fn memory_is_bounded_and_no_core_is_dumped() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = Node::up();
    let trace = start_in(&node.name, &["run"]);
    let path = format!("/proc/{}/limits", trace.pid());
    let limits = fs::read_to_string(path).expect("it runs");
    let soft = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name));
        let line = line.expect("a limit").trim_start_matches(name);
        line.split_whitespace().next().map(str::to_owned)
    };
    assert_eq!(soft("Max data size").as_deref(), Some("1073741824"));
    assert_eq!(soft("Max core file size").as_deref(), Some("0"));
    trace.stop(Signal::SIGTERM);
}

/// Processes with a network namespace each, all gone with their first.
fn namespaces(count: usize) -> Process {
    namespaces_in(count, "")
}

/// The same where each does that before.
fn namespaces_in(count: usize, before: &str) -> Process {
    let each = format!("unshare -n sh -c '{before}echo up >&2; exec sleep 120' &");
    let script = format!("for n in $(seq {count}); do {each} done; wait");
    let mut holder = Command::new("unshare");
    holder.args(["--fork", "--pid", "--kill-child", "--", "sh", "-c", &script]);
    holder.stdin(Stdio::null());
    let mut process = Process::start(&mut holder);
    for _ in 0..count {
        process.wait_for("up", PATIENCE);
    }
    process
}

/// Processes' numbers by what their parents' are.
fn sleepers(holder: u32) -> Vec<String> {
    let children = |pid: &str| {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = fs::read_to_string(path).unwrap_or_default();
        let pids = text.split_whitespace().map(str::to_owned);
        pids.collect::<Vec<_>>()
    };
    let shells = children(&holder.to_string());
    shells.iter().flat_map(|shell| children(shell)).collect()
}

/// A pod for each of these processes, by what a CNI plugin left behind.
fn results(pids: &[String]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (n, pid) in pids.iter().enumerate() {
        let result = serde_json::json!({ "kind": "cniCacheV1", "containerId": format!("c{n}"),
            "ifName": "eth0", "networkName": "net",
            "cniArgs": [["K8S_POD_NAMESPACE", "shop"], ["K8S_POD_NAME", format!("cart-{n}")]],
            "result": { "cniVersion": "1.0.0",
                "interfaces": [{ "name": "eth0", "sandbox": format!("/proc/{pid}/ns/net") }],
                "ips": [{ "address": format!("10.78.{}.{}/32", n / 256, n % 256) }] } });
        let path = folder.path().join(format!("cart-{n}"));
        fs::write(path, result.to_string()).expect("written");
    }
    folder
}

#[test]
fn hundreds_of_namespaces_change_nothing() {
    if require::missing(&TOOLS) {
        return;
    }
    let _alone = PODS.lock().unwrap_or_else(PoisonError::into_inner);
    let node = Node::up();
    let plain = healthy(&node.audit(&[]));
    let crowd = namespaces(300);
    let crowded = healthy(&node.audit(&[]));
    assert_eq!(plain["not_checked"], crowded["not_checked"]);
    let pids = sleepers(crowd.pid());
    assert_eq!(pids.len(), 300);
    let folder = results(&pids);
    let folder = folder.path().display().to_string();
    let ask = ["--pods", "cni", "--cni-dir", &folder];
    let named = healthy(&node.audit(&ask));
    let row = "packets of 300 pods at a link of their own";
    assert!(told(&named, row), "{named:#}");
    let ask = [&["diagnose", "-o", "json", "--duration", "2s"], &ask[..]].concat();
    let ended = start_in(&node.name, &ask).end(PATIENCE);
    assert!(matches!(ended.code, Some(0 | 4)), "{ended:?}");
    assert!(told(&ended.json(), row), "{ended:?}");
}

/// A container's cgroup as kubelet makes one, in each hierarchy; gone with its processes.
struct Container(Vec<PathBuf>);

impl Container {
    fn make(uid: &str) -> Option<Self> {
        let mut made = Vec::new();
        for base in ["", "/systemd", "/unified"] {
            let base = PathBuf::from(format!("/sys/fs/cgroup{base}"));
            let top = base.join(Self::root());
            let folder = top.join(format!("pod{uid}/{}", "a".repeat(64)));
            let sorts = base.join("cgroup.procs").is_file();
            if sorts && fs::create_dir_all(&folder).is_ok() {
                made.push(folder);
            }
        }
        (!made.is_empty()).then_some(Self(made))
    }

    /// Nobody but kubelet makes pods at the root: netdiag is told where these are.
    fn root() -> String {
        format!("netdiag-crowd-{}", nix::unistd::gettid())
    }

    /// Words of a shell's that go there.
    fn enter(&self) -> String {
        let enter = |folder: &PathBuf| format!("echo 0 > {}/cgroup.procs; ", folder.display());
        self.0.iter().map(enter).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for folder in &self.0 {
            // Who was killed leaves it a little later.
            let gone = (0..500).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                fs::remove_dir(folder).is_ok()
            });
            let above = folder.ancestors().skip(1).take(2);
            let removed = |path: &Path| fs::remove_dir(path).is_ok();
            if !gone || !above.into_iter().all(removed) {
                eprintln!("{} is still there", folder.display());
            }
        }
    }
}

#[test]
fn a_pod_that_makes_namespaces_has_a_few() {
    if require::missing(&TOOLS) {
        return;
    }
    let _alone = PODS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(container) = Container::make("0c4e7e2a-5e9e-4b5e-9a43-1f1b1d2c3e4f") else {
        return require::say("cgroups that can be made");
    };
    let node = Node::up();
    let audit = || {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = ["--pods", "cgroup", "--cgroup-root", &Container::root()];
            let verdict = healthy(&node.audit(&asked));
            // Its processes are a pod's once they have been there for a while.
            let row = "24 network namespaces of pods";
            if told(&verdict, row) || Instant::now() > deadline {
                return verdict;
            }
        }
    };
    let crowd = namespaces_in(40, &container.enter());
    let verdict = audit();
    assert!(
        told(&verdict, "24 network namespaces of pods"),
        "{verdict:#}"
    );
    assert_eq!(verdict["pod_sources"][0]["pods"], 16, "{verdict:#}");
    // Elsewhere than kubelet makes them anybody's cgroup is called so.
    let verdict = healthy(&node.audit(&["--pods", "cgroup"]));
    let row = "24 network namespaces of pods";
    assert!(!told(&verdict, row), "{verdict:#}");
    drop(crowd);
}

/// Rules of nftables that nobody's packets meet, in one chain, and one that drops.
fn rules(count: usize) -> String {
    let mut all = String::from("table inet big {\nchain one {\n");
    for n in 0..count {
        let (high, middle, low) = (n >> 16, n >> 8 & 255, n & 255);
        let _ = writeln!(all, "ip saddr 10.{high}.{middle}.{low} counter drop");
    }
    all.push_str(
        "}\n}\ntable inet own {\nchain passed {\ntype filter hook forward priority 0;\n\
         udp dport 5432 counter drop\n}\n}\n",
    );
    all
}

/// 100,000 rules, and a destination that may be a Service's: what the node does for Services is
/// asked for too, and nobody waits for it. Nor does anybody else who changes rules meanwhile.
#[test]
fn very_many_rules_hide_no_rule_that_drops() {
    if require::missing(&["ip", "nft", "sh"]) {
        return;
    }
    let node = Node::up();
    for (netns, what) in [
        (&node.name, "link add up0 type veth peer name up1"),
        (&node.name, "link set up1 up"),
        (&node.name, "link set up0 up"),
        (&node.name, "route add default dev up0"),
        (&node.name, "addr add 169.254.1.1/32 dev caliweb"),
    ] {
        node.ip(netns, what, &[]);
    }
    let enter = ["ip", "netns", "exec", &node.name];
    sh(&[&enter[..], &["sysctl", "-qw", "net.ipv4.ip_forward=1"]].concat());
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), rules(100_000)).expect("written");
    let path = file.path().display().to_string();
    sh(&[&enter[..], &["nft", "-f", &path]].concat());
    let pod = fs::File::open(format!("/run/netns/{}", node.pod)).expect("its namespace");
    let done = std::sync::atomic::AtomicBool::new(false);
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            nix::sched::setns(&pod, nix::sched::CloneFlags::CLONE_NEWNET).expect("entered");
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                // Nobody answers.
                let _ = socket.send_to(b"x", "10.98.7.6:5432");
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let ask = ["diagnose", "-o", "json", "--duration", "20s"];
        let ended = start_in(&node.name, &ask).end(PATIENCE);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        ended
    });
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let verdict = ended.json();
    let finding = &verdict["findings"][0];
    assert_eq!(finding["cause"], "firewall-drop", "{verdict:#}");
    let delete = "nft delete rule inet own passed handle ";
    let commands = finding["fix"]["commands"].as_array().expect("a list");
    let named = |c: &&Value| c.as_str().is_some_and(|c| c.starts_with(delete));
    assert!(commands.iter().any(|c| named(&c)), "{verdict:#}");
}
