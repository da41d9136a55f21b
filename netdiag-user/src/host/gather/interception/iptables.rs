//! Rules as iptables-save(8) prints them.
use super::{Does, Rule, Rules};

pub fn read(text: &str, program: &str, rules: &mut Rules) {
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let place = |chain: &str| format!("{program} {table} {chain}");
            rules.prerouting.insert(place("PREROUTING"));
            rules.output.insert(place("OUTPUT"));
            rules.all.extend(one(rule, program, table, place));
        }
    }
}

fn one(rule: &str, program: &str, table: &str, place: impl Fn(&str) -> String) -> Option<Rule> {
    let words: Vec<_> = rule.split_ascii_whitespace().collect();
    let value = |names: &[&str]| {
        let at = words.iter().position(|word| names.contains(word))?;
        // `! --dport 15008` is about all the others.
        let negated = at > 0 && words[at - 1] == "!";
        words.get(at + 1).copied().filter(|_| !negated)
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
    let command = program.trim_end_matches("-save");
    Some(Rule {
        chain: place(words.first()?),
        of: ports
            .split(',')
            .filter_map(|port| port.parse().ok())
            .collect(),
        does,
        text: rule.to_owned(),
        list: format!("{command} -t {table} -S"),
    })
}
