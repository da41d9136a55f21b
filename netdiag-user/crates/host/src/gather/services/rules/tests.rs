use super::*;
use crate::stack::ruleset::testing::loaded;

/// What is found in rules that one of these programs loaded.
fn found(program: &'static str, rules: &str) -> Option<Services> {
    let mut found = Services::default();
    read(&*loaded(program, rules)?, &mut found).expect("few");
    Some(found)
}

const ENGINES: [(&str, Engine); 2] = [
    ("iptables-nft-restore", Engine::IptablesNft),
    ("iptables-legacy-restore", Engine::IptablesLegacy),
];

const KUBE: &str = r#"*nat
:PREROUTING ACCEPT
:OUTPUT ACCEPT
:KUBE-SERVICES -
:KUBE-SVC-X -
:KUBE-SEP-X -
:KUBE-SEP-Y -
:KUBE-MARK-MASQ -
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-X
-A KUBE-SVC-X ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-X -m comment --comment "default/web:http -> 10.244.1.5:8080" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-X
-A KUBE-SVC-X -m comment --comment "default/web:http -> 10.244.1.6:8080" -j KUBE-SEP-Y
-A KUBE-SEP-X -s 10.244.1.5/32 -m comment --comment "default/web:http" -j KUBE-MARK-MASQ
-A KUBE-SEP-X -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT --to-destination 10.244.1.5:8080
-A KUBE-SEP-Y -p tcp -m tcp -j DNAT --to-destination 10.244.1.6
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
*filter
:FORWARD ACCEPT
:KUBE-SERVICES -
:KUBE-PROXY-FIREWALL -
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.7/32 -p udp -m comment --comment "default/dns:dns has no endpoints" -m udp --dport 53 -j REJECT
-A FORWARD -d 10.1.1.1/32 -p tcp -m tcp --dport 25 -j REJECT
-A KUBE-PROXY-FIREWALL -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j DROP
COMMIT
"#;

#[test]
fn kube_proxys_chains_are_followed() {
    for (program, engine) in ENGINES {
        let Some(found) = found(program, KUBE) else {
            continue;
        };
        assert!(found.kube_proxy);
        let [rejected, web] = found.rules.as_slice() else {
            panic!("{:?}", found.rules);
        };
        assert_eq!(web.name.as_deref(), Some("default/web:http"));
        let ports: Vec<_> = web.backends.iter().map(|b| b.1).collect();
        let told = (web.port, ports, web.rejected, web.engine);
        assert_eq!(told, (80, vec![8080, 80], false, engine));
        let told = (
            rejected.port,
            rejected.protocol,
            rejected.rejected,
            rejected.local,
        );
        assert_eq!(told, (53, 17, true, false));
        assert_eq!(rejected.name.as_deref(), Some("default/dns:dns"));
        assert_eq!(found.published, []);
    }
}

/// Some of what kube-proxy writes to spare whom it does not refuse (loadBalancerSourceRanges).
const RANGES: &str = r#"*nat
:PREROUTING ACCEPT
:KUBE-SERVICES -
:KUBE-FW-X -
:KUBE-SEP-X -
-A PREROUTING -j KUBE-SERVICES
-A KUBE-SERVICES -d 203.0.113.7/32 -p tcp -m comment --comment "shop/web:http loadbalancer IP" -m tcp --dport 80 -j KUBE-FW-X
-A KUBE-FW-X -s 198.51.100.0/24 -m comment --comment "shop/web:http loadbalancer IP" -j KUBE-SEP-X
-A KUBE-FW-X -m comment --comment "other traffic to shop/web:http will be dropped by KUBE-PROXY-FIREWALL" -j RETURN
-A KUBE-SEP-X -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
COMMIT
*filter
:INPUT ACCEPT
:KUBE-PROXY-FIREWALL -
-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A KUBE-PROXY-FIREWALL -d 203.0.113.7/32 -p tcp -m comment --comment "shop/web:http traffic not accepted by KUBE-FW-X" -m tcp --dport 80 -j DROP
COMMIT
"#;

#[test]
fn whom_a_balancers_address_is_not_for_is_no_service_without_endpoints() {
    for (program, _) in ENGINES {
        let Some(found) = found(program, RANGES) else {
            continue;
        };
        let [web] = found.rules.as_slice() else {
            panic!("{:?}", found.rules);
        };
        assert!(!web.rejected && !web.local);
        assert_eq!(web.backends.len(), 1);
    }
}

/// As kube-proxy 1.26 and later writes it.
const LOCAL: &str = r#"*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:KUBE-EXTERNAL-SERVICES -
:KUBE-SERVICES -
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "shop/web:http has no local endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j DROP
-A KUBE-EXTERNAL-SERVICES -d 203.0.113.7/32 -p tcp -m comment --comment "shop/web:http has no local endpoints" -m tcp --dport 80 -j DROP
-A KUBE-SERVICES -d 10.96.0.20/32 -p tcp -m comment --comment "shop/log:in has no local endpoints" -m tcp --dport 514 -j DROP
-A KUBE-EXTERNAL-SERVICES -d 192.168.0.0/16 -p tcp -m tcp --dport 30081 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT
:KUBE-NODEPORTS -
:KUBE-EXT-X -
:KUBE-SVC-X -
:KUBE-SEP-Y -
-A PREROUTING -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m comment --comment "shop/web:http" -m tcp --dport 30080 -j KUBE-EXT-X
-A KUBE-EXT-X -s 10.244.0.0/16 -m comment --comment "pod traffic for shop/web:http external destinations" -j KUBE-SVC-X
-A KUBE-SVC-X -m comment --comment "shop/web:http -> 10.244.2.6:8080" -j KUBE-SEP-Y
-A KUBE-SEP-Y -p tcp -m tcp -j DNAT --to-destination 10.244.2.6:8080
COMMIT
"#;

/// As 1.23 and earlier did.
const MARKED: &str = r#"*filter
:INPUT ACCEPT
:KUBE-FIREWALL -
-A INPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -m comment --comment "kubernetes firewall for dropping marked packets" -m mark --mark 0x8000/0x8000 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT
:KUBE-NODEPORTS -
:KUBE-XLB-X -
:KUBE-SVC-X -
:KUBE-SEP-Y -
:KUBE-MARK-DROP -
-A PREROUTING -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m comment --comment "shop/web:http" -m tcp --dport 30080 -j KUBE-XLB-X
-A KUBE-XLB-X -s 10.244.0.0/16 -m comment --comment "Redirect pods trying to reach external loadbalancer VIP to clusterIP" -j KUBE-SVC-X
-A KUBE-XLB-X -m comment --comment "shop/web:http has no local endpoints" -j KUBE-MARK-DROP
-A KUBE-SVC-X -m comment --comment "shop/web:http" -j KUBE-SEP-Y
-A KUBE-SEP-Y -p tcp -m tcp -j DNAT --to-destination 10.244.2.6:8080
-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000
COMMIT
"#;

#[test]
fn a_local_policy_without_endpoints_here_is_told_apart() {
    for (program, _) in ENGINES {
        for (text, addresses) in [(LOCAL, 2), (MARKED, 0)] {
            let Some(found) = found(program, text) else {
                continue;
            };
            let [port] = found.node_ports.as_slice() else {
                panic!("{:?}", found.node_ports);
            };
            assert_eq!((port.port, port.rejected, port.local), (30080, true, true));
            assert_eq!(port.name.as_deref(), Some("shop/web:http"));
            let backend = ("10.244.2.6".parse().expect("valid"), 8080);
            assert_eq!(port.backends, [backend]);
            assert_eq!(found.rules.len(), addresses, "{:?}", found.rules);
            assert!(found.rules.iter().all(|s| s.rejected && s.local));
        }
        let none = LOCAL.replace("no local endpoints", "no endpoints");
        let Some(found) = found(program, &none.replace("-j DROP", "-j REJECT")) else {
            continue;
        };
        let all = found.rules.iter().chain(&found.node_ports);
        assert!(all.clone().all(|s| s.rejected && !s.local));
        assert_eq!(all.count(), 3);
    }
}

/// As 1.23 and earlier ended what leads to a balancer's address, and as somebody drops what he marked.
#[test]
fn a_mark_at_the_end_of_a_balancers_chain_is_for_nobody() {
    let text = MARKED.replace(
        ":KUBE-MARK-DROP -\n",
        ":KUBE-MARK-DROP -\n:KUBE-MARK-MASQ -\n:KUBE-FW-X -\n\
         -A PREROUTING -d 203.0.113.7/32 -p tcp -m tcp --dport 80 -j KUBE-FW-X\n\
         -A KUBE-FW-X -j KUBE-MARK-MASQ\n-A KUBE-FW-X -j KUBE-SVC-X\n-A KUBE-FW-X -j KUBE-MARK-DROP\n\
         -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n",
    );
    let text = text.replace(
        "-A INPUT -j KUBE-FIREWALL\n",
        "-A INPUT -j KUBE-FIREWALL\n-A INPUT -m mark --mark 0xdead -j DROP\n",
    );
    for (program, _) in ENGINES {
        let Some(found) = found(program, &text) else {
            continue;
        };
        let [web] = found.rules.as_slice() else {
            panic!("{:?}", found.rules);
        };
        assert!(!web.rejected && !web.local && web.backends.len() == 1);
        assert!(found.node_ports[0].local, "{:?}", found.node_ports);
    }
}

#[test]
fn ports_that_others_lead_on_are_published() {
    let text = "*nat\n:PREROUTING ACCEPT\n:CNI-HOSTPORT-DNAT -\n:CNI-DN-1 -\n:DOCKER -\n\
        -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n\
        -A PREROUTING -j DOCKER\n\
        -A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 8080,8090:8099 -j CNI-DN-1\n\
        -A CNI-DN-1 -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:80\n\
        -A DOCKER ! -i docker0 -p udp -m udp --dport 5000:5010 -j DNAT --to-destination 172.17.0.2\n\
        -A DOCKER -p tcp -m tcp --dport 99 -j RETURN\n\
        COMMIT\n";
    for (program, _) in ENGINES {
        let Some(found) = found(program, text) else {
            continue;
        };
        let node = "192.0.2.1".parse().expect("valid");
        let has = |port, protocol| found.publishes((node, port), protocol, true);
        assert!(has(8080, 6) && has(8095, 6) && has(5003, 17));
        assert!(!has(99, 6) && !has(8080, 17) && !has(8100, 6));
        assert!(!found.publishes((node, 8080), 6, false), "another host's");
        assert_eq!((found.rules, found.node_ports), (Vec::new(), Vec::new()));
    }
}

/// Some of what kube-proxy writes into its table of nftables.
const NFT: &str = r#"
table ip kube-proxy {
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 10.96.0.10 . tcp . 80 : goto service-A-shop/web/tcp/http,
                 203.0.113.7 . tcp . 80 : goto external-A-shop/web/tcp/http }
  }
  map service-nodeports {
    type inet_proto . inet_service : verdict
    elements = { tcp . 30080 : goto external-A-shop/web/tcp/http }
  }
  map no-endpoint-services {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 10.96.0.11 . udp . 53 comment "shop/none:dns" : goto reject-chain,
                 10.96.0.14 . tcp . 514 comment "shop/log:in" : drop }
  }
  map no-endpoint-nodeports {
    type inet_proto . inet_service : verdict
    elements = { tcp . 30080 comment "shop/web:http" : drop }
  }
  map firewall-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 203.0.113.7 . tcp . 80 : goto firewall-A-shop/web/tcp/http }
  }
  set nodeport-ips {
    type ipv4_addr
    elements = { 192.0.2.1, 192.0.2.2 }
  }
  chain reject-chain { reject; }
  chain mark-for-masquerade { mark set mark or 0x4000; }
  chain service-A-shop/web/tcp/http {
    ip daddr 10.96.0.10 tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
    numgen random mod 2 vmap { 0 : goto endpoint-B, 1 : goto endpoint-C }
  }
  chain external-A-shop/web/tcp/http { ip saddr 10.244.0.0/16 goto service-A-shop/web/tcp/http; }
  chain firewall-A-shop/web/tcp/http { ip saddr != { 198.51.100.0/24 } drop; }
  chain endpoint-B { ip saddr 10.244.1.5 jump mark-for-masquerade; meta l4proto tcp dnat to 10.244.1.5:8080; }
  chain endpoint-C { meta l4proto tcp dnat to 10.244.1.6:8080; }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain service-endpoints-check {
    ip daddr . meta l4proto . th dport vmap @no-endpoint-services
  }
  chain nodeport-endpoints-check {
    ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
  }
  chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
  chain filter-prerouting { type filter hook prerouting priority -110; ct state new jump firewall-check; }
  chain filter-forward { type filter hook forward priority -110; ct state new jump service-endpoints-check; }
  chain filter-input { type filter hook input priority -110; ct state new jump nodeport-endpoints-check
    ct state new jump service-endpoints-check; }
  chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
}
table ip mine {
  map m { type inet_proto . inet_service : verdict; elements = { tcp . 22 : drop }; }
  chain in { type filter hook input priority 0; meta l4proto . th dport vmap @m; ip daddr 10.9.9.9 tcp dport 25 reject; }
}
"#;

#[test]
fn kube_proxys_maps_are_followed_to_their_backends() {
    let Some(found) = found("nft", NFT) else {
        return;
    };
    assert!(found.kube_proxy);
    let told = |service: &Service| {
        let name = service.name.clone().unwrap_or_default();
        let backends = service
            .backends
            .iter()
            .map(|(to, port)| format!("{to}:{port}"));
        let backends: Vec<String> = backends.collect();
        let state = match (service.rejected, service.local) {
            (true, true) => "no local",
            (true, false) => "rejected",
            _ => "",
        };
        format!(
            "{name} {}:{} {} {} {state}",
            service.address,
            service.port,
            service.protocol,
            backends.join(" ")
        )
    };
    let rules: Vec<String> = found.rules.iter().map(told).collect();
    let wanted = [
        "shop/web:http 10.96.0.10:80 6 10.244.1.5:8080 10.244.1.6:8080 ",
        "shop/none:dns 10.96.0.11:53 17  rejected",
        "shop/log:in 10.96.0.14:514 6  no local",
        "shop/web:http 203.0.113.7:80 6 10.244.1.5:8080 10.244.1.6:8080 ",
    ];
    assert_eq!(rules, wanted);
    let ports: Vec<String> = found.node_ports.iter().map(told).collect();
    let wanted = ["shop/web:http 0.0.0.0:30080 6 10.244.1.5:8080 10.244.1.6:8080 no local"];
    assert_eq!(ports, wanted);
    assert!(found.rules.iter().all(|it| it.engine == Engine::Nftables));
    assert_eq!(found.published, []);
}

fn publishes(rules: &str, (address, port): (&str, u16), protocol: u8, own: bool) -> Option<bool> {
    let rules = format!(
        "table ip nat {{
           map web {{ type inet_service : ipv4_addr; elements = {{ 53 : 10.0.0.1 }}; }}
           chain to-web {{ meta l4proto tcp dnat to 10.0.0.1:8080; }}
           chain pre {{ type nat hook prerouting priority -100; {rules}; }}
         }}"
    );
    let found = found("nft", &rules)?;
    Some(found.publishes((address.parse().expect("valid"), port), protocol, own))
}

#[test]
fn ports_that_rules_of_nftables_lead_on_are_published() {
    let node = "192.0.2.1";
    for (rules, port, protocol, wanted) in [
        ("tcp dport 30080 dnat to 10.0.0.1", 30080, 6, true),
        ("tcp dport 80-90 goto to-web", 85, 6, true),
        ("tcp dport { 80, 90-99 } dnat to 10.0.0.1", 91, 6, true),
        ("tcp dport { 80, 90-99 } dnat to 10.0.0.1", 100, 6, false),
        ("dnat to udp dport map @web", 53, 17, true),
        ("tcp dport 30080 dnat to 10.0.0.1", 30081, 6, false),
        ("tcp dport 80 accept; jump to-web", 80, 6, false),
        (
            "ip daddr 192.0.2.0/24 tcp dport 81 dnat to 10.0.0.1",
            81,
            6,
            true,
        ),
    ] {
        let found = publishes(rules, (node, port), protocol, true);
        assert!(found.is_none_or(|found| found == wanted), "{rules}");
    }
    let named = "ip daddr 192.0.2.50 tcp dport 80 dnat to 10.0.0.1";
    let found = publishes(named, ("192.0.2.50", 80), 6, false);
    assert_ne!(found, Some(false));
    assert_ne!(publishes(named, (node, 80), 6, true), Some(true));
}

#[test]
fn nothing_gives_nothing() {
    let Some(found) = found(
        "nft",
        "table ip t { chain c { type filter hook input priority 0; accept; }; }",
    ) else {
        return;
    };
    assert_eq!(found, Services::default());
}
