//! Against the kernel and nft, in a namespace of the test's own.
//!
//! `NETDIAG_RULES` says how many rules stand beside the one that matters (12,000: more than are
//! asked for at once).
#![expect(clippy::disallowed_methods, reason = "files of the test's own")]
use std::{
    fmt::Write as _,
    io::Write as _,
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::{
    lab::nft::{self, Hook},
    sys::{cost, program::Program},
};

const PORT: u16 = 5432;

/// Runs `work` on a thread in a new namespace, whose loopback is up; nothing where that needs root.
fn in_a_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    if netdiag_tests::need::missing(&["nft", "ip"]) {
        return None;
    }
    thread::scope(|scope| {
        let inside = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            let up = Program::new("ip").text(&["link", "set", "lo", "up"]);
            up.expect("loopback");
            work()
        };
        Some(scope.spawn(inside).join().expect("no panic"))
    })
}

fn put(rules: &str) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(rules.as_bytes()).expect("written");
    let file = file.path().display().to_string();
    let slow = Duration::from_secs(60);
    let nft = Program::new("nft").within(slow).text(&["-f", &file]);
    nft.expect("rules");
}

/// What `rules` finds while datagrams come to the port.
fn watched() -> Vec<Rule> {
    let done = AtomicBool::new(false);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Where the rule rejects it, the next one tells.
                let _ = socket.send_to(b"x", ("127.0.0.1", PORT));
                thread::sleep(Duration::from_millis(20));
            }
        });
        let found = rules();
        done.store(true, Ordering::Relaxed);
        found.expect("rules")
    })
}

#[test]
fn the_rule_that_drops_is_found() {
    let found = in_a_namespace(|| {
        put(
            "table inet own {\n chain inp {\n type filter hook input priority 0; policy accept;\n \
             udp dport 5432 counter drop comment \"x # handle 99\"\n tcp dport 1 counter drop\n \
             ct state vmap { invalid : drop, new : accept }\n }\n }\n",
        );
        watched()
    });
    let Some(found) = found else { return };
    let own = |r: &&Rule| r.place == "inet own inp" && r.counted;
    let own: Vec<&Rule> = found.iter().filter(own).collect();
    let [rule] = own.as_slice() else {
        panic!("{found:?}");
    };
    assert!(rule.packets > 0 && rule.text.starts_with("udp dport 5432 counter packets"));
    let delete = rule.delete().expect("a command").text();
    assert!(
        delete.starts_with("nft delete rule inet own inp handle "),
        "{delete}"
    );
    let map = found.iter().find(|r| r.text.contains("vmap"));
    assert!(map.is_some_and(|r| !r.counted), "{found:?}");
}

#[test]
fn a_hostile_name_is_in_no_command() {
    for table in ["a b; $(id)", "t } drop # handle 2\n"] {
        let found = in_a_namespace(|| {
            let chain = nft::Chain {
                table: table.to_owned(),
                hook: Hook::Ingress("lo".into()),
                rules: vec![nft::Rule {
                    tests: Vec::new(),
                    action: nft::Action::Drop,
                }],
            };
            nft::send(&chain).expect("the kernel takes any name");
            watched()
        });
        let Some(found) = found else { return };
        let [rule] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert!(rule.packets > 0 && rule.text == "counter drop", "{rule:?}");
        assert!(rule.place.starts_with("netdev ") && !rule.place.contains('\n'));
        assert_eq!(rule.delete(), None);
        assert_eq!(rule.list().expect("a command"), "nft -a list ruleset");
    }
}

/// Rules that nobody's packets meet, in chains of a thousand; how many.
fn very_many() -> (String, usize) {
    const IN_A_CHAIN: usize = 1000;
    let many = std::env::var("NETDIAG_RULES").ok();
    let many = many.and_then(|n| n.parse().ok()).unwrap_or(12_000);
    let mut all = String::from("table inet big {\n");
    for n in 0..many {
        let (chain, at) = (n / IN_A_CHAIN, n % IN_A_CHAIN);
        if at == 0 {
            let end = if chain == 0 { "" } else { "}\n" };
            let _ = writeln!(all, "{end}chain c{chain} {{");
        }
        let does = if n % 2 == 0 { "drop" } else { "accept" };
        let _ = writeln!(
            all,
            "ip saddr 10.0.{}.{} tcp dport {at} counter {does} comment \"policy {n}\"",
            at / 250,
            at % 250
        );
    }
    all.push_str("}\n}\n");
    (all, many)
}

/// What it took, and the most memory that this process ever had.
fn measured<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let (done, cost) = cost::of(work);
    let time = start.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let most = status.lines().find(|line| line.starts_with("VmHWM"));
    eprintln!("{what}: {time:?}, {cost:?} of a processor, {most:?}");
    done
}

#[test]
fn one_rule_is_found_among_very_many() {
    let found = in_a_namespace(|| {
        let (all, many) = very_many();
        put(&all);
        put(
            "table inet own {\nchain inp {\ntype filter hook input priority 0;\n\
             udp dport 5432 counter reject\n}\n}\n",
        );
        drop(all);
        measured(&format!("one among {many} rules"), watched)
    });
    let Some(found) = found else { return };
    let [rule] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(rule.text.contains("udp dport 5432") && rule.packets > 0);
}

/// Counts what it is told.
#[derive(Default)]
struct Told(usize);

impl rulesets::json::Reader for Told {
    fn rule(&mut self, _: &rulesets::json::Rule) -> Result<()> {
        self.0 += 1;
        Ok(())
    }
}

#[test]
fn a_listing_of_very_many_rules_is_read_as_it_comes() {
    let told = in_a_namespace(|| {
        let (all, many) = very_many();
        put(&all);
        drop(all);
        let mut told = Told::default();
        let listed = || rulesets::nft(&mut told);
        let xt = measured(&format!("a listing of {many} rules"), listed).expect("listed");
        assert!(!xt);
        (told.0, many)
    });
    let Some((told, many)) = told else { return };
    assert_eq!(told, many);
}
