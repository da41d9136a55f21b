//! # Symptom
//! Service names resolve. Every external name fails with SERVFAIL or hangs, and with it pods' downloads,
//! webhooks and calls to outside services.
//!
//! # Mechanism
//! The cluster's name server forwards the names that it does not know. Its upstream servers (those of its
//! node's resolv.conf, or of a `forward` line) do not answer, or answer with errors.
//!
//! # Signals
//! Observed: the cluster's server answers cluster names and, since the failures began, no external one:
//! errors or nothing at all, in more than one zone. If the server's own queries to its upstream pass this
//! node, they show which upstream is silent or which error it returns. If one of several upstreams
//! answers nothing in more than one zone while another answers, external names fail now and then: a
//! warning.
//!
//! # Look-alikes
//! A single zone that is broken. `dns-unreachable`: the server answers nothing at all. Names that do not
//! exist: NXDOMAIN is an answer.
//!
//! # By hand
//! `dig @SERVER kubernetes.default.svc.cluster.local` gets an answer and `dig @SERVER example.com` does
//! not. On the server's node try `dig @UPSTREAM example.com`.
//!
//! # Fix
//! Repair the upstream server or the path to it, or set another one in the server's `forward`
//! configuration.
mod one_of_several;

use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::dns::PORT;
use netdiag_lang::{mark, t};

use crate::{
    model::{
        gather::Want,
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
    shared::dns::{self, Asking, PATTERN, Picture},
    shell,
};

pub const ID: &str = "dns-upstream-failing";
pub const TITLE: &str =
    mark!("the cluster's name server answers cluster names and no external ones");

/// One zone may be broken by its owner; two at once, and none that works, are not.
const ZONES: usize = 2;

/// How the pods' search lists spell the cluster's domain, once something fails.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let failing = || facts.dns.iter().filter(|q| failed(facts, q) > 0);
    if failing().next().is_none() {
        return Vec::new();
    }
    let picture = facts.picture();
    let servers: BTreeSet<_> = failing().map(|q| q.server).collect();
    // Which names are the cluster's may tell another server's failures from its own.
    let judged = servers.into_iter();
    let judged = judged.filter_map(|server| suspect(facts, picture, server));
    let mut needs = dns::need(judged.flat_map(|failing| failing.questions));
    needs.push(Need::detail(Want::Resolvers));
    needs
}

/// A server that fails outside of the cluster's own domain.
struct Failing<'a> {
    server: IpAddr,
    questions: Vec<&'a Question>,
    zones: BTreeSet<String>,
    since: u64,
    /// Its own questions for the same names that fail, where they pass this node.
    leg: Vec<&'a Question>,
    /// It does ask for them here, whatever comes of it.
    seen: bool,
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let picture = facts.picture();
    let servers: BTreeSet<_> = picture.askings.iter().map(|a| a.server).collect();
    let judged = servers.into_iter().filter_map(|s| judge(facts, picture, s));
    // Any pod can run a server that fails: the one that pods are told of comes first.
    let named = picture.named();
    let worst = judged.max_by_key(|f| (named.contains(&f.server), f.questions.len()));
    let Some(worst) = worst else {
        return one_of_several::evaluate(facts, picture);
    };
    let Failing { server, .. } = worst;
    let zones: Vec<_> = worst.zones.iter().take(3).map(String::as_str).collect();
    let summary = t!(
        "the cluster's name server {server} answers cluster names and fails for all others ({}): \
         {}; {}",
        zones.join(t!(", ")),
        sums(facts, &worst.questions),
        upstream_text(&worst),
    );
    let mut finding = Finding::new(ID, Severity::Critical, Confidence::Confirmed, summary);
    finding.evidence = evidence(facts, picture, &worst);
    finding.pods = pods(facts, picture, &worst);
    finding.flows = worst
        .questions
        .iter()
        .chain(&worst.leg)
        .take(10)
        .map(|q| refer(facts, q))
        .collect();
    for q in worst.questions.iter().chain(&worst.leg) {
        let server = (q.server, PORT);
        finding
            .scope
            .add(crate::model::flow::UDP, (q.client, 0), server);
    }
    finding.fix = fix(&worst);
    let upstreams: BTreeSet<_> = worst.leg.iter().map(|q| q.server).collect();
    finding.evidence.extend(dns::loss_evidence(&dns::losses(
        facts,
        &upstreams,
        worst.since,
    )));
    finding.about = dns::about(facts, &upstreams);
    finding.ties.suffers = Some(dns::suffers(&upstreams, &finding.about));
    finding.first_seen = facts.clock.text(worst.since);
    let last = |q: &&Question| q.dns.last_query.max(q.dns.last_answer);
    finding.last_seen = facts.clock.text(worst.questions.iter().map(last).max()?);
    Some(finding)
}

fn judge<'a>(facts: &Facts<'a>, picture: &Picture<'a>, server: IpAddr) -> Option<Failing<'a>> {
    let failing = suspect(facts, picture, server)?;
    let own = picture.askings.iter().filter(|a| a.server == server);
    let all = own.flat_map(|a| a.questions.iter().copied());
    let mut cluster = all.filter(|q| picture.is_cluster_name(&q.name));
    let alive = cluster.any(|q| q.dns.last_good >= failing.since);
    alive.then_some(failing)
}

/// What it fails for, whether or not it answers names of the cluster.
fn suspect<'a>(facts: &Facts<'a>, picture: &Picture<'a>, server: IpAddr) -> Option<Failing<'a>> {
    let own = picture.askings.iter().filter(|a| a.server == server);
    let all: Vec<_> = own
        .flat_map(|a: &Asking<'a>| a.questions.iter().copied())
        .collect();
    let external = |q: &&&Question| picture.is_external_name(&q.name);
    let good = all.iter().filter(external).map(|q| q.dns.last_good).max()?;
    let fails = |q: &&&Question| failed(facts, q) > 0 && begun(q) > good;
    let questions: Vec<_> = all.iter().filter(external).filter(fails).copied().collect();
    let since = questions.iter().map(|q| begun(q)).min()?;
    let zones: BTreeSet<_> = questions.iter().map(|q| zone(&q.name)).collect();
    let count: u64 = questions.iter().map(|q| failed(facts, q)).total();
    let asked = leg(picture, server, &questions);
    let seen = !asked.is_empty();
    let leg: Vec<_> = asked.into_iter().filter(|q| failed(facts, q) > 0).collect();
    let pattern = count >= PATTERN && (zones.len() >= ZONES || !leg.is_empty());
    let lasts = facts.now.saturating_sub(since) >= ANSWER_WAIT;
    (pattern && lasts).then_some(Failing {
        server,
        questions,
        zones,
        since,
        leg,
        seen,
    })
}

/// Failures since the last good answer: errors, and queries without an answer for too long.
fn failed(facts: &Facts<'_>, question: &Question) -> u64 {
    let dns = &question.dns;
    let silent = dns.unanswered > 0 && facts.now.saturating_sub(dns.silent_since) >= ANSWER_WAIT;
    let silent = if silent { u64::from(dns.unanswered) } else { 0 };
    dns.failed.saturating_add(silent)
}

fn begun(question: &Question) -> u64 {
    let dns = &question.dns;
    match dns.failed {
        0 => dns.silent_since,
        _ => dns.failing_since,
    }
}

/// The last two labels: whose names they are, as near as that can be told.
fn zone(name: &str) -> String {
    let labels: Vec<_> = name.rsplitn(3, '.').take(2).collect();
    labels.into_iter().rev().collect::<Vec<_>>().join(".")
}

/// What the server, or a pod behind its address, itself asks for the names of these questions.
fn leg<'a>(picture: &Picture<'a>, server: IpAddr, questions: &[&Question]) -> Vec<&'a Question> {
    let mut own = picture.behind(server);
    own.insert(server);
    let asked = picture.askings.iter().filter(|a| own.contains(&a.client));
    let asked = asked.flat_map(|a| a.questions.iter().copied());
    let same = |q: &&Question| questions.iter().any(|failing| failing.name == q.name);
    asked.filter(same).collect()
}

fn sums(facts: &Facts<'_>, questions: &[&Question]) -> String {
    let sum = |of: &dyn Fn(&Question) -> u64| questions.iter().map(|q| of(q)).total();
    let silent = sum(&|q: &Question| failed(facts, q).saturating_sub(q.dns.failed));
    let servfail = sum(&|q: &Question| q.dns.servfail);
    let refused = sum(&|q: &Question| q.dns.refused);
    let other = sum(&|q: &Question| q.dns.other);
    let parts = [
        (silent, t!("{silent} unanswered")),
        (servfail, format!("{servfail} SERVFAIL")),
        (refused, format!("{refused} REFUSED")),
        (other, t!("{other} other errors")),
    ];
    let parts = parts.into_iter().filter(|(n, _)| *n > 0);
    let parts: Vec<_> = parts.map(|(_, text)| text).collect();
    parts.join(t!(", "))
}

fn upstream_text(failing: &Failing<'_>) -> String {
    let upstreams: BTreeSet<_> = failing.leg.iter().map(|q| q.server.to_string()).collect();
    let list = upstreams.into_iter().collect::<Vec<_>>().join(t!(" and "));
    match (failing.leg.is_empty(), failing.seen) {
        (true, true) => return t!("its upstream answers, so the fault is its own").into(),
        (true, false) => return t!("what it asks its upstream does not pass this node").into(),
        _ => {}
    }
    let says = match failing.leg.iter().any(|q| q.dns.failed > 0) {
        true => t!("answers it with errors"),
        false => t!("does not answer it"),
    };
    t!("its upstream {list} {says}")
}

fn evidence(facts: &Facts<'_>, picture: &Picture<'_>, failing: &Failing<'_>) -> Vec<Evidence> {
    let mut lines = Vec::new();
    for zone_ in &failing.zones {
        let own = failing.questions.iter().filter(|q| zone(&q.name) == *zone_);
        let own: Vec<_> = own.copied().collect();
        let what = t!("zone {zone_}: {}, none resolved", sums(facts, &own));
        lines.extend(own.first().map(|q| line(q, what, count(facts, &own))));
    }
    let own = picture
        .askings
        .iter()
        .filter(|a| a.server == failing.server);
    let cluster = own.flat_map(|a| a.questions.iter().copied());
    let cluster = cluster.filter(|q| picture.is_cluster_name(&q.name) && q.dns.last_good > 0);
    let cluster: Vec<_> = cluster.collect();
    if let Some(first) = cluster.first() {
        let answers = cluster.iter().map(|q| q.dns.answers).total();
        let text = t!(
            "cluster names are answered: {answers} times, {} for one",
            first.name
        );
        lines.push(line(first, text, answers));
    }
    for question in failing.leg.iter().take(3) {
        let one = [*question];
        let text = t!(
            "{} itself asks its upstream {} for {}: {}",
            question.client,
            question.server,
            question.name,
            sums(facts, &one)
        );
        lines.push(line(question, text, count(facts, &one)));
    }
    lines
}

fn count(facts: &Facts<'_>, questions: &[&Question]) -> u64 {
    questions.iter().map(|q| failed(facts, q)).total()
}

fn line(question: &Question, text: String, packets: u64) -> Evidence {
    let mut line = Evidence::new(EvidenceKind::Dns, Origin::Observed, text);
    line.packets = Some(packets);
    line.at = Some(question.interface.clone());
    line.confirm = dns::ask_again(question.server, question);
    line
}

fn pods(facts: &Facts<'_>, picture: &Picture<'_>, failing: &Failing<'_>) -> Vec<PodRef> {
    let clients = failing
        .questions
        .iter()
        .map(|q| (q.client, PodRole::Source));
    let mut servers = picture.behind(failing.server);
    servers.insert(failing.server);
    let servers = servers.into_iter().map(|s| (s, PodRole::Server));
    let known = clients.chain(servers);
    let pods: BTreeSet<_> = known.filter_map(|(a, role)| facts.pod(a, role)).collect();
    pods.into_iter().collect()
}

fn refer(facts: &Facts<'_>, question: &Question) -> FlowRef {
    FlowRef {
        protocol: "udp".into(),
        source: question.client.to_string(),
        destination: crate::model::address::endpoint(question.server, PORT),
        packets: failed(facts, question),
        retransmits: 0,
        last_seen_at: Some(question.interface.clone()),
        ..FlowRef::default()
    }
}

fn fix(failing: &Failing<'_>) -> Fix {
    let name = failing
        .questions
        .first()
        .map_or("example.com", |q| q.name.as_str());
    let upstream = failing.leg.first().map(|q| q.server);
    let ask = |server: IpAddr| dns::ask(server, name);
    let config = shell!("kubectl -n kube-system get configmap coredns -o yaml");
    let summary = match upstream {
        Some(upstream) => t!(
            "make the upstream {upstream} answer (its own state, the way to it), or put another \
             one into the `forward` line of the name server {}",
            failing.server
        ),
        None if failing.seen => t!(
            "its upstream answers: read the log of the name server {}",
            failing.server
        ),
        None => t!(
            "run netdiag on the node of the name server {}: there its own queries to its \
             upstream can be seen; its `forward` line, or its node's resolv.conf, names them",
            failing.server
        ),
    };
    let commands = [upstream.and_then(ask), ask(failing.server), Some(config)];
    Fix {
        summary,
        commands: commands.into_iter().flatten().collect(),
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::dns::Dns;

    use super::*;
    use crate::{
        model::{gather::Piece, observation::Observation},
        testing::{
            POD, UPLINK, overlay_node, question, resolved, silent, with_facts, with_gathered,
        },
    };

    const CLIENT: &str = "172.20.1.5";
    const SERVER: &str = "172.20.2.53";
    const SERVICE: &str = "kubernetes.default.svc.cluster.local";

    fn servfail(dns: &mut Dns) {
        (dns.answers, dns.servfail, dns.failed) = (4, 4, 4);
        dns.failing_since = dns.first_query + 1;
        dns.last_answer = dns.last_query + 1;
    }

    fn causes(dns: Vec<(netdiag_common::dns::DnsKey, Dns)>) -> Vec<String> {
        let observation = Observation {
            now: 6_000_000_000,
            dns,
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        let found = with_facts(&node, &observation, crate::findings);
        found.into_iter().map(|f| f.cause).collect()
    }

    fn asks(name: &str, change: fn(&mut Dns)) -> (netdiag_common::dns::DnsKey, Dns) {
        question(CLIENT, SERVER, name, POD, change)
    }

    #[test]
    fn failing_outside_and_knowing_the_cluster_is_named() {
        let cluster = || asks(SERVICE, resolved);
        for problem in [servfail as fn(&mut Dns), silent] {
            let outside = ["www.example.com", "example.org"].map(|n| asks(n, problem));
            let all = outside.into_iter().chain([cluster()]).collect();
            assert_eq!(causes(all), [ID]);
        }
    }

    /// Any pod can run one that answers the cluster's names and fails for many others.
    #[test]
    fn a_strangers_server_hides_no_other() {
        let stranger = "172.20.1.66";
        let of = |server: &'static str| {
            move |name: &str, change: fn(&mut Dns)| question(CLIENT, server, name, POD, change)
        };
        let (own, other) = (of(SERVER), of(stranger));
        let names = ["www.example.com", "example.org", "example.net", "a.example"];
        let mut dns: Vec<_> = names.iter().map(|name| other(name, servfail)).collect();
        dns.extend(names[..2].iter().map(|name| own(name, servfail)));
        dns.extend([own(SERVICE, resolved), other(SERVICE, resolved)]);
        let observation = Observation {
            now: 6_000_000_000,
            dns,
            ..Observation::default()
        };
        let kubelet = crate::model::dns::of_kubelet(&format!("clusterDNS: [{SERVER}]"));
        let pieces = [(Want::Resolvers, Ok(Piece::Resolvers(vec![kubelet])))];
        let node = overlay_node(1450, 1450, 1500);
        let found = with_gathered(&node, &observation, pieces, evaluate).expect("a finding");
        assert!(found.summary.contains(SERVER), "{}", found.summary);
    }

    #[test]
    fn one_zone_alone_needs_the_servers_own_failure() {
        let mut all = vec![asks(SERVICE, resolved), asks("www.example.com", servfail)];
        assert!(causes(all.clone()).is_empty());
        all.push(question(
            SERVER,
            "192.0.2.53",
            "www.example.com",
            UPLINK,
            silent,
        ));
        assert_eq!(causes(all), [ID]);
    }

    #[test]
    fn some_that_resolve_and_names_that_do_not_exist_are_healthy() {
        let nxdomain = |dns: &mut Dns| {
            resolved(dns);
            (dns.noerror, dns.nxdomain) = (0, 4);
        };
        let broken = ["www.example.com", "example.org"].map(|n| asks(n, servfail));
        let mut all = vec![asks(SERVICE, resolved), asks("example.net", nxdomain)];
        all.extend(broken);
        assert!(causes(all).is_empty());
    }
}
