//! macvlan (drivers/net/macvlan.c): devices that share a link, each with an address of its own. What comes in by the link
//! is theirs by its destination, before the link's own host sees it; what they send goes out by it, and never up to
//! that host.
use netdiag_model::world::{
    End,
    device::{Device, Kind, Mac, MacvlanMode},
};

use super::{Going, Next, Walker, link::is_too_big};
use crate::{
    packet::{Frame, Packet},
    prepared::{At, Space},
    route::decision::No,
    way::{How, Station, Unknown, Walk},
};

/// One of those on a link.
type One<'w> = (&'w Space<'w>, &'w Device, MacvlanMode);

impl<'w> Walker<'w> {
    /// Out of one (`macvlan_queue_xmit`).
    pub(super) fn shares(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (device, mode): (&'w Device, MacvlanMode),
        frame: Frame,
        packet: Packet,
    ) -> Going<'w> {
        let (there, below) = self.prepared.below(space, device)?;
        let outward = Next::Sends {
            space: there,
            device: below,
            frame,
            packet,
        };
        if mode != MacvlanMode::Bridge {
            return Ok(outward);
        }
        let others = self.sharers(there.end(below))?;
        let joined = |one: &&One<'w>| one.2 == MacvlanMode::Bridge;
        if frame.to.is_group() {
            let own = space.end(device);
            let to = others.iter().filter(joined);
            let to = to.filter(|(space, device, _)| space.end(device) != own);
            let copies = to.map(|(to, at, _)| {
                let packet = self.without_mark(packet, space, to);
                let end = to.end(at);
                Next::Comes { end, frame, packet }
            });
            let at = (space, Station::Link, device);
            let all = copies.chain([outward]).collect();
            return self.all_of(walk, at, packet, all, |_, next| Ok(next));
        }
        let to = others.iter().find(|(_, one, _)| one.mac == Some(frame.to));
        if to.filter(joined).is_none() {
            return Ok(outward);
        }
        // By the link as if it had come in there.
        if !below.flags.up || is_too_big(&frame, &packet, below) {
            let no = No::by_device(Station::Link, How::TooBig(below.mtu), below);
            return self.refuse(walk, there, no, packet);
        }
        let packet = self.without_mark(packet, space, there);
        Ok(Next::Comes {
            end: there.end(below),
            frame,
            packet,
        })
    }

    /// In by a link that has some (`macvlan_handle_frame`): who gets it instead of the link's own host.
    pub(super) fn shared(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        device: &'w Device,
        frame: Frame,
        packet: Packet,
    ) -> Result<Option<Next<'w>>, Unknown> {
        let all = self.sharers(space.end(device))?;
        if all.is_empty() {
            return Ok(None);
        }
        if all.iter().any(|one| one.2 == MacvlanMode::Source) {
            return Err(Unknown::NotModelled("a macvlan of mode source".into()));
        }
        if frame.to.is_group() {
            let heard = hearers(&all, frame.from);
            let Some(heard) = heard else {
                // Its own way back to a private one, whose link's host does not see it.
                let own = all.iter().find(|one| one.1.mac == frame.from);
                return Ok(own.map(|(space, one, _)| comes(space, one, frame, packet)));
            };
            for (to, one, _) in heard {
                let next = comes(to, one, frame, packet);
                if walk.heard.is_none() {
                    return Err(Unknown::NotModelled("a frame for many".into()));
                }
                self.goes_on(walk, Ok(next))?;
            }
            return Ok(None);
        }
        let passthru = |one: &&One<'w>| one.2 == MacvlanMode::Passthru;
        let to = all.iter().find(passthru);
        if let Some((there, one, _)) = to.filter(|one| !one.1.flags.up) {
            let no = No::by_device(Station::Link, How::DeviceDown, one);
            return self.refuse(walk, there, no, packet).map(Some);
        }
        let named = || all.iter().find(|one| one.1.mac == Some(frame.to));
        Ok(to
            .or_else(named)
            .map(|(space, one, _)| comes(space, one, frame, packet)))
    }

    /// Those on a link, as long as they are up: who has it alone is there all the same.
    fn sharers(&self, link: End) -> Result<Vec<One<'w>>, Unknown> {
        let all = self.prepared.above(link)?.into_iter();
        let mode = |(space, device): At<'w>| match device.kind {
            Kind::Macvlan(mode) if device.flags.up || mode == MacvlanMode::Passthru => {
                Some((space, device, mode))
            }
            _ => None,
        };
        Ok(all.filter_map(mode).collect())
    }
}

fn comes<'w>(space: &Space<'w>, device: &Device, frame: Frame, packet: Packet) -> Next<'w> {
    let end = space.end(device);
    Next::Comes { end, frame, packet }
}

/// Who hears what came from outside for many, by who sent it (`macvlan_multicast_rx`); nothing where it is
/// one's alone.
fn hearers<'a, 'w>(all: &'a [One<'w>], from: Option<Mac>) -> Option<Vec<&'a One<'w>>> {
    let own = from.and_then(|from| all.iter().find(|one| one.1.mac == Some(from)));
    let hears = |one: &&One<'w>| match own.map(|own| own.2) {
        None => true,
        Some(MacvlanMode::Vepa) => {
            matches!(one.2, MacvlanMode::Vepa | MacvlanMode::Bridge)
                && own.is_some_and(|own| own.1.index != one.1.index || own.0.netns != one.0.netns)
        }
        // Those joined heard it on its way out.
        Some(_) => one.2 == MacvlanMode::Vepa,
    };
    match own.map(|own| own.2) {
        Some(MacvlanMode::Private | MacvlanMode::Passthru) => None,
        _ => Some(all.iter().filter(hears).collect()),
    }
}
