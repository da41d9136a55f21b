//! Recordings that somebody has changed: whatever they say is stood, in bounded time.
//!
//! NETDIAG_MUTATIONS says how many are tried, NETDIAG_MUTATIONS_FROM where to go on.
#![expect(clippy::disallowed_methods, reason = "files of the test's own")]
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    block::{BlockReader, BlockWriter},
    merge::merged,
    patch::diff,
    reader::Replay,
};
use crate::{
    diagnosis::diagnoser::Diagnoser,
    output::{self, Format, Sink},
    pipeline::samples::samples,
};

/// One after the other is enough for every run of the tests.
const USUAL: u64 = 1_000;
/// A recording of a few readings that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(30);
/// Readings that are kept of each: most of a case's time goes into judging them.
const READINGS: usize = 2;
/// Samples and names of kernel functions that are kept: they are most of a recording's text.
const SAMPLES: usize = 64;
/// What they are made of.
const SOURCES: [&str; 8] = [
    "cni-add-failing",
    "conntrack-full",
    "dns-misconfigured",
    "etcd-nospace",
    "ipam-range-full",
    "service-stale-endpoint",
    "sidecar-blocked",
    "vxlan-source-mismatch.worker-2",
];

/// Whatever is read goes to the causes: it may be nonsense, and they must stand it. Tells how many
/// readings there were.
pub fn judge(bytes: &[u8]) -> usize {
    let Ok(mut replay) = Replay::from(bytes) else {
        return 0;
    };
    let (mut judge, mut readings, mut last) = (Diagnoser::default(), 0, None);
    while let Some(observation) = replay.tick() {
        readings += 1;
        judge.events(&replay.scene, &observation);
        samples(&replay.scene, &observation);
        last = Some(observation);
    }
    if let Some(last) = last {
        judge.closing(&replay.scene, &last);
        let verdict = judge.verdict(&replay.scene, &last);
        let ways = Diagnoser::ways(&replay.scene, &last, &verdict.findings);
        let outputs = [
            (Sink::screen(80), Format::Table),
            (Sink::memory(80), Format::Table),
            (Sink::memory(80), Format::Json),
        ];
        for (mut sink, format) in outputs {
            output::verdict(&mut sink, &verdict, &ways, format).expect("printed");
        }
    }
    readings
}

/// SplitMix64: the same cases every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len())]
    }
}

/// The lines of a recording up to its first readings, and what each scene's line gathers later.
fn lines(name: &str) -> Vec<Vec<u8>> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/tests/fixtures/recordings");
    let bytes = std::fs::read(folder.join(format!("{name}.ndr"))).expect("a recording");
    let mut blocks = BlockReader::open(bytes.as_slice()).expect("a recording");
    let mut all: Vec<Vec<u8>> = Vec::new();
    while let Ok(Some(text)) = blocks.next() {
        all.extend(text.split(|b| *b == b'\n').map(<[u8]>::to_vec));
    }
    all.retain(|line| !line.is_empty());
    // The last readings have the most to judge; those before are needed to understand them.
    let is_reading = |line: &[u8]| line.starts_with(b"{\"tick\"");
    let readings = all.iter().filter(|line| is_reading(line)).count();
    let mut number = 0;
    for line in &mut all {
        if is_reading(line) {
            number += 1;
            if number + READINGS <= readings {
                // Its rows come with the next one.
                *line = [b"#", line.as_slice()].concat();
            }
        }
    }
    all
}

/// The same with fewer readings: the tables of those that are not to be judged stand in the first
/// one that is, and what changed of the scene until then in one line before it.
fn short(name: &str) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut held: Vec<Value> = Vec::new();
    let (mut first, mut scene) = (Texts::new(), Texts::new());
    for line in lines(name) {
        if let Some(line) = line.strip_prefix(b"#") {
            held.push(serde_json::from_slice(line).expect("JSON"));
            if held.len() == 1 {
                let now = &held[0]["tick"]["now"];
                out.push(json!({ "tick": { "now": now } }).to_string().into_bytes());
                first = scene.clone();
            }
        } else if line.starts_with(b"{\"scene\"") {
            change(&mut scene, &line);
            if held.is_empty() {
                out.push(line);
            }
        } else if line.starts_with(b"{\"tick\"") && !held.is_empty() {
            out.extend(changed(&first, &scene));
            held.push(serde_json::from_slice(&line).expect("JSON"));
            out.push(joined(&std::mem::take(&mut held)).to_string().into_bytes());
        } else {
            out.push(line);
        }
    }
    out
}

/// The parts of a scene.
type Texts = BTreeMap<String, String>;

fn change(scene: &mut Texts, line: &[u8]) {
    let line: Value = serde_json::from_slice(line).expect("JSON");
    for (name, change) in line["scene"].as_object().expect("parts") {
        let old = scene.get(name).map_or("null", String::as_str);
        let text = merged(old, &change.to_string()).expect("it fits");
        if name == "node" && !scene.contains_key("start") {
            scene.insert("start".into(), text.clone());
        }
        scene.insert(name.clone(), text);
    }
}

/// The line that says what changed.
fn changed(from: &Texts, to: &Texts) -> Option<Vec<u8>> {
    let value = |text: Option<&String>| -> Value {
        text.map_or(Value::Null, |it| it.parse().expect("JSON"))
    };
    let parts = to.iter().filter_map(|(name, new)| {
        let patch = diff(&value(from.get(name)), &value(Some(new)))?;
        Some((name.clone(), serde_json::to_value(&patch).expect("JSON")))
    });
    let parts: serde_json::Map<String, Value> = parts.collect();
    (!parts.is_empty()).then(|| json!({ "scene": parts }).to_string().into_bytes())
}

/// One reading that says what several say one after the other.
fn joined(readings: &[Value]) -> Value {
    let mut last = readings.last().cloned().expect("some");
    for list in ["symbols", "samples"] {
        let all = readings
            .iter()
            .flat_map(|r| r["tick"][list].as_array().cloned().unwrap_or_default());
        let all: Vec<Value> = all.collect();
        // Else most cases would change a sample, and few a row or a scene.
        let few = all.len().saturating_sub(SAMPLES);
        last["tick"][list] = all[few..].into();
    }
    let mut tables = serde_json::Map::new();
    for (name, changes) in readings
        .iter()
        .flat_map(|r| r["tick"]["tables"].as_object().cloned().unwrap_or_default())
    {
        let to = tables
            .entry(name)
            .or_insert_with(|| json!({ "new": [], "rows": [], "gone": [] }));
        for list in ["new", "gone"] {
            let more = changes[list].as_array().cloned().unwrap_or_default();
            to[list].as_array_mut().expect("a list").extend(more);
        }
        for row in changes["rows"].as_array().into_iter().flatten() {
            gain(to["rows"].as_array_mut().expect("a list"), row);
        }
    }
    last["tick"]["tables"] = tables.into();
    last
}

fn gain(rows: &mut Vec<Value>, row: &Value) {
    let cells = |row: &Value| -> Vec<i64> {
        let cells = row.as_array().expect("a row").iter();
        cells.map(|cell| cell.as_i64().expect("a number")).collect()
    };
    let new = cells(row);
    let Some(old) = rows.iter_mut().find(|it| it[0] == new[0]) else {
        rows.push(row.clone());
        return;
    };
    let mut sum = cells(old);
    for pair in new[1..].chunks_exact(2) {
        let same = (1..sum.len()).step_by(2).find(|at| sum[*at] == pair[0]);
        match same {
            Some(at) => sum[at + 1] = sum[at + 1].wrapping_add(pair[1]),
            None => sum.extend(pair),
        }
    }
    *old = sum.into();
}

/// The same, not packed: packing takes as long as all that is to be tried.
fn stored(lines: &[Vec<u8>]) -> Vec<u8> {
    let text = lines.join(&b'\n');
    let mut parts = text.chunks(usize::from(u16::MAX)).peekable();
    let mut stored = Vec::with_capacity(text.len() + 100);
    while let Some(part) = parts.next() {
        // RFC 1951 3.2.4
        let length = part.len() as u16;
        stored.push(u8::from(parts.peek().is_none()));
        stored.extend(length.to_le_bytes());
        stored.extend((!length).to_le_bytes());
        stored.extend(part);
    }
    let length = u32::try_from(stored.len()).expect("small");
    let mut bytes = b"netdiag.recording/1\n".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(crc32fast::hash(&stored).to_le_bytes());
    bytes.extend(stored);
    bytes
}

fn packed(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut blocks = BlockWriter::begin(&mut bytes).expect("begun");
    let _ = blocks.put(&lines.join(&b'\n'));
    bytes
}

/// Numbers at which differences, sums and indexes go wrong; the largest of all is no i64.
const NUMBERS: [i64; 18] = [
    -1,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
    0,
    1,
    3,
    2,
    7,
    64,
    255,
    1 << 16,
    (1 << 31) - 1,
    1 << 32,
    1 << 53,
    1 << 48,
    (1 << 48) - 1,
    1_000_000_000,
];
const TEXTS: [&str; 9] = [
    "",
    "\u{0}\u{1b}[31m\u{202e}",
    "$(id)",
    "-",
    "[",
    "a/b/c",
    "é[]",
    ".....",
    "999999999999999999999",
];
const ADDRESSES: [&str; 8] = [
    "0.0.0.0",
    "::",
    "255.255.255.255",
    "fe80::1",
    "10.244.20.23",
    "127.0.0.1",
    "ff02::1",
    "::ffff:10.0.0.1",
];

/// Changes something somewhere in it.
fn mutate(value: &mut Value, random: &mut Random) {
    match value {
        Value::Array(list) if !list.is_empty() && random.below(8) > 0 => {
            let at = random.below(list.len());
            match random.below(12) {
                0 => drop(list.remove(at)),
                1 => list.insert(at, list[at].clone()),
                2 => list.truncate(at),
                3 => {
                    let other = random.below(list.len());
                    list.swap(at, other);
                }
                _ => mutate(&mut list[at], random),
            }
        }
        Value::Object(members) if !members.is_empty() && random.below(8) > 0 => {
            let at = random.below(members.len());
            let name = members.keys().nth(at).cloned().expect("there");
            match random.below(12) {
                0 => drop(members.remove(&name)),
                1 => {
                    let other = members.values().nth(random.below(members.len())).cloned();
                    members.insert(name, other.expect("there"));
                }
                _ => mutate(&mut members[&name], random),
            }
        }
        value => *value = another(value, random),
    }
}

/// Mostly of the same kind: what does not fit ends the reading before any rule sees it.
fn another(value: &Value, random: &mut Random) -> Value {
    if random.below(16) == 0 {
        return match random.below(4) {
            0 => Value::Null,
            1 => Vec::<Value>::new().into(),
            2 => (*random.of(&TEXTS)).into(),
            _ => any_number(random),
        };
    }
    match value {
        Value::Number(old) => match old.as_u64() {
            Some(old) => count_like(old, random),
            None => gain_like(old.as_i64().unwrap_or(0), random),
        },
        Value::String(old) => text_like(old, random),
        Value::Bool(old) => (!old).into(),
        Value::Null => 1.into(),
        Value::Array(_) => Vec::<Value>::new().into(),
        Value::Object(_) => Value::Object(serde_json::Map::default()),
    }
}

fn any_number(random: &mut Random) -> Value {
    match random.below(NUMBERS.len() + 1) {
        0 => u64::MAX.into(),
        _ => (*random.of(&NUMBERS)).into(),
    }
}

fn count_like(old: u64, random: &mut Random) -> Value {
    let bits = 8 << random.below(4);
    match random.below(6) {
        0 => 0.into(),
        1 => old.wrapping_add(1).into(),
        2 => old.saturating_sub(1).into(),
        3 => (old ^ 1 << random.below(bits)).into(),
        4 => (u64::MAX >> (64 - bits)).into(),
        _ => any_number(random),
    }
}

/// Only differences are below zero.
fn gain_like(old: i64, random: &mut Random) -> Value {
    match random.below(3) {
        0 => old.wrapping_neg().into(),
        1 => old.wrapping_sub(1).into(),
        _ => any_number(random),
    }
}

fn text_like(old: &str, random: &mut Random) -> Value {
    if old.parse::<std::net::IpAddr>().is_ok() {
        return (*random.of(&ADDRESSES)).into();
    }
    match random.below(4) {
        // A variant's name mostly: another one would be no text of its kind.
        _ if old.starts_with(char::is_uppercase) => old.into(),
        0 => old.chars().rev().collect::<String>().into(),
        1 => old.repeat(20).into(),
        _ => (*random.of(&TEXTS)).into(),
    }
}

/// One case, told by its number alone.
fn case(sources: &[Vec<Vec<u8>>], number: u64) -> Vec<u8> {
    let mut random = Random(number);
    let mut lines = random.of(sources).clone();
    let kind = random.below(16);
    for _ in 0..=random.below(3) {
        let at = random.below(lines.len());
        match kind {
            0 => drop(lines.remove(at)),
            1 => {
                let other = random.below(lines.len());
                lines.swap(at, other);
            }
            2 | 3 => {
                let line = &mut lines[at];
                let place = random.below(line.len());
                line[place] = *random.of(b"0123456789[]{},-\":eE.\\u\x00\xff");
            }
            _ => {
                let Ok(mut value) = serde_json::from_slice(&lines[at]) else {
                    continue;
                };
                for _ in 0..=random.below(3) {
                    mutate(&mut value, &mut random);
                }
                lines[at] = value.to_string().into_bytes();
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    if kind != 4 {
        return stored(&lines);
    }
    let mut bytes = packed(&lines);
    let at = random.below(bytes.len());
    match random.below(3) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << random.below(8),
        _ => bytes.insert(at, 0xff),
    }
    bytes
}

/// Says which case it was.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with NETDIAG_MUTATIONS_FROM={}", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

#[test]
fn whatever_was_changed_is_stood() {
    let sources: Vec<_> = SOURCES.iter().map(|name| short(name)).collect();
    for source in &sources {
        assert!(
            judge(&stored(source)) >= READINGS,
            "as they are they are read"
        );
    }
    let from = number("NETDIAG_MUTATIONS_FROM").unwrap_or(0);
    let count = number("NETDIAG_MUTATIONS").unwrap_or(USUAL);
    let mut readings = 0;
    for number in from..from + count {
        let _told = Told(number);
        let bytes = case(&sources, number);
        let begun = Instant::now();
        readings += judge(&bytes);
        let taken = begun.elapsed();
        assert!(taken < LONGEST, "it took {taken:?}");
    }
    // Most of them must get as far as the rules.
    assert!(readings as u64 > count / 2, "{readings} readings");
}
