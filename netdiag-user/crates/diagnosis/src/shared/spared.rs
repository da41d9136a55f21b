//! What leaves with a pod's own address though others' is translated: which rule keeps it from that, in words.
use std::net::IpAddr;

use netdiag_lang::t;

use super::{
    rule_evidence::{origin, place, without},
    untracking,
};
use crate::{
    model::{
        journal::Thing,
        node::Link,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::{owed::Spared, taker::Taker},
    shell,
};

/// What is not translated.
#[derive(Clone, Copy)]
pub struct Bare<'a> {
    pub source: IpAddr,
    pub server: IpAddr,
    /// By which it leaves.
    pub left: &'a Link,
    /// What leaves by that link is translated as a rule.
    pub others_here: bool,
}

impl Bare<'_> {
    /// Why, in a few words.
    pub fn why(self, spared: &Spared) -> String {
        let Self { server, left, .. } = self;
        match spared {
            Spared::By(taker, _) => {
                t!("a rule of {} leaves {server} out", place(&taker.chain))
            }
            Spared::Untracked(_) => {
                t!("it is kept from connection tracking, and what is not tracked is not translated")
                    .into()
            }
            Spared::Nobody if self.others_here => t!("the rules leave {server} out"),
            Spared::Nobody => t!("no rule translates what leaves by {}", left.name),
        }
    }

    pub fn evidence(self, spared: &Spared) -> Option<Evidence> {
        let (text, origin, of) = match spared {
            Spared::By(taker, _) => {
                let (chain, handle) = (&taker.chain, taker.rule?.handle);
                let text = t!(
                    "a rule of {} takes it before those that translate are asked (handle {handle})",
                    place(chain)
                );
                let of = (!taker.legacy).then(|| (chain.clone(), handle));
                (text, origin(chain, taker.legacy, handle), of)
            }
            Spared::Untracked(Some((chain, handle))) => {
                let text = t!(
                    "a rule of {} keeps it from connection tracking (notrack, handle {handle})",
                    place(chain)
                );
                let of = (chain.clone(), *handle);
                (text, origin(chain, false, *handle), Some(of))
            }
            _ => return None,
        };
        let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, text);
        line.confirm = origin.list();
        Some(line.of(of.map(|(chain, handle)| Thing::Rule { chain, handle })))
    }

    pub fn fix(self, spared: &Spared) -> Fix {
        let Self {
            source,
            server,
            left,
            ..
        } = self;
        match spared {
            Spared::By(taker, _) => self.without(taker),
            Spared::Untracked(known) => {
                let commands = match known {
                    Some((chain, handle)) => without(chain, *handle),
                    None => untracking::look(),
                };
                Fix {
                    summary: t!(
                        "take the notrack rule away, or narrow it: what is not tracked leaves with the pod's own address, and {server} has no way back to {source}"
                    ),
                    commands,
                }
            }
            Spared::Nobody if self.others_here => Fix {
                summary: t!(
                    "where {server} is no pod's, narrow what the rules leave out (an address pool, a cluster CIDR, the networks that are not masqueraded), so that it is not in it; where it is a pod's, its network has to be routed to its node, and pods' addresses back"
                ),
                commands: vec![
                    shell!("iptables-save -t nat | grep -e MASQUERADE -e SNAT"),
                    shell!("ipset list -t"),
                    shell!("nft -a list ruleset | grep -e masquerade -e snat"),
                    shell!("ip route get {}", server),
                ],
            },
            Spared::Nobody => {
                let link = &left.name;
                let rule = match source.is_ipv4() {
                    true => shell!(
                        "iptables -t nat -A POSTROUTING -s {} -o {} -j MASQUERADE",
                        source,
                        link
                    ),
                    false => shell!(
                        "ip6tables -t nat -A POSTROUTING -s {} -o {} -j MASQUERADE",
                        source,
                        link
                    ),
                };
                Fix {
                    summary: t!(
                        "masquerade by {link}, too, what pods send out there: the rules do for other links alone; or let the network beyond {link} lead pods' addresses back by this node"
                    ),
                    commands: vec![rule],
                }
            }
        }
    }

    fn without(self, taker: &Taker) -> Fix {
        let (chain, server) = (&taker.chain, self.server);
        let handle = taker.rule.map_or(0, |rule| rule.handle);
        let commands = match taker.legacy {
            true => origin(chain, true, handle).list().into_iter().collect(),
            false => without(chain, handle),
        };
        Fix {
            summary: t!(
                "where {server} does not know pods' addresses, narrow that rule of {}, or take it away; where it is to know them, its network has to lead them back by this node",
                place(chain)
            ),
            commands,
        }
    }
}
