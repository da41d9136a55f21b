//! A pod behind a port of a bridge that lets nothing pass: switched off by somebody, or held back by the spanning tree
//! (IEEE 802.1D; net/bridge/br_stp.c).
use std::net::IpAddr;

use netdiag_lang::t;

use super::losses::{self, PATTERN};
use crate::{
    model::{
        gather::Want,
        node::{Link, PodSide},
        total::Total,
        verdict::{Evidence, EvidenceKind, Fix, Origin, Subject},
        world::device::{Kind, PortState},
    },
    need::Need,
    pipeline::facts::{Facts, Loss},
    shell,
};

pub struct HeldPort<'a> {
    port: &'a Link,
    state: PortState,
    /// The kernel's spanning tree sets it.
    tree: bool,
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
        let sides = [facts.pod_side_of(address), asker];
        sides.into_iter().flatten().find_map(|side| {
            let mut links = facts.node.links.iter();
            let port = links.find(|l| l.peer_netns == Some(side.netns))?;
            let state = stack.device(port.index)?.port.as_ref()?.state;
            // Without a signal the kernel disables it; and where the spanning tree decides, it listens and learns for a while.
            let held = matches!(state, PortState::Disabled | PortState::Blocking);
            let tree = match &stack.device(port.master?)?.kind {
                Kind::Bridge(bridge) => bridge.stp,
                _ => true,
            };
            (held && port.up && port.carrier).then_some(Self { port, state, tree })
        })
    }

    /// As `bridge` writes it.
    fn word(&self) -> &'static str {
        match self.state {
            PortState::Disabled => "disabled",
            PortState::Listening => "listening",
            PortState::Learning => "learning",
            PortState::Forwarding => "forwarding",
            PortState::Blocking => "blocking",
        }
    }

    pub fn text(&self) -> String {
        let (port, word) = (&self.port.name, self.word());
        t!("the bridge's port {port} is {word}: no frame passes there")
    }

    pub fn subject(&self) -> Subject {
        let name = self.port.name.clone();
        Subject::Link { name }
    }

    pub fn evidence(&self) -> Evidence {
        let mut line = Evidence::new(EvidenceKind::Link, Origin::Configured, self.text());
        let shown = shell!("bridge link show dev {}", self.port.name);
        line.confirm = Some(shown.showing(&[&format!("state {}", self.word())]));
        line.at = Some(self.port.name.clone());
        line
    }

    pub fn fix(&self) -> Fix {
        let port = &self.port.name;
        let open = self.state == PortState::Disabled && !self.tree;
        let set = open.then(|| shell!("bridge link set dev {} state 3", port));
        Fix {
            summary: t!(
                "let {port} forward again, and find out what set its state (a loop guard, the spanning tree): where frames would go in a circle, that is to be mended first"
            ),
            commands: [Some(shell!("bridge -d link show dev {}", port)), set]
                .into_iter()
                .flatten()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
