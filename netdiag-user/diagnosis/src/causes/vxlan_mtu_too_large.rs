//! # Symptom
//! Small requests between pods of different nodes work; large ones are slow, or hang for good.
//!
//! # Mechanism
//! A VXLAN or Geneve device has a larger MTU than its underlay leaves after the outer
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
use super::{mtu::TooLarge, mtu_findings};
use crate::{
    model::{
        node::LinkKind,
        verdict::{Finding, Fix},
    },
    pipeline::facts::Facts,
    shell,
};

pub const ID: &str = "vxlan-mtu-too-large";
pub const TITLE: &str = "VXLAN/Geneve MTU plus overhead exceeds the underlay's MTU";

const KINDS: [LinkKind; 2] = [LinkKind::Vxlan, LinkKind::Geneve];

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    mtu_findings::tunnel(facts, ID, &KINDS, &fix)
}

/// Who set it, as far as the device's name tells: words only, nothing is decided by it.
fn agent(tunnel: &TooLarge<'_>) -> String {
    let (name, nic) = (&tunnel.link.name, &tunnel.underlay.name);
    let local = tunnel.link.tunnel.as_ref().and_then(|t| t.local);
    // Over IPv6 flannel has a device of its own.
    let family = match local.is_some_and(|a| a.is_ipv6()) {
        true => "flannel-v6.",
        false => "flannel.",
    };
    if name.starts_with(family) {
        return format!(
            "flanneld takes its MTU from {nic} when it starts: restart it after the NIC's MTU is \
             final, or set Backend.MTU in net-conf.json"
        );
    }
    if name.contains("calico") {
        let left = tunnel.left;
        return format!(
            "Calico's agent sets it again: mtu: {left} in the Installation's calicoNetwork, or \
             veth_mtu of the ConfigMap calico-config"
        );
    }
    format!("Whoever made {name} sets it again: give the same number to its configuration")
}

fn fix(tunnel: &TooLarge<'_>) -> Fix {
    let (name, left) = (&tunnel.link.name, tunnel.left);
    Fix {
        summary: format!(
            "set {name} to MTU {left} ({} of {} minus {} of encapsulation), and the CNI \
             configuration's mtu to {left}; {}",
            tunnel.underlay_bytes,
            tunnel.underlay.name,
            tunnel.underlay_bytes.saturating_sub(left),
            agent(tunnel),
        ),
        commands: vec![shell!("ip link set dev {} mtu {}", name, left)],
    }
}
