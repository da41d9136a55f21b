//! Sockets of a namespace, from /proc/net/tcp and tcp6 (proc(5), net/ipv4/tcp_ipv4.c).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use crate::model::gather::Listener;

/// `TCP_LISTEN` (include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// Listening sockets of this thread's namespace.
pub fn listeners() -> Result<Vec<Listener>> {
    let read = |name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    let mut text = read("tcp").context("reading /proc/net/tcp")?;
    // There is no such file where IPv6 is not built in.
    text.push_str(&read("tcp6").unwrap_or_default());
    Ok(text.lines().filter_map(listener).collect())
}

fn listener(line: &str) -> Option<Listener> {
    let mut fields = line.split_whitespace();
    let (_, local, _, state, queues) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    if state != LISTEN {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    // For a listening socket the receive queue is what waits to be accepted; its limit is
    // nowhere in this file.
    let queued = queues.split_once(':')?.1;
    Some(Listener {
        address: parse(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        queued: u32::from_str_radix(queued, 16).ok()?,
        backlog: 0,
    })
}

/// Addresses are printed as 32-bit words in the machine's order.
fn parse(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for n in 0..4 {
        bytes[n * 4..n * 4 + 4].copy_from_slice(&word(n * 8)?);
    }
    let address = Ipv6Addr::from(bytes);
    Some(address.to_ipv4_mapped().map_or(address.into(), Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_the_kernel_prints_them() {
        let line = "  1: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000";
        let found = listener(line).expect("a listener");
        assert_eq!(found.address, IpAddr::from([127, 0, 0, 1]));
        assert_eq!((found.port, found.queued), (8080, 3));
        let v6 = "00000000000000000000000001000000";
        assert_eq!(parse(v6), Some(Ipv6Addr::LOCALHOST.into()));
        for bad in ["", "x", "0: 1 2 0A 3", "0: zz:1 2 0A 3:4"] {
            assert_eq!(listener(bad), None, "{bad}");
        }
    }
}
