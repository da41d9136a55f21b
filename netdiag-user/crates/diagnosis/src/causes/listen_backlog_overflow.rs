//! # Symptom
//! Connections to a program hang and time out, or take one, three or seven seconds, although it runs and
//! listens. Established connections still work.
//!
//! # Mechanism
//! A listening socket queues completed handshakes until the program accepts them. When the queue exceeds
//! its backlog (the smaller of listen(2)'s argument and `net.core.somaxconn`), the kernel ignores further
//! SYNs and final ACKs, so clients retry later (tcp_v4_syn_recv_sock and tcp_conn_request in net/ipv4).
//! It sends nothing back.
//!
//! # Signals
//! Observed: `ListenOverflows` of that network namespace moves during the run, and the queue of a
//! listening socket there is full; SYNs to that port without an answer. Newer kernels report no drop for
//! it.
//!
//! # Look-alikes
//! `firewall-drop`: SYNs get no answer either, but the counter does not move. `ListenDrops` alone also
//! moves for other reasons. A short burst leaves no full queue behind and is no finding.
//!
//! # By hand
//! `nsenter -t PID -n nstat -asz TcpExtListenOverflows` and `nsenter -t PID -n ss -ltn`, with the PID of
//! the program: Recv-Q is above Send-Q.
//!
//! # Fix
//! Find out why the program accepts so slowly (stuck, out of threads or file descriptors, too few
//! replicas). If there are only bursts, raise the program's backlog, and `net.core.somaxconn` if that is
//! smaller.
use super::connection_groups::{self, ConnectionGroup};
use crate::{
    model::{
        gather::{Listener, Want},
        pod::label,
        total::Total,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRef, PodRole, Severity,
        },
    },
    need::{Need, Sufferer},
    pipeline::facts::Facts,
    shared::{losses::PATTERN, refusals},
    shell,
};
use netdiag_lang::{mark, t};

pub const ID: &str = "listen-backlog-overflow";
pub const TITLE: &str =
    mark!("a program accepts connections more slowly than they come: its queue is full");

const COUNTER: &str = "TcpExt.ListenOverflows";

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let need = |(netns, _)| {
        let pod = Sufferer::Namespace(netns);
        Need::of(Want::Listeners(netns), vec![pod])
    };
    overflows(facts).into_iter().map(need).collect()
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let overflows = overflows(facts);
    let full = overflows
        .iter()
        .filter_map(|(netns, count)| full(facts, *netns, *count));
    let all: Vec<_> = full.collect();
    let worst = all.iter().max_by_key(|o| o.count)?;
    let Listener {
        port,
        queued,
        backlog,
        ..
    } = worst.listener;
    let count = worst.count;
    let who = worst.who(facts);
    let summary = t!(
        "the queue of port {port} of {who} is full: {queued} connections wait to be accepted, \
         {backlog} may; {count} were turned away"
    );
    let mut finding = Finding::new(ID, Severity::Warning, Confidence::Confirmed, summary);
    for overflow in &all {
        overflow.tell(facts, &mut finding);
    }
    finding.pods.sort();
    finding.pods.dedup();
    finding.fix = worst.fix(facts);
    let tries = || all.iter().flat_map(|o| &o.tries);
    let first = tries()
        .map(ConnectionGroup::first)
        .min()
        .unwrap_or(facts.now);
    let last = tries()
        .map(ConnectionGroup::last)
        .max()
        .unwrap_or(facts.now);
    finding.first_seen = facts.clock.text(first);
    finding.last_seen = facts.clock.text(last);
    Some(finding)
}

/// Namespaces of this node and its pods where the counter moved, and by how much. Clients repeat
/// their SYNs: what is turned away less often than that passed by itself.
fn overflows(facts: &Facts<'_>) -> Vec<(u32, u64)> {
    let pods = facts.node.sides().map(|side| side.netns);
    let all = pods.chain([facts.node.netns]);
    let moved = all.filter_map(|netns| Some((netns, facts.moved(netns, COUNTER)?)));
    moved.filter(|(_, count)| *count >= PATTERN).collect()
}

/// A full queue.
struct Overflow<'a> {
    netns: u32,
    count: u64,
    listener: &'a Listener,
    /// Connections to it that got no answer.
    tries: Vec<ConnectionGroup<'a>>,
}

/// The fullest listener of a namespace; nothing where none is full now. The kernel turns away
/// when more wait than the backlog says (sk_acceptq_is_full).
fn full<'a>(facts: &Facts<'a>, netns: u32, count: u64) -> Option<Overflow<'a>> {
    let listeners = facts.gathered.listeners(netns)?.iter();
    let full = listeners.filter(|l| l.queued > l.backlog);
    let listener = full.max_by_key(|l| l.queued)?;
    let own = |a: &&ConnectionGroup<'_>| a.port == listener.port && lives_in(facts, a, netns);
    let tries = connection_groups::unanswered(facts).iter().filter(own);
    Some(Overflow {
        netns,
        count,
        listener,
        tries: tries.cloned().collect(),
    })
}

fn lives_in(facts: &Facts<'_>, attempts: &ConnectionGroup<'_>, netns: u32) -> bool {
    let side = facts.node.pod_side(netns);
    match side {
        Some(side) => side.addresses.contains(&attempts.server),
        None => facts.owns(attempts.server),
    }
}

impl Overflow<'_> {
    fn pod(&self, facts: &Facts<'_>) -> Option<PodRef> {
        let side = facts.node.pod_side(self.netns)?;
        let tried = self.tries.first().map(|a| a.server);
        let address = tried.or_else(|| side.addresses.first().copied())?;
        facts.pod(address, PodRole::Server)
    }

    fn who(&self, facts: &Facts<'_>) -> String {
        self.pod(facts)
            .map_or_else(|| t!("this node").into(), |pod| label(&pod))
    }

    fn tell(&self, facts: &Facts<'_>, finding: &mut Finding) {
        let who = self.who(facts);
        let text = t!("ListenOverflows of {who} moved by {}", self.count);
        let mut line = Evidence::new(EvidenceKind::Counter, Origin::Observed, text);
        line.packets = Some(self.count);
        let count = shell!("nstat -asz TcpExtListenOverflows");
        line.confirm = Some(facts.node.inside(self.netns, count));
        finding.evidence.push(line);
        let socket = refusals::describe(self.listener);
        let (queued, backlog) = (self.listener.queued, self.listener.backlog);
        let text = t!("{socket} has {queued} connections waiting and a backlog of {backlog}");
        let mut line = Evidence::new(EvidenceKind::Socket, Origin::Observed, text);
        line.limit = Some(backlog);
        line.confirm = Some(refusals::list_sockets(facts, self.netns));
        finding.evidence.push(line);
        finding.evidence.extend(self.silence());
        finding.pods.extend(self.pod(facts));
        for attempts in &self.tries {
            attempts.cover(&mut finding.scope);
        }
        for attempts in self.tries.iter().take(10) {
            finding.flows.push(attempts.refer());
            finding.pods.extend(attempts.pods(facts));
            finding.about.push(attempts.server);
        }
    }

    fn silence(&self) -> Option<Evidence> {
        let packets: u64 = self.tries.iter().map(ConnectionGroup::packets).total();
        let at = self
            .tries
            .iter()
            .flat_map(|a| a.tries.iter())
            .find_map(|t| t.last_seen())?;
        let (link, port) = (&at.interface, self.listener.port);
        let text = t!("{packets} SYNs to port {port} passed {link} and were not answered");
        let mut line = Evidence::new(EvidenceKind::Socket, Origin::Observed, text);
        line.at = Some(link.clone());
        line.packets = Some(packets);
        line.confirm = Some(shell!(
            "timeout 10 tcpdump -c 5 -lni {v} 'tcp port {} and (tcp[13] & 2 != 0 or ip6[53] & 2 != 0)'",
            link,
            port
        ));
        Some(line)
    }

    fn fix(&self, facts: &Facts<'_>) -> Fix {
        let program = self.listener.owner.as_deref().unwrap_or(t!("the program"));
        let (who, backlog) = (self.who(facts), self.listener.backlog);
        Fix {
            summary: t!(
                "find out why {program} in {who} does not accept in time (stuck, too few threads, \
                 out of file descriptors); for bursts, raise its backlog above {backlog}, and \
                 net.core.somaxconn where that is what limits it"
            ),
            commands: vec![
                facts
                    .node
                    .inside(self.netns, shell!("sysctl net.core.somaxconn")),
                refusals::list_sockets(facts, self.netns),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        model::{
            gather::Piece,
            node::{Counters, Node},
            observation::Observation,
        },
        testing::{POD_NETNS, ip, overlay_node, since},
    };

    fn node(count: u64) -> Node {
        let values = BTreeMap::from([(COUNTER.into(), count)]);
        Node {
            counters: vec![Counters {
                netns: POD_NETNS,
                values,
            }],
            ..overlay_node(1450, 1450, 1500)
        }
    }

    fn named(count: u64, queued: u32) -> usize {
        let listener = Listener {
            address: ip("0.0.0.0"),
            port: 80,
            device: 0,
            queued,
            backlog: 8,
            ipv6_only: false,
            owner: Some("slow[7]".into()),
        };
        let known = [(
            Want::Listeners(POD_NETNS),
            Ok(Piece::Listeners(vec![listener])),
        )];
        let reading = Observation::default();
        since(&node(100), &node(100 + count), &reading, known, |facts| {
            evaluate(facts).into_iter().count()
        })
    }

    #[test]
    fn the_counter_and_a_full_queue_make_the_cause() {
        assert_eq!(named(5, 9), 1);
        assert_eq!(named(0, 9), 0, "nobody was turned away");
        assert_eq!(named(5, 2), 0, "a burst that is over");
    }
}
