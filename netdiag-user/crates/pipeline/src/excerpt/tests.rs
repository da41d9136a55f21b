use netdiag_common::hop::{ACK, PLAIN, SYN};
use proptest::prelude::*;

use super::*;
use crate::testing::{at, lost, tcp};

const PLACE: u32 = 0;
const OTHER: u32 = 1;

/// As a reading does it.
fn take(excerpt: &mut Excerpt, observation: &mut Observation) {
    excerpt.drops(&mut observation.drops);
    observation.flows.retain(|(key, _)| excerpt.flow(&key.flow));
    excerpt.flows(observation);
}

fn row(client: u16, reason: u32, packets: u64, first: u64) -> (DropKey, Dropped) {
    let [high, low] = client.to_be_bytes();
    let flow = tcp(&format!("10.9.{high}.{low}"), "192.0.2.9", 443);
    let (key, row) = lost(flow, reason, 2, packets, 2);
    (key, Dropped { first, ..row })
}

fn rest(reason: u32, packets: u64) -> (DropKey, Dropped) {
    let (key, row) = row(0, reason, packets, 1);
    (key.rest(), row)
}

/// What is judged of it.
fn taken(excerpt: &mut Excerpt, drops: &[(DropKey, Dropped)]) -> Vec<(DropKey, Dropped)> {
    let flow = |(key, _): &(DropKey, Dropped)| at(key.flow, 2, false, PLAIN, |_| {});
    let drops = drops.iter().copied();
    let mut observation = Observation {
        flows: drops.clone().map(|row| flow(&row)).collect(),
        drops: drops.collect(),
        ..Observation::default()
    };
    take(excerpt, &mut observation);
    let kept: Set<FlowKey> = observation.drops.iter().map(|(key, _)| key.flow).collect();
    let seen = observation.flows.iter();
    assert!(seen.clone().all(|(key, _)| kept.contains(&key.flow)));
    assert_eq!(seen.len(), observation.drops.len(), "each with its hop");
    observation.drops
}

fn sum(rows: &[(DropKey, Dropped)], reason: u32) -> u64 {
    let of = rows.iter().filter(|(key, _)| key.reason == reason);
    of.map(|(_, row)| row.packets).sum()
}

#[test]
fn all_rows_stay_while_the_kernel_has_room_for_them() {
    let rows: Vec<_> = (0..9_000).map(|n| row(n, PLACE, 1, u64::from(n))).collect();
    let taken = taken(&mut Excerpt::default(), &rows);
    assert_eq!(taken, rows);
}

#[test]
fn of_a_place_where_it_has_none_some_stay_and_all_count() {
    let flood = (0..9_000).map(|n| row(n, PLACE, 2, u64::from(n) + 5));
    let others = (20_000..23_000).map(|n| row(n, OTHER, 1, 1));
    let rows: Vec<_> = flood.chain(others).chain([rest(PLACE, 70)]).collect();
    let taken = taken(&mut Excerpt::default(), &rows);
    assert_eq!(sum(&taken, PLACE), sum(&rows, PLACE));
    let of = |reason| taken.iter().filter(move |(key, _)| key.reason == reason);
    assert_eq!(of(PLACE).count(), ROWS + PAIRS + 1);
    assert_eq!(of(OTHER).count(), 3_000, "there is room at that place");
}

#[test]
fn whoever_sends_little_stays_beside_whoever_sends_much() {
    let noisy = |port: u16| {
        let (mut key, row) = row(1, PLACE, 1, u64::from(port));
        key.flow.source_port = port;
        (key, row)
    };
    let late = row(77, PLACE, 1, 70_000);
    let rows: Vec<_> = (0..9_000)
        .map(noisy)
        .chain([late, rest(PLACE, 1)])
        .collect();
    let taken = taken(&mut Excerpt::default(), &rows);
    assert_eq!(taken.len(), ROWS + 2);
    assert!(taken.contains(&late));
}

#[test]
fn of_silent_flows_some_of_each_pair_stay_when_others_were_forgotten() {
    let ask = |client: u16, port: u16, flags| {
        let mut flow = row(client, PLACE, 1, 1).0.flow;
        flow.source_port = port;
        at(flow, 2, false, PLAIN, move |hop| hop.flags = flags)
    };
    let answered = ask(8, 9, SYN);
    let answer = at(answered.0.flow.reversed(), 2, true, PLAIN, |hop| {
        hop.flags = SYN | ACK
    });
    let scan = (0..9_000).map(|port| ask(1, port, SYN));
    let talks = (0..500).map(|port| ask(2, port, SYN | ACK));
    let rows: Vec<_> = scan
        .chain(talks)
        .chain([ask(3, 1, SYN), answered, answer])
        .collect();
    let mut observation = Observation {
        flows: rows.clone(),
        ..Observation::default()
    };
    let mut excerpt = Excerpt::default();
    take(&mut excerpt, &mut observation);
    assert_eq!(observation.flows.len(), rows.len(), "nothing was forgotten");
    observation.evicted_flows = 7;
    take(&mut excerpt, &mut observation);
    let flows = std::mem::replace(&mut observation.flows, rows.clone());
    assert_eq!(flows.len(), SILENT + 502);
    for one in [ask(3, 1, SYN), answered, answer] {
        assert!(flows.iter().any(|(key, _)| *key == one.0));
    }
    // The same in the next readings, and all again when it is long over.
    observation.now = LASTS - 1;
    take(&mut excerpt, &mut observation);
    assert_eq!(observation.flows, flows);
    observation.now = LASTS;
    observation.flows.clone_from(&rows);
    take(&mut excerpt, &mut observation);
    assert_eq!(observation.flows.len(), rows.len());
}

fn readings() -> impl Strategy<Value = Vec<Vec<(u16, u64)>>> {
    let row = (0..40_u16, 1..5_u64);
    let reading = prop::collection::vec(row, 0..60);
    prop::collection::vec(reading, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// The sum of a place is what the rows hold, whatever comes and goes; a flow that was left out stays so
    /// until its row is another.
    #[test]
    fn nothing_is_lost_and_nothing_comes_back(readings in readings()) {
        let mut excerpt = Excerpt::default();
        let mut out: Set<(FlowKey, u64)> = Set::default();
        for (time, reading) in readings.into_iter().enumerate() {
            // Many ports of each client, so that more come than stay.
            let ports = reading.iter().flat_map(|(client, packets)| {
                (0..50).map(move |port| {
                    let (mut key, row) = row(*client, PLACE, *packets, 1 + time as u64 / 3);
                    key.flow.source_port = port;
                    (key, row)
                })
            });
            let mut seen = Set::default();
            let rows = ports.filter(|(key, _)| seen.insert(key.flow));
            let rows: Vec<_> = rows.chain([rest(PLACE, 9)]).collect();
            let taken = taken(&mut excerpt, &rows);
            prop_assert_eq!(sum(&taken, PLACE), sum(&rows, PLACE));
            prop_assert!(taken.len() <= ROWS + PAIRS + 1);
            let number = |(key, row): &(DropKey, Dropped)| (key.flow, row.first);
            let stays: Set<_> = taken.iter().map(number).collect();
            prop_assert!(stays.is_disjoint(&out));
            out = rows.iter().map(number).filter(|row| !stays.contains(row)).collect();
        }
    }
}
