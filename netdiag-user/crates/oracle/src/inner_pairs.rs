//! Pairs with both ends in one namespace, as some sidecars and VPNs have them: the only way on which a packet comes in with
//! the mark that it was sent with.
use fastrand::Rng;
use netdiag_model::world::device::Kind;

use crate::{
    command::Command,
    links::{Is, Links},
    mistakes::{confs, mistake, settings},
    names::{INNER, SPACES, device},
    plan::own,
};

pub const LINKS: Links = Links {
    name: "inner-pair",
    alone: false,
    file: None,
    probe: Some(("link add va0 type veth peer name va1", INNER[0])),
    ipv6: true,
    superpackets: true,
    made,
    behind,
    is: Is::Device(|device| device.kind == Kind::Veth && INNER.contains(&device.name.as_str())),
    mistakes: &[
        mistake("the reverse path without the mark always", |w| {
            settings(w, |all| all.all4.src_valid_mark = false);
            confs(w, |conf| conf.src_valid_mark = false);
        }),
        mistake("the reverse path with the mark always", |w| {
            confs(w, |conf| conf.src_valid_mark = true);
        }),
    ],
};

fn behind(space: usize) -> String {
    format!("198.51.100.{}", 130 + space)
}

/// What has a mark goes through the pair first, and then on by its table or as the rest.
fn made(rng: &mut Rng) -> Vec<Command> {
    let one = rng.usize(0..SPACES);
    let [out, back] = INNER;
    let (near, far) = (
        format!("02:00:00:00:{one:02x}:a0"),
        format!("02:00:00:00:{one:02x}:a1"),
    );
    let mut lines = Vec::new();
    for words in [
        format!("link add {out} address {near} type veth peer name {back} address {far}"),
        format!("link set {out} up"),
        format!("link set {back} up"),
        format!("neigh add 10.70.0.2 lladdr {far} dev {out} nud permanent"),
        format!("rule add pref 60 iif {back} lookup main"),
        "rule add pref 70 fwmark 0x1/0x1 lookup 102".to_owned(),
        format!("route add default via 10.70.0.2 dev {out} onlink table 102"),
    ] {
        lines.push(Command::ip(one, words));
    }
    // Whether the way back to its own addresses leads by the pair, and is asked for before these are found.
    if rng.u8(0..3) > 0 {
        let words = format!("route add {}/32 dev {back} table 102", own(one));
        lines.push(Command::ip(one, words));
    }
    if rng.u8(0..3) > 0 {
        lines.push(Command::ip(one, "rule add pref 80 lookup local"));
        lines.push(Command::ip(one, "rule del pref 0"));
    }
    for space in 0..SPACES {
        lines.push(Command::ip(
            space,
            format!("addr add {}/32 dev lo", behind(space)),
        ));
        if space != one {
            let by = format!("via {} dev {} onlink", own(space), device(space));
            let words = format!("route add {}/32 {by} src {}", behind(space), own(one));
            lines.push(Command::ip(one, words));
        }
    }
    let all = |name: &str| format!("ipv4/conf/all/{name}");
    let accepts = u8::from(rng.u8(0..4) > 0);
    for (name, value) in [
        (all("accept_local"), accepts),
        (all("src_valid_mark"), rng.u8(0..2)),
        (format!("ipv4/conf/{back}/rp_filter"), rng.u8(0..3)),
    ] {
        lines.push(Command::sysctl(one, name, value));
    }
    lines
}
