//! What routing decides of a packet, in either family.
use std::net::IpAddr;

use netdiag_model::world::{
    device::Device,
    route::{Hop, Route},
};

use crate::way::{How, Station, Subject};

/// Where a packet is to go on.
#[derive(Clone, Debug)]
pub enum Decision<'w> {
    /// To this namespace itself.
    Local(Option<&'w Route>),
    /// The same of what is sent over IPv6, with the source that is chosen for it.
    Looped {
        route: &'w Route,
        source: Option<IpAddr>,
    },
    /// By one of these next hops; the route is none where the device alone was asked for.
    Onward {
        route: Option<&'w Route>,
        hops: Vec<Way<'w>>,
    },
    No(No<'w>),
}

/// Where it goes no further, and by what.
#[derive(Clone, Copy, Debug)]
pub struct No<'w> {
    pub station: Station,
    pub how: How,
    pub by: Option<Subject<'w>>,
}

impl<'w> No<'w> {
    /// By what stands at netfilter's hooks.
    pub fn dropped(by: Option<Subject<'w>>) -> Self {
        let (station, how) = (Station::Hook, How::Dropped);
        Self { station, how, by }
    }

    pub fn by_device(station: Station, how: How, device: &'w Device) -> Self {
        let by = Some(Subject::Device(device));
        Self { station, how, by }
    }
}

/// Out of a device, to a gateway or to the destination itself.
#[derive(Clone, Copy, Debug)]
pub struct Way<'w> {
    pub device: &'w Device,
    pub gateway: Option<IpAddr>,
    pub hop: Option<&'w Hop>,
    /// What a sender's packets carry that did not choose a source: each next hop has its own.
    pub source: Option<IpAddr>,
    /// Its sender's address is loopback's, and does not leave there: of several next hops that is found where one is taken.
    pub martian: bool,
}

pub fn no<'w>(station: Station, how: How, by: Option<Subject<'w>>) -> Decision<'w> {
    Decision::No(No { station, how, by })
}
