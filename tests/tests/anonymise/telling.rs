//! Recordings in which everything has a telling name.
use std::{collections::BTreeMap, net::IpAddr};

use serde_json::Value;

use super::own::Own;

/// Members whose texts people, or what they run, have named.
const NAMES: [&str; 20] = [
    "container",
    "holders",
    "host",
    "interface",
    "labels",
    "links",
    "name",
    "namespace",
    "network",
    "node",
    "owner",
    "pod",
    "process",
    "processes",
    "proxies",
    "sandbox",
    "search",
    "selector",
    "table",
    "uid",
];
/// Members whose texts say something in words.
const TEXTS: [&str; 14] = [
    "answer",
    "by",
    "chain",
    "conf",
    "endpoint",
    "file",
    "line",
    "log",
    "message",
    "network_not_ready",
    "place",
    "rule",
    "text",
    "why",
];

/// The same with other names, and with its addresses in its texts in odd forms.
pub fn renamed(recording: &[u8]) -> Vec<u8> {
    let said = super::text(recording);
    let mut rename = Rename {
        names: BTreeMap::new(),
        odd: odd(&Own::of(&said)),
    };
    let mut out = b"netdiag.recording/1\n".to_vec();
    for line in said.lines() {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        for part in ["scene", "tick"] {
            if let Some(part) = line.get_mut(part) {
                rename.value(part, "");
            }
        }
        let packed = miniz_oxide::deflate::compress_to_vec(format!("{line}\n").as_bytes(), 6);
        out.extend((packed.len() as u32).to_le_bytes());
        out.extend(crc32fast::hash(&packed).to_le_bytes());
        out.extend(packed);
    }
    out
}

/// Some of the recording's own addresses as nobody should write them.
fn odd(own: &Own) -> String {
    let v4 = own.addresses.iter().filter_map(|it| match it {
        IpAddr::V4(v4) if !super::is_nobodys(it) => Some(v4.octets()),
        _ => None,
    });
    let forms = v4.take(3).map(|[a, b, c, d]| {
        let number = u32::from_be_bytes([a, b, c, d]);
        format!(
            "v{a}.{b}.{c}.{d} {a}_{b}_{c}_{d} {a:03}.{b:03}.{c:03}.{d:03} x.{a}.{b}.{c}.{d} \
             ip-{a}-{b}-{c}-{d} {number} 0x{number:08x} {d}.{c}.{b}.{a}.in-addr.arpa"
        )
    });
    let macs = own.macs.iter().take(2).map(|mac| {
        let mac: Vec<u8> = serde_json::from_str(mac).expect("bytes");
        let pairs: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let all = pairs.concat();
        let [one, two, three] = [&all[..4], &all[4..8], &all[8..]];
        format!("{} {one}.{two}.{three} {all}", pairs.join("-"))
    });
    let all: Vec<String> = forms.chain(macs).collect();
    format!(" for acme-payroll@acme.example at {}", all.join(" "))
}

struct Rename {
    names: BTreeMap<String, String>,
    odd: String,
}

impl Rename {
    fn value(&mut self, value: &mut Value, of: &str) {
        match value {
            Value::String(text) if text.parse::<IpAddr>().is_ok() => {}
            Value::String(text) if NAMES.contains(&of) && text.len() > 2 => {
                let next = self.names.len();
                let new = || format!("acme{next}-payroll.{}", (b'a' + (next % 26) as u8) as char);
                *text = self.names.entry(text.clone()).or_insert_with(new).clone();
            }
            Value::String(text) if TEXTS.contains(&of) => text.push_str(&self.odd),
            Value::Array(list) => list.iter_mut().for_each(|it| self.value(it, of)),
            Value::Object(members) => {
                for (member, value) in members {
                    // A change of a list or an object is of what it is a change of.
                    let of = if ["new", "list", "object"].contains(&member.as_str()) {
                        of
                    } else {
                        member
                    };
                    self.value(value, of);
                }
            }
            _ => {}
        }
    }
}
