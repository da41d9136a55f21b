//! What a world is made by: lines as somebody would type them, so that a contradiction can be typed
//! again anywhere. The kernel may refuse a line; what is walked is what was read back.
use std::fmt;

use crate::iptables;

/// One line, in one namespace of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub space: usize,
    pub line: Line,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Arguments of ip(8), for IPv4.
    Ip(String),
    /// The same for IPv6.
    Ip6(String),
    /// Arguments of bridge(8).
    Bridge(String),
    /// A name below `net`, with slashes, and its value.
    Sysctl(String, String),
    /// A line for nft(8).
    Nft(String),
    /// A table of iptables-nft(8) or iptables-legacy(8), of either family, and the other arguments.
    Iptables {
        legacy: bool,
        ipv6: bool,
        table: String,
        words: String,
    },
    /// A line that ipset(8) restores.
    Ipset(String),
    /// Arguments of ipvsadm(8).
    Ipvs(String),
    /// Arguments of wg(8), and the private key that it is given.
    Wg { key: String, words: String },
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = self.space;
        match &self.line {
            Line::Ip(words) => write!(f, "ip -n s{space} {words}"),
            Line::Ip6(words) => write!(f, "ip -6 -n s{space} {words}"),
            Line::Bridge(words) => write!(f, "bridge -n s{space} {words}"),
            Line::Nft(words) => write!(f, "ip netns exec s{space} nft '{words}'"),
            Line::Iptables {
                legacy,
                ipv6,
                table,
                words,
            } => {
                let program = iptables::program(*legacy, *ipv6);
                write!(f, "ip netns exec s{space} {program} -t {table} {words}")
            }
            Line::Ipset(words) => write!(f, "ip netns exec s{space} ipset {words}"),
            Line::Ipvs(words) => write!(f, "ip netns exec s{space} ipvsadm {words}"),
            Line::Wg { key, words } => {
                write!(f, "echo {key} | ip netns exec s{space} wg {words}")
            }
            Line::Sysctl(name, value) => {
                write!(f, "ip netns exec s{space} sysctl -qw net/{name}={value}")
            }
        }
    }
}

impl Command {
    pub fn ip(space: usize, words: impl Into<String>) -> Self {
        Self {
            space,
            line: Line::Ip(words.into()),
        }
    }

    pub fn bridge(space: usize, words: impl Into<String>) -> Self {
        Self {
            space,
            line: Line::Bridge(words.into()),
        }
    }

    pub fn nft(space: usize, words: impl Into<String>) -> Self {
        Self {
            space,
            line: Line::Nft(words.into()),
        }
    }

    pub fn sysctl(space: usize, name: impl Into<String>, value: impl ToString) -> Self {
        Self {
            space,
            line: Line::Sysctl(name.into(), value.to_string()),
        }
    }
}
