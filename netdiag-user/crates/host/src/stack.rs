//! One network namespace as the kernel decides by it, read by the thread that is in it: what the
//! walk of a packet is computed from. Nothing is judged here, and nothing left out but what the
//! kernel will not say, which is said.
mod addresses;
mod at_links;
mod bonds;
#[cfg(test)]
mod changed;
mod conf;
mod devices;
mod generic;
mod ipsec;
pub mod ipvs;
mod neighbours;
mod nexthops;
mod routes;
mod rules;
pub mod ruleset;
mod settings;
mod tunnels;
mod vlans;
mod wireguard;

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};

use super::{
    listing::{Listed, Most},
    nsids,
};
use crate::model::world::{Known, Stack, Why};

/// Reads the namespace that this thread is in; `root` is where /proc is seen.
pub fn read(root: &Path, most: &Most) -> Stack {
    let mut devices = by_key(devices::devices(most.links), |device| device.index);
    vlans::add(&mut devices, most.links);
    wireguard::add(&mut devices, most.others);
    let nexthops = by_key_value(nexthops::nexthops(most.routes));
    let mut routes = known(routes::routes(most.routes));
    if let (Known::Is(all), Some(objects)) = (&mut routes, nexthops.some()) {
        all.iter_mut().for_each(|route| route.take_hops(objects));
    }
    Stack {
        addresses: known(addresses::addresses(most.addresses)),
        rules: known(rules::rules(most.others)),
        routes,
        nexthops,
        exceptions: known(routes::exceptions(most.routes)),
        neighbours: known(neighbours::neighbours(most.others)),
        proxied: known(neighbours::proxied(most.others)),
        fdb: known(neighbours::fdb(most.others)),
        settings: settings::read(root),
        at_links: at_links::read(),
        ipvs: ipvs::read(root, most.ruleset.map_or(most.routes, |it| it.elements)),
        ipsec: ipsec::read(root, most.others),
        ruleset: most.ruleset.map(ruleset::read).unwrap_or_default(),
        devices,
        nodes_id: nsids::of_own(),
        moment: now(),
        generation: 0,
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// What a listing gave, as far as it goes.
fn known<T>(listed: Result<Listed<T>>) -> Known<Vec<T>> {
    match listed {
        Err(error) => Known::Not(Why::Refused(format!("{error:#}"))),
        Ok(listed) if listed.left.changed => Known::Partly(listed.all, Why::Changing),
        Ok(listed) if listed.left.more => Known::Partly(listed.all, Why::TooMany),
        Ok(listed) => Known::Is(listed.all),
    }
}

fn by_key<T>(listed: Result<Listed<T>>, key: impl Fn(&T) -> u32) -> Known<BTreeMap<u32, T>> {
    let keyed = |all: Vec<T>| all.into_iter().map(|one| (key(&one), one)).collect();
    mapped(known(listed), keyed)
}

fn by_key_value<T>(listed: Result<Listed<(u32, T)>>) -> Known<BTreeMap<u32, T>> {
    mapped(known(listed), |all| all.into_iter().collect())
}

fn mapped<T, U>(known: Known<T>, of: impl Fn(T) -> U) -> Known<U> {
    match known {
        Known::Is(all) => Known::Is(of(all)),
        Known::Partly(some, why) => Known::Partly(of(some), why),
        Known::Not(why) => Known::Not(why),
    }
}
