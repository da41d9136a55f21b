//! What of a recording is somebody's.
use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Map, Value};

/// Names that every cluster has, and the one in the header of each recording.
const EVERYBODYS: [&str; 3] = ["kube-system", "default", "netdiag"];

/// What names somebody, wherever it stands.
#[derive(Default)]
pub struct Own {
    pub names: BTreeSet<String>,
    pub addresses: BTreeSet<IpAddr>,
    pub macs: BTreeSet<String>,
    pub packets: BTreeSet<String>,
}

impl Own {
    pub fn of(recording: &str) -> Self {
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
                "mesh",
                "istio-system",
            ];
            if !usual.contains(&label.as_str()) {
                self.names.insert(label);
            }
            wire = &rest[length..];
        }
    }
}
