//! Rules as iptables-save(8) prints them.
use anyhow::Result;

use super::{Does, LONGEST, Rule, Rules};
use crate::{
    gather::rulesets::saved::Lines,
    model::{
        netfilter::{Iptables, Listing, saved_words},
        text,
    },
};

pub fn read(lines: &mut Lines<'_>, program: Iptables, rules: &mut Rules) -> Result<()> {
    let mut table = String::new();
    while let Some(line) = lines.next()? {
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let place = |chain: &str| format!("{} {table} {chain}", program.save());
            rules.prerouting.insert(place("PREROUTING"));
            rules.output.insert(place("OUTPUT"));
            if let Some(rule) = one(rule, program, &table, place) {
                rules.keep(rule)?;
            }
        }
    }
    Ok(())
}

fn one(rule: &str, program: Iptables, table: &str, place: impl Fn(&str) -> String) -> Option<Rule> {
    let words = saved_words(rule);
    let value = |names: &[&str]| {
        let at = words
            .iter()
            .position(|word| names.contains(&word.as_str()))?;
        // `! --dport 15008` is about all the others.
        let negated = at > 0 && words[at - 1] == "!";
        words.get(at + 1).map(String::as_str).filter(|_| !negated)
    };
    if matches!(value(&["-p"]), Some("udp" | "icmp" | "icmpv6" | "sctp")) {
        return None;
    }
    let to = || {
        value(&["--to-ports", "--on-port"])?
            .split('-')
            .next()?
            .parse()
            .ok()
    };
    let does = match value(&["-j", "-g"])? {
        "REDIRECT" | "TPROXY" => Does::Redirects(to()?),
        "RETURN" | "ACCEPT" => Does::Spares,
        chain => Does::Goes(place(chain)),
    };
    let ports = value(&["--dport", "--dports"]).unwrap_or_default();
    Some(Rule {
        chain: place(words.first()?),
        of: ports
            .split(',')
            .filter_map(|port| port.parse().ok())
            .collect(),
        does,
        text: text::line(rule, LONGEST),
        list: Listing::Iptables {
            program,
            table: table.to_owned(),
        },
    })
}
