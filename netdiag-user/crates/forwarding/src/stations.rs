//! The stations of a packet's way, a file each, and the walker that goes from one to the next.
mod arp;
mod bond;
mod bridge;
mod bridge_hooks;
mod bridge_vlan;
mod chance;
mod copies;
mod duty;
mod forward;
mod hook;
mod icmp;
mod ip_tunnel;
mod ipvlan;
mod ipvs;
mod link;
mod macvlan;
mod nat;
mod nd;
mod neighbour;
mod socket;
mod track;
mod untold;
mod vlan;
mod vxlan;
mod wireguard;
mod xfrm;

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
};

use netdiag_model::world::{
    End,
    device::{Device, Kind, MacvlanMode},
    route::Route,
    ruleset::Hook,
};

use hook::Place;

use crate::{
    chances::Chances,
    learned::PeerAt,
    packet::{Frame, Packet, Sender, Start, To},
    prepared::{Prepared, Space, Wrong},
    route::decision::{Decision, No, Way},
    way::{Does, Filter, How, Memory, Station, Step, Subject, Unknown, Walk},
};

/// Steps of one branch: what lives for 255 hops goes round in circles for a thousand.
const MOST_STEPS: usize = 2048;
/// Branches of branches, questions for questions' ways, tunnels in tunnels.
const MOST_NESTED: usize = 24;
/// Steps of all branches: those of a flood that goes round are more with every round.
const MOST_IN_ALL: usize = 1 << 14;

/// Computes the way of a packet.
pub fn walk<'w>(prepared: &'w Prepared<'w>, start: Start, packet: Packet) -> Walk<'w> {
    walk_after(prepared, &Memory::default(), start, packet)
}

/// The same after others that taught something.
pub fn walk_after<'w>(
    prepared: &'w Prepared<'w>,
    memory: &Memory,
    start: Start,
    packet: Packet,
) -> Walk<'w> {
    let first = walk_noting(prepared, memory, (start, packet), prepared.chooses);
    match first.last().map(|step| &step.does) {
        Some(Does::Unknown(Unknown::Chance(_))) => {
            walk_noting(prepared, memory, (start, packet), true)
        }
        _ => first,
    }
}

/// The same, and it notes before each station what there is where it may have to go through it several times.
fn walk_noting<'w>(
    prepared: &'w Prepared<'w>,
    memory: &Memory,
    (start, packet): (Start, Packet),
    notes: bool,
) -> Walk<'w> {
    let mut walk = Walk::after(memory);
    let walker = Walker::new(prepared, notes);
    let (netns, next) = match start {
        Start::Socket(sender) => (sender.netns, Ok(Next::Sent { sender, packet })),
        Start::Device(end, frame) => {
            let next = Next::Comes { end, frame, packet };
            (end.netns, Ok(next))
        }
        Start::Frame(end, frame) => (end.netns, walker.frame(&mut walk, end, frame, packet)),
    };
    if let Err(unknown) = walker.goes_on(&mut walk, next) {
        let last = walk.last();
        let at = last.map_or((netns, Station::Link), |step| (step.netns, step.station));
        walk.steps.push(walker.untold(at, unknown, packet));
    }
    walk.silent = walker.silent.take();
    walk
}

/// Whether a namespace answers, at one of its devices, a question for a neighbour of that address, whoever asks: `sender`
/// or, in IPv6, an address of the link's own.
pub fn answers_for(
    prepared: &Prepared<'_>,
    at: End,
    target: IpAddr,
    sender: IpAddr,
) -> Result<bool, Unknown> {
    Walker::new(prepared, false).answers_of(at, target, sender)
}

/// Why it does not, though it has that address: where something that is configured keeps it silent.
pub fn keeps_silent<'w>(
    prepared: &'w Prepared<'w>,
    at: End,
    target: IpAddr,
    sender: IpAddr,
) -> Option<Step<'w>> {
    let walker = Walker::new(prepared, false);
    let answers = walker.answers_of(at, target, sender).ok()?;
    let first = walker.silent.borrow().first().cloned();
    first.filter(|_| !answers)
}

impl<'w> Walker<'w> {
    fn answers_of(&self, at: End, target: IpAddr, sender: IpAddr) -> Result<bool, Unknown> {
        match (target, sender) {
            (IpAddr::V4(target), IpAddr::V4(sender)) => {
                let all = self.answers(at, arp::Question { sender, target })?;
                Ok(all.iter().any(Option::is_some))
            }
            (IpAddr::V6(target), sender) => Ok(self.answers_nd(at, sender, target)?.is_some()),
            _ => Ok(false),
        }
    }
}

pub(crate) struct Walker<'w> {
    prepared: &'w Prepared<'w>,
    /// Branches and questions inside each other.
    depth: Cell<usize>,
    /// Steps that may still be gone.
    left: Cell<usize>,
    /// Neighbours that are being asked for: what needs one to ask for it waits with the others.
    asking: RefCell<Vec<(End, IpAddr)>>,
    /// A neighbour that is given up while who waited for it is told, and what telling asks for: what questions leave
    /// by it is thrown away like all that waits for it.
    given_up: Cell<Option<(End, IpAddr)>>,
    /// Peers with which keys are being agreed on.
    agreeing: RefCell<Vec<PeerAt>>,
    /// Which ways rules choose that do so by chance.
    chances: Chances,
    /// Whether some rule may.
    notes: bool,
    /// The last rule of which nobody could tell what it does with a packet.
    undecided: Cell<Option<Filter<'w>>>,
    /// The last rule that translated.
    translated: Cell<Option<Subject<'w>>>,
    /// Of questions that whoever heard them may not answer.
    silent: RefCell<Vec<Step<'w>>>,
}

/// Where a packet goes on, so that no way is longer than the stack: stations call each other up to the next
/// device alone.
#[derive(Clone)]
enum Next<'w> {
    /// Nowhere.
    Ended,
    /// By a socket.
    Sent { sender: Sender, packet: Packet },
    Comes {
        end: End,
        frame: Frame,
        packet: Packet,
    },
    /// Once more by loopback, with the decision that was made.
    Loops {
        space: &'w Space<'w>,
        route: Option<&'w Route>,
        way: Way<'w>,
        packet: Packet,
    },
    Sends {
        space: &'w Space<'w>,
        device: &'w Device,
        frame: Frame,
        packet: Packet,
    },
}

/// A step that cannot be told ends the walk.
type Going<'w> = Result<Next<'w>, Unknown>;

impl<'w> Walker<'w> {
    fn new(prepared: &'w Prepared<'w>, notes: bool) -> Self {
        Self {
            prepared,
            depth: Cell::new(0),
            left: Cell::new(MOST_IN_ALL),
            asking: RefCell::default(),
            given_up: Cell::default(),
            agreeing: RefCell::default(),
            chances: Chances::default(),
            notes,
            undecided: Cell::default(),
            translated: Cell::default(),
            silent: RefCell::default(),
        }
    }

    /// From station to station, to the end.
    fn goes_on(&self, walk: &mut Walk<'w>, next: Going<'w>) -> Result<(), Unknown> {
        self.goes_by(walk, next, Vec::new())
    }

    /// The same where rules of the first of them choose these ways.
    fn goes_by(
        &self,
        walk: &mut Walk<'w>,
        mut next: Going<'w>,
        mut taken: Vec<usize>,
    ) -> Result<(), Unknown> {
        if self.depth.get() >= MOST_NESTED {
            return Err(Unknown::TooLong);
        }
        self.depth.set(self.depth.get() + 1);
        let outer = self.chances.begin(Vec::new());
        let ended = loop {
            let from = match next {
                Err(unknown) => break Err(unknown),
                Ok(Next::Ended) => break Ok(()),
                Ok(from) => from,
            };
            let before = self.notes.then(|| self.before(walk, &from));
            self.chances.begin(taken.clone());
            next = self.goes(walk, from);
            if let (Err(Unknown::Chance(shares)), Some(before)) = (&next, before) {
                break self.each_way(walk, before, (shares, &taken));
            }
            taken.clear();
        };
        self.chances.go_back(outer);
        self.depth.set(self.depth.get() - 1);
        ended
    }

    /// To the next station.
    fn goes(&self, walk: &mut Walk<'w>, from: Next<'w>) -> Going<'w> {
        match from {
            Next::Ended => Ok(Next::Ended),
            Next::Sent { sender, packet } => self.sent(walk, &sender, packet),
            Next::Comes { end, frame, packet } => self.comes(walk, end, frame, packet),
            Next::Loops {
                space,
                route,
                way,
                packet,
            } => self.forwarded(walk, space, (route, &[way]), packet),
            Next::Sends {
                space,
                device,
                frame,
                packet,
            } => self.sends(walk, space, device, frame, packet),
        }
    }

    fn push(&self, walk: &mut Walk<'w>, step: Step<'w>) -> Result<(), Unknown> {
        let left = self.left.get().checked_sub(1);
        let left = left.filter(|_| walk.steps.len() < MOST_STEPS);
        self.left.set(left.ok_or(Unknown::TooLong)?);
        walk.steps.push(step);
        Ok(())
    }

    fn ends(&self, walk: &mut Walk<'w>, step: Step<'w>) -> Going<'w> {
        self.push(walk, step).map(|()| Next::Ended)
    }

    fn refuse(
        &self,
        walk: &mut Walk<'w>,
        space: &Space<'w>,
        no: No<'w>,
        packet: Packet,
    ) -> Going<'w> {
        self.ends(
            walk,
            Step {
                netns: space.netns,
                station: no.station,
                by: no.by,
                does: Does::Refuses(no.how),
                packet,
            },
        )
    }

    /// A frame that a program made.
    fn frame(&self, walk: &mut Walk<'w>, end: End, frame: Frame, packet: Packet) -> Going<'w> {
        let space = self.prepared.space(end.netns)?;
        let device = space.device(end.index)?;
        if device.flags.up && packet.size > device.mtu {
            let no = No {
                station: Station::Size,
                how: How::TooBig(device.mtu),
                by: Some(Subject::Device(device)),
            };
            return self.refuse(walk, space, no, packet);
        }
        self.sends(walk, space, device, frame, packet)
    }

    /// A frame comes in at a device.
    fn comes(&self, walk: &mut Walk<'w>, end: End, frame: Frame, packet: Packet) -> Going<'w> {
        let space = self.prepared.space(end.netns)?;
        let device = space.device(end.index)?;
        // What comes without a frame is for this host.
        let to = match device.ethernet {
            true => To::of(frame.to, device.mac),
            false => To::Host,
        };
        self.arrives(walk, space, device, (frame, to), packet)
    }

    /// The same at a device that is at hand, with what the frame was for the one that it first came in by.
    fn arrives(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        (frame, to): (Frame, To),
        packet: Packet,
    ) -> Going<'w> {
        let frame = frame.taken();
        self.came(walk, space, device, packet)?;
        if let Some(tag) = frame.vlan
            && let Some(inside) = vlan::device(space, device, tag)?
        {
            return self.untagged(walk, space, inside, (frame, to), packet);
        }
        let Some(master) = device.master else {
            if let Some(next) = self.shared(walk, space, device, frame, packet)? {
                return Ok(next);
            }
            if let Some(next) =
                self.shared_by_address(walk, (space, device), (frame, to), packet)?
            {
                return Ok(next);
            }
            let to = match frame.vlan {
                // Whose tag nobody here has is somebody else's.
                Some(tag) if tag.id != 0 => To::OtherHost,
                _ if has_all(device) && !frame.to.is_group() => To::Host,
                _ => to,
            };
            return self.taken(walk, space, device, to, packet);
        };
        let master = space.device(master)?;
        match master.kind {
            Kind::Bridge(_) => self.bridged(walk, space, (master, device), (frame, to), packet),
            Kind::Bond(_) => self.bonded(walk, space, (master, device), (frame, to), packet),
            _ => Err(Unknown::NotModelled("a device with a master".into())),
        }
    }

    fn came(
        &self,
        walk: &mut Walk<'w>,
        space: &Space<'w>,
        device: &'w Device,
        packet: Packet,
    ) -> Result<(), Unknown> {
        space.passes_links()?;
        space.shows(device, true)?;
        let does = Does::Comes {
            device: device.index,
        };
        walk.waited();
        self.push(
            walk,
            Step {
                netns: space.netns,
                station: Station::Link,
                by: Some(Subject::Device(device)),
                does,
                packet,
            },
        )
    }

    /// IP has it, by what its frame makes of it.
    fn taken(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        to: To,
        packet: Packet,
    ) -> Going<'w> {
        let asked = walk.heard.as_mut().filter(|_| packet.carries.is_none());
        if let Some(heard) = asked {
            heard.push((space.end(device), to));
            return Ok(Next::Ended);
        }
        match to {
            To::Host => self.received(walk, space, device, packet),
            To::OtherHost => {
                let no = No {
                    station: Station::Link,
                    how: How::OtherHost,
                    by: Some(Subject::Device(device)),
                };
                self.refuse(walk, space, no, packet)
            }
            _ => Err(Unknown::NotModelled("a frame for many".into())),
        }
    }

    /// A packet for this host, by its frame.
    fn received(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        mut packet: Packet,
    ) -> Going<'w> {
        packet.iif = Some(device.index);
        let met = std::mem::take(&mut packet.met) && !self.prepared.is(Wrong::PreroutingTwice);
        packet.gathered &= met;
        if packet.is_ipv6()
            && let Some(no) = space.may_not_come6(&packet, device)?
        {
            return self.refuse(walk, space, no, packet);
        }
        let place = Place::entering(Hook::Prerouting, device);
        if !met && let Some(ended) = self.at_hook(walk, space, &place, &mut packet)? {
            return Ok(ended);
        }
        if let Some(next) = self.taken_above(walk, (space, device), packet)? {
            return Ok(next);
        }
        self.routed(walk, space, device, packet)
    }

    /// Where it leads that came in by that device.
    fn routed(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        packet: Packet,
    ) -> Going<'w> {
        space.knows_ports(&packet)?;
        let first = self.prepared.is(Wrong::ReversePathFirst) && !packet.is_ipv6();
        if first && let Some(no) = space.reverse(&packet, device, 0)? {
            return self.refuse(walk, space, no, packet);
        }
        let decision = match packet.is_ipv6() {
            true => space.route_in6(&packet, device)?,
            false => space.route_in(&packet, device)?,
        };
        match decision {
            Decision::No(no) => self.refuses(walk, space, no, packet),
            Decision::Local(route) => self.delivered(walk, space, route, packet),
            Decision::Looped { route, .. } => self.delivered(walk, space, Some(route), packet),
            Decision::Onward { route, hops } => self.forwarded(walk, space, (route, &hops), packet),
        }
    }
}

/// Whatever its link gets is for it.
fn has_all(device: &Device) -> bool {
    matches!(device.kind, Kind::Macvlan(MacvlanMode::Passthru))
}
