//! Rules that iptables-nft writes into nf_tables, with matches and targets of its own, and those of iptables-legacy, which
//! has tables of its own.
use std::collections::BTreeMap;

use anyhow::Result;
use fastrand::Rng;

use crate::{
    batch,
    command::{Command, Line},
    filters::Table,
    ipsets,
    names::{SPACES, device},
    witness::PORTS,
};

/// Lines of an engine's and a family's tables, each in its order.
pub type Lines = BTreeMap<(bool, bool, String), Vec<String>>;

pub fn program(legacy: bool, ipv6: bool) -> String {
    let six = if ipv6 { "6" } else { "" };
    let engine = if legacy { "legacy" } else { "nft" };
    format!("ip{six}tables-{engine}")
}

pub fn lines<'a>(commands: impl Iterator<Item = &'a Command>) -> Lines {
    let mut lines = Lines::new();
    for command in commands {
        if let Line::Iptables {
            legacy,
            ipv6,
            table,
            words,
        } = &command.line
        {
            let of = lines.entry((*legacy, *ipv6, table.clone())).or_default();
            of.push(words.clone());
        }
    }
    lines
}

/// Others on this machine may have the lock of iptables.
const WAIT: &str = "--wait=10";

/// A table at once, or, where a line of it is refused, each alone.
pub fn restore(tables: &Lines) -> Result<()> {
    for ((legacy, ipv6, table), lines) in tables {
        let text = format!("*{table}\n{}\nCOMMIT", lines.join("\n"));
        let program = program(*legacy, *ipv6) + "-restore";
        if batch::fed(&program, &["--noflush", WAIT], &text)?
            .status
            .success()
        {
            continue;
        }
        for line in lines {
            let text = format!("*{table}\n{line}\nCOMMIT");
            batch::fed(&program, &["--noflush", WAIT], &text)?;
        }
    }
    Ok(())
}

/// Takes all rules out of a table of iptables' own, and what was said of chains that have none for a packet.
pub fn flush(ipv6: bool, table: &str) -> Result<()> {
    let chains = HOOKS.iter().find(|(name, _)| *name == table);
    let chains = chains.map_or(&[][..], |(_, chains)| chains).iter();
    let chains: String = chains.map(|chain| format!(":{chain} ACCEPT\n")).collect();
    let text = format!("*{table}\n{chains}COMMIT");
    let program = program(true, ipv6) + "-restore";
    batch::fed(&program, &[WAIT], &text).map(|_| ())
}

const HOOKS: [(&str, &[&str]); 4] = [
    ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
    (
        "mangle",
        &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
    ),
    ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
    ("raw", &["PREROUTING", "OUTPUT"]),
];
/// No tunnel's packets, which nobody counts.
const OURS: &str = "-p udp -m multiport ! --dports 8472,51820";

pub fn made(rng: &mut Rng, space: usize, ipv6: bool) -> Vec<Command> {
    let mut all = Vec::new();
    let legacy = rng.u8(0..3) == 0;
    let sets = ipsets::made(rng, (space, &Table::of(ipv6)), &mut all);
    for (table, chains) in HOOKS {
        if rng.bool() {
            continue;
        }
        let mut add = |words: String| {
            let table = table.to_owned();
            let line = Line::Iptables {
                legacy,
                ipv6,
                table,
                words,
            };
            all.push(Command { space, line });
        };
        add("-N own".to_owned());
        let of = Table::of(ipv6);
        for _ in 0..rng.usize(1..3) {
            let matched = matched(rng, (&of, &sets), (table, "own"));
            let target = target(rng, &of, table, "own");
            add(format!("-A own {OURS} {matched} {target}"));
        }
        for _ in 0..rng.usize(1..5) {
            let chain = chains[rng.usize(0..chains.len())];
            let matches: Vec<_> = (0..rng.usize(0..3))
                .map(|_| matched(rng, (&of, &sets), (table, chain)))
                .collect();
            let target = match rng.u8(0..5) {
                0 => "-j own".to_owned(),
                1 => "-g own".to_owned(),
                _ => target(rng, &of, table, chain),
            };
            add(format!("-A {chain} {OURS} {} {target}", matches.join(" ")));
        }
    }
    all
}

fn matched(
    rng: &mut Rng,
    (of, sets): (&Table, &ipsets::Made),
    (table, chain): (&str, &str),
) -> String {
    let not = if rng.u8(0..4) == 0 { "! " } else { "" };
    let side = if rng.bool() { "-s" } else { "-d" };
    let port = PORTS[rng.usize(0..PORTS.len())];
    let link = device(rng.usize(0..SPACES));
    let (input, output) = match chain {
        "PREROUTING" | "INPUT" => (true, false),
        "OUTPUT" | "POSTROUTING" => (false, true),
        "FORWARD" => (true, true),
        _ => (false, false),
    };
    match rng.u8(0..33) {
        0..=1 => format!("{not}{side} {}", of.prefix(rng)),
        2 if input => format!("{not}-i {link}"),
        3 if output => format!("{not}-o {link}"),
        4 => format!("-m udp {not}--dport {port}"),
        5 => format!("-m udp {not}--sport 20000:{}", rng.u16(20001..20020)),
        6 => format!("-m mark {not}--mark {}/0x3", rng.u8(0..4)),
        7 => format!("-m conntrack {not}--ctstate NEW"),
        8 => format!("-m conntrack {not}--ctstate RELATED,ESTABLISHED"),
        9 => "-m conntrack --ctstate INVALID".to_owned(),
        10 => format!("-m conntrack {not}--ctstate UNTRACKED"),
        11 => format!(
            "-m conntrack {not}--ctstate {}",
            ["DNAT", "SNAT"][rng.usize(0..2)]
        ),
        12 => format!("-m conntrack {not}--ctorigdst {}", of.prefix(rng)),
        13 => format!(
            "-m conntrack --ctdir {}",
            ["REPLY", "ORIGINAL"][rng.usize(0..2)]
        ),
        14 => format!("-m connmark {not}--mark {}", rng.u8(0..3)),
        15 => format!("-m multiport {not}--dports {port},1000:2000"),
        16 => format!("-m multiport --ports {port},20000:20007"),
        18 => format!(
            "-m statistic --mode random {not}--probability 0.{}",
            rng.u8(1..10)
        ),
        19 => format!(
            "-m statistic --mode nth {not}--every {} --packet 0",
            rng.u8(2..5)
        ),
        20..=22 => perhaps(rng),
        23..=25 if let Some(asked) = ipsets::asked(rng, sets) => asked,
        17 => format!(
            "-m addrtype {not}--{}-type {}",
            ["src", "dst"][rng.usize(0..2)],
            ["LOCAL", "LOCAL", "UNICAST"][rng.usize(0..3)]
        ),
        26 => format!("-m iprange {not}--{}", of.range(rng)),
        27 => format!("-m length {not}--length {}:1500", rng.u16(60..1400)),
        28 => of.hops(rng),
        29 => format!("-m dscp {not}--dscp {}", rng.u8(0..2) * 4),
        30 => format!("-m tos {not}--tos {}/0x10", rng.u8(0..2) * 0x10),
        32 if chain == "PREROUTING" && ["raw", "mangle"].contains(&table) => format!(
            "-m rpfilter {}",
            [
                "--invert",
                "--loose",
                "--validmark",
                "--accept-local --invert"
            ][rng.usize(0..4)]
        ),
        31 if chain == "POSTROUTING" => {
            format!("-m owner {not}--uid-owner 0-4294967294")
        }
        _ => "-m comment --comment ours".to_owned(),
    }
}

/// What nobody can tell from outside.
fn perhaps(rng: &mut Rng) -> String {
    let burst = rng.u8(1..5);
    match rng.u8(0..5) {
        0..=1 => format!("-m limit --limit 1/min --limit-burst {burst}"),
        2 => format!(
            "-m hashlimit --hashlimit-name h{burst} --hashlimit-upto 1/min --hashlimit-burst {burst} --hashlimit-mode srcip"
        ),
        3 => format!("-m recent --name r{burst} --set"),
        _ => "-m string --algo bm --string ab".to_owned(),
    }
}

fn target(rng: &mut Rng, of: &Table, table: &str, chain: &str) -> String {
    let address = of.any(rng);
    let port = PORTS[rng.usize(0..PORTS.len())];
    let with = |ports: &str| match of.ipv6 {
        true => format!("[{address}]:{ports}"),
        false => format!("{address}:{ports}"),
    };
    let chosen = rng.u8(0..8);
    match (table, chain, chosen) {
        (_, _, 0) => "-j RETURN".to_owned(),
        (_, _, 1) => "-j ACCEPT".to_owned(),
        (_, _, 2) => "-m comment --comment counted".to_owned(),
        ("filter", _, 3) => "-j DROP".to_owned(),
        ("filter", _, 4..=5) => "-j REJECT".to_owned(),
        ("filter", _, _) => match of.ipv6 {
            true => "-j REJECT --reject-with icmp6-adm-prohibited".to_owned(),
            false => "-j REJECT --reject-with icmp-host-prohibited".to_owned(),
        },
        ("raw", ..) => "-j CT --notrack".to_owned(),
        ("mangle", _, 3) => format!("-j MARK --set-xmark {}/0x3", rng.u8(0..4)),
        ("mangle", _, 4) => format!("-j MARK --or-mark {}", rng.u8(1..4)),
        ("mangle", _, 5) => format!("-j CONNMARK --set-xmark {}/0x3", rng.u8(1..4)),
        ("mangle", _, 6) => "-j CONNMARK --save-mark".to_owned(),
        ("mangle", ..) => "-j CONNMARK --restore-mark".to_owned(),
        (_, "PREROUTING" | "OUTPUT", 3) => format!("-j REDIRECT --to-ports {port}"),
        (_, "PREROUTING" | "OUTPUT", 4..=5) => {
            format!("-j DNAT --to-destination {}", with(&port.to_string()))
        }
        (_, "PREROUTING" | "OUTPUT", _) => format!("-j DNAT --to-destination {address}"),
        (_, "POSTROUTING", 3..=4) => "-j MASQUERADE".to_owned(),
        (_, "POSTROUTING", 5) => "-j MASQUERADE --random-fully".to_owned(),
        (_, "POSTROUTING", 6) => "-j MASQUERADE --to-ports 30000-30010".to_owned(),
        (_, "POSTROUTING" | "INPUT", _) => format!("-j SNAT --to-source {address}"),
        _ => "-j ACCEPT".to_owned(),
    }
}
