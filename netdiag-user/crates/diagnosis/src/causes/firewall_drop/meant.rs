//! Whether somebody is known to want a rule to keep packets out: then it is no fault. A rule says so by
//! the sources that it names; one of an agent's by the agent, where that runs.
use std::net::IpAddr;

use crate::{
    model::{
        address::{Prefix, is_link_local},
        gather::{Rule, Want, Whom},
        node::{Link, LinkKind},
        roles::Role,
    },
    pipeline::facts::Facts,
    shared::{
        losses::{DropGroup, Standing},
        pod_networks::masked,
    },
    unexplained,
};

/// Whose chains begin so, and the processes that keep them. In the node's own namespace only root makes
/// chains, but what an agent left behind when it was taken away is nobody's policy any more.
const POLICIES: [(&str, &str); 4] = [
    ("cali-", "calico-node"),
    ("KUBE-POD-FW-", "kube-router"),
    ("KUBE-NWPLCY-", "kube-router"),
    ("WEAVE-NPC", "weave-npc"),
];

/// kube-proxy's for balancers' addresses with loadBalancerSourceRanges, by iptables and by nftables, there
/// in a table of its own.
const SOURCE_RANGES: [&str; 2] = ["KUBE-PROXY-FIREWALL", "KUBE-FW-"];
const NFT_TABLE: &str = "kube-proxy";
const NFT_SOURCE_RANGES: &str = "firewall-";

/// Who sets the rule of a network policy, as far as its chain tells.
pub fn engine(rule: &Rule) -> Option<&'static str> {
    let (_, chain) = rule.chain()?;
    engine_of(chain).filter(|_| rule.asks.policy.is_none())
}

/// Whose policies a chain of that name has.
pub fn engine_of(chain: &str) -> Option<&'static str> {
    let mut all = POLICIES.iter();
    let (_, engine) = all.find(|(start, _)| chain.starts_with(start))?;
    Some(engine)
}

/// What tells whether that agent runs.
pub fn want(rule: &Rule) -> Option<Want> {
    engine(rule).map(|engine| Want::Commands(engine.to_owned()))
}

/// Known to mean it: by its own words, or by whose it is.
pub fn is_meant(
    facts: &Facts<'_>,
    rule: &Rule,
    standing: Standing,
    patterns: &[DropGroup<'_>],
) -> bool {
    let runs = |engine: &str| !facts.gathered.commands(engine).is_empty();
    engine(rule).is_some_and(runs)
        || is_source_range(facts, rule)
        || keeps_away(facts, rule, patterns)
        || match rule.asks.sources {
            // One address that is banned from what this node serves; of what is published for
            // everybody it may be the balancer's.
            Some(whom) if whom.is_one() => standing == Standing::Stranger,
            Some(_) => standing < Standing::Ours,
            None => false,
        }
}

/// A rule for a range of the world's, where nobody of the cluster is, or for a link-local address that this
/// node does not have (a cloud's metadata): nothing that is owed to pods.
fn keeps_away(facts: &Facts<'_>, rule: &Rule, patterns: &[DropGroup<'_>]) -> bool {
    let Some(whom) = rule.asks.destinations else {
        return false;
    };
    let away = |p: &DropGroup<'_>| {
        let near = beside(facts, p.destination).is_some();
        let outside = !p.reply && !near && !unexplained::is_clusters(facts, p.destination);
        outside && (is_link_local(p.destination) || !whom.is_one())
    };
    patterns.iter().all(away)
}

/// The uplink in whose own network an address is: a host beside this node, and maybe another node.
pub fn beside<'a>(facts: &Facts<'a>, address: IpAddr) -> Option<(&'a Link, Prefix)> {
    let uplinks = facts.node.links.iter().filter(|l| {
        let role = facts.role(l);
        role == Some(Role::Uplink) && l.kind != LinkKind::Loopback
    });
    uplinks.into_iter().find_map(|link| {
        let mut own = link.addresses.iter().filter(|a| !a.link_local);
        let own = own.find(|a| a.prefix.contains(address))?;
        Some((link, masked(own.prefix)))
    })
}

/// A link with its network, and the range that holds it.
pub type Overlap<'a> = (&'a Link, Prefix, Prefix);

/// The network of an uplink that lies in a range that a rule keeps away: two that were to be apart.
pub fn overlap<'a>(
    facts: &Facts<'a>,
    rule: &Rule,
    patterns: &[DropGroup<'_>],
) -> Option<Overlap<'a>> {
    let Some(Whom::These(range)) = rule.asks.destinations else {
        return None;
    };
    let to = patterns.iter().filter(|p| !p.reply).map(|p| p.destination);
    let mut beside = to.filter_map(|to| beside(facts, to));
    let (link, network) = beside
        .find(|(_, network)| range.length < network.length && range.contains(network.address))?;
    Some((link, network, range))
}

fn is_source_range(facts: &Facts<'_>, rule: &Rule) -> bool {
    let services = facts.gathered.services();
    let runs = services.is_some_and(|known| !known.proxies.is_empty());
    runs && rule.chain().is_some_and(|(table, chain)| {
        let by_nft = table == NFT_TABLE && chain.starts_with(NFT_SOURCE_RANGES);
        by_nft || SOURCE_RANGES.iter().any(|start| chain.starts_with(start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rule;

    #[test]
    fn engines_are_known_by_their_chains_and_never_by_a_policy_of_the_chain() {
        let of = |chain, text| engine(&rule(["ip", "filter", chain], text));
        assert_eq!(of("cali-tw-cali1234", "drop"), Some("calico-node"));
        assert_eq!(of("KUBE-POD-FW-X", "drop"), Some("kube-router"));
        assert_eq!(of("FORWARD", "drop"), None);
        let policy = "type filter hook forward priority filter; policy drop;";
        assert_eq!(of("cali-FORWARD", policy), None);
    }
}
