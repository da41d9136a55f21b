//! # Symptom
//! A busy client gets "cannot assign requested address" (EADDRNOTAVAIL) for one destination, while others
//! still work. No packet leaves for it. Behind a masquerade, new connections to it time out instead.
//!
//! # Mechanism
//! Each connection to the same address and port needs its own local port from
//! `net.ipv4.ip_local_port_range`. Connections that stay open, leak, or stay in TIME_WAIT for a minute
//! after closing use up the range (__inet_hash_connect). A masquerade needs a port of the node's address
//! in the same way, for all its pods together (get_unique_tuple).
//!
//! # Signals
//! Observed: the sockets of the namespace with a local port in that range, counted by destination: one
//! destination has nearly all of them. The kernel has no counter for it, and nothing shows on the wire.
//! Of a masquerade: the pods' SYNs leave the pod and die in `nf_hook_slow`, insert_failed moves by as
//! many, and the ports that they were given are those of other connections to the same destination.
//!
//! # Look-alikes
//! `conntrack-full` hits all destinations. `conntrack-insert-race` moves insert_failed too, and what is
//! sent again gets through.
//!
//! # By hand
//! `nsenter -t PID -n ss -Htan | awk '{print $5}' | sort | uniq -c | sort -n` counts the connections by
//! destination, with the PID of the client; `nsenter -t PID -n sysctl net.ipv4.ip_local_port_range` shows
//! the range.
//!
//! # Fix
//! Reuse connections (keep-alive, a pool) and close those that leak. If they are in TIME_WAIT:
//! `net.ipv4.tcp_tw_reuse=1`. Or widen the range with the pod's securityContext.sysctls. A masquerade
//! that is limited to a few ports (--to-ports) needs more of them, else SNAT more addresses.
mod masquerade;

use crate::{
    model::{
        address::endpoint,
        gather::{Destination, Want},
        pod::label,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, FlowRef, Origin, PodRef, PodRole,
            Severity,
        },
    },
    need::{Need, Sufferer},
    pipeline::facts::Facts,
    shell,
};
use netdiag_lang::{mark, t};

pub const ID: &str = "port-exhaustion";
pub const TITLE: &str = mark!("all local ports for one destination are in use");

/// Of the range, in percent: some ports of it are reserved or bound by others, and a client that
/// has come this far fails now and then already.
const FULL: u64 = 95;
/// From here on it is worth counting by destination.
const WORTH: u64 = 80;

/// The local port range of a namespace.
#[derive(Clone, Copy)]
struct Range {
    netns: u32,
    low: u64,
    high: u64,
}

impl Range {
    fn size(self) -> u64 {
        self.high.saturating_add(1).saturating_sub(self.low)
    }
}

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let crowded = ranges(facts).into_iter().filter(|range| {
        let count = |name| facts.node.counter(range.netns, name).unwrap_or(0);
        let of = [
            "sockstat.TCP.inuse",
            "sockstat.TCP6.inuse",
            "sockstat.TCP.tw",
        ];
        let sockets: u64 = of.into_iter().map(count).total();
        sockets.saturating_mul(100) >= range.size().saturating_mul(WORTH)
    });
    let need = |range: Range| {
        let pod = Sufferer::Namespace(range.netns);
        Need::of(Want::Connections(range.netns), vec![pod])
    };
    crowded.map(need).collect()
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let all: Vec<_> = ranges(facts)
        .into_iter()
        .flat_map(|r| full(facts, r))
        .collect();
    let Some((range, worst)) = all.iter().max_by_key(|(_, d)| d.sockets) else {
        return masquerade::evaluate(facts);
    };
    let (to, who) = (
        endpoint(worst.address, worst.port),
        who(facts, *range, worst),
    );
    let (sockets, size) = (worst.sockets, range.size());
    let summary = t!(
        "{who} has {sockets} connections to {to} and {size} local ports for them: no more can be \
         opened"
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    for (range, destination) in &all {
        tell(facts, &mut finding, *range, destination);
    }
    finding.pods.sort();
    finding.pods.dedup();
    finding.fix = fix(facts, *range, worst, &who);
    finding.first_seen = facts.clock.text(facts.now);
    finding.last_seen = facts.clock.text(facts.now);
    Some(finding)
}

/// Those of this node and its pods.
fn ranges(facts: &Facts<'_>) -> Vec<Range> {
    let of = |counters: &crate::model::node::Counters| {
        let value = |end| {
            counters
                .values
                .get(format!("ip_local_port_range.{end}").as_str())
                .copied()
        };
        Some(Range {
            netns: counters.netns,
            low: value("low")?,
            high: value("high")?,
        })
    };
    facts.node.counters.iter().filter_map(of).collect()
}

fn full<'a>(facts: &'a Facts<'_>, range: Range) -> Vec<(Range, &'a Destination)> {
    let all = facts
        .gathered
        .connections(range.netns)
        .unwrap_or_default()
        .iter();
    let full = all.filter(|d| used(facts, range, d) * 100 >= range.size().saturating_mul(FULL));
    full.map(|d| (range, d)).collect()
}

/// Ports that no further connection may have: those in TIME_WAIT are given out again where the
/// namespace has it so (tcp_tw_reuse 1, and 2 on loopback, which is the kernel's own since 4.19).
fn used(facts: &Facts<'_>, range: Range, to: &Destination) -> u64 {
    let reuse = facts.node.counter(range.netns, "tcp_tw_reuse");
    let again = match reuse.unwrap_or(2) {
        0 => false,
        1 => true,
        _ => to.address.is_loopback(),
    };
    let waiting = if again { to.waiting } else { 0 };
    u64::from(to.sockets.saturating_sub(waiting))
}

fn pod(facts: &Facts<'_>, range: Range, destination: &Destination) -> Option<PodRef> {
    let side = facts.node.pod_side(range.netns)?;
    let mut own = side.addresses.iter();
    let source = own.find(|a| **a == destination.source)?;
    facts.pod(*source, PodRole::Source)
}

fn who(facts: &Facts<'_>, range: Range, destination: &Destination) -> String {
    let pod = pod(facts, range, destination);
    pod.map_or_else(|| destination.source.to_string(), |pod| label(&pod))
}

fn tell(facts: &Facts<'_>, finding: &mut Finding, range: Range, destination: &Destination) {
    let Destination {
        source,
        address,
        port,
        sockets,
        waiting,
        owner,
    } = destination;
    let to = endpoint(*address, *port);
    let inside = |command| facts.node.inside(range.netns, command);
    let of = owner
        .as_deref()
        .map_or_else(String::new, |owner| t!(", of {owner}"));
    let text = t!("{sockets} sockets from {source} to {to}, {waiting} in TIME_WAIT{of}");
    let mut line = Evidence::new(EvidenceKind::Socket, Origin::Observed, text);
    line.limit = u32::try_from(range.size()).ok();
    line.confirm = Some(inside(shell!("ss -Htan dst {} | wc -l", to)));
    finding.evidence.push(line);
    let text = t!("the local ports are {} to {}", range.low, range.high);
    let mut line = Evidence::new(EvidenceKind::Sysctl, Origin::Configured, text);
    line.confirm = Some(inside(shell!("sysctl net.ipv4.ip_local_port_range")));
    finding.evidence.push(line);
    finding.flows.push(FlowRef {
        protocol: "tcp".into(),
        source: source.to_string(),
        destination: to,
        packets: 0,
        retransmits: 0,
        last_seen_at: None,
        ..FlowRef::default()
    });
    finding.pods.extend(pod(facts, range, destination));
    finding.pods.extend(facts.pod(*address, PodRole::Server));
    finding.about.push(*address);
}

fn fix(facts: &Facts<'_>, range: Range, worst: &Destination, who: &str) -> Fix {
    let program = worst.owner.as_deref().unwrap_or(t!("the client"));
    let inside = |command| facts.node.inside(range.netns, command);
    let widen = shell!("sysctl -w net.ipv4.ip_local_port_range='1024 65535'");
    let mut commands = vec![inside(widen)];
    let habit = if worst.waiting > worst.sockets / 2 {
        commands.push(inside(shell!("sysctl -w net.ipv4.tcp_tw_reuse=1")));
        t!("keep connections open and use them again (keep-alive, a pool)")
    } else {
        t!("close connections that are no longer used (a leak?), or share them in a pool")
    };
    Fix {
        summary: t!(
            "let {program} in {who} {habit}; for now widen the range (a pod's \
             securityContext.sysctls)"
        ),
        commands,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        model::{
            gather::Piece,
            node::{Counters, Node},
            observation::Observation,
        },
        testing::{POD_NETNS, ip, overlay_node, with_gathered},
    };

    fn node(inuse: u64) -> Node {
        let values = [
            ("ip_local_port_range.low", 40_000),
            ("ip_local_port_range.high", 40_099),
            ("sockstat.TCP.inuse", inuse),
        ];
        let values = values.map(|(name, value)| (name.into(), value));
        Node {
            counters: vec![Counters {
                netns: POD_NETNS,
                values: BTreeMap::from(values),
            }],
            ..overlay_node(1450, 1450, 1500)
        }
    }

    fn judge(sockets: u32) -> (usize, bool) {
        waiting(sockets, 1, "172.20.2.9", 0)
    }

    fn waiting(sockets: u32, waiting: u32, to: &str, reuse: u64) -> (usize, bool) {
        let destination = Destination {
            source: ip("172.20.1.5"),
            address: ip(to),
            port: 5432,
            sockets,
            waiting,
            owner: None,
        };
        let piece = Piece::Connections(vec![destination]);
        let known = [(Want::Connections(POD_NETNS), Ok(piece))];
        let reading = Observation::default();
        let mut node = node(sockets.into());
        let values = &mut node.counters[0].values;
        values.insert("tcp_tw_reuse".into(), reuse);
        with_gathered(&node, &reading, known, |facts| {
            (wants(facts).len(), evaluate(facts).is_some())
        })
    }

    #[test]
    fn ports_in_time_wait_that_are_given_out_again_are_free() {
        assert_eq!(waiting(99, 98, "127.0.0.1", 2), (1, false));
        assert_eq!(waiting(99, 98, "172.20.2.9", 1), (1, false));
        assert_eq!(waiting(99, 98, "172.20.2.9", 2), (1, true));
        assert_eq!(waiting(99, 98, "127.0.0.1", 0), (1, true));
    }

    #[test]
    fn the_range_decides_how_many_are_too_many() {
        assert_eq!(judge(99), (1, true));
        assert_eq!(judge(85), (1, false), "worth a look, not full");
        assert_eq!(judge(20), (0, false));
    }
}
