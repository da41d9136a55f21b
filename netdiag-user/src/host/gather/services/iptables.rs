//! Services in the text of iptables-save(8), as kube-proxy's iptables mode writes them
//! (pkg/proxy/iptables/proxier.go): a rule for address and port that leads to DNAT, or rejects.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::model::{
    flow,
    services::{Engine, Service, Services},
};

/// Chains of kube-proxy's; only in these does a REJECT mean a Service without endpoints.
const KUBE: &str = "KUBE-";
const SERVICES: &str = "KUBE-SERVICES";

#[derive(Debug, Default)]
struct Rule {
    destination: Option<IpAddr>,
    protocol: Option<u8>,
    port: Option<u16>,
    target: String,
    dnat: Option<(IpAddr, Option<u16>)>,
    comment: Option<String>,
}

type Chains = BTreeMap<String, Vec<Rule>>;

pub fn read(text: &str, engine: Engine, found: &mut Services) {
    let mut tables: BTreeMap<String, Chains> = BTreeMap::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim().to_owned();
        } else if line.starts_with(&format!(":{SERVICES} ")) {
            found.kube_proxy = true;
        } else if let Some((chain, rule)) = rule(line) {
            let chains = tables.entry(table.clone()).or_default();
            chains.entry(chain).or_default().push(rule);
        }
    }
    for (table, chains) in &tables {
        let rules = chains
            .iter()
            .flat_map(|(chain, rules)| rules.iter().map(move |r| (chain, r)));
        let services = rules.filter_map(|(chain, rule)| match table.as_str() {
            "nat" => translated(chains, rule, engine),
            "filter" if chain.starts_with(KUBE) => rejected(rule, engine),
            _ => None,
        });
        found.rules.extend(services);
    }
}

fn translated(chains: &Chains, rule: &Rule, engine: Engine) -> Option<Service> {
    let service = service(rule, engine)?;
    let mut backends = BTreeSet::new();
    follow(chains, rule, service.port, &mut backends, 8);
    (!backends.is_empty()).then(|| Service {
        backends: backends.into_iter().collect(),
        ..service
    })
}

/// Every DNAT that a rule leads to; chains may not be nested more deeply than kube-proxy's are.
fn follow(
    chains: &Chains,
    rule: &Rule,
    port: u16,
    backends: &mut BTreeSet<(IpAddr, u16)>,
    depth: u8,
) {
    if let Some((address, to)) = rule.dnat {
        backends.insert((address, to.unwrap_or(port)));
    }
    if depth > 0 {
        for next in chains.get(&rule.target).into_iter().flatten() {
            follow(chains, next, port, backends, depth - 1);
        }
    }
}

fn rejected(rule: &Rule, engine: Engine) -> Option<Service> {
    let rejected = matches!(rule.target.as_str(), "REJECT" | "DROP");
    let service = service(rule, engine).filter(|_| rejected)?;
    Some(Service {
        rejected,
        ..service
    })
}

fn service(rule: &Rule, engine: Engine) -> Option<Service> {
    Some(Service {
        address: rule.destination?,
        port: rule.port?,
        protocol: rule.protocol?,
        name: rule.comment.as_deref().and_then(name),
        backends: Vec::new(),
        rejected: false,
        engine,
    })
}

/// `default/web:http cluster IP`, `default/web:http has no endpoints`: the first word.
fn name(comment: &str) -> Option<String> {
    let first = comment.split(' ').next()?;
    first.contains('/').then(|| first.to_owned())
}

fn rule(line: &str) -> Option<(String, Rule)> {
    let line = line
        .strip_prefix('[')
        .map_or(line, |l| l.split_once("] ").map_or(l, |p| p.1));
    let mut words = words(line.strip_prefix("-A ")?).into_iter();
    let chain = words.next()?;
    let mut rule = Rule::default();
    let mut negated = false;
    while let Some(word) = words.next() {
        if word == "!" {
            negated = true;
            continue;
        }
        if !word.starts_with('-') {
            continue;
        }
        let taken = [
            "-d",
            "-p",
            "--dport",
            "-j",
            "-g",
            "--to-destination",
            "--comment",
        ];
        if taken.contains(&word.as_str()) {
            let value = words.next()?;
            if !negated {
                note(&mut rule, &word, &value);
            }
        }
        negated = false;
    }
    Some((chain, rule))
}

fn note(rule: &mut Rule, option: &str, value: &str) {
    match option {
        "-d" => rule.destination = host(value),
        "-p" => rule.protocol = flow::number(value),
        "--dport" => rule.port = value.parse().ok(),
        "-j" | "-g" => value.clone_into(&mut rule.target),
        "--to-destination" => rule.dnat = destination(value),
        _ => rule.comment = Some(value.to_owned()),
    }
}

/// One address; a prefix is no Service's.
fn host(text: &str) -> Option<IpAddr> {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { "32" } else { "128" };
    (length.is_empty() || length == whole).then_some(address)
}

/// `10.0.0.1:80`, `[fd00::1]:80`, or an address alone.
fn destination(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(both) = text.parse::<std::net::SocketAddr>() {
        return Some((both.ip(), Some(both.port())));
    }
    let address = text.trim_start_matches('[').trim_end_matches(']');
    Some((address.parse().ok()?, None))
}

/// Words, with quotes taken off.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().into_iter().for_each(|w| w.push(other)),
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"*nat
:KUBE-SERVICES - [0:0]
[0:0] -A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-X
[0:0] -A KUBE-SVC-X ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-X -m comment --comment "default/web:http -> 10.244.1.5:8080" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-X
-A KUBE-SVC-X -m comment --comment "default/web:http -> 10.244.1.6:8080" -j KUBE-SEP-Y
-A KUBE-SEP-X -s 10.244.1.5/32 -m comment --comment "default/web:http" -j KUBE-MARK-MASQ
-A KUBE-SEP-X -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT --to-destination 10.244.1.5:8080
-A KUBE-SEP-Y -p tcp -m tcp -j DNAT --to-destination 10.244.1.6
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
*filter
-A KUBE-SERVICES -d fd00::7/128 -p udp -m comment --comment "default/dns:dns has no endpoints" -m udp --dport 53 -j REJECT --reject-with icmp6-port-unreachable
-A FORWARD -d 10.1.1.1/32 -p tcp -m tcp --dport 25 -j REJECT
COMMIT
"#;

    #[test]
    fn kube_proxys_chains_are_followed() {
        let mut found = Services::default();
        read(TEXT, Engine::IptablesLegacy, &mut found);
        assert!(found.kube_proxy);
        assert_eq!(found.rules.len(), 2, "{:?}", found.rules);
        let (rejected, web) = (&found.rules[0], &found.rules[1]);
        assert_eq!(web.name.as_deref(), Some("default/web:http"));
        let ports: Vec<_> = web.backends.iter().map(|b| b.1).collect();
        assert_eq!((web.port, ports, web.rejected), (80, vec![8080, 80], false));
        assert_eq!(
            (rejected.port, rejected.protocol, rejected.rejected),
            (53, 17, true)
        );
    }

    #[test]
    fn broken_text_gives_nothing() {
        let mut found = Services::default();
        for text in [
            "",
            "-A",
            "*nat\n-A X -d\n-A X -d 1/2/3 --dport x -j",
            "[1:2",
        ] {
            read(text, Engine::IptablesNft, &mut found);
        }
        assert_eq!(found, Services::default());
    }
}
