//! `struct sock_common`: the flow of a TCP socket, as it sends.
use netdiag_common::flow::{FlowKey, mapped};

use super::at;
use crate::{maps::offset, parse::ip};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

#[inline(always)]
pub fn flow(sk: u64) -> Option<FlowKey> {
    let family: u16 = at(sk, offset!(sock_family))?;
    let (source, destination, family) = match family {
        AF_INET => (
            mapped(at(sk, offset!(sock_source4))?),
            mapped(at(sk, offset!(sock_destination4))?),
            4,
        ),
        AF_INET6 => {
            let source: [u8; 16] = at(sk, offset!(sock_source6))?;
            let destination: [u8; 16] = at(sk, offset!(sock_destination6))?;
            (
                source,
                destination,
                if is_mapped(&destination) { 4 } else { 6 },
            )
        }
        _ => return None,
    };
    let destination_port: u16 = at(sk, offset!(sock_destination_port))?;
    Some(FlowKey {
        source,
        destination,
        source_port: at(sk, offset!(sock_source_port))?,
        destination_port: u16::from_be(destination_port),
        protocol: ip::TCP,
        family,
        padding: [0; 2],
    })
}

/// An IPv6 socket that speaks IPv4 on the wire.
#[inline(always)]
fn is_mapped(address: &[u8; 16]) -> bool {
    let mut i = 0;
    while i < MAPPED.len() {
        if address[i] != MAPPED[i] {
            return false;
        }
        i += 1;
    }
    true
}
