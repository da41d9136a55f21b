//! What another node's recording adds to a finding.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        total::Total,
        verdict::{Evidence, EvidenceKind, Finding, Origin},
    },
    pipeline::{
        facts::Facts,
        join::{Count, Way},
    },
};

/// The node of a finding, and another one that was watched at the same time.
pub struct Sides<'a, 'f> {
    pub here: &'a Facts<'f>,
    pub there: &'a Facts<'f>,
    pub here_name: &'a str,
    pub there_name: &'a str,
    /// From here to there, and back.
    pub to: &'a Way<'a>,
    pub back: &'a Way<'a>,
}

/// What a cause adds to its finding by what the other side says.
pub type Complete = fn(&Sides<'_, '_>, &mut Finding);

impl Sides<'_, '_> {
    /// The other node has a part in what is about its addresses.
    pub fn has_its_part(&self, finding: &mut Finding) {
        let theirs = |a: &IpAddr| self.there.node.owns(*a) && !self.here.node.owns(*a);
        if finding.about.iter().any(theirs) {
            self.has_part(finding);
        }
    }

    /// The other node has a part in it.
    pub fn has_part(&self, finding: &mut Finding) {
        let name = self.there_name;
        if !finding.nodes.iter().any(|n| n == name) {
            finding.nodes.push(name.to_owned());
        }
    }

    /// What was seen on the other node.
    pub fn there(&self, kind: EvidenceKind, origin: Origin, text: String) -> Evidence {
        let mut line = Evidence::new(kind, origin, text);
        line.node = Some(self.there_name.to_owned());
        line
    }

    /// How much of what left `from` came to `to`, seen on the one that should have got it.
    pub fn passed(&self, from: &str, to: &str, what: &str, count: Count) -> Evidence {
        let Count { left, came } = count;
        let came_there = match came {
            0 => t!("none came to {to}"),
            _ if came == left => t!("all came to {to}"),
            _ => t!("{came} came to {to}"),
        };
        let text = t!("{left} {what} left {from} while both were watched: {came_there}");
        let mut line = Evidence::new(EvidenceKind::Path, Origin::Observed, text);
        line.node = Some(to.to_owned());
        line.packets = Some(came);
        line
    }

    /// What the other node dropped of that which came from here.
    pub fn dropped_there(&self) -> Option<Evidence> {
        let worst = self.to.dropped.first()?;
        let same = self.to.dropped.iter();
        let same = same.filter(|l| l.reason == worst.reason && l.symbol() == worst.symbol());
        let packets: u64 = same.map(|l| l.dropped.packets).total();
        let (reason, symbol) = (&worst.reason, worst.symbol());
        let text = t!(
            "{packets} packets from {} came to {} and were dropped there: {reason} in {symbol}",
            self.here_name,
            self.there_name
        );
        let mut line = self.there(EvidenceKind::Drop, Origin::Observed, text);
        line.packets = Some(packets);
        line.at.clone_from(&worst.interface);
        line.reason = Some(reason.clone());
        line.location = Some(symbol.to_owned());
        Some(line)
    }
}
