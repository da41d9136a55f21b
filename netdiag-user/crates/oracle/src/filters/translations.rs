//! Chains that translate connections.
use std::net::IpAddr;

use fastrand::Rng;

use super::{OURS, Table, matched};
use crate::witness::PORTS;

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
        ("prerouting" | "output", _) => format!("dnat{family} to {address}"),
        ("postrouting", 1..=3) => "masquerade".to_owned(),
        ("postrouting", 4) => "masquerade fully-random".to_owned(),
        ("postrouting", 5) => "masquerade to :30000-30010".to_owned(),
        (_, 6) => format!("snat{family} to {}", with("31000-31010")),
        _ => format!("snat{family} to {address}"),
    }
}
