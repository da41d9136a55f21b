//! Datagrams whose silence tells something. Who speaks by UDP may want no answer: what was answered on
//! another socket does, and what never comes out of this node again arrived nowhere, whoever wants what.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::flow::FlowKey;

use super::{
    NAMED, owed,
    symptoms::{ASKED, SPAN_NS},
};
use crate::{
    model::{
        flow::{UDP, ends},
        gather::Want,
        link_filters::LinkHook,
        roles::Role,
        source_nat::Leaving,
        total::Total,
    },
    pipeline::{
        connection_groups::{Connection, ConnectionGroup},
        facts::{Facts, HopFlow, Loss},
    },
};

/// Whether that port is one that answers this client, or these tries came no farther than into this node.
pub fn silence_tells(
    facts: &Facts<'_>,
    all: &ConnectionGroup<'_>,
    silent: &[Connection<'_>],
) -> bool {
    let answers = || all.tries.iter().any(|t| !t.answers.is_empty());
    let bare = || leaving(facts, silent).is_some_and(|it| owed::to_translate(facts, &it).is_some());
    answers() || dies_here(facts, silent) || bare() || answers_die(facts, silent)
}

/// Whether what comes back is dropped by this node, time and again: it knows not whose it is.
pub fn answers_die(facts: &Facts<'_>, tries: &[Connection<'_>]) -> bool {
    let back: BTreeSet<FlowKey> = tries
        .iter()
        .flat_map(|t| [Some(t.flow), t.became].into_iter().flatten())
        .flat_map(|flow| {
            let leg = facts.legs().translated(&flow).map(|(leg, _)| leg);
            [Some(flow), leg].into_iter().flatten()
        })
        .map(|flow| flow.reversed())
        .collect();
    // In a pod nobody waits any more: its own socket went away.
    let here = |l: &&Loss| {
        let (_, to) = ends(l.flow());
        l.key.netns == facts.node.netns && facts.owns(to) && back.contains(l.flow())
    };
    let own = facts.losses.iter().filter(here);
    let masqueraded = tries.iter().all(|t| !facts.owns(ends(&t.flow).0));
    masqueraded && own.map(|l| l.dropped.packets).total() >= ASKED
}

/// A pod that has a way beside its links to this node may answer by that.
pub fn may_go_round(facts: &Facts<'_>, server: IpAddr) -> bool {
    facts.pod_side_of(server).is_some_and(|side| {
        let links = facts.node.links.iter();
        let seen = links.filter(|l| l.peer_netns == Some(side.netns)).count();
        side.links.len() > seen
    })
}

/// Where they left as the pod's own, which nobody out there knows unless the network routes it.
fn leaving(facts: &Facts<'_>, tries: &[Connection<'_>]) -> Option<Leaving> {
    let tried = tries.last()?;
    let leg = tried.became.unwrap_or(tried.flow);
    let journey = facts.journeys().get(&leg)?;
    let (client, _) = ends(&leg);
    owed::leaving_at(facts, journey.hops.last()?, client)
}

/// Whoever is shown a link's packets may lead them past the hooks behind it.
pub fn wants(facts: &Facts<'_>) -> impl Iterator<Item = Want> {
    let groups = || facts.attempts().iter().filter(|g| g.protocol == UDP);
    let lost = groups().find(|g| is_lost(facts, &g.tries));
    let silent = |g: &&ConnectionGroup<'_>| {
        is_lasting(&g.tries) && g.tries.iter().all(|t| t.answers.is_empty())
    };
    let bare = groups().filter(silent);
    let bare: BTreeSet<_> = bare.filter_map(|g| leaving(facts, &g.tries)).collect();
    let bare = bare.into_iter().take(NAMED).map(Want::SourceNat);
    lost.map(|_| Want::LinkFilters(facts.node.netns))
        .into_iter()
        .chain(bare)
}

/// Sent by a pod to another one of this node, and never seen at its links, where nobody has a program that
/// leads past them.
fn dies_here(facts: &Facts<'_>, tries: &[Connection<'_>]) -> bool {
    if !is_lost(facts, tries) {
        return false;
    }
    let Some(filters) = facts.gathered.link_filters(facts.node.netns) else {
        return false;
    };
    let firsts = tries.iter().filter_map(|t| t.requests.first());
    let by: BTreeSet<u32> = firsts.map(|h| h.key.ifindex).collect();
    let mut shown = filters.iter().filter(|f| by.contains(&f.link));
    !shown.any(|f| f.hook != LinkHook::Egress)
}

/// As often, and over as long a time, as no chance takes.
fn is_lost(facts: &Facts<'_>, tries: &[Connection<'_>]) -> bool {
    facts.all_watched && is_lasting(tries) && tries.iter().all(|t| stays_away(facts, t))
}

fn is_lasting(tries: &[Connection<'_>]) -> bool {
    let packets = tries.iter().map(Connection::packets).total();
    let first = tries.iter().map(Connection::first).min().unwrap_or(0);
    let last = tries.iter().map(Connection::last).max().unwrap_or(0);
    packets >= ASKED && last.saturating_sub(first) >= SPAN_NS
}

/// Whether it came in from a pod, and left by none of the links of the pod of this node that it is for.
fn stays_away(facts: &Facts<'_>, tried: &Connection<'_>) -> bool {
    let leg = tried.became.unwrap_or(tried.flow);
    let (_, server) = ends(&leg);
    let mut others = facts.node.linkless.iter();
    // What a pod has beside its links is seen at no hook.
    let unseen = others.any(|side| side.addresses.contains(&server));
    let Some(side) = facts.pod_side_of(server).filter(|_| !unseen) else {
        return false;
    };
    let links = facts.node.links.iter();
    let own = links.filter(|l| l.peer_netns == Some(side.netns));
    let own: BTreeSet<u32> = own.map(|l| l.index).collect();
    let from_pod = |h: &&HopFlow| h.role == Some(Role::Pod) && !h.egress() && h.plain();
    let came = tried.requests.first().is_some_and(from_pod);
    let arrived = |flow: FlowKey| {
        let journey = facts.journeys().get(&flow);
        let hops = journey.iter().flat_map(|j| j.hops.iter());
        let mut out = hops.filter(|h| h.egress());
        out.any(|h| own.contains(&h.key.ifindex))
    };
    came && !own.is_empty() && !arrived(tried.flow) && !arrived(leg)
}

#[cfg(test)]
mod tests {
    use netdiag_common::hop::{FlowHop, FlowHopKey, PLAIN};

    use super::super::Symptoms;
    use crate::{
        model::{
            flow::UDP,
            gather::{Piece, Want},
            link_filters::{Attachment, LinkFilter, LinkHook},
            node::{LinkKind, Node},
            observation::Observation,
        },
        testing::{
            NETNS, OVERLAY, POD, UPLINK, at, from_pod, ip, link, overlay_node, tcp, with_gathered,
        },
    };
    use netdiag_common::flow::FlowKey;

    const SECOND: u64 = 1_000_000_000;
    const OTHER: u32 = 70;
    const PEER: &str = "172.20.2.9";
    const BESIDE: &str = "172.20.1.6";

    fn asks(to: &str, source_port: u16) -> FlowKey {
        FlowKey {
            protocol: UDP,
            source_port,
            ..tcp("172.20.1.5", to, 8125)
        }
    }

    fn during(first: u64, last: u64) -> impl Fn(&mut FlowHop) {
        move |hop| (hop.first, hop.last) = (first * SECOND, last * SECOND)
    }

    /// With a second pod beside the first, behind a link of its own.
    fn node() -> Node {
        let mut node = overlay_node(1450, 1450, 1500);
        let mut side = node.pod_sides[0].clone();
        (side.netns, side.addresses) = (7_000, vec![ip(BESIDE)]);
        node.pod_sides.push(side);
        let mut other = link(OTHER, "cali2", LinkKind::Veth, 1450);
        other.peer_netns = Some(7_000);
        other.peer_elsewhere = node.link(POD).expect("a link").peer_elsewhere;
        node.links.push(other);
        node
    }

    fn told(flows: Vec<(FlowHopKey, FlowHop)>, filters: Option<Vec<LinkFilter>>) -> Vec<bool> {
        let observation = Observation {
            now: 15 * SECOND,
            flows,
            ..Observation::default()
        };
        let known = filters.map(|it| (Want::LinkFilters(NETNS), Ok(Piece::LinkFilters(it))));
        let node = node();
        with_gathered(&node, &observation, known, |facts| {
            let told = Symptoms::of(facts).unexplained(facts, &[]);
            told.iter().map(|u| u.here).collect()
        })
    }

    #[test]
    fn a_port_that_answered_is_one_that_answers() {
        let later = |flow| {
            vec![
                from_pod(flow, during(8, 12)),
                at(flow, OVERLAY, true, PLAIN, during(8, 12)),
                at(flow, UPLINK, true, PLAIN, during(8, 12)),
            ]
        };
        assert!(told(later(asks(PEER, 40_001)), None).is_empty(), "statsd");
        let before = asks(PEER, 40_000);
        let mut flows = later(asks(PEER, 40_001));
        flows.push(from_pod(before, during(1, 2)));
        flows.push(at(before.reversed(), POD, true, PLAIN, during(1, 2)));
        assert_eq!(told(flows.clone(), None).len(), 1);
        let again = asks(PEER, 40_002);
        flows.push(from_pod(again, during(12, 13)));
        flows.push(at(again.reversed(), POD, true, PLAIN, during(13, 13)));
        assert!(told(flows, None).is_empty(), "it answers again");
    }

    #[test]
    fn what_no_link_of_the_other_pod_sees_got_lost_here() {
        let flow = asks(BESIDE, 40_000);
        let sent = |last| vec![from_pod(flow, during(2, last))];
        let none = || Some(Vec::new());
        assert_eq!(told(sent(12), none()), [true]);
        assert!(told(sent(12), None).is_empty(), "not known yet");
        assert!(told(sent(4), none()).is_empty());
        let mut arrived = sent(12);
        arrived.push(at(flow, OTHER, true, PLAIN, during(2, 12)));
        assert!(told(arrived, none()).is_empty());
        let mut astray = sent(12);
        astray.push(at(flow, UPLINK, true, PLAIN, during(2, 12)));
        assert_eq!(told(astray, none()).len(), 1, "by another link");
    }

    /// Cilium hands over to the other pod's end itself (bpf_redirect_peer).
    #[test]
    fn whoever_is_shown_them_may_lead_them_past_the_hooks() {
        let by = |link, hook| LinkFilter {
            link,
            hook,
            at: Attachment::Tcx { link: None },
            program: None,
            dropped: None,
            moved: 0,
        };
        let sent = || vec![from_pod(asks(BESIDE, 40_000), during(2, 12))];
        assert!(told(sent(), Some(vec![by(POD, LinkHook::Ingress)])).is_empty());
        assert!(told(sent(), Some(vec![by(POD, LinkHook::Xdp)])).is_empty());
        assert!(!told(sent(), Some(vec![by(POD, LinkHook::Egress)])).is_empty());
        assert!(!told(sent(), Some(vec![by(OTHER, LinkHook::Ingress)])).is_empty());
    }
}
