//! `netdiag.node`, who a node is to the others, where it changes; and `netdiag.coverage`, what of it is
//! seen, once a minute.
use jiff::Timestamp;
use opentelemetry::logs::Severity;

use crate::{
    agent::page::State,
    model::roles::{Role, Roles},
    pipeline::scene::Scene,
    record::Record,
};

/// Addresses of a node that are told of.
const MOST: usize = 64;

/// What other nodes' records are joined by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    kernel: String,
    addresses: Vec<String>,
    vteps: Vec<String>,
    pod_cidrs: Vec<String>,
}

impl Who {
    pub fn of(scene: &Scene) -> Self {
        let (node, roles) = (&scene.node, Roles::new(&scene.node));
        let uplinks = node.links.iter();
        let uplinks = uplinks.filter(|link| roles.of(link) == Some(Role::Uplink));
        let addresses = uplinks.flat_map(|link| &link.addresses);
        let addresses = addresses.filter(|it| !it.link_local);
        let tunnels = node.links.iter().filter_map(|link| link.tunnel.as_ref());
        let own = scene.cluster.nodes.iter().filter(|it| it.name == node.name);
        let cidrs = own.flat_map(|it| &it.pod_cidrs);
        Self {
            kernel: node.kernel.clone(),
            addresses: list(addresses.map(|it| it.prefix.address.to_string())),
            vteps: list(tunnels.filter_map(|it| it.local).map(|it| it.to_string())),
            pod_cidrs: list(cidrs.map(|it| format!("{}/{}", it.address, it.length))),
        }
    }

    pub fn record(&self, time: Timestamp) -> Record {
        let body = format!("node at {}", self.addresses.join(", "));
        Record::new("netdiag.node", Severity::Info, time, body)
            .text("netdiag.kernel", &self.kernel)
            .list("netdiag.node.addresses", &self.addresses, ",")
            .list("netdiag.node.vteps", &self.vteps, ",")
            .list("netdiag.node.pod_cidrs", &self.pod_cidrs, ",")
    }
}

fn list(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<_> = all.take(MOST).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What was seen since it was told of last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    hooks: u64,
    blind: Option<String>,
    /// None of these falls.
    lost: u64,
    unkept: u64,
    unsent: u64,
    /// Of this minute.
    pub rest: u64,
}

impl Coverage {
    pub fn of(state: &State, rest: u64) -> Self {
        let lost = &state.losses;
        let lost = [
            lost.ring_full,
            lost.evicted_others,
            lost.interrupted,
            lost.unstored_drops,
        ];
        let records = state.sending.as_deref().map(|it| it.records.each());
        let unsent = records
            .into_iter()
            .flatten()
            .filter(|(why, _)| *why != "sent");
        Self {
            hooks: state.hooks,
            blind: state.blind.clone(),
            lost: lost.into_iter().fold(0, u64::saturating_add),
            unkept: state.losses.unkept_packets,
            unsent: unsent.map(|(_, n)| n).fold(0, u64::saturating_add),
            rest,
        }
    }

    /// Whether it can wait for its minute.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.hooks == 0, &self.blind) == (other.hooks == 0, &other.blind)
    }

    /// What is new since `before`.
    pub fn record(&self, before: &Self, seconds: u64, level: &str, time: Timestamp) -> Record {
        let (severity, body) = match &self.blind {
            Some(why) => (Severity::Warn, format!("blind: {why}")),
            None => (Severity::Info, format!("{} hooks attached", self.hooks)),
        };
        Record::new("netdiag.coverage", severity, time, body)
            .number("netdiag.seconds", seconds)
            .text("netdiag.level", level)
            .number("netdiag.hooks", self.hooks)
            .text("netdiag.blind", self.blind.as_deref().unwrap_or_default())
            .number("netdiag.lost.events", self.lost.saturating_sub(before.lost))
            .number(
                "netdiag.lost.packets",
                self.unkept.saturating_sub(before.unkept),
            )
            .number(
                "netdiag.lost.records",
                self.unsent.saturating_sub(before.unsent),
            )
            .number("netdiag.lost.legs", self.rest)
    }
}
