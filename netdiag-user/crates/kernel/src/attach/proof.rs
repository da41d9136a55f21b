//! Proves that what is attached sees: a link that counts packets while netdiag's program there runs for none
//! is blind, whatever the kernel says is attached.
use std::{
    collections::{BTreeSet, HashMap},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use aya::maps::{Array, Map, MapData};
use netdiag_common::{
    config::ran_slot,
    hop::{EGRESS, INGRESS},
};
use netdiag_lang::english;

use super::Hooks;
use crate::{
    load::{Programs, Set},
    model::node::{Link, LinkKind, Node},
    tc::{self, Side},
    xdp,
};

/// Packets that a link must have counted, and readings in which it counted some.
const PACKETS: u64 = 100;
const READINGS: u32 = 2;
/// So soon: a NIC may count for itself what it hands to nobody (pause frames, LLDP), and does so seldom.
const WITHIN: Duration = Duration::from_secs(60);

/// Of so many packets that a pair's end takes in, one goes out at least: acknowledgements of what is
/// merged are the rarest.
const ANSWERED: u64 = 50;

/// Why a program does not run where packets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Its verdict comes before tc, and what it sends passes no hook at egress.
    Xdp,
    /// Nothing that is known.
    Blind,
}

/// One side of a link.
#[derive(Debug, Default)]
struct Looked {
    name: String,
    /// The link's counter at the reading before.
    counted: Option<u64>,
    /// Packets and readings without a run, and since when.
    packets: u64,
    readings: u32,
    since: Option<Instant>,
    silence: Option<Silence>,
}

impl Looked {
    /// Takes in what the link has counted by now, and whether the program ran since the reading before.
    /// Returns what it has counted since then.
    ///
    /// Marks are taken away after counters are read. A packet between the two left its mark in this reading
    /// and is counted in the next: two readings in a row have no such packet.
    fn look(&mut self, counted: u64, ran: bool, now: Instant) -> u64 {
        let before = self.counted.replace(counted);
        let new = before.map_or(0, |before| counted.saturating_sub(before));
        let is_old = |since| now.duration_since(since) > WITHIN;
        if ran || (!self.is_silent() && self.since.is_some_and(is_old)) {
            (self.packets, self.readings, self.since) = (0, 0, None);
        }
        if ran {
            self.silence = None;
        } else if new > 0 {
            self.since.get_or_insert(now);
            self.packets += new;
            self.readings += 1;
        }
        new
    }

    fn is_silent(&self) -> bool {
        self.packets >= PACKETS && self.readings >= READINGS
    }
}

/// A pair's end: what it took in, and what went out by it. `bpf_redirect_peer` hands packets to the other
/// end at once, and this one counts none of them (skb_do_redirect).
#[derive(Debug, Default)]
struct OneWay {
    taken: u64,
    given: u64,
    readings: u32,
}

impl OneWay {
    fn look(&mut self, taken: u64, given: u64) {
        if taken == 0 && given == 0 {
            return;
        }
        self.taken += taken;
        self.given += given;
        self.readings += 1;
        if self.given * ANSWERED > self.taken {
            *self = Self::default();
        }
    }

    fn is_unanswered(&self) -> bool {
        self.taken >= PACKETS && self.readings >= READINGS
    }
}

/// Marks of the programs, and the links' counters beside them.
#[derive(Default)]
pub(super) struct Proof {
    /// Only the tracing programs leave marks.
    marks: Option<Array<MapData, u32>>,
    sides: HashMap<(u32, u8), Looked>,
    pairs: HashMap<u32, OneWay>,
    /// Those that are unanswered.
    unanswered: BTreeSet<u32>,
    /// Whether someone has a program that can lead packets past them, asked whenever those change.
    redirects: bool,
}

impl Proof {
    pub fn new(programs: &Programs) -> Self {
        let tracing = programs.set == Set::Tracing;
        let marks = tracing.then(|| marks(programs)).flatten();
        Self {
            marks,
            ..Self::default()
        }
    }

    pub fn forget(&mut self, index: u32) {
        self.sides.retain(|(link, _), _| *link != index);
        self.pairs.remove(&index);
        self.unanswered.remove(&index);
    }

    /// How many links' packets another program hands to the other end of the pair.
    pub fn redirected(&self) -> usize {
        if self.redirects {
            self.unanswered.len()
        } else {
            0
        }
    }

    /// The links that are silent for this reason, with what is said of each.
    pub fn told(&self, silence: Silence) -> HashMap<String, String> {
        let silent = self.sides.values().filter(|it| it.silence == Some(silence));
        let why = |it: &Looked| {
            let why = english!(
                "the link counted {} packets while netdiag's program on it ran for none: something takes them before; see `bpftool net` and `tc -s qdisc`",
                it.packets
            );
            (it.name.clone(), why)
        };
        silent.map(why).collect()
    }

    /// Which of these slots have a mark; it is taken away.
    fn marked(&mut self, slots: BTreeSet<u32>) -> BTreeSet<u32> {
        let Some(marks) = &mut self.marks else {
            return BTreeSet::new();
        };
        let mut marked = slots;
        // What cannot be asked is believed.
        marked.retain(|slot| marks.get(slot, 0).map_or(true, |ran| ran != 0));
        for slot in &marked {
            let _ = marks.set(*slot, 0, 0);
        }
        marked
    }
}

fn marks(programs: &Programs) -> Option<Array<MapData, u32>> {
    let Map::Array(data) = programs.ebpf.map("RAN")? else {
        return None;
    };
    let fd = data.fd().as_fd().try_clone_to_owned().ok()?;
    Array::try_from(Map::Array(MapData::from_fd(fd).ok()?)).ok()
}

/// What passed that side of the link, where the link counts what comes to its hook.
fn counted(link: &Link, direction: u8) -> Option<u64> {
    match (&link.kind, direction) {
        // Counted before the bridge family's rules, which may take it (br_pass_frame_up).
        (LinkKind::Bridge, INGRESS) => None,
        // Counts handshakes and keepalives, which are its own (drivers/net/wireguard/send.c, receive.c).
        (LinkKind::Wireguard, _) => None,
        // A VRF or ipvlan counts what only its lower link's hooks saw (vrf_ip_rcv, ipvlan_nf_input); what
        // others count is not known.
        (LinkKind::Other(_), _) => None,
        (_, INGRESS) => Some(link.counters.rx_packets),
        _ => Some(link.counters.tx_packets),
    }
}

fn is_pair(link: &Link) -> bool {
    matches!(link.kind, LinkKind::Veth | LinkKind::Netkit)
}

impl Hooks {
    /// Compares what the covered links counted with where the programs ran.
    pub(super) fn prove(&mut self, node: &Node, now: Instant) {
        if self.proof.marks.is_none() {
            return;
        }
        let links = node
            .links
            .iter()
            .filter(|it| self.covered.contains_key(&it.index));
        let sides: Vec<(&Link, u8)> = links
            .flat_map(|link| [(link, INGRESS), (link, EGRESS)])
            .collect();
        let slot = |(link, direction): &(&Link, u8)| ran_slot(link.index, *direction);
        let marked = self.proof.marked(sides.iter().map(slot).collect());
        let mut silent = Vec::new();
        let mut new: HashMap<u32, (u64, u64)> = HashMap::new();
        for side @ (link, direction) in sides {
            let Some(counted) = counted(link, direction) else {
                continue;
            };
            let looked = self.proof.sides.entry((link.index, direction)).or_default();
            looked.name.clone_from(&link.name);
            let counted = looked.look(counted, marked.contains(&slot(&side)), now);
            if is_pair(link) {
                let (taken, given) = new.entry(link.index).or_default();
                *(if direction == INGRESS { taken } else { given }) = counted;
            }
            if looked.is_silent() && looked.silence.is_none() {
                silent.push(side);
            }
        }
        self.prove_pairs(node, &new);
        if !silent.is_empty() {
            self.explain(silent);
        }
    }

    /// Which pairs' ends are passed by: someone has a program that can do so, and what comes out of the pod is
    /// as good as never answered by this end.
    fn prove_pairs(&mut self, node: &Node, new: &HashMap<u32, (u64, u64)>) {
        for (index, (taken, given)) in new {
            self.proof
                .pairs
                .entry(*index)
                .or_default()
                .look(*taken, *given);
        }
        let pairs = self.proof.pairs.iter();
        let unanswered: BTreeSet<u32> = pairs
            .filter(|(_, it)| it.is_unanswered())
            .map(|(index, _)| *index)
            .collect();
        if unanswered != self.proof.unanswered {
            self.proof.redirects = !unanswered.is_empty() && self.others_redirect(node);
            self.proof.unanswered = unanswered;
        }
    }

    fn explain(&mut self, silent: Vec<(&Link, u8)>) {
        let xdp = xdp::links(&mut self.rtnl);
        for (link, direction) in silent {
            let silence = match direction {
                INGRESS if xdp.contains(&link.index) => Silence::Xdp,
                // An XDP program may send by any link.
                EGRESS if !xdp.is_empty() => Silence::Xdp,
                _ => Silence::Blind,
            };
            if let Some(looked) = self.proof.sides.get_mut(&(link.index, direction)) {
                log::debug!(
                    "{} counted {} packets that no hook saw: {silence:?}",
                    link.name,
                    looked.packets
                );
                looked.silence = Some(silence);
            }
        }
    }

    /// Whether somebody else's program is on any link's ingress: only such a one can hand packets to the
    /// other end of a pair.
    fn others_redirect(&mut self, node: &Node) -> bool {
        let rtnl = &mut self.rtnl;
        node.links.iter().any(|link| {
            super::others::has_others(&link.name, Side::Ingress)
                || tc::has_others(rtnl, link.index, Side::Ingress).unwrap_or(false)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings five seconds after each other.
    fn after(readings: &[(u64, bool)]) -> Looked {
        let (mut looked, begun) = (Looked::default(), Instant::now());
        for (turn, (counted, ran)) in (0..).zip(readings) {
            looked.look(*counted, *ran, begun + Duration::from_secs(5) * turn);
        }
        looked
    }

    #[test]
    fn many_packets_in_two_readings_without_a_run_are_silence() {
        assert!(after(&[(7, false), (67, false), (127, false)]).is_silent());
    }

    #[test]
    fn what_was_counted_before_it_was_attached_is_none_of_it() {
        assert!(!after(&[(10_000, false), (10_050, false), (10_099, false)]).is_silent());
    }

    #[test]
    fn one_reading_may_be_a_packet_between_counter_and_mark() {
        assert!(!after(&[(0, false), (500, false), (500, false)]).is_silent());
        assert!(!after(&[(0, false), (500, false), (1000, true)]).is_silent());
    }

    #[test]
    fn what_a_link_counts_for_itself_now_and_then_is_none() {
        let keepalives: Vec<(u64, bool)> = (0..400).map(|n| (n, false)).collect();
        assert!(!after(&keepalives).is_silent());
    }

    fn one_way(readings: &[(u64, u64)]) -> bool {
        let mut pair = OneWay::default();
        for (taken, given) in readings {
            pair.look(*taken, *given);
        }
        pair.is_unanswered()
    }

    #[test]
    fn a_pod_that_is_not_answered_by_its_link() {
        assert!(one_way(&[(60, 0), (60, 1)]), "ARP is answered by it");
        assert!(!one_way(&[(60, 0), (30, 0)]));
        assert!(!one_way(&[(120, 0)]), "one reading");
        assert!(!one_way(&[(60, 60), (60, 50)]));
        assert!(
            !one_way(&[(60, 0), (0, 60), (90, 0)]),
            "an answer that came late"
        );
        assert!(!one_way(&[(0, 500), (0, 500)]));
    }

    #[test]
    fn a_run_heals_it() {
        let mut looked = after(&[(0, false), (500, false), (1000, false)]);
        looked.silence = Some(Silence::Blind);
        looked.look(1500, true, Instant::now());
        assert_eq!((looked.is_silent(), looked.silence), (false, None));
    }
}
