//! Devices that a program has: what is sent there is read by it, as by a VPN's.
#![expect(
    unsafe_code,
    reason = "nothing safer attaches a program to such a device"
)]
use std::fs::File;

use anyhow::{Context, Result};
use fastrand::Rng;
use netdiag_model::world::device::Kind;
use nix::libc;

use crate::{
    command::Command,
    links::Links,
    mistakes::{devices, mistake},
    names::{SPACES, TUN, TUN_ALONE, device},
    plan::own,
};

pub const LINKS: Links = Links {
    name: "tun",
    probe: ("tuntap add dev tn0 mode tun", TUN),
    ipv6: true,
    made,
    behind,
    is: |device| device.kind == Kind::Tun,
    mistakes: &[mistake(
        "a device that no program has taken for one with a signal",
        |w| {
            devices(w, |device| device.lower_up |= device.kind == Kind::Tun);
        },
    )],
};

fn behind(space: usize) -> String {
    format!("198.51.100.{}", 110 + space)
}

/// One that has a program, or another one beside, which has none.
fn made(rng: &mut Rng) -> Vec<Command> {
    let one = rng.usize(0..SPACES);
    let name = if rng.u8(0..4) == 0 { TUN_ALONE } else { TUN };
    let mtu = [1500, 1420, 1280][rng.usize(0..3)];
    let mut lines = Vec::new();
    for words in [
        format!("tuntap add dev {name} mode tun"),
        format!("link set {name} up mtu {mtu}"),
        format!("addr add 10.60.0.1/24 dev {name}"),
    ] {
        lines.push(Command::ip(one, words));
    }
    for (space, to) in (0..SPACES).flat_map(|space| (0..SPACES).map(move |to| (space, to))) {
        let words = match space == one {
            true => format!("route add {}/32 dev {name}", behind(to)),
            false => format!(
                "route add {}/32 via {} dev {} onlink",
                behind(to),
                own(one),
                device(one)
            ),
        };
        lines.push(Command::ip(space, words));
    }
    match rng.u8(0..6) {
        0 => lines.push(Command::ip(one, format!("link set {name} down"))),
        1 => lines.push(Command::ip(one, format!("addr flush dev {name}"))),
        _ => {}
    }
    lines
}

nix::ioctl_write_ptr_bad!(
    /// Makes a program's file that of a device (TUNSETIFF, include/uapi/linux/if_tun.h).
    attach_to,
    0x4004_54ca,
    libc::ifreq
);

/// What a program that has a device of this thread's namespace holds; it reads nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "a device that is always there, which acts by what it is asked alone"
)]
pub fn attach(name: &str) -> Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun");
    let file = file.context("opening /dev/net/tun")?;
    let flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI)?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    for (to, byte) in request
        .ifr_name
        .iter_mut()
        .zip(name.bytes().take(libc::IFNAMSIZ - 1))
    {
        *to = byte.cast_signed();
    }
    // SAFETY: the file is open, and the request is whole and lives as long as the call.
    unsafe { attach_to(std::os::fd::AsRawFd::as_raw_fd(&file), &raw const request) }
        .with_context(|| format!("attaching to {name}"))?;
    Ok(file)
}
