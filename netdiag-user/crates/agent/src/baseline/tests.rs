use netdiag_common::hop::{FlowHop, SYN};

use super::*;
use crate::pipeline::testing::{POD, at, lost, tcp};

fn reading(now: u64) -> Observation {
    Observation {
        now,
        ..Observation::default()
    }
}

fn flow(
    port: u16,
    change: impl FnOnce(&mut FlowHop),
) -> (netdiag_common::hop::FlowHopKey, FlowHop) {
    at(tcp("10.0.0.1", "10.0.0.2", port), POD, true, 0, change)
}

fn drop_of(port: u16, packets: u64) -> (DropKey, Dropped) {
    lost(tcp("10.0.0.1", "10.0.0.2", port), 5, POD, packets, 0)
}

fn rest(packets: u64) -> (DropKey, Dropped) {
    let (key, row) = drop_of(1, packets);
    (key.rest(), row)
}

/// Packets by row, of drops that `after` has and `before` had not.
fn dropped(before: Vec<(DropKey, Dropped)>, after: Vec<(DropKey, Dropped)>) -> Vec<(bool, u64)> {
    let with = |drops| Observation {
        drops,
        ..reading(7)
    };
    let gained = Baseline::new(&with(before)).since(&with(after));
    let mut rows: Vec<_> = gained
        .drops
        .iter()
        .map(|(k, d)| (k.is_rest(), d.packets))
        .collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_flow_that_gained_nothing_is_gone() {
    let mut before = reading(50);
    before.flows = vec![flow(80, |h| h.packets = 3), flow(81, |h| h.packets = 4)];
    let mut after = reading(90);
    after.flows = vec![
        flow(80, |h| h.packets = 3),
        flow(81, |h| h.packets = 9),
        flow(82, |_| {}),
    ];
    after.counters[counter::DROPS as usize] = 4;
    let gained = Baseline::new(&before).since(&after);
    let packets: Vec<u64> = gained.flows.iter().map(|(_, hop)| hop.packets).collect();
    assert_eq!(packets, [5, 10]);
    assert_eq!(gained.flows[0].1.first, 50, "no earlier than the view");
    assert_eq!(gained.flows[1].1.first, 1, "it is new as it is");
    assert_eq!((gained.now, gained.counter(counter::DROPS)), (90, 4));
}

#[test]
fn a_row_that_came_anew_counts_in_full() {
    let mut before = reading(50);
    before.flows = vec![flow(80, |h| h.packets = 30)];
    let mut after = reading(90);
    after.flows = vec![flow(80, |h| (h.packets, h.first) = (40, 60))];
    let gained = Baseline::new(&before).since(&after);
    assert_eq!(gained.flows[0].1.packets, 40);
}

#[test]
fn what_opened_before_is_not_opening_now() {
    let mut before = reading(50);
    before.flows = vec![flow(80, |h| (h.syns, h.flags) = (1, SYN))];
    let mut after = reading(90);
    after.flows = vec![flow(80, |h| (h.packets, h.syns, h.flags) = (20, 1, SYN))];
    let gained = Baseline::new(&before).since(&after);
    let hop = gained.flows[0].1;
    assert_eq!((hop.syns, hop.flags & SYN), (0, 0));
    after.flows = vec![flow(80, |h| (h.packets, h.syns, h.flags) = (20, 2, SYN))];
    let hop = Baseline::new(&before).since(&after).flows[0].1;
    assert_eq!((hop.syns, hop.flags & SYN), (1, SYN));
}

#[test]
fn drops_that_moved_to_the_rest_are_not_new() {
    // As `netdiag_kernel::rest` has it: what is gone goes on counting at its place.
    assert_eq!(dropped(vec![drop_of(80, 4)], vec![rest(4)]), []);
    assert_eq!(dropped(vec![drop_of(80, 4)], vec![rest(6)]), [(true, 2)]);
    assert_eq!(
        dropped(
            vec![drop_of(80, 4), rest(10)],
            vec![drop_of(80, 1), rest(15)]
        ),
        [(false, 1), (true, 1)],
        "it came anew"
    );
    assert_eq!(
        dropped(vec![drop_of(80, 4)], vec![drop_of(80, 7)]),
        [(false, 3)]
    );
    assert_eq!(
        dropped(vec![], vec![drop_of(80, 7), rest(1)]),
        [(false, 7), (true, 1)]
    );
}

#[test]
fn forgotten_drops_are_not_waited_for() {
    let with = |drops| Observation {
        drops,
        ..reading(7)
    };
    let mut base = Baseline::new(&with(vec![drop_of(80, 4), drop_of(81, 1)]));
    base.forget(&[drop_of(80, 4).0]);
    let gained = base.since(&with(vec![drop_of(81, 1), rest(3)]));
    assert_eq!(gained.drops.len(), 1);
    assert_eq!(gained.drops[0].1.packets, 3);
}
