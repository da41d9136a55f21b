//! Any step at which a way ends, in one sentence, a cause's own or not.
use netdiag_forwarding::way::{Does, How, Station, Step, Subject};
use netdiag_lang::t;

use super::{dead_end, rule_evidence};
use crate::pipeline::{facts::Facts, taker::taker};

pub fn said(facts: &Facts<'_>, step: &Step<'_>) -> String {
    if let Some(told) = dead_end::told(facts, step) {
        return told.what;
    }
    let whose = dead_end::whose(facts, step.netns);
    if let Some(Subject::Filter(filter)) = step.by {
        let taker = taker(filter, false);
        let place = rule_evidence::place(&taker.chain);
        return match taker.rule {
            Some(rule) => t!("{whose}: rule {} of {place} refuses it", rule.number),
            None => t!("{whose}: the policy of {place} refuses it"),
        };
    }
    match step.does {
        Does::Refuses(How::NoNeighbour(next)) => {
            return t!("{whose}: nobody answers for the next hop {next}");
        }
        Does::Refuses(How::OtherHost) => {
            return t!("{whose}: its frame is for another link-layer address");
        }
        _ => {}
    }
    match step.station {
        Station::Link => t!("{whose}: the link does not carry it"),
        Station::Program => t!("{whose}: a program refuses it"),
        Station::Bridge => t!("{whose}: no port of the bridge sends it on"),
        Station::Hook => t!("{whose}: netfilter refuses it"),
        Station::ReversePath => t!("{whose}: its source may not come this way"),
        Station::Route => t!("{whose}: no route leads it on"),
        Station::Forward => t!("{whose}: what is for others is not led on"),
        Station::Xfrm => t!("{whose}: a policy of IPsec refuses it"),
        Station::Ttl => t!("{whose}: its hops (TTL) are used up"),
        Station::Size => t!("{whose}: it is too large for the way out"),
        Station::Neighbour => t!("{whose}: nobody answers for the next hop"),
        Station::Queue => t!("{whose}: the queue is full"),
        Station::Encap => t!("{whose}: the tunnel knows no other end for it"),
        Station::Socket => t!("{whose}: nobody takes it there"),
    }
}
