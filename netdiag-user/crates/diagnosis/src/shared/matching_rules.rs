//! Which of several rules of netfilter took a pattern's packets.
use std::{borrow::Cow, cmp::Reverse, collections::HashSet, net::IpAddr};

use netdiag_common::{flow::FlowKey, hop};

use super::{losses::DropGroup, rule_evidence};
use crate::{
    model::{
        flow::TCP,
        gather::{Asks, Rule, Whom},
        netfilter::{Chain, Iptables, RuleOrigin},
        roles::Role,
        text,
        world::ruleset::Hook,
    },
    pipeline::{
        facts::{Facts, HopFlow, Loss},
        taker::Taker,
        tried::Opened,
    },
};

/// TCP's flag.
const SYN: u32 = 2;

/// Of a pattern's losses so many have their ways computed, those with the most packets.
const WALKED: usize = 4;
/// Characters of the name of a rule's place.
const PLACE: usize = 200;

/// Those that may have taken a pattern's packets, the likeliest first.
pub struct Candidates<'a> {
    pub rules: Vec<Cow<'a, Rule>>,
    /// It is one alone: the packets' ways end there, as all rules of the namespace are.
    pub computed: bool,
    /// So they do, and others that would end there were seen to pass.
    pub doubted: bool,
    /// Its chain and handle: the rule that keeps them from being tracked, and so from being known there.
    pub untracked: Option<(Chain, u64)>,
}

/// Where their ways end; else those that can match them by what they ask.
pub fn matching_rules<'a>(
    facts: &Facts<'_>,
    rules: &'a [Rule],
    pattern: &DropGroup<'_>,
) -> Candidates<'a> {
    let (computed, doubted, untracked) = computed(facts, rules, pattern);
    match computed.is_empty() {
        false => Candidates {
            computed: computed.len() == 1 && !doubted,
            rules: computed,
            doubted,
            untracked,
        },
        true => Candidates {
            rules: by_asking(facts, rules, pattern)
                .into_iter()
                .map(Cow::Borrowed)
                .collect(),
            computed: false,
            doubted: false,
            untracked: None,
        },
    }
}

fn computed<'a>(
    facts: &Facts<'_>,
    rules: &'a [Rule],
    pattern: &DropGroup<'_>,
) -> (Vec<Cow<'a, Rule>>, bool, Option<(Chain, u64)>) {
    let mut losses = pattern.losses.clone();
    losses.sort_by_key(|loss| Reverse(loss.dropped.packets));
    let (mut all, mut doubted, mut untracked) = (Vec::new(), false, None);
    for taker in losses.iter().take(WALKED).flat_map(|l| facts.takers(l)) {
        doubted |= taker.doubted;
        untracked = untracked.or_else(|| taker.untracked.clone());
        let rule = of_taker(rules, &taker);
        all.extend(rule.filter(|rule| !all.contains(rule)));
    }
    // Which of several it was, their counters tell.
    all.sort_by_key(|rule| Reverse(rule.packets));
    (all, doubted, untracked)
}

/// As it was asked for; else by what is known of it without that.
pub fn of_taker<'a>(rules: &'a [Rule], taker: &Taker) -> Option<Cow<'a, Rule>> {
    let rule = rules.iter().find(|rule| is_taker(rule, taker));
    rule.map(Cow::Borrowed).or_else(|| unlisted(taker))
}

/// By what it is listed, changed, or put before.
pub fn origin(facts: &Facts<'_>, opened: &Opened) -> RuleOrigin {
    let found = of_taker(facts.gathered.rules(opened.netns), &opened.by);
    let origin = found.map(|rule| rule.into_owned().origin);
    origin.unwrap_or_else(|| rule_evidence::origin_of(&opened.by))
}

pub fn is_taker(rule: &Rule, taker: &Taker) -> bool {
    let chain = &taker.chain;
    match &rule.origin {
        RuleOrigin::Nft { chain: of, handle } => {
            let same = (of, *handle) == (chain, taker.rule.map(|rule| rule.handle));
            same && !taker.legacy
        }
        RuleOrigin::Iptables {
            program,
            table,
            chain: of,
            number,
            ..
        } => {
            let family = [Iptables::Legacy4, Iptables::Legacy6].contains(program)
                && program.family() == chain.family;
            let same = (table, of) == (&chain.table, &chain.chain);
            taker.legacy && family && same && *number == taker.rule.map(|rule| rule.number)
        }
        RuleOrigin::Unknown => false,
    }
}

/// One that is not among those whose words were asked for.
fn unlisted<'a>(taker: &Taker) -> Option<Cow<'a, Rule>> {
    let handle = taker.rule.filter(|_| !taker.legacy)?.handle;
    let chain = &taker.chain;
    let place = format!("{} {} {}", chain.family.name(), chain.table, chain.chain);
    Some(Cow::Owned(Rule {
        place: text::line(&place, PLACE),
        text: format!("handle {handle}"),
        packets: 0,
        origin: RuleOrigin::Nft {
            chain: chain.clone(),
            handle: Some(handle),
        },
        counted: false,
        asks: Asks::default(),
    }))
}

/// The likeliest first: it refuses as the sender is told, asks for the port, counts most. Those that count nothing only
/// where none counts.
fn by_asking<'a>(facts: &Facts<'_>, rules: &'a [Rule], pattern: &DropGroup<'_>) -> Vec<&'a Rule> {
    let told = is_told(facts, pattern);
    let names = |r: &Rule| {
        let one = (pattern.port, pattern.port);
        [r.asks.ports, r.asks.source_ports].contains(&Some(one))
    };
    let hook = hook(facts, pattern);
    let at = |r: &&Rule| {
        let policy = r.asks.policy;
        policy.is_none_or(|at| at == Hook::Prerouting || at == hook)
    };
    let mut rules: Vec<_> = rules.iter().filter(|r| matches(r, pattern)).collect();
    rules.retain(at);
    if rules.iter().any(|r| r.counted) {
        rules.retain(|r| r.counted);
    }
    if is_untracked(facts, pattern) && rules.iter().any(|r| takes_invalid(r)) {
        rules.retain(|r| takes_invalid(r));
    }
    rules.sort_by_key(|r| Reverse((r.asks.rejects == told, names(r), r.packets)));
    rules
}

/// Whether conntrack cannot follow these connections: the packet that opens one passes and what comes
/// behind it dies, or an answer dies whose question never came this way. A rule that looks at no state
/// takes the first packet too, so one that takes what is invalid did this, where there is one.
pub fn is_untracked(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let opened = |flow: &FlowKey| {
        let journey = facts.journeys().get(flow);
        let left = |h: &&HopFlow| h.egress() && h.role != Some(Role::Bridge);
        let syn = |h: &&HopFlow| h.hop.flags & hop::SYN != 0;
        journey.is_some_and(|j| j.hops.iter().any(|h| left(h) && syn(h)))
    };
    let mut losses = pattern.losses.iter();
    pattern.protocol == TCP
        && match pattern.reply {
            true => {
                losses.all(|l| opens(l) && !facts.journeys().contains_key(&l.flow().reversed()))
            }
            false => losses.all(|l| !opens(l) && opened(l.flow())),
        }
}

fn opens(loss: &Loss) -> bool {
    loss.dropped.tcp_flags & SYN != 0
}

/// Whether it is written for what conntrack calls invalid, and for nothing else.
pub fn takes_invalid(rule: &Rule) -> bool {
    rule.asks.invalid
}

/// Whether it is written for ICMP errors of this family that the node itself sends: not for pings, nor
/// for what comes in or passes, nor one that only answers by ICMP.
pub fn takes_errors(rule: &Rule, protocol: u8) -> bool {
    /// Requests and answers of each family.
    const PINGS: [(u8, [u8; 2]); 2] = [(1, [8, 0]), (58, [128, 129])];
    let asks = &rule.asks;
    let pings = |kind| {
        PINGS
            .iter()
            .any(|(of, kinds)| *of == protocol && kinds.contains(&kind))
    };
    let elsewhere = ["input", "forward", "prerouting"];
    let chain = rule.chain().map_or("", |(_, chain)| chain);
    let elsewhere = elsewhere
        .iter()
        .any(|hook| chain.eq_ignore_ascii_case(hook));
    asks.protocol == Some(protocol) && !asks.icmp.is_some_and(pings) && !asks.negated && !elsewhere
}

/// Whose packets die at which hook: to the namespace's own address, from it, or through it.
fn hook(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Hook {
    let netns = pattern.losses.first().map(|l| l.key.netns);
    let side = netns.and_then(|netns| facts.node.pod_side(netns));
    let own = |address: IpAddr| match side {
        Some(side) => side.addresses.contains(&address),
        None => facts.owns(address),
    };
    match (own(pattern.destination), own(pattern.source)) {
        (true, _) => Hook::Input,
        (false, true) => Hook::Output,
        (false, false) => Hook::Forward,
    }
}

/// The node itself answers the packets with an error or RST: a rule rejects them.
fn is_told(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let flows: HashSet<&FlowKey> = pattern.losses.iter().map(|l| l.flow()).collect();
    let about = |flow| flows.contains(&flow);
    let mut errors = facts.icmp_errors.iter();
    let error = errors.any(|(key, _)| about(key.about));
    let reset = pattern.losses.iter().any(|l| {
        let back = facts.journeys().get(&l.flow().reversed());
        // Nobody sent it in: this node made it.
        back.is_some_and(|j| !j.came_in() && j.hops.iter().any(|h| h.hop.resets > 0))
    });
    error || reset
}

/// False where the rule asks for something else; what is not known of it may match.
fn matches(rule: &Rule, pattern: &DropGroup<'_>) -> bool {
    let asks = &rule.asks;
    let may_be = |whom: Option<Whom>, address| whom.is_none_or(|whom| whom.may_be(address));
    let has = |range: Option<(u16, u16)>| {
        range.is_none_or(|(first, last)| (first..=last).contains(&pattern.port))
    };
    let ports = match pattern.reply {
        true => asks.source_ports,
        false => asks.ports,
    };
    let hosts =
        may_be(asks.sources, pattern.source) && may_be(asks.destinations, pattern.destination);
    let protocol = asks.protocol.is_none_or(|of| of == pattern.protocol);
    hosts && has(ports) && protocol && !only_invalid(rule, pattern)
}

/// For strays alone: conntrack calls no connection's first packet invalid.
fn only_invalid(rule: &Rule, pattern: &DropGroup<'_>) -> bool {
    let new = pattern.protocol != TCP || pattern.losses.iter().any(|l| opens(l)) && !pattern.reply;
    takes_invalid(rule) && new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rule;

    /// What a node answers by, keeps from itself or lets nobody ping it by is not written for them.
    #[test]
    fn few_rules_are_written_for_the_nodes_own_errors() {
        for (chain, text) in [
            ("out", "ip protocol icmp counter packets 9 bytes 99 drop"),
            ("OUTPUT", "-p icmp --icmp-type fragmentation-needed -j DROP"),
            ("output", "icmp type destination-unreachable counter drop"),
        ] {
            let rule = rule(["ip", "filter", chain], text);
            assert!(takes_errors(&rule, 1), "{text}");
            assert!(!takes_errors(&rule, 58), "of the other family: {text}");
        }
        for (chain, text) in [
            ("INPUT", "-p icmp -j DROP"),
            ("INPUT", "-j REJECT --reject-with icmp-port-unreachable"),
            ("own", "counter reject with icmpx admin-prohibited"),
            ("own", "icmp type echo-request counter drop"),
            ("own", "-p icmp -m icmp --icmp-type 8 -j DROP"),
            ("own", "! -p icmp -j DROP"),
            ("own", "-m comment --comment \"icmp type 3\" -j DROP"),
        ] {
            let rule = rule(["ip", "filter", chain], text);
            assert!(!takes_errors(&rule, 1), "{text}");
        }
        let six = "icmpv6 type packet-too-big counter drop";
        assert!(takes_errors(&rule(["inet", "f", "output"], six), 58));
    }
}
