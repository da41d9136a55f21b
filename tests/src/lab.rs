//! A standing lab of netdiag's own, taken down when dropped.
use std::{path::PathBuf, time::Duration};

use nix::sys::signal::Signal;

use crate::{
    netdiag::{command, netdiag},
    netns,
    process::{PATIENCE, Process, wait_until},
};

/// `netdiag lab run ARGUMENTS` with its traffic going on until the process is stopped, and the
/// network namespace of its diagnosing node.
pub fn running(arguments: &[&str], limit: Duration) -> (Process, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = folder.path().join("netns");
    // Written elsewhere first: half a name is no name.
    let script = format!(
        "ip netns identify $$ > {0}.new; mv {0}.new {0}; exec sleep 600",
        told.display()
    );
    let inside = ["--exec", "sh", "-c", &script];
    let all = [&["lab", "run"], arguments, &inside].concat();
    let lab = Process::start(&mut command(&all));
    let mut netns = String::new();
    wait_until("the lab stands", limit, || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        netns = text.trim().to_owned();
        !netns.is_empty()
    });
    (lab, netns)
}

pub struct Lab {
    pub id: String,
    /// Namespaces of the two nodes.
    pub nodes: Vec<String>,
    /// CNI result caches of the two nodes.
    pub cni_dirs: Vec<String>,
    /// `namespace/name` and network namespace of every pod.
    pub pods: Vec<(String, String)>,
}

impl Lab {
    /// `netdiag lab up ARGUMENTS`.
    pub fn up(arguments: &[&str]) -> Self {
        let ended = netdiag(&[&["lab", "up"], arguments].concat());
        assert!(ended.code == Some(0), "{ended:?}");
        let text = ended.text();
        let word = |line: &str, n: usize| line.split_whitespace().nth(n).map(str::to_owned);
        // `node NAME ADDRESS ip netns exec NETNS bash`
        let entries = |what: &str| {
            let lines = text.lines().filter(|l| l.trim_start().starts_with(what));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let id = text.split_whitespace().nth(1).expect("the lab's id");
        let nodes = entries("node ").iter().filter_map(|l| word(l, 6)).collect();
        let pods = entries("pod ");
        let pods = pods.iter().filter_map(|l| word(l, 1).zip(word(l, 6)));
        let cni_dirs = entries("CNI files")
            .iter()
            .filter_map(|l| word(l, 4))
            .collect();
        Self {
            id: id.to_owned(),
            nodes,
            cni_dirs,
            pods: pods.collect(),
        }
    }

    /// Starts the scenario's traffic.
    pub fn traffic(&self) -> Process {
        Process::start(&mut command(&["lab", "traffic", &self.id]))
    }

    /// Takes IPv6 away in every namespace, switches included, and with it what kernels send by
    /// themselves at any time (RFC 4862, RFC 3810); waits until the last of it is gone.
    pub fn without_ipv6(&self) {
        for netns in self.namespaces() {
            netns::without_ipv6(&netns);
        }
        self.settle();
    }

    /// Every namespace of the lab.
    fn namespaces(&self) -> Vec<String> {
        let of_lab = format!("netdiag-{}-", self.id);
        let names = std::fs::read_dir("/run/netns").expect("namespaces have names");
        let names = names.map(|e| e.expect("an entry").file_name().into_string());
        let names = names.map(|n| n.expect("names are UTF-8"));
        names.filter(|n| n.starts_with(&of_lab)).collect()
    }

    /// Ends the traffic and whatever the pods' kernels would still send, and waits until the
    /// nodes' links are silent.
    pub fn silence(&self, traffic: Process) {
        traffic.stop(Signal::SIGINT);
        for (_, netns) in &self.pods {
            netns::sh(&["ip", "-n", netns, "link", "set", "eth0", "down"]);
        }
        self.settle();
    }

    /// Waits until the nodes' links are silent.
    fn settle(&self) {
        let count = || -> u64 { self.nodes.iter().map(|n| netns::packets(n)).sum() };
        let (mut last, mut same) = (count(), 0);
        wait_until("silence on the nodes' links", PATIENCE, || {
            std::thread::sleep(Duration::from_millis(100));
            let now = count();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same >= 8
        });
    }

    pub fn dir(&self) -> PathBuf {
        PathBuf::from("/run/netdiag/lab").join(&self.id)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let ended = netdiag(&["lab", "down", &self.id]);
        if ended.code != Some(0) {
            eprintln!("lab {} is not gone: {ended:?}", self.id);
        }
    }
}
