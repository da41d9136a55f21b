use super::*;
use crate::stack::ruleset::testing::loaded;

fn found(program: &'static str, rules: &str) -> Option<Interception> {
    Some(of(&*loaded(program, rules)?).expect("few"))
}

const IPTABLES: &str = "*nat
:PREROUTING ACCEPT
:OUTPUT ACCEPT
:ISTIO_INBOUND -
:ISTIO_IN_REDIRECT -
:ISTIO_OUTPUT -
:ISTIO_REDIRECT -
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -p tcp -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
";

const NFT: &str = "table inet t {
  chain in { meta l4proto tcp redirect to :15006; }
  chain pre { type nat hook prerouting priority -100; tcp dport { 15021, 15020 } return; jump in; }
  chain out { type nat hook output priority -100; udp dport 53 redirect to :15053; meta l4proto tcp redirect to :15001; }
}
";

#[test]
fn istios_rules_by_any_tool() {
    for (program, rules, exempt) in [
        ("iptables-nft-restore", IPTABLES, vec![15021]),
        ("iptables-legacy-restore", IPTABLES, vec![15021]),
        ("nft", NFT, vec![15020, 15021]),
    ] {
        let Some(found) = found(program, rules) else {
            continue;
        };
        let ports = |all: &[Redirect]| all.iter().map(|r| (r.port, r.of.len())).collect::<Vec<_>>();
        assert_eq!(ports(&found.inbound), [(15006, 0)], "{found:?}");
        assert_eq!(ports(&found.outbound), [(15001, 0)], "{found:?}");
        assert_eq!(found.exempt, exempt);
        assert!(found.is_proxy());
    }
}

#[test]
fn a_rule_says_where_it_is() {
    if let Some(found) = found("iptables-nft-restore", IPTABLES) {
        let rule = &found.inbound[0];
        assert_eq!(rule.rule, "iptables-nft nat ISTIO_IN_REDIRECT");
        let list = rule.list.command().expect("a command");
        assert_eq!(list, "iptables-nft -t nat -S");
    }
    if let Some(found) = found("nft", NFT) {
        let rule = &found.inbound[0];
        assert_eq!(rule.rule, "inet t in");
        let list = rule.list.command().expect("a command");
        assert_eq!(list, "nft list chain inet t in");
    }
}

#[test]
fn one_port_is_no_proxy() {
    let rules = "table inet t { chain pre { type nat hook prerouting priority -100;
        tcp dport { 80, 90-92 } redirect to :8080; }; }";
    if let Some(found) = found("nft", rules) {
        let [rule] = found.inbound.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(
            (rule.port, rule.of.as_slice()),
            (8080, &[80, 90, 91, 92][..])
        );
        assert!(!found.is_proxy());
    }
}

#[test]
fn what_keeps_its_address_is_led_as_well() {
    let rules = "table inet t { chain pre { type filter hook prerouting priority -150;
        meta l4proto tcp tproxy to :15006 accept; }; }";
    if let Some(found) = found("nft", rules) {
        assert_eq!(found.inbound.first().map(|it| it.port), Some(15006));
    }
}

#[test]
fn very_many_ways_end() {
    let mut rules = "*nat\n:PREROUTING ACCEPT\n".to_owned();
    for chain in 0..15 {
        rules += &format!(":C{chain} -\n");
    }
    rules += "-A PREROUTING -j C0\n";
    for chain in 0..14 {
        for port in 0..30 {
            rules += &format!(
                "-A C{chain} -p tcp --dport {}: -j C{}\n",
                100 * port,
                chain + 1
            );
        }
    }
    rules += "-A C14 -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n";
    if let Some(read) = loaded("iptables-nft-restore", &rules) {
        // Ways of the same packets are one.
        let begun = std::time::Instant::now();
        let found = of(&read);
        assert!(begun.elapsed().as_secs() < 20);
        assert!(found.is_ok_and(|found| found.inbound.len() == 1));
    }
}

/// What a firewall lets in is no port that the mesh leaves alone.
#[test]
fn a_chain_that_leads_nobody_anywhere_spares_nobody() {
    let rules = format!(
        "{NFT} table inet f {{ chain pre {{ type filter hook prerouting priority -150;
            tcp dport 8080 accept; }}; }}"
    );
    if let Some(found) = found("nft", &rules) {
        assert_eq!(found.exempt, [15020, 15021]);
        assert!(found.leads(8080, false).is_some());
    }
}

/// As Istio writes it for some ports alone: what leads to a chain asked for a port, and not what ends it.
#[test]
fn ports_that_are_led_are_not_spared() {
    let rules = "*nat\n:PREROUTING ACCEPT\n:ISTIO_INBOUND -\n:ISTIO_IN_REDIRECT -\n\
        -A PREROUTING -p tcp -j ISTIO_INBOUND\n\
        -A ISTIO_INBOUND -p tcp --dport 8080 -j ISTIO_IN_REDIRECT\n\
        -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n\
        *mangle\n:PREROUTING ACCEPT\n:ISTIO_DIVERT -\n:ISTIO_TPROXY -\n\
        -A PREROUTING -p tcp --dport 32000 -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT\n\
        -A PREROUTING -p tcp --dport 32000 -j ISTIO_TPROXY\n\
        -A ISTIO_DIVERT -j MARK --set-mark 1337\n-A ISTIO_DIVERT -j ACCEPT\n\
        -A ISTIO_TPROXY -p tcp -j REDIRECT_OR_NOT\nCOMMIT\n";
    let rules = rules.replace("-A ISTIO_TPROXY -p tcp -j REDIRECT_OR_NOT\n", "");
    for program in ["iptables-nft-restore", "iptables-legacy-restore"] {
        if let Some(found) = found(program, &rules) {
            assert_eq!(found.exempt, [0; 0], "{program}");
            assert_eq!(found.leads(8080, false).map(|it| it.port), Some(15006));
        }
    }
}

/// A rule of very many states, by the elements of sets that say nothing of interest, ends soon.
#[test]
fn very_many_elements_end() {
    let elements: Vec<String> = (0..3000)
        .map(|n| format!("10.0.{}.{} : {n}", n / 250, n % 250))
        .collect();
    let rules = format!(
        "table ip t {{ map m {{ type ipv4_addr : mark; elements = {{ {} }}; }}
           chain p {{ type nat hook prerouting priority -100;
             meta mark set ip saddr map @m meta mark set ip saddr map @m meta mark set ip saddr map @m; }}; }}",
        elements.join(", ")
    );
    if let Some(read) = loaded("nft", &rules) {
        let begun = std::time::Instant::now();
        let why = of(&read).expect_err("too many").to_string();
        assert!(why.contains("steps"), "{why}");
        assert!(begun.elapsed().as_secs() < 20);
    }
}
