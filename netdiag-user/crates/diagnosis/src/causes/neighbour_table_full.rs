//! # Symptom
//! Some addresses on a network answer and others do not, and which ones changes by the minute. Addresses
//! in use keep working, new ones fail at once ("No buffer space available" on the node itself). The
//! kernel log says "neighbor table overflow!". It comes with growth (more pods, more nodes, a larger flat
//! network) or with a network scan.
//!
//! # Mechanism
//! Each address that a host talks to on a link takes an entry in the ARP table (IPv4) or the neighbour
//! table (IPv6), and so does each host that asks for one of its addresses. The whole machine has one
//! table of each: the entries of all pods' namespaces count. At gc_thresh3 (1024 by default) the kernel
//! evicts entries unused for five seconds. If that frees none, it makes no new entry and drops the packet
//! that needs it.
//!
//! # Signals
//! Observed: the counter `table_fulls` of /proc/net/stat/arp_cache or ndisc_cache keeps moving during the
//! run; drops with the reason NEIGH_CREATEFAIL. Configured: gc_thresh3, and the links of the node's own
//! entries.
//!
//! # Look-alikes
//! `neighbour-failed`: the entry exists, and the neighbour does not answer. `no-route`: there is no
//! route. A table that is nearly full and drops nothing is no fault yet.
//!
//! # By hand
//! `cat /proc/net/stat/arp_cache` (entries and table_fulls, hexadecimal, the latter per CPU) against
//! `sysctl net.ipv4.neigh.default.gc_thresh3`; for IPv6 ndisc_cache and net.ipv6. `dmesg | grep 'table
//! overflow'`; `ip neighbour | awk '{print $3}' | sort | uniq -c` counts the entries by link. Run these
//! on the node: a pod's namespace shows neither the counters nor the limits.
//!
//! # Fix
//! Raise gc_thresh3, and gc_thresh2 and gc_thresh1 with it, on the node itself and permanently
//! (/etc/sysctl.d), well above the number of addresses that can exist at once. An entry takes less than a
//! kilobyte. Find out who talks to so many.
use std::collections::BTreeMap;

use netdiag_lang::{mark, t};

use crate::{
    model::{
        node::Counters,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Passage, Severity},
    },
    pipeline::facts::Facts,
    shared::losses,
    shell,
};

pub const ID: &str = "neighbour-table-full";
pub const TITLE: &str =
    mark!("the ARP or neighbour table is full, new neighbours cannot be reached");

/// A scan that takes the last places costs some packets and is over; each try at a table that
/// stays full counts.
const LASTING: u64 = 10;

/// The table of one family.
struct Table {
    ipv6: bool,
    /// Entries that found no room during the run.
    refused: u64,
    entries: u64,
    /// gc_thresh3.
    limit: u64,
}

impl Table {
    fn stat(&self) -> &'static str {
        if self.ipv6 {
            "ndisc_cache"
        } else {
            "arp_cache"
        }
    }

    fn sysctl(&self, name: &str) -> String {
        let family = if self.ipv6 { "ipv6" } else { "ipv4" };
        format!("net.{family}.neigh.default.{name}")
    }

    fn name(&self) -> &'static str {
        if self.ipv6 {
            t!("IPv6 neighbour table")
        } else {
            t!("ARP table")
        }
    }
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let tables = full(facts);
    let worst = tables.first()?;
    let of = |family: u8| tables.iter().any(|t| t.ipv6 == (family == 6));
    let no_entry =
        |l: &crate::pipeline::facts::Loss| l.reason == "NEIGH_CREATEFAIL" && of(l.flow().family);
    let patterns = losses::patterns(facts, no_entry);
    let summary = t!(
        "this machine's {} is full, {} entries of at most {}: {} times no room was found for a new \
         neighbour",
        worst.name(),
        worst.entries,
        worst.limit,
        worst.refused
    );
    let mut finding = if patterns.is_empty() {
        // The counter alone shows it.
        let mut finding = Finding::new(ID, Severity::Critical, Confidence::Confirmed, summary);
        finding.first_seen = facts.clock.text(facts.now);
        finding.last_seen.clone_from(&finding.first_seen);
        finding
    } else {
        losses::finding(facts, ID, Severity::Critical, &patterns, summary)
    };
    for table in tables.iter().rev() {
        finding.evidence.extend(held(facts, table));
        finding.evidence.insert(0, counted(table));
    }
    for table in &tables {
        let ipv6 = table.ipv6;
        finding.scope.add_passage(Passage::Neighbours { ipv6 });
    }
    finding.fix = fix(&tables);
    Some(finding)
}

/// The tables that are full, the worst first. Only one namespace shows them.
fn full(facts: &Facts<'_>) -> Vec<Table> {
    let of = |counters: &Counters, ipv6: bool| {
        let mut table = Table {
            ipv6,
            refused: 0,
            entries: 0,
            limit: 0,
        };
        let stat = table.stat();
        let value = |name: &str| {
            counters
                .values
                .get(format!("{stat}.{name}").as_str())
                .copied()
        };
        table.refused = facts.moved(counters.netns, &format!("{stat}.table_fulls"))?;
        table.entries = value("entries")?;
        table.limit = value("gc_thresh3")?;
        (table.refused >= LASTING).then_some(table)
    };
    let all = facts.node.counters.iter();
    let mut tables: Vec<_> = all
        .flat_map(|counters| [of(counters, false), of(counters, true)])
        .flatten()
        .collect();
    tables.sort_by_key(|t| std::cmp::Reverse(t.refused));
    tables
}

fn counted(table: &Table) -> Evidence {
    let text = t!(
        "table_fulls moved by {}; the {} has {} entries, {} is {}",
        table.refused,
        table.name(),
        table.entries,
        table.sysctl("gc_thresh3"),
        table.limit
    );
    let mut line = Evidence::new(EvidenceKind::Counter, Origin::Observed, text);
    let path = format!("/proc/net/stat/{}", table.stat());
    line.packets = Some(table.refused);
    line.confirm = Some(shell!(
        "cat {}; sysctl {}; dmesg | grep 'table overflow'",
        path,
        table.sysctl("gc_thresh3")
    ));
    line.at = Some(path);
    line
}

/// The link that most of this node's own entries are on.
fn held(facts: &Facts<'_>, table: &Table) -> Option<Evidence> {
    let mut links: BTreeMap<u32, usize> = BTreeMap::new();
    let neighbours = facts.node.neighbours.iter();
    for neighbour in neighbours.filter(|n| n.address.is_ipv6() == table.ipv6) {
        *links.entry(neighbour.ifindex).or_default() += 1;
    }
    let all: usize = links.values().sum();
    let (link, most) = links.into_iter().max_by_key(|(_, count)| *count)?;
    let link = facts.node.link_name(link);
    let text = t!(
        "{all} of the entries are this node's own, {most} of them on {link}; the rest are of other \
         namespaces"
    );
    let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Configured, text);
    let family = if table.ipv6 { "-6" } else { "-4" };
    line.confirm = Some(shell!("ip").with_words([family, "neighbour", "show", "dev", &link]));
    line.at = Some(link);
    Some(line)
}

/// The kernel's own proportions of the three (128, 512, 1024).
fn fix(tables: &[Table]) -> Fix {
    let mut commands = Vec::new();
    let mut words = Vec::new();
    for table in tables {
        // Twice what is there; and never less than the kernel's own limit.
        let limit = table.limit.saturating_mul(2).max(1024);
        for (name, value) in [
            ("gc_thresh3", limit),
            ("gc_thresh2", limit / 2),
            ("gc_thresh1", limit / 8),
        ] {
            commands.push(shell!("sysctl -w {}={}", table.sysctl(name), value));
        }
        let name = table.sysctl("gc_thresh3");
        words.push(t!("raise {name} from {} to {limit}", table.limit));
    }
    Fix {
        summary: t!(
            "{}, and the two below it in proportion, on the node itself and in /etc/sysctl.d; see \
             who speaks to so many neighbours",
            words.join(t!(", "))
        ),
        commands,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            node::{Neighbour, Node},
            observation::Observation,
        },
        testing::{NETNS, POD_NETNS, UPLINK, died, ip, overlay_node, since, tcp},
    };

    /// The machine's tables in that namespace.
    fn node(netns: u32, stat: &str, fulls: u64, entries: u64) -> Node {
        let mut node = overlay_node(1450, 1450, 1500);
        let values = [
            ("table_fulls", fulls),
            ("entries", entries),
            ("gc_thresh3", 1024),
        ];
        let values = values.map(|(name, value)| (format!("{stat}.{name}").into(), value));
        node.counters.push(Counters {
            netns,
            values: values.into(),
        });
        node
    }

    fn judge(before: &Node, now: &Node, reason: &str) -> Option<Finding> {
        let flow = tcp("172.20.1.5", "192.0.2.77", 443);
        let observation = Observation {
            drops: vec![died(flow, (reason, "ip_finish_output2"), UPLINK, 6)],
            ..Observation::default()
        };
        since(before, now, &observation, [], evaluate)
    }

    #[test]
    fn a_table_that_stays_full_is_named_with_its_limit() {
        let before = node(NETNS, "arp_cache", 5, 1000);
        let mut now = node(NETNS, "arp_cache", 45, 1024);
        now.neighbours.push(Neighbour {
            ifindex: UPLINK,
            address: ip("192.0.2.9"),
            lladdr: None,
            failed: false,
            permanent: false,
        });
        let found = judge(&before, &now, "NEIGH_CREATEFAIL").expect("a finding");
        assert!(found.summary.contains("1024 entries of at most 1024: 40"));
        assert_eq!(
            found.evidence[0].at.as_deref(),
            Some("/proc/net/stat/arp_cache")
        );
        assert!(
            found
                .evidence
                .iter()
                .any(|e| e.reason.as_deref() == Some("NEIGH_CREATEFAIL"))
        );
        assert_eq!(
            found.fix.commands[0],
            "sysctl -w net.ipv4.neigh.default.gc_thresh3=2048"
        );
        assert_eq!(found.flows.len(), 1);
    }

    #[test]
    fn ipv6_has_a_table_of_its_own_and_another_namespace_may_show_it() {
        let before = node(POD_NETNS, "ndisc_cache", 0, 1000);
        let now = node(POD_NETNS, "ndisc_cache", 12, 1024);
        let found = judge(&before, &now, "NEIGH_CREATEFAIL").expect("a finding");
        assert!(found.summary.contains("IPv6 neighbour table"));
        // The packets that were lost are of the other family.
        assert!(found.flows.is_empty());
    }

    #[test]
    fn a_full_table_that_refuses_nobody_is_no_fault() {
        let before = node(NETNS, "arp_cache", 500, 1020);
        let now = node(NETNS, "arp_cache", 503, 1020);
        assert!(judge(&before, &now, "NEIGH_CREATEFAIL").is_none());
        let none = overlay_node(1450, 1450, 1500);
        assert!(judge(&none, &none, "NEIGH_CREATEFAIL").is_none());
    }

    #[test]
    fn silence_is_another_cause() {
        let now = node(NETNS, "arp_cache", 5, 1000);
        assert!(judge(&now, &now, "NEIGH_FAILED").is_none());
    }
}
