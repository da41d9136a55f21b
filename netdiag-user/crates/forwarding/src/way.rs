//! What a walk is: steps, each at a station, up to where it ends.
use std::net::IpAddr;

use netdiag_model::world::{
    Netns, Why,
    device::{Device, Mac},
    neighbour::Neighbour,
    route::Route,
    rule::Rule,
};

use crate::packet::Packet;

#[derive(Clone, Debug, Default)]
pub struct Walk<'w> {
    pub steps: Vec<Step<'w>>,
}

/// What happens to a packet at one station.
#[derive(Clone, Debug)]
pub struct Step<'w> {
    pub netns: Netns,
    pub station: Station,
    /// What decided.
    pub by: Option<Subject<'w>>,
    pub does: Does<'w>,
    /// As it leaves the station.
    pub packet: Packet,
}

/// Where a packet's way can end or turn, in the kernel's own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Station {
    /// A device: sending, the wire, coming in.
    Link,
    Bridge,
    /// The reverse path filter, and what sources cannot be.
    ReversePath,
    Route,
    Forward,
    Ttl,
    Size,
    Neighbour,
    Queue,
    Encap,
    Socket,
}

/// A part of the state that a step rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subject<'w> {
    Rule(&'w Rule),
    Route(&'w Route),
    Device(&'w Device),
    Neighbour(&'w Neighbour),
    /// A sysctl by its name below `net`, of a device where it has one of its own.
    Setting(&'static str, Option<&'w Device>),
}

#[derive(Clone, Debug)]
pub enum Does<'w> {
    Passes,
    /// Out of a device, as a frame to that address.
    Sends {
        device: u32,
        to: Option<Mac>,
    },
    /// In at a device.
    Comes {
        device: u32,
    },
    /// To this namespace itself.
    Delivers,
    Refuses(How),
    /// One of several, each so many times of all.
    Chooses(Vec<(Share, Walk<'w>)>),
    /// All of them.
    Copies(Vec<Walk<'w>>),
    Unknown(Unknown),
}

/// Of the whole, in 1/65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u32);

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    NoRoute,
    Blackhole,
    Unreachable,
    /// A rule that says `unreachable`: other than a route's, *network unreachable*.
    UnreachableByRule,
    Prohibited,
    /// It is for others, and this device does not forward.
    NotForwarding,
    /// By `rp_filter` 1: the way back goes by another device.
    ReversePath,
    MartianSource,
    MartianDestination,
    /// Its source is no address of this namespace.
    ForeignSource,
    /// No address of this namespace can speak to that destination.
    NoSource,
    /// It leads by a device that is down, or has no IP.
    DeviceDown,
    NoCarrier,
    /// The other end of a pair is down, or gone.
    PeerDown,
    PeerMtu(u32),
    /// The frame is for another host.
    OtherHost,
    TtlExceeded,
    TooBig(u32),
    /// Nobody answers for the next hop.
    NoNeighbour(IpAddr),
    /// No ways here: a device of this namespace where the family does not run.
    NoIp,
}

/// What is not known, or not modelled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// That part of the state was not read.
    NotRead(&'static str, Why),
    /// A kind of thing that no station knows, by its own name.
    NotModelled(String),
    /// Too many steps or branches.
    TooLong,
}

impl<'w> Walk<'w> {
    pub fn last(&self) -> Option<&Step<'w>> {
        self.steps.last()
    }
}
