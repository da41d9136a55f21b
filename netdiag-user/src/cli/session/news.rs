//! What changes on the node while it is watched. New links are covered at once; all else waits for
//! the next reading.
use std::{collections::HashMap, sync::mpsc::SyncSender};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use rtnetlink::{
    MulticastGroup, packet_core::NetlinkPayload, packet_route::RouteNetlinkMessage as Message,
};
use tokio::sync::mpsc;

use crate::{
    host::{link_times::LinkTimes, links},
    kernel::read,
    model::node::{Link, Node},
    pipeline::scene::{Change, LinkChange},
    pods::Kicks,
};

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

/// A channel that has something in it after each change of links, addresses, routes or rules. Links
/// that came or changed are told to who covers them.
pub(super) fn changes(
    kicks: Kicks,
    times: LinkTimes,
    new: SyncSender<Link>,
) -> Result<mpsc::Receiver<()>> {
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
                if let Message::NewLink(link) = message
                    && let Some(link) = links::noted(link)
                {
                    // Where there is no room, the next reading finds it.
                    let _ = new.try_send(link);
                }
                times.note(message, read::now());
            }
            kicks.kick();
            let _ = sender.try_send(());
        }
    });
    Ok(receiver)
}
