//! The rules of nf_tables with all that they ask for (include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h), and those of
//! iptables' own tables beside them.
pub mod attributes;
#[cfg(any(test, feature = "bodies"))]
pub mod bodies;
pub mod expression;
mod ipset;
mod kept;
pub mod legacy;
pub mod set;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    os::fd::AsRawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use netdiag_lang::{english, mark};
use rtnetlink::sys::Socket;

use self::attributes::{name, number, u64_of};
pub use self::kept::Moment;
use crate::{
    gather::{
        netlink::{self, DUMP, End, HEADER, attribute, nla},
        nfnetlink::{
            self, GENERIC, GET_CHAINS, GET_ELEMENTS, GET_GENERATION, GET_RULES, GET_SETS,
            GET_TABLES, NETLINK_NETFILTER, ONE,
        },
    },
    model::{
        netfilter::Family,
        world::{
            Known, Why,
            ruleset::{
                BaseChain, Chain, ChainKind, Element, Expression, Hook, Rule, Ruleset, Table,
            },
        },
    },
};

/// How long the kernel may take for all.
const LONGEST: Duration = Duration::from_secs(20);
/// How often it is listed again where somebody changes it meanwhile.
const TIMES: usize = 3;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const DORMANT: u32 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_HANDLE: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const HOOK_DEVICE: u16 = 3;
const HOOK_DEVICES: u16 = 4;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USER_DATA: u16 = 7;
const GENERATION_ID: u16 = 1;
/// NF_DROP.
const DROP: u32 = 0;

/// Tables, chains and sets, of which there are no more than rules where somebody uses them: whoever owns the namespace may
/// have made any number of them.
const OBJECTS: usize = 1_024;

/// Bounds of what is read.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub rules: usize,
    pub elements: usize,
    /// What rules say of themselves is kept.
    pub comments: bool,
}

/// That of the namespace that this thread is in, whole where it has no more rules and elements than that: any packet may
/// hang on what is missing.
pub fn read(most: Most) -> Known<Arc<Ruleset>> {
    let until = Instant::now() + LONGEST;
    for _ in 0..TIMES {
        match listed(most, until) {
            Ok((_, Some(Why::Changing))) => {}
            Ok((ruleset, None)) => return Known::Is(ruleset),
            Ok((_, Some(why))) => return Known::Not(why),
            Err(error) => return Known::Not(Why::Refused(format!("{error:#}"))),
        }
    }
    Known::Not(Why::Changing)
}

/// The same for who asks what rules are there for.
pub fn whole(most: Most) -> Result<Arc<Ruleset>> {
    match read(most) {
        Known::Is(rules) | Known::Partly(rules, _) => Ok(rules),
        Known::Not(Why::Refused(why)) => bail!(why),
        Known::Not(Why::Changing) => bail!(mark!("the rules change all the time")),
        Known::Not(_) => bail!(english!(
            "there are more than {} rules, or {} elements of their sets",
            most.rules,
            most.elements
        )),
    }
}

/// When that is for the namespace that this thread is in; nothing where iptables has tables of its own.
pub fn moment() -> Option<Moment> {
    let kernel = Kernel {
        socket: netlink::open(NETLINK_NETFILTER).ok()?,
        until: Instant::now() + LONGEST,
    };
    let generation = kernel.generation().ok()?;
    let none = |ipv6| legacy::names(ipv6).is_ok_and(|names| names.is_empty());
    let all = none(false) && none(true);
    all.then(|| Moment::of(kernel.socket.as_raw_fd(), generation))?
}

/// As far as it comes, and why it comes no further.
fn listed(most: Most, until: Instant) -> Result<(Arc<Ruleset>, Option<Why>)> {
    let kernel = Kernel {
        socket: netlink::open(NETLINK_NETFILTER)?,
        until,
    };
    let before = kernel.generation()?;
    let descriptor = kernel.socket.as_raw_fd();
    let mut reading = Reading {
        most,
        before: kept::before(descriptor, before, most.comments),
        why: None,
        objects: most.rules.max(OBJECTS),
        tables: BTreeMap::new(),
        places: BTreeMap::new(),
        ruleset: Ruleset {
            tables: Vec::new(),
            ipsets: Vec::new(),
            generation: before,
        },
    };
    type Part = fn(&mut Reading, &Kernel) -> Result<()>;
    const PARTS: [Part; 6] = [
        Reading::tables,
        Reading::chains,
        Reading::rules,
        Reading::sets,
        Reading::legacy,
        Reading::ipsets,
    ];
    for part in PARTS {
        part(&mut reading, &kernel)?;
        if reading.why.is_some() {
            break;
        }
    }
    // What it was when it was begun is no excuse for what is too much now.
    if reading.why.is_none() && kernel.generation()? != before {
        reading.why = Some(Why::Changing);
    }
    let ruleset = Arc::new(reading.ruleset);
    if reading.why.is_none() {
        kept::keep(descriptor, &ruleset, most.comments);
    }
    Ok((ruleset, reading.why))
}

/// What is put together.
struct Reading {
    most: Most,
    /// The rules of the same generation, as they were read before.
    before: Option<Arc<Ruleset>>,
    /// Why it is not all.
    why: Option<Why>,
    /// How many more tables, chains and sets are kept.
    objects: usize,
    tables: BTreeMap<(&'static str, String), usize>,
    /// Chains by their table and name, each by their numbers.
    places: BTreeMap<(usize, String), usize>,
    ruleset: Ruleset,
}

impl Reading {
    fn tables(&mut self, kernel: &Kernel) -> Result<()> {
        let each = |reading: &mut Self, family: Family, message: &[u8]| {
            let name = name(attribute(message, TABLE_NAME)?)?;
            reading.one_more()?;
            let at = reading.ruleset.tables.len();
            reading.tables.insert((family.name(), name.clone()), at);
            reading.ruleset.tables.push(Table {
                family,
                name,
                legacy: false,
                dormant: number(message, TABLE_FLAGS).unwrap_or(0) & DORMANT != 0,
                chains: Vec::new(),
                sets: Vec::new(),
            });
            Some(())
        };
        kernel.list(self, &request(GET_TABLES, None, &[]), each)
    }

    fn chains(&mut self, kernel: &Kernel) -> Result<()> {
        let each = |reading: &mut Self, family, message: &[u8]| {
            let at = reading.table(family, attribute(message, CHAIN_TABLE)?)?;
            let name = name(attribute(message, CHAIN_NAME)?)?;
            reading.one_more()?;
            let chains = &mut reading.ruleset.tables.get_mut(at)?.chains;
            reading.places.insert((at, name.clone()), chains.len());
            chains.push(Chain {
                name,
                handle: u64_of(attribute(message, CHAIN_HANDLE)?)?,
                base: base(family, message),
                rules: Vec::new(),
            });
            Some(())
        };
        kernel.list(self, &request(GET_CHAINS, None, &[]), each)
    }

    fn rules(&mut self, kernel: &Kernel) -> Result<()> {
        let mut left = self.most.rules;
        let each = |reading: &mut Self, family, message: &[u8]| {
            let table = reading.table(family, attribute(message, RULE_TABLE)?)?;
            let name = name(attribute(message, RULE_CHAIN)?)?;
            let chain = *reading.places.get(&(table, name))?;
            left = left.checked_sub(1)?;
            let expressions = attribute(message, RULE_EXPRESSIONS).unwrap_or_default();
            let comment = || {
                let own = attribute(message, RULE_USER_DATA).and_then(attributes::comment);
                own.or_else(|| expression::comment(expressions))
            };
            let rule = Rule {
                handle: u64_of(attribute(message, RULE_HANDLE)?)?,
                expressions: expression::all(expressions),
                comment: reading.most.comments.then(comment).flatten(),
            };
            let chains = &mut reading.ruleset.tables.get_mut(table)?.chains;
            chains.get_mut(chain)?.rules.push(rule);
            Some(())
        };
        kernel.list(self, &request(GET_RULES, None, &[]), each)
    }

    fn sets(&mut self, kernel: &Kernel) -> Result<()> {
        let each = |reading: &mut Self, family, message: &[u8]| {
            let at = reading.table(family, attribute(message, set::TABLE)?)?;
            let set = set::set(message)?;
            reading.one_more()?;
            reading.ruleset.tables.get_mut(at)?.sets.push(set);
            Some(())
        };
        kernel.list(self, &request(GET_SETS, None, &[]), each)?;
        let mut left = self.most.elements;
        for at in 0..self.ruleset.tables.len() {
            for which in 0..self.ruleset.tables[at].sets.len() {
                if let Some(elements) = self.had(at, which, left) {
                    left -= elements.len();
                    self.ruleset.tables[at].sets[which].elements = elements;
                    continue;
                }
                let table = &self.ruleset.tables[at];
                let names = [
                    nla(set::TABLE, &attributes::named(&table.name)),
                    nla(set::NAME, &attributes::named(&table.sets[which].name)),
                ];
                let asked = request(GET_ELEMENTS, Some(table.family), &names.concat());
                let comments = self.most.comments;
                let each = |reading: &mut Self, _, message: &[u8]| {
                    let of = &mut reading.ruleset.tables.get_mut(at)?.sets.get_mut(which)?;
                    set::elements(of, message, &mut left, comments)
                };
                // Nothing more comes by that socket.
                if self.why.is_some() {
                    return Ok(());
                }
                kernel.list(self, &asked, each)?;
            }
        }
        Ok(())
    }

    /// What is in a set, where nothing can have changed in it.
    fn had(&self, at: usize, which: usize, left: usize) -> Option<Vec<Element>> {
        let table = &self.ruleset.tables[at];
        let before = self.before.as_deref()?;
        let had = kept::same(before, (table, which), &table.sets[which])?;
        (had.elements.len() <= left).then(|| had.elements.clone())
    }

    /// Iptables' own.
    fn legacy(&mut self, _: &Kernel) -> Result<()> {
        let mut left = self.most.rules;
        for ipv6 in [false, true] {
            let (tables, whole) = legacy::tables(ipv6, &mut left, self.most.comments)?;
            if !whole {
                self.why = Some(Why::TooMany);
            }
            self.ruleset.tables.extend(tables);
        }
        Ok(())
    }

    /// Where some rule asks one.
    fn ipsets(&mut self, kernel: &Kernel) -> Result<()> {
        let asks =
            |one: &Expression| matches!(one, Expression::Xtables { name, .. } if name == "set");
        let tables = self.ruleset.tables.iter();
        let mut rules = tables
            .flat_map(|table| &table.chains)
            .flat_map(|chain| &chain.rules);
        if !rules.any(|rule| rule.expressions.iter().any(asks)) {
            return Ok(());
        }
        let mut left = self.most.elements;
        let each = |reading: &mut Self, _, message: &[u8]| {
            ipset::told(&mut reading.ruleset.ipsets, message, &mut left)
        };
        kernel.list(self, &ipset::request(), each)
    }

    fn one_more(&mut self) -> Option<()> {
        self.objects = self.objects.checked_sub(1)?;
        Some(())
    }

    /// Nothing of one that is not there any more, or not yet.
    fn table(&self, family: Family, of: &[u8]) -> Option<usize> {
        self.tables.get(&(family.name(), name(of)?)).copied()
    }
}

fn base(family: Family, chain: &[u8]) -> Option<BaseChain> {
    let of = attribute(chain, CHAIN_HOOK)?;
    let devices = attribute(of, HOOK_DEVICES).unwrap_or_default();
    let devices = netlink::attributes(devices).map(|(_, device)| device);
    let devices = devices.chain(attribute(of, HOOK_DEVICE)).filter_map(name);
    Some(BaseChain {
        hook: hook(family, number(of, HOOK_NUMBER)?)?,
        priority: number(of, HOOK_PRIORITY)?.cast_signed(),
        kind: match attribute(chain, CHAIN_TYPE).and_then(name).as_deref() {
            Some("nat") => ChainKind::Nat,
            Some("route") => ChainKind::Route,
            _ => ChainKind::Filter,
        },
        accepts: number(chain, CHAIN_POLICY) != Some(DROP),
        devices: devices.collect(),
    })
}

/// NF_INET_…, NF_BR_…, NF_ARP_…, NF_NETDEV_…
pub fn hook(family: Family, number: u32) -> Option<Hook> {
    const INET: &[Hook] = &[
        Hook::Prerouting,
        Hook::Input,
        Hook::Forward,
        Hook::Output,
        Hook::Postrouting,
        Hook::Ingress,
    ];
    let all: &[Hook] = match family {
        Family::Arp => &[Hook::Input, Hook::Output, Hook::Forward],
        Family::Netdev => &[Hook::Ingress, Hook::Egress],
        _ => INET,
    };
    all.get(number as usize).copied()
}

/// For everything, or for what is said.
fn request(what: u16, family: Option<Family>, attributes: &[u8]) -> Vec<u8> {
    let flags = if what == GET_GENERATION { ONE } else { DUMP };
    nfnetlink::message(what, flags, family, attributes)
}

struct Kernel {
    socket: Socket,
    until: Instant,
}

impl Kernel {
    fn generation(&self) -> Result<u32> {
        let mut generation = 0;
        let each = |message: &[u8]| {
            let attributes = message.get(HEADER + GENERIC..).unwrap_or_default();
            generation = number(attributes, GENERATION_ID).unwrap_or(generation);
            ControlFlow::Continue(())
        };
        let asked = request(GET_GENERATION, None, &[]);
        match netlink::ask(&self.socket, &asked, each) {
            Err(error) if nfnetlink::is_nothing(&error) => Ok(0),
            asked => asked.map(|_| generation),
        }
        .context(mark!("listing the rules of nftables"))
    }

    /// Hands over each, up to the first that has no place.
    fn list(
        &self,
        reading: &mut Reading,
        request: &[u8],
        mut each: impl FnMut(&mut Reading, Family, &[u8]) -> Option<()>,
    ) -> Result<()> {
        let listed = netlink::ask(&self.socket, request, |message| {
            let family = message.get(HEADER).copied().and_then(nfnetlink::family);
            let attributes = message.get(HEADER + GENERIC..);
            let taken = family.zip(attributes);
            let taken = taken.and_then(|(family, of)| each(reading, family, of));
            match taken.is_some() && Instant::now() < self.until {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        match listed {
            Err(error) if nfnetlink::is_nothing(&error) => {}
            Ok(End::Whole) => {}
            Ok(End::Changed) => reading.why = Some(Why::Changing),
            Ok(End::Enough) => reading.why = Some(Why::TooMany),
            Err(error) => return Err(error).context(mark!("listing the rules of nftables")),
        }
        Ok(())
    }
}
