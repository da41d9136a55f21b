//! The way of a flow that each root cause names: what a picture of it is drawn from.
use super::{
    path::{self, paired},
    predicted::{self, Sent},
};
use crate::{
    model::{
        path::{End, FlowWay, Path, Wanted},
        predicted::{Predicted, Protocol},
        verdict::{Finding, FlowRef, PodRole, Severity},
    },
    pipeline::{facts::Facts, scene::Run},
};

/// Roots whose ways are followed; a screen has no room for more.
const MOST: usize = 3;
/// Flows of one finding that are tried until one of them passed a hop.
const TRIED: usize = 8;

/// Of the first roots that name a flow which a hop has seen.
pub fn ways(facts: &Facts<'_>, run: &Run, findings: &[Finding]) -> Vec<FlowWay> {
    let ways = roots(findings).filter_map(|it| of(facts, run, it));
    ways.collect()
}

pub fn roots(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    let roots = findings
        .iter()
        .filter(|f| f.consequence_of.is_none() && f.severity > Severity::Info);
    roots.take(MOST)
}

pub fn of(facts: &Facts<'_>, run: &Run, finding: &Finding) -> Option<FlowWay> {
    let mut flows = finding.flows.iter().take(TRIED);
    let path = flows.find_map(|flow| way(facts, run, flow))?;
    Some(FlowWay::new(finding, path))
}

fn way(facts: &Facts<'_>, run: &Run, flow: &FlowRef) -> Option<Path> {
    // A client's connections come from many ports, and are told as one.
    let source: Wanted = flow.source.parse().ok()?;
    between(
        facts,
        run,
        Wanted {
            port: None,
            ..source
        },
        flow,
    )
}

/// The way of one flow that a finding names; where no hop has it any more, that of all between the
/// same two.
pub fn flow_way(facts: &Facts<'_>, run: &Run, flow: &FlowRef) -> Option<Path> {
    let source: Wanted = flow.source.parse().ok()?;
    let own = source.port.is_some();
    let exact = own.then(|| between(facts, run, source, flow)).flatten();
    exact.or_else(|| way(facts, run, flow))
}

fn between(facts: &Facts<'_>, run: &Run, source: Wanted, flow: &FlowRef) -> Option<Path> {
    let destination: Wanted = flow.destination.parse().ok()?;
    let source = path::end(facts, &source, PodRole::Source).ok()?;
    let destination = path::end(facts, &destination, PodRole::Destination).ok()?;
    let ends = paired(source, destination).ok()?;
    let path = path::path(facts, ends.clone(), run, &[]);
    let seen = path.request.steps.iter().any(|step| step.packets > 0);
    seen.then(|| Path {
        predicted: computed(facts, &ends, flow),
        ..path
    })
}

/// As what was read leads it, where that tells anything.
fn computed(facts: &Facts<'_>, ends: &(End, End), flow: &FlowRef) -> Vec<Predicted> {
    let protocol = match flow.protocol.as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Vec::new(),
    };
    let sent = Sent {
        protocol: Some(protocol),
        ..Sent::default()
    };
    let mut all = predicted::predicted(facts, ends, &sent);
    all.retain(|one| !one.request.is_empty());
    all
}
