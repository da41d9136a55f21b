//! Rules and chains of nftables that may refuse packets, with their counters, as the kernel itself
//! lists them (include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h). What nft takes seconds and
//! hundreds of MiB for takes no memory here, and a name is a name, whatever is in it.
use std::{
    ops::ControlFlow,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rtnetlink::sys::Socket;

use super::turn::Turn;
use crate::{
    host::gather::netlink::{self, DUMP, HEADER, attribute, attributes},
    model::netfilter::{Chain, Family},
};

const NETLINK_NETFILTER: isize = 12;
/// NFNL_SUBSYS_NFTABLES << 8, with NFT_MSG_GETCHAIN and NFT_MSG_GETRULE.
const GET_CHAINS: u16 = 10 << 8 | 4;
const GET_RULES: u16 = 10 << 8 | 7;
/// How long the kernel may take for a reading of all.
const LONGEST: Duration = Duration::from_secs(20);
/// Rules that are asked for at once, and chains that are asked for at all.
const FEW: usize = 10_000;
const CHAINS: usize = 100_000;
/// `struct nfgenmsg`.
const GENERIC: usize = 4;

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_USE: u16 = 6;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const COUNTER_PACKETS: u16 = 2;
const IMMEDIATE_REGISTER: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const LOOKUP_SET: u16 = 1;
const LOOKUP_TO: u16 = 3;
const TARGET_NAME: u16 = 1;
/// NFT_REG_VERDICT, NF_DROP.
const VERDICT: u32 = 0;
const DROP: u32 = 0;

/// What a rule does with what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Drop,
    Reject,
    /// It depends on a map that was written into it.
    Depends,
}

/// A rule, or a chain's policy, that refuses packets.
#[derive(Clone, Debug)]
pub struct Refusing {
    pub chain: Rc<Chain>,
    /// None of a policy, which says what it is in nft's words.
    pub handle: Option<u64>,
    pub policy: Option<String>,
    /// None where nothing counts.
    pub packets: Option<u64>,
    pub does: Does,
}

/// Hands over all that refuse packets in this thread's namespace.
///
/// All rules are asked for at once where they are few. The kernel counts them from the first one on
/// for each datagram (nf_tables_dump_rules): of many it is asked chain by chain.
pub fn refusing(mut each: impl FnMut(Refusing)) -> Result<()> {
    let _turn = Turn::take()?;
    let kernel = Kernel {
        socket: netlink::open(NETLINK_NETFILTER)?,
        until: Instant::now() + LONGEST,
    };
    let mut chains = Vec::new();
    let mut all = 0_usize;
    let listed = kernel.list(&request(GET_CHAINS, None), |family, chain| {
        policy(family, chain).into_iter().for_each(&mut each);
        let uses = attribute(chain, CHAIN_USE).and_then(u32_of).unwrap_or(0);
        all = all.saturating_add(uses as usize);
        if uses > 0 && chains.len() <= CHAINS {
            chains.extend(named(family, chain, CHAIN_TABLE, CHAIN_NAME));
        }
    });
    listed.context("listing the chains of nftables")?;
    if chains.is_empty() {
        return Ok(());
    }
    ensure!(
        chains.len() <= CHAINS,
        "there are more than {CHAINS} chains of nftables"
    );
    let mut rules = |request: &[u8]| {
        let mut last = None;
        let listed = kernel.list(request, |family, one| {
            rule(family, one, &mut last).into_iter().for_each(&mut each);
        });
        listed.context("listing the rules of nftables")
    };
    if all <= FEW {
        return rules(&request(GET_RULES, None));
    }
    chains
        .iter()
        .try_for_each(|chain| rules(&request(GET_RULES, Some(chain))))
}

/// For everything, or for the rules of one chain.
fn request(what: u16, chain: Option<&Chain>) -> Vec<u8> {
    let mut names = Vec::new();
    if let Some(chain) = chain {
        for (kind, name) in [(RULE_TABLE, &chain.table), (RULE_CHAIN, &chain.chain)] {
            let length = name.len() + 5;
            names.extend((length as u16).to_ne_bytes());
            names.extend(kind.to_ne_bytes());
            names.extend(name.as_bytes());
            names.resize(names.len() + 1 + (length.next_multiple_of(4) - length), 0);
        }
    }
    let mut request = Vec::with_capacity(HEADER + GENERIC + names.len());
    request.extend(((HEADER + GENERIC + names.len()) as u32).to_ne_bytes());
    request.extend(what.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([chain.map_or(0, |chain| number(chain.family)), 0, 0, 0]);
    request.extend(names);
    request
}

struct Kernel {
    socket: Socket,
    until: Instant,
}

impl Kernel {
    fn list(&self, request: &[u8], mut each: impl FnMut(Family, &[u8])) -> Result<()> {
        let listed = netlink::ask(&self.socket, request, |message| {
            let family = message.get(HEADER).and_then(|number| family(*number));
            if let (Some(family), Some(attributes)) = (family, message.get(HEADER + GENERIC..)) {
                each(family, attributes);
            }
            match Instant::now() < self.until {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        match listed {
            // A kernel without nftables has no rules of it (net/netfilter/nfnetlink.c).
            Err(e) if is(&e, libc::EINVAL) || is(&e, libc::EOPNOTSUPP) => Ok(()),
            Err(e) => Err(e),
            Ok(true) => Ok(()),
            Ok(false) => bail!("it took more than {} s", LONGEST.as_secs()),
        }
    }
}

fn is(error: &anyhow::Error, errno: i32) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| e.raw_os_error() == Some(errno))
}

/// NFPROTO_…
const FAMILIES: [(Family, u8); 6] = [
    (Family::Inet, 1),
    (Family::Ip, 2),
    (Family::Arp, 3),
    (Family::Netdev, 5),
    (Family::Bridge, 7),
    (Family::Ip6, 10),
];

fn family(number: u8) -> Option<Family> {
    let known = FAMILIES.iter().find(|(_, n)| *n == number);
    known.map(|(family, _)| *family)
}

fn number(family: Family) -> u8 {
    let known = FAMILIES.iter().find(|(f, _)| *f == family);
    known.map_or(0, |(_, number)| *number)
}

/// The chain that an object is, or is in; none where its names are no text: it has no place in what
/// is told, and nft could not list it either.
fn named(family: Family, of: &[u8], table: u16, chain: u16) -> Option<Chain> {
    Some(Chain {
        family,
        table: text(attribute(of, table)?)?,
        chain: text(attribute(of, chain)?)?,
    })
}

fn policy(family: Family, chain: &[u8]) -> Option<Refusing> {
    if u32_of(attribute(chain, CHAIN_POLICY)?)? != DROP {
        return None;
    }
    let hook = attribute(chain, CHAIN_HOOK)?;
    let priority = u32_of(attribute(hook, HOOK_PRIORITY)?)?.cast_signed();
    let hook = hook_name(family, u32_of(attribute(hook, HOOK_NUMBER)?)?)?;
    let kind = attribute(chain, CHAIN_TYPE).and_then(text);
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
        packets: None,
        does: Does::Drop,
    })
}

/// NF_INET_…, NF_ARP_…, NF_NETDEV_…
fn hook_name(family: Family, number: u32) -> Option<&'static str> {
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
fn rule(family: Family, rule: &[u8], last: &mut Option<Rc<Chain>>) -> Option<Refusing> {
    let mut packets = None;
    let mut does = None;
    for (_, expression) in attributes(attribute(rule, RULE_EXPRESSIONS)?) {
        let name = attribute(expression, EXPRESSION_NAME)?;
        let data = attribute(expression, EXPRESSION_DATA).unwrap_or_default();
        if name.strip_suffix(b"\0") == Some(b"counter") {
            packets = packets.or(attribute(data, COUNTER_PACKETS).and_then(u64_of));
        }
        does = does.or_else(|| verdict(name, data));
    }
    let does = does?;
    let handle = u64_of(attribute(rule, RULE_HANDLE)?)?;
    let chain = named(family, rule, RULE_TABLE, RULE_CHAIN)?;
    let chain = match last.as_ref().filter(|last| ***last == chain) {
        Some(last) => last.clone(),
        None => Rc::new(chain),
    };
    *last = Some(chain.clone());
    Some(Refusing {
        chain,
        handle: Some(handle),
        policy: None,
        packets,
        does,
    })
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

fn text(bytes: &[u8]) -> Option<String> {
    let name = bytes.split(|byte| *byte == 0).next()?;
    String::from_utf8(name.to_vec()).ok()
}

fn u32_of(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn u64_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nla(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn expression(name: &str, data: &[u8]) -> Vec<u8> {
        let name = nla(1, format!("{name}\0").as_bytes());
        nla(1, &[name, nla(2, data)].concat())
    }

    fn read(expressions: &[Vec<u8>]) -> Option<Refusing> {
        let parts = [
            nla(1, b"t } drop\0"),
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
        assert_eq!(found.chain.table, "t } drop");
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
