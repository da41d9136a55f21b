//! Nothing of netdiag's stays behind, however it ends, and nothing of others' goes.

use netdiag_tests::{
    netdiag::{command, netdiag},
    netns::{self, sh},
    other_tc_user::{self, Held},
    process::{PATIENCE, Process, run, wait_until},
    require,
    shell_node::ShellNode,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const TOOLS: [&str; 5] = ["ip", "bridge", "sysctl", "tc", "bpftool"];

/// A node of so many pods that their links are covered by clsact, which outlives a kill, and whose
/// links others have been at: a filter on `caliweb`, a bare qdisc on `calibare`,
/// a filter on the tunnel; `calicron` is untouched.
struct Node {
    node: ShellNode,
    left: String,
    before: String,
}

impl Node {
    /// Nothing where this kernel has no classifier to be foreign.
    fn up() -> Option<Self> {
        let node = ShellNode::up(&[]);
        node.crowd();
        let left = node.netns("left");
        let cron = node.netns("cron");
        let bare = [
            "link", "add", "calibare", "type", "veth", "peer", "name", "x0", "netns",
        ];
        sh(&[&["ip", "-n", &left], &bare[..], &[&cron]].concat());
        sh(&["ip", "-n", &left, "link", "set", "calibare", "up"]);
        for link in ["caliweb", "calibare", "vxlan.calico"] {
            other_tc_user::add_clsact(&left, link);
        }
        if !other_tc_user::add_filter(&left, "caliweb", "ingress", "7") {
            require::say("a tc classifier");
            return None;
        }
        assert!(other_tc_user::add_filter(
            &left,
            "vxlan.calico",
            "egress",
            "7"
        ));
        let before = other_tc_user::attached(&left);
        Some(Self { node, left, before })
    }

    /// A running netdiag, with what it holds in the kernel.
    fn trace(&self) -> (Process, Held) {
        let process = self.node.trace("left");
        let held = other_tc_user::held(process.pid());
        assert!(
            !held.programs.is_empty() && !held.links.is_empty(),
            "{held:?}"
        );
        assert_ne!(other_tc_user::attached(&self.left), self.before);
        (process, held)
    }

    fn assert_as_before(&self, held: &Held, pid: u32) {
        assert_eq!(other_tc_user::attached(&self.left), self.before);
        assert_eq!(other_tc_user::ledgers(pid), 0);
        // The kernel frees programs and links after a grace period.
        wait_until("its programs and links are gone", PATIENCE, || {
            held.left().is_empty()
        });
    }
}

fn ends_well_by(signal: Signal) {
    if require::missing(&TOOLS) {
        return;
    }
    let Some(node) = Node::up() else { return };
    let (process, held) = node.trace();
    let pid = process.pid();
    let ended = process.stop(signal);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    node.assert_as_before(&held, pid);
}

#[test]
fn interrupted() {
    ends_well_by(Signal::SIGINT);
}

#[test]
fn terminated() {
    ends_well_by(Signal::SIGTERM);
}

/// As a terminal's end does; whoever runs these by nohup has it ignored, and so does netdiag then.
#[test]
fn hung_up() {
    if ignores_hang_ups() {
        return require::say("a SIGHUP that is not ignored");
    }
    ends_well_by(Signal::SIGHUP);
}

/// SigIgn (proc(5)), which children inherit.
fn ignores_hang_ups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("this process");
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.expect("a mask").trim(), 16);
    mask.expect("digits") & 1 == 1
}

#[test]
fn killed_and_cleaned_up_after() {
    if require::missing(&TOOLS) {
        return;
    }
    let Some(node) = Node::up() else { return };
    let (process, held) = node.trace();
    let pid = process.pid();
    process.stop(Signal::SIGKILL);
    // From outside the namespace, as an administrator would.
    let ended = netdiag(&["cleanup"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    node.assert_as_before(&held, pid);
    let again = netdiag(&["cleanup"]);
    assert_eq!(again.code, Some(0), "{again:?}");
}

#[test]
fn killed_and_swept_by_the_next_run() {
    if require::missing(&TOOLS) {
        return;
    }
    let Some(node) = Node::up() else { return };
    let (process, held) = node.trace();
    let pid = process.pid();
    process.stop(Signal::SIGKILL);
    let (next, held_by_next) = node.trace();
    let pid_of_next = next.pid();
    assert_eq!(other_tc_user::ledgers(pid), 0);
    next.stop(Signal::SIGTERM);
    node.assert_as_before(&held, pid);
    node.assert_as_before(&held_by_next, pid_of_next);
}

/// A filter that somebody puts on a qdisc of ours while netdiag runs keeps it there.
#[test]
fn a_filter_that_came_later_stays() {
    if require::missing(&TOOLS) {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let Some(node) = Node::up() else { return };
        let (process, _) = node.trace();
        assert!(other_tc_user::add_filter(
            &node.left, "calicron", "egress", "9"
        ));
        process.stop(signal);
        netdiag(&["cleanup"]);
        let attached = other_tc_user::attached(&node.left);
        assert!(!attached.contains("hop_"), "{attached}");
        let kept = [
            "tc", "-n", &node.left, "filter", "show", "dev", "calicron", "egress",
        ];
        assert!(sh(&kept).contains("pref 9"), "{attached}");
    }
}

/// Filters on every qdisc of ours, while somebody changes others all the time: whether netdiag ends
/// or is killed and swept after, all of them stay, a hundred of a hundred.
#[test]
fn filters_that_came_later_stay_a_hundred_times() {
    if require::missing(&["ip", "bridge", "sysctl", "tc"]) {
        return;
    }
    let node = ShellNode::up(&[]);
    node.crowd();
    let left = node.netns("left");
    let links: Vec<String> = (0..25).map(|n| format!("calix{n}")).collect();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGKILL,
        Signal::SIGINT,
        Signal::SIGKILL,
    ] {
        let process = node.trace("left");
        let storm = Storm::over(&left, "calicron");
        for link in &links {
            if !other_tc_user::add_filter(&left, link, "egress", "9") {
                return require::say("a tc classifier");
            }
        }
        process.stop(signal);
        let swept = netdiag(&["cleanup"]);
        assert_eq!(swept.code, Some(0), "{swept:?}");
        drop(storm);
        for link in &links {
            let shown = sh(&["tc", "-n", &left, "filter", "show", "dev", link, "egress"]);
            assert!(
                shown.contains("pref 9") && !shown.contains("hop_"),
                "{signal}, {link}: {shown}"
            );
            sh(&["tc", "-n", &left, "qdisc", "del", "dev", link, "clsact"]);
        }
    }
}

/// Adds and deletes a filter on one link, as fast as tc(8) does.
struct Storm {
    on: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Storm {
    fn over(netns: &str, link: &str) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let on = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let (going, netns, link) = (
            std::sync::Arc::clone(&on),
            netns.to_owned(),
            link.to_owned(),
        );
        let thread = std::thread::spawn(move || {
            while going.load(Relaxed) {
                other_tc_user::add_filter(&netns, &link, "egress", "8");
                let all = ["-n", &netns, "filter", "del", "dev", &link, "egress"];
                let _ = std::process::Command::new("tc").args(all).output();
            }
        });
        Self {
            on,
            thread: Some(thread),
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.on.store(false, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the storm does not panic");
        }
    }
}

/// A ledger that cannot be read is told, and the others are swept after all the same. In a mount
/// namespace of its own: to the other tests it would be theirs too.
#[test]
fn a_broken_ledger_does_not_stop_the_sweep() {
    if require::missing(&["unshare", "sh", "mount"]) {
        return;
    }
    let gone = r#"{"pid":4194305,"started":1,"netns":1,"handle":1,"entries":[]}"#;
    let script = format!(
        "set -e; mount -t tmpfs none /run; mkdir -p -m 755 /run/netdiag; mkdir -m 700 {folder}
        echo '{gone}' >{folder}/4194305-1.json; echo '{{' >{folder}/1-1.json; mkdir {folder}/2-1.json
        code=0; $0 cleanup || code=$?; ls {folder}; exit $code",
        folder = "/run/netdiag/trace",
    );
    let mut command = std::process::Command::new("unshare");
    let program = netdiag_tests::netdiag::binary();
    let ended = run(command.args(["-m", "sh", "-c", &script]).arg(program));
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let text = ended.text();
    assert!(text.contains("cleaned up after 1 killed run(s)"), "{text}");
    assert!(!text.contains("4194305-1.json"), "{text}");
    assert_eq!(ended.stderr.len(), 2, "a sentence each: {ended:?}");
}

/// The one that ends first takes nothing from the other, the other leaves nothing of both.
#[test]
fn two_at_once() {
    if require::missing(&TOOLS) {
        return;
    }
    let Some(node) = Node::up() else { return };
    let (first, held_by_first) = node.trace();
    let (second, held_by_second) = node.trace();
    let pids = [first.pid(), second.pid()];
    first.stop(Signal::SIGTERM);
    // Not an orphan either: its process lives.
    assert_eq!(netdiag(&["cleanup"]).code, Some(0));
    for link in ["caliweb", "calicron"] {
        let shown = [
            "tc", "-n", &node.left, "filter", "show", "dev", link, "ingress",
        ];
        assert!(
            sh(&shown).contains("hop_ingress"),
            "{link} is no longer covered"
        );
    }
    second.stop(Signal::SIGTERM);
    node.assert_as_before(&held_by_first, pids[0]);
    node.assert_as_before(&held_by_second, pids[1]);
}

/// Somebody else's classifier at the first priority ends the walk; netdiag sees the packets
/// before it does, on a node of few pods and on one of many.
#[test]
fn a_foreign_filter_at_the_first_priority_hides_nothing() {
    if require::missing(&[&TOOLS[..], &["python3"]].concat()) {
        return;
    }
    for crowded in [false, true] {
        foreign_filter_hides_nothing(crowded);
    }
}

fn foreign_filter_hides_nothing(crowded: bool) {
    let node = ShellNode::up(&[]);
    if crowded {
        node.crowd();
    }
    let left = node.netns("left");
    other_tc_user::add_clsact(&left, "caliweb");
    if !other_tc_user::add_filter(&left, "caliweb", "ingress", "1") {
        return require::say("a tc classifier");
    }
    other_tc_user::add_filter(&left, "caliweb", "egress", "1");
    let before = other_tc_user::attached(&left);
    let process = node.trace("left");
    let server = node.echo("left", "10.77.3.11", "9");
    node.ask("web", "10.77.3.11", "9", "5");
    drop(server);
    let ended = process.stop(Signal::SIGTERM);
    let events = ended.ndjson();
    let last = events
        .iter()
        .rfind(|e| e["type"] == "stats")
        .expect("a last word");
    let hops = last["hops"].as_array().expect("a list");
    for direction in ["ingress", "egress"] {
        let of = |h: &&Value| h["interface"] == "caliweb" && h["direction"] == direction;
        let packets = hops.iter().find(of).map(|h| h["packets"].clone());
        assert_eq!(packets, Some(5.into()), "{direction}: {last:#}");
    }
    assert_eq!(other_tc_user::attached(&left), before);
}

/// Namespaces of the lab that this process made.
fn lab_of(pid: u32) -> Option<(String, Vec<String>)> {
    for entry in std::fs::read_dir("/run/netdiag/lab").ok()?.flatten() {
        let text = std::fs::read(entry.path().join("lab.json")).unwrap_or_default();
        let Ok(lab) = serde_json::from_slice::<Value>(&text) else {
            continue;
        };
        if lab["pid"] == pid {
            let names = lab["namespaces"].as_array()?;
            let names = names.iter().filter_map(|n| n.as_str().map(str::to_owned));
            return Some((entry.path().display().to_string(), names.collect()));
        }
    }
    None
}

/// The processes that it started.
fn children(pid: u32) -> Vec<String> {
    let mut all = Vec::new();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.expect("the process is there").flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(text.split_whitespace().map(str::to_owned));
    }
    all
}

/// A lab run with its diagnosis going on.
fn lab_run() -> (Process, String, Vec<String>, Vec<String>) {
    let arguments = ["lab", "run", "healthy", "--duration", "60s", "-o", "json"];
    let process = Process::start(&mut command(&arguments));
    let pid = process.pid();
    wait_until("the lab's diagnosis runs", PATIENCE, || {
        !children(pid).is_empty()
    });
    let (dir, namespaces) = lab_of(pid).expect("a lab's record");
    assert!(namespaces.iter().all(|n| netns::exists(n)));
    (process, dir, namespaces, children(pid))
}

fn assert_gone(dir: &str, namespaces: &[String], children: &[String]) {
    let gone = || {
        !std::path::Path::new(dir).exists()
            && namespaces.iter().all(|n| !netns::exists(n))
            && children
                .iter()
                .all(|c| !std::path::Path::new("/proc").join(c).exists())
    };
    wait_until("the lab is gone", PATIENCE, gone);
}

#[test]
fn a_lab_that_is_ended_leaves_nothing() {
    if require::missing(&["ip"]) {
        return;
    }
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (process, dir, namespaces, children) = lab_run();
        let ended = process.stop(signal);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_gone(&dir, &namespaces, &children);
    }
}

#[test]
fn a_lab_that_is_killed_goes_with_the_next() {
    if require::missing(&["ip"]) {
        return;
    }
    let (process, dir, namespaces, children) = lab_run();
    process.stop(Signal::SIGKILL);
    let next = run(&mut command(&["lab", "run", "healthy", "--exec", "true"]));
    assert_eq!(next.code, Some(0), "{next:?}");
    assert_gone(&dir, &namespaces, &children);
}
