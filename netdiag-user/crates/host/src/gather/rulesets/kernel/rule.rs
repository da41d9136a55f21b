//! One rule or policy out of the kernel's message: whether it refuses packets, and what it counted.
//!
//! Of very many each is looked at, so that nothing is read twice and nothing is kept of those that
//! refuse nothing.
use std::rc::Rc;

use super::{
    CHAIN_NAME, CHAIN_TABLE, DROP, Does, EXPRESSION_DATA, EXPRESSION_NAME, Named, RULE_CHAIN,
    RULE_EXPRESSIONS, RULE_HANDLE, RULE_TABLE, Refusing, name, named, text, u32_of, u64_of,
};
use crate::{
    gather::netlink::{attribute, attributes},
    model::netfilter::Family,
    stack::ruleset,
};

pub const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
pub const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const COUNTER_PACKETS: u16 = 2;
const IMMEDIATE_REGISTER: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const LOOKUP_SET: u16 = 1;
const LOOKUP_TO: u16 = 3;
const TARGET_NAME: u16 = 1;
/// NFT_REG_VERDICT.
const VERDICT: u32 = 0;

pub fn policy(family: Family, chain: &[u8]) -> Option<Refusing> {
    if u32_of(attribute(chain, CHAIN_POLICY)?)? != DROP {
        return None;
    }
    let hook = attribute(chain, CHAIN_HOOK)?;
    let priority = u32_of(attribute(hook, HOOK_PRIORITY)?)?.cast_signed();
    let number = u32_of(attribute(hook, HOOK_NUMBER)?)?;
    let hook = hook_name(family, number)?;
    let kind = attribute(chain, CHAIN_TYPE).map(text);
    let kind = kind.unwrap_or_else(|| "filter".into());
    // nft's word for it, which most chains have.
    let priority = match priority {
        0 => "filter".to_owned(),
        other => other.to_string(),
    };
    Some(Refusing {
        chain: Rc::new(named(family, chain, CHAIN_TABLE, CHAIN_NAME)?),
        handle: None,
        policy: Some(format!(
            "type {kind} hook {hook} priority {priority}; policy drop;"
        )),
        hook: ruleset::hook(family, number),
        packets: None,
        does: Does::Drop,
    })
}

/// NF_INET_…, NF_ARP_…, NF_NETDEV_…
pub fn hook_name(family: Family, number: u32) -> Option<&'static str> {
    const INET: [&str; 6] = [
        "prerouting",
        "input",
        "forward",
        "output",
        "postrouting",
        "ingress",
    ];
    let names: &[&str] = match family {
        Family::Arp => &["input", "output", "forward"],
        Family::Netdev => &["ingress", "egress"],
        _ => &INET,
    };
    names.get(number as usize).copied()
}

/// Rules come chain by chain: `last` saves a name for each.
pub fn rule(family: Family, rule: &[u8], last: &mut Option<Rc<Named>>) -> Option<Refusing> {
    let (mut table, mut chain, mut handle, mut expressions) = (None, None, None, None);
    for (kind, value) in attributes(rule) {
        match kind {
            RULE_TABLE => table = Some(value),
            RULE_CHAIN => chain = Some(value),
            RULE_HANDLE => handle = u64_of(value),
            RULE_EXPRESSIONS => expressions = Some(value),
            _ => {}
        }
    }
    let (packets, does) = read(expressions?)?;
    let chain = place(family, table?, chain?, last);
    Some(Refusing {
        chain,
        handle: Some(handle?),
        policy: None,
        hook: None,
        packets,
        does,
    })
}

/// What its expressions count, and how they refuse.
fn read(expressions: &[u8]) -> Option<(Option<u64>, Does)> {
    let (mut packets, mut does) = (None, None);
    for (_, expression) in attributes(expressions) {
        let name = attribute(expression, EXPRESSION_NAME)?;
        if !matches!(name.first(), Some(b'c' | b'r' | b'i' | b'l' | b't')) {
            continue;
        }
        let data = || attribute(expression, EXPRESSION_DATA).unwrap_or_default();
        if name == b"counter\0" {
            packets = packets.or_else(|| attribute(data(), COUNTER_PACKETS).and_then(u64_of));
        }
        does = does.or_else(|| verdict(name, data()));
    }
    Some((packets, does?))
}

fn place(family: Family, table: &[u8], chain: &[u8], last: &mut Option<Rc<Named>>) -> Rc<Named> {
    let (table, chain) = (name(table), name(chain));
    let same =
        |last: &&Rc<Named>| last.family == family && last.table == table && last.chain == chain;
    if let Some(known) = last.as_ref().filter(same) {
        return known.clone();
    }
    let new = Rc::new(Named {
        family,
        table: table.to_vec(),
        chain: chain.to_vec(),
    });
    *last = Some(new.clone());
    new
}

fn verdict(name: &[u8], data: &[u8]) -> Option<Does> {
    let to_verdict = |kind: u16| attribute(data, kind).and_then(u32_of) == Some(VERDICT);
    match name.strip_suffix(b"\0")? {
        b"reject" => Some(Does::Reject),
        b"immediate" if to_verdict(IMMEDIATE_REGISTER) => {
            let verdict = attribute(attribute(data, IMMEDIATE_DATA)?, DATA_VERDICT)?;
            let code = u32_of(attribute(verdict, VERDICT_CODE)?)?;
            (code == DROP).then_some(Does::Drop)
        }
        // nft gives a map without a name one that begins so.
        b"lookup" if to_verdict(LOOKUP_TO) => {
            let set = attribute(data, LOOKUP_SET)?;
            set.starts_with(b"__map").then_some(Does::Depends)
        }
        b"target" => match attribute(data, TARGET_NAME)?.strip_suffix(b"\0")? {
            b"REJECT" => Some(Does::Reject),
            b"DROP" => Some(Does::Drop),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::netlink::nla;

    fn expression(name: &str, data: &[u8]) -> Vec<u8> {
        let name = nla(1, format!("{name}\0").as_bytes());
        nla(1, &[name, nla(2, data)].concat())
    }

    fn read(expressions: &[Vec<u8>]) -> Option<Refusing> {
        read_in(b"t } drop\0", expressions)
    }

    fn read_in(table: &[u8], expressions: &[Vec<u8>]) -> Option<Refusing> {
        let parts = [
            nla(1, table),
            nla(2, b"c\0"),
            nla(3, &9_u64.to_be_bytes()),
            nla(4, &expressions.concat()),
        ];
        rule(Family::Inet, &parts.concat(), &mut None)
    }

    fn immediate(code: i32) -> Vec<u8> {
        let code = nla(1, &code.to_be_bytes());
        let data = nla(2, &nla(2, &code));
        expression("immediate", &[nla(1, &[0; 4]), data].concat())
    }

    #[test]
    fn refusing_rules_are_known_by_what_they_do() {
        let counter = [nla(1, &[0; 8]), nla(2, &7_u64.to_be_bytes())].concat();
        let counter = expression("counter", &counter);
        let found = read(&[counter.clone(), immediate(0)]).expect("it drops");
        assert_eq!((found.packets, found.handle), (Some(7), Some(9)));
        assert_eq!(found.chain.table, b"t } drop");
        assert!(
            read(&[counter.clone(), immediate(1)]).is_none(),
            "it accepts"
        );
        assert!(read(&[counter]).is_none());
        let found = read(&[expression("reject", &[])]).expect("it rejects");
        assert_eq!((found.packets, found.does), (None, Does::Reject));
        let target = |name: &[u8]| read(&[expression("target", &nla(1, name))]);
        assert!(target(b"REJECT\0").is_some() && target(b"LOG\0").is_none());
        let map = |name: &[u8], to: u32| {
            let parts = [nla(1, name), nla(3, &to.to_be_bytes())];
            read(&[expression("lookup", &parts.concat())]).map(|r| r.does)
        };
        assert_eq!(map(b"__map0\0", 0), Some(Does::Depends));
        assert_eq!((map(b"own\0", 0), map(b"__map0\0", 1)), (None, None));
    }

    #[test]
    fn a_name_that_is_no_text_hides_no_rule() {
        let found = read_in(b"a\xff\xfeb\0", &[immediate(0)]).expect("it drops");
        let told = found.chain.told();
        assert_eq!(told.table, r"a\xff\xfeb");
        assert_eq!(told.plain(), None, "no command has it");
    }

    #[test]
    fn policies_are_told_as_nft_tells_them() {
        let chain = |code: u32, priority: i32| {
            let hook = [
                nla(1, &2_u32.to_be_bytes()),
                nla(2, &priority.to_be_bytes()),
            ];
            let parts = [
                nla(1, b"t\0"),
                nla(3, b"c\0"),
                nla(4, &hook.concat()),
                nla(5, &code.to_be_bytes()),
                nla(7, b"filter\0"),
            ];
            policy(Family::Ip, &parts.concat()).and_then(|r| r.policy)
        };
        let told = "type filter hook forward priority filter; policy drop;";
        assert_eq!(chain(0, 0).as_deref(), Some(told));
        assert!(chain(0, -5).is_some_and(|p| p.contains("priority -5;")));
        assert_eq!(chain(1, 0), None);
    }
}
