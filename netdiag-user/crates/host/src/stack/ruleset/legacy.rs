//! Tables of iptables' own (net/ipv4/netfilter/ip_tables.c, net/ipv6/netfilter/ip6_tables.c), as the kernel hands them
//! over: one table at once, its chains in one row of bytes. Asking for a table makes it, so that only those are asked for
//! that are there.
pub mod entries;
#[cfg(test)]
mod tests;

use std::{io, net::UdpSocket, os::fd::AsRawFd, path::Path};

use anyhow::{Context, Result, bail};
use netdiag_lang::mark;

pub use self::entries::name_of;
use self::entries::{Info, NAME};
use crate::{
    model::world::ruleset::{Chain, Table},
    sys::{file, socket},
};

/// IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES; of IPv6 they have the same numbers.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
/// Before the entries: the table's name, how many bytes they have, and four of nothing.
const HEADER: usize = NAME + 8;
/// Bytes of a table: some hundred thousand rules with comments, of which each takes 288.
const LARGEST: usize = 128 << 20;
/// A chain has one before its rules and one behind them; five policies, and the last.
const ENTRIES_OF_A_RULE: usize = 3;
const OWN: usize = 6;
/// Whoever changes a table meanwhile changes its size.
const TIMES: usize = 3;
const NAMES: usize = 4 << 10;

/// Those of a family in the namespace that this thread is in, and whether those are all: of one with more rules than are
/// left none is read.
pub fn tables(ipv6: bool, left: &mut usize, comments: bool) -> Result<(Vec<Table>, bool)> {
    let (mut tables, mut whole) = (Vec::new(), true);
    for name in &names(ipv6)? {
        let table = table(ipv6, name, left).context(mark!("listing the rules of iptables"))?;
        whole &= table.is_some();
        tables.extend(table);
    }
    let chains = tables.iter_mut().flat_map(|table| &mut table.chains);
    let rules = chains.flat_map(|chain| &mut chain.rules);
    if !comments {
        rules.for_each(|rule| rule.comment = None);
    }
    Ok((tables, whole))
}

/// Those that somebody has asked for.
pub fn names(ipv6: bool) -> Result<Vec<String>> {
    let name = if ipv6 {
        "ip6_tables_names"
    } else {
        "ip_tables_names"
    };
    let path = Path::new("/proc/thread-self/net").join(name);
    let names = match file::text(&path, NAMES) {
        // This kernel has none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.with_context(|| format!("reading {}", path.display()))?,
    };
    let named = names.lines().filter(|name| !name.is_empty());
    Ok(named.map(String::from).collect())
}

/// Nothing where it has too many.
fn table(ipv6: bool, name: &str, left: &mut usize) -> Result<Option<Table>> {
    let (level, address) = match ipv6 {
        false => (libc::IPPROTO_IP, "0.0.0.0:0"),
        true => (libc::IPPROTO_IPV6, "[::]:0"),
    };
    let asked = UdpSocket::bind(address)?;
    let ask = |what, about: &mut Vec<u8>| {
        let length = socket::option(asked.as_raw_fd(), level, what, about)?;
        about.truncate(length);
        io::Result::Ok(())
    };
    for _ in 0..TIMES {
        let mut about = named(name);
        about.resize(Info::SIZE, 0);
        ask(GET_INFO, &mut about)?;
        let info = Info::of(&about).context("a table's description is too short")?;
        let size = info.size as usize;
        let entries = info.entries as usize;
        if size > LARGEST || entries > left.saturating_mul(ENTRIES_OF_A_RULE).saturating_add(OWN) {
            return Ok(None);
        }
        let mut all = named(name);
        all.extend(info.size.to_ne_bytes());
        all.resize(HEADER + size, 0);
        match ask(GET_ENTRIES, &mut all) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => continue,
            asked => asked?,
        }
        let entries = all.get(HEADER..).unwrap_or_default();
        let table = entries::table(ipv6, name, &info, entries);
        let table = table.context("a table's rules are not as expected")?;
        // A chain that others lead to ends with one that nobody made.
        let own = |chain: &Chain| {
            chain.rules.len() - usize::from(chain.base.is_none() && !chain.rules.is_empty())
        };
        let rules = table.chains.iter().map(own).sum();
        let rest = left.checked_sub(rules);
        *left = rest.unwrap_or(*left);
        return Ok(rest.map(|_| table));
    }
    bail!("they change all the time")
}

fn named(name: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = name.bytes().take(NAME - 1).collect();
    bytes.resize(NAME, 0);
    bytes
}
