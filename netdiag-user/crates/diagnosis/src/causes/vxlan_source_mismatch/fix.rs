//! What to do where the address that packets come from is not the one that the others have.
use netdiag_lang::t;

use super::{Mismatch, Side, device};
use crate::{
    model::{
        address::mac,
        node::{Fdb, Link},
        shell::CommandLine,
        verdict::Fix,
    },
    pipeline::facts::Facts,
    shell,
};

/// Flannel has one per peer; a bridged overlay one per pod there.
const MOST_ENTRIES: usize = 8;

pub fn fix(facts: &Facts<'_>, m: &Mismatch) -> Fix {
    let link = device(facts, m.vni, m.port);
    let device = link.map_or(t!("the VXLAN device"), |l| l.name.as_str());
    match m.side {
        Side::Ours => Fix {
            summary: t!(
                "make {device} send from {}, by which the peers know this node: remove {} from \
                 {} (a second address by DHCP: BOOTPROTO=none) or set flannel's annotation \
                 flannel.alpha.coreos.com/public-ip-overwrite to {} and restart flanneld; until \
                 then the command does it",
                m.expected,
                m.source,
                m.interface,
                m.expected
            ),
            commands: Vec::from_iter(link.map(|link| {
                shell!(
                    "ip link set dev {} type vxlan id {} local {}",
                    link.name,
                    m.vni,
                    m.expected
                )
            })),
        },
        Side::Peers => Fix {
            summary: t!(
                "the peer that sends from {} is entered as {}: its lease (flannel: the node's \
                 public-ip annotation) is stale; correct it there and restart its flanneld, which \
                 every node then hears of. Until then, on this node only, enter what it sends from",
                m.source,
                m.expected
            ),
            commands: link.map_or_else(Vec::new, |link| entered(facts, link, m)),
        },
    }
}

/// The entries of the old address, with the new one.
fn entered(facts: &Facts<'_>, device: &Link, m: &Mismatch) -> Vec<CommandLine> {
    let own = |f: &&Fdb| f.ifindex == device.index && f.vtep == m.expected;
    // All zeros are where what has no entry is sent.
    let hosts = facts.node.fdb.iter().filter(own);
    let hosts = hosts.filter(|f| f.lladdr.iter().any(|b| *b != 0));
    let (name, vtep) = (&device.name, m.source);
    let entry = |f: &Fdb| {
        let lladdr = mac(&f.lladdr);
        shell!(
            "bridge fdb replace {} dev {} dst {} self permanent",
            lladdr,
            name,
            vtep
        )
    };
    hosts.take(MOST_ENTRIES).map(entry).collect()
}
