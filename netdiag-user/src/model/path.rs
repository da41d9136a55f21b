//! One flow's way through the node, hop by hop: what `netdiag path` prints.
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::verdict::{NotChecked, PodRef};

/// Name and version of the path's JSON form.
pub const SCHEMA: &str = "netdiag.path/1";

/// An end as typed: `NAMESPACE/NAME` or an address, with or without `:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub text: String,
    pub who: Who,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A pod or a Service.
    Named(String),
    Address(IpAddr),
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (who, port) = split(text)?;
        let who = match who.parse() {
            Ok(address) => Who::Address(one_host(address)?),
            Err(_) if is_name(who) => Who::Named(who.to_owned()),
            Err(_) => {
                let hint = bracketed(text).map_or_else(String::new, |b| format!(": write {b}"));
                return Err(format!(
                    "'{text}' is neither NAMESPACE/NAME nor an address, with :PORT or without{hint}"
                ));
            }
        };
        let text = text.to_owned();
        Ok(Self { text, who, port })
    }
}

/// No packet travels from or to these over a node's links as one flow.
fn one_host(address: IpAddr) -> Result<IpAddr, String> {
    let what = match address {
        a if a.is_unspecified() => "stands for any address",
        a if a.is_loopback() => "is reached without any link",
        a if a.is_multicast() => "is a group's",
        IpAddr::V4(v4) if v4.is_broadcast() => "is everybody's",
        _ => return Ok(address),
    };
    Err(format!(
        "{address} {what}: name the address of one pod or host"
    ))
}

/// `fd00::1:80` as it should be written, where its last part may be a port.
pub fn bracketed(text: &str) -> Option<String> {
    let (address, port) = text.rsplit_once(':')?;
    let (_, _): (Ipv6Addr, u16) = (address.parse().ok()?, port.parse().ok()?);
    Some(format!("[{address}]:{port}"))
}

/// `[ADDRESS]:PORT`, `ADDRESS`, `ADDRESS:PORT`, `NAMESPACE/NAME:PORT`.
fn split(text: &str) -> Result<(&str, Option<u16>), String> {
    let number = |port: &str| match port.parse() {
        Ok(0) | Err(_) => Err(format!("'{port}' is no port in '{text}'")),
        Ok(port) => Ok(Some(port)),
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest
            .split_once(']')
            .ok_or_else(|| format!("'{text}' lacks its closing bracket"))?;
        return Ok((address, port.strip_prefix(':').map_or(Ok(None), number)?));
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address without a port.
        Some((who, port)) if !port.contains(':') => Ok((who, number(port)?)),
        _ => Ok((text, None)),
    }
}

fn is_name(text: &str) -> bool {
    let part = |p: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        !p.is_empty() && p.chars().all(allowed)
    };
    text.split_once('/')
        .is_some_and(|(namespace, name)| part(namespace) && part(name))
}

/// An end as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub asked: String,
    pub addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// `namespace/name:port` of the Service that the address is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// Whether the routes lead where the packets went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// Seen where it should be.
    Expected,
    /// Seen, and no route leads there.
    Unexpected,
    /// The routes lead there, no packet was seen.
    NotSeen,
}

/// A hop in one direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub interface: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `ingress` or `egress`, as tc counts: into the node's stack, or out by that link.
    pub direction: String,
    pub course: Course,
    /// The flow's ends here: they differ behind a translation.
    pub source: String,
    pub destination: String,
    /// `vxlan 192.0.2.1 → 192.0.2.2` where it is encapsulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<String>,
    pub packets: u64,
    /// From the IP header on, the outer one where it is encapsulated.
    pub bytes: u64,
    pub largest: u32,
    pub retransmits: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The largest packet of the flow that fits here, once what encapsulates it is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<u32>,
    /// Median time since the hop before, in seconds, over the connections' first packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<f64>,
}

/// How a translation is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    Conntrack,
    /// The same socket or sequence numbers, and nobody sent it in as it is.
    Inferred,
}

/// What became of packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// The hop that they reached last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    pub kind: FateKind,
    pub packets: u64,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FateKind {
    /// The node dropped them.
    Drop,
    /// The sender was told to send smaller ones.
    TooBig,
    /// An ICMP error came about them.
    Icmp,
    /// RST.
    Refused,
    /// Sent again and again without progress.
    Stalled,
    /// The next hop did not see them.
    Vanished,
    /// They went as far as the node sees.
    Arrived,
}

/// One direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Way {
    pub steps: Vec<Step>,
    pub fates: Vec<Fate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Answered,
    /// Answered, and packets are lost on the way.
    Lossy,
    Refused,
    Dropped,
    Unreachable,
    Silent,
    /// Nothing came back, and nothing needs to: a UDP server may stay silent.
    Unknown,
    NoTraffic,
}

/// What netdiag sends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// Echoes, small ones and of full size.
    Icmp,
    /// TCP connections without data.
    Connect,
    /// TCP connections, and in others a segment of zeroes of full size.
    Tcp,
    /// Datagrams of zeroes, small ones and of full size.
    Udp,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Answered,
    /// RST, or for UDP port unreachable.
    Refused,
    Reset,
    /// Larger than the path takes: frag-needed, packet too big, or this node's own device.
    TooBig,
    Unreachable,
    /// A rule on the way says no.
    Prohibited,
    Timeout,
    Other(String),
}

/// Packets of one kind and size that netdiag sent, and what came of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub kind: ProbeKind,
    /// From the IP header on; absent for a handshake alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    pub sent: u32,
    pub answered: u32,
    /// Of the last one.
    pub answer: Answer,
    /// Of the last one that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// A cause that concerns one of the ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concern {
    pub cause: String,
    pub summary: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Path {
    pub schema: String,
    pub node: String,
    pub kernel: String,
    pub started: String,
    pub duration: f64,
    pub source: End,
    pub destination: End,
    pub outcome: Outcome,
    /// The interface that what did not arrive reached last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    pub summary: String,
    /// `tcp`, where all that was seen is of one protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Connections (TCP) and sockets (UDP) that were seen.
    pub flows: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated_by: Option<KnownBy>,
    pub request: Way,
    pub reply: Way,
    /// What `--probe` sent; its packets are counted above too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    pub causes: Vec<Concern>,
    pub not_checked: Vec<NotChecked>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_as_people_type_them() {
        let parsed = |text: &str| {
            let wanted: Wanted = text.parse().expect(text);
            (wanted.who, wanted.port)
        };
        let address = |text: &str| Who::Address(text.parse().expect("an address"));
        assert_eq!(parsed("10.0.0.1:80"), (address("10.0.0.1"), Some(80)));
        assert_eq!(parsed("fd00::1"), (address("fd00::1"), None));
        assert_eq!(parsed("[fd00::1]:80"), (address("fd00::1"), Some(80)));
        assert_eq!(parsed("[fd00::1]"), (address("fd00::1"), None));
        let pod = Who::Named("shop/cart-5d4f".into());
        assert_eq!(parsed("shop/cart-5d4f:8080"), (pod.clone(), Some(8080)));
        assert_eq!(parsed("shop/cart-5d4f"), (pod, None));
    }

    #[test]
    fn a_port_without_brackets_is_pointed_out() {
        let why = "2001:db8:0:0:0:0:0:7:443".parse::<Wanted>().unwrap_err();
        assert!(why.ends_with("write [2001:db8:0:0:0:0:0:7]:443"), "{why}");
    }

    #[test]
    fn what_is_no_end_is_refused() {
        for bad in [
            "",
            "cart",
            "10.0.0.1:0",
            "10.0.0.1:http",
            "[fd00::1:80",
            "shop/",
            "a/b/c",
            "a/\x1b[2J",
            "0.0.0.0",
            "127.0.0.1:80",
            "::",
            "[::1]:80",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad}");
        }
    }
}
