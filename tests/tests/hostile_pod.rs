//! A pod, and an ordinary user beside it, that name things so that whoever reads, runs or believes
//! the names does what they want: the verdict is that of the node without them.
use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use netdiag_tests::{
    impostor::{MEASURED, impostor, inside, ready},
    lab::Lab,
    netdiag::binary,
    process::{Process, run},
    require,
};
use nix::sys::stat::Mode;
use serde_json::{Value, json};

/// KiB; a debug build takes more than that by itself.
const MEMORY: u64 = 64 << 10;
const MORE: u64 = 12 << 10;
const SECONDS: Duration = Duration::from_secs(90);
const WATCHED: &str = "8s";

/// Names as a stranger would like them.
struct Names {
    table: &'static str,
    chain: &'static str,
    comment: &'static str,
    label: &'static str,
}

const PLAIN: Names = Names {
    table: "policy",
    chain: "leaving",
    comment: "a comment",
    label: "www",
};
const HOSTILE: Names = Names {
    table: "a;flush ruleset",
    chain: "-f /dev/stdin $(id) # handle 7",
    comment: "\"} drop # handle 9\n'; $(id) \u{202e}",
    label: "$(id>/tmp/x)`id`;-q\u{1b}[2J",
};

/// Asks a server for that name again and again, by UDP and by a port of its own.
const ASK: &str = r#"
import socket, struct, sys, time
server, label, port = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
kind = socket.AF_INET6 if ":" in server else socket.AF_INET
asker = socket.socket(kind, socket.SOCK_DGRAM)
name = bytes([len(label)]) + label + b"\x07example\x03com\x00"
for number in range(600):
    query = struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
    try:
        asker.sendto(query, (server, port))
    except OSError:
        pass
    time.sleep(0.1)
"#;

/// Rules in the pod's own namespace that drop what it asks, by names that nft's own words do not
/// allow; its JSON does (libnftables-json(5)).
fn rules(netns: &str, names: &Names) {
    let (family, table, chain) = ("inet", names.table, names.chain);
    let matched = |field: &str, value: Value| {
        let left = json!({ "payload": { "protocol": "udp", "field": field } });
        json!({ "match": { "op": "==", "left": left, "right": value } })
    };
    let rule = json!({
        "family": family, "table": table, "chain": chain, "comment": names.comment,
        "expr": [matched("dport", json!(5354)), { "counter": null }, { "drop": null }],
    });
    let base = json!({
        "family": family, "table": table, "name": chain,
        "type": "filter", "hook": "output", "prio": 0, "policy": "accept",
    });
    let all = json!({ "nftables": [
        { "add": { "table": { "family": family, "name": table } } },
        { "add": { "chain": base } },
        { "add": { "rule": rule } },
    ]});
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.json");
    std::fs::write(&file, all.to_string()).expect("written");
    let file = file.display().to_string();
    let ended = run(&mut inside(netns, &["nft", "-j", "-f", &file]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let comment: String = names.comment.chars().filter(|c| *c != '\n').collect();
    let rule = [
        "iptables-nft",
        "-A",
        "OUTPUT",
        "-p",
        "udp",
        "--dport",
        "5355",
        "-m",
        "comment",
        "--comment",
        &comment,
        "-j",
        "DROP",
    ];
    let ended = run(&mut inside(netns, &rule));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

fn ask(netns: &str, label: &str, port: &str) -> Process {
    // Nobody's (RFC 5737).
    let words = ["/usr/bin/python3", "-c", ASK, "198.51.100.53", label, port];
    let mut command = inside(netns, &words);
    Process::start(command.stdin(Stdio::null()))
}

struct Diagnosis {
    document: Value,
    peak: u64,
    took: Duration,
    /// Each cause, how bad and how sure it is, and below which it stands.
    causes: BTreeSet<String>,
}

/// What a person would be told of a lab whose pod and whose strangers use these names.
fn diagnosed(names: &Names, strangers: impl Fn(&str) -> Vec<Process>) -> Diagnosis {
    let lab = Lab::up(&["firewall-drop"]);
    let _traffic = lab.traffic();
    let node = lab.nodes.first().expect("a node").clone();
    let (_, pod) = lab.pods.first().expect("a pod").clone();
    rules(&pod, names);
    let _asked = ["5354", "5355", "53"].map(|port| ask(&pod, names.label, port));
    let _strangers = strangers(&node);
    let begun = Instant::now();
    let mut command = inside(&node, &["/usr/bin/python3", "-c", MEASURED]);
    command
        .arg(binary())
        .args(["diagnose", "-d", WATCHED, "-o", "json"]);
    command.args(["--cni-dir", &lab.cni_dirs[0]]);
    for variable in ["NODE_NAME", "NETDIAG_LOG", "KUBECONFIG"] {
        command.env_remove(variable);
    }
    let ended = run(&mut command);
    let took = begun.elapsed();
    let peak = ended.stderr.iter().find_map(|l| l.strip_prefix("peak "));
    let peak = peak.and_then(|n| n.parse().ok());
    let document = ended.json();
    let findings = document["findings"].as_array().expect("a list");
    let cause = |f: &Value| {
        let members = ["cause", "severity", "confidence", "consequence_of"];
        members.map(|m| f[m].to_string()).join(" ")
    };
    Diagnosis {
        causes: findings.iter().map(cause).collect(),
        peak: peak.unwrap_or_else(|| panic!("its memory: {ended:?}")),
        took,
        document,
    }
}

/// Every word of every command.
fn words(value: &Value, found: &mut Vec<Vec<String>>) {
    let line = |v: &Value| -> Option<Vec<String>> {
        let all = v.as_array()?.iter();
        all.map(|w| w.as_str().map(str::to_owned)).collect()
    };
    match value {
        Value::Object(members) => {
            found.extend(members.get("confirm_argv").and_then(line));
            let all = members.get("argv").and_then(Value::as_array);
            found.extend(all.into_iter().flatten().filter_map(line));
            members.values().for_each(|v| words(v, found));
        }
        Value::Array(all) => all.iter().for_each(|v| words(v, found)),
        _ => {}
    }
}

fn nft(arguments: &[&str]) -> bool {
    let mut command = Command::new("nft");
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|s| s.success())
}

#[test]
fn hostile_names_change_no_verdict() {
    let tools = ["ip", "nft", "iptables-nft", "setpriv", "bash", "python3"];
    if require::missing(&tools) {
        return;
    }
    if !nft(&["-j", "list", "tables"]) {
        return require::say("an nft that knows JSON");
    }
    let twin = diagnosed(&PLAIN, |_| Vec::new());
    assert!(
        twin.causes.iter().any(|c| c.contains("firewall-drop")),
        "{:#}",
        twin.document
    );
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).expect("made");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/dev/zero", &link).expect("linked");
    let hostile = diagnosed(&HOSTILE, |node| {
        let etcd = |ca: &Path| {
            let ca = format!("--trusted-ca-file={}", ca.display());
            let url = "--listen-client-urls=http://127.0.0.1:1";
            ready(impostor(node, &[], &["etcd", url, &ca]))
        };
        let mut all = Vec::from([Path::new("/dev/zero"), &fifo, folder.path(), &link].map(etcd));
        let flanneld = ["/opt/bin/flanneld", "--iface-regex=$(id)|eth0|x"];
        all.push(ready(impostor(node, &[], &flanneld)));
        // Where the kernel allows no such command line it ends, and says so.
        all.push(impostor(
            node,
            &["--huge"],
            &["flanneld", "--iface-regex=.*"],
        ));
        all
    });
    assert_eq!(hostile.causes, twin.causes, "{:#}", hostile.document);
    assert_eq!(hostile.document["verdict"], twin.document["verdict"]);
    let most = MEMORY.max(twin.peak + MORE);
    assert!(
        hostile.peak < most,
        "{} KiB, twin {}",
        hostile.peak,
        twin.peak
    );
    assert!(
        hostile.took < SECONDS,
        "{:?}, twin {:?}",
        hostile.took,
        twin.took
    );
    println!(
        "twin {} KiB in {:?}, hostile {} KiB in {:?}",
        twin.peak, twin.took, hostile.peak, hostile.took
    );
    let missing = hostile.document["not_checked"].to_string();
    for name in ["etcd", "flanneld"] {
        let told = missing.matches(&format!("calls itself {name} ")).count();
        assert_eq!(told, 1, "{name}: {missing}");
    }
    let text = hostile.document.to_string();
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    let mut lines = Vec::new();
    words(&hostile.document, &mut lines);
    assert!(!lines.is_empty());
    // A shell's line, and what nft is given, hold nothing of the table's name.
    let odd = |line: &Vec<String>| {
        let taken_apart = line.iter().any(|w| w == "nft" || w == "sh");
        let named = |w: &String| w.contains("flush") || w.contains("$(id)");
        taken_apart && line.iter().any(named)
    };
    let odd: Vec<_> = lines.into_iter().filter(odd).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}
