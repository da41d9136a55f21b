//! Addresses that are asked for on a link again and again (RFC 826, RFC 4861).
use std::net::IpAddr;

use netdiag_common::claim::{NeighbourAnnouncement, NeighbourAnnouncementKey};
use netdiag_lang::t;

use crate::{
    model::{
        address::{from_wire, mac},
        roles::Role,
        verdict::{Evidence, EvidenceKind, Origin},
    },
    pipeline::facts::Facts,
    shell,
};

/// Questions of one asker, and in all that nobody else came between.
const REPEATS: u64 = 4;
const QUESTIONS: u64 = 5;
pub const SPAN_NS: u64 = 3_000_000_000;
/// Who has an answer asks again after half a minute at the earliest, who has none each second.
pub const RARELY_NS: u64 = 5_000_000_000;

/// An address that is asked for again and again, until now.
pub struct Wanted {
    pub address: IpAddr,
    pub ifindex: u32,
    pub questions: NeighbourAnnouncement,
}

/// By the links that they are asked for on, the most often first.
pub fn asked_in_vain(facts: &Facts<'_>) -> Vec<Wanted> {
    let asked = facts.neighbour_questions.iter();
    let mut all: Vec<Wanted> = asked.filter_map(|row| Wanted::of(facts, row)).collect();
    all.sort_by_key(|one| (one.address, std::cmp::Reverse(one.count())));
    all
}

impl Wanted {
    fn of(
        facts: &Facts<'_>,
        (key, questions): &(NeighbourAnnouncementKey, NeighbourAnnouncement),
    ) -> Option<Self> {
        let wanted = Self {
            address: from_wire(key.address),
            ifindex: key.ifindex,
            questions: *questions,
        };
        let span = questions.last.saturating_sub(questions.first);
        let count = wanted.count();
        let often = count >= QUESTIONS && questions.of_one.max(questions.of_other) >= REPEATS;
        let lasts = span >= SPAN_NS && span <= count.saturating_mul(RARELY_NS);
        let now = facts.now.saturating_sub(questions.last) <= RARELY_NS;
        // A pod looks on its own link for what it should send to its gateway.
        let link = facts.link(key.ifindex);
        let outside = link.is_some_and(|link| facts.role(link) != Some(Role::Pod));
        (often && lasts && now && outside).then_some(wanted)
    }

    /// Of two askers who take turns the turns: what the other asked before the agent's window is not in it.
    pub fn count(&self) -> u64 {
        let asked = &self.questions;
        match (asked.changes, asked.latest) {
            (0, 1) => asked.of_other,
            (0, _) => asked.of_one,
            (turns, _) => turns.into(),
        }
    }

    /// Who asked last, where the node knows his address.
    pub fn asker(&self, facts: &Facts<'_>) -> Option<IpAddr> {
        let lladdr = self.lladdr();
        let family = |address: IpAddr| address.is_ipv4() == self.address.is_ipv4();
        let mut known = facts.node.neighbours.iter();
        let known = known.find(|n| n.lladdr.as_ref() == Some(&lladdr) && family(n.address))?;
        Some(known.address)
    }

    pub fn who(&self, facts: &Facts<'_>) -> String {
        let asker = self.asker(facts);
        asker.map_or_else(|| mac(&self.lladdr()), |asker| asker.to_string())
    }

    fn lladdr(&self) -> Vec<u8> {
        let last = match self.questions.latest {
            1 => self.questions.other,
            _ => self.questions.one,
        };
        last.to_be_bytes()[2..].to_vec()
    }

    pub fn how(&self) -> &'static str {
        match self.address {
            IpAddr::V4(_) => "ARP",
            IpAddr::V6(_) => t!("neighbour discovery"),
        }
    }

    /// What is said of its questions, and what shows them.
    pub fn line(&self, link: &str, text: String) -> Evidence {
        let (address, count) = (self.address, self.count());
        let mut line = Evidence::new(EvidenceKind::Neighbour, Origin::Observed, text);
        line.at = Some(link.to_owned());
        line.direction = Some("ingress".into());
        line.packets = Some(count);
        line.confirm = Some(match address {
            IpAddr::V4(_) => shell!(
                "timeout 10 tcpdump -c 5 -lnni {v} arp and host {}",
                link,
                address
            ),
            IpAddr::V6(_) => shell!(
                "timeout 10 tcpdump -c 5 -lnni {v} 'icmp6[0] == 135 or icmp6[0] == 136'",
                link
            ),
        });
        line
    }
}
