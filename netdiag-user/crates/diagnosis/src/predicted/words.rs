//! A computed way in words: of each step what happens, what decides, and what shows that.
use std::net::IpAddr;

use netdiag_forwarding::{
    packet::Packet,
    way::{self, Share, Station, Step, Subject, Unknown, Walk},
};
use netdiag_lang::{english, t};

use crate::{
    model::{
        address::{Prefix, endpoint},
        flow::{TCP, UDP},
        node::{LOCAL, MAIN},
        predicted::{Branch, Does, Stop},
        shell::CommandLine,
        text,
        world::{Netns, Why, device::Device, route::Route},
    },
    pipeline::{facts::Facts, taker::taker},
    shared::{
        dead_end::{told, whose},
        ending, rule_evidence,
    },
    shell,
};

/// Characters of what somebody named.
const NAME: usize = 64;

pub fn stops(facts: &Facts<'_>, walk: &Walk<'_>) -> Vec<Stop> {
    let mut before = None;
    let steps = walk.steps.iter();
    steps
        .map(|step| {
            let stop = stop(facts, before, step);
            before = Some(step.packet);
            stop
        })
        .collect()
}

fn stop(facts: &Facts<'_>, before: Option<Packet>, step: &Step<'_>) -> Stop {
    let by = by(facts, step);
    let (by, shown_by) = by.map_or((None, None), |(by, shown)| (Some(by), Some(shown)));
    let shown_by = shown_by.filter(|shown| !shown.is_refused());
    let change = before.and_then(|before| changed(&before, &step.packet));
    let text = match (text(facts, step), change) {
        (text, Some(change)) => t!("{text}, {change}"),
        (text, None) => text,
    };
    let (source, destination) = ends(&step.packet);
    Stop {
        whose: whose(facts, step.netns),
        station: step.station,
        does: does(step),
        text,
        by,
        shown_by,
        source,
        destination,
        branches: branches(facts, step),
    }
}

fn does(step: &Step<'_>) -> Does {
    match &step.does {
        way::Does::Passes => Does::Passes,
        way::Does::Sends { .. } => Does::Sends,
        way::Does::Comes { .. } => Does::Comes,
        way::Does::Leaves { .. } => Does::Leaves,
        way::Does::Delivers => Does::Delivers,
        way::Does::Refuses(_) => Does::Refuses,
        way::Does::Answers(..) => Does::Answers,
        way::Does::Asks(_) => Does::Asks,
        way::Does::Chooses(_) => Does::Chooses,
        way::Does::Copies(_) => Does::Copies,
        way::Does::Unknown(_) => Does::Unknown,
    }
}

fn branches(facts: &Facts<'_>, step: &Step<'_>) -> Vec<Branch> {
    let branch = |(share, walk): (Option<Share>, &Walk<'_>)| Branch {
        share: share.map(|Share(of)| f64::from(of) / f64::from(1 << 16)),
        steps: stops(facts, walk),
    };
    match &step.does {
        way::Does::Chooses(all) => {
            let known = |share: Share| (share != Share::UNKNOWN).then_some(share);
            let all = all.iter().map(|(share, walk)| (known(*share), walk));
            all.map(branch).collect()
        }
        way::Does::Copies(all) => all.iter().map(|walk| branch((None, walk))).collect(),
        way::Does::Answers(_, walk) | way::Does::Asks(walk) => vec![branch((None, walk))],
        _ => Vec::new(),
    }
}

fn text(facts: &Facts<'_>, step: &Step<'_>) -> String {
    let name = |index: &u32| device(facts, step.netns, *index);
    match &step.does {
        way::Does::Comes { device } => t!("comes in by {}", name(device)),
        way::Does::Sends {
            device,
            to: Some(to),
        } => t!("goes out by {} to {to}", name(device)),
        way::Does::Sends { device, to: None } => t!("goes out by {}", name(device)),
        way::Does::Leaves { device } => {
            t!("leaves by {} for where nothing was read", name(device))
        }
        way::Does::Delivers => t!("it has come to whom it is for").into(),
        way::Does::Passes if step.station == Station::Hook => t!("changes it").into(),
        way::Does::Passes => t!("leads it on").into(),
        way::Does::Refuses(_) => t!("is refused: {}", ending::said(facts, step)),
        way::Does::Answers(answer, _) => {
            let (kind, code) = (answer.kind, answer.code);
            t!("its sender is told, by ICMP {kind}/{code}")
        }
        way::Does::Asks(_) => t!("keys are agreed on first").into(),
        way::Does::Chooses(all) => t!("goes one of {} ways", all.len()),
        way::Does::Copies(all) => t!("goes {} ways, a copy each", all.len()),
        way::Does::Unknown(_) => match untold(facts, step) {
            Some(why) => t!("cannot be told any further: {why}"),
            None => t!("cannot be told any further").into(),
        },
    }
}

/// Why nobody can tell what becomes of it there.
pub fn untold(facts: &Facts<'_>, step: &Step<'_>) -> Option<String> {
    let way::Does::Unknown(unknown) = &step.does else {
        return None;
    };
    let whose = whose(facts, step.netns);
    Some(match unknown {
        Unknown::NotRead(what, why) => {
            let why = match why {
                Why::NotAsked => t!("nobody asked for them").into(),
                Why::Refused(why) => text::line(why, NAME),
                Why::TooMany => t!("there are more of them than are read").into(),
                Why::Changing => t!("they changed while they were read").into(),
            };
            t!("{what} of {whose} were not read: {why}")
        }
        Unknown::NotModelled(what) => {
            let what = text::line(what, NAME);
            t!("{whose}: no way is computed through this: {what}")
        }
        Unknown::Undecided | Unknown::Chance(_) => match step.by {
            Some(Subject::Filter(filter)) => {
                let taker = taker(filter, false);
                let place = rule_evidence::place(&taker.chain);
                match taker.rule {
                    Some(rule) => t!(
                        "{whose}: whether rule {} of {place} takes it depends on what no packet tells",
                        rule.number
                    ),
                    None => t!("{whose}: what {place} makes of it depends on what no packet tells"),
                }
            }
            _ => t!("{whose}: what becomes of it depends on what no packet tells"),
        },
        Unknown::Beyond(Some((link, next))) => {
            let link = device(facts, step.netns, *link);
            t!("{whose}: whether anybody answers for {next} beyond {link} was not read")
        }
        Unknown::Beyond(None) => {
            t!("{whose}: whether anybody answers for the next hop beyond its link was not read")
        }
        Unknown::TooLong => t!("it has more steps or branches than are followed").into(),
    })
}

/// What decides, and the command that shows it.
pub fn by(facts: &Facts<'_>, step: &Step<'_>) -> Option<(String, CommandLine)> {
    if let Some(told) = told(facts, step)
        && let Some(confirm) = told.evidence.confirm
    {
        return Some((told.evidence.text, confirm));
    }
    let netns = step.netns;
    let entry = |address: IpAddr, link: u32| {
        let link = device(facts, netns, link);
        let shown = shell!("ip neighbour show {} dev {}", address, link);
        (t!("the neighbour entry of {address} at {link}"), shown)
    };
    if let way::Does::Unknown(Unknown::Beyond(Some((link, next)))) = step.does {
        let (text, shown) = entry(next, link);
        return Some((text, facts.node.inside(netns, shown)));
    }
    let (text, shown) = match step.by? {
        Subject::Rule(rule) => {
            let priority = rule.priority;
            let shown = shell!("ip rule show pref {}", priority).of_family(rule.ipv6);
            (t!("policy rule {priority}"), shown)
        }
        Subject::Route(route) => {
            let (table, to) = (route.table, route.to);
            let shown = shell!("ip route show table {} exact {}", table, to);
            (
                route_text(facts, netns, route),
                shown.of_family(to.address.is_ipv6()),
            )
        }
        Subject::Neighbour(of) => entry(of.address, of.device),
        Subject::Forwarding(entry) => {
            let (mac, link) = (entry.mac, device(facts, netns, entry.device));
            let shown = shell!("bridge fdb show dev {}", link);
            (t!("the forwarding entry of {mac} at {link}"), shown)
        }
        Subject::Filter(filter) => {
            let taker = taker(filter, false);
            let place = rule_evidence::place(&taker.chain);
            let text = match taker.rule {
                Some(rule) => t!("rule {} of {place}", rule.number),
                None => t!("the policy of {place}"),
            };
            (text, rule_evidence::origin_of(&taker).list()?)
        }
        Subject::Service(server) => (
            t!("the virtual server {}", server.wanted),
            shell!("ipvsadm -L -n"),
        ),
        Subject::Setting(name, link) => {
            let name = match link {
                Some(link) => name.replace("DEVICE", &link.name.replace('.', "/")),
                None => name.to_owned(),
            };
            let name = english!("net.{name}");
            (name.clone(), shell!("sysctl {}", name))
        }
        Subject::Device(Device { name, .. }) => {
            let refuses = matches!(step.does, way::Does::Refuses(_));
            let name = text::line(name, NAME);
            if !refuses {
                return None;
            }
            (name.clone(), shell!("ip -d link show dev {}", name))
        }
    };
    Some((text, facts.node.inside(netns, shown)))
}

/// Of what leaves this node for where nothing was read: as it does.
pub fn left(facts: &Facts<'_>, step: &Step<'_>) -> String {
    let way::Does::Leaves { device: index } = step.does else {
        return String::new();
    };
    let (source, destination) = ends(&step.packet);
    let link = device(facts, step.netns, index);
    match step.packet.carries {
        Some(_) => t!("it leaves by {link} in a tunnel's packet from {source} to {destination}"),
        None => t!("it leaves by {link} from {source} to {destination}"),
    }
}

/// As iproute2 prints it.
fn route_text(facts: &Facts<'_>, netns: Netns, route: &Route) -> String {
    let Prefix { length, .. } = route.to;
    let mut text = match length {
        0 => "default".to_owned(),
        _ => route.to.to_string(),
    };
    if let [hop] = route.hops.as_slice() {
        if let Some(gateway) = hop.gateway {
            text += &format!(" via {gateway}");
        }
        text += &format!(" dev {}", device(facts, netns, hop.device));
    }
    let table = match route.table {
        MAIN => "main".to_owned(),
        LOCAL => "local".to_owned(),
        other => other.to_string(),
    };
    t!("the route {text} of table {table}")
}

fn device(facts: &Facts<'_>, netns: Netns, index: u32) -> String {
    let stack = facts.prepared().world.stacks.get(&netns);
    let device = stack.and_then(|stack| stack.device(index));
    device.map_or_else(
        || index.to_string(),
        |device| text::line(&device.name, NAME),
    )
}

fn ends(packet: &Packet) -> (String, String) {
    let with_port = |address, port| match packet.protocol {
        TCP | UDP if packet.carries.is_none() => endpoint(address, port),
        _ => address.to_string(),
    };
    (
        with_port(packet.source, packet.sport),
        with_port(packet.destination, packet.dport),
    )
}

/// What happened to it since the step before.
fn changed(before: &Packet, now: &Packet) -> Option<String> {
    let ((from, to), (source, destination)) = (ends(before), ends(now));
    if before.carries != now.carries {
        return Some(match now.carries {
            Some(_) => t!("in a tunnel's packet from {source} to {destination}"),
            None => t!("out of the tunnel's packet").into(),
        });
    }
    let mut all = Vec::new();
    if to != destination {
        all.push(t!("now to {destination}"));
    }
    if from != source {
        all.push(match now.chosen {
            Some(_) => t!("now from {} by a port that is free", now.source),
            None => t!("now from {source}"),
        });
    }
    if before.mark != now.mark {
        all.push(t!("marked {:#x}", now.mark));
    }
    (!all.is_empty()).then(|| all.join(t!(", ")))
}
