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

use super::{
    gather::netlink::{self, End},
    stack::ruleset,
};

pub const NETLINK_ROUTE: isize = 0;

/// Most messages of each listing.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub links: usize,
    pub addresses: usize,
    pub routes: usize,
    /// Neighbours, entries of forwarding tables, rules.
    pub others: usize,
    /// Netfilter's, which cost most; none where they are not asked for.
    pub ruleset: Option<ruleset::Most>,
}

/// Of the node's own namespace, where only root makes any.
pub const NODE: Most = Most {
    links: 16_384,
    addresses: 65_536,
    routes: 262_144,
    others: OTHERS,
    ruleset: None,
};
/// Of a pod's, where its owner does: a pod that is a node of its own (kind, k3d) has some hundred.
pub const POD: Most = Most {
    links: 512,
    addresses: 512,
    routes: 512,
    others: 512,
    ruleset: Some(ruleset::Most {
        rules: 512,
        elements: 1_024,
        comments: false,
    }),
};
/// Of the node's as it is kept and recorded, to follow packets through it.
pub const KEPT: Most = Most {
    links: 2_048,
    addresses: 4_096,
    routes: 8_192,
    others: 8_192,
    ruleset: Some(ruleset::Most {
        rules: 65_536,
        elements: 131_072,
        comments: false,
    }),
};
/// The node's own: neighbours, entries of forwarding tables, rules.
pub const OTHERS: usize = 65_536;

/// What a listing gave.
#[derive(Debug)]
pub struct Listed<T> {
    pub all: Vec<T>,
    pub left: Left,
}

/// Why a listing is not what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// There were more messages than that.
    pub more: bool,
    /// It changed while it was listed, twice in a row.
    pub changed: bool,
}

impl Left {
    pub fn any(self) -> bool {
        self.more || self.changed
    }

    fn and(self, other: Self) -> Self {
        Self {
            more: self.more || other.more,
            changed: self.changed || other.changed,
        }
    }
}

/// What was listed, of how many messages.
type Seen<T> = (Vec<T>, usize);

/// Asks in this thread's namespace, and keeps what `take` makes of the first `most` messages. It
/// begins anew where the list changed meanwhile.
fn list<T>(
    ask: Message,
    most: usize,
    take: &mut impl FnMut(Message, &mut Vec<T>),
) -> Result<(Seen<T>, Left)> {
    let request = request(ask);
    let (seen, end) = netlink::twice(|| once(&request, most, take))?;
    let left = Left {
        more: end == End::Enough,
        changed: end == End::Changed,
    };
    Ok((seen, left))
}

fn once<T>(
    request: &[u8],
    most: usize,
    take: &mut impl FnMut(Message, &mut Vec<T>),
) -> Result<(Seen<T>, End)> {
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
            take(message, &mut all);
        }
        ControlFlow::Continue(())
    };
    let end = netlink::until(NETLINK_ROUTE, request, each)?;
    Ok(((all, seen), end))
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

/// What `take` makes of several requests' messages, with one bound for all. It may be given the
/// same messages again.
pub fn list_each<T>(
    asks: impl IntoIterator<Item = Message>,
    most: usize,
    what: &'static str,
    mut take: impl FnMut(Message, &mut Vec<T>),
) -> Result<Listed<T>> {
    let (mut all, mut left) = (Vec::new(), Left::default());
    let mut room = most;
    for ask in asks {
        let listed = list(ask, room, &mut take);
        let ((some, seen), of) = listed.with_context(|| format!("listing {what} by netlink"))?;
        all.extend(some);
        left = left.and(of);
        room = room.saturating_sub(seen);
    }
    Ok(Listed { all, left })
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::LinkMessage;

    use super::*;

    #[test]
    fn a_listing_ends_at_its_bound() {
        let links = |most| {
            let ask = Message::GetLink(LinkMessage::default());
            let listed = list_each([ask], most, "links", |link, all| all.push(link));
            listed.map(|l| (l.all.len(), l.left.more))
        };
        let (all, more) = links(1000).expect("listed");
        assert!(all > 0 && !more, "{all}");
        assert_eq!(links(all).expect("listed"), (all, false));
        assert_eq!(links(all - 1).expect("listed"), (all - 1, true));
    }
}
