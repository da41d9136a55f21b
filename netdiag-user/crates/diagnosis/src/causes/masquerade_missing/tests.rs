use netdiag_common::{
    flow::FlowKey,
    hop::{FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, SYN},
};

use super::*;
use crate::{
    causes,
    model::{
        address::{Prefix, to_wire},
        cluster::{self, Cluster},
        gather::Piece,
        netfilter::Iptables,
        node::Node,
        observation::Observation,
        shell::CommandLine,
        source_nat::{Keeper, Who},
    },
    testing::{UPLINK, at, from_pod, overlay_node, route, tcp, with_cluster},
};

const SECOND: u64 = 1_000_000_000;
const POD: &str = "172.20.1.5";
const NODE: &str = "192.0.2.1";
const WORLD: [&str; 3] = ["198.51.100.10", "198.51.100.20", "198.51.100.30"];
/// Somebody's network outside of the cluster, or a Service's address that nothing translates.
const PRIVATE: [&str; 2] = ["10.9.9.9", "10.9.9.10"];

type Hops = Vec<(FlowHopKey, FlowHop)>;

fn flow(from: &str, to: &str) -> FlowKey {
    tcp(from, to, 443)
}

fn syns(flags: u32) -> impl Fn(&mut FlowHop) {
    move |hop| {
        (hop.first, hop.last) = (SECOND, 5 * SECOND);
        (hop.syns, hop.flags) = (4, flags);
    }
}

/// A pod's connection that leaves as it is.
fn lost(to: &str) -> Hops {
    let flow = flow(POD, to);
    vec![
        from_pod(flow, syns(SYN)),
        at(flow, UPLINK, true, 0, syns(SYN)),
    ]
}

fn answer(flow: FlowKey) -> (FlowHopKey, FlowHop) {
    at(flow.reversed(), UPLINK, false, 0, |hop| {
        (hop.first, hop.last) = (2 * SECOND, 6 * SECOND);
        hop.flags = SYN | ACK;
    })
}

/// The node's own connection, which is answered.
fn by_node(to: &str) -> Hops {
    let flow = flow(NODE, to);
    vec![at(flow, UPLINK, true, 0, syns(SYN | ACK)), answer(flow)]
}

fn node() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    let default = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
    node.routes.push(default);
    node
}

fn packet(to: &str) -> Leaving {
    Leaving {
        source: crate::testing::ip(POD),
        destination: crate::testing::ip(to),
        link: "ens5".into(),
    }
}

struct Given {
    hops: Hops,
    errors: Vec<(IcmpErrorKey, IcmpError)>,
    rules: SourceNat,
    cluster: Cluster,
    /// All pods', where a file of the CNI says so.
    networks: Vec<(Prefix, String)>,
}

fn given(parts: &[Hops]) -> Given {
    Given {
        hops: parts.concat(),
        errors: Vec::new(),
        rules: SourceNat::default(),
        cluster: Cluster::default(),
        networks: Vec::new(),
    }
}

impl Given {
    fn found(self) -> Vec<Finding> {
        let observation = Observation {
            now: 60 * SECOND,
            flows: self.hops,
            icmp_errors: self.errors,
            ..Observation::default()
        };
        let answers = WORLD.iter().chain(&PRIVATE).map(|to| {
            let want = Want::SourceNat(packet(to));
            (want, Ok(Piece::SourceNat(self.rules.clone())))
        });
        let networks = Piece::PodNetworks(self.networks.clone());
        let answers = answers.chain([(Want::PodNetworks, Ok(networks))]);
        with_cluster(&node(), &observation, answers, &self.cluster, |facts| {
            let found = causes::evaluate(facts);
            assert_eq!(wants(facts).is_empty(), Case::of(facts).is_none());
            found
        })
    }

    fn told(self) -> Option<(Confidence, Severity)> {
        let found = self.found();
        assert!(found.iter().all(|f| f.cause == ID), "{found:?}");
        found.first().map(|f| (f.confidence, f.severity))
    }
}

const SURE: Option<(Confidence, Severity)> = Some((Confidence::Confirmed, Severity::Critical));
const SUSPECTED: Option<(Confidence, Severity)> = Some((Confidence::Suspected, Severity::Warning));

#[test]
fn destinations_that_answer_the_node_and_no_pod_confirm_it() {
    let both = || vec![lost(WORLD[0]), lost(WORLD[1])];
    let same = [both(), vec![by_node(WORLD[0]), by_node(WORLD[1])]].concat();
    assert_eq!(given(&same).told(), SURE);
    let one = [lost(WORLD[0]), by_node(WORLD[0])];
    assert_eq!(
        given(&one).told(),
        SUSPECTED,
        "it may let the node in alone"
    );
    let mut told = given(&one);
    told.rules.keeper = Some(Keeper {
        who: Who::Flannel,
        file: "/run/flannel/subnet.env".into(),
        told: Some(true),
    });
    assert_eq!(told.told(), SURE);
    let others = [both(), vec![by_node(WORLD[2])]].concat();
    assert_eq!(given(&others).told(), SUSPECTED);
}

#[test]
fn one_silent_destination_is_the_worlds() {
    assert_eq!(given(&[lost(WORLD[0]), by_node(WORLD[2])]).told(), None);
    let dead = [lost(WORLD[0]), lost(WORLD[1])];
    assert_eq!(given(&dead).told(), None, "nobody answers the node either");
}

#[test]
fn pods_that_are_answered_as_they_are_need_no_masquerade() {
    let all = |more: Hops| {
        let known = [by_node(WORLD[0]), by_node(WORLD[1])];
        given(&[vec![lost(WORLD[0]), lost(WORLD[1]), more], known.to_vec()].concat())
    };
    assert_eq!(all(Vec::new()).told(), SURE);
    let other = flow(POD, WORLD[2]);
    let answered = [lost(WORLD[2]), vec![answer(other)]].concat();
    assert_eq!(all(answered).told(), None);
    // An eBPF program translates behind this hook, and hands answers to the pod past all others.
    let open = vec![at(other, UPLINK, true, 0, syns(SYN | ACK))];
    assert_eq!(all(open).told(), None);
    let mut refused = all(lost(WORLD[2]));
    let error = IcmpErrorKey {
        about: other,
        sender: to_wire(crate::testing::ip("198.51.100.1")),
        ..IcmpErrorKey::default()
    };
    refused.errors.push((error, IcmpError::default()));
    assert_eq!(refused.told(), None, "the error found its way");
}

#[test]
fn private_addresses_may_be_services() {
    let both = || vec![lost(PRIVATE[0]), lost(PRIVATE[1]), by_node(WORLD[0])];
    assert_eq!(given(&both()).told(), None);
    let known = [both(), vec![by_node(PRIVATE[0]), by_node(PRIVATE[1])]].concat();
    assert_eq!(given(&known).told(), SURE, "somebody's network");
    let mut service = given(&known);
    service.cluster.services = PRIVATE
        .map(|address| cluster::Service {
            addresses: vec![crate::testing::ip(address)],
            ..cluster::Service::default()
        })
        .into();
    assert_eq!(service.told(), None);
}

#[test]
fn a_rule_that_may_translate_ends_it() {
    let all = [lost(WORLD[0]), lost(WORLD[1]), by_node(WORLD[0])];
    let mut masqueraded = given(&all);
    masqueraded.rules.rule = Some("masquerade".into());
    assert_eq!(masqueraded.told(), None);
    let observation = Observation {
        now: 60 * SECOND,
        flows: all.concat(),
        ..Observation::default()
    };
    let unknown = with_cluster(&node(), &observation, [], &Cluster::default(), evaluate);
    assert!(unknown.is_none(), "nobody knows the rules");
}

#[test]
fn the_rule_is_written_for_what_the_node_uses() {
    let all: Prefix = "172.20.0.0/16".parse().expect("a prefix");
    let fix_of = |networks: &[(Prefix, String)], programs: Vec<Iptables>| {
        let mut given = given(&[lost(WORLD[0]), lost(WORLD[1]), by_node(WORLD[0])]);
        given.networks = networks.to_vec();
        given.rules.programs = programs;
        let finding = given.found().remove(0);
        let commands = finding.fix.commands.iter();
        commands.map(CommandLine::text).collect::<Vec<_>>()
    };
    // It would hide pods from those of other nodes.
    assert_eq!(fix_of(&[], vec![Iptables::Legacy4]), [""; 0]);
    let known = [(all, "subnet.env".to_owned())];
    let fix = |programs| fix_of(&known, programs);
    assert_eq!(
        fix(vec![Iptables::Legacy4]),
        [
            "iptables-legacy -t nat -A POSTROUTING -s 172.20.1.5/32 '!' -d 172.20.0.0/16 -o ens5 -j MASQUERADE"
        ]
    );
    let native = fix(Vec::new());
    let chain = "nft add chain ip pod-egress postrouting \
                 '{ type nat hook postrouting priority 100; }'";
    let rule = "nft add rule ip pod-egress postrouting ip saddr 172.20.1.5/32 \
                ip daddr '!=' 172.20.0.0/16 oifname ens5 masquerade";
    assert_eq!(native, ["nft add table ip pod-egress", chain, rule]);
}
