//! A conversation that nobody has begun yet: its computed way in words, and the smallest change that would bring it through,
//! tried before it is told.
pub(crate) mod behind;
pub(crate) mod change;
pub(crate) mod words;

use std::{collections::BTreeSet, net::IpAddr};

use netdiag_common::flow::FlowKey;
use netdiag_forwarding::{Prepared, way::Step};
use netdiag_lang::t;

use crate::{
    model::{
        address::{endpoint, to_wire},
        flow::{self, TCP, UDP},
        gather::Want,
        path::End,
        predicted::{Branch, Forecast, Predicted, Protocol},
        services::Service,
        world::Netns,
    },
    pipeline::{
        expected_path::pod_link,
        facts::Facts,
        predicted::{Foreseen, Question},
        tried,
    },
    shared::ending,
    unexplained::owed::is_service,
    whatif::{NotDone, changed},
};
use behind::InVain;

/// Of a client: of the range that kernels choose from by themselves.
const CLIENTS_PORT: u16 = 40_000;
/// Of ping's.
const IDENTIFIER: u16 = 1;
/// Of packets whose size nobody says: what opens a connection.
pub const SMALL: u32 = 60;
/// Namespaces of pods whose state is asked for.
const MOST: usize = 256;

/// What would be sent, as far as somebody says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub protocol: Option<Protocol>,
    pub bytes: Option<u32>,
    pub mark: u32,
}

/// What has to be read for it: the node's own state, that of pods here that are one of its ends or that Services lead to,
/// and of whoever shares a bridge with those: he hears who is asked for.
/// Of where it gets to, then, what tells whether anybody takes it there.
pub fn wants(facts: &Facts<'_>, ends: &(End, End), sent: &Sent) -> BTreeSet<Want> {
    let (source, destination) = ends;
    let services = facts.gathered.services();
    let backends = services.into_iter().flat_map(|all| &all.rules);
    let backends = backends
        .filter(|service| {
            let mut all = destination.addresses.iter();
            all.any(|address| is_at(facts, service, *address))
        })
        .flat_map(|service| service.backends.iter().map(|(address, _)| address));
    let all = source.addresses.iter().chain(&destination.addresses);
    let all = all.chain(backends).copied();
    let mut wants = BTreeSet::from([Want::Stack(facts.node.netns)]);
    for netns in all.flat_map(|address| around(facts, address)) {
        if wants.len() > MOST {
            break;
        }
        wants.insert(Want::Stack(netns));
    }
    for (_, question) in questions(facts, ends, sent) {
        let foreseen = facts.foreseen(facts.prepared(), &question);
        wants.extend(foreseen.iter().flat_map(|it| behind::wants(facts, it)));
    }
    wants
}

/// The namespace of the pod here that has that address, the first one, and those beside it.
fn around(facts: &Facts<'_>, address: IpAddr) -> impl Iterator<Item = Netns> {
    let own = facts.pod_side_of(address).map(|side| side.netns);
    let link = pod_link(facts, address).filter(|_| own.is_some());
    let bridge = link.and_then(|link| link.master);
    let ports = facts.node.links.iter();
    let ports = ports.filter(move |link| bridge.is_some() && link.master == bridge);
    own.into_iter()
        .chain(ports.filter_map(|link| link.peer_netns))
}

pub fn predicted(facts: &Facts<'_>, ends: &(End, End), sent: &Sent) -> Vec<Predicted> {
    let all = questions(facts, ends, sent).into_iter();
    all.map(|(port, question)| one(facts, facts.prepared(), (port, &question)))
        .collect()
}

/// The same once these commands are carried out on what was read.
pub fn after(
    facts: &Facts<'_>,
    ends: &(End, End),
    sent: &Sent,
    commands: &[Vec<String>],
) -> Result<Vec<Predicted>, NotDone> {
    let world = changed(facts, commands)?;
    let prepared = Prepared::new(&world);
    let all = questions(facts, ends, sent).into_iter();
    let all = all.map(|(port, question)| Predicted {
        after: commands.iter().map(|words| words.join(" ")).collect(),
        // It would be tried on what is there now.
        tried: None,
        ..one(facts, &prepared, (port, &question))
    });
    Ok(all.collect())
}

/// One of each family that both ends have, with the port that is asked for, if any is.
fn questions(
    facts: &Facts<'_>,
    (source, destination): &(End, End),
    sent: &Sent,
) -> Vec<(Option<u16>, Question)> {
    let port = destination.port;
    let of = |ipv4: bool| {
        let first = |all: &[IpAddr]| all.iter().copied().find(|one| one.is_ipv4() == ipv4);
        Some((first(&source.addresses)?, first(&destination.addresses)?))
    };
    let pairs = [of(true), of(false)].into_iter().flatten();
    let question = |ends| Question {
        flow: flow(facts, ends, port, sent.protocol),
        bytes: sent.bytes.unwrap_or(SMALL),
        mark: sent.mark,
    };
    pairs.map(|ends| (port, question(ends))).collect()
}

fn one(
    facts: &Facts<'_>,
    prepared: &Prepared<'_>,
    (port, question): (Option<u16>, &Question),
) -> Predicted {
    let flow = question.flow;
    let (from, to) = flow::ends(&flow);
    let (source, destination) = match port.filter(|_| matches!(flow.protocol, TCP | UDP)) {
        Some(port) => (from.to_string(), endpoint(to, port)),
        None => (from.to_string(), to.to_string()),
    };
    let read = !facts.prepared().world.stacks.is_empty();
    let nowhere = match read {
        true => t!("nobody knows where {from} is, nor by which link it comes in"),
        false => t!("the state that ways are computed from was not read").into(),
    };
    let mut predicted = Predicted {
        outcome: Forecast::Unknown,
        summary: nowhere,
        protocol: flow::protocol(flow.protocol),
        source,
        destination,
        bytes: question.bytes,
        request: Vec::new(),
        reply: Vec::new(),
        fix: None,
        tried: None,
        after: Vec::new(),
    };
    let Some(foreseen) = facts.foreseen(prepared, question) else {
        return predicted;
    };
    predicted.request = words::stops(facts, &foreseen.request);
    for way in &foreseen.replies {
        let reply = Branch {
            share: None,
            steps: words::stops(facts, way),
        };
        // From several ends they may look alike.
        if !predicted.reply.contains(&reply) {
            predicted.reply.push(reply);
        }
    }
    let in_vain = behind::in_vain(facts, &foreseen, question);
    (predicted.outcome, predicted.summary) = judged(facts, (&foreseen, in_vain.as_ref()), to);
    match foreseen.end() {
        tried::End::Stops { step, .. } => {
            predicted.fix = change::smallest(facts, &step, question);
            let fix = predicted.fix.as_ref();
            predicted.tried = fix.and_then(|fix| change::tried(facts, fix, question));
        }
        tried::End::Arrives { .. } => predicted.fix = in_vain.map(|it| it.fix),
        tried::End::Untold(_) => {}
    }
    predicted
}

fn judged(
    facts: &Facts<'_>,
    (foreseen, in_vain): (&Foreseen<'_>, Option<&InVain>),
    asked: IpAddr,
) -> (Forecast, String) {
    let lost = |at: &str, answer: bool, partly: bool| match (answer, partly) {
        (false, false) => t!("it does not arrive: {at}"),
        (false, true) => t!("some of it does not arrive: {at}"),
        (true, false) => t!("it arrives, and its answer does not come back: {at}"),
        (true, true) => t!("it arrives, and some of its answers do not come back: {at}"),
    };
    match (foreseen.end(), in_vain) {
        (tried::End::Arrives { .. }, Some(it)) => {
            (Forecast::Refused, lost(&it.what, it.answer, it.partly))
        }
        (tried::End::Arrives { .. }, None) => match foreseen.leaves() {
            Some(step) if is_untranslated(facts, foreseen, asked) => {
                let left = words::left(facts, step);
                let text = t!("{left}, a Service's address, which nothing here translates");
                (Forecast::Refused, text)
            }
            Some(step) => {
                let left = words::left(facts, step);
                let text = t!("{left}; its answer would pass here, and nothing beyond was read");
                (Forecast::Leaves, text)
            }
            None => (
                Forecast::Arrives,
                t!("it arrives, and its answer comes back").into(),
            ),
        },
        (
            tried::End::Stops {
                step,
                answer,
                partly,
            },
            _,
        ) => {
            let at = ending::said(facts, &step);
            (Forecast::Refused, lost(&at, answer, partly))
        }
        (tried::End::Untold(step), _) => {
            let why = step.and_then(|step| words::untold(facts, &step));
            let text = match why {
                Some(why) => t!("it cannot be told: {why}"),
                None => t!("it cannot be told where its answer would begin").into(),
            };
            (Forecast::Unknown, text)
        }
    }
}

/// Of a port of the node's own the rules have no address.
fn is_at(facts: &Facts<'_>, service: &Service, address: IpAddr) -> bool {
    service.address == address || service.address.is_unspecified() && facts.owns(address)
}

/// Whether it leaves for a Service's own address: nobody else has that.
fn is_untranslated(facts: &Facts<'_>, foreseen: &Foreseen<'_>, asked: IpAddr) -> bool {
    let leaves = foreseen.leaves();
    let same = |step: &Step<'_>| step.packet.carries.is_none() && step.packet.destination == asked;
    leaves.is_some_and(same) && is_service(facts, asked)
}

/// Of a Service that it has for UDP alone that is meant; without a port ping asks.
fn flow(
    facts: &Facts<'_>,
    (from, to): (IpAddr, IpAddr),
    port: Option<u16>,
    protocol: Option<Protocol>,
) -> FlowKey {
    let echo = if to.is_ipv4() { 1 } else { 58 };
    let protocol = match (protocol, port) {
        (Some(Protocol::Tcp), _) => TCP,
        (Some(Protocol::Udp), _) => UDP,
        (Some(Protocol::Icmp), _) | (None, None) => echo,
        (None, Some(port)) => of_service(facts, (to, port)).unwrap_or(TCP),
    };
    between((from, to), port, protocol)
}

/// What the first one sends to the other.
pub fn between((from, to): (IpAddr, IpAddr), port: Option<u16>, protocol: u8) -> FlowKey {
    let (source_port, destination_port) = match protocol {
        TCP | UDP => (CLIENTS_PORT, port.unwrap_or(0)),
        _ => (IDENTIFIER, IDENTIFIER),
    };
    FlowKey {
        source: to_wire(from),
        destination: to_wire(to),
        source_port,
        destination_port,
        protocol,
        family: if to.is_ipv4() { 4 } else { 6 },
        padding: [0; 2],
    }
}

fn of_service(facts: &Facts<'_>, at: (IpAddr, u16)) -> Option<u8> {
    let all = &facts.gathered.services()?.rules;
    let (address, port) = at;
    let own = || {
        let all = all.iter().filter(|it| it.port == port);
        all.filter(|it| is_at(facts, it, address))
    };
    let tcp = own().any(|it| it.protocol == TCP);
    own().next().map(|it| if tcp { TCP } else { it.protocol })
}
