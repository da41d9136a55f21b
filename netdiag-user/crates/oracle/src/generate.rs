//! Worlds by chance: a network that works, then a few changes to it of the kinds that people and
//! their programs make, whether they make sense or not.
use std::net::Ipv4Addr;

use fastrand::Rng;

use crate::{
    command::Command,
    names::{BRIDGE, SPACES, TABLES, device, mac},
    plan::{Kind, Net, Plan, address, own},
    six, tunnels,
    witness::PORTS,
};

/// A world's lines, for either family.
pub fn world(rng: &mut Rng, ipv6: bool) -> Vec<Command> {
    let plan = Plan::new(rng);
    let mut lines = base(rng, &plan);
    for _ in 0..rng.usize(2..13) {
        change(rng, &plan, &mut lines);
    }
    for _ in 0..rng.usize(0..4) {
        bridge(rng, &plan, &mut lines);
    }
    for _ in 0..rng.usize(0..3) {
        tunnels::change(rng, &plan, &mut lines);
    }
    match ipv6 {
        true => six::lines(&lines),
        false => lines,
    }
}

fn base(rng: &mut Rng, plan: &Plan) -> Vec<Command> {
    let mut lines = Vec::new();
    for (hub, ports) in plan.nets.iter().filter_map(Net::ports) {
        for to in ports {
            let words = format!("link set {} master {BRIDGE}", device(to));
            lines.push(Command::ip(hub, words));
        }
        lines.push(Command::ip(hub, format!("link set {BRIDGE} up")));
    }
    for space in 0..SPACES {
        lines.push(Command::ip(space, "link set lo up"));
        lines.push(Command::ip(
            space,
            format!("addr add {}/32 dev lo", own(space)),
        ));
        for net in plan
            .of(space)
            .filter(|net| plan.nets[*net].kind != Kind::Tunnel)
        {
            let (dev, address) = (plan.device(net, space), address(net, space));
            lines.push(Command::ip(
                space,
                format!("addr add {address}/24 dev {dev}"),
            ));
        }
    }
    if let Some((net, tunnel)) = plan.tunnel() {
        lines.extend(tunnels::made(rng, net, tunnel));
        lines.extend(tunnels::led_into(plan, tunnel));
    }
    // As a routing daemon makes them.
    let objects = rng.u8(0..6) == 0;
    for space in 0..SPACES {
        for to in (0..SPACES).filter(|to| *to != space) {
            let Some((net, next)) = plan.towards(space, to) else {
                continue;
            };
            let via = address(net, next);
            let words = match objects {
                true => {
                    let (id, dev) = (2001 + to, plan.device(net, space));
                    let words = format!("nexthop add id {id} via {via} dev {dev}");
                    lines.push(Command::ip(space, words));
                    format!("route add {}/32 nhid {id}", own(to))
                }
                false => format!("route add {}/32 via {via}", own(to)),
            };
            lines.push(Command::ip(space, words));
            for far in plan
                .of(to)
                .filter(|net| plan.nets[*net].kind != Kind::Tunnel)
            {
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
        4..=7 => {
            let net = rng.usize(0..plan.nets.len());
            let member = rng.choice(plan.nets[net].members.iter());
            address(net, member.copied().unwrap_or(space))
        }
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
        Some((net, _)) if rng.u8(0..8) > 0 => plan.device(net, space),
        _ => "lo".into(),
    }
}

/// Somebody's address at the other end of one of its links, now and then one that is not there.
fn any_gateway(rng: &mut Rng, plan: &Plan, space: usize) -> Option<(Ipv4Addr, String)> {
    let (net, other) = any_neighbour(rng, plan, space)?;
    let gateway = match rng.u8(0..8) {
        0 => Ipv4Addr::new(10, net as u8 + 1, 0, 99),
        _ => address(net, other),
    };
    Some((gateway, plan.device(net, space)))
}

pub fn table(rng: &mut Rng) -> u32 {
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

pub fn in_table(rng: &mut Rng, plan: &Plan, space: usize, place: &str, lines: &mut Vec<Command>) {
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
    let objects = rng.bool();
    for _ in 0..rng.usize(2..4) {
        if let Some((via, dev)) = any_gateway(rng, plan, space) {
            let weight = rng.u8(1..4);
            hops.push((format!("via {via} dev {dev}"), weight));
        }
    }
    let hops = match objects {
        true => by_object(rng, space, &hops, lines),
        false => {
            let each = hops.iter();
            let each = each.map(|(hop, weight)| format!("nexthop {hop} weight {weight}"));
            each.collect::<Vec<_>>().join(" ")
        }
    };
    let place = if rng.bool() {
        format!(" table {}", table(rng))
    } else {
        String::new()
    };
    let words = format!("route add {to} metric {}{place} {hops}", rng.u8(1..40));
    lines.push(Command::ip(space, words));
}

/// As objects of their own (ip-nexthop(8)), which FRR makes; now and then the kernel tells no more of them than the number.
fn by_object(
    rng: &mut Rng,
    space: usize,
    hops: &[(String, u8)],
    lines: &mut Vec<Command>,
) -> String {
    let first = rng.u32(1..200) * 10;
    if rng.u8(0..8) == 0 {
        lines.push(Command::ip(
            space,
            format!("nexthop add id {first} blackhole"),
        ));
        return format!("nhid {first}");
    }
    if rng.u8(0..3) == 0 {
        lines.push(Command::sysctl(space, "ipv4/nexthop_compat_mode", 0));
    }
    let mut members = Vec::new();
    for (id, (hop, weight)) in (first..).zip(hops) {
        lines.push(Command::ip(space, format!("nexthop add id {id} {hop}")));
        members.push(format!("{id},{weight}"));
    }
    if rng.u8(0..3) == 0 {
        return format!("nhid {first}");
    }
    let group = first + 9;
    let members = members.join("/");
    lines.push(Command::ip(
        space,
        format!("nexthop add id {group} group {members}"),
    ));
    format!("nhid {group}")
}

/// Several lines that mean something together.
fn scene(rng: &mut Rng, plan: &Plan, space: usize, lines: &mut Vec<Command>) {
    let Some((net, other)) = any_neighbour(rng, plan, space) else {
        return;
    };
    let (dev, via) = (plan.device(net, space), address(net, other));
    let first = rng.u32(1..30) * 10;
    match rng.u8(0..8) {
        // Rules before the addresses of this host, as some VPNs want it.
        5 => {
            let (before, table) = (rng.u32(1..30) * 10, table(rng));
            for words in [
                format!("rule add pref {} lookup local", before + 5),
                "rule del pref 0".to_owned(),
                format!("rule add pref {before} lookup {table}"),
            ] {
                lines.push(Command::ip(space, words));
            }
            for _ in 0..2 {
                in_table(rng, plan, space, &format!(" table {table}"), lines);
            }
        }
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
            let words = format!("neigh add proxy {far} dev {}", plan.device(net, other));
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
        // Two uplinks: one for all, and one for a source or a mark.
        _ => {
            let (from, table) = (address(net, space), table(rng));
            let mut all = vec![
                match rng.bool() {
                    true => format!("rule add pref {first} from {from} lookup {table}"),
                    false => format!("rule add pref {first} fwmark 0x1/0x1 lookup {table}"),
                },
                format!("route add default via {via} dev {dev} table {table}"),
            ];
            let other = plan.neighbours(space).find(|(other, _)| *other != net);
            if let Some((other, next)) = other {
                let (via, dev) = (address(other, next), plan.device(other, space));
                all.push(format!("route add default via {via} dev {dev} metric 800"));
            }
            lines.extend(all.into_iter().map(|words| Command::ip(space, words)));
            let strict = rng.u8(1..3);
            lines.push(Command::sysctl(space, "ipv4/conf/all/rp_filter", strict));
        }
    }
}

fn setting(rng: &mut Rng, plan: &Plan, space: usize, lines: &mut Vec<Command>) {
    let place = match rng.u8(0..3) {
        0 => "all".into(),
        _ => any_device(rng, plan, space),
    };
    let (name, value) = match rng.u8(0..20) {
        0..=4 => ("rp_filter", rng.u8(0..3)),
        5 => ("src_valid_mark", 1),
        6 | 17 => ("accept_local", 1),
        7 | 18 | 19 => ("forwarding", 0),
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

/// A port's flags, an entry of a bridge's table.
fn bridge(rng: &mut Rng, plan: &Plan, lines: &mut Vec<Command>) {
    let Some((hub, ports)) = plan.nets.iter().find_map(Net::ports) else {
        return;
    };
    let Some(to) = rng.choice(ports.iter().copied()) else {
        return;
    };
    let port = device(to);
    let switch = |name: &str, value: &str| format!("link set dev {port} {name} {value}");
    let words = match rng.u8(0..14) {
        0..=3 => {
            // One isolated port alone stops nobody.
            for to in &ports {
                let words = format!("link set dev {} isolated on", device(*to));
                lines.push(Command::bridge(hub, words));
            }
            return;
        }
        4 => switch("hairpin", "on"),
        5 => switch("flood", "off"),
        6 => switch("mcast_flood", "off"),
        7 => switch("bcast_flood", "off"),
        8 => switch("learning", "off"),
        9 => switch("locked", "on"),
        10 => switch("state", ["0", "1", "2", "4"][rng.usize(0..4)]),
        // Somebody's address behind another port, or the bridge's.
        _ => {
            let of = rng.choice(ports.iter().copied()).unwrap_or(to);
            let kind = ["static", "static sticky", "local", "dynamic"][rng.usize(0..4)];
            format!("fdb replace {} dev {port} master {kind}", mac(of, hub))
        }
    };
    lines.push(Command::bridge(hub, words));
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
