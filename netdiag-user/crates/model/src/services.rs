//! Services as a node's rules have them, and as its pods were told of them.
use netdiag_lang::t;

use super::shell::CommandLine;
use crate::shell;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::address::Prefix;

/// What translates for Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Engine {
    IptablesLegacy,
    IptablesNft,
    Nftables,
    Ipvs,
}

impl Engine {
    /// The command that lists its rules.
    pub fn list(self, address: IpAddr) -> CommandLine {
        match (self, address.is_ipv4()) {
            (Self::IptablesLegacy, true) => shell!("iptables-legacy-save -c"),
            (Self::IptablesLegacy, false) => shell!("ip6tables-legacy-save -c"),
            (Self::IptablesNft, true) => shell!("iptables-nft-save -c"),
            (Self::IptablesNft, false) => shell!("ip6tables-nft-save -c"),
            (Self::Nftables, _) => shell!("nft list ruleset"),
            (Self::Ipvs, _) => shell!("ipvsadm -Ln"),
        }
    }
}

/// One address and port of a Service: what the node does with connections to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub address: IpAddr,
    pub port: u16,
    pub protocol: u8,
    /// `namespace/name:port` as the rules say.
    pub name: Option<String>,
    pub backends: Vec<(IpAddr, u16)>,
    /// Connections are refused or dropped: it has no endpoints, or none that they may go to.
    pub rejected: bool,
    /// They are dropped because its traffic policy is Local and no endpoint of it is on this node.
    #[serde(default)]
    pub local: bool,
    pub engine: Engine,
    /// The table of nf_tables with its rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Box<str>>,
}

impl Service {
    /// Its name, else its address and port.
    pub fn label(&self) -> String {
        let endpoint = super::address::endpoint(self.address, self.port);
        match &self.name {
            Some(name) => format!("{name} ({endpoint})"),
            None => endpoint,
        }
    }
}

/// Ports that a rule leads on to somebody (DNAT), whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// Nothing where it is any address of the node's own family.
    pub address: Option<IpAddr>,
    pub ipv6: bool,
    pub protocol: u8,
    /// The first and the last of them.
    pub ports: (u16, u16),
}

/// An address that somebody on the node says is a Service's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub address: IpAddr,
    /// Where it says so: `CART_SERVICE_HOST of nginx[42]`.
    pub by: String,
    /// It is more than the word of one namespace's pods, who may say what they like. Earlier
    /// recordings do not tell.
    #[serde(default = "yes")]
    pub sure: bool,
}

fn yes() -> bool {
    true
}

/// Who says that an address is a Service's, and whether that settles it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub by: String,
    pub sure: bool,
}

/// Ports that are kept of rules that are no Service's: a node has some hundred containers.
const MOST_PUBLISHED: usize = 1024;

/// Everything that is known of Services without asking the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Services {
    pub rules: Vec<Service>,
    /// Ports at which Services are reached by any address of the node's: theirs is unspecified.
    #[serde(default)]
    pub node_ports: Vec<Service>,
    /// Ports that other rules than kube-proxy's lead on: hostPorts, Docker's, somebody's own.
    #[serde(default)]
    pub published: Vec<Published>,
    /// Chains of kube-proxy's are there, even if no Service is in them.
    pub kube_proxy: bool,
    /// Processes of this node that keep such rules up to date.
    pub proxies: Vec<String>,
    pub told: Vec<Told>,
    /// Prefixes that Services get their addresses from, and who says so.
    pub ranges: Vec<(Prefix, String)>,
    /// Processes that were not looked at: who keeps such rules may be among them.
    #[serde(default)]
    pub unseen: u64,
    /// What containers were told and nobody read, and why.
    #[serde(default)]
    pub unread: Vec<(String, String)>,
}

impl Services {
    /// What the rules do with connections to that address and port.
    pub fn rule(&self, address: IpAddr, port: u16, protocol: u8) -> Option<&Service> {
        let same = |s: &&Service| (s.address, s.port, s.protocol) == (address, port, protocol);
        self.rules.iter().find(same)
    }

    /// What they do with connections to a port of the node's own.
    pub fn node_port(&self, address: IpAddr, port: u16, protocol: u8) -> Option<&Service> {
        let own = |s: &&Service| s.address.is_ipv4() == address.is_ipv4();
        let same = |s: &&Service| own(s) && (s.port, s.protocol) == (port, protocol);
        self.node_ports.iter().find(same)
    }

    /// Whether some rule leads connections to that address and port on; `own` says that the address is
    /// the node's.
    pub fn publishes(&self, (address, port): (IpAddr, u16), protocol: u8, own: bool) -> bool {
        self.published.iter().any(|it| {
            let there = it.address.map_or(own, |a| a == address);
            let family = it.ipv6 == address.is_ipv6();
            let (first, last) = it.ports;
            there && family && it.protocol == protocol && (first..=last).contains(&port)
        })
    }

    /// Notes one of these, while there is room.
    pub fn publish(&mut self, it: Published) {
        if self.published.len() < MOST_PUBLISHED && !self.published.contains(&it) {
            self.published.push(it);
        }
    }

    /// Notes a rule for a port of the node's own. One rule may lead connections on that another one
    /// drops: kube-proxy spares those of the node itself and of its pods.
    pub fn add_node_port(&mut self, service: Service) {
        let key = |s: &Service| (s.address, s.port, s.protocol);
        let mut known = self.node_ports.iter_mut();
        match known.find(|s| key(s) == key(&service)) {
            Some(known) => {
                known.rejected |= service.rejected;
                known.local |= service.local;
                known.backends.extend(service.backends);
                known.name = known.name.take().or(service.name);
            }
            None => self.node_ports.push(service),
        }
    }

    /// Who says that the address is a Service's: nothing where nobody does. Who is sure of it comes
    /// first.
    pub fn evidence(&self, address: IpAddr) -> Option<Word> {
        let told = self.told.iter().filter(|t| t.address == address);
        let told = told.max_by_key(|t| t.sure).map(|t| Word {
            by: t.by.clone(),
            sure: t.sure,
        });
        let range = || {
            let mut ranges = self.ranges.iter();
            let (prefix, by) = ranges.find(|(prefix, _)| prefix.contains(address))?;
            let by = t!("{prefix} of {by}");
            Some(Word { by, sure: true })
        };
        match told {
            Some(word) if !word.sure => range().or(Some(word)),
            told => told.or_else(range),
        }
    }

    /// Whether nobody on this node keeps such rules up to date.
    pub fn has_no_proxy(&self) -> bool {
        self.proxies.is_empty() && self.unseen == 0
    }
}
