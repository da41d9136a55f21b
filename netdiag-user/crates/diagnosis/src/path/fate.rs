//! What became of the packets: dropped here, refused, gone without a word.
use std::collections::{BTreeMap, BTreeSet};

use netdiag_common::{
    dns::PORT as DNS,
    flow::FlowKey,
    hop::{ACK, INGRESS, IcmpError, IcmpErrorKey, RST, SYN},
};
use netdiag_lang::{mark, t};

use super::Conversation;
use crate::{
    model::{
        flow::{TCP, UDP, ends},
        icmp,
        path::{Course, Fate, FateKind, Outcome, Step, Way},
        roles::Role,
        text::counted,
        total::{Total, add},
        verdict::PodRole,
    },
    pipeline::{
        facts::{Facts, HopFlow, Loss},
        journey::Journey,
    },
};

/// Retransmits without progress that make a stall: one or two are everybody's day.
const STALL: u32 = 3;
/// A request may still be on its way for as long as TCP waits for an answer (RFC 6298).
const ON_ITS_WAY: u64 = 1_000_000_000;
/// Unanswered flows beside answered ones that are no lost packets.
const PATTERN: usize = 3;

/// Ports that one line names.
const MOST_PORTS: usize = 4;

/// Fills in the fates of both directions, and says what it comes to.
pub fn judge(
    facts: &Facts<'_>,
    all: &[Conversation],
    request: &mut Way,
    reply: &mut Way,
) -> (Outcome, Option<String>, String) {
    let there: BTreeSet<FlowKey> = flows(all).collect();
    let back: BTreeSet<FlowKey> = there.iter().map(FlowKey::reversed).collect();
    request.fates = fates(facts, request, &there);
    reply.fates = fates(facts, reply, &back);
    request.fates.extend(refusals(facts, request, reply, all));
    if all.is_empty() {
        let text = t!("no packet between these ends was seen; `netdiag path --probe` sends some");
        return (Outcome::NoTraffic, None, text.into());
    }
    let (worked, silent): (Vec<_>, Vec<_>) = all.iter().partition(|c| answered(facts, c));
    rank(request);
    rank(reply);
    let quiet = lost(request).is_none() && lost(reply).is_none();
    // Only what was lost on the way is known to be lost.
    let mute = !silent.is_empty() && silent.iter().all(|c| may_stay_silent(c, &worked));
    if quiet && mute && next_unseen(request).is_none() {
        let text = t!(
            "{} of {} flows answered; no answer to the others: UDP servers may stay silent",
            worked.len(),
            all.len()
        );
        let at = last_seen(request).map(|s| s.interface.clone());
        return match worked.is_empty() {
            true => (
                Outcome::Unknown,
                at,
                t!("no answer; UDP servers may stay silent").into(),
            ),
            false => (Outcome::Answered, None, text),
        };
    }
    if quiet && !worked.is_empty() {
        if silent.iter().filter(|c| waited(facts, c)).count() < PATTERN {
            let text = t!("{} of {} flows", worked.len(), all.len());
            return (Outcome::Answered, None, text);
        }
        let fate = unanswered(facts, &silent);
        request.fates.push(fate);
    }
    let fates = request.fates.iter().chain(&reply.fates);
    let refused = fates.filter(bad).all(|f| f.kind == FateKind::Refused);
    match lost(request).or_else(|| lost(reply)) {
        Some(_) if refused && !worked.is_empty() => partly(request, worked.len(), all.len()),
        Some(lost) => verdict(lost, worked.len(), all.len()),
        None => vanished(facts, all, request, reply),
    }
}

/// Datagrams that nobody of the same kind was answered; a resolver answers always.
fn may_stay_silent(silent: &Conversation, worked: &[&Conversation]) -> bool {
    let kind = |c: &Conversation| (c.asked.protocol, c.asked.destination_port);
    let own = kind(silent);
    own.0 == UDP && own.1 != DNS && !worked.iter().any(|c| kind(c) == own)
}

/// What the client is told comes first, then what the node knows.
fn rank(way: &mut Way) {
    way.fates.sort_by_key(|fate| match fate.kind {
        FateKind::Refused => 0,
        FateKind::Icmp => 1,
        FateKind::Drop => 2,
        _ => 3,
    });
}

/// What was lost on a way.
struct Lost<'a> {
    /// The first of its fates.
    fate: &'a Fate,
    /// What they all say.
    text: String,
    /// One of them says where it was last seen.
    placed: bool,
}

fn lost(way: &Way) -> Option<Lost<'_>> {
    let all: Vec<&Fate> = way.fates.iter().filter(bad).collect();
    let texts: Vec<&str> = all.iter().map(|f| f.text.as_str()).collect();
    let says_where = |f: &&Fate| matches!(f.kind, FateKind::Stalled | FateKind::Vanished);
    Some(Lost {
        fate: all.first()?,
        text: texts.join(t!("; ")),
        placed: all.iter().any(says_where),
    })
}

fn bad(fate: &&Fate) -> bool {
    fate.kind != FateKind::TooBig
}

fn flows(all: &[Conversation]) -> impl Iterator<Item = FlowKey> {
    all.iter().flat_map(|c| [Some(c.asked), c.sent]).flatten()
}

/// Losses that name a reason or show in the counts.
fn fates(facts: &Facts<'_>, way: &Way, flows: &BTreeSet<FlowKey>) -> Vec<Fate> {
    let mut fates = drops(facts, way, flows);
    fates.extend(icmp_errors(facts, way, flows));
    fates.extend(stall(facts, way, flows));
    fates
}

fn drops(facts: &Facts<'_>, way: &Way, flows: &BTreeSet<FlowKey>) -> Vec<Fate> {
    type Place<'a> = (&'a str, &'a str);
    let mut sums: BTreeMap<Place<'_>, (u64, Option<String>)> = BTreeMap::new();
    let own = facts.losses.iter();
    let own = own.filter(|l| !l.harmless && flows.contains(l.flow()) && !is_late(facts, l));
    for loss in own {
        let sum = sums.entry((&loss.reason, loss.symbol())).or_default();
        add(&mut sum.0, loss.dropped.packets);
        sum.1 = sum.1.take().or_else(|| reached(facts, loss.flow()));
    }
    let fate = |((reason, symbol), (packets, at)): (Place<'_>, (u64, Option<String>))| Fate {
        at: at.or_else(|| last_seen(way).map(|s| s.interface.clone())),
        kind: FateKind::Drop,
        packets,
        text: t!(
            "{} dropped: {reason} in {symbol}",
            counted(packets, mark!("packet"))
        ),
        reason: Some(reason.to_owned()),
        location: Some(symbol.to_owned()),
    };
    let mut fates: Vec<_> = sums.into_iter().map(fate).collect();
    fates.sort_by_key(|f| std::cmp::Reverse(f.packets));
    fates
}

/// What comes for a connection after its socket was closed: whoever closes first wants no more of it.
fn is_late(facts: &Facts<'_>, loss: &Loss) -> bool {
    let flow = loss.flow();
    let acknowledged = |flow: &FlowKey| {
        let journey = facts.journeys().get(flow);
        journey.is_some_and(|j| j.hops.iter().any(|h| h.hop.flags & ACK != 0))
    };
    let closed = flow.protocol == TCP && loss.reason == "NO_SOCKET";
    // An answer that its client's socket does not take is acknowledged by nobody.
    closed && acknowledged(flow) && acknowledged(&flow.reversed())
}

/// The last hop that a flow's largest packets reached: smaller ones may get farther. What the node
/// makes of it and drops at once was last seen as what it was made of.
fn reached(facts: &Facts<'_>, flow: &FlowKey) -> Option<String> {
    let asked = || facts.legs().origin(flow).map(|(asked, _)| asked);
    seen(facts, flow).or_else(|| seen(facts, &asked()?))
}

fn seen(facts: &Facts<'_>, flow: &FlowKey) -> Option<String> {
    let hops = &facts.journeys().get(flow)?.hops;
    let largest = hops.iter().map(|h| h.hop.largest).max()?;
    let last = hops.iter().rev().find(|h| h.hop.largest == largest)?;
    Some(last.interface.clone())
}

/// Who says what of a flow.
type Sender = ([u8; 16], u8, u8);

/// What one sender's errors come to.
#[derive(Default)]
struct Told {
    /// Of each connection, as its client sends it: every hop counts the same ones.
    packets: BTreeMap<FlowKey, u64>,
    mtu: u32,
    /// The link that they came into this node by, and when: the packets had left by it.
    came: Option<(u64, String)>,
    reached: Option<String>,
}

impl Told {
    fn add(&mut self, facts: &Facts<'_>, key: &IcmpErrorKey, error: &IcmpError) {
        let pair = facts.legs().pair(&key.about);
        let asked = pair.map_or(key.about, |(asked, ..)| asked);
        let most = self.packets.entry(asked).or_default();
        *most = error.packets.max(*most);
        self.mtu = self.mtu.max(error.mtu);
        let came = came_by(facts, key).map(|at| (error.first, at));
        self.came = self.came.take().into_iter().chain(came).min();
        self.reached = self.reached.take().or_else(|| reached(facts, &key.about));
    }
}

fn icmp_errors(facts: &Facts<'_>, way: &Way, flows: &BTreeSet<FlowKey>) -> Vec<Fate> {
    let mut sums: BTreeMap<Sender, Told> = BTreeMap::new();
    for (key, error) in facts.icmp_errors {
        if flows.contains(&key.about) {
            let told = sums.entry((key.sender, key.kind, key.code)).or_default();
            told.add(facts, key, error);
        }
    }
    let family = flows.first().map_or(4, |f| f.family);
    let fate = |((sender, kind, code), told): (Sender, Told)| {
        let (packets, mtu) = (told.packets.values().total(), told.mtu);
        let at = told.came.map(|(_, at)| at).or(told.reached);
        let sender = crate::model::address::from_wire(sender);
        let who = match facts.pod(sender, PodRole::Server) {
            Some(pod) => crate::model::pod::label(&pod),
            None if facts.owns(sender) => t!("this node").into(),
            None => sender.to_string(),
        };
        let mut text = t!(
            "{who} answered '{}' ({})",
            icmp::name(family, kind, code),
            counted(packets, mark!("packet"))
        );
        if mtu > 0 {
            text.push_str(&t!(", next MTU {mtu}"));
        }
        Fate {
            at: at.or_else(|| last_seen(way).map(|s| s.interface.clone())),
            kind: match icmp::too_big(family, kind, code) {
                true => FateKind::TooBig,
                false => FateKind::Icmp,
            },
            packets,
            text,
            reason: None,
            location: None,
        }
    };
    sums.into_iter().map(fate).collect()
}

/// The link by which an error came into this node.
fn came_by(facts: &Facts<'_>, key: &IcmpErrorKey) -> Option<String> {
    let link = facts.link(key.ifindex)?;
    let outer = matches!(
        facts.role(link),
        Some(Role::Pod | Role::Tunnel | Role::Uplink)
    );
    (key.direction == INGRESS && outer).then(|| link.name.clone())
}

/// Data that is sent again and again: the hop that its largest packets reached last.
fn stall(facts: &Facts<'_>, way: &Way, flows: &BTreeSet<FlowKey>) -> Option<Fate> {
    let journeys = flows.iter().filter_map(|f| facts.journeys().get(f));
    let stalled: Vec<_> = journeys.filter(|j| j.stalled() >= STALL).collect();
    let packets = stalled.iter().map(|j| j.retransmits()).total();
    if stalled.is_empty() {
        return None;
    }
    let largest = way.steps.iter().map(|s| s.largest).max()?;
    let big = |s: &&Step| s.largest == largest;
    let at = way.steps.iter().rev().find(big)?;
    let sent = match stalled.len() {
        1 => t!("one connection sends").to_owned(),
        n => t!("{n} connections send"),
    };
    Some(Fate {
        at: Some(at.interface.clone()),
        kind: FateKind::Stalled,
        packets,
        text: t!(
            "{sent} the same data again and again ({packets} times); packets of {largest} bytes \
             were last seen at {}",
            at.interface
        ),
        reason: None,
        location: None,
    })
}

/// RST instead of SYN|ACK.
fn refusals(facts: &Facts<'_>, request: &Way, reply: &Way, all: &[Conversation]) -> Option<Fate> {
    let refused = |j: &&Journey<'_>| {
        let has = |flags: u32| j.hops.iter().any(|h| h.hop.flags & flags == flags);
        has(RST) && !has(SYN | ACK)
    };
    let resets = |c: &Conversation| {
        let journey = answers(facts, c).filter(refused)?;
        let most = journey.hops.iter().map(|h| u64::from(h.hop.resets)).max()?;
        (most > 0).then_some((c.asked.destination_port, most))
    };
    let refused: Vec<(u16, u64)> = all.iter().filter_map(resets).collect();
    let from = reply.steps.iter().find(|s| s.course != Course::NotSeen)?;
    let packets = refused.iter().map(|(_, resets)| resets).total();
    let asked: BTreeSet<u16> = all.iter().map(|c| c.asked.destination_port).collect();
    let ports = match asked.len() {
        // Then everybody knows which.
        1 => String::new(),
        _ => at_ports(refused.iter().map(|(port, _)| *port).collect()),
    };
    (packets > 0).then(|| Fate {
        at: last_seen(request).map(|s| s.interface.clone()),
        kind: FateKind::Refused,
        packets,
        text: t!(
            "{} refused (RST){ports}, first seen at {}",
            counted(packets, mark!("connection")),
            from.interface
        ),
        reason: None,
        location: None,
    })
}

fn at_ports(ports: BTreeSet<u16>) -> String {
    let few: Vec<String> = ports.iter().take(MOST_PORTS).map(u16::to_string).collect();
    match (ports.len(), &few[..]) {
        (1, [one]) => t!(" at port {one}"),
        (n, few) if n == few.len() => t!(" at ports {}", few.join(t!(", "))),
        (n, _) => t!(" at {n} ports"),
    }
}

fn last_seen(way: &Way) -> Option<&Step> {
    let seen = |s: &&Step| s.course != Course::NotSeen;
    way.steps.iter().rev().find(seen)
}

pub fn answered(facts: &Facts<'_>, conversation: &Conversation) -> bool {
    let back = replies(facts, conversation);
    let opened = |h: &&HopFlow| {
        let flags = h.hop.flags;
        h.hop.payload > 0 || flags & RST == 0 || flags & (SYN | ACK) == SYN | ACK
    };
    back.is_some_and(|j| j.flow.protocol != TCP || j.hops.iter().any(opened))
}

/// The answers as their server sends them, or as they were made.
fn answers<'f, 'a>(facts: &'f Facts<'a>, conversation: &Conversation) -> Option<&'f Journey<'a>> {
    let legs = [conversation.sent, Some(conversation.asked)];
    let mut legs = legs.into_iter().flatten();
    legs.find_map(|leg| facts.journeys().get(&leg.reversed()))
}

/// The answers as the client gets them. Those to the node itself are translated back behind the
/// last hop.
fn replies<'f, 'a>(facts: &'f Facts<'a>, conversation: &Conversation) -> Option<&'f Journey<'a>> {
    let journeys = facts.journeys();
    let behind = || {
        let (client, _) = ends(&conversation.asked);
        let leg = conversation.sent.filter(|_| facts.owns(client))?;
        journeys.get(&leg.reversed())
    };
    journeys.get(&conversation.asked.reversed()).or_else(behind)
}

/// The requests as they were first seen.
fn requests<'f, 'a>(facts: &'f Facts<'a>, conversation: &Conversation) -> Option<&'f Journey<'a>> {
    let legs = [Some(conversation.asked), conversation.sent];
    let mut legs = legs.into_iter().flatten();
    legs.find_map(|leg| facts.journeys().get(&leg))
}

fn verdict(lost: Lost<'_>, answered: usize, all: usize) -> (Outcome, Option<String>, String) {
    let Lost {
        fate,
        mut text,
        placed,
    } = lost;
    let outcome = match (fate.kind, answered) {
        (FateKind::Stalled, _) | (_, 1..) => Outcome::Lossy,
        (FateKind::Icmp, _) => Outcome::Unreachable,
        (FateKind::Refused, _) => Outcome::Refused,
        _ => Outcome::Dropped,
    };
    if let (Some(at), false) = (&fate.at, placed) {
        text.push_str(&t!("; last seen at {at}"));
    }
    if answered > 0 {
        text.push_str(&t!("; {answered} of {all} were answered"));
    }
    (outcome, fate.at.clone(), text)
}

/// Some connections are refused, as a port is where nothing listens, and nothing is lost.
fn partly(request: &Way, answered: usize, all: usize) -> (Outcome, Option<String>, String) {
    let (at, text) = match lost(request) {
        Some(lost) => (lost.fate.at.clone(), lost.text),
        None => (None, String::new()),
    };
    let text = t!("{text}; {answered} of {all} were answered");
    (Outcome::PartlyRefused, at, text)
}

/// Long enough on its way to be called unanswered.
fn waited(facts: &Facts<'_>, conversation: &Conversation) -> bool {
    let first = requests(facts, conversation).and_then(|j| j.hops.first());
    first.is_some_and(|h| facts.now.saturating_sub(h.hop.first) >= ON_ITS_WAY)
}

/// Some are answered and these are not: the hop that most of them reached last.
fn unanswered(facts: &Facts<'_>, silent: &[&Conversation]) -> Fate {
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for conversation in silent {
        let legs = [conversation.sent, Some(conversation.asked)];
        let last = legs
            .iter()
            .flatten()
            .find_map(|leg| facts.journeys().get(leg)?.hops.last());
        if let Some(hop) = last {
            *ends.entry(hop.interface.clone()).or_default() += 1;
        }
    }
    let at = ends.into_iter().max_by_key(|(_, n)| *n).map(|(at, _)| at);
    let seen = at.as_deref().unwrap_or(t!("no hop"));
    Fate {
        text: t!("{} flows got no answer, last seen at {seen}", silent.len()),
        at,
        kind: FateKind::Vanished,
        packets: silent.len() as u64,
        reason: None,
        location: None,
    }
}

/// Neither answered nor lost for a reason that somebody told.
fn vanished(
    facts: &Facts<'_>,
    all: &[Conversation],
    request: &mut Way,
    reply: &mut Way,
) -> (Outcome, Option<String>, String) {
    let coming = last_seen(reply).map(|s| s.interface.clone());
    let (way, answers) = match coming {
        Some(_) => (reply, true),
        None => (request, false),
    };
    let last = last_seen(way).map(|s| s.interface.clone());
    let at = last.clone().unwrap_or_else(|| t!("no hop").into());
    let missing = last.as_ref().and_then(|_| next_unseen(way));
    let text = match (answers, missing) {
        (true, Some(next)) => t!("answers were last seen at {at} and never at {next}"),
        (true, None) => t!("answers went as far as {at}, and nothing came back"),
        (false, Some(next)) => t!("requests were last seen at {at} and never at {next}"),
        (false, None) => t!("requests went as far as {at}, and nothing came back"),
    };
    let young = !all.iter().any(|c| waited(facts, c));
    let text = match young {
        true => t!("{text} yet"),
        false => text,
    };
    let packets = last_seen(way).map_or(0, |s| s.packets);
    way.fates.push(Fate {
        at: last.clone(),
        kind: FateKind::Vanished,
        packets,
        text: text.clone(),
        reason: None,
        location: None,
    });
    (Outcome::Silent, last, text)
}

/// The hop behind the last one that saw anything.
fn next_unseen(way: &Way) -> Option<String> {
    let last = way
        .steps
        .iter()
        .rposition(|s| s.course != Course::NotSeen)?;
    way.steps.get(last + 1).map(|s| s.interface.clone())
}
