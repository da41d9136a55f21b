//! Rules that choose among the tables (RTM_NEWRULE).
use super::{
    netlink::{self, CREATE, address, byte, bytes, number, text},
    space::{Place, Space},
};
use crate::model::{
    node::{LOCAL, MAIN},
    world::rule::{Action, Rule},
};

const NEW: u16 = 32;
const DELETE: u16 = 33;
/// FRA_…
const TO: u16 = 1;
const FROM: u16 = 2;
const IIF: u16 = 3;
const GOTO: u16 = 4;
const PRIORITY: u16 = 6;
const MARK: u16 = 10;
const TUNNEL: u16 = 12;
const SUPPRESS_GROUP: u16 = 13;
const SUPPRESS_LENGTH: u16 = 14;
const TABLE: u16 = 15;
const MASK: u16 = 16;
const OIF: u16 = 17;
const L3MDEV: u16 = 19;
const UIDS: u16 = 20;
const PROTOCOL: u16 = 22;
const SPORTS: u16 = 23;
const DPORTS: u16 = 24;
/// FR_ACT_…
const TO_TABLE: u8 = 1;
const GO: u8 = 2;
const NOP: u8 = 3;
const BLACKHOLE: u8 = 6;
const UNREACHABLE: u8 = 7;
const PROHIBIT: u8 = 8;
/// FIB_RULE_INVERT
const INVERT: u32 = 2;

/// RT_TABLE_DEFAULT, and the rules that a namespace is born with: of IPv6 there is none of the third table.
const DEFAULT: u32 = 253;
const BORN: [(u32, u32); 3] = [(0, LOCAL), (32_766, MAIN), (32_767, DEFAULT)];

pub fn add(place: &Place<'_>, space: &mut Space) {
    let Ok(all) = place.stack.rules.whole() else {
        space.lacks("policy rules, which were not recorded".into());
        return;
    };
    for ipv6 in [false, true] {
        let all: Vec<&Rule> = all.iter().filter(|rule| rule.ipv6 == ipv6).collect();
        // IPv4's first two tables are one until somebody makes a rule.
        if all.is_empty() || is_born_so(&all) {
            continue;
        }
        // Who takes the last rule away would lose the namespace's own addresses meanwhile.
        let spare = Rule::every(ipv6, 0, Action::Table(LOCAL));
        for (priority, table) in BORN {
            let rule = Rule::every(ipv6, priority, Action::Table(table));
            let _ = space.route.ask(DELETE, 0, &message(&rule));
        }
        for rule in &all {
            if rule.unknown.is_some() {
                space.lacks(format!(
                    "policy rule {} with what is not known",
                    rule.priority
                ));
                continue;
            }
            ask(space, rule);
        }
        if all.iter().all(|rule| rule.unknown.is_some()) {
            let _ = space.route.ask(NEW, CREATE, &message(&spare));
        }
    }
}

pub fn ask(space: &mut Space, rule: &Rule) {
    let added = space.route.ask(NEW, CREATE, &message(rule));
    space.refused(added, || format!("policy rule {}", rule.priority));
}

fn is_born_so(all: &[&Rule]) -> bool {
    let every =
        |(priority, table): (u32, u32), ipv6| Rule::every(ipv6, priority, Action::Table(table));
    let count = if all.first().is_some_and(|rule| rule.ipv6) {
        2
    } else {
        3
    };
    let born = BORN.into_iter().take(count);
    all.len() == count
        && born
            .zip(all)
            .all(|(one, rule)| every(one, rule.ipv6) == **rule)
}

/// `fib_rule_hdr` and its attributes.
fn message(rule: &Rule) -> Vec<u8> {
    let length = |prefix: Option<crate::model::address::Prefix>| prefix.map_or(0, |it| it.length);
    let (action, table) = match rule.action {
        Action::Table(table) => (TO_TABLE, table),
        Action::L3mdev => (TO_TABLE, 0),
        Action::Goto(_) => (GO, 0),
        Action::Nop => (NOP, 0),
        Action::Blackhole => (BLACKHOLE, 0),
        Action::Unreachable => (UNREACHABLE, 0),
        Action::Prohibit => (PROHIBIT, 0),
    };
    let short = u8::try_from(table).unwrap_or(0);
    let header = [
        netlink::family(rule.ipv6),
        length(rule.to),
        length(rule.from),
        rule.tos,
    ];
    let mut body = header.to_vec();
    body.extend([short, 0, 0, action]);
    body.extend(if rule.invert { INVERT } else { 0 }.to_ne_bytes());
    body.extend(number(PRIORITY, rule.priority));
    if table != 0 {
        body.extend(number(TABLE, table));
    }
    match rule.action {
        Action::L3mdev => body.extend(byte(L3MDEV, 1)),
        Action::Goto(to) => body.extend(number(GOTO, to)),
        _ => {}
    }
    let mut has = |attribute: Option<Vec<u8>>| body.extend(attribute.unwrap_or_default());
    has(rule.to.map(|it| address(TO, it.address)));
    has(rule.from.map(|it| address(FROM, it.address)));
    has(rule.iif.as_ref().map(|name| text(IIF, name)));
    has(rule.oif.as_ref().map(|name| text(OIF, name)));
    has(rule.mark.map(|it| number(MARK, it.value)));
    has(rule.mark.map(|it| number(MASK, it.mask)));
    has(rule.tunnel_id.map(|it| bytes(TUNNEL, &it.to_be_bytes())));
    has(rule.suppress_group.map(|it| number(SUPPRESS_GROUP, it)));
    has(rule
        .suppress_prefix_length
        .map(|it| number(SUPPRESS_LENGTH, it.into())));
    has(rule.protocol.map(|it| byte(PROTOCOL, it)));
    let ports = |kind, range: crate::model::world::rule::Range<u16>| {
        bytes(
            kind,
            &[range.start.to_ne_bytes(), range.end.to_ne_bytes()].concat(),
        )
    };
    has(rule.sports.map(|it| ports(SPORTS, it)));
    has(rule.dports.map(|it| ports(DPORTS, it)));
    let uids = |it: crate::model::world::rule::Range<u32>| {
        bytes(
            UIDS,
            &[it.start.to_ne_bytes(), it.end.to_ne_bytes()].concat(),
        )
    };
    has(rule.uids.map(uids));
    body
}
