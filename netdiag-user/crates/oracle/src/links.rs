//! Kinds of links that some worlds have beside: those of them that the kernel has.
use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use anyhow::{Result, ensure};
use fastrand::Rng;
use netdiag_model::world::{Stack, device::Device};

use crate::{
    bonds, bridge_vlans,
    command::Command,
    inner_pairs, ip_tunnels, ipsecs, ipvlans, ipvs, macvlans,
    mistakes::Mistake,
    names::{SPACES, device},
    plan::own,
    set::Set,
    shots, six,
    traffic::Shot,
    tuns, vlans, wireguards,
};

pub struct Links {
    pub name: &'static str,
    /// In no world but where it is asked for.
    pub alone: bool,
    /// What the kernel has where it has them.
    pub file: Option<&'static str>,
    /// What makes one in a namespace of a set, as ip(8) takes it, and by which name.
    pub probe: Option<(&'static str, &'static str)>,
    /// Of worlds over IPv6, too.
    pub ipv6: bool,
    /// Sockets may send superpackets by them: until Linux 6.11 a device has to fill in checksums for that.
    pub superpackets: bool,
    pub made: fn(&mut Rng) -> Vec<Command>,
    /// An address that a namespace is reached at by it.
    pub behind: fn(usize) -> String,
    pub is: Is,
    /// Those that no world without them shows.
    pub mistakes: &'static [Mistake],
}

/// Which packets went by them.
#[derive(Clone, Copy)]
pub enum Is {
    /// At such a device, or at a port of one.
    Device(fn(&Device) -> bool),
    /// To such an address, where it is of a namespace.
    Address(fn(&Stack, IpAddr) -> bool),
}

pub static LINKS: [Links; 11] = [
    ip_tunnels::LINKS,
    vlans::LINKS,
    macvlans::LINKS,
    tuns::LINKS,
    inner_pairs::LINKS,
    bonds::LINKS,
    ipvlans::LINKS,
    bridge_vlans::LINKS,
    wireguards::LINKS,
    ipvs::LINKS,
    ipsecs::LINKS,
];

/// What every namespace is reached at by them.
pub fn addresses(behind: fn(usize) -> String) -> Vec<Command> {
    let line = |space| Command::ip(space, format!("addr add {}/32 dev lo", behind(space)));
    (0..SPACES).map(line).collect()
}

/// A route over the link that a namespace and another are a pair on.
pub fn at_once(to: &str, by: usize) -> String {
    format!(
        "route add {to}/32 via {} dev {} onlink",
        own(by),
        device(by)
    )
}

pub fn names() -> Vec<&'static str> {
    LINKS.iter().map(|links| links.name).collect()
}

/// Those that this kernel has, or the one that is asked for.
pub fn here(set: &Set, wanted: Option<&str>) -> Result<Vec<&'static Links>> {
    let mut here = Vec::new();
    let fits = LINKS.iter();
    let asked = |links: &&Links| wanted.map_or(!links.alone, |name| name == links.name);
    for links in fits.filter(asked) {
        let there = links.file.is_none_or(|file| Path::new(file).exists());
        let has = there && links.probe.map_or(Ok(true), |probe| set.has(probe))?;
        ensure!(has || wanted.is_none(), "this kernel has no {}", links.name);
        here.extend(has.then_some(links));
    }
    Ok(here)
}

/// One of them in half of the worlds, or in all.
pub fn chosen(
    rng: &mut Rng,
    here: &[&'static Links],
    (ipv6, always): (bool, bool),
) -> Option<&'static Links> {
    let fits = here.iter().filter(|links| links.ipv6 || !ipv6);
    let fits: Vec<_> = fits.copied().collect();
    rng.choice(fits).filter(|_| rng.bool() || always)
}

impl Links {
    /// A world's lines for them, for either family.
    pub fn made(&self, rng: &mut Rng, ipv6: bool) -> Vec<Command> {
        let lines = (self.made)(rng);
        if ipv6 { six::lines(&lines) } else { lines }
    }

    /// Two of three packets that sockets send are for addresses that are reached by them.
    pub fn aim(&self, rng: &mut Rng, shots: &mut [Shot], ipv6: bool) {
        let to = |space| {
            let v4: Ipv4Addr = (self.behind)(space).parse().ok()?;
            Some(if ipv6 {
                six::address(v4).into()
            } else {
                v4.into()
            })
        };
        shots::aim(rng, shots, self.superpackets, to);
    }
}
