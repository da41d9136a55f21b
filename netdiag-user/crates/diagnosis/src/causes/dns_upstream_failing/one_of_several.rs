//! One of the upstream servers keeps silent and others answer: by turns lookups fail and work.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::dns::PORT;
use netdiag_lang::t;

use super::{ID, ZONES, zone};
use crate::{
    model::{
        flow::UDP,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, FlowRef, Origin, PodRole, Severity,
        },
    },
    pipeline::facts::{Facts, Question},
    shared::dns::{self, PATTERN, Picture, Silence},
    shell,
};

/// A name server of the cluster's, what it asks in vain, and what its clients have of it.
struct Partly<'a> {
    server: IpAddr,
    upstream: Silence<'a>,
    /// Lookups of external names that the server failed for meanwhile.
    lost: Vec<&'a Question>,
}

pub fn evaluate(facts: &Facts<'_>, picture: &Picture<'_>) -> Option<Finding> {
    let servers: BTreeSet<_> = picture.askings.iter().map(|a| a.server).collect();
    let named = picture.named();
    let all = servers.into_iter().filter_map(|s| judge(facts, picture, s));
    let worst = all.max_by_key(|p| (named.contains(&p.server), p.upstream.asked))?;
    let Partly { server, .. } = worst;
    let Silence {
        server: upstream,
        asked,
        ..
    } = worst.upstream;
    let failed = errors(&worst.lost);
    let summary = t!(
        "one upstream of the cluster's name server {server}, {upstream}, does not answer it: {asked} \
         queries, no answer, while another one answers; {failed} lookups of external names failed"
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    finding.evidence = evidence(&worst);
    let refer = worst.upstream.refer(at(&worst.upstream));
    finding.flows = lookups(&worst).into_iter().chain([refer]).collect();
    finding
        .scope
        .add(UDP, (worst.upstream.client, 0), (upstream, PORT));
    for q in &worst.lost {
        finding.scope.add(UDP, (q.client, 0), (q.server, PORT));
    }
    let clients = worst.lost.iter().map(|q| (q.client, PodRole::Source));
    let servers = [server, worst.upstream.client].map(|s| (s, PodRole::Server));
    let pods: BTreeSet<_> = clients
        .chain(servers)
        .filter_map(|(a, role)| facts.pod(a, role))
        .collect();
    finding.pods = pods.into_iter().collect();
    finding.about = dns::about(facts, &[upstream].into());
    finding.fix = fix(&worst);
    finding.first_seen = facts.clock.text(worst.upstream.since);
    finding.last_seen = facts.clock.text(worst.upstream.last);
    Some(finding)
}

fn judge<'a>(facts: &Facts<'_>, picture: &Picture<'a>, server: IpAddr) -> Option<Partly<'a>> {
    let asked = |of: IpAddr| picture.askings.iter().filter(move |a| a.server == of);
    let knows = |q: &&Question| picture.is_cluster_name(&q.name) && q.dns.last_good > 0;
    if !asked(server).flat_map(|a| &a.questions).any(knows) {
        return None;
    }
    let mut own = picture.behind(server);
    own.insert(server);
    let legs = || picture.askings.iter().filter(|a| own.contains(&a.client));
    let dead = legs().filter_map(|a| a.silence());
    let upstream = dead
        .filter(|s| s.lasts(facts.now) && is_dead(picture, s))
        .max_by_key(|s| s.asked)?;
    // The same server has answers from another one since.
    let good = |q: &&Question| q.dns.last_good >= upstream.since;
    let other = |a: &&dns::Asking<'_>| a.server != upstream.server && a.client == upstream.client;
    if !legs().filter(other).any(|a| a.questions.iter().any(good)) {
        return None;
    }
    let failed = |q: &&Question| error(q) > 0 && q.dns.last_answer >= upstream.since;
    let external = |q: &&Question| picture.is_external_name(&q.name);
    let lost = asked(server).flat_map(|a| a.questions.iter().copied());
    let lost: Vec<_> = lost.filter(external).filter(failed).collect();
    (errors(&lost) >= PATTERN).then_some(Partly {
        server,
        upstream,
        lost,
    })
}

/// It answers nothing that it is asked of several zones: no zone's own fault.
fn is_dead(picture: &Picture<'_>, silence: &Silence<'_>) -> bool {
    let external = silence.questions.iter();
    let external = external.filter(|q| picture.is_external_name(&q.name));
    let zones: BTreeSet<_> = external.map(|q| zone(&q.name)).collect();
    zones.len() >= ZONES
}

/// Answers that tell of no name.
fn error(question: &Question) -> u64 {
    let dns = &question.dns;
    [dns.servfail, dns.refused, dns.other].into_iter().total()
}

fn errors(questions: &[&Question]) -> u64 {
    questions.iter().map(|q| error(q)).total()
}

fn at<'a>(silence: &Silence<'a>) -> Option<&'a str> {
    silence.questions.first().map(|q| q.interface.as_str())
}

fn evidence(partly: &Partly<'_>) -> Vec<Evidence> {
    let silence = &partly.upstream;
    let zones: BTreeSet<_> = silence.questions.iter().map(|q| zone(&q.name)).collect();
    let zones: Vec<_> = zones.iter().take(3).map(String::as_str).collect();
    let first = silence.questions.first();
    let text = t!(
        "{} asked its upstream {} {} times ({}), no answer",
        silence.client,
        silence.server,
        silence.asked,
        zones.join(t!(", "))
    );
    let mut line = Evidence::new(EvidenceKind::Dns, Origin::Observed, text);
    line.packets = Some(silence.asked);
    line.at = at(silence).map(str::to_owned);
    line.confirm = first.and_then(|q| dns::ask(silence.server, &q.name));
    let failed = partly.lost.iter().max_by_key(|q| error(q));
    let failed = failed.map(|question| {
        let text = t!(
            "{} fails for external names by turns: {} errors, {} among {} answers for {}",
            partly.server,
            errors(&partly.lost),
            error(question),
            question.dns.answers,
            question.name
        );
        let mut line = Evidence::new(EvidenceKind::Dns, Origin::Observed, text);
        line.packets = Some(errors(&partly.lost));
        line.at = Some(question.interface.clone());
        line.confirm = dns::ask(partly.server, &question.name);
        line
    });
    [line].into_iter().chain(failed).collect()
}

/// What the clients lost, a line for each.
fn lookups(partly: &Partly<'_>) -> Vec<FlowRef> {
    let clients: BTreeSet<_> = partly.lost.iter().map(|q| (q.client, q.server)).collect();
    let of = |(client, server): (IpAddr, IpAddr)| {
        let own = partly.lost.iter().filter(|q| q.client == client);
        let own: Vec<_> = own.copied().collect();
        FlowRef {
            protocol: "udp".into(),
            source: client.to_string(),
            destination: crate::model::address::endpoint(server, PORT),
            packets: errors(&own),
            retransmits: 0,
            last_seen_at: own.first().map(|q| q.interface.clone()),
            ..FlowRef::default()
        }
    };
    clients.into_iter().take(9).map(of).collect()
}

fn fix(partly: &Partly<'_>) -> Fix {
    let upstream = partly.upstream.server;
    let name = partly.upstream.questions.first().map(|q| q.name.as_str());
    let ask = name.and_then(|name| dns::ask(upstream, name));
    let config = shell!("kubectl -n kube-system get configmap coredns -o yaml");
    Fix {
        summary: t!(
            "make the upstream {upstream} answer (its own state, the way to it), or take it out of the \
             `forward` line of the name server {}, or of its node's resolv.conf",
            partly.server
        ),
        commands: ask.into_iter().chain([config]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use netdiag_common::dns::Dns;

    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{POD, UPLINK, overlay_node, question, resolved, silent, with_facts},
    };

    const CLIENT: &str = "172.20.1.5";
    const SERVER: &str = "172.20.1.53";
    const NAMES: [&str; 2] = ["www.example.com", "example.org"];

    /// Some answers of each name are errors, the last one is not.
    fn by_turns(dns: &mut Dns) {
        resolved(dns);
        (dns.noerror, dns.servfail) = (2, 2);
    }

    /// What the clients, one upstream and the other have of the same names.
    fn named(clients: fn(&mut Dns), one: fn(&mut Dns), other: fn(&mut Dns)) -> Option<Finding> {
        let service = "kubernetes.default.svc.cluster.local";
        let mut dns = vec![question(CLIENT, SERVER, service, POD, resolved)];
        for name in NAMES {
            dns.push(question(CLIENT, SERVER, name, POD, clients));
            dns.push(question(SERVER, "192.0.2.53", name, UPLINK, one));
            dns.push(question(SERVER, "192.0.2.54", name, UPLINK, other));
        }
        let observation = Observation {
            now: 12_000_000_000,
            dns,
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &observation, super::super::evaluate)
    }

    #[test]
    fn one_silent_upstream_beside_one_that_answers_is_a_warning() {
        let found = named(by_turns, silent, resolved).expect("a finding");
        assert_eq!(found.severity, Severity::Warning);
        assert!(found.summary.contains("192.0.2.53"), "{}", found.summary);
        assert!(!found.summary.contains("192.0.2.54"), "{}", found.summary);
        assert_eq!(
            found.fix.commands[0],
            "dig +time=2 +tries=1 @192.0.2.53 -q www.example.com"
        );
    }

    #[test]
    fn a_silent_upstream_that_nobody_suffers_from_is_none() {
        assert!(named(resolved, silent, resolved).is_none());
        assert!(named(by_turns, resolved, resolved).is_none());
        assert!(named(by_turns, silent, silent).is_none(), "none answers");
    }
}
