//! Every family by its name, its help and its series, each once: the page and what is exported by
//! other ways are written from this table.
use super::State;
use crate::{
    model::{
        own::OwnCost,
        verdict::{Confidence, Severity},
    },
    sending::Sending,
    series::{Bounded, Workload},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    Gauge,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Whole(u64),
    Seconds(f64),
}

/// Takes the series of a family, one after the other.
pub type Put<'p> = &'p mut dyn FnMut(&[(&'static str, &str)], Value);

pub struct Family {
    /// Without what its kind and unit add.
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub in_seconds: bool,
    /// Its series as they are now.
    pub series: fn(&State, Put<'_>),
}

impl Family {
    /// As a query names it.
    pub fn full_name(&self) -> String {
        let unit = if self.in_seconds { "_seconds" } else { "" };
        let kind = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
        };
        format!("{}{unit}{kind}", self.name)
    }
}

const fn counter(name: &'static str, help: &'static str, series: fn(&State, Put<'_>)) -> Family {
    Family {
        name,
        help,
        kind: Kind::Counter,
        in_seconds: false,
        series,
    }
}

const fn gauge(name: &'static str, help: &'static str, series: fn(&State, Put<'_>)) -> Family {
    Family {
        kind: Kind::Gauge,
        ..counter(name, help, series)
    }
}

const fn seconds(name: &'static str, help: &'static str, series: fn(&State, Put<'_>)) -> Family {
    Family {
        in_seconds: true,
        ..counter(name, help, series)
    }
}

pub static FAMILIES: &[Family] = &[
    counter(
        "netdiag_drops",
        "Dropped packets, each counted once, where the kernel freed it",
        |state, put| drops(state, 0, put),
    ),
    counter(
        "netdiag_dropped_bytes",
        "Bytes of dropped packets from the IP header on, as on the wire",
        |state, put| drops(state, 1, put),
    ),
    counter(
        "netdiag_harmless_drops",
        "Drops that every healthy node has, in none of the others: multicast without a listener",
        |state, put| put(&[], Value::Whole(state.meter.harmless)),
    ),
    counter(
        "netdiag_retransmits",
        "TCP segments that sockets of this node and its pods sent again",
        |state, put| {
            for ((), who, [count]) in state.meter.retransmits.iter() {
                put(&of(who, &[]), Value::Whole(*count));
            }
        },
    ),
    counter(
        "netdiag_oversize_packets",
        "Packets larger than what is next on their way takes, counted at each hop that they passed",
        |state, put| {
            for ((hop, direction), who, [count]) in state.meter.oversize.iter() {
                let labels = of(who, &[("hop", hop), ("direction", direction)]);
                put(&labels, Value::Whole(*count));
            }
        },
    ),
    counter(
        "netdiag_outer_address_mismatches",
        "VXLAN packets with another outer source address than the other end expects",
        |state, put| {
            for ((), who, [count]) in state.meter.mismatches.iter() {
                put(&of(who, &[]), Value::Whole(*count));
            }
        },
    ),
    counter(
        "netdiag_dns_queries",
        "DNS queries of this node's pods; without the answers they are those that got none",
        |state, put| {
            for ((), who, [count]) in state.meter.dns_queries.iter() {
                put(&of(who, &[]), Value::Whole(*count));
            }
        },
    ),
    counter(
        "netdiag_dns_answers",
        "Answers to DNS queries of this node's pods, by their code",
        |state, put| {
            for (code, who, [count]) in state.meter.dns_answers.iter() {
                put(&of(who, &[("code", code)]), Value::Whole(*count));
            }
        },
    ),
    counter(
        "netdiag_hidden_series",
        "Series beyond --max-series or a namespace's share of it, as far as they are told apart: workload other has their counts",
        |state, put| bounded(state, |it| it.hidden(), put),
    ),
    counter(
        "netdiag_gone_series",
        "Series of workloads without a pod that made room for others: workload gone has their counts",
        |state, put| bounded(state, |it| it.gone(), put),
    ),
    gauge(
        "netdiag_finding",
        "1 for each cause that netdiag names now, absent when it is withdrawn",
        findings,
    ),
    gauge(
        "netdiag_blind",
        "1 where not all is seen that should be: /readyz says what",
        |state, put| put(&[], Value::Whole(u64::from(state.blind.is_some()))),
    ),
    gauge(
        "netdiag_hooks",
        "Hooks and tracepoints that are attached",
        |state, put| put(&[], Value::Whole(state.hooks)),
    ),
    counter(
        "netdiag_canary_rounds",
        "Packets that netdiag dropped itself, by whether it saw them dropped",
        |state, put| {
            put(&[("result", "seen")], Value::Whole(state.sight.seen));
            put(&[("result", "unseen")], Value::Whole(state.sight.unseen));
        },
    ),
    gauge(
        "netdiag_build_info",
        "1, with what runs where",
        |state, put| {
            let [version, kernel, node] = &state.build;
            let labels = [
                ("version", version.as_str()),
                ("kernel", kernel),
                ("node", node),
            ];
            put(&labels, Value::Whole(1));
        },
    ),
    counter(
        "netdiag_lost_events",
        "Events that netdiag could not deliver or store, by why",
        lost,
    ),
    counter(
        "netdiag_evicted_flows",
        "Flows that the kernel's table forgot before they were read",
        |state, put| put(&[], Value::Whole(state.losses.evicted_flows)),
    ),
    counter(
        "netdiag_unkept_packets",
        "Packets of flows that there was no room to keep",
        |state, put| put(&[], Value::Whole(state.losses.unkept_packets)),
    ),
    counter(
        "netdiag_foreign_events",
        "Drops and retransmits in network namespaces that are neither this node's nor its pods'",
        |state, put| put(&[], Value::Whole(state.losses.foreign)),
    ),
    counter(
        "netdiag_otlp_records",
        "Log records for the OpenTelemetry collector, by what became of them",
        |state, put| sending(state, |it| it.records.each(), put),
    ),
    counter(
        "netdiag_otlp_requests",
        "Requests to the OpenTelemetry collector, of logs and metrics, by what became of them",
        |state, put| sending(state, |it| it.requests.each(), put),
    ),
    counter(
        "netdiag_events",
        "Kubernetes Events of findings, by what became of them",
        |state, put| {
            if let Some(it) = &state.noticed {
                put(&[("result", "sent")], Value::Whole(it.sent));
                put(&[("result", "limited")], Value::Whole(it.limited));
                put(&[("result", "failed")], Value::Whole(it.failed));
            }
        },
    ),
    counter(
        "netdiag_model_agreement",
        "Conversations that succeed, held against the way that the kernel's state leads them, by its stations",
        |state, put| {
            for ((at, held), count) in &state.agreement {
                let labels = [("station", at.word()), ("result", held.word())];
                put(&labels, Value::Whole(*count));
            }
        },
    ),
    seconds(
        "netdiag_cpu",
        "Processor time of netdiag's process",
        |state, put| {
            let OwnCost {
                user_seconds,
                system_seconds,
                ..
            } = &state.cost;
            put(&[("mode", "user")], Value::Seconds(*user_seconds));
            put(&[("mode", "system")], Value::Seconds(*system_seconds));
        },
    ),
    gauge(
        "netdiag_resident_memory_bytes",
        "Resident memory of netdiag's process",
        |state, put| put(&[], Value::Whole(state.cost.rss_bytes)),
    ),
    gauge(
        "netdiag_map_bytes",
        "Kernel memory behind netdiag's tables",
        |state, put| put(&[], Value::Whole(state.cost.map_bytes)),
    ),
    counter(
        "netdiag_program_timed_runs",
        "Runs of netdiag's programs in the kernel while it timed them, a second a minute",
        |state, put| {
            for program in &state.cost.programs {
                put(&[("program", &program.name)], Value::Whole(program.runs));
            }
        },
    ),
    seconds(
        "netdiag_program_timed",
        "Time of those runs",
        |state, put| {
            for program in &state.cost.programs {
                let time = Value::Seconds(program.ns as f64 / 1e9);
                put(&[("program", &program.name)], time);
            }
        },
    ),
];

fn of<'a>(who: &'a Workload, more: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
    let mut labels = more.to_vec();
    labels.push(("namespace", &who.namespace));
    labels.push(("workload", &who.workload));
    labels
}

/// A number of each family whose series are bounded.
fn bounded(state: &State, number: fn(&dyn Bounded) -> u64, put: Put<'_>) {
    for (name, family) in state.meter.families() {
        put(&[("family", name)], Value::Whole(number(family)));
    }
}

/// Packets or bytes.
fn drops(state: &State, which: usize, put: Put<'_>) {
    for ((reason, hop), who, counts) in state.meter.drops.iter() {
        let labels = of(who, &[("reason", reason), ("hop", hop)]);
        put(&labels, Value::Whole(counts[which]));
    }
}

fn findings(state: &State, put: Put<'_>) {
    let rows: std::collections::BTreeSet<_> = state
        .standing
        .iter()
        .flat_map(|it| {
            it.workloads.iter().map(move |who| {
                (
                    rank(it.finding.severity),
                    confidence(it.finding.confidence),
                    it.finding.cause.as_str(),
                    it.finding.consequence_of.as_deref(),
                    who,
                )
            })
        })
        .collect();
    for (severity, confidence, cause, root, who) in rows.into_iter().take(state.most) {
        let labels = [
            ("cause", cause),
            ("severity", severity.1),
            ("confidence", confidence),
        ];
        let mut labels = of(who, &labels);
        // Nobody is to be called twice for one fault.
        labels.extend(root.map(|cause| ("consequence_of", cause)));
        put(&labels, Value::Whole(1));
    }
}

/// The worst first.
pub fn rank(severity: Severity) -> (u8, &'static str) {
    match severity {
        Severity::Critical => (0, "critical"),
        Severity::Warning => (1, "warning"),
        Severity::Info => (2, "info"),
    }
}

pub fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Confirmed => "confirmed",
        Confidence::Configured => "configured",
        Confidence::Suspected => "suspected",
    }
}

fn lost(state: &State, put: Put<'_>) {
    let lost = &state.losses;
    for (why, count) in [
        ("ring-full", lost.ring_full),
        ("evicted", lost.evicted_others),
        ("interrupted", lost.interrupted),
        ("drops-unstored", lost.unstored_drops),
    ] {
        put(&[("why", why)], Value::Whole(count));
    }
}

/// Nothing where nothing is to be sent.
fn sending<const N: usize>(
    state: &State,
    rows: fn(&Sending) -> [(&'static str, u64); N],
    put: Put<'_>,
) {
    for (result, count) in state.sending.as_deref().map(rows).into_iter().flatten() {
        put(&[("result", result)], Value::Whole(count));
    }
}
