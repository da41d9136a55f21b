//! Sending: by a socket as programs do, or as a frame that no stack made.
use std::{net::SocketAddr, os::fd::AsRawFd};

use anyhow::{Context, Result};
use netdiag_model::world::device::Mac;
use netdiag_sys::socket::{Fragments, set_fragments, set_option};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    libc::{SOL_UDP, UDP_SEGMENT},
    sys::socket::{MsgFlags, sendto},
};
use socket2::{Domain, Socket, Type};

use crate::{
    names::device,
    set::Set,
    traffic::Shot,
    wire::{self, Header, Token},
};

/// What the kernel told the sender at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Sent,
    /// It may not speak with that source.
    NotItsSource,
    Error(Errno),
}

/// Sends one, in the namespace that this thread is in.
pub fn shoot(shot: &Shot, token: Token, macs: Option<(Mac, Mac)>) -> Result<Told> {
    match (shot.wire, macs) {
        (Some(wire), Some(macs)) => frame(shot, wire.by, token, macs),
        _ => socket(shot, token),
    }
}

fn socket(shot: &Shot, token: Token) -> Result<Told> {
    let ipv4 = shot.destination.is_ipv4();
    let domain = if ipv4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, None).context("opening a socket")?;
    socket.set_nonblocking(true)?;
    socket.set_mark(shot.mark)?;
    match ipv4 {
        true => {
            socket.set_tos_v4(u32::from(shot.tos))?;
            socket.set_ttl_v4(u32::from(shot.ttl))?;
        }
        false => {
            socket.set_only_v6(true)?;
            socket.set_tclass_v6(u32::from(shot.tos))?;
            socket.set_unicast_hops_v6(u32::from(shot.ttl))?;
        }
    }
    // Whoever listens there does so on every address.
    socket.set_reuse_address(true)?;
    let fragments = match shot.cut {
        true => Fragments::Allowed,
        false => Fragments::Refused,
    };
    set_fragments(socket.as_raw_fd(), ipv4, fragments)?;
    if let Some(to) = shot.bound {
        socket.bind_device(Some(device(to).as_bytes()))?;
    }
    let own = SocketAddr::new(shot.source.unwrap_or(shot.any()), shot.sport);
    if socket.bind(&own.into()).is_err() {
        return Ok(Told::NotItsSource);
    }
    if shot.count > 1 {
        let payload = i32::try_from(shot.payload())?;
        set_option(socket.as_raw_fd(), SOL_UDP, UDP_SEGMENT, payload)?;
    }
    let bytes = wire::payload(token, (shot.payload() * shot.count) as usize);
    let to = SocketAddr::new(shot.destination, shot.dport);
    Ok(match socket.send_to(&bytes, &to.into()) {
        Ok(_) => Told::Sent,
        Err(error) => Told::Error(Errno::from_raw(error.raw_os_error().unwrap_or(0))),
    })
}

fn frame(shot: &Shot, to: usize, token: Token, (own, peer): (Mac, Mac)) -> Result<Told> {
    let header = Header {
        source: shot.source.unwrap_or(shot.any()),
        destination: shot.destination,
        sport: shot.sport,
        dport: shot.dport,
        tos: shot.tos,
        ttl: shot.ttl,
    };
    let bytes = wire::frame(peer, own, &header, shot.size as usize, token);
    let bytes = bytes.context("a frame that cannot be written")?;
    let name = device(to);
    let mut all = getifaddrs()?;
    let address = all.find_map(|one| {
        let link = *one.address.as_ref()?.as_link_addr()?;
        (one.interface_name == name).then_some(link)
    });
    let address = address.context("a device without an address")?;
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("a packet socket")?;
    let sent = sendto(socket.as_raw_fd(), &bytes, &address, MsgFlags::empty());
    Ok(match sent {
        Ok(_) => Told::Sent,
        Err(errno) => Told::Error(errno),
    })
}

/// Sends all of them, each from its namespace.
pub fn volley(
    set: &Set,
    shots: &[(Token, &Shot)],
    macs: impl Fn(&Shot) -> Option<(Mac, Mac)>,
) -> Result<Vec<Told>> {
    let mut told = vec![Told::Sent; shots.len()];
    for space in 0..crate::names::SPACES {
        if !shots.iter().any(|(_, shot)| shot.space == space) {
            continue;
        }
        set.enter(space)?;
        for (at, (token, shot)) in shots.iter().enumerate() {
            if shot.space == space {
                told[at] = shoot(shot, *token, macs(shot))?;
            }
        }
    }
    Ok(told)
}
