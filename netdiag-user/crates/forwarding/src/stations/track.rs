//! Connection tracking (net/netfilter/nf_conntrack_core.c), in namespaces where a rule has asked for it.
use netdiag_model::world::ruleset::Hook;

use super::Walker;
use crate::{
    packet::{Packet, Tracked, Tracking, Tuple},
    prepared::{Space, Wrong},
    way::Walk,
};

/// NF_IP_PRI_CONNTRACK.
pub(super) const PRIORITY: i32 = -200;

/// Where it looks at packets, and where it takes note of a connection.
pub(super) fn begins_at(hook: Hook) -> bool {
    matches!(hook, Hook::Prerouting | Hook::Output)
}

pub(super) fn ends_at(hook: Hook) -> bool {
    matches!(hook, Hook::Input | Hook::Postrouting)
}

impl<'w> Walker<'w> {
    /// Whose packet it is (`nf_conntrack_in`); what it belongs to already stays.
    pub(super) fn tracks(&self, walk: &mut Walk<'w>, space: &Space<'w>, packet: &mut Packet) {
        if packet.tracked != Tracked::No {
            return;
        }
        let of = |tuple| walk.learned.tracked(space.netns, tuple);
        if packet.is_icmp() {
            // Such an error has the very packet in it, which is of the one that is told (`nf_conntrack_inet_error`).
            let about = packet.quotes.and_then(|quoted: Tuple| of(quoted));
            let about = about.filter(|_| !self.prepared.is(Wrong::ErrorsUnrelated));
            if let Some((of, _, answers)) = about {
                packet.tracked = Tracked::Is {
                    state: Tracking::Related,
                    reply: !answers,
                    of,
                };
            }
            return;
        }
        let tuple = packet.tuple();
        let (state, reply, of) = match of(tuple) {
            None => (Tracking::New, false, tuple),
            Some((of, replied, false)) => {
                let state = if replied {
                    Tracking::Established
                } else {
                    Tracking::New
                };
                (state, false, of)
            }
            Some((of, _, true)) if self.prepared.is(Wrong::AnswersAreNew) => {
                (Tracking::New, true, of)
            }
            Some((of, _, true)) => {
                walk.learned.learn_tracked(space.netns, of, true);
                (Tracking::Established, true, of)
            }
        };
        packet.tracked = Tracked::Is { state, reply, of };
    }

    /// What got so far is a connection from now on (`nf_conntrack_confirm`).
    pub(super) fn confirms(&self, walk: &mut Walk<'w>, space: &Space<'w>, packet: &Packet) {
        let Tracked::Is {
            state: Tracking::New,
            reply: false,
            of,
        } = packet.tracked
        else {
            return;
        };
        if walk.learned.tracked(space.netns, of).is_none() {
            walk.learned.learn_tracked(space.netns, of, false);
        }
    }
}
