//! Devices that a program has: what is sent there is read by it, as by a VPN's.
use std::fs::File;

use anyhow::{Context, Result};
use fastrand::Rng;
use netdiag_model::world::device::Kind;
use netdiag_sys::tun;

use crate::{
    command::Command,
    links::{Is, Links, at_once},
    mistakes::{devices, mistake},
    names::{SPACES, TUN, TUN_ALONE},
};

pub const LINKS: Links = Links {
    name: "tun",
    alone: false,
    file: None,
    probe: Some(("tuntap add dev tn0 mode tun", TUN)),
    ipv6: true,
    superpackets: false,
    made,
    behind,
    is: Is::Device(|device| device.kind == Kind::Tun),
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
            false => at_once(&behind(to), one),
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

/// What a program that has a device of this thread's namespace holds; it reads nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "a device that is always there, which acts by what it is asked alone"
)]
pub fn attach(name: &str) -> Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun");
    let file = file.context("opening /dev/net/tun")?;
    tun::attach(&file, name).with_context(|| format!("attaching to {name}"))?;
    Ok(file)
}
