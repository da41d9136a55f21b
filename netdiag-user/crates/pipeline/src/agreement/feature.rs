//! The smallest part of a namespace's state that a step rests on, by a name that it keeps when the state is read anew.
use netdiag_forwarding::way::{Filter, Step, Subject};

use crate::model::world::{Netns, World, ruleset::Table, station::Station};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Feature {
    pub netns: Netns,
    pub station: Station,
    /// As people look for it; names in it are whose they are.
    pub what: String,
}

impl Feature {
    pub fn of(world: &World, step: &Step<'_>) -> Self {
        Self {
            netns: step.netns,
            station: step.station,
            what: what(world, step),
        }
    }
}

fn what(world: &World, step: &Step<'_>) -> String {
    let device = |index: u32| {
        let stack = world.stacks.get(&step.netns);
        let device = stack.and_then(|stack| stack.device(index));
        device.map_or_else(|| index.to_string(), |device| device.name.clone())
    };
    match step.by {
        Some(Subject::Rule(rule)) => format!("ip rule {}", rule.priority),
        Some(Subject::Route(route)) => format!("route {} of table {}", route.to, route.table),
        Some(Subject::Device(device)) => device.name.clone(),
        Some(Subject::Neighbour(neighbour)) => {
            format!(
                "neighbour {} of {}",
                neighbour.address,
                device(neighbour.device)
            )
        }
        Some(Subject::Forwarding(entry)) => {
            format!("forwarding entry {} of {}", entry.mac, device(entry.device))
        }
        Some(Subject::Filter(filter)) => of_filter(filter),
        Some(Subject::Service(server)) => format!("virtual server {}", server.wanted),
        Some(Subject::Setting(name, None)) => name.to_owned(),
        Some(Subject::Setting(name, Some(device))) => format!("{name} of {}", device.name),
        None => step.station.word().to_owned(),
    }
}

fn of_table(table: &Table) -> String {
    let own = if table.legacy { "iptables " } else { "" };
    format!("{own}{} {}", table.family.name(), table.name)
}

/// As nft(8) names it.
fn of_filter(filter: Filter<'_>) -> String {
    let place = format!("{} {}", of_table(filter.table), filter.holder().name);
    match filter.rule {
        Some(rule) => format!("rule {} of {place}", rule.handle),
        None => format!("the policy of {place}"),
    }
}
