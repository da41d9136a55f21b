//! Packets that go as they are though the rules translate who opens such a connection: connection tracking has let go of theirs,
//! or holds an entry that is older than the rules. They end where nobody expects them: at this node, which resets them, on a
//! link whose hosts have no such address, out in the world with a pod's own address.
use std::{collections::BTreeMap, net::IpAddr};

use netdiag_common::{flow::FlowKey, hop};
use netdiag_lang::t;

use super::ID;
use crate::{
    model::{
        address::endpoint,
        flow::{self, TCP, UDP, ends, protocol},
        roles::Role,
        shell::CommandLine,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, FlowRef, Origin, PodRole, Severity,
        },
    },
    pipeline::{
        connection_groups::{Connection, Outcome},
        facts::{Facts, HopFlow, Loss},
        owed::Translates,
    },
    shared::losses,
    shell,
};

/// Packets of one client to one server, at the least.
const PATTERN: u64 = 3;
/// What is over sooner is over before anybody looks at it.
const SPAN_NS: u64 = 2_000_000_000;
/// Conversations of a reading whose ways are computed, the busiest first.
const WALKED: usize = 16;
const FLOWS: usize = 10;
/// TCP's flags.
const SYN: u32 = 2;
const RST: u32 = 4;

/// Client, server, its port, protocol.
type Ends = (IpAddr, IpAddr, u16, u8);

/// What was seen of one client's packets to one server.
#[derive(Default)]
struct Seen<'f> {
    packets: u64,
    first: u64,
    last: u64,
    flow: Option<FlowKey>,
    losses: Vec<&'f Loss>,
    /// As it left this node.
    left: Option<&'f HopFlow>,
}

impl<'f> Seen<'f> {
    fn add(&mut self, flow: &FlowKey, packets: u64, (first, last): (u64, u64)) {
        self.first = if self.packets == 0 {
            first
        } else {
            self.first.min(first)
        };
        self.last = self.last.max(last);
        self.packets += packets;
        self.flow.get_or_insert(*flow);
    }

    fn is_a_pattern(&self) -> bool {
        self.packets >= PATTERN && self.last.saturating_sub(self.first) >= SPAN_NS
    }
}

/// Of one translation that they do without.
struct Forgotten<'f> {
    by: Translates,
    protocol: u8,
    all: Vec<(Ends, Seen<'f>)>,
}

pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    let mut seen = BTreeMap::new();
    lost(facts, &mut seen);
    left(facts, &mut seen);
    let mut seen: Vec<(Ends, Seen<'_>)> = seen.into_iter().collect();
    seen.retain(|(of, seen)| seen.is_a_pattern() && !lives_as_it_is(facts, of));
    seen.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.packets));
    let mut groups: Vec<Forgotten<'_>> = Vec::new();
    for (of, seen) in seen.into_iter().take(WALKED) {
        let Some(by) = seen.flow.and_then(|flow| facts.translates(&flow)) else {
            continue;
        };
        let same = |group: &&mut Forgotten<'_>| (group.by, group.protocol) == (by, of.3);
        match groups.iter_mut().find(same) {
            Some(group) => group.all.push((of, seen)),
            None => groups.push(Forgotten {
                by,
                protocol: of.3,
                all: vec![(of, seen)],
            }),
        }
    }
    groups.iter().map(|group| group.finding(facts)).collect()
}

/// What belongs to an open connection, and no socket or neighbour takes as it is.
fn lost<'f>(facts: &'f Facts<'_>, all: &mut BTreeMap<Ends, Seen<'f>>) {
    let here = |l: &Loss| l.reason == "NO_SOCKET" && l.key.netns == facts.node.netns;
    let later = |l: &Loss| l.flow().protocol == TCP && l.dropped.tcp_flags & (SYN | RST) == 0;
    let wanted = |l: &&Loss| {
        let fits = later(l) && (here(l) || losses::nobody_answered(l));
        fits && !l.harmless && l.forged.is_none() && is_ours(facts, l.flow())
    };
    for loss in facts.losses.iter().filter(wanted) {
        let flow = loss.flow();
        let dropped = &loss.dropped;
        let seen = all.entry(of(flow)).or_default();
        seen.add(flow, dropped.packets, (dropped.first, dropped.last));
        seen.losses.push(loss);
    }
}

/// What leaves this node as its sender sent it, and is not answered.
fn left<'f>(facts: &'f Facts<'_>, all: &mut BTreeMap<Ends, Seen<'f>>) {
    let leaves = |h: &&HopFlow| {
        let out = h.egress() && h.plain() && h.role == Some(Role::Uplink);
        out && is_ours(facts, h.flow()) && is_later(h) && !is_answered(facts, h)
    };
    for hop in facts.flows.iter().filter(leaves) {
        let seen = all.entry(of(hop.flow())).or_default();
        seen.add(hop.flow(), hop.hop.packets, (hop.hop.first, hop.hop.last));
        seen.left.get_or_insert(hop);
    }
}

/// Not what opens a connection; of datagrams each may.
fn is_later(hop: &HopFlow) -> bool {
    match hop.flow().protocol {
        TCP => hop.hop.flags & hop::SYN == 0 && hop.hop.retransmits > 0,
        UDP => true,
        _ => false,
    }
}

/// Since it left so: what it was before, somebody answered.
fn is_answered(facts: &Facts<'_>, left: &HopFlow) -> bool {
    let back = facts.journeys().get(&left.flow().reversed());
    back.is_some_and(|j| j.hops.iter().any(|h| h.hop.last >= left.hop.first))
}

/// A pod here sent it, not as an answer.
fn is_ours(facts: &Facts<'_>, flow: &FlowKey) -> bool {
    let (source, _) = ends(flow);
    facts.is_local_pod(source) && !facts.direction().is_answer(flow)
}

fn of(flow: &FlowKey) -> Ends {
    let (source, destination) = ends(flow);
    (source, destination, flow.destination_port, flow.protocol)
}

impl Forgotten<'_> {
    fn finding(&self, facts: &Facts<'_>) -> Finding {
        let ((client, server, port, _), worst) = &self.all[0];
        let packets: u64 = self.all.iter().map(|(_, seen)| seen.packets).total();
        let what = format!("{} {}", protocol(self.protocol), endpoint(*server, *port));
        let (why, ended) = (self.why(), ended(facts, worst));
        let summary = t!("{why}: {packets} packets from {client} to {what} {ended}");
        let data = self.all.iter().any(|(_, seen)| seen.has_data());
        let severity = match data {
            true => Severity::Warning,
            false => Severity::Info,
        };
        let mut finding = Finding::new(ID, severity, Confidence::Suspected, summary);
        finding.evidence.push(self.observed(worst, ended));
        finding.evidence.push(self.configured(facts));
        self.conversations(facts, &mut finding);
        finding.fix = self.fix(facts);
        finding
    }

    fn why(&self) -> &'static str {
        match (self.protocol, self.by.destination) {
            (UDP, _) => t!(
                "an entry of connection tracking is older than the rules that translate such datagrams"
            ),
            (_, true) => t!(
                "connection tracking has let go of connections that their ends still use, and does not lead them on"
            ),
            (_, false) => t!(
                "connection tracking has let go of connections that their ends still use, and does not translate their source"
            ),
        }
    }

    fn observed(&self, worst: &Seen<'_>, ended: String) -> Evidence {
        let packets = worst.packets;
        let text = t!("{packets} of one client's packets went as they were sent, and {ended}");
        let kind = if worst.losses.is_empty() {
            EvidenceKind::Route
        } else {
            EvidenceKind::Drop
        };
        let mut line = Evidence::new(kind, Origin::Observed, text);
        line.packets = Some(packets);
        if let Some(loss) = worst.losses.first() {
            line.reason = Some(loss.reason.clone());
            line.location = Some(loss.symbol().to_owned());
            line.confirm = Some(losses::dropped_like(loss));
        }
        if let Some(left) = worst.left {
            line.at = Some(left.interface.clone());
            line.direction = Some("egress".into());
            line.confirm = Some(shell!(
                "timeout 10 tcpdump -c 5 -lnni {v} dst host {}",
                left.interface,
                ends(left.flow()).1
            ));
        }
        line
    }

    /// What the rules say.
    fn configured(&self, facts: &Facts<'_>) -> Evidence {
        let (_, server, port, _) = self.all[0].0;
        let text = match self.by.destination {
            true => t!(
                "as the rules are, whoever begins with {} is led to somebody else",
                endpoint(server, port)
            ),
            false => t!(
                "as the rules are, whoever begins with {} leaves with another source",
                endpoint(server, port)
            ),
        };
        let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, text);
        line.confirm = Some(self.list(facts));
        line
    }

    fn list(&self, facts: &Facts<'_>) -> CommandLine {
        let (client, server, port, protocol) = self.all[0].0;
        let list = shell!(
            "conntrack -L -f {} -p {} -s {} -d {} --dport {}",
            family(server),
            flow::protocol(protocol),
            client,
            server,
            port
        );
        facts.node.inside(self.by.netns, list)
    }

    fn conversations(&self, facts: &Facts<'_>, finding: &mut Finding) {
        for ((client, server, port, protocol), seen) in self.all.iter().take(FLOWS) {
            finding.flows.push(FlowRef {
                protocol: flow::protocol(*protocol),
                source: client.to_string(),
                destination: endpoint(*server, *port),
                packets: seen.packets,
                last_seen_at: seen.left.map(|hop| hop.interface.clone()),
                ..FlowRef::default()
            });
            finding.pods.extend(facts.pod(*client, PodRole::Source));
            finding.about.push(*server);
        }
        for ((client, server, port, protocol), _) in &self.all {
            finding.scope.add(*protocol, (*client, 0), (*server, *port));
        }
        finding.pods.sort();
        finding.pods.dedup();
        let first = self.all.iter().map(|(_, seen)| seen.first).min();
        let last = self.all.iter().map(|(_, seen)| seen.last).max();
        finding.first_seen = facts.clock.text(first.unwrap_or(0));
        finding.last_seen = facts.clock.text(last.unwrap_or(0));
    }

    fn fix(&self, facts: &Facts<'_>) -> Fix {
        let (client, server, port, protocol) = self.all[0].0;
        let inside = |command| facts.node.inside(self.by.netns, command);
        if protocol == UDP {
            let delete = shell!(
                "conntrack -D -f {} -p udp -s {} -d {} --dport {}",
                family(server),
                client,
                server,
                port
            );
            return Fix {
                summary: t!(
                    "delete the entry: the next datagram is translated as the rules are now; whoever changes such rules has to delete what they make wrong (kube-proxy does, where it can)"
                )
                .into(),
                commands: vec![self.list(facts), inside(delete)],
            };
        }
        Fix {
            summary: t!(
                "let the programs send keepalives more often than connection tracking's timeout for that state, or raise it: they were idle for longer, half closed, or the table was flushed"
            )
            .into(),
            commands: vec![
                inside(shell!(
                    "sysctl net.netfilter.nf_conntrack_tcp_timeout_established \
                     net.netfilter.nf_conntrack_tcp_timeout_close_wait \
                     net.netfilter.nf_conntrack_tcp_loose"
                )),
                self.list(facts),
            ],
        }
    }
}

impl Seen<'_> {
    /// More than the end of a connection.
    fn has_data(&self) -> bool {
        const PSH: u32 = 8;
        let carries = |h: &HopFlow| h.flow().protocol != TCP || h.hop.payload > 0;
        self.left.is_some_and(carries) || self.losses.iter().any(|l| l.dropped.tcp_flags & PSH != 0)
    }
}

/// As conntrack(8) names it.
pub fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    }
}

/// What became of them.
fn ended(facts: &Facts<'_>, seen: &Seen<'_>) -> String {
    let Some(loss) = seen.losses.first() else {
        let by = seen.left.map_or("", |hop| hop.interface.as_str());
        return t!("leave by {by} untranslated, unanswered");
    };
    match loss.key.netns == facts.node.netns && loss.reason == "NO_SOCKET" {
        true => t!("end at this node itself, which resets them").into(),
        false => t!("look on the link for an address that nobody there has").into(),
    }
}

/// What is answered as it is needs no translation, whatever the rules say.
fn lives_as_it_is(facts: &Facts<'_>, (_, server, port, protocol): &Ends) -> bool {
    let mut tries = facts.attempts().iter().flat_map(|all| all.tries.iter());
    let same = |flow: &FlowKey| {
        let to = (ends(flow).1, flow.destination_port, flow.protocol);
        to == (*server, *port, *protocol)
    };
    let lives = |tried: &Connection<'_>| {
        same(&tried.flow) && tried.outcome == Outcome::Accepted && tried.goes_as_it_is(facts)
    };
    tries.any(lives)
}

#[cfg(test)]
mod tests;
