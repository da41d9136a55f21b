//! Worlds by chance: a network that works, then a few changes to it of the kinds that people and
//! their programs make, whether they make sense or not.
use std::net::{IpAddr, Ipv4Addr};

use fastrand::Rng;
use netdiag_model::world::World;

use crate::{
    command::Command,
    set::{SPACES, Set, TABLES, device},
    six,
    traffic::Shot,
    witness::PORTS,
};

/// Which pairs are in use, and their networks.
struct Plan {
    pairs: Vec<(usize, usize)>,
}

/// The address of a namespace on a pair: 10.PAIR.0.SPACE+1.
fn address(pair: usize, space: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, pair as u8 + 1, 0, space as u8 + 1)
}

/// One that a namespace has beside those of its links.
fn own(space: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, space as u8 + 1)
}

impl Plan {
    fn new(rng: &mut Rng) -> Self {
        let all = (0..SPACES).flat_map(|a| ((a + 1)..SPACES).map(move |b| (a, b)));
        let mut pairs: Vec<_> = all.collect();
        rng.shuffle(&mut pairs);
        // Enough for every namespace to be reached, and often more than one way.
        pairs.truncate(rng.usize(SPACES - 1..=SPACES + 1));
        Self { pairs }
    }

    fn neighbours(&self, space: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.pairs
            .iter()
            .enumerate()
            .filter_map(move |(at, (a, b))| match space {
                s if s == *a => Some((at, *b)),
                s if s == *b => Some((at, *a)),
                _ => None,
            })
    }

    /// The first step from one namespace to another: the pair, and who is at its other end.
    fn towards(&self, from: usize, to: usize) -> Option<(usize, usize)> {
        let mut seen = vec![from];
        let mut queue: std::collections::VecDeque<_> =
            self.neighbours(from).map(|step| (step, step)).collect();
        while let Some((first, (pair, space))) = queue.pop_front() {
            let _ = pair;
            if space == to {
                return Some(first);
            }
            if seen.contains(&space) {
                continue;
            }
            seen.push(space);
            queue.extend(self.neighbours(space).map(|next| (first, next)));
        }
        None
    }
}

/// A world's lines, for either family.
pub fn world(rng: &mut Rng, ipv6: bool) -> Vec<Command> {
    let plan = Plan::new(rng);
    let mut lines = base(&plan);
    for _ in 0..rng.usize(0..11) {
        change(rng, &plan, &mut lines);
    }
    match ipv6 {
        true => six::lines(&lines),
        false => lines,
    }
}

fn base(plan: &Plan) -> Vec<Command> {
    let mut lines = Vec::new();
    for space in 0..SPACES {
        lines.push(Command::ip(space, "link set lo up"));
        lines.push(Command::ip(
            space,
            format!("addr add {}/32 dev lo", own(space)),
        ));
        for (pair, other) in plan.neighbours(space) {
            let (dev, address) = (device(other), address(pair, space));
            lines.push(Command::ip(
                space,
                format!("addr add {address}/24 dev {dev}"),
            ));
        }
    }
    for space in 0..SPACES {
        for to in (0..SPACES).filter(|to| *to != space) {
            let Some((pair, next)) = plan.towards(space, to) else {
                continue;
            };
            let via = address(pair, next);
            lines.push(Command::ip(
                space,
                format!("route add {}/32 via {via}", own(to)),
            ));
            for (far, _) in plan.neighbours(to) {
                let net = Ipv4Addr::new(10, far as u8 + 1, 0, 0);
                // The kernel refuses those that are on its own links.
                lines.push(Command::ip(
                    space,
                    format!("route add {net}/24 via {via} metric 50"),
                ));
            }
        }
    }
    lines
}

fn change(rng: &mut Rng, plan: &Plan, lines: &mut Vec<Command>) {
    let space = rng.usize(0..SPACES);
    match rng.u8(0..15) {
        12..=14 => scene(rng, plan, space, lines),
        0..=2 => rule(rng, plan, space, lines),
        3..=4 => route(rng, plan, space, lines),
        5..=7 => setting(rng, plan, space, lines),
        8 => link(rng, plan, space, lines),
        9 => neighbour(rng, plan, space, lines),
        10 => addresses(rng, plan, space, lines),
        _ => many(rng, plan, space, lines),
    }
}

fn any_address(rng: &mut Rng, plan: &Plan) -> Ipv4Addr {
    let space = rng.usize(0..SPACES);
    match rng.u8(0..10) {
        0..=3 => own(space),
        4..=7 => match rng.choice(plan.pairs.iter().enumerate()) {
            Some((pair, (a, b))) => address(pair, if rng.bool() { *a } else { *b }),
            None => own(space),
        },
        // In a network that is there, and nobody's.
        8 => Ipv4Addr::new(10, rng.u8(1..5), 0, rng.u8(100..104)),
        _ => Ipv4Addr::new(203, 0, 113, rng.u8(1..4)),
    }
}

fn any_prefix(rng: &mut Rng, plan: &Plan) -> String {
    let length = *rng.choice([0, 8, 16, 24, 24, 32, 32].iter()).unwrap_or(&32);
    let address = u32::from(any_address(rng, plan));
    let mask = match length {
        0 => 0,
        length => u32::MAX << (32 - length),
    };
    format!("{}/{length}", Ipv4Addr::from(address & mask))
}

fn any_neighbour(rng: &mut Rng, plan: &Plan, space: usize) -> Option<(usize, usize)> {
    let all: Vec<_> = plan.neighbours(space).collect();
    rng.choice(all)
}

fn any_device(rng: &mut Rng, plan: &Plan, space: usize) -> String {
    match any_neighbour(rng, plan, space) {
        Some((_, other)) if rng.u8(0..8) > 0 => device(other),
        _ => "lo".into(),
    }
}

/// Somebody's address at the other end of one of its links, now and then one that is not there.
fn any_gateway(rng: &mut Rng, plan: &Plan, space: usize) -> Option<(Ipv4Addr, String)> {
    let (pair, other) = any_neighbour(rng, plan, space)?;
    let gateway = match rng.u8(0..8) {
        0 => Ipv4Addr::new(10, pair as u8 + 1, 0, 99),
        _ => address(pair, other),
    };
    Some((gateway, device(other)))
}

fn table(rng: &mut Rng) -> u32 {
    TABLES[rng.usize(0..TABLES.len())]
}

fn rule(rng: &mut Rng, plan: &Plan, space: usize, lines: &mut Vec<Command>) {
    let priority = rng.u32(1..40) * 10;
    let mut words = vec![format!("rule add pref {priority}")];
    if rng.u8(0..10) == 0 {
        words.push("not".into());
    }
    for _ in 0..rng.usize(1..3) {
        words.push(match rng.u8(0..9) {
            0 => format!("from {}", any_prefix(rng, plan)),
            1 => format!("to {}", any_prefix(rng, plan)),
            2 => format!("iif {}", any_device(rng, plan, space)),
            3 => format!("oif {}", any_device(rng, plan, space)),
            4 => format!("fwmark {:#x}/{:#x}", rng.u32(0..4), rng.u32(1..4)),
            5 => "tos 0x10".into(),
            6 => format!("ipproto {}", if rng.bool() { "udp" } else { "tcp" }),
            7 => format!("dport {}", PORTS[rng.usize(0..PORTS.len())]),
            _ => ["uidrange 0-99", "uidrange 1000-1999"][rng.usize(0..2)].into(),
        });
    }
    words.push(match rng.u8(0..12) {
        0 => "prohibit".into(),
        1 => "blackhole".into(),
        2 => "unreachable".into(),
        3 => format!("goto {}", priority + rng.u32(1..10) * 10),
        4 => "nop".into(),
        5 => format!(
            "lookup main suppress_prefixlength {}",
            [0, 8, 24, 31][rng.usize(0..4)]
        ),
        6 => format!("lookup {} suppress_prefixlength 0", table(rng)),
        _ => format!("lookup {}", table(rng)),
    });
    lines.push(Command::ip(space, words.join(" ")));
    for _ in 0..rng.usize(0..3) {
        let place = format!(" table {}", table(rng));
        in_table(rng, plan, space, &place, lines);
    }
}

fn in_table(rng: &mut Rng, plan: &Plan, space: usize, place: &str, lines: &mut Vec<Command>) {
    let to = any_prefix(rng, plan);
    let metric = rng.u32(1..100);
    let extra = match rng.u8(0..8) {
        0 => " mtu 1300",
        1 => " mtu lock 1350",
        2 => " tos 0x10",
        _ => "",
    };
    let words = match rng.u8(0..10) {
        0 => format!("route add blackhole {to} metric {metric}{place}"),
        1 => format!("route add unreachable {to} metric {metric}{place}"),
        2 => format!("route add prohibit {to} metric {metric}{place}"),
        3 => format!("route add throw {to} metric {metric}{place}"),
        4 => {
            let dev = any_device(rng, plan, space);
            format!("route add {to} dev {dev} metric {metric}{extra}{place}")
        }
        _ => match any_gateway(rng, plan, space) {
            Some((via, dev)) => {
                let onlink = if rng.u8(0..6) == 0 { " onlink" } else { "" };
                format!("route add {to} via {via} dev {dev}{onlink} metric {metric}{extra}{place}")
            }
            None => return,
        },
    };
    lines.push(Command::ip(space, words));
}

fn route(rng: &mut Rng, plan: &Plan, space: usize, lines: &mut Vec<Command>) {
    match rng.u8(0..8) {
        0 => {
            let to = any_prefix(rng, plan);
            lines.push(Command::ip(space, format!("route add local {to} dev lo")));
        }
        1 => lines.push(Command::ip(
            space,
            format!("route del {}", any_prefix(rng, plan)),
        )),
        _ => in_table(rng, plan, space, "", lines),
    }
}

fn many(rng: &mut Rng, plan: &Plan, space: usize, lines: &mut Vec<Command>) {
    let to = any_prefix(rng, plan);
    let mut hops = Vec::new();
    for _ in 0..rng.usize(2..4) {
        if let Some((via, dev)) = any_gateway(rng, plan, space) {
            let weight = rng.u8(1..4);
            hops.push(format!("nexthop via {via} dev {dev} weight {weight}"));
        }
    }
    let place = if rng.bool() {
        format!(" table {}", table(rng))
    } else {
        String::new()
    };
    let words = format!(
        "route add {to} metric {}{place} {}",
        rng.u8(1..40),
        hops.join(" ")
    );
    lines.push(Command::ip(space, words));
}

/// Several lines that mean something together.
fn scene(rng: &mut Rng, plan: &Plan, space: usize, lines: &mut Vec<Command>) {
    let Some((pair, other)) = any_neighbour(rng, plan, space) else {
        return;
    };
    let (dev, via) = (device(other), address(pair, other));
    let first = rng.u32(1..30) * 10;
    match rng.u8(0..5) {
        // A VPN's: its own table for what main has no route for but the default.
        0 => {
            let length = [0, 8, 24][rng.usize(0..3)];
            let table = table(rng);
            for words in [
                format!("route add default via {via} dev {dev} metric 900"),
                format!("rule add pref {first} lookup main suppress_prefixlength {length}"),
                format!("rule add pref {} lookup {table}", first + 5),
            ] {
                lines.push(Command::ip(space, words));
            }
            in_table(rng, plan, space, &format!(" table {table}"), lines);
        }
        // One that jumps over another.
        1 => {
            let no = ["prohibit", "blackhole", "unreachable"][rng.usize(0..3)];
            let to = any_prefix(rng, plan);
            for words in [
                format!("rule add pref {first} to {to} goto {}", first + 20),
                format!("rule add pref {} {no}", first + 10),
                format!("rule add pref {} nop", first + 20),
            ] {
                lines.push(Command::ip(space, words));
            }
        }
        // Another host's address, asked for on this link: some answer for it.
        2 => {
            let third = (0..SPACES).filter(|at| ![space, other].contains(at));
            let third: Vec<_> = third.collect();
            let far = own(rng.choice(third).unwrap_or(space));
            lines.push(Command::ip(
                space,
                format!("route replace {far}/32 dev {dev}"),
            ));
            let words = format!("neigh add proxy {far} dev {}", device(space));
            lines.push(Command::ip(other, words));
            let pvlan = "ipv4/conf/all/proxy_arp_pvlan";
            lines.push(Command::sysctl(other, pvlan, rng.u8(0..2)));
        }
        // A neighbour's address that is not of the link between.
        3 => {
            let own = own(other);
            let words = format!(
                "route add {} via {own} dev {dev} onlink",
                any_prefix(rng, plan)
            );
            lines.push(Command::ip(space, words));
            let value = rng.u8(0..4);
            lines.push(Command::sysctl(other, "ipv4/conf/all/arp_ignore", value));
        }
        // Two uplinks, each with its table.
        _ => {
            let (from, table) = (address(pair, space), table(rng));
            for words in [
                format!("rule add pref {first} from {from} lookup {table}"),
                format!("route add default via {via} dev {dev} table {table}"),
            ] {
                lines.push(Command::ip(space, words));
            }
            lines.push(Command::sysctl(
                space,
                "ipv4/conf/all/rp_filter",
                rng.u8(1..3),
            ));
        }
    }
}

fn setting(rng: &mut Rng, plan: &Plan, space: usize, lines: &mut Vec<Command>) {
    let place = match rng.u8(0..3) {
        0 => "all".into(),
        _ => any_device(rng, plan, space),
    };
    let (name, value) = match rng.u8(0..18) {
        0..=4 => ("rp_filter", rng.u8(0..3)),
        5 => ("src_valid_mark", 1),
        6 | 17 => ("accept_local", 1),
        7 => ("forwarding", 0),
        8 | 16 => ("route_localnet", 1),
        9 => ("arp_ignore", rng.u8(0..4)),
        10 => ("arp_announce", rng.u8(0..3)),
        12 => ("ignore_routes_with_linkdown", 1),
        11 | 14 | 15 => ("proxy_arp", 1),
        _ => ("send_redirects", 1),
    };
    lines.push(Command::sysctl(
        space,
        format!("ipv4/conf/{place}/{name}"),
        value,
    ));
}

fn link(rng: &mut Rng, plan: &Plan, space: usize, lines: &mut Vec<Command>) {
    let name = any_device(rng, plan, space);
    // The kernel takes up to a second to tell the other end.
    let words = match rng.u8(0..12) {
        0 => format!("link set {name} down"),
        _ => format!(
            "link set {name} mtu {}",
            [1280, 1380, 1400, 1496][rng.usize(0..4)]
        ),
    };
    lines.push(Command::ip(space, words));
}

fn neighbour(rng: &mut Rng, plan: &Plan, space: usize, lines: &mut Vec<Command>) {
    let Some((address, dev)) = any_gateway(rng, plan, space) else {
        return;
    };
    let words = match rng.u8(0..3) {
        0 => format!("neigh add {address} dev {dev} lladdr 02:00:00:00:00:99 nud permanent"),
        1 => format!("neigh add proxy {} dev {dev}", any_address(rng, plan)),
        _ => format!("neigh add {address} dev {dev} nud failed"),
    };
    lines.push(Command::ip(space, words));
}

fn addresses(rng: &mut Rng, plan: &Plan, space: usize, lines: &mut Vec<Command>) {
    let dev = any_device(rng, plan, space);
    let words = match rng.u8(0..4) {
        0 => format!("addr flush dev {dev}"),
        1 => format!("addr add {}/32 dev {dev}", any_address(rng, plan)),
        2 => format!("addr add {}/24 dev {dev}", any_address(rng, plan)),
        _ => format!("addr add {}/32 dev lo scope host", any_address(rng, plan)),
    };
    lines.push(Command::ip(space, words));
}

/// Packets for a world as it was read.
pub fn shots(rng: &mut Rng, set: &Set, world: &World, (ipv6, count): (bool, usize)) -> Vec<Shot> {
    let family = |v4: Ipv4Addr| match ipv6 {
        true => six::address(v4).into(),
        false => IpAddr::V4(v4),
    };
    let own = |space: usize| -> Vec<IpAddr> {
        let stack = world.stacks.get(&set.inode(space));
        let all = stack
            .and_then(|stack| stack.addresses.some())
            .into_iter()
            .flatten();
        all.map(|a| a.own.address)
            .filter(|address| address.is_ipv6() == ipv6 && !is_link_local(*address))
            .collect()
    };
    let every: Vec<IpAddr> = (0..SPACES).flat_map(own).collect();
    let destination = |rng: &mut Rng| -> IpAddr {
        match rng.u8(0..12) {
            0 => family(Ipv4Addr::new(203, 0, 113, rng.u8(1..4))),
            1 => family(Ipv4Addr::new(10, rng.u8(1..7), 0, rng.u8(99..104))),
            _ => rng
                .choice(every.iter())
                .copied()
                .unwrap_or(family(Ipv4Addr::LOCALHOST)),
        }
    };
    let mut shots = Vec::new();
    for number in 0..count {
        let space = rng.usize(0..SPACES);
        let mut shot = Shot {
            space,
            source: None,
            destination: destination(rng),
            sport: 20_000 + number as u16,
            dport: PORTS[rng.usize(0..PORTS.len())],
            mark: if rng.u8(0..3) == 0 { rng.u32(1..4) } else { 0 },
            tos: [0, 0, 0, 0x10, 0x08][rng.usize(0..5)],
            ttl: [64, 64, 64, 64, 1, 2, 3][rng.usize(0..7)],
            size: [80, 80, 200, 1290, 1340, 1390, 1450, 1500][rng.usize(0..8)],
            bound: None,
            wire: None,
        };
        let mine = own(space);
        if rng.u8(0..3) == 0 {
            shot.source = rng.choice(mine.iter()).copied();
        }
        let others: Vec<usize> = (0..SPACES).filter(|to| *to != space).collect();
        match rng.u8(0..8) {
            0 => shot.bound = rng.choice(others.iter()).copied(),
            // Somebody's source, or nobody's.
            1..=2 => {
                shot.wire = rng.choice(others.iter()).copied();
                shot.source = Some(match rng.u8(0..4) {
                    0 => family(Ipv4Addr::new(203, 0, 113, rng.u8(1..4))),
                    1 => family(Ipv4Addr::LOCALHOST),
                    _ => rng
                        .choice(every.iter())
                        .copied()
                        .unwrap_or(family(Ipv4Addr::LOCALHOST)),
                });
            }
            _ => {}
        }
        shots.push(shot);
    }
    shots
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
