//! Listings by rtnetlink that end at a bound. A namespace holds what its owner puts there: a pod
//! with a user namespace of its own makes a hundred thousand routes in a second. Messages are read
//! one after the other, and the rest of a longer listing never leaves the kernel, which holds its
//! lock for one datagram at a time (net/netlink/af_netlink.c, net/core/rtnetlink.c).
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
pub use rtnetlink::packet_route::RouteNetlinkMessage as Message;

use super::gather::netlink;

pub const NETLINK_ROUTE: isize = 0;

/// Most messages of each listing.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub links: usize,
    pub addresses: usize,
    pub routes: usize,
}

/// Of the node's own namespace, where only root makes any.
pub const NODE: Most = Most {
    links: 16_384,
    addresses: 65_536,
    routes: 262_144,
};
/// Of a pod's, where its owner does: a pod that is a node of its own (kind, k3d) has some hundred.
pub const POD: Most = Most {
    links: 512,
    addresses: 512,
    routes: 512,
};
/// The node's own: neighbours, entries of forwarding tables, rules.
pub const OTHERS: usize = 65_536;

/// What a listing gave.
#[derive(Debug)]
pub struct Listed<T> {
    pub all: Vec<T>,
    /// There were more messages than that.
    pub more: bool,
}

/// Asks in this thread's namespace, and keeps what `take` makes of the first `most` messages.
pub fn list<T>(
    ask: Message,
    most: usize,
    mut take: impl FnMut(Message) -> Option<T>,
) -> Result<Listed<T>> {
    let (mut all, mut seen) = (Vec::new(), 0);
    let each = |bytes: &[u8]| {
        if seen == most {
            return ControlFlow::Break(());
        }
        seen += 1;
        // One that this program cannot read is passed over, as all of rtnetlink(7)'s users do.
        if let Ok(message) = NetlinkMessage::<Message>::deserialize(bytes)
            && let NetlinkPayload::InnerMessage(message) = message.payload
        {
            all.extend(take(message));
        }
        ControlFlow::Continue(())
    };
    let whole = netlink::until(NETLINK_ROUTE, &request(ask), each)?;
    Ok(Listed { all, more: !whole })
}

fn request(ask: Message) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(ask));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// The same for several requests with one bound.
pub fn list_each<T>(
    asks: impl IntoIterator<Item = Message>,
    most: usize,
    what: &'static str,
    mut take: impl FnMut(Message) -> Option<T>,
) -> Result<Listed<T>> {
    let mut found = Listed {
        all: Vec::new(),
        more: false,
    };
    let mut left = most;
    for ask in asks {
        let mut seen = 0;
        let counted = |message| {
            seen += 1;
            take(message)
        };
        let listed = list(ask, left, counted);
        let listed = listed.with_context(|| format!("listing {what} by netlink"))?;
        found.all.extend(listed.all);
        found.more |= listed.more;
        left = left.saturating_sub(seen);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::LinkMessage;

    use super::*;

    #[test]
    fn a_listing_ends_at_its_bound() {
        let links = |most| {
            let ask = Message::GetLink(LinkMessage::default());
            list(ask, most, Some).map(|l| (l.all.len(), l.more))
        };
        let (all, more) = links(1000).expect("listed");
        assert!(all > 0 && !more, "{all}");
        assert_eq!(links(all).expect("listed"), (all, false));
        assert_eq!(links(all - 1).expect("listed"), (all - 1, true));
    }
}
