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
use netdiag_lang::{mark, t};

use crate::{
    model::{
        flow,
        total::Total,
        verdict::{Finding, Severity},
        world::station::Station,
    },
    pipeline::facts::{Facts, Loss},
    shared::{
        forwarding::{self, ALL_V6},
        losses::{self, DropGroup},
        pod_gateway_silent::{self, Fault},
    },
};

pub const ID: &str = "forwarding-disabled";
pub const TITLE: &str = mark!("the node does not forward its pods' packets");

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    dropped(facts).or_else(|| pod_gateway_silent::evaluate(facts, ID, Fault::Forwarding))
}

fn dropped(facts: &Facts<'_>) -> Option<Finding> {
    let patterns = losses::patterns(facts, |l| is_refused(facts, l));
    let worst = patterns.first()?;
    let sysctl = switched_off(facts, worst.losses.first()?)?;
    let packets: u64 = patterns.iter().map(DropGroup::packets).total();
    let summary = t!(
        "this node does not forward: {sysctl} is 0; {packets} packets dropped, {} from {} among \
         them",
        worst.target(),
        worst.sender(facts),
    );
    let mut finding = losses::finding(facts, ID, Severity::Critical, &patterns, summary);
    let mut names: Vec<_> = patterns.iter().flat_map(|p| &p.losses).collect();
    names.dedup_by_key(|l| l.key.ifindex);
    let mut names: Vec<_> = names
        .iter()
        .filter_map(|l| switched_off(facts, l))
        .collect();
    names.sort();
    names.dedup();
    finding
        .evidence
        .extend(names.iter().map(|n| forwarding::evidence(facts, n)));
    finding.fix = forwarding::fix(&names);
    Some(finding)
}

/// Not for this node, and dropped where forwarding begins, on a link that has it switched off.
fn is_refused(facts: &Facts<'_>, loss: &Loss) -> bool {
    let (_, destination) = flow::ends(loss.flow());
    let by_reason = loss.reason == "IP_INADDRERRORS";
    let by_place = loss.reason == "NOT_SPECIFIED" && loss.is_at(Station::Forward);
    (by_reason || by_place)
        && loss.key.netns == facts.node.netns
        && !facts.owns(destination)
        && !facts.pods_of(loss.flow()).is_empty()
        && switched_off(facts, loss).is_some()
}

/// The sysctl that forbids it.
fn switched_off(facts: &Facts<'_>, loss: &Loss) -> Option<String> {
    let off = |name: &str| facts.node.sysctl(name) == Some("0");
    if loss.flow().family == 6 {
        return off(ALL_V6).then(|| ALL_V6.to_owned());
    }
    forwarding::off_at(facts, facts.link(loss.key.ifindex)?)
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
