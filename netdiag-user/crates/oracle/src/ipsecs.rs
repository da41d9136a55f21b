//! Policies of IPsec in worlds: no packet goes otherwise than computed beside those that they are about, of which nothing
//! is computed.
use fastrand::Rng;
use netdiag_model::world::Stack;

use crate::{
    command::Command,
    links::{Is, Links},
    names::SPACES,
    plan::own,
    witness::PORTS,
};

pub const LINKS: Links = Links {
    name: "ipsec",
    alone: true,
    file: Some("/proc/net/xfrm_stat"),
    probe: None,
    ipv6: true,
    superpackets: true,
    made,
    behind: |space| own(space).to_string(),
    is: Is::Address(|stack, _| has_policies(stack)),
    mistakes: &[],
};

fn has_policies(stack: &Stack) -> bool {
    stack.ipsec.some().is_some_and(|it| !it.policies.is_empty())
}

fn made(rng: &mut Rng) -> Vec<Command> {
    let one = rng.usize(0..SPACES);
    let mut lines = Vec::new();
    for space in [one, rng.usize(0..SPACES)] {
        for _ in 0..rng.usize(1..3) {
            lines.push(Command::ip(space, policy(rng)));
        }
    }
    if rng.u8(0..12) == 0 {
        let direction = ["in", "fwd", "out"][rng.usize(0..3)];
        lines.push(Command::ip(
            one,
            format!("xfrm policy setdefault {direction} block"),
        ));
    }
    lines
}

fn policy(rng: &mut Rng) -> String {
    let prefix = |rng: &mut Rng| match rng.u8(0..4) {
        0 => "0.0.0.0/0".to_owned(),
        1 => format!("10.{}.0.0/24", rng.u8(1..6)),
        _ => format!("{}/32", own(rng.usize(0..SPACES))),
    };
    let (from, to) = (prefix(rng), prefix(rng));
    let port = PORTS[rng.usize(0..PORTS.len())];
    let more = match rng.u8(0..4) {
        0 => " proto udp".to_owned(),
        1 => format!(" proto udp dport {port}"),
        2 => " proto tcp".to_owned(),
        _ => String::new(),
    };
    let direction = ["in", "fwd", "out"][rng.usize(0..3)];
    let action = ["block", "allow"][rng.usize(0..2)];
    format!("xfrm policy add src {from} dst {to}{more} dir {direction} action {action}")
}
