//! Recordings that ask for more than any node has: refused in a sentence, soon, and at a bounded
//! cost. Each is what somebody could attach to a ticket.
use std::{
    fmt::Write,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use netdiag_tests::{
    netdiag::{binary, sentence},
    process::{Ended, run},
    workdir::Workdir,
};

/// What a process may map.
const ADDRESS_SPACE_KB: u32 = 512 << 10;
/// What it may write to, stacks and all: what a recording may cost.
const MOST_KB: u32 = 256 << 10;
/// Within seconds, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(90);

const HEADER: &str = r#"{"header":{"netdiag":"0.1.0","columns":{"flows":[["flow.source_port"],["packets"]],"drops":[["location"],["packets"]]}}}"#;

/// A recording of these blocks.
fn recording(blocks: &[String]) -> Vec<u8> {
    of_blocks(blocks, 6)
}

/// The same, not packed: nothing of it unpacks to more than a real one does.
fn plain(blocks: &[String]) -> Vec<u8> {
    of_blocks(blocks, 0)
}

fn of_blocks(blocks: &[String], level: u8) -> Vec<u8> {
    let mut bytes = b"netdiag.recording/1\n".to_vec();
    for text in blocks {
        let packed = miniz_oxide::deflate::compress_to_vec(text.as_bytes(), level);
        let length = u32::try_from(packed.len()).expect("small");
        bytes.extend(length.to_le_bytes());
        bytes.extend(crc32fast::hash(&packed).to_le_bytes());
        bytes.extend(packed);
    }
    bytes
}

fn tick(now: usize, rest: &str) -> String {
    format!("{{\"tick\":{{\"now\":{now}{rest}}}}}\n")
}

/// Text that unpacks to no more than a real recording's does.
fn noise(length: usize) -> String {
    let mut state = 1_u64;
    let mut text = String::new();
    while text.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let _ = write!(text, "{:x}", state >> 16);
    }
    text
}

/// `netdiag replay FILE` with little to take from.
fn replay(workdir: &Workdir, name: &str, bytes: &[u8], arguments: &[&str]) -> Ended {
    let file = workdir.put(name, bytes);
    let limited =
        format!("ulimit -v {ADDRESS_SPACE_KB} && ulimit -d {MOST_KB} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited]).arg(binary());
    command.args(["replay", &file]).args(arguments);
    for variable in ["NODE_NAME", "NETDIAG_LOG", "RUST_BACKTRACE"] {
        command.env_remove(variable);
    }
    let begun = Instant::now();
    let ended = run(&mut command);
    let taken = begun.elapsed();
    eprintln!("{name}: {} bytes, {taken:?}", bytes.len());
    assert!(taken < SOON, "{name}: {taken:?}");
    ended
}

fn refused(workdir: &Workdir, name: &str, blocks: &[String], word: &str) {
    refused_bytes(workdir, name, &recording(blocks), word);
}

fn refused_bytes(workdir: &Workdir, name: &str, bytes: &[u8], word: &str) {
    for format in ["json", "ndjson"] {
        let ended = replay(workdir, name, bytes, &["-o", format]);
        let said = sentence(&ended);
        assert_eq!(ended.code, Some(3), "{name}: {ended:?}");
        assert!(said.contains(name) && said.contains(word), "{name}: {said}");
        assert!(said.len() < 300, "{name}: {said}");
    }
}

/// The first lines of a recording that is good so far.
fn begun(rest: &str) -> String {
    format!("{HEADER}\n{rest}")
}

#[test]
fn what_unpacks_to_much_is_refused() {
    let workdir = Workdir::new();
    let many = |what: &str, bytes: usize| what.repeat(bytes / what.len());
    let rows = many("[],", 32 << 20);
    let rows = format!(",\"tables\":{{\"flows\":{{\"new\":[{rows}[]]}}}}");
    refused(&workdir, "rows.ndr", &[begun(&tick(1, &rows))], "unpacks");
    let scene = many("{},", 32 << 20);
    let scene = format!("{{\"scene\":{{\"pods\":{{\"new\":[{scene}{{}}]}}}}}}\n");
    refused(&workdir, "scene.ndr", &[begun(&scene)], "unpacks");
    let lines = many("{}\n", 32 << 20);
    refused(&workdir, "lines.ndr", &[begun(&lines)], "unpacks");
}

#[test]
fn names_of_any_length_are_refused() {
    let workdir = Workdir::new();
    let name = noise(1 << 20);
    let symbols = |n: usize| tick(n, &format!(",\"symbols\":[[{n},\"{name}\"]]"));
    let blocks: Vec<String> = (1..4).map(symbols).collect();
    refused(
        &workdir,
        "symbols.ndr",
        &[vec![begun("")], blocks].concat(),
        "name",
    );
}

#[test]
fn time_that_stands_still_is_refused() {
    let workdir = Workdir::new();
    let empty = tick(1, "").repeat(4_000);
    let blocks = vec![empty; 250];
    refused(
        &workdir,
        "ticks.ndr",
        &[vec![begun("")], blocks].concat(),
        "time",
    );
}

/// The same, in blocks that unpack as real ones do.
#[test]
fn what_grows_slowly_is_refused_too() {
    let workdir = Workdir::new();
    let block = |what: &str| what.repeat((240 << 10) / what.len());
    let rows = block("[],");
    let rows = |n| {
        tick(
            n,
            &format!(",\"tables\":{{\"flows\":{{\"new\":[{rows}[]]}}}}"),
        )
    };
    let rows: Vec<String> = (1..100).map(rows).collect();
    refused_bytes(
        &workdir,
        "slow-rows.ndr",
        &plain(&[vec![begun("")], rows].concat()),
        "rows",
    );

    let pods = block("{},");
    let first = format!("{HEADER}\n{{\"scene\":{{\"pods\":{{\"new\":[]}}}}}}\n");
    let pods = |n| {
        let line = format!("{{\"scene\":{{\"pods\":{{\"list\":[999999,[],[{pods}{{}}]]}}}}}}\n");
        line + &tick(n, "")
    };
    let pods: Vec<String> = (1..100).map(pods).collect();
    refused_bytes(
        &workdir,
        "slow-scene.ndr",
        &plain(&[vec![first + &tick(0, "")], pods].concat()),
        "larger",
    );

    let labels = |n: usize| {
        let all: Vec<String> = (0..240_000)
            .map(|at| format!("\"{n}-{at}\":\"\""))
            .collect();
        let pod = format!("{{\"labels\":{{{}}}}}", all.join(","));
        let line = format!("{{\"scene\":{{\"pods\":{{\"list\":[999999,[],[{pod}]]}}}}}}\n");
        line + &tick(n, "")
    };
    let first = format!(
        "{HEADER}\n{{\"scene\":{{\"pods\":{{\"new\":[]}}}}}}\n{}",
        tick(0, "")
    );
    let labels: Vec<String> = (1..6).map(labels).collect();
    refused_bytes(
        &workdir,
        "slow-labels.ndr",
        &plain(&[vec![first], labels].concat()),
        "larger",
    );

    let lines = block("{}\n");
    refused(&workdir, "slow-lines.ndr", &[begun(&lines)], "lines");

    let deep = format!(
        "{{\"scene\":{{\"x\":{{\"new\":{}{}}}}}}}\n",
        "[".repeat(9_000),
        "]".repeat(9_000)
    );
    refused(&workdir, "deep.ndr", &[begun(&deep)], "deep");

    let symbols = |n: usize| {
        let some: Vec<String> = (0..200)
            .map(|at| format!("[{},\"{}{at}\"]", n * 200 + at, noise(500)))
            .collect();
        tick(n, &format!(",\"symbols\":[{}]", some.join(",")))
    };
    let symbols: Vec<String> = (1..60).map(symbols).collect();
    refused_bytes(
        &workdir,
        "slow-symbols.ndr",
        &plain(&[vec![begun("")], symbols].concat()),
        "kernel functions",
    );
}

/// Whoever plays it looks at the time at each reading: what comes between two of them is little.
#[test]
fn what_comes_without_a_reading_is_refused() {
    let workdir = Workdir::new();
    let pods = "{},".repeat(10_000);
    let first = format!("{HEADER}\n{{\"scene\":{{\"pods\":{{\"new\":[{pods}{{}}]}}}}}}\n");
    let same = "{\"scene\":{\"pods\":{\"list\":[999999,[],[]]}}}\n".repeat(1_000);
    refused(
        &workdir,
        "scenes.ndr",
        &[first + &same],
        "twice before a reading",
    );

    let later = "{\"n\":[[[]]]}\n".repeat(4_000);
    refused(&workdir, "later.ndr", &[begun(&later)], "before a reading");
}

/// What a link is depends on all others: the time would go by the square of their number.
#[test]
fn links_without_end_are_refused() {
    let workdir = Workdir::new();
    let link = |n| {
        format!(
            "{{\"index\":{n},\"name\":\"\",\"kind\":\"Veth\",\"mtu\":1,\"up\":true,\"ethernet\":true,\
             \"peer_elsewhere\":false,\"addresses\":[]}}"
        )
    };
    let links: Vec<String> = (0..60_000).map(link).collect();
    let node = format!(
        "{{\"name\":\"\",\"kernel\":\"\",\"netns\":1,\"routes\":[],\"neighbours\":[],\"fdb\":[],\
         \"pod_sides\":[],\"sysctls\":[],\"known_as\":[],\"links\":[{}]}}",
        links.join(",")
    );
    let scene = format!("{{\"scene\":{{\"node\":{{\"new\":{node}}}}}}}\n");
    refused(
        &workdir,
        "links.ndr",
        &[begun(&scene) + &tick(1, "")],
        "links",
    );
}

/// A pod with a million addresses takes no more than they do: it is judged.
#[test]
fn addresses_of_pods_take_little() {
    let workdir = Workdir::new();
    let address = |n: u32| format!("\"::{:x}:{:x}\"", n >> 16, n & 0xffff);
    let all: Vec<String> = (0..1_300_000).map(address).collect();
    let pod = format!("{{\"addresses\":[{}]}}", all.join(","));
    let scene = format!("{{\"scene\":{{\"pods\":{{\"new\":[{pod}]}}}}}}\n");
    let end = "{\"end\":true}\n";
    let bytes = plain(&[begun(&scene) + &tick(1, "") + end]);
    let ended = replay(&workdir, "addresses.ndr", &bytes, &["-o", "json"]);
    assert!(ended.stderr.is_empty(), "{:?}", ended.stderr);
}

/// Each block by itself unpacks to no more than a small one may.
#[test]
fn small_blocks_unpack_to_no_more_than_large_ones() {
    let workdir = Workdir::new();
    let spaces = format!("{{\"n\":\"{}\"}}\n", " ".repeat(200 << 10));
    refused(&workdir, "spaces.ndr", &vec![spaces; 100], "unpacks");
}

#[test]
fn columns_without_end_are_refused() {
    let workdir = Workdir::new();
    let header = |columns: &[String]| {
        let columns = columns.join("\",\"");
        format!(
            "{{\"header\":{{\"columns\":{{\"flows\":[[],[\"{columns}\"]]}}}}}}\n{}",
            tick(1, "")
        )
    };
    let many: Vec<String> = (0..1_000).map(|n| format!("column{n}")).collect();
    refused(&workdir, "columns.ndr", &[header(&many)], "columns");
    refused(
        &workdir,
        "twice.ndr",
        &[header(&["packets".into(), "packets".into()])],
        "twice",
    );
    let huge: Vec<String> = (0..20_000).map(|n| format!("column{n}")).collect();
    refused(&workdir, "header.ndr", &[header(&huge)], "header");
    refused(&workdir, "headers.ndr", &[begun(HEADER)], "two headers");
}

/// Real ones are judged with as little.
#[test]
fn recordings_of_nodes_are_judged() {
    let workdir = Workdir::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings");
    for name in ["port-exhaustion", "dns-unreachable", "healthy.worker-1"] {
        let bytes = std::fs::read(folder.join(format!("{name}.ndr"))).expect("a recording");
        let ended = replay(&workdir, &format!("{name}.ndr"), &bytes, &["-o", "json"]);
        assert!(ended.stderr.is_empty(), "{ended:?}");
        assert!(matches!(ended.code, Some(0 | 1)), "{ended:?}");
    }
}
