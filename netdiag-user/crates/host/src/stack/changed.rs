//! Commands carried out by the kernel, and by netdiag on what was read before: both come to the same.
use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, unshare};

use super::{Stack, read};
use crate::{
    listing::POD,
    model::world::{
        End, Known, World,
        device::Kind,
        neighbour::{Neighbour, State},
        ruleset::{Expression, Ruleset},
    },
    sys::program::Program,
};

/// Two pairs, a bridge with a port of one of them, and an overlay.
const SETUP: &[&str] = &[
    // Nothing is sent, and no address comes, by itself.
    "sysctl -w net.ipv6.conf.default.addr_gen_mode=1",
    "sysctl -w net.ipv6.conf.default.router_solicitations=0",
    "ip link set dev lo up",
    "ip link add p0 type veth peer name p1",
    "ip link add q0 type veth peer name q1",
    "ip link add br0 type bridge",
    "ip link set dev q0 master br0",
    "ip link add over type vxlan id 5 dstport 4790 local 192.0.2.1",
    "ip link set dev p1 up",
    "ip link set dev br0 up",
    "ip link set dev q1 up",
];

/// What each of them changes is compared behind it; those after it stand on it.
const COMMANDS: &[&str] = &[
    "ip link set dev p0 up",
    "ip link set dev q0 up",
    "ip address add 192.0.2.1/24 dev p0",
    "ip address add 192.0.2.7/24 dev p0",
    "ip address add 198.18.0.1/32 dev lo",
    "ip address add 2001:db8::1/64 dev p0 nodad",
    "ip address add 192.0.2.65/26 brd + dev q1",
    "ip route add 198.51.100.0/24 via 192.0.2.9",
    "ip route replace 198.51.100.0/24 via 192.0.2.10 dev p0 mtu 1400",
    "ip route add 203.0.113.0/24 dev p0 table 100 metric 5",
    "ip route append 203.0.113.0/24 dev q1 table 100 metric 6",
    "ip route add 203.0.113.9 dev p0 src 192.0.2.1",
    "ip route add blackhole 10.9.0.0/16",
    "ip route add unreachable 10.10.0.0/16 metric 4000",
    "ip route add 10.11.0.0/16 via 10.12.0.1 dev p0 onlink",
    "ip route add default via 192.0.2.9",
    "ip -6 route add default via 2001:db8::9",
    "ip route add 2001:db8:5::/48 dev p0 metric 7",
    "ip -6 route replace 2001:db8:6::/48 dev p0",
    "ip route del 203.0.113.0/24 table 100 metric 6",
    "ip route del 10.9.0.0/16",
    "ip rule add from 10.0.0.0/8 lookup 100",
    "ip rule add to 198.51.100.7 lookup main",
    "ip -6 rule add to 2001:db8:7::/48 lookup 100 pref 50",
    "ip rule add fwmark 0x10/0xff iif p0 prohibit",
    "ip rule add not from 192.0.2.0/24 ipproto tcp dport 80-90 table 7 pref 77",
    "ip -6 rule del pref 50",
    "ip rule del from 10.0.0.0/8",
    "ip neighbour add 192.0.2.9 lladdr 02:00:00:00:00:09 dev p0",
    "ip neighbour replace 192.0.2.9 lladdr 02:00:00:00:00:0a nud permanent dev p0",
    "ip neighbour add proxy 192.0.2.77 dev p0",
    "ip -6 neighbour add proxy 2001:db8::77 dev p0",
    "ip neighbour flush dev p0 nud permanent",
    "ip neighbour del proxy 192.0.2.77 dev p0",
    "bridge fdb add 02:00:00:00:00:11 dev q0 master static",
    "bridge fdb add 02:00:00:00:00:14 dev q0 master",
    "bridge fdb add 02:00:00:00:00:15 dev q0 master dynamic",
    "bridge fdb append 02:00:00:00:00:12 dev over dst 192.0.2.44",
    "bridge fdb append 02:00:00:00:00:12 dev over dst 192.0.2.45",
    "bridge fdb replace 02:00:00:00:00:13 dev over dst 192.0.2.46",
    "bridge fdb del 02:00:00:00:00:12 dev over dst 192.0.2.44",
    "bridge fdb del 02:00:00:00:00:11 dev q0 master",
    "bridge link set dev q0 learning off flood off hairpin on isolated on mcast_flood off",
    "bridge link set dev q0 isolated off",
    "ip link set dev over type vxlan ttl 64",
    "ip link set dev p0 mtu 1400",
    "ip link set dev p0 arp off",
    "ip link set dev p0 arp on",
    "ip link set dev q1 address 02:00:00:00:00:77",
    "sysctl -w net.ipv4.ip_forward=1",
    "sysctl -w net.ipv4.conf.p0.forwarding=0",
    "sysctl -w net.ipv4.ip_forward=1",
    "sysctl -w net.ipv6.conf.all.proxy_ndp=1",
    "sysctl -w net.ipv6.conf.p0.proxy_ndp=1",
    "sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.p0.rp_filter=1",
    "sysctl -w net.ipv4.conf.p0.arp_ignore=1",
    "sysctl -w net.ipv6.conf.all.forwarding=1",
    "sysctl -w net.ipv6.conf.p0.forwarding=0",
    "sysctl -w net.ipv6.conf.all.forwarding=1",
    "sysctl -w net.ipv6.conf.p0.hop_limit=3",
    "sysctl -w net.ipv4.ip_forward=0",
    "sysctl -w net.ipv4.ip_default_ttl=9",
    "sysctl -w net.ipv4.ip_nonlocal_bind=1",
    "nft add table inet t",
    "nft add chain inet t in { type filter hook input priority 0; policy drop; }",
    "nft add chain inet t side",
    "nft add rule inet t in ip saddr 10.0.0.0/8 ip daddr 192.0.2.1 tcp dport 80 accept",
    "nft add rule inet t in ip6 saddr 2001:db8::/32 udp sport 53-99 drop",
    "nft insert rule inet t in icmpv6 type 135-136 accept",
    "nft add rule inet t in ct state established,related accept",
    "nft add rule inet t in iifname != p0 meta l4proto icmp counter jump side",
    "nft add rule inet t in meta mark 0x7 return",
    "nft chain inet t in { policy accept; }",
    "nft add table ip nat",
    "nft add chain ip nat post { type nat hook postrouting priority 100; }",
    "nft add rule ip nat post ip saddr 10.0.0.0/8 oifname p0 masquerade",
    "nft add rule ip nat post ip daddr 192.0.2.4 snat to 192.0.2.1",
    "nft delete rule ip nat post handle 3",
    "nft flush chain inet t in",
    "nft delete table ip nat",
];

fn now() -> Stack {
    read(Path::new("/"), &POD)
}

fn run(line: &'static str) {
    let words: Vec<&'static str> = line.split(' ').collect();
    let ran = Program::new(words[0]).text(&words[1..]);
    if let Err(failure) = ran {
        panic!("{line}: {failure}");
    }
}

/// What decides, in one order, without the numbers that the kernel alone gives.
fn parts(stack: &Stack) -> BTreeMap<&'static str, String> {
    fn sorted<T: std::fmt::Debug>(all: &Known<Vec<T>>) -> String {
        let all = all.whole().expect("it is read whole");
        let mut lines: Vec<String> = all.iter().map(|one| format!("{one:#?}")).collect();
        lines.sort();
        lines.join("\n")
    }
    let rules = stack.ruleset.whole().expect("they are read whole");
    // The others come and go with what the kernel itself sends.
    let permanent = |entry: &&Neighbour| entry.state == State::Permanent;
    let neighbours = stack.neighbours.whole().expect("they are read whole");
    let neighbours = neighbours.iter().filter(permanent).cloned().collect();
    BTreeMap::from([
        ("addresses", sorted(&stack.addresses)),
        ("routes", sorted(&stack.routes)),
        ("rules", format!("{:#?}", stack.rules)),
        ("neighbours", sorted(&Known::Is(neighbours))),
        ("proxied", sorted(&stack.proxied)),
        ("fdb", sorted(&stack.fdb)),
        ("devices", format!("{:#?}", stack.devices)),
        ("settings", format!("{:#?}", stack.settings)),
        ("ruleset", format!("{:#?}", plain(rules))),
    ])
}

fn plain(rules: &Arc<Ruleset>) -> Ruleset {
    let mut rules = Ruleset::clone(rules);
    rules.generation = 0;
    for table in &mut rules.tables {
        for chain in &mut table.chains {
            chain.handle = 0;
            for rule in &mut chain.rules {
                rule.handle = 0;
                let all = &mut rule.expressions;
                all.retain(|one| !matches!(one, Expression::Counter { .. }));
            }
        }
    }
    rules
}

/// How long the kernel may take until it is as computed: a link tells of its signal later (net/core/link_watch.c).
const PATIENCE: Duration = Duration::from_secs(5);

fn differences(commands: &[&'static str]) -> Vec<String> {
    let mut all = Vec::new();
    for line in commands {
        let mut world = pairs(now());
        let words: Vec<&str> = line.split(' ').collect();
        let done = netdiag_changes::carry_out(&mut world, 0, &words);
        run(line);
        match done {
            Ok(()) => all.extend(unlike(line, &world.stacks[&0])),
            Err(refused) => all.push(format!("{line}: {refused:?}")),
        }
    }
    all
}

/// None of those that are set up has a signal, but the kernel takes note of that later, too.
fn wait_for_no_signal() {
    let began = Instant::now();
    let silent = || {
        let devices = now().devices;
        let mut all = devices.some().into_iter().flat_map(BTreeMap::values);
        all.all(|device| device.running == device.flags.loopback)
    };
    while !silent() {
        assert!(began.elapsed() < PATIENCE, "a link has a signal");
        std::thread::yield_now();
    }
}

/// In what the kernel stays otherwise than computed.
fn unlike(line: &str, computed: &Stack) -> Vec<String> {
    let (computed, about) = (parts(computed), about(line));
    let began = Instant::now();
    loop {
        let kernel = parts(&now());
        let mut other = about.iter().filter(|part| computed[*part] != kernel[*part]);
        if other.clone().next().is_none() || began.elapsed() > PATIENCE {
            let told = |part: &&str| {
                let (first, second) = (&computed[part], &kernel[part]);
                format!("{line}: {part}\n--- computed\n{first}\n--- kernel\n{second}")
            };
            return other.by_ref().map(told).collect();
        }
        std::thread::yield_now();
    }
}

/// What may change with it; the rest moves by itself, as neighbours do.
fn about(line: &str) -> &'static [&'static str] {
    let words = || line.split(' ').filter(|word| *word != "-6");
    match (words().next(), words().nth(1)) {
        (Some("ip"), Some("route")) => &["routes"],
        (Some("ip"), Some("rule")) => &["rules", "settings"],
        (Some("ip"), Some("neighbour")) => &["neighbours", "proxied"],
        (Some("ip"), Some("address")) => &["addresses", "routes"],
        (Some("ip"), _) => &["devices", "routes", "addresses"],
        (Some("bridge"), _) => &["devices", "fdb"],
        (Some("sysctl"), _) => &["devices", "settings"],
        _ => &["ruleset"],
    }
}

/// Both ends of each pair are here.
fn pairs(stack: Stack) -> World {
    let devices = stack.devices.some().into_iter().flat_map(BTreeMap::values);
    let pair = devices.filter(|device| device.kind == Kind::Veth);
    let end = |index| End { netns: 0, index };
    let wires = pair.filter_map(|device| Some((end(device.index), end(device.lower?))));
    World {
        wires: wires.collect(),
        stacks: BTreeMap::from([(0, stack)]),
        nodes: Vec::new(),
    }
}

#[test]
fn commands_change_what_the_kernel_changes() {
    if netdiag_tests::require::missing(&["ip", "bridge", "sysctl", "nft"]) {
        return;
    }
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        SETUP.iter().for_each(|line| run(line));
        wait_for_no_signal();
        differences(COMMANDS)
    };
    let differences = std::thread::spawn(inside).join().expect("no panic");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// iptables writes matches of its own beside what nft has expressions for: here those that need none.
#[test]
fn iptables_chains_change_as_they_do() {
    if netdiag_tests::require::missing(&["iptables-nft"]) {
        return;
    }
    const COMMANDS: &[&str] = &[
        "iptables-nft -A FORWARD -s 10.0.0.0/8 -j ACCEPT",
        "iptables-nft -I FORWARD -d 192.0.2.1 -j DROP",
        "iptables-nft -t filter -I FORWARD 2 -s 192.0.2.64/26 -j ACCEPT",
        "iptables-nft -P FORWARD DROP",
        "iptables-nft -t filter -D FORWARD 3",
    ];
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        differences(COMMANDS)
    };
    let differences = std::thread::spawn(inside).join().expect("no panic");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
