//! The computed ways of what was seen: of a conversation's first packet, as its sender sent it, and of its answer.
use std::net::IpAddr;

use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{
    Prepared,
    packet::{Frame, ICMP, ICMP6, Packet, Sender, Start},
    walk_after,
    way::{Does, Memory, Step, Walk},
};

use crate::{
    facts::{Facts, HopFlow},
    model::{
        address::to_wire,
        flow::{self, TCP, UDP},
        path::KnownBy,
        world::{
            End, Netns, World,
            device::{Kind, Mac},
        },
    },
};

/// TCP's flag.
const SYN: u8 = 2;

/// The conversation that a flow belongs to, by the flow that it began with.
#[derive(Clone, Copy)]
pub struct Conversation {
    pub first: FlowKey,
    /// The flow is its answer.
    pub answer: bool,
}

impl Conversation {
    pub fn of(facts: &Facts<'_>, flow: &FlowKey) -> Self {
        let answer = facts.direction().is_answer(flow);
        let request = if answer { flow.reversed() } else { *flow };
        let origin = facts.legs().origin(&request);
        Self {
            first: origin.map_or(request, |(first, _)| first),
            answer,
        }
    }

    /// Its other direction.
    pub fn its_answer(self) -> Self {
        Self {
            answer: true,
            ..self
        }
    }

    /// As whoever takes it sends it, where it comes as it was seen to.
    pub fn answered(&self, facts: &Facts<'_>) -> FlowKey {
        let sent = facts.legs().translated(&self.first);
        sent.map_or(self.first, |(sent, _)| sent).reversed()
    }

    /// The same where it comes as it was computed to; nothing where conntrack says that it is another. What is inferred of
    /// a translation may be another connection's.
    fn answered_as(&self, facts: &Facts<'_>, came: &Packet) -> Option<FlowKey> {
        let seen = self.answered(facts);
        // What a tunnel carries is as it was put in.
        if came.carries.is_some() {
            return Some(seen);
        }
        let answer = (came.destination, came.source);
        let known = facts.legs().translated(&self.first);
        if known.is_some_and(|(_, by)| by == KnownBy::Conntrack) {
            return (flow::ends(&seen) == answer).then_some(seen);
        }
        let mut of_packet = FlowKey {
            source: to_wire(came.destination),
            destination: to_wire(came.source),
            ..seen
        };
        if matches!(seen.protocol, TCP | UDP) {
            of_packet.source_port = came.dport;
            if came.chosen.is_none() {
                of_packet.destination_port = came.sport;
            }
        }
        Some(of_packet)
    }
}

/// Of a packet.
#[derive(Clone, Copy)]
enum Size {
    Least,
    /// As large as it was seen, or so large.
    Seen(u32),
}

/// Those of one direction.
pub struct Ways<'w> {
    /// Of the first packet; of what was answered, of one that is small enough for that.
    pub request: Walk<'w>,
    /// Of the direction that was asked for: of an answer one from wherever the first packet may have come to, if anywhere.
    pub all: Vec<Walk<'w>>,
    /// There are others, of which nobody knows where they begin.
    pub lacks: bool,
}

/// Where an answer begins that comes from beyond this node.
#[derive(Clone, Copy, PartialEq)]
enum Beyond {
    /// Where it was seen.
    Seen,
    /// At the link that the question left by, where it was seen nowhere.
    Expected,
}

/// Those of packets of that size; nothing where nobody knows where the first began.
pub fn ways<'w>(
    facts: &Facts<'_>,
    prepared: &'w Prepared<'w>,
    of: (Conversation, u32),
) -> Option<Ways<'w>> {
    ways_from(facts, prepared, of, Beyond::Seen)
}

/// The same of what nobody has answered yet: what comes back does so by the link that the question leaves by.
pub fn expected<'w>(
    facts: &Facts<'_>,
    prepared: &'w Prepared<'w>,
    of: (Conversation, u32),
) -> Option<Ways<'w>> {
    ways_from(facts, prepared, of, Beyond::Expected)
}

fn ways_from<'w>(
    facts: &Facts<'_>,
    prepared: &'w Prepared<'w>,
    of: (Conversation, u32),
    beyond: Beyond,
) -> Option<Ways<'w>> {
    let (conversation, largest) = of;
    let size = match conversation.answer {
        true => Size::Least,
        false => Size::Seen(largest),
    };
    let request = request(facts, prepared, (conversation, size))?;
    let (all, lacks) = match conversation.answer {
        true => {
            let from = (&request, Memory::default());
            let (all, lacks) = answers(facts, prepared, (of, beyond), from);
            (all.into_iter().map(|(way, _)| way).collect(), lacks)
        }
        false => (vec![request.clone()], false),
    };
    Some(Ways {
        request,
        all,
        lacks,
    })
}

/// Those of later packets of the same direction: what connection tracking noted of the first ones, and of what was
/// answered, may lead them elsewhere (a mark that is restored).
pub fn later<'w>(facts: &Facts<'_>, prepared: &'w Prepared<'w>, of: Conversation) -> Vec<Walk<'w>> {
    const MOST: usize = 16;
    let size = Size::Least;
    let Some(first) = request(facts, prepared, (of, size)) else {
        return Vec::new();
    };
    let Some(start) = start(facts, prepared.world, &of.first) else {
        return Vec::new();
    };
    let packet = Packet {
        tcp_flags: None,
        ..packet(facts, &of.first, (size, false))
    };
    let of_answer = ((of, 0), Beyond::Seen);
    let (answered, _) = answers(facts, prepared, of_answer, (&first, Memory::default()));
    let second = answered.into_iter().take(MOST).flat_map(|(_, memory)| {
        let way = walk_after(prepared, &memory, start, packet);
        match of.answer {
            false => vec![way],
            true => {
                let (all, _) = answers(facts, prepared, of_answer, (&way, memory));
                all.into_iter().map(|(way, _)| way).collect()
            }
        }
    });
    second.collect()
}

/// The way of its first packet; nothing where nobody knows where it began.
fn request<'w>(
    facts: &Facts<'_>,
    prepared: &'w Prepared<'w>,
    (of, size): (Conversation, Size),
) -> Option<Walk<'w>> {
    let start = start(facts, prepared.world, &of.first)?;
    let packet = packet(facts, &of.first, (size, false));
    Some(walk_after(prepared, &Memory::default(), start, packet))
}

/// Those of its answer, each with what it taught, from wherever the packet before may have come to; and whether there are
/// some of which nobody knows where they begin.
fn answers<'w>(
    facts: &Facts<'_>,
    prepared: &'w Prepared<'w>,
    ((of, largest), beyond): ((Conversation, u32), Beyond),
    (request, before): (&Walk<'_>, Memory),
) -> (Vec<(Walk<'w>, Memory)>, bool) {
    let mut came = Vec::new();
    arrived(request, (before, None), &mut came);
    let (mut all, mut lacks) = (Vec::new(), false);
    for Came {
        step,
        memory,
        wrapped_by,
    } in came
    {
        let Some(answer) = of.answered_as(facts, &step.packet) else {
            continue;
        };
        let begins = match step.does {
            // It answers as whom it was asked, whoever has that address.
            Does::Delivers => Some(Start::Socket(Sender {
                any_source: true,
                ..sender(step.netns)
            })),
            Does::Leaves { device } if beyond == Beyond::Expected => {
                let seen = start(facts, prepared.world, &answer);
                let own = End {
                    netns: step.netns,
                    index: device,
                };
                // What a tunnel carried away comes back out of it.
                let wrapped_by = wrapped_by.filter(|_| step.packet.carries.is_some());
                let end = wrapped_by.unwrap_or(own);
                seen.or_else(|| coming_back(prepared.world, end, &answer))
            }
            _ => start(facts, prepared.world, &answer),
        };
        let Some(begins) = begins else {
            lacks = true;
            continue;
        };
        let packet = packet(facts, &answer, (Size::Seen(largest), true));
        let way = walk_after(prepared, &memory, begins, packet);
        let memory = memory.with(&way);
        all.push((way, memory));
    }
    // Where nobody can tell where one of its ways leads, nobody knows what answers there.
    let untold = |step: &&Step<'_>| matches!(step.does, Does::Unknown(_));
    lacks |= !all.is_empty() && ends(request).iter().any(untold);
    (all, lacks)
}

/// The first packet of one that nobody has sent yet.
pub(super) fn unsent(facts: &Facts<'_>, flow: &FlowKey, bytes: u32) -> Packet {
    packet(facts, flow, (Size::Seen(bytes), false))
}

/// Answers to what nobody has sent yet, of so many bytes, and whether there are some of which nobody knows where they begin.
pub(super) fn unsent_answers<'w>(
    facts: &Facts<'_>,
    prepared: &'w Prepared<'w>,
    (of, bytes): (Conversation, u32),
    request: &Walk<'_>,
) -> (Vec<Walk<'w>>, bool) {
    let of = ((of, bytes), Beyond::Expected);
    let (all, lacks) = answers(facts, prepared, of, (request, Memory::default()));
    (all.into_iter().map(|(way, _)| way).collect(), lacks)
}

/// Where it came to, with what its way there taught.
struct Came<'a, 'w> {
    step: &'a Step<'w>,
    memory: Memory,
    /// The device that it was sent by as it is: where a tunnel carries it from there on, that tunnel.
    wrapped_by: Option<End>,
}

fn arrived<'a, 'w>(
    walk: &'a Walk<'w>,
    (before, mut sent_by): (Memory, Option<End>),
    came: &mut Vec<Came<'a, 'w>>,
) {
    let memory = before.with(walk);
    for step in &walk.steps {
        let inner = || (memory.clone(), sent_by);
        match &step.does {
            Does::Sends { device, .. } if step.packet.carries.is_none() => {
                let (netns, index) = (step.netns, *device);
                sent_by = Some(End { netns, index });
            }
            Does::Delivers | Does::Leaves { .. } => came.push(Came {
                step,
                memory: memory.clone(),
                wrapped_by: sent_by,
            }),
            Does::Chooses(branches) => {
                let each = branches.iter();
                each.for_each(|(_, branch)| arrived(branch, inner(), came));
            }
            Does::Copies(copies) => {
                let each = copies.iter();
                each.for_each(|copy| arrived(copy, inner(), came));
            }
            _ => {}
        }
    }
}

/// The last steps of all its branches.
pub fn ends<'a, 'w>(walk: &'a Walk<'w>) -> Vec<&'a Step<'w>> {
    let each = ends_of(walk).into_iter();
    each.map(|(_, step)| step).collect()
}

/// Each with the branch that it ends.
pub fn ends_of<'a, 'w>(walk: &'a Walk<'w>) -> Vec<(&'a Walk<'w>, &'a Step<'w>)> {
    let of = |step: &'a Step<'w>| match &step.does {
        Does::Chooses(branches) => branches.iter().flat_map(|(_, it)| ends_of(it)).collect(),
        Does::Copies(copies) => copies.iter().flat_map(ends_of).collect(),
        Does::Refuses(_) | Does::Delivers | Does::Leaves { .. } | Does::Unknown(_) => {
            vec![(walk, step)]
        }
        _ => Vec::new(),
    };
    walk.steps.iter().flat_map(of).collect()
}

/// Where the flow was met first: at a link that it came in by, else in the namespace that has its source.
pub(super) fn start(facts: &Facts<'_>, world: &World, flow: &FlowKey) -> Option<Start> {
    let known = |flow: &FlowKey| facts.journeys().get(flow).map(|j| j.hops.clone());
    let hops = known(flow);
    // What came in from elsewhere is not the node's, though the node may have its sender's address, too.
    let plain = hops
        .as_deref()
        .and_then(|hops| hops.iter().find(|h| h.plain()));
    let came_in = plain.is_some_and(|h| !h.egress());
    let is_inside = |netns: &Netns| {
        let own = *netns == facts.node.netns;
        world.stacks.contains_key(netns) && !(own && came_in)
    };
    let inside = owner(facts, flow).filter(is_inside);
    // What a tunnel still wraps is its outer packet's way.
    let enters = |h: &&&HopFlow| h.plain() && !h.egress();
    let came = hops.as_deref().and_then(|hops| hops.iter().find(enters));
    match came.filter(|_| inside.is_none()) {
        Some(hop) => {
            let end = End {
                netns: facts.node.netns,
                index: hop.key.ifindex,
            };
            let has = |index: u32| {
                let mut hops = hops.iter().flat_map(|hops| hops.iter());
                hops.any(|h| h.plain() && !h.egress() && h.key.ifindex == index)
            };
            let to = frame_to(world, end, flow, has)?;
            Some(Start::Device(end, Frame::new(None, to)))
        }
        None => Some(Start::Socket(sender(inside?))),
    }
}

/// By a link, for whoever is at its end here.
pub(super) fn coming_back(world: &World, end: End, flow: &FlowKey) -> Option<Start> {
    let to = frame_to(world, end, flow, |_| true)?;
    Some(Start::Device(end, Frame::new(None, to)))
}

/// Whom the frame of a packet was for that came in there, and at which other devices of the node; nothing where nobody
/// can tell.
fn frame_to(world: &World, end: End, flow: &FlowKey, came_in: impl Fn(u32) -> bool) -> Option<Mac> {
    let device = world.device(end)?;
    // By which of its ports it came, what a bridge gave its host does not tell.
    if matches!(device.kind, Kind::Bridge(_)) {
        return None;
    }
    let own = device.mac.unwrap_or(Mac::BROADCAST);
    let bridge = device.master.map(|index| End { index, ..end });
    let Some(bridge) = bridge.filter(|at| {
        let master = world.device(*at);
        master.is_some_and(|master| matches!(master.kind, Kind::Bridge(_)))
    }) else {
        return Some(own);
    };
    // What the bridge gave its host was for that; who is behind another port is sent to at once.
    let (_, destination) = flow::ends(flow);
    let direct = || behind(world, bridge, destination);
    came_in(bridge.index).then_some(own).or_else(direct)
}

/// The link-layer address of whoever has that address behind one of a bridge's ports.
fn behind(world: &World, bridge: End, address: IpAddr) -> Option<Mac> {
    let stack = world.stacks.get(&bridge.netns)?;
    let peers = stack.slaves(bridge.index).filter_map(|port| {
        let index = port.index;
        world.wires.get(&End { index, ..bridge })
    });
    let mut has = peers.filter(|peer| {
        let stack = world.stacks.get(&peer.netns);
        let addresses = stack.and_then(|stack| stack.addresses.some());
        let mut addresses = addresses.into_iter().flatten();
        addresses.any(|a| a.device == peer.index && a.own.address == address)
    });
    world.device(*has.next()?)?.mac
}

/// Whether a socket may have marked what it sends, or its user count, where the rules of its namespace ask for that: no
/// packet tells it.
pub fn may_be_marked(world: &World, way: &Walk<'_>) -> bool {
    let Some(first) = way.steps.first() else {
        return false;
    };
    let rules = world
        .stacks
        .get(&first.netns)
        .and_then(|stack| stack.rules.some());
    let mut rules = rules.into_iter().flatten();
    !matches!(first.does, Does::Comes { .. })
        && rules.any(|rule| rule.mark.is_some() || rule.uids.is_some())
}

fn sender(netns: Netns) -> Sender {
    Sender {
        netns,
        device: None,
        uid: 0,
        any_source: false,
        failing: None,
    }
}

fn owner(facts: &Facts<'_>, flow: &FlowKey) -> Option<Netns> {
    let (source, _) = flow::ends(flow);
    // What a pod sends is the pod's, though the node may have its address, too.
    match facts.pod_side_of(source) {
        Some(side) => Some(side.netns),
        None => facts.owns(source).then_some(facts.node.netns),
    }
}

fn packet(facts: &Facts<'_>, flow: &FlowKey, (size, answers): (Size, bool)) -> Packet {
    const LEAST: u32 = 60;
    let (source, destination) = flow::ends(flow);
    let seen = facts.journeys().get(flow).into_iter();
    let seen = seen.flat_map(|j| j.hops.iter()).map(|h| h.hop.largest);
    let seen = seen.max().filter(|seen| *seen > 0);
    let size = match size {
        Size::Least => seen.map_or(LEAST, |seen| seen.min(LEAST)),
        Size::Seen(0) => seen.unwrap_or(LEAST),
        Size::Seen(largest) => seen.unwrap_or(LEAST).max(largest),
    };
    let dport = match (flow.protocol, flow.source_port) {
        (ICMP, 1..) => {
            if answers {
                0
            } else {
                8 << 8
            }
        }
        (ICMP6, 1..) => {
            if answers {
                129 << 8
            } else {
                128 << 8
            }
        }
        _ => flow.destination_port,
    };
    let cut = facts.journeys().get(flow).into_iter();
    let cut = cut
        .flat_map(|j| j.hops.iter())
        .any(|h| h.hop.later_fragments > 0);
    // What opens a connection; of what comes back it is not known how far that one is.
    let opens = flow.protocol == TCP && !answers;
    Packet {
        tcp_flags: opens.then_some(SYN),
        protocol: flow.protocol,
        sport: flow.source_port,
        dport,
        ttl: 64,
        size,
        // What was seen in fragments may be cut.
        df: !cut,
        ..Packet::new(source, destination)
    }
}
