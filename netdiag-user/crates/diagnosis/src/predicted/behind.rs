//! What only shows where its ways get somewhere: who takes it there, as what it leaves, and as what its answer comes.
use netdiag_forwarding::way::{Does, Step};
use netdiag_lang::t;

use crate::{
    causes::{
        bridge_nf_disabled, kube_proxy_missing, loopback_only_listener, masquerade_missing,
        not_listening, overlay_wrong_interface, path_broken, pod_route_missing,
    },
    model::{
        address::endpoint,
        flow::{self, TCP, UDP},
        gather::{Reach, Receiver, Want, reach},
        roles::Role,
        source_nat::Leaving,
        verdict::Fix,
    },
    pipeline::{
        facts::Facts,
        predicted::{Foreseen, Question},
    },
    shared::{dead_end::whose, refusals::list_sockets},
    shell,
};

/// It gets there for nothing.
pub struct InVain {
    pub cause: &'static str,
    /// As a sentence.
    pub what: String,
    /// Its answer does.
    pub answer: bool,
    /// It gets to whom it is for, where nobody has that port.
    pub by_port: bool,
    /// Others of its ways do not.
    pub partly: bool,
    pub fix: Fix,
}

/// What one of its ways comes to, whose name it has, and what to do.
type Told = (&'static str, String, Fix);

/// What tells it.
pub fn wants(facts: &Facts<'_>, foreseen: &Foreseen<'_>) -> Vec<Want> {
    let of = |step: &Step<'_>| match (&step.does, step.packet.protocol) {
        (Does::Delivers, TCP) => vec![Want::Listeners(step.netns)],
        (Does::Delivers, UDP) => vec![Want::Receivers {
            netns: step.netns,
            port: step.packet.dport,
        }],
        (Does::Leaves { device }, _) => match leaving(facts, step, *device) {
            Some(packet) => vec![Want::SourceNat(packet), Want::PodNetworks, Want::Services],
            None => Vec::new(),
        },
        _ => Vec::new(),
    };
    foreseen.last().into_iter().flat_map(of).collect()
}

pub fn in_vain(facts: &Facts<'_>, foreseen: &Foreseen<'_>, question: &Question) -> Option<InVain> {
    let (there, back) = (foreseen.last(), foreseen.last_back());
    let taken = there
        .iter()
        .all(|step| !matches!(step.does, Does::Delivers));
    let of = |told: Vec<Option<Told>>, answer| {
        let partly = told.iter().any(Option::is_none);
        let (cause, what, fix) = told.into_iter().flatten().next()?;
        Some(InVain {
            cause,
            what,
            answer,
            by_port: !answer && !taken,
            partly,
            fix,
        })
    };
    let there = there.iter().map(|step| at(facts, step)).collect();
    let back = back.iter().map(|step| unasked(facts, step, question));
    of(there, false).or_else(|| of(back.collect(), true))
}

fn at(facts: &Facts<'_>, step: &Step<'_>) -> Option<Told> {
    let (from, to) = (step.packet.source, step.packet.destination);
    let named = |cause, told: Option<(String, Fix)>| told.map(|(what, fix)| (cause, what, fix));
    match step.does {
        Does::Delivers => unheard(facts, step),
        Does::Leaves { .. } if step.packet.carries.is_some() => named(
            overlay_wrong_interface::ID,
            overlay_wrong_interface::foretold(facts, (from, to)),
        ),
        Does::Leaves { device } => {
            let packet = leaving(facts, step, device)?;
            let route = pod_route_missing::foretold(facts, to);
            let masquerade = || masquerade_missing::foretold(facts, &packet);
            let service = kube_proxy_missing::foretold(facts, to);
            named(kube_proxy_missing::ID, service)
                .or_else(|| named(pod_route_missing::ID, route))
                .or_else(|| named(masquerade_missing::ID, masquerade()))
        }
        _ => None,
    }
}

/// An answer that comes from another address than was asked: whoever asked does not take it.
fn unasked(facts: &Facts<'_>, step: &Step<'_>, question: &Question) -> Option<Told> {
    let packet = &step.packet;
    let (client, asked) = flow::ends(&question.flow);
    let same = packet.protocol == question.flow.protocol && packet.carries.is_none();
    let back = same && matches!(step.does, Does::Delivers) && packet.destination == client;
    if !back || packet.source == asked {
        return None;
    }
    let source = packet.source;
    let what = t!("it comes from {source}, and {asked} was asked");
    Some(match bridge_nf_disabled::foretold(facts, client) {
        Some((state, fix)) => (bridge_nf_disabled::ID, t!("{what}: {state}"), fix),
        None => {
            let summary = t!(
                "lead what {source} answers {client} through the node that translated the question, or let it be masqueraded there"
            );
            let fix = Fix {
                summary,
                commands: Vec::new(),
            };
            (path_broken::ID, what, fix)
        }
    })
}

/// A pod's own packet that leaves by an uplink as the pod sent it.
fn leaving(facts: &Facts<'_>, step: &Step<'_>, device: u32) -> Option<Leaving> {
    let (source, destination) = (step.packet.source, step.packet.destination);
    let here = step.netns == facts.node.netns && step.packet.carries.is_none();
    let own = here && facts.is_local_pod(source) && !facts.owns(source);
    let link = facts.link(device).filter(|_| own)?;
    let out = facts.role(link) == Some(Role::Uplink);
    out.then(|| Leaving {
        source,
        destination,
        link: link.name.clone(),
    })
}

/// No socket takes it, where they were read. What is led to a socket of another address is that one's matter.
fn unheard(facts: &Facts<'_>, step: &Step<'_>) -> Option<Told> {
    let packet = &step.packet;
    let (to, port, netns) = (packet.destination, packet.dport, step.netns);
    let home = match facts.owns(to) {
        true => Some(facts.node.netns),
        false => facts.pod_side_of(to).map(|side| side.netns),
    };
    if home != Some(netns) {
        return None;
    }
    let (whose, at) = (whose(facts, netns), endpoint(to, port));
    let alone = |other| t!("{whose}: its server listens on {other} alone");
    let (cause, what, list) = match packet.protocol {
        TCP => {
            let list = list_sockets(facts, netns);
            match reach(facts.gathered.listeners(netns)?, to, port) {
                Reach::Served(_) => return None,
                Reach::Loopback(other) => {
                    let other = endpoint(other.address, port);
                    (loopback_only_listener::ID, alone(other), list)
                }
                Reach::Elsewhere(other) => {
                    let other = endpoint(other.address, port);
                    (not_listening::ID, alone(other), list)
                }
                Reach::Nobody => {
                    let what = t!("{whose}: nobody listens on TCP port {port}");
                    (not_listening::ID, what, list)
                }
            }
        }
        UDP => {
            let to_it = |r: &Receiver| r.address.is_unspecified() || r.address == to;
            let takes = |r: &Receiver| to_it(r) && r.peer.is_none();
            if facts.gathered.receivers(netns, port)?.iter().any(takes) {
                return None;
            }
            (
                not_listening::ID,
                t!("{whose}: nobody takes datagrams for port {port}"),
                facts.node.inside(netns, shell!("ss -lunp")),
            )
        }
        _ => return None,
    };
    let fix = Fix {
        summary: t!("let a server take what comes to {at}, or ask where one does"),
        commands: vec![list],
    };
    Some((cause, what, fix))
}
