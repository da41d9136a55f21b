//! # Symptom
//! Some or all connections to a Service time out or end in "no route to host", though its pods run. The
//! failures look random: those connections fail that go to the pod that is gone.
//!
//! # Mechanism
//! The node translates the Service's address to a pod that no longer exists. Either kube-proxy missed the
//! change (it hangs, or lost the API server), or a client keeps using one UDP socket, and its conntrack
//! entry outlives the rule that made it.
//!
//! # Signals
//! Observed: packets that were translated to an address that no pod has are lost because no host answers
//! for it (NEIGH_FAILED or neigh_invalidate here, ICMP host unreachable from the other node), or because
//! the route of this node's own range refuses what no pod has (Calico's `blackhole`). Configured: the rule
//! that names this backend. Or, for conntrack, no rule names it any more: then five seconds
//! without an answer are enough.
//!
//! # Look-alikes
//! `neighbour-failed`: a client uses a dead pod's address without a Service. `service-no-endpoints`: no
//! backend is left, and the node refuses at once. `no-route`: this node itself says that the host is
//! unreachable, because one of its routes refuses the destination, and no Service sends anybody there.
//!
//! # By hand
//! `kubectl get pods -A -o wide | grep ADDRESS` finds nothing. `conntrack -L -d CLUSTERIP` or the
//! Service's rules (`iptables-save -t nat | grep ADDRESS`) still have the address.
//!
//! # Fix
//! Restart kube-proxy on this node and find out why it missed the change. Delete stale entries with
//! `conntrack -D -d CLUSTERIP -p udp`.
use std::{collections::HashSet, net::IpAddr};

use netdiag_common::flow::FlowKey;
use netdiag_lang::{mark, t};

use super::connection_groups::{self, ConnectionGroup};
use crate::{
    model::{
        address::{endpoint, from_wire},
        flow::{self, UDP},
        services::{Service, Services},
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, FlowRef, Origin, PodRole, Severity,
            Subject,
        },
    },
    need::{Need, Sufferer},
    pipeline::facts::Facts,
    shared::{
        daemon::Daemon::KubeProxy,
        losses::{self, DropGroup, PATTERN},
        own_range::{self, is_translated},
        services,
    },
    shell,
};

pub const ID: &str = "service-stale-endpoint";
pub const TITLE: &str = mark!("a Service is translated to a pod that is gone");

/// kube-proxy deletes what conntrack has of a backend as soon as its rules are without it.
const SETTLED_NS: u64 = 5_000_000_000;

/// ICMP host unreachable, ICMPv6 address unreachable (RFC 792, RFC 4443).
const HOST_UNREACHABLE: [(u8, u8); 2] = [(3, 1), (1, 3)];

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    services::need(gone(facts).iter().map(Gone::sufferer).collect())
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let known = facts.gathered.services()?;
    let all = gone(facts).into_iter();
    let all: Vec<_> = all.filter_map(|g| stale(facts, known, g)).collect();
    let worst = all.iter().max_by_key(|s| s.gone.packets)?;
    let (name, backend) = (services::title(facts, worst.service), worst.gone.endpoint());
    let (packets, client) = (worst.gone.packets, services::who(facts, worst.gone.client));
    let summary = match worst.by_rule {
        true => t!(
            "a rule translates the Service {name} to {backend}, which no pod has: {packets} packets \
             from {client} lost"
        ),
        false => t!(
            "a conntrack entry translates the Service {name} to {backend}, which no pod has: \
             {packets} packets from {client} lost"
        ),
    };
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    for stale in &all {
        stale.tell(facts, &mut finding);
    }
    finding.pods.sort();
    finding.pods.dedup();
    finding.fix = worst.fix(facts);
    let first = all.iter().map(|s| s.gone.first).min().unwrap_or(0);
    let last = all.iter().map(|s| s.gone.last).max().unwrap_or(0);
    finding.first_seen = facts.clock.text(first);
    finding.last_seen = facts.clock.text(last);
    Some(finding)
}

/// Packets of one client to an address where nobody is any more.
struct Gone {
    client: IpAddr,
    address: IpAddr,
    port: u16,
    protocol: u8,
    packets: u64,
    first: u64,
    last: u64,
    flows: Vec<FlowKey>,
    /// How that is known.
    line: Evidence,
    /// Nothing but silence says so: as long as a rule names the address it may be a pod's.
    silent: bool,
}

impl Gone {
    fn endpoint(&self) -> String {
        endpoint(self.address, self.port)
    }

    fn sufferer(&self) -> Sufferer {
        let server = (self.address, self.port);
        Sufferer::flow(self.protocol, self.client, server, self.packets)
    }

    fn refer(&self) -> FlowRef {
        FlowRef {
            protocol: flow::protocol(self.protocol),
            source: self.client.to_string(),
            destination: self.endpoint(),
            packets: self.packets,
            retransmits: 0,
            last_seen_at: self.line.at.clone(),
            ..FlowRef::default()
        }
    }
}

/// Addresses that no pod has and for which nobody answers, here or on the node behind.
fn gone(facts: &Facts<'_>) -> Vec<Gone> {
    let here = losses::patterns(facts, losses::nobody_answered);
    let here = here.iter().filter(|p| !p.reply).map(lost_here);
    let refused = own_range::asked(facts);
    let refused = refused.iter().filter(|p| is_translated(facts, p));
    let here = here.chain(refused.map(refused_here));
    let beyond = connection_groups::unanswered(facts).iter();
    let beyond = beyond.filter_map(|a| lost_beyond(facts, a).or_else(|| silent(facts, a)));
    let mut all: Vec<_> = here.chain(beyond).collect();
    all.retain(|g| services::is_elsewhere(facts, g.address));
    all
}

fn refused_here(pattern: &DropGroup<'_>) -> Gone {
    let mut gone = lost_here(pattern);
    let (address, packets) = (gone.address, gone.packets);
    gone.line.text =
        t!("{packets} packets to {address} dropped, this node's own range refuses what no pod has");
    gone.line.confirm = Some(shell!("ip route get {}", address).failing());
    gone
}

fn lost_here(pattern: &DropGroup<'_>) -> Gone {
    let (address, packets) = (pattern.destination, pattern.packets());
    let at = pattern.losses.iter().find_map(|l| l.interface.clone());
    let first = pattern.losses.first();
    let (reason, symbol) = first.map_or(("", ""), |l| (l.reason.as_str(), l.symbol()));
    let text = t!(
        "{packets} packets to {address} dropped, no host replies to ARP/ND for it: {reason} in {symbol}"
    );
    let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
    line.packets = Some(packets);
    line.reason = first.map(|l| l.reason.clone());
    line.location = first.map(|l| l.symbol().to_owned());
    line.confirm =
        Some(shell!("ip neighbour show to {}", address).showing(&["FAILED", "INCOMPLETE"]));
    line.at = at;
    Gone {
        client: pattern.source,
        address,
        port: pattern.port,
        protocol: pattern.protocol,
        packets,
        first: pattern.first(),
        last: pattern.last(),
        flows: pattern.losses.iter().map(|l| *l.flow()).collect(),
        line,
        silent: false,
    }
}

/// Translated here, and the other node says that nobody is there. This one's own word is about its
/// routes: what its neighbours do not answer it drops.
fn lost_beyond(facts: &Facts<'_>, attempts: &ConnectionGroup<'_>) -> Option<Gone> {
    let address = attempts.server;
    let about = |flow: &FlowKey| from_wire(flow.destination) == address;
    let (errors, sender) = services::errors(facts, about, HOST_UNREACHABLE)?;
    if facts.node.owns(sender) {
        return None;
    }
    let text = t!("{sender} answered {errors} times: host {address} unreachable");
    let mut line = Evidence::new(EvidenceKind::Unreachable, Origin::Observed, text);
    line.packets = Some(errors);
    line.confirm = Some(shell!(
        "timeout 10 tcpdump -lnni any 'icmp[0] == 3 or icmp6[0] == 1' | grep -w -F -m3 -e {v}",
        address
    ));
    sent_on(attempts, line)
}

/// Translated here, and never heard of again, though it goes on: a connection ends by itself with its
/// backend. Many a datagram is one that nobody answers, but none is to go where no rule leads any more.
fn silent(facts: &Facts<'_>, attempts: &ConnectionGroup<'_>) -> Option<Gone> {
    let lasts = attempts.last().saturating_sub(attempts.first()) >= SETTLED_NS;
    let goes_on = facts.now.saturating_sub(attempts.last()) < SETTLED_NS;
    if !(lasts && goes_on && attempts.protocol == UDP) {
        return None;
    }
    let (target, packets) = (attempts.target(), attempts.packets());
    let text = t!("{packets} packets were translated to {target}, no answer came");
    let mut line = Evidence::new(EvidenceKind::Unreachable, Origin::Observed, text);
    line.packets = Some(packets);
    line.confirm = Some(shell!(
        "timeout 10 tcpdump -c 5 -lnni any host {}",
        attempts.server
    ));
    let gone = sent_on(attempts, line)?;
    Some(Gone {
        silent: true,
        ..gone
    })
}

/// What is lost behind a translation, again and again.
fn sent_on(attempts: &ConnectionGroup<'_>, mut line: Evidence) -> Option<Gone> {
    let translated = attempts.tries.iter().any(|t| t.was.is_some());
    if !translated || attempts.packets() < PATTERN {
        return None;
    }
    let mut latest = attempts.tries.iter().rev();
    let seen = latest.find_map(connection_groups::Connection::last_seen);
    line.at = seen.map(|hop| hop.interface.clone());
    Some(Gone {
        client: attempts.client,
        address: attempts.server,
        port: attempts.port,
        protocol: attempts.protocol,
        packets: attempts.packets(),
        first: attempts.first(),
        last: attempts.last(),
        flows: attempts.tries.iter().map(|t| t.flow).collect(),
        line,
        silent: false,
    })
}

/// With the Service that led there.
struct Stale<'a> {
    gone: Gone,
    service: &'a Service,
    /// The rule still names it; otherwise a conntrack entry outlives the rule.
    by_rule: bool,
}

fn stale<'a>(facts: &Facts<'_>, known: &'a Services, gone: Gone) -> Option<Stale<'a>> {
    let backend = (gone.address, gone.port);
    let mut rules = known.rules.iter();
    let named = rules.find(|s| s.protocol == gone.protocol && s.backends.contains(&backend));
    let service = match named {
        Some(_) if gone.silent => return None,
        Some(service) => service,
        None => asked(facts, known, &gone)?,
    };
    // One that translates to nobody keeps no entry alive.
    if gone.silent && service.backends.is_empty() {
        return None;
    }
    Some(Stale {
        gone,
        service,
        by_rule: named.is_some(),
    })
}

/// The Service that the same sockets asked.
fn asked<'a>(facts: &Facts<'_>, known: &'a Services, gone: &Gone) -> Option<&'a Service> {
    let socket = |f: &FlowKey| (f.source, f.source_port, f.protocol);
    let own: HashSet<_> = gone.flows.iter().map(socket).collect();
    let all = facts.attempts();
    let tries = all.iter().flat_map(|a| a.tries.iter());
    let mut same = tries.filter(|t| own.contains(&socket(&t.flow)));
    same.find_map(|t| {
        let to = flow::ends(&t.flow).1;
        known.rule(to, t.flow.destination_port, t.flow.protocol)
    })
}

impl Stale<'_> {
    fn tell(&self, facts: &Facts<'_>, finding: &mut Finding) {
        let (gone, service) = (&self.gone, self.service);
        let (name, backend) = (services::title(facts, service), gone.endpoint());
        finding.evidence.push(gone.line.clone());
        let list = service.engine.list(service.address);
        let line = match self.by_rule {
            true => services::rules_of(
                service,
                t!("a rule for {name} names the backend {backend}, which no known pod has"),
                list.pipe(shell!("grep -F -e {v}", gone.address)),
            ),
            false => services::rules(
                t!("no rule for {name} names {backend} any more: a conntrack entry does"),
                shell!("conntrack -L -d {}", service.address),
            ),
        };
        finding.evidence.push(line);
        finding.evidence.extend(services::truth(facts, service));
        finding.flows.push(gone.refer());
        finding.pods.extend(facts.pod(gone.client, PodRole::Source));
        finding.about.extend([gone.address, service.address]);
        let address = gone.address;
        let because = t!("a Service still sends connections to {address}");
        finding.ties.blame(Subject::Backend { address }, because);
    }

    fn fix(&self, facts: &Facts<'_>) -> Fix {
        let (service, address) = (self.service, self.gone.address);
        // Those to its living pods stay.
        let entry = shell!(
            "conntrack -D -p {} --orig-dst {} --orig-port-dst {} --reply-src {}",
            flow::protocol(service.protocol),
            service.address,
            service.port,
            address
        );
        if !self.by_rule {
            return Fix {
                summary: t!(
                    "delete the entry that still sends this client to {address}; a client that \
                     opens a new socket after an error would not need it"
                ),
                commands: vec![entry],
            };
        }
        Fix {
            summary: t!(
                "no pod has {address}: see why kube-proxy on this node missed the change (its log, \
                 its connection to the API server), and restart it"
            ),
            commands: vec![
                shell!("kubectl get pods -A -o wide | grep -F -e {v}", address),
                KubeProxy.logs(facts),
                KubeProxy.restart(facts),
                entry,
            ],
        }
    }
}

#[cfg(test)]
mod tests;
