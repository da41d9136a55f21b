//! Two nodes built by `fixtures/shell-node.sh`, removed when dropped.
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

use crate::{
    netdiag::start_in,
    netns::{exec, sh},
    process::{Ended, PATIENCE, Process, run},
    traffic,
};

/// What every test of these nodes runs.
pub const TOOLS: [&str; 4] = ["ip", "bridge", "sysctl", "python3"];

pub const WEB: &str = "172.20.17.5";
pub const CRON: &str = "172.20.17.9";
pub const DB: &str = "172.20.88.3";

pub struct ShellNode {
    prefix: String,
}

impl ShellNode {
    /// Builds it; the script's header says what the variables vary.
    pub fn up(variables: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let node = Self {
            prefix: format!("sn{}x{next}", std::process::id()),
        };
        let mut script = node.script("up");
        let ended = run(script.envs(variables.iter().copied()));
        assert!(ended.code == Some(0), "{ended:?}");
        node
    }

    fn script(&self, verb: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .arg(fixture("shell-node.sh"))
            .args([verb, &self.prefix]);
        command
    }

    /// More pods on `left` than netdiag covers by tcx; they send nothing.
    pub fn crowd(&self) {
        let (left, cron) = (self.netns("left"), self.netns("cron"));
        for n in 0..25 {
            let (link, peer) = (format!("calix{n}"), format!("spare{n}"));
            let ends = [&link, "type", "veth", "peer", "name", &peer, "netns", &cron];
            sh(&[&["ip", "-n", &left, "link", "add"], &ends[..]].concat());
            sh(&["ip", "-n", &left, "link", "set", &link, "up"]);
        }
    }

    /// The network between the nodes loses fragments, as those of clouds do.
    pub fn lose_fragments(&self) {
        let rules = "table netdev no-fragments {
            chain left { type filter hook ingress device to-left priority 0;
                ip frag-off & 0x3fff != 0 drop
            }
            chain right { type filter hook ingress device to-right priority 0;
                ip frag-off & 0x3fff != 0 drop
            }
        }";
        exec(&self.netns("switch"), &["nft", rules]);
    }

    /// A namespace's name: `left`, `right`, `switch`, `web`, `cron` or `db`.
    pub fn netns(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// A server in a pod, which listens when this returns.
    pub fn serve(&self, pod: &str, address: &str, port: &str) -> Process {
        traffic::serve(&self.netns(pod), address, port)
    }

    /// Datagrams that a pod sends, each after the answer to the last one or 0.3 s.
    pub fn ask(&self, pod: &str, address: &str, port: &str, count: &str) {
        traffic::ask(&self.netns(pod), address, port, count);
    }

    /// Sends datagrams back; listens when this returns.
    pub fn echo(&self, pod: &str, address: &str, port: &str) -> Process {
        traffic::echo(&self.netns(pod), address, port)
    }

    /// A client in a pod, `pull` or `push`, which has begun when this returns.
    pub fn client(&self, pod: &str, verb: &str, address: &str, port: &str, bytes: &str) -> Process {
        traffic::client(&self.netns(pod), verb, address, port, bytes)
    }

    /// Starts `netdiag diagnose` on a node, with the pods' names from a file, and waits until it
    /// watches.
    pub fn diagnose(&self, node: &str, duration: &str) -> Diagnosis {
        let pods = [("web-0", WEB), ("cron-28", CRON), ("db-0", DB)];
        Diagnosis::named(&self.netns(node), duration, &pods)
    }

    /// The same with other options.
    pub fn diagnose_by(&self, node: &str, duration: &str, more: &[&str]) -> Diagnosis {
        Diagnosis::start(&self.netns(node), duration, more)
    }

    /// The same without any source of names.
    pub fn diagnose_nameless(&self, node: &str, duration: &str) -> Diagnosis {
        self.diagnose_by(node, duration, &["--pods", "none"])
    }

    /// `netdiag run -o ndjson` on a node, ready.
    pub fn trace(&self, node: &str) -> Process {
        start_in(&self.netns(node), &["run", "-o", "ndjson"])
    }
}

impl Drop for ShellNode {
    fn drop(&mut self) {
        let ended = run(&mut self.script("down"));
        if ended.code != Some(0) {
            eprintln!("{} is not gone: {ended:?}", self.prefix);
        }
    }
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A diagnosis that goes on.
pub struct Diagnosis {
    process: Process,
    _names: Option<tempfile::NamedTempFile>,
}

impl Diagnosis {
    /// Starts `netdiag diagnose` in a namespace and waits until it watches. The pods' names come
    /// from a file, by their addresses alone.
    pub fn named(netns: &str, duration: &str, pods: &[(&str, &str)]) -> Self {
        let pod = |(name, address): &(&str, &str)| serde_json::json!({ "namespace": "billing", "name": name, "addresses": [address] });
        let text = Value::from(pods.iter().map(pod).collect::<Vec<_>>()).to_string();
        let names = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(names.path(), text).expect("written");
        let path = names.path().display().to_string();
        Self {
            _names: Some(names),
            ..Self::start(netns, duration, &["--pods", &path])
        }
    }

    fn start(netns: &str, duration: &str, more: &[&str]) -> Self {
        let usual = ["diagnose", "-o", "json", "--duration", duration];
        Self {
            process: start_in(netns, &[&usual, more].concat()),
            _names: None,
        }
    }

    /// Waits for its end.
    pub fn verdict(self) -> Verdict {
        Verdict::of(self.process.end(PATIENCE))
    }
}

/// What `diagnose -o json` printed, and how it ended.
pub struct Verdict {
    pub document: Value,
    pub code: Option<i32>,
}

impl Verdict {
    fn of(ended: Ended) -> Self {
        Self {
            document: ended.json(),
            code: ended.code,
        }
    }

    /// Causes named with severity warning or critical.
    pub fn causes(&self) -> Vec<&str> {
        let findings = self.findings().iter().filter(|f| f["severity"] != "info");
        findings.filter_map(|f| f["cause"].as_str()).collect()
    }

    /// The only finding that is nobody else's consequence.
    pub fn root(&self, cause: &str) -> &Value {
        let mut roots = self
            .findings()
            .iter()
            .filter(|f| f["consequence_of"].is_null());
        let (first, more) = (roots.next(), roots.next());
        assert!(more.is_none(), "{:#}", self.document);
        let root = first.expect("a finding");
        assert_eq!(root["cause"], cause, "{:#}", self.document);
        assert_eq!(root["confidence"], "confirmed", "{root:#}");
        root
    }

    /// Nothing is named and nothing is in doubt.
    pub fn healthy(&self) {
        assert_eq!(self.document["verdict"], "healthy", "{:#}", self.document);
        assert!(self.findings().is_empty(), "{:#}", self.document);
        assert_eq!(self.code, Some(0));
    }

    fn findings(&self) -> &[Value] {
        self.document["findings"].as_array().expect("a list")
    }

    /// The only finding, which must be of that cause and confirmed.
    pub fn only(&self, cause: &str) -> &Value {
        assert_eq!(self.causes(), [cause], "{:#}", self.document);
        assert_eq!(self.document["verdict"], "findings");
        assert_eq!(self.code, Some(1));
        let is = |f: &&Value| f["cause"] == cause;
        let finding = self.findings().iter().find(is).expect("just counted");
        assert_eq!(finding["confidence"], "confirmed", "{:#}", self.document);
        finding
    }
}

/// Names of the pods that a finding names, sorted.
pub fn pods(finding: &Value) -> Vec<&str> {
    let pods = finding["pods"].as_array().expect("a list");
    let mut names: Vec<_> = pods.iter().filter_map(|p| p["name"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A finding's evidence of that kind.
pub fn evidence<'a>(finding: &'a Value, kind: &str) -> Vec<&'a Value> {
    let lines = finding["evidence"].as_array().expect("a list");
    lines.iter().filter(|e| e["kind"] == kind).collect()
}

/// Runs what a finding's fix prints, in the node's namespace, as its reader would paste it.
pub fn repair(netns: &str, finding: &Value) {
    let commands = finding["fix"]["commands"].as_array().expect("a list");
    assert!(!commands.is_empty(), "{finding:#}");
    for command in commands {
        let text = command.as_str().expect("a line");
        exec(netns, &["sh", "-c", text]);
    }
}
