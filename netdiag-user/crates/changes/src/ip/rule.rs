//! ip-rule(8).
use netdiag_model::world::{
    Known, Stack,
    rule::{Action, Masked, Range, Rule},
};

use super::{Verb, route::table};
use crate::{
    Done, Refused, Words,
    device::whole,
    words::{number, unknown},
};

pub fn change(stack: &mut Stack, (verb, ipv6): (Verb, Option<bool>), words: Words<'_>) -> Done {
    let (asked, said) = asked(ipv6, words)?;
    let rules = whole(&mut stack.rules)?;
    match verb {
        Verb::Add => {
            let priority = said.unwrap_or_else(|| usual(rules, asked.ipv6));
            let rule = Rule { priority, ..asked };
            if rules.contains(&rule) {
                return Err(Refused::Exists);
            }
            let before = |other: &Rule| (other.ipv6, other.priority) <= (rule.ipv6, priority);
            let at = rules.iter().rposition(before).map_or(0, |last| last + 1);
            rules.insert(at, rule);
            // For ever after (`fib_unmerge`).
            if let Known::Is(settings) | Known::Partly(settings, _) = &mut stack.settings {
                settings.one_trie &= asked.ipv6;
            }
            Ok(())
        }
        Verb::Delete => {
            let at = rules.iter().position(|rule| is(&asked, said, rule));
            rules.remove(at.ok_or(Refused::Nothing)?);
            Ok(())
        }
        _ => Err(Refused::NotModelled),
    }
}

/// One less than that of the first one behind the kernel's own (`fib_default_rule_pref`).
fn usual(rules: &[Rule], ipv6: bool) -> u32 {
    let mut own = rules.iter().filter(|rule| rule.ipv6 == ipv6).skip(1);
    own.next().map_or(0, |rule| rule.priority.saturating_sub(1))
}

/// Whether a rule is the one to be deleted: what is not said may be anything.
fn is(asked: &Rule, priority: Option<u32>, rule: &Rule) -> bool {
    fn same<T: PartialEq>(asked: Option<&T>, has: Option<&T>) -> bool {
        asked.is_none_or(|asked| has == Some(asked))
    }
    asked.ipv6 == rule.ipv6
        && asked.invert == rule.invert
        && priority.is_none_or(|said| said == rule.priority)
        && (asked.action == Action::Nop || asked.action == rule.action)
        && same(asked.from.as_ref(), rule.from.as_ref())
        && same(asked.to.as_ref(), rule.to.as_ref())
        && same(asked.iif.as_ref(), rule.iif.as_ref())
        && same(asked.oif.as_ref(), rule.oif.as_ref())
        && same(asked.mark.as_ref(), rule.mark.as_ref())
        && same(asked.protocol.as_ref(), rule.protocol.as_ref())
        && same(asked.sports.as_ref(), rule.sports.as_ref())
        && same(asked.dports.as_ref(), rule.dports.as_ref())
}

/// With the priority, where one is said; what it does is *nothing* where it does not say.
fn asked(ipv6: Option<bool>, mut words: Words<'_>) -> Result<(Rule, Option<u32>), Refused> {
    let mut rule = Rule::every(ipv6 == Some(true), 0, Action::Nop);
    let mut priority = None;
    while let Some(word) = words.more() {
        match word {
            "not" => rule.invert = true,
            side @ ("from" | "to") => {
                if words.take("all") {
                    continue;
                }
                let prefix = words.prefix()?;
                // ip(8) takes IPv4 where nothing is said, whatever the addresses are.
                if prefix.address.is_ipv6() != rule.ipv6 {
                    return Err(unknown(&prefix.to_string()));
                }
                match side {
                    "from" => rule.from = Some(prefix),
                    _ => rule.to = Some(prefix),
                }
            }
            "pref" | "priority" | "preference" | "order" => priority = Some(words.number()?),
            "iif" => rule.iif = Some(words.next()?.to_owned()),
            "oif" => rule.oif = Some(words.next()?.to_owned()),
            "fwmark" => rule.mark = Some(masked(words.next()?)?),
            "lookup" | "table" => rule.action = Action::Table(table(words.next()?)?),
            "goto" => rule.action = Action::Goto(words.number()?),
            "blackhole" => rule.action = Action::Blackhole,
            "unreachable" => rule.action = Action::Unreachable,
            "prohibit" => rule.action = Action::Prohibit,
            "ipproto" => rule.protocol = Some(protocol(words.next()?)?),
            "sport" => rule.sports = Some(ports(words.next()?)?),
            "dport" => rule.dports = Some(ports(words.next()?)?),
            other => return Err(unknown(other)),
        }
    }
    Ok((rule, priority))
}

fn masked(word: &str) -> Result<Masked, Refused> {
    let (value, mask) = match word.split_once('/') {
        Some((value, mask)) => (number(value)?, number(mask)?),
        None => (number(word)?, u32::MAX),
    };
    Ok(Masked { value, mask })
}

fn ports(word: &str) -> Result<Range<u16>, Refused> {
    let port = |word: &str| word.parse().map_err(|_| unknown(word));
    let (start, end) = word.split_once('-').unwrap_or((word, word));
    Ok(Range {
        start: port(start)?,
        end: port(end)?,
    })
}

pub fn protocol(word: &str) -> Result<u8, Refused> {
    Ok(match word {
        "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        "icmp" => 1,
        "ipv6-icmp" | "icmpv6" => 58,
        "gre" => 47,
        "esp" => 50,
        other => other.parse().map_err(|_| unknown(other))?,
    })
}
