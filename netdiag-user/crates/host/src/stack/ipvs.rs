//! /proc/net/ip_vs (net/netfilter/ipvs/ip_vs_ctl.c, `ip_vs_info_seq_show`), what that does not tell by generic netlink
//! (include/uapi/linux/ip_vs.h), and what IPVS is set to.
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
    path::Path,
};

use anyhow::{Context, Result};
use netdiag_lang::mark;

use super::generic::{self, GENERIC, members, request};
use crate::{
    gather::netlink::{self, DUMP, attribute, u16_at, u32_at},
    model::{
        flow,
        world::{
            Known, Why,
            ipvs::{Forward, Ipvs, RealServer, VirtualServer, Wanted},
        },
    },
    sys::file::{self, SMALL},
};

/// Bytes of a line, with the longest addresses.
const LINE: usize = 160;

/// Those of the namespace that this thread is in, up to so many, whoever made them.
pub fn read(root: &Path, most: usize) -> Known<Ipvs> {
    let mut servers = match servers(root, most) {
        Ok(Some(servers)) => servers,
        Ok(None) => return Known::Not(Why::TooMany),
        Err(error) => return Known::Not(Why::Refused(error.to_string())),
    };
    if servers.iter().any(is_half_told)
        && let Err(error) = tell_rest(&mut servers)
    {
        return Known::Not(Why::Refused(format!("{error:#}")));
    }
    let on = |name: &str| {
        let path = root.join("proc/sys/net/ipv4/vs").join(name);
        file::kernel(&path, SMALL).is_ok_and(|value| value.trim() != "0")
    };
    Known::Is(Ipvs {
        servers,
        conntrack: on("conntrack"),
        snat_reroute: on("snat_reroute"),
    })
}

/// None of them where the kernel has no such thing; nothing where there are too many.
pub fn servers(root: &Path, most: usize) -> io::Result<Option<Vec<VirtualServer>>> {
    let mut found = Found::default();
    let path = root.join("proc/thread-self/net/ip_vs");
    let limit = most.saturating_mul(LINE);
    let (mut lines, mut bytes) = (0, 0);
    let read = file::lines(&path, limit, |line| {
        (lines, bytes) = (lines + 1, bytes + line.len());
        if lines <= most {
            found.line(line);
        }
    });
    match read {
        Ok(()) => Ok((bytes < limit && lines <= most).then_some(found.0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Vec::new())),
        Err(error) => Err(error),
    }
}

const IPVS_CMD_GET_SERVICE: u8 = 4;
const IPVS_CMD_ATTR_SERVICE: u16 = 1;
const IPVS_SVC_ATTR_AF: u16 = 1;
const IPVS_SVC_ATTR_PROTOCOL: u16 = 2;
const IPVS_SVC_ATTR_ADDR: u16 = 3;
const IPVS_SVC_ATTR_PORT: u16 = 4;
const IPVS_SVC_ATTR_FWMARK: u16 = 5;
const IPVS_SVC_ATTR_FLAGS: u16 = 7;
const IP_VS_SVC_F_ONEPACKET: u32 = 4;

/// Whether the file does not say of which family its mark is, or whether each packet is scheduled by itself.
fn is_half_told(server: &VirtualServer) -> bool {
    match server.wanted {
        Wanted::Mark { .. } => true,
        Wanted::At { address, .. } => address.is_ipv6(),
    }
}

fn tell_rest(servers: &mut [VirtualServer]) -> Result<()> {
    let family = generic::family("IPVS").context(mark!("asking for IPVS's netlink family"))?;
    let family = family.context(mark!("IPVS's netlink family has no number"))?;
    let request = request(family, DUMP, IPVS_CMD_GET_SERVICE, &[]);
    let mut told = Vec::new();
    netlink::until(GENERIC, &request, |message| {
        let server = attribute(members(message), IPVS_CMD_ATTR_SERVICE);
        told.extend(server.and_then(one));
        match told.len() > servers.len() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })
    .context(mark!("asking for IPVS's virtual servers"))?;
    // They are mostly told in the file's order.
    told.reverse();
    for server in servers {
        let at = told
            .iter()
            .rposition(|(wanted, _)| alike(*wanted, server.wanted));
        let at = at.context(mark!("IPVS's virtual servers change all the time"))?;
        (server.wanted, server.one_packet) = told.swap_remove(at);
    }
    Ok(())
}

/// The same as far as the file tells.
fn alike(one: Wanted, other: Wanted) -> bool {
    match (one, other) {
        (Wanted::Mark { mark, .. }, Wanted::Mark { mark: other, .. }) => mark == other,
        _ => one == other,
    }
}

/// Whose packets it takes, and whether each is scheduled by itself.
fn one(server: &[u8]) -> Option<(Wanted, bool)> {
    let ipv6 = i32::from(u16_at(attribute(server, IPVS_SVC_ATTR_AF)?, 0)?) == libc::AF_INET6;
    let flags = u32_at(attribute(server, IPVS_SVC_ATTR_FLAGS)?, 0)?;
    let one_packet = flags & IP_VS_SVC_F_ONEPACKET != 0;
    if let Some(mark) = attribute(server, IPVS_SVC_ATTR_FWMARK) {
        let mark = u32_at(mark, 0)?;
        return Some((Wanted::Mark { mark, ipv6 }, one_packet));
    }
    let address = attribute(server, IPVS_SVC_ATTR_ADDR)?;
    let port = attribute(server, IPVS_SVC_ATTR_PORT)?;
    let wanted = Wanted::At {
        address: netlink::address(address.get(..if ipv6 { 16 } else { 4 })?)?,
        protocol: u8::try_from(u16_at(attribute(server, IPVS_SVC_ATTR_PROTOCOL)?, 0)?).ok()?,
        port: u16::from_be_bytes(*port.first_chunk()?),
    };
    Some((wanted, one_packet))
}

/// Virtual servers, and below each its real ones.
#[derive(Default)]
struct Found(Vec<VirtualServer>);

impl Found {
    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["->", at, forward, weight, ..] => {
                let real = real(at, forward, weight);
                if let (Some(real), Some(last)) = (real, self.0.last_mut()) {
                    last.real.push(real);
                }
            }
            [first, second, scheduler, flags @ ..] => {
                let Some(wanted) = wanted(first, second) else {
                    return;
                };
                self.0.push(VirtualServer {
                    wanted,
                    scheduler: (*scheduler).to_owned(),
                    one_packet: flags.contains(&"ops"),
                    persistent: flags.contains(&"persistent"),
                    real: Vec::new(),
                });
            }
            _ => {}
        }
    }
}

fn wanted(first: &str, second: &str) -> Option<Wanted> {
    if first == "FWM" {
        let mark = u32::from_str_radix(second, 16).ok()?;
        return Some(Wanted::Mark { mark, ipv6: false });
    }
    let (address, port) = endpoint(second)?;
    Some(Wanted::At {
        protocol: flow::number(&first.to_lowercase())?,
        address,
        port,
    })
}

fn real(at: &str, forward: &str, weight: &str) -> Option<RealServer> {
    let (address, port) = endpoint(at)?;
    let forward = match forward {
        "Masq" => Forward::Masquerade,
        "Local" => Forward::Local,
        "Tunnel" => Forward::Tunnel,
        "Route" => Forward::Route,
        "Bypass" => Forward::Bypass,
        _ => return None,
    };
    // It is signed there.
    let weight: i64 = weight.parse().ok()?;
    let weight = u32::try_from(weight.max(0)).ok()?;
    Some(RealServer {
        address,
        port,
        forward,
        weight,
    })
}

/// `0A600001:01BB` or `[fd00:0000:…]:01BB`, all in hexadecimal.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = match address.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into(),
        None => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?).into(),
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
        Prot LocalAddress:Port Scheduler Flags\n  \
        -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
        TCP  0A600001:01BB rr persistent 10800 FFFFFFFF\n  \
        -> C0A80102:192B      Masq    1      0          0         \n  \
        -> C0A80103:192B      Tunnel  0      0          0         \n\
        UDP  [fd00:0000:0000:0000:0000:0000:0000:000a]:0035 wrr \n\
        FWM  0000000A sh ops \n";

    #[test]
    fn virtual_servers_and_their_real_ones() {
        let mut found = Found::default();
        TEXT.lines().for_each(|line| found.line(line));
        let [api, dns, marked] = found.0.as_slice() else {
            panic!("{:?}", found.0);
        };
        let at = |address: &str, protocol, port| Wanted::At {
            address: address.parse().expect("an address"),
            protocol,
            port,
        };
        assert_eq!(api.wanted, at("10.96.0.1", 6, 443));
        assert_eq!(dns.wanted, at("fd00::a", 17, 53));
        assert_eq!(
            marked.wanted,
            Wanted::Mark {
                mark: 10,
                ipv6: false
            }
        );
        assert_eq!((api.persistent, marked.one_packet), (true, true));
        assert_eq!((dns.persistent, dns.one_packet), (false, false));
        let [own, away] = api.real.as_slice() else {
            panic!("{:?}", api.real);
        };
        assert_eq!((own.port, own.weight), (6443, 1));
        assert_eq!(
            (own.forward, away.forward),
            (Forward::Masquerade, Forward::Tunnel)
        );
        assert_eq!(api.in_use().collect::<Vec<_>>(), [own]);
        assert!(dns.real.is_empty());
    }

    #[test]
    fn more_than_are_wanted_are_none() {
        let root = tempfile::tempdir().expect("a folder");
        let net = root.path().join("proc/thread-self/net");
        let of = |most| servers(root.path(), most).expect("readable");
        assert_eq!(of(8), Some(Vec::new()));
        std::fs::create_dir_all(&net).expect("a folder");
        std::fs::write(net.join("ip_vs"), TEXT).expect("a file");
        assert_eq!(of(8).map(|all| all.len()), Some(3));
        assert_eq!(of(7), None);
    }
}
