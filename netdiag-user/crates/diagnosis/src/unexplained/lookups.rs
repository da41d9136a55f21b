//! Name servers of the cluster that answer its names with errors alone, or too late: an answer, so that
//! nothing is stuck, and no use to anybody.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_lang::t;

use super::symptoms::SPAN_NS;
use crate::{
    model::{
        address::endpoint,
        total::Total,
        verdict::{Finding, Unexplained},
    },
    pipeline::facts::{Facts, Question},
    shared::dns::{self, PATTERN, Picture},
};

/// The servers that know no name of the cluster, and that no finding is about.
pub fn failing(facts: &Facts<'_>, findings: &[Finding]) -> Vec<Unexplained> {
    let fails = |q: &Question| q.dns.failed > 0;
    // Who is whose server takes a look at every question.
    if !facts.dns.iter().any(fails) {
        return Vec::new();
    }
    let picture = facts.picture();
    let line = |server| {
        let names = cluster_names(picture, server);
        let good = names.iter().map(|q| q.dns.last_good).max()?;
        let failing = names
            .iter()
            .filter(|q| fails(q) && q.dns.failing_since > good);
        let since = failing.clone().map(|q| q.dns.failing_since).min()?;
        let errors: u64 = failing.clone().map(|q| q.dns.failed).total();
        let lasts = facts.now.saturating_sub(since) >= SPAN_NS;
        let name = &failing.clone().next()?.name;
        (errors >= PATTERN && lasts && picture.is_cluster_dns(server)).then(|| {
            of_server(
                t!("names at {}", endpoint(server, netdiag_common::dns::PORT)),
                t!(
                    "it answers the cluster's names with errors alone ({}), {errors} times: no cause \
                     explains it; see its log and its configuration{}",
                    codes(&failing.copied().collect::<Vec<_>>()),
                    by_hand(server, name)
                ),
            )
        })
    };
    servers(picture, findings).filter_map(line).collect()
}

fn of_server(what: String, why: String) -> Unexplained {
    Unexplained {
        what,
        why,
        here: true,
        flows: Vec::new(),
        pods: Vec::new(),
        node: None,
    }
}

/// How to ask it by hand. The name is of whoever asked for it.
fn by_hand(server: IpAddr, name: &str) -> String {
    let ask = dns::ask(server, name).and_then(|ask| ask.told());
    ask.map_or_else(String::new, |ask| t!(", {ask}"))
}

/// Their answers come from memory, within milliseconds. Resolvers give up after 2.5 to 5 s, and
/// programs before.
const SLOW_NS: u64 = 1_000_000_000;

/// The servers that take as long for the cluster's names, and that no finding is about.
pub fn slow(facts: &Facts<'_>, findings: &[Finding]) -> Vec<Unexplained> {
    if !facts.dns.iter().any(|q| q.dns.latency_max >= SLOW_NS) {
        return Vec::new();
    }
    let picture = facts.picture();
    let line = |server| {
        let names = cluster_names(picture, server);
        let (sum, count) = names.iter().fold((0_u64, 0_u64), |(sum, count), q| {
            let (more, answers) = (q.dns.latency_sum, q.dns.latency_count);
            (sum.saturating_add(more), count.saturating_add(answers))
        });
        let mean = sum.checked_div(count)?;
        let longest = names.iter().max_by_key(|q| q.dns.latency_max)?;
        let slow = count >= PATTERN && mean >= SLOW_NS && picture.is_cluster_dns(server);
        let seconds = |ns: u64| ns as f64 / 1e9;
        slow.then(|| {
            of_server(
                t!("names at {}", endpoint(server, netdiag_common::dns::PORT)),
                t!(
                    "its answers to the cluster's names take {:.1} s on average, {:.1} s at most ({count} \
                     of them): no cause explains it; see its CPU limit and its log{}",
                    seconds(mean),
                    seconds(longest.dns.latency_max),
                    by_hand(server, &longest.name)
                ),
            )
        })
    };
    servers(picture, findings).filter_map(line).collect()
}

/// Those that are asked, and that no finding is about.
fn servers(picture: &Picture<'_>, findings: &[Finding]) -> impl Iterator<Item = IpAddr> {
    let all: BTreeSet<_> = picture.askings.iter().map(|a| a.server).collect();
    let told = |server: &_| findings.iter().any(|f| f.about.contains(server));
    all.into_iter().filter(move |server| !told(server))
}

/// The questions for the cluster's names that it was asked.
fn cluster_names<'a>(picture: &'a Picture<'a>, server: IpAddr) -> Vec<&'a Question> {
    let own = picture.askings.iter().filter(|a| a.server == server);
    let all = own.flat_map(|a| a.questions.iter().copied());
    all.filter(|q| picture.is_cluster_name(&q.name)).collect()
}

fn codes(questions: &[&Question]) -> String {
    let any = |of: &dyn Fn(&Question) -> u64| questions.iter().any(|q| of(q) > 0);
    let known = [
        (any(&|q: &Question| q.dns.servfail), "SERVFAIL"),
        (any(&|q: &Question| q.dns.refused), "REFUSED"),
        (any(&|q: &Question| q.dns.other), t!("others")),
    ];
    let seen = known.into_iter().filter(|(seen, _)| *seen);
    let names: Vec<_> = seen.map(|(_, name)| name).collect();
    names.join(t!(", "))
}

#[cfg(test)]
mod tests {
    use netdiag_common::dns::Dns;

    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{POD, overlay_node, question, resolved, with_facts},
    };

    const SERVER: &str = "172.20.2.53";

    fn told(others: impl FnOnce(&mut Dns)) -> Vec<Unexplained> {
        let refused = |dns: &mut Dns| {
            (dns.answers, dns.refused, dns.failed) = (4, 4, 4);
            dns.failing_since = dns.first_query;
            dns.last_answer = dns.last_query;
        };
        let names = ["web.shop.svc.cluster.local", "cart.shop.svc.cluster.local"];
        let observation = Observation {
            now: 15_000_000_000,
            dns: vec![
                question("172.20.1.5", SERVER, names[0], POD, refused),
                question("172.20.1.5", SERVER, names[1], POD, others),
            ],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &observation, |facts| failing(facts, &[]))
    }

    #[test]
    fn a_server_that_takes_seconds_is_told() {
        let told = |latency: u64, count: u64| {
            let name = "web.shop.svc.cluster.local";
            let late = |dns: &mut Dns| {
                resolved(dns);
                (dns.latency_max, dns.latency_count) = (latency, count);
                dns.latency_sum = latency * count;
            };
            let observation = Observation {
                now: 15_000_000_000,
                dns: vec![question("172.20.1.5", SERVER, name, POD, late)],
                ..Observation::default()
            };
            let node = overlay_node(1450, 1450, 1500);
            with_facts(&node, &observation, |facts| slow(facts, &[]))
        };
        let found = told(3_000_000_000, 4);
        assert_eq!(found.len(), 1);
        assert!(found[0].why.contains("take 3.0 s on average"), "{found:?}");
        assert!(told(3_000_000_000, 1).is_empty(), "once may be by chance");
        assert!(told(300_000_000, 4).is_empty());
    }

    #[test]
    fn a_server_that_knows_no_name_of_the_cluster_is_told() {
        let found = told(|_| {});
        assert_eq!(found.len(), 1);
        assert!(found[0].why.contains("errors alone (REFUSED), 4 times"));
        assert!(told(resolved).is_empty(), "it knows another name");
    }
}
