//! Rules and tables of one namespace, asked which way a packet takes, and nothing else of it.
use std::net::IpAddr;

use netdiag_model::world::{
    Netns, Stack,
    route::{Hop, Route},
    rule::Rule,
};

pub use crate::route::decision::No;
use crate::{
    packet::{Packet, Sender},
    prepared::Space,
    route::{
        decision::Decision,
        rules::{Key, LOOPBACK, Looked},
    },
    way::{Subject, Unknown},
};

pub struct Tables<'w>(Space<'w>);

/// What rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub sport: u16,
    pub dport: u16,
    pub mark: u32,
    /// The device that it came in by; nothing for the namespace's own.
    pub iif: Option<u32>,
}

/// Where they lead it, with the rule that decided, where there are any.
#[derive(Clone, Debug)]
pub enum Led<'w> {
    /// By these next hops; to the namespace itself where the route's kind says so.
    By(&'w Route, Vec<&'w Hop>, Option<&'w Rule>),
    RefusedByRoute(&'w Route, Option<&'w Rule>),
    RefusedByRule(&'w Rule),
    Nowhere,
}

impl<'w> Tables<'w> {
    pub fn new(netns: Netns, stack: &'w Stack) -> Self {
        Self(Space::new(netns, stack))
    }

    pub fn lead(&self, asked: &Asked) -> Result<Led<'w>, Unknown> {
        let key = Key {
            destination: asked.destination,
            source: asked.source,
            tos: 0,
            mark: asked.mark,
            iif: asked.iif.unwrap_or(LOOPBACK),
            oif: 0,
            uid: 0,
            protocol: asked.protocol,
            sport: asked.sport,
            dport: asked.dport,
            ignore_linkstate: false,
            loose: false,
            failing: None,
        };
        let (looked, rule) = self.0.lookup_by(&key)?;
        Ok(match looked {
            Looked::Found(found) => Led::By(found.route, found.hops, rule),
            Looked::Refused(_, Subject::Route(route)) => Led::RefusedByRoute(route, rule),
            Looked::Refused(_, Subject::Rule(rule)) => Led::RefusedByRule(rule),
            Looked::Refused(..) | Looked::None => Led::Nowhere,
        })
    }

    /// Why it is led no further, as it comes in or is sent: without a route, for its source's sake, or because
    /// nothing is forwarded there.
    pub fn refuse(&self, asked: &Asked) -> Result<Option<No<'w>>, Unknown> {
        let space = &self.0;
        let packet = Packet {
            protocol: asked.protocol,
            sport: asked.sport,
            dport: asked.dport,
            mark: asked.mark,
            ttl: 64,
            ..Packet::new(asked.source, asked.destination)
        };
        let ipv6 = packet.is_ipv6();
        let device = asked.iif.map(|iif| space.device(iif)).transpose()?;
        let decision = match device {
            Some(device) if ipv6 => space.route_in6(&packet, device)?,
            Some(device) => space.route_in(&packet, device)?,
            None => {
                let sender = Sender {
                    netns: space.netns,
                    device: None,
                    uid: 0,
                    any_source: true,
                    failing: None,
                };
                match ipv6 {
                    true => space.route_out6(&packet, &sender)?.0,
                    false => space.route_out(&packet, &sender)?.0,
                }
            }
        };
        Ok(match decision {
            Decision::No(no) => Some(no),
            _ => None,
        })
    }
}
