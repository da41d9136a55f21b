//! # Symptom
//! Lookups sometimes take 5 s, connections 1 or 3 s, and then work: the first packet was lost. The busier
//! the node, the more often it happens.
//!
//! # Mechanism
//! A new connection enters the conntrack table only when its first packet leaves
//! (__nf_conntrack_confirm). Two packets that are processed on two CPUs at once do not see each other's
//! choice. SNAT or MASQUERADE that keeps the source port then gives both clients the same translated
//! port; the second finds its place taken and is dropped (nf_ct_resolve_clash). Queries for A and AAAA
//! from one socket race in the same way; kernels since 2020 resolve that (nf_ct_resolve_clash_harder).
//!
//! # Signals
//! Observed: netfilter drops first packets (NETFILTER_DROP in `nf_hook_slow`) while the counter
//! `insert_failed` of that namespace moves and the table has room. At the same moment two packets from
//! the same source port, of two pods or of one socket, left for the same destination. The retransmission
//! is answered.
//!
//! # Look-alikes
//! `conntrack-full` drops in the same function while the table is at its limit. `firewall-drop`: the
//! counter of a rule moves, and the retransmission is dropped too. SNAT that has run out of ports
//! (`port-exhaustion`) fails to insert on every attempt, for a port that was long taken.
//!
//! # By hand
//! `conntrack -S`: insert_failed grows. `tcpdump -nn udp port 53` in a pod: a query is repeated after 5
//! s.
//!
//! # Fix
//! Use MASQUERADE and SNAT with --random-fully (nft: fully-random); NodeLocal DNSCache, which asks
//! upstream over TCP; on older kernels `options single-request-reopen` in resolv.conf.
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use netdiag_common::{dns::PORT, loss::DropKey};
use netdiag_lang::{mark, t};

use crate::{
    model::{
        address::endpoint,
        flow,
        pod::label,
        roles::Role,
        total::Total,
        verdict::{Evidence, EvidenceKind, Finding, Fix, FlowRef, Origin, PodRole, Severity},
    },
    pipeline::facts::{Facts, HopFlow, Loss},
    shared::{
        conntrack::{self, AT_ONCE_NS},
        losses::{self, PATTERN},
    },
    shell,
};

pub const ID: &str = "conntrack-insert-race";
pub const TITLE: &str =
    mark!("two connections at once are given the same translation: one is dropped");

/// Races that a finding shows.
const SHOWN: usize = 3;

/// A first packet that was dropped, and those that left for the same place at the same moment.
struct Race<'a> {
    loss: &'a Loss,
    rivals: Vec<&'a HopFlow>,
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let mut races = races(facts);
    races.sort_by_key(|r| r.loss.dropped.first);
    let netns = busiest(&races)?;
    races.retain(|r| r.loss.key.netns == netns);
    let count = races.len() as u64;
    if count < PATTERN {
        return None;
    }
    let keys: HashSet<DropKey> = races.iter().map(|r| r.loss.key).collect();
    let patterns = losses::shares(facts, |l| keys.contains(&l.key));
    let worst = patterns.first()?;
    let summary = t!(
        "{count} times two packets for {} left at the same moment from the same port: both wanted \
         one conntrack entry, and the later one was dropped (the table is not full)",
        worst.target(),
    );
    let mut finding = losses::finding(facts, ID, Severity::Warning, &patterns, summary);
    finding.evidence.push(conntrack::counted(facts, netns));
    finding
        .evidence
        .extend(races.iter().take(SHOWN).filter_map(met));
    finding.evidence.extend(repeated(facts, &races));
    let rivals = || races.iter().flat_map(|r| &r.rivals);
    finding.flows = rivals().take(SHOWN * 2).map(|h| refer(h)).collect();
    rivals().for_each(|h| finding.scope.add_key(h.flow()));
    let pods: BTreeSet<_> = rivals()
        .filter_map(|h| facts.pod(flow::ends(h.flow()).0, PodRole::Source))
        .collect();
    finding.fix = fix(&pods.iter().map(label).collect::<Vec<_>>(), worst.port);
    finding.pods = pods.into_iter().collect();
    Some(finding)
}

/// The namespace with most of them.
fn busiest(races: &[Race<'_>]) -> Option<u32> {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for race in races {
        *counts.entry(race.loss.key.netns).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(netns, n)| (*n, *netns));
    most.map(|(netns, _)| netns)
}

fn races<'a>(facts: &Facts<'a>) -> Vec<Race<'a>> {
    let lost: Vec<_> = facts
        .losses
        .iter()
        .filter(|l| l.flow().source_port != 0)
        .filter(|l| conntrack::by_its_hook(l) && conntrack::is_refusing(facts, l.key.netns))
        .collect();
    if lost.is_empty() {
        return Vec::new();
    }
    let mut sent: HashMap<(u8, u16), Vec<&HopFlow>> = HashMap::new();
    for seen in facts.flows.iter().filter(|h| leaves_pod(h)) {
        let flow = seen.flow();
        let key = (flow.protocol, flow.source_port);
        sent.entry(key).or_default().push(seen);
    }
    let race = |loss: &&'a Loss| {
        let key = (loss.flow().protocol, loss.flow().source_port);
        let rivals = rivals(loss, sent.get(&key)?);
        Some(Race { loss, rivals }).filter(Race::is_proven)
    };
    lost.iter().filter_map(race).collect()
}

fn leaves_pod(seen: &HopFlow) -> bool {
    seen.plain() && !seen.egress() && seen.role == Some(Role::Pod)
}

/// What left a pod when the packet was dropped, by the same port for the same destination.
fn rivals<'a>(loss: &Loss, sent: &[&'a HopFlow]) -> Vec<&'a HopFlow> {
    let near = |a: u64, b: u64| a.abs_diff(b) <= AT_ONCE_NS;
    let there = sent
        .iter()
        .filter(|h| near(h.hop.first, loss.dropped.first));
    let mut rivals: Vec<_> = there.copied().collect();
    rivals.sort_by_key(|h| (h.hop.first, h.key.flow.source));
    // Where it is translated too, only the rivals' destination tells: the first one's.
    let to = |h: &HopFlow| (h.flow().destination, h.flow().destination_port);
    let of_loss = (loss.flow().destination, loss.flow().destination_port);
    let same = rivals.iter().any(|h| to(h) == of_loss);
    let wanted = if same {
        Some(of_loss)
    } else {
        rivals.first().map(|h| to(h))
    };
    rivals.retain(|h| Some(to(h)) == wanted);
    rivals
}

impl Race<'_> {
    /// Two clients, or one socket's two queries.
    fn is_proven(&self) -> bool {
        let flow = self.loss.flow();
        let own = |h: &&HopFlow| h.flow().source == flow.source && h.hop.packets > 1;
        let queries = flow.destination_port == PORT && self.rivals.iter().any(own);
        self.rivals.len() > 1 || queries
    }
}

fn source(seen: &HopFlow) -> String {
    endpoint(flow::ends(seen.flow()).0, seen.flow().source_port)
}

fn met(race: &Race<'_>) -> Option<Evidence> {
    let (first, last) = (race.rivals.first()?, race.rivals.last()?);
    let to = endpoint(flow::ends(first.flow()).1, first.flow().destination_port);
    let apart = last.hop.first.abs_diff(first.hop.first) as f64 / 1e3;
    let who = match race.rivals.len() {
        1 => t!("two queries of {}", source(first)),
        _ => t!("{} and {}", source(first), source(last)),
    };
    let text = t!("{who} set out for {to} within {apart:.1} µs; one of them was dropped");
    let mut line = Evidence::new(EvidenceKind::Socket, Origin::Observed, text);
    line.at = Some(first.interface.clone());
    Some(line)
}

/// How long those that lost had to wait.
fn repeated(facts: &Facts<'_>, races: &[Race<'_>]) -> Option<Evidence> {
    let rivals = races.iter().flat_map(|r| &r.rivals);
    let asked: HashSet<(IpAddr, IpAddr)> = rivals.map(|h| flow::ends(h.flow())).collect();
    let theirs = |q: &&crate::pipeline::facts::Question| {
        q.role == Some(Role::Pod) && asked.contains(&(q.client, q.server))
    };
    let questions: Vec<_> = facts.dns.iter().filter(theirs).collect();
    let repeats: u64 = questions.iter().map(|q| q.dns.repeats).total();
    let gap = questions.iter().map(|q| q.dns.repeat_gap).max()?;
    if repeats == 0 {
        return None;
    }
    let seconds = gap as f64 / 1e9;
    let text = t!("{repeats} queries were sent again, after {seconds:.1} s at most");
    let mut line = Evidence::new(EvidenceKind::Dns, Origin::Observed, text);
    line.packets = Some(repeats);
    Some(line)
}

fn refer(seen: &HopFlow) -> FlowRef {
    FlowRef {
        protocol: flow::protocol(seen.flow().protocol),
        source: source(seen),
        destination: endpoint(flow::ends(seen.flow()).1, seen.flow().destination_port),
        packets: seen.hop.packets,
        retransmits: seen.hop.retransmits,
        last_seen_at: Some(seen.interface.clone()),
        ..FlowRef::default()
    }
}

fn fix(pods: &[String], port: u16) -> Fix {
    let who = pods.join(t!(" and "));
    let dns = match port {
        PORT => {
            t!(
                "; for DNS, NodeLocal DNSCache avoids it (it asks upstream over TCP), and on older \
             kernels `options single-request-reopen` in resolv.conf"
            )
        }
        _ => "",
    };
    Fix {
        summary: t!(
            "add --random-fully to the MASQUERADE or SNAT rule that translates packets of {who} \
             (nft: fully-random), so that it draws source ports at random; kube-proxy and flannel \
             do so where the node's iptables supports it{dns}"
        ),
        commands: vec![
            shell!("iptables-save -t nat | grep -E 'MASQUERADE|SNAT'"),
            shell!("nft -a list ruleset | grep -E 'masquerade|snat'"),
            shell!("conntrack -S"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        model::{
            node::{Counters, Node},
            observation::Observation,
        },
        testing::{NETNS, UPLINK, died, from_pod, overlay_node, since, tcp},
    };

    const SERVER: &str = "198.51.100.53";

    fn node(insert_failed: u64, count: u64) -> Node {
        let values = [
            ("nf_conntrack.insert_failed", insert_failed),
            ("nf_conntrack.drop", insert_failed),
            ("nf_conntrack_count", count),
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

    /// So many packets of the node's own address dropped, each from a port of its own, which so
    /// many pods used at that time.
    fn judge(node: &Node, dropped: u16, pods: u8) -> Option<Finding> {
        let mut observation = Observation::default();
        for n in 0..dropped {
            let time = u64::from(n) * 1_000_000_000;
            let with_port = |source: &str| {
                let mut flow = tcp(source, SERVER, PORT);
                flow.source_port += n;
                flow
            };
            let (key, mut drop) = died(
                with_port("192.0.2.1"),
                ("NETFILTER_DROP", "nf_hook_slow"),
                UPLINK,
                1,
            );
            drop.first = time + 5000;
            observation.drops.push((key, drop));
            for pod in 0..pods {
                let flow = with_port(&format!("172.20.1.{}", 5 + pod));
                let sent = from_pod(flow, |hop| hop.first = time);
                observation.flows.push(sent);
            }
        }
        since(&self::node(0, 0), node, &observation, [], evaluate)
    }

    #[test]
    fn two_pods_with_one_port_are_a_race() {
        let found = judge(&node(4, 100), 4, 2).expect("a finding");
        assert!(found.summary.starts_with("4 times"), "{}", found.summary);
        let text: Vec<_> = found.evidence.iter().map(|e| e.text.as_str()).collect();
        assert!(text.iter().any(|t| t.contains("100 of 1000")), "{text:?}");
        assert!(found.fix.summary.contains("fully-random"));
    }

    #[test]
    fn one_client_alone_races_with_nobody() {
        assert!(judge(&node(4, 100), 4, 1).is_none(), "ports used up, say");
    }

    #[test]
    fn a_lost_packet_now_and_then_is_no_finding() {
        assert!(judge(&node(2, 100), 2, 2).is_none());
    }

    #[test]
    fn a_full_table_and_a_rule_are_others_business() {
        assert!(judge(&node(4, 1000), 4, 2).is_none(), "full");
        assert!(judge(&node(0, 100), 4, 2).is_none(), "nothing was refused");
    }
}
