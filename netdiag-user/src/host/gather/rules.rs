//! Rules of netfilter that dropped or rejected something just now: each listing shows their
//! counters, and the difference between two of them tells (nft(8), iptables-save(8)). Those that
//! count nothing, and chains' policies, are only there.
use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::Result;

use super::rulesets::run;
use crate::model::gather::Rule;

/// Between two listings: what is dropped again and again is tried within it.
const BETWEEN: Duration = Duration::from_millis(1200);
/// `iptables` may be either engine's; these programs are the old one's only.
const LEGACY: [(&str, &str); 2] = [
    ("iptables-legacy-save", "iptables-legacy"),
    ("ip6tables-legacy-save", "ip6tables-legacy"),
];

/// More rules without counters than this tell nobody anything.
const UNCOUNTED: usize = 100;

/// Rules of this thread's namespace whose counters move, and those that have none.
pub fn rules() -> Result<Vec<Rule>> {
    let before: BTreeMap<_, _> = listing()?
        .into_iter()
        .map(|r| (r.delete, r.packets))
        .collect();
    thread::sleep(BETWEEN);
    let mut rules = listing()?;
    for rule in &mut rules {
        rule.packets -= before
            .get(&rule.delete)
            .copied()
            .unwrap_or(0)
            .min(rule.packets);
    }
    let mut others = 0;
    rules.retain(|r| {
        others += usize::from(!r.counted);
        r.packets > 0 || !r.counted && others <= UNCOUNTED
    });
    Ok(rules)
}

fn listing() -> Result<Vec<Rule>> {
    let mut rules = nftables(&run("nft", &["-a", "list", "ruleset"])?);
    for (save, program) in LEGACY {
        // A node without the old engine has no such program.
        let text = run(save, &["-c"]).unwrap_or_default();
        rules.extend(legacy(&text, program));
    }
    Ok(rules)
}

/// Lines like `tcp dport 80 counter packets 3 bytes 180 drop # handle 4` within `table FAMILY NAME {`
/// and `chain NAME {`.
fn nftables(text: &str) -> Vec<Rule> {
    let (mut table, mut chain) = (String::new(), String::new());
    let mut rules = Vec::new();
    for line in text.lines().map(str::trim) {
        let (line, handle) = line.split_once(" # handle ").unwrap_or((line, ""));
        let name = |prefix| line.strip_prefix(prefix)?.strip_suffix(" {");
        if let Some(name) = name("table ") {
            table = name.to_owned();
        } else if let Some(name) = name("chain ") {
            chain = name.to_owned();
        } else if refuses(line) {
            let policy = line.starts_with("type ");
            rules.push(Rule {
                place: format!("{table} {chain}"),
                text: line.to_owned(),
                packets: counted(line).unwrap_or(0),
                list: format!("nft -a list chain {table} {chain}"),
                delete: match policy {
                    true => format!("nft chain {table} {chain} '{{ policy accept; }}'"),
                    false => format!("nft delete rule {table} {chain} handle {handle}"),
                },
                counted: counted(line).is_some(),
            });
        }
    }
    rules
}

fn counted(line: &str) -> Option<u64> {
    let (_, counter) = line.split_once("counter packets ")?;
    counter.split(' ').next()?.parse().ok()
}

fn refuses(line: &str) -> bool {
    line.split([' ', ';'])
        .any(|word| matches!(word, "drop" | "reject" | "DROP" | "REJECT"))
}

/// Lines like `[3:180] -A FORWARD -p tcp -j DROP` below `*filter`.
fn legacy(text: &str, program: &str) -> Vec<Rule> {
    let mut table = "filter";
    let mut rules = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        }
        let parts = || {
            let (counter, rule) = line.strip_prefix('[')?.split_once("] -A ")?;
            Some((counter.split(':').next()?.parse().ok()?, rule))
        };
        if let Some((packets, rule)) = parts().filter(|(_, rule)| refuses(rule)) {
            let chain = rule.split(' ').next().unwrap_or_default();
            rules.push(Rule {
                place: format!("{program}'s {table} {chain}"),
                text: rule.to_owned(),
                packets,
                list: format!("{program} -t {table} -nvL {chain} --line-numbers"),
                delete: format!("{program} -t {table} -D {rule}"),
                counted: true,
            });
        }
        rules.extend(policy(line, table, program));
    }
    rules
}

/// A line like `:FORWARD DROP [12:720]`: a policy counts what it takes. Told as nftables tells its.
fn policy(line: &str, table: &str, program: &str) -> Option<Rule> {
    let mut words = line.strip_prefix(':')?.split(' ');
    let (chain, verdict, counter) = (words.next()?, words.next()?, words.next()?);
    let packets = counter.strip_prefix('[')?.split(':').next()?.parse().ok()?;
    let hook = chain.to_lowercase();
    refuses(verdict).then(|| Rule {
        place: format!("{program}'s {table} {chain}"),
        text: format!("type filter hook {hook} priority {table}; policy drop;"),
        packets,
        list: format!("{program} -t {table} -nvL {chain} --line-numbers"),
        delete: format!("{program} -t {table} -P {chain} ACCEPT"),
        counted: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nfts_rules_have_their_handles() {
        let text = "table inet filter { # handle 1\n\tchain lab { # handle 1\n\t\ttype filter hook \
                    forward priority filter; policy accept;\n\t\ttcp dport 5432 counter packets 7 \
                    bytes 420 drop # handle 2\n\t\taccept # handle 3\n\t}\n}\n";
        let rules = nftables(text);
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0].packets, 7);
        assert_eq!(rules[0].delete, "nft delete rule inet filter lab handle 2");
    }

    #[test]
    fn policies_and_rules_without_counters_are_there_too() {
        let text = "table ip filter {\n\tchain FORWARD { # handle 1\n\t\ttype filter hook forward \
                    priority filter; policy drop;\n\t\tip daddr @bad drop # handle 2\n\t}\n}\n";
        let rules = nftables(text);
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0].policy_at(), Some("forward"));
        let accept = "nft chain ip filter FORWARD '{ policy accept; }'";
        assert_eq!(rules[0].delete, accept);
        assert_eq!(rules[1].policy_at(), None);
        assert!(rules.iter().all(|r| !r.counted));
        let rules = legacy(
            "*filter\n:FORWARD DROP [12:720]\n:X - [0:0]\n",
            "iptables-legacy",
        );
        assert_eq!(rules.len(), 1);
        assert_eq!(
            (rules[0].policy_at(), rules[0].packets),
            (Some("forward"), 12)
        );
    }

    #[test]
    fn the_old_engines_rules_are_deleted_by_their_words() {
        let text =
            "*filter\n:FORWARD ACCEPT [0:0]\n[3:180] -A FORWARD -p tcp -j DROP\n[1:2] -A X -j Y\n";
        let rules = legacy(text, "iptables-legacy");
        assert_eq!(rules.len(), 1);
        assert_eq!(
            rules[0].delete,
            "iptables-legacy -t filter -D FORWARD -p tcp -j DROP"
        );
    }
}
