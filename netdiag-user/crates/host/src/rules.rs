//! Policy rules (RTM_GETRULE).
use anyhow::Result;
use rtnetlink::packet_route::{
    AddressFamily,
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use super::listing::{self, Listed, Message, OTHERS};
use crate::model::{
    address::Prefix,
    node::{LOCAL, MAIN},
    policy::{Action, PolicyRule},
};

/// RT_TABLE_DEFAULT, the kernel's third own table.
const DEFAULT: u32 = 253;

/// Rules of both families, in the order in which the kernel asks them.
pub fn rules() -> Result<Listed<PolicyRule>> {
    let ask = |family| {
        let mut message = RuleMessage::default();
        message.header.family = family;
        Message::GetRule(message)
    };
    let asks = [AddressFamily::Inet, AddressFamily::Inet6].map(ask);
    let take = |message, all: &mut Vec<PolicyRule>| {
        if let Message::NewRule(message) = message {
            let ipv6 = message.header.family == AddressFamily::Inet6;
            all.push(rule(&message, ipv6));
        }
    };
    let mut rules = listing::list_each(asks, OTHERS, "policy rules", take)?;
    // The kernel lists them so, but for rules that were added while it did.
    rules.all.sort_by_key(|r| r.priority);
    Ok(rules)
}

/// Tables that rules ask, beside the kernel's own three, for packets without a mark: marked ones are
/// somebody's own (a proxy's, a VPN's), and pods' are not.
pub fn policy_tables(rules: &[PolicyRule]) -> Vec<u32> {
    let own = DEFAULT..=LOCAL;
    let table = |r: &PolicyRule| match r.action {
        Action::Table(table) if table != 0 && !own.contains(&table) => Some(table),
        _ => None,
    };
    let unmarked = |r: &&PolicyRule| !r.line.contains("fwmark");
    let mut tables: Vec<_> = rules.iter().filter(unmarked).filter_map(table).collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

pub(super) fn rule(message: &RuleMessage, ipv6: bool) -> PolicyRule {
    let header = &message.header;
    let mut rule = PolicyRule {
        priority: 0,
        ipv6,
        action: Action::Nothing,
        from: None,
        to: None,
        iif: None,
        not: header.flags.contains(RuleFlags::Invert),
        others: header.tos != 0,
        suppress_prefix_length: None,
        line: String::new(),
    };
    let mut table = u32::from(header.table);
    let mut goto = 0;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Source(address) => rule.from = prefix(*address, header.src_len),
            RuleAttribute::Destination(address) => rule.to = prefix(*address, header.dst_len),
            RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Goto(to) => goto = *to,
            // All ones: nothing is suppressed.
            RuleAttribute::SuppressPrefixLen(length) => {
                rule.suppress_prefix_length = u8::try_from(*length).ok();
            }
            RuleAttribute::Protocol(_) | RuleAttribute::FwMask(_) => {}
            RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            _ => rule.others = true,
        }
    }
    rule.action = match header.action {
        RuleAction::ToTable => Action::Table(table),
        RuleAction::Goto => Action::Goto(goto),
        RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => Action::Refuse,
        _ => Action::Nothing,
    };
    rule.line = line(message, &rule, goto);
    rule
}

fn prefix(address: std::net::IpAddr, length: u8) -> Option<Prefix> {
    (length > 0).then_some(Prefix { address, length })
}

/// As ip-rule(8) prints it, selectors first.
fn line(message: &RuleMessage, rule: &PolicyRule, goto: u32) -> String {
    let mut words = Vec::new();
    if rule.not {
        words.push("not".to_owned());
    }
    words.push(format!("from {}", short(rule.from)));
    if rule.to.is_some() {
        words.push(format!("to {}", short(rule.to)));
    }
    if message.header.tos != 0 {
        words.push(format!("tos {:#04x}", message.header.tos));
    }
    words.extend(
        message
            .attributes
            .iter()
            .filter_map(|a| selector(message, a)),
    );
    if let Some(length) = rule.suppress_prefix_length {
        words.push(format!("suppress_prefixlength {length}"));
    }
    words.push(match (message.header.action, rule.action) {
        (_, Action::Table(MAIN)) => "lookup main".into(),
        (_, Action::Table(LOCAL)) => "lookup local".into(),
        (_, Action::Table(DEFAULT)) => "lookup default".into(),
        (_, Action::Table(table)) => format!("lookup {table}"),
        (RuleAction::Goto, _) => format!("goto {goto}"),
        (RuleAction::Nop, _) => "nop".into(),
        (RuleAction::Blackhole, _) => "blackhole".into(),
        (RuleAction::Unreachable, _) => "unreachable".into(),
        (RuleAction::Prohibit, _) => "prohibit".into(),
        (action, _) => format!("{action:?}").to_lowercase(),
    });
    words.join(" ")
}

/// A host's length is not printed.
fn short(prefix: Option<Prefix>) -> String {
    match prefix {
        None => "all".into(),
        Some(p) if p == Prefix::host(p.address) => p.address.to_string(),
        Some(p) => p.to_string(),
    }
}

fn selector(message: &RuleMessage, attribute: &RuleAttribute) -> Option<String> {
    let mask = || {
        message.attributes.iter().find_map(|a| match a {
            RuleAttribute::FwMask(mask) if *mask != u32::MAX => Some(format!("/{mask:#x}")),
            _ => None,
        })
    };
    let ports = |name: &str, start: u16, end: u16| match start == end {
        true => format!("{name} {start}"),
        false => format!("{name} {start}-{end}"),
    };
    Some(match attribute {
        RuleAttribute::FwMark(mark) => format!("fwmark {mark:#x}{}", mask().unwrap_or_default()),
        RuleAttribute::Iifname(name) => format!("iif {name}"),
        RuleAttribute::Oifname(name) => format!("oif {name}"),
        RuleAttribute::L3MDev(true) => "l3mdev".into(),
        RuleAttribute::UidRange(range) => format!("uidrange {}-{}", range.start, range.end),
        RuleAttribute::IpProtocol(protocol) => {
            format!(
                "ipproto {}",
                crate::model::flow::protocol((*protocol).into())
            )
        }
        RuleAttribute::SourcePortRange(range) => ports("sport", range.start, range.end),
        RuleAttribute::DestinationPortRange(range) => ports("dport", range.start, range.end),
        _ => return None,
    })
}
