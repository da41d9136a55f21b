//! What nf_tables' messages have in common (include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h).
use super::netlink::HEADER;
use crate::model::netfilter::Family;

pub const NETLINK_NETFILTER: isize = 12;
/// NFNL_SUBSYS_NFTABLES << 8, with NFT_MSG_GET….
pub const GET_TABLES: u16 = 10 << 8 | 1;
pub const GET_CHAINS: u16 = 10 << 8 | 4;
pub const GET_RULES: u16 = 10 << 8 | 7;
pub const GET_SETS: u16 = 10 << 8 | 10;
pub const GET_ELEMENTS: u16 = 10 << 8 | 13;
pub const GET_GENERATION: u16 = 10 << 8 | 16;
/// NLM_F_REQUEST | NLM_F_ACK: the acknowledgement ends the answer of one message.
pub const ONE: u16 = 0x5;
/// `struct nfgenmsg`.
pub const GENERIC: usize = 4;

/// NFPROTO_…
const FAMILIES: [(Family, u8); 6] = [
    (Family::Inet, 1),
    (Family::Ip, 2),
    (Family::Arp, 3),
    (Family::Netdev, 5),
    (Family::Bridge, 7),
    (Family::Ip6, 10),
];

pub fn family(number: u8) -> Option<Family> {
    let known = FAMILIES.iter().find(|(_, n)| *n == number);
    known.map(|(family, _)| *family)
}

fn number(family: Family) -> u8 {
    let known = FAMILIES.iter().find(|(f, _)| *f == family);
    known.map_or(0, |(_, number)| *number)
}

/// A request about one family or all.
pub fn message(what: u16, flags: u16, family: Option<Family>, attributes: &[u8]) -> Vec<u8> {
    let mut request = Vec::with_capacity(HEADER + GENERIC + attributes.len());
    request.extend(((HEADER + GENERIC + attributes.len()) as u32).to_ne_bytes());
    request.extend(what.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([family.map_or(0, number), 0, 0, 0]);
    request.extend(attributes);
    request
}

/// A kernel without nftables has no rules of it (net/netfilter/nfnetlink.c), and what was there a moment ago may be gone.
pub fn is_nothing(error: &anyhow::Error) -> bool {
    const NOTHING: [i32; 3] = [libc::EINVAL, libc::EOPNOTSUPP, libc::ENOENT];
    let io = error.downcast_ref::<std::io::Error>();
    io.and_then(std::io::Error::raw_os_error)
        .is_some_and(|errno| NOTHING.contains(&errno))
}
