//! # Symptom
//! Pods of this node reach other pods by their addresses, but no Service: connections to ClusterIPs time
//! out, including cluster DNS. The same workload works on other nodes.
//!
//! # Mechanism
//! No host has a ClusterIP: kube-proxy's rules on each node translate it to a pod's address. If
//! kube-proxy does not run there (evicted, Pending, crashed before it wrote its rules), the packet leaves
//! untranslated by the default route, and the network drops it. A kube-proxy that died leaves its rules
//! behind: existing Services keep working, newer ones do not.
//!
//! # Signals
//! Observed: packets from this node's pods to the address leave untranslated by an uplink, again and again,
//! without an answer. Configured: no rule of iptables, nftables or IPVS has the address, and something
//! says that it is a Service's: the API, the `--service-cluster-ip-range` of an API server that is a daemon
//! of this node, or the `…_SERVICE_HOST` that kubelet sets in containers here. A container can set such a
//! variable itself. So it takes a container of the cluster's own namespaces, or two of different
//! namespaces, to confirm the finding; any other single container makes it a suspicion, and so does a
//! private address that most pods are told to ask for cluster names (resolv.conf). Without any of these
//! there is no finding.
//!
//! # Look-alikes
//! `service-no-endpoints`: the rules exist and reject. A port that the Service does not have leaves
//! untranslated too, but rules for its address exist. A deleted Service whose address old pods still use:
//! no finding while kube-proxy runs and has rules for others. Cilium and Calico's eBPF mode translate
//! without kube-proxy, at the pod's own link: a ClusterIP never comes as far as an uplink.
//!
//! # By hand
//! `iptables-save | grep KUBE-SERVICES`, `nft list table ip kube-proxy`, `ipvsadm -Ln`; `tcpdump -nni
//! UPLINK host CLUSTERIP` shows untranslated packets leave the node.
//!
//! # Fix
//! Get kube-proxy to run on this node: `kubectl -n kube-system get pods -o wide`. Give its DaemonSet
//! `priorityClassName: system-node-critical`, so that it is not evicted.
use std::net::IpAddr;

use super::connection_groups::ConnectionGroup;
use crate::{
    model::{
        address::endpoint,
        flow,
        journal::Translates,
        roles::Role,
        services::{Services, Word},
        shell::CommandLine,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    need::Need,
    pipeline::facts::{Facts, HopFlow},
    shared::{daemon::Daemon::KubeProxy, services},
    shell,
};
use netdiag_common::dns::PORT as DNS;
use netdiag_lang::{mark, t};

pub const ID: &str = "kube-proxy-missing";
pub const TITLE: &str =
    mark!("ClusterIPs are not translated on this node: kube-proxy is not at work");

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    services::wants(facts)
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let known = facts.gathered.services()?;
    let mut lost = services::silent(facts);
    lost.retain(|a| is_untranslated(facts, known, a));
    let is_sure = |a: &ConnectionGroup<'_>| word(facts, known, a).is_some_and(|word| word.sure);
    let sure = lost.iter().any(is_sure);
    // What is sure is not mixed with what somebody may have made up; who is asked for names is what it is
    // most of all for.
    lost.retain(|a| !sure || is_sure(a) || is_asked_for_names(facts, a));
    lost.sort_by_key(|a| sure && !is_sure(a));
    let worst = lost.first()?;
    let (target, packets) = (endpoint(worst.server, worst.port), worst.packets());
    let state = match known.rules.len() {
        0 => t!("there are no rules for Services at all").to_owned(),
        n => t!("there are rules for other Services' ports ({n})"),
    };
    let severity = match sure && known.rules.is_empty() {
        true => Severity::Critical,
        false => Severity::Warning,
    };
    let (confidence, what) = match sure {
        true => (Confidence::Confirmed, t!("the ClusterIP {target}")),
        false if services::evidence(facts, known, worst.server).is_none() => (
            Confidence::Suspected,
            t!("{target}, which most pods are told to ask for names"),
        ),
        false => (
            Confidence::Suspected,
            t!("{target}, which only pods of one namespace call a Service's"),
        ),
    };
    let summary = t!(
        "this node does not translate {what}: {packets} packets from {} left as they were, \
         unanswered; {state}",
        services::who(facts, worst.client),
    );
    let mut finding = Finding::new(ID, severity, confidence, summary);
    services::tell(&mut finding, facts, &lost);
    let mut asked: Vec<_> = lost.iter().collect();
    asked.sort_by_key(|a| a.server);
    asked.dedup_by_key(|a| a.server);
    let told = asked.into_iter().filter_map(|a| {
        let (address, word) = (a.server, word(facts, known, a)?);
        let text = match word.sure {
            true => t!("{address} is a Service's: {}", word.by),
            false => t!("{address} is called a Service's by nobody but {}", word.by),
        };
        Some(Evidence::new(
            EvidenceKind::Process,
            Origin::Configured,
            text,
        ))
    });
    finding.evidence.extend(told);
    let text = t!("no rule translates {}: {state}", worst.server);
    let mut line = services::rules(text, by_hand(worst));
    line.lacks = Some((worst.server.is_ipv6(), Translates::Destination));
    finding.evidence.push(line);
    finding.fix = fix(facts, worst.server, known, sure);
    Some(finding)
}

/// Of an address that somebody is sure is a Service's, where it leaves as it is: as what that is told, and what to do.
pub fn foretold(facts: &Facts<'_>, server: IpAddr) -> Option<(String, Fix)> {
    let known = facts.gathered.services()?;
    let word = services::evidence(facts, known, server).filter(|word| word.sure)?;
    let unled = known.rules.iter().all(|rule| rule.address != server);
    let nobody = known.rules.is_empty() || known.has_no_proxy();
    let what = t!(
        "this node does not translate {server}, which is a Service's: {}",
        word.by
    );
    (unled && nobody).then(|| (what, fix(facts, server, known, true)))
}

/// It left as it was, somebody says that it is a Service's, and no rule knows it. Beside rules
/// for others, an address without one may be that of a deleted Service: then only a kube-proxy
/// that does not run is to blame.
fn is_untranslated(facts: &Facts<'_>, known: &Services, attempts: &ConnectionGroup<'_>) -> bool {
    let asked = facts.from_to(attempts.client, attempts.server);
    attempts.tries.iter().all(|t| t.became.is_none())
        && facts.leaves(&asked)
        && known.rules.iter().all(|s| s.address != attempts.server)
        && (known.rules.is_empty() || known.has_no_proxy())
        && word(facts, known, attempts).is_some()
        && leaves(facts, attempts)
}

/// Who says that it is a Service's that they ask.
fn word(facts: &Facts<'_>, known: &Services, attempts: &ConnectionGroup<'_>) -> Option<Word> {
    let word = services::evidence(facts, known, attempts.server);
    word.or_else(|| {
        is_asked_for_names(facts, attempts).then(|| Word {
            by: t!("most pods' resolv.conf").into(),
            sure: false,
        })
    })
}

fn is_asked_for_names(facts: &Facts<'_>, attempts: &ConnectionGroup<'_>) -> bool {
    attempts.port == DNS && services::is_named(facts, attempts.server)
}

/// Whether an uplink sends such packets on: what an eBPF dataplane translates or refuses at the pod's own
/// link never comes that far, and it has no rules either.
fn leaves(facts: &Facts<'_>, attempts: &ConnectionGroup<'_>) -> bool {
    let out = |h: &&HopFlow| h.egress() && h.role == Some(Role::Uplink);
    let mut out = facts.flows.iter().filter(out);
    out.any(|h| {
        let flow = h.flow();
        let to = (flow::ends(flow).1, flow.destination_port, flow.protocol);
        to == (attempts.server, attempts.port, attempts.protocol)
    })
}

fn by_hand(worst: &ConnectionGroup<'_>) -> CommandLine {
    let address = worst.server;
    let save = if address.is_ipv4() {
        shell!("iptables-save")
    } else {
        shell!("ip6tables-save")
    };
    let found = |listed: CommandLine| listed.pipe(shell!("grep -w -F -e {v}", address));
    let nft = found(shell!("nft list ruleset"));
    let ipvs = found(shell!("ipvsadm -Ln"));
    found(save).then(nft).then(ipvs).showing_nothing()
}

fn fix(facts: &Facts<'_>, server: IpAddr, known: &Services, sure: bool) -> Fix {
    let left = if known.kube_proxy {
        t!("it left rules behind, so it ran here once")
    } else {
        t!("it left no rules")
    };
    let first = match sure {
        true => String::new(),
        false => t!("see first whether {} is a Service's; if it is, ", server),
    };
    Fix {
        summary: t!(
            "{first}get kube-proxy (or what takes its place) to run on this node; {left}. If it is \
             Pending or evicted: priorityClassName: system-node-critical in its DaemonSet"
        ),
        commands: vec![
            shell!("kubectl -n kube-system get pods -o wide -l k8s-app=kube-proxy"),
            KubeProxy.logs(facts),
            shell!("kubectl get services -A | grep -F -e {v}", server),
        ],
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::hop::{FlowHop, SYN};

    use super::*;
    use crate::{
        model::{
            gather::{Piece, Want},
            observation::Observation,
            services::Told,
        },
        testing::{UPLINK, at, from_pod, ip, overlay_node, route, tcp, with_gathered},
    };

    const SECOND: u64 = 1_000_000_000;

    /// A node without any rule, as one whose dataplane is eBPF is.
    fn named(leaves: bool) -> bool {
        let mut observation = Observation {
            now: 30 * SECOND,
            ..Observation::default()
        };
        for n in 1..9 {
            let mut flow = tcp("172.20.1.5", "10.96.7.7", 80);
            flow.source_port = 40_000 + n;
            let note = |hop: &mut FlowHop| {
                (hop.syns, hop.flags) = (1, SYN);
                (hop.first, hop.last) = (SECOND * u64::from(n), SECOND * u64::from(n) + 1);
            };
            observation.flows.push(from_pod(flow, note));
            let left = at(flow, UPLINK, true, 0, note);
            observation.flows.extend(leaves.then_some(left));
        }
        let told = Told {
            address: ip("10.96.7.7"),
            by: "CART_SERVICE_HOST of nginx[7]".into(),
            sure: true,
        };
        let services = Services {
            told: vec![told],
            ..Services::default()
        };
        let mut node = overlay_node(1450, 1450, 1500);
        node.routes
            .push(route("0.0.0.0/0", UPLINK, Some("192.0.2.254")));
        let known = [(Want::Services, Ok(Piece::Services(services)))];
        with_gathered(&node, &observation, known, |facts| {
            evaluate(facts).is_some()
        })
    }

    #[test]
    fn what_ends_at_the_pods_own_link_may_be_another_dataplanes() {
        assert!(named(true));
        assert!(!named(false));
    }
}
