//! Sets of ipset(8), which iptables' rules ask.
use std::{thread::sleep, time::Duration};

use anyhow::{Result, bail};
use fastrand::Rng;

use crate::{
    batch,
    command::{Command, Line},
    filters::Table,
    witness::PORTS,
};

/// Those of a namespace, each with how many parts a rule has to give a side for.
pub type Made = Vec<(String, usize)>;

const KINDS: [&str; 8] = [
    "hash:ip",
    "hash:ip netmask 24",
    "hash:net",
    "hash:net,port",
    "hash:ip,port",
    "hash:ip,port,ip",
    "hash:ip,port,net",
    "bitmap:port",
];

pub fn made(rng: &mut Rng, (space, of): (usize, &Table), lines: &mut Vec<Command>) -> Made {
    let mut all = Made::new();
    for number in 0..rng.usize(0..3) {
        let kind = KINDS[rng.usize(0..KINDS.len())];
        let name = format!("i{number}");
        let mut add = |words: String| {
            let line = Line::Ipset(words);
            lines.push(Command { space, line });
        };
        let (plain, _) = kind.split_once(' ').unwrap_or((kind, ""));
        let family = match (plain, of.ipv6) {
            ("bitmap:port", _) => " range 9000-30000",
            // Of IPv6 it is another length.
            (_, true) => " family inet6",
            _ => "",
        };
        let kind = if of.ipv6 { plain } else { kind };
        add(format!("create {name} {kind}{family}"));
        let parts: Vec<&str> = plain
            .split(':')
            .nth(1)
            .unwrap_or_default()
            .split(',')
            .collect();
        for _ in 0..rng.usize(1..8) {
            let value = |rng: &mut Rng, part: &&str| match *part {
                "net" => of.prefix(rng),
                "port" => {
                    let port = PORTS[rng.usize(0..PORTS.len())];
                    let protocol = if parts.len() > 1 { "udp:" } else { "" };
                    format!("{protocol}{port}")
                }
                _ => of.any(rng).to_string(),
            };
            let values: Vec<String> = parts.iter().map(|part| value(rng, part)).collect();
            let nomatch = parts.contains(&"net") && rng.u8(0..4) == 0;
            let nomatch = if nomatch { " nomatch" } else { "" };
            add(format!("add {name} {}{nomatch}", values.join(",")));
        }
        all.push((name, parts.len()));
    }
    all
}

/// A match that asks one of them.
pub fn asked(rng: &mut Rng, sets: &Made) -> Option<String> {
    let (name, parts) = rng.choice(sets.iter())?;
    let not = if rng.u8(0..4) == 0 { "! " } else { "" };
    let mut side = || ["src", "dst"][rng.usize(0..2)];
    let sides: Vec<&str> = (0..*parts).map(|_| side()).collect();
    Some(format!(
        "-m set {not}--match-set {name} {}",
        sides.join(",")
    ))
}

/// All at once, or, where a line is refused, each alone.
pub fn restore(lines: &[String]) -> Result<()> {
    if lines.is_empty()
        || batch::fed("ipset", &["restore"], &lines.join("\n"))?
            .status
            .success()
    {
        return Ok(());
    }
    for line in lines {
        batch::fed("ipset", &["restore"], line)?;
    }
    Ok(())
}

/// Takes them away; a rule of nf_tables' that is gone holds its own for a moment still (`nf_tables_trans_destroy_work`).
pub fn destroy() -> Result<()> {
    for _ in 0..1000 {
        if batch::run("ipset", &["destroy"])?.status.success() {
            return Ok(());
        }
        sleep(Duration::from_millis(2));
    }
    bail!("sets of ipset stay that no rule asks any more")
}
