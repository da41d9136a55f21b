//! A million packets that die with their socket, their device or their namespace: what netdiag reads of
//! them is being freed at that time. The kernel must not complain, and each of them is accounted for.
//! Under the kernels where that matters most: `cargo xtask vm 5.10 6.1 --test gone`.
use std::{
    fs::File,
    net::{Ipv4Addr, UdpSocket},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use netdiag_tests::{
    dropping::Dropping,
    netdiag::start_in,
    netns::sh,
    process::{Ended, run},
    require,
};
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::signal::Signal,
};
use serde_json::Value;

/// How many die.
const DROPS: u64 = 1_000_000;
/// What one socket has not read when it is closed; the kernel holds less, and drops the others at once.
const UNREAD: u64 = 1000;
/// Sockets of one namespace, which go with it.
const SOCKETS: u64 = 8;
/// Addresses behind one link that nobody answers for, and what waits for each of them: less than a
/// neighbour's queue holds and a socket may have under way.
const NEIGHBOURS: u8 = 200;
const WAITING: u64 = 60;

/// What a kernel says that has met a bad pointer, or thinks so.
const COMPLAINTS: [&str; 6] = [
    "BUG:",
    "Oops",
    "WARNING:",
    "general protection",
    "unable to handle",
    "refcount_t",
];

/// Kernel messages that complain.
fn complaints() -> Vec<String> {
    let said = run(&mut Command::new("dmesg")).text();
    let bad = |line: &&str| COMPLAINTS.iter().any(|it| line.contains(it));
    said.lines().filter(bad).map(str::to_owned).collect()
}

/// Datagrams for a socket that reads none and is closed; how many.
fn unread() -> u64 {
    let reader = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let to = reader.local_addr().expect("an address");
    sender.connect(to).expect("connected");
    (0..UNREAD).map(|_| send(&sender)).sum()
}

fn send(from: &UdpSocket) -> u64 {
    u64::from(from.send(b"?").is_ok())
}

/// A namespace that goes, with its sockets and what they hold.
fn with_a_namespace() -> u64 {
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        sh(&["ip", "link", "set", "lo", "up"]);
        (0..SOCKETS).map(|_| unread()).sum()
    })
    .join()
    .expect("sent")
}

/// A link that goes while packets wait for the addresses behind it.
fn with_a_device() -> u64 {
    let lines = [
        "link add gone0 type veth peer name gone1",
        "addr add 10.99.0.1/24 dev gone0",
        "link set gone1 up",
        "link set gone0 up",
    ];
    lines.iter().for_each(|line| ip(line));
    let waiting = (2..2 + NEIGHBOURS).map(|host| {
        let sender = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        sender
            .set_nonblocking(true)
            .expect("a socket that never waits");
        let silent = Ipv4Addr::new(10, 99, 0, host);
        sender.connect((silent, 9)).expect("connected");
        (0..WAITING).map(|_| send(&sender)).sum::<u64>()
    });
    let waiting = waiting.sum();
    ip("link del gone0");
    waiting
}

fn ip(line: &str) {
    let words: Vec<_> = line.split(' ').collect();
    sh(&[&["ip"], &words[..]].concat());
}

/// In the node's namespace, until enough have died in all.
fn again_and_again(node: &Dropping, died: &AtomicU64, way: fn() -> u64) -> u64 {
    let netns = File::open(format!("/run/netns/{}", node.name)).expect("the node");
    setns(netns, CloneFlags::CLONE_NEWNET).expect("inside");
    let mut own = 0;
    while died.load(Ordering::Relaxed) < DROPS {
        let more = way();
        died.fetch_add(more, Ordering::Relaxed);
        own += more;
    }
    own
}

/// By each of the ways at a time.
fn storm(node: &Dropping) -> [u64; 3] {
    let died = AtomicU64::new(0);
    let ways: [fn() -> u64; 3] = [unread, with_a_namespace, with_a_device];
    thread::scope(|scope| {
        let died = &died;
        let ways = ways.map(|way| scope.spawn(move || again_and_again(node, died, way)));
        ways.map(|it| it.join().expect("sent"))
    })
}

fn accounted(ended: &Ended, died: u64) -> Value {
    let document = ended.json();
    let events = &document["verdict"]["observer"]["cost"]["events"];
    let of = |path: &str| {
        let number = events.pointer(path).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("no {path}: {events:#}"))
    };
    // Other tests' count as well.
    assert!(of("/drops/seen") >= died, "{died} died: {events:#}");
    assert!(of("/drops/aggregated") > 0, "{events:#}");
    assert_eq!(events["drops"]["unaccounted"], 0, "{events:#}");
    assert_eq!(events["records"]["unaccounted"], 0, "{events:#}");
    events["drops"].clone()
}

fn survives(reading: &str) {
    if require::missing(&["ip", "nft", "dmesg"]) {
        return;
    }
    let node = Dropping::up();
    let before = complaints();
    let trace = start_in(&node.name, &["run", "-o", "json", "--read", reading]);
    let began = Instant::now();
    let ways = storm(&node);
    let took = began.elapsed().as_secs_f32();
    let ended = trace.stop(Signal::SIGTERM);
    let died = ways.iter().sum();
    let drops = accounted(&ended, died);
    eprintln!(
        "--read {reading}: {ways:?} died in {took:.1} s (socket, namespace, device): {drops}"
    );
    let after = complaints();
    assert_eq!(after, before, "the kernel complains");
}

#[test]
fn the_kernel_survives_what_is_read_as_this_kernel_allows() {
    survives("auto");
}

#[test]
fn the_kernel_survives_what_is_read_by_the_helper() {
    survives("helper");
}
