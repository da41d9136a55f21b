//! Rules of a pod's namespace that lead its connections to a local port, and the proxies that run there.
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Result, ensure};
use netdiag_ruleset::leads::{Beside, Does, Way, leads};

use super::processes;
use crate::{
    model::{
        flow,
        interception::{Interception, Redirect},
        netfilter::{self, Iptables, Listing},
        text,
        world::ruleset::{Chain, Hook, NatKind, Ruleset, Table},
    },
    namespaces,
    stack::ruleset::{self, Most},
};

/// Programs of known meshes. A pod's word about itself: it speaks of its own connections alone.
const PROXIES: [&str; 5] = [
    "consul-dataplane",
    "envoy",
    "kuma-dp",
    "linkerd2-proxy",
    "pilot-agent",
];
/// Those of a namespace that are named.
const MOST_PROXIES: usize = 16;
/// A pod has as many rules as its owner makes; one that is a node of its own (kind, k3d) has some thousand.
const MOST: Most = Most {
    rules: 16_384,
    elements: 32_768,
    comments: false,
};
/// Steps through rules, some tenths of a second: chains that lead to each other often have any number of ways, and sets of
/// elements.
const LOOKS: usize = 1 << 18;
/// Places that connections are led to; more than that are no sidecar's.
const REDIRECTS: usize = 64;
/// Ports of one such place.
const PORTS: usize = 1024;
/// Characters of a rule's place.
const LONGEST: usize = 600;

/// Of this thread's namespace; processes are looked up under `root`.
pub fn interception(root: &Path) -> Result<Interception> {
    let mut found = of(&*ruleset::whole(MOST)?)?;
    found.proxies = proxies(root);
    Ok(found)
}

fn proxies(root: &Path) -> Vec<String> {
    let own = namespaces::own();
    let mut found = Vec::new();
    processes::each(root, |process, _| {
        if Some(process.netns) == own
            && let Some(program) = process.program()
            && PROXIES.contains(&program.name.as_str())
            && found.len() < MOST_PROXIES
        {
            found.push(format!("{}[{}]", program.name, process.pid));
        }
    });
    found
}

fn of(rules: &Ruleset) -> Result<Interception> {
    let mut found = Interception::default();
    // For all chains together: a pod can make as many as it likes.
    let mut left = LOOKS;
    for table in rules.tables.iter().filter(|table| !table.dormant) {
        for (chain, hook) in table.chains.iter().filter_map(asked) {
            let mut led = Led::default();
            let mut each = |way: &Way<'_, '_>| led.note(table, way);
            let beside = Beside {
                ipsets: &rules.ipsets,
                own_addresses: false,
            };
            let whole = leads(table, beside, chain, &mut left, &mut each);
            ensure!(
                whole,
                "it takes more than {LOOKS} steps to see where its rules lead"
            );
            let all = match hook {
                Hook::Prerouting => &mut found.inbound,
                _ => &mut found.outbound,
            };
            // A chain that leads nobody anywhere spares nobody.
            if hook == Hook::Prerouting && !led.redirects.is_empty() {
                found.exempt.extend(led.spared);
            }
            let room = REDIRECTS.saturating_sub(all.len());
            all.extend(led.redirects.into_iter().take(room));
        }
    }
    found.exempt.sort_unstable();
    found.exempt.dedup();
    Ok(found)
}

/// A chain that packets from outside, or those of programs here, come to.
fn asked(chain: &Chain) -> Option<(&Chain, Hook)> {
    let hook = chain.base.as_ref()?.hook;
    matches!(hook, Hook::Prerouting | Hook::Output).then_some((chain, hook))
}

/// What one chain does, with all that it leads to.
#[derive(Default)]
struct Led {
    redirects: Vec<Redirect>,
    /// Ports that it leaves alone.
    spared: Vec<u16>,
}

impl Led {
    fn note(&mut self, table: &Table, way: &Way<'_, '_>) {
        if way.packets.protocol == Some(flow::UDP) {
            return;
        }
        match &way.does {
            Does::Translates(to) if to.kind == NatKind::Redirect => {
                if let Some(port) = to.port {
                    redirect(table, way, port, &mut self.redirects);
                }
            }
            // By the rule itself: what leads to its chain asked for a port for another end.
            Does::Accepts | Does::Returns if self.spared.len() < PORTS => {
                let asked = way.before.ports != way.packets.ports;
                self.spared.extend(way.packets.port().filter(|_| asked));
            }
            _ => {}
        }
    }
}

fn redirect(table: &Table, way: &Way<'_, '_>, port: u16, all: &mut Vec<Redirect>) {
    let Some(last) = way.last() else { return };
    let (rule, list) = place(table, last.chain);
    let of = match way.packets.ports {
        None | Some((..=1, u16::MAX)) => Vec::new(),
        Some((first, last)) => (first..=last).take(PORTS).collect(),
    };
    let same = |it: &&mut Redirect| it.port == port && it.rule == rule;
    let Some(known) = all.iter_mut().find(same) else {
        if all.len() < REDIRECTS {
            all.push(Redirect {
                port,
                of,
                rule,
                list,
            });
        }
        return;
    };
    // One rule for several ports; who leads every port leads those, too.
    if of.is_empty() {
        known.of.clear();
    } else if !known.of.is_empty() {
        let room = PORTS.saturating_sub(known.of.len());
        let new = of.into_iter().filter(|port| !known.of.contains(port));
        let new: Vec<u16> = new.take(room).collect();
        known.of.extend(new);
    }
}

/// Where a rule is, and what lists it.
fn place(table: &Table, chain: &Chain) -> (String, Listing) {
    let program = table.program(chain.rules.iter());
    let first = program.map_or(table.family.name(), Iptables::name);
    let rule = text::line(&format!("{first} {} {}", table.name, chain.name), LONGEST);
    let list = match program {
        Some(program) => Listing::Iptables {
            program,
            table: table.name.clone(),
        },
        None => Listing::NftChain(netfilter::Chain {
            family: table.family,
            table: table.name.clone(),
            chain: chain.name.clone(),
        }),
    };
    (rule, list)
}
