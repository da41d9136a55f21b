//! What the causes about refused connections share: ports of this node's pods that refuse the
//! same client again and again.
use std::{collections::HashMap, net::IpAddr};

use netdiag_common::{
    flow::FlowKey,
    hop::{INGRESS, IcmpError, IcmpErrorKey},
};
use netdiag_lang::t;

use super::{losses::dropped_like, sidecar};
use crate::{
    model::{
        address::endpoint,
        flow::UDP,
        gather::{Listener, Reach, Receiver, Want, hears, reach, reach_by},
        interception::Redirect,
        node::Link,
        pod::label,
        roles::Role,
        shell::CommandLine,
        total::Total,
        verdict::{Evidence, EvidenceKind, Finding, Origin, PodRef, PodRole, Severity},
    },
    need::{Need, Sufferer},
    pipeline::connection_groups::{self, Answerer, Connection, ConnectionGroup},
    pipeline::facts::{Facts, Loss},
    shell,
};

/// A library tries three times or so before it tells its caller; a client that was refused this
/// often asks again and again.
pub const TRIES: usize = 5;

/// A burst within a moment is one call with its repetitions; a program that restarts is back
/// within seconds.
pub const SPAN: u64 = 3_000_000_000;

/// Refused connections, or datagrams, of one client to one port of a pod.
pub struct Refusal<'a> {
    pub attempts: ConnectionGroup<'a>,
    /// How often it was refused.
    pub times: u64,
    /// The pod's link, and the inode of its namespace.
    pub link: &'a Link,
    pub netns: u32,
}

impl<'a> Refusal<'a> {
    pub fn endpoint(&self) -> String {
        endpoint(self.attempts.server, self.attempts.port)
    }

    pub fn pod(&self, facts: &Facts<'_>) -> Option<PodRef> {
        facts.pod(self.attempts.server, PodRole::Server)
    }

    /// Whether anybody takes what is refused.
    pub fn need(&self) -> Need {
        let want = match self.udp() {
            true => Want::Receivers {
                netns: self.netns,
                port: self.attempts.port,
            },
            false => Want::Listeners(self.netns),
        };
        Need::of(want, vec![self.sufferer()])
    }

    pub fn sufferer(&self) -> Sufferer {
        let (client, server) = (self.attempts.client, self.attempts.server);
        let server = (server, self.attempts.port);
        Sufferer::flow(self.attempts.protocol, client, server, self.times)
    }

    pub fn udp(&self) -> bool {
        self.attempts.protocol == UDP
    }

    /// Who listens in the pod, once that is known.
    fn listeners<'f>(&self, facts: &Facts<'f>) -> Option<&'f [Listener]> {
        facts.gathered.listeners(self.netns).filter(|_| !self.udp())
    }

    /// Who takes datagrams to that port in the pod, at whichever address.
    fn receivers<'f>(&self, facts: &Facts<'f>) -> Option<&'f [Receiver]> {
        let port = self.attempts.port;
        facts
            .gathered
            .receivers(self.netns, port)
            .filter(|_| self.udp())
    }

    /// Whether no socket takes what the client sends; nothing while that is not known.
    pub fn reaches_nobody(&self, facts: &Facts<'_>) -> Option<bool> {
        if let Some(receivers) = self.receivers(facts) {
            let server = self.attempts.server;
            let to = |r: &Receiver| r.address.is_unspecified() || r.address == server;
            let takes = |r: &Receiver| {
                to(r) && hears(r.device, self.comes_by(facts)) && self.is_from(r.peer)
            };
            return Some(!receivers.iter().any(takes));
        }
        let reach = self.reach(facts)?;
        let nobody = matches!(reach, Reach::Nobody | Reach::Elsewhere(_));
        Some(nobody || self.redirect(facts).is_some())
    }

    /// Whether one of them comes from whom alone a socket is connected to, if to anybody.
    fn is_from(&self, peer: Option<(IpAddr, u16)>) -> bool {
        let mut tries = self.attempts.tries.iter();
        peer.is_none_or(|(address, port)| {
            address == self.attempts.client && tries.any(|t| t.flow.source_port == port)
        })
    }

    /// The rule in the pod that leads these connections to another port (REDIRECT, TPROXY), where nobody
    /// takes them.
    pub fn redirect<'f>(&self, facts: &Facts<'f>) -> Option<&'f Redirect> {
        let listeners = self.listeners(facts)?;
        let (server, port) = (self.attempts.server, self.attempts.port);
        let rules = facts.gathered.interception(self.netns)?;
        let redirect = rules.leads(port, server.is_ipv6())?;
        let open = matches!(reach(listeners, server, redirect.port), Reach::Served(_));
        (!open).then_some(redirect)
    }

    /// The pod's sockets that might have been meant, for a sentence.
    pub fn found(&self, facts: &Facts<'_>) -> Option<String> {
        let mut all: Vec<_> = match self.receivers(facts) {
            Some(receivers) => receivers
                .iter()
                .map(|r| self.bound(facts, r.device, self.describe_receiver(r)))
                .collect(),
            None => {
                let all = self.listeners(facts)?.iter();
                all.map(|l| self.bound(facts, l.device, describe(l)))
                    .collect()
            }
        };
        all.sort();
        all.dedup();
        Some(match (all.is_empty(), self.udp()) {
            (false, _) => t!("it listens on {}", all.join(t!(", "))),
            (true, false) => t!("it listens nowhere").into(),
            (true, true) => t!("it has no UDP socket on port {}", self.attempts.port),
        })
    }

    fn describe_receiver(&self, receiver: &Receiver) -> String {
        let at = endpoint(receiver.address, self.attempts.port);
        let owner = receiver.owner.as_deref();
        let held = owner.map_or_else(|| at.clone(), |owner| format!("{at} ({owner})"));
        match receiver.peer {
            Some((peer, port)) => t!(
                "{held}, connected to {}, from whom alone it takes anything",
                endpoint(peer, port)
            ),
            None => held,
        }
    }

    pub fn reach<'f>(&self, facts: &Facts<'f>) -> Option<Reach<'f>> {
        let listeners = self.listeners(facts)?;
        let (server, port) = (self.attempts.server, self.attempts.port);
        Some(reach_by(listeners, self.comes_by(facts), server, port))
    }

    /// The index, in the namespace where it is refused, of the device that it comes in by.
    fn comes_by(&self, facts: &Facts<'_>) -> Option<u32> {
        match self.netns == facts.node.netns {
            true => Some(self.link.index),
            // A pod's with several may be asked by any of them.
            false => {
                let side = facts.node.pod_side(self.netns)?;
                self.link
                    .link
                    .filter(|own| side.links.iter().any(|(index, _)| index == own))
            }
        }
    }

    /// With the device by which alone that socket hears.
    fn bound(&self, facts: &Facts<'_>, device: u32, socket: String) -> String {
        if device == 0 {
            return socket;
        }
        let side = facts.node.pod_side(self.netns);
        let mut links = side.into_iter().flat_map(|s| &s.links);
        let name = links.find(|(index, _)| *index == device);
        let name = name.map_or_else(|| device.to_string(), |(_, name)| name.clone());
        t!("{socket} by the device {name} alone")
    }

    pub fn list_sockets(&self, facts: &Facts<'_>) -> CommandLine {
        match self.udp() {
            true => facts.node.inside(self.netns, shell!("ss -lunp")),
            false => list_sockets(facts, self.netns),
        }
    }

    /// What comes from the world by no Service of ours may be a scan.
    pub fn severity(&self, facts: &Facts<'_>) -> Severity {
        let client = self.attempts.client;
        let near = facts.pod(client, PodRole::Source).is_some()
            || facts.owns(client)
            || !facts.leaves(&facts.from_node(client));
        let service = self.attempts.tries.iter().any(|t| t.was.is_some());
        if near || service {
            Severity::Warning
        } else {
            Severity::Info
        }
    }
}

/// Ports of pods here that refuse persistently, the most refused first.
pub fn by_pods<'a>(facts: &Facts<'a>) -> Vec<Refusal<'a>> {
    let refused = connection_groups::refused(facts).iter();
    let connections = refused.filter_map(|a| by_pod(facts, a));
    let mut all: Vec<_> = connections.chain(datagrams(facts)).collect();
    all.sort_by_key(|r| std::cmp::Reverse(r.times));
    all
}

/// Ports of this node's own that refuse others, in its own namespace: a scan of them is nobody's harm.
pub fn by_node<'a>(facts: &Facts<'a>) -> Vec<Refusal<'a>> {
    let refused = connection_groups::refused(facts).iter();
    let own = |attempts: &ConnectionGroup<'a>| {
        let again = attempts.tries.len() >= TRIES && attempts.span() >= SPAN;
        let last = attempts.tries.last()?;
        let own = facts.owns(attempts.server) && !facts.owns(attempts.client);
        let by_us = last.answerer() == Some(Answerer::Node) && last.became.is_none();
        let link = facts.link(last.requests.first()?.key.ifindex)?;
        (again && own && by_us).then(|| Refusal {
            times: attempts.tries.len() as u64,
            attempts: attempts.clone(),
            link,
            netns: facts.node.netns,
        })
    };
    let mut all: Vec<_> = refused.filter_map(own).collect();
    all.sort_by_key(|r| std::cmp::Reverse(r.times));
    all
}

/// Without those that a sidecar in the pod explains.
pub fn plain<'a>(facts: &Facts<'a>) -> Vec<Refusal<'a>> {
    let mut all = by_pods(facts);
    all.retain(|refusal| !sidecar::explains(facts, refusal));
    all
}

fn by_pod<'a>(facts: &Facts<'a>, attempts: &ConnectionGroup<'a>) -> Option<Refusal<'a>> {
    if attempts.tries.len() < TRIES || attempts.span() < SPAN {
        return None;
    }
    let Answerer::Pod(index) = attempts.tries.last()?.answerer()? else {
        return None;
    };
    let link = facts.link(index)?;
    Some(Refusal {
        times: attempts.tries.len() as u64,
        attempts: attempts.clone(),
        link,
        netns: link.peer_netns?,
    })
}

/// Ports that pods here say are closed (RFC 792, RFC 4443): how often, from when to when, and the
/// link of the pod.
fn closed(facts: &Facts<'_>) -> HashMap<FlowKey, (IcmpError, u32)> {
    let from_pod = |key: &IcmpErrorKey| {
        let said = [(3, 3), (1, 4)].contains(&(key.kind, key.code));
        let own = key.sender == key.about.destination && key.about.protocol == UDP;
        let link = facts.link(key.ifindex);
        let pod = link.is_some_and(|l| facts.role(l) == Some(Role::Pod));
        said && own && pod && key.direction == INGRESS
    };
    let errors = facts.icmp_errors.iter().filter(|(key, _)| from_pod(key));
    errors
        .map(|(key, error)| (key.about, (*error, key.ifindex)))
        .collect()
}

/// The kernel says "port unreachable" once a second at most (net.ipv4.icmp_ratelimit).
fn datagrams<'a>(facts: &Facts<'a>) -> Vec<Refusal<'a>> {
    let closed = closed(facts);
    if closed.is_empty() {
        return Vec::new();
    }
    let refused = |attempts: &ConnectionGroup<'a>| {
        let of = || attempts.tries.iter().filter_map(|t| closed.get(&t.flow));
        let times: u64 = of().map(|(e, _)| e.packets).total();
        let first = of().map(|(e, _)| e.first).min()?;
        let last = of().map(|(e, _)| e.last).max()?;
        let answered = |t: &Connection<'_>| t.answers.iter().any(|h| h.hop.first > first);
        let worked = attempts.tries.iter().any(answered);
        if worked || times < TRIES as u64 || last.saturating_sub(first) < SPAN {
            return None;
        }
        let link = facts.link(of().next()?.1)?;
        Some(Refusal {
            attempts: attempts.clone(),
            times,
            link,
            netns: link.peer_netns?,
        })
    };
    let udp = facts.attempts().iter().filter(|a| a.protocol == UDP);
    udp.filter_map(refused).collect()
}

/// Who listens in the pods that refuse.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    by_pods(facts).iter().map(Refusal::need).collect()
}

/// Fills in what the findings of these causes have in common.
pub fn tell(finding: &mut Finding, facts: &Facts<'_>, refusals: &[Refusal<'_>]) {
    for refusal in refusals {
        refusal.attempts.cover(&mut finding.scope);
    }
    for refusal in refusals.iter().take(10) {
        finding.evidence.push(resets(facts, refusal));
        finding.evidence.extend(drops(facts, refusal));
        finding.flows.push(refusal.attempts.refer());
        finding.pods.extend(refusal.attempts.pods(facts));
        finding.about.push(refusal.attempts.server);
    }
    finding.pods.sort();
    finding.pods.dedup();
    let attempts = || refusals.iter().map(|r| &r.attempts);
    let first = attempts().map(ConnectionGroup::first).min().unwrap_or(0);
    let last = attempts().map(ConnectionGroup::last).max().unwrap_or(0);
    finding.first_seen = facts.clock.text(first);
    finding.last_seen = facts.clock.text(last);
}

fn resets(facts: &Facts<'_>, refusal: &Refusal<'_>) -> Evidence {
    let attempts = &refusal.attempts;
    let client = facts.pod(attempts.client, PodRole::Source);
    let client = client.map_or_else(|| attempts.client.to_string(), |pod| label(&pod));
    let (times, link, target) = (refusal.times, &refusal.link.name, attempts.target());
    let (kind, text) = match refusal.udp() {
        true => (
            EvidenceKind::Unreachable,
            t!(
                "{times} times the pod behind {link} answered datagrams from {client} to {target} \
                 with \"port unreachable\", and none otherwise"
            ),
        ),
        false if refusal.netns == facts.node.netns => (
            EvidenceKind::Reset,
            t!("{times} connections from {client} to {target} reset by this node, none accepted"),
        ),
        false => (
            EvidenceKind::Reset,
            t!(
                "{times} connections from {client} to {target} reset by the pod behind {link}, none \
                 accepted"
            ),
        ),
    };
    let mut line = Evidence::new(kind, Origin::Observed, text);
    line.at = Some(link.clone());
    let by_us = refusal.netns == facts.node.netns;
    line.direction = Some(if by_us { "egress" } else { "ingress" }.into());
    line.packets = Some(times);
    let port = attempts.port;
    line.confirm = Some(match refusal.udp() {
        true => shell!(
            "timeout 10 tcpdump -c 5 -lni {v} 'icmp[0] == 3 or icmp6[0] == 1 or udp port {}'",
            link,
            port
        ),
        // tcp[…] is for IPv4 alone (pcap-filter(7)).
        false => shell!(
            "timeout 10 tcpdump -c 5 -lni {v} 'tcp src port {} and (tcp[13] & 4 != 0 or ip6[53] & 4 != 0)'",
            link,
            port
        ),
    });
    line
}

/// Of what ends there without a reason (Linux before 5.17) only this is answered with a reset.
fn met_no_socket(loss: &Loss) -> bool {
    let unnamed = loss.reason == "NOT_SPECIFIED" && loss.is_beside("tcp_v4_rcv");
    loss.reason == "NO_SOCKET" || unnamed
}

/// The kernel's own word for it.
fn drops(facts: &Facts<'_>, refusal: &Refusal<'_>) -> Option<Evidence> {
    let flows = || refusal.attempts.tries.iter().map(|t| t.flow);
    let own = |l: &&Loss| met_no_socket(l) && flows().any(|flow| flow == *l.flow());
    let mut lost = facts.losses.iter().filter(own).peekable();
    let like = *lost.peek()?;
    let location = like.symbol().to_owned();
    let packets: u64 = lost.map(|l| l.dropped.packets).total();
    let text = match refusal.netns == facts.node.netns {
        true => t!("{packets} of these dropped by this node: NO_SOCKET in {location}"),
        false => t!("{packets} of these dropped in the pod: NO_SOCKET in {location}"),
    };
    let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
    line.packets = Some(packets);
    line.reason = Some("NO_SOCKET".into());
    line.confirm = Some(dropped_like(like));
    line.location = Some(location);
    Some(line)
}

/// The rule in the pod that leads to a closed port.
pub fn led(facts: &Facts<'_>, refusal: &Refusal<'_>, redirect: &Redirect) -> Evidence {
    let (port, to) = (refusal.attempts.port, redirect.port);
    let text = t!(
        "connections to port {port} are led to port {to}, where nobody listens: {}",
        redirect.rule
    );
    let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, text);
    line.at = Some(refusal.link.name.clone());
    let list = redirect.list.command();
    line.confirm = list.map(|list| facts.node.inside(refusal.netns, list));
    line
}

/// What the pod's sockets are, as one line.
pub fn sockets(facts: &Facts<'_>, refusal: &Refusal<'_>, text: String) -> Evidence {
    let mut line = Evidence::new(EvidenceKind::Socket, Origin::Configured, text);
    line.at = Some(refusal.link.name.clone());
    let none = refusal.udp() && refusal.receivers(facts).is_some_and(<[_]>::is_empty);
    line.confirm = Some(match none {
        true => {
            let port = refusal.attempts.port;
            let list = shell!("ss -Hlunp sport = :{}", port).showing_nothing();
            facts.node.inside(refusal.netns, list)
        }
        false => refusal.list_sockets(facts),
    });
    line
}

pub fn list_sockets(facts: &Facts<'_>, netns: u32) -> CommandLine {
    facts.node.inside(netns, shell!("ss -ltnp"))
}

/// `*:8080 (nginx[42])`
pub fn describe(listener: &Listener) -> String {
    let at = if listener.address.is_unspecified() {
        format!("*:{}", listener.port)
    } else {
        endpoint(listener.address, listener.port)
    };
    match &listener.owner {
        Some(owner) => format!("{at} ({owner})"),
        None => at,
    }
}

#[cfg(test)]
mod tests;
