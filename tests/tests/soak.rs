//! An agent for long: pods come and go, a fault comes and goes, it is killed in the middle. For
//! `NETDIAG_SOAK` seconds (an hour is 3600), a minute where nobody says; then with a thousand pods an
//! hour, else with as many as a minute takes.
use std::{
    env, fs,
    io::Write,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use netdiag_tests::{
    lab::Lab,
    netdiag::{netdiag, start_in},
    netns::sh,
    other_tc_user,
    process::{PATIENCE, Process, run, wait_until},
    require,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const TOOLS: [&str; 4] = ["ip", "nft", "ping", "curl"];
/// What it may hold of memory that is its own, in kB (the goal at the level light).
const MOST: u64 = 32 << 10;
/// Series of a metric.
const SERIES: usize = 60;
/// In a shorter time, memory is still growing to what it needs.
const FILLED: Duration = Duration::from_secs(600);
/// Pods that are there at once.
const PODS: usize = 4;

fn long() -> Duration {
    let asked = env::var("NETDIAG_SOAK").ok();
    Duration::from_secs(asked.map_or(60, |it| it.parse().expect("seconds")))
}

/// A node of a lab to which pods are added as a CNI plugin does it.
struct Node {
    lab: Lab,
    netns: String,
    bridge: String,
    gateway: String,
    /// A result that the lab's own plugin left.
    template: Value,
    taken: Vec<String>,
}

impl Node {
    fn up() -> Self {
        let lab = Lab::up(&["healthy", "--seed", "11"]);
        let netns = lab.nodes[0].clone();
        let bridges: Value = serde_json::from_str(&sh(&[
            "ip", "-n", &netns, "-j", "addr", "show", "type", "bridge",
        ]))
        .expect("JSON");
        let bridge = &bridges[0];
        let own = bridge["addr_info"].as_array().expect("addresses");
        let own = own.iter().find(|it| it["family"] == "inet").expect("IPv4");
        let files = fs::read_dir(&lab.cni_dirs[0]).expect("a cache").flatten();
        let results: Vec<Value> = files
            .map(|it| serde_json::from_slice(&fs::read(it.path()).expect("read")).expect("JSON"))
            .collect();
        let taken = results
            .iter()
            .filter_map(|it| it["result"]["ips"][0]["address"].as_str());
        Self {
            bridge: bridge["ifname"].as_str().expect("a name").to_owned(),
            gateway: own["local"].as_str().expect("an address").to_owned(),
            taken: taken.map(str::to_owned).collect(),
            template: results.into_iter().next().expect("a result"),
            netns,
            lab,
        }
    }

    fn ip(&self, netns: &str, what: &str) {
        let words: Vec<&str> = what.split(' ').collect();
        sh(&[&["ip", "-n", netns], &words[..]].concat());
    }

    fn pod(&self, number: usize) -> Pod<'_> {
        let (network, _) = self.gateway.rsplit_once('.').expect("an address");
        // The lab's own are in the way of one at most.
        let mut address = format!("{network}.{}", 2 + number % 200);
        if self
            .taken
            .iter()
            .any(|it| it.starts_with(&format!("{address}/")))
        {
            address = format!("{network}.{}", 202 + number % 40);
        }
        let netns = format!("{}-soak-{number}", self.lab.id);
        let link = format!("vs{number}");
        sh(&["ip", "netns", "add", &netns]);
        self.ip(
            &self.netns,
            &format!("link add {link} type veth peer name eth0 netns {netns}"),
        );
        self.ip(
            &self.netns,
            &format!("link set {link} master {} up", self.bridge),
        );
        for what in [
            "link set lo up".to_owned(),
            "link set eth0 up".to_owned(),
            format!("addr add {address}/24 dev eth0"),
            format!("route add default via {}", self.gateway),
        ] {
            self.ip(&netns, &what);
        }
        let mut result = self.template.clone();
        let id = format!("{number:064x}");
        result["containerId"] = id.clone().into();
        result["cniArgs"] = json!([
            ["K8S_POD_NAMESPACE", format!("team-{number}")],
            ["K8S_POD_NAME", format!("job-{number}")],
            ["K8S_POD_INFRA_CONTAINER_ID", id]
        ]);
        result["result"]["interfaces"] = json!([{ "name": self.bridge }, { "name": link },
            { "name": "eth0", "sandbox": format!("/run/netns/{netns}") }]);
        result["result"]["ips"] = json!([{ "address": format!("{address}/24"), "gateway": self.gateway, "interface": 2 }]);
        let file = PathBuf::from(&self.lab.cni_dirs[0]).join(format!("cbr0-{id}-eth0"));
        fs::write(&file, result.to_string()).expect("written");
        Pod {
            netns,
            file,
            node: self,
        }
    }

    /// The fault comes or goes.
    fn firewall(&self, there: bool) {
        let rule = "table inet soak { chain c { type filter hook forward priority -5; tcp dport 8080 drop; }; }";
        let nft = ["ip", "netns", "exec", &self.netns, "nft"];
        match there {
            true => sh(&[&nft[..], &[rule]].concat()),
            false => sh(&[&nft[..], &["delete table inet soak"]].concat()),
        };
    }
}

struct Pod<'a> {
    netns: String,
    file: PathBuf,
    node: &'a Node,
}

impl Pod<'_> {
    /// Some packets of its own: answered, lost, refused.
    fn talk(&self) {
        let far = &self.node.gateway;
        let words = format!(
            "ping -c1 -W1 {far} >/dev/null; curl -s -m 1 http://{far}:1/ ; curl -s -m 1 http://192.0.2.1:8080/"
        );
        let mut shell = Command::new("ip");
        shell.args(["netns", "exec", &self.netns, "sh", "-c", &words]);
        run(&mut shell);
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        sh(&["ip", "netns", "del", &self.netns]);
        fs::remove_file(&self.file).expect("there until now");
    }
}

/// What a process holds just now.
#[derive(Clone, Copy, Debug)]
struct Sample {
    anonymous: u64,
    resident: u64,
    descriptors: usize,
    programs: usize,
    series: usize,
}

fn sample(pid: u32, netns: &str) -> Sample {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let kilobytes = |name: &str| {
        let line = status
            .lines()
            .find_map(|it| it.strip_prefix(name))
            .expect("a line");
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number")
    };
    let page = sh(&[
        "ip",
        "netns",
        "exec",
        netns,
        "curl",
        "-s",
        "http://127.0.0.1:9464/metrics",
    ]);
    let drops = page
        .lines()
        .filter(|it| it.starts_with("netdiag_drops_total{"));
    Sample {
        anonymous: kilobytes("RssAnon:"),
        resident: kilobytes("VmRSS:"),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("it runs")
            .count(),
        programs: other_tc_user::held(pid).programs.len(),
        series: drops.count(),
    }
}

fn agent(node: &Node, history: &str) -> Process {
    let words = [
        "agent",
        "--cni-dir",
        &node.lab.cni_dirs[0],
        "--history",
        history,
        "--canary",
        "2s",
        "--max-series",
        "60",
        "--resolve-after",
        "20s",
    ];
    start_in(&node.netns, &words)
}

/// Pods come and go until then; what the agent held meanwhile.
fn churn(node: &Node, pid: u32, number: &mut usize, until: Instant, each: Duration) -> Vec<Sample> {
    let mut pods: Vec<Pod<'_>> = Vec::new();
    let mut samples = Vec::new();
    let mut faulty = false;
    while Instant::now() < until {
        let begun = Instant::now();
        if pods.len() == PODS {
            pods.remove(0);
        }
        let pod = node.pod(*number);
        *number += 1;
        pod.talk();
        pods.push(pod);
        if number.is_multiple_of(10) {
            faulty = !faulty;
            node.firewall(faulty);
        }
        samples.push(sample(pid, &node.netns));
        std::thread::sleep(each.saturating_sub(begun.elapsed()));
    }
    if faulty {
        node.firewall(false);
    }
    samples
}

/// For whoever runs it for long; the harness keeps what a test prints to itself.
fn say(line: &str) {
    // Nobody to tell is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    let mut all: Vec<u64> = samples.iter().map(of).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

/// Neither memory nor anything else goes on growing: the last third of what was seen is as the one
/// before it.
fn assert_flat(samples: &[Sample]) {
    assert!(samples.len() >= 6, "too few: {}", samples.len());
    let third = samples.len() / 3;
    let (before, last) = (&samples[third..2 * third], &samples[2 * third..]);
    let memory = |of: &[Sample]| median(of, |it| it.anonymous);
    let descriptors = |of: &[Sample]| median(of, |it| it.descriptors as u64);
    let programs = |of: &[Sample]| median(of, |it| it.programs as u64);
    let told = format!(
        "{} samples: anonymous {} → {} kB (most {}), resident {} kB, descriptors {} → {}, programs {} → {}, \
         drop series {}",
        samples.len(),
        memory(before),
        memory(last),
        samples
            .iter()
            .map(|it| it.anonymous)
            .max()
            .unwrap_or_default(),
        median(last, |it| it.resident),
        descriptors(before),
        descriptors(last),
        programs(before),
        programs(last),
        samples.iter().map(|it| it.series).max().unwrap_or_default(),
    );
    say(&told);
    // The view, which is a minute or two, has filled by then.
    if long() >= FILLED {
        assert!(
            memory(last) <= memory(before) * 5 / 4 + 1024,
            "memory grows"
        );
    }
    assert!(
        samples.iter().all(|it| it.anonymous <= MOST),
        "more than the goal"
    );
    assert!(
        descriptors(last) <= descriptors(before) + 4,
        "descriptors leak"
    );
    assert_eq!(programs(last), programs(before), "programs leak");
    // Each reason and hop of the series that there may be, and those of the rest.
    assert!(
        samples.iter().all(|it| it.series <= SERIES + 10),
        "series are not bounded"
    );
}

#[test]
fn an_agent_stays_as_it_is() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = Node::up();
    let _traffic = node.lab.traffic();
    let history = tempfile::tempdir().expect("a folder");
    let folder = history.path().display().to_string();
    let each = Duration::from_millis(3600).min(long() / 40);
    let (mut number, begun) = (0, Instant::now());
    let first = agent(&node, &folder);
    let samples = churn(&node, first.pid(), &mut number, begun + long() / 2, each);
    assert_flat(&samples);
    let held = other_tc_user::held(first.pid());
    first.stop(Signal::SIGKILL);
    let second = agent(&node, &folder);
    // What the killed one had is gone, and nothing is attached twice.
    wait_until("nothing of it is left", PATIENCE, || held.left().is_empty());
    let samples = churn(&node, second.pid(), &mut number, begun + long(), each);
    assert_flat(&samples);
    say(&format!("{number} pods came and went"));
    let file = history.path().join("all.ndr");
    let path = file.display().to_string();
    let taken = netdiag(&[
        "agent",
        "snapshot",
        "--since",
        "1h",
        "--history",
        &folder,
        &path,
    ]);
    assert_eq!(taken.code, Some(0), "{taken:?}");
    assert!(
        netdiag(&["replay", &path])
            .code
            .is_some_and(|it| it <= 1 || it == 4)
    );
    let held = other_tc_user::held(second.pid());
    let ended = second.stop(Signal::SIGTERM);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    wait_until("nothing of it is left", PATIENCE, || held.left().is_empty());
}
