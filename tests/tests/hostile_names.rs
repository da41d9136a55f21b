//! Every name that a stranger can write, made hostile in every recording: whatever the verdict tells
//! people to paste must run the programs and the words that are meant, and nothing else.
//!
//! `NETDIAG_HOSTILE_SEEDS` says how many ways of making the names hostile are tried (2).
#[path = "hostile_names/sentences.rs"]
mod sentences;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use netdiag_tests::{process::run, workdir::Workdir};
use serde_json::Value;

/// What is put into names. `TRAP` stands for a program that no command may start.
const PAYLOADS: [&str; 18] = [
    "$(TRAP)",
    "`TRAP`",
    "';TRAP;'",
    "\";TRAP;\"",
    ";TRAP",
    "&TRAP&",
    "|TRAP",
    " TRAP",
    "\nTRAP\n",
    "' TRAP",
    "\\';TRAP #",
    ">trap",
    "$IFS",
    "*",
    "{a,TRAP}",
    "\u{202e}TRAP",
    "\u{1b}[2JTRAP",
    "--modprobe=TRAP",
];

/// Members of a recording's objects that hold what strangers name.
const NAMES: [&str; 33] = [
    "arguments",
    "by",
    "cgroup",
    "conf",
    "container",
    "cri",
    "endpoint",
    "etcd",
    "file",
    "holders",
    "host",
    "interface",
    "limit_file",
    "line",
    "links",
    "log",
    "message",
    "name",
    "namespace",
    "network",
    "network_not_ready",
    "owner",
    "path",
    "place",
    "plugins",
    "processes",
    "proxies",
    "rule",
    "sandbox",
    "search",
    "symbols",
    "text",
    "uid",
];

fn is_name(key: &str, text: &str) -> bool {
    let number = text.bytes().all(|b| b.is_ascii_digit());
    let address = text.parse::<std::net::IpAddr>().is_ok();
    NAMES.contains(&key) && !number && !address && text.len() > 2
}

/// Every string of a document that may be a name, by the key that it stands under.
fn names(value: &Value, key: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    match value {
        Value::String(text) if is_name(key, text) => {
            found
                .entry(key.to_owned())
                .or_default()
                .insert(text.clone());
        }
        Value::Array(all) => all.iter().for_each(|one| names(one, key, found)),
        Value::Object(members) => members.iter().for_each(|(key, one)| names(one, key, found)),
        _ => {}
    }
}

fn replace(value: &mut Value, key: &str, changes: &BTreeMap<String, String>) {
    match value {
        Value::String(text) if is_name(key, text) => {
            if let Some(new) = changes.get(text) {
                new.clone_into(text);
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| replace(one, key, changes)),
        Value::Object(members) => {
            for (key, one) in members.iter_mut().filter(|(key, _)| *key != "header") {
                replace(one, key, changes);
            }
        }
        _ => {}
    }
}

/// A recording's lines (netdiag-user/crates/recording/src/block.rs).
fn lines(bytes: &[u8]) -> Vec<Value> {
    let start = bytes
        .iter()
        .position(|b| *b == b'\n')
        .expect("a first line")
        + 1;
    let (mut at, mut lines) = (start, Vec::new());
    while at + 8 <= bytes.len() {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four")) as usize;
        let packed = &bytes[at + 8..at + 8 + length];
        let text = miniz_oxide::inflate::decompress_to_vec(packed).expect("deflate");
        let parsed = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.extend(parsed.map(|line| serde_json::from_slice::<Value>(line).expect("JSON")));
        at += 8 + length;
    }
    lines
}

fn recording(lines: &[Value]) -> Vec<u8> {
    let mut bytes = b"netdiag.recording/1\n".to_vec();
    for line in lines {
        let text = serde_json::to_vec(line).expect("text");
        let packed = miniz_oxide::deflate::compress_to_vec(&text, 6);
        bytes.extend((packed.len() as u32).to_le_bytes());
        bytes.extend(crc32fast::hash(&packed).to_le_bytes());
        bytes.extend(packed);
    }
    bytes
}

/// Fills the labels of every DNS question with `payload`; their lengths stay.
fn questions(lines: &mut [Value], payload: &str) {
    let columns = lines
        .iter()
        .find_map(|l| l["header"]["columns"]["dns"].as_array().cloned());
    let columns = columns
        .and_then(|c| c.first()?.as_array().cloned())
        .unwrap_or_default();
    let first = columns.iter().position(|c| c.as_str() == Some("name.0"));
    let Some(first) = first else { return };
    for line in lines {
        let rows = line.pointer_mut("/tick/tables/dns/new");
        for row in rows.and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(cells) = row.as_array_mut() else {
                continue;
            };
            let words = cells[first..first + 8]
                .iter()
                .map(|c| c.as_u64().unwrap_or(0));
            let mut wire: Vec<u8> = words.flat_map(u64::to_be_bytes).collect();
            fill(&mut wire, payload);
            for (cell, word) in cells[first..first + 8].iter_mut().zip(wire.chunks(8)) {
                *cell = u64::from_be_bytes(word.try_into().expect("eight")).into();
            }
        }
    }
}

fn fill(wire: &mut [u8], payload: &str) {
    let mut at = 0;
    while at < wire.len() && wire[at] != 0 {
        let end = (at + 1 + usize::from(wire[at])).min(wire.len());
        let text = payload.replace("TRAP", "trap");
        for (byte, new) in wire[at + 1..end].iter_mut().zip(text.bytes().cycle()) {
            *byte = new;
        }
        at = end;
    }
}

/// Every command that a document tells to run, its words beside it.
fn commands(value: &Value, found: &mut Vec<(String, Vec<String>)>) {
    let words = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.map(|w| w.as_str().expect("a word").to_owned())
            .collect()
    };
    match value {
        Value::Array(all) => all.iter().for_each(|one| commands(one, found)),
        Value::Object(members) => {
            if let Some(line) = members.get("confirm").and_then(Value::as_str) {
                found.push((line.to_owned(), words(&members["confirm_argv"])));
            }
            for (lines, argv) in [("commands", "argv"), ("look", "look_argv")] {
                let list = |name| members.get(name).and_then(Value::as_array);
                let rows = list(lines).into_iter().flatten();
                let rows = rows.zip(list(argv).into_iter().flatten());
                let rows = rows.map(|(line, argv)| (line.as_str().expect("text"), argv));
                found.extend(rows.map(|(line, argv)| (line.to_owned(), words(argv))));
            }
            members.values().for_each(|one| commands(one, found));
        }
        _ => {}
    }
}

/// Behind the last word of a program.
const END: &str = "end-of-the-words";

/// A folder of programs that write down how they were started, and do nothing.
struct Stubs {
    folder: tempfile::TempDir,
}

impl Stubs {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
        };
        open(folder.path(), 0o755);
        fs::create_dir(folder.path().join("bin")).expect("made");
        fs::create_dir(folder.path().join("work")).expect("made");
        open(&folder.path().join("work"), 0o777);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn add(&self, program: &str) {
        let path = self.path("bin").join(program);
        if path.exists() {
            return;
        }
        let log = self.path("work").join("log");
        // In one piece: the programs of a pipeline write beside each other.
        let script = format!(
            "#!/bin/sh\nprintf '%s\\0' {program} \"$@\" '{END}' >>'{}'\n",
            log.display()
        );
        fs::write(&path, script).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    /// The programs that a shell starts for `line`, each with its words.
    fn started(&self, line: &str) -> Vec<Vec<String>> {
        let work = self.path("work");
        for entry in fs::read_dir(&work).expect("listed").flatten() {
            fs::remove_file(entry.path()).expect("removed");
        }
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", line]).current_dir(&work).env_clear();
        shell.env("PATH", self.path("bin")).uid(65534).gid(65534);
        run(&mut shell);
        let left = fs::read_dir(&work).expect("listed").flatten();
        let left: Vec<_> = left.map(|e| e.file_name()).filter(|n| n != "log").collect();
        assert!(left.is_empty(), "{line:?} made {left:?}");
        let log = fs::read(work.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let runs = log.split(END).filter(|run| run.len() > 1);
        let words = |run: &str| {
            let run = run.trim_start_matches('\0');
            run.split_terminator('\0').map(str::to_owned).collect()
        };
        runs.map(words).collect()
    }
}

/// Programs of all lines that stand before or behind an operator, in the recordings as they are.
const PROGRAMS: [&str; 36] = [
    "TRAP",
    "arping",
    "ausearch",
    "aa-status",
    "awk",
    "bpftool",
    "bridge",
    "cat",
    "conntrack",
    "crictl",
    "curl",
    "dig",
    "dmesg",
    "etcdctl",
    "ethtool",
    "grep",
    "head",
    "ip",
    "ip6tables",
    "iptables",
    "ipvsadm",
    "journalctl",
    "kubectl",
    "ls",
    "lsns",
    "modprobe",
    "ndisc6",
    "nft",
    "nsenter",
    "nstat",
    "perf",
    "ping",
    "ps",
    "rm",
    "ss",
    "sysctl",
];
const MORE: [&str; 18] = [
    "iptables-save",
    "ip6tables-save",
    "iptables-legacy",
    "ip6tables-legacy",
    "iptables-nft",
    "ip6tables-nft",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
    "iptables-nft-save",
    "ip6tables-nft-save",
    "sort",
    "ssh",
    "tail",
    "tc",
    "tcpdump",
    "timeout",
    "uniq",
    "wc",
];

fn check(stubs: &Stubs, line: &str, argv: &[String], what: &str) {
    assert!(!argv.is_empty(), "{what}: {line:?} has no words");
    let started = stubs.started(line);
    if argv[0] == "echo" {
        // The shell's own.
        assert!(started.is_empty(), "{what}: {line:?} started {started:?}");
    } else if argv[..2.min(argv.len())] == ["sh", "-c"] {
        assert_eq!(argv[2], line, "{what}");
        let own = |run: &Vec<String>| run[0] != "TRAP";
        assert!(
            started.iter().all(own),
            "{what}: {line:?} started {started:?}"
        );
        let operators = 1 + unquoted(line);
        let shells = usize::from(line.starts_with("echo"));
        let want = operators - shells;
        assert_eq!(started.len(), want, "{what}: {line:?} started {started:?}");
    } else {
        assert_eq!(started, [argv.to_vec()], "{what}: {line:?}");
    }
    options(argv, what);
}

/// `|`, `;`, `&&` and `$(` outside of single quotes; where two redirect, nothing more is started.
fn unquoted(line: &str) -> usize {
    let (mut bare, mut quote) = (String::new(), false);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' => quote = !quote,
            '\\' if !quote => drop(rest.next()),
            c if !quote => bare.push(c),
            _ => {}
        }
    }
    let count = |operator| bare.matches(operator).count();
    ["|", ";", "&&", "$("].into_iter().map(count).sum()
}

/// Words of nft's own grammar that netdiag writes as they are, with nobody's name in them.
const BLOCKS: [&str; 2] = [
    "{ policy accept; }",
    "{ type nat hook postrouting priority 100; }",
];

/// Programs that take their arguments apart again find no more in them than is meant.
fn options(argv: &[String], what: &str) {
    let at = argv
        .iter()
        .position(|w| matches!(w.as_str(), "nft" | "ssh"));
    if let Some(at) = at {
        let own = |w: &String| BLOCKS.contains(&w.as_str());
        let odd = |w: &String| w.contains(|c: char| ";`$\"\\\n#".contains(c)) && !own(w);
        assert!(!argv[at..].iter().any(odd), "{what}: {argv:?}");
    }
    let iptables = argv
        .iter()
        .any(|w| w.starts_with("iptables") || w.starts_with("ip6tables"));
    let dangerous = |w: &String| w.starts_with("--modprobe") || w == "-M";
    assert!(!iptables || !argv.iter().any(dangerous), "{what}: {argv:?}");
}

/// Replays with these names changed: the verdict as a document and as a page.
fn verdict(
    workdir: &Workdir,
    lines: &[Value],
    changes: &BTreeMap<String, String>,
) -> (Value, String) {
    let mut changed = lines.to_vec();
    changed
        .iter_mut()
        .for_each(|line| replace(line, "", changes));
    let file = workdir.put("hostile.ndr", &recording(&changed));
    let ended = workdir.replay(&[&file, "-o", "json"]);
    assert!(matches!(ended.code, Some(0 | 1 | 4)), "{ended:?}");
    let verdict = ended.json();
    let missing = verdict["not_checked"].to_string();
    assert!(!missing.contains("damaged"), "{missing}");
    let page = workdir.replay(&[&file, "-o", "wide"]);
    assert_eq!(page.code, ended.code, "{page:?}");
    (verdict, page.text())
}

#[test]
fn commands_run_the_words_that_are_meant() {
    let seeds: usize = match std::env::var("NETDIAG_HOSTILE_SEEDS") {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => 2,
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can become nobody");
        return;
    }
    let (workdir, stubs) = (Workdir::new(), Stubs::new());
    PROGRAMS
        .iter()
        .chain(&MORE)
        .chain(&["netdiag"])
        .for_each(|program| stubs.add(program));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("recordings")
        .flatten()
        .map(|e| e.path())
        .collect();
    files.sort();
    let (mut tried, mut hostile, mut told) = (0, 0, 0);
    for file in files
        .iter()
        .filter(|f| f.extension().is_some_and(|e| e == "ndr"))
    {
        let what = file.file_stem().expect("a name").to_string_lossy();
        let lines = lines(&fs::read(file).expect("read"));
        let mut found = BTreeMap::new();
        let bodies = lines.iter().filter(|l| l["header"].is_null());
        bodies.for_each(|line| names(line, "", &mut found));
        let all: BTreeSet<String> = found.into_values().flatten().collect();
        // The last time as they are.
        for seed in 0..=seeds {
            let payload = |n: usize| PAYLOADS[(n * 7 + seed * 5 + what.len()) % PAYLOADS.len()];
            let change = |(n, name): (usize, &String)| {
                // Some stay what they are: what a rule looks for must still be there.
                let new = match (n + seed) % 4 {
                    _ if seed == seeds => name.clone(),
                    0 => name.clone(),
                    1 => format!("{}{name}", payload(n)),
                    2 => format!("-{name}"),
                    _ => format!("{name}{}", payload(n)),
                };
                (name.clone(), new)
            };
            let changes = all.iter().enumerate().map(change).collect();
            let mut lines = lines.clone();
            if seed < seeds {
                questions(&mut lines, payload(seed));
            }
            let (verdict, page) = verdict(&workdir, &lines, &changes);
            let mut lines = Vec::new();
            commands(&verdict, &mut lines);
            for pasted in sentences::pasted(&page) {
                let meant = lines.iter().any(|(line, _)| line == pasted);
                assert!(meant, "{what}: {pasted:?} is on the page alone");
            }
            let mut spans = BTreeSet::new();
            sentences::of_document(&verdict, &mut spans);
            sentences::of_page(&page, &mut spans);
            told += spans.len();
            for span in spans {
                sentences::check(&stubs, &span, &what);
            }
            for (line, argv) in lines {
                check(&stubs, &line, &argv, &what);
                tried += 1;
                hostile += usize::from(line.contains('\''));
            }
        }
    }
    println!("{tried} commands, {hostile} of them with quotes, {told} in sentences");
    assert!(told >= 5, "{told} commands in sentences");
    assert!(
        tried > 100 && hostile > 20,
        "{tried} commands, {hostile} quoted"
    );
}
