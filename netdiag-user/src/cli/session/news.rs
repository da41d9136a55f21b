//! What changes on the node while it is watched. New links are covered at once; all else waits for
//! the next reading.
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use rtnetlink::{MulticastGroup, packet_core::NetlinkPayload};
use tokio::{sync::mpsc, time::sleep_until};

use super::Session;
use crate::{
    host::link_times::LinkTimes,
    kernel::read,
    model::{
        filter,
        node::{Link, Node},
    },
    pipeline::scene::{Change, LinkChange},
    pods::Kicks,
};

/// Looking for new links takes this part of the time at most, however much changes.
const SHARE: u32 = 10;

impl Session {
    /// Waits until links, addresses, routes or rules change. The next reading follows that.
    pub async fn news(&mut self) {
        sleep_until(self.looked_until.into()).await;
        match self.changes.recv().await {
            Some(()) => self.news = true,
            None => std::future::pending().await,
        }
    }

    /// Covers links that came, before anything else is read of them: a pod's first packets are
    /// what shows whether it was set up well.
    pub fn cover_new(&mut self) {
        let begun = Instant::now();
        if let Err(e) = self.cover_links() {
            // The next reading tells what is not covered.
            log::debug!("covering new links: {e:#}");
        }
        let took = begun.elapsed();
        self.looked_until = begun + took.saturating_mul(SHARE).min(Duration::from_secs(1));
    }

    fn cover_links(&mut self) -> Result<()> {
        let mut links = self.reader.links()?;
        let known = self.scene.node.links.iter();
        let known: HashMap<(u32, &str), u32> = known
            .filter_map(|l| Some(((l.index, l.name.as_str()), l.peer_netns?)))
            .collect();
        for link in &mut links {
            link.peer_netns = known.get(&(link.index, link.name.as_str())).copied();
        }
        let patterns = &self.scope.iface;
        let wanted =
            |l: &Link| patterns.is_empty() || patterns.iter().any(|p| filter::glob(p, &l.name));
        // What came is news of the next reading, which compares with the one before.
        let before = std::mem::replace(&mut self.scene.node.links, links);
        self.hooks
            .cover_new(&mut self.programs, &self.scene.node, &wanted);
        self.scene.node.links = before;
        Ok(())
    }
}

/// Links that are in only one of two readings, or by another name.
pub(super) fn link_changes(before: &Node, after: &Node) -> Vec<LinkChange> {
    let (before, after) = (names(before), names(after));
    let change = |name: &String, what| LinkChange {
        name: name.clone(),
        what,
    };
    let added = after.iter().filter(|(i, name)| before.get(i) != Some(name));
    let removed = before.iter().filter(|(i, _)| !after.contains_key(i));
    let added = added.map(|(_, name)| change(name, Change::Added));
    added
        .chain(removed.map(|(_, name)| change(name, Change::Removed)))
        .collect()
}

fn names(node: &Node) -> HashMap<u32, String> {
    node.links
        .iter()
        .map(|l| (l.index, l.name.clone()))
        .collect()
}

/// A channel that has something in it after each change of links, addresses, routes or rules.
pub(super) fn changes(kicks: Kicks, times: LinkTimes) -> Result<mpsc::Receiver<()>> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
        MulticastGroup::Ipv4Rule,
        MulticastGroup::Ipv6Rule,
    ];
    let opened = rtnetlink::new_multicast_connection(&groups);
    let (connection, _handle, mut messages) = opened.context("listening to netlink")?;
    tokio::spawn(connection);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        // Whatever it says, an overrun included, the answer is to read everything again; one
        // pending note is enough.
        while let Some((message, _)) = messages.next().await {
            if let NetlinkPayload::InnerMessage(message) = &message.payload {
                times.note(message, read::now());
            }
            kicks.kick();
            let _ = sender.try_send(());
        }
    });
    Ok(receiver)
}
