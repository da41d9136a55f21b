//! How much is kept of what passes the node's links, and so what it costs.
use std::{fmt, str::FromStr};

use netdiag_common::config;
use netdiag_lang::mark;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::verdict::NotChecked;

/// From the cheapest on. Drops, sockets' retransmits and OOM kills are counted in
/// full at each.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What opens and ends connections, DNS, ICMP, ARP and neighbour discovery, fragments, tunnels'
    /// outer addresses, and what is larger than its route takes. Nothing of other data.
    Light,
    /// Every flow's packets at every hop; TCP's sequences at pods' links and uplinks.
    Flows,
    /// TCP's sequences at every hop as well.
    #[default]
    Full,
}

impl Level {
    pub const ALL: [Self; 3] = [Self::Light, Self::Flows, Self::Full];

    /// As the programs have it.
    pub const fn wire(self) -> u32 {
        match self {
            Self::Light => config::LIGHT,
            Self::Flows => config::FLOWS,
            Self::Full => config::FULL,
        }
    }

    /// The next cheaper one.
    pub const fn lower(self) -> Option<Self> {
        match self {
            Self::Light => None,
            Self::Flows => Some(Self::Light),
            Self::Full => Some(Self::Flows),
        }
    }

    /// The next dearer one.
    pub const fn higher(self) -> Option<Self> {
        match self {
            Self::Light => Some(Self::Flows),
            Self::Flows => Some(Self::Full),
            Self::Full => None,
        }
    }

    /// What is not kept, where that is something.
    pub fn leaves_out(self) -> Option<NotChecked> {
        let (what, why) = match self {
            Self::Full => return None,
            Self::Flows => (
                mark!("TCP retransmits at bridges and tunnels' devices"),
                mark!("at the level flows they are looked for at pods' links and uplinks"),
            ),
            Self::Light => (
                mark!("data packets hop by hop"),
                mark!(
                    "the level light keeps what opens and ends connections, DNS, ICMP, fragments and \
                 oversize packets; --level flows keeps every flow"
                ),
            ),
        };
        Some(NotChecked::new(what, why))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Light => "light",
            Self::Flows => "flows",
            Self::Full => "full",
        })
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL
            .into_iter()
            .find(|level| level.to_string() == text);
        named.ok_or_else(|| format!("'{text}' is no level: there are light, flows and full"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_said_and_read_alike() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(
                level.lower().and_then(Level::higher).unwrap_or(level),
                level
            );
        }
        assert!("Full".parse::<Level>().is_err());
    }
}
