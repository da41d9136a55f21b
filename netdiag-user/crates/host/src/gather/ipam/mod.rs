//! What host-local IPAM (containernetworking/plugins, plugins/ipam/host-local) has given out on
//! this node: a folder a network, a file an address, in it the sandbox and its interface.
mod conf;
mod range;
mod sandbox;

use std::{net::IpAddr, path::Path, time::Duration};

use anyhow::Result;

use super::{Found, Places};
use crate::{
    model::control::{RangeSet, Reserved, Sandbox},
    sys::file,
};
use range::Range;
use sandbox::Sandboxes;

/// The address comes first, the result of the whole ADD later: a younger one says nothing.
const SETTLED: Duration = Duration::from_secs(60);
/// No file of host-local's is longer: an id and a name.
const LARGEST: usize = 4096;
/// Addresses of one network that are read: a /16 has no more.
const MOST: usize = 65_536 + 16;

/// One set of ranges of a network, and where its addresses are noted.
struct Pool {
    network: String,
    conf: String,
    /// On the node.
    folder: String,
    ranges: Vec<Range>,
}

/// Every set of ranges that the node's CNI configurations name.
pub fn ranges(places: &Places) -> Result<Found<Vec<RangeSet>>> {
    let (pools, mut left) = conf::pools(places);
    if pools.is_empty() {
        return Ok((Vec::new(), left));
    }
    let sandboxes = Sandboxes::read(places);
    left.extend(sandboxes.left());
    let sets = pools.into_iter().map(|pool| {
        let mut reserved = reserved(places, &pool, &sandboxes);
        reserved.sort_by_key(|r| r.address);
        RangeSet {
            capacity: capacity(&pool.ranges),
            ranges: pool.ranges.iter().map(|r| (r.first, r.last)).collect(),
            network: pool.network,
            conf: pool.conf,
            reserved,
        }
    });
    Ok((sets.collect(), left))
}

/// More than anybody counts is enough.
fn capacity(ranges: &[Range]) -> u64 {
    let all = ranges.iter().map(Range::capacity);
    let sum = all.fold(0, u128::saturating_add);
    u64::try_from(sum).unwrap_or(u64::MAX)
}

fn reserved(places: &Places, pool: &Pool, sandboxes: &Sandboxes) -> Vec<Reserved> {
    let here = places.under_root(Path::new(&pool.folder));
    let entries = file::entries(&here, MOST).into_iter();
    let one = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        // `lock` and `last_reserved_ip.0` are none.
        let address: IpAddr = name.parse().ok()?;
        let of_pool = pool.ranges.iter().any(|r| r.contains(address));
        let meta = entry.metadata().ok()?;
        let text = of_pool.then(|| file::text(&entry.path(), LARGEST).ok())??;
        let container = text.lines().next()?.trim().to_owned();
        let age = meta.modified().ok().and_then(|m| m.elapsed().ok());
        let state = match sandboxes.state(&pool.network, &container) {
            Sandbox::Gone if age.is_none_or(|age| age < SETTLED) => Sandbox::Unknown,
            state => state,
        };
        Some(Reserved {
            address,
            file: format!("{}/{name}", pool.folder),
            container,
            state,
        })
    };
    entries.filter_map(one).collect()
}
