//! Rules of nf_tables in worlds: base chains at all hooks, chains that these lead to, sets and maps.
mod mistakes;
mod translations;

use std::net::{IpAddr, Ipv4Addr};

use fastrand::Rng;

use crate::{
    command::Command,
    iptables,
    names::{BRIDGE, SPACES, TUNNEL, device},
    plan::{behind, own},
    six,
    sysctls::PAST_NETFILTER,
    witness::PORTS,
    writers::Writer,
};

pub use mistakes::MISTAKES;

const HOOKS: [&str; 5] = ["prerouting", "input", "forward", "output", "postrouting"];
const PRIORITIES: [i32; 6] = [-300, -150, -10, 0, 0, 10];
/// Ours alone are counted: no tunnel's packets, nor what the kernel asks and tells by itself.
const OURS: &str = "udp dport != { 8472, 51820 }";
/// By which a rule is known that counts ours alone.
pub const TUNNELS_PORT: &str = "8472";

/// Those of a world that is made by such lines, of either family; with those of one who writes his own in one namespace.
pub fn made(
    rng: &mut Rng,
    (before, ipv6): (&[Command], bool),
    writer: Option<&Writer>,
) -> Vec<Command> {
    let mut lines = Vec::new();
    let theirs = rng.usize(0..SPACES);
    for space in 0..SPACES {
        lines.extend(at_bridges(rng, space, ipv6));
        let writer = writer.filter(|_| space == theirs);
        if let Some(writer) = writer {
            lines.extend(writer.made(rng, (space, ipv6), before));
        }
        if writer.is_none() && rng.u8(0..3) == 0 {
            lines.extend(iptables::made(rng, space, ipv6));
        }
        for _ in 0..rng.usize(0..3) {
            table(rng, space, ipv6, &mut lines);
        }
    }
    lines
}

/// What a bridge carries is asked about, too, as Kubernetes wants it.
fn at_bridges(rng: &mut Rng, space: usize, ipv6: bool) -> Option<Command> {
    let [four, six] = PAST_NETFILTER;
    let tables = if ipv6 {
        "nf_call_ip6tables"
    } else {
        "nf_call_iptables"
    };
    match rng.u8(0..6) {
        0..=2 => Some(Command::sysctl(space, if ipv6 { six } else { four }, 1)),
        3 => {
            let words = format!("link set {BRIDGE} type bridge {tables} 1");
            Some(Command::ip(space, words))
        }
        _ => None,
    }
}

pub struct Table {
    family: &'static str,
    name: String,
    pub ipv6: bool,
}

impl Table {
    /// Of a family, by no name.
    pub fn of(ipv6: bool) -> Self {
        let family = if ipv6 { "ip6" } else { "ip" };
        let name = String::new();
        Self { family, name, ipv6 }
    }

    fn place(&self) -> String {
        format!("{} {}", self.family, self.name)
    }

    /// The header's word.
    fn ip(&self) -> &'static str {
        if self.ipv6 { "ip6" } else { "ip" }
    }

    fn kind(&self) -> &'static str {
        if self.ipv6 { "ipv6_addr" } else { "ipv4_addr" }
    }

    fn address(&self, v4: Ipv4Addr) -> IpAddr {
        match self.ipv6 {
            true => six::address(v4).into(),
            false => v4.into(),
        }
    }

    pub fn any(&self, rng: &mut Rng) -> IpAddr {
        let space = rng.usize(0..SPACES);
        self.address(match rng.u8(0..6) {
            0..=1 => own(space),
            2 => behind(space),
            3 => Ipv4Addr::new(203, 0, 113, rng.u8(1..4)),
            _ => Ipv4Addr::new(10, rng.u8(1..6), 0, space as u8 + 1),
        })
    }

    pub fn prefix(&self, rng: &mut Rng) -> String {
        let (length, mask) = if self.ipv6 {
            *rng.choice(&[(32, 96), (48, 80), (64, 64)])
                .unwrap_or(&(64, 64))
        } else {
            *rng.choice(&[(8, 24), (16, 16), (24, 8)])
                .unwrap_or(&(24, 8))
        };
        let network: IpAddr = match self.any(rng) {
            IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) >> mask << mask).into(),
            IpAddr::V6(v6) => std::net::Ipv6Addr::from(u128::from(v6) >> mask << mask).into(),
        };
        format!("{network}/{length}")
    }

    /// Of addresses, for `-m iprange`.
    pub fn range(&self, rng: &mut Rng) -> String {
        let side = if rng.bool() { "src" } else { "dst" };
        let (one, other) = (self.any(rng), self.any(rng));
        format!("{side}-range {}-{}", one.min(other), one.max(other))
    }

    /// How many may be left, for `-m ttl` or `-m hl`.
    pub fn hops(&self, rng: &mut Rng) -> String {
        let name = if self.ipv6 { "hl" } else { "ttl" };
        let how = ["lt", "gt", "eq"][rng.usize(0..3)];
        format!("-m {name} --{name}-{how} {}", rng.u8(13..18))
    }
}

fn table(rng: &mut Rng, space: usize, ipv6: bool, lines: &mut Vec<Command>) {
    let own = if ipv6 { "ip6" } else { "ip" };
    let family = if rng.bool() { "inet" } else { own };
    let table = Table {
        family,
        name: format!("t{}", rng.u8(0..4)),
        ipv6,
    };
    let place = table.place();
    let mut add = |words: String| lines.push(Command::nft(space, words));
    add(format!("add table {place}"));
    for words in sets(rng, &table) {
        add(words);
    }
    for name in ["c2", "c1"] {
        add(format!("add chain {place} {name}"));
        // The second leads nowhere, the first to the second at most.
        let leads: &[&str] = if name == "c1" { &["c2"] } else { &[] };
        for _ in 0..rng.usize(0..3) {
            add(rule(rng, &table, name, leads));
        }
    }
    for number in 0..rng.usize(1..4) {
        let name = format!("b{number}");
        let hook = HOOKS[rng.usize(0..HOOKS.len())];
        let priority = PRIORITIES[rng.usize(0..PRIORITIES.len())];
        // Over IPv6 neighbours' questions are dropped, too.
        let policy = match rng.u8(0..if ipv6 { 12 } else { 6 }) {
            0 => "drop",
            _ => "accept",
        };
        add(format!(
            "add chain {place} {name} {{ type filter hook {hook} priority {priority}; policy {policy}; }}"
        ));
        for _ in 0..rng.usize(1..5) {
            add(rule(rng, &table, &name, &["c1", "c2"]));
        }
        if ipv6 && rng.u8(0..4) == 0 {
            let kind = ["solicit", "advert"][rng.usize(0..2)];
            let verdict = if rng.bool() { "accept" } else { "drop" };
            add(format!(
                "add rule {place} {name} icmpv6 type nd-neighbor-{kind} {verdict}"
            ));
        }
        if rng.u8(0..6) == 0 {
            let verdict = if rng.bool() { "drop" } else { "accept" };
            let errors = if ipv6 {
                "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded }"
            } else {
                "icmp type { destination-unreachable, time-exceeded }"
            };
            let state = ["related", "invalid"][rng.usize(0..2)];
            add(format!(
                "add rule {place} {name} {errors} ct state {state} {verdict}"
            ));
        }
        if hook == "prerouting" && rng.u8(0..4) == 0 {
            let mark = ["", " . mark"][rng.usize(0..2)];
            let missing = ["missing", "exists"][rng.usize(0..2)];
            let verdict = ["drop", "accept"][rng.usize(0..2)];
            add(format!(
                "add rule {place} {name} {OURS} fib saddr{mark} . iif oif {missing} counter {verdict}"
            ));
        }
        if ["prerouting", "output"].contains(&hook) && rng.bool() {
            let matched = matched(rng, &table);
            add(format!("add rule {place} {name} {matched} {OURS} notrack"));
            add(format!(
                "add chain {place} of{name} {{ type filter hook {hook} priority {}; }}",
                [-250, 20][rng.usize(0..2)]
            ));
            add(format!(
                "add rule {place} of{name} {OURS} ct state untracked counter"
            ));
        }
    }
    if rng.u8(0..3) == 0 {
        marked(rng, &table).into_iter().for_each(&mut add);
    }
    if rng.u8(0..3) > 0 {
        translations::made(rng, &table)
            .into_iter()
            .for_each(&mut add);
    }
    if rng.u8(0..10) == 0 {
        add(format!("add table {place} {{ flags dormant; }}"));
    }
}

/// Marks that a connection keeps, and ways that are asked for anew where a packet is marked.
fn marked(rng: &mut Rng, table: &Table) -> Vec<String> {
    let place = table.place();
    let first = ["prerouting", "output", "forward", "postrouting"][rng.usize(0..4)];
    let hook = ["prerouting", "output", "output"][rng.usize(0..3)];
    let kind = if hook == "output" { "route" } else { "filter" };
    let priority = [-150, -20, 30][rng.usize(0..3)];
    let (keeps, matched) = (rng.bool(), matched(rng, table));
    let mark = rng.u8(1..4);
    let mut words = vec![format!(
        "add chain {place} gives {{ type {kind} hook {hook} priority {priority}; }}"
    )];
    if keeps {
        words.extend([
            format!("add chain {place} keeps {{ type filter hook {first} priority -160; }}"),
            format!("add rule {place} keeps {matched} {OURS} counter ct mark set {mark}"),
            format!("add rule {place} gives {OURS} ct mark != 0 counter meta mark set ct mark"),
        ]);
    } else {
        words.push(format!(
            "add rule {place} gives {matched} {OURS} counter meta mark set {mark}"
        ));
    }
    words
}

/// One of each kind that rules ask.
fn sets(rng: &mut Rng, table: &Table) -> Vec<String> {
    let (place, kind) = (table.place(), table.kind());
    let mut any = || table.any(rng);
    let some: Vec<IpAddr> = (0..6).map(|_| any()).collect();
    let port = |at: usize| PORTS[at % PORTS.len()];
    let mut words = vec![
        format!(
            "add set {place} hosts {{ type {kind}; elements = {{ {}, {} }}; }}",
            some[0], some[1]
        ),
        format!(
            "add set {place} pairs {{ type {kind} . inet_service; elements = {{ {} . {}, {} . {} }}; }}",
            some[2],
            port(0),
            some[3],
            port(1)
        ),
        format!(
            "add map {place} marks {{ type {kind} : mark; elements = {{ {} : 1, {} : 2 }}; }}",
            some[4], some[5]
        ),
    ];
    let (from, to) = (table.prefix(rng), rng.u16(9990..9999));
    words.push(format!(
        "add set {place} nets {{ type {kind}; flags interval; auto-merge; elements = {{ {}, {from} }}; }}",
        table.prefix(rng)
    ));
    words.push(format!(
        "add set {place} ports {{ type inet_service; flags interval; elements = {{ {to}-9998, 20000-20005, 20011 }}; }}"
    ));
    let from = table.prefix(rng);
    words.push(format!(
        "add set {place} spans {{ type inet_service . {kind}; flags interval; elements = {{ {to}-9998 . {from}, 9999 . {} }}; }}",
        table.prefix(rng)
    ));
    words
}

fn rule(rng: &mut Rng, table: &Table, chain: &str, leads: &[&str]) -> String {
    let mut words = vec![format!("add rule {} {chain}", table.place())];
    let counted = rng.u8(0..4) > 0;
    for _ in 0..rng.usize(0..3) {
        words.push(matched(rng, table));
    }
    if counted || table.ipv6 {
        words.push(OURS.to_owned());
    }
    if counted {
        words.push("counter".to_owned());
    }
    match verdict(rng, table, leads) {
        Some(verdict) => words.push(verdict),
        // A rule that does nothing is none.
        None if words.len() == 1 => words.push("meta l4proto udp".to_owned()),
        None => {}
    }
    words.join(" ")
}

fn matched(rng: &mut Rng, table: &Table) -> String {
    let ip = table.ip();
    let not = if rng.u8(0..4) == 0 { "!= " } else { "" };
    let side = if rng.bool() { "saddr" } else { "daddr" };
    let port = PORTS[rng.usize(0..PORTS.len())];
    let link = match rng.u8(0..8) {
        0 => "lo".to_owned(),
        1 => BRIDGE.to_owned(),
        2 => TUNNEL.to_owned(),
        _ => device(rng.usize(0..SPACES)),
    };
    let way = if rng.bool() { "iifname" } else { "oifname" };
    match rng.u8(0..39) {
        0 => format!("{ip} {side} {not}{}", table.any(rng)),
        1..=2 => format!("{ip} {side} {not}{}", table.prefix(rng)),
        3 => format!("{ip} {side} {not}@hosts"),
        4..=5 => format!("{ip} {side} {not}@nets"),
        6 => format!("{ip} {side} . udp dport {not}@pairs"),
        7..=8 => format!("udp dport . {ip} {side} {not}@spans"),
        9 => format!("udp dport {not}{port}"),
        10 => format!("udp dport {not}@ports"),
        11 => format!("udp sport {not}@ports"),
        12 => format!("udp sport {not}20000-{}", rng.u16(20001..20020)),
        13 => format!("udp dport {not}{{ {port}, 1000-2000 }}"),
        14..=15 => format!("{way} {not}\"{link}\""),
        16 => format!("{way} \"e*\""),
        17 => {
            let is = if not.is_empty() { "==" } else { "!=" };
            format!("meta mark & 0x3 {is} {}", rng.u8(0..4))
        }
        18 => format!("meta mark {not}{}", rng.u8(0..3)),
        19 => match table.ipv6 {
            true => "ip6 hoplimit < 3".to_owned(),
            false => format!("ip ttl < {}", rng.u8(2..17)),
        },
        20 => format!("meta length {not}1000-1400"),
        21 => format!("meta l4proto {not}{{ tcp, udp }}"),
        22 => format!(
            "{ip} dscp {not}{}",
            ["cs0", "0x04", "0x02"][rng.usize(0..3)]
        ),
        23 => "udp length > 900".to_owned(),
        24 => format!("ct state {not}new"),
        25 => format!("ct state {not}established,related"),
        26 => "ct state invalid".to_owned(),
        27 => "ct state untracked".to_owned(),
        32 => format!(
            "fib {side} type {not}{}",
            [
                "local",
                "unicast",
                if table.ipv6 { "anycast" } else { "broadcast" }
            ][rng.usize(0..3)]
        ),
        29 => format!("ct status {}", ["dnat", "snat"][rng.usize(0..2)]),
        30 => format!("ct mark {not}{}", rng.u8(0..3)),
        31 => format!("ct reply {ip} {side} {}", table.prefix(rng)),
        33 => format!("numgen random mod 10 < {}", rng.u8(1..10)),
        34 => format!("jhash {ip} {side} . udp sport mod 3 {not}{}", rng.u8(0..3)),
        35..=37 => perhaps(rng, table),
        28 => format!(
            "ct direction {}",
            if rng.bool() { "reply" } else { "original" }
        ),
        _ => format!("ct original {ip} {side} {}", table.prefix(rng)),
    }
}

/// What nobody can tell from outside.
fn perhaps(rng: &mut Rng, table: &Table) -> String {
    let over = if rng.bool() { "over " } else { "" };
    match rng.u8(0..7) {
        0..=1 => format!("limit rate {over}1/minute burst {} packets", rng.u8(1..5)),
        2 => format!("quota {over}{} bytes", rng.u16(100..4000)),
        3 => format!("ct count {over}{}", rng.u8(1..4)),
        4 => "meta cpu 0".to_owned(),
        5 if !table.ipv6 => "ip id & 1 == 0".to_owned(),
        _ => "meta skuid 0".to_owned(),
    }
}

/// What is done with whom it takes; nothing now and then.
fn verdict(rng: &mut Rng, table: &Table, leads: &[&str]) -> Option<String> {
    let ip = table.ip();
    let to = rng.choice(leads.iter());
    let chosen = match (rng.u8(0..22), to) {
        (0..=1, _) => return None,
        (2, _) => "drop".to_owned(),
        (4..=5, _) => "accept".to_owned(),
        (6, _) => "return".to_owned(),
        (7..=8, Some(to)) => format!("jump {to}"),
        (9..=10, Some(to)) => format!("goto {to}"),
        (11, _) => "reject".to_owned(),
        (12, _) => match table.ipv6 {
            true => "reject with icmpv6 admin-prohibited".to_owned(),
            false => "reject with icmp host-prohibited".to_owned(),
        },
        (13, _) => format!("meta mark set {}", rng.u8(0..4)),
        (14, _) => "meta mark set meta mark | 1".to_owned(),
        (3, _) if rng.u8(0..2) == 0 => {
            let unseen = [
                "meta priority set 1:2",
                "meta nftrace set 1",
                "ct event set new",
            ];
            unseen[rng.usize(0..unseen.len())].to_owned()
        }
        (15, _) => format!("meta mark set {ip} saddr map @marks"),
        (16, Some(to)) => format!("udp dport vmap {{ 9998 : jump {to}, 9999 : return }}"),
        (17, Some(to)) => format!(
            "{ip} daddr vmap {{ {} : drop, {} : goto {to}{} }}",
            table.prefix(rng),
            table.any(rng),
            ["", ", * : accept"][rng.usize(0..2)]
        ),
        (20, Some(to)) => {
            format!("numgen random mod 3 vmap {{ 0 : drop, 1 : jump {to}, 2 : accept }}")
        }
        (21, _) => "meta mark set numgen inc mod 2 offset 1".to_owned(),
        (18, _) => "ct mark set meta mark".to_owned(),
        (19, _) => "meta mark set ct mark".to_owned(),
        _ => "accept".to_owned(),
    };
    Some(chosen)
}
