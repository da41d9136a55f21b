//! With the kernel's own messages, in a namespace of the test's own.
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use super::super::Journal;
use crate::{
    model::{
        journal::{Change, How, Thing},
        netfilter::{Chain, Family},
    },
    snapshot::Reader,
    sys::program::Program,
};

fn run(program: &'static str, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    Program::new(program).text(&words).expect("done");
}

/// What is told of these lines of ip(8) and nft(8), in a node that has the first of them.
fn told(before: &[&'static str], lines: &[&'static str]) -> Vec<Change> {
    let (before, lines) = (before.to_vec(), lines.to_vec());
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let execute = |line: &&'static str| match line.split_once(' ') {
                Some((program, rest)) => run(program, rest),
                None => panic!("{line}"),
            };
            before.iter().for_each(execute);
            let reader = Reader::open(std::path::Path::new("/"), None).expect("a reader");
            let journal = Journal::open();
            journal.seed(&reader.node().await.expect("a node"));
            lines.iter().for_each(execute);
            // The last line's own mark.
            run("ip", "route add blackhole 203.0.113.113");
            let deadline = Instant::now() + Duration::from_secs(10);
            let mark = |change: &Change| matches!(&change.of, Thing::Route { to, .. } if to.to_string() == "203.0.113.113/32");
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let mut changes = journal.changes();
                if changes.iter().any(mark) || Instant::now() > deadline {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    changes = journal.changes();
                    changes.retain(|change| !mark(change));
                    return changes;
                }
            }
        })
    };
    std::thread::spawn(inside).join().expect("no panic")
}

fn lacks(programs: &[&str]) -> bool {
    netdiag_tests::require::missing(programs) || !nix::unistd::geteuid().is_root()
}

const VETH: &str = "ip link add v0 type veth peer name v1";

#[test]
fn what_ip_does_is_told_as_it_does_it() {
    if lacks(&["ip"]) {
        return;
    }
    let before = [
        VETH,
        "ip link set v0 up",
        "ip link set v1 up",
        "ip addr add 192.0.2.1/24 dev v0",
        "ip route add 198.51.100.0/24 via 192.0.2.9",
    ];
    let changes = told(
        &before,
        &[
            "ip rule add pref 100 from 192.0.2.0/24 prohibit",
            "ip route del 198.51.100.0/24",
            "ip link set v0 mtu 1400",
            "ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev v0",
            "ip addr add 192.0.2.5/32 dev v1",
            "sysctl -qw net.ipv4.conf.v0.rp_filter=1",
            "ip link set v1 down",
        ],
    );
    let has = |of: Thing, how| {
        let found = changes.iter().find(|change| change.of == of);
        assert_eq!(found.map(|it| it.how), Some(how), "{of:?} in {changes:#?}");
    };
    let (name, link) = (|name: &str| name.to_owned(), || "v0".to_owned());
    let prefix = |text: &str| text.parse().expect("a prefix");
    has(
        Thing::Policy {
            ipv6: false,
            priority: 100,
        },
        How::Appeared,
    );
    let route = Thing::Route {
        to: prefix("198.51.100.0/24"),
        table: 254,
    };
    has(route, How::Vanished);
    let address = "192.0.2.7".parse().expect("an address");
    has(
        Thing::Neighbour {
            address,
            link: link(),
        },
        How::Appeared,
    );
    has(
        Thing::Address {
            prefix: prefix("192.0.2.5/32"),
            link: name("v1"),
        },
        How::Appeared,
    );
    let setting = Thing::Setting {
        sysctl: name("net.ipv4.conf.v0.rp_filter"),
    };
    has(setting, How::Set { now: 1 });
    has(Thing::Link { name: name("v1") }, How::Down);
    assert!(changes.windows(2).all(|two| two[0].at <= two[1].at));
}

#[test]
fn a_links_last_change_is_told_and_nothing_that_was_there() {
    if lacks(&["ip"]) {
        return;
    }
    let before = [VETH, "ip link set v0 up", "ip link set v1 up"];
    let none = told(&before, &[]);
    let of_links = none.iter().filter(|it| matches!(it.of, Thing::Link { .. }));
    assert_eq!(of_links.count(), 0, "{none:#?}");
    let mtu = told(&before, &["ip link set v0 mtu 1400"]);
    let link = mtu
        .iter()
        .find(|it| matches!(&it.of, Thing::Link { name } if name == "v0"));
    let (before, now) = (1500, 1400);
    assert_eq!(link.map(|it| it.how), Some(How::Mtu { before, now }));
    let added = told(&[], &["ip link add br0 type bridge"]);
    let link = added
        .iter()
        .find(|it| matches!(&it.of, Thing::Link { name } if name == "br0"));
    assert_eq!(link.map(|it| it.how), Some(How::Appeared));
}

#[test]
fn a_bridges_port_is_told_where_its_flags_change() {
    if lacks(&["ip", "bridge"]) {
        return;
    }
    let before = [
        VETH,
        "ip link add br0 type bridge",
        "ip link set v0 master br0",
    ];
    let changes = told(&before, &["bridge link set dev v0 hairpin on"]);
    let port = Thing::Port { name: "v0".into() };
    assert!(changes.iter().any(|it| it.of == port), "{changes:#?}");
}

#[test]
fn rules_are_told_with_the_program_that_set_them() {
    if lacks(&["nft"]) {
        return;
    }
    let changes = told(
        &["nft add table inet f"],
        &[
            "nft add chain inet f c { type filter hook forward priority 0 ; }",
            "nft add rule inet f c tcp dport 80 drop",
        ],
    );
    let of = Chain {
        family: Family::Inet,
        table: "f".into(),
        chain: "c".into(),
    };
    let rule = |change: &&Change| matches!(&change.of, Thing::Rule { chain, .. } if *chain == of);
    let found = changes.iter().find(rule).expect("the rule");
    assert_eq!(found.how, How::Appeared);
    assert_eq!(found.by.as_ref().map(|by| &*by.name), Some("nft"));
    assert!(found.by.as_ref().is_some_and(|by| by.pid > 1));
}
