//! Rules in nft's JSON (libnftables-json(5)). Those of iptables' matches and targets are read from its
//! own listing.
use std::net::IpAddr;

use anyhow::Result;
use serde_json::Value;

use super::{Does, LONGEST, Matches, Rules};
use crate::{
    gather::rulesets::json::{Chain, Reader, Rule},
    model::{address::Prefix, source_nat::Leaving, text},
};

impl Reader for Rules<'_> {
    fn chain(&mut self, chain: &Chain) {
        let postrouting = chain.hook.as_deref() == Some("postrouting");
        if postrouting && self.is_of(&chain.family) {
            self.bases
                .insert(place(&chain.family, &chain.table, &chain.name));
        }
    }

    fn rule(&mut self, rule: &Rule) -> Result<()> {
        let all = rule.expressions();
        if !self.is_of(&rule.family) || all.iter().any(|e| e.get("xt").is_some()) {
            return Ok(());
        }
        let chain = |name: &str| place(&rule.family, &rule.table, name);
        let mut matches = Matches::Yes;
        for expression in all {
            if let Some(does) = verdict(expression, chain) {
                let (may, does) = does;
                let own = chain(&rule.chain);
                let text = format!("nft {own}: {}", Value::from(all));
                return self.keep(super::Rule {
                    chain: own,
                    matches: matches.and(may),
                    does,
                    text: text::line(&text, LONGEST),
                });
            }
            matches = matches.and(selector(expression, self.packet));
        }
        Ok(())
    }
}

impl Rules<'_> {
    fn is_of(&self, family: &str) -> bool {
        match family {
            "ip" => self.packet.source.is_ipv4(),
            "ip6" => self.packet.source.is_ipv6(),
            family => family == "inet",
        }
    }
}

fn place(family: &str, table: &str, chain: &str) -> String {
    format!("{family} {table} {chain}")
}

/// What a rule does at its end; a map's verdict depends on the packet.
fn verdict(expression: &Value, place: impl Fn(&str) -> String) -> Option<(Matches, Does)> {
    let (name, value) = expression.as_object()?.iter().next()?;
    let goes = |back| {
        let to = vec![place(value["target"].as_str()?)];
        Some((Matches::Yes, Does::Goes { to, back }))
    };
    match name.as_str() {
        "masquerade" | "snat" => Some((Matches::Yes, Does::Translates)),
        "accept" | "drop" | "reject" | "queue" => Some((Matches::Yes, Does::Ends)),
        "return" => Some((Matches::Yes, Does::Returns)),
        "jump" => goes(true),
        "goto" => goes(false),
        "vmap" => {
            let mut to = Vec::new();
            targets(&value["data"], &mut to);
            let to = to.iter().map(|chain| place(chain)).collect();
            Some((Matches::Maybe, Does::Goes { to, back: true }))
        }
        _ => None,
    }
}

fn targets(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|v| targets(v, found)),
        Value::Object(fields) => {
            found.extend(
                fields
                    .get("target")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            fields.values().for_each(|v| targets(v, found));
        }
        _ => {}
    }
}

fn selector(expression: &Value, packet: &Leaving) -> Matches {
    let Some((name, value)) = expression.as_object().and_then(|e| e.iter().next()) else {
        return Matches::Maybe;
    };
    match name.as_str() {
        "counter" | "mangle" | "log" | "comment" => Matches::Yes,
        "match" => {
            let one = matched(&value["left"], &value["right"], packet);
            match value["op"].as_str() {
                Some("==" | "in") => one,
                Some("!=") => one.not(),
                _ => Matches::Maybe,
            }
        }
        _ => Matches::Maybe,
    }
}

fn matched(left: &Value, right: &Value, packet: &Leaving) -> Matches {
    let field = left["payload"]["field"].as_str();
    let key = left["meta"]["key"].as_str();
    match (field, key) {
        (Some("saddr"), _) => address(right, packet.source),
        (Some("daddr"), _) => address(right, packet.destination),
        (_, Some("oifname" | "oif")) => link(right, &packet.link),
        // It has none.
        (_, Some("mark")) => number(right),
        (_, Some("nfproto")) => {
            let own = if packet.source.is_ipv4() {
                "ipv4"
            } else {
                "ipv6"
            };
            right
                .as_str()
                .map_or(Matches::Maybe, |r| Matches::of(r == own))
        }
        _ if left["&"][0]["meta"]["key"] == "mark" => number(right),
        _ if left["fib"]["result"] == "type" && right == "local" => Matches::No,
        _ => Matches::Maybe,
    }
}

fn number(right: &Value) -> Matches {
    let number = right.as_u64();
    number.map_or(Matches::Maybe, |n| Matches::of(n == 0))
}

/// Of any of them; a named set's elements are not looked at.
fn any(set: &Value, one: impl Fn(&Value) -> Matches) -> Matches {
    let all = set.as_array().map_or(&[][..], Vec::as_slice);
    all.iter().fold(Matches::No, |found, element| {
        // Not none of both.
        found.not().and(one(element).not()).not()
    })
}

fn address(right: &Value, own: IpAddr) -> Matches {
    let prefix = &right["prefix"];
    if let Some(set) = right.get("set") {
        any(set, |one| address(one, own))
    } else if let (Some(start), Some(length)) = (prefix["addr"].as_str(), prefix["len"].as_u64()) {
        let all = format!("{start}/{length}").parse::<Prefix>();
        all.map_or(Matches::Maybe, |p| Matches::of(p.contains(own)))
    } else if let Some([from, to]) = right["range"].as_array().map(Vec::as_slice) {
        let end = |end: &Value| end.as_str()?.parse::<IpAddr>().ok();
        match (end(from), end(to)) {
            (Some(from), Some(to)) => Matches::of(from <= own && own <= to),
            _ => Matches::Maybe,
        }
    } else {
        let one = right.as_str().and_then(|one| one.parse::<IpAddr>().ok());
        one.map_or(Matches::Maybe, |one| Matches::of(one == own))
    }
}

fn link(right: &Value, own: &str) -> Matches {
    if let Some(set) = right.get("set") {
        return any(set, |one| link(one, own));
    }
    match right.as_str() {
        None => Matches::Maybe,
        Some(name) if name.starts_with('@') => Matches::Maybe,
        Some(name) => Matches::of(match name.strip_suffix('*') {
            Some(start) => own.starts_with(start),
            None => own == name,
        }),
    }
}
