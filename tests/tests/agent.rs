//! The agent on a node with a real fault: what it serves, what it withdraws, what it leaves.
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use netdiag_tests::{
    lab::Lab,
    netdiag::{command, netdiag, sentence, start_in},
    netns::sh,
    other_tc_user::{self, Held},
    process::{PATIENCE, Process, wait_until},
    require,
};
use nix::sys::signal::Signal;

const TOOLS: [&str; 4] = ["ip", "nft", "curl", "bpftool"];
const FINDING: &str = "netdiag_finding{cause=\"firewall-drop\"";

/// An agent on the first node of a lab.
struct Agent {
    process: Process,
    netns: String,
}

impl Agent {
    fn start(lab: &Lab, more: &[&str]) -> Self {
        let netns = lab.nodes[0].clone();
        let usual = [
            "agent",
            "--cni-dir",
            &lab.cni_dirs[0],
            "--resolve-after",
            "20s",
        ];
        let process = start_in(&netns, &[&usual[..], more].concat());
        Self { process, netns }
    }

    /// Status and body of a page.
    fn get(&self, path: &str) -> (String, String) {
        let url = format!("http://127.0.0.1:9464/{path}");
        let told = ["curl", "--silent", "--write-out", "\n%{http_code}", &url];
        let text = sh(&[&["ip", "netns", "exec", &self.netns][..], &told].concat());
        let (body, status) = text.trim_end().rsplit_once('\n').expect("a status");
        (status.to_owned(), body.to_owned())
    }

    fn page(&self) -> String {
        let (status, page) = self.get("metrics");
        assert_eq!(status, "200", "{page}");
        page
    }

    fn wait_for(&self, what: &str, limit: Duration, holds: impl Fn(&str) -> bool) {
        wait_until(what, limit, || holds(&self.page()));
    }

    /// Its programs and links, and the namespaces that its threads are in.
    fn held(&self) -> (Held, BTreeSet<String>) {
        let held = other_tc_user::held(self.process.pid());
        assert!(
            !held.programs.is_empty() && !held.links.is_empty(),
            "{held:?}"
        );
        let node = fs::read_link(format!("/proc/{}/ns/net", self.process.pid())).expect("there");
        let mut namespaces = namespaces_of(&self.process.pid().to_string());
        namespaces.remove(&node.display().to_string());
        assert_eq!(namespaces.len(), 1, "the canary's: {namespaces:?}");
        (held, namespaces)
    }
}

/// Takes all rules of a node's netfilter away.
fn repair(netns: &str) {
    sh(&["ip", "netns", "exec", netns, "nft", "flush", "ruleset"]);
}

/// Network namespaces of a process's threads.
fn namespaces_of(pid: &str) -> BTreeSet<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let netns = threads.filter_map(|t| fs::read_link(t.path().join("ns/net")).ok());
    netns.map(|link| link.display().to_string()).collect()
}

fn assert_gone((held, namespaces): (Held, BTreeSet<String>), pid: u32) {
    assert_eq!(other_tc_user::ledgers(pid), 0);
    wait_until("its programs and links are gone", PATIENCE, || {
        held.left().is_empty()
    });
    let processes = fs::read_dir("/proc").expect("there").flatten();
    let pids = processes.filter_map(|e| e.file_name().into_string().ok());
    let left = pids.filter(|pid| !namespaces_of(pid).is_disjoint(&namespaces));
    assert_eq!(
        left.collect::<Vec<_>>(),
        [""; 0],
        "in the canary's namespace"
    );
}

/// The value of the first series that begins like that; 0 where there is none.
fn value(page: &str, begins: &str) -> u64 {
    let line = page.lines().find(|line| line.starts_with(begins));
    let value = line.and_then(|line| line.rsplit_once(' '));
    value.map_or(0, |(_, value)| value.parse().expect("a whole number"))
}

/// What promtool says against a page, as an administrator would ask it.
fn assert_lints(page: &str) {
    if require::find("promtool").is_none() {
        return require::say("promtool");
    }
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut input = tool.stdin.take().expect("piped");
    input.write_all(page.as_bytes()).expect("read by it");
    drop(input);
    let ended = tool.wait_with_output().expect("ended");
    assert!(
        ended.status.success() && ended.stderr.is_empty(),
        "{ended:?}"
    );
}

#[test]
fn a_fault_is_named_and_withdrawn_when_it_is_repaired() {
    if require::missing(&TOOLS) {
        return;
    }
    let lab = Lab::up(&["firewall-drop"]);
    let traffic = lab.traffic();
    let agent = Agent::start(&lab, &["--canary", "2s"]);
    let drops = "netdiag_drops_total{reason=\"NETFILTER_DROP\"";
    agent.wait_for("the finding", PATIENCE, |page| {
        page.contains(FINDING) && value(page, drops) > 0
    });
    agent.wait_for("a canary was seen", PATIENCE, |page| {
        value(page, "netdiag_canary_rounds_total{result=\"seen\"}") > 0
    });
    let (ready, why) = agent.get("readyz");
    assert_eq!(ready, "200", "{why}");
    let page = agent.page();
    assert_lints(&page);
    // No address, no port, and no pod's own name is in any label.
    for (pod, _) in &lab.pods {
        let (_, name) = pod.split_once('/').expect("namespace/name");
        assert!(!page.contains(name), "{name}: {page}");
    }
    assert!(!page.contains("10.244."), "{page}");
    assert!(page.contains("namespace=\""), "{page}");
    let lost = value(&page, drops);

    // The rule stays and meets nothing any more: what was lost before is no news.
    traffic.stop(Signal::SIGINT);
    let limit = Duration::from_secs(20) + PATIENCE;
    let is_gone = |page: &str| !page.contains(FINDING);
    agent.wait_for("what is over is withdrawn", limit, is_gone);
    assert!(value(&agent.page(), drops) >= lost, "it never falls");
    let traffic = lab.traffic();
    agent.wait_for("it is named again", PATIENCE, |page| page.contains(FINDING));

    repair(&agent.netns);
    agent.wait_for("it is withdrawn", limit, is_gone);
    let after = agent.page();
    assert!(value(&after, drops) >= lost, "it never falls: {after}");
    assert_eq!(
        value(&after, "netdiag_canary_rounds_total{result=\"unseen\"}"),
        0
    );

    let (held, pid) = (agent.held(), agent.process.pid());
    let ended = agent.process.stop(Signal::SIGTERM);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended
            .stderr
            .iter()
            .any(|line| line.contains("withdrawn: firewall-drop"))
    );
    assert_gone(held, pid);
    traffic.stop(Signal::SIGINT);
}

#[test]
fn killed_it_leaves_nothing_that_cleanup_does_not_take() {
    if require::missing(&TOOLS) {
        return;
    }
    let lab = Lab::up(&["healthy"]);
    let agent = Agent::start(&lab, &[]);
    wait_until("the canary lives", PATIENCE, || {
        namespaces_of(&agent.process.pid().to_string()).len() == 2
    });
    let (held, pid) = (agent.held(), agent.process.pid());
    agent.process.stop(Signal::SIGKILL);
    let ended = netdiag(&["cleanup"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_gone(held, pid);
}

#[test]
fn what_was_seen_before_a_kill_is_in_the_history() {
    if require::missing(&TOOLS) {
        return;
    }
    let lab = Lab::up(&["firewall-drop"]);
    let traffic = lab.traffic();
    let folder = tempfile::tempdir().expect("a folder");
    let history = folder.path().join("history").display().to_string();
    let file = folder.path().join("out.ndr").display().to_string();
    let keep = ["--history", history.as_str()];
    let snapshot = || {
        let ended = netdiag(&["agent", "snapshot", &file, "--history", &history]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    };
    let causes = || -> Vec<String> {
        let verdict = netdiag(&["replay", &file, "-o", "json"]).json();
        let findings = verdict["findings"].as_array().expect("a list").clone();
        let cause = |it: serde_json::Value| it["cause"].as_str().expect("text").to_owned();
        findings.into_iter().map(cause).collect()
    };
    let agent = Agent::start(&lab, &keep);
    agent.wait_for("the finding", PATIENCE, |page| page.contains(FINDING));
    snapshot();
    assert_eq!(causes(), ["firewall-drop"], "while it runs");
    agent.process.stop(Signal::SIGKILL);
    let ended = snapshot();
    assert_eq!(causes(), ["firewall-drop"], "what a kill leaves");
    assert!(ended.stderr.is_empty(), "{ended:?}");
    traffic.stop(Signal::SIGINT);

    // The next one counts from zero: what was before is in none of its minutes.
    repair(&lab.nodes[0]);
    let agent = Agent::start(&lab, &keep);
    wait_until("it keeps its own", PATIENCE, || {
        let told = snapshot().stderr.join(" ");
        told.contains("the agent began again meanwhile")
    });
    assert_eq!(causes(), [""; 0], "nothing drops any more");
    let ended = agent.process.stop(Signal::SIGTERM);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(netdiag(&["cleanup"]).code, Some(0));
}

#[test]
fn it_says_when_it_is_blind() {
    if require::missing(&TOOLS) {
        return;
    }
    let lab = Lab::up(&["healthy"]);
    // Programs that do nothing: attached, and no drop is seen.
    let agent = Agent::start(&lab, &["--empty", "--canary", "2s"]);
    agent.wait_for("it is blind", PATIENCE, |page| {
        value(page, "netdiag_blind") == 1
    });
    let (ready, why) = agent.get("readyz");
    assert_eq!(ready, "503");
    assert!(why.starts_with("blind: dropped packets: "), "{why}");
    assert_eq!(agent.get("healthz").0, "200");
    let ended = agent.process.stop(Signal::SIGTERM);
    let told = ended.stderr.iter().filter(|line| line.contains("blind: "));
    assert_eq!(told.count(), 1, "{ended:?}");
}

#[test]
fn a_canary_is_no_drop_of_anybodys() {
    if require::missing(&TOOLS) {
        return;
    }
    let lab = Lab::up(&["healthy"]);
    let agent = Agent::start(&lab, &["--canary", "2s"]);
    let other = start_in(&lab.nodes[0], &["run", "--duration", "8s", "-o", "ndjson"]);
    let ended = other.end(PATIENCE);
    agent.wait_for("canaries were seen", PATIENCE, |page| {
        value(page, "netdiag_canary_rounds_total{result=\"seen\"}") >= 3
    });
    // Nobody else in these namespaces sends to the port of RFC 863.
    assert!(!ended.text().contains("127.0.0.1:9\""), "{}", ended.text());
    let page = agent.page();
    assert_eq!(
        value(&page, "netdiag_drops_total{reason=\"NO_SOCKET\""),
        0,
        "{page}"
    );
}

#[test]
fn what_is_configured_wrongly_is_told_in_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("agent.toml");
    let name = file.display().to_string();
    let told = |text: &str| {
        fs::write(&file, text).expect("written");
        let ended = netdiag(&["agent", "--config", &name, "--print-config"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        sentence(&ended).to_owned()
    };
    let unknown = told("# mine\nlisen = \"127.0.0.1:1\"\n");
    assert!(unknown.contains("line 2: unknown key `lisen`"), "{unknown}");
    let short = told("resolve_after = \"1s\"\n");
    assert!(
        short.contains("line 1: resolve_after: '1s' is too short"),
        "{short}"
    );
    let missing = folder.path().join("none.toml").display().to_string();
    let ended = netdiag(&["agent", "--config", &missing]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(sentence(&ended).contains("none.toml"));
}

#[test]
fn the_configuration_that_it_prints_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("agent.toml");
    let name = file.display().to_string();
    let first = netdiag(&[
        "agent",
        "--print-config",
        "--max-series",
        "7",
        "--canary",
        "0",
    ]);
    assert_eq!(first.code, Some(0), "{first:?}");
    fs::write(&file, first.text()).expect("written");
    let again = netdiag(&["agent", "--print-config", "--config", &name]);
    assert_eq!(again.text(), first.text());
    assert!(first.text().contains("max_series = 7"), "{first:?}");
}

#[test]
fn a_port_that_is_taken_is_told_and_tried_again() {
    if require::missing(&["curl"]) {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut agent = Process::start(&mut command(&["agent", "--listen", &address]));
    let told = format!("another program listens on {address}");
    agent.wait_for(&told, PATIENCE);
    agent.wait_for("netdiag: ready", PATIENCE);
    drop(taken);
    let url = format!("http://{address}/metrics");
    wait_until("its page is served", PATIENCE, || {
        let got = Command::new("curl")
            .args(["--silent", "--fail", &url])
            .output();
        got.is_ok_and(|it| it.status.success())
    });
    let ended = agent.stop(Signal::SIGTERM);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
