//! What the causes about refused connections share: ports of this node's pods that refuse the
//! same client again and again.
use std::collections::BTreeSet;

use super::attempts::{self, Answerer, Attempts, Outcome};
use crate::{
    model::{
        address::endpoint,
        gather::{Listener, Reach, Want, reach},
        node::Link,
        pod::label,
        verdict::{Evidence, EvidenceKind, Finding, Origin, PodRef, PodRole, Severity},
    },
    pipeline::facts::{Facts, Loss},
};

/// A library tries three times or so before it tells its caller; a client that was refused this
/// often asks again and again.
pub const TRIES: usize = 5;

/// A burst within a moment is one call with its repetitions; a program that restarts is back
/// within seconds.
pub const SPAN: u64 = 3_000_000_000;

/// Refused connections of one client to one port of a pod.
pub struct Refusal<'a> {
    pub attempts: Attempts<'a>,
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

    /// Who listens in the pod, once that is known.
    pub fn listeners(&self, facts: &Facts<'a>) -> Option<&'a [Listener]> {
        facts.gathered.listeners(self.netns)
    }

    pub fn reach(&self, facts: &Facts<'a>) -> Option<Reach<'a>> {
        let listeners = self.listeners(facts)?;
        Some(reach(listeners, self.attempts.server, self.attempts.port))
    }

    /// What comes from the world by no Service of ours may be a scan.
    pub fn severity(&self, facts: &Facts<'_>) -> Severity {
        let client = self.attempts.client;
        let route = facts.node.route_to(client);
        let near = facts.pod(client, PodRole::Source).is_some()
            || facts.node.owns(client)
            || route.is_some_and(|r| r.destination.length > 0);
        let service = self.attempts.tries.iter().any(|t| t.was.is_some());
        if near || service {
            Severity::Warning
        } else {
            Severity::Info
        }
    }
}

/// Ports of pods here that refuse persistently, the most refused first.
pub fn by_pods<'a>(facts: &'a Facts<'a>) -> Vec<Refusal<'a>> {
    let refused = attempts::failing(facts, Outcome::Refused).into_iter();
    let mut all: Vec<_> = refused.filter_map(|a| by_pod(facts, a)).collect();
    all.sort_by_key(|r| std::cmp::Reverse(r.attempts.tries.len()));
    all
}

fn by_pod<'a>(facts: &'a Facts<'a>, attempts: Attempts<'a>) -> Option<Refusal<'a>> {
    if attempts.tries.len() < TRIES || attempts.span() < SPAN {
        return None;
    }
    let Answerer::Pod(index) = attempts.tries.last()?.answerer()? else {
        return None;
    };
    let link = facts.node.link(index)?;
    Some(Refusal {
        attempts,
        link,
        netns: link.peer_netns?,
    })
}

/// Who listens in the pods that refuse.
pub fn wants(facts: &Facts<'_>) -> Vec<Want> {
    let refusals = by_pods(facts);
    let namespaces: BTreeSet<u32> = refusals.iter().map(|r| r.netns).collect();
    namespaces.into_iter().map(Want::Listeners).collect()
}

/// Fills in what the findings of these causes have in common.
pub fn tell(finding: &mut Finding, facts: &Facts<'_>, refusals: &[Refusal<'_>]) {
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
    let first = attempts().map(Attempts::first).min().unwrap_or(0);
    let last = attempts().map(Attempts::last).max().unwrap_or(0);
    finding.first_seen = facts.clock.text(first);
    finding.last_seen = facts.clock.text(last);
}

fn resets(facts: &Facts<'_>, refusal: &Refusal<'_>) -> Evidence {
    let attempts = &refusal.attempts;
    let client = facts.pod(attempts.client, PodRole::Source);
    let client = client.map_or_else(|| attempts.client.to_string(), |pod| label(&pod));
    let (tries, link) = (attempts.tries.len(), &refusal.link.name);
    let text = format!(
        "{tries} connections from {client} to {} reset by the pod behind {link}, none accepted",
        attempts.target(),
    );
    let mut line = Evidence::new(EvidenceKind::Reset, Origin::Observed, text);
    line.at = Some(link.clone());
    line.direction = Some("ingress".into());
    line.packets = Some(tries as u64);
    let port = attempts.port;
    line.confirm = Some(format!(
        "tcpdump -ni {link} 'tcp src port {port} and tcp[13] & 4 != 0'"
    ));
    line
}

/// The kernel's own word for it.
fn drops(facts: &Facts<'_>, refusal: &Refusal<'_>) -> Option<Evidence> {
    let flows = || refusal.attempts.tries.iter().map(|t| t.flow);
    let own = |l: &&Loss| l.reason == "NO_SOCKET" && flows().any(|flow| flow == *l.flow());
    let mut lost = facts.losses.iter().filter(own).peekable();
    let location = lost.peek()?.symbol().to_owned();
    let packets: u64 = lost.map(|l| l.dropped.packets).sum();
    let text = format!("{packets} of these dropped in the pod: NO_SOCKET in {location}");
    let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
    line.packets = Some(packets);
    line.reason = Some("NO_SOCKET".into());
    line.location = Some(location);
    line.confirm = Some("perf trace -e skb:kfree_skb".into());
    Some(line)
}

/// What the pod's sockets are, as one line.
pub fn sockets(refusal: &Refusal<'_>, text: String) -> Evidence {
    let mut line = Evidence::new(EvidenceKind::Socket, Origin::Configured, text);
    line.at = Some(refusal.link.name.clone());
    line.confirm = Some(list_sockets(refusal.netns));
    line
}

pub fn list_sockets(netns: u32) -> String {
    format!("{} ss -ltnp", enter(netns))
}

/// Runs a command in a namespace that has no name: by one of its processes.
pub fn enter(netns: u32) -> String {
    format!("nsenter -n -t $(lsns -n -t net -o NS,PID | awk '$1=={netns}{{print $2}}')")
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
mod tests {
    use netdiag_common::{
        flow::FlowKey,
        hop::{self, ACK, RST, SYN},
    };

    use super::*;
    use crate::{
        causes::evaluate,
        model::{gather::Piece, observation::Observation},
        testing::{
            OVERLAY, POD_NETNS, at, from_pod, ip, overlay_node, tcp, with_facts, with_gathered,
        },
    };

    const SECOND: u64 = 1_000_000_000;

    /// So many tries, one a second, and what came back each time.
    fn tries(count: u16, back: u32) -> Observation {
        let mut observation = Observation {
            now: 60 * SECOND,
            ..Observation::default()
        };
        for n in 0..count {
            let flow = FlowKey {
                source_port: 50_000 + n,
                ..tcp("172.20.2.9", "172.20.1.5", 80)
            };
            let time = SECOND * u64::from(n + 1);
            let note = |flags: u32, time| {
                move |hop: &mut hop::FlowHop| {
                    (hop.first, hop.last, hop.flags) = (time, time, flags);
                    hop.syns = u32::from(flags == SYN);
                }
            };
            let request = at(flow, OVERLAY, false, 0, note(SYN, time));
            let answer = from_pod(flow.reversed(), note(back, time + 1));
            observation.flows.extend([request, answer]);
        }
        observation
    }

    fn named(observation: &Observation, listener: Option<&str>) -> Vec<String> {
        let listener = listener.map(|address| Listener {
            address: ip(address),
            port: 80,
            queued: 0,
            backlog: 128,
            ipv6_only: false,
            owner: None,
        });
        let piece = Piece::Listeners(listener.into_iter().collect());
        let known = [(Want::Listeners(POD_NETNS), Ok(piece))];
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, observation, known, |facts| {
            evaluate(facts).into_iter().map(|f| f.cause).collect()
        })
    }

    #[test]
    fn the_pods_sockets_tell_why_it_refuses() {
        let refused = tries(6, RST | ACK);
        assert_eq!(named(&refused, None), ["not-listening"]);
        assert_eq!(
            named(&refused, Some("127.0.0.1")),
            ["loopback-only-listener"]
        );
        assert_eq!(named(&refused, Some("172.20.1.6")), ["not-listening"]);
        assert_eq!(
            named(&refused, Some("0.0.0.0")),
            [""; 0],
            "it was something else"
        );
    }

    #[test]
    fn now_and_then_is_no_pattern() {
        assert_eq!(named(&tries(4, RST), None), [""; 0]);
        let mut burst = tries(9, RST);
        for (_, hop) in &mut burst.flows {
            hop.first /= 100;
        }
        assert_eq!(named(&burst, None), [""; 0], "one call and its repetitions");
        assert_eq!(named(&tries(6, SYN | ACK), None), [""; 0]);
    }

    #[test]
    fn without_the_sockets_there_is_no_guess() {
        let refused = tries(6, RST);
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &refused, |facts| {
            assert_eq!(wants(facts), [Want::Listeners(POD_NETNS)]);
            assert_eq!(evaluate(facts).len(), 0);
        });
    }
}
