use super::*;
use crate::stack::ruleset::testing::loaded;

fn packet(source: &str, destination: &str) -> Leaving {
    Leaving {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        link: "eth0".into(),
    }
}

/// Whether the packet may be translated, and rules for others.
fn of_packet(packet: &Leaving, program: &'static str, rules: &str) -> Option<(bool, u64)> {
    let found = of(&*loaded(program, rules)?, packet).expect("few");
    Some((found.rule.is_some(), found.others))
}

/// The same by iptables' table nat: chains first, and their rules.
fn saved(rules: &str, wanted: (bool, u64)) {
    let packet = packet("10.244.1.5", "203.0.113.9");
    let chains = rules.lines().filter_map(|rule| rule.split(' ').nth(1));
    let mut own: Vec<&str> = chains.filter(|chain| *chain != POSTROUTING).collect();
    own.dedup();
    let own: String = own.iter().map(|chain| format!(":{chain} -\n")).collect();
    let text = format!("*nat\n:POSTROUTING ACCEPT\n{own}{rules}\nCOMMIT\n");
    for program in ["iptables-nft-restore", "iptables-legacy-restore"] {
        let found = of_packet(&packet, program, &text);
        assert!(
            found.is_none_or(|found| found == wanted),
            "{program}: {rules}"
        );
    }
}

/// The same of one base chain of nftables.
fn nft(rules: &str, wanted: (bool, u64)) {
    let packet = packet("10.244.1.5", "203.0.113.9");
    let text = format!(
        "table ip t {{
           set pods {{ type ipv4_addr; flags interval; elements = {{ 10.244.0.0/16 }}; }}
           chain sub {{ {} }}
           chain post {{ type nat hook postrouting priority 100; {rules}; }}
         }}",
        if rules.contains("jump sub") { SUB } else { "" }
    );
    let found = of_packet(&packet, "nft", &text);
    assert!(found.is_none_or(|found| found == wanted), "{rules}");
}

const SUB: &str = "mark and 0x4000 != 0 return; masquerade;";

#[test]
fn flannels_rule_masquerades_what_leaves_the_cluster() {
    let rules = |all: &str| {
        format!(
            "-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\n\
             -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN\n\
             -A FLANNEL-POSTRTG -s {all} -d {all} -j RETURN\n\
             -A FLANNEL-POSTRTG -s {all} ! -d 224.0.0.0/4 -j MASQUERADE --random-fully"
        )
    };
    saved(&rules("10.244.0.0/16"), (true, 0));
    saved(&rules("10.42.0.0/16"), (false, 1));
}

#[test]
fn kube_proxys_and_dockers_rules_are_for_other_packets() {
    let kube = "-A POSTROUTING -j KUBE-POSTROUTING\n\
                -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
                -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n\
                -A KUBE-POSTROUTING -j MASQUERADE --random-fully\n\
                -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n\
                -A POSTROUTING -m addrtype --src-type LOCAL -o eth+ -j SNAT --to-source 192.0.2.1";
    saved(kube, (false, 3));
}

#[test]
fn what_is_spared_is_not_translated() {
    let agent = |spared: &str| {
        format!(
            "-A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT\n\
             -A IP-MASQ-AGENT -d {spared} -j RETURN\n-A IP-MASQ-AGENT -j MASQUERADE"
        )
    };
    saved(&agent("10.0.0.0/8"), (true, 0));
    saved(&agent("203.0.113.0/24"), (false, 1));
    let accepted = "-A POSTROUTING -o eth+ -j ACCEPT\n-A POSTROUTING -j MASQUERADE";
    saved(accepted, (false, 1));
    let other = "-A POSTROUTING ! -o eth0 -j ACCEPT\n-A POSTROUTING -j MASQUERADE";
    saved(other, (true, 0));
}

#[test]
fn what_nobody_can_tell_may_match() {
    let limited = "-A POSTROUTING -m limit --limit 1/s -j MASQUERADE";
    saved(limited, (true, 0));
    let spared = "-A POSTROUTING -p tcp --dport 80 -j RETURN\n-A POSTROUTING -j MASQUERADE";
    saved(spared, (true, 0));
    let ported = "-A POSTROUTING -p udp --dport 53 -j MASQUERADE";
    saved(ported, (true, 0));
    let origin = "-A POSTROUTING -m conntrack --ctorigsrc 10.244.0.0/16 -j MASQUERADE";
    saved(origin, (true, 0));
    let direction = "-A POSTROUTING -m conntrack --ctdir ORIGINAL -j MASQUERADE";
    saved(direction, (true, 0));
    let restored = "-A POSTROUTING -j CONNMARK --restore-mark\n-A POSTROUTING -j MASQUERADE";
    saved(restored, (true, 0));
    let chance = "-A POSTROUTING -m statistic --mode random --probability 0.5 -j RETURN\n\
                  -A POSTROUTING -j MASQUERADE";
    saved(chance, (true, 0));
}

#[test]
fn rules_are_of_one_family() {
    let rules = "*nat\n:POSTROUTING ACCEPT\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n";
    let (four, six) = (
        packet("10.244.1.5", "203.0.113.9"),
        packet("fd00::5", "2001:db8::1"),
    );
    for (packet, program, wanted) in [
        (&six, "iptables-nft-restore", (false, 0)),
        (&six, "ip6tables-nft-restore", (true, 0)),
        (&four, "ip6tables-nft-restore", (false, 0)),
        (&four, "iptables-nft-restore", (true, 0)),
    ] {
        let found = of_packet(packet, program, rules);
        assert!(found.is_none_or(|found| found == wanted), "{program}");
    }
}

#[test]
fn iptables_that_has_rules_there_is_told() {
    let rules = "*nat\n:POSTROUTING ACCEPT\n-A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE\nCOMMIT\n";
    let packet = packet("10.244.1.5", "203.0.113.9");
    for (program, wanted) in [
        ("iptables-nft-restore", Iptables::Nft4),
        ("iptables-legacy-restore", Iptables::Legacy4),
    ] {
        if let Some(read) = loaded(program, rules) {
            let found = of(&read, &packet).expect("few");
            assert_eq!(found.programs, [wanted]);
        }
    }
}

#[test]
fn nftables_rules_are_run_as_well() {
    for (rules, wanted) in [
        ("ip saddr 10.244.0.0/16 masquerade", (true, 0)),
        ("ip saddr != 10.244.0.0/16 masquerade", (false, 1)),
        ("ip saddr 10.244.1.6 masquerade", (false, 1)),
        ("ip saddr 10.244.1.0-10.244.1.9 masquerade", (true, 0)),
        ("ip saddr { 10.9.9.9, 10.244.0.0/16 } masquerade", (true, 0)),
        ("ip saddr != @pods masquerade", (false, 1)),
        ("ip saddr @pods masquerade", (true, 0)),
        ("iifname \"cni0\" oifname \"eth0\" masquerade", (true, 0)),
        ("iifname != \"wan0\" oifname \"eth0\" masquerade", (true, 0)),
        ("oifname \"eth*\" masquerade", (true, 0)),
        ("oifname \"docker0\" masquerade", (false, 1)),
        ("oifname { \"a\", \"eth0\" } masquerade", (true, 0)),
        ("mark and 0x4000 == 0 return; masquerade", (false, 1)),
        ("jump sub", (true, 0)),
        ("fib saddr type local masquerade", (false, 1)),
    ] {
        nft(rules, wanted);
    }
    let elsewhere = "table ip t { chain pre { type nat hook prerouting priority -100; }
        chain in { type nat hook input priority 100; snat to 192.0.2.1; }; }";
    let found = of_packet(&packet("10.244.1.5", "203.0.113.9"), "nft", elsewhere);
    assert!(found.is_none_or(|found| found == (false, 1)));
}
