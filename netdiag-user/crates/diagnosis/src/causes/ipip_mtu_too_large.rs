//! # Symptom
//! Small packets between pods of different nodes pass, large transfers hang: logins succeed, downloads do
//! not.
//!
//! # Mechanism
//! The MTU of an IP-in-IP device (tunl0) exceeds its uplink's MTU minus the outer IPv4 header's 20 bytes
//! (RFC 2003). A pod's full-size packet grows past the uplink's MTU. Its DF bit is copied to the outer
//! header, so the node drops it (`ip_tunnel_xmit`, reason NOT_SPECIFIED) and sends frag-needed to the
//! pod. If that is filtered or ignored, the flow hangs.
//!
//! # Signals
//! Observed: packets above the tunnel's limit on the tunnel device, retransmissions and drops of the same
//! flows. Configured: the MTUs of tunnel, uplink and pods.
//!
//! # Look-alikes
//! `pod-mtu-too-large`: the tunnel's MTU is right, the pods' MTU is too large. `vxlan-mtu-too-large`: the
//! same with VXLAN.
//!
//! # By hand
//! `ip -d link show type ipip` and `ip link show dev UPLINK`: tunnel MTU plus 20 must not exceed the
//! uplink's MTU. `ip -s link show dev tunl0` counts TX errors during a large transfer.
//!
//! # Fix
//! Set the MTU of the tunnel and of the pods to the uplink's minus 20. Calico: `veth_mtu` in the
//! ConfigMap calico-config, or `spec.calicoNetwork.mtu` of the operator's Installation.
use netdiag_lang::{mark, t};

use crate::{
    model::{
        node::LinkKind,
        verdict::{Finding, Fix},
    },
    pipeline::facts::Facts,
    shared::{mtu::TooLarge, mtu_findings},
    shell,
};

pub const ID: &str = "ipip-mtu-too-large";
pub const TITLE: &str = mark!("IP-in-IP MTU plus overhead exceeds the uplink's MTU");

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    mtu_findings::tunnel(facts, ID, &[LinkKind::Ipip], &fix)
}

fn fix(tunnel: &TooLarge<'_>) -> Fix {
    let (name, left) = (&tunnel.link.name, tunnel.left);
    Fix {
        summary: t!(
            "set {name} to MTU {left} ({} of {} minus 20 of the outer header), and the pods' to \
             {left}: for Calico veth_mtu \"{left}\" in the ConfigMap calico-config, or \
             spec.calicoNetwork.mtu: {left} in the operator's Installation",
            tunnel.underlay_bytes,
            tunnel.underlay.name,
        ),
        commands: vec![shell!("ip link set dev {} mtu {}", name, left)],
    }
}
