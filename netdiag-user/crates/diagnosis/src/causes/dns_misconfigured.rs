//! # Symptom
//! One pod, or every pod of one workload, cannot resolve Service names that all other pods resolve.
//! External names may work.
//!
//! # Mechanism
//! The pod's resolv.conf names another server than the cluster's, which does not know the cluster's
//! names. `dnsPolicy: Default` takes the node's resolv.conf, `None` takes `dnsConfig`, and kubelet's
//! `clusterDNS` may belong to another cluster.
//!
//! # Signals
//! Observed: queries for Service names to a server that answers none of them, while another server is the
//! cluster's: kubelet's configuration or the other pods' resolv.conf names it. Configured: the pod's own
//! resolv.conf, read through the root of one of its processes, names the first and not the second. If no
//! configuration names the other server, and it only answers such names, it may be any pod: then the
//! finding is a suspicion and the fix names no server.
//!
//! # Look-alikes
//! These are normal: pods with `dnsPolicy: Default` or `None` that ask for external names only, pods in
//! the host's network, the name server's own pods, a name server on the node itself (NodeLocal). An
//! external name with a search domain appended does not exist, which is normal too. `dns-unreachable`:
//! the pod asks the cluster's server, and that server does not answer.
//!
//! # By hand
//! `kubectl -n NAMESPACE exec POD -- cat /etc/resolv.conf` against `kubectl -n kube-system get service
//! kube-dns`.
//!
//! # Fix
//! Set `dnsPolicy: ClusterFirst` in the pod's spec (`ClusterFirstWithHostNet` for pods in the host's
//! network). If all pods of the node have the wrong server, correct kubelet's `clusterDNS`.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::dns::PORT;
use netdiag_lang::{mark, t};

use crate::{
    model::{
        address::endpoint,
        dns::kind,
        gather::Resolver,
        pod::label,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, FlowRef, Origin, PodRef, PodRole,
            Severity,
        },
    },
    need::Need,
    pipeline::{
        facts::{Facts, Question},
        names::ANSWER_WAIT,
    },
    shared::dns::{self, PATTERN, Picture, Right},
    shell,
};

pub const ID: &str = "dns-misconfigured";
pub const TITLE: &str = mark!("a pod asks a name server that does not know the cluster's names");

/// A pod that is told wrong.
struct Wrong<'a> {
    client: IpAddr,
    resolver: &'a Resolver,
    right: Right,
    questions: Vec<&'a Question>,
}

/// What pods are told, once one of them finds no service.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let picture = facts.picture();
    let clients: BTreeSet<_> = picture.askings.iter().map(|a| a.client).collect();
    let lookups = clients
        .into_iter()
        .filter_map(|c| misses(facts, picture, c));
    dns::need(lookups.flatten())
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let picture = facts.picture();
    let clients: BTreeSet<_> = picture.askings.iter().map(|a| a.client).collect();
    let wrong = clients.into_iter().filter_map(|c| judge(facts, picture, c));
    let wrong: Vec<_> = wrong.collect();
    let worst = wrong
        .iter()
        .max_by_key(|w| (w.right.told, count(facts, &w.questions)))?;
    let who = facts
        .pod(worst.client, PodRole::Source)
        .map_or_else(|| worst.client.to_string(), |p| label(&p));
    let others = match wrong.len() {
        1 => String::new(),
        n => t!(" (and {} more pods)", n - 1),
    };
    let server = worst.right.server;
    let (confidence, right) = match worst.right.told {
        true => (
            Confidence::Confirmed,
            t!("the cluster's name server is {server}"),
        ),
        false => (
            Confidence::Suspected,
            t!("{server} answers such names, and nothing says whose it is"),
        ),
    };
    let summary = t!(
        "{who}{others} is told to ask {}, which knows no name of the cluster: {} lookups, none \
         resolved; {right}",
        list(&worst.resolver.servers),
        count(facts, &worst.questions),
    );
    let mut finding = Finding::new(ID, Severity::Warning, confidence, summary);
    finding.evidence = wrong
        .iter()
        .take(5)
        .flat_map(|w| evidence(facts, w))
        .collect();
    let pods = wrong
        .iter()
        .filter_map(|w| facts.pod(w.client, PodRole::Source));
    finding.pods = pods.collect();
    let all: Vec<_> = wrong
        .iter()
        .flat_map(|w| w.questions.iter().copied())
        .collect();
    finding.flows = wrong
        .iter()
        .take(10)
        .filter_map(|w| refer(facts, w))
        .collect();
    for q in &all {
        let server = (q.server, PORT);
        finding
            .scope
            .add(crate::model::flow::UDP, (q.client, 0), server);
    }
    finding.fix = fix(worst, finding.pods.first());
    finding.about = worst.resolver.servers.clone();
    finding.first_seen = facts
        .clock
        .text(all.iter().map(|q| q.dns.first_query).min()?);
    finding.last_seen = facts
        .clock
        .text(all.iter().map(|q| q.dns.last_query).max()?);
    Some(finding)
}

fn judge<'a>(facts: &Facts<'a>, picture: &Picture<'a>, client: IpAddr) -> Option<Wrong<'a>> {
    let questions = misses(facts, picture, client)?;
    let resolver = picture.resolver(netns(facts, client)?)?;
    let right = picture.cluster_dns_beside(&resolver.servers)?;
    let told = |q: &&Question| resolver.servers.contains(&q.server);
    let questions: Vec<_> = questions.into_iter().filter(told).collect();
    // The node's own server stands for the cluster's.
    let local = resolver
        .servers
        .iter()
        .any(|s| facts.owns(*s) || s.is_loopback());
    (!questions.is_empty() && !local).then_some(Wrong {
        client,
        resolver,
        right,
        questions,
    })
}

/// Lookups of services by a pod that all fail, where that is a pattern.
fn misses<'a>(
    facts: &Facts<'_>,
    picture: &Picture<'a>,
    client: IpAddr,
) -> Option<Vec<&'a Question>> {
    let serves = picture.askings.iter().any(|a| a.server == client);
    if serves || facts.owns(client) {
        return None;
    }
    let own = picture.askings.iter().filter(|a| a.client == client);
    let own: Vec<_> = own.flat_map(|a| a.questions.iter().copied()).collect();
    let resolves = |name: &str| own.iter().any(|q| q.name == name && q.dns.noerror > 0);
    // The C library goes on to the bare name after an error, and never comes to the service's.
    let helpless = own.iter().all(|q| q.dns.noerror == 0);
    let lookup = |q: &&Question| match service(picture, &q.name) {
        Some(bare) => !resolves(bare),
        None => helpless && q.dns.failed > 0 && picture.is_cluster_name(&q.name),
    };
    let lookups: Vec<_> = own.iter().copied().filter(lookup).collect();
    let none = lookups.iter().all(|q| q.dns.noerror == 0);
    (none && count(facts, &lookups) >= PATTERN).then_some(lookups)
}

/// `SERVICE.NAMESPACE` of the name of a service.
fn service<'a>(picture: &Picture<'_>, name: &'a str) -> Option<&'a str> {
    let bare = picture.domains.iter().find_map(|domain| {
        let rest = name.strip_suffix(domain.as_str())?;
        rest.strip_suffix(".svc.")
    })?;
    (bare.split('.').count() == 2).then_some(bare)
}

/// Lookups without a result.
fn count(facts: &Facts<'_>, questions: &[&Question]) -> u64 {
    let waited = |q: &Question| facts.now.saturating_sub(q.dns.silent_since) >= ANSWER_WAIT;
    let silent = |q: &Question| {
        if waited(q) {
            u64::from(q.dns.unanswered)
        } else {
            0
        }
    };
    questions
        .iter()
        .map(|q| {
            q.dns
                .answers
                .saturating_sub(q.dns.noerror)
                .saturating_add(silent(q))
        })
        .total()
}

/// The namespace of the pod with that address.
fn netns(facts: &Facts<'_>, address: IpAddr) -> Option<u32> {
    let by_source = facts.pods.by_address(address).and_then(|p| p.netns);
    let mut sides = facts.node.sides();
    let by_side = || {
        sides
            .find(|s| s.addresses.contains(&address))
            .map(|s| s.netns)
    };
    by_source.or_else(by_side)
}

fn list(servers: &[IpAddr]) -> String {
    let servers: Vec<_> = servers.iter().map(IpAddr::to_string).collect();
    servers.join(t!(" and "))
}

fn evidence(facts: &Facts<'_>, wrong: &Wrong<'_>) -> Vec<Evidence> {
    let told = t!("its resolv.conf names {}", list(&wrong.resolver.servers));
    let mut file = Evidence::new(EvidenceKind::File, Origin::Configured, told);
    file.at = Some("/etc/resolv.conf".into());
    file.confirm = match facts.pod(wrong.client, PodRole::Source) {
        Some(PodRef {
            namespace: Some(namespace),
            name: Some(name),
            ..
        }) => Some(shell!(
            "kubectl -n {v} exec {} -- cat /etc/resolv.conf",
            namespace,
            name
        )),
        _ => None,
    };
    let mut lines = vec![file];
    for question in wrong.questions.iter().take(3) {
        let dns = &question.dns;
        let text = t!(
            "{} asked {} times of {}: {} NXDOMAIN, {} other errors, {} not answered",
            question.name,
            dns.queries,
            question.server,
            dns.nxdomain,
            [dns.servfail, dns.refused, dns.other].iter().total(),
            dns.queries.saturating_sub(dns.answers),
        );
        let mut line = Evidence::new(EvidenceKind::Dns, Origin::Observed, text);
        line.packets = Some(dns.queries);
        line.at = Some(question.interface.clone());
        let right = wrong.right.told.then_some(wrong.right.server);
        let ask = right.and_then(|right| dns::ask(right, &question.name));
        let kind = kind(question.key.kind);
        // It answers, which of the names a search list makes of one is not to be known here.
        let answers = ["NOERROR", "NXDOMAIN"];
        line.confirm = ask.map(|ask| ask.with_words(["-t", &kind]).showing(&answers));
        lines.push(line);
    }
    lines
}

fn refer(facts: &Facts<'_>, wrong: &Wrong<'_>) -> Option<FlowRef> {
    let first = wrong.questions.first()?;
    Some(FlowRef {
        protocol: "udp".into(),
        source: wrong.client.to_string(),
        destination: endpoint(first.server, PORT),
        packets: count(facts, &wrong.questions),
        retransmits: 0,
        last_seen_at: Some(first.interface.clone()),
        ..FlowRef::default()
    })
}

fn fix(wrong: &Wrong<'_>, pod: Option<&PodRef>) -> Fix {
    let mut commands = Vec::new();
    if let Some((Some(namespace), Some(name))) = pod.map(|p| (&p.namespace, &p.name)) {
        commands.push(shell!(
            "kubectl -n {v} get pod {} -o jsonpath='{{.spec.dnsPolicy}} {{.spec.dnsConfig}}'",
            namespace,
            name
        ));
    }
    commands.push(shell!("grep -A2 clusterDNS /var/lib/kubelet/config.yaml"));
    let right = match wrong.right.told {
        true => wrong.right.server.to_string(),
        false => t!("the cluster's name server").to_owned(),
    };
    Fix {
        summary: t!(
            "let the pod ask {right}: dnsPolicy ClusterFirst in its specification, without a dnsConfig \
             that names {}; where all pods of this node are told so, kubelet's clusterDNS",
            list(&wrong.resolver.servers),
        ),
        commands,
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::dns::Dns;

    use super::*;
    use crate::{
        model::{
            dns::resolver,
            gather::{Piece, Want},
            node::PodSide,
            observation::Observation,
        },
        testing::{POD, POD_NETNS, overlay_node, question, resolved, silent, with_gathered},
    };

    const CLIENT: &str = "172.20.1.5";
    const WRONG: &str = "198.51.100.53";
    const SERVER: &str = "172.20.2.53";
    const SERVICE: &str = "web.shop.svc.cluster.local";

    fn nxdomain(dns: &mut Dns) {
        resolved(dns);
        (dns.noerror, dns.nxdomain) = (0, 4);
    }

    fn causes(told: &str, dns: Vec<(netdiag_common::dns::DnsKey, Dns)>) -> Vec<String> {
        let found = found(told, &[], dns).into_iter();
        found.map(|f| f.cause).collect()
    }

    /// With what others than the pod are told.
    fn found(
        told: &str,
        others: &[Resolver],
        dns: Vec<(netdiag_common::dns::DnsKey, Dns)>,
    ) -> Vec<Finding> {
        let observation = Observation {
            now: 6_000_000_000,
            dns,
            ..Observation::default()
        };
        let text = format!("nameserver {told}\nsearch svc.cluster.local\n");
        let all = [&[resolver(POD_NETNS, &text)], others].concat();
        let mut node = overlay_node(1450, 1450, 1500);
        let side = node.pod_sides[0].clone();
        for netns in others.iter().map(|r| r.netns) {
            let addresses = Vec::new();
            node.pod_sides.push(PodSide {
                netns,
                addresses,
                ..side.clone()
            });
        }
        let pieces = [(Want::Resolvers, Ok(Piece::Resolvers(all)))];
        with_gathered(&node, &observation, pieces, crate::findings)
    }

    fn others() -> (netdiag_common::dns::DnsKey, Dns) {
        question("172.20.1.6", SERVER, SERVICE, POD, resolved)
    }

    #[test]
    fn a_pod_that_is_told_wrong_is_named() {
        for problem in [nxdomain as fn(&mut Dns), silent] {
            let lookup = question(CLIENT, WRONG, SERVICE, POD, problem);
            assert_eq!(causes(WRONG, vec![others(), lookup]), [ID]);
        }
    }

    /// Any pod can answer for the cluster's names.
    #[test]
    fn who_only_answers_is_recommended_to_nobody() {
        let lookup = question(CLIENT, WRONG, SERVICE, POD, nxdomain);
        let dns = vec![others(), lookup];
        let finding = |others: &[Resolver]| found(WRONG, others, dns.clone()).remove(0);
        let suspected = finding(&[]);
        assert_eq!(suspected.confidence, Confidence::Suspected);
        assert!(
            !suspected.fix.summary.contains(SERVER),
            "{}",
            suspected.fix.summary
        );
        let commands = suspected.evidence.iter().filter_map(|e| e.confirm.as_ref());
        assert!(commands.into_iter().all(|c| !c.contains(SERVER)));
        let other = |netns, server: &str| {
            resolver(
                netns,
                &format!("nameserver {server}\nsearch svc.cluster.local\n"),
            )
        };
        let kubelet =
            |server: &str| crate::model::dns::of_kubelet(&format!("clusterDNS: [{server}]"));
        for (told, right) in [
            (vec![other(71, SERVER), other(72, SERVER)], SERVER),
            (vec![kubelet(SERVER)], SERVER),
            (vec![kubelet("10.96.0.10")], "10.96.0.10"),
            (
                vec![other(71, "10.96.0.10"), other(72, "10.96.0.10")],
                "10.96.0.10",
            ),
        ] {
            let finding = finding(&told);
            assert_eq!(finding.confidence, Confidence::Confirmed, "{right}");
            assert!(
                finding.fix.summary.contains(right),
                "{}",
                finding.fix.summary
            );
        }
        let told = [
            vec![kubelet("10.96.0.10")],
            vec![other(71, SERVER), other(72, SERVER)],
        ]
        .concat();
        assert!(
            finding(&told).fix.summary.contains("10.96.0.10"),
            "kubelet knows"
        );
    }

    /// Else whoever asks for names of it would make its server the cluster's.
    #[test]
    fn one_pod_makes_no_domain_the_clusters() {
        let odd = |netns| resolver(netns, "nameserver 192.0.2.9\nsearch svc.com\n");
        let usual = |netns| resolver(netns, "nameserver 192.0.2.9\nsearch svc.own.local\n");
        let domains = |all: Vec<Resolver>| {
            let mut node = overlay_node(1450, 1450, 1500);
            let side = node.pod_sides[0].clone();
            for netns in [71, 72, 73] {
                node.pod_sides.push(PodSide {
                    netns,
                    ..side.clone()
                });
            }
            let pieces = [(Want::Resolvers, Ok(Piece::Resolvers(all)))];
            with_gathered(&node, &Observation::default(), pieces, |facts| {
                facts.picture().domains.clone()
            })
        };
        let names = |all: &[&str]| all.iter().map(|d| (*d).to_owned()).collect::<BTreeSet<_>>();
        let own = names(&["cluster.local", "own.local"]);
        assert_eq!(domains(vec![odd(71), usual(72), usual(73)]), own);
        let kubelet = crate::model::dns::of_kubelet("clusterDomain: own.local");
        assert_eq!(domains(vec![odd(71), odd(72), kubelet]), own);
    }

    #[test]
    fn a_server_that_refuses_all_is_named_by_what_the_search_list_makes() {
        let refused = |dns: &mut Dns| {
            (dns.answers, dns.refused, dns.failed) = (4, 4, 4);
            dns.failing_since = 2_000_000_000;
        };
        let name = "web.shop.default.svc.cluster.local";
        let lookup = question(CLIENT, WRONG, name, POD, refused);
        assert_eq!(causes(WRONG, vec![others(), lookup]), [ID]);
        let bare = question(CLIENT, WRONG, "web.shop", POD, resolved);
        assert!(causes(WRONG, vec![others(), lookup, bare]).is_empty());
    }

    #[test]
    fn without_knowing_what_is_right_nothing_is_named() {
        let lookup = question(CLIENT, WRONG, SERVICE, POD, nxdomain);
        assert!(causes(WRONG, vec![lookup]).is_empty());
    }

    #[test]
    fn a_service_that_does_not_exist_is_nobodys_fault() {
        let lookup = question(CLIENT, SERVER, "gone.shop.svc.cluster.local", POD, nxdomain);
        assert!(causes(SERVER, vec![others(), lookup]).is_empty());
    }

    #[test]
    fn outside_names_with_the_search_list_behind_them_are_healthy() {
        let expanded = question(
            CLIENT,
            WRONG,
            "example.com.svc.cluster.local",
            POD,
            nxdomain,
        );
        let bare = question(CLIENT, WRONG, "example.com", POD, resolved);
        assert!(causes(WRONG, vec![others(), expanded, bare]).is_empty());
    }
}
