//! Pods' namespaces are read one after the other, as they are, and a new one has its turn soon.
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use netdiag::{
    host::turns::Turns,
    model::{
        node::{Node, PodSide},
        world::Stack,
    },
};
use netdiag_tests::{netns::sh, require};

/// Long enough for the busiest machine.
const SOON: Duration = Duration::from_secs(60);

struct Space {
    name: String,
    netns: u32,
}

impl Space {
    fn new(number: usize) -> Self {
        let name = format!("turn-{}-{number}", std::process::id());
        sh(&["ip", "netns", "add", &name]);
        sh(&["ip", "-n", &name, "link", "set", "lo", "up"]);
        let address = format!("192.0.2.{number}/32");
        sh(&["ip", "-n", &name, "addr", "add", &address, "dev", "lo"]);
        let path = Path::new("/run/netns").join(&name);
        let netns = netdiag::host::namespaces::inode(&path).expect("a namespace");
        Self { name, netns }
    }

    fn side(&self) -> PodSide {
        PodSide {
            netns: self.netns,
            path: Some(format!("/run/netns/{}", self.name)),
            ..PodSide::default()
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        sh(&["ip", "netns", "del", &self.name]);
    }
}

fn node(spaces: &[Space]) -> Node {
    Node {
        netns: 1,
        pod_sides: spaces.iter().map(Space::side).collect(),
        ..Node::default()
    }
}

fn has(stack: &Stack, number: usize) -> bool {
    let address = format!("192.0.2.{number}");
    let all = stack.addresses.whole().expect("addresses");
    all.iter().any(|a| a.own.address.to_string() == address)
}

fn wait(turns: &Turns, space: &Space, number: usize) {
    let until = Instant::now() + SOON;
    loop {
        if let Some(stack) = turns.stack(space.netns) {
            assert!(has(&stack, number), "another namespace's");
            return;
        }
        assert!(Instant::now() < until, "{} had no turn", space.name);
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn each_pods_namespace_has_its_turn() {
    if require::missing(&["ip"]) {
        return;
    }
    let mut spaces: Vec<Space> = (1..=6).map(Space::new).collect();
    let turns = Turns::begin(Path::new("/"));
    turns.follow(&node(&spaces));
    for (at, space) in spaces.iter().enumerate() {
        wait(&turns, space, at + 1);
    }
    // One that comes later, and one that is gone before its turn.
    let gone = Space::new(8);
    spaces.push(Space::new(7));
    let mut both = node(&spaces);
    both.pod_sides.push(gone.side());
    let netns = gone.netns;
    drop(gone);
    turns.follow(&both);
    wait(&turns, &spaces[6], 7);
    assert!(turns.stack(netns).is_none());
}
