//! # Symptom
//! Small requests between pods of different nodes work; large ones are slow, or hang for good.
//!
//! # Mechanism
//! A VXLAN or Geneve device promises pods more bytes than its underlay has left after the outer
//! headers: 50 bytes over IPv4 (outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14; RFC 7348), 70
//! over IPv6. The outer header's DF bit is usually off, so that the node fragments every large
//! packet: that is slow, and where the network drops fragments, or `df set` is on, nothing
//! large arrives.
//!
//! # Signals
//! Observed: packets larger than what the tunnel leaves at the tunnel's own hook and at the
//! pods' links, fragments of encapsulated packets on the uplink, retransmits of the same flows.
//! Configured: the MTUs of tunnel, underlay and pods. Severity is critical when the flows
//! stall, warning while their data arrives.
//!
//! # Look-alikes
//! `pod-mtu-too-large` (the tunnel's own MTU is right, the pods' is not), `ipip-mtu-too-large`
//! (the same with IP-in-IP), a link beyond this node that is smaller than its own NIC says.
//!
//! # By hand
//! `ip -d link show type vxlan` and `ip link show` of the NIC below: tunnel MTU + 50 must not
//! exceed the NIC's. `ping -M do -s SIZE` from pod to pod with SIZE = tunnel MTU - 28.
//!
//! # Fix
//! Set the tunnel's MTU to the underlay's minus the overhead, and the pods' to the same; flannel
//! takes it from the NIC when flanneld starts (or from `Backend.MTU` in net-conf.json).
use super::mtu::{self, Oversize, TooLarge};
use crate::{
    model::{
        limits::LimitFrom,
        node::LinkKind,
        verdict::{Confidence, Finding, Fix, Severity},
    },
    pipeline::facts::Facts,
};

pub const ID: &str = "vxlan-mtu-too-large";
pub const TITLE: &str = "a VXLAN or Geneve device promises more than its underlay carries";

const KINDS: [LinkKind; 2] = [LinkKind::Vxlan, LinkKind::Geneve];

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    tunnel_finding(facts, ID, &KINDS, &fix)
}

fn fix(tunnel: &TooLarge<'_>) -> Fix {
    let (name, left) = (&tunnel.link.name, tunnel.left);
    Fix {
        summary: format!(
            "set {name} to MTU {left} ({} of {} less {} of encapsulation), and the CNI \
             configuration's mtu to {left}; pods keep theirs until they are recreated. flanneld \
             takes its MTU from {} when it starts: restart it after the NIC's MTU is final, or \
             set Backend.MTU in net-conf.json",
            tunnel.underlay_bytes,
            tunnel.underlay.name,
            tunnel.underlay_bytes - left,
            tunnel.underlay.name,
        ),
        commands: vec![format!("ip link set dev {name} mtu {left}")],
    }
}

/// The finding for tunnels of `kinds`: confirmed where oversize packets were seen, configured
/// where only the numbers say so and a pod could send such packets.
pub(super) fn tunnel_finding(
    facts: &Facts<'_>,
    id: &str,
    kinds: &[LinkKind],
    fix: &dyn Fn(&TooLarge<'_>) -> Fix,
) -> Option<Finding> {
    let groups = mtu::oversize(facts, LimitFrom::Overhead, |l| kinds.contains(&l.kind));
    if let Some(group) = groups.into_iter().max_by_key(|g| g.hops.len()) {
        let tunnel = mtu::smallest(facts.node, group.link)?;
        return Some(confirmed(facts, id, &group, &tunnel, fix(&tunnel)));
    }
    let tunnel = mtu::too_large(facts.node, kinds).into_iter().next()?;
    configured(facts, id, &tunnel, fix(&tunnel))
}

fn confirmed(
    facts: &Facts<'_>,
    id: &str,
    group: &Oversize<'_>,
    tunnel: &TooLarge<'_>,
    fix: Fix,
) -> Finding {
    let outcome = mtu::outcome(facts, group);
    let mut evidence = mtu::oversize_evidence(group);
    evidence.insert(0, mtu::link_evidence(tunnel));
    evidence.extend(mtu::fragment_evidence(facts, group));
    evidence.extend(mtu::retransmit_evidence(&outcome));
    evidence.extend(mtu::drop_evidence(facts, group));
    let fate = match outcome.stalled {
        0 => "large transfers are slow",
        _ => "large transfers hang",
    };
    let summary = format!(
        "{} carries packets of {} bytes, {} leaves {} ({} less {} of encapsulation): {fate}",
        group.link.name,
        group.largest(),
        tunnel.underlay.name,
        group.limit(),
        tunnel.underlay_bytes,
        tunnel.underlay_bytes - tunnel.left,
    );
    Finding {
        cause: id.into(),
        severity: if outcome.stalled > 0 {
            Severity::Critical
        } else {
            Severity::Warning
        },
        confidence: Confidence::Confirmed,
        summary,
        evidence,
        pods: outcome.pods,
        flows: outcome.flows,
        fix,
        consequence_of: None,
        because: None,
        about: Vec::new(),
        first_seen: facts.clock.text(group.first()),
        last_seen: facts.clock.text(group.last()),
        named_at: None,
    }
}

fn configured(facts: &Facts<'_>, id: &str, tunnel: &TooLarge<'_>, fix: Fix) -> Option<Finding> {
    let pods = mtu::refer(facts, &mtu::larger_pods(facts.node, tunnel.left));
    if pods.is_empty() {
        return None;
    }
    let summary = format!(
        "{} has MTU {}, {} leaves {}: the first large packet of {} will not fit",
        tunnel.link.name,
        tunnel.link.mtu,
        tunnel.underlay.name,
        tunnel.left,
        mtu::names(&pods),
    );
    Some(Finding {
        cause: id.into(),
        severity: Severity::Warning,
        confidence: Confidence::Configured,
        summary,
        evidence: vec![mtu::link_evidence(tunnel)],
        pods,
        flows: Vec::new(),
        fix,
        consequence_of: None,
        because: None,
        about: Vec::new(),
        first_seen: facts.clock.text(facts.now),
        last_seen: facts.clock.text(facts.now),
        named_at: None,
    })
}
