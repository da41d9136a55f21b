//! Storms of drops: what netdiag says that became of each is all of them, and a counter of nftables'
//! says how many there were. NETDIAG_STORMS is the number of storms, one of each kind by default.
use std::{
    fs::File,
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use netdiag_tests::{
    dropping::{self, Dropping},
    netdiag::start_in,
    process::Process,
    require,
};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::Signal,
};
use serde_json::Value;

/// How long one storm goes on.
const STORM: Duration = Duration::from_millis(800);
/// Senders at a time, so that several CPUs drop.
const SENDERS: u16 = 3;
/// So long nobody reads.
const STOPPED: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Each sender's packets are one flow.
    OneFlow,
    /// Each packet is a flow of its own, as long as there are ports.
    ManyFlows,
    /// Few packets, each of which is told by a record.
    Calm,
    /// A ring of one page, and nobody reads it meanwhile.
    NobodyReads,
}

const KINDS: [Kind; 4] = [
    Kind::OneFlow,
    Kind::ManyFlows,
    Kind::Calm,
    Kind::NobodyReads,
];

impl Kind {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::NobodyReads => &["--ring", "4096"],
            _ => &[],
        }
    }

    fn port(self, n: u64) -> u16 {
        let n = match self {
            Self::OneFlow => 0,
            Self::ManyFlows | Self::NobodyReads => n % 50_000,
            Self::Calm => n % 50,
        };
        1024 + u16::try_from(n).expect("a port")
    }

    fn pause(self) -> Duration {
        match self {
            Self::Calm => Duration::from_millis(4),
            _ => Duration::ZERO,
        }
    }
}

/// Sends until the time is over; how many.
fn send(node: &Dropping, kind: Kind, time: Duration) -> u64 {
    let senders = (0..SENDERS).map(|_| {
        let netns = File::open(format!("/run/netns/{}", node.pod)).expect("the pod");
        thread::spawn(move || {
            setns(netns, CloneFlags::CLONE_NEWNET).expect("inside");
            let socket = UdpSocket::bind((dropping::POD, 0)).expect("a socket");
            let (begun, mut sent) = (Instant::now(), 0);
            while begun.elapsed() < time {
                let to = (dropping::SERVER, kind.port(sent));
                // A full queue on the way takes nothing away that was sent.
                sent += u64::from(socket.send_to(b"?", to).is_ok());
                thread::sleep(kind.pause());
            }
            sent
        })
    });
    let senders: Vec<_> = senders.collect();
    senders.into_iter().map(|s| s.join().expect("sent")).sum()
}

fn storm(node: &Dropping, kind: Kind, process: &Process) -> u64 {
    if kind != Kind::NobodyReads {
        return send(node, kind, STORM);
    }
    process.signal(Signal::SIGSTOP);
    let sent = send(node, kind, STOPPED);
    process.signal(Signal::SIGCONT);
    sent
}

fn number(of: &Value, path: &str) -> i64 {
    let found = of.pointer(path).and_then(Value::as_i64);
    found.unwrap_or_else(|| panic!("no {path}: {of:#}"))
}

/// What one storm came to.
fn judge(kind: Kind) -> Value {
    let node = Dropping::up();
    let more = [&["run", "-o", "json"], kind.options()].concat();
    let process = start_in(&node.name, &more);
    let sent = storm(&node, kind, &process);
    // What was dropped last is read.
    thread::sleep(Duration::from_millis(600));
    let ended = process.stop(Signal::SIGTERM);
    let summary = &ended.json()["verdict"];
    // What finds a full queue on its way to the rule is another drop.
    let ruled = node.dropped();
    assert!(
        ruled > 0 && ruled <= sent,
        "{ruled} of {sent} were dropped by the rule"
    );
    let told = summary["drops"].as_array().expect("a list");
    let by_netfilter = told.iter().filter(|row| row["reason"] == "NETFILTER_DROP");
    let packets: i64 = by_netfilter.filter_map(|row| row["packets"].as_i64()).sum();
    let events = &summary["observer"]["cost"]["events"];
    check(
        kind,
        i64::try_from(ruled).expect("a number"),
        packets,
        events,
    );
    events.clone()
}

fn check(kind: Kind, sent: i64, packets: i64, events: &Value) {
    let of = |path: &str| number(events, path);
    let lost = ["no_room", "evicted", "interrupted"].map(|name| of(&format!("/drops/lost/{name}")));
    let lost: i64 = lost.iter().sum();
    let parts =
        ["aggregated", "ignored", "foreign", "left_out"].map(|name| of(&format!("/drops/{name}")));
    let why = format!("{kind:?}: {sent} by the rule, {packets} told, {events:#}");
    assert_eq!(of("/drops/unaccounted"), 0, "{why}");
    assert_eq!(of("/drops/seen"), parts.iter().sum::<i64>() + lost, "{why}");
    // nftables has counted each: what is not told was lost by name.
    assert!(packets <= sent && sent - packets <= lost, "{why}");
    assert!(of("/drops/aggregated") >= packets, "{why}");
    assert_eq!(of("/records/unaccounted"), 0, "{why}");
    let records =
        ["delivered", "late", "lost/ring_full"].map(|name| of(&format!("/records/{name}")));
    assert_eq!(of("/records/seen"), records.iter().sum::<i64>(), "{why}");
    assert!(of("/records/seen") > 0, "{why}");
    let full = of("/records/lost/ring_full");
    match kind {
        Kind::NobodyReads => assert!(full > 0, "{why}"),
        Kind::OneFlow | Kind::Calm => assert_eq!(full, 0, "{why}"),
        // As fast as the reader is.
        Kind::ManyFlows => {}
    }
}

#[test]
fn every_event_of_a_storm_is_accounted_for() {
    if require::missing(&["ip", "nft"]) {
        return;
    }
    let storms =
        std::env::var("NETDIAG_STORMS").map_or(KINDS.len(), |n| n.parse().expect("a number"));
    for (n, kind) in (0..storms).zip(KINDS.into_iter().cycle()) {
        let events = judge(kind);
        eprintln!("storm {n} {kind:?}: {events}");
    }
}
