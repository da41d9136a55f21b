//! The same world over IPv6: the lines of one over IPv4 with other addresses, and what has no like is
//! left out.
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    command::{Command, Line},
    ipvs, wireguards,
};

/// What stands for an address of a world's over IPv4.
pub fn address(v4: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = v4.octets().map(u16::from);
    match a {
        127 => Ipv6Addr::LOCALHOST,
        0 => Ipv6Addr::UNSPECIFIED,
        10 => Ipv6Addr::new(0xfd10, b, c, 0, 0, 0, 0, d),
        _ => Ipv6Addr::new(0x2001, 0xdb8, a, c, 0, 0, 0, d),
    }
}

/// The metric of a world's own ways to networks that are no neighbour's.
const WAY_ROUND: u32 = 50;

/// Networks of the same hosts.
fn length(v4: u8) -> u8 {
    match v4 {
        8 => 16,
        16 => 32,
        24 => 64,
        32 => 128,
        other => other,
    }
}

pub fn lines(commands: &[Command]) -> Vec<Command> {
    commands.iter().filter_map(line).collect()
}

fn line(command: &Command) -> Option<Command> {
    let line = match &command.line {
        Line::Ip(words) => {
            let words: Vec<String> = words.split(' ').map(word).collect();
            let words = metrics(&words.join(" "));
            match suppressing(&words) {
                Some(words) => Line::Ip6(words),
                None => Line::Ip6(words),
            }
        }
        Line::Ip6(_) => command.line.clone(),
        Line::Bridge(words) => {
            let words: Vec<String> = words.split(' ').map(word).collect();
            Line::Bridge(words.join(" "))
        }
        Line::Nft(_) | Line::Iptables { .. } | Line::Ipset(_) => command.line.clone(),
        Line::Ipvs(words) => Line::Ipvs(ipvs::over_ipv6(words)),
        Line::Wg { key, words } => Line::Wg {
            key: key.clone(),
            words: wireguards::over_ipv6(words),
        },
        Line::Sysctl(name, value) => Line::Sysctl(sysctl(name)?, value.clone()),
    };
    Some(Command {
        space: command.space,
        line,
    })
}

pub fn word(word: &str) -> String {
    let (text, prefix) = match word.split_once('/') {
        Some((text, prefix)) => (text, Some(prefix)),
        None => (word, None),
    };
    let Ok(v4) = text.parse::<Ipv4Addr>() else {
        return word.to_owned();
    };
    match prefix.and_then(|prefix| prefix.parse().ok()) {
        Some(0) => "::/0".to_owned(),
        Some(prefix) => format!("{}/{}", address(v4), length(prefix)),
        None => address(v4).to_string(),
    }
}

/// The kernel's own routes have a metric of 256 here, and none over IPv4: some are before them, the ways
/// round behind.
fn metrics(words: &str) -> String {
    let Some((before, rest)) = words.split_once(" metric ") else {
        return words.to_owned();
    };
    let (metric, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let metric: u32 = metric.parse().unwrap_or(1);
    let metric = if metric == WAY_ROUND { 500 } else { metric * 3 };
    let line = format!("{before} metric {metric} {after}");
    line.trim_end().to_owned()
}

/// Lengths stand alone there.
fn suppressing(words: &str) -> Option<String> {
    let (before, v4) = words.rsplit_once("suppress_prefixlength ")?;
    let v4: u8 = v4.parse().ok()?;
    let v6 = if v4 == 31 { 127 } else { length(v4) };
    Some(format!("{before}suppress_prefixlength {v6}"))
}

fn sysctl(name: &str) -> Option<String> {
    // Of both families.
    if name == "ipv4/nexthop_compat_mode" {
        return Some(name.to_owned());
    }
    let rest = name.strip_prefix("ipv4/conf/")?;
    let (place, name) = rest.split_once('/')?;
    Some(match name {
        "proxy_arp" | "proxy_arp_pvlan" | "arp_ignore" => format!("ipv6/conf/{place}/proxy_ndp"),
        "ignore_routes_with_linkdown" => format!("ipv6/conf/{place}/{name}"),
        "accept_local" => format!("ipv6/conf/{place}/use_oif_addrs_only"),
        "forwarding" => format!("ipv6/conf/{place}/forwarding"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_meaning() {
        let six = |words: &str| {
            let all = lines(&[Command::ip(1, words)]);
            all.first().map(ToString::to_string)
        };
        let route = six("route add 10.2.0.0/24 via 10.1.0.2 dev e1 metric 50");
        let wanted = "ip -6 -n s1 route add fd10:2::/64 via fd10:1::2 dev e1 metric 500";
        assert_eq!(route.as_deref(), Some(wanted));
        let rule = six("rule add pref 10 lookup main suppress_prefixlength 24");
        let wanted = "ip -6 -n s1 rule add pref 10 lookup main suppress_prefixlength 64";
        assert_eq!(rule.as_deref(), Some(wanted));
        let strict = Command::sysctl(0, "ipv4/conf/all/rp_filter", 1);
        assert!(lines(&[strict]).is_empty(), "IPv6 has none");
    }
}
