//! Policy rules with all that they ask for (RTM_GETRULE).
use anyhow::Result;
use rtnetlink::packet_core::{DefaultNla, Nla};
use rtnetlink::packet_route::{
    AddressFamily,
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use crate::{
    listing::{self, Listed, Message},
    model::{
        address::Prefix,
        world::rule::{Action, Masked, Range, Rule},
    },
};

pub fn rules(most: usize) -> Result<Listed<Rule>> {
    let ask = |family| {
        let mut message = RuleMessage::default();
        message.header.family = family;
        Message::GetRule(message)
    };
    let asks = [AddressFamily::Inet, AddressFamily::Inet6].map(ask);
    let take = |message, all: &mut Vec<Rule>| {
        if let Message::NewRule(message) = message {
            all.push(rule(&message));
        }
    };
    // In the kernel's own order, which is that of priorities and, among equals, of their making.
    listing::list_each(asks, most, "policy rules", take)
}

fn rule(message: &RuleMessage) -> Rule {
    let header = &message.header;
    let ipv6 = header.family == AddressFamily::Inet6;
    let mut rule = Rule {
        invert: header.flags.contains(RuleFlags::Invert),
        tos: header.tos,
        ..Rule::every(ipv6, 0, Action::Nop)
    };
    let mut action = Targets {
        table: u32::from(header.table),
        ..Targets::default()
    };
    for attribute in &message.attributes {
        apply(&mut rule, &mut action, message, attribute);
    }
    rule.action = match header.action {
        RuleAction::ToTable if action.l3mdev => Action::L3mdev,
        RuleAction::ToTable => Action::Table(action.table),
        RuleAction::Goto => Action::Goto(action.goto),
        RuleAction::Blackhole => Action::Blackhole,
        RuleAction::Unreachable => Action::Unreachable,
        RuleAction::Prohibit => Action::Prohibit,
        _ => Action::Nop,
    };
    rule
}

/// What an action leads to.
#[derive(Default)]
struct Targets {
    table: u32,
    goto: u32,
    l3mdev: bool,
}

fn apply(rule: &mut Rule, action: &mut Targets, message: &RuleMessage, attribute: &RuleAttribute) {
    let header = &message.header;
    match attribute {
        RuleAttribute::Priority(priority) => rule.priority = *priority,
        RuleAttribute::Source(address) => rule.from = prefix(*address, header.src_len),
        RuleAttribute::Destination(address) => rule.to = prefix(*address, header.dst_len),
        RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
        RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
        RuleAttribute::Table(table) => action.table = *table,
        RuleAttribute::Goto(priority) => action.goto = *priority,
        RuleAttribute::L3MDev(on) => action.l3mdev = *on,
        RuleAttribute::FwMark(value) => masked(rule).value = *value,
        RuleAttribute::FwMask(mask) => masked(rule).mask = *mask,
        RuleAttribute::UidRange(range) => {
            rule.uids = Some(Range {
                start: range.start,
                end: range.end,
            });
        }
        RuleAttribute::IpProtocol(protocol) => {
            rule.protocol = u8::try_from(i32::from(*protocol)).ok()
        }
        RuleAttribute::SourcePortRange(range) => {
            rule.sports = Some(Range {
                start: range.start,
                end: range.end,
            });
        }
        RuleAttribute::DestinationPortRange(range) => {
            rule.dports = Some(Range {
                start: range.start,
                end: range.end,
            });
        }
        RuleAttribute::TunId(id) => rule.tunnel_id = Some(*id),
        // All ones: nothing is suppressed.
        RuleAttribute::SuppressPrefixLen(length) => {
            rule.suppress_prefix_length = u8::try_from(*length).ok();
        }
        RuleAttribute::SuppressIfGroup(group) => {
            rule.suppress_group = Some(*group).filter(|group| *group != u32::MAX);
        }
        RuleAttribute::Other(other) => beyond(rule, other.kind(), other),
        // Who made it, and for whose statistics, turns no packet.
        RuleAttribute::Protocol(_) | RuleAttribute::Realm(_) => {}
        other => rule.unknown = Some(other.kind()),
    }
}

/// What newer kernels say that the library does not read yet (include/uapi/linux/fib_rules.h).
fn beyond(rule: &mut Rule, kind: u16, value: &DefaultNla) {
    const DSCP: u16 = 25;
    const PORT_MASKS: [u16; 2] = [28, 29];
    let mut bytes = vec![0; value.value_len()];
    value.emit_value(&mut bytes);
    match bytes.as_slice() {
        [dscp, ..] if kind == DSCP => rule.tos = dscp << 2,
        // All bits of a port count, as they always did.
        [0xff, 0xff] if PORT_MASKS.contains(&kind) => {}
        _ => rule.unknown = Some(kind),
    }
}

/// The mask comes beside the mark, in either order.
fn masked(rule: &mut Rule) -> &mut Masked {
    rule.mark.get_or_insert(Masked {
        value: 0,
        mask: u32::MAX,
    })
}

fn prefix(address: std::net::IpAddr, length: u8) -> Option<Prefix> {
    (length > 0).then_some(Prefix { address, length })
}
