//! Whose packet it was: real pods by a real container runtime, which come and go and get each
//! other's addresses, while a rule drops what each of them sends.
//!
//! What is true is known from elsewhere: each pod sends to a port of its own.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use netdiag_tests::{
    api::{Api, Login, objects},
    lab,
    netdiag::{command, start_in},
    netns::{exec, sh},
    process::{PATIENCE, Process, wait_until},
    require, schema,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const TOOLS: [&str; 9] = [
    "ip",
    "nft",
    "nsenter",
    "bash",
    "containerd",
    "ctr",
    "runc",
    "unshare",
    "tar",
];
/// Each node's pods send to an address of their own in documentation's network: nobody answers, and the rule lets
/// nothing get there. Cgroups are the machine's, and a runtime's process is in its pod's before it leaves the node's
/// namespace: for a moment a netdiag may take another test's node for a pod.
static TARGETS: AtomicU8 = AtomicU8::new(9);
const FIRST_PORT: usize = 20_000;
/// Packets that each pod sends.
const PACKETS: usize = 5;
/// From a sandbox's network to the first process of a container in it: the runtime makes a root
/// file system and starts a shim, which takes longer than this.
const CONTAINER: Duration = Duration::from_millis(150);
/// So many make pods beside each other, and each has so many at the same time.
const MAKERS: usize = 2;
const AT_ONCE: usize = 2;

/// A node with a runtime, as a scenario of the lab has it.
struct Node {
    /// Only taken down; what it says is for one thread to hear.
    lab: Mutex<Option<Process>>,
    netns: String,
    target: String,
    dir: PathBuf,
    root: PathBuf,
    /// containerd's process: pods' namespaces are mounted where it sees them.
    runtime: String,
}

impl Node {
    fn up() -> Self {
        let arguments = ["cni-add-failing", "--healthy"];
        let (lab, netns) = lab::running(&arguments, PATIENCE);
        // netdiag-ID-NODE
        let id = netns.split('-').nth(1).expect("an id");
        let dir = Path::new("/run/netdiag/lab").join(id);
        let config = format!("containerd\0-c\0{}", dir.display());
        let [runtime] = &processes(&config)[..] else {
            panic!("one containerd, not {:?}", processes(&config));
        };
        let name = netns.splitn(3, '-').nth(2).expect("a name");
        let root = dir.join("root").join(name);
        let node = Self {
            netns: netns.clone(),
            target: format!("192.0.2.{}", TARGETS.fetch_add(1, Ordering::Relaxed)),
            runtime: runtime.clone(),
            lab: Mutex::new(Some(lab)),
            dir,
            root,
        };
        let rule = format!(
            "table inet whose {{
                chain forward {{ type filter hook forward priority -5;
                    ip daddr {} udp dport {FIRST_PORT}-29999 drop
                }}
            }}",
            node.target
        );
        exec(&node.netns, &["nft", &rule]);
        node
    }

    fn socket(&self) -> String {
        let socket = self.root.join("run/containerd/containerd.sock");
        socket.display().to_string()
    }

    fn results(&self) -> PathBuf {
        let name = self.root.file_name().expect("a name");
        self.dir.join("cni").join(name)
    }

    fn watch(&self, source: &str) -> Watch {
        self.watch_by(&["--pods", source])
    }

    fn watch_by(&self, source: &[&str]) -> Watch {
        let (root, cni) = (self.root.display(), self.results());
        let (root, cni) = (root.to_string(), cni.display().to_string());
        let socket = self.socket();
        let arguments = ["run", "-o", "ndjson", "--root", &root];
        let cgroups = self.cgroups();
        let places = ["--cni-dir", &cni, "--cri-socket", &socket];
        let places = [&places[..], &["--cgroup-root", &cgroups]].concat();
        let file = self.dir.join("events");
        let to = ["--output-file", &file.display().to_string()];
        let netdiag = start_in(
            &self.netns,
            &[&arguments[..], &places, &to, source].concat(),
        );
        let target = self.target.clone();
        Watch {
            netdiag,
            file,
            target,
        }
    }

    /// What this node's pods are below.
    fn cgroups(&self) -> String {
        let id = self.dir.file_name().expect("an id").to_string_lossy();
        format!("/netdiag-{id}")
    }

    /// A pod, when its network is there.
    fn pod(&self, number: usize) -> Pod {
        let (name, socket) = (format!("pod-{number}"), self.socket());
        let cgroup = format!("{}/kubepods/besteffort/pod{{uid}}", self.cgroups());
        let rounds = self.dir.join(format!("rounds-{number}"));
        let arguments = ["lab", "kubelet", "--socket", &socket, "--cgroup", &cgroup];
        let of = format!("churn/{name}");
        let rounds = rounds.display().to_string();
        let arguments = [&arguments[..], &["--rounds", &rounds, &of]].concat();
        let kubelet = Process::start(&mut command(&arguments));
        let mut result = None;
        wait_until("a pod's network", PATIENCE, || {
            result = self.result(&name);
            result.is_some()
        });
        let (netns, address, file) = result.expect("a result");
        std::thread::sleep(CONTAINER);
        Pod {
            kubelet,
            number,
            netns,
            address,
            file,
        }
    }

    /// Network namespace and address by what the plugin said when it was done.
    fn result(&self, name: &str) -> Option<(String, String, PathBuf)> {
        let files = std::fs::read_dir(self.results()).expect("a folder");
        files.flatten().find_map(|file| {
            let text = std::fs::read_to_string(file.path()).ok()?;
            let cache: Value = serde_json::from_str(&text).ok()?;
            // The runtime keeps one for the loopback too.
            (cache["ifName"] == "eth0").then_some(())?;
            let arguments = cache["cniArgs"].as_array()?;
            let own = |pair: &Value| pair[0] == "K8S_POD_NAME" && pair[1] == name;
            arguments.iter().find(|pair| own(pair))?;
            let inside = cache["result"]["interfaces"].as_array()?.last()?;
            let address = cache["result"]["ips"][0]["address"].as_str()?;
            let address = address.split('/').next()?.to_owned();
            Some((inside["sandbox"].as_str()?.to_owned(), address, file.path()))
        })
    }

    /// Sends the pod's packets to its own port, through the node.
    fn send(&self, pod: &Pod) {
        let gateway = sh(&[
            "ip",
            "-n",
            &self.netns,
            "-br",
            "addr",
            "show",
            "type",
            "bridge",
        ]);
        let gateway = gateway.split_whitespace().nth(2).expect("an address");
        let gateway = gateway.split('/').next().expect("an address");
        let (port, target) = (FIRST_PORT + pod.number, &self.target);
        let script = format!(
            "ip route replace default via {gateway}
             exec 3<>/dev/udp/{target}/{port}
             for n in $(seq {PACKETS}); do echo $n >&3; done"
        );
        let inside = format!("nsenter --net={} bash -ec '{script}'", pod.netns);
        sh(&["nsenter", "-t", &self.runtime, "-m", "sh", "-c", &inside]);
    }

    /// host-local gives out the address after the last one.
    fn give_again(&self, address: &str) {
        let networks = self.root.join("var/lib/cni/networks");
        let network = std::fs::read_dir(networks).expect("networks").next();
        let network = network.expect("a network").expect("an entry").path();
        let (base, last) = address.rsplit_once('.').expect("IPv4");
        let before = last.parse::<u8>().expect("a number") - 1;
        std::fs::write(
            network.join("last_reserved_ip.0"),
            format!("{base}.{before}"),
        )
        .expect("written");
    }
}

impl Drop for Node {
    /// It takes its lab down when it is told to end.
    fn drop(&mut self) {
        let lab = self.lab.get_mut().map(Option::take);
        lab.ok().flatten().map(|lab| lab.stop(Signal::SIGTERM));
    }
}

struct Pod {
    kubelet: Process,
    number: usize,
    netns: String,
    address: String,
    file: PathBuf,
}

impl Pod {
    /// Until its network is gone.
    fn end(self) {
        let ended = self.kubelet.stop(Signal::SIGTERM);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        wait_until("the end of a pod's network", PATIENCE, || {
            !self.file.exists()
        });
    }
}

/// Those whose command line begins so.
fn processes(command: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("processes").flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    let own = |pid: &String| {
        let line = std::fs::read(Path::new("/proc").join(pid).join("cmdline"));
        line.is_ok_and(|line| line.starts_with(command.as_bytes()))
    };
    names
        .filter(|n| n.parse::<u32>().is_ok())
        .filter(own)
        .collect()
}

/// Dropped packets by the port that they were sent to, and the pod that they are said to be of.
fn said(events: &[Value], target: &str) -> BTreeMap<(usize, Option<String>), u64> {
    let mut said = BTreeMap::new();
    for event in events.iter().filter(|e| e["type"] == "drop") {
        let destination = event["flow"]["destination"].as_str().unwrap_or_default();
        let port = destination
            .strip_prefix(target)
            .and_then(|d| d.strip_prefix(':'));
        let Some(port) = port.and_then(|p| p.parse::<usize>().ok()) else {
            continue;
        };
        let name = event["pod"]["name"].as_str().map(str::to_owned);
        *said.entry((port - FIRST_PORT, name)).or_default() += event["count"].as_u64().unwrap_or(0);
    }
    said
}

/// A netdiag that writes its events into a file.
struct Watch {
    netdiag: Process,
    file: PathBuf,
    target: String,
}

impl Watch {
    /// Its events, when it has told of so many dropped packets.
    fn stop(self, packets: usize) -> Vec<Value> {
        let told = || {
            let text = std::fs::read_to_string(&self.file).unwrap_or_default();
            // The last line may not be whole yet.
            let events = text.lines().map_while(|l| schema::parsed(l).ok());
            events.collect::<Vec<_>>()
        };
        wait_until("the events of all packets", PATIENCE, || {
            said(&told(), &self.target).values().sum::<u64>() >= packets as u64
        });
        let ended = self.netdiag.stop(Signal::SIGTERM);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        told()
    }
}

fn missing() -> bool {
    if require::missing(&TOOLS) {
        return true;
    }
    let folders = ["/opt/cni/bin/bridge", "/usr/lib/cni/bridge"];
    let there = folders.iter().any(|file| Path::new(file).is_file());
    if !there {
        require::say("the CNI plugin bridge");
    }
    !there
}

/// Makes pods that send and go; tells who is left, and the addresses that they had.
fn churn(node: &Node, count: usize) -> (Vec<Pod>, BTreeSet<String>) {
    let make = move |first: usize| {
        let (mut alive, mut addresses) = (VecDeque::new(), BTreeSet::new());
        for number in (first..count).step_by(MAKERS) {
            let pod = node.pod(number);
            node.send(&pod);
            addresses.insert(pod.address.clone());
            alive.push_back(pod);
            if alive.len() >= AT_ONCE {
                alive.pop_front().into_iter().for_each(Pod::end);
            }
        }
        (alive, addresses)
    };
    let mut all = (Vec::new(), BTreeSet::new());
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..MAKERS).map(|n| scope.spawn(move || make(n))).collect();
        for maker in makers {
            let (alive, addresses) = maker.join().expect("a maker of pods");
            all.0.extend(alive);
            all.1.extend(addresses);
        }
    });
    all
}

/// NETDIAG_CHURN is how many pods come and go; the time is what they take, some 200 a minute.
#[test]
fn every_drop_is_its_own_pods() {
    if missing() {
        return;
    }
    let count = std::env::var("NETDIAG_CHURN").ok();
    let count = count.map_or(24, |n| n.parse::<usize>().expect("a number"));
    let node = Node::up();
    let netdiag = node.watch("auto");
    let begun = Instant::now();
    let (alive, addresses) = churn(&node, count);
    let took = begun.elapsed();
    let said = said(&netdiag.stop(count * PACKETS), &node.target);
    alive.into_iter().for_each(Pod::end);
    let (mut right, mut wrong, mut unknown) = (0, Vec::new(), Vec::new());
    for ((number, name), packets) in &said {
        match name {
            Some(name) if *name == format!("pod-{number}") => right += packets,
            Some(name) => wrong.push((number, name, packets)),
            None => unknown.push((number, packets)),
        }
    }
    let nameless: u64 = unknown.iter().map(|(_, packets)| **packets).sum();
    eprintln!(
        "{count} pods in {took:.1?} at {} addresses: {right} packets right, {nameless} unknown",
        addresses.len()
    );
    assert!(wrong.is_empty(), "{wrong:?}");
    let all = (count * PACKETS) as u64;
    assert_eq!(right + nameless, all, "{said:#?}");
    assert!(nameless * 200 < all, "{unknown:?}");
}

#[test]
fn an_address_that_is_given_again_at_once_is_two_pods() {
    if missing() {
        return;
    }
    let node = Node::up();
    let netdiag = node.watch("auto");
    let first = node.pod(1);
    node.send(&first);
    let address = first.address.clone();
    let ended = Instant::now();
    first.end();
    node.give_again(&address);
    let second = node.pod(2);
    assert_eq!(second.address, address);
    node.send(&second);
    eprintln!("given again and used within {:.1?}", ended.elapsed());
    let said = said(&netdiag.stop(2 * PACKETS), &node.target);
    second.end();
    let own = |n: usize| ((n, Some(format!("pod-{n}"))), PACKETS as u64);
    assert_eq!(said, BTreeMap::from([own(1), own(2)]));
}

/// What a source cannot know it does not say: cgroups have a pod's name and UID, not its
/// namespace; without any source there are interfaces and addresses.
#[test]
fn each_source_alone_names_the_same_pod() {
    if missing() {
        return;
    }
    let node = Node::up();
    // Of no other test's: cgroups are the machine's, and a pod's number is in its UID.
    let pod = node.pod(9007);
    let file = node.dir.join("pods.json");
    let list = serde_json::json!([{
        "namespace": "churn", "name": "pod-9007", "addresses": [pod.address]
    }]);
    std::fs::write(&file, list.to_string()).expect("written");
    let file = file.display().to_string();
    let api = Api::start_in(&node.netns);
    api.put("nodes", objects::node("here", "192.0.2.1", "10.9.0.0/24"));
    api.put(
        "pods",
        objects::pod("churn", "pod-9007", "here", &[&pod.address]),
    );
    let config = api.kubeconfig(Login::Token).display().to_string();
    let by_api = ["--kubeconfig", &config, "--node-name", "here"];
    let own = ["auto", "cni", "cri", "cgroup", "none", "kubernetes", &file];
    let with_api = ("all", [&["--pods", "auto"], &by_api[..]].concat());
    let each = own.map(|source| match source {
        "kubernetes" => (source, [&["--pods", source], &by_api[..]].concat()),
        _ => (source, vec!["--pods", source]),
    });
    for (source, arguments) in each.into_iter().chain([with_api]) {
        let netdiag = node.watch_by(&arguments);
        node.send(&pod);
        let events = netdiag.stop(PACKETS);
        let drop = events.iter().find(|e| {
            let to = e["flow"]["destination"].as_str().unwrap_or_default();
            e["type"] == "drop" && to.starts_with(&node.target)
        });
        let drop = drop.unwrap_or_else(|| panic!("{source}: no drop"));
        let said = &drop["pod"];
        assert_eq!(said["ip"], pod.address, "{source}: {drop:#}");
        let link = said["interface"].as_str();
        assert!(
            link.is_some_and(|l| l.starts_with("veth")),
            "{source}: {drop:#}"
        );
        let (namespace, name) = match source {
            "none" => (Value::Null, Value::Null),
            "cgroup" => (Value::Null, "pod-9007".into()),
            _ => ("churn".into(), "pod-9007".into()),
        };
        assert_eq!(
            (&said["namespace"], &said["name"]),
            (&namespace, &name),
            "{source}: {drop:#}"
        );
    }
    pod.end();
}
