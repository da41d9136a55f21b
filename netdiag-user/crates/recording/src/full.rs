//! What a node with full tables writes, and what a reader takes.
use netdiag_common::event::Event;

use super::{block::BlockReader, cells::Cells, limits, reader::Replay, writer::Recorder};
use crate::{
    model::{
        node::{LinkAddress, Node},
        observation::Observation,
        pod::{Pod, PodIndex},
    },
    pipeline::{facts::KnownNames, scene::Scene},
    testing::{overlay_node, route},
};

/// Entries of the kernel's maps (netdiag-ebpf/src/maps.rs).
const FLOWS: usize = 24_576;
const DROPS: usize = 16_384;
const RETRANSMITS: usize = 8_192;
const DNS: usize = 4_096;
const OTHERS: usize = 2_048;

/// Numbers of any length, the same every time.
struct Numbers(u64);

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        Some(self.0 ^ self.0 >> 29)
    }
}

fn rows<K: Cells, V: Cells>(count: usize, numbers: &mut Numbers) -> Vec<(K, V)> {
    let row = |_| (K::take(numbers), V::take(numbers));
    (0..count).map(row).collect()
}

fn full(now: u64) -> Observation {
    let numbers = &mut Numbers(now);
    Observation {
        now,
        flows: rows(FLOWS, numbers),
        drops: rows(DROPS, numbers),
        outers: rows(OTHERS, numbers),
        icmp_errors: rows(OTHERS, numbers),
        retransmits: rows(RETRANSMITS, numbers),
        dns: rows(DNS, numbers),
        claims: rows(1_024, numbers),
        oom_kills: rows(256, numbers),
        events: (0..4_096).map(|_| Event::take(numbers)).collect(),
        ..Observation::default()
    }
}

/// Thousands of peers, routes, Services' addresses and pods.
fn large() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    for n in 0..8_000_u32 {
        let network = format!("10.{}.{}.0/24", n >> 8, n & 0xff);
        let gateway = format!("10.{}.{}.0", n >> 8, n & 0xff);
        node.routes.push(route(&network, 3, Some(&gateway)));
        let address = LinkAddress {
            prefix: format!("172.16.{}.{}/32", n >> 8, n & 0xff)
                .parse()
                .expect("a prefix"),
            dynamic: false,
            link_local: false,
        };
        node.links[0].addresses.push(address);
    }
    node
}

/// A kernel without names.
fn unnamed() -> Scene {
    let mut scene = super::tests::scene();
    scene.names = Box::new(KnownNames::default());
    scene
}

fn pod(n: u32) -> Pod {
    Pod {
        namespace: format!("namespace-{}", n % 100),
        name: format!("deployment-{n}-5d4f8c7b9-abcde"),
        uid: Some("6f1ad7a1-89ab-4cde-8f01-23456789abcd".into()),
        addresses: vec![[10, 1, (n >> 8) as u8, n as u8].into()],
        labels: [("app.kubernetes.io/name".into(), format!("deployment-{n}"))].into(),
        ..Pod::default()
    }
}

#[test]
fn a_full_node_is_written_and_read() {
    let mut bytes = Vec::new();
    let mut recorder = Recorder::to(&mut bytes).expect("begun");
    let mut scene = unnamed();
    scene.node = large();
    scene.start = scene.node.clone();
    scene.pods = PodIndex::new((0..10_000).map(pod).collect());
    let mut written = Vec::new();
    for now in [1_000_000_007, 2_000_000_007] {
        let mut reading = full(now);
        recorder.put(&scene, &mut reading).expect("written");
        scene
            .node
            .known_as
            .push(([10, 0, 0, 1].into(), "later".into()));
        written.push(reading);
    }
    recorder.close().expect("closed");

    let mut blocks = BlockReader::open(bytes.as_slice()).expect("a recording");
    let mut most = 0;
    while let Some(text) = blocks.next().expect("whole") {
        most = most.max(text.len());
    }
    println!("{} bytes, the largest block {most}", bytes.len());
    assert!(most < limits::TEXT, "{most}");
    let mut replay = Replay::from(bytes.as_slice()).expect("a recording");
    for reading in &written {
        let read = replay.tick();
        let read = read.unwrap_or_else(|| panic!("{:?}", replay.trouble()));
        assert!(format!("{read:?}") == format!("{reading:?}"));
        assert_eq!(replay.scene.node.routes.len(), scene.node.routes.len());
        assert_eq!(replay.scene.pods.len(), 10_000);
    }
    assert!(replay.tick().is_none());
    assert_eq!(replay.trouble(), None);
}

/// What would be refused is not written either.
#[test]
fn what_nobody_would_read_is_not_written() {
    let put = |scene: &Scene| {
        let mut recorder = Recorder::to(Vec::new()).expect("begun");
        recorder.put(scene, &mut full(1))
    };
    let mut scene = unnamed();
    scene.pods = PodIndex::new((0..300_000).map(pod).collect());
    let why = put(&scene).expect_err("too large").to_string();
    assert_eq!(why, "the node is too large for a recording");
}

/// A name that is longer than any is cut, and takes nothing else with it.
#[test]
fn long_texts_are_cut() {
    let mut bytes = Vec::new();
    let mut recorder = Recorder::to(&mut bytes).expect("begun");
    let mut scene = unnamed();
    let mut long = pod(1);
    long.name = "é".repeat(limits::longest("pods"));
    scene.pods = PodIndex::new(vec![long, pod(2)]);
    let mut reading = Observation {
        now: 1,
        ..Observation::default()
    };
    recorder.put(&scene, &mut reading).expect("written");
    recorder.close().expect("closed");
    let mut replay = Replay::from(bytes.as_slice()).expect("a recording");
    assert!(replay.tick().is_some(), "{:?}", replay.trouble());
    let names: Vec<usize> = replay.scene.pods.iter().map(|pod| pod.name.len()).collect();
    assert_eq!(names, [limits::longest("pods"), pod(2).name.len()]);
}
