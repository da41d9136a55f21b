//! # Symptom
//! Large packets of pods are lost or refused as soon as they leave the node; small ones pass.
//!
//! # Mechanism
//! A pod's interface has a larger MTU than the device by which its traffic leaves the node. The
//! node drops what does not fit (PKT_TOO_BIG in `ip_forward`) and sends frag-needed (RFC 1191)
//! or packet-too-big (RFC 4443). A pod that obeys loses one packet per destination; where the
//! message is filtered, its flows hang.
//!
//! # Signals
//! Observed: packets larger than the outgoing device's MTU at the pods' links and the bridge,
//! PKT_TOO_BIG drops, frag-needed messages, retransmits. Configured: both MTUs, per pod. A
//! pod's route that carries a smaller mtu counts instead of its device's.
//!
//! # Look-alikes
//! `vxlan-mtu-too-large` and `ipip-mtu-too-large`: there the tunnel's own MTU is wrong.
//!
//! # By hand
//! `ip link show eth0` in the pod against `ip link show` of the device that
//! `ip route get DESTINATION` names on the node.
//!
//! # Fix
//! Set the CNI configuration's mtu to the outgoing device's and recreate the pods; a running
//! pod's can be lowered on both ends of its link.
use super::{
    mtu::{self, LargePod, Oversize},
    mtu_findings::{self, Told},
};
use crate::{
    model::{
        limits::LimitFrom,
        node::Link,
        roles::{Role, role},
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin},
    },
    pipeline::facts::Facts,
};

pub const ID: &str = "pod-mtu-too-large";
pub const TITLE: &str = "pods may send more than the device takes by which their traffic leaves";

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let leaves = |l: &Link| l.is_tunnel() || role(facts.node, l) == Some(Role::Uplink);
    let mut groups = mtu::oversize(facts, LimitFrom::Device, leaves);
    for group in &mut groups {
        group
            .hops
            .retain(|h| facts.is_local_pod(crate::model::flow::ends(h.flow()).0));
    }
    let group = groups
        .into_iter()
        .filter(|g| !g.hops.is_empty())
        .max_by_key(|g| g.hops.len());
    match group {
        Some(group) => Some(confirmed(facts, &group)),
        None => configured(facts),
    }
}

fn confirmed(facts: &Facts<'_>, group: &Oversize<'_>) -> Finding {
    let large = mtu::larger_pods(facts.node, group.link.mtu);
    let told = Told {
        id: ID,
        what: format!(
            "pods send packets of {} bytes, {} takes {}",
            group.largest(),
            group.link.name,
            group.limit(),
        ),
        fates: [
            "each flow loses its first large packets",
            "large transfers hang",
        ],
        configured: mtu_evidence(group.link, &large),
        fix: fix(facts, group.link, &large),
    };
    mtu_findings::confirmed(facts, group, told)
}

/// Only the numbers: a tunnel that is routed through, and pods that exceed it.
fn configured(facts: &Facts<'_>) -> Option<Finding> {
    let node = facts.node;
    // Where rules send packets by other tables, the pods' may not take the tunnel at all.
    if !node.policy_tables.is_empty() {
        return None;
    }
    let tunnels = node
        .links
        .iter()
        .filter(|l| l.is_tunnel() && l.up && mtu::routed(node, l));
    let link = tunnels.min_by_key(|l| l.mtu)?;
    let large = mtu::larger_pods(node, link.mtu);
    if large.is_empty() {
        return None;
    }
    let pods = mtu::refer(facts, &large);
    let summary = format!(
        "{} may send {} bytes, {} takes {}: their first large packet will not fit",
        mtu::names(&pods),
        large.iter().map(|p| p.mtu).max().unwrap_or(0),
        link.name,
        link.mtu,
    );
    let evidence = mtu_evidence(link, &large);
    let fix = fix(facts, link, &large);
    Some(mtu_findings::configured(
        facts, ID, summary, evidence, pods, fix,
    ))
}

fn mtu_evidence(link: &Link, large: &[LargePod<'_>]) -> Vec<Evidence> {
    let line = |pod: &LargePod<'_>| {
        let text = format!(
            "the pod behind {} has MTU {}, {} has {}",
            pod.link.name, pod.mtu, link.name, link.mtu
        );
        let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
        line.at = Some(pod.link.name.clone());
        line.largest = Some(pod.mtu);
        line.limit = Some(link.mtu);
        line.limit_from = Some(LimitFrom::Device.name().into());
        line.confirm = Some(format!(
            "ip link show {}; ip link show {}",
            pod.link.name, link.name
        ));
        line
    };
    large.iter().take(3).map(line).collect()
}

fn fix(facts: &Facts<'_>, link: &Link, large: &[LargePod<'_>]) -> Fix {
    let mtu = link.mtu;
    Fix {
        summary: format!(
            "set \"mtu\": {mtu} in the CNI configuration (/etc/cni/net.d) and recreate the pods; \
             until then these commands lower it for those that run{}",
            mtu::left_out(large)
        ),
        commands: mtu::lower(facts.node, large, mtu),
    }
}
