//! What a walk is: steps, each at a station, up to where it ends.
use std::net::IpAddr;

pub use netdiag_model::world::station::Station;
use netdiag_model::{
    gather::Asks,
    world::{
        End, Netns, Why,
        device::{Device, Mac, PortState},
        ipvs::VirtualServer,
        neighbour::{FdbEntry, Neighbour},
        route::Route,
        rule::Rule,
        ruleset,
    },
};
use netdiag_ruleset::asks;

pub use crate::learned::Memory;
use crate::{
    learned::{Learned, Then},
    packet::{Carried, Packet, To},
};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Walk<'w> {
    pub steps: Vec<Step<'w>>,
    /// What it taught on the way, its own questions among it.
    pub(crate) learned: Learned,
    /// Of a question to a link that is all that is wanted: who hears it, in that order, and as what.
    pub(crate) heard: Option<Heard>,
    /// A neighbour that is given up, while whoever waited for it is told.
    pub(crate) failing: Option<(End, IpAddr)>,
    /// Of copies that were all sent before one came anywhere: where whoever waits for a neighbour goes once somebody
    /// answers, whatever others answer later.
    pub(crate) queued: Option<Vec<((End, IpAddr), Mac)>>,
    /// Families whose socket for errors is taken, by one that is just being sent: another that this would
    /// lead to is not (`icmp_xmit_lock`).
    pub(crate) telling: Families,
    /// Which of several next hops was taken before, by whose route, for whom.
    pub(crate) taken: Vec<(Netns, &'w Route, (Flow, usize))>,
    /// Rules whose counters it moved.
    pub counted: Vec<(Netns, Filter<'w>)>,
    /// Rules whose counters it may have moved.
    pub perhaps: Vec<(Netns, Filter<'w>)>,
    /// Rules that kept those that translate from being asked: they accept, or return.
    pub spared: Vec<(Netns, Filter<'w>)>,
    /// Frames that tunnels' packets carry, by the number that these have.
    pub carried: Vec<Carried>,
    /// Where its own questions were heard by who has the address asked for, or answers for others, and may not answer:
    /// each with the question. The first ones.
    pub silent: Vec<Step<'w>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Families {
    ipv4: bool,
    ipv6: bool,
}

impl Families {
    pub(crate) fn of(&mut self, ipv6: bool) -> &mut bool {
        match ipv6 {
            true => &mut self.ipv6,
            false => &mut self.ipv4,
        }
    }
}

/// Where a walk was, which only ever gets longer: to go back there.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    steps: usize,
    learned: Then,
    heard: Option<usize>,
    failing: Option<(End, IpAddr)>,
    queued: Option<usize>,
    telling: Families,
    taken: usize,
    counted: usize,
    perhaps: usize,
    spared: usize,
    carried: usize,
}

/// Addresses, protocol, ports, and whether it has a flow label that nobody can compute.
pub(crate) type Flow = ((IpAddr, IpAddr), u8, (u16, u16), bool);

/// Devices that a question comes in at, and as what.
pub(crate) type Heard = Vec<(End, To)>;

/// The address that a question is answered with, if any, and what is known then.
pub(crate) type Outcome = (Option<Mac>, Learned);

/// As many as most ways have.
const STEPS: usize = 16;

/// Of one question.
pub(crate) const MOST_BRANCHES: usize = 64;

/// What happens to a packet at one station.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<'w> {
    pub netns: Netns,
    pub station: Station,
    /// What decided.
    pub by: Option<Subject<'w>>,
    pub does: Does<'w>,
    /// As it leaves the station.
    pub packet: Packet,
}

/// A part of the state that a step rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subject<'w> {
    Rule(&'w Rule),
    Route(&'w Route),
    Device(&'w Device),
    Neighbour(&'w Neighbour),
    /// Of a bridge's table: somebody made it, and it chose the port.
    Forwarding(&'w FdbEntry),
    Filter(Filter<'w>),
    /// Of IPVS.
    Service(&'w VirtualServer),
    /// A sysctl by its name below `net`, of a device where it has one of its own.
    Setting(&'static str, Option<&'w Device>),
}

/// A rule of netfilter's, or the policy of its chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Filter<'w> {
    pub table: &'w ruleset::Table,
    /// The base chain that led to it.
    pub chain: &'w ruleset::Chain,
    pub rule: Option<&'w ruleset::Rule>,
}

impl<'w> Filter<'w> {
    /// The chain that has the rule.
    pub fn holder(&self) -> &'w ruleset::Chain {
        let has = |chain: &&ruleset::Chain| {
            let mut rules = chain.rules.iter();
            self.rule
                .is_some_and(|rule| rules.any(|one| std::ptr::eq(one, rule)))
        };
        self.table.chains.iter().find(has).unwrap_or(self.chain)
    }

    /// Not one that only says the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let one = |a, b| std::ptr::eq::<ruleset::Rule>(a, b);
        let rule = match (self.rule, other.rule) {
            (Some(a), Some(b)) => one(a, b),
            (None, None) => std::ptr::eq(self.chain, other.chain),
            _ => false,
        };
        rule && std::ptr::eq(self.table, other.table)
    }

    /// What the rule asks for, as far as rules are told apart by it; of a policy nothing.
    pub fn asks(&self) -> Asks {
        let asked = |rule: &ruleset::Rule| asks(self.table.family, &rule.expressions);
        self.rule.map(asked).unwrap_or_default()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Does<'w> {
    Passes,
    /// Out of a device, as a frame to that address.
    Sends {
        device: u32,
        to: Option<Mac>,
    },
    /// In at a device.
    Comes {
        device: u32,
    },
    /// Out of a device to where nothing is read any more: a wire, somebody's namespace.
    Leaves {
        device: u32,
    },
    /// To this namespace itself.
    Delivers,
    Refuses(How),
    /// Its sender is told, by a packet of this namespace's own.
    Answers(Answer, Box<Walk<'w>>),
    /// What must be agreed on before it goes on is, or is not, on this way there and back.
    Asks(Box<Walk<'w>>),
    /// One of several, each so many times of all.
    Chooses(Vec<(Share, Walk<'w>)>),
    /// All of them.
    Copies(Vec<Walk<'w>>),
    Unknown(Unknown),
}

/// An error (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub kind: u8,
    pub code: u8,
    /// It may be sent or not: of some the kernel sends five at once to each sender and then one in a second, whatever
    /// is set; of others it depends on what waited before.
    pub seldom: bool,
}

/// Of the whole, in 1/65536; nothing where nobody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u32);

impl Share {
    /// It is one of them, and nobody knows how often.
    pub const UNKNOWN: Self = Self(0);

    /// One of so many that are alike.
    pub(crate) fn of(all: usize) -> Self {
        Self((1 << 16) / u32::try_from(all).unwrap_or(u32::MAX).max(1))
    }
}

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    NoRoute,
    Blackhole,
    Unreachable,
    /// A rule that says `unreachable`: other than a route's, *network unreachable*.
    UnreachableByRule,
    Prohibited,
    /// It is for others, and this device does not forward.
    NotForwarding,
    /// By `rp_filter` 1: the way back goes by another device.
    ReversePath,
    MartianSource,
    MartianDestination,
    /// Its source is no address of this namespace.
    ForeignSource,
    /// No address of this namespace can speak to that destination.
    NoSource,
    /// It leads by a device that is down, or has no IP.
    DeviceDown,
    NoCarrier,
    /// The other end of a pair is down, or gone.
    PeerDown,
    PeerMtu(u32),
    /// The frame is for another host.
    OtherHost,
    /// A bridge's port takes and sends nothing in that state.
    PortState(PortState),
    /// A locked port whose bridge does not know who sends.
    Locked,
    /// It would go back by the port that it came in by.
    SamePort,
    /// From one isolated port to another.
    Isolated,
    /// It came in by a bond's port that is not used.
    BackupPort,
    /// A bond has no port that it could send by.
    NoUsablePort,
    /// Of a VLAN that a bridge's port, or the bridge itself, is not in.
    NotInVlan(u16),
    /// Without a tag, where a bridge's port has no VLAN for such.
    NoPvid,
    /// Nobody knows whose frame it is, and no port takes such.
    NoPort,
    /// A bridge's own address, sent to by the bridge.
    ToItself,
    /// A tunnel knows no other end for that address.
    NoRemote,
    /// The way to a tunnel's other end leads into the tunnel.
    Circular,
    /// No tunnel of that network here, beside others.
    NoTunnel,
    /// Nobody takes what comes for that port.
    NoSocket,
    /// It came in with a way that is for sending alone (`dst_discard`).
    Discarded,
    /// A tunnel's own frame came back to it.
    OwnFrame,
    /// No peer of WireGuard's has that address among its networks, or is known to who gets it.
    NoPeer,
    /// Nobody knows where the peer is.
    NoEndpoint,
    /// The peer does not answer a handshake.
    NoSession,
    /// Its source is of another peer's networks.
    UnallowedSource,
    /// Its sender is known to be behind another remote.
    WrongRemote,
    TtlExceeded,
    TooBig(u32),
    /// Nobody answers for the next hop.
    NoNeighbour(IpAddr),
    /// A question for an address of this namespace is not answered there.
    KeepsSilent,
    /// By a rule of netfilter's, or a chain's policy.
    Dropped,
    /// The same, and its sender is told.
    Rejected(Rejected),
    /// No ways here: a device of this namespace where the family does not run.
    NoIp,
}

/// How a rule tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// TCP's RST.
    Reset,
    /// The error's code, of those that say *unreachable*; and whether it comes from whom was asked, who is of this
    /// namespace (RTCF_LOCAL).
    Unreachable { code: u8, own: bool },
}

/// What is not known, or not modelled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// That part of the state was not read.
    NotRead(&'static str, Why),
    /// A kind of thing that no station knows, by its own name.
    NotModelled(String),
    /// Nobody can tell from outside whether a rule takes it.
    Undecided,
    /// A rule goes one of these ways, each so many times of all.
    Chance(Vec<Share>),
    /// Whether anybody answers at the other end of a wire; for that next hop by that device.
    Beyond(Option<(u32, IpAddr)>),
    /// Too many steps or branches.
    TooLong,
}

impl<'w> Walk<'w> {
    pub(crate) fn after(memory: &Memory) -> Self {
        Self {
            steps: Vec::with_capacity(STEPS),
            learned: memory.0.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            steps: self.steps.len(),
            learned: self.learned.then(),
            heard: self.heard.as_ref().map(Vec::len),
            failing: self.failing,
            queued: self.queued.as_ref().map(Vec::len),
            telling: self.telling,
            taken: self.taken.len(),
            counted: self.counted.len(),
            perhaps: self.perhaps.len(),
            spared: self.spared.len(),
            carried: self.carried.len(),
        }
    }

    pub(crate) fn go_back(&mut self, to: Mark) {
        fn shorten<T>(all: &mut Option<Vec<T>>, to: Option<usize>) {
            match to {
                Some(to) => all.get_or_insert_default().truncate(to),
                None => *all = None,
            }
        }
        self.steps.truncate(to.steps);
        self.learned.forget_since(to.learned);
        shorten(&mut self.heard, to.heard);
        shorten(&mut self.queued, to.queued);
        (self.failing, self.telling) = (to.failing, to.telling);
        self.taken.truncate(to.taken);
        self.counted.truncate(to.counted);
        self.perhaps.truncate(to.perhaps);
        self.spared.truncate(to.spared);
        self.carried.truncate(to.carried);
    }

    /// One of several ways that it takes or can take from here.
    pub(crate) fn branch(&self) -> Self {
        Self {
            steps: Vec::with_capacity(STEPS / 2),
            learned: self.learned.clone(),
            heard: self.heard.as_ref().map(|_| Vec::new()),
            failing: self.failing,
            queued: self.queued.clone(),
            telling: self.telling,
            taken: self.taken.clone(),
            counted: Vec::new(),
            spared: Vec::new(),
            perhaps: Vec::new(),
            carried: self.carried.clone(),
            silent: Vec::new(),
        }
    }

    /// Where goes what waits for that neighbour together with another copy.
    pub(crate) fn first(&self, of: (End, IpAddr)) -> Option<Mac> {
        let mut queued = self.queued.iter().flatten();
        queued.find(|(whom, _)| *whom == of).map(|(_, mac)| *mac)
    }

    pub(crate) fn answers(&mut self, of: (End, IpAddr), mac: Option<Mac>) {
        if let Some((queued, mac)) = self.queued.as_mut().zip(mac) {
            queued.push((of, mac));
        }
    }

    /// Goes on by a branch that is the only one.
    pub(crate) fn goes_like(&mut self, branch: Self) {
        self.steps.extend(branch.steps);
        self.counted.extend(branch.counted);
        self.spared.extend(branch.spared);
        self.perhaps.extend(branch.perhaps);
        if let Some(heard) = &mut self.heard {
            heard.extend(branch.heard.unwrap_or_default());
        }
        self.learned = branch.learned;
        (self.failing, self.telling) = (branch.failing, branch.telling);
        (self.queued, self.taken) = (branch.queued, branch.taken);
        self.carried = branch.carried;
    }

    pub(crate) fn take(&mut self, netns: Netns, route: &'w Route, taken: (Flow, usize)) {
        self.taken.push((netns, route, taken));
    }

    pub(crate) fn taken(&self, netns: Netns, route: &Route, flow: Flow) -> Option<usize> {
        let same = |(at, by, (of, _)): &&(Netns, &Route, (Flow, usize))| {
            *at == netns && *of == flow && std::ptr::eq(*by, route)
        };
        self.taken.iter().find(same).map(|(.., (_, at))| *at)
    }

    /// Who hears a question, in each of the ways that it may go, and what that taught.
    pub(crate) fn hearers(&self) -> Result<Vec<(Heard, Learned)>, Unknown> {
        let first = self.heard.clone().unwrap_or_default();
        let mut all = vec![(first, self.learned.clone())];
        for step in &self.steps {
            let Does::Chooses(branches) = &step.does else {
                continue;
            };
            let each = branches.iter().map(|(_, branch)| branch.hearers());
            let each = each.collect::<Result<Vec<_>, _>>()?.concat();
            let with = |(heard, learned): &(Heard, Learned)| -> Vec<(Heard, Learned)> {
                let more = each.iter();
                more.map(|(more, taught)| {
                    let heard = [heard.as_slice(), more].concat();
                    (heard, learned.clone().with(taught))
                })
                .collect()
            };
            let mut wider: Vec<(Heard, Learned)> = Vec::new();
            for way in all.iter().flat_map(with) {
                if !wider.contains(&way) {
                    wider.push(way);
                }
                if wider.len() > MOST_BRANCHES {
                    return Err(Unknown::TooLong);
                }
            }
            all = wider;
        }
        Ok(all)
    }

    /// What waited its turn in a queue goes on by itself: nobody is in the midst of anything then.
    pub(crate) fn waited(&mut self) {
        self.failing = None;
        self.telling = Families::default();
    }

    pub fn last(&self) -> Option<&Step<'w>> {
        self.steps.last()
    }

    /// What a packet of this way carries, through all tunnels that it is in; itself where that is none.
    pub fn innermost<'a>(&'a self, packet: &'a Packet) -> &'a Packet {
        let mut inner = packet;
        // Each was put in after what it carries, so that this comes to an end.
        while let Some(carried) = inner.carries.and_then(|at| self.carried.get(at)) {
            inner = &carried.packet;
        }
        inner
    }
}
