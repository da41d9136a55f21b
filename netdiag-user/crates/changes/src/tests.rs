//! What refuses a command. That the others change what the kernel changes is held against the kernel (`host::stack`).
use std::collections::BTreeMap;

use fastrand::Rng;
use netdiag_model::world::{
    Known, Stack, World,
    conf::{Conf4, Conf6, Settings},
    device::{Device, Flags, Kind},
};

use crate::{Refused, carry_out};

fn device(index: u32, name: &str, up: bool) -> (u32, Device) {
    let device = Device {
        index,
        name: name.into(),
        kind: Kind::Dummy,
        mtu: 1500,
        flags: Flags {
            up,
            loopback: index == 1,
            ..Flags::default()
        },
        running: up,
        lower_up: up,
        ethernet: true,
        mac: None,
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

fn world() -> World {
    let stack = Stack {
        devices: Known::Is(BTreeMap::from([
            device(1, "lo", true),
            device(2, "eth0", true),
            device(3, "eth1", false),
        ])),
        addresses: Known::Is(Vec::new()),
        rules: Known::Is(Vec::new()),
        routes: Known::Is(Vec::new()),
        neighbours: Known::Is(Vec::new()),
        proxied: Known::Is(Vec::new()),
        fdb: Known::Is(Vec::new()),
        settings: Known::Is(Settings::default()),
        ruleset: Known::Is(std::sync::Arc::default()),
        ..Stack::default()
    };
    World {
        stacks: BTreeMap::from([(7, stack)]),
        ..World::default()
    }
}

fn done(world: &mut World, line: &str) -> Result<(), Refused> {
    let words: Vec<&str> = line.split(' ').collect();
    carry_out(world, 7, &words)
}

#[test]
fn what_the_kernel_refuses_is_refused() {
    let mut world = world();
    for (line, comes_to) in [
        ("ip address add 192.0.2.1/24 dev eth0", Ok(())),
        ("ip address add 192.0.2.1/24 dev eth0", Err(Refused::Exists)),
        ("ip route add default via 198.51.100.1", Err(Refused::NoWay)),
        ("ip route add default via 192.0.2.9", Ok(())),
        ("ip route add default via 192.0.2.8", Err(Refused::Exists)),
        ("ip route add 10.0.0.0/8 dev eth1", Err(Refused::NoWay)),
        ("ip route add 10.0.0.0/8 dev eth9", Err(Refused::Nothing)),
        ("ip route del 10.0.0.0/8", Err(Refused::Nothing)),
        ("ip rule del pref 5", Err(Refused::Nothing)),
        ("nft add rule inet t in accept", Err(Refused::Nothing)),
        ("nft add table inet t", Ok(())),
        ("nft add chain inet t in", Ok(())),
        ("nft add rule inet t in accept", Ok(())),
        ("nft delete rule inet t in handle 9", Err(Refused::Nothing)),
        ("iptables -D FORWARD 1", Err(Refused::Nothing)),
        ("bridge link set dev eth0 hairpin on", Err(Refused::Nothing)),
    ] {
        assert_eq!(done(&mut world, line), comes_to, "{line}");
    }
}

#[test]
fn what_is_not_understood_changes_nothing() {
    let word = |word: &str| Err(Refused::Word(word.into()));
    for (line, comes_to) in [
        ("ip route add 10.0.0.1/8 dev eth0", word("10.0.0.1/8")),
        ("ip route add 10.0.0.0/8 dev eth0 realm 3", word("realm")),
        ("ip link set dev eth0 down", Err(Refused::NotModelled)),
        ("ip link add x type dummy", Err(Refused::NotModelled)),
        ("tc qdisc del dev eth0 root", word("tc")),
        ("rm -rf /", word("rm")),
        ("sysctl net.ipv4.ip_forward", Err(Refused::Ends)),
        ("sysctl -w net.core.rmem_max=1", Err(Refused::NotModelled)),
        ("sysctl -w net.ipv4.ip_forward=yes", word("yes")),
        ("nft add rule inet t in queue", Err(Refused::Nothing)),
        ("iptables -A FORWARD -m string -j DROP", word("string")),
        ("ip", Err(Refused::Ends)),
    ] {
        let mut changed = world();
        assert_eq!(done(&mut changed, line), comes_to, "{line}");
        let chains = |world: &World| {
            let rules = world.stacks[&7].ruleset.some().expect("rules");
            rules.size()
        };
        assert_eq!(
            changed.stacks[&7].routes,
            world().stacks[&7].routes,
            "{line}"
        );
        assert_eq!(chains(&changed), chains(&world()), "{line}");
    }
}

#[test]
fn what_was_not_read_is_not_changed() {
    let mut world = world();
    let stack = world.stacks.get_mut(&7).expect("there");
    stack.routes = Known::default();
    let line = "ip route add 10.0.0.0/8 dev eth0";
    assert_eq!(done(&mut world, line), Err(Refused::NotRead));
    assert_eq!(carry_out(&mut world, 8, &["nft"]), Err(Refused::NotRead));
}

/// Words of every program in any order.
#[test]
fn no_line_is_too_strange() {
    const WORDS: &str = "ip bridge sysctl nft iptables ip6tables-legacy -6 -4 route rule neighbour address link \
        xfrm policy fdb vlan add del delete replace append change flush set insert chain table rule default all from to \
        via dev lo eth0 eth1 metric table scope src mtu lock proto onlink pref fwmark iif oif lookup not dport sport \
        ipproto up down type vxlan bridge ttl proxy lladdr nud permanent peer brd + broadcast state learning hairpin \
        on off master self vid pvid dst -w net.ipv4.ip_forward=1 net.ipv4.conf..x=1 net.ipv6.conf.eth0.mtu=99999999999 \
        net.ipv4.conf.eth0.rp_filter=300 inet ip ip6 t in post { } ; hook prerouting priority filter nat policy drop \
        accept handle position saddr daddr tcp udp icmp icmpv6 code meta l4proto mark ct status dnat snat masquerade \
        counter jump iifname != == -t -A -I -D -P -j -s -d -p -i -o -m --dport --sport --ctstate --mark --icmp-type \
        ESTABLISHED,RELATED ACCEPT FORWARD POSTROUTING ! 0 1 7 65535 65536 4294967296 0x 0xff/0x -1 1-0 90-80 80:90 \
        10.0.0.0/8 0.0.0.0/0 ::/0 192.0.2.1/32 2001:db8::/129 fe80::1 02:00:00:00:00:01 established,new dir out";
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut rng = Rng::with_seed(3);
    let mut world = world();
    let mut taken = 0;
    for _ in 0..100_000 {
        let length = rng.usize(1..12);
        let line: Vec<&str> = (0..length)
            .map(|_| words[rng.usize(..words.len())])
            .collect();
        // Of one program more often than the dice have it.
        let program = words[rng.usize(..6)];
        let line: Vec<&str> = std::iter::once(program).chain(line).collect();
        taken += usize::from(carry_out(&mut world, 7, &line).is_ok());
    }
    assert!(taken > 10, "{taken}");
}
