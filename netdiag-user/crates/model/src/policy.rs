//! Policy routing as a snapshot has it: the rules, what they look at, and what they come to.
use super::shell::CommandLine;
use crate::shell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{address::Prefix, node::Route};

/// What a rule does with packets that match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Asks that table.
    Table(u32),
    /// Says no: `prohibit`, `unreachable`, `blackhole`.
    Refuse,
    /// Goes on at the rule of that priority.
    Goto(u32),
    /// Nothing, or what is not told apart.
    Nothing,
}

/// One line of `ip rule`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    pub priority: u32,
    pub ipv6: bool,
    pub action: Action,
    #[serde(default)]
    pub from: Option<Prefix>,
    #[serde(default)]
    pub to: Option<Prefix>,
    #[serde(default)]
    pub iif: Option<String>,
    /// Matches what the selectors do not.
    #[serde(default)]
    pub not: bool,
    /// Has selectors that a snapshot cannot judge: marks, ports, users, another device's output.
    #[serde(default)]
    pub others: bool,
    #[serde(default)]
    pub suppress_prefix_length: Option<u8>,
    /// As `ip rule` prints it, behind the priority: what `ip rule del` takes too.
    pub line: String,
}

impl PolicyRule {
    /// `100: from all to 10.0.0.0/8 prohibit`
    pub fn text(&self) -> String {
        format!("{}: {}", self.priority, self.line)
    }

    pub fn delete(&self) -> CommandLine {
        let command = shell!("ip rule del pref {}", self.priority).of_family(self.ipv6);
        // Another priority than the rule's own would take another rule away (iproute2, iprule.c).
        let other = |word: &str| {
            let names = ["preference", "order", "priority"];
            !word.is_empty() && names.iter().any(|name| name.starts_with(word))
        };
        let words = self.line.split(' ').filter(|word| !word.is_empty());
        match self.line.split(' ').any(other) {
            true => shell!("ip rule show pref {}", self.priority).of_family(self.ipv6),
            false => command.with_names(words),
        }
    }

    /// The mark that it asks for, as `ip route get` takes it.
    pub fn mark(&self) -> Option<&str> {
        let mut words = self.line.split(' ').skip_while(|word| *word != "fwmark");
        words.nth(1)?.split('/').next()
    }

    /// The same as a number.
    pub fn mark_value(&self) -> Option<u32> {
        let digits = self.mark()?.strip_prefix("0x")?;
        u32::from_str_radix(digits, 16).ok()
    }
}

/// What rules look at, of a packet without a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Unspecified where the node itself sends it and has not chosen yet.
    pub source: IpAddr,
    pub destination: IpAddr,
    /// 0 where nobody looked.
    pub protocol: u8,
    pub sport: u16,
    pub dport: u16,
    /// The device that it came in by; nothing for the node's own.
    pub iif: Option<u32>,
}

impl Packet {
    pub fn between(source: IpAddr, destination: IpAddr) -> Self {
        Self {
            source,
            destination,
            protocol: 0,
            sport: 0,
            dport: 0,
            iif: None,
        }
    }

    /// No address, of the same family.
    pub fn any(like: IpAddr) -> IpAddr {
        match like {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// What the rules come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen<'a> {
    Route(&'a Route),
    /// A route of kind [`RouteKind::Refusing`](super::node::RouteKind::Refusing); the rule that led to it, where it
    /// is not one of the kernel's own three.
    RefusingRoute(&'a Route, Option<&'a PolicyRule>),
    RefusingRule(&'a PolicyRule),
    None,
    /// Something decides that is not understood.
    Unknown,
}

impl<'a> Chosen<'a> {
    pub fn usable(self) -> Option<&'a Route> {
        match self {
            Self::Route(route) => Some(route),
            _ => None,
        }
    }

    /// The route that decides, one that refuses too.
    pub fn route(self) -> Option<&'a Route> {
        match self {
            Self::Route(route) | Self::RefusingRoute(route, _) => Some(route),
            _ => None,
        }
    }

    /// The rule that says no, or leads to a route that does.
    pub fn rule(self) -> Option<&'a PolicyRule> {
        match self {
            Self::RefusingRule(rule) => Some(rule),
            Self::RefusingRoute(_, rule) => rule,
            _ => None,
        }
    }
}
