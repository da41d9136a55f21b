//! What tells more of a stuck flow that left this node: the sizes that get through to the same
//! address, and what somebody on the way says.
use netdiag_common::hop::IcmpErrorKey;
use netdiag_lang::t;

use super::symptoms::Symptom;
use crate::{
    model::{
        address::from_wire,
        flow::{TCP, UDP, ends},
        icmp,
        netfilter::Family,
    },
    pipeline::facts::{Facts, HopFlow},
    shared::stall,
    shell,
};

/// Flows that get stuck at one size: one alone may have lost its packets otherwise.
const FLOWS: usize = 2;
/// Headers that ping's size leaves out: IP and ICMP.
const PING: (u32, u32) = (28, 48);

/// Bytes of the largest packets that get through to an address, and of those that do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    passed: u32,
    stuck: u32,
}

/// That no link of the pod that it is for carries anything, as somebody switched them off at either end.
pub fn switched_off(facts: &Facts<'_>, symptom: &Symptom) -> Option<String> {
    let side = facts.pod_side_of(symptom.far())?;
    let links = facts.node.links.iter();
    let own: Vec<_> = links.filter(|l| l.peer_netns == Some(side.netns)).collect();
    if own.iter().any(|l| l.up && l.carrier) {
        return None;
    }
    let (link, pod) = (own.first()?, symptom.far());
    let name = &link.name;
    Some(match link.up {
        false => {
            let up = shell!("ip link set {} up", name);
            let up = up.told_or(t!("`ip link set … up` switches it on"));
            t!("{name}, the link of the pod that has {pod}, is switched off: {up}")
        }
        true => t!(
            "{name}, the link of the pod that has {pod}, has no signal: its other end, in the pod, is \
             switched off"
        ),
    })
}

/// What a smaller MTU on the way looks like that nobody tells of: data of some flows passes, and
/// whatever has larger packets is stuck.
pub fn sizes(facts: &Facts<'_>, symptom: &Symptom) -> Option<Sizes> {
    let last = symptom.last.as_ref().filter(|_| symptom.asked == 0)?;
    let far = symptom.far();
    let same = |h: &&HopFlow| {
        let at = |h: &HopFlow| (h.key.ifindex, h.key.carried, h.egress());
        at(h) == at(last) && h.flow().protocol == TCP && ends(h.flow()).1 == far
    };
    let all = || facts.flows.iter().filter(same);
    let acknowledged = |h: &&HopFlow| {
        let back = facts.journeys().get(&h.flow().reversed());
        let heard = |b: &&HopFlow| b.hop.last >= h.hop.progress;
        h.hop.payload > 0 && back.is_some_and(|j| j.hops.iter().any(heard))
    };
    let moving = all().filter(|h| h.hop.stalled == 0).filter(acknowledged);
    let passed = moving.map(|h| h.hop.largest).max()?;
    let stalled = || all().filter(|h| stall::is_stalled(&h.hop));
    let stuck = stalled().map(|h| h.hop.largest).min()?;
    let pattern = stalled().count() >= FLOWS && stuck > passed;
    pattern.then_some(Sizes { passed, stuck })
}

impl Sizes {
    pub fn text(self, symptom: &Symptom) -> String {
        let Self { passed, stuck } = self;
        let far = symptom.far();
        let headers = if far.is_ipv4() { PING.0 } else { PING.1 };
        let size = stuck.saturating_sub(headers);
        let ping = shell!("ping -M do -s {} {}", size, far).told_or("ping");
        t!(
            "{stuck} bytes get stuck on the way to {far}, and {passed} get through: the network \
             carries less than this node's MTU says, and nobody tells; {ping} \
             finds how much, and the MTU here must be no more"
        )
    }
}

/// A pod's packets that went out into the world as the pod's own: nobody there knows its address,
/// unless the network routes it.
pub fn bare(facts: &Facts<'_>, symptom: &Symptom) -> Option<String> {
    let last = symptom.last.as_ref()?;
    let (source, _) = ends(last.flow());
    let route = facts.way(&facts.packet_of(last.flow()))?;
    let out = last.plain() && last.egress() && facts.leads_out(route);
    let own = source == symptom.client && facts.is_local_pod(source);
    // Of a connection that is open, the answers came.
    let asks = symptom.asked > 0;
    (out && own && asks && !symptom.answers).then(|| {
        t!(
            "it left with the pod's own address {source}, which that network must route back here: \
             else a masquerade is missing on this node"
        )
    })
}

/// A datagram that this node itself says nobody takes.
pub fn closed_here(facts: &Facts<'_>, symptom: &Symptom) -> Option<String> {
    let here = facts.owns(symptom.server) && symptom.protocol == UDP && !symptom.answers;
    let said = refusal(facts, symptom).filter(|_| here)?;
    let list = shell!("ss -lunp").told_or("ss");
    Some(t!(
        "{said}: nothing on this node takes UDP port {}; {list} lists who listens",
        symptom.port
    ))
}

/// The rule beyond which nobody computes its way: whatever is wrong may be what that one does.
pub fn uncomputed(facts: &Facts<'_>, symptom: &Symptom) -> Option<String> {
    let flow = *symptom.last.as_ref()?.flow();
    let asked = match symptom.answers {
        true => flow.reversed(),
        false => flow,
    };
    let (netns, taker) = facts.uncomputed(&asked)?;
    let (rule, chain) = (taker.rule?, &taker.chain);
    let list = match (taker.legacy, chain.family) {
        (false, family) => shell!(
            "nft -a list chain {} {} {}",
            family.name(),
            chain.table,
            chain.chain
        ),
        (true, Family::Ip6) => shell!("ip6tables-legacy -t {} -S {}", chain.table, chain.chain),
        (true, _) => shell!("iptables-legacy -t {} -S {}", chain.table, chain.chain),
    };
    let list = facts.node.inside(netns, list).told_or("nft");
    let number = rule.number;
    Some(t!(
        "its way leads through rule {number} of the chain {}, and netdiag does not know what that one does to it: look there \
         first, {list}",
        chain.chain
    ))
}

/// Who answers with an error, and which.
pub fn refusal(facts: &Facts<'_>, symptom: &Symptom) -> Option<String> {
    let (key, said) = error(facts, symptom)?;
    Some(t!("{} answers \"{said}\"", from_wire(key.sender)))
}

/// Whether somebody of the very network that this node's route leads to says that nobody there has the address.
pub fn is_missing_there(facts: &Facts<'_>, symptom: &Symptom) -> bool {
    let far = symptom.far();
    let told = error(facts, symptom)
        .filter(|(key, _)| icmp::is_host_unreachable(key.about.family, key.kind, key.code));
    let Some((key, _)) = told else { return false };
    let sender = from_wire(key.sender);
    let route = facts.way(&facts.from_node(far));
    let there = route.is_some_and(|route| {
        let network = route.destination;
        network.length > 0 && network.contains(sender)
    });
    there && !facts.owns(sender)
}

fn error<'a>(facts: &'a Facts<'_>, symptom: &Symptom) -> Option<(&'a IcmpErrorKey, String)> {
    let about = |key: &IcmpErrorKey| {
        let (source, destination) = ends(&key.about);
        let server = symptom.servers().any(|s| s == destination);
        let client = source == symptom.client || facts.owns(source);
        client && server && key.about.destination_port == symptom.port
    };
    let mut errors = facts.icmp_errors.iter();
    errors.find_map(|(key, _)| {
        let number = (key.about.family, key.kind, key.code);
        let said = icmp::name(number.0, number.1, number.2);
        let told = about(key) && !icmp::too_big(number.0, number.1, number.2);
        told.then_some((key, said))
    })
}
