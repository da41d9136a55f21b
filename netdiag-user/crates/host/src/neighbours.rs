//! Neighbours that change their link-layer address (RTNLGRP_NEIGH). The tables are read every few
//! seconds; two hosts that answer for one address change them faster than that.
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use rtnetlink::{
    MulticastGroup,
    packet_core::NetlinkPayload,
    packet_route::{AddressFamily, RouteNetlinkMessage, neighbour::NeighbourMessage},
};

use super::routes;
use crate::model::node::NeighbourMoves;

/// Neighbours that are watched: twice the kernel's default gc_thresh3.
const MOST: usize = 2048;
/// Link-layer addresses that are kept of one neighbour.
const MOST_LLADDRS: usize = 4;

type Seen = BTreeMap<(u32, IpAddr), (Vec<u8>, NeighbourMoves)>;

/// Notes every change from when it was opened until it is dropped.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// Listens in the namespace of the calling thread. Must be called within a tokio runtime.
    pub fn open() -> Result<Self> {
        let opened = rtnetlink::new_multicast_connection(&[MulticastGroup::Neigh]);
        let (connection, _handle, mut messages) =
            opened.context("listening to neighbours by netlink")?;
        tokio::spawn(connection);
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let noted = seen.clone();
        let task = tokio::spawn(async move {
            while let Some((message, _)) = messages.next().await {
                let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) =
                    message.payload
                else {
                    continue;
                };
                note(
                    &mut noted.lock().unwrap_or_else(PoisonError::into_inner),
                    &message,
                );
            }
        });
        Ok(Self { seen, task })
    }

    /// Those that changed so far.
    pub fn moves(&self) -> Vec<NeighbourMoves> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = seen.values().filter(|(_, moves)| moves.changes > 0);
        moved.map(|(_, moves)| moves.clone()).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note(seen: &mut Seen, message: &NeighbourMessage) {
    // A bridge's and a VXLAN device's forwarding entries are no neighbours.
    if message.header.family == AddressFamily::Bridge {
        return;
    }
    let Some((ifindex, address, lladdr)) = routes::resolved(message) else {
        return;
    };
    let room = seen.len() < MOST;
    let key = (ifindex, address);
    let Some((last, moves)) = seen.get_mut(&key) else {
        let moves = NeighbourMoves {
            ifindex,
            address,
            lladdrs: vec![lladdr.clone()],
            changes: 0,
            returns: Some(0),
        };
        if room {
            seen.insert(key, (lladdr, moves));
        }
        return;
    };
    if *last == lladdr {
        return;
    }
    moves.changes += 1;
    if moves.lladdrs.contains(&lladdr) {
        moves.returns = moves.returns.map(|returns| returns + 1);
    } else if moves.lladdrs.len() < MOST_LLADDRS {
        moves.lladdrs.push(lladdr.clone());
    }
    *last = lladdr;
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};

    use super::*;

    fn entry(last: u8) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 2;
        let address = NeighbourAddress::Inet([192, 0, 2, 2].into());
        message.attributes = vec![
            NeighbourAttribute::Destination(address),
            NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, last]),
        ];
        message
    }

    #[test]
    fn changes_are_counted_and_repetitions_are_not() {
        let mut seen = Seen::new();
        for last in [1, 1, 2, 2, 1] {
            note(&mut seen, &entry(last));
        }
        let moves: Vec<_> = seen.values().map(|(_, moves)| moves).collect();
        assert_eq!((moves[0].changes, moves[0].lladdrs.len()), (2, 2));
        assert_eq!(moves[0].returns, Some(1));
    }
}
