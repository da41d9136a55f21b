//! Neighbours: which link-layer address the next hop has (net/core/neighbour.c).
use std::net::IpAddr;

use netdiag_model::world::{
    End,
    device::{Device, Mac},
    neighbour::{Neighbour, State},
};

use super::{Going, Next, Walker};
use crate::{
    learned::Learned,
    packet::{Frame, Packet},
    prepared::Space,
    route::decision::{No, Way},
    way::{Does, How, Outcome, Share, Station, Step, Subject, Unknown, Walk},
};

/// What is done with an address, and with whether it was asked for just now.
pub(super) type Then<'a, 'w> = &'a dyn Fn(&mut Walk<'w>, Mac, bool) -> Going<'w>;

impl<'w> Walker<'w> {
    pub(super) fn to_neighbour(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        way: &Way<'w>,
        packet: Packet,
    ) -> Going<'w> {
        let next = way.gateway.unwrap_or(packet.destination);
        let to_many = match next {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_multicast(),
        };
        if to_many {
            return Err(Unknown::NotModelled("packets for many".into()));
        }
        let device = way.device;
        if device.flags.no_arp || !device.ethernet {
            let (from, to) = (device.mac, device.mac.unwrap_or_default());
            let frame = Frame::new(from, to);
            let packet = Packet {
                next_hop: Some(next),
                ..packet
            };
            return Ok(Next::Sends {
                space,
                device,
                frame,
                packet,
            });
        }
        self.by_address(walk, space, way, (packet, true), &|_, mac, _| {
            let frame = Frame::new(device.mac, mac);
            Ok(Next::Sends {
                space,
                device,
                frame,
                packet,
            })
        })
    }

    /// Goes on with each link-layer address that the next hop may have, and with whether it was asked for. Its sender may be
    /// told where there is none, or not.
    pub(super) fn by_address(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        way: &Way<'w>,
        (packet, told): (Packet, bool),
        then: Then<'_, 'w>,
    ) -> Going<'w> {
        let device = way.device;
        let next = way.gateway.unwrap_or(packet.destination);
        let entry = neighbour(space, device, next)?;
        let known = entry.filter(|entry| !matches!(entry.state, State::Incomplete | State::Failed));
        let fixed =
            known.is_some_and(|entry| matches!(entry.state, State::Permanent | State::NoArp));
        let learned = walk.learned.of(space.end(device), next);
        let by = entry.map_or(Subject::Device(device), Subject::Neighbour);
        let asked = (space.end(device), next);
        let waits = learned.is_none() && self.is_asking(asked.0, asked.1);
        if walk.failing == Some(asked) || waits {
            // What is queued meanwhile is thrown away with the rest, whoever may answer (`neigh_invalidate`).
            let no = No {
                station: Station::Neighbour,
                how: How::NoNeighbour(next),
                by: Some(by),
            };
            return self.refuse(walk, space, no, packet);
        }
        // What waited beside it went to who answered first.
        let learned = walk.first(asked).or(learned);
        let found = match (known, learned) {
            (_, Some(mac)) if !fixed => vec![(Some(mac), None)],
            (Some(entry), _) => vec![(entry.mac, None)],
            (None, _) => {
                // It waits for the answer, or for nobody's.
                let before = self.given_up.replace(walk.failing);
                walk.waited();
                self.asking.borrow_mut().push(asked);
                let answers = self.came_of(walk, (space, device), next, packet.source);
                self.asking.borrow_mut().pop();
                self.given_up.set(before);
                let given_up = matches!(
                    entry.map(|entry| entry.state),
                    Some(State::Failed | State::Incomplete)
                );
                let waits = entry.is_some_and(|entry| entry.state == State::Incomplete);
                let alone = |all: &[Outcome]| all.iter().any(|(mac, _)| mac.is_none());
                let answers = match answers {
                    // Others on that wire may answer, who were not read.
                    Ok(all) if alone(&all) && self.is_open(space, device) => {
                        Err(Unknown::Beyond(None))
                    }
                    answers => answers,
                };
                match answers {
                    // Nobody can be asked here, and nobody answered when the kernel asked.
                    Err(Unknown::Beyond(_)) if given_up => {
                        // That tells why alone, where it tells anything.
                        let _ = self.asks_beside((space, device), next, packet.source);
                        vec![(None, None)]
                    }
                    Err(Unknown::Beyond(None)) => {
                        return Err(Unknown::Beyond(Some((device.index, next))));
                    }
                    Err(unknown) => return Err(unknown),
                    Ok(all) => {
                        // Somebody asks already, nobody knows with which source.
                        let nobody = (waits && !alone(&all)).then_some((None, None));
                        let all = all.into_iter().map(|(mac, known)| (mac, Some(known)));
                        all.chain(nobody).collect()
                    }
                }
            }
        };
        let to = |walk: &mut Walk<'w>, mac: Option<Mac>, asked| match mac {
            Some(mac) => then(walk, mac, asked),
            None => {
                let no = No {
                    station: Station::Neighbour,
                    how: How::NoNeighbour(next),
                    by: Some(by),
                };
                if !told {
                    return self.refuse(walk, space, no, packet);
                }
                walk.failing = Some((space.end(device), next));
                self.refuses(walk, space, no, packet)
            }
        };
        match found.as_slice() {
            [(one, known)] => {
                if let Some(known) = known {
                    walk.learned.clone_from(known);
                    walk.answers(asked, *one);
                }
                to(walk, *one, known.is_some())
            }
            several => {
                let share = Share::of(several.len());
                let mut branches = Vec::new();
                for (one, known) in several {
                    let mut branch = walk.branch();
                    if let Some(known) = known {
                        branch.learned.clone_from(known);
                        branch.answers(asked, *one);
                    }
                    let next = to(&mut branch, *one, known.is_some());
                    let gone = self.goes_on(&mut branch, next);
                    self.ends_alone(walk, &mut branch, gone)?;
                    branches.push((share, branch));
                }
                let step = Step {
                    netns: space.netns,
                    station: Station::Neighbour,
                    by: Some(by),
                    does: Does::Chooses(branches),
                    packet,
                };
                self.ends(walk, step)
            }
        }
    }

    pub(super) fn is_asking(&self, end: End, address: IpAddr) -> bool {
        self.asking.borrow().contains(&(end, address))
    }

    /// Whether it leads to a wire that nobody knows all of.
    fn is_open(&self, space: &Space<'w>, device: &Device) -> bool {
        !self.prepared.between.beside(space.end(device)).is_empty()
    }

    /// What came of the same question before, where nothing but what is known decides that.
    fn came_of(
        &self,
        walk: &Walk<'w>,
        (space, device): (&'w Space<'w>, &'w Device),
        target: IpAddr,
        source: IpAddr,
    ) -> Result<Vec<Outcome>, Unknown> {
        let question = (space.end(device), target, source);
        let kept = &self.prepared.questions;
        let silent = || self.silent.borrow().len();
        let alone = walk.failing.is_none()
            && self.asking.borrow().len() == 1
            && self.agreeing.borrow().is_empty()
            && self.prepared.tally.is_none();
        if let Some(came) = kept.came_of(&question, &walk.learned).filter(|_| alone) {
            return Ok(came.to_vec());
        }
        let before = (silent(), self.chances.asked());
        let came = self.asked(&walk.learned, space, device, target, source)?;
        if alone && before == (0, self.chances.asked()) && silent() == 0 {
            kept.keep(question, &walk.learned, &came);
        }
        Ok(came)
    }

    /// Asks, and has those who answer learn of it: what may be answered.
    fn asked(
        &self,
        learned: &Learned,
        space: &'w Space<'w>,
        device: &'w Device,
        target: IpAddr,
        source: IpAddr,
    ) -> Result<Vec<Outcome>, Unknown> {
        match target {
            IpAddr::V4(target) => self.asks_arp(learned, (space, device), target, source),
            IpAddr::V6(target) => self.asks_nd(learned, (space, device), target, source),
        }
    }
}

pub(super) fn neighbour<'w>(
    space: &Space<'w>,
    device: &Device,
    address: IpAddr,
) -> Result<Option<&'w Neighbour>, Unknown> {
    let all = space.stack.neighbours.whole();
    let all = all.map_err(|why| Unknown::NotRead("neighbours", why.clone()))?;
    Ok(all
        .iter()
        .find(|n| n.device == device.index && n.address == address))
}
