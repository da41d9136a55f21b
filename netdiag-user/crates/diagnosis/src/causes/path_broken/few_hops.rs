//! What a pod sends has so few hops (TTL, hop limit) that they are used up at this node: its own namespace gives it no more,
//! as somebody set it, or a router's advertisement (RFC 4861, 4.2, Cur Hop Limit).
use netdiag_lang::t;

use super::story::{Case, Story, each};
use crate::{
    model::{
        flow::ends,
        gather::Want,
        node::PodSide,
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin},
        world::{Netns, station::Station},
    },
    pipeline::facts::{Facts, Loss},
    shell,
    unexplained::{Symptom, Symptoms},
};

/// What the kernel gives where nobody says otherwise (IPDEFTTL, IPV6_DEFAULT_HOPLIMIT).
const USUAL: u8 = 64;
/// Namespaces of a reading that are asked.
const MOST: usize = 4;

/// What gives them.
#[derive(PartialEq)]
struct Given {
    netns: Netns,
    sysctl: String,
    hops: u8,
}

fn is_used_up(loss: &Loss) -> bool {
    loss.is_at(Station::Ttl)
}

/// What the namespaces of the pods give that such packets come from.
pub fn wants(facts: &Facts<'_>) -> Vec<Want> {
    let lost = facts.losses.iter().filter(|l| is_used_up(l));
    let sides = lost.filter_map(|l| facts.pod_side_of(ends(l.flow()).0));
    let mut all: Vec<Netns> = sides.map(|side| side.netns).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().take(MOST).map(Want::Stack).collect()
}

pub fn evaluate(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let untold = symptoms.untold(facts, findings);
    let few = untold.filter_map(|symptom| Some((Given::of(facts, symptom)?, symptom)));
    each(facts, few, |case, given| given.tell(case))
}

impl Given {
    fn of(facts: &Facts<'_>, symptom: &Symptom) -> Option<Self> {
        let dies = |l: &&Loss| {
            let way = ends(l.flow());
            let mut asked = symptom.ends();
            is_used_up(l) && asked.any(|(client, server)| way == (client, server.0))
        };
        facts.losses.iter().find(dies)?;
        Self::by(
            facts,
            facts.pod_side_of(symptom.client)?,
            symptom.client.is_ipv6(),
        )
    }

    /// One alone: whatever has more gets past this node.
    fn by(facts: &Facts<'_>, side: &PodSide, ipv6: bool) -> Option<Self> {
        let netns = side.netns;
        let stack = facts.gathered.stack(netns)?;
        let few = |(sysctl, hops): (String, u8)| {
            let given = Self {
                netns,
                sysctl,
                hops,
            };
            (hops == 1).then_some(given)
        };
        if !ipv6 {
            let hops = stack.settings.some()?.default_ttl;
            return few(("net.ipv4.ip_default_ttl".into(), hops));
        }
        let devices = stack.devices.some()?.values();
        let devices = devices.filter(|device| !device.flags.loopback);
        let mut all = devices.filter_map(|device| {
            // As sysctl(8) has a name with dots.
            let of = device.name.replace('.', "/");
            let name = format!("net.ipv6.conf.{of}.hop_limit");
            few((name, device.conf6.as_ref()?.hop_limit))
        });
        all.next()
    }

    fn tell(&self, case: &Case<'_, '_>) -> Story {
        let (facts, client, what, asked) = (case.facts, case.client, &case.what, case.asked);
        let (sysctl, hops) = (&self.sysctl, self.hops);
        let summary = t!(
            "what {client} asks {what} dies on this node, where its hops (TTL) are used up: {sysctl} of its namespace is {hops}; {asked} times, unanswered"
        );
        let text = t!("{sysctl} of its namespace is {hops}: so many hops has what it sends");
        let mut line = Evidence::new(EvidenceKind::Sysctl, Origin::Configured, text);
        let inside = |command| facts.node.inside(self.netns, command);
        let shown = shell!("sysctl {}", sysctl).showing(&[&hops.to_string()]);
        line.confirm = Some(inside(shown));
        let fix = Fix {
            summary: t!(
                "give what it sends as many hops as others have, and find out who set it: for IPv6 a router's advertisement does, whoever sends it on that link"
            )
            .into(),
            commands: vec![inside(shell!("sysctl -w {}={}", sysctl, USUAL))],
        };
        Story::suspected(summary, [line], fix).confirmed()
    }
}

#[cfg(test)]
mod tests;
