//! What the kernel decides a packet's way by: the state of each network namespace, and what joins
//! them. It is read, kept and walked as it is: nothing here is netdiag's opinion.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize, Serializer};

use crate::link_filters::LinkHook;

pub mod address;
mod beside;
pub mod conf;
pub mod device;
pub mod ipsec;
pub mod ipvs;
pub mod neighbour;
pub mod of_node;
pub mod route;
pub mod rule;
pub mod ruleset;
pub mod shared;
pub mod station;
pub mod wireguard;

use address::Address;
use conf::Settings;
use device::Device;
use ipsec::Ipsec;
use ipvs::Ipvs;
use neighbour::{FdbEntry, Neighbour, Proxied};
use route::{Exception, Nexthop, Route};
use rule::Rule;
use ruleset::Ruleset;

/// A namespace by its inode.
pub type Netns = u32;

/// A device by where it is: an index means something in its namespace alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct End {
    pub netns: Netns,
    pub index: u32,
}

/// Why something is not known. Each has a sentence of its own where it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// Nobody asked for it yet.
    NotAsked,
    /// The kernel refused to say: no privilege, no such table.
    Refused(String),
    /// There was more of it than is read.
    TooMany,
    /// It changed while it was read, twice in a row.
    Changing,
}

/// What was read, as far as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Known<T> {
    Is(T),
    /// Some of it: what is missing may matter to any packet.
    Partly(T, Why),
    Not(Why),
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self::Not(Why::NotAsked)
    }
}

impl<T> Known<T> {
    /// All of it, or why not.
    pub fn whole(&self) -> Result<&T, &Why> {
        match self {
            Self::Is(all) => Ok(all),
            Self::Partly(_, why) | Self::Not(why) => Err(why),
        }
    }

    /// What there is of it.
    pub fn some(&self) -> Option<&T> {
        match self {
            Self::Is(some) | Self::Partly(some, _) => Some(some),
            Self::Not(_) => None,
        }
    }
}

/// One network namespace, a node's or a pod's alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// By index.
    pub devices: Known<BTreeMap<u32, Device>>,
    pub addresses: Known<Vec<Address>>,
    /// Of both families, in the order in which the kernel asks them.
    pub rules: Known<Vec<Rule>>,
    /// Of all tables, both families.
    pub routes: Known<Vec<Route>>,
    /// Nexthop objects by their ids.
    pub nexthops: Known<BTreeMap<u32, Nexthop>>,
    /// What was learned of single destinations: path MTUs, redirects.
    pub exceptions: Known<Vec<Exception>>,
    pub neighbours: Known<Vec<Neighbour>>,
    /// What it answers ARP and neighbour solicitations for beside its own addresses.
    pub proxied: Known<Vec<Proxied>>,
    /// Of bridges, their ports and VXLAN devices.
    pub fdb: Known<Vec<FdbEntry>>,
    /// Those sysctls that belong to no single device.
    pub settings: Known<Settings>,
    /// Those of nf_tables.
    #[serde(
        default,
        skip_serializing_if = "is_not_asked",
        serialize_with = "recorded"
    )]
    pub ruleset: Known<Arc<Ruleset>>,
    #[serde(
        default,
        skip_serializing_if = "is_not_asked",
        serialize_with = "ipvs::recorded"
    )]
    pub ipvs: Known<Ipvs>,
    #[serde(default, skip_serializing_if = "is_not_asked")]
    pub ipsec: Known<Ipsec>,
    /// What is shown the packets of a link beside netdiag's own programs, and may drop them, change them or send them
    /// elsewhere.
    #[serde(default, skip_serializing_if = "is_not_asked")]
    pub at_links: Known<Vec<AtLink>>,
    /// By which id its links name the node's namespace, where they lead there (`lower_netnsid`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_id: Option<i32>,
    /// When it was read (`CLOCK_MONOTONIC` ns).
    pub moment: u64,
    /// How many readings before this one found something else.
    pub generation: u64,
}

/// A filter of tc or a program of eBPF at one side of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtLink {
    pub device: u32,
    pub hook: LinkHook,
    /// As its maker called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

fn is_not_asked<T>(known: &Known<T>) -> bool {
    matches!(known, Known::Not(Why::NotAsked))
}

/// Rules and elements of sets of one namespace that are recorded: more of them would be most of a recording.
const RECORDED: (usize, usize) = (4_096, 16_384);

/// Whole or not at all: any packet may hang on what is missing.
fn recorded<S: Serializer>(ruleset: &Known<Arc<Ruleset>>, to: S) -> Result<S::Ok, S::Error> {
    let too_many = ruleset.some().is_some_and(|ruleset| {
        let (rules, elements) = ruleset.size();
        rules > RECORDED.0 || elements > RECORDED.1
    });
    match too_many {
        true => Known::<Arc<Ruleset>>::Not(Why::TooMany).serialize(to),
        false => ruleset.serialize(to),
    }
}

/// The namespaces that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    pub stacks: BTreeMap<Netns, Stack>,
    /// Where what is sent at one end comes in: pairs of veth and netkit, each both ways. Of a macvlan the link that it
    /// is on, where that is another namespace's.
    #[serde(with = "pairs")]
    pub wires: BTreeMap<End, End>,
    /// Which of them belong to which node, where several were read apart; none where it is one alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<BTreeSet<Netns>>,
}

/// JSON's objects have names for keys alone.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::End;

    pub fn serialize<S: Serializer>(all: &BTreeMap<End, End>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(all)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<BTreeMap<End, End>, D::Error> {
        Ok(Vec::<(End, End)>::deserialize(from)?.into_iter().collect())
    }
}

impl World {
    pub fn device(&self, at: End) -> Option<&Device> {
        self.stacks.get(&at.netns)?.device(at.index)
    }
}

impl Stack {
    pub fn device(&self, index: u32) -> Option<&Device> {
        self.devices.some()?.get(&index)
    }

    pub fn device_by_name(&self, name: &str) -> Option<&Device> {
        self.devices.some()?.values().find(|d| d.name == name)
    }

    /// Ports of a bridge, a bond's or a VRF's devices.
    pub fn slaves(&self, master: u32) -> impl Iterator<Item = &Device> {
        let all = self.devices.some().into_iter().flat_map(BTreeMap::values);
        all.filter(move |device| device.master == Some(master))
    }
}
