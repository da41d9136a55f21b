//! Rules and tables of one namespace, asked which way a packet takes, and nothing else of it.
use std::net::IpAddr;

use netdiag_model::world::{
    Netns, Stack,
    route::{Hop, Route},
    rule::Rule,
};

use crate::{
    prepared::Space,
    route::rules::{Key, LOOPBACK, Looked},
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
}
