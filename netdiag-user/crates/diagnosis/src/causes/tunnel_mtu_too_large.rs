//! # Symptom
//! Small requests between pods of different nodes work. Large transfers are slow or hang.
//!
//! # Mechanism
//! The tunnel's MTU plus its headers exceeds the underlay's MTU. GRE takes 24 bytes (28 with a key, 4
//! more with a checksum or sequence numbers; RFC 2784, RFC 2890), over IPv6 44 and 8 for the
//! encapsulation limit; sit 20 (RFC 4213); ip6tnl 48, or 40 with `encaplimit none` (RFC 2473); WireGuard
//! 60 over IPv4 and 80 over IPv6. Packets that grow past the underlay's MTU are dropped if DF is copied
//! to the outer header, otherwise fragmented.
//!
//! # Signals
//! Observed: packets above the tunnel's limit on the tunnel device and the pods' links, retransmissions
//! and drops of the same flows, frag-needed sent to the pods. Configured: the MTUs of tunnel, underlay
//! and pods, and the tunnel's options. A WireGuard link does not show where its peers are: netdiag takes
//! the one device of the default route as its underlay, over IPv4.
//!
//! # Look-alikes
//! `ipip-mtu-too-large` and `vxlan-mtu-too-large` (also for Geneve): the same with those tunnels.
//! `pod-mtu-too-large`: the tunnel's MTU is right, the pods' MTU is too large.
//!
//! # By hand
//! `ip -d link show DEVICE` and `ip link show dev UPLINK`; `nsenter -t PID -n ping -M do -s SIZE POD`
//! from one pod to a pod of the other node, with the PID of any process of the first and SIZE = tunnel
//! MTU minus 28.
//!
//! # Fix
//! Set the MTU of the tunnel and of the pods to the underlay's minus the overhead, in the daemon that
//! creates the tunnel (Calico's or Cilium's WireGuard, kube-router, an ip tunnel of one's own).
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

pub const ID: &str = "tunnel-mtu-too-large";
pub const TITLE: &str =
    mark!("GRE, sit, ip6tnl or WireGuard MTU plus overhead exceeds the MTU below it");

const KINDS: [LinkKind; 4] = [
    LinkKind::Gre,
    LinkKind::Sit,
    LinkKind::Ip6Tunnel,
    LinkKind::Wireguard,
];

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    mtu_findings::tunnel(facts, ID, &KINDS, &fix)
}

fn fix(tunnel: &TooLarge<'_>) -> Fix {
    let (name, left) = (&tunnel.link.name, tunnel.left);
    let owner = match tunnel.link.kind {
        LinkKind::Wireguard => {
            t!(
                "Calico: wireguardMTU (wireguardMTUV6) in FelixConfiguration; Cilium takes it from \
             its NIC or from `mtu` in cilium-config; wg-quick: MTU in its file"
            )
        }
        _ => t!("the daemon or network file that makes the tunnel says it again at every start"),
    };
    Fix {
        summary: t!(
            "set {name} to MTU {left} ({} of {} minus {} of encapsulation), and the pods' to \
             {left}: {owner}",
            tunnel.underlay_bytes,
            tunnel.underlay.name,
            tunnel.underlay_bytes.saturating_sub(left),
        ),
        commands: vec![shell!("ip link set dev {} mtu {}", name, left)],
    }
}
