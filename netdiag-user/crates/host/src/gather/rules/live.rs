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
    model::{netfilter::Iptables, world::ruleset::Ruleset},
    stack::ruleset,
    sys::{capabilities, cost, program::Program},
};
use netdiag_lab::nft::{self, Hook};

const PORT: u16 = 5432;

/// Runs `work` on a thread in a new namespace, whose loopback is up; nothing where that needs root.
fn in_a_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    if netdiag_tests::require::missing(&["nft", "ip"]) {
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
        let found = rules(1);
        done.store(true, Ordering::Relaxed);
        let (found, left) = found.expect("rules");
        assert_eq!(left, []);
        found
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

/// With the rights of a command that reads this node's configuration, of which they get the least.
#[test]
fn rules_of_iptables_are_listed_with_the_rights_that_are_left() {
    if netdiag_tests::require::missing(&["iptables-nft-save", "iptables-legacy-save"]) {
        return;
    }
    let listed = in_a_namespace(|| {
        for iptables in ["iptables-nft", "iptables-legacy"] {
            let drop = ["-A", "INPUT", "-p", "udp", "--dport", "5432", "-j", "DROP"];
            Program::new(iptables).text(&drop).expect("a rule");
        }
        capabilities::keep(capabilities::READING).expect("kept");
        let mut saved = Vec::new();
        let listed = rulesets::saved_legacy(&["-t", "filter"], |program, lines| {
            while let Some(line) = lines.next()? {
                if line.contains("--dport 5432") {
                    saved.push(program);
                }
            }
            Ok(())
        });
        listed.expect("listed");
        (saved, all_rules())
    });
    let Some((saved, all)) = listed else { return };
    assert_eq!(saved, [Iptables::Legacy4]);
    let filters = all.tables.iter().filter(|table| table.name == "filter");
    let chains = filters.map(|table| (table.legacy, table.chain("INPUT").map(|it| it.rules.len())));
    assert_eq!(Vec::from_iter(chains), [(false, Some(1)), (true, Some(1))]);
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

fn all_rules() -> std::sync::Arc<Ruleset> {
    let most = ruleset::Most {
        rules: 1 << 17,
        elements: 1 << 10,
        comments: false,
    };
    ruleset::whole(most).expect("rules")
}

/// What the kernel tells of rules that refuse, asked for each, and which tables it has.
fn asked_by_name() -> (Vec<String>, Vec<(Family, String)>) {
    let mut all = Vec::new();
    let keep = |rule: Refusing| all.push(rule);
    rulesets::kernel::refusing(|_| Part::All, keep).expect("rules");
    let asked = all
        .iter()
        .filter_map(|r| Some((&*r.chain, r.handle?, false)));
    let asked: Vec<(&Named, u64, bool)> = asked.collect();
    let mut words = Vec::new();
    let known = |_, one: rulesets::kernel::Known| words.push(one.words);
    rulesets::kernel::known(&asked, known).expect("words");
    let all = all_rules();
    let tables = all
        .tables
        .iter()
        .map(|table| (table.family, table.name.clone()));
    (words, tables.collect())
}

#[test]
fn a_name_that_is_no_text_hides_no_rule() {
    let found = in_a_namespace(|| {
        let chain = nft::Chain {
            table: "no-text".to_owned(),
            hook: Hook::Ingress("lo".into()),
            rules: vec![nft::Rule {
                tests: Vec::new(),
                action: nft::Action::Drop,
            }],
        };
        nft::send_named(&chain, b"no\xfftext").expect("the kernel takes any name");
        (watched(), asked_by_name())
    });
    let Some((found, (words, tables))) = found else {
        return;
    };
    let [one] = words.as_slice() else {
        panic!("{words:?}");
    };
    assert!(one.starts_with("counter packets "), "{one}");
    let table = (Family::Netdev, r"no\xfftext".to_owned());
    assert_eq!(tables, [table]);
    let [rule] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(rule.packets > 0 && rule.text == "counter drop", "{rule:?}");
    assert!(rule.place.starts_with(r"netdev no\xfftext "), "{rule:?}");
    assert_eq!(rule.delete(), None);
    assert_eq!(rule.list().expect("a command"), "nft -a list ruleset");
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

#[test]
fn very_many_rules_are_read_whole() {
    let told = in_a_namespace(|| {
        let (all, many) = very_many();
        put(&all);
        drop(all);
        let read = measured(&format!("all of {many} rules"), all_rules);
        (read.size().0, many)
    });
    let Some((told, many)) = told else { return };
    assert_eq!(told, many);
}

#[test]
fn one_rule_is_found_in_a_chain_too_long_for_nft() {
    let found = in_a_namespace(|| {
        let mut all = String::from(
            "table inet own {\nchain inp {\ntype filter hook input priority 0;\n\
             udp dport 5432 jump long\n}\nchain long {\n",
        );
        for n in 0..12_000 {
            let (high, low) = (n / 250, n % 250);
            let _ = writeln!(all, "ip saddr 10.1.{high}.{low} counter drop");
        }
        all.push_str("ip daddr 127.0.0.0/8 udp dport 5432 counter drop\n}\n}\n");
        put(&all);
        measured("one of a long chain", watched)
    });
    let Some(found) = found else { return };
    let [rule] = found.as_slice() else {
        panic!("{found:?}");
    };
    let words = rule.text.split(" counter").next();
    assert_eq!(words, Some("ip daddr 127.0.0.0/8 udp dport 5432"));
    assert!(rule.packets > 0 && rule.text.ends_with(" drop"), "{rule:?}");
    let delete = rule.delete().expect("a command").text();
    assert!(delete.starts_with("nft delete rule inet own long handle "));
}

/// As of recordings that have words alone, which know no comparisons.
fn asked_in_words(text: &str) -> Asks {
    let written = serde_json::json!({ "place": "", "text": text, "packets": 0 });
    let rule: Rule = serde_json::from_value(written).expect("a rule");
    match text.contains("> 1023") {
        true => Asks {
            ports: Some((1023, u16::MAX)),
            ..rule.asks
        },
        false => rule.asks,
    }
}

/// What is told without nft is what nft tells.
#[test]
fn rules_read_as_nft_spells_them() {
    const RULES: [&str; 15] = [
        "ip6 saddr fd00::/8 drop",
        "tcp dport 80 counter drop",
        "udp sport != 53 drop",
        "ip saddr 10.0.0.0/8 drop",
        "ip daddr != 192.0.2.7 tcp dport 5432 drop",
        "ip saddr 172.16.0.0/12 reject",
        "ip6 saddr 2001:db8::/32 drop",
        "ip6 daddr 2001:db8::1 udp dport 9 drop",
        "meta l4proto tcp drop",
        "iifname \"eth0\" oifname \"cali1\" drop",
        "ct state invalid drop",
        "ct state established,related drop",
        "tcp dport 8000-8080 drop",
        "tcp dport > 1023 drop",
        "ip saddr @bad drop",
    ];
    let both = in_a_namespace(|| {
        let rules = RULES.join("\n");
        put(&format!(
            "table inet t {{\nset bad {{ type ipv4_addr; }}\nchain c {{\n{rules}\n}}\n}}\n"
        ));
        let mut all = Vec::new();
        let keep = |rule: Refusing| all.push(rule);
        rulesets::kernel::refusing(|_| Part::All, keep).expect("rules");
        let long = all.iter().map(|rule| rule.chain.clone()).collect();
        let nfts = Texts::of(&all, HashSet::new()).expect("nft");
        let own = Texts::of(&all, long).expect("words");
        let text = |texts: &Texts, rule| texts.get(rule).unwrap_or_default();
        let both = all.iter().map(|rule| {
            let asks = own.known(rule).map(|known| known.asks.clone());
            (text(&own, rule), text(&nfts, rule), asks)
        });
        both.collect::<Vec<_>>()
    });
    let Some(both) = both else { return };
    assert_eq!(both.len(), RULES.len(), "{both:#?}");
    for (own, nfts, asks) in both {
        assert_eq!(asks, Some(asked_in_words(&nfts)), "{nfts}");
        // How a packet is rejected is not told.
        let nfts = nfts.split(" with ").next().unwrap_or_default();
        assert_eq!(own, nfts);
    }
}

/// What iptables' rules ask is what their words say, by either engine.
#[test]
fn rules_of_iptables_ask_what_they_say() {
    const RULES: [&str; 8] = [
        "-s 10.0.0.0/8 -p tcp -m tcp --dport 80 -j DROP",
        "! -s 10.0.0.1/32 -j DROP",
        "-d 192.0.2.7/32 -p udp -m udp --sport 53:60 -j REJECT",
        "-m conntrack --ctstate INVALID -j DROP",
        "-m conntrack --ctstate INVALID,NEW -j DROP",
        "-p icmp -m icmp --icmp-type 8 -j DROP",
        "-m iprange --src-range 10.0.0.1-10.0.0.9 -j DROP",
        "-j DROP",
    ];
    let rules: String = RULES
        .iter()
        .map(|rule| format!("-A INPUT {rule}\n"))
        .collect();
    let saved = format!("*filter\n:INPUT ACCEPT\n{rules}COMMIT\n");
    for program in ["iptables-nft-restore", "iptables-legacy-restore"] {
        let Some(read) = ruleset::testing::loaded(program, &saved) else {
            continue;
        };
        let table = &read.tables[0];
        let chain = table.chain("INPUT").expect("a chain");
        assert_eq!(chain.rules.len(), RULES.len());
        for (rule, words) in chain.rules.iter().zip(RULES) {
            let asks = netdiag_ruleset::asks(table.family, &rule.expressions);
            assert_eq!(asks, asked_in_words(words), "{program}: {words}");
        }
    }
}

/// What is asked of something else says nothing of what was asked before it.
#[test]
fn what_a_rule_asks_of_other_things_excludes_nobody() {
    const RULES: [(&str, &str); 9] = [
        (
            "tcp dport 5432 numgen inc mod 10 0 drop",
            "tcp dport 5432 drop",
        ),
        (
            "meta l4proto tcp numgen random mod 2 0 drop",
            "meta l4proto tcp drop",
        ),
        (
            "ip saddr 10.0.0.0/8 numgen random mod 2 0 drop",
            "ip saddr 10.0.0.0/8 drop",
        ),
        (
            "tcp dport 8080 tcp option maxseg size 1-500 drop",
            "tcp dport 8080 drop",
        ),
        (
            "tcp dport and 0xff00 == 0x1f00 drop",
            "meta l4proto tcp drop",
        ),
        ("ip saddr and 255.128.255.0 == 10.0.1.0 drop", "drop"),
        ("ip ttl 1 ip protocol udp drop", "drop"),
        ("ip6 saddr fd00::/8 drop", "ip6 saddr fd00::/8 drop"),
        ("tcp dport { 80, 443 } drop", "meta l4proto tcp drop"),
    ];
    let rules: String = RULES.iter().map(|(rule, _)| format!("{rule}\n")).collect();
    let Some(read) = ruleset::testing::loaded(
        "nft",
        &format!("table inet t {{\nchain c {{\n{rules}}}\n}}\n"),
    ) else {
        return;
    };
    let chain = read.tables[0].chain("c").expect("a chain");
    assert_eq!(chain.rules.len(), RULES.len());
    for (rule, (words, wanted)) in chain.rules.iter().zip(RULES) {
        let asks = netdiag_ruleset::asks(Family::Inet, &rule.expressions);
        let (wanted, own) = (asked_in_words(wanted), |asks: &Asks| {
            (asks.sources, asks.destinations, asks.ports)
        });
        assert_eq!(own(&asks), own(&wanted), "{words}");
        assert!(
            asks.protocol.is_none_or(|of| [6, 17].contains(&of)),
            "{words}: {asks:?}"
        );
    }
}
