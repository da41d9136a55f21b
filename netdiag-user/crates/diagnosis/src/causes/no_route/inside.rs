//! A pod that has no default route where its neighbours have one: its programs are refused before any
//! packet is made, and only a counter of its namespace moves.
use netdiag_lang::t;

use super::ID;
use crate::{
    model::{
        node::PodSide,
        pod::label,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Origin, PodRole, Severity},
    },
    pipeline::facts::Facts,
    shared::pod_default,
    shell,
};

/// Of the namespace (RFC 4293, ipSystemStatsOutNoRoutes): connections and datagrams that no route took.
const COUNTER: &str = "Ip.OutNoRoutes";
/// Programs look for a way now and then, to find out whether they are online.
const REFUSED: u64 = 5;
/// Routes of a pod that are told.
const ROUTES: usize = 4;

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let sides = || facts.node.pod_sides.iter();
    if !sides().any(|side| pod_default::gateway(side, false).is_some()) {
        return None;
    }
    let refused = |side: &PodSide| facts.moved(side.netns, COUNTER).unwrap_or(0);
    let lacking = sides().filter(|s| pod_default::is_missing(s, false) && refused(s) >= REFUSED);
    let side = lacking.max_by_key(|side| refused(side))?;
    let packets = refused(side);
    let address = *side.addresses.iter().find(|a| a.is_ipv4())?;
    let pod = facts.pod(address, PodRole::Source);
    let who = pod.as_ref().map_or_else(|| address.to_string(), label);
    let summary = t!(
        "{who} has no default route, other pods of this node have one: {packets} packets could not \
         leave it"
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    finding.evidence = evidence(facts, side, packets);
    finding.pods.extend(pod);
    finding.about.push(address);
    finding.first_seen = facts.clock.text(facts.now);
    finding.last_seen.clone_from(&finding.first_seen);
    finding.fix = pod_default::fix(facts, side, false);
    Some(finding)
}

fn evidence(facts: &Facts<'_>, side: &PodSide, packets: u64) -> Vec<Evidence> {
    let inside = |command| facts.node.inside(side.netns, command);
    let text = t!("OutNoRoutes inside the pod moved by {packets}");
    let mut counter = Evidence::new(EvidenceKind::Counter, Origin::Observed, text);
    counter.packets = Some(packets);
    counter.confirm = Some(inside(shell!("nstat -asz IpOutNoRoutes")));
    // A pod may have given itself thousands.
    let ways = side.ways.iter().take(ROUTES).map(|(to, _)| to.to_string());
    let mut ways: Vec<_> = ways.collect();
    ways.extend((side.ways.len() > ROUTES).then(|| "…".to_owned()));
    let text = t!("the pod has routes to {} alone", ways.join(t!(", ")));
    let mut routes = Evidence::new(EvidenceKind::Route, Origin::Configured, text);
    routes.confirm = Some(inside(shell!("ip route show")));
    vec![counter, routes]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{node::Counters, observation::Observation},
        testing::{POD_NETNS, ip, overlay_node, since},
    };

    /// What is told of a pod with these routes, beside one with a default route.
    fn told(ways: &[&str], refused: u64) -> Option<String> {
        let mut node = overlay_node(1450, 1450, 1500);
        let way = |to: &&str| (to.parse().expect("a prefix"), Some(ip("169.254.1.1")));
        let mut other = node.pod_sides[0].clone();
        other.netns += 7;
        other.ways = vec![way(&"0.0.0.0/0")];
        node.pod_sides[0].ways = ways.iter().map(way).collect();
        node.pod_sides.push(other);
        let counted = |value| Counters {
            netns: POD_NETNS,
            values: [(COUNTER.into(), value)].into(),
        };
        let mut start = node.clone();
        start.counters.push(counted(100));
        node.counters.push(counted(100 + refused));
        let none = Observation::default();
        let found = since(&start, &node, &none, [], evaluate);
        found.map(|f| f.summary)
    }

    #[test]
    fn a_pod_without_a_default_route_is_told_where_it_wants_one() {
        let summary = told(&["172.20.1.0/24"], 9).expect("it cannot leave");
        assert!(summary.contains("9 packets"), "{summary}");
        assert_eq!(told(&["172.20.1.0/24"], 4), None, "few");
        assert_eq!(told(&["172.20.1.0/24", "0.0.0.0/0"], 9), None);
        assert_eq!(told(&[], 9), None, "not known");
    }
}
