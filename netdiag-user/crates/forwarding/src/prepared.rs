//! A World made ready to be walked: its routes by their prefixes, its addresses by themselves.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    rc::Rc,
};

use netdiag_model::{
    link_filters::LinkHook,
    netfilter::Family,
    world::{
        AtLink, End, Known, Netns, Stack, Why, World,
        address::Address,
        conf::{Of4, Of6, Settings},
        device::{Device, Kind},
        ipvs::{VirtualServer, Wanted},
        neighbour::State,
        route::Route,
        ruleset::{BaseChain, Chain, ChainKind, Expression, Hook, Load, Table},
    },
};
use netdiag_ruleset::Index;

pub use crate::wrong::Wrong;
use crate::{
    between::Between,
    listed::Listed,
    packet::Packet,
    questions::Questions,
    route::table::Fib,
    tally::Tally,
    way::{Filter, Unknown},
};

pub struct Prepared<'w> {
    pub world: &'w World,
    spaces: Rc<BTreeMap<Netns, Space<'w>>>,
    /// Devices that share a link, by that link.
    above: Rc<BTreeMap<End, Vec<End>>>,
    pub(crate) between: Rc<Between>,
    /// Some rule chooses one of several ways.
    pub(crate) chooses: bool,
    pub(crate) wrong: Option<Wrong>,
    /// What expressions of rules came to, where somebody counts it.
    pub(crate) tally: Option<&'w Tally>,
    pub(crate) questions: Rc<Questions>,
    /// Rules and policies that accept what they refuse, from whom to whom.
    let_pass: Vec<(Netns, Filter<'w>, (IpAddr, IpAddr))>,
}

/// A device, and where it is.
pub(crate) type At<'w> = (&'w Space<'w>, &'w Device);

/// One namespace of it.
pub struct Space<'w> {
    pub netns: Netns,
    pub stack: &'w Stack,
    pub fib: Fib<'w>,
    own: HashSet<IpAddr>,
    pub(crate) listed: Listed<'w>,
    /// Neighbours of IPv6 by a device that did not answer at all.
    gone: HashSet<(u32, IpAddr)>,
    /// Its tables, by what is asked of them.
    indexes: Vec<(&'w Table, Index<'w>)>,
    /// Of IPVS, by whose packets they take.
    pub(crate) servers: HashMap<Wanted, &'w VirtualServer>,
    /// By hook and family.
    hooks: BTreeMap<(Hook, bool), Vec<Asked<'w>>>,
    /// The same where nobody can tell whether a table of iptables' own is asked before one of nf_tables'.
    others: BTreeMap<(Hook, bool), Vec<Asked<'w>>>,
    /// Whether connections are tracked, of IPv4 and of IPv6; whether they are translated.
    tracks: (bool, bool),
    translates: (bool, bool),
    /// Chains of bridges, of ARP or at devices' own hooks may turn what comes and goes.
    filters_links: bool,
}

/// A base chain, and its table.
pub(crate) type Asked<'w> = (&'w Table, &'w Chain, &'w BaseChain);

impl<'w> Prepared<'w> {
    pub fn new(world: &'w World) -> Self {
        let space = |(netns, stack): (&Netns, &'w Stack)| (*netns, Space::new(*netns, stack));
        Self {
            world,
            spaces: Rc::new(world.stacks.iter().map(space).collect()),
            above: Rc::new(above(world)),
            between: Rc::new(Between::new(world)),
            chooses: world.stacks.values().any(chooses),
            wrong: None,
            tally: None,
            questions: Rc::default(),
            let_pass: Vec::new(),
        }
    }

    /// The same where a rule or a policy of that namespace accepts such a packet, which it refuses: as if another one right
    /// before it did.
    pub fn letting(&self, netns: Netns, filter: Filter<'w>, packet: &Packet) -> Self {
        let mut let_pass = self.let_pass.clone();
        let_pass.push((netns, filter, (packet.source, packet.destination)));
        Self {
            spaces: Rc::clone(&self.spaces),
            above: Rc::clone(&self.above),
            between: Rc::clone(&self.between),
            questions: Rc::default(),
            let_pass,
            ..*self
        }
    }

    pub(crate) fn lets_pass(&self, netns: Netns, filter: &Filter<'w>, packet: &Packet) -> bool {
        let ends = (packet.source, packet.destination);
        let mut all = self.let_pass.iter();
        all.any(|(of, one, between)| (*of, *between) == (netns, ends) && one.is(filter))
    }

    /// The same, with what expressions of rules come to counted.
    pub fn counting(self, tally: &'w Tally) -> Self {
        Self {
            tally: Some(tally),
            ..self
        }
    }

    /// The same, walked with a mistake.
    pub fn misread(self, wrong: Wrong) -> Self {
        Self {
            wrong: Some(wrong),
            questions: Rc::default(),
            ..self
        }
    }

    pub(crate) fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    pub(crate) fn wrong_rules(&self) -> Option<netdiag_ruleset::Wrong> {
        match self.wrong {
            Some(Wrong::Rules(wrong)) => Some(wrong),
            _ => None,
        }
    }

    pub fn space(&self, netns: Netns) -> Result<&Space<'w>, Unknown> {
        let gone = || Unknown::NotModelled(format!("namespace {netns}"));
        self.spaces.get(&netns).ok_or_else(gone)
    }

    /// The device that another is on.
    pub(crate) fn below(&self, space: &Space<'_>, device: &Device) -> Result<At<'_>, Unknown> {
        let below = below(self.world, space.end(device), device);
        self.at(below.ok_or_else(|| Unknown::NotModelled("a device below elsewhere".into()))?)
    }

    fn at(&self, end: End) -> Result<At<'_>, Unknown> {
        let space = self.space(end.netns)?;
        Ok((space, space.device(end.index)?))
    }

    /// Those that share a link.
    pub(crate) fn above(&self, link: End) -> Result<Vec<At<'_>>, Unknown> {
        let all = self.above.get(&link).into_iter().flatten();
        all.map(|end| self.at(*end)).collect()
    }

    /// Where what leaves by this device comes in.
    pub fn peer(&self, end: End) -> Option<End> {
        self.world.wires.get(&end).copied()
    }
}

impl<'w> Space<'w> {
    pub(crate) fn new(netns: Netns, stack: &'w Stack) -> Self {
        let addresses = stack.addresses.some().into_iter().flatten();
        let neighbours = stack.neighbours.some().into_iter().flatten();
        let gone =
            neighbours.filter(|entry| entry.state == State::Failed && entry.address.is_ipv6());
        let hooks = hooks(stack);
        let others = hooks.iter();
        Self {
            netns,
            stack,
            fib: Fib::new(stack),
            own: addresses.map(|address| address.own.address).collect(),
            gone: gone.map(|entry| (entry.device, entry.address)).collect(),
            others: others
                .filter_map(|(at, chains)| Some((*at, other_order(chains)?)))
                .collect(),
            indexes: tables(stack)
                .map(|table| (table, Index::new(table)))
                .collect(),
            listed: Listed::new(stack),
            servers: servers(stack),
            translates: (translates(&hooks, false), translates(&hooks, true)),
            hooks,
            tracks: (tracks(stack, Family::Ip), tracks(stack, Family::Ip6)),
            filters_links: filters_links(stack),
        }
    }

    /// What passes a device there is known; chains of other families than IP are not run.
    pub(crate) fn passes_links(&self) -> Result<(), Unknown> {
        match self.filters_links {
            true => Err(Unknown::NotModelled(
                "rules of bridges, ARP or devices".into(),
            )),
            false => Ok(()),
        }
    }

    /// That nothing else is shown what comes in at a device, or leaves by it. What earlier recordings do not tell was not
    /// there.
    pub(crate) fn shows(&self, device: &Device, comes: bool) -> Result<(), Unknown> {
        let all = match &self.stack.at_links {
            Known::Is(all) => all,
            Known::Not(Why::NotAsked) => return Ok(()),
            Known::Partly(_, why) | Known::Not(why) => {
                return Err(Unknown::NotRead("filters of links", why.clone()));
            }
        };
        let here =
            |one: &&AtLink| one.device == device.index && (one.hook != LinkHook::Egress) == comes;
        match all.iter().find(here) {
            None => Ok(()),
            Some(one) => Err(Unknown::NotModelled(format!(
                "a filter at {} of {}",
                one.hook.side(),
                device.name
            ))),
        }
    }

    /// Whether a rule has had connections of that family tracked (`nf_ct_netns_get`).
    pub(crate) fn tracks(&self, ipv6: bool) -> bool {
        let (four, six) = self.tracks;
        if ipv6 { six } else { four }
    }

    /// Whether connections of that family are translated: nobody else is asked where one chain says so
    /// (`nf_nat_register_fn`).
    pub(crate) fn translates(&self, ipv6: bool) -> bool {
        let (four, six) = self.translates;
        if ipv6 { six } else { four }
    }

    /// That no rule asks for a port that is not known.
    pub(crate) fn knows_ports(&self, packet: &Packet) -> Result<(), Unknown> {
        match packet.carries.is_none()
            && packet.chosen.is_some()
            && self.looks_for_ports(packet.is_ipv6())?
        {
            true => Err(Unknown::NotModelled(
                "a rule about a port that the kernel chose".into(),
            )),
            false => Ok(()),
        }
    }

    pub(crate) fn index(&self, table: &'w Table) -> Option<&Index<'w>> {
        let mut all = self.indexes.iter();
        let found = all.find(|(own, _)| std::ptr::eq(*own, table));
        found.map(|(_, index)| index)
    }

    /// The chains that are asked at a hook, the first one first.
    pub(crate) fn chains(&self, hook: Hook, ipv6: bool) -> &[Asked<'w>] {
        self.hooks.get(&(hook, ipv6)).map_or(&[], Vec::as_slice)
    }

    /// The same in another order that they may be asked in, where there is one: of one priority who was registered last
    /// is the first, and of iptables' own tables nobody knows when that was.
    pub(crate) fn chains_otherwise(&self, hook: Hook, ipv6: bool) -> Option<&[Asked<'w>]> {
        self.others.get(&(hook, ipv6)).map(Vec::as_slice)
    }

    pub fn device(&self, index: u32) -> Result<&'w Device, Unknown> {
        let devices = self.stack.devices.whole();
        let devices = devices.map_err(|why| Unknown::NotRead("devices", why.clone()))?;
        let gone = || Unknown::NotModelled(format!("device {index}"));
        devices.get(&index).ok_or_else(gone)
    }

    pub fn end(&self, device: &Device) -> End {
        End {
            netns: self.netns,
            index: device.index,
        }
    }

    pub fn settings(&self) -> Result<&'w Settings, Unknown> {
        let settings = self.stack.settings.whole();
        settings.map_err(|why| Unknown::NotRead("sysctls", why.clone()))
    }

    /// Nothing where IPv4 does not run on it.
    pub fn conf4(&self, device: &'w Device) -> Result<Option<Of4<'w>>, Unknown> {
        let all = &self.settings()?.all4;
        Ok(device.conf4.as_ref().map(|device| Of4 { device, all }))
    }

    pub fn conf6(&self, device: &'w Device) -> Result<Option<Of6<'w>>, Unknown> {
        let all = &self.settings()?.all6;
        Ok(device.conf6.as_ref().map(|device| Of6 { device, all }))
    }

    /// How far what it sends by itself may go: the route's own metric, the device's, the namespace's.
    pub fn hop_limit(
        &self,
        route: Option<&Route>,
        device: Option<&'w Device>,
        ipv6: bool,
    ) -> Result<u8, Unknown> {
        let metric = route.and_then(|route| route.metrics.hop_limit);
        if let Some(limit) = metric.and_then(|limit| u8::try_from(limit).ok()) {
            return Ok(limit);
        }
        let settings = self.settings()?;
        let six = device.and_then(|device| device.conf6.as_ref());
        Ok(match ipv6 {
            true => six.map_or(settings.all6.hop_limit, |conf| conf.hop_limit),
            false => settings.default_ttl,
        })
    }

    pub fn addresses(&self) -> Result<&'w [Address], Unknown> {
        let addresses = self.stack.addresses.whole();
        let addresses = addresses.map_err(|why| Unknown::NotRead("addresses", why.clone()))?;
        Ok(addresses)
    }

    /// Whether rules may look up routes of IPv6 (`xt_addrtype`, `nft_fib`).
    pub fn rules_ask_for_routes(&self) -> bool {
        let asks = |expression: &Expression| match expression {
            Expression::Xtables { name, .. } => ["addrtype", "rpfilter"].contains(&name.as_str()),
            Expression::Load(Load::Fib(_), _) => true,
            _ => false,
        };
        let tables = tables(self.stack).filter(|table| table.family != Family::Ip);
        let chains = tables.flat_map(|table| &table.chains);
        let mut rules = chains.flat_map(|chain| &chain.rules);
        rules.any(|rule| rule.expressions.iter().any(asks))
    }

    /// An address of one of its devices.
    pub fn has(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    pub(crate) fn has_given_up(&self, neighbour: (u32, IpAddr)) -> bool {
        self.gone.contains(&neighbour)
    }

    pub(crate) fn has_given_up_some(&self) -> bool {
        !self.gone.is_empty()
    }
}

fn tables(stack: &Stack) -> impl Iterator<Item = &Table> {
    let ruleset = stack.ruleset.some().into_iter();
    ruleset.flat_map(|ruleset| &ruleset.tables)
}

fn servers(stack: &Stack) -> HashMap<Wanted, &VirtualServer> {
    let all = stack.ipvs.some().into_iter().flat_map(|it| &it.servers);
    all.map(|one| (one.wanted, one)).collect()
}

fn hooks(stack: &Stack) -> BTreeMap<(Hook, bool), Vec<Asked<'_>>> {
    let Some(ruleset) = stack.ruleset.some() else {
        return BTreeMap::new();
    };
    let all = Hook::OF_IP
        .into_iter()
        .flat_map(|hook| [(hook, false), (hook, true)]);
    all.map(|at| (at, ruleset.at(at.0, at.1))).collect()
}

fn translates(hooks: &BTreeMap<(Hook, bool), Vec<Asked<'_>>>, ipv6: bool) -> bool {
    let nat = |asked: &Asked<'_>| asked.2.kind == ChainKind::Nat;
    let mut all = hooks.iter().filter(|((_, six), _)| *six == ipv6);
    all.any(|(_, chains)| chains.iter().any(nat))
}

fn filters_links(stack: &Stack) -> bool {
    let mut asked = tables(stack)
        .filter(|table| !table.dormant)
        .flat_map(|table| {
            let bases = table.chains.iter().filter_map(|chain| chain.base.as_ref());
            bases.map(|base| (table.family, base.hook))
        });
    asked.any(|(family, hook)| {
        let ip = [Family::Inet, Family::Ip, Family::Ip6].contains(&family);
        !ip || matches!(hook, Hook::Ingress | Hook::Egress)
    })
}

/// Nothing where it makes no difference.
fn other_order<'w>(chains: &[Asked<'w>]) -> Option<Vec<Asked<'w>>> {
    let says = |(_, chain, base): &Asked<'_>| !chain.rules.is_empty() || !base.accepts;
    let (own, of_nft): (Vec<Asked<'w>>, Vec<Asked<'w>>) =
        chains.iter().partition(|(table, ..)| table.legacy);
    let at_one = |own: &Asked<'_>| {
        let nat = |base: &BaseChain| base.kind == ChainKind::Nat;
        let mut beside = of_nft.iter().filter(|other| says(other));
        beside.any(|other| (other.2.priority, nat(other.2)) == (own.2.priority, nat(own.2)))
    };
    if !own.iter().any(|own| says(own) && at_one(own)) {
        return None;
    }
    let mut all = [of_nft, own].concat();
    all.sort_by_key(|(.., base)| base.priority);
    Some(all)
}

fn chooses(stack: &Stack) -> bool {
    let chains = tables(stack).flat_map(|table| &table.chains);
    let rules = chains.flat_map(|chain| &chain.rules);
    rules
        .flat_map(|rule| &rule.expressions)
        .any(Expression::chooses)
}

fn tracks(stack: &Stack, family: Family) -> bool {
    tables(stack).any(|table| {
        let of_it = [family, Family::Inet].contains(&table.family);
        let rules = table.chains.iter().flat_map(|chain| &chain.rules);
        of_it
            && rules
                .flat_map(|rule| &rule.expressions)
                .any(Expression::tracks)
    })
}

fn below(world: &World, end: End, device: &Device) -> Option<End> {
    match device.lower_netnsid {
        Some(_) => world.wires.get(&end).copied(),
        None => device.lower.map(|index| End { index, ..end }),
    }
}

fn above(world: &World) -> BTreeMap<End, Vec<End>> {
    let mut above: BTreeMap<End, Vec<End>> = BTreeMap::new();
    for (netns, stack) in &world.stacks {
        let devices = stack.devices.some().into_iter().flatten();
        for (index, device) in devices {
            let end = End {
                netns: *netns,
                index: *index,
            };
            if matches!(device.kind, Kind::Macvlan(_) | Kind::Ipvlan(_))
                && let Some(link) = below(world, end, device)
            {
                above.entry(link).or_default().push(end);
            }
        }
    }
    above
}
