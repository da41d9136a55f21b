//! Connections that an entry of connection tracking leads to somebody who is gone, while the rules lead new ones elsewhere; and
//! answers that reach their client as they are, since connection tracking takes them for nothing that it knows.
use std::net::IpAddr;

use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use super::{
    AS_BAD,
    forgotten::family,
    story::{Story, each},
};
use crate::{
    model::{
        address::endpoint,
        flow::{TCP, ends, protocol},
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, Subject},
    },
    pipeline::facts::{Facts, Loss},
    shared::{
        losses::{self, DropGroup, PATTERN},
        story::dropped,
    },
    shell,
    unexplained::Symptoms,
};

/// Groups of a reading that are looked at, the busiest first.
const MOST: usize = 16;
/// What is over sooner is over before anybody looks at it.
const SPAN_NS: u64 = 2_000_000_000;
/// TCP's flags.
const SYN: u32 = 2;
const RST: u32 = 4;

/// Of those that this node drops.
pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    let lasts =
        |p: &DropGroup<'_>| p.packets() >= PATTERN && p.last().saturating_sub(p.first()) >= SPAN_NS;
    let mut gone = losses::shares(facts, |l| losses::nobody_answered(l) && !l.harmless);
    gone.retain(|p| lasts(p) && !p.reply);
    let gone = gone.into_iter().take(MOST);
    let gone = gone.filter_map(|p| led_to_nobody(facts, p));
    let mut back = losses::shares(facts, |l| is_untranslated_answer(facts, l));
    back.retain(lasts);
    let back = back.into_iter().take(MOST).map(|p| untranslated(facts, p));
    gone.chain(back).collect()
}

/// The flow as its client sent it.
fn asked(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Option<FlowKey> {
    let mut origins = pattern.losses.iter();
    origins.find_map(|l| Some(facts.legs().origin(l.flow())?.0))
}

/// Of those that leave this node for whoever was there.
pub fn beyond(facts: &Facts<'_>, symptoms: &Symptoms<'_>, findings: &[Finding]) -> Vec<Finding> {
    let left = symptoms.left(facts, findings);
    let led = left.filter(|symptom| symptom.asked > 0 && !symptom.answers);
    let old = led.take(MOST).filter_map(|symptom| {
        let (asked, _) = facts.legs().origin(&symptom.leg?)?;
        Some((Old::of(facts, asked, symptom.far())?, symptom))
    });
    each(facts, old, |case, old| old.tell(case.asked))
}

/// The rules lead whoever begins to others alone.
fn led_to_nobody(facts: &Facts<'_>, pattern: DropGroup<'_>) -> Option<Finding> {
    let old = Old::of(facts, asked(facts, &pattern)?, pattern.destination)?;
    let packets = pattern.packets();
    let story = old.tell(packets).confirmed();
    Some(dropped(facts, AS_BAD, &[pattern], story))
}

/// What entries still lead to somebody, and the rules to others.
#[derive(PartialEq)]
struct Old {
    server: (IpAddr, u16),
    protocol: u8,
    gone: IpAddr,
    now: Vec<IpAddr>,
}

impl Old {
    fn of(facts: &Facts<'_>, asked: FlowKey, gone: IpAddr) -> Option<Self> {
        let (_, server) = ends(&asked);
        let led = facts.led_to(&asked)?;
        let others = server != gone && !led.contains(&gone) && !led.contains(&server);
        let others = others && !led.is_empty();
        others.then_some(Self {
            server: (server, asked.destination_port),
            protocol: asked.protocol,
            gone,
            now: led.into_iter().collect(),
        })
    }

    fn what(&self) -> String {
        let (server, port) = self.server;
        format!("{} {}", protocol(self.protocol), endpoint(server, port))
    }

    fn now(&self) -> String {
        let now: Vec<String> = self.now.iter().map(IpAddr::to_string).collect();
        now.join(t!(", "))
    }

    fn tell(&self, packets: u64) -> Story {
        let (what, gone, now) = (self.what(), self.gone, self.now());
        let (server, port) = self.server;
        let summary = t!(
            "connection tracking still leads connections to {what} to {gone}, who does not answer, though the rules lead new ones to {now}: {packets} packets, none got through"
        );
        let text = t!("as the rules are, whoever begins with {what} is led to {now}");
        let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, text);
        let word = protocol(self.protocol);
        line.confirm = Some(shell!(
            "conntrack -L -f {} -p {} --orig-dst {} --reply-src {}",
            family(server),
            word,
            server,
            gone
        ));
        let delete = shell!(
            "conntrack -D -f {} -p {} --orig-dst {} --orig-port-dst {} --reply-src {}",
            family(server),
            word,
            server,
            port,
            gone
        );
        let fix = Fix {
            summary: t!(
                "delete these entries, or let the clients open new connections: nothing takes an entry away while its client goes on sending"
            )
            .into(),
            commands: vec![delete],
        };
        let because = t!("connection tracking still leads connections to {gone}");
        Story {
            blames: Some((Subject::Backend { address: gone }, Some(because))),
            ..Story::suspected(summary, [line], fix)
        }
    }
}

/// A segment of a server's own, which the client knows by another address.
fn is_untranslated_answer(facts: &Facts<'_>, loss: &Loss) -> bool {
    let flow = loss.flow();
    let later = flow.protocol == TCP && loss.dropped.tcp_flags & (SYN | RST) == 0;
    if !later || loss.reason != "NO_SOCKET" || loss.key.netns == facts.node.netns {
        return false;
    }
    let (server, client) = ends(flow);
    let own = facts.pod_side_of(client).map(|side| side.netns) == Some(loss.key.netns);
    let asked = facts.legs().origin(&flow.reversed());
    own && asked.is_some_and(|(asked, _)| ends(&asked).1 != server)
}

fn untranslated(facts: &Facts<'_>, pattern: DropGroup<'_>) -> Finding {
    let (server, client, packets) = (pattern.source, pattern.destination, pattern.packets());
    let mut losses = pattern.losses.iter();
    let asked = losses.find_map(|l| Some(facts.legs().origin(&l.flow().reversed())?.0));
    let asked = asked.map_or_else(String::new, |asked| {
        endpoint(ends(&asked).1, asked.destination_port)
    });
    let summary = t!(
        "segments of {server} reach {client} as they are, who asked {asked}, and are reset: connection tracking takes them for invalid and does not translate them back: {packets} packets"
    );
    let text = t!(
        "what is invalid is not translated: out of its window, as connection tracking sees it, or of a connection that it has let go of"
    );
    let mut line = Evidence::new(EvidenceKind::Sysctl, Origin::Configured, text);
    line.confirm = Some(shell!("sysctl net.netfilter.nf_conntrack_tcp_be_liberal"));
    let fix = Fix {
        summary: t!(
            "let connection tracking take segments out of the window, or drop what is invalid before it reaches a pod (kube-proxy's KUBE-FORWARD does): the client's reset ends a good connection"
        )
        .into(),
        commands: vec![
            shell!("conntrack -S"),
            shell!("sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1"),
        ],
    };
    let story = Story::suspected(summary, [line], fix).confirmed();
    dropped(facts, AS_BAD, &[pattern], story)
}

#[cfg(test)]
mod tests;
