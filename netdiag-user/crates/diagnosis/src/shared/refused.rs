//! Packets that routing led no further, by the step that said no: as rules, tables and settings of this node's own
//! namespace tell, or by the kernel's word alone.
use netdiag_forwarding::tables::No;

use super::losses::{self, DropGroup};
use crate::{
    model::{
        policy::{Chosen, Packet},
        world::station::Station,
    },
    pipeline::{
        difference::died_in,
        facts::{Facts, Loss},
        ways::routed_by,
    },
};

/// Where routing says no.
const STATIONS: [Station; 3] = [Station::ReversePath, Station::Route, Station::Forward];

/// A pattern of them that ends at one step.
pub struct Case<'f, 'a> {
    pub pattern: DropGroup<'f>,
    /// What says no; nothing where nothing that is known does: it has changed meanwhile, goes by a mark, or is
    /// another namespace's.
    pub no: Option<No<'a>>,
    /// What rules and tables say of what was looked up there: the way on, or back to its sender.
    pub asked: Chosen<'a>,
    /// In this node's own namespace.
    pub here: bool,
}

/// All that end at that station, the busiest first.
pub fn at<'f, 'a>(facts: &'f Facts<'a>, station: Station) -> Vec<Case<'f, 'a>> {
    let ends = |loss: &Loss| loss.is_at(station) && ended(facts, loss) == Some(station);
    let patterns = losses::patterns(facts, ends);
    let case = |pattern: DropGroup<'f>| {
        let loss = *pattern.losses.first()?;
        let here = is_here(facts, loss);
        let no = here.then(|| refusal(facts, loss)).flatten();
        let no = no.filter(|no| no.station == station);
        let asked = match station {
            _ if !here => Chosen::Unknown,
            Station::ReversePath => facts.ways().chosen(&back(&pattern)),
            _ => chosen(facts, &packet(facts, loss)),
        };
        Some(Case {
            pattern,
            no,
            asked,
            here,
        })
    };
    patterns.into_iter().filter_map(case).collect()
}

/// The station where it ended: as the kernel says, or the state where its word stands for several. A flood has reasons,
/// and no table is asked for it.
fn ended(facts: &Facts<'_>, loss: &Loss) -> Option<Station> {
    let fits = STATIONS.iter().copied().filter(|at| loss.is_at(*at));
    let fits: Vec<Station> = fits.collect();
    if let [one] = fits[..]
        && loss.reason != "NOT_SPECIFIED"
    {
        return Some(one);
    }
    let no = is_here(facts, loss).then(|| refusal(facts, loss)).flatten();
    no.map(|no| no.station).filter(|at| fits.contains(at))
}

fn is_here(facts: &Facts<'_>, loss: &Loss) -> bool {
    died_in(facts, loss) == facts.node.netns
}

fn refusal<'a>(facts: &Facts<'a>, loss: &Loss) -> Option<No<'a>> {
    facts.ways().refused(&packet(facts, loss))
}

/// Where nothing that is understood refuses it, a rule that goes by its mark may.
fn chosen<'a>(facts: &Facts<'a>, packet: &Packet) -> Chosen<'a> {
    let ways = facts.ways();
    match ways.chosen(packet) {
        Chosen::Route(route) => ways.may_refuse(packet).unwrap_or(Chosen::Route(route)),
        other => other,
    }
}

/// As routing sees a lost packet.
pub fn packet(facts: &Facts<'_>, loss: &Loss) -> Packet {
    let mut packet = facts.packet_of(loss.flow());
    let link = facts.link(loss.key.ifindex);
    if let Some(link) = link.filter(|_| !facts.owns(packet.source)) {
        packet.iif = Some(routed_by(facts.node, link));
    }
    packet
}

/// What is asked for its source: a packet that this node would send back (`fib_validate_source`).
fn back(pattern: &DropGroup<'_>) -> Packet {
    Packet::between(pattern.destination, pattern.source)
}
