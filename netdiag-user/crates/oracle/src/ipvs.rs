//! IPVS in worlds, where the kernel has it: virtual servers of one namespace or two, and real ones in any.
use std::net::{IpAddr, SocketAddrV4};

use anyhow::Result;
use fastrand::Rng;
use netdiag_forwarding::Wrong;
use netdiag_model::world::{
    Known, Stack, World,
    ipvs::{Ipvs, Wanted},
};

use crate::{
    batch,
    command::{Command, Line},
    links::{Is, Links, at_once},
    mistakes::{Make, Mistake, mistake},
    names::SPACES,
    plan::own,
    six,
    witness::PORTS,
};

pub const LINKS: Links = Links {
    name: "ipvs",
    alone: false,
    file: Some("/proc/net/ip_vs"),
    probe: None,
    ipv6: true,
    superpackets: false,
    made,
    behind,
    is: Is::Address(is_served),
    mistakes: &[
        mistake("virtual servers ignored", |w| {
            all(w, |ipvs| ipvs.servers.clear());
        }),
        mistake("virtual servers by mark ignored", |w| {
            all(w, |ipvs| {
                ipvs.servers
                    .retain(|one| !matches!(one.wanted, Wanted::Mark { .. }));
            });
        }),
        mistake("answers of real servers not routed anew", |w| {
            all(w, |ipvs| ipvs.snat_reroute = false);
        }),
        Mistake {
            name: "real servers of no weight in use",
            make: Make::Walk(Wrong::WeightlessServers),
        },
        Mistake {
            name: "no hop taken by IPVS",
            make: Make::Walk(Wrong::LedWithoutHop),
        },
        Mistake {
            name: "real servers answer as themselves",
            make: Make::Walk(Wrong::RealServersAnswer),
        },
    ],
};

fn all(world: &mut World, of: impl Fn(&mut Ipvs)) {
    for stack in world.stacks.values_mut() {
        if let Known::Is(ipvs) = &mut stack.ipvs {
            of(ipvs);
        }
    }
}

/// Whether somebody serves it there.
fn is_served(stack: &Stack, to: IpAddr) -> bool {
    let servers = stack.ipvs.some().into_iter().flat_map(|it| &it.servers);
    let mut at = servers.filter_map(|one| match one.wanted {
        Wanted::At { address, .. } => Some(address),
        Wanted::Mark { .. } => None,
    });
    at.any(|address| address == to)
}

fn behind(space: usize) -> String {
    format!("198.51.100.{}", 190 + space)
}

fn made(rng: &mut Rng) -> Vec<Command> {
    let mut lines = Vec::new();
    let balancers = [rng.usize(0..SPACES), rng.usize(0..SPACES)];
    for number in 0..SPACES {
        let by = balancers[usize::from(rng.u8(0..4) == 0)];
        served(rng, by, &behind(number), &mut lines);
    }
    if rng.u8(0..4) == 0 {
        let mark = rng.u8(1..4);
        server(rng, balancers[0], &format!("-f {mark}"), &mut lines);
    }
    for by in balancers {
        let conntrack = Command::sysctl(by, "ipv4/vs/conntrack", rng.u8(0..2));
        let anew = Command::sysctl(by, "ipv4/vs/snat_reroute", u8::from(rng.u8(0..4) > 0));
        lines.extend([conntrack, anew]);
    }
    lines
}

/// An address with a virtual server at each port but some.
fn served(rng: &mut Rng, by: usize, address: &str, lines: &mut Vec<Command>) {
    if rng.u8(0..8) > 0 {
        lines.push(Command::ip(by, format!("addr add {address}/32 dev lo")));
    }
    for space in (0..SPACES).filter(|space| *space != by) {
        lines.push(Command::ip(space, at_once(address, by)));
    }
    for port in PORTS {
        if rng.u8(0..6) > 0 {
            server(rng, by, &format!("-u {address}:{port}"), lines);
        }
    }
}

fn server(rng: &mut Rng, by: usize, at: &str, lines: &mut Vec<Command>) {
    let kind = ["", "", "", "", " -p", " -o"][rng.usize(0..6)];
    lines.push(ipvsadm(by, format!("-A {at} -s rr{kind}")));
    for _ in 0..rng.usize(0..4) {
        let to = match rng.u8(0..10) {
            0 => "203.0.113.9".to_owned(),
            _ => own(rng.usize(0..SPACES)).to_string(),
        };
        let port = PORTS[rng.usize(0..PORTS.len())];
        let how = ["-m", "-m", "-m", "-m", "-m", "-m", "-g", "-i"][rng.usize(0..8)];
        let weight = [0, 1, 1, 1, 2, 3][rng.usize(0..6)];
        lines.push(ipvsadm(
            by,
            format!("-a {at} -r {to}:{port} {how} -w {weight}"),
        ));
    }
}

fn ipvsadm(space: usize, words: String) -> Command {
    Command {
        space,
        line: Line::Ipvs(words),
    }
}

/// Runs ipvsadm(8) in this thread's namespace; the kernel may refuse what it says.
pub fn set(words: &str) -> Result<()> {
    let arguments: Vec<&str> = words.split(' ').collect();
    batch::run("ipvsadm", &arguments).map(drop)
}

/// The same over IPv6.
pub fn over_ipv6(words: &str) -> String {
    let word = |word: &str| match word.parse::<SocketAddrV4>() {
        Ok(at) => format!("[{}]:{}", six::address(*at.ip()), at.port()),
        Err(_) => word.to_owned(),
    };
    let words: Vec<String> = words.split(' ').map(word).collect();
    let by_mark = words.first().is_some_and(|first| first == "-A") && words.contains(&"-f".into());
    let words = words.join(" ");
    if by_mark { words + " -6" } else { words }
}

#[cfg(test)]
mod tests {
    use super::over_ipv6;

    #[test]
    fn lines_keep_their_meaning_over_ipv6() {
        assert_eq!(
            over_ipv6("-a -u 198.51.100.190:9998 -r 192.0.2.1:9999 -m -w 1"),
            "-a -u [2001:db8:c6:64::be]:9998 -r [2001:db8:c0:2::1]:9999 -m -w 1"
        );
        assert_eq!(over_ipv6("-A -f 2 -s rr"), "-A -f 2 -s rr -6");
        assert_eq!(over_ipv6("-A -u 192.0.2.1:1 -s rr").split(' ').count(), 5);
    }
}
