//! Rules of a pod's namespace that lead its connections to a local port, by iptables' two engines
//! and nftables' own; and the proxies that run there.
mod iptables;
mod nftables;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Result, ensure};

use super::{
    processes,
    rulesets::{self, kernel::Tables},
};
use crate::{
    model::{
        interception::{Interception, Redirect},
        netfilter::Listing,
    },
    namespaces,
};

/// Programs of known meshes. A pod's word about itself: it speaks of its own connections alone.
const PROXIES: [&str; 5] = [
    "consul-dataplane",
    "envoy",
    "kuma-dp",
    "linkerd2-proxy",
    "pilot-agent",
];
/// Those of a namespace that are named.
const MOST_PROXIES: usize = 16;
/// Chains within chains; rules have no circles, but a text may.
const DEEPEST: usize = 16;
/// Rules of one namespace that lead anywhere, and how many are looked at on the ways through them:
/// chains that lead to each other often have any number of ways.
const MOST: usize = 10_000;
const LOOKS: usize = 100_000;
/// Places that connections are led to; more than that are no sidecar's.
const REDIRECTS: usize = 64;
/// Characters of a rule.
const LONGEST: usize = 600;

/// One rule, whatever its engine.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    chain: String,
    /// Connections to these ports of TCP; to any where there is none.
    of: Vec<u16>,
    does: Does,
    text: String,
    list: Listing,
}

#[derive(Debug, PartialEq, Eq)]
enum Does {
    Goes(String),
    Redirects(u16),
    /// Leaves the packet as it is.
    Spares,
}

#[derive(Default)]
struct Rules {
    all: Vec<Rule>,
    /// Chains that packets from outside, and those from programs here, come to.
    prerouting: BTreeSet<String>,
    output: BTreeSet<String>,
}

/// Of this thread's namespace; processes are looked up under `root`.
pub fn interception(root: &Path) -> Result<Interception> {
    let mut rules = Rules::default();
    let xt = rulesets::nft(Tables::Rerouting, &mut rules)?;
    rulesets::saved(xt, &[], |program, lines| {
        iptables::read(lines, program, &mut rules)
    })?;
    let mut found = rules.interception()?;
    found.proxies = proxies(root);
    Ok(found)
}

fn proxies(root: &Path) -> Vec<String> {
    let own = namespaces::own();
    let mut found = Vec::new();
    processes::each(root, |process, _| {
        if Some(process.netns) == own
            && let Some(program) = process.program()
            && PROXIES.contains(&program.name.as_str())
            && found.len() < MOST_PROXIES
        {
            found.push(format!("{}[{}]", program.name, process.pid));
        }
    });
    found
}

impl Rules {
    /// A rule that may matter. What leaves packets of every port alone never does.
    fn keep(&mut self, rule: Rule) -> Result<()> {
        if rule.does == Does::Spares && rule.of.is_empty() {
            return Ok(());
        }
        let full = self.all.len() >= MOST;
        ensure!(
            !full,
            "more than {MOST} rules of the namespace lead packets somewhere"
        );
        self.all.push(rule);
        Ok(())
    }

    fn interception(&self) -> Result<Interception> {
        let mut chains: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
        for rule in &self.all {
            chains.entry(&rule.chain).or_default().push(rule);
        }
        let mut found = Interception::default();
        // For all chains together: a pod can make as many as it likes.
        let mut left = LOOKS;
        for chain in &self.prerouting {
            let mut walk = Walk::new(&chains, left);
            walk.follow(chain, &[], DEEPEST);
            left = walk.left;
            found.inbound.extend(walk.redirects);
            found.exempt.extend(walk.exempt);
        }
        for chain in &self.output {
            let mut walk = Walk::new(&chains, left);
            walk.follow(chain, &[], DEEPEST);
            left = walk.left;
            found.outbound.extend(walk.redirects);
        }
        ensure!(
            left > 0,
            "its chains lead through one another more than {LOOKS} times"
        );
        found.exempt.sort_unstable();
        found.exempt.dedup();
        Ok(found)
    }
}

/// What is met from one chain on.
struct Walk<'a> {
    chains: &'a BTreeMap<&'a str, Vec<&'a Rule>>,
    redirects: Vec<Redirect>,
    exempt: BTreeSet<u16>,
    left: usize,
}

impl<'a> Walk<'a> {
    fn new(chains: &'a BTreeMap<&'a str, Vec<&'a Rule>>, left: usize) -> Self {
        Self {
            chains,
            redirects: Vec::new(),
            exempt: BTreeSet::new(),
            left,
        }
    }

    fn follow(&mut self, chain: &str, of: &[u16], depth: usize) {
        if depth == 0 {
            return;
        }
        for rule in self.chains.get(chain).into_iter().flatten() {
            let Some(left) = self.left.checked_sub(1) else {
                return;
            };
            self.left = left;
            let of = if rule.of.is_empty() { of } else { &rule.of };
            match &rule.does {
                Does::Goes(to) => self.follow(to, of, depth - 1),
                Does::Spares => self.exempt.extend(&rule.of),
                Does::Redirects(port) => self.redirect(*port, of, rule),
            }
        }
    }
}

impl Walk<'_> {
    fn redirect(&mut self, port: u16, of: &[u16], rule: &Rule) {
        let same = |r: &Redirect| r.port == port && r.of == of && r.rule == rule.text;
        if self.redirects.len() >= REDIRECTS || self.redirects.iter().any(same) {
            return;
        }
        // Each port that is compared is one that it looked at.
        self.left = self.left.saturating_sub(of.len() / 64);
        self.redirects.push(Redirect {
            port,
            of: of.to_vec(),
            rule: rule.text.clone(),
            list: rule.list.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::netfilter::Iptables;

    fn saved(text: &str, rules: &mut Rules) {
        let mut from = text.as_bytes();
        let mut lines = rulesets::saved::Lines::new(&mut from);
        iptables::read(&mut lines, Iptables::Nft4, rules).expect("lines");
    }

    #[test]
    fn istios_rules_by_either_tool() {
        let mut by_iptables = Rules::default();
        let text = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j ISTIO_INBOUND\n\
            -A OUTPUT -j ISTIO_OUTPUT\n\
            -A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN\n\
            -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n\
            -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006\n\
            -A ISTIO_OUTPUT -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053\n\
            -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN\n\
            -A ISTIO_OUTPUT -p tcp -j ISTIO_REDIRECT\n\
            -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n";
        saved(text, &mut by_iptables);
        let mut by_nft = Rules::default();
        rulesets::json::read(NFT.as_bytes(), &mut by_nft).expect("rules");
        for rules in [by_iptables, by_nft] {
            let found = rules.interception().expect("few");
            let ports = |all: &[Redirect]| all.iter().map(|r| r.port).collect::<Vec<_>>();
            assert_eq!(ports(&found.inbound), [15006], "{found:?}");
            assert_eq!(ports(&found.outbound), [15001], "{found:?}");
            assert_eq!(found.exempt, [15021]);
            assert!(found.is_proxy());
        }
    }

    const NFT: &str = r#"{"nftables": [
      {"chain": {"family": "inet", "table": "t", "name": "pre", "hook": "prerouting"}},
      {"chain": {"family": "inet", "table": "t", "name": "out", "hook": "output"}},
      {"rule": {"family": "inet", "table": "t", "chain": "pre", "expr": [
        {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [15021]}}}, {"return": null}]}},
      {"rule": {"family": "inet", "table": "t", "chain": "pre", "expr": [{"jump": {"target": "in"}}]}},
      {"rule": {"family": "inet", "table": "t", "chain": "in", "expr": [
        {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}, {"redirect": {"port": 15006}}]}},
      {"rule": {"family": "inet", "table": "t", "chain": "out", "expr": [
        {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 53}}, {"redirect": {"port": 15053}}]}},
      {"rule": {"family": "inet", "table": "t", "chain": "out", "expr": [{"redirect": {"port": 15001}}]}}]}"#;

    #[test]
    fn circles_end() {
        let mut rules = Rules::default();
        let text = "*nat\n-A PREROUTING -j A\n-A A -j B\n-A B -j A\n-A B -p tcp --dport 80 -j \
                    REDIRECT --to-ports 8080\n";
        saved(text, &mut rules);
        let found = rules.interception().expect("few");
        assert_eq!(found.inbound.len(), 1);
        assert!(!found.is_proxy(), "one port is no proxy");
    }

    #[test]
    fn very_many_ways_and_rules_end() {
        let mut text = "*nat\n-A PREROUTING -j C0\n".to_owned();
        for chain in 0..15 {
            let line = format!("-A C{chain} -j C{}\n", chain + 1);
            text.push_str(&line.repeat(50));
        }
        let mut rules = Rules::default();
        saved(&text, &mut rules);
        let why = rules.interception().expect_err("too many").to_string();
        assert!(why.contains("more than 100000 times"), "{why}");
        let mut from = text.as_bytes();
        let mut many = std::io::Read::chain(&mut from, std::io::repeat(b'x'));
        let mut many = std::io::BufReader::new(&mut many);
        let mut lines = rulesets::saved::Lines::new(&mut many);
        assert!(iptables::read(&mut lines, Iptables::Nft4, &mut rules).is_err());
    }
}
