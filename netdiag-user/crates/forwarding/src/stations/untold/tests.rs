use std::{collections::BTreeMap, net::IpAddr};

use netdiag_changes::carry_out;
use netdiag_model::world::{
    Known, Netns, Stack, World,
    conf::{Conf4, Conf6, Settings},
    device::{Device, Flags, Kind, Mac},
    rule::{Action, Rule},
};

use crate::{
    Prepared,
    packet::{Packet, Sender, Start},
    walk,
    way::{Does, Share, Station, Unknown, Walk},
};

const NODE: Netns = 7;

fn device(index: u32, name: &str, kind: Kind) -> (u32, Device) {
    let loopback = index == 1;
    let device = Device {
        index,
        name: name.into(),
        kind,
        mtu: 1500,
        flags: Flags {
            up: true,
            loopback,
            ..Flags::default()
        },
        running: true,
        lower_up: true,
        ethernet: true,
        mac: (!loopback).then_some(Mac([2, 0, 0, 0, 0, index as u8])),
        master: None,
        lower: None,
        lower_netnsid: None,
        group: 0,
        port: None,
        bond_port: None,
        vlans: None,
        conf4: Some(Conf4::default()),
        conf6: Some(Conf6::default()),
    };
    (index, device)
}

/// Two ways to one network, of which `second` is the other's device.
fn two_ways(second: Kind) -> World {
    let stack = Stack {
        devices: Known::Is(BTreeMap::from([
            device(1, "lo", Kind::Loopback),
            device(2, "eth0", Kind::Dummy),
            device(3, "eth1", second),
        ])),
        addresses: Known::Is(Vec::new()),
        rules: Known::Is(vec![
            Rule::every(false, 0, Action::Table(255)),
            Rule::every(false, 32_766, Action::Table(254)),
        ]),
        routes: Known::Is(Vec::new()),
        nexthops: Known::Is(BTreeMap::new()),
        exceptions: Known::Is(Vec::new()),
        neighbours: Known::Is(Vec::new()),
        proxied: Known::Is(Vec::new()),
        fdb: Known::Is(Vec::new()),
        settings: Known::Is(Settings::default()),
        ruleset: Known::Is(std::sync::Arc::default()),
        ..Stack::default()
    };
    let mut world = World {
        stacks: BTreeMap::from([(NODE, stack)]),
        ..World::default()
    };
    for line in [
        "ip address add 192.0.2.1/24 dev eth0",
        "ip address add 198.51.100.1/24 dev eth1",
        "ip neighbour add 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0",
        "ip neighbour add 198.51.100.9 lladdr 02:00:00:00:00:0a dev eth1",
        "ip route add 203.0.113.0/24 via 192.0.2.9",
        "ip route add 233.252.0.0/24 via 198.51.100.9",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        carry_out(&mut world, NODE, &words).expect(line);
    }
    let stack = world.stacks.get_mut(&NODE).expect("the node");
    let Known::Is(routes) = &mut stack.routes else {
        panic!("no routes")
    };
    let other = routes.pop().expect("the last route");
    let first = routes.last_mut().expect("the route before");
    first.hops.extend(other.hops);
    world
}

fn ask(world: &World, then: impl FnOnce(&Walk<'_>)) {
    let prepared = Prepared::new(world);
    let sender = Sender {
        netns: NODE,
        device: None,
        uid: 0,
        any_source: false,
        failing: None,
    };
    let source: IpAddr = [192, 0, 2, 1].into();
    let packet = Packet {
        protocol: 17,
        size: 100,
        ttl: 64,
        ..Packet::new(source, [203, 0, 113, 7].into())
    };
    then(&walk(&prepared, Start::Socket(sender), packet));
}

#[test]
fn one_of_two_ways_ends_alone() {
    ask(&two_ways(Kind::Other("odd".into())), |walk| {
        let last = walk.last().map(|step| (step.station, &step.does));
        let Some((Station::Route, Does::Chooses(branches))) = last else {
            panic!("{walk:?}");
        };
        let ends: Vec<_> = branches
            .iter()
            .map(|(share, branch)| (*share, branch.last().map(|step| &step.does)))
            .collect();
        let odd = Does::Unknown(Unknown::NotModelled("odd".into()));
        assert!(
            matches!(ends.as_slice(), [(Share(0x8000), Some(Does::Sends { device: 2, .. })), (_, Some(other))] if **other == odd),
            "{ends:?}"
        );
    });
}
