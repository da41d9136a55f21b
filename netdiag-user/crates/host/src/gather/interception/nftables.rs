//! Rules as `nft -j list ruleset` prints them (libnftables-json(5)).
use anyhow::Result;
use serde_json::Value;

use super::{Does, LONGEST, Rule, Rules};
use crate::{
    gather::rulesets::json::{Chain, Reader, Rule as Listed},
    model::{
        netfilter::{self, Family, Listing},
        text,
    },
};

impl Reader for Rules {
    fn chain(&mut self, chain: &Chain) {
        let place = place(&chain.family, &chain.table, &chain.name);
        match chain.hook.as_deref() {
            Some("prerouting") => self.prerouting.insert(place),
            Some("output") => self.output.insert(place),
            _ => false,
        };
    }

    fn rule(&mut self, rule: &Listed) -> Result<()> {
        match one(rule) {
            Some(rule) => self.keep(rule),
            None => Ok(()),
        }
    }
}

/// The parts apart, whatever is in them.
fn place(family: &str, table: &str, chain: &str) -> String {
    [family, table, chain].join("\n")
}

fn one(rule: &Listed) -> Option<Rule> {
    let parts = rule.expressions();
    let mut of = Vec::new();
    let mut does = None;
    for part in parts {
        if let Some(found) = part.get("match") {
            if about_udp(found) {
                return None;
            }
            of.extend(ports(found));
        }
        for word in ["redirect", "tproxy"] {
            let port = part.get(word).and_then(|to| to["port"].as_u64());
            let port = port.and_then(|port| u16::try_from(port).ok());
            does = does.or(port.map(Does::Redirects));
        }
        for word in ["jump", "goto"] {
            let to = part.get(word).and_then(|to| to["target"].as_str());
            let to = to.map(|to| place(&rule.family, &rule.table, to));
            does = does.or(to.map(Does::Goes));
        }
        if part.get("return").or(part.get("accept")).is_some() {
            does = does.or(Some(Does::Spares));
        }
    }
    let shown = [&rule.family, &rule.table, &rule.chain].map(String::as_str);
    Some(Rule {
        does: does?,
        of,
        text: text::line(&shown.join(" "), LONGEST),
        list: Listing::NftChain(netfilter::Chain {
            family: Family::named(&rule.family)?,
            table: rule.table.clone(),
            chain: rule.chain.clone(),
        }),
        chain: place(&rule.family, &rule.table, &rule.chain),
    })
}

fn about_udp(found: &Value) -> bool {
    let udp = |value: &Value| value == "udp";
    udp(&found["right"]) || udp(&found["left"]["payload"]["protocol"])
}

/// `tcp dport 15021`, or a set of them.
fn ports(found: &Value) -> Vec<u16> {
    if found["op"] != "==" || found["left"]["payload"]["field"] != "dport" {
        return Vec::new();
    }
    let right = &found["right"];
    let one = std::slice::from_ref(right);
    let all = right["set"].as_array().map_or(one, Vec::as_slice);
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    all.iter().filter_map(port).collect()
}
