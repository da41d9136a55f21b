//! Which flows are stuck, and how far each of them gets.
use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    rc::Rc,
};

use netdiag_common::{
    dns::PORT as DNS,
    flow::FlowKey,
    hop::{ACK, RST},
};
use netdiag_lang::t;

use super::{datagrams, drops, made_up, owed, strays::Strays};
use crate::{
    model::{
        address::endpoint,
        flow::{self, TCP, UDP, ends},
        node::LinkKind,
        roles::Role,
        verdict::FlowRef,
    },
    pipeline::{
        connection_groups::{Connection, ConnectionGroup, Outcome},
        facts::{Data, Facts, HopFlow, Loss},
        journey::Journey,
        legs::Legs,
    },
    shared::{
        losses::{self, DropGroup},
        published, stall,
    },
};

/// Questions without an answer: a SYN and its first repetition may both be lost by chance.
pub(super) const ASKED: u64 = 3;
/// What lasts no longer is over before anybody looks at it: three SYNs take as long (RFC 6298).
pub(super) const SPAN_NS: u64 = 3_000_000_000;

/// One client's traffic with one server's port that gets nowhere.
#[derive(Clone)]
pub struct Symptom {
    pub client: IpAddr,
    pub server: IpAddr,
    pub port: u16,
    pub protocol: u8,
    /// What the node's translation makes of it.
    pub leg: Option<FlowKey>,
    /// Questions that were not answered; 0 where a connection stalls that was open.
    pub asked: u64,
    pub retransmits: u64,
    pub first: u64,
    /// The hop that saw it last, in the direction that is stuck.
    pub last: Option<HopFlow>,
    /// It is the server's answers that get nowhere.
    pub answers: bool,
    /// The tunnel's packets are looked into at the uplink too.
    pub unpacked: bool,
    /// The link by which it left and came back.
    pub circles: Option<String>,
    /// What of it was dropped on this node.
    pub dropped: Option<String>,
    /// It came to somebody else, who dropped it.
    pub astray: bool,
    /// Who answers in place of the server that was asked.
    pub stray: Option<IpAddr>,
}

impl Symptom {
    /// By whoever had it on its way.
    pub fn is_dropped(&self) -> bool {
        self.dropped.is_some() && !self.astray
    }

    pub fn servers(&self) -> impl Iterator<Item = IpAddr> {
        self.ends().map(|(_, (server, _))| server)
    }

    /// Client and server's port, as the client has them and behind the translation.
    pub fn ends(&self) -> impl Iterator<Item = (IpAddr, (IpAddr, u16))> {
        let leg = self.leg.map(|leg| {
            let (client, server) = ends(&leg);
            (client, (server, leg.destination_port))
        });
        let own = (self.client, (self.server, self.port));
        [Some(own), leg].into_iter().flatten()
    }

    fn translated(&self) -> Option<IpAddr> {
        self.leg.map(|leg| ends(&leg).1)
    }

    /// Whom the stuck packets are for.
    pub fn far(&self) -> IpAddr {
        match self.answers {
            true => self.client,
            false => self.translated().unwrap_or(self.server),
        }
    }

    pub fn refer(&self) -> FlowRef {
        FlowRef {
            protocol: flow::protocol(self.protocol),
            source: self.client.to_string(),
            destination: endpoint(self.server, self.port),
            packets: self.asked,
            retransmits: self.retransmits,
            last_seen_at: self.last.as_ref().map(|h| h.interface.clone()),
            ..FlowRef::default()
        }
    }

    pub fn text(&self) -> String {
        match (self.asked, self.answers) {
            (0, _) => t!("{} retransmits and no progress", self.retransmits),
            (n, true) => t!("asked {n} times, and the answers get nowhere"),
            (n, false) => t!("asked {n} times, unanswered"),
        }
    }
}

/// What gets nowhere in a reading, looked through once for all who ask.
pub struct Symptoms<'f> {
    /// Whomever they concern.
    pub(super) all: Vec<Symptom>,
    /// Which of them concern this node's own or its pods.
    ours: Vec<usize>,
    /// What this node drops on the way, again and again.
    pub dropped: Vec<DropGroup<'f>>,
}

impl<'f> Symptoms<'f> {
    pub fn of(facts: &'f Facts<'_>) -> Self {
        let mut all = sent(facts);
        let dropped = drops::patterns(facts);
        drops::add(facts, &dropped, &mut all);
        let mut seen = BTreeSet::new();
        let ours = all.iter().enumerate().filter(|(_, symptom)| {
            let ours = concerns_us(facts, symptom) && !is_everyday(facts, symptom);
            let (client, server) = (symptom.client, symptom.server);
            ours && seen.insert((client, server, symptom.port, symptom.protocol))
        });
        let ours = ours.map(|(at, _)| at).collect();
        Self { all, ours, dropped }
    }

    pub(super) fn ours(&self) -> impl Iterator<Item = &Symptom> {
        self.ours.iter().map(|at| &self.all[*at])
    }
}

/// Those that were seen at a hop, whomever they concern.
fn sent(facts: &Facts<'_>) -> Vec<Symptom> {
    let strays = Strays::new(facts);
    let silent: Vec<_> = facts
        .attempts()
        .iter()
        .filter_map(|all| silent(facts, &strays, all))
        .collect();
    let stalling = facts.journeys_in_order(|j| stalls(facts, j));
    let mut all = Vec::new();
    if !(silent.is_empty() && stalling.is_empty()) {
        let (legs, expired) = (facts.legs(), drops::expired(facts));
        all.extend(
            silent
                .iter()
                .filter_map(|s| asking(facts, (&strays, &expired), legs, s)),
        );
        all.extend(stalling.iter().map(|j| open(facts, legs, j)));
    }
    all
}

/// Only the tries that came to nothing, where none came to something since the first of them.
fn silent<'a>(
    facts: &Facts<'_>,
    strays: &Strays,
    all: &ConnectionGroup<'a>,
) -> Option<ConnectionGroup<'a>> {
    let stuck = |t: &&Connection<'_>| is_silent(facts, t);
    // A leg is told with the flow that it is of.
    let own = |t: &&Connection<'_>| t.was.is_none();
    let tries: Rc<[_]> = all
        .tries
        .iter()
        .filter(own)
        .filter(stuck)
        .cloned()
        .collect();
    // Who speaks by UDP may want no answer, unless others come that nobody takes, or a Service's address
    // leaves untranslated.
    let service = || owed::is_service(facts, all.server);
    let stray = || strays.answers(facts, &tries).is_some();
    let tells = || datagrams::silence_tells(facts, all, &tries);
    let expected = || all.port == DNS || service() || stray() || tells();
    let tells = || expected() && !datagrams::may_go_round(facts, all.server);
    let asks = all.protocol == TCP || all.protocol == UDP && tells();
    let first = tries.first()?.first();
    let worked = |t: &Connection<'_>| !is_silent(facts, t) && t.worked_after(first);
    // What the node translates is a conversation with each of those that it is translated to: one that
    // is dead beside others that answer counts. So does what dies as it is translated.
    let others = || all.tries.iter().filter(|t| worked(t));
    let tries = match others().next() {
        None => tries,
        Some(_) => behind_a_dead_one(facts, tries, others()),
    };
    tries.first()?;
    let silent = ConnectionGroup { tries, ..*all };
    let again = silent.packets() >= ASKED || silent.tries.iter().any(backs_off);
    (asks && again).then_some(silent)
}

/// Those that were translated to somebody who took none of the tries that worked, that left as they are though
/// all that worked were translated, or that died with the node's own address.
fn behind_a_dead_one<'a, 'f>(
    facts: &Facts<'_>,
    silent: Rc<[Connection<'a>]>,
    worked: impl Iterator<Item = &'f Connection<'a>>,
) -> Rc<[Connection<'a>]>
where
    'a: 'f,
{
    let backend = |t: &Connection<'_>| t.became.map(|leg| (leg.destination, leg.destination_port));
    let worked: Vec<_> = worked.collect();
    let alive: BTreeSet<_> = worked.iter().filter_map(|t| backend(t)).collect();
    let outs: BTreeSet<_> = worked.iter().filter_map(|t| way_out(facts, t)).collect();
    // One next hop of several may be dead.
    let by_another = |t: &Connection<'_>| {
        let out = way_out(facts, t).filter(|_| !outs.is_empty());
        out.is_some_and(|out| !outs.contains(&out))
    };
    // An entry from before the rules leads its datagrams past them, and rules may lead on a part alone.
    let as_it_is = |t: &Connection<'_>| {
        let server = (ends(&t.flow).1, t.flow.destination_port);
        // Of a connection that opened one end is known to be somebody else.
        let led = t.flow.protocol == TCP && !worked.is_empty();
        let led_on = || led || published::is_led_on(facts, server, t.flow.protocol);
        left_as_it_is(t) && worked.iter().all(|t| !t.goes_as_it_is(facts)) && led_on()
    };
    let dead = |t: &&Connection<'_>| match backend(t) {
        Some(backend) => !alive.contains(&backend) || by_another(t),
        None => died_as_the_nodes(facts, t) || by_another(t) || as_it_is(t),
    };
    silent.iter().filter(dead).cloned().collect()
}

fn left_as_it_is(tried: &Connection<'_>) -> bool {
    let mut hops = tried.requests.iter();
    hops.any(|h| h.egress() && h.role == Some(Role::Uplink))
}

/// The uplink by which it left, as itself or as what this node made of it.
fn way_out(facts: &Facts<'_>, tried: &Connection<'_>) -> Option<u32> {
    let made = tried.became.and_then(|leg| facts.journeys().get(&leg));
    let made = made.into_iter().flat_map(|journey| journey.hops.iter());
    let mut hops = tried.requests.iter().chain(made).rev();
    let out = hops.find(|h| h.egress() && h.role == Some(Role::Uplink))?;
    Some(out.key.ifindex)
}

/// Whether it never left, and while it was tried packets of the node's died on their way to that port: two
/// clients that are given one port clash there (`__nf_conntrack_confirm`), and one of them gets through.
fn died_as_the_nodes(facts: &Facts<'_>, tried: &Connection<'_>) -> bool {
    let to = |flow: &FlowKey| (flow.destination, flow.destination_port, flow.protocol);
    let (from, until) = (tried.first(), tried.last().saturating_add(SPAN_NS));
    let own = |l: &&Loss| {
        let meets = l.dropped.first <= until && l.dropped.last >= from;
        let (source, _) = ends(l.flow());
        let node = meets && to(l.flow()) == to(&tried.flow) && facts.owns(source);
        node && !l.harmless && drops::on_the_way(&l.reason)
    };
    !left_as_it_is(tried) && facts.losses.iter().any(|l| own(&l))
}

/// Two SYNs so far apart are not the first ones: the run began in the middle of it.
fn backs_off(tried: &Connection<'_>) -> bool {
    let far = |h: &&HopFlow| h.hop.syns > 1 && h.hop.last.saturating_sub(h.hop.first) >= SPAN_NS;
    tried.flow.protocol == TCP && tried.requests.iter().any(far)
}

/// Sent again and again, or once more after so long that it is the fifth time at least.
fn is_stuck(hop: &HopFlow) -> bool {
    let late = hop.hop.last.saturating_sub(hop.hop.progress) >= SPAN_NS;
    stall::is_stalled(&hop.hop) || hop.hop.stalled > 0 && late
}

/// Nobody answered, or the answer did not get to the client: it acknowledged none.
fn is_silent(facts: &Facts<'_>, tried: &Connection<'_>) -> bool {
    let opened = tried.opened();
    // Where acknowledgements are not kept, that the client asked once more is all that tells.
    let tells = facts.data == Data::Kept || asked_again(tried);
    match tried.outcome {
        Outcome::Unanswered => true,
        Outcome::Accepted => tried.flow.protocol == TCP && !opened && tells && !hung_up(tried),
        Outcome::Refused | Outcome::Pending => false,
    }
}

/// The answer got to the client, which wanted no more: a balancer's probe, a traceroute.
fn hung_up(tried: &Connection<'_>) -> bool {
    tried.requests.iter().any(|h| h.hop.flags & RST != 0)
}

/// After it was answered.
fn asked_again(tried: &Connection<'_>) -> bool {
    let answered = tried.answers.iter().map(|h| h.hop.first).min();
    let later = |h: &HopFlow| h.hop.syns > 1 && answered.is_some_and(|at| h.hop.last > at);
    tried.requests.iter().any(|h| later(h))
}

/// Data that is sent again and again, nothing came back since, and nobody made it of another flow.
fn stalls(facts: &Facts<'_>, journey: &Journey<'_>) -> bool {
    let stuck = || journey.hops.iter().filter(|h| is_stuck(h));
    let Some(last) = stuck().map(|h| h.hop.last).max() else {
        return false;
    };
    let progress = stuck().map(|h| h.hop.progress).max().unwrap_or(0);
    let back = facts.journeys().get(&journey.flow.reversed());
    let answered = back.is_some_and(|b| b.hops.iter().any(|h| h.hop.last >= last));
    let opened = journey.hops.iter().any(|h| h.hop.flags & ACK != 0);
    let (source, _) = ends(&journey.flow);
    let own = journey.came_in() || facts.owns(source);
    own && opened && !answered && facts.now.saturating_sub(progress) >= SPAN_NS
}

fn asking(
    facts: &Facts<'_>,
    (strays, expired): (&Strays, &HashSet<FlowKey>),
    legs: &Legs,
    silent: &ConnectionGroup<'_>,
) -> Option<Symptom> {
    let first = silent.first();
    if facts.now.saturating_sub(first) < SPAN_NS {
        return None;
    }
    // Those that were to come no farther tell nothing of the others' way.
    let whole = |t: &&Connection<'_>| !expired.contains(&t.flow);
    let tried = silent.tries.iter().rev().find(whole);
    let tried = tried.or(silent.tries.last())?;
    let inferred = || legs.translated(&tried.flow).map(|(leg, _)| leg);
    let leg = tried.became.or_else(inferred);
    let answered = |flow: FlowKey| facts.journeys().get(&flow.reversed());
    let answer = leg.and_then(answered).or_else(|| answered(tried.flow));
    // Answered on this node and not taken by the client: look where the answers went.
    let died = || datagrams::answers_die(facts, &silent.tries);
    let answers = answer.is_some() && (silent.protocol == TCP || died());
    let way = match answers {
        true => [Some(tried.flow.reversed()), leg.map(|l| l.reversed())],
        false => [leg, Some(tried.flow)],
    };
    Some(Symptom {
        client: silent.client,
        server: silent.server,
        port: silent.port,
        protocol: silent.protocol,
        leg,
        asked: silent.packets(),
        retransmits: 0,
        first,
        unpacked: unpacked(facts, last(facts, way, |_| true)),
        last: last(facts, way, |_| true).cloned(),
        answers,
        circles: circles(facts, way),
        dropped: None,
        astray: false,
        stray: strays.answers(facts, &silent.tries),
    })
}

fn open(facts: &Facts<'_>, legs: &Legs, stalled: &Journey<'_>) -> Symptom {
    let (source, destination) = ends(&stalled.flow);
    let answers = facts.direction().is_answer(&stalled.flow);
    let leg = legs.translated(&stalled.flow).map(|(leg, _)| leg);
    // Smaller packets of it may get farther than those that are sent again.
    let way = [leg, Some(stalled.flow)];
    let last = last(facts, way, is_stuck);
    let ((client, server), port) = match answers {
        true => ((destination, source), stalled.flow.source_port),
        false => ((source, destination), stalled.flow.destination_port),
    };
    Symptom {
        client,
        server,
        port,
        protocol: TCP,
        leg: leg.filter(|_| !answers),
        asked: 0,
        retransmits: stalled.retransmits(),
        first: stalled
            .hops
            .iter()
            .map(|h| h.hop.progress)
            .max()
            .unwrap_or(0),
        unpacked: unpacked(facts, last),
        last: last.cloned(),
        answers,
        circles: circles(facts, way),
        dropped: None,
        astray: false,
        stray: None,
    }
}

/// A link that a flow leaves by first and comes in by then, as it is: the next hop sends it back.
pub(super) fn circles(facts: &Facts<'_>, legs: [Option<FlowKey>; 2]) -> Option<String> {
    let outer = |h: &&&HopFlow| matches!(h.role, Some(Role::Uplink | Role::Tunnel));
    let hops = legs.into_iter().flatten();
    let hops = hops.filter_map(|leg| Some(&facts.journeys().get(&leg)?.hops));
    hops.into_iter().find_map(|hops| {
        let mut back = hops.iter().filter(outer).filter(|h| !h.egress());
        let left = |b: &HopFlow| {
            let same = |h: &&&HopFlow| {
                (h.key.ifindex, h.key.carried) == (b.key.ifindex, b.key.carried)
                    && h.egress()
                    && h.hop.first < b.hop.first
            };
            hops.iter().find(same).map(|h| h.interface.clone())
        };
        back.find_map(|b| left(b))
    })
}

/// The last hop of the later leg that has any.
pub(super) fn last<'a>(
    facts: &Facts<'a>,
    legs: [Option<FlowKey>; 2],
    wanted: impl Fn(&HopFlow) -> bool,
) -> Option<&'a HopFlow> {
    legs.into_iter().flatten().find_map(|leg| {
        let hops = &facts.journeys().get(&leg)?.hops;
        hops.iter().rev().find(|h| wanted(h)).copied()
    })
}

fn unpacked(facts: &Facts<'_>, last: Option<&HopFlow>) -> bool {
    let kind = last.and_then(|h| facts.link(h.key.ifindex));
    kind.is_some_and(|l| matches!(l.kind, LinkKind::Vxlan | LinkKind::Ipip))
}

/// A pod of this node is at one end, or the node asks itself, or is the way out of who asks. What the world
/// sends to ports that nobody has is scanned and dropped all day.
fn concerns_us(facts: &Facts<'_>, symptom: &Symptom) -> bool {
    let Symptom { client, server, .. } = symptom;
    // An address of no wire's that came in by one is made up.
    let came_in = || symptom.last.as_ref().is_some_and(|h| !h.egress());
    let nobody = server.is_loopback() || client.is_loopback() && came_in();
    let lone = server.is_multicast() || server.is_unspecified() || nobody;
    let pod = |address: IpAddr| facts.is_local_pod(address);
    let forwarded = || !facts.owns(*server) && facts.is_behind_us(*client);
    let ours = pod(*client) || facts.owns(*client) || forwarded();
    let asked_for = || symptom.servers().any(pod) && !is_scanned(facts, symptom);
    let led = || is_led_into_a_pod(symptom);
    !lone && (ours || asked_for() || led() || is_published(facts, symptom))
}

/// It went out by a pod's link, and is dropped there: the pod has the address no more that this node leads to
/// it.
fn is_led_into_a_pod(symptom: &Symptom) -> bool {
    let into = |h: &HopFlow| h.egress() && h.role == Some(Role::Pod);
    symptom.dropped.is_some() && symptom.last.as_ref().is_some_and(into)
}

/// The outside asks a pod's own address for a port that nobody in it has.
fn is_scanned(facts: &Facts<'_>, symptom: &Symptom) -> bool {
    let (client, server) = (symptom.client, (symptom.server, symptom.port));
    let stranger = facts.leaves(&facts.from_node(client)) && !losses::is_peer(facts, client);
    let closed = || published::is_closed(facts, server, symptom.protocol);
    stranger && symptom.leg.is_none() && closed() == Some(true)
}

/// Somebody takes it on this node, or the node leads it on to others.
fn is_published(facts: &Facts<'_>, symptom: &Symptom) -> bool {
    let (server, protocol) = ((symptom.server, symptom.port), symptom.protocol);
    let leads_on = symptom.servers().any(|s| s != symptom.server);
    leads_on
        || published::by_a_socket(facts, server, protocol)
        || published::by_a_rule(facts, server, protocol)
}

/// Programs try IPv6 in clusters that have no way out for it; clients ask for pods that went a
/// moment ago until they have caught up.
fn is_everyday(facts: &Facts<'_>, symptom: &Symptom) -> bool {
    let far = symptom.far();
    let known = facts.pods.by_address(far).is_some();
    let sent = facts.from_node(far);
    let (now, before) = (facts.way(&sent), facts.way_before(&sent));
    let nowhere = far.is_ipv6() && !known && now.is_none() && before.is_none();
    let was = facts
        .start
        .pod_sides
        .iter()
        .any(|s| s.addresses.contains(&far));
    let is = facts.pod_side_of(far).is_some();
    nowhere || was && !is || made_up::is_of_nobody(facts, symptom)
}
