//! A question for an address that nobody here has leaves by a tunnel, and whoever is at its other ends says nothing: that of a
//! pod on a bridge with the tunnel, or of this node for a next hop behind it.
use std::net::IpAddr;

use netdiag_common::hop::{IcmpError, IcmpErrorKey};
use netdiag_lang::t;

use crate::{
    model::{
        address::from_wire,
        flow::ends,
        gather::Want,
        node::{Fdb, Link, LinkKind, PodSide},
        verdict::{Evidence, EvidenceKind, Fix, Origin},
        world::device::Kind,
    },
    need::Need,
    pipeline::facts::Facts,
    shared::hops::{FEW, is_expired},
    shell,
};

/// Other ends that are named.
const NAMED: usize = 4;

pub struct Flooded<'a> {
    tunnel: &'a Link,
    port: u16,
    /// Where its default entries lead.
    to: Vec<IpAddr>,
    short: Option<Short>,
}

/// A router says that the hops of its packets are used up there.
struct Short {
    router: IpAddr,
    /// How many the tunnel gives them.
    hops: u8,
}

impl<'a> Flooded<'a> {
    /// What a pod asks on its bridge.
    pub fn of(facts: &Facts<'a>, address: IpAddr, asker: Option<&'a PodSide>) -> Option<Self> {
        let asker = asker.filter(|_| facts.pod_side_of(address).is_none())?;
        let node = facts.node;
        let mut links = node.links.iter();
        let bridge = links.find(|l| l.peer_netns == Some(asker.netns))?.master?;
        let mut ports = node.links.iter().filter(|l| l.master == Some(bridge));
        Self::by(facts, ports.find(|l| l.kind == LinkKind::Vxlan)?)
    }

    /// What is asked by the tunnel itself; nothing where it asks nobody, since each neighbour has to have an entry.
    pub fn by(facts: &Facts<'a>, tunnel: &'a Link) -> Option<Self> {
        let known = tunnel
            .tunnel
            .as_ref()
            .filter(|_| tunnel.kind == LinkKind::Vxlan)?;
        let default = |f: &&Fdb| f.ifindex == tunnel.index && f.lladdr.iter().all(|b| *b == 0);
        let entries = facts.node.fdb.iter().filter(default).map(|f| f.vtep);
        let mut to: Vec<IpAddr> = entries.chain(known.remote).collect();
        to.sort_unstable();
        to.dedup();
        (!to.is_empty()).then_some(Self {
            tunnel,
            port: known.port?,
            short: Short::of(facts, tunnel, &to),
            to,
        })
    }

    fn ends(&self) -> String {
        let named: Vec<String> = self.to.iter().take(NAMED).map(IpAddr::to_string).collect();
        named.join(t!(", "))
    }

    pub fn text(&self) -> String {
        let (tunnel, ends) = (&self.tunnel.name, self.ends());
        match &self.short {
            Some(Short { router, hops }) => t!(
                "the question leaves by {tunnel} for {ends}, and {router} says that its hops are used up there: {tunnel} gives its packets {hops} (ttl)"
            ),
            None => t!(
                "nobody on this node has it, and the question leaves by {tunnel} for {ends}, from where no answer comes"
            ),
        }
    }

    pub fn evidence(&self) -> Evidence {
        let (tunnel, ends) = (&self.tunnel.name, self.ends());
        if let Some(Short { hops, .. }) = &self.short {
            let text =
                t!("{tunnel} gives its packets {hops} hops, whatever those that it wraps have");
            let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, text);
            line.at = Some(tunnel.clone());
            let shown = shell!("ip -d link show dev {}", tunnel);
            line.confirm = Some(shown.showing(&[&format!("ttl {hops}")]));
            return line;
        }
        let text = t!("what {tunnel} knows no address for goes to {ends}");
        let mut line = Evidence::new(EvidenceKind::Fdb, Origin::Configured, text);
        line.at = Some(tunnel.clone());
        line.confirm = Some(shell!("bridge fdb show dev {}", tunnel));
        line
    }

    pub fn fix(&self) -> Fix {
        if self.short.is_some() {
            let tunnel = &self.tunnel.name;
            return Fix {
                summary: t!(
                    "give the packets of {tunnel} as many hops as others have, and mend what makes it so"
                ),
                commands: vec![shell!("ip link set dev {} type vxlan ttl 64", tunnel)],
            };
        }
        let first = self.to[0];
        Fix {
            summary: t!(
                "see there whether the question arrives (UDP port {}): where it does not, the network between takes it, or that is not the address by which the other node is to be reached; where it does, whoever has the address is gone",
                self.port
            ),
            commands: vec![
                shell!("ip route get {}", first),
                shell!(
                    "timeout 10 tcpdump -c 5 -lnni any udp port {} and host {}",
                    self.port,
                    first
                ),
            ],
        }
    }
}

/// How many hops the tunnels give, where somebody says that those of a tunnel's packet are used up.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let is_tunnels = |port| {
        let mut tunnels = facts.node.links.iter().filter_map(|l| l.tunnel.as_ref());
        tunnels.any(|tunnel| tunnel.port == Some(port))
    };
    let mut errors = facts.icmp_errors.iter();
    let says = errors.any(|(key, _)| is_expired(key) && is_tunnels(key.about.destination_port));
    let state = Need::detail(Want::Stack(facts.node.netns));
    says.then_some(state).into_iter().collect()
}

impl Short {
    fn of(facts: &Facts<'_>, tunnel: &Link, to: &[IpAddr]) -> Option<Self> {
        let stack = facts.gathered.stack(facts.node.netns)?;
        let Kind::Vxlan(vxlan) = &stack.device(tunnel.index)?.kind else {
            return None;
        };
        let says = |(key, _): &(IcmpErrorKey, IcmpError)| {
            let about = &key.about;
            let outer = to.contains(&ends(about).1) && about.destination_port == vxlan.port;
            (outer && is_expired(key)).then_some(from_wire(key.sender))
        };
        let few = (1..=FEW).contains(&vxlan.ttl);
        let router = facts.icmp_errors.iter().find_map(says).filter(|_| few)?;
        Some(Self {
            router,
            hops: vxlan.ttl,
        })
    }
}

#[cfg(test)]
mod tests;
