//! Nexthop objects (RTM_GETNEXTHOP, include/uapi/linux/nexthop.h), which rtnetlink's crate does not
//! read.
use std::ops::ControlFlow;

use anyhow::Result;

use crate::{
    gather::netlink::{self, DUMP, End, HEADER, address, attributes, u16_at, u32_at},
    listing::{Left, Listed, NETLINK_ROUTE},
    model::world::route::{Hop, Nexthop},
};

const RTM_NEWNEXTHOP: u16 = 104;
const RTM_GETNEXTHOP: u16 = 106;
/// `struct nhmsg`.
const MESSAGE: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP_TYPE: u16 = 7;
const RTNH_F_DEAD: u32 = 1;
const RTNH_F_ONLINK: u32 = 4;
const RTNH_F_LINKDOWN: u32 = 16;
/// `struct nexthop_grp`: an id, the weight less one, and what no kernel of today asks.
const MEMBER: usize = 8;

/// None before Linux 5.3, which refuses the question.
pub fn nexthops(most: usize) -> Result<Listed<(u32, Nexthop)>> {
    let once = || {
        let mut all = Vec::new();
        let each = |message: &[u8]| {
            if all.len() == most {
                return ControlFlow::Break(());
            }
            all.extend(nexthop(message));
            ControlFlow::Continue(())
        };
        let end = netlink::until(NETLINK_ROUTE, &request(), each)?;
        Ok((all, end))
    };
    let (all, end) = match netlink::twice(once) {
        Err(error) if is_unknown(&error) => (Vec::new(), End::Whole),
        listed => listed?,
    };
    let left = Left {
        more: end == End::Enough,
        changed: end == End::Changed,
    };
    Ok(Listed { all, left })
}

fn is_unknown(error: &anyhow::Error) -> bool {
    let errno = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::raw_os_error);
    errno == Some(libc::EOPNOTSUPP)
}

fn request() -> Vec<u8> {
    let length = HEADER + MESSAGE;
    let mut bytes = (length as u32).to_ne_bytes().to_vec();
    bytes.extend(RTM_GETNEXTHOP.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.resize(length, 0);
    bytes
}

fn nexthop(message: &[u8]) -> Option<(u32, Nexthop)> {
    if u16_at(message, 4)? != RTM_NEWNEXTHOP {
        return None;
    }
    let flags = u32_at(message, HEADER + 4)?;
    let mut hop = Hop {
        device: 0,
        gateway: None,
        weight: 1,
        dead: flags & RTNH_F_DEAD != 0,
        linkdown: flags & RTNH_F_LINKDOWN != 0,
        onlink: flags & RTNH_F_ONLINK != 0,
        encap: false,
    };
    let (mut id, mut blackhole, mut group) = (None, false, None);
    for (kind, value) in attributes(message.get(HEADER + MESSAGE..)?) {
        match kind {
            NHA_ID => id = u32_at(value, 0),
            NHA_BLACKHOLE => blackhole = true,
            NHA_OIF => hop.device = u32_at(value, 0)?,
            NHA_GATEWAY => hop.gateway = address(value),
            NHA_ENCAP_TYPE => hop.encap = true,
            NHA_GROUP => group = Some(value.chunks_exact(MEMBER).filter_map(member).collect()),
            _ => {}
        }
    }
    let object = match group {
        Some(group) => Nexthop::Group(group),
        None if blackhole => Nexthop::Blackhole,
        None => Nexthop::Hop(hop),
    };
    Some((id?, object))
}

fn member(bytes: &[u8]) -> Option<(u32, u16)> {
    Some((u32_at(bytes, 0)?, u16::from(*bytes.get(4)?) + 1))
}
