//! # Symptom
//! Small requests between pods of different nodes work. Large transfers are slow or hang.
//!
//! # Mechanism
//! The MTU of the VXLAN or Geneve device plus the outer headers exceeds the underlay's MTU. Over IPv4
//! these headers take 50 bytes (outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14; RFC 7348), over IPv6 70.
//! The outer header usually carries no DF bit, so the node fragments every large packet, which is slow.
//! If the network drops fragments, or the device has `df set`, no large packet arrives.
//!
//! # Signals
//! Observed: packets above the tunnel's limit (underlay MTU minus overhead) on the tunnel device and the
//! pods' links, fragments of encapsulated packets on the uplink, retransmissions of the same flows.
//! Configured: the MTUs of tunnel, underlay and pods. The finding is critical when the flows stall, a
//! warning while their data arrives.
//!
//! # Look-alikes
//! `pod-mtu-too-large`: the tunnel's MTU is right, the pods' MTU is too large. `ipip-mtu-too-large`: the
//! same with IP-in-IP. A link further along the path may carry less than this node's NIC: no MTU on this
//! node shows that.
//!
//! # By hand
//! `ip -d link show type vxlan` (or `ip -d link show type geneve`) and `ip link show dev UPLINK`: tunnel
//! MTU plus 50 (IPv6: 70) must not exceed the uplink's MTU. `tcpdump -nni UPLINK 'ip[6:2] & 0x3fff != 0'`
//! shows the fragments (IPv4). `nsenter -t PID -n ping -M do -s SIZE POD` pings from one pod to a pod of
//! the other node; PID is any process of the first pod, SIZE the tunnel MTU minus 28 (IPv6: 48). No reply
//! means that large packets are lost.
//!
//! # Fix
//! Set the tunnel's MTU to the underlay's MTU minus the overhead, and the pods' MTU to the same value.
//! flanneld derives it from the NIC when it starts, or takes `Backend.MTU` from net-conf.json.
use crate::{
    model::{
        node::LinkKind,
        verdict::{Finding, Fix},
    },
    pipeline::facts::Facts,
    shared::{mtu::TooLarge, mtu_findings},
    shell,
};
use netdiag_lang::{mark, t};

pub const ID: &str = "vxlan-mtu-too-large";
pub const TITLE: &str = mark!("VXLAN/Geneve MTU plus overhead exceeds the underlay's MTU");

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
        return t!(
            "flanneld takes its MTU from {nic} when it starts: restart it after the NIC's MTU is \
             final, or set Backend.MTU in net-conf.json"
        );
    }
    if name.contains("calico") {
        let left = tunnel.left;
        return t!(
            "Calico's agent sets it again: mtu: {left} in the Installation's calicoNetwork, or \
             veth_mtu of the ConfigMap calico-config"
        );
    }
    t!("Whoever made {name} sets it again: give the same number to its configuration")
}

fn fix(tunnel: &TooLarge<'_>) -> Fix {
    let (name, left) = (&tunnel.link.name, tunnel.left);
    Fix {
        summary: t!(
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
