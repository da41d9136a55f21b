//! Name servers of the cluster that answer its names with errors alone: an answer, so that nothing is
//! stuck, and no use to anybody.
use std::collections::BTreeSet;

use super::candidates::SPAN_NS;
use crate::{
    causes::dns::{PATTERN, Picture},
    model::{
        address::endpoint,
        verdict::{Finding, NotChecked},
    },
    pipeline::facts::{Facts, Question},
};

/// The servers that know no name of the cluster, and that no finding is about.
pub fn failing(facts: &Facts<'_>, findings: &[Finding]) -> Vec<NotChecked> {
    let fails = |q: &Question| q.dns.failed > 0;
    // Who is whose server takes a look at every question.
    if !facts.dns.iter().any(fails) {
        return Vec::new();
    }
    let picture = Picture::of(facts);
    let servers: BTreeSet<_> = picture.askings.iter().map(|a| a.server).collect();
    let told = |server: &_| findings.iter().any(|f| f.about.contains(server));
    let judged = servers.into_iter().filter(|s| !told(s));
    let line = |server| {
        let own = picture.askings.iter().filter(|a| a.server == server);
        let all = own.flat_map(|a| a.questions.iter());
        let names: Vec<_> = all.filter(|q| picture.is_cluster_name(&q.name)).collect();
        let good = names.iter().map(|q| q.dns.last_good).max()?;
        let failing = names
            .iter()
            .filter(|q| fails(q) && q.dns.failing_since > good);
        let since = failing.clone().map(|q| q.dns.failing_since).min()?;
        let errors: u64 = failing.clone().map(|q| q.dns.failed).sum();
        let lasts = facts.now.saturating_sub(since) >= SPAN_NS;
        let name = &failing.clone().next()?.name;
        (errors >= PATTERN && lasts && picture.is_cluster_dns(server)).then(|| {
            NotChecked::new(
                format!("names at {}", endpoint(server, netdiag_common::dns::PORT)),
                format!(
                    "it answers the cluster's names with errors alone ({}), {errors} times: no cause \
                     explains it; see its log and its configuration, `dig @{server} {name}`",
                    codes(&failing.copied().collect::<Vec<_>>())
                ),
            )
        })
    };
    judged.filter_map(line).collect()
}

fn codes(questions: &[&&Question]) -> String {
    let any = |of: &dyn Fn(&Question) -> u64| questions.iter().any(|q| of(q) > 0);
    let known = [
        (any(&|q: &Question| q.dns.servfail), "SERVFAIL"),
        (any(&|q: &Question| q.dns.refused), "REFUSED"),
        (any(&|q: &Question| q.dns.other), "others"),
    ];
    let seen = known.into_iter().filter(|(seen, _)| *seen);
    let names: Vec<_> = seen.map(|(_, name)| name).collect();
    names.join(", ")
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

    fn told(others: impl FnOnce(&mut Dns)) -> Vec<NotChecked> {
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
    fn a_server_that_knows_no_name_of_the_cluster_is_told() {
        let found = told(|_| {});
        assert_eq!(found.len(), 1);
        assert!(found[0].why.contains("errors alone (REFUSED), 4 times"));
        assert!(told(resolved).is_empty(), "it knows another name");
    }
}
