//! What a rule takes is what tells a sender to send smaller packets (RFC 1191, RFC 4443): its flows
//! hang, and no packet of theirs is dropped here.
use std::{collections::BTreeMap, fmt, net::IpAddr};

use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use super::DropGroup;
use crate::{
    model::{
        address::from_wire,
        flow,
        gather::Rule,
        icmp,
        total::Total,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::facts::Facts,
    shell,
};

/// Errors of one router about one sender's packets.
pub struct TooBig {
    name: String,
    mtu: u32,
    router: IpAddr,
    sender: IpAddr,
    packets: u64,
    /// The flow that most of them are about.
    about: FlowKey,
}

/// Where most of what died is that.
pub fn of(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Option<TooBig> {
    // The node itself tells its pods so, and asks them by other packets as well.
    let echo = pattern.losses.iter().any(|l| l.flow().source_port != 0);
    if !matches!(pattern.protocol, 1 | 58) || echo {
        return None;
    }
    let (router, sender) = (pattern.source, pattern.destination);
    let mut counts: BTreeMap<FlowKey, (u64, u32)> = BTreeMap::new();
    for (key, error) in facts.icmp_errors {
        let about = &key.about;
        let ends = (from_wire(key.sender), from_wire(about.source)) == (router, sender);
        if ends && icmp::too_big(about.family, key.kind, key.code) {
            // One that passes several hops counts once.
            let count = counts.entry(*about).or_default();
            *count = (error.packets.max(count.0), error.mtu);
        }
    }
    let packets = counts.values().map(|(packets, _)| *packets).total();
    let (about, (_, mtu)) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let (kind, code) = if about.family == 4 { (3, 4) } else { (2, 0) };
    (packets.saturating_mul(2) >= pattern.packets()).then(|| TooBig {
        name: icmp::name(about.family, kind, code),
        mtu,
        router,
        sender,
        packets,
        about,
    })
}

impl fmt::Display for TooBig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = t!("\"{}\" (MTU {}) for {}", self.name, self.mtu, self.sender);
        f.write_str(&text)
    }
}

impl TooBig {
    /// What comes of it.
    pub fn harm(&self) -> String {
        let (protocol, destination) = (
            flow::protocol(self.about.protocol),
            flow::endpoints(&self.about).1,
        );
        t!("; its packets to {protocol} {destination} stay too large and are lost there")
    }

    pub fn evidence(&self) -> Evidence {
        let protocol = flow::protocol(self.about.protocol);
        let (source, destination) = flow::endpoints(&self.about);
        let text = t!(
            "{} says \"{}\", MTU {}, about {protocol} {source} → {destination}",
            self.router,
            self.name,
            self.mtu
        );
        let mut line = Evidence::new(EvidenceKind::Unreachable, Origin::Observed, text);
        line.packets = Some(self.packets);
        line.limit = Some(self.mtu);
        line.confirm = Some(match self.about.family {
            4 => shell!("timeout 10 tcpdump -c 5 -lnni any 'icmp[0] == 3 and icmp[1] == 4'"),
            _ => shell!("timeout 10 tcpdump -c 5 -lnni any 'icmp6[0] == 2'"),
        });
        line
    }

    /// The rule may keep out all else.
    pub fn fix(&self, rules: &[&Rule]) -> Fix {
        let first = rules.first();
        let before = first.map_or_else(String::new, |rule| {
            t!(" before this rule of {}", rule.place)
        });
        let commands = first.map(|rule| [rule.list(), rule.let_too_big_pass(self.about.family)]);
        Fix {
            summary: t!(
                "let \"{}\" pass{before}, or what conntrack calls related: all else may stay out",
                self.name
            ),
            commands: commands.into_iter().flatten().flatten().collect(),
        }
    }
}
