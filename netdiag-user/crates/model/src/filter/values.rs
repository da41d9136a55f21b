//! Values of an expression: addresses, ports, protocols.
use std::net::{IpAddr, Ipv4Addr};

use super::{
    expression::{Expression, Side},
    parse::{KNOWN, Kind, named},
    words::Word,
};
use crate::address::Prefix;

type Result<T> = std::result::Result<T, String>;

/// Ports that people call by name (IANA); others go by number.
const PORTS: [(&str, u16); 24] = [
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("dns", 53),
    ("http", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("syslog", 514),
    ("ldaps", 636),
    ("nfs", 2049),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("redis", 6379),
    ("http-alt", 8080),
    ("etcd-client", 2379),
];

/// A protocol's or a family's own word.
pub fn protocol_word(word: &str) -> Option<Expression> {
    let of = |number| Some(Expression::Protocol(number));
    match word {
        "ip" => Some(Expression::Family(4)),
        "ip6" => Some(Expression::Family(6)),
        "tcp" => of(6),
        "udp" => of(17),
        "sctp" => of(132),
        "icmp" => Some(Expression::Family(4).and(Expression::Protocol(1))),
        "icmp6" => Some(Expression::Family(6).and(Expression::Protocol(58))),
        _ => None,
    }
}

/// Whether it looks like a value and not like a word of the language.
pub fn is_value(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) || word.contains(':')
}

/// The sentence for a value of which nothing says what it is.
pub fn bare(word: &Word<'_>) -> String {
    format!("{} needs 'host', 'net' or 'port' before it", named(word))
}

pub fn wanted(kind: Option<Kind>) -> &'static str {
    match kind {
        None | Some(Kind::Host) => "an address",
        Some(Kind::Net) => "a prefix",
        Some(Kind::Port) => "a port",
        Some(Kind::PortRange) => "a range of ports",
        Some(Kind::Protocol) => "a protocol",
    }
}

/// `host` is assumed where nothing was said.
pub fn host(side: Side, word: &Word<'_>, said: bool) -> Result<Expression> {
    let name = named(word);
    if let Ok(address) = word.text.parse::<IpAddr>() {
        let prefix = Prefix::host(address.to_canonical());
        return Ok(Expression::Address(side, prefix));
    }
    Err(if word.text.contains('/') {
        format!("{name} is a prefix, which 'net' takes; 'host' takes an address")
    } else if said {
        format!("{name} is no address like 10.0.0.1 or fd00::1; names are not looked up")
    } else if is_value(word.text) {
        bare(word)
    } else {
        format!("{name} is not known; {KNOWN}")
    })
}

/// `10.1.0.0/16`, `10.1`, `10.1/16`, `10.1.0.0 mask 255.255.0.0`, `fd00::/8`.
pub fn net(side: Side, word: &Word<'_>, mask: Option<&Word<'_>>) -> Result<Expression> {
    let (text, length) = match word.text.split_once('/') {
        Some((text, length)) => (text, Some(length)),
        None => (word.text, None),
    };
    let bad = || {
        format!(
            "{} is no prefix like 10.1.0.0/16, 10.1 or fd00::/8",
            named(word)
        )
    };
    let (address, written) = written(text).ok_or_else(bad)?;
    let length = match (length, mask) {
        (None, None) => written,
        (Some(length), None) => length.parse().map_err(|_| bad())?,
        (None, Some(mask)) if address.is_ipv4() => netmask(mask)?,
        _ => return Err(format!("{} takes no mask", named(word))),
    };
    if length > Prefix::host(address).length {
        return Err(bad());
    }
    Ok(Expression::Address(side, Prefix { address, length }))
}

/// An address, of IPv4 perhaps its first bytes alone, and the length of what is written.
fn written(text: &str) -> Option<(IpAddr, u8)> {
    if let Ok(address) = text.parse() {
        return Some((address, Prefix::host(address).length));
    }
    let bytes: Option<Vec<u8>> = text.split('.').map(|b| b.parse().ok()).collect();
    let bytes = bytes?;
    let mut address = [0; 4];
    address.get_mut(..bytes.len())?.copy_from_slice(&bytes);
    Some((Ipv4Addr::from(address).into(), 8 * bytes.len() as u8))
}

fn netmask(word: &Word<'_>) -> Result<u8> {
    let bits = word.text.parse::<Ipv4Addr>().ok().map(u32::from);
    let whole = |bits: &u32| bits.leading_ones() + bits.trailing_zeros() >= 32;
    let bits = bits.filter(whole);
    let bits = bits.ok_or_else(|| format!("{} is no netmask like 255.255.0.0", named(word)))?;
    Ok(bits.leading_ones() as u8)
}

pub fn port(side: Side, word: &Word<'_>) -> Result<Expression> {
    let port = number(word.text).ok_or_else(|| {
        let name = named(word);
        match word.text.contains('-') {
            true => format!("{name} is no port: 'portrange' takes a range"),
            false => {
                format!("{name} is no port: a number up to 65535 is one, or a name like https")
            }
        }
    })?;
    Ok(Expression::Port(side, port, port))
}

pub fn port_range(side: Side, word: &Word<'_>) -> Result<Expression> {
    let ends = word.text.split_once('-');
    let ends = ends.and_then(|(low, high)| Some((number(low)?, number(high)?)));
    match ends {
        Some((low, high)) if low <= high => Ok(Expression::Port(side, low, high)),
        _ => Err(format!(
            "{} is no range of ports like 8000-8080",
            named(word)
        )),
    }
}

fn number(text: &str) -> Option<u16> {
    let named = PORTS.iter().find(|(name, _)| *name == text);
    named.map(|(_, port)| *port).or_else(|| text.parse().ok())
}

/// `proto 47`, `proto tcp`, or as pcap wants it, `proto \tcp`.
pub fn protocol(side: Option<Side>, word: &Word<'_>) -> Result<Expression> {
    if side.is_some() {
        return Err(format!("{}: a protocol has no direction", named(word)));
    }
    let text = word.text.trim_start_matches('\\');
    let known = match text {
        "icmp" => Some(1),
        "gre" => Some(47),
        "esp" => Some(50),
        "ah" => Some(51),
        "icmp6" => Some(58),
        "ospf" => Some(89),
        other => crate::flow::number(other),
    };
    let number = known.ok_or_else(|| {
        format!(
            "{} is no protocol: a number up to 255 is one, or a name like tcp",
            named(word)
        )
    })?;
    Ok(Expression::Protocol(number))
}
