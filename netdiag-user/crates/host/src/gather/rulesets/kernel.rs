//! Rules and chains of nftables that may refuse packets, with their counters, as the kernel itself
//! lists them (include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h). What nft takes seconds and
//! hundreds of MiB for takes no memory here, and a name is a name, whatever is in it.
//!
//! A listing holds no lock but RCU's (nf_tables_rule_cb, NFNL_CB_RCU): nobody who changes rules
//! waits for it, however long it is.
mod rule;
mod words;

use std::{
    ops::ControlFlow,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use netdiag_lang::mark;
use rtnetlink::sys::Socket;

use self::rule::{policy, rule};
use crate::{
    gather::{
        netlink::{self, DUMP, End, HEADER, attribute, nla},
        nfnetlink::{
            GENERIC, GET_CHAINS, GET_ELEMENTS, GET_RULES, NETLINK_NETFILTER, ONE, family,
            is_nothing, message,
        },
    },
    model::{
        gather::Asks,
        netfilter::{Chain, Family},
        world::ruleset::{Expression, Hook, Verdict},
    },
    stack::ruleset::{attributes, expression, set},
};

/// How long the kernel may take for a reading of all.
const LONGEST: Duration = Duration::from_secs(20);
/// Rules that are asked for at once, and chains that are asked for at all.
pub const FEW: usize = 10_000;
const CHAINS: usize = 100_000;
/// Elements of a map that are looked at.
const ELEMENTS: usize = 4096;
/// Bytes of all their names.
const NAMES: usize = 16 << 20;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_USE: u16 = 6;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
/// NF_DROP.
const DROP: u32 = 0;

/// What a rule does with what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Drop,
    Reject,
    /// It depends on a map that was written into it.
    Depends,
}

/// A chain by the names that the kernel has for it, which may be no text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Named {
    pub family: Family,
    pub table: Vec<u8>,
    pub chain: Vec<u8>,
}

/// A rule, or a chain's policy, that refuses packets.
#[derive(Clone, Debug)]
pub struct Refusing {
    pub chain: Rc<Named>,
    /// None of a policy, which says what it is in nft's words.
    pub handle: Option<u64>,
    pub policy: Option<String>,
    /// Where a policy is asked.
    pub hook: Option<Hook>,
    /// None where nothing counts.
    pub packets: Option<u64>,
    pub does: Does,
}

/// A chain, and no fewer rules than it has: those that lead to it are counted too.
#[derive(Clone, Debug)]
pub struct Sized {
    pub chain: Rc<Named>,
    pub rules: usize,
}

/// Rules of a chain that are asked for.
pub enum Part<'a> {
    All,
    /// By their handles.
    These(&'a [u64]),
}

/// Hands over all that refuse packets in this thread's namespace; of very many rules those parts of
/// chains that `part` says. Returns the chains that have rules, and whether that was all: where they
/// changed while they were listed they are listed once more, so that one may come twice, and who
/// changes them all the time has some left out.
///
/// All rules are asked for at once where they are few. The kernel counts them from the first one on
/// for each datagram (nf_tables_dump_rules): of many it is asked chain by chain.
pub fn refusing<'a>(
    part: impl Fn(&Sized) -> Part<'a>,
    mut each: impl FnMut(Refusing),
) -> Result<(Vec<Sized>, bool)> {
    let kernel = Kernel::open()?;
    let (chains, listed) = chains(&kernel, &mut each)?;
    let mut whole = listed == End::Whole;
    let mut last = None;
    let mut rules = |request: &[u8]| {
        let listed = kernel.twice(request, |family, one| {
            rule(family, one, &mut last).into_iter().for_each(&mut each);
        });
        whole &= listed.context(mark!("listing the rules of nftables"))? == End::Whole;
        Ok::<_, anyhow::Error>(())
    };
    let all = chains.iter().map(|chain| chain.rules);
    if chains.is_empty() {
        return Ok((chains, whole));
    }
    if all.fold(0, usize::saturating_add) <= FEW {
        rules(&request(GET_RULES, None))?;
        return Ok((chains, whole));
    }
    for sized in &chains {
        match part(sized) {
            Part::All => rules(&request(GET_RULES, Some(&sized.chain)))?,
            Part::These(handles) => {
                let mut each = handles.iter().map(|handle| one(&sized.chain, *handle));
                each.try_for_each(|request| rules(&request))?;
            }
        }
    }
    Ok((chains, whole))
}

/// The chains that have rules; all policies that refuse are handed over.
fn chains(kernel: &Kernel, mut each: impl FnMut(Refusing)) -> Result<(Vec<Sized>, End)> {
    let listed = netlink::twice(|| {
        let mut chains = Vec::new();
        let mut names = 0_usize;
        let end = kernel.list(&request(GET_CHAINS, None), |family, chain| {
            policy(family, chain).into_iter().for_each(&mut each);
            let uses = attribute(chain, CHAIN_USE).and_then(u32_of).unwrap_or(0);
            if uses > 0 && chains.len() <= CHAINS && names <= NAMES {
                let named = named(family, chain, CHAIN_TABLE, CHAIN_NAME);
                chains.extend(named.map(|chain| {
                    names += chain.table.len() + chain.chain.len();
                    Sized {
                        chain: Rc::new(chain),
                        rules: uses as usize,
                    }
                }));
            }
        })?;
        ensure!(
            chains.len() <= CHAINS && names <= NAMES,
            "there are more than {CHAINS} chains of nftables, or {} MiB of their names",
            NAMES >> 20
        );
        Ok((chains, end))
    });
    listed.context(mark!("listing the chains of nftables"))
}

/// What is known of one rule without nft.
pub struct Known {
    /// How it reads.
    pub words: String,
    pub asks: Asks,
    /// Whether by a map that was written into it packets may be refused.
    pub refuses: bool,
}

/// Of these rules, and whether they depend on a map; of one that is gone by now nothing.
pub fn known(rules: &[(&Named, u64, bool)], mut each: impl FnMut(usize, Known)) -> Result<()> {
    let kernel = Kernel::open()?;
    for (at, (chain, handle, depends)) in rules.iter().enumerate() {
        let mut found = None;
        kernel.list(&one(chain, *handle), |family, rule| {
            let all = attribute(rule, RULE_EXPRESSIONS).unwrap_or_default();
            found = Some((words::of(family, all), expression::all(all)));
        })?;
        let Some((words, expressions)) = found else {
            continue;
        };
        let known = Known {
            words,
            asks: netdiag_ruleset::asks(chain.family, &expressions),
            refuses: !depends || kernel.refuses(chain, &expressions),
        };
        each(at, known);
    }
    Ok(())
}

/// For everything, or for the rules of one chain.
fn request(what: u16, chain: Option<&Named>) -> Vec<u8> {
    let names = chain.map_or_else(Vec::new, names);
    message(what, DUMP, chain.map(|chain| chain.family), &names)
}

/// For one rule.
fn one(chain: &Named, handle: u64) -> Vec<u8> {
    let mut of = names(chain);
    of.extend(12_u16.to_ne_bytes());
    of.extend(RULE_HANDLE.to_ne_bytes());
    of.extend(handle.to_be_bytes());
    message(GET_RULES, ONE, Some(chain.family), &of)
}

fn names(chain: &Named) -> Vec<u8> {
    let mut names = Vec::new();
    for (kind, name) in [(RULE_TABLE, &chain.table), (RULE_CHAIN, &chain.chain)] {
        let length = name.len() + 5;
        names.extend((length as u16).to_ne_bytes());
        names.extend(kind.to_ne_bytes());
        names.extend(name);
        names.resize(names.len() + 1 + (length.next_multiple_of(4) - length), 0);
    }
    names
}

struct Kernel {
    socket: Socket,
    until: Instant,
}

impl Kernel {
    fn open() -> Result<Self> {
        Ok(Self {
            socket: netlink::open(NETLINK_NETFILTER)?,
            until: Instant::now() + LONGEST,
        })
    }

    fn list(&self, request: &[u8], mut each: impl FnMut(Family, &[u8])) -> Result<End> {
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
            Err(e) if is_nothing(&e) => Ok(End::Whole),
            Ok(End::Enough) => Err(anyhow!("it took more than {} s", LONGEST.as_secs())),
            listed => listed,
        }
    }

    /// Whether a map of one of these, which was written into it, leads to a drop, as far as that can be told.
    fn refuses(&self, chain: &Named, rule: &[Expression]) -> bool {
        let maps = rule.iter().filter_map(|one| match one {
            Expression::Lookup { set, to: None, .. } => Some(set),
            _ => None,
        });
        let maps = maps.filter(|set| set.starts_with("__map"));
        let mut drops = false;
        for map in maps {
            let mut of = nla(set::TABLE, &ended(&chain.table));
            of.extend(nla(set::NAME, &attributes::named(map)));
            let asked = message(GET_ELEMENTS, DUMP, Some(chain.family), &of);
            let mut left = ELEMENTS;
            let listed = self.list(&asked, |_, message| {
                let leads = set::verdicts(message, &mut left);
                drops |= leads.contains(&Verdict::Drop);
            });
            drops |= listed.is_err() || left == 0;
        }
        drops
    }

    /// The same once more where it changed meanwhile: what was handed over then comes again.
    fn twice(&self, request: &[u8], mut each: impl FnMut(Family, &[u8])) -> Result<End> {
        let listed = netlink::twice(|| Ok(((), self.list(request, &mut each)?)));
        listed.map(|((), end)| end)
    }
}

/// The chain that an object is, or is in.
fn named(family: Family, of: &[u8], table: u16, chain: u16) -> Option<Named> {
    Some(Named {
        family,
        table: name(attribute(of, table)?).to_vec(),
        chain: name(attribute(of, chain)?).to_vec(),
    })
}

impl Named {
    /// As it is told.
    pub fn told(&self) -> Chain {
        Chain {
            family: self.family,
            table: text(&self.table),
            chain: text(&self.chain),
        }
    }
}

fn ended(name: &[u8]) -> Vec<u8> {
    [name, &[0]].concat()
}

/// Up to the byte that ends it.
fn name(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The kernel takes any bytes for a name. Those that are no text are told by their numbers, and no
/// command has such a name.
fn text(bytes: &[u8]) -> String {
    let name = name(bytes);
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        let others = chunk.invalid().iter();
        text.extend(others.map(|byte| format!("\\x{byte:02x}")));
    }
    text
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

    #[test]
    fn the_kernel_is_asked_by_the_name_that_it_has() {
        let chain = Named {
            family: Family::Inet,
            table: b"a\xff".to_vec(),
            chain: b"c".to_vec(),
        };
        for asked in [request(GET_RULES, Some(&chain)), one(&chain, 7)] {
            let names = &asked[HEADER + GENERIC..];
            assert_eq!(attribute(names, RULE_TABLE), Some(&b"a\xff\0"[..]));
            let again = named(Family::Inet, names, RULE_TABLE, RULE_CHAIN);
            assert_eq!(again.as_ref(), Some(&chain));
        }
        let spelled = Named {
            table: br"a\xff".to_vec(),
            ..chain.clone()
        };
        assert_eq!(spelled.told(), chain.told());
        assert_ne!(spelled, chain, "it is another's");
    }
}
