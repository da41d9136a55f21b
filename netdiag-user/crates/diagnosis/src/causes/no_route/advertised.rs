//! Routers tell of the default route of IPv6, and a node that forwards does not listen to them unless `accept_ra` is 2
//! (Documentation/networking/ip-sysctl.rst).
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        node::Link,
        roles::Role,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::facts::Facts,
    shell,
};

/// The uplink on which this node would hear of a default route, and does not listen, where it has none.
pub fn unheard<'a>(facts: &Facts<'a>, to: IpAddr) -> Option<&'a Link> {
    let node = facts.node;
    let forwards = node.sysctl("net.ipv6.conf.all.forwarding") == Some("1");
    if !to.is_ipv6() || !forwards || facts.way(&facts.from_node(to)).is_some() {
        return None;
    }
    let mut uplinks = node
        .links
        .iter()
        .filter(|l| facts.role(l) == Some(Role::Uplink) && l.ethernet && l.up);
    uplinks.find(|l| node.sysctl(&name(l)) == Some("1"))
}

fn name(link: &Link) -> String {
    format!("net.ipv6.conf.{}.accept_ra", link.name.replace('.', "/"))
}

pub fn evidence(link: &Link) -> Evidence {
    let text = t!(
        "this node forwards, and accept_ra of {} is 1: it takes no default route from router advertisements",
        link.name
    );
    let mut line = Evidence::new(EvidenceKind::Sysctl, Origin::Configured, text);
    let shown = shell!("sysctl net.ipv6.conf.all.forwarding {}", name(link));
    line.confirm = Some(shown.showing(&["accept_ra = 1"]));
    line
}

/// Beside what else would bring a route back.
pub fn fix(link: &Link, mut other: Fix) -> Fix {
    other.summary = t!(
        "{}; where routers advertise it on {} (`rdisc6` shows it), let this node listen to them although it forwards",
        other.summary,
        link.name
    );
    other.commands.push(shell!("rdisc6 -1 {}", link.name));
    other.commands.push(shell!("sysctl -w {}=2", name(link)));
    other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{ip, overlay_node, with_facts},
    };

    fn told(forwarding: &str, accepts: &str, to: &str) -> bool {
        let mut node = overlay_node(1450, 1450, 1500);
        let set = [
            ("net.ipv6.conf.all.forwarding", forwarding),
            ("net.ipv6.conf.ens5.accept_ra", accepts),
        ];
        let set = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
        node.sysctls.extend(set);
        with_facts(&node, &Observation::default(), |facts| {
            unheard(facts, ip(to)).is_some()
        })
    }

    #[test]
    fn a_router_listens_to_routers_only_where_it_is_told_to() {
        assert!(told("1", "1", "2001:db8::1"));
        assert!(!told("0", "1", "2001:db8::1"), "a host listens");
        assert!(!told("1", "2", "2001:db8::1"));
        assert!(!told("1", "1", "198.51.100.7"), "IPv4 has no such thing");
    }
}
