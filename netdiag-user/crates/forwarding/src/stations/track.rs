//! Connection tracking (net/netfilter/nf_conntrack_core.c), in namespaces where a rule has asked for it.
use netdiag_model::world::ruleset::Hook;

use super::Walker;
use crate::{
    connection::{Connection, Tracked, Tracking},
    learned::Seen,
    packet::{ICMP, ICMP6, Packet},
    prepared::{Space, Wrong},
    way::{Unknown, Walk},
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
        if packet.is_of_the_link() {
            packet.tracked = Tracked::Untracked;
            return;
        }
        if packet.is_icmp() && !packet.is_echo() {
            packet.tracked = self.related(walk, space, packet);
            return;
        }
        let tuple = packet.tuple();
        let known = walk.learned.tracked(space.netns, &tuple);
        // A question alone makes one (`nf_conntrack_icmp_packet`).
        if known.is_none() && is_answer(packet) {
            return;
        }
        let (state, reply, of) = match known {
            None => (Tracking::New, false, Connection::new(tuple)),
            Some((of, Seen::BothWays, false)) => (Tracking::Established, false, of),
            Some((of, _, false)) => (Tracking::New, false, of),
            Some((of, _, true)) if self.prepared.is(Wrong::AnswersAreNew) => {
                (Tracking::New, true, of)
            }
            Some((of, seen, true)) => {
                if seen != Seen::BothWays {
                    walk.learned.learn_tracked(space.netns, of, Seen::BothWays);
                }
                (Tracking::Established, true, of)
            }
        };
        packet.tracked = Tracked::Is { state, reply, of };
    }

    /// Such an error has the very packet in it that it is about, which is of the one that is told
    /// (`nf_conntrack_inet_error`).
    fn related(&self, walk: &Walk<'w>, space: &Space<'w>, packet: &Packet) -> Tracked {
        let about = packet.quotes.map(|quoted| quoted.reply());
        let found = about.and_then(|about| walk.learned.tracked(space.netns, &about));
        let Some((of, _, reply)) = found.filter(|_| !self.prepared.is(Wrong::ErrorsUnrelated))
        else {
            return Tracked::No;
        };
        if packet.destination != of.towards(reply).destination {
            return Tracked::No;
        }
        let state = Tracking::Related;
        Tracked::Is { state, reply, of }
    }

    /// What got so far is a connection from now on (`nf_conntrack_confirm`); what is written on one that was is
    /// kept.
    pub(super) fn confirms(
        &self,
        walk: &mut Walk<'w>,
        space: &Space<'w>,
        packet: &Packet,
    ) -> Result<(), Unknown> {
        let Tracked::Is { state, reply, of } = packet.tracked else {
            return Ok(());
        };
        let known = |walk: &Walk<'w>| {
            let mut all = walk.learned.connections(space.netns);
            all.any(|(other, _)| other.original == of.original)
        };
        if state != Tracking::New || reply || known(walk) {
            return Ok(());
        }
        if !self.prepared.is(Wrong::TakenPorts) && is_taken(walk, space, &of)? {
            let clash = "a connection that another one's answers belong to";
            return Err(Unknown::NotModelled(clash.into()));
        }
        walk.learned.learn_tracked(space.netns, of, Seen::OneWay);
        Ok(())
    }

    /// What rules have written on a connection that is known already.
    pub(super) fn marks(&self, walk: &mut Walk<'w>, space: &Space<'w>, packet: &Packet) {
        let Tracked::Is { of, .. } = packet.tracked else {
            return;
        };
        let mut all = walk.learned.connections(space.netns);
        let known = all.find(|(other, _)| other.original == of.original);
        drop(all);
        if let Some((mut known, seen)) = known
            && known.mark != of.mark
        {
            known.mark = of.mark;
            walk.learned.learn_tracked(space.netns, known, seen);
        }
    }
}

/// Of ping's.
fn is_answer(packet: &Packet) -> bool {
    let answers = |kind| [(ICMP, 0), (ICMP6, 129)].contains(&(packet.protocol, kind));
    answers(packet.dport >> 8)
}

/// Whether packets that answer it are another one's (`nf_conntrack_tuple_taken`).
pub(super) fn is_taken(
    walk: &Walk<'_>,
    space: &Space<'_>,
    of: &Connection,
) -> Result<bool, Unknown> {
    let others = || {
        let all = walk.learned.connections(space.netns);
        let others = all.filter(|(other, _)| other.original != of.original);
        others.flat_map(|(other, _)| [other.original, other.answers])
    };
    if others().any(|tuple| tuple == of.answers) {
        return Ok(true);
    }
    // One that the kernel chose is nobody's.
    if of.answers.dport.only().is_none() {
        return Ok(false);
    }
    match others().any(|tuple| tuple.holds(&of.answers)) {
        true => Err(Unknown::NotModelled(
            "whether the kernel chose that port before".into(),
        )),
        false => Ok(false),
    }
}
