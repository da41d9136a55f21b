//! Rules as iptables-save(8) prints them.
use anyhow::Result;

use super::{Does, LONGEST, Rule, Rules};
use crate::{
    gather::rulesets::saved::{self, Lines, Says},
    model::{
        netfilter::{Iptables, Listing, saved_words},
        text,
    },
};

pub fn read(lines: &mut Lines<'_>, program: Iptables, rules: &mut Rules) -> Result<()> {
    saved::each(lines, |line| {
        let Says::Rule(rule) = line.says else {
            return Ok(());
        };
        let place = |chain: &str| format!("{} {} {chain}", program.save(), line.table);
        rules.prerouting.insert(place("PREROUTING"));
        rules.output.insert(place("OUTPUT"));
        one((line.chain, rule), program, line.table, place).map_or(Ok(()), |rule| rules.keep(rule))
    })
}

fn one(
    (chain, rule): (&str, &str),
    program: Iptables,
    table: &str,
    place: impl Fn(&str) -> String,
) -> Option<Rule> {
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
        other => Does::Goes(place(other)),
    };
    let ports = value(&["--dport", "--dports"]).unwrap_or_default();
    Some(Rule {
        chain: place(chain),
        of: ports
            .split(',')
            .filter_map(|port| port.parse().ok())
            .collect(),
        does,
        text: text::line(&format!("{chain} {rule}"), LONGEST),
        list: Listing::Iptables {
            program,
            table: table.to_owned(),
        },
    })
}
