//! Rulesets of other programs: taken down once as these had written them or, of those that could not be had, written after
//! their sources, as the first line says; in worlds put where some links and networks of the world stand for theirs.
use std::{collections::BTreeMap, net::Ipv4Addr};

use fastrand::Rng;

use crate::{
    command::{Command, Line},
    kept, names, six,
};

pub struct Writer {
    pub name: &'static str,
    /// Who wrote it and what he was told in the first line, then lines of a world, in which `$LINK` is a link, `$LINK/4`
    /// and `$LINK/6` the networks behind it, `$LINK.N` and `$LINK:N` hosts there, of which `self` is its own.
    text: &'static str,
}

macro_rules! writers {
    ($($name:literal),* $(,)?) => {
        [$(Writer {
            name: $name,
            text: include_str!(concat!("../writers/", $name, ".txt")),
        }),*]
    };
}

pub const WRITERS: [Writer; 15] = writers![
    "docker",
    "fail2ban",
    "felix",
    "firewalld",
    "kindnet",
    "kube-proxy-iptables",
    "kube-proxy-ipvs",
    "kube-proxy-nftables",
    "kube-router",
    "libvirt",
    "lxc-net",
    "podman",
    "portmap",
    "shorewall",
    "ufw",
];

pub fn names() -> Vec<&'static str> {
    WRITERS.iter().map(|writer| writer.name).collect()
}

/// Hosts of a network, whose numbers there stand for any.
const HOSTS: u8 = 4;

/// Links of a namespace, each with the third part of its network's addresses, by the lines of its world.
struct Links {
    all: Vec<(String, u8)>,
    /// By the names of theirs.
    given: BTreeMap<String, (String, u8)>,
    space: usize,
}

impl Links {
    fn new(rng: &mut Rng, space: usize, lines: &[Command]) -> Self {
        let own = lines.iter().filter(|command| command.space == space);
        let mut all: Vec<_> = own.filter_map(network).collect();
        all.sort();
        all.dedup_by(|a, b| a.0 == b.0);
        rng.shuffle(&mut all);
        let given = BTreeMap::new();
        Self { all, given, space }
    }

    /// Which stands for that one of theirs.
    fn of(&mut self, rng: &mut Rng, theirs: &str) -> (String, u8) {
        if let Some(link) = self.given.get(theirs) {
            return link.clone();
        }
        // Where it has no more of them, one that nothing goes by.
        let link = self.all.pop();
        let link = link.unwrap_or_else(|| (names::BRIDGE.to_owned(), rng.u8(1..6)));
        self.given.insert(theirs.to_owned(), link.clone());
        link
    }
}

/// Of a line that gives a link its address: 10.NET.0.HOST, or the same of IPv6.
fn network(command: &Command) -> Option<(String, u8)> {
    let (Line::Ip(words) | Line::Ip6(words)) = &command.line else {
        return None;
    };
    let rest = words.strip_prefix("addr add ")?;
    let (address, device) = rest.split_once(" dev ")?;
    let (address, _) = address.split_once('/')?;
    let net = (1..10).find(|net| {
        let v4 = Ipv4Addr::new(10, *net, 0, 1);
        let v6 = six::address(v4).to_string();
        let known = [v4.to_string(), v6];
        known
            .iter()
            .any(|known| address.starts_with(&known[..known.len() - 1]))
    })?;
    let device = device.split(' ').next()?;
    Some((device.to_owned(), net))
}

impl Writer {
    pub fn called(name: &str) -> Option<&'static Self> {
        WRITERS.iter().find(|writer| writer.name == name)
    }

    pub fn any(rng: &mut Rng) -> &'static Self {
        &WRITERS[rng.usize(0..WRITERS.len())]
    }

    /// In a namespace of the world that these lines make.
    pub fn made(
        &self,
        rng: &mut Rng,
        (space, ipv6): (usize, bool),
        lines: &[Command],
    ) -> Vec<Command> {
        let mut links = Links::new(rng, space, lines);
        let legacy = rng.u8(0..3) == 0;
        let theirs = self.text.lines().skip(1);
        let placed = theirs.filter_map(|line| {
            let line = placed(rng, &mut links, line);
            let mut command = kept::command(&line).ok()?;
            command.space = space;
            if let Line::Iptables {
                legacy: by,
                ipv6: six,
                ..
            } = &mut command.line
            {
                *by = legacy;
                // Those of the other family's packets are nobody's.
                if *six != ipv6 {
                    return None;
                }
            }
            Some(command)
        });
        placed.collect()
    }
}

/// A line of theirs with what stands for their links.
fn placed(rng: &mut Rng, links: &mut Links, line: &str) -> String {
    let mut parts = line.split('$');
    let mut placed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric());
        let (name, rest) = part.split_at(end.unwrap_or(part.len()));
        let (device, net) = links.of(rng, name);
        let own = links.space as u8;
        let host = |text: &str| {
            if let Some(rest) = text.strip_prefix("self") {
                return Some((Ipv4Addr::new(10, net, 0, own + 1), rest.to_owned()));
            }
            let end = text.find(|c: char| !c.is_ascii_digit());
            let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
            let number: u8 = digits.parse().ok()?;
            let v4 = Ipv4Addr::new(10, net, 0, number % HOSTS + 1);
            Some((v4, rest.to_owned()))
        };
        let network = Ipv4Addr::new(10, net, 0, 0);
        let v4 = rest.strip_prefix('.').and_then(host);
        let v6 = rest.strip_prefix(':').and_then(host);
        let (word, rest) = match (v4, v6) {
            (Some((v4, rest)), _) => (v4.to_string(), rest),
            (_, Some((v4, rest))) => (six::address(v4).to_string(), rest),
            _ => match (rest.strip_prefix("/4"), rest.strip_prefix("/6")) {
                (Some(rest), _) => (format!("{network}/24"), rest.to_owned()),
                (_, Some(rest)) => (six::word(&format!("{network}/24")), rest.to_owned()),
                _ => (device, rest.to_owned()),
            },
        };
        placed += &word;
        placed += &rest;
    }
    placed
}

#[cfg(test)]
mod tests {
    use netdiag_host::stack::ruleset;
    use netdiag_model::world::Known;
    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::{counters, ipsets, iptables, names::SPACES};

    /// As [`network`] reads them back.
    fn lines(ipv6: bool) -> Vec<Command> {
        let lines = [
            Command::ip(1, "addr add 192.0.2.2/32 dev lo"),
            Command::ip(1, "addr add 10.2.0.2/24 dev e0"),
            Command::ip(1, "addr add 10.3.0.2/24 dev br0"),
        ];
        match ipv6 {
            true => six::lines(&lines),
            false => lines.to_vec(),
        }
    }

    #[test]
    fn links_of_the_world_stand_for_theirs() {
        for ipv6 in [false, true] {
            let rng = &mut Rng::with_seed(1);
            let mut links = Links::new(rng, 1, &lines(ipv6));
            links.all.sort();
            assert_eq!(links.all, [("br0".to_owned(), 3), ("e0".to_owned(), 2)]);
            let line = "-s $a/4 ! -o $a -d $b.5 [$b:6]:9 $a/6";
            let wanted = "-s 10.2.0.0/24 ! -o e0 -d 10.3.0.2 [fd10:3::3]:9 fd10:2::/64";
            assert_eq!(placed(rng, &mut links, line), wanted);
        }
    }

    /// Rules that the kernel has of one, in a namespace of its own.
    fn taken(writer: &Writer, ipv6: bool) -> usize {
        let lines = writer.made(&mut Rng::with_seed(3), (0, ipv6), &[]);
        let ipsets: Vec<String> = lines.iter().filter_map(ipset).collect();
        let rules: Vec<String> = lines.iter().filter_map(nft).collect();
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        ipsets::restore(&ipsets).expect("ipset");
        counters::rule(&rules).expect("nft");
        iptables::restore(&iptables::lines(lines.iter())).expect("iptables");
        match ruleset::read(counters::MOST) {
            Known::Is(ruleset) => {
                let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
                chains.map(|chain| chain.rules.len()).sum()
            }
            other => panic!("{other:?}"),
        }
    }

    fn ipset(command: &Command) -> Option<String> {
        match &command.line {
            Line::Ipset(words) => Some(words.clone()),
            _ => None,
        }
    }

    fn nft(command: &Command) -> Option<String> {
        match &command.line {
            Line::Nft(words) => Some(words.clone()),
            _ => None,
        }
    }

    #[test]
    fn the_kernel_takes_all_of_them() {
        let programs = ["ipset", "nft", "iptables-nft", "iptables-legacy"];
        if netdiag_tests::require::missing(&programs) {
            return;
        }
        for writer in &WRITERS {
            for ipv6 in [false, true] {
                let lines = writer.made(&mut Rng::with_seed(3), (0, ipv6), &[]);
                let adds = |command: &&Command| match &command.line {
                    Line::Nft(words) => words.starts_with("add rule "),
                    Line::Iptables { words, .. } => words.starts_with("-A "),
                    _ => false,
                };
                let given = lines.iter().filter(adds).count();
                let read = std::thread::spawn(move || taken(writer, ipv6));
                let read = read.join().expect("no panic");
                assert_eq!(read, given, "{} {ipv6}", writer.name);
            }
        }
    }

    #[test]
    fn all_that_they_wrote_is_a_line_of_a_world() {
        for writer in &WRITERS {
            let rng = &mut Rng::with_seed(2);
            let theirs = writer.text.lines().skip(1);
            let mut links = Links::new(rng, 0, &[]);
            for line in theirs {
                let line = placed(rng, &mut links, line);
                let read = kept::command(&line).expect(writer.name);
                assert_eq!(format!("  {read}"), line, "{}", writer.name);
            }
            for space in 0..SPACES {
                let (four, six) = ((space, false), (space, true));
                assert!(!writer.made(rng, four, &[]).is_empty(), "{}", writer.name);
                writer.made(rng, six, &[]);
            }
        }
    }
}
