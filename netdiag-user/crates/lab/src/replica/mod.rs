//! A recorded node, stood up in network namespaces of this machine: its links, addresses, routes, rules, neighbours,
//! tables of frames, sysctls and rulesets, those of its pods that were recorded, and stand-ins for who answered beyond it.
//!
//! A recording is a stranger's: all of it goes to the kernel as numbers and names over netlink and into files of sysctls
//! whose names stand here, in namespaces that are the lab's own. No shell and no program is run, none is loaded, and what
//! belongs to the whole machine is not touched.
mod addresses;
mod beyond;
mod devices;
mod made;
mod neighbours;
mod netlink;
mod nft;
mod routes;
mod rules;
mod settings;
mod space;
pub mod tried;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use anyhow::{Result, bail};

use self::{
    beyond::Slot,
    made::Made,
    space::{Place, Space},
};
use crate::{
    model::world::{Known, Netns as Inode, Stack, World},
    netns::{self, Netns},
    root,
    state::{self, Options, Record},
};

/// What is stood up at most.
const SPACES: usize = 64;
const LINKS: usize = 500;
const RULES: usize = 20_000;
const ELEMENTS: usize = 65_536;
/// Addresses, routes, policy rules, neighbours and entries of frames, together.
const ENTRIES: usize = 50_000;
/// Links that lead out and are answered at.
const UPLINKS: usize = 8;

/// The name under which it stands among labs.
pub const SCENARIO: &str = "recording";

pub struct Wanted<'a> {
    pub world: &'a World,
    pub node: Inode,
    /// Who answered beyond the node.
    pub answers: &'a BTreeSet<IpAddr>,
    /// Who asked there, by the addresses of both, and was answered or not.
    pub answered: &'a BTreeSet<(IpAddr, IpAddr)>,
    pub unanswered: &'a BTreeSet<(IpAddr, IpAddr)>,
    /// By which device of the node's others came.
    pub came: &'a BTreeMap<IpAddr, u32>,
    /// Links of the node's that lead to pods.
    pub pods: &'a BTreeSet<u32>,
}

pub struct Replica {
    pub record: Record,
    /// By the recorded namespace, the one that stands for it.
    pub spaces: BTreeMap<Inode, String>,
    pub beyond: Vec<Beyond>,
    /// What is not as it was recorded, by namespace.
    pub left: BTreeMap<String, Vec<String>>,
}

/// Who lies beyond a link that leads out, or behind a tunnel.
pub struct Beyond {
    pub what: String,
    pub netns: String,
    /// The addresses that it answers for.
    pub has: BTreeSet<IpAddr>,
}

/// Stands it up; `netdiag lab down` takes it away.
pub fn stand(wanted: &Wanted<'_>) -> Result<Replica> {
    let world = wanted.world;
    fits(world)?;
    let uplinks = made::uplinks(world, wanted.node);
    let tunnels = made::tunnels(world, wanted.node, &uplinks);
    let options = Options {
        scenario: SCENARIO.into(),
        seed: 0,
        healthy: false,
        ipv6: false,
        offload: false,
        with: None,
    };
    let pods: Vec<Inode> = world
        .stacks
        .keys()
        .copied()
        .filter(|it| *it != wanted.node)
        .collect();
    let record = state::reserve(options, |id| {
        let named = |what: String| format!("{}{id}-{what}", netns::PREFIX);
        let pods = (1..=pods.len()).map(|n| named(format!("pod{n}")));
        let to_pods = uplinks.iter().filter(|it| wanted.pods.contains(it)).count();
        let world = usize::from(to_pods < uplinks.len());
        let beyond = (1..=world + to_pods).map(|n| named(format!("beyond{n}")));
        let behind = (1..=tunnels.len()).map(|n| named(format!("behind{n}")));
        [named("node".into())]
            .into_iter()
            .chain(pods)
            .chain(beyond)
            .chain(behind)
            .collect()
    })?;
    let leads = (uplinks.as_slice(), tunnels.as_slice());
    let filled = fill(wanted, &pods, leads, record.clone());
    if filled.is_err() {
        record.remove()?;
    }
    filled
}

fn fill(
    wanted: &Wanted<'_>,
    pods: &[Inode],
    (uplinks, tunnels): (&[u32], &[made::Tunnel<'_>]),
    mut record: Record,
) -> Result<Replica> {
    netns::prepare()?;
    let mut names = record.namespaces.iter();
    let mut next = || -> Result<Netns> {
        match names.next() {
            Some(name) => Netns::create(name),
            None => bail!("there are more namespaces than names"),
        }
    };
    let mut places = BTreeMap::new();
    for inode in [wanted.node].into_iter().chain(pods.iter().copied()) {
        let Some(stack) = wanted.world.stacks.get(&inode) else {
            bail!(
                "the state of the node's own namespace is not in it: what `diagnose --record` writes has it"
            );
        };
        let netns = next()?;
        places.insert(inode, Place { netns, stack });
    }
    // The world is one, by whichever link: who answers by another one than was asked by is the same.
    let world = uplinks.iter().filter(|it| !wanted.pods.contains(it));
    let world: Vec<u32> = world.copied().collect();
    let mut beyond = BTreeMap::new();
    if !world.is_empty() {
        let netns = next()?;
        for (uplink, slot) in world.iter().zip(0..) {
            beyond.insert(*uplink, (netns.clone(), Slot(slot)));
        }
    }
    for uplink in uplinks.iter().filter(|it| wanted.pods.contains(it)) {
        beyond.insert(*uplink, (next()?, Slot(0)));
    }
    let mut left = Left::default();
    for place in places.values() {
        left.run(place, BTreeSet::new(), |place, space| {
            settings::of_namespace(place, space)
        })?;
    }
    let mut made = Made::new(wanted, &places, &beyond);
    made.all(&mut left)?;
    let made = made.made;
    for (inode, place) in &places {
        let made = made.get(inode).cloned().unwrap_or_default();
        left.run(place, made.clone(), completed)?;
    }
    let has_signal = |uplink: &u32| {
        let node = wanted.world.stacks.get(&wanted.node);
        let device = node.and_then(|stack| stack.device(*uplink));
        device.is_some_and(|device| device.lower_up)
    };
    beyond.retain(|uplink, _| has_signal(uplink));
    for (uplink, (netns, slot)) in &beyond {
        let node = wanted.world.stacks.get(&wanted.node);
        let mtu = node
            .and_then(|stack| stack.device(*uplink))
            .map(|it| it.mtu);
        left.add(netns, beyond::switched(netns, *slot, mtu)?);
    }
    for (inode, place) in &places {
        let made = made.get(inode).cloned().unwrap_or_default();
        left.run(place, made, filled)?;
    }
    let mut others = Vec::new();
    if let Some(place) = places.get(&wanted.node) {
        for (uplink, (netns, slot)) in &beyond {
            let (told, has) = beyond::fill((netns, *slot), place.stack, *uplink, wanted)?;
            left.add(netns, told);
            let name = place.stack.device(*uplink).map_or("", |it| &it.name);
            others.push(Beyond {
                what: format!("beyond {name}"),
                netns: netns.name.clone(),
                has,
            });
        }
        for tunnel in tunnels {
            let Some((outer, _)) = beyond.get(&tunnel.uplink) else {
                continue;
            };
            let inner = next()?;
            let (told, has) = beyond::behind(outer, &inner, (place.stack, tunnel), wanted)?;
            left.add(&inner, told);
            others.push(Beyond {
                what: format!("behind {}", tunnel.device.name),
                netns: inner.name,
                has,
            });
        }
    }
    root::make_at(&root_of(&record))?;
    record.standing = true;
    record.write()?;
    let spaces = places
        .iter()
        .map(|(inode, place)| (*inode, place.netns.name.clone()));
    Ok(Replica {
        spaces: spaces.collect(),
        beyond: others,
        left: left.0,
        record,
    })
}

/// What `--root` is given there.
pub fn root_of(record: &Record) -> PathBuf {
    record.dir().join("root")
}

/// What is told, by namespace.
#[derive(Default)]
pub struct Left(BTreeMap<String, Vec<String>>);

impl Left {
    fn add(&mut self, netns: &Netns, told: Vec<String>) {
        if !told.is_empty() {
            self.0.entry(netns.name.clone()).or_default().extend(told);
        }
    }

    /// Does that in the namespace.
    fn run(
        &mut self,
        place: &Place<'_>,
        made: BTreeSet<u32>,
        work: impl FnOnce(&Place<'_>, &mut Space) + Send,
    ) -> Result<()> {
        let told = place.netns.run(|| {
            let mut space = Space::open(made)?;
            work(place, &mut space);
            Ok(space.left)
        })?;
        self.add(&place.netns, told);
        Ok(())
    }
}

/// Ports, settings and signals: from then on frames go.
fn completed(place: &Place<'_>, space: &mut Space) {
    let devices = place
        .stack
        .devices
        .some()
        .into_iter()
        .flat_map(BTreeMap::values);
    let mut devices: Vec<_> = devices
        .filter(|it| space.made.contains(&it.index))
        .collect();
    for device in &devices {
        devices::complete(place, space, device);
        settings::of_device(device, space);
    }
    // What is larger than what it stands on was there before that became so small.
    devices.sort_by_key(|device| !devices::stands(&device.kind));
    for device in devices {
        devices::switched(space, device);
    }
}

fn filled(place: &Place<'_>, space: &mut Space) {
    let all = place
        .stack
        .devices
        .some()
        .into_iter()
        .flat_map(BTreeMap::values);
    let made: Vec<_> = all.filter(|it| space.made.contains(&it.index)).collect();
    devices::wait(space, &made);
    addresses::add(place, space);
    routes::add(place, space);
    rules::add(place, space);
    neighbours::add(place, space);
    match &place.stack.ruleset {
        Known::Is(ruleset) if ruleset.is_empty() => {}
        Known::Is(ruleset) => match nft::install(ruleset) {
            Ok(left) => space.left.extend(left),
            Err(error) => space.lacks(format!("rules of netfilter: {error}")),
        },
        Known::Partly(..) | Known::Not(_) => {
            space.lacks("rules of netfilter, which were not recorded whole".into())
        }
    }
    beside(place.stack, space);
}

/// What no namespace is given.
fn beside(stack: &Stack, space: &mut Space) {
    if stack
        .ipvs
        .some()
        .is_some_and(|ipvs| !ipvs.servers.is_empty())
    {
        space.lacks("virtual servers of IPVS".into());
    }
    if stack
        .ipsec
        .some()
        .is_some_and(|ipsec| !ipsec.policies.is_empty())
    {
        space.lacks("policies of IPsec".into());
    }
    let programs = stack.at_links.some().map_or(0, Vec::len);
    if programs > 0 {
        space.lacks(format!("{programs} filters and programs at links"));
    }
}

/// Whether it is no more than what is stood up.
fn fits(world: &World) -> Result<()> {
    let sum = |count: fn(&Stack) -> usize| world.stacks.values().map(count).sum::<usize>();
    let rulesets = |count: fn((usize, usize)) -> usize| {
        let all = world
            .stacks
            .values()
            .filter_map(|stack| stack.ruleset.some());
        all.map(|ruleset| count(ruleset.size())).sum::<usize>()
    };
    let entries = sum(|stack| {
        let of = |known: Option<usize>| known.unwrap_or(0);
        of(stack.addresses.some().map(Vec::len))
            + of(stack.routes.some().map(Vec::len))
            + of(stack.rules.some().map(Vec::len))
            + of(stack.neighbours.some().map(Vec::len))
            + of(stack.fdb.some().map(Vec::len))
    });
    let all = [
        (world.stacks.len(), SPACES, "network namespaces"),
        (
            sum(|stack| stack.devices.some().map_or(0, BTreeMap::len)),
            LINKS,
            "links",
        ),
        (rulesets(|(rules, _)| rules), RULES, "rules of netfilter"),
        (
            rulesets(|(_, elements)| elements),
            ELEMENTS,
            "elements of sets",
        ),
        (
            entries,
            ENTRIES,
            "addresses, routes, neighbours and the like",
        ),
    ];
    for (count, most, what) in all {
        if count > most {
            bail!("the recording has {count} {what}: no more than {most} are stood up");
        }
    }
    Ok(())
}
