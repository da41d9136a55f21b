//! Dropped packets by reason and place, and whose they were.
use std::{net::IpAddr, sync::Arc};

use super::{counts::Counts, reading::Label};
use crate::{
    model::{
        flow,
        hash::Map,
        pod::label,
        total::add,
        verdict::{PodRef, PodRole},
    },
    pipeline::facts::{Facts, Loss},
};

/// Pairs of addresses whose pods are looked up, in one reading: a storm from made-up addresses has a
/// pair a packet.
const LOOKED_UP: usize = 2048;
/// Victims of a reason that are named.
const VICTIMS: usize = 5;

/// What dies at one place for one reason.
pub struct Reason {
    pub label: Label,
    pub counts: Counts,
    pub victims: Arc<[(String, u64)]>,
}

/// A reading's losses, summed.
#[derive(Default)]
pub struct Losses {
    pub reasons: Vec<Reason>,
    /// By the pods that lost them.
    pub pods: Vec<(PodRef, Counts)>,
    /// By the links that they died at.
    pub links: Map<u32, Counts>,
    pub without_pod: u64,
}

/// Where, as the kernel numbers it: names are made once for all that died there.
type Place = (u32, u64, u32, u32);
type Pair = (IpAddr, IpAddr);

struct Group<'a> {
    /// The one that was seen last.
    latest: &'a Loss,
    counts: Counts,
}

/// What died at one place, and who lost it.
#[derive(Default)]
struct Toll {
    counts: Counts,
    victims: Vec<(String, u64)>,
}

impl Toll {
    fn lost_by(&mut self, name: &str, packets: u64) {
        match self.victims.iter_mut().find(|(known, _)| known == name) {
            Some((_, all)) => add(all, packets),
            None => self.victims.push((name.to_owned(), packets)),
        }
    }

    fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        for (name, packets) in &other.victims {
            self.lost_by(name, *packets);
        }
    }
}

pub fn losses(facts: &Facts<'_>) -> Losses {
    let mut all = Losses::default();
    let mut places: Map<Place, (Toll, &Loss)> = Map::default();
    let mut pods: Map<PodRef, Counts> = Map::default();
    for (n, (place, group)) in groups(facts).into_iter().enumerate() {
        let (counts, loss) = (&group.counts, group.latest);
        let (toll, _) = places.entry(place).or_insert((Toll::default(), loss));
        toll.counts.add(counts);
        if loss.interface.is_some() {
            let link = all.links.entry(loss.key.ifindex).or_default();
            link.add(counts);
        }
        if n >= LOOKED_UP {
            add(&mut all.without_pod, counts.drops);
            continue;
        }
        let Some(pod) = victim(facts, loss) else {
            continue;
        };
        toll.lost_by(&label(&pod), counts.drops);
        pods.entry(pod).or_default().add(counts);
    }
    all.pods = pods.into_iter().collect();
    all.reasons = reasons(&places);
    all
}

/// By place and pair of addresses, those with most packets first.
fn groups<'a>(facts: &Facts<'a>) -> Vec<(Place, Group<'a>)> {
    let mut groups: Map<(Place, Pair), Group<'a>> = Map::default();
    for loss in facts.losses.iter().filter(|loss| !loss.harmless) {
        let key = &loss.key;
        let place = (key.reason, key.location, key.netns, key.ifindex);
        let group = groups
            .entry((place, flow::ends(&key.flow)))
            .or_insert_with(|| Group {
                latest: loss,
                counts: Counts::default(),
            });
        if group.latest.dropped.last < loss.dropped.last {
            group.latest = loss;
        }
        add(&mut group.counts.drops, loss.dropped.packets);
        add(&mut group.counts.dropped_bytes, loss.dropped.bytes);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|((place, pair), one), ((other, ends), two)| {
        let most = two.counts.drops.cmp(&one.counts.drops);
        most.then_with(|| (place, pair).cmp(&(other, ends)))
    });
    let of = |((place, _), group)| (place, group);
    groups.into_iter().map(of).collect()
}

/// The pod that lost it: in its own namespace, else the one that sent it, else the one it was for.
fn victim(facts: &Facts<'_>, loss: &Loss) -> Option<PodRef> {
    if let Some(pod) = &loss.inside {
        return Some(pod.refer(None, None));
    }
    let mut ends = facts.pods_of_loss(loss);
    let source = ends.iter().position(|p| p.role == Some(PodRole::Source));
    let at = source.or((!ends.is_empty()).then_some(0))?;
    Some(PodRef {
        role: None,
        ..ends.swap_remove(at)
    })
}

fn reasons(places: &Map<Place, (Toll, &Loss)>) -> Vec<Reason> {
    // The function's name says where, not the instruction in it.
    type Named<'a> = (&'a str, &'a str, Option<&'a str>);
    let mut named: Map<Named<'_>, Toll> = Map::default();
    for (toll, loss) in places.values() {
        let link = loss.interface.as_deref();
        let key = (loss.reason.as_str(), loss.symbol(), link);
        named.entry(key).or_default().add(toll);
    }
    let reason = |((reason, symbol, link), mut toll): (Named<'_>, Toll)| {
        let victims = &mut toll.victims;
        victims.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        victims.truncate(VICTIMS);
        let label = Label {
            name: reason.to_owned(),
            second: symbol.to_owned(),
            link: link.unwrap_or_default().to_owned(),
        };
        Reason {
            label,
            counts: toll.counts,
            victims: toll.victims.into(),
        }
    };
    named.into_iter().map(reason).collect()
}
