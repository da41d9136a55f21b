//! A change in one sentence.
use netdiag_lang::t;

use crate::{
    model::{
        journal::{Change, How, Thing},
        netfilter::Chain,
        text::shown,
        verdict::{Evidence, EvidenceKind, Origin},
    },
    pipeline::facts::Facts,
};

pub fn evidence(facts: &Facts<'_>, change: &Change, began: Option<u64>) -> Evidence {
    let kind = match &change.of {
        Thing::Link { .. } | Thing::Port { .. } | Thing::Address { .. } | Thing::Queue { .. } => {
            EvidenceKind::Link
        }
        Thing::Route { .. } => EvidenceKind::Route,
        Thing::Neighbour { .. } => EvidenceKind::Neighbour,
        Thing::Forwarding { .. } => EvidenceKind::Fdb,
        Thing::Setting { .. } => EvidenceKind::Sysctl,
        Thing::Policy { .. }
        | Thing::Table { .. }
        | Thing::Chain { .. }
        | Thing::Rule { .. }
        | Thing::Set { .. }
        | Thing::Filter { .. } => EvidenceKind::Rule,
    };
    let (what, when) = (what(change), facts.clock.text(change.at));
    let by = match &change.by {
        Some(by) => t!(", by {} (process {})", shown(&by.name), by.pid),
        None => String::new(),
    };
    let text = match began.map(|began| began.saturating_sub(change.at)) {
        Some(ns) => {
            let seconds = format!("{:.1}", ns as f64 / 1e9);
            t!("{what} at {when}{by}, {seconds} s before the first loss")
        }
        None => t!("{what} at {when}{by}"),
    };
    let mut line = Evidence::new(kind, Origin::Observed, text).of([change.of.clone()]);
    line.time = Some(when);
    line
}

fn what(change: &Change) -> String {
    let thing = thing(&change.of);
    match change.how {
        How::Appeared => t!("{thing} appeared"),
        How::Vanished => t!("{thing} vanished"),
        How::Replaced => t!("{thing} was changed"),
        How::Down => t!("{thing} was switched off"),
        How::Up => t!("{thing} was switched on"),
        How::NoCarrier => t!("{thing} lost its carrier"),
        How::Carrier => t!("{thing} has its carrier again"),
        How::Mtu { before, now } => t!("the MTU of {thing} went from {before} to {now}"),
        How::Master => t!("{thing} was put into another bridge or bond, or out of one"),
        How::Set { now } => t!("{thing} was set to {now}"),
    }
}

fn thing(thing: &Thing) -> String {
    match thing {
        Thing::Link { name } => name.clone(),
        Thing::Port { name } => t!("the bridge's port {name}"),
        Thing::Address { prefix, link } => t!("the address {prefix} of {link}"),
        Thing::Route { to, table } => t!("the route {to} of table {table}"),
        Thing::Policy { priority, .. } => t!("the policy rule {priority}"),
        Thing::Neighbour { address, link } => t!("the neighbour entry {address} of {link}"),
        Thing::Forwarding { lladdr, link } => {
            let octets: Vec<String> = lladdr.iter().map(|octet| format!("{octet:02x}")).collect();
            t!("the forwarding entry {} of {link}", octets.join(":"))
        }
        Thing::Queue { link } => t!("the queue of {link}"),
        Thing::Filter { link } => t!("a filter of tc at {link}"),
        Thing::Setting { sysctl } => sysctl.clone(),
        Thing::Table { family, table } => {
            t!("the table {} {}", family.name(), shown(table))
        }
        Thing::Chain { chain } => t!("the chain {}", place(chain)),
        Thing::Rule { chain, handle } => t!("rule {handle} of {}", place(chain)),
        Thing::Set { family, table, set } => {
            t!(
                "the set {} of {} {}",
                shown(set),
                family.name(),
                shown(table)
            )
        }
    }
}

fn place(chain: &Chain) -> String {
    let (family, table, chain) = (
        chain.family.name(),
        shown(&chain.table),
        shown(&chain.chain),
    );
    format!("{family} {table} {chain}")
}
