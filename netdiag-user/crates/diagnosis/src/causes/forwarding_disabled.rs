//! # Symptom
//! Nothing passes through the node: its pods reach neither other nodes nor the outside. The node itself
//! reaches everything, and its pods reach each other.
//!
//! # Mechanism
//! The kernel forwards packets between links only if forwarding is on (`net.ipv4.ip_forward`, per link
//! `net.ipv4.conf.IF.forwarding`; `net.ipv6.conf.all.forwarding`). Container runtimes and kubelet's
//! network set-up switch it on. A later `sysctl --system`, a hardening script or a security baseline
//! switches it off again.
//!
//! # Signals
//! Observed: packets to other hosts dropped with the reason IP_INADDRERRORS, or in `ip_error` or
//! `ip6_forward` without a reason. Or pods drop their own packets because their gateway does not answer
//! ARP: a node that does not forward sends no proxy-ARP replies (Calico's 169.254.1.1). Configured, and
//! required: the sysctl of the incoming link is 0.
//!
//! # Look-alikes
//! `no-route` drops in the same function, with forwarding on. `firewall-drop`: the FORWARD chain has the
//! policy DROP.
//!
//! # By hand
//! `sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding`, `nstat -asz IpInAddrErrors
//! Ip6InAddrErrors`. `grep -rs forward /etc/sysctl.conf {/etc,/run,/usr/lib}/sysctl.d` shows who sets it.
//!
//! # Fix
//! Switch it on, and set it in /etc/sysctl.d so that it stays on.
use std::collections::BTreeSet;

use netdiag_forwarding::way::How;
use netdiag_lang::{mark, t};

use crate::{
    model::{
        total::Total,
        verdict::{Finding, Severity},
        world::station::Station,
    },
    pipeline::facts::Facts,
    shared::{
        forwarding,
        losses::{self, DropGroup},
        pod_gateway_silent::{self, Fault},
        refused::{self, Case},
    },
};

pub const ID: &str = "forwarding-disabled";
pub const TITLE: &str = mark!("the node does not forward its pods' packets");

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    dropped(facts).or_else(|| pod_gateway_silent::evaluate(facts, ID, Fault::Forwarding))
}

fn dropped(facts: &Facts<'_>) -> Option<Finding> {
    let mut cases = refused::at(facts, Station::Forward);
    cases.retain(|case| sits(facts, case));
    let names: Vec<_> = { cases.iter() }
        .filter_map(|case| forwarding::switch(facts, &case.no?))
        .collect();
    let sysctl = names.first()?;
    let patterns: Vec<_> = cases.into_iter().map(|case| case.pattern).collect();
    let worst = patterns.first()?;
    let summary = t!(
        "this node does not forward: {sysctl} is 0; {} packets dropped, {} from {} among \
         them",
        patterns.iter().map(DropGroup::packets).total(),
        worst.target(),
        worst.sender(facts),
    );
    let mut finding = losses::finding(facts, ID, Severity::Critical, &patterns, summary);
    let names: Vec<_> = BTreeSet::from_iter(names).into_iter().collect();
    let lines = names.iter().map(|name| forwarding::evidence(facts, name));
    finding.evidence.extend(lines);
    finding.fix = forwarding::fix(&names);
    Some(finding)
}

/// What others send to whom they like, not for a pod nor by one, no host forwards by itself.
fn sits(facts: &Facts<'_>, case: &Case<'_, '_>) -> bool {
    let off = case.no.is_some_and(|no| no.how == How::NotForwarding);
    let mut losses = case.pattern.losses.iter();
    off && losses.any(|loss| !facts.pods_of(loss.flow()).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observation::Observation,
        shared::forwarding::ALL_V4,
        testing::{POD, died, overlay_node, tcp, with_facts},
    };

    fn judge(death: (&str, &str), sysctls: &[(&str, &str)]) -> Option<Finding> {
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let observation = Observation {
            drops: vec![died(flow, death, POD, 4)],
            ..Observation::default()
        };
        let mut node = overlay_node(1450, 1450, 1500);
        let owned = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
        node.sysctls = sysctls.iter().map(owned).collect();
        with_facts(&node, &observation, evaluate)
    }

    #[test]
    fn the_sysctl_must_be_off() {
        let refused = ("IP_INADDRERRORS", "ip_error");
        let found = judge(refused, &[(ALL_V4, "0")]).expect("a finding");
        assert_eq!(found.fix.commands[0], "sysctl -w net.ipv4.ip_forward=1");
        assert!(judge(refused, &[(ALL_V4, "1")]).is_none());
        assert!(judge(("NOT_SPECIFIED", "ip_error"), &[(ALL_V4, "0")]).is_some());
        assert!(judge(("NETFILTER_DROP", "ip_error"), &[(ALL_V4, "0")]).is_none());
    }

    #[test]
    fn one_link_may_have_it_off() {
        let own = "net.ipv4.conf.cali1.forwarding";
        let found = judge(
            ("IP_INADDRERRORS", "ip_error"),
            &[(ALL_V4, "1"), (own, "0")],
        );
        assert!(found.expect("a finding").summary.contains(own));
    }
}
