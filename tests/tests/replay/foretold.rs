//! Changes foretold on other people's incidents, and what is no change.
use std::path::Path;

use netdiag_tests::{netdiag::netdiag, process::Ended};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/incidents");

fn whatif(recording: &str, commands: &[&str]) -> Ended {
    let file = Path::new(FOLDER).join(format!("{recording}.ndr"));
    let file = file.display().to_string();
    let words = ["whatif", "-o", "json", &file, "--"];
    netdiag(&[&words, commands].concat())
}

/// Those that die and those that live by it.
fn counts(ended: &Ended) -> (u64, u64) {
    let told = ended.json();
    let of = |member: &str| told[member].as_u64().expect("a number");
    (of("die"), of("live"))
}

#[test]
fn a_fix_lets_live_what_fails() {
    for (recording, fix) in [
        (
            "25-cni0-shadows-lan",
            "ip route add 10.42.0.200/32 dev eth0",
        ),
        (
            "33-veth-mac-changed",
            "ip netns exec d33-argocd ip neighbour replace 169.254.1.1 lladdr 0e:33:4a:64:18:29 dev eth0 nud permanent",
        ),
        (
            "port-not-flooded",
            "bridge link set dev u2 learning on flood on",
        ),
    ] {
        let ended = whatif(recording, &fix.split(' ').collect::<Vec<_>>());
        let (die, live) = counts(&ended);
        assert!(die == 0 && live > 0, "{recording}: {die} die, {live} live");
        assert_eq!(ended.code, Some(0), "{recording}");
    }
}

#[test]
fn what_is_not_understood_is_refused_with_its_word() {
    for (commands, said) in [
        (
            &["ip", "route", "add", "10.0.0.0/8", "realm", "3"][..],
            "realm",
        ),
        (&["rm", "-rf", "/"][..], "rm"),
        (
            &["ip route add 10.0.0.0/8 dev nowhere"][..],
            "nothing of that name",
        ),
        (&["ip rule add 'from 10.0.0.0/8"][..], "quote"),
        (
            &["ip", "netns", "exec", "nobodys", "ip", "route", "flush"][..],
            "namespace",
        ),
    ] {
        let ended = whatif("25-cni0-shadows-lan", commands);
        assert_eq!(ended.code, Some(2), "{commands:?}");
        let stderr = ended.stderr.join("\n");
        assert!(stderr.contains(said), "{commands:?}: {stderr}");
        assert!(ended.stdout.is_empty(), "{commands:?}");
    }
}
