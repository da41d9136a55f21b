//! What a policy of IPsec does not let pass (net/xfrm/xfrm_policy.c): it blocks, or wants what came as it is to have come encrypted.
use netdiag_lang::t;

use super::dead_end::{Told, whose};
use crate::{
    model::{
        flow::ends,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
        world::ipsec::{Direction, Ipsec, IpsecPolicy},
    },
    pipeline::{
        difference::died_in,
        facts::{Facts, Loss},
    },
    shell,
};

/// Of the kernel, since 5.19.
pub const REASON: &str = "XFRM_POLICY";

/// The policy that such packets meet, as far as the kernel's own word is enough.
pub fn of_loss(facts: &Facts<'_>, loss: &Loss) -> Option<Told> {
    let netns = died_in(facts, loss);
    let stack = facts.gathered.stack(netns);
    let all = stack.and_then(|stack| stack.ipsec.some());
    let met = all.and_then(|all| asked(loss).into_iter().find_map(|way| met(all, way, loss)));
    let whose = whose(facts, netns);
    let what = match met {
        Some(policy) => t!(
            "a policy of IPsec of {whose} does not let it pass (src {} dst {} dir {})",
            policy.from,
            policy.to,
            word(policy.direction)
        ),
        None => t!("a policy of IPsec of {whose} does not let it pass"),
    };
    let inside = |command| facts.node.inside(netns, command);
    let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, what.clone());
    let delete = met.map(|policy| {
        shell!(
            "ip xfrm policy delete src {} dst {} dir {}",
            policy.from,
            policy.to,
            word(policy.direction)
        )
    });
    let shown = shell!("ip xfrm policy list");
    line.confirm = Some(inside(match met {
        Some(policy) => shown.clone().showing(&[&policy.to.to_string()]),
        None => shown.clone(),
    }));
    Some(Told {
        what,
        subject: None,
        evidence: line,
        fix: Fix {
            summary: t!(
                "find out who set that policy (an IPsec daemon that is gone leaves its own behind) and delete it; where the tunnel is wanted, see whether its states are there: what is to come encrypted is not taken as it is"
            )
            .into(),
            commands: [shell!("ip xfrm state count"), delete.unwrap_or(shown)]
                .map(inside)
                .into(),
        },
    })
}

/// Which directions the kernel asked, as its function tells: what is led on has to pass both, the one for what is led on first
/// (`xfrm4_policy_check`, `xfrm4_route_forward`).
fn asked(loss: &Loss) -> [Direction; 2] {
    match loss.symbol() {
        "ip_forward" | "ip6_forward" => [Direction::Forward, Direction::Out],
        _ => [Direction::In, Direction::Out],
    }
}

fn met<'a>(all: &'a Ipsec, way: Direction, loss: &Loss) -> Option<&'a IpsecPolicy> {
    let flow = loss.flow();
    let (source, destination) = ends(flow);
    let is_about = |policy: &&IpsecPolicy| {
        let protocol = [0, flow.protocol].contains(&policy.protocol);
        let ports = policy.sport.has(flow.source_port) && policy.dport.has(flow.destination_port);
        let between = policy.from.contains(source) && policy.to.contains(destination);
        policy.direction == way && protocol && ports && between
    };
    all.policies.iter().find(is_about)
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
        Direction::Forward => "fwd",
    }
}
