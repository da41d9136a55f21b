//! Pods, Services and what made pods, by their names.
use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    model::{
        path::{End, Name, Wanted},
        pod::Pod,
        verdict::PodRole,
    },
    pipeline::facts::Facts,
};

/// Names that are told to somebody who mistyped one.
const MOST_ALIKE: usize = 3;

/// What one name stands for: nothing where nobody is called so, and why not where several are.
type Found = Result<Option<End>, String>;

pub fn named(
    facts: &Facts<'_>,
    wanted: &Wanted,
    names: &[Name],
    role: PodRole,
) -> Result<End, String> {
    for name in names {
        if let Some(end) = one(facts, name, wanted.port, role)? {
            return Ok(end);
        }
    }
    Err(unknown(facts, wanted, names))
}

fn one(facts: &Facts<'_>, name: &Name, port: Option<u16>, role: PodRole) -> Found {
    match name.kind {
        None => match pod(facts, name, port, role)? {
            Some(pod) => Ok(Some(pod)),
            None => service(facts, name, port),
        },
        Some("pod") => pod(facts, name, port, role),
        Some("service") => service(facts, name, port),
        Some("node") => Ok(node(facts, &name.name, port)),
        Some(kind) => owned(facts, kind, name, port, role),
    }
}

fn is_in(name: &Name, namespace: &str) -> bool {
    name.namespace.as_ref().is_none_or(|n| n == namespace)
}

/// All of them in one namespace: one name in several is nobody's alone.
fn alone<'p>(name: &Name, namespaces: impl Iterator<Item = &'p str>) -> Result<(), String> {
    let all: BTreeSet<&str> = namespaces.collect();
    let own = &name.name;
    let titles: Vec<String> = all.iter().map(|n| format!("{n}/{own}")).collect();
    match titles.len() {
        0 | 1 => Ok(()),
        _ => Err(format!(
            "{own} may be {} here: name its namespace",
            titles.join(" or ")
        )),
    }
}

/// Those that are there, or the last ones that were.
fn pods<'f>(facts: &'f Facts<'_>, is: impl Fn(&Pod) -> bool) -> Vec<&'f Pod> {
    let all = || facts.pods.iter().filter(|p| is(p));
    let alive: Vec<&Pod> = all().filter(|p| p.gone.is_none()).collect();
    match alive.is_empty() {
        true => all().max_by_key(|p| p.gone).into_iter().collect(),
        false => alive,
    }
}

fn pod(facts: &Facts<'_>, name: &Name, port: Option<u16>, role: PodRole) -> Found {
    let is = |p: &Pod| p.name == name.name && is_in(name, &p.namespace);
    made_of(name, &pods(facts, is), port, role)
}

/// The pods that a Deployment, a DaemonSet or the like made.
fn owned(facts: &Facts<'_>, kind: &str, name: &Name, port: Option<u16>, role: PodRole) -> Found {
    let made = |p: &Pod| {
        let owner = p.owner.as_ref();
        owner.is_some_and(|o| o.kind.eq_ignore_ascii_case(kind) && o.name == name.name)
    };
    let is = |p: &Pod| made(p) && is_in(name, &p.namespace);
    made_of(name, &pods(facts, is), port, role)
}

fn made_of(name: &Name, pods: &[&Pod], port: Option<u16>, role: PodRole) -> Found {
    alone(name, pods.iter().map(|p| p.namespace.as_str()))?;
    let [first, ..] = pods else {
        return Ok(None);
    };
    let addresses = sorted(pods.iter().flat_map(|p| p.addresses.clone()));
    if addresses.is_empty() {
        return Err(format!("the pod {} has no address", first.title()));
    }
    Ok(Some(End {
        addresses: match pods.len() {
            1 => first.addresses.clone(),
            _ => addresses,
        },
        port,
        pod: (pods.len() == 1).then(|| first.refer(None, Some(role))),
        ..End::default()
    }))
}

fn sorted(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let all: BTreeSet<IpAddr> = addresses.collect();
    all.into_iter().collect()
}

/// As the API has it; of this one, all addresses.
fn node(facts: &Facts<'_>, name: &str, port: Option<u16>) -> Option<End> {
    let members = facts.cluster.nodes.iter().filter(|n| n.name == name);
    let told = members.flat_map(|n| n.addresses.iter().copied());
    let own = facts.node.addresses().map(|(_, a)| a.prefix.address);
    let routed = |a: &IpAddr| match a {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let own = own.filter(|a| facts.node.name == name && routed(a));
    let addresses = sorted(told.chain(own));
    (!addresses.is_empty()).then(|| End {
        addresses,
        port,
        ..End::default()
    })
}

fn service(facts: &Facts<'_>, name: &Name, port: Option<u16>) -> Found {
    match by_rules(facts, name, port)? {
        Some(end) => Ok(Some(end)),
        None => by_api(facts, name, port),
    }
}

/// By the name that the API has: its addresses, or those of its pods where it has none.
fn by_api(facts: &Facts<'_>, name: &Name, port: Option<u16>) -> Found {
    let all = facts.cluster.services.iter();
    let all: Vec<_> = all
        .filter(|s| s.name == name.name && is_in(name, &s.namespace))
        .collect();
    alone(name, all.iter().map(|s| s.namespace.as_str()))?;
    let Some(service) = all.first() else {
        return Ok(None);
    };
    let mut addresses = service.addresses.clone();
    if addresses.is_empty() {
        let backends = service.backends();
        addresses = backends.flat_map(|b| b.addresses.clone()).collect();
    }
    let addresses = sorted(addresses.into_iter());
    let mut ports = service.ports.iter();
    let of = ports.find(|p| port.is_none_or(|it| it == p.port));
    let one = service.ports.len() == 1;
    Ok((!addresses.is_empty()).then(|| End {
        addresses,
        port: port.or(of.filter(|_| one).map(|p| p.port)),
        service: Some(of.map_or_else(|| service.path(), |p| service.port_path(p))),
        ..End::default()
    }))
}

/// `namespace` and `name` of `namespace/name:port`, as the node's rules have it.
fn path(full: &str) -> Option<(&str, &str)> {
    full.split(':').next()?.split_once('/')
}

fn by_rules(facts: &Facts<'_>, name: &Name, port: Option<u16>) -> Found {
    let rules = facts.gathered.services().map_or(&[][..], |s| &s.rules);
    let named = |full: &str| path(full).is_some_and(|(n, own)| own == name.name && is_in(name, n));
    let mut own: Vec<_> = rules
        .iter()
        .filter(|r| r.name.as_deref().is_some_and(named))
        .collect();
    let names = own.iter().filter_map(|r| path(r.name.as_deref()?));
    alone(name, names.map(|(namespace, _)| namespace))?;
    // A port that it does not have can be asked for: it is the mistake that is looked for.
    let has = port.is_none_or(|p| own.iter().any(|r| r.port == p));
    if has {
        own.retain(|r| port.is_none_or(|p| p == r.port));
    }
    let Some(first) = own.first() else {
        return Ok(None);
    };
    let full = first.name.as_deref().unwrap_or_default();
    let without_port = || full.split(':').next().unwrap_or(full);
    // One port where it has one only: its answers' ports are then no questions.
    let one = own.iter().all(|r| r.port == first.port);
    Ok(Some(End {
        addresses: sorted(own.iter().map(|r| r.address)),
        port: port.or(one.then_some(first.port)),
        service: Some(if has { full } else { without_port() }.to_owned()),
        ..End::default()
    }))
}

/// Why nobody was found, and who may have been meant.
fn unknown(facts: &Facts<'_>, wanted: &Wanted, names: &[Name]) -> String {
    let typed = wanted.text.split(':').next().unwrap_or(&wanted.text);
    let own = names.first().map_or(typed, |n| n.name.as_str());
    let hint = match &alike(facts, own)[..] {
        [] if own.contains('.') => ": DNS names are not looked up, give its address".to_owned(),
        [] => ": give its address, or list pods by --pods FILE".to_owned(),
        some => format!("; like it: {}", some.join(", ")),
    };
    let what = match names.last().and_then(|n| n.kind) {
        Some(kind) if names.len() == 1 => kind.to_owned(),
        _ => "pod and no Service".to_owned(),
    };
    format!("no {what} {typed} is known here{hint}")
}

/// Pods and Services whose names begin alike.
fn alike(facts: &Facts<'_>, name: &str) -> Vec<String> {
    let near = |other: &str| {
        let begins = other.starts_with(name) || name.starts_with(other);
        !other.is_empty() && begins
    };
    let pods = facts.pods.iter().filter(|p| p.gone.is_none());
    let pods = pods.filter(|p| near(&p.name)).map(Pod::title);
    let services = facts.cluster.services.iter();
    let told = services.filter(|s| near(&s.name)).map(|s| s.path());
    let rules = facts.gathered.services().map_or(&[][..], |s| &s.rules);
    let rules = rules.iter().filter_map(|r| path(r.name.as_deref()?));
    let rules = rules.filter(|(_, name)| near(name));
    let services = told.chain(rules.map(|(n, name)| format!("{n}/{name}")));
    let services = services.map(|s| format!("svc/{s}"));
    let all: BTreeSet<String> = pods.chain(services).collect();
    all.into_iter().take(MOST_ALIKE).collect()
}

#[cfg(test)]
mod tests;
