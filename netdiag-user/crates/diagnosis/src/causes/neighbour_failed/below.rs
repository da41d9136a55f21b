//! A pod whose link sits on one of this node's (macvlan, ipvlan), and this node itself: the kernel hands nothing from the one to
//! the other.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        address::Prefix,
        node::{Link, PodSide},
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::facts::Facts,
    shell,
};

pub struct Below<'a> {
    side: &'a PodSide,
    lower: &'a Link,
    /// The address of the pod's that is on that link.
    pods: IpAddr,
    inside: CommandLine,
}

impl<'a> Below<'a> {
    /// Who asks for `address`, a pod here or this node, is on the one side, and who has it on the other.
    pub fn of(facts: &Facts<'a>, address: IpAddr, asker: Option<&'a PodSide>) -> Option<Self> {
        let side = match asker {
            Some(asker) => asker,
            None => facts.pod_side_of(address)?,
        };
        let lower = facts.link(side.lower?)?;
        let near = |a: IpAddr| {
            let mut own = lower.addresses.iter();
            own.any(|own| !own.link_local && own.prefix.contains(a))
        };
        let pods = match asker {
            Some(_) => side.addresses.iter().copied().find(|a| near(*a))?,
            None => address,
        };
        // What the node asks for of the pod's other links is another matter.
        let owned = lower.addresses.iter().any(|a| a.prefix.address == address);
        let fits = near(pods) && (asker.is_none() || owned);
        let inside = facts.node.inside(side.netns, shell!("ip -d link show"));
        fits.then_some(Self {
            side,
            lower,
            pods,
            inside,
        })
    }

    pub fn text(&self) -> String {
        t!(
            "the pod with {} sits on {} itself (macvlan, ipvlan), and this node and who sits on its link do not reach each other by it",
            self.pods,
            self.lower.name
        )
    }

    pub fn evidence(&self) -> Evidence {
        let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, self.text());
        line.confirm = Some(self.inside.clone().showing(&["vlan"]));
        line
    }

    pub fn fix(&self) -> Fix {
        let lower = &self.lower.name;
        let devices: Vec<&str> = self
            .side
            .links
            .iter()
            .map(|(_, name)| name.as_str())
            .collect();
        Fix {
            summary: t!(
                "give this node a link of the same kind on {lower} and a route to {} by it, or let the two speak by another of the pod's links ({})",
                self.pods,
                devices.join(t!(", "))
            ),
            commands: vec![
                shell!("ip link add shim0 link {} type macvlan mode bridge", lower),
                shell!("ip link set dev shim0 up"),
                shell!("ip route add {} dev shim0", Prefix::host(self.pods)),
            ],
        }
    }
}
