//! When links of this node came and went (RTM_NEWLINK, RTM_DELLINK). A pod has its address for as
//! long as its link is there: the next one may get it within the same second.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};

use crate::model::node::Node;

/// Links that are remembered: an ifindex is not used again for a long time.
const MOST: usize = 16_384;

/// From when until when, `CLOCK_MONOTONIC` ns. Nothing where it was there before anybody looked,
/// and where it still is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    pub name: String,
    pub born: Option<u64>,
    pub died: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct LinkTimes(Arc<Mutex<BTreeMap<u32, Life>>>);

impl LinkTimes {
    /// Links that were there when the listening began.
    pub fn seed(&self, node: &Node) {
        let mut lives = self.lives();
        for link in &node.links {
            let life = lives.entry(link.index).or_default();
            life.name.clone_from(&link.name);
            life.born = None;
        }
    }

    pub fn note(&self, message: &RouteNetlinkMessage, now: u64) {
        match message {
            RouteNetlinkMessage::NewLink(link) if own(link) => self.seen(link, now),
            RouteNetlinkMessage::DelLink(link) if own(link) => self.gone(link.header.index, now),
            _ => {}
        }
    }

    fn seen(&self, link: &LinkMessage, now: u64) {
        let mut lives = self.lives();
        let life = lives.entry(link.header.index).or_insert_with(|| Life {
            born: Some(now),
            ..Life::default()
        });
        for attribute in &link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                life.name.clone_from(name);
            }
        }
        life.died = None;
        if lives.len() > MOST {
            lives.pop_first();
        }
    }

    fn gone(&self, index: u32, now: u64) {
        if let Some(life) = self.lives().get_mut(&index) {
            life.died = Some(now);
        }
    }

    pub fn of(&self, index: u32) -> Option<Life> {
        self.lives().get(&index).cloned()
    }

    /// The last one of that name.
    pub fn named(&self, name: &str) -> Option<(u32, Life)> {
        let lives = self.lives();
        let found = lives.iter().rfind(|(_, life)| life.name == name);
        found.map(|(index, life)| (*index, life.clone()))
    }

    fn lives(&self) -> MutexGuard<'_, BTreeMap<u32, Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port that leaves its bridge is told of as a link that goes, in the bridge's own family.
fn own(link: &LinkMessage) -> bool {
    link.header.interface_family == AddressFamily::Unspec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(index: u32, name: &str) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message
    }

    #[test]
    fn a_link_that_takes_a_name_is_another() {
        let times = LinkTimes::default();
        times.note(&RouteNetlinkMessage::NewLink(message(7, "veth0")), 10);
        times.note(&RouteNetlinkMessage::NewLink(message(7, "veth0")), 11);
        times.note(&RouteNetlinkMessage::DelLink(message(7, "veth0")), 20);
        times.note(&RouteNetlinkMessage::NewLink(message(9, "veth0")), 30);
        let first = times.of(7).expect("known");
        assert_eq!((first.born, first.died), (Some(10), Some(20)));
        let (index, last) = times.named("veth0").expect("known");
        assert_eq!((index, last.born, last.died), (9, Some(30), None));
    }

    #[test]
    fn a_port_that_leaves_its_bridge_stays_a_link() {
        let times = LinkTimes::default();
        times.note(&RouteNetlinkMessage::NewLink(message(7, "veth0")), 10);
        let mut port = message(7, "veth0");
        port.header.interface_family = AddressFamily::Bridge;
        times.note(&RouteNetlinkMessage::DelLink(port), 20);
        assert_eq!(times.of(7).expect("known").died, None);
    }
}
