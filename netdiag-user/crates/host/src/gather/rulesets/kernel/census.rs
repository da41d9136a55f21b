//! Which tables there are, and which of them somebody looks for: nft takes seconds and hundreds of
//! MiB to list 100,000 rules, of which most people who look for a map want none.
use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use netdiag_lang::mark;

use super::{
    CHAIN_NAME, CHAIN_TABLE, CHAIN_USE, GET_CHAINS, GET_SETS, GET_TABLES, Kernel, request,
    rule::{CHAIN_HOOK, HOOK_NUMBER, hook_name},
    text, u32_of,
};
use crate::{
    gather::netlink::{self, End, attribute},
    model::netfilter::Family,
};

const TABLE_NAME: u16 = 1;
const SET_TABLE: u16 = 1;
const SET_FLAGS: u16 = 3;
const SET_DATA_TYPE: u16 = 6;
/// NFT_SET_MAP, NFT_DATA_VERDICT.
const MAP: u32 = 8;
const TO_VERDICTS: u32 = 0xffff_ff00;
/// Tables that are told apart.
const MOST: usize = 4096;
/// iptables' own chains, which it names so in every table of its own (iptables/nft.c).
const IPTABLES: [&[u8]; 5] = [
    b"PREROUTING\0",
    b"INPUT\0",
    b"FORWARD\0",
    b"OUTPUT\0",
    b"POSTROUTING\0",
];

/// Tables that a reader of listings needs whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Those whose maps lead from a key to a chain.
    WithMaps,
    /// Those that see packets before they are routed, or those from here.
    Rerouting,
    /// Those that see packets behind routing.
    Postrouting,
}

/// By family and name.
pub type Names = BTreeSet<(Family, String)>;

#[derive(Debug, Default)]
pub struct Census {
    /// No fewer than there are.
    pub rules: usize,
    pub tables: Names,
    /// Those that were asked for; none where they are too many to tell.
    pub wanted: Option<Names>,
    /// Chains of iptables' are among the others.
    pub iptables: bool,
}

/// Counts this thread's namespace. What changes all the time is not counted.
pub fn census(tables: Tables) -> Result<Census> {
    let kernel = Kernel::open()?;
    let listed = netlink::twice(|| {
        let mut found = Census::default();
        let mut wanted = BTreeSet::new();
        let mut ends = vec![
            all_tables(&kernel, &mut found)?,
            chains(&kernel, tables, &mut found, &mut wanted)?,
        ];
        if tables == Tables::WithMaps {
            ends.push(maps(&kernel, &mut wanted)?);
        }
        let many = found.tables.len() >= MOST || wanted.len() >= MOST;
        found.wanted = (!many).then_some(wanted);
        let changed = ends.iter().find(|end| **end != End::Whole);
        Ok((found, changed.copied().unwrap_or(End::Whole)))
    });
    let (found, end) = listed?;
    ensure!(end == End::Whole, "they changed while they were listed");
    Ok(found)
}

fn all_tables(kernel: &Kernel, found: &mut Census) -> Result<End> {
    let listed = kernel.list(&request(GET_TABLES, None), |family, table| {
        note(&mut found.tables, family, attribute(table, TABLE_NAME));
    });
    listed.context(mark!("listing the tables of nftables"))
}

fn chains(kernel: &Kernel, tables: Tables, found: &mut Census, wanted: &mut Names) -> Result<End> {
    let listed = kernel.list(&request(GET_CHAINS, None), |family, chain| {
        let uses = attribute(chain, CHAIN_USE).and_then(u32_of).unwrap_or(0);
        found.rules = found.rules.saturating_add(uses as usize);
        let Some(hook) = attribute(chain, CHAIN_HOOK) else {
            return;
        };
        let number = attribute(hook, HOOK_NUMBER).and_then(u32_of);
        let hook = number.and_then(|number| hook_name(family, number));
        let hooked = match tables {
            Tables::Rerouting => matches!(hook, Some("prerouting" | "output")),
            Tables::Postrouting => hook == Some("postrouting"),
            Tables::WithMaps => false,
        };
        if hooked {
            note(wanted, family, attribute(chain, CHAIN_TABLE));
        }
        let name = attribute(chain, CHAIN_NAME).unwrap_or_default();
        if matches!(family, Family::Ip | Family::Ip6) && IPTABLES.contains(&name) {
            found.iptables = true;
        }
    });
    listed.context(mark!("listing the chains of nftables"))
}

fn maps(kernel: &Kernel, wanted: &mut Names) -> Result<End> {
    let listed = kernel.list(&request(GET_SETS, None), |family, set| {
        let number = |kind| attribute(set, kind).and_then(u32_of);
        let flags = number(SET_FLAGS).unwrap_or(0);
        if flags & MAP != 0 && number(SET_DATA_TYPE) == Some(TO_VERDICTS) {
            note(wanted, family, attribute(set, SET_TABLE));
        }
    });
    listed.context(mark!("listing the sets of nftables"))
}

/// A name that is no text is no word of nft's: who wants such a table lists them all.
fn note(tables: &mut Names, family: Family, name: Option<&[u8]>) {
    if let Some(name) = name.filter(|_| tables.len() < MOST) {
        tables.insert((family, text(name)));
    }
}
