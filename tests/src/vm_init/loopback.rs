//! Brings lo up with one netlink message (rtnetlink(7)).
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const IFF_UP: u32 = 1;
/// lo is the first interface of every network namespace.
const LO: i32 = 1;

pub fn up() -> Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )
    .context("open netlink")?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &request(), &kernel, MsgFlags::empty()).context("send")?;
    let mut answer = [0u8; 128];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).context("receive")?;
    // nlmsghdr (16 bytes), then nlmsgerr's error: 0 is an acknowledgement.
    match answer[..length].get(16..20) {
        Some([0, 0, 0, 0]) => Ok(()),
        other => bail!("the kernel answered {other:?}"),
    }
}

/// nlmsghdr and ifinfomsg; netlink speaks the host's byte order.
fn request() -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(32u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]); // sequence, port
    message.extend([0; 4]); // family, padding, type
    message.extend(LO.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes()); // which flags to change
    message
}
