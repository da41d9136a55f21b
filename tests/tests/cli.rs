//! The command line as people and scripts meet it.
use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use netdiag_tests::{
    lab::Lab,
    netdiag::{binary, command, command_in, netdiag, sentence},
    netns::{exec, sh},
    process::{Ended, PATIENCE, run},
    require,
    shell_node::{CRON, DB, ShellNode},
    workdir::Workdir,
};
use nix::sys::signal::Signal;

const USAGE: Option<i32> = Some(2);
const ENVIRONMENT: Option<i32> = Some(3);
/// nobody
const UNPRIVILEGED: u32 = 65534;

fn assert_usage(arguments: &[&str], word: &str) {
    let ended = netdiag(arguments);
    assert_eq!(ended.code, USAGE, "{arguments:?}: {ended:?}");
    assert!(ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    let said = ended.stderr.join("\n");
    assert!(said.contains(word), "{arguments:?}: {said}");
}

/// One sentence that begins with the program's name, on stderr, and exit code 3.
fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, ENVIRONMENT, "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    let said = sentence(ended);
    assert!(said.starts_with("netdiag: "), "{said}");
    for word in words {
        assert!(said.contains(word), "no '{word}' in: {said}");
    }
}

#[test]
fn help_and_version_are_success() {
    for arguments in [&["--help"][..], &["run", "--help"], &["lab", "run", "-h"]] {
        let ended = netdiag(arguments);
        assert_eq!((ended.code, ended.stderr.len()), (Some(0), 0), "{ended:?}");
        assert!(ended.text().contains("Usage:"));
    }
    let version = netdiag(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert!(version.text().starts_with("netdiag "));
}

#[test]
fn what_is_mistyped_is_usage() {
    assert_usage(&[], "Usage:");
    assert_usage(&["rnu"], "unrecognized subcommand");
    assert_usage(&["run", "--no-such-flag"], "unexpected argument");
    assert_usage(&["run", "-o", "xml"], "ndjson");
    assert_usage(&["lab", "run", "nonsense"], "nonsense");
    assert_usage(&["run", "-n", "shop/cart"], "-p shop/cart is a pod");
    assert_usage(&["path", "10.0.0.1", "10.0.0.0/8"], "is a range");
    assert_usage(&["lab", "run"], "NAME");
    assert_usage(
        &["explain", "nonsense"],
        "neither a cause nor a drop reason",
    );
    assert_usage(&["diagnose", "--node-ip", "10.0.0"], "10.0.0");
    assert_usage(&["diagnose", "--root", "/no/such"], "/no/such/proc");
    assert_usage(&["completions", "cmd.exe"], "bash");
    assert_usage(&["diagnose", "--cause", "pod-mtu"], "like it: ");
    assert_usage(&["run", "-l", "app in cart"], "no label selector");
    assert_usage(&["replay", "x.ndr", "--owner", "/"], "neither a name");
}

#[test]
fn a_bad_filter_is_usage_with_a_reason() {
    for filter in [
        "tcp port 80-90",
        "arp",
        "host 10.0.0.1 port 80",
        "",
        "host",
        "host 10.0.0.0/8",
        "src",
        "net fe80::/129",
    ] {
        assert_usage(&["run", "--filter", filter], "filter");
    }
}

#[test]
fn a_bad_duration_is_usage_with_an_example() {
    for duration in ["5x", "", "-1s", "1h30", "nan", "inf", "1e99h"] {
        let argument = format!("--duration={duration}");
        assert_usage(&["diagnose", &argument], "duration");
    }
}

#[test]
fn pods_files_that_cannot_be_used() {
    let missing = netdiag(&["diagnose", "--pods", "/no/such/pods.json"]);
    assert_refused(&missing, &["/no/such/pods.json", "No such file"]);
    assert_refused(&netdiag(&["run", "--pods", "/etc"]), &["/etc"]);
    let texts = [
        "",
        "{",
        "{}",
        "[{}]",
        r#"[{"namespace":"a","name":"","addresses":[]}]"#,
    ];
    for text in texts {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        let path = file.path().display().to_string();
        assert_refused(&netdiag(&["run", "--pods", &path]), &[&path]);
    }
}

#[test]
fn output_files_that_cannot_be_written() {
    for verb in ["run", "diagnose"] {
        let ended = netdiag(&[verb, "--output-file", "/no/such/folder/x.json"]);
        assert_refused(&ended, &["/no/such/folder/x.json"]);
    }
}

#[test]
fn two_outputs_in_one_file_are_usage() {
    let same = "/tmp/netdiag-cli-same";
    for (verb, others) in [
        ("run", &["--record", same, "--output-file", same][..]),
        (
            "diagnose",
            &["--record", same, "--pcap", "/tmp/./netdiag-cli-same"],
        ),
    ] {
        assert_usage(&[&[verb], others].concat(), "two outputs are one file");
    }
    assert!(!std::path::Path::new(same).exists(), "nothing was written");
}

#[test]
fn what_is_no_recording_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = folder.path().display().to_string();
    assert_refused(&netdiag(&["replay", &own]), &["is a folder"]);
    let fixture = "tests/fixtures/recordings/healthy.ndr";
    let whole = std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture));
    let cut = folder.path().join("cut.ndr").display().to_string();
    std::fs::write(&cut, &whole.expect("a recording")[..40]).expect("written");
    assert_refused(
        &netdiag(&["replay", &cut]),
        &["cut.ndr: there is no reading in it: it is cut"],
    );
}

/// A limit stands for the disk that is full; the trace goes on.
#[test]
fn a_recording_that_finds_no_room_is_told() {
    if require::missing(&["unshare", "sh"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = binary().display().to_string();
    let script = "trap '' XFSZ; ulimit -f 4; exec \"$0\" diagnose -q -d 2s --record x.ndr -o json";
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", script, &program]);
    let ended = run(command.current_dir(folder.path()));
    let verdict = ended.json();
    let rows = verdict["not_checked"].as_array().expect("rows");
    let told = rows
        .iter()
        .any(|r| r["what"] == "the rest of the recording");
    assert!(told, "{ended:?}");
    assert!(
        ended.stderr.concat().contains("the recording ends here"),
        "{ended:?}"
    );
}

#[test]
fn unknown_interfaces_are_named() {
    if require::missing(&[]) {
        return;
    }
    let ended = netdiag(&["diagnose", "-i", "nosuch9", "--duration", "1s"]);
    assert_refused(&ended, &["nosuch9", "ip -br link"]);
}

#[test]
fn explain() {
    let all = netdiag(&["explain"]);
    assert_eq!(all.code, Some(0), "{all:?}");
    assert!(all.text().contains("vxlan-mtu-too-large"));
    for name in ["vxlan-mtu-too-large", "VXLAN-MTU-TOO-LARGE"] {
        let manual = netdiag(&["explain", name]);
        assert_eq!(manual.code, Some(0), "{manual:?}");
        assert!(manual.text().contains("Look-alikes"));
    }
}

#[test]
fn explain_speaks_of_what_was_recorded() {
    let file = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/recordings/");
        format!("{folder}{name}.ndr")
    };
    let chain = file("sidecar-without-dns");
    // Without a name it is the root that is shown first, before its manual.
    for arguments in [
        &["explain", "--in", &chain][..],
        &["explain", "pod-route-missing", "--in", &chain],
    ] {
        let told = netdiag(arguments);
        assert_eq!(told.code, Some(0), "{told:?}");
        let text = told.text();
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
        assert!(at("10.42.133.119") < at("\nMechanism\n"), "{text}");
        assert!(!text.contains("CRITICAL  dns-unreachable"), "{text}");
    }
    let other = netdiag(&["explain", "conntrack-full", "--in", &chain]);
    assert!(
        sentence(&other).contains("shows pod-route-missing"),
        "{other:?}"
    );
    assert!(other.text().contains("\nMechanism\n"), "{other:?}");
    let reason = netdiag(&["explain", "NETFILTER_DROP", "--in", &chain]);
    assert_eq!(reason.code, Some(2), "{reason:?}");
    let healthy = netdiag(&["explain", "--in", &file("healthy")]);
    assert_eq!((healthy.code, healthy.text().as_str()), (Some(0), ""));
}

#[test]
fn explain_knows_this_kernels_drop_reasons() {
    if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        return require::say("a kernel with BTF");
    }
    for name in [
        "NETFILTER_DROP",
        "netfilter_drop",
        "SKB_DROP_REASON_NETFILTER_DROP",
    ] {
        let ended = netdiag(&["explain", name]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.text().contains("NETFILTER_DROP"));
    }
}

#[test]
fn completions_and_man_page() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = netdiag(&["completions", shell]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.text().contains("diagnose"));
    }
    let man = netdiag(&["man"]);
    assert_eq!(man.code, Some(0), "{man:?}");
    assert!(man.text().contains(".TH netdiag"));
}

#[test]
fn each_command_has_a_man_page() {
    let workdir = Workdir::new();
    let dir = workdir.path("man");
    let folder = dir.to_str().expect("UTF-8");
    let ended = netdiag(&["man", "--dir", folder]);
    assert_eq!((ended.code, ended.text()), (Some(0), String::new()));
    for (name, title) in [
        ("netdiag.1", "netdiag"),
        ("netdiag-diagnose.1", "netdiag-diagnose"),
        ("netdiag-agent-snapshot.1", "netdiag-agent-snapshot"),
    ] {
        let page = std::fs::read_to_string(dir.join(name)).expect("a page");
        assert!(page.contains(&format!(".TH {title} 1")), "{name}: {page}");
    }
    let ended = netdiag(&["man", "--dir", "/dev/null/man"]);
    assert_refused(&ended, &["writing man pages into /dev/null/man"]);
}

/// `netdiag … | head` where head has gone before the first byte.
#[test]
fn a_reader_that_went_away_is_no_failure() {
    let commands: [&[&str]; 6] = [
        &["explain"],
        &["explain", "vxlan-mtu-too-large"],
        &["completions", "bash"],
        &["man"],
        &["lab", "list"],
        &["--help"],
    ];
    for arguments in commands {
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("netdiag starts");
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(
            (ended.status.code(), said.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn without_privileges_it_names_what_it_needs() {
    if require::missing(&[]) {
        return;
    }
    let workdir = Workdir::new();
    let path = workdir.path("netdiag");
    let unprivileged = |arguments: &[&str]| {
        let mut command = Command::new(&path);
        command.args(arguments).uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        command.env_remove("RUST_BACKTRACE");
        run(&mut command)
    };
    for verb in ["run", "diagnose"] {
        let ended = unprivileged(&[verb, "--duration", "1s"]);
        assert_refused(&ended, &["CAP_BPF", "root"]);
    }
    let doctor = unprivileged(&["doctor"]);
    assert_eq!(doctor.code, ENVIRONMENT, "{doctor:?}");
    assert!(doctor.text().contains("CAP_BPF"), "{doctor:?}");
    let inside = doctor.text().contains("only root may enter them");
    assert!(inside, "an audit says so too: {doctor:?}");
    let lab = unprivileged(&["lab", "run", "healthy"]);
    assert_eq!(lab.code, ENVIRONMENT, "{lab:?}");
    for harmless in [&["explain"][..], &["lab", "list"], &["man"], &["--version"]] {
        assert_eq!(unprivileged(harmless).code, Some(0), "{harmless:?}");
    }
}

/// The node's configuration can be judged by anybody who may read it.
#[test]
fn an_audit_needs_no_privileges() {
    if require::missing(&["setpriv"]) {
        return;
    }
    let workdir = Workdir::new();
    let path = workdir.path("netdiag");
    let lab = Lab::up(&["vxlan-mtu-too-large"]);
    let audit = |user: &str, format: &str| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &lab.nodes[0]]);
        command.args([
            "setpriv",
            "--clear-groups",
            "--reuid",
            user,
            "--regid",
            user,
        ]);
        command.arg(&path).args(["audit", "-o", format]);
        command.env_remove("NODE_NAME");
        run(&mut command)
    };
    let nobody = UNPRIVILEGED.to_string();
    for user in ["0", &nobody] {
        for format in ["table", "wide", "json", "ndjson", "yaml"] {
            let ended = audit(user, format);
            assert_eq!(ended.code, Some(1), "{user} {format}: {ended:?}");
            let text = ended.text();
            for word in ["vxlan-mtu-too-large", "traffic"] {
                assert!(text.contains(word), "{user} {format}: {text}");
            }
            assert!(ended.stderr.is_empty(), "{user} {format}: {ended:?}");
        }
    }
    let said = audit(&nobody, "table").text();
    assert!(said.contains("only root may enter"), "{said}");
}

/// Neither a pod's name nor a link's may command the reader's terminal.
#[test]
fn hostile_names_stay_text() {
    if require::missing(&["ip", "bridge", "sysctl", "nft", "python3"]) {
        return;
    }
    let node = ShellNode::up(&[]);
    let left = node.netns("left");
    let hostile = "cali\u{1b}[2J\u{7}";
    sh(&[
        "ip", "-n", &left, "link", "set", "calicron", "name", hostile,
    ]);
    let rules = "table inet walls {
        chain forward { type filter hook forward priority 0; udp dport 9 drop
        }
    }";
    exec(&left, &["nft", rules]);
    let mut names = tempfile::NamedTempFile::new().expect("a temporary file");
    let pods = serde_json::json!([
        { "namespace": "\u{1b}]0;owned\u{7}", "name": "evil\u{1b}[31m\u{202e}\n", "addresses": [CRON] },
    ]);
    write!(names, "{pods}").expect("written");
    let file = names.path().display().to_string();
    for (verb, format) in [
        ("run", "table"),
        ("run", "wide"),
        ("run", "ndjson"),
        ("diagnose", "table"),
        ("diagnose", "json"),
        ("diagnose", "yaml"),
    ] {
        let arguments = [verb, "-o", format, "--pods", &file];
        let ended = with_drops(&node, &left, &arguments);
        assert!(ended.text().contains("evil"), "{verb} {format}: {ended:?}");
        let text = ended.text();
        let raw = |c: &char| c.is_control() && *c != '\n' || *c == '\u{202e}';
        assert_eq!(text.chars().find(raw), None, "{verb} {format}: {text}");
        let said = ended.stderr.join("");
        assert!(!said.contains('\u{1b}'), "{verb} {format}: {said}");
    }
}

/// Runs netdiag while the hostile pod is heard of: a rule drops what it sends.
fn with_drops(node: &ShellNode, left: &str, arguments: &[&str]) -> Ended {
    let more = if arguments[0] == "diagnose" {
        &["--duration", "3s"][..]
    } else {
        &[]
    };
    let arguments = [arguments, more].concat();
    let mut netdiag = netdiag_tests::process::Process::start(&mut command_in(left, &arguments));
    netdiag.wait_for("netdiag: ready", PATIENCE);
    node.ask("cron", DB, "9", "4");
    if arguments[0] == "run" {
        return netdiag.stop(Signal::SIGINT);
    }
    netdiag.end(PATIENCE)
}
