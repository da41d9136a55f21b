//! # Symptom
//! New connections through the node fail at random or altogether, established ones continue. The kernel
//! log says "nf_conntrack: table full, dropping packet".
//!
//! # Mechanism
//! Each tracked connection has an entry until it times out (established TCP: five days by default). When
//! a network namespace has nf_conntrack_max entries, the kernel evicts one that was never answered (early
//! drop). If there is none, it drops the packet that needs a new entry.
//!
//! # Signals
//! Observed: the counter `drop` of /proc/net/stat/nf_conntrack moves during the run while
//! nf_conntrack_count is at its limit; drops with NETFILTER_DROP in `nf_hook_slow` that no rule explains.
//!
//! # Look-alikes
//! `firewall-drop`: a rule drops while the table has room; nftables drops in `nft_do_chain`.
//!
//! # By hand
//! `sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max` shows usage and limit,
//! `conntrack -S` the counters drop and early_drop per CPU. `conntrack -L | awk -F'src=| dst=' '{print
//! $2}' | sort | uniq -c | sort -n` counts the entries by source: the last lines fill the table.
//!
//! # Fix
//! Raise nf_conntrack_max and the number of buckets (kube-proxy: conntrack.maxPerCore), shorten
//! nf_conntrack_tcp_timeout_established, and find the client that opens so many connections.
use crate::{
    model::verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Passage, Severity},
    pipeline::facts::Facts,
    shared::{
        conntrack::{self, Table},
        losses,
    },
    shell,
};
use netdiag_lang::{mark, t};

pub const ID: &str = "conntrack-full";
pub const TITLE: &str = mark!("the connection tracking table is full, new connections are dropped");

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let table = conntrack::full(facts)?;
    let patterns = losses::patterns(facts, |l| conntrack::for_want_of_room(Some(&table), l));
    let whose = match facts.pods.by_netns(table.netns) {
        Some(pod) => t!("of the pod {}", pod.title()),
        None if table.netns == facts.node.netns => t!("of this node").into(),
        None => t!("of network namespace {}", table.netns),
    };
    let summary = t!(
        "the connection tracking table {whose} is full, {} of {} entries: {} packets found no room",
        table.count,
        table.max,
        table.dropped
    );
    let severity = Severity::Critical;
    let mut finding = if patterns.is_empty() {
        // The counter alone shows it.
        let mut finding = Finding::new(ID, severity, Confidence::Confirmed, summary);
        finding.first_seen = facts.clock.text(facts.now);
        finding.last_seen.clone_from(&finding.first_seen);
        finding
    } else {
        losses::finding(facts, ID, severity, &patterns, summary)
    };
    finding.scope.add_passage(Passage::Tracking(table.netns));
    finding.evidence.insert(0, counted(&table));
    finding.fix = fix(&table);
    Some(finding)
}

fn counted(table: &Table) -> Evidence {
    let text = t!(
        "nf_conntrack_count is {} of nf_conntrack_max {}, and drop moved by {}",
        table.count,
        table.max,
        table.dropped
    );
    let mut line = Evidence::new(EvidenceKind::Counter, Origin::Observed, text);
    line.at = Some("/proc/net/stat/nf_conntrack".into());
    line.packets = Some(table.dropped);
    line.confirm = Some(shell!(
        "conntrack -C; conntrack -S; dmesg | grep 'table full'"
    ));
    line
}

fn fix(table: &Table) -> Fix {
    let twice = table.max.saturating_mul(2);
    Fix {
        summary: t!(
            "raise nf_conntrack_max from {} to {twice} (an entry takes some 300 bytes; \
             kube-proxy: conntrack.maxPerCore or conntrack.min, else it sets its own value again), \
             and find who holds so many connections",
            table.max
        ),
        commands: vec![
            shell!("sysctl -w net.netfilter.nf_conntrack_max={}", twice),
            shell!(
                "conntrack -L | awk '{{for (i = 1; i <= NF; i++) if ($i ~ /^src=/) {{print $1, $i; break}}}}' | sort | uniq -c | sort -rn | head"
            ),
        ],
    }
}
