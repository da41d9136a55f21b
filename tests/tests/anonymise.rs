//! `replay --anonymise`: the same causes, and none of the names and addresses.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use netdiag_tests::{desk::Desk, netdiag::sentence};
use serde_json::{Map, Value};

/// Names that every cluster has, and the one in the header of each recording.
const EVERYBODYS: [&str; 3] = ["kube-system", "default", "netdiag"];

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings");
    let files = std::fs::read_dir(folder).expect("a folder");
    let mut all: Vec<_> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read(path).expect("a recording"))
        })
        .collect();
    all.sort();
    all
}

/// The lines of a recording.
fn text(recording: &[u8]) -> String {
    let head = recording.iter().position(|b| *b == b'\n').expect("a head") + 1;
    let (mut text, mut rest) = (String::new(), &recording[head..]);
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let block = miniz_oxide::inflate::decompress_to_vec(&more[4..4 + length]);
        text += std::str::from_utf8(&block.expect("a block")).expect("text");
        rest = &more[4 + length..];
    }
    text
}

/// What names somebody, wherever it stands.
#[derive(Default)]
struct Own {
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    macs: BTreeSet<String>,
    packets: BTreeSet<String>,
}

impl Own {
    fn of(recording: &str) -> Self {
        let mut own = Self::default();
        for line in recording.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            own.value(&line["scene"], "");
            own.tick(&line["tick"]);
        }
        own.names
            .retain(|name| name.len() > 3 && !EVERYBODYS.contains(&name.as_str()));
        own
    }

    fn value(&mut self, value: &Value, of: &str) {
        match value {
            Value::String(text) => match text.parse() {
                Ok(address) => drop(self.addresses.insert(address)),
                Err(_) => self.text(text, of),
            },
            Value::Array(list) if of.starts_with("lladdr") && list.len() == 6 => {
                self.macs.insert(value.to_string());
            }
            Value::Array(list) => list.iter().for_each(|it| self.value(it, of)),
            Value::Object(members) => self.members(members),
            _ => {}
        }
    }

    fn members(&mut self, members: &Map<String, Value>) {
        // A pod, and what was set up for one.
        if let (Some(namespace), Some(name)) = (members.get("namespace"), members.get("name")) {
            for text in [namespace, name].into_iter().filter_map(Value::as_str) {
                self.names.insert(text.to_owned());
            }
        }
        // A node's own name.
        if let (Some(name), true) = (members.get("name"), members.contains_key("kernel")) {
            self.value(name, "node");
        }
        members
            .iter()
            .for_each(|(name, value)| self.value(value, name));
    }

    fn text(&mut self, text: &str, of: &str) {
        match of {
            "uid" | "sandbox" | "container" | "node" => drop(self.names.insert(text.to_owned())),
            // Processes, by their number.
            "owner" | "processes" => {
                let name = text.split('[').next().unwrap_or(text);
                self.names.insert(name.to_owned());
            }
            _ => {}
        }
    }

    /// Addresses of flows as the tables have them, names that were asked for, and packets.
    fn tick(&mut self, tick: &Value) {
        for rows in ["flows", "drops"] {
            let new = tick["tables"][rows]["new"].as_array();
            for row in new.into_iter().flatten() {
                for at in [0, 2] {
                    let half = |at: usize| u128::from(row[at].as_u64().expect("a half"));
                    self.addresses.insert(
                        std::net::Ipv6Addr::from(half(at) << 64 | half(at + 1)).to_canonical(),
                    );
                }
            }
        }
        for row in tick["tables"]["dns"]["new"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let words = (4..12).map(|at| row[at].as_u64().expect("a word").to_be_bytes());
            self.labels(&words.collect::<Vec<_>>().concat());
        }
        for sample in tick["samples"].as_array().into_iter().flatten() {
            let packet = sample["packet"].as_str().expect("a packet");
            // What a packet carries begins behind all headers that stay.
            self.packets.extend(
                packet
                    .get(120..)
                    .filter(|it| it.len() > 16)
                    .map(str::to_owned),
            );
        }
    }

    fn labels(&mut self, mut wire: &[u8]) {
        while let Some((length, rest)) = wire.split_first().filter(|(length, _)| **length > 0) {
            let length = usize::from(*length).min(rest.len());
            let label = String::from_utf8_lossy(&rest[..length]).into_owned();
            let usual = [
                "cluster",
                "local",
                "svc",
                "kubernetes",
                "arpa",
                "ip6",
                "in-addr",
                "istiod",
                "istio-system",
            ];
            if !usual.contains(&label.as_str()) {
                self.names.insert(label);
            }
            wire = &rest[length..];
        }
    }
}

/// It stands in the text as a word of its own, or it is long enough to be nothing else.
fn has(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        let alone = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
        name.len() >= 12 || alone(before) && alone(after)
    })
}

/// Addresses that name nobody, and the ranges that everybody uses.
fn is_nobodys(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let ranges = [
                [10, 0, 0, 0],
                [172, 16, 0, 0],
                [192, 168, 0, 0],
                [100, 64, 0, 0],
            ];
            v4.is_loopback()
                || v4.is_link_local()
                || v4.octets()[0] == 0
                || v4.octets()[0] >= 224
                || ranges.contains(&v4.octets())
        }
        IpAddr::V6(v6) => {
            v6.segments()[..6] == [0; 6]
                || v6.is_multicast()
                || *v6 == "fe80::".parse::<std::net::Ipv6Addr>().expect("one")
        }
    }
}

/// Cause, how bad it is, and what it follows from.
fn causes(verdict: &Value) -> BTreeMap<String, (String, String)> {
    let findings = verdict["findings"].as_array().expect("findings").iter();
    let told = findings.map(|it| {
        let of = |member: &str| it[member].to_string();
        (of("cause"), (of("severity"), of("consequence_of")))
    });
    told.collect()
}

/// A folder in which whoever replays may write.
fn writable(desk: &Desk) -> PathBuf {
    let folder = desk.path("out");
    std::fs::create_dir(&folder).expect("made");
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&folder, mode).expect("set");
    folder
}

#[test]
fn causes_stay_and_names_go() {
    let desk = Desk::new();
    let folder = writable(&desk);
    let mut wrong = Vec::new();
    for (name, bytes) in fixtures() {
        let old = desk.put(&format!("{name}.ndr"), &bytes);
        let new = folder.join("new.ndr").display().to_string();
        let ended = desk.replay(&[&old, "--anonymise", &new]);
        assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
        if !ended.stderr.is_empty() {
            wrong.push(format!("{name}: {}", ended.stderr.join(" ")));
        }
        let verdict = |file: &str| desk.replay(&[file, "-o", "json"]);
        let (before, after) = (verdict(&old), verdict(&new));
        if (before.code, causes(&before.json())) != (after.code, causes(&after.json())) {
            let (before, after) = (causes(&before.json()), causes(&after.json()));
            wrong.push(format!("{name}: {before:?} became {after:?}"));
        }
        let anonymous = text(&std::fs::read(&new).expect("written"));
        let own = Own::of(&text(&bytes));
        assert!(!own.addresses.is_empty(), "{name}");
        let addresses = own.addresses.iter().filter(|it| !is_nobodys(it));
        // As text, and as the tables have it.
        let forms = |it: &IpAddr| match it {
            IpAddr::V4(v4) => vec![
                it.to_string(),
                (0xffff << 32 | u64::from(u32::from(*v4))).to_string(),
            ],
            IpAddr::V6(_) => vec![it.to_string()],
        };
        let all = own.names.iter().cloned().chain(addresses.flat_map(forms));
        let all = all.chain(own.macs).chain(own.packets);
        let left: Vec<String> = all
            .filter(|it| !is_zero(it) && has(&anonymous, it))
            .collect();
        if !left.is_empty() {
            wrong.push(format!("{name} still says {left:?}"));
        }
        std::fs::remove_file(&new).expect("removed");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Link-layer addresses of everybody.
fn is_zero(mac: &str) -> bool {
    mac.starts_with("[0,0,0,0")
        || mac.starts_with("[255,")
        || mac.starts_with("[51,51,0")
        || mac.starts_with("[1,0,94")
}

#[test]
fn what_cannot_be_anonymised_is_told() {
    let desk = Desk::new();
    let (_, bytes) = fixtures().swap_remove(0);
    let file = desk.put("a.ndr", &bytes);
    let out = desk.path("b.ndr").display().to_string();
    let itself = desk.replay(&[&file, "--anonymise", &file]);
    assert_eq!(itself.code, Some(2), "{itself:?}");
    assert!(sentence(&itself).contains("itself"));
    assert_eq!(std::fs::read(&file).expect("there"), bytes);
    let two = desk.replay(&[&file, &file, "--anonymise", &out]);
    assert_eq!(two.code, Some(2), "{two:?}");
    let missing = desk.replay(&["/nowhere.ndr", "--anonymise", &out]);
    assert_eq!(missing.code, Some(3), "{missing:?}");
    let cut = desk.put("cut.ndr", &bytes[..bytes.len() - 9]);
    let out = writable(&desk).join("c.ndr").display().to_string();
    let cut = desk.replay(&[&cut, "--anonymise", &out]);
    assert_eq!(cut.code, Some(0), "{cut:?}");
    let again = desk.replay(&[&out, "-o", "json"]);
    assert!(
        again.text().contains("the rest of the recording"),
        "{again:?}"
    );
}
