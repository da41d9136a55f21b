//! # Symptom
//! Small requests between pods of different nodes work; large transfers are slow or hang.
//!
//! # Mechanism
//! A tunnel device has a larger MTU than its underlay leaves after the tunnel's headers:
//! GRE takes 24 (28 with a key, 4 more with a checksum or sequence numbers; RFC 2784, RFC 2890),
//! over IPv6 44 and 8 for the encapsulation limit; sit 20 (RFC 4213); ip6tnl 48, or 40 with
//! `encaplimit none` (RFC 2473); WireGuard 60 over IPv4 and 80 over IPv6. Packets that grow past
//! the underlay's MTU are dropped where DF is copied to the outer header, else fragmented.
//!
//! # Signals
//! Observed: packets larger than what the tunnel leaves at its own hook and at the pods' links,
//! retransmits and drops of the same flows, frag-needed sent to the pods. Configured: the MTUs of
//! tunnel, underlay and pods, and the tunnel's options. Where a WireGuard device's peers are is
//! not to be read from its link: its underlay is taken to be the one device of the default
//! route, over IPv4.
//!
//! # Look-alikes
//! `ipip-mtu-too-large` and `vxlan-mtu-too-large` (which is Geneve's too): the same with those
//! tunnels. `pod-mtu-too-large`: the tunnel's MTU is right, the pods' is not.
//!
//! # By hand
//! `ip -d link show DEVICE` and `ip link show` of the NIC below; `ping -M do -s SIZE` from pod to
//! pod with SIZE = tunnel MTU - 28.
//!
//! # Fix
//! Set the tunnel's and the pods' MTU to the underlay's less the overhead: in the daemon that
//! makes the tunnel (Calico's and Cilium's WireGuard, kube-router, an ip tunnel of one's own).
use super::{mtu::TooLarge, mtu_findings};
use crate::{
    model::{
        node::LinkKind,
        verdict::{Finding, Fix},
    },
    pipeline::facts::Facts,
    shell,
};

pub const ID: &str = "tunnel-mtu-too-large";
pub const TITLE: &str = "GRE, sit, ip6tnl or WireGuard MTU plus overhead exceeds the MTU below it";

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
            "Calico: wireguardMTU (wireguardMTUV6) in FelixConfiguration; Cilium takes it from \
             its NIC or from `mtu` in cilium-config; wg-quick: MTU in its file"
        }
        _ => "the daemon or network file that makes the tunnel says it again at every start",
    };
    Fix {
        summary: format!(
            "set {name} to MTU {left} ({} of {} minus {} of encapsulation), and the pods' to \
             {left}: {owner}",
            tunnel.underlay_bytes,
            tunnel.underlay.name,
            tunnel.underlay_bytes.saturating_sub(left),
        ),
        commands: vec![shell!("ip link set dev {} mtu {}", name, left)],
    }
}
