//! An address that is looked for on a link of the pods' and that nobody there has: the link's network may lie within that of
//! an uplink, where the host is; or another node's pods have the same range.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        address::Prefix,
        journal::Thing,
        node::{Link, LinkKind, MAIN},
        roles::Role,
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::facts::Facts,
    shared::pod_networks::masked,
    shell,
};

/// Two links that are both in a network of the address.
pub struct Shadow<'a> {
    address: IpAddr,
    near: (&'a Link, Prefix),
    /// The uplink, in the wider network.
    wide: (&'a Link, Prefix),
}

impl<'a> Shadow<'a> {
    /// Of an address that is looked for on no uplink.
    pub fn of(facts: &Facts<'a>, address: IpAddr) -> Option<Self> {
        let links = || facts.node.links.iter().filter(|l| l.up);
        let uplink =
            |l: &&Link| facts.role(l) == Some(Role::Uplink) && l.kind != LinkKind::Loopback;
        let network = |l: &'a Link| {
            let mut own = l.addresses.iter().filter(|a| !a.link_local);
            let own = own.find(|a| a.prefix.contains(address))?;
            Some((l, masked(own.prefix)))
        };
        let wide = links().filter(uplink).find_map(network)?;
        let narrower =
            |(_, own): &(&Link, Prefix)| own.length > wide.1.length && wide.1.contains(own.address);
        let near = links()
            .filter(|l| !uplink(l))
            .filter_map(network)
            .find(narrower)?;
        Some(Self {
            address,
            near,
            wide,
        })
    }

    pub fn text(&self) -> String {
        let ((near, network), (wide, around)) = (self.near, self.wide);
        t!(
            "{network} of {} lies within {around}, the network of {}, and hides its hosts: {} is looked for among the pods",
            near.name,
            wide.name,
            self.address
        )
    }

    pub fn evidence(&self) -> Evidence {
        let (near, to) = self.near;
        let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, self.text());
        let shown = shell!("ip route get {}", self.address);
        line.confirm = Some(shown.showing(&[&near.name]));
        line.of([Thing::Route { to, table: MAIN }])
    }

    pub fn fix(&self) -> Fix {
        let wide = &self.wide.0.name;
        Fix {
            summary: t!(
                "give the pods a range that no network of the nodes' has (the cluster's CIDR); until then a route of its own leads to a host of {wide}, where it is up",
            ),
            commands: vec![
                shell!("ip address show dev {}", wide),
                shell!("ip route add {} dev {}", Prefix::host(self.address), wide),
            ],
        }
    }
}

/// Where it is of the range of pods here, and no pod of this node has it.
pub fn of_nobody_here(facts: &Facts<'_>, address: IpAddr, look: Vec<CommandLine>) -> Option<Fix> {
    let bridges = facts.node.links.iter();
    let mut bridges = bridges.filter(|l| facts.role(l) == Some(Role::Bridge));
    let network = bridges.find_map(|bridge| {
        let own = bridge
            .addresses
            .iter()
            .find(|a| a.prefix.contains(address))?;
        Some((bridge, masked(own.prefix)))
    });
    let (bridge, network) = network.filter(|_| !facts.is_local_pod(address))?;
    Some(Fix {
        summary: t!(
            "no pod of this node has {address}, though it is of {network}, the range of {}: find out who tells clients of it (endpoints, DNS), whether that pod is gone, and whether another node was given the same range",
            bridge.name
        ),
        commands: look
            .into_iter()
            .chain([
                shell!("kubectl get pods -A -o wide | grep -w -F -e {v}", address),
                shell!(
                    "kubectl get nodes -o custom-columns=NAME:.metadata.name,CIDR:.spec.podCIDR"
                ),
            ])
            .collect(),
    })
}
