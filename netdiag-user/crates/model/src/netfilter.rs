//! Rules of netfilter by where they are, in parts: whose names those parts are is another matter, so
//! a command is made of them word by word (`gather/rule_commands.rs`), never taken over as text.
use serde::{Deserialize, Serialize};

use crate::services::Engine;

/// A family of nftables' tables (nft(8), ADDRESS FAMILIES).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    Ip,
    Ip6,
    Inet,
    Arp,
    Bridge,
    Netdev,
}

impl Family {
    const ALL: [Self; 6] = [
        Self::Ip,
        Self::Ip6,
        Self::Inet,
        Self::Arp,
        Self::Bridge,
        Self::Netdev,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Arp => "arp",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
        }
    }

    /// Whether its rules take packets of IP, or of IPv6.
    pub fn has(self, ipv6: bool) -> bool {
        match self {
            Self::Ip => !ipv6,
            Self::Ip6 => ipv6,
            Self::Inet => true,
            Self::Arp | Self::Bridge | Self::Netdev => false,
        }
    }

    /// That of IP, or of IPv6.
    pub fn of_ip(ipv6: bool) -> Self {
        if ipv6 { Self::Ip6 } else { Self::Ip }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }
}

/// One of iptables' programs, by engine and family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Iptables {
    Legacy4,
    Legacy6,
    Nft4,
    Nft6,
}

impl Iptables {
    const ALL: [Self; 4] = [Self::Legacy4, Self::Legacy6, Self::Nft4, Self::Nft6];

    pub fn name(self) -> &'static str {
        match self {
            Self::Legacy4 => "iptables-legacy",
            Self::Legacy6 => "ip6tables-legacy",
            Self::Nft4 => "iptables-nft",
            Self::Nft6 => "ip6tables-nft",
        }
    }

    pub fn family(self) -> Family {
        match self {
            Self::Legacy4 | Self::Nft4 => Family::Ip,
            Self::Legacy6 | Self::Nft6 => Family::Ip6,
        }
    }

    pub fn save(self) -> &'static str {
        match self {
            Self::Legacy4 => "iptables-legacy-save",
            Self::Legacy6 => "ip6tables-legacy-save",
            Self::Nft4 => "iptables-nft-save",
            Self::Nft6 => "ip6tables-nft-save",
        }
    }

    pub fn engine(self) -> Engine {
        match self {
            Self::Legacy4 | Self::Legacy6 => Engine::IptablesLegacy,
            Self::Nft4 | Self::Nft6 => Engine::IptablesNft,
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.name() == name)
    }
}

/// A chain of nftables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Chain {
    pub family: Family,
    pub table: String,
    pub chain: String,
}

/// Which rule it is, for those who list it or take it away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleOrigin {
    /// The policy of the chain where there is no handle.
    Nft { chain: Chain, handle: Option<u64> },
    /// The words of `-A CHAIN …` behind the chain; its policy where there are none.
    Iptables {
        program: Iptables,
        table: String,
        chain: String,
        words: Option<Vec<String>>,
        /// In its chain, from 1 on; none of a policy, nor in earlier recordings.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
    },
    /// A recording says something else.
    #[default]
    Unknown,
}

impl RuleOrigin {
    /// The chain of nf_tables that it is in.
    pub fn chain(&self) -> Option<Chain> {
        match self {
            Self::Nft { chain, .. } => Some(chain.clone()),
            Self::Iptables {
                program,
                table,
                chain,
                ..
            } => (program.engine() == Engine::IptablesNft).then(|| Chain {
                family: program.family(),
                table: table.clone(),
                chain: chain.clone(),
            }),
            Self::Unknown => None,
        }
    }

    /// Its number in that table, where it is known.
    pub fn handle(&self) -> Option<u64> {
        match self {
            Self::Nft { handle, .. } => *handle,
            Self::Iptables { .. } | Self::Unknown => None,
        }
    }
}

/// What is to be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listing {
    NftChain(Chain),
    Iptables {
        program: Iptables,
        table: String,
    },
    #[default]
    Unknown,
}

impl Listing {
    /// Whether connections of that family may meet what it lists.
    pub fn is_of(&self, ipv6: bool) -> bool {
        match self {
            Self::NftChain(chain) => match chain.family {
                Family::Ip => !ipv6,
                Family::Ip6 => ipv6,
                _ => true,
            },
            Self::Iptables { program, .. } => {
                matches!(program, Iptables::Legacy6 | Iptables::Nft6) == ipv6
            }
            _ => true,
        }
    }
}

/// Words as iptables-save(8) writes them: in double quotes where they are not plain, with `"`, `\` and
/// `'` behind a backslash (libxtables/xtables.c, xtables_save_string).
pub fn saved_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(chars.next()),
            c if c.is_ascii_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_taken_off() {
        let words = |line: &str| saved_words(line).join("|");
        assert_eq!(words("-p tcp  -j DROP"), "-p|tcp|-j|DROP");
        let hostile = r#"-m comment --comment "a \"b\" \\ \' $(id)" -j DROP"#;
        assert_eq!(
            words(hostile),
            r#"-m|comment|--comment|a "b" \ ' $(id)|-j|DROP"#
        );
        assert_eq!(saved_words(r#"--comment "" x"#), ["--comment", "", "x"]);
        assert_eq!(words("--comment \"never ends"), "--comment|never ends");
    }

    #[test]
    fn rules_are_of_a_family_or_of_both() {
        let table = |program| Listing::Iptables {
            program,
            table: "nat".into(),
        };
        let chain = |family| {
            Listing::NftChain(Chain {
                family,
                table: "mesh".into(),
                chain: "in".into(),
            })
        };
        let of = |listing: Listing| [false, true].map(|ipv6| listing.is_of(ipv6));
        assert_eq!(of(table(Iptables::Nft4)), [true, false]);
        assert_eq!(of(table(Iptables::Legacy6)), [false, true]);
        assert_eq!(of(chain(Family::Ip6)), [false, true]);
        assert_eq!(of(chain(Family::Inet)), [true, true]);
        assert_eq!(of(Listing::Unknown), [true, true]);
    }

    #[test]
    fn names_lead_back() {
        for family in Family::ALL {
            assert_eq!(Family::named(family.name()), Some(family));
        }
        for program in Iptables::ALL {
            assert_eq!(Iptables::named(program.name()), Some(program));
            assert_eq!(program.save(), format!("{}-save", program.name()));
        }
        assert_eq!(Family::named("ip;"), None);
    }
}
