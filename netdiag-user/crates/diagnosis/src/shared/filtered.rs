//! Questions for a neighbour, or its answers, that netfilter of this node takes: rules for ARP and bridges, and those for IPv6,
//! whose neighbour discovery is ICMPv6 (RFC 4861).
use std::net::{IpAddr, Ipv6Addr};

use netdiag_forwarding::packet::ICMP6;
use netdiag_lang::t;

use super::{
    losses::PATTERN,
    rule_evidence::{self, Found},
};
use crate::{
    model::{
        flow::ends,
        gather::{Rule, Want},
        netfilter::{Family, RuleOrigin},
        total::Total,
        verdict::{Evidence, EvidenceKind, Fix, Origin, Subject},
    },
    need::Need,
    pipeline::facts::{Facts, Loss},
    shell,
};

pub const ARP: u32 = 0x0806;
/// Solicitations and advertisements, as a flow's port has their kind.
const KINDS: [u16; 2] = [135 << 8, 136 << 8];
/// Rules that are told.
const RULES: usize = 2;

pub struct Filtered {
    address: IpAddr,
    packets: u64,
    /// The link at which they were taken.
    link: Option<String>,
    /// Those that may have done it.
    rules: Vec<Rule>,
}

/// Which rule it is, where any are taken.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let taken = facts.losses.iter().filter(|l| by_netfilter(facts, l));
    let of_neighbours = taken.filter(|l| is_arp(l) || is_nd(l));
    let packets: u64 = of_neighbours.map(|l| l.dropped.packets).total();
    let rules = Need::detail(Want::Rules(facts.node.netns));
    (packets >= PATTERN).then_some(rules).into_iter().collect()
}

fn by_netfilter(facts: &Facts<'_>, loss: &Loss) -> bool {
    loss.reason == "NETFILTER_DROP" && loss.key.netns == facts.node.netns
}

fn is_arp(loss: &Loss) -> bool {
    loss.flow().family == 0 && loss.dropped.ethertype == ARP
}

fn is_nd(loss: &Loss) -> bool {
    let flow = loss.flow();
    flow.protocol == ICMP6 && flow.source_port == 0 && KINDS.contains(&flow.destination_port)
}

impl Filtered {
    /// Of that address. ARP's are of its link, of the asker's or of that of the pod that has it; more is not known of them.
    pub fn of(facts: &Facts<'_>, address: IpAddr, links: &[u32]) -> Option<Self> {
        let side = facts.pod_side_of(address).map(|side| side.netns);
        let of_owner = |index: u32| {
            let link = facts.link(index);
            side.is_some() && link.is_some_and(|link| link.peer_netns == side)
        };
        let about = |l: &&Loss| match address {
            IpAddr::V4(_) => {
                let at = l.key.ifindex;
                is_arp(l) && (links.contains(&at) || of_owner(at))
            }
            IpAddr::V6(own) => {
                let (source, to) = ends(l.flow());
                is_nd(l) && (source == address || to == solicited(own))
            }
        };
        let taken = facts.losses.iter().filter(|l| by_netfilter(facts, l));
        let taken: Vec<&Loss> = taken.filter(about).collect();
        let packets = taken.iter().map(|l| l.dropped.packets).total();
        if packets < PATTERN {
            return None;
        }
        let rules = facts.gathered.rules(facts.node.netns).iter();
        let mut rules: Vec<&Rule> = rules.filter(|rule| may_take(rule, address)).collect();
        if rules.iter().any(|rule| rule.counted) {
            rules.retain(|rule| rule.counted);
        }
        let rules = rules.into_iter().take(RULES).cloned();
        Some(Self {
            address,
            packets,
            link: taken.iter().find_map(|l| l.interface.clone()),
            rules: rules.collect(),
        })
    }

    fn what(&self) -> &'static str {
        match self.address {
            IpAddr::V4(_) => t!("ARP"),
            IpAddr::V6(_) => t!("neighbour discovery"),
        }
    }

    pub fn text(&self) -> String {
        let (what, packets) = (self.what(), self.packets);
        match &self.link {
            Some(link) => {
                t!("netfilter of this node drops {what} that comes in by {link}: {packets} packets")
            }
            None => t!("netfilter of this node drops {what}: {packets} packets"),
        }
    }

    /// The rule, where there is one alone that may have done it.
    pub fn subject(&self) -> Option<Subject> {
        let [rule] = self.rules.as_slice() else {
            return None;
        };
        let (place, text) = (rule.place.clone(), rule.written());
        Some(Subject::Rule { place, text })
    }

    pub fn evidence(&self, facts: &Facts<'_>) -> Vec<Evidence> {
        let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, self.text());
        line.at.clone_from(&self.link);
        line.packets = Some(self.packets);
        let link = self.link.as_deref().unwrap_or("any");
        line.confirm = Some(match self.address {
            IpAddr::V4(_) => shell!("timeout 10 tcpdump -c 5 -lnni {v} arp", link),
            IpAddr::V6(_) => shell!(
                "timeout 10 tcpdump -c 5 -lnni {v} 'icmp6[0] == 135 or icmp6[0] == 136'",
                link
            ),
        });
        let found = Found {
            computed: false,
            alone: self.rules.len() == 1,
        };
        let rules = self.rules.iter();
        let rules = rules.map(|rule| rule_evidence::rule(facts, facts.node.netns, (rule, found)));
        [line].into_iter().chain(rules).collect()
    }

    pub fn fix(&self) -> Fix {
        let what = self.what();
        let Some(rule) = self.rules.first() else {
            return Fix {
                summary: t!(
                    "find the rule that drops {what} there, and let it pass: without it no packet gets anywhere"
                ),
                commands: vec![shell!("nft -a list ruleset")],
            };
        };
        let pass = match self.address {
            IpAddr::V4(_) => rule.delete(),
            IpAddr::V6(_) => rule.let_neighbours_pass(),
        };
        Fix {
            summary: t!(
                "let {what} pass before this rule of {}: without it no packet gets anywhere",
                rule.place
            ),
            commands: [rule.list(), pass].into_iter().flatten().collect(),
        }
    }
}

/// Of such a family and, as far as that is known, for what is asked.
fn may_take(rule: &Rule, address: IpAddr) -> bool {
    let family = match &rule.origin {
        RuleOrigin::Nft { chain, .. } => Some(chain.family),
        RuleOrigin::Iptables { program, .. } => Some(program.family()),
        RuleOrigin::Unknown => None,
    };
    let links = [Family::Arp, Family::Bridge, Family::Netdev];
    let asks = &rule.asks;
    match (address, family) {
        (IpAddr::V4(_), Some(family)) => links.contains(&family) && asks.ports.is_none(),
        (IpAddr::V6(_), Some(family)) => {
            let kind = asks.icmp.is_none_or(|kind| [135, 136].contains(&kind));
            let protocol = asks.protocol.is_none_or(|of| of == ICMP6);
            (family.has(true) || links.contains(&family))
                && protocol
                && kind
                && asks.ports.is_none()
        }
        (_, None) => false,
    }
}

/// To whom is sent what asks for an address (RFC 4291, 2.7.1).
fn solicited(address: Ipv6Addr) -> IpAddr {
    let [.., a, b, c] = address.octets();
    let low = [0x01, 0xff, a, b, c];
    let mut all = [0; 16];
    (all[0], all[1]) = (0xff, 0x02);
    all[11..].copy_from_slice(&low);
    IpAddr::from(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_goes_to_a_group_of_its_own() {
        let asked = solicited("2001:db8::a:b0c0".parse().expect("an address"));
        assert_eq!(asked.to_string(), "ff02::1:ff0a:b0c0");
    }
}
