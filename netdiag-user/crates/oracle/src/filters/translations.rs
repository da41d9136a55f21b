//! Chains that translate connections.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

use super::{OURS, Table, matched};
use crate::{six, witness::PORTS};

/// At one or two of the four hooks.
pub fn made(rng: &mut Rng, table: &Table) -> Vec<String> {
    const HOOKS: [(&str, i32); 4] = [
        ("prerouting", -100),
        ("output", -100),
        ("postrouting", 100),
        ("input", 100),
    ];
    let place = table.place();
    let mut words = Vec::new();
    for number in 0..rng.usize(1..4) {
        let (hook, priority) = HOOKS[[0, 0, 1, 1, 2, 2, 2, 3][rng.usize(0..8)]];
        let priority = priority + rng.i32(-1..2) * 10;
        words.push(format!(
            "add chain {place} n{number} {{ type nat hook {hook} priority {priority}; }}"
        ));
        for _ in 0..rng.usize(1..3) {
            let mut rule = vec![format!("add rule {place} n{number}")];
            for _ in 0..rng.usize(0..2) {
                rule.push(matched(rng, table));
            }
            rule.push(format!("{OURS} counter"));
            rule.push(becomes(rng, table, hook));
            words.push(rule.join(" "));
        }
    }
    words
}

/// What a connection's first packet becomes.
fn becomes(rng: &mut Rng, table: &Table, hook: &str) -> String {
    let family = match (table.family, table.ipv6) {
        ("inet", true) => " ip6",
        ("inet", false) => " ip",
        _ => "",
    };
    let port = PORTS[rng.usize(0..PORTS.len())];
    let address = table.any(rng);
    let with = |ports: &str| match address {
        IpAddr::V4(v4) => format!("{v4}:{ports}"),
        IpAddr::V6(v6) => format!("[{v6}]:{ports}"),
    };
    let ip = if table.ipv6 { "ip6" } else { "ip" };
    match (hook, rng.u8(0..9)) {
        // As kube-proxy does it.
        ("prerouting" | "output", 8) => format!(
            "dnat{family} to numgen random mod 2 map {{ 0 : {address}, 1 : {} }}",
            table.any(rng)
        ),
        ("prerouting" | "output", 7) => format!(
            "dnat{family} to jhash {ip} saddr mod 2 map {{ 0 : {address}, 1 : {} }}",
            table.any(rng)
        ),
        (_, 0) => "accept".to_owned(),
        ("prerouting" | "output", 1) => "redirect".to_owned(),
        ("prerouting" | "output", 2) => format!("redirect to :{port}"),
        ("prerouting" | "output", 3..=4) => {
            format!("dnat{family} to {}", with(&port.to_string()))
        }
        ("prerouting" | "output", 5) => format!("dnat{family} to {}", with("9998-9999")),
        ("prerouting" | "output", 6) => format!("dnat{family} to {}", some(address)),
        ("prerouting" | "output", _) => format!("dnat{family} to {address}"),
        ("postrouting", 1..=3) => "masquerade".to_owned(),
        ("postrouting", 4) => "masquerade fully-random".to_owned(),
        ("postrouting", 5) => "masquerade to :30000-30010".to_owned(),
        (_, 6) => format!("snat{family} to {}", with("31000-31010")),
        (_, 7) => format!("snat{family} to {}", some(address)),
        ("postrouting", 8) => format!(
            "snat {ip} prefix to {ip} saddr map {}",
            networks(rng, table.ipv6)
        ),
        _ => format!("snat{family} to {address}"),
    }
}

/// That one and a few that follow.
fn some(address: IpAddr) -> String {
    let last: IpAddr = match address {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).saturating_add(2)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).saturating_add(2)).into(),
    };
    format!("{address}-{last}")
}

/// Networks that stand for others.
fn networks(rng: &mut Rng, ipv6: bool) -> String {
    let pairs = (1..4).map(|net| {
        let network = |net: u8| six_or_four(ipv6, &format!("10.{net}.0.0/24"));
        format!("{} : {}", network(net), network(rng.u8(4..8)))
    });
    format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
}

fn six_or_four(ipv6: bool, four: &str) -> String {
    if ipv6 {
        six::word(four)
    } else {
        four.to_owned()
    }
}
