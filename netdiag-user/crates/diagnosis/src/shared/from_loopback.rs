//! What this node sends from an address of its loopback and leads elsewhere, as a NodePort that it asks at 127.0.0.1: it may
//! leave only by a link that is told so (`route_localnet`, Documentation/networking/ip-sysctl.rst).
use netdiag_forwarding::way::{Does, How, Step, Subject as By};
use netdiag_lang::t;

use super::dead_end::Told;
use crate::{
    model::{
        journal::Thing,
        roles::Role,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::facts::Facts,
    shell,
};

pub fn told(facts: &Facts<'_>, step: &Step<'_>) -> Option<Told> {
    let martian = step.does == Does::Refuses(How::MartianSource);
    let source = step.packet.source;
    let ours =
        martian && source.is_ipv4() && source.is_loopback() && step.netns == facts.node.netns;
    let Some(By::Device(device)) = step.by.filter(|_| ours) else {
        return None;
    };
    let (link, to) = (&device.name, step.packet.destination);
    let sysctl = format!("net.ipv4.conf.{}.route_localnet", link.replace('.', "/"));
    let what = t!(
        "what this node asks at {source} is led to {to}, and may not leave by {link} with that source: {sysctl} is 0"
    );
    let mut line = Evidence::new(EvidenceKind::Sysctl, Origin::Configured, what.clone());
    line.confirm = Some(shell!("sysctl {}", sysctl).showing(&["= 0"]));
    // By a link to others they would reach what listens at this node's loopback.
    let role = facts.link(device.index).and_then(|link| facts.role(link));
    let pods = [Some(Role::Pod), Some(Role::Bridge)].contains(&role);
    let shown = shell!("sysctl {}", sysctl);
    let set = pods.then(|| shell!("sysctl -w {}=1", sysctl));
    Some(Told {
        evidence: line.of([Thing::Setting { sysctl }]),
        subject: None,
        fix: Fix {
            summary: t!(
                "ask at an address of this node's own in place of {source}; or let its addresses leave by {link} (kube-proxy sets it for all links, and keeps others from using it by a rule)"
            ),
            commands: [Some(shown), set].into_iter().flatten().collect(),
        },
        what,
    })
}
