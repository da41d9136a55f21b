//! The node that the pods without a route are on.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        flow,
        pod::label,
        verdict::{Confidence, EvidenceKind, Finding, Origin, PodRole, Severity},
    },
    multi_node::Sides,
    shell,
};

pub fn complete(sides: &Sides<'_, '_>, finding: &mut Finding) {
    let there = |pod: &&IpAddr| sides.there.is_local_pod(**pod);
    let pods: Vec<IpAddr> = finding.about.iter().filter(there).copied().collect();
    if pods.is_empty() {
        return;
    }
    sides.has_part(finding);
    (finding.severity, finding.confidence) = (Severity::Critical, Confidence::Confirmed);
    for pod in pods {
        lives_there(sides, pod, finding);
        let count = sides.to.sum(|key| flow::ends(key).1 == pod);
        if count.left > 0 {
            let what = t!("packets for {pod}");
            let line = sides.passed(sides.here_name, sides.there_name, &what, count);
            finding.evidence.push(line);
        }
    }
}

fn lives_there(sides: &Sides<'_, '_>, pod: IpAddr, finding: &mut Finding) {
    let Some(known) = sides.there.pod(pod, PodRole::Destination) else {
        return;
    };
    let behind = known.interface.as_ref();
    let behind = behind.map_or_else(String::new, |link| t!(", behind {link}"));
    let name = match known.name {
        Some(_) => t!(" ({})", label(&known)),
        None => String::new(),
    };
    let text = t!("{pod}{name} is a pod of {}{behind}", sides.there_name);
    let mut line = sides.there(EvidenceKind::Link, Origin::Configured, text);
    line.confirm = known
        .interface
        .as_ref()
        .map(|link| shell!("ip link show {}", link));
    line.at = known.interface;
    finding.evidence.push(line);
}
