use netdiag_common::hop::{ACK, FlowHop, RST, SYN};

use super::*;
use crate::{
    Evaluated, Symptoms, findings as evaluate, judge,
    model::{
        control::NO_ETCD,
        gather::{Piece, Rule},
        interception::{Interception, Redirect},
        netfilter::Listing,
        node::Node,
        observation::Observation,
    },
    testing::{
        NETNS, OVERLAY, POD, POD_NETNS, UPLINK, at, died, from_pod, overlay_node, question, route,
        rule, silent, tcp, with_gathered, with_open,
    },
};

const SECOND: u64 = 1_000_000_000;
const NO_NFT: &str = "nft is not installed here";
const NAME: &str = "istiod.istio-system.svc.cluster.local";
const SERVICE: &str = "10.96.0.10";

type Pieces = Vec<(Want, Result<Piece, String>)>;

fn node() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let any = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    node.routes.push(any);
    node
}

/// The pod refuses a client's port six times; it may ask its control plane's name in vain.
fn refused(waits: bool) -> Observation {
    let mut observation = Observation {
        now: 60 * SECOND,
        ..Observation::default()
    };
    for n in 0..6 {
        let mut flow = tcp("172.20.2.9", "172.20.1.5", 80);
        flow.source_port = 50_000 + n;
        let time = SECOND * u64::from(n + 1);
        let note = |flags: u32, time| {
            move |hop: &mut FlowHop| {
                (hop.first, hop.last, hop.flags) = (time, time, flags);
                hop.syns = u32::from(flags == SYN);
            }
        };
        let request = at(flow, OVERLAY, false, 0, note(SYN, time));
        let answer = from_pod(flow.reversed(), note(RST | ACK, time + 1));
        observation.flows.extend([request, answer]);
    }
    if waits {
        let asked = question("172.20.1.5", "172.20.2.53", NAME, POD, silent);
        observation.dns.push(asked);
    }
    observation
}

fn nobody_listens() -> (Want, Result<Piece, String>) {
    let nobody = Piece::Listeners(Vec::new());
    (Want::Listeners(POD_NETNS), Ok(nobody))
}

fn no_rules() -> (Want, Result<Piece, String>) {
    (Want::Interception(POD_NETNS), Err(NO_NFT.into()))
}

/// With what pods are told of names, which is another question.
fn judged(observation: &Observation, mut pieces: Pieces, waiting: &mut Waiting) -> Evaluated {
    pieces.push((Want::Resolvers, Ok(Piece::Resolvers(Vec::new()))));
    with_gathered(&node(), observation, pieces, |facts| {
        judge(facts, &Symptoms::of(facts), waiting)
    })
}

/// Causes that are named, and those between which nobody can tell on traffic.
fn told(evaluated: &Evaluated) -> (Vec<&str>, Vec<Vec<&str>>) {
    let findings = evaluated.findings.iter().map(|f| f.cause.as_str());
    let of_traffic = evaluated.cannot_tell.iter().filter(|r| !r.flows.is_empty());
    let rows = of_traffic.map(|row| row.causes.iter().map(String::as_str).collect());
    (findings.collect(), rows.collect())
}

#[test]
fn a_weaker_cause_is_not_named_where_the_stronger_ones_answer_is_refused() {
    let pieces = vec![nobody_listens(), no_rules()];
    let judged = judged(&refused(true), pieces, &mut Waiting::default());
    let (causes, rows) = told(&judged);
    assert!(!causes.contains(&"not-listening"), "{causes:?}");
    assert_eq!(rows, [["not-listening", "sidecar-blocked"]]);
    let row = { judged.cannot_tell.iter() }.find(|row| !row.flows.is_empty());
    let row = row.expect("told");
    assert_eq!(row.why, NO_NFT);
    assert_eq!(row.what, Want::Interception(POD_NETNS).name());
    assert_eq!(row.flows[0].destination, "172.20.1.5:80");
    assert_eq!(row.flows[0].packets, 6);
}

#[test]
fn a_hypothesis_for_which_nothing_speaks_holds_nothing_back() {
    let pieces = vec![nobody_listens(), no_rules()];
    let judged = judged(&refused(false), pieces, &mut Waiting::default());
    assert_eq!(told(&judged), (vec!["not-listening"], Vec::new()));
}

#[test]
fn an_answer_is_waited_for_and_not_for_ever() {
    let mut waiting = Waiting::default();
    let mut after = |seconds: u64| {
        let mut observation = refused(false);
        observation.now += seconds * SECOND;
        let open = [Want::Interception(POD_NETNS)];
        let pieces = [nobody_listens()];
        let judged = with_open(&node(), &observation, pieces, &open, |facts| {
            judge(facts, &Symptoms::of(facts), &mut waiting)
        });
        let (causes, rows) = told(&judged);
        let rows = rows.into_iter().map(|row| row.join(", ")).collect();
        (causes.contains(&"not-listening"), rows)
    };
    let both: Vec<String> = vec!["not-listening, sidecar-blocked".into()];
    assert_eq!(after(0), (false, both.clone()), "just asked");
    assert_eq!(after(7), (false, both));
    assert_eq!(after(8), (true, Vec::new()));
    // What speaks for it is worth more than time, where somebody was asked.
    let held = |open: &[Want]| {
        let mut waiting = Waiting::default();
        let mut after = |seconds: u64| {
            let mut observation = refused(true);
            observation.now += seconds * SECOND;
            let pieces = [nobody_listens()];
            with_open(&node(), &observation, pieces, open, |facts| {
                let judged = judge(facts, &Symptoms::of(facts), &mut waiting);
                !told(&judged).0.contains(&"not-listening")
            })
        };
        (after(0), after(60))
    };
    assert_eq!(held(&[Want::Interception(POD_NETNS)]), (true, true));
    assert_eq!(held(&[]), (true, false));
}

/// A proxy whose lookups began a moment ago is closed for them, or starts.
#[test]
fn what_has_just_begun_holds_the_weaker_cause_back() {
    let named = |asked: u64| {
        let mut observation = refused(false);
        let young = move |dns: &mut netdiag_common::dns::Dns| {
            (dns.first_query, dns.last_query) = (asked, asked + SECOND / 2);
            (dns.unanswered, dns.silent_since) = (2, asked);
        };
        let asks = question("172.20.1.5", "172.20.2.53", NAME, POD, young);
        observation.dns.push(asks);
        let redirect = Redirect {
            port: 15006,
            of: Vec::new(),
            rule: String::new(),
            list: Listing::Unknown,
        };
        let rules = Interception {
            inbound: vec![redirect],
            ..Interception::default()
        };
        let rules = Ok(Piece::Interception(rules));
        let pieces = vec![nobody_listens(), (Want::Interception(POD_NETNS), rules)];
        let judged = judged(&observation, pieces, &mut Waiting::default());
        let (causes, rows) = told(&judged);
        (causes.contains(&"not-listening"), rows.len())
    };
    assert_eq!(named(58 * SECOND), (false, 1));
    assert_eq!(
        named(50 * SECOND),
        (true, 0),
        "two questions are no pattern"
    );
}

/// Drops of what a pod sends to an address that may be a Service's, by one of these rules.
fn dropped(services: Result<Piece, String>, rules: Vec<Rule>) -> Vec<String> {
    let flow = tcp("172.20.1.5", SERVICE, 80);
    let observation = Observation {
        now: 60 * SECOND,
        drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 5)],
        ..Observation::default()
    };
    let pieces = [
        (Want::Services, services),
        (Want::Rules(NETNS), Ok(Piece::Rules(rules))),
    ];
    with_gathered(&node(), &observation, pieces, |facts| {
        let found = evaluate(facts).into_iter();
        found.map(|f| f.cause).collect()
    })
}

#[test]
fn a_reason_alone_is_weaker_than_a_rule_that_counts() {
    let none = || Ok(Piece::Services(Default::default()));
    let refused = || Err(NO_NFT.to_owned());
    let rule = |place| rule(place, "ip daddr 10.96.0.10 drop");
    assert_eq!(dropped(none(), Vec::new()), ["firewall-drop"]);
    assert_eq!(dropped(refused(), Vec::new()), [""; 0]);
    let filter = vec![rule(["inet", "filter", "forward"])];
    assert_eq!(dropped(refused(), filter), ["firewall-drop"]);
    let service = vec![rule(["ip", "filter", "KUBE-SERVICES"])];
    assert_eq!(dropped(refused(), service), [""; 0], "a Service's refusal");
}

#[test]
fn a_source_that_is_there_and_refuses_is_told_and_one_that_is_not_there_is_not() {
    let rows = |why: &str| {
        let mut waiting = Waiting::default();
        let mut after = |seconds: u64| {
            let quiet = Observation {
                now: seconds * SECOND,
                ..Observation::default()
            };
            let pieces = [
                (Want::Etcd, Err(why.to_owned())),
                (Want::Ipam, Ok(Piece::Ipam(Vec::new()))),
            ];
            let asked = [Want::Commands("flanneld".into()), Want::Etcd];
            let judged = with_open(&node(), &quiet, pieces, &asked, |facts| {
                judge(facts, &Symptoms::of(facts), &mut waiting)
            });
            let rows = judged.cannot_tell.into_iter();
            let rows = rows.map(|row| (row.causes.join(", "), row.why));
            rows.collect::<Vec<_>>()
        };
        (after(1), after(4))
    };
    let told = |cause: &str, why: &str| (cause.to_owned(), why.to_owned());
    let cause = "flannel-iface-regex-unanchored";
    // IPAM has answered, and nobody asked for the runtime's word.
    let (asked, late) = rows(NO_ETCD);
    assert_eq!(asked, [told(cause, "no answer yet")]);
    assert_eq!(late, [told(cause, "no answer yet after 3 s")]);
    let refused = told("etcd-nospace", "connection refused");
    assert!(rows("connection refused").0.contains(&refused));
}

#[test]
fn what_also_affects_others_is_told_for_these() {
    let asked = |port| Asked {
        protocol: 6,
        client: [10, 0, 0, 1].into(),
        server: [10, 0, 0, 2].into(),
        port,
    };
    let open = |port| Open {
        cause: "sidecar-blocked",
        need: Need::of(
            Want::Interception(u32::from(port)),
            vec![Sufferer::Flow(asked(port), 5)],
        ),
        at_best: Strength::Acted,
        why: "x".into(),
        young: false,
    };
    let held = |open: &[Open]| {
        use crate::model::verdict::{Confidence, FlowRef, Severity};
        let (warning, confirmed) = (Severity::Warning, Confidence::Confirmed);
        let mut finding = Finding::new("not-listening", warning, confirmed, String::new());
        let refer = |port: u16| FlowRef {
            protocol: "tcp".into(),
            source: "10.0.0.1".into(),
            destination: format!("10.0.0.2:{port}"),
            ..FlowRef::default()
        };
        finding.flows = [80, 81].map(refer).into();
        for flow in &finding.flows {
            finding.scope.add_flow(flow);
        }
        hold_back(open, &mut vec![finding]).len()
    };
    assert_eq!(held(&[open(80)]), 0, "port 81 is decided");
    assert_eq!(held(&[open(80), open(81)]), 1);
    assert_eq!(held(&[]), 0);
}
