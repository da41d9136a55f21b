//! Services in /proc/net/ip_vs (net/netfilter/ipvs/ip_vs_ctl.c), as kube-proxy's IPVS mode sets
//! them up.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{
    flow,
    services::{Engine, Service, Services},
};

/// Reads lines of virtual servers and, below each, of its real servers.
pub fn read(text: &str, found: &mut Services) {
    let from = found.rules.len();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else {
            continue;
        };
        if first == "->" {
            if let (Some(to), Some(service)) = (endpoint(second), found.rules[from..].last_mut()) {
                service.backends.push(to);
                service.rejected = false;
            }
        } else if let (Some(protocol), Some((address, port))) =
            (flow::number(&first.to_lowercase()), endpoint(second))
        {
            found.rules.push(Service {
                address,
                port,
                protocol,
                name: None,
                backends: Vec::new(),
                rejected: true,
                local: false,
                engine: Engine::Ipvs,
            });
        }
    }
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

    #[test]
    fn virtual_servers_and_their_real_ones() {
        let text = "IP Virtual Server version 1.2.1 (size=4096)\n\
            Prot LocalAddress:Port Scheduler Flags\n  \
            -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
            TCP  0A600001:01BB rr \n  \
            -> C0A80102:192B      Masq    1      0          0\n\
            UDP  [fd00:0000:0000:0000:0000:0000:0000:000a]:0035 rr\n";
        let mut found = Services::default();
        read(text, &mut found);
        let [api, dns] = found.rules.as_slice() else {
            panic!("{:?}", found.rules);
        };
        assert_eq!(
            (api.address, api.port),
            ("10.96.0.1".parse().expect("valid"), 443)
        );
        assert_eq!(
            api.backends,
            [("192.168.1.2".parse().expect("valid"), 6443)]
        );
        assert_eq!((dns.port, dns.rejected, api.rejected), (53, true, false));
    }
}
