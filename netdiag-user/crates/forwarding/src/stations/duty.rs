//! What is done at netfilter's hooks beside the chains: tracking, translation, IPVS, each at its own place among them.
use std::cmp::Reverse;

use netdiag_model::world::{ipvs::Ipvs, ruleset::Hook};

use super::{
    Walker,
    hook::{Passed, Place, Turned},
    ipvs::{self, Led, Part},
    nat,
    track::{self, begins_at},
};
use crate::{
    connection::{Side, Tracked},
    packet::Packet,
    prepared::{Space, Wrong},
    way::{Unknown, Walk},
};

#[derive(Clone, Copy)]
pub(super) enum Duty<'w> {
    Tracks,
    Translates(Side),
    Ipvs(&'w Ipvs, Part),
}

impl<'w> Walker<'w> {
    /// The last is the first that is due.
    pub(super) fn duties(
        &self,
        space: &'w Space<'w>,
        hook: Hook,
        ipv6: bool,
    ) -> Result<Vec<(i32, Duty<'w>)>, Unknown> {
        let mut duties = Vec::new();
        if let Some(ipvs) = space.ipvs()? {
            let parts = ipvs::at(hook).iter();
            duties.extend(parts.map(|(at, part)| (*at, Duty::Ipvs(ipvs, *part))));
        }
        if let Some((side, at)) = nat::at(hook).filter(|_| space.translates(ipv6)) {
            duties.push((at, Duty::Translates(side)));
        }
        if space.tracks(ipv6) && begins_at(hook) {
            duties.push((track::PRIORITY, Duty::Tracks));
        }
        duties.sort_by_key(|(at, _)| Reverse(*at));
        Ok(duties)
    }

    /// What comes of it, unless it goes on.
    pub(super) fn does(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (place, duty): (&Place<'w>, Duty<'w>),
        (before, packet): (&Packet, &mut Packet),
        turned: &mut Option<Turned<'w>>,
    ) -> Result<Option<Passed<'w>>, Unknown> {
        let goes_on = match duty {
            Duty::Tracks => {
                self.tracks(walk, space, packet);
                true
            }
            Duty::Ipvs(ipvs, Part::Answers) => {
                self.answers_as_server(walk, (space, ipvs), place, packet, turned)?
            }
            Duty::Ipvs(ipvs, Part::Leads) => {
                match self.leads(walk, (space, ipvs), place, packet)? {
                    Led::On => true,
                    Led::Ended => false,
                    Led::By(turned) => {
                        self.leaves_hook(walk, space, before, packet)?;
                        return Ok(Some(Passed::Led(turned)));
                    }
                }
            }
            Duty::Translates(side) => {
                let on = self.translates(walk, space, (place, side), before, packet)?;
                let wrong = self.prepared.is(Wrong::TranslatedNotRerouted);
                if on && place.hook == Hook::Output && leads_elsewhere(packet) && !wrong {
                    let now = place.turned(turned.as_ref());
                    *turned = self.reroutes(walk, space, &now, packet)?;
                    turned.is_some()
                } else {
                    on
                }
            }
        };
        Ok((!goes_on).then_some(Passed::Ended))
    }
}

/// Whether its connection's packets of that direction go to another address than they came for
/// (`nf_nat_ipv4_local_fn`).
fn leads_elsewhere(packet: &Packet) -> bool {
    let Tracked::Is { reply, of, .. } = packet.tracked else {
        return false;
    };
    of.towards(reply).destination != of.towards(!reply).source
}
