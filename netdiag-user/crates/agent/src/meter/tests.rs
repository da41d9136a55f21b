use super::*;
use crate::model::{pod::Pod, verdict::Owner};
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

/// A pod of a Job of its own.
fn job(n: u32, gone: Option<u64>) -> Pod {
    Pod {
        namespace: "batch".into(),
        name: format!("run-{n}-x"),
        owner: Some(Owner::new("Job", format!("run-{n}"))),
        addresses: vec![format!("10.244.1.{n}").parse().expect("an address")],
        interface: Some(format!("veth{n}")),
        gone,
        ..Pod::default()
    }
}

#[test]
fn days_of_jobs_do_not_keep_a_new_one_out() {
    const MOST: usize = 8;
    const HOUR: u64 = 3600 * 1_000_000_000;
    let mut scene = crate::testing::scene();
    let mut meter = Meter::new(MOST);
    let mut reading = Observation::default();
    for n in 1..=40 {
        reading.now += HOUR;
        let pods = (1..=n).map(|it| job(it, (it < n).then_some(reading.now)));
        scene.pods = PodIndex::new(pods.collect());
        let flow = tcp(&format!("10.244.1.{n}"), "10.244.2.9", 80);
        let mut drop = died(flow, ("NO_SOCKET", "__udp4_lib_rcv"), UPLINK, 3);
        drop.1.first = reading.now;
        drop.1.last = reading.now;
        reading.drops = vec![drop];
        meter.read(&scene, &reading, |_| {});
        let of = |name: String| {
            let mut rows = meter.drops.iter();
            rows.find(|(_, who, _)| who.workload == name)
                .map(|(.., counts)| counts[0])
        };
        assert_eq!(of(format!("Job/run-{n}")), Some(3), "it has its own");
        let sum: u64 = meter.drops.iter().map(|(.., counts)| counts[0]).sum();
        assert_eq!(sum, u64::from(n) * 3);
    }
    let [.., drops, _, _, _] = meter.families().map(|(_, family)| family);
    assert_eq!(drops.hidden(), 0);
    assert!(drops.gone() >= 40 - MOST as u64, "{}", drops.gone());
}
