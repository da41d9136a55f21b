//! IPsec: what its policies are about is not followed, which nobody here can tell of.
use netdiag_model::world::{
    Known, Why,
    ipsec::{Direction, IpsecPolicy},
};

use crate::{packet::Packet, prepared::Space, way::Unknown};

impl Space<'_> {
    /// That no policy is about a packet there. What earlier recordings do not tell was not there.
    pub(super) fn without_ipsec(&self, packet: &Packet, there: Direction) -> Result<(), Unknown> {
        let ipsec = match &self.stack.ipsec {
            Known::Is(ipsec) => ipsec,
            Known::Not(Why::NotAsked) => return Ok(()),
            Known::Partly(_, why) | Known::Not(why) => {
                return Err(Unknown::NotRead("policies of IPsec", why.clone()));
            }
        };
        let mut policies = ipsec.policies.iter();
        let about = policies.any(|one| one.direction == there && is_about(one, packet));
        match about || ipsec.refuses_rest {
            true => Err(Unknown::NotModelled("a policy of IPsec".into())),
            false => Ok(()),
        }
    }
}

/// (`__xfrm4_selector_match`, `__xfrm6_selector_match`), whatever its mark and its link.
fn is_about(policy: &IpsecPolicy, packet: &Packet) -> bool {
    let protocol = [0, packet.protocol].contains(&policy.protocol);
    let ends = policy.from.contains(packet.source) && policy.to.contains(packet.destination);
    // Errors have their kind there, and fragments nothing.
    let portless = packet.is_icmp() || packet.is_cut() || packet.chosen.is_some();
    let ports = portless || (policy.sport.has(packet.sport) && policy.dport.has(packet.dport));
    protocol && ends && ports
}
