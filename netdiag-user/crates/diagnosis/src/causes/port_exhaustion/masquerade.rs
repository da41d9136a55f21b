//! The same of the node's translation: each connection to one address and port needs a port of its
//! own behind the node's address. Where all are taken, the new one keeps a port that another has, and
//! is dropped when it is to enter the table (nf_nat_core.c get_unique_tuple, nf_conntrack_confirm).
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use netdiag_common::{dns::PORT as DNS, flow::FlowKey};
use netdiag_lang::t;

use super::ID;
use crate::{
    model::{
        address::endpoint,
        flow::{self, TCP, ends},
        shell::CommandLine,
        total::Total,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity},
    },
    pipeline::{
        connection_groups::{ConnectionGroup, Outcome, unanswered},
        facts::{Facts, Loss},
    },
    shared::{
        conntrack::{self, AT_ONCE_NS},
        losses::{self, DropGroup, PATTERN},
    },
    shell,
};

/// Patterns that are looked into, the busiest.
const MOST: usize = 16;
/// So many ports of one destination's are a range, whatever of it is not seen.
const MANY: usize = 10_000;
/// So few beside each other may be chance.
const FEW: usize = 4;

/// A server's port, and the node's address.
type Target = (IpAddr, IpAddr, u16, u8);

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let refusing = RefCell::new(HashMap::new());
    let refused = |loss: &Loss| {
        let mut known = refusing.borrow_mut();
        conntrack::by_its_hook(loss)
            && *known
                .entry(loss.key.netns)
                .or_insert_with(|| conntrack::is_refusing(facts, loss.key.netns))
    };
    let mut patterns = losses::shares(facts, refused);
    patterns.retain(|p| facts.owns(p.source) && p.packets() >= PATTERN);
    patterns.truncate(MOST);
    patterns.retain(|p| asking(facts, p).next().is_some() && is_taken(facts, p));
    let netns = patterns.first()?.losses.first()?.key.netns;
    patterns.retain(|p| p.losses.iter().all(|l| l.key.netns == netns));
    let worst = patterns.first()?;
    let lost = patterns.iter().map(DropGroup::packets).total();
    if conntrack::refused(facts, netns).saturating_mul(2) < lost {
        return None;
    }
    let (source, to) = (worst.source, endpoint(worst.destination, worst.port));
    let protocol = flow::protocol(worst.protocol);
    let summary = t!(
        "the masquerade has no port of {source} left for {protocol} {to}: {lost} packets that open \
         connections dropped"
    );
    let mut finding = losses::finding(facts, ID, Severity::Warning, &patterns, summary);
    finding.evidence.push(conntrack::counted(facts, netns));
    finding.evidence.push(held(facts, worst));
    for group in patterns.iter().flat_map(|p| asking(facts, p)) {
        finding
            .pods
            .extend(facts.pod(group.client, PodRole::Source));
        group
            .tries
            .iter()
            .for_each(|t| finding.scope.add_key(&t.flow));
    }
    finding.pods.sort();
    finding.pods.dedup();
    finding.fix = fix(worst);
    Some(finding)
}

/// Clients behind this node that ask in vain, again and again, what the pattern's packets are for.
/// Who speaks by UDP may want no answer, but of a name server, or of one who answers others; it misses what never leaves.
fn asking<'f, 'a>(
    facts: &'f Facts<'a>,
    pattern: &DropGroup<'_>,
) -> impl Iterator<Item = &'f ConnectionGroup<'a>> + use<'f, 'a> {
    let to = (pattern.destination, pattern.port, pattern.protocol);
    let expected = pattern.protocol == TCP || pattern.port == DNS;
    let expected = expected || answers(facts, to) || narrow(pattern).is_some();
    let groups = unanswered(facts).iter().filter(move |_| expected);
    groups.filter(move |g| {
        let same = (g.server, g.port, g.protocol) == to;
        same && !facts.owns(g.client) && g.packets() >= PATTERN
    })
}

fn answers(facts: &Facts<'_>, to: (IpAddr, u16, u8)) -> bool {
    let accepted =
        |g: &ConnectionGroup<'_>| { g.tries.iter() }.any(|t| t.outcome == Outcome::Accepted);
    let mut groups = facts.attempts().iter();
    groups.any(|g| (g.server, g.port, g.protocol) == to && accepted(g))
}

/// Ports of the node's address by which others talk to the same server, and since when.
fn taken(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> BTreeMap<u16, u64> {
    let target: Target = {
        let (from, to) = (pattern.source, pattern.destination);
        (from, to, pattern.port, pattern.protocol)
    };
    let same = |key: &FlowKey| {
        let (from, to) = ends(key);
        (from, to, key.destination_port, key.protocol) == target
    };
    let out = facts.flows.iter().filter(|h| h.plain() && h.egress());
    let out = out.filter(|h| same(h.flow()));
    out.map(|h| (h.flow().source_port, h.hop.first)).collect()
}

/// The few ports beside each other that all of them were given, each of them again and again: a rule gives no others. In a
/// race each port is its client's own.
fn narrow(pattern: &DropGroup<'_>) -> Option<(u16, u16)> {
    let ports = pattern.losses.iter().map(|loss| loss.flow().source_port);
    let ports: BTreeSet<u16> = ports.collect();
    let (low, high) = (*ports.first()?, *ports.last()?);
    let again = pattern.packets() >= 2 * ports.len() as u64;
    (again && ports.len() >= FEW && is_dense(ports.len(), (low, high))).then_some((low, high))
}

/// Most between the first and the last are among them.
fn is_dense(ports: usize, (low, high): (u16, u16)) -> bool {
    ports * 4 >= (usize::from(high - low) + 1) * 3
}

/// What was dropped would have had ports that were in use already, and nearly all between them are. In
/// a race (`conntrack-insert-race`) the other one had it a moment before, and the ports beside it are free.
fn is_taken(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let taken = taken(facts, pattern);
    let held = |loss: &&&Loss| {
        let since = taken.get(&loss.flow().source_port);
        since.is_some_and(|first| first.saturating_add(AT_ONCE_NS) < loss.dropped.first)
    };
    let packets = |loss: &&Loss| loss.dropped.packets;
    let all = pattern.losses.iter().map(packets).total();
    let of_others = pattern.losses.iter().filter(held).map(packets).total();
    let ends = taken.keys().next().zip(taken.keys().next_back());
    let dense = ends.is_some_and(|(low, high)| is_dense(taken.len(), (*low, *high)));
    let dense = dense && taken.len() > 1 || taken.len() >= MANY;
    dense && of_others.saturating_mul(2) > all || narrow(pattern).is_some()
}

fn held(facts: &Facts<'_>, worst: &DropGroup<'_>) -> Evidence {
    let (ports, source) = (taken(facts, worst).len(), worst.source);
    let to = endpoint(worst.destination, worst.port);
    let text = match narrow(worst) {
        Some((low, high)) => t!(
            "what is sent to {to} is given the ports {low} to {high} of {source} and no others, and others have them"
        ),
        None => t!(
            "connections to {to} have {ports} ports of {source}, those of the dropped among them"
        ),
    };
    let mut line = Evidence::new(EvidenceKind::Socket, Origin::Observed, text);
    line.confirm = Some(listing(worst).pipe(shell!("wc -l")));
    line
}

fn listing(worst: &DropGroup<'_>) -> CommandLine {
    let protocol = flow::protocol(worst.protocol);
    shell!(
        "conntrack -L -p {} -d {} --dport {}",
        protocol,
        worst.destination,
        worst.port
    )
}

fn fix(worst: &DropGroup<'_>) -> Fix {
    Fix {
        summary: t!(
            "let the clients share connections (keep-alive, a pool), and close those that leak; where the \
             rule that masquerades has a few ports alone (--to-ports, nft `masquerade to :LOW-HIGH`), \
             give it more, else SNAT to more addresses"
        )
        .into(),
        commands: vec![listing(worst), shell!("nft -a list ruleset")],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use netdiag_common::hop::{ACK, FlowHop, PLAIN, SYN};

    use super::*;
    use crate::{
        model::{
            node::{Counters, Node},
            observation::Observation,
        },
        testing::{self, NETNS, UPLINK, at, died, from_pod, overlay_node, tcp},
    };

    const SERVER: &str = "198.51.100.9";
    const SECOND: u64 = 1_000_000_000;

    fn node(insert_failed: u64) -> Node {
        let values = [
            ("nf_conntrack.insert_failed", insert_failed),
            ("nf_conntrack.drop", insert_failed),
            ("nf_conntrack_count", 20),
            ("nf_conntrack_max", 1000),
        ];
        let values = values.map(|(name, value)| (name.into(), value));
        Node {
            counters: vec![Counters {
                netns: NETNS,
                values: BTreeMap::from(values),
            }],
            ..overlay_node(1450, 1450, 1500)
        }
    }

    /// A pod asks in vain; its packets die at the ports from 40000 on, of which others have the first
    /// `taken`.
    fn judge(insert_failed: u64, taken: u16, since: u64) -> Option<Finding> {
        let asks = |hop: &mut FlowHop| {
            (hop.first, hop.last) = (SECOND, 8 * SECOND);
            (hop.syns, hop.flags) = (4, SYN);
        };
        let goes_on = |hop: &mut FlowHop| {
            (hop.first, hop.last, hop.flags) = (since, 14 * SECOND, ACK);
        };
        let own = |port| FlowKey {
            source_port: port,
            ..tcp("192.0.2.1", SERVER, 5222)
        };
        let mut flows = vec![from_pod(tcp("172.20.1.5", SERVER, 5222), asks)];
        flows.extend((0..taken).map(|n| at(own(40_000 + n), UPLINK, true, PLAIN, goes_on)));
        let observation = Observation {
            now: 15 * SECOND,
            flows,
            drops: (0..4)
                .map(|n| {
                    died(
                        own(40_000 + n),
                        ("NETFILTER_DROP", "nf_hook_slow"),
                        UPLINK,
                        1,
                    )
                })
                .map(|(key, mut drop)| {
                    drop.first = 2 * SECOND;
                    (key, drop)
                })
                .collect(),
            ..Observation::default()
        };
        testing::since(&node(0), &node(insert_failed), &observation, [], evaluate)
    }

    #[test]
    fn every_port_behind_the_nodes_address_is_taken() {
        let found = judge(4, 12, 1).expect("a finding");
        let says = "no port of 192.0.2.1 left for tcp 198.51.100.9:5222: 4 packets";
        assert!(found.summary.contains(says), "{}", found.summary);
        let text: Vec<_> = found.evidence.iter().map(|e| e.text.as_str()).collect();
        assert!(
            text.iter()
                .any(|t| t.contains("have 12 ports of 192.0.2.1")),
            "{text:?}"
        );
    }

    /// Whoever has them speaks seldom, and nobody else is answered: a rule gives eight ports, each is refused again.
    #[test]
    fn the_few_ports_that_a_rule_gives_are_taken() {
        let lost = |again| {
            let drops = (0..8).map(|n| {
                let own = FlowKey {
                    protocol: flow::UDP,
                    source_port: 61_000 + n,
                    ..tcp("192.0.2.1", SERVER, 4789)
                };
                died(own, ("NETFILTER_DROP", "nf_hook_slow"), UPLINK, again)
            });
            let asks = |n: u64| {
                let flow = FlowKey {
                    protocol: flow::UDP,
                    ..tcp("172.20.1.5", SERVER, 4789)
                };
                from_pod(flow, |hop: &mut FlowHop| {
                    (hop.first, hop.last) = (SECOND, 8 * SECOND);
                    hop.packets = n;
                })
            };
            let observation = Observation {
                now: 15 * SECOND,
                flows: vec![asks(8 * again)],
                drops: drops.collect(),
                ..Observation::default()
            };
            let (before, after) = (node(0), node(8 * again));
            testing::since(&before, &after, &observation, [], evaluate)
        };
        let found = lost(3).expect("a finding");
        let ports = |e: &Evidence| e.text.contains("the ports 61000 to 61007 of 192.0.2.1");
        assert!(found.evidence.iter().any(ports), "{:?}", found.evidence);
        assert!(lost(1).is_none(), "each once: a race");
    }

    #[test]
    fn a_port_of_ones_own_or_a_rule_is_another_matter() {
        assert!(judge(4, 1, 1).is_none(), "most have ports of their own");
        assert!(judge(0, 12, 1).is_none(), "nothing was refused: a rule");
        assert!(judge(4, 12, 2 * SECOND).is_none(), "a race: both at once");
    }
}
