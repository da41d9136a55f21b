//! # Symptom
//! Names do not resolve in pods: lookups hang for 5 to 10 s and fail with "temporary failure in name
//! resolution" or "i/o timeout". Connections to addresses work.
//!
//! # Mechanism
//! Queries to the cluster's name server (its Service address or its pods) get no answer: the server hangs
//! or is gone, or queries or answers are lost on the way.
//!
//! # Signals
//! Observed: queries for cluster names to the cluster's name server, again and again, and no answer from
//! it to that client since the first of them. The links that the queries passed show how far they got;
//! drops on this node and ICMP errors show what stopped them. Three things identify the cluster's name
//! server: it answers cluster names, the pods' resolv.conf names it, the pods query it.
//!
//! # Look-alikes
//! One query in a hundred is lost, or the names do not exist: answers come. `dns-upstream-failing`: the
//! server answers cluster names and no others. `dns-misconfigured`: the pod asks another server. If a
//! firewall, an overlay or a missing route drops these very queries, that cause is the root and this one
//! appears below it.
//!
//! # By hand
//! `nsenter -t PID -n dig @SERVER kubernetes.default.svc.cluster.local` asks from the pod (PID is any of
//! its processes). Meanwhile run `tcpdump -nni LINK udp port 53` on each link of the path: the query is
//! lost after the last link that shows it.
//!
//! # Fix
//! Repair what comes after the last link: the server's pod, its node, or the path there. If both pods are
//! on isolated ports of one bridge, the printed command takes the server's port out of isolation.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::{dns::PORT, hop::PLAIN};
use netdiag_lang::{mark, t};

use crate::{
    model::{
        address::from_wire,
        flow::{UDP, ends},
        pod::label,
        roles::Role,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRef, PodRole, Severity,
            Subject,
        },
    },
    need::Need,
    pipeline::facts::{Facts, HopFlow, Loss, Question},
    shared::{
        dns::{self, Hop, Picture, Silence},
        isolation::{self, Isolation},
        losses::nobody_answered,
        overlay,
    },
    shell,
};

pub const ID: &str = "dns-unreachable";
pub const TITLE: &str = mark!("queries to the cluster's name server get no answer");

/// ICMP and ICMPv6 say "port unreachable" by these (RFC 792, RFC 4443).
const PORT_UNREACHABLE: [(u8, u8); 2] = [(3, 3), (1, 4)];

/// Where queries end on this node for no reason that is seen yet, a next hop that does not answer
/// may be the root: that is only known after two rounds of asking it, each of 3 s
/// (mcast_solicit).
const HERE_NS: u64 = 10_000_000_000;

/// Which servers pods are told to ask, once one keeps silent.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let picture = facts.picture();
    let silent = picture.askings.iter().filter_map(dns::Asking::silence);
    let silent = silent.filter(|s| s.lasts(facts.now));
    dns::need(silent.flat_map(|s| s.questions))
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let picture = facts.picture();
    let silent = silences(facts, picture);
    let named = picture.named();
    let worst = silent
        .iter()
        .max_by_key(|s| (named.contains(&s.server), s.asked))?;
    let same: Vec<_> = silent.iter().filter(|s| s.server == worst.server).collect();
    let server = worst.server;
    let mut servers: BTreeSet<IpAddr> = silent.iter().map(|s| s.server).collect();
    servers.extend(picture.behind(server));
    let since = same.iter().map(|s| s.since).min()?;
    let losses = dns::losses(facts, &servers, since);
    let mut end = End::of(facts, worst, &servers);
    let neighbour = losses.iter().any(|l| nobody_answered(l));
    let here = matches!(end.place, Place::Here(_)) && (losses.is_empty() || neighbour);
    if here && facts.now.saturating_sub(since) < HERE_NS {
        return None;
    }
    if let (Place::Here(_), Some((at, reason))) = (&end.place, died(&losses)) {
        end.place = Place::Died(at, reason);
    }
    if matches!(end.place, Place::Here(_) | Place::Died(..)) {
        let mut apart = servers.iter();
        let apart = apart.find_map(|server| isolation::between(facts, worst.client, *server));
        end.place = apart.map_or(end.place, Place::Isolated);
    }
    let asked: u64 = same.iter().map(|s| s.asked).total();
    let answers = |a: &dns::Asking<'_>| a.server == server && a.last_answer() > since;
    let (severity, others) = match picture.askings.iter().any(answers) {
        true => (Severity::Warning, t!(", while it answers others")),
        false => (Severity::Critical, ""),
    };
    let clusters = picture.is_known(server) || facts.pod(server, PodRole::Server).is_some();
    let named = match clusters {
        true => t!("the cluster's name server {server}"),
        false => t!("the name server {server}"),
    };
    let summary = t!(
        "{named} does not answer {}: {asked} queries, no answer{others}; {}",
        who(facts, &same),
        end.text(),
    );
    let mut finding = Finding::new(ID, severity, Confidence::Confirmed, summary);
    finding.evidence = evidence(facts, worst, &end);
    finding.evidence.extend(dns::loss_evidence(&losses));
    finding.pods = pods(facts, &silent, &servers);
    let at = end.last.as_deref();
    finding.flows = silent.iter().take(10).map(|s| s.refer(at)).collect();
    for silence in &silent {
        let server = (silence.server, PORT);
        finding.scope.add(UDP, (silence.client, 0), server);
    }
    finding.fix = fix(worst, &end);
    finding.about = dns::about(facts, &servers);
    for address in &servers {
        let because = t!("the sidecar's lookups go to {address}");
        let address = *address;
        finding.ties.blame(Subject::NameServer { address }, because);
    }
    finding.ties.suffers = Some(dns::suffers(&servers, &finding.about));
    let clients = silent.iter().map(|s| s.client);
    let all: BTreeSet<IpAddr> = clients.chain(servers.iter().copied()).collect();
    let peers = all.iter().filter_map(|a| overlay::peer_towards(facts, *a));
    for address in peers.collect::<BTreeSet<_>>() {
        finding.ties.rest_on(Subject::Vtep { address });
    }
    finding.first_seen = facts.clock.text(since);
    finding.last_seen = facts.clock.text(silent.iter().map(|s| s.last).max()?);
    Some(finding)
}

/// What the cluster's servers leave unanswered for a while, cluster names among it: those they
/// know by themselves.
fn silences<'a>(facts: &Facts<'_>, picture: &Picture<'a>) -> Vec<Silence<'a>> {
    let all = picture.askings.iter().filter_map(dns::Asking::silence);
    let judged = all.filter(|s| {
        if picture.is_dead_outside(facts, s) && facts.now.saturating_sub(s.since) >= HERE_NS {
            return s.lasts(facts.now);
        }
        let cluster = s.questions.iter().any(|q| picture.is_cluster_name(&q.name));
        cluster && s.lasts(facts.now) && picture.is_cluster_dns(s.server)
    });
    judged.collect()
}

/// Where the questions end, as far as this node sees.
struct End {
    /// The last link that they passed.
    last: Option<String>,
    /// The last one on which they are not inside a tunnel's packets.
    plain: Option<String>,
    place: Place,
}

enum Place {
    /// Something says that the port is closed.
    Refused(IpAddr),
    /// Answers came back to this link.
    AnswersLost(String),
    /// On the link of the server's own pod.
    Server(PodRef),
    /// Out of this node.
    Left(String),
    /// Somewhere on it.
    Here(String),
    /// Dropped on this node at that link, for that reason.
    Died(String, String),
    /// Between two ports of a bridge that are kept apart.
    Isolated(Isolation),
}

impl End {
    fn of(facts: &Facts<'_>, silence: &Silence<'_>, servers: &BTreeSet<IpAddr>) -> Self {
        let way = dns::way(facts, silence);
        let last = way.last();
        let name = |hop: &Hop<'_>| hop.at.interface.clone();
        let own = last.and_then(|h| facts.pod(h.at.server, PodRole::Server));
        let place = match (refused(facts, servers, silence.since), last) {
            (Some(by), _) => Place::Refused(by),
            (None, Some(hop)) => match way.iter().find(|h| h.answered) {
                Some(answered) => Place::AnswersLost(name(answered)),
                None => match own.filter(|p| p.interface.as_ref() == Some(&hop.at.interface)) {
                    Some(pod) => Place::Server(pod),
                    None if leaves(facts, hop.at) => Place::Left(name(hop)),
                    None => Place::Here(name(hop)),
                },
            },
            (None, None) => Place::Here(t!("its own link").into()),
        };
        Self {
            last: last.map(name),
            plain: way.iter().rfind(|h| h.at.key.carried == PLAIN).map(name),
            place,
        }
    }

    fn text(&self) -> String {
        match &self.place {
            Place::Refused(by) => t!("{by} says that nothing listens there"),
            Place::AnswersLost(at) => {
                t!("answers come back as far as {at} and are lost from there on")
            }
            Place::Server(pod) => {
                t!(
                    "the queries reach its pod {}, which says nothing",
                    label(pod)
                )
            }
            Place::Left(at) => t!("the queries leave this node by {at}, nothing comes back"),
            Place::Here(at) => t!("the queries were last seen at {at}, on this node"),
            Place::Died(at, reason) => {
                t!("the queries are dropped at {at}, on this node ({reason})")
            }
            Place::Isolated(apart) => apart.text(),
        }
    }
}

/// Whether that uplink sent it, and did not only take it in, as of another node's pod.
fn leaves(facts: &Facts<'_>, question: &Question) -> bool {
    let asks = |h: &&HopFlow| {
        let flow = h.flow();
        h.key.ifindex == question.key.ifindex
            && flow.protocol == UDP
            && flow.destination_port == PORT
            && ends(flow) == (question.client, question.server)
    };
    let mut seen = facts.flows.iter().filter(asks).peekable();
    // Flows may be forgotten before questions are.
    let unknown = seen.peek().is_none();
    question.role == Some(Role::Uplink) && (unknown || seen.any(HopFlow::egress))
}

/// The link at which most of them are dropped, and the reason.
fn died(losses: &[&Loss]) -> Option<(String, String)> {
    let most = losses.iter().max_by_key(|l| l.dropped.packets)?;
    Some((most.interface.clone()?, most.reason.clone()))
}

/// Who says that the server's port is closed.
fn refused(facts: &Facts<'_>, servers: &BTreeSet<IpAddr>, since: u64) -> Option<IpAddr> {
    let errors = facts.icmp_errors.iter().filter(|(key, error)| {
        PORT_UNREACHABLE.contains(&(key.kind, key.code))
            && key.about.destination_port == PORT
            && servers.contains(&from_wire(key.about.destination))
            && error.last >= since
    });
    errors.map(|(key, _)| from_wire(key.sender)).next()
}

fn evidence(facts: &Facts<'_>, silence: &Silence<'_>, end: &End) -> Vec<Evidence> {
    let mut lines = Vec::new();
    let line = |text: String, packets: u64, at: &str| {
        let mut line = Evidence::new(EvidenceKind::Dns, Origin::Observed, text);
        line.packets = Some(packets);
        line.at = Some(at.to_owned());
        line.confirm = Some(shell!(
            "timeout 10 tcpdump -c 5 -lnni {v} udp port {}",
            at,
            PORT
        ));
        line
    };
    for hop in dns::way(facts, silence) {
        let (at, asked) = (&hop.at.interface, hop.asked);
        let text = match hop.answered {
            true => t!(
                "{at}: answers from {} to {} came back",
                hop.at.server,
                hop.at.client
            ),
            false => t!(
                "{at}: {asked} queries from {} to {}, no answer ({})",
                hop.at.client,
                hop.at.server,
                hop.at.name
            ),
        };
        let mut line = line(text, asked, at);
        if hop.at.key.carried != PLAIN {
            line.confirm = None;
        }
        lines.push(line);
    }
    if let Place::Isolated(apart) = &end.place {
        lines.push(apart.evidence());
    }
    if let Place::Refused(by) = &end.place {
        let text = t!("{by} answers them by ICMP: port unreachable");
        let at = end.last.as_deref().unwrap_or_default();
        let mut refused = line(text, silence.asked, at);
        refused.kind = EvidenceKind::Unreachable;
        lines.push(refused);
    }
    lines
}

fn who(facts: &Facts<'_>, silences: &[&Silence<'_>]) -> String {
    let Some(first) = silences.first() else {
        return String::new();
    };
    let name = facts
        .pod(first.client, PodRole::Source)
        .map_or_else(|| first.client.to_string(), |p| label(&p));
    match silences.len() {
        1 => name,
        n => t!("{name} and {} more", n - 1),
    }
}

fn pods(facts: &Facts<'_>, silences: &[Silence<'_>], servers: &BTreeSet<IpAddr>) -> Vec<PodRef> {
    let clients = silences.iter().map(|s| (s.client, PodRole::Source));
    let servers = servers.iter().map(|s| (*s, PodRole::Server));
    let known = clients.chain(servers);
    let pods: BTreeSet<_> = known.filter_map(|(a, role)| facts.pod(a, role)).collect();
    pods.into_iter().collect()
}

fn fix(silence: &Silence<'_>, end: &End) -> Fix {
    let (server, client) = (silence.server, silence.client);
    let mut commands = Vec::new();
    let summary = match &end.place {
        Place::Refused(by) => t!(
            "start the name server again: nothing listens on UDP {PORT} at {by} \
             (kubectl -n kube-system get pods -o wide)"
        ),
        Place::Server(pod) => {
            if let (Some(namespace), Some(name)) = (&pod.namespace, &pod.name) {
                commands.push(shell!("kubectl -n {v} logs {}", namespace, name));
                commands.push(shell!("kubectl -n {v} delete pod {}", namespace, name));
            }
            t!(
                "the name server's process in {} hangs: read its log, then replace the pod",
                label(pod)
            )
        }
        Place::AnswersLost(at) => {
            t!("find what takes the answers between {at} and {client}")
        }
        Place::Left(at) => t!(
            "look on the node of {server}: whether the queries that leave by {at} arrive there, \
             and whether the name server answers"
        ),
        Place::Here(at) => t!("find what takes the queries behind {at} on this node"),
        Place::Died(at, reason) => {
            let explain = shell!("netdiag explain {}", reason);
            let explain = explain.told_or(t!("netdiag explains its reason"));
            t!("find why this node drops the queries at {at}: {explain}")
        }
        Place::Isolated(apart) => {
            commands.push(apart.lift());
            apart.advice()
        }
    };
    if let Some(at) = &end.plain {
        commands.push(shell!(
            "timeout 10 tcpdump -c 5 -lnni {v} udp port {}",
            at,
            PORT
        ));
    }
    let question = silence.questions.first();
    commands.extend(question.and_then(|q| dns::ask(server, &q.name)));
    Fix { summary, commands }
}

#[cfg(test)]
mod tests;
