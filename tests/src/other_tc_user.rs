//! Filters of somebody else's, and what is attached in a namespace.
use std::{collections::BTreeSet, path::Path, process::Command};

use crate::{
    netns::sh,
    process::{PATIENCE, Process, run, wait_until},
    require,
    shell_node::fixture,
};

/// A clsact qdisc without a filter, as an agent leaves it that is about to attach.
pub fn add_clsact(netns: &str, link: &str) {
    sh(&["tc", "-n", netns, "qdisc", "add", "dev", link, "clsact"]);
}

/// A classifier that lets everything pass; false where this kernel has none of those known.
pub fn add_filter(netns: &str, link: &str, side: &str, priority: &str) -> bool {
    let kinds: [&[&str]; 3] = [
        &["u32", "match", "u32", "0", "0", "classid", "1:1"],
        &["matchall", "classid", "1:1"],
        &["matchall", "action", "ok"],
    ];
    kinds.iter().any(|kind| {
        let mut tc = Command::new("tc");
        tc.args(["-n", netns, "filter", "add", "dev", link, side]);
        tc.args(["prio", priority, "protocol", "all"]).args(*kind);
        tc.output().is_ok_and(|done| done.status.success())
    })
}

/// Programs that pass everything, on both sides of these links by tcx, for as long as the process lives;
/// nothing where this kernel has no tcx (Linux 6.6).
pub fn add_tcx(netns: &str, links: &[String]) -> Option<Process> {
    tcx(netns, &[], links)
}

/// The same before all that are there already.
pub fn add_tcx_before(netns: &str, links: &[String]) -> Option<Process> {
    tcx(netns, &["--before"], links)
}

/// A program that hands what comes in by `link` for that address to the far end of `pod_link`, past the
/// hooks of this one, as Cilium does.
pub fn hand_over(netns: &str, link: &str, address: &str, pod_link: &str) -> Option<Process> {
    tcx(
        netns,
        &["--hand-over", address, pod_link],
        &[link.to_owned()],
    )
}

/// Whose programs see that link's packets first, those that come in and those that leave.
pub fn first_by_tcx(netns: &str, link: &str) -> String {
    let script = fixture("tcx.py").display().to_string();
    let first = sh(&[
        "ip", "netns", "exec", netns, "python3", &script, "--first", link,
    ]);
    first.trim().to_owned()
}

fn tcx(netns: &str, place: &[&str], links: &[String]) -> Option<Process> {
    let script = fixture("tcx.py").display().to_string();
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns, "python3", &script]);
    command.args(place);
    let mut process = Process::start(command.args(links));
    let line = process.line(PATIENCE);
    match line.ends_with(" programs") {
        true => Some(process),
        false => {
            // BPF_LINK_CREATE: whatever else is refused is a mistake of the fixture's.
            assert!(line.starts_with("bpf(28): errno 22"), "{line}");
            require::say("tcx (Linux 6.6)");
            None
        }
    }
}

/// Everything that is attached to links there, as tc(8) prints it, tcx as well as clsact.
pub fn attached(netns: &str) -> String {
    let shown = sh(&["tc", "-n", netns, "qdisc", "show"]);
    let mut all: String = shown.lines().map(|line| unheld(line) + "\n").collect();
    for link in crate::netns::links(netns) {
        let link = link["ifname"].as_str().unwrap_or_default();
        for side in ["ingress", "egress"] {
            let shown = sh(&["tc", "-n", netns, "filter", "show", "dev", link, side]);
            // u32 shows its order, which says nothing.
            all.push_str(&format!("{link} {side}: {shown}\n"));
        }
    }
    all
}

/// Without how many hold it: whoever reads a qdisc's filters does as long (`tcf_qdisc_find`), and netdiag reads
/// them now and then.
fn unheld(line: &str) -> String {
    let mut words = line.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "refcnt" => drop(words.next()),
            word => kept.push(word),
        }
    }
    kept.join(" ")
}

/// Whether that netdiag sees what the link takes in: by clsact as tc(8) shows it, or by tcx, which
/// only newer tc(8) knows, as the process's links tell (proc(5), `/proc/PID/fdinfo`).
pub fn covers(pid: u32, netns: &str, link: &str) -> bool {
    let shown = ["tc", "-n", netns, "filter", "show", "dev", link, "ingress"];
    if sh(&shown).contains("hop_ingress") {
        return true;
    }
    let links = crate::netns::links(netns);
    let is = |l: &&serde_json::Value| l["ifname"] == link;
    let Some(index) = links.iter().find(is).and_then(|l| l["ifindex"].as_u64()) else {
        return false;
    };
    fdinfo(pid).iter().any(|text| {
        let has =
            |name: &str, value: &str| text.lines().any(|l| l.split_whitespace().eq([name, value]));
        has("link_type:", "tcx") && has("ifindex:", &index.to_string())
    })
}

fn fdinfo(pid: u32) -> Vec<String> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process is there");
    // A descriptor that was just closed is none.
    let read = |e: std::fs::DirEntry| std::fs::read_to_string(e.path()).ok();
    folder.flatten().filter_map(read).collect()
}

/// Ids of the eBPF programs and links that a process holds, as the kernel tells (proc(5),
/// `/proc/PID/fdinfo`).
pub fn held(pid: u32) -> Held {
    let mut held = Held::default();
    for text in fdinfo(pid) {
        for line in text.lines() {
            let number =
                || -> Option<u32> { line.split_whitespace().nth(1).and_then(|n| n.parse().ok()) };
            if line.starts_with("prog_id:") {
                held.programs.extend(number());
            } else if line.starts_with("link_id:") {
                held.links.extend(number());
            }
        }
    }
    held
}

#[derive(Debug, Default)]
pub struct Held {
    pub programs: BTreeSet<u32>,
    pub links: BTreeSet<u32>,
}

impl Held {
    /// What of it the kernel still has, by `bpftool prog` and `bpftool link`.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (what, ids) in [("prog", &self.programs), ("link", &self.links)] {
            let text = listed(what);
            let id = |line: &str| line.split(':').next().and_then(|n| n.parse::<u32>().ok());
            let there = text
                .lines()
                .filter(|l| id(l).is_some_and(|n| ids.contains(&n)));
            left.extend(there.map(str::to_owned));
        }
        left
    }
}

/// bpftool asks for all numbers and then for each, and gives up where one has gone meanwhile, whoever
/// it belonged to (ENOENT, EAGAIN): that is no list.
fn listed(what: &str) -> String {
    let mut text = String::new();
    wait_until("a list of bpftool's", PATIENCE, || {
        let ended = run(Command::new("bpftool").args([what, "show"]));
        let gone = |line: &String| line.contains("by id");
        assert!(
            ended.code == Some(0) || ended.stderr.iter().any(gone),
            "{ended:?}"
        );
        text = ended.text();
        ended.code == Some(0)
    });
    text
}

/// Ledgers of netdiag's for that process.
pub fn ledgers(pid: u32) -> usize {
    let entries = std::fs::read_dir(Path::new("/run/netdiag/trace"));
    let names = entries.into_iter().flatten().flatten();
    names
        .filter(|e| {
            e.file_name()
                .to_string_lossy()
                .starts_with(&format!("{pid}-"))
        })
        .count()
}
