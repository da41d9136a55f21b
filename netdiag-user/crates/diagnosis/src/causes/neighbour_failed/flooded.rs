//! A pod on a bridge with a tunnel asks for an address that nobody here has: the question leaves by the tunnel, and whoever is
//! at its other ends says nothing.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        node::{Fdb, Link, LinkKind, PodSide},
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::facts::Facts,
    shell,
};

/// Other ends that are named.
const NAMED: usize = 4;

pub struct Flooded<'a> {
    tunnel: &'a Link,
    port: u16,
    /// Where its default entries lead.
    to: Vec<IpAddr>,
}

impl<'a> Flooded<'a> {
    pub fn of(facts: &Facts<'a>, address: IpAddr, asker: Option<&'a PodSide>) -> Option<Self> {
        let asker = asker.filter(|_| facts.pod_side_of(address).is_none())?;
        let node = facts.node;
        let mut links = node.links.iter();
        let bridge = links.find(|l| l.peer_netns == Some(asker.netns))?.master?;
        let mut ports = node.links.iter().filter(|l| l.master == Some(bridge));
        let tunnel = ports.find(|l| l.kind == LinkKind::Vxlan)?;
        let known = tunnel.tunnel.as_ref()?;
        let default = |f: &&Fdb| f.ifindex == tunnel.index && f.lladdr.iter().all(|b| *b == 0);
        let entries = node.fdb.iter().filter(default).map(|f| f.vtep);
        let mut to: Vec<IpAddr> = entries.chain(known.remote).collect();
        to.sort_unstable();
        to.dedup();
        (!to.is_empty()).then_some(Self {
            tunnel,
            port: known.port?,
            to,
        })
    }

    fn ends(&self) -> String {
        let named: Vec<String> = self.to.iter().take(NAMED).map(IpAddr::to_string).collect();
        named.join(t!(", "))
    }

    pub fn text(&self) -> String {
        let (tunnel, ends) = (&self.tunnel.name, self.ends());
        t!(
            "nobody on this node has it, and the question leaves by {tunnel} for {ends}, from where no answer comes"
        )
    }

    pub fn evidence(&self) -> Evidence {
        let (tunnel, ends) = (&self.tunnel.name, self.ends());
        let text = t!("what {tunnel} knows no address for goes to {ends}");
        let mut line = Evidence::new(EvidenceKind::Fdb, Origin::Configured, text);
        line.at = Some(tunnel.clone());
        line.confirm = Some(shell!("bridge fdb show dev {}", tunnel));
        line
    }

    pub fn fix(&self) -> Fix {
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
