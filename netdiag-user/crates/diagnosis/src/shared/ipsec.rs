//! What a policy of IPsec does not let pass (net/xfrm/xfrm_policy.c): it blocks, or wants what came as it is to have come encrypted.
use netdiag_lang::t;

use super::dead_end::{Told, whose};
use crate::{
    model::{
        flow::ends,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
        world::ipsec::{Direction, IpsecPolicy},
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
    let met = all.and_then(|all| all.policies.iter().find(|one| is_about(one, loss)));
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

/// Of what is led on, or comes in: which of both the kernel asked, its function tells.
fn is_about(policy: &IpsecPolicy, loss: &Loss) -> bool {
    let flow = loss.flow();
    let (source, destination) = ends(flow);
    let way = match loss.symbol() {
        "ip_forward" | "ip6_forward" => policy.direction == Direction::Forward,
        _ => policy.direction != Direction::Forward,
    };
    let protocol = [0, flow.protocol].contains(&policy.protocol);
    let ports = policy.sport.has(flow.source_port) && policy.dport.has(flow.destination_port);
    let between = policy.from.contains(source) && policy.to.contains(destination);
    way && protocol && ports && between
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
        Direction::Forward => "fwd",
    }
}
