//! Rules as `nft -j list ruleset` prints them (libnftables-json(5)).
use anyhow::{Context, Result};
use serde_json::Value;

use super::{Does, Rule, Rules};

pub fn read(text: &str, rules: &mut Rules) -> Result<()> {
    let document: Value = serde_json::from_str(text).context("no JSON")?;
    let objects = document["nftables"]
        .as_array()
        .context("no list of rules")?;
    for chain in objects.iter().filter_map(|o| o.get("chain")) {
        let place = place(chain, &chain["name"]);
        match chain["hook"].as_str() {
            Some("prerouting") => rules.prerouting.insert(place),
            Some("output") => rules.output.insert(place),
            _ => false,
        };
    }
    let found = objects.iter().filter_map(|o| one(o.get("rule")?));
    rules.all.extend(found);
    Ok(())
}

fn place(of: &Value, chain: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    [&of["family"], &of["table"], chain].map(text).join(" ")
}

fn one(rule: &Value) -> Option<Rule> {
    let parts = rule["expr"].as_array()?;
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
            let to = part.get(word).map(|to| place(rule, &to["target"]));
            does = does.or(to.map(Does::Goes));
        }
        if part.get("return").or(part.get("accept")).is_some() {
            does = does.or(Some(Does::Spares));
        }
    }
    let place = place(rule, &rule["chain"]);
    Some(Rule {
        does: does?,
        of,
        text: place.clone(),
        list: format!("nft list chain {place}"),
        chain: place,
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
