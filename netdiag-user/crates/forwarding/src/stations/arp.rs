//! ARP as the packets that it is (net/ipv4/arp.c): who asks with which source, who hears it, and who
//! answers. A question is routed where it comes in as any packet is, its source held against the
//! reverse path.
use std::net::{IpAddr, Ipv4Addr};

use netdiag_model::world::{
    End,
    address::Scope,
    conf::Of4,
    device::{Device, Mac},
    neighbour::State,
    route::Kind,
};

use super::{Walker, neighbour::neighbour};
use crate::{
    learned::Learned,
    packet::Packet,
    prepared::Space,
    route::decision::{Decision, No},
    way::{Does, How, Outcome, Station, Step, Subject, Unknown},
};

/// A question of ARP's: a sender's address, and whose is asked for.
#[derive(Clone, Copy)]
pub(super) struct Question {
    pub(super) sender: Ipv4Addr,
    pub(super) target: Ipv4Addr,
}

impl<'w> Walker<'w> {
    /// What may be answered: who answers learns who asked (`neigh_event_ns`).
    pub(super) fn asks_arp(
        &self,
        learned: &Learned,
        (space, device): (&'w Space<'w>, &'w Device),
        target: Ipv4Addr,
        source: IpAddr,
    ) -> Result<Vec<Outcome>, Unknown> {
        let sender = self.announced(space, device, target, source)?;
        let question = Question { sender, target };
        let asker = (space.end(device), Mac::BROADCAST, target.into());
        let own = device.mac;
        self.answered(learned, asker, packet(question), |learned, end| {
            let mut each = Vec::new();
            for answer in self.answers(end, question)? {
                let answer = answer.zip(own);
                let hears = answer.is_some() || self.has_entry(end, sender.into())?;
                let mut learned = learned.clone();
                if let Some(own) = own.filter(|_| hears && !sender.is_unspecified()) {
                    learned.learn(end, sender.into(), own);
                }
                each.push((answer, learned));
            }
            Ok(each)
        })
    }

    /// Of a question that others may hear whom nobody read: what is kept of whoever is at the other end of the link.
    pub(super) fn asks_beside(
        &self,
        (space, device): (&'w Space<'w>, &'w Device),
        target: IpAddr,
        source: IpAddr,
    ) -> Result<(), Unknown> {
        let wires = &self.prepared.world.wires;
        let (IpAddr::V4(target), Some(peer)) = (target, wires.get(&space.end(device))) else {
            return Ok(());
        };
        let sender = self.announced(space, device, target, source)?;
        let port = self.prepared.space(peer.netns)?.device(peer.index)?;
        let index = port.master.unwrap_or(port.index);
        self.answers(End { index, ..*peer }, Question { sender, target })
            .map(drop)
    }

    /// Whoever hears a question and has an entry for its sender, in whatever state, takes note of it.
    fn has_entry(&self, end: End, sender: IpAddr) -> Result<bool, Unknown> {
        let space = self.prepared.space(end.netns)?;
        let device = space.device(end.index)?;
        if self.is_asking(end, sender) {
            return Ok(true);
        }
        let entry = neighbour(space, device, sender)?;
        Ok(entry.is_some_and(|entry| !matches!(entry.state, State::Permanent | State::NoArp)))
    }

    /// The source of the question (`arp_solicit`).
    fn announced(
        &self,
        space: &'w Space<'w>,
        device: &'w Device,
        target: Ipv4Addr,
        source: IpAddr,
    ) -> Result<Ipv4Addr, Unknown> {
        let level = space.conf4(device)?.map_or(0, Of4::arp_announce);
        let local = space.is_local(source)?;
        let on_link = || -> Result<bool, Unknown> {
            let mut all = space.addresses()?.iter();
            Ok(all.any(|a| {
                let network = a.network();
                a.device == device.index
                    && network.contains(source)
                    && network.contains(target.into())
            }))
        };
        let own = match level {
            0 => local,
            1 => local && on_link()?,
            _ => false,
        };
        let chosen = match own {
            true => source,
            false => space.select_source(device, Some(target.into()), Scope::LINK)?,
        };
        Ok(match chosen {
            IpAddr::V4(v4) => v4,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        })
    }

    /// The link-layer address that is given where the question was heard, or none; either where the route back
    /// may lead by several links.
    pub(super) fn answers(
        &self,
        end: End,
        question: Question,
    ) -> Result<Vec<Option<Mac>>, Unknown> {
        let space = self.prepared.space(end.netns)?;
        let device = space.device(end.index)?;
        let Some(conf) = space.conf4(device)? else {
            return Ok(vec![None]);
        };
        let target = question.target;
        if device.flags.no_arp {
            if space.is_local(target.into())? {
                self.keeps_silent(space, silent(Subject::Device(device)), question);
            }
            return Ok(vec![None]);
        }
        if target.is_multicast() {
            return Ok(vec![None]);
        }
        if target.is_loopback() && !conf.route_localnet() {
            return Ok(vec![None]);
        }
        if question.sender.is_unspecified() {
            let own = space.is_local(target.into())?;
            let answers = own && !ignores(space, device, conf, question)?;
            return Ok(vec![device.mac.filter(|_| answers)]);
        }
        let answers = match space.route_in(&packet(question), device)? {
            Decision::Local(Some(route)) if route.kind == Kind::Local => {
                let ignores = ignores(space, device, conf, question)?;
                if ignores || conf.arp_filter() {
                    let by = held_by(device, conf, ignores);
                    self.keeps_silent(space, silent(by), question);
                }
                vec![!ignores && !conf.arp_filter()]
            }
            Decision::Onward { hops, .. } if conf.forwarding() => {
                let out = hops.iter().map(|way| way.device.index);
                let each = out.map(|out| proxies(space, device, conf, out, question));
                let mut each = each.collect::<Result<Vec<bool>, _>>()?;
                each.sort_unstable();
                each.dedup();
                each
            }
            Decision::No(no) => {
                if conf.proxy_arp() || space.is_local(target.into())? {
                    self.keeps_silent(space, no, question);
                }
                vec![false]
            }
            _ => vec![false],
        };
        let given = |answers: bool| device.mac.filter(|_| answers);
        Ok(answers.into_iter().map(given).collect())
    }

    /// Keeps why whoever has the address that is asked for says nothing.
    fn keeps_silent(&self, space: &Space<'w>, no: No<'w>, question: Question) {
        let step = Step {
            netns: space.netns,
            station: no.station,
            by: no.by,
            does: Does::Refuses(no.how),
            packet: packet(question),
        };
        let mut silent = self.silent.borrow_mut();
        if silent.len() < SILENT && !silent.contains(&step) {
            silent.push(step);
        }
    }
}

fn silent(by: Subject<'_>) -> No<'_> {
    No {
        station: Station::Link,
        how: How::KeepsSilent,
        by: Some(by),
    }
}

/// Which of two settings it is, and whether the device has it of its own or all have.
fn held_by<'w>(device: &'w Device, conf: Of4<'_>, ignores: bool) -> Subject<'w> {
    let (name, own) = match ignores {
        true => ("ipv4.conf.DEVICE.arp_ignore", conf.device.arp_ignore > 0),
        false => ("ipv4.conf.DEVICE.arp_filter", conf.device.arp_filter),
    };
    Subject::Setting(name, own.then_some(device))
}

/// Of questions that are kept.
const SILENT: usize = 8;

/// As the route is asked for a question: its header has neither class nor mark.
fn packet(question: Question) -> Packet {
    Packet {
        ttl: 64,
        size: 28,
        df: true,
        ..Packet::new(question.sender.into(), question.target.into())
    }
}

/// `arp_ignore`
fn ignores(
    space: &Space<'_>,
    device: &Device,
    conf: Of4<'_>,
    question: Question,
) -> Result<bool, Unknown> {
    let here = |wanted: &dyn Fn(&netdiag_model::world::address::Address) -> bool| {
        let all = space.addresses();
        all.map(|all| {
            all.iter()
                .any(|a| a.own.address == IpAddr::V4(question.target) && wanted(a))
        })
    };
    Ok(match conf.arp_ignore() {
        0 => false,
        1 => !here(&|a| a.device == device.index)?,
        // Any network of the device's may have both in it (`confirm_addr_indev`).
        2 => {
            let both = space.addresses()?.iter().any(|a| {
                let has = |address: Ipv4Addr| a.network().contains(address.into());
                a.device == device.index && has(question.sender) && has(question.target)
            });
            !here(&|a| a.device == device.index)? || !both
        }
        // Only for an address that is somebody's, and not this host's alone (`inet_confirm_addr`).
        3 => !here(&|a| a.scope <= Scope::LINK || keeps_its_network(space, a.device))?,
        8 => true,
        _ => false,
    })
}

/// By a device with `route_localnet` addresses of this host alone are as good as the link's.
fn keeps_its_network(space: &Space<'_>, device: u32) -> bool {
    let conf = space.device(device).and_then(|device| space.conf4(device));
    matches!(conf, Ok(Some(conf)) if conf.route_localnet())
}

/// For whom it answers although the address is not its own.
fn proxies(
    space: &Space<'_>,
    device: &Device,
    conf: Of4<'_>,
    out: u32,
    question: Question,
) -> Result<bool, Unknown> {
    if out == device.index {
        // Who asks for its own address looks for others that have it (`arp_fwd_pvlan`).
        return Ok(conf.proxy_arp_pvlan() && question.sender != question.target);
    }
    if conf.proxy_arp() && conf.device.medium_id != -1 {
        return Ok(true);
    }
    let proxied = space.stack.proxied.whole();
    let proxied = proxied.map_err(|why| Unknown::NotRead("proxied neighbours", why.clone()))?;
    Ok(proxied.iter().any(|one| {
        one.address == IpAddr::V4(question.target)
            && one.device.is_none_or(|index| index == device.index)
    }))
}
