//! What brings the packets through, by what took them.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        address::Prefix, gather::Rule, netfilter::Chain, node::Link, shell::CommandLine,
        verdict::Fix,
    },
    shared::{losses::DropGroup, rule_evidence},
    shell,
};

/// The client's address, and the server's.
fn ends(worst: &DropGroup<'_>) -> (IpAddr, IpAddr) {
    match worst.reply {
        true => (worst.destination, worst.source),
        false => (worst.source, worst.destination),
    }
}

/// The old engine's rules, which nft does not list.
fn legacy(worst: &DropGroup<'_>) -> CommandLine {
    match worst.destination.is_ipv4() {
        true => shell!("iptables-legacy-save -c"),
        false => shell!("ip6tables-legacy-save -c"),
    }
}

/// The policy is to be changed: who carries it out sets its rule again.
pub fn policys(worst: &DropGroup<'_>, rule: &Rule) -> Fix {
    Fix {
        summary: t!(
            "let {} pass in the NetworkPolicy that this rule of {} carries out: one with egress rules \
             denies lookups, too, unless it allows port 53 by UDP and TCP",
            worst.target(),
            rule.place
        ),
        commands: [rule.list(), Some(shell!("kubectl get networkpolicies -A"))]
            .into_iter()
            .flatten()
            .collect(),
    }
}

/// The rule is right, the way back is not: conntrack sees one direction only.
pub fn way_back(worst: &DropGroup<'_>, rule: &Rule) -> Fix {
    let (client, server) = ends(worst);
    let entries = shell!("conntrack -L -s {} -d {}", client, server);
    Fix {
        summary: t!(
            "send both directions between {client} and {server} through this node, or both past it: \
             conntrack sees one alone and takes what follows for invalid; or let {} pass before this \
             rule of {}",
            worst.target(),
            rule.place
        ),
        commands: [Some(entries), rule.list()].into_iter().flatten().collect(),
    }
}

/// The rule is right, and the networks are not.
pub fn apart((link, network, range): (&Link, Prefix, Prefix), rule: &Rule) -> Fix {
    Fix {
        summary: t!(
            "give Services (or pods) a range in which no host is: {range} holds {network}, the network of {}; taking the rule of {} away does not last, who made it makes it again",
            link.name,
            rule.place
        ),
        commands: vec![shell!("ip address show dev {}", link.name)]
            .into_iter()
            .chain(rule.list())
            .collect(),
    }
}

/// The rule is right, and another one hides the connections from it.
pub fn untracked(worst: &DropGroup<'_>, rule: &Rule, (chain, handle): &(Chain, u64)) -> Fix {
    Fix {
        summary: t!(
            "take the notrack rule away, or accept {} in {} by addresses and ports: what is not tracked is never established",
            worst.target(),
            rule.place
        ),
        commands: rule_evidence::without(chain, *handle),
    }
}

/// The rule is right, and conntrack has let go of connections that their ends still use.
pub fn forgotten(worst: &DropGroup<'_>, rule: &Rule) -> Fix {
    let (client, server) = ends(worst);
    Fix {
        summary: t!(
            "connection tracking takes these connections between {client} and {server} for invalid, \
             although both directions pass here: they were idle for longer than \
             nf_conntrack_tcp_timeout_established, the table was flushed, or their sequence numbers \
             left its window; let the programs send keepalives more often than that or raise it, and \
             let nf_conntrack_tcp_loose take up what it does not know"
        ),
        commands: [
            Some(shell!(
                "sysctl net.netfilter.nf_conntrack_tcp_timeout_established \
                 net.netfilter.nf_conntrack_tcp_loose net.netfilter.nf_conntrack_tcp_be_liberal"
            )),
            Some(shell!("conntrack -L -s {} -d {}", client, server)),
            rule.list(),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

/// What strangers send, and a rule refuses: as a rule somebody wants that.
pub fn kept_out(worst: &DropGroup<'_>, rule: &Rule) -> Fix {
    Fix {
        summary: t!(
            "nothing, where {} is to be kept out; else let it pass in the NetworkPolicy or firewall \
             that set this rule of {}",
            worst.target(),
            rule.place
        ),
        commands: rule.list().into_iter().collect(),
    }
}

/// Nothing counts, and several can have done it.
pub fn one_of(worst: &DropGroup<'_>, rules: &[&Rule]) -> Fix {
    Fix {
        summary: t!(
            "find out which of these takes {}: they count nothing (a rule with `meta nftrace set 1` \
             and `nft monitor trace` tell); let it pass there",
            worst.target()
        ),
        commands: rules.iter().filter_map(|r| r.list()).collect(),
    }
}

/// The reader of a queue is gone, or too slow for it.
pub fn queue(worst: &DropGroup<'_>) -> Fix {
    Fix {
        summary: t!(
            "start the program that reads the queue (an intrusion detection, a policy engine), or let \
             its rule for {} pass what nobody reads (`bypass`, --queue-bypass): the list of queues has \
             the port of each reader and how many it lost because it was full; no line is no reader",
            worst.target()
        ),
        commands: vec![
            shell!("cat /proc/net/netfilter/nfnetlink_queue"),
            shell!("nft -a list ruleset"),
            legacy(worst),
        ],
    }
}

pub fn find(worst: &DropGroup<'_>) -> Fix {
    let mut commands = vec![shell!("nft -a list ruleset")];
    // Older kernels report nftables' drops from nf_hook_slow too: then either may hold the rule.
    if !worst.losses.iter().any(|l| l.symbol() == "nft_do_chain") {
        commands.push(legacy(worst));
    }
    Fix {
        summary: t!(
            "find the rule that drops {}: where it counts, its counter moves with every attempt; \
             it may be a chain's policy too; change it, or allow the traffic in the NetworkPolicy \
             behind it",
            worst.target(),
        ),
        commands,
    }
}
