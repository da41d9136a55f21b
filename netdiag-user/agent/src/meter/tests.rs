use super::*;
use crate::pipeline::testing::{UPLINK, died, from_pod, overlay_node, tcp, with_facts};

fn rows<K: Clone + Ord + std::hash::Hash, const N: usize>(series: &Series<K, N>) -> Vec<(K, u64)> {
    series
        .iter()
        .map(|(key, _, counts)| (key.clone(), counts[0]))
        .collect()
}

#[test]
fn each_death_is_counted_once_whatever_passed_before() {
    let node = overlay_node(1450, 1450, 1500);
    let flow = tcp("10.244.1.7", "10.244.2.9", 80);
    let mut reading = Observation {
        flows: vec![from_pod(flow, |hop| hop.oversize = 4)],
        drops: vec![died(flow, ("NO_SOCKET", "__udp4_lib_rcv"), UPLINK, 4)],
        ..Observation::default()
    };
    let mut meter = Meter::new(10);
    let mut read = |reading: &Observation| {
        let gained = meter.last.since(reading);
        meter.last = Baseline::new(reading);
        with_facts(&node, &gained, |facts| meter.count(facts));
        (rows(&meter.drops), rows(&meter.oversize))
    };
    let first = read(&reading);
    assert_eq!(first.0, [(("NO_SOCKET".to_owned(), "uplink"), 4)]);
    assert_eq!(first.1, [(("pod", "ingress"), 4)]);
    assert_eq!(read(&reading), first, "nothing is new");
    reading.drops[0].1.packets = 6;
    assert_eq!(read(&reading).0[0].1, 6);
    // The row is gone: its packets stand at its place now, and were counted.
    reading.drops[0].0 = reading.drops[0].0.rest();
    assert_eq!(read(&reading).0[0].1, 6);
    reading.drops.clear();
    assert_eq!(read(&reading).0[0].1, 6, "it never falls");
}
