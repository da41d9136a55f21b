//! What a finding is about, and the name under which it is the same one in the next reading.
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The thing that does it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A rule of netfilter: `inet filter input`, and as `nft list` or `iptables-save` print it.
    Rule {
        place: String,
        text: String,
    },
    /// A link of the node's.
    Link {
        name: String,
    },
    /// An address, and who holds it.
    Address {
        address: IpAddr,
    },
    /// A Service's backend, as the node's rules or its connection tracking name it.
    Backend {
        address: IpAddr,
    },
    /// The other end of a tunnel.
    Vtep {
        address: IpAddr,
    },
    NameServer {
        address: IpAddr,
    },
    /// The range of pods' addresses that has this one as an end.
    Range {
        end: IpAddr,
    },
    /// The network's daemon, by the name that its plugin shares: `flannel` of flanneld.
    Daemon {
        name: String,
    },
    /// The cluster's store.
    Etcd,
    /// A filter or program at a link: the link, and what netdiag says of it.
    Filter {
        link: String,
        text: String,
    },
    /// A Service, by `namespace/name:port` or its address and port.
    Service {
        name: String,
    },
}

impl Subject {
    /// Whether each node has its own by that name.
    pub fn is_a_nodes(&self) -> bool {
        match self {
            Self::Rule { .. } | Self::Link { .. } | Self::Daemon { .. } | Self::Filter { .. } => {
                true
            }
            Self::Address { .. }
            | Self::Backend { .. }
            | Self::Vtep { .. }
            | Self::NameServer { .. }
            | Self::Range { .. }
            | Self::Etcd
            | Self::Service { .. } => false,
        }
    }

    /// Its kind, and what tells it from others of the kind.
    fn parts(&self) -> Vec<String> {
        let of = |kind: &str, it: String| vec![kind.to_owned(), it];
        match self {
            Self::Rule { place, text } => vec!["rule".into(), place.clone(), text.clone()],
            Self::Filter { link, text } => vec!["filter".into(), link.clone(), text.clone()],
            Self::Link { name } => of("link", name.clone()),
            Self::Address { address } => of("address", address.to_string()),
            Self::Backend { address } => of("backend", address.to_string()),
            Self::Vtep { address } => of("vtep", address.to_string()),
            Self::NameServer { address } => of("name_server", address.to_string()),
            Self::Range { end } => of("range", end.to_string()),
            Self::Daemon { name } => of("daemon", name.clone()),
            Self::Etcd => vec!["etcd".into()],
            Self::Service { name } => of("service", name.clone()),
        }
    }
}

/// Digits that tell findings of one incident apart.
const BYTES: usize = 6;

/// Of a cause and its subject alone: the same in each reading, in a replay, and on another node
/// that has it too.
pub fn id(cause: &str, subject: Option<&Subject>) -> String {
    let mut hash = Sha256::new();
    hash.update(cause);
    for part in subject.map(Subject::parts).into_iter().flatten() {
        // Each with its length: else two could be one.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest
        .iter()
        .take(BYTES)
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_has_a_name_of_its_own() {
        let rule = |place: &str, text: &str| Subject::Rule {
            place: place.into(),
            text: text.into(),
        };
        let own = id("firewall-drop", Some(&rule("inet filter input", "drop")));
        assert_eq!(own.len(), 2 * BYTES);
        let others = [
            id("firewall-drop", Some(&rule("inet filter inpu", "tdrop"))),
            id("firewall-drop", None),
            id("no-route", None),
        ];
        assert!(!others.contains(&own));
    }
}
