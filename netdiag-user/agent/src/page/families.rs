//! Every family by its name, its help and its series.
use std::fmt::Error;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::{Page, State};
use crate::{
    model::verdict::{Confidence, Severity},
    series::Workload,
};

#[derive(Debug)]
pub(super) struct Families(pub Page);

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Families {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), Error> {
        let state = self.0.state();
        drops(&mut to, &state)?;
        packets(&mut to, &state)?;
        dns(&mut to, &state)?;
        findings(&mut to, &state)?;
        health(&mut to, &state)?;
        losses(&mut to, &state)?;
        cost(&mut to, &state)
    }
}

/// One counter after the other, of one family.
struct Counters<'e>(MetricEncoder<'e>);

impl<'e> Counters<'e> {
    fn new(to: &'e mut DescriptorEncoder<'_>, name: &'e str, help: &str) -> Result<Self, Error> {
        to.encode_descriptor(name, help, None, MetricType::Counter)
            .map(Self)
    }

    fn put(&mut self, labels: &Labels<'_>, value: u64) -> Result<(), Error> {
        let mut row = self.0.encode_family(labels)?;
        row.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }
}

fn counter(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), Error> {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    family.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), Error> {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    family.encode_gauge(&value)
}

fn of<'a>(who: &'a Workload, more: &[(&'static str, &'a str)]) -> Labels<'a> {
    let mut labels = more.to_vec();
    labels.push(("namespace", &who.namespace));
    labels.push(("workload", &who.workload));
    labels
}

fn drops(to: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), Error> {
    const PACKETS: &str = "Dropped packets, each counted once, where the kernel freed it";
    const BYTES: &str = "Bytes of dropped packets from the IP header on, as on the wire";
    let drops = &state.meter.drops;
    for (name, help, n) in [
        ("netdiag_drops", PACKETS, 0),
        ("netdiag_dropped_bytes", BYTES, 1),
    ] {
        let mut family = Counters::new(to, name, help)?;
        for ((reason, hop), who, counts) in drops.iter() {
            family.put(&of(who, &[("reason", reason), ("hop", hop)]), counts[n])?;
        }
    }
    let help =
        "Drops that every healthy node has, in none of the others: multicast without a listener";
    counter(to, "netdiag_harmless_drops", help, state.meter.harmless)
}

fn packets(to: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), Error> {
    let help = "TCP segments that sockets of this node and its pods sent again";
    let mut family = Counters::new(to, "netdiag_retransmits", help)?;
    for ((), who, [count]) in state.meter.retransmits.iter() {
        family.put(&of(who, &[]), *count)?;
    }
    let help =
        "Packets larger than what is next on their way takes, counted at each hop that they passed";
    let mut family = Counters::new(to, "netdiag_oversize_packets", help)?;
    for ((hop, direction), who, [count]) in state.meter.oversize.iter() {
        let labels = of(who, &[("hop", hop), ("direction", direction)]);
        family.put(&labels, *count)?;
    }
    let help = "VXLAN packets with another outer source address than the other end expects";
    let mut family = Counters::new(to, "netdiag_outer_address_mismatches", help)?;
    for ((), who, [count]) in state.meter.mismatches.iter() {
        family.put(&of(who, &[]), *count)?;
    }
    Ok(())
}

fn dns(to: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), Error> {
    let help = "DNS queries of this node's pods; without the answers they are those that got none";
    let mut family = Counters::new(to, "netdiag_dns_queries", help)?;
    for ((), who, [count]) in state.meter.dns_queries.iter() {
        family.put(&of(who, &[]), *count)?;
    }
    let help = "Answers to DNS queries of this node's pods, by their code";
    let mut family = Counters::new(to, "netdiag_dns_answers", help)?;
    for (code, who, [count]) in state.meter.dns_answers.iter() {
        family.put(&of(who, &[("code", code)]), *count)?;
    }
    let help = "Series that are counted in workload other, for --max-series, as far as they are told apart";
    let mut family = Counters::new(to, "netdiag_hidden_series", help)?;
    for (name, count) in state.meter.hidden() {
        family.put(&vec![("family", name)], count)?;
    }
    Ok(())
}

fn findings(to: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), Error> {
    let help = "1 for each cause that netdiag names now, absent when it is withdrawn";
    let mut family = to.encode_descriptor("netdiag_finding", help, None, MetricType::Gauge)?;
    let rows: std::collections::BTreeSet<_> = state
        .standing
        .iter()
        .flat_map(|it| {
            it.workloads.iter().map(move |who| {
                (
                    rank(it.severity),
                    confidence(it.confidence),
                    it.cause.as_str(),
                    it.consequence_of.as_deref(),
                    who,
                )
            })
        })
        .collect();
    for (severity, confidence, cause, root, who) in rows.into_iter().take(state.most) {
        let mut labels = of(
            who,
            &[
                ("cause", cause),
                ("severity", severity.1),
                ("confidence", confidence),
            ],
        );
        // Nobody is to be called twice for one fault.
        labels.extend(root.map(|cause| ("consequence_of", cause)));
        family.encode_family(&labels)?.encode_gauge(&1_u64)?;
    }
    Ok(())
}

/// The worst first.
fn rank(severity: Severity) -> (u8, &'static str) {
    match severity {
        Severity::Critical => (0, "critical"),
        Severity::Warning => (1, "warning"),
        Severity::Info => (2, "info"),
    }
}

fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Confirmed => "confirmed",
        Confidence::Configured => "configured",
        Confidence::Suspected => "suspected",
    }
}

fn health(to: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), Error> {
    let blind = u64::from(state.blind.is_some());
    gauge(
        to,
        "netdiag_blind",
        "1 where not all is seen that should be: /readyz says what",
        blind,
    )?;
    gauge(
        to,
        "netdiag_hooks",
        "Hooks and tracepoints that are attached",
        state.hooks,
    )?;
    let help = "Packets that netdiag dropped itself, by whether it saw them dropped";
    let mut family = Counters::new(to, "netdiag_canary_rounds", help)?;
    family.put(&vec![("result", "seen")], state.sight.seen)?;
    family.put(&vec![("result", "unseen")], state.sight.unseen)?;
    let [version, kernel, node] = &state.build;
    let help = "1, with what runs where";
    let mut family = to.encode_descriptor("netdiag_build_info", help, None, MetricType::Gauge)?;
    let labels: Labels<'_> = vec![("version", version), ("kernel", kernel), ("node", node)];
    family.encode_family(&labels)?.encode_gauge(&1_u64)
}

fn losses(to: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), Error> {
    let lost = &state.losses;
    let help = "Events that netdiag could not deliver or store, by why";
    let mut family = Counters::new(to, "netdiag_lost_events", help)?;
    for (why, count) in [
        ("ring-full", lost.ring_full),
        ("evicted", lost.evicted_others),
        ("interrupted", lost.interrupted),
        ("drops-unstored", lost.unstored_drops),
    ] {
        family.put(&vec![("why", why)], count)?;
    }
    let help = "Flows that the kernel's table forgot before they were read";
    counter(to, "netdiag_evicted_flows", help, lost.evicted_flows)?;
    let help = "Packets of flows that there was no room to keep";
    counter(to, "netdiag_unkept_packets", help, lost.unkept_packets)?;
    let help =
        "Drops and retransmits in network namespaces that are neither this node's nor its pods'";
    counter(to, "netdiag_foreign_events", help, lost.foreign)
}

fn cost(to: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), Error> {
    let cost = &state.cost;
    let seconds = Some(&Unit::Seconds);
    let help = "Processor time of netdiag's process";
    let mut family = to.encode_descriptor("netdiag_cpu", help, seconds, MetricType::Counter)?;
    for (mode, value) in [("user", cost.user_seconds), ("system", cost.system_seconds)] {
        let labels: Labels<'_> = vec![("mode", mode)];
        let mut row = family.encode_family(&labels)?;
        row.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
    }
    gauge(
        to,
        "netdiag_resident_memory_bytes",
        "Resident memory of netdiag's process",
        cost.rss_bytes,
    )?;
    gauge(
        to,
        "netdiag_map_bytes",
        "Kernel memory behind netdiag's tables",
        cost.map_bytes,
    )?;
    let help = "Runs of netdiag's programs in the kernel while it timed them, a second a minute";
    let mut family = Counters::new(to, "netdiag_program_timed_runs", help)?;
    for program in &cost.programs {
        family.put(&vec![("program", &program.name)], program.runs)?;
    }
    let help = "Time of those runs";
    let mut family =
        to.encode_descriptor("netdiag_program_timed", help, seconds, MetricType::Counter)?;
    for program in &cost.programs {
        let labels: Labels<'_> = vec![("program", &program.name)];
        let mut row = family.encode_family(&labels)?;
        row.encode_counter::<NoLabelSet, _, u64>(&(program.ns as f64 / 1e9), None)?;
    }
    Ok(())
}
