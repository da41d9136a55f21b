//! Translated connections as conntrack(8) lists them, by ctnetlink
//! (include/uapi/linux/netfilter/nfnetlink_conntrack.h), and conversations of datagrams: nothing else tells who
//! opened one that was there before.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
};

use anyhow::{Context, Result};
use netdiag_lang::{english, mark};

use super::{
    Found,
    netlink::{DUMP, End, HEADER, attribute, twice, until},
};
use crate::model::{
    flow::UDP,
    gather::{Tracked, Tuple},
    verdict::NotChecked,
};

const NETLINK_NETFILTER: isize = 12;
/// NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET.
const GET: u16 = 0x0101;
/// `struct nfgenmsg`.
const GENERIC: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMPV6_ID: u16 = 7;
/// IPS_SRC_NAT | IPS_DST_NAT.
const TRANSLATED: u32 = 1 << 4 | 1 << 5;

/// One client's translated connections at most: what netdiag counts at hops is bounded too.
const MOST: usize = 4096;
/// Conversations of datagrams beside them: where there are more, ports tell who opened the others.
const MOST_DATAGRAMS: usize = 1024;

/// Those of this thread's namespace that have the address at one of their four ends.
pub fn translated(address: IpAddr) -> Result<Found<Vec<Tracked>>> {
    let request = request(address);
    let list = || {
        let mut found = Listing::default();
        let each = |message: &[u8]| found.take(message, address);
        let end = until(NETLINK_NETFILTER, &request, each)?;
        Ok((found.all(), end))
    };
    let (found, end) = twice(list).context(mark!("listing connections of conntrack"))?;
    Ok((found, left(end, address)))
}

#[derive(Default)]
struct Listing {
    translated: Vec<Tracked>,
    datagrams: Vec<Tracked>,
}

impl Listing {
    fn take(&mut self, message: &[u8], address: IpAddr) -> ControlFlow<()> {
        let entry = message.get(HEADER + GENERIC..).and_then(parse);
        match entry.filter(|e| e.has(address)) {
            Some(entry) if !entry.is_translated() => {
                let room = self.datagrams.len() < MOST_DATAGRAMS;
                self.datagrams.extend(Some(entry).filter(|_| room));
            }
            Some(_) if self.translated.len() == MOST => return ControlFlow::Break(()),
            entry => self.translated.extend(entry),
        }
        ControlFlow::Continue(())
    }

    fn all(self) -> Vec<Tracked> {
        [self.translated, self.datagrams].concat()
    }
}

fn left(end: End, address: IpAddr) -> Vec<NotChecked> {
    let told = match end {
        End::Whole => None,
        End::Enough => Some(NotChecked::new(
            english!("translated connections of {address} beyond the first {MOST}"),
            mark!("a listing is read no further"),
        )),
        End::Changed => Some(NotChecked::new(
            english!("whether these are all translated connections of {address}"),
            mark!("they changed while they were listed, twice"),
        )),
    };
    told.into_iter().collect()
}

fn request(address: IpAddr) -> Vec<u8> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let mut bytes = Vec::with_capacity(HEADER + GENERIC);
    bytes.extend(((HEADER + GENERIC) as u32).to_ne_bytes());
    bytes.extend(GET.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, 0, 0, 0]);
    bytes
}

fn parse(attributes: &[u8]) -> Option<Tracked> {
    let status = attribute(attributes, CTA_STATUS)?;
    let status = u32::from_be_bytes(status.try_into().ok()?);
    let asked = tuple(attribute(attributes, CTA_TUPLE_ORIG)?)?;
    if status & TRANSLATED == 0 && asked.protocol != UDP {
        return None;
    }
    Some(Tracked {
        asked,
        answered: tuple(attribute(attributes, CTA_TUPLE_REPLY)?)?,
    })
}

/// CTA_TUPLE_IP with CTA_IP_V4_SRC to V6_DST, CTA_TUPLE_PROTO with number and ports; an echo's
/// identifier stands for both ports.
fn tuple(attributes: &[u8]) -> Option<Tuple> {
    let (ip, protocol) = (attribute(attributes, 1)?, attribute(attributes, 2)?);
    let address = |v4: u16, v6: u16| match attribute(ip, v4) {
        Some(bytes) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        None => {
            let bytes = <[u8; 16]>::try_from(attribute(ip, v6)?).ok()?;
            Some(IpAddr::from(Ipv6Addr::from(bytes)))
        }
    };
    let number = |kind: u16| {
        let bytes = attribute(protocol, kind)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    };
    let echo = number(CTA_PROTO_ICMP_ID).or_else(|| number(CTA_PROTO_ICMPV6_ID));
    let port = |kind: u16| number(kind).or(echo).unwrap_or(0);
    Some(Tuple {
        source: (address(1, 3)?, port(2)),
        destination: (address(2, 4)?, port(3)),
        protocol: *attribute(protocol, 1)?.first()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::netlink::nla;

    fn message(asked: &[u8], answered: &[u8], status: u32) -> Vec<u8> {
        let parts = [nla(0x8001, asked), nla(0x8002, answered)];
        let body = [parts.concat(), nla(3, &status.to_be_bytes())].concat();
        [vec![0; HEADER + GENERIC], body].concat()
    }

    #[test]
    fn connections_beyond_the_bound_are_told() {
        let mut found = Listing::default();
        let mut one = |port: u16, status: u32| {
            let asked = ends([10, 0, 0, 1], [10, 96, 0, 1], (port, 80));
            let answered = ends([10, 0, 2, 9], [10, 0, 0, 1], (8080, port));
            let message = message(&asked, &answered, status);
            found.take(&message, [10, 0, 0, 1].into()).is_break()
        };
        let most = MOST as u16;
        assert!((0..most).all(|port| !one(port, 0x1ae)), "as many as that");
        assert!(!one(most, 0), "it is not translated");
        assert!(one(most, 0x1ae));
        assert_eq!(found.all().len(), MOST);
        let told = |end| left(end, [10, 0, 0, 1].into());
        assert_eq!(told(End::Whole), []);
        let more = "translated connections of 10.0.0.1 beyond the first 4096";
        assert_eq!(told(End::Enough)[0].what, more);
        assert_eq!(told(End::Changed).len(), 1);
    }

    fn ends(source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
        over(6, source, destination, ports)
    }

    fn over(number: u8, source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
        let ip = [nla(1, &source), nla(2, &destination)].concat();
        let numbers = [(2, ports.0), (3, ports.1)].map(|(k, p)| nla(k, &p.to_be_bytes()));
        let protocol = [nla(1, &[number]), numbers.concat()].concat();
        [nla(0x8001, &ip), nla(0x8002, &protocol)].concat()
    }

    #[test]
    fn datagrams_are_read_without_translation() {
        let asked = over(17, [10, 0, 0, 1], [10, 0, 2, 9], (1024, 51820));
        let answered = over(17, [10, 0, 2, 9], [10, 0, 0, 1], (51820, 1024));
        let parts = [nla(0x8001, &asked), nla(0x8002, &answered)];
        let tracked = parse(&[parts.concat(), nla(3, &0x10e_u32.to_be_bytes())].concat());
        let tracked = tracked.expect("a conversation");
        assert!(!tracked.is_translated());
        assert_eq!(tracked.asked.destination.1, 51820);
    }

    #[test]
    fn both_directions_are_read() {
        let asked = ends([10, 0, 0, 1], [10, 96, 0, 1], (40_000, 80));
        let answered = ends([10, 0, 2, 9], [10, 0, 0, 1], (8080, 40_000));
        let entry = |status: u32| {
            let parts = [nla(0x8001, &asked), nla(0x8002, &answered)];
            parse(&[parts.concat(), nla(3, &status.to_be_bytes())].concat())
        };
        let tracked = entry(0x1ae).expect("a translated connection");
        assert_eq!(tracked.asked.destination.1, 80);
        assert_eq!(tracked.answered.flow().reversed().destination_port, 8080);
        assert!(tracked.has([10, 0, 2, 9].into()));
        assert!(tracked.is_translated());
        assert_eq!(entry(0x10e & !TRANSLATED), None);
        assert_eq!(parse(&asked[..7]), None);
    }
}
