//! What a walk says will be seen.
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use netdiag_forwarding::{
    Prepared,
    connection::Ports,
    packet::{Decided, Frame, Packet, Sender, Served, Start},
    walk_after,
    way::{Does, Filter, How, Memory, Station, Step, Subject, Unknown, Walk},
};
use netdiag_model::world::{End, Netns, World, device::Mac};
use nix::errno::Errno;

use crate::{
    counters::Counted,
    names::device,
    set::Set,
    shoot::Told,
    told,
    traffic::Shot,
    wire::Header,
    witness::{PORTS, Sighting},
};

/// Ways that are kept: errors that may be sent or not, about each copy, are twice as many with each.
const MOST_WAYS: usize = 1024;

/// One way that a packet may go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub sightings: Vec<Sighting>,
    /// Where, once for each copy.
    pub delivered: Vec<usize>,
    /// What its sender is told at once.
    pub told: Option<Told>,
    /// As what it arrives, once for each copy.
    pub arrived: Vec<(usize, Packet)>,
    /// What was learned on that way.
    pub memory: Memory,
    /// Rules that counted it.
    pub counted: Vec<Counted>,
    /// Rules that may have.
    pub perhaps: Vec<Counted>,
    /// Where its source's port is the kernel's choice, and of which.
    pub chosen: Vec<(Sighting, Ports)>,
}

impl Expected {
    /// As it was seen, without a port that the kernel chose among those that it may.
    pub fn unchosen(&self, seen: Sighting) -> Sighting {
        let mut unchosen = seen;
        unchosen.header.sport = 0;
        let is = |(at, ports): &(Sighting, Ports)| *at == unchosen && ports.has(seen.header.sport);
        match self.chosen.iter().any(is) {
            true => unchosen,
            false => seen,
        }
    }
}

/// The ways that it may go, and the walk that says so; none where it is not known.
pub struct Prediction {
    pub ways: Vec<Expected>,
    pub unknown: Option<Unknown>,
    pub text: String,
    /// How it ends, for the tables.
    pub ends: &'static str,
    /// How long the walk took.
    pub took: Duration,
    /// What its sender's own socket hears, as long as it is there.
    own: Option<(usize, IpAddr, u16)>,
}

/// Link-layer addresses of a frame: those of the pair that it is put on, or its own.
pub fn macs(world: &World, set: &Set, shot: &Shot) -> Option<(Mac, Mac)> {
    let wire = shot.wire?;
    let own = end(world, set, shot.space, wire.by)?;
    let peer = world.wires.get(&own)?;
    let of = |end: End| world.device(end)?.mac;
    Some((wire.from.or(of(own))?, wire.to.or(of(*peer))?))
}

fn end(world: &World, set: &Set, space: usize, to: usize) -> Option<End> {
    let netns = set.inode(space);
    let stack = world.stacks.get(&netns)?;
    let index = stack.device_by_name(&device(to))?.index;
    Some(End { netns, index })
}

/// With what was learned of the packets before.
pub fn predict(prepared: &Prepared<'_>, set: &Set, shot: &Shot, memory: &Memory) -> Prediction {
    let world = prepared.world;
    let packet = Packet {
        protocol: crate::wire::UDP,
        sport: shot.sport,
        dport: shot.dport,
        tos: shot.tos,
        ttl: shot.ttl,
        size: shot.headers() + shot.payload() * shot.count,
        df: !shot.cut,
        segment: (shot.count > 1).then_some(shot.size),
        mark: shot.mark,
        ..Packet::new(shot.source.unwrap_or(shot.any()), shot.destination)
    };
    let netns = set.inode(shot.space);
    let stack = world.stacks.get(&netns);
    let index = |to: usize| stack?.device_by_name(&device(to)).map(|d| d.index);
    let out = shot
        .wire
        .and_then(|wire| end(world, set, shot.space, wire.by));
    let start = match out.zip(macs(world, set, shot)) {
        Some((end, (from, to))) => {
            let from = Some(from);
            Start::Frame(end, Frame::new(from, to))
        }
        None => Start::Socket(Sender {
            netns,
            device: shot.bound.and_then(index),
            uid: 0,
            any_source: false,
            failing: None,
        }),
    };
    let mut packet = packet;
    if shot.wire.is_some() {
        // A frame that no socket made has no mark.
        packet.mark = 0;
    }
    let began = Instant::now();
    let walk = walk_after(prepared, memory, start, packet);
    let took = began.elapsed();
    let mut prediction = Prediction {
        ways: vec![Expected {
            memory: memory.clone(),
            ..Expected::default()
        }],
        unknown: None,
        text: String::new(),
        ends: "",
        took,
        own: shot
            .source
            .filter(|_| shot.wire.is_none())
            .map(|source| (shot.space, source, shot.sport)),
    };
    let sender = match shot.wire {
        Some(_) => By::Frame,
        None => By::Socket,
    };
    prediction.follow(set, &walk, Some(sender));
    prediction.text = describe(set, &walk);
    prediction
}

/// Who sent it, as long as he is told at once what becomes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Socket,
    Frame,
    /// A socket, where the packet is a device's by now.
    Driver,
}

impl By {
    /// The driver's own refusal is still told to who sends a frame.
    fn by_driver(self) -> Self {
        match self {
            Self::Frame => Self::Frame,
            Self::Socket | Self::Driver => Self::Driver,
        }
    }
}

impl Prediction {
    /// Ports where it arrives and nobody listens yet, each with whether it is IPv6's.
    pub fn unheard(&self) -> impl Iterator<Item = (u16, bool)> {
        let arrived = self.ways.iter().flat_map(|way| &way.arrived);
        let ports = arrived.map(|(_, packet)| (packet.dport, packet.is_ipv6()));
        ports.filter(|(port, _)| !PORTS.contains(port))
    }

    /// It may go as another one says, too.
    pub fn or(&mut self, other: Self) {
        self.unknown = self.unknown.take().or(other.unknown);
        self.also(other.ways);
        self.text += &other.text;
    }

    /// Those beside, each once, as long as they are few enough to be told apart.
    fn also(&mut self, ways: Vec<Expected>) {
        for way in ways {
            if self.unknown == Some(Unknown::TooLong) {
                return;
            }
            if self.ways.len() == MOST_WAYS {
                self.unknown = Some(Unknown::TooLong);
            } else if !self.ways.contains(&way) {
                self.ways.push(way);
            }
        }
    }

    fn follow(&mut self, set: &Set, walk: &Walk<'_>, mut sender: Option<By>) {
        let counted_of = |all: &[_]| -> Vec<Counted> { counted(set, all).collect() };
        let (counted, perhaps) = (counted_of(&walk.counted), counted_of(&walk.perhaps));
        for way in &mut self.ways {
            way.memory = std::mem::take(&mut way.memory).with(walk);
            way.counted.extend_from_slice(&counted);
            way.perhaps.extend_from_slice(&perhaps);
            way.counted.sort_unstable();
        }
        for step in &walk.steps {
            let space = set.place(step.netns).unwrap_or(usize::MAX);
            let hidden = is_hidden(walk, &step.packet);
            match &step.does {
                // Which of ours it is nobody can see, nor of what is told of it.
                Does::Sends { .. } if hidden => {}
                Does::Comes { .. } if hidden => sender = None,
                Does::Answers(..) if hidden => {}
                Does::Asks(asked) => {
                    sender = None;
                    // Where a handshake is translated its port is none that rules are told to leave out; and whether one is
                    // due is known to who asks alone.
                    let mut counts = Vec::new();
                    count(set, asked, &mut counts);
                    let ways = self.ways.iter_mut();
                    ways.for_each(|way| way.perhaps.extend_from_slice(&counts));
                }
                Does::Sends { device, .. } => {
                    self.sight(space, *device, true, step);
                    sender = sender.map(By::by_driver);
                }
                Does::Comes { device } => {
                    self.sight(space, *device, false, step);
                    sender = None;
                }
                // An error is for the kernel itself.
                Does::Delivers if step.packet.is_icmp() => {}
                Does::Delivers => {
                    self.ends = "delivered";
                    let packet = step.packet;
                    // What comes back at once is heard by who sent it, and not by whoever listens there.
                    let by_itself = self.own == Some((space, packet.destination, packet.dport));
                    let unheard = by_itself.then(|| self.ways.clone());
                    for way in &mut self.ways {
                        way.delivered.push(space);
                        way.arrived.push((space, packet));
                    }
                    self.also(unheard.into_iter().flatten().collect());
                }
                Does::Refuses(how) => {
                    self.ends = name(step.station);
                    sender = sender.filter(|_| !hidden);
                    let told = match sender {
                        Some(By::Socket) if step.station == Station::Queue => None,
                        Some(By::Socket) if is_taken_by_ipvs(step, *how) => None,
                        Some(By::Socket) => errno(*how),
                        Some(By::Frame) => errno_of_frame(*how),
                        Some(By::Driver) => errno_of_driver(step, *how),
                        None => None,
                    };
                    let ways = self.ways.iter_mut();
                    ways.for_each(|way| way.told = way.told.or(told));
                }
                Does::Chooses(branches) => {
                    let walks = branches.iter().map(|(_, walk)| walk);
                    self.choose(set, walks, sender);
                }
                Does::Copies(copies) => {
                    copies.iter().for_each(|copy| self.follow(set, copy, None));
                    self.ends = "copies";
                }
                Does::Answers(answer, walk) => {
                    let (ends, without) = (self.ends, self.ways.clone());
                    self.follow(set, walk, None);
                    self.ends = ends;
                    if answer.seldom {
                        self.also(without);
                    }
                }
                Does::Unknown(unknown) => self.unknown = Some(unknown.clone()),
                Does::Leaves { .. } => self.ends = "leaves",
                Does::Passes => {}
            }
        }
    }

    fn choose<'a>(
        &mut self,
        set: &Set,
        branches: impl Iterator<Item = &'a Walk<'a>>,
        sender: Option<By>,
    ) {
        let mut ways = Vec::new();
        for branch in branches {
            let mut one = Self {
                ways: self.ways.clone(),
                unknown: None,
                text: String::new(),
                ends: "",
                took: Duration::ZERO,
                own: self.own,
            };
            one.follow(set, branch, sender);
            self.unknown = self.unknown.take().or(one.unknown);
            self.ends = one.ends;
            ways.push(one.ways);
        }
        self.ways.clear();
        ways.into_iter().for_each(|ways| self.also(ways));
    }

    fn sight(&mut self, space: usize, device: u32, outgoing: bool, step: &Step<'_>) {
        let packet = &step.packet;
        let sighting = Sighting {
            space,
            device,
            outgoing,
            header: Header {
                source: packet.source,
                destination: packet.destination,
                sport: packet.sport,
                dport: packet.dport,
                tos: packet.tos,
                ttl: packet.ttl,
            },
            mark: packet.mark,
        };
        let chosen = packet.chosen.map(|ports| (sighting, ports));
        for way in &mut self.ways {
            way.sightings.push(sighting);
            way.chosen.extend(chosen);
        }
    }
}

/// All that a walk may count.
fn count(set: &Set, walk: &Walk<'_>, to: &mut Vec<Counted>) {
    to.extend(counted(set, &walk.counted).chain(counted(set, &walk.perhaps)));
    for inner in walk.steps.iter().flat_map(told::within) {
        count(set, inner, to);
    }
}

fn counted(set: &Set, all: &[(Netns, Filter<'_>)]) -> impl Iterator<Item = Counted> {
    all.iter().filter_map(|(netns, filter)| {
        let table = told::table(filter.table);
        Some((set.place(*netns)?, table, filter.rule?.handle))
    })
}

/// Sealed in a tunnel, or by one that carries it.
fn is_hidden(walk: &Walk<'_>, packet: &Packet) -> bool {
    let carried = packet.carries.and_then(|at| walk.carried.get(at));
    carried.is_some_and(|load| load.sealed.is_some() || is_hidden(walk, &load.packet))
}

fn name(station: Station) -> &'static str {
    match station {
        Station::Link => "link",
        Station::Bridge => "bridge",
        Station::ReversePath => "reverse path",
        Station::Route => "route",
        Station::Forward => "forward",
        Station::Ttl => "ttl",
        Station::Size => "size",
        Station::Neighbour => "neighbour",
        Station::Queue => "queue",
        Station::Encap => "encap",
        Station::Socket => "socket",
        Station::Program | Station::Hook | Station::Xfrm => "of later",
    }
}

/// What IPVS leads on is its own, and its sender is told of no error at once (NF_STOLEN).
fn is_taken_by_ipvs(step: &Step<'_>, how: How) -> bool {
    if step.packet.served == Served::Led {
        return true;
    }
    matches!(step.by, Some(Subject::Service(_))) && !matches!(how, How::Rejected(_))
}

/// What a socket's owner is told of a packet that its own namespace refuses at once.
fn errno(how: How) -> Option<Told> {
    Some(match how {
        How::NoRoute | How::UnreachableByRule | How::DeviceDown => Told::Error(Errno::ENETUNREACH),
        How::Blackhole | How::MartianSource => Told::Error(Errno::EINVAL),
        How::Unreachable => Told::Error(Errno::EHOSTUNREACH),
        How::Prohibited => Told::Error(Errno::EACCES),
        How::TooBig(_) => Told::Error(Errno::EMSGSIZE),
        How::ForeignSource => Told::NotItsSource,
        How::Dropped | How::Rejected(_) => Told::Error(Errno::EPERM),
        How::NoSource => Told::Error(Errno::EADDRNOTAVAIL),
        _ => return None,
    })
}

/// An ipvlan tells what the link's namespace says of an IPv6 packet's way (`ipvlan_process_v6_outbound`), WireGuard whom it
/// does not know (`wg_xmit`).
fn errno_of_driver(step: &Step<'_>, how: How) -> Option<Told> {
    match (step.station, how) {
        (Station::Encap, How::NoPeer) => return Some(Told::Error(Errno::ENOKEY)),
        (Station::Encap, How::NoEndpoint) => return Some(Told::Error(Errno::EDESTADDRREQ)),
        _ => {}
    }
    let routed = step.station == Station::Route && step.packet.decided == Decided::Shared;
    (routed && step.packet.is_ipv6())
        .then(|| errno(how))
        .flatten()
}

/// Of a frame, the device alone is asked.
fn errno_of_frame(how: How) -> Option<Told> {
    match how {
        How::DeviceDown => Some(Told::Error(Errno::ENETDOWN)),
        How::TooBig(_) => Some(Told::Error(Errno::EMSGSIZE)),
        How::PeerMtu(_) | How::PeerDown => Some(Told::Error(Errno::ENOBUFS)),
        _ => None,
    }
}

/// The walk, a line for each step.
fn describe(set: &Set, walk: &Walk<'_>) -> String {
    let mut text = String::new();
    for step in &walk.steps {
        let space = set
            .place(step.netns)
            .map_or("s?".into(), |at| format!("s{at}"));
        let does = match &step.does {
            Does::Chooses(branches) => {
                let all = branches
                    .iter()
                    .map(|(share, walk)| format!("  share {}:\n{}", share.0, describe(set, walk)));
                format!("one of\n{}", all.collect::<String>())
            }
            Does::Copies(copies) => {
                let all = copies.iter();
                let all = all.map(|copy| format!("  copy:\n{}", describe(set, copy)));
                format!("all of\n{}", all.collect::<String>())
            }
            Does::Asks(walk) => format!("asks first:\n{}", describe(set, walk)),
            Does::Answers(answer, walk) => {
                let (kind, code) = (answer.kind, answer.code);
                format!("answers {kind}/{code}:\n{}", describe(set, walk))
            }
            sent @ (Does::Sends { .. } | Does::Comes { .. }) => {
                let (packet, mark) = (&step.packet, step.packet.mark);
                let Packet {
                    source,
                    destination,
                    ttl,
                    ..
                } = packet;
                format!("{sent:?} {source} to {destination} ttl {ttl} mark {mark:#x}")
            }
            other => format!("{other:?}"),
        };
        text += &format!("  {space} {}: {does}\n", name(step.station));
        if let Does::Refuses(_) | Does::Delivers = step.does {
            text += &format!("    by {}\n", step.by.map_or("nothing".into(), subject));
        }
    }
    text
}

fn subject(subject: Subject<'_>) -> String {
    match subject {
        Subject::Rule(rule) => format!("rule {}", rule.priority),
        Subject::Route(route) => format!("route {} of table {}", route.to, route.table),
        Subject::Device(device) => format!("device {}", device.name),
        Subject::Filter(filter) => told::filter_of(filter),
        Subject::Service(server) => format!("virtual server {}", server.wanted),
        Subject::Neighbour(neighbour) => format!("neighbour {neighbour:?}"),
        Subject::Forwarding(entry) => format!("forwarding entry {entry:?}"),
        Subject::Setting(name, device) => {
            format!(
                "{name} {}",
                device.map_or("", |device| device.name.as_str())
            )
        }
    }
}
