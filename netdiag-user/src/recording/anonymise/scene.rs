//! A scene's JSON without names and addresses: each text is replaced unless its place is known to
//! hold none.
use serde_json::{Map, Value};

use super::{address::Addresses, words::Words};
use crate::model::address::Prefix;

/// Members whose texts are words of the kernel's or netdiag's own.
const KEPT: [&str; 9] = [
    "engine", "family", "kernel", "program", "source", "state", "values", "version", "what",
];
/// Members whose texts are names, with all that is in them.
const NAMES: [&str; 24] = [
    "cgroup",
    "container",
    "containers",
    "from",
    "holders",
    "host",
    "id",
    "iif",
    "interface",
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
    "uid",
    "labels",
    "selector",
];
/// Members of these are named by people.
const MAPS: [&str; 2] = ["labels", "selector"];
/// Lists of small numbers that are no addresses.
const NUMBERS: [&str; 3] = ["exempt", "of", "policy_tables"];

pub struct Scrub<'a> {
    pub addresses: &'a Addresses,
    pub words: &'a mut Words,
}

impl Scrub<'_> {
    /// `of` is the member that the value is of, or whose list it is in.
    pub fn value(&mut self, value: &mut Value, of: &str) {
        match value {
            Value::String(text) => *text = self.text(text, of),
            Value::Array(list) => match bytes(list, of) {
                Some(bytes) => self.bytes(list, &bytes),
                None => list.iter_mut().for_each(|it| self.value(it, of)),
            },
            Value::Object(members) => self.members(members, of),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&mut self, text: &str, of: &str) -> String {
        if KEPT.contains(&of) && is_plain(text) || self.words.is_variant(text) {
            return text.to_owned();
        }
        if let Ok(address) = text.parse() {
            return self.addresses.address(address).to_string();
        }
        match NAMES.contains(&of) {
            true => self.words.name(text),
            false => self.words.text(text),
        }
    }

    fn members(&mut self, members: &mut Map<String, Value>, of: &str) {
        if self.prefix(members) {
            return;
        }
        let named = MAPS.contains(&of);
        let all = std::mem::take(members);
        for (name, mut value) in all {
            // What is in a map of people's own is a name, whatever it is called.
            self.value(&mut value, if named { of } else { &name });
            let plain = KEPT.contains(&of) && is_plain(&name);
            let name = match named {
                true => self.words.name(&name),
                false if plain || self.words.is_field(&name) || self.words.is_variant(&name) => {
                    name
                }
                false => self.words.text(&name),
            };
            members.insert(name, value);
        }
    }

    /// An address with its length is one thing.
    fn prefix(&self, members: &mut Map<String, Value>) -> bool {
        if members.len() != 2 {
            return false;
        }
        let value = Value::Object(members.clone());
        let Ok(prefix) = serde_json::from_value::<Prefix>(value) else {
            return false;
        };
        if let Ok(Value::Object(new)) = serde_json::to_value(self.addresses.prefix(prefix)) {
            *members = new;
        }
        true
    }

    fn bytes(&self, list: &mut [Value], bytes: &[u8]) {
        let new = match bytes.try_into() {
            Ok(mac) => self.addresses.mac(mac).to_vec(),
            // No other address is written so.
            Err(_) => vec![0; bytes.len()],
        };
        for (to, byte) in list.iter_mut().zip(new) {
            *to = byte.into();
        }
    }
}

/// Names in a scene, of which texts must be free too.
pub fn names(value: &Value, of: &str, to: &mut Vec<String>) {
    match value {
        Value::String(text) if NAMES.contains(&of) => to.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|it| names(it, of, to)),
        Value::Object(members) => {
            let named = MAPS.contains(&of);
            for (name, value) in members {
                if named {
                    to.push(name.clone());
                }
                names(value, if named { of } else { name }, to);
            }
        }
        _ => {}
    }
}

/// Lists of bytes, as link-layer addresses are written.
fn bytes(list: &[Value], of: &str) -> Option<Vec<u8>> {
    if list.len() < 4 || NUMBERS.contains(&of) {
        return None;
    }
    let byte = |it: &Value| it.as_u64().and_then(|n| n.try_into().ok());
    list.iter().map(byte).collect()
}

/// Nothing that people write can hide in it.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    text.len() < 64 && text.chars().all(plain) && text.parse::<std::net::IpAddr>().is_err()
}
