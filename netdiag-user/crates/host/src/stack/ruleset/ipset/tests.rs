use fastrand::Rng;
use nix::sched::{CloneFlags, unshare};

use super::told;
use crate::{
    gather::netlink::nla,
    model::world::{
        Known, Why,
        ruleset::{IpsetPart, Ruleset},
    },
    stack::ruleset::{Most, bodies, read},
    sys::program::Program,
};

const SETS: &str = "create hosts hash:ip netmask 24
add hosts 10.1.2.0
create nets hash:net,port family inet6
add nets fd00::/64,udp:53
add nets fd00::/96,udp:53 nomatch
create ports bitmap:port range 0-1000
add ports 80
create links hash:net,iface
add links 10.0.0.0/8,eth0
";

const ALL: Most = Most {
    rules: 100,
    elements: 100,
    comments: false,
};

/// What is read of the sets above, where a rule asks one of them.
fn read_back(most: Most, asks: bool) -> Option<Known<std::sync::Arc<Ruleset>>> {
    if netdiag_tests::require::missing(&["ipset", "iptables-nft"]) {
        return None;
    }
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        std::io::Write::write_all(&mut file, SETS.as_bytes()).expect("written");
        let path = file.path().display().to_string();
        if let Err(error) = Program::new("ipset").text(&["restore", "-f", &path]) {
            netdiag_tests::require::say(&format!("sets of ipset: {error}"));
            return None;
        }
        let rule = ["-A", "INPUT", "-m", "set", "--match-set", "hosts", "src"];
        if asks {
            let ruled = Program::new("iptables-nft").text(&rule);
            ruled.expect("a rule");
        }
        Some(read(most))
    };
    std::thread::spawn(inside).join().expect("no panic")
}

#[test]
fn sets_are_read_with_their_entries() {
    let Some(known) = read_back(ALL, true) else {
        return;
    };
    let sets = &known.whole().expect("all of it").ipsets;
    let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
    assert_eq!(names, ["hosts", "nets", "ports", "links"]);
    let [hosts, nets, ports, links] = sets.as_slice() else {
        panic!("{sets:?}");
    };
    let ten = ("10.1.2.0".parse().expect("an address"), 24);
    assert_eq!(
        (hosts.ipv6, &hosts.entries[0].networks),
        (Some(false), &vec![ten])
    );
    assert_eq!(nets.parts, [IpsetPart::Address, IpsetPart::Port]);
    assert_eq!(nets.ipv6, Some(true));
    let mut entries: Vec<_> = nets
        .entries
        .iter()
        .map(|e| (e.networks[0].1, e.nomatch))
        .collect();
    entries.sort_unstable();
    assert_eq!(entries, [(64, false), (96, true)]);
    assert_eq!(
        (nets.entries[0].protocol, nets.entries[0].port),
        (Some(17), Some(53))
    );
    let port = &ports.entries[0];
    assert_eq!(
        (port.protocol, port.port, ports.ipv6),
        (None, Some(80), None)
    );
    assert!(links.partly && links.entries.is_empty(), "of another kind");
    let mut numbers: Vec<u16> = sets.iter().map(|set| set.index).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), 4);
}

#[test]
fn none_is_read_where_no_rule_asks_one() {
    if let Some(known) = read_back(ALL, false) {
        assert!(known.whole().expect("all of it").ipsets.is_empty());
    }
}

#[test]
fn there_are_no_more_entries_than_wanted() {
    let few = Most { elements: 3, ..ALL };
    if let Some(known) = read_back(few, true) {
        assert_eq!(known, Known::Not(Why::TooMany));
    }
}

/// Whatever bytes there are, it ends.
#[test]
fn bytes_of_no_set_are_none() {
    let mut rng = Rng::with_seed(11);
    let mut made = 0;
    for _ in 0..20_000 {
        let mut message = nla(2, b"s\0");
        if rng.bool() {
            message.extend(nla(3, b"hash:net,port\0"));
            message.extend(nla(11, &[0, 1]));
        }
        let length = rng.usize(0..60);
        let noise: Vec<u8> = (0..length).map(|_| rng.u8(0..9)).collect();
        message.extend(nla(8, &nla(7, &noise)));
        let at = rng.usize(0..message.len());
        message[at] = rng.u8(..);
        let (mut sets, mut left) = (Vec::new(), 5);
        told(&mut sets, &message, &mut left);
        made += sets.len();
        bodies::ipsets(&message);
    }
    assert!(made > 0, "nothing was ever a set");
}
