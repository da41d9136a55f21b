//! What the Service causes share: connections of this node's pods to Services that get no
//! answer, and what the node's rules say of them.
use std::{collections::BTreeMap, net::IpAddr};

use netdiag_common::flow::FlowKey;
use netdiag_lang::{mark, t};

use super::{losses::PATTERN, refusals::SPAN};
use crate::{
    model::{
        address::{endpoint, from_wire, is_private},
        cluster::{self, Topic},
        gather::Want,
        journal::Thing,
        netfilter::Family,
        pod::label,
        services::{Service, Services, Word},
        shell::CommandLine,
        text::counted,
        total::add,
        verdict::{Evidence, EvidenceKind, Finding, Origin, PodRole},
    },
    need::{Need, Sufferer},
    pipeline::connection_groups::{self, Connection, ConnectionGroup},
    pipeline::facts::Facts,
    shell,
};

/// Persistently unanswered connections and datagrams from pods here to an address that is no
/// pod's and not this node's: a Service's, perhaps. The most tried first.
pub fn silent<'a>(facts: &Facts<'a>) -> Vec<ConnectionGroup<'a>> {
    let silent = |a: &&ConnectionGroup<'_>| {
        a.packets() >= PATTERN
            && a.last().saturating_sub(a.first()) >= SPAN
            && facts.is_local_pod(a.client)
            && is_elsewhere(facts, a.server)
            && a.tries.iter().all(|t| t.was.is_none())
    };
    let all = connection_groups::unanswered(facts).iter().filter(silent);
    let mut all: Vec<_> = all.cloned().collect();
    all.sort_by_cached_key(|a| std::cmp::Reverse(a.packets()));
    all
}

/// No pod's that is known, and not this node's.
pub fn is_elsewhere(facts: &Facts<'_>, address: IpAddr) -> bool {
    facts.pod(address, PodRole::Server).is_none() && !facts.owns(address)
}

/// Nobody's that is known, and no route is about it: Services have addresses that no link has.
pub fn may_be_one(facts: &Facts<'_>, address: IpAddr) -> bool {
    is_elsewhere(facts, address) && facts.leaves(&facts.from_node(address))
}

/// What the node does for Services, once some address may be one.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let silent = silent(facts);
    let suspicious = silent.iter().filter(|a| may_be_one(facts, a.server));
    needs(suspicious.map(|a| (a.server, Sufferer::attempts(a))))
}

/// The same by address: a public one that keeps silent is the world's, as a rule.
pub fn needs(all: impl Iterator<Item = (IpAddr, Sufferer)>) -> Vec<Need> {
    let (private, public): (Vec<_>, Vec<_>) = all.partition(|(to, _)| is_private(*to));
    let of = |all: Vec<(IpAddr, Sufferer)>| need(all.into_iter().map(|(_, who)| who).collect());
    let mut needs = of(public);
    needs.iter_mut().for_each(|need| need.likely = false);
    needs.extend(of(private));
    needs
}

/// What the node does for Services, where that may be why these suffer.
pub fn need(sufferers: Vec<Sufferer>) -> Vec<Need> {
    let any = !sufferers.is_empty();
    let need = || Need::of(Want::Services, sufferers);
    any.then(need).into_iter().collect()
}

/// The rule for what was tried.
pub fn rule<'a>(services: &'a Services, attempts: &ConnectionGroup<'_>) -> Option<&'a Service> {
    services.rule(attempts.server, attempts.port, attempts.protocol)
}

/// The rule that refuses connections to that address and port: a Service's, or one of the node's own
/// that leads to a Service.
pub fn refusal<'a>(
    facts: &Facts<'a>,
    (server, port): (IpAddr, u16),
    protocol: u8,
) -> Option<&'a Service> {
    let known = facts.gathered.services()?;
    let own = facts.owns(server);
    let at_node = || known.node_port(server, port, protocol).filter(|_| own);
    let rule = known.rule(server, port, protocol).or_else(at_node);
    rule.filter(|rule| rule.rejected)
}

/// Its name as the rules have it, else as the API has it, and its address.
pub fn title(facts: &Facts<'_>, service: &Service) -> String {
    let endpoint = endpoint(service.address, service.port);
    match (&service.name, by_api(facts, service)) {
        (None, Some((of, port))) => format!("{} ({endpoint})", of.port_path(port)),
        _ => service.label(),
    }
}

/// `namespace/name`, whoever knows it.
pub fn path(facts: &Facts<'_>, service: &Service) -> Option<String> {
    let by_rule = service.name.as_deref();
    let by_rule = by_rule.and_then(|name| Some(name.split(':').next()?.to_owned()));
    by_rule.or_else(|| Some(by_api(facts, service)?.0.path()))
}

/// The same Service as the API has it.
fn by_api<'a>(
    facts: &Facts<'a>,
    service: &Service,
) -> Option<(&'a cluster::Service, &'a cluster::Port)> {
    let port = (service.port, service.protocol);
    facts.cluster.service(service.address, Some(port))
}

/// Pods of a Service that a line of evidence names.
const NAMED: usize = 5;

/// What the API says of who should answer there; nothing where it does not know.
pub fn truth(facts: &Facts<'_>, service: &Service) -> Option<Evidence> {
    truth_of(facts, by_api(facts, service))
}

/// The same of that port of a Service of the API's.
pub fn truth_of(
    facts: &Facts<'_>,
    service: Option<(&cluster::Service, &cluster::Port)>,
) -> Option<Evidence> {
    let state = facts.cluster.states.get(&Topic::EndpointSlices)?;
    let (of, port) = service.filter(|_| state.known)?;
    let all = of.endpoints(port);
    let ready = all.iter().filter(|(backend, _)| backend.ready).count();
    let some = all.iter().take(NAMED).map(|(b, port)| backend(b, *port));
    let text = match all.len() {
        0 => t!(
            "the API has no endpoints for {}: {}",
            of.path(),
            selector(of)
        ),
        n => {
            let some = some.collect::<Vec<_>>().join(t!(", "));
            let more = if n > NAMED { t!(", …") } else { "" };
            let (name, endpoints) = (of.path(), counted(n as u64, mark!("endpoint")));
            t!("the API has {endpoints} for {name}, {ready} ready: {some}{more}")
        }
    };
    let mut line = Evidence::new(EvidenceKind::Api, Origin::Configured, text);
    line.confirm = Some(shell!(
        "kubectl -n {v} get endpointslices -l kubernetes.io/service-name={}",
        of.namespace,
        of.name
    ));
    Some(line)
}

fn backend(backend: &cluster::Backend, port: u16) -> String {
    let name = backend.pod.as_ref();
    let name = name.map_or_else(
        || t!("no pod").to_owned(),
        |(namespace, name)| format!("{namespace}/{name}"),
    );
    let node = backend.node.as_ref();
    let node = node.map_or_else(String::new, |node| format!("@{node}"));
    let address = backend.addresses.first();
    let address = address.map_or_else(String::new, |a| t!(" at {}", endpoint(*a, port)));
    let state = if backend.ready { "" } else { t!(" not ready") };
    format!("{name}{node}{address}{state}")
}

fn selector(service: &cluster::Service) -> String {
    let labels = service.selector.iter();
    let labels: Vec<_> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    match labels.is_empty() {
        true => t!("it has no selector, and nobody else made any").into(),
        false => t!("no pod that runs has its labels {}", labels.join(",")),
    }
}

/// Who says that the address is a Service's: the API, else the node's own processes.
pub fn evidence(facts: &Facts<'_>, known: &Services, address: IpAddr) -> Option<Word> {
    let by_api = facts.cluster.service(address, None);
    let by_api = by_api.map(|(of, _)| Word {
        by: t!("{} as the API has it", of.path()),
        sure: true,
    });
    by_api.or_else(|| known.evidence(address))
}

/// Most pods are told to ask it for cluster names, and it is no address of the world's.
pub fn is_named(facts: &Facts<'_>, address: IpAddr) -> bool {
    is_private(address) && facts.picture().named().contains(&address)
}

/// ICMP errors about flows: how many packets came, and who sent them.
pub fn errors(
    facts: &Facts<'_>,
    about: impl Fn(&FlowKey) -> bool,
    kinds: [(u8, u8); 2],
) -> Option<(u64, IpAddr)> {
    let mut hops: BTreeMap<(u32, u8), (u64, IpAddr)> = BTreeMap::new();
    for (key, error) in facts.icmp_errors {
        if about(&key.about) && kinds.contains(&(key.kind, key.code)) {
            let new = (0, from_wire(key.sender));
            let hop = hops.entry((key.ifindex, key.direction)).or_insert(new);
            add(&mut hop.0, error.packets);
        }
    }
    // Each hop counts the same packets.
    hops.into_values().max_by_key(|(packets, _)| *packets)
}

/// Fills in what the findings of these causes have in common.
pub fn tell(finding: &mut Finding, facts: &Facts<'_>, all: &[ConnectionGroup<'_>]) {
    for attempts in all {
        attempts.cover(&mut finding.scope);
    }
    for attempts in all.iter().take(10) {
        finding.evidence.push(silence(facts, attempts));
        finding.flows.push(attempts.refer());
        finding.pods.extend(attempts.pods(facts));
        finding.about.push(attempts.server);
    }
    finding.pods.sort();
    finding.pods.dedup();
    finding.about.dedup();
    let first = all.iter().map(ConnectionGroup::first).min().unwrap_or(0);
    let last = all.iter().map(ConnectionGroup::last).max().unwrap_or(0);
    finding.first_seen = facts.clock.text(first);
    finding.last_seen = facts.clock.text(last);
}

fn silence(facts: &Facts<'_>, attempts: &ConnectionGroup<'_>) -> Evidence {
    let (client, target) = (who(facts, attempts.client), attempts.target());
    let seen = attempts.tries.iter().rev().find_map(Connection::last_seen);
    let at = seen.map(|hop| hop.interface.clone());
    let last = at
        .as_deref()
        .map_or_else(String::new, |at| t!(", last seen at {at}"));
    let packets = attempts.packets();
    let text = t!("{packets} packets from {client} to {target} without an answer{last}");
    let mut line = Evidence::new(EvidenceKind::Unreachable, Origin::Observed, text);
    line.direction = seen.map(|hop| hop.direction().to_owned());
    line.packets = Some(packets);
    let link = at.as_deref().unwrap_or("any");
    line.confirm = Some(shell!(
        "timeout 10 tcpdump -c 5 -lni {v} 'host {} and port {}'",
        link,
        attempts.server,
        attempts.port
    ));
    line.at = at;
    line
}

/// The pod's name, else the address.
pub fn who(facts: &Facts<'_>, address: IpAddr) -> String {
    let pod = facts.pod(address, PodRole::Source);
    pod.map_or_else(|| address.to_string(), |pod| label(&pod))
}

/// A line about the node's rules.
pub fn rules(text: String, confirm: CommandLine) -> Evidence {
    let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, text);
    line.confirm = Some(confirm);
    line
}

/// A line about the rules for a Service.
pub fn rules_of(service: &Service, text: String, confirm: CommandLine) -> Evidence {
    let family = Family::of_ip(service.address.is_ipv6());
    let table = service.table.as_deref().map(|table| Thing::Table {
        family,
        table: table.to_owned(),
    });
    rules(text, confirm).of(table)
}

#[cfg(test)]
mod tests;
