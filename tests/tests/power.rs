//! What a running netdiag may do, and what it writes for whom.
use std::{
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
};

use netdiag_tests::{
    netdiag::{command, netdiag, start_in},
    process::{PATIENCE, Process, run},
    require,
    shell_node::{ShellNode, TOOLS},
};
use nix::sys::signal::Signal;

/// CAP_DAC_READ_SEARCH, _NET_ADMIN, _NET_RAW, _SYS_PTRACE, _SYS_ADMIN, _SYSLOG, _PERFMON, _BPF.
const TRACING: u64 = 1 << 2 | 1 << 12 | 1 << 13 | 1 << 19 | 1 << 21 | 1 << 34 | 1 << 38 | 1 << 39;
/// What a datagram of the tests' own holds.
const PAYLOAD: &[u8] = b"xxxxxxxxxxxxxxxx";

/// A field of every thread's status (proc(5)).
fn of_threads(pid: u32, field: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).ok();
    let value = |text: String| {
        let line = text.lines().find_map(|l| l.strip_prefix(field));
        line.expect("a field").trim().to_owned()
    };
    tasks.flatten().filter_map(status).map(value).collect()
}

fn bits(pid: u32, field: &str) -> Vec<u64> {
    let all = of_threads(pid, field).into_iter();
    all.map(|m| u64::from_str_radix(&m, 16).expect("a mask"))
        .collect()
}

#[test]
fn every_thread_of_a_trace_has_only_what_it_needs() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = ShellNode::up(&[]);
    let process = node.trace("left");
    let pid = process.pid();
    let own = bits(std::process::id(), "CapEff:")[0];
    assert!(of_threads(pid, "Name:").len() > 2, "its threads run");
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        for mask in bits(pid, set) {
            assert_eq!(mask, TRACING & own, "{set} {mask:x}");
        }
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert!(bits(pid, set).iter().all(|mask| *mask == 0), "{set}");
    }
    let sealed = of_threads(pid, "NoNewPrivs:");
    assert!(sealed.iter().all(|it| it == "1"), "{sealed:?}");
    // A link that comes later is covered all the same.
    node.crowd();
    let covered = || netdiag_tests::other_tc_user::covers(pid, &node.netns("left"), "calix3");
    netdiag_tests::process::wait_until("new links are covered", PATIENCE, covered);
    let ended = process.stop(Signal::SIGINT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn doctor_tells_what_is_held() {
    if require::missing(&[]) {
        return;
    }
    let ended = netdiag(&["doctor", "-o", "json"]);
    let features = ended.json();
    let features = features.as_array().expect("a list");
    let rights = features.iter().find(|f| f["name"] == "rights");
    let detail = rights.and_then(|f| f["detail"].as_str()).expect("told");
    assert!(detail.contains("CAP_BPF (loads eBPF programs)"), "{detail}");
    assert!(detail.contains("all others were given away"), "{detail}");
}

/// A trace that samples datagrams to a port where nobody listens, and what it wrote.
fn sampled(node: &ShellNode, folder: &Path, more: &[&str]) -> [Vec<u8>; 3] {
    let names = ["events", "trace.ndr", "trace.pcapng"];
    let files = names.map(|name| folder.join(name).display().to_string());
    let [events, record, pcap] = files.each_ref().map(String::as_str);
    let usual = [
        "run",
        "-o",
        "ndjson",
        "--output-file",
        events,
        "--pods",
        "none",
    ];
    let kept = ["--record", record, "--pcap", pcap];
    let process: Process = start_in(&node.netns("left"), &[&usual[..], &kept, more].concat());
    node.ask("web", "10.77.3.11", "9", "3");
    let seen = || std::fs::read_to_string(events).is_ok_and(|text| text.contains("\"drop\""));
    netdiag_tests::process::wait_until("the drops are told", PATIENCE, seen);
    let ended = process.stop(Signal::SIGINT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    files.map(|file| {
        let mode = Path::new(&file).metadata().expect("written").mode();
        assert_eq!(mode & 0o7777, 0o600, "{file}");
        std::fs::read(&file).expect("read")
    })
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// In a folder of somebody else's, as a person's home is to sudo.
#[test]
fn samples_are_headers_for_their_owner_alone() {
    if require::missing(&TOOLS) {
        return;
    }
    let node = ShellNode::up(&[]);
    let home = tempfile::tempdir().expect("a folder");
    chown(home.path(), Some(12345), Some(12345)).expect("given away");
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).expect("set");
    let [_, _, pcap] = sampled(&node, home.path(), &[]);
    assert!(holds(&pcap, b"drop: "), "a sample was taken");
    // Source and destination of the datagram, which are headers.
    assert!(holds(&pcap, &[10, 77, 3, 11]));
    assert!(!holds(&pcap, PAYLOAD), "its payload was not asked for");
    let [_, record, pcap] = sampled(&node, home.path(), &["--snaplen", "128"]);
    assert!(holds(&pcap, PAYLOAD), "asked for");
    assert!(!record.is_empty());
    let replayed = home.path().join("again.pcapng").display().to_string();
    let file = home.path().join("trace.ndr").display().to_string();
    netdiag(&["replay", &file, "--pcap", &replayed]);
    let replayed = std::fs::read(replayed).expect("written");
    assert!(holds(&replayed, PAYLOAD));
}

#[test]
fn outputs_go_through_no_links() {
    if require::missing(&[]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "kept").expect("written");
    let link = folder.path().join("link");
    symlink(&secret, &link).expect("linked");
    let theirs = folder.path().join("theirs");
    std::fs::write(&theirs, "kept").expect("written");
    chown(&theirs, Some(12345), None).expect("given away");
    let recordings = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/recordings");
    let file = format!("{recordings}/no-route.ndr");
    for (path, why) in [(&link, "symbolic link"), (&theirs, "somebody else's")] {
        let path = path.display().to_string();
        for option in ["--output-file", "--pcap"] {
            let ended = netdiag(&["replay", &file, option, &path]);
            assert_eq!(ended.code, Some(3), "{ended:?}");
            assert!(ended.stderr.concat().contains(why), "{ended:?}");
        }
    }
    for file in [secret, theirs] {
        assert_eq!(std::fs::read_to_string(file).expect("read"), "kept");
    }
    // What shells give for a file goes on being one.
    for (path, empty) in [("/dev/null", true), ("/dev/stdout", false)] {
        let ended = run(&mut command(&["replay", &file, "--output-file", path]));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stdout.is_empty(), empty, "{path}");
    }
    let shell = format!(
        "{} replay {file} --output-file >(cat)",
        netdiag_tests::netdiag::binary().display()
    );
    let ended = run(std::process::Command::new("bash").args(["-c", &shell]));
    assert!(ended.text().contains("no-route"), "{ended:?}");
}
