//! # Symptom
//! One pod, or all of one workload, cannot resolve names of services that every other pod
//! resolves; external names may work.
//!
//! # Mechanism
//! The pod's resolv.conf names another server than the cluster's: `dnsPolicy: Default` takes the
//! node's, `None` what `dnsConfig` says, and kubelet's `clusterDNS` may be that of another cluster.
//! That server does not know the cluster's names.
//!
//! # Signals
//! Observed: names of services asked of a server that answered none of them, while another server
//! is the cluster's: it answers such names, or the other pods are told to ask it. Configured: the
//! pod's own resolv.conf, read through the root of one of its processes, which names the first and
//! not the second.
//!
//! # Look-alikes
//! Pods with `dnsPolicy: Default` or `None` that ask for external names only, pods in the host's
//! network, the name server's own pods and a name server of the node itself (NodeLocal) are
//! normal. An external name with the search list's domains behind it does not exist, and nothing
//! is wrong with that. A server that is the cluster's and keeps silent: `dns-unreachable`.
//!
//! # By hand
//! `kubectl exec POD -- cat /etc/resolv.conf` beside `kubectl -n kube-system get service kube-dns`.
//!
//! # Fix
//! `dnsPolicy: ClusterFirst` in the pod's specification (`ClusterFirstWithHostNet` for pods in the
//! host's network), or kubelet's `clusterDNS` where all pods of the node are told wrong.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::dns::PORT;

use super::dns::{self, PATTERN, Picture};
use crate::{
    model::{
        address::endpoint,
        dns::kind,
        gather::{Resolver, Want},
        pod::label,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, FlowRef, Origin, PodRef, PodRole,
            Severity,
        },
    },
    pipeline::{
        facts::{Facts, Question},
        names::ANSWER_WAIT,
    },
    shell,
};

pub const ID: &str = "dns-misconfigured";
pub const TITLE: &str = "a pod asks a name server that does not know the cluster's names";

/// A pod that is told wrong.
struct Wrong<'a> {
    client: IpAddr,
    resolver: &'a Resolver,
    right: IpAddr,
    questions: Vec<&'a Question>,
}

/// What pods are told, once one of them finds no service.
pub fn wants(facts: &Facts<'_>) -> Vec<Want> {
    let picture = Picture::of(facts);
    let clients: BTreeSet<_> = picture.askings.iter().map(|a| a.client).collect();
    match clients
        .iter()
        .any(|c| misses(facts, &picture, *c).is_some())
    {
        true => vec![Want::Resolvers],
        false => Vec::new(),
    }
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let picture = Picture::of(facts);
    let clients: BTreeSet<_> = picture.askings.iter().map(|a| a.client).collect();
    let wrong = clients
        .into_iter()
        .filter_map(|c| judge(facts, &picture, c));
    let wrong: Vec<_> = wrong.collect();
    let worst = wrong.iter().max_by_key(|w| count(facts, &w.questions))?;
    let who = facts
        .pod(worst.client, PodRole::Source)
        .map_or_else(|| worst.client.to_string(), |p| label(&p));
    let others = match wrong.len() {
        1 => String::new(),
        n => format!(" (and {} more pods)", n - 1),
    };
    let summary = format!(
        "{who}{others} is told to ask {}, which knows no name of the cluster: {} lookups, none \
         resolved; the cluster's name server is {}",
        list(&worst.resolver.servers),
        count(facts, &worst.questions),
        worst.right,
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
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
        .any(|s| facts.node.owns(*s) || s.is_loopback());
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
    if serves || facts.node.owns(client) {
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
        .map(|q| q.dns.answers.saturating_sub(q.dns.noerror) + silent(q))
        .sum()
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
    servers.join(" and ")
}

fn evidence(facts: &Facts<'_>, wrong: &Wrong<'_>) -> Vec<Evidence> {
    let told = format!("its resolv.conf names {}", list(&wrong.resolver.servers));
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
        let text = format!(
            "{} asked {} times of {}: {} NXDOMAIN, {} other errors, {} not answered",
            question.name,
            dns.queries,
            question.server,
            dns.nxdomain,
            dns.servfail + dns.refused + dns.other,
            dns.queries.saturating_sub(dns.answers),
        );
        let mut line = Evidence::new(EvidenceKind::Dns, Origin::Observed, text);
        line.packets = Some(dns.queries);
        line.at = Some(question.interface.clone());
        let ask = dns::ask(wrong.right, &question.name);
        let kind = kind(question.key.kind);
        line.confirm = ask.map(|ask| ask.with_words(["-t", &kind]));
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
    Fix {
        summary: format!(
            "let the pod ask {}: dnsPolicy ClusterFirst in its specification, without a dnsConfig \
             that names {}; where all pods of this node are told so, kubelet's clusterDNS",
            wrong.right,
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
        model::{dns::resolver, gather::Piece, observation::Observation},
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
        let observation = Observation {
            now: 6_000_000_000,
            dns,
            ..Observation::default()
        };
        let text = format!("nameserver {told}\nsearch svc.cluster.local\n");
        let piece = Piece::Resolvers(vec![resolver(POD_NETNS, &text)]);
        let node = overlay_node(1450, 1450, 1500);
        let pieces = [(Want::Resolvers, Ok(piece))];
        let found = with_gathered(&node, &observation, pieces, super::super::evaluate);
        found.into_iter().map(|f| f.cause).collect()
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
