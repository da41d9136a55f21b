//! A pod behind a port of a bridge that lets nothing pass: switched off by somebody, or held back by the spanning tree
//! (IEEE 802.1D; net/bridge/br_stp.c). Or behind one that hands on no questions for many (bridge(8), `bcast_flood`,
//! `mcast_flood`).
use std::net::IpAddr;

use netdiag_lang::t;

use super::losses::{self, PATTERN};
use crate::{
    model::{
        gather::Want,
        node::{Link, PodSide},
        shell::CommandLine,
        total::Total,
        verdict::{Evidence, EvidenceKind, Fix, Origin, Subject},
        world::{
            Stack,
            device::{Bridge, Kind, Port, PortState},
        },
    },
    need::Need,
    pipeline::facts::{Facts, Loss},
    shell,
};

pub struct HeldPort<'a> {
    port: &'a Link,
    stops: Stops,
}

/// What does not pass there.
enum Stops {
    All {
        state: PortState,
        /// The kernel's spanning tree sets it.
        tree: bool,
    },
    /// Of others' questions, by which switch.
    Questions(&'static str),
}

/// The state of the ports, where a pod's neighbours do not answer; and the rules, where they lead to one who does not.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let inside = |netns: u32| facts.node.pod_side(netns).is_some();
    let led = |l: &Loss| facts.legs().origin(l.flow()).is_some();
    let of_us = |l: &&Loss| losses::nobody_answered(l) && (inside(l.key.netns) || led(l));
    let silent = facts.losses.iter().filter(of_us);
    let packets: u64 = silent.map(|l| l.dropped.packets).total();
    let state = Need::detail(Want::Stack(facts.node.netns));
    (packets >= PATTERN).then_some(state).into_iter().collect()
}

impl<'a> HeldPort<'a> {
    /// That of the pod with the address, or of the one that asks for it.
    pub fn of(facts: &Facts<'a>, address: IpAddr, asker: Option<&'a PodSide>) -> Option<Self> {
        let stack = facts.gathered.stack(facts.node.netns)?;
        let asked = facts.pod_side_of(address);
        let held = [asked, asker].into_iter().flatten().find_map(|side| {
            let (link, port, bridge) = port_of(facts, stack, side)?;
            // Without a signal the kernel disables it; and where the spanning tree decides, it listens and learns for a while.
            let held = matches!(port.state, PortState::Disabled | PortState::Blocking);
            let stops = Stops::All {
                state: port.state,
                tree: bridge.is_none_or(|bridge| bridge.stp),
            };
            (held && link.up && link.carrier).then_some(Self { port: link, stops })
        });
        held.or_else(|| {
            // What the node itself asks many goes to all.
            let others = asker.is_some_and(|asker| asked.is_some_and(|it| it.netns != asker.netns));
            let (link, port, bridge) = port_of(facts, stack, asked.filter(|_| others)?)?;
            // Who snoops knows to whom a question for many goes.
            let off = match address {
                IpAddr::V4(_) => (!port.broadcast_flood).then_some("bcast_flood"),
                IpAddr::V6(_) => {
                    let flooded = port.multicast_flood || bridge?.multicast_snooping;
                    (!flooded).then_some("mcast_flood")
                }
            };
            let stops = Stops::Questions(off?);
            Some(Self { port: link, stops })
        })
    }

    pub fn text(&self) -> String {
        let port = &self.port.name;
        match self.stops {
            Stops::All { state, .. } => {
                let word = word(state);
                t!("the bridge's port {port} is {word}: no frame passes there")
            }
            Stops::Questions(off) => {
                t!(
                    "the bridge's port {port}, behind which it is, hands on no questions ({off} off)"
                )
            }
        }
    }

    pub fn subject(&self) -> Subject {
        let name = self.port.name.clone();
        Subject::Link { name }
    }

    pub fn evidence(&self) -> Evidence {
        let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, self.text());
        let shows = match self.stops {
            Stops::All { state, .. } => format!("state {}", word(state)),
            Stops::Questions(off) => format!("{off} off"),
        };
        line.confirm = Some(self.shown().showing(&[&shows]));
        line.at = Some(self.port.name.clone());
        line
    }

    fn shown(&self) -> CommandLine {
        shell!("bridge -d link show dev {}", self.port.name)
    }

    pub fn fix(&self) -> Fix {
        let port = &self.port.name;
        match self.stops {
            Stops::All { state, tree } => {
                let open = state == PortState::Disabled && !tree;
                let set = open.then(|| shell!("bridge link set dev {} state 3", port));
                Fix {
                    summary: t!(
                        "let {port} forward again, and find out what set its state (a loop guard, the spanning tree): where frames would go in a circle, that is to be mended first"
                    ),
                    commands: [Some(self.shown()), set].into_iter().flatten().collect(),
                }
            }
            Stops::Questions(off) => Fix {
                summary: t!(
                    "let {port} hand on what is for many, or whoever switched it off has to answer for the pod (neigh_suppress) or make the neighbours' entries: find out who it was"
                ),
                commands: vec![
                    self.shown(),
                    shell!("bridge link set dev {} {} on", port, off),
                ],
            },
        }
    }
}

/// The link of a pod that is a bridge's port, as such, and the bridge where it is known.
fn port_of<'a>(
    facts: &Facts<'a>,
    stack: &'a Stack,
    side: &PodSide,
) -> Option<(&'a Link, &'a Port, Option<&'a Bridge>)> {
    let mut links = facts.node.links.iter();
    let link = links.find(|l| l.peer_netns == Some(side.netns))?;
    let port = stack.device(link.index)?.port.as_ref()?;
    let bridge = match &stack.device(link.master?)?.kind {
        Kind::Bridge(bridge) => Some(bridge),
        _ => None,
    };
    Some((link, port, bridge))
}

/// As `bridge` writes it.
fn word(state: PortState) -> &'static str {
    match state {
        PortState::Disabled => "disabled",
        PortState::Listening => "listening",
        PortState::Learning => "learning",
        PortState::Forwarding => "forwarding",
        PortState::Blocking => "blocking",
    }
}

#[cfg(test)]
mod tests;
