//! Services in the text of iptables-save(8), as kube-proxy's iptables mode writes them
//! (pkg/proxy/iptables/proxier.go): a rule for address and port that leads to DNAT, or rejects.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::Result;

use crate::{
    gather::rulesets::saved::{self, Lines, Says},
    model::{
        flow,
        netfilter::{Iptables, saved_words},
        services::{Published, Service, Services},
        text,
    },
};

/// Chains of kube-proxy's; only in these does a REJECT mean a Service without endpoints.
const KUBE: &str = "KUBE-";
const SERVICES: &str = "KUBE-SERVICES";
const NODE_PORTS: &str = "KUBE-NODEPORTS";
/// What goes to addresses that are known outside: by ports of the node's own too.
const EXTERNAL: &str = "KUBE-EXTERNAL-SERVICES";
/// Refuses whom a load balancer's address is not for (loadBalancerSourceRanges): the Service has endpoints.
const SOURCES: &str = "KUBE-PROXY-FIREWALL";
/// kube-proxy's word for a traffic policy that leaves nobody to lead to, and what it did about that
/// until 1.24, in place of a rule of the table filter.
const NO_LOCAL: &str = "has no local endpoints";
const MARK_DROP: &str = "KUBE-MARK-DROP";
/// Chains within chains: no deeper than kube-proxy's are.
const DEEPEST: u8 = 8;
/// Rules that are looked at for one Service, however often they lead to each other.
const LOOKS: usize = 10_000;
/// Characters of a Service's name.
const LONGEST: usize = 300;

#[derive(Debug, Default)]
struct Rule {
    destination: Option<IpAddr>,
    /// It names a destination that is no single address.
    elsewhere: bool,
    protocol: Option<u8>,
    port: Option<u16>,
    /// The first and the last of them.
    ports: Option<(u16, u16)>,
    target: String,
    dnat: Option<(IpAddr, Option<u16>)>,
    comment: Option<String>,
}

impl Rule {
    fn is_for_want_of_local(&self) -> bool {
        let comment = self.comment.as_deref();
        comment.is_some_and(|c| c.ends_with(NO_LOCAL))
    }
}

/// What is kept of a rule of the table nat: there are many, and most lead to another chain only.
#[derive(Debug)]
struct Leads {
    target: Box<str>,
    dnat: Option<(IpAddr, Option<u16>)>,
    service: Option<Box<Service>>,
    /// For ports of the node's own, by nobody's address.
    published: Option<Published>,
    /// Marks for a drop what no endpoint of this node is there for.
    drops: bool,
}

type Chains = BTreeMap<String, Vec<Leads>>;

pub fn read(lines: &mut Lines<'_>, program: Iptables, found: &mut Services) -> Result<()> {
    let mut nat = Chains::new();
    saved::each(lines, |line| {
        let chain = line.chain;
        match (line.table, line.says) {
            (_, Says::Chain { .. }) => found.kube_proxy |= chain == SERVICES,
            ("nat", Says::Rule(text)) => {
                if let Some(rule) = rule(text) {
                    keep(&mut nat, chain, &rule, program);
                }
            }
            ("filter", Says::Rule(text)) if chain.starts_with(KUBE) => {
                let rule = rule(text);
                let rejected = rule.and_then(|rule| rejected(chain, &rule, program));
                rejected.into_iter().for_each(|s| put(found, s));
            }
            _ => {}
        }
        Ok(())
    })?;
    for rule in nat.values().flatten() {
        translated(&nat, rule)
            .into_iter()
            .for_each(|s| put(found, s));
        published(&nat, rule)
            .into_iter()
            .for_each(|it| found.publish(it));
    }
    Ok(())
}

fn put(found: &mut Services, service: Service) {
    match service.address.is_unspecified() {
        true => found.add_node_port(service),
        false => found.rules.push(service),
    }
}

fn keep(nat: &mut Chains, chain: &str, rule: &Rule, program: Iptables) {
    let leads = Leads {
        target: rule.target.as_str().into(),
        dnat: rule.dnat,
        service: service(chain, rule, program).map(Box::new),
        published: open(chain, rule, program),
        drops: rule.target == MARK_DROP && rule.is_for_want_of_local(),
    };
    match nat.get_mut(chain) {
        Some(all) => all.push(leads),
        None => drop(nat.insert(chain.to_owned(), vec![leads])),
    }
}

fn translated(nat: &Chains, rule: &Leads) -> Option<Service> {
    let service = rule.service.as_deref()?;
    let mut walk = Walk {
        nat,
        port: service.port,
        left: LOOKS,
        backends: BTreeSet::new(),
        drops: false,
    };
    walk.follow(rule, DEEPEST);
    let backends: Vec<_> = walk.backends.into_iter().collect();
    (!backends.is_empty() || walk.drops).then(|| Service {
        backends,
        rejected: walk.drops,
        local: walk.drops,
        ..service.clone()
    })
}

/// Ports of the node's own that somebody leads on: a hostPort, Docker's, an administrator's.
fn open(chain: &str, rule: &Rule, program: Iptables) -> Option<Published> {
    let others = !chain.starts_with(KUBE) && rule.destination.is_none();
    others.then_some(Published {
        address: None,
        ipv6: matches!(program, Iptables::Legacy6 | Iptables::Nft6),
        protocol: rule.protocol?,
        ports: rule.ports?,
    })
}

fn published(nat: &Chains, rule: &Leads) -> Option<Published> {
    let published = rule.published?;
    let mut walk = Walk {
        nat,
        port: published.ports.0,
        left: LOOKS,
        backends: BTreeSet::new(),
        drops: false,
    };
    walk.follow(rule, DEEPEST);
    (!walk.backends.is_empty()).then_some(published)
}

/// Every DNAT that a rule leads to.
struct Walk<'a> {
    nat: &'a Chains,
    port: u16,
    left: usize,
    backends: BTreeSet<(IpAddr, u16)>,
    drops: bool,
}

impl Walk<'_> {
    fn follow(&mut self, rule: &Leads, depth: u8) {
        self.drops |= rule.drops;
        if let Some((address, to)) = rule.dnat {
            self.backends.insert((address, to.unwrap_or(self.port)));
        }
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        for next in self.nat.get(&*rule.target).into_iter().flatten() {
            let Some(left) = self.left.checked_sub(1) else {
                return;
            };
            self.left = left;
            self.follow(next, depth);
        }
    }
}

fn rejected(chain: &str, rule: &Rule, program: Iptables) -> Option<Service> {
    let rejected = matches!(rule.target.as_str(), "REJECT" | "DROP") && chain != SOURCES;
    let service = service(chain, rule, program).filter(|_| rejected)?;
    Some(Service {
        rejected,
        local: rule.is_for_want_of_local(),
        ..service
    })
}

fn service(chain: &str, rule: &Rule, program: Iptables) -> Option<Service> {
    let own = || {
        let any: IpAddr = match program {
            Iptables::Legacy4 | Iptables::Nft4 => Ipv4Addr::UNSPECIFIED.into(),
            Iptables::Legacy6 | Iptables::Nft6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let node_port = !rule.elsewhere && [NODE_PORTS, EXTERNAL].contains(&chain);
        node_port.then_some(any)
    };
    Some(Service {
        address: rule.destination.or_else(own)?,
        port: rule.port?,
        protocol: rule.protocol?,
        name: rule.comment.as_deref().and_then(name),
        backends: Vec::new(),
        rejected: false,
        local: false,
        engine: program.engine(),
    })
}

/// `default/web:http cluster IP`, `default/web:http has no endpoints`: the first word.
fn name(comment: &str) -> Option<String> {
    let first = comment.split(' ').next()?;
    first.contains('/').then(|| text::line(first, LONGEST))
}

fn rule(text: &str) -> Option<Rule> {
    let mut words = saved_words(text).into_iter();
    let mut rule = Rule::default();
    let mut negated = false;
    while let Some(word) = words.next() {
        if word == "!" {
            negated = true;
            continue;
        }
        if !word.starts_with('-') {
            continue;
        }
        let taken = [
            "-d",
            "-p",
            "--dport",
            "-j",
            "-g",
            "--to-destination",
            "--comment",
        ];
        if taken.contains(&word.as_str()) {
            let value = words.next()?;
            rule.elsewhere |= word == "-d";
            if !negated {
                note(&mut rule, &word, &value);
            }
        }
        negated = false;
    }
    Some(rule)
}

fn note(rule: &mut Rule, option: &str, value: &str) {
    match option {
        "-d" => rule.destination = host(value),
        "-p" => rule.protocol = flow::number(value),
        "--dport" => {
            rule.port = value.parse().ok();
            let (first, last) = value.split_once(':').unwrap_or((value, value));
            rule.ports = first.parse().ok().zip(last.parse().ok());
        }
        "-j" | "-g" => value.clone_into(&mut rule.target),
        "--to-destination" => rule.dnat = destination(value),
        _ => rule.comment = Some(value.to_owned()),
    }
}

/// One address; a prefix is no Service's.
fn host(text: &str) -> Option<IpAddr> {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { "32" } else { "128" };
    (length.is_empty() || length == whole).then_some(address)
}

/// `10.0.0.1:80`, `[fd00::1]:80`, or an address alone.
fn destination(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(both) = text.parse::<std::net::SocketAddr>() {
        return Some((both.ip(), Some(both.port())));
    }
    let address = text.trim_start_matches('[').trim_end_matches(']');
    Some((address.parse().ok()?, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"*nat
:KUBE-SERVICES - [0:0]
[0:0] -A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-X
[0:0] -A KUBE-SVC-X ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-X -m comment --comment "default/web:http -> 10.244.1.5:8080" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-X
-A KUBE-SVC-X -m comment --comment "default/web:http -> 10.244.1.6:8080" -j KUBE-SEP-Y
-A KUBE-SEP-X -s 10.244.1.5/32 -m comment --comment "default/web:http" -j KUBE-MARK-MASQ
-A KUBE-SEP-X -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT --to-destination 10.244.1.5:8080
-A KUBE-SEP-Y -p tcp -m tcp -j DNAT --to-destination 10.244.1.6
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
*filter
-A KUBE-SERVICES -d fd00::7/128 -p udp -m comment --comment "default/dns:dns has no endpoints" -m udp --dport 53 -j REJECT --reject-with icmp6-port-unreachable
-A FORWARD -d 10.1.1.1/32 -p tcp -m tcp --dport 25 -j REJECT
-A KUBE-PROXY-FIREWALL -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j DROP
COMMIT
"#;

    fn read(text: &str, program: Iptables, found: &mut Services) {
        let mut from = text.as_bytes();
        super::read(&mut Lines::new(&mut from), program, found).expect("lines");
    }

    #[test]
    fn ports_that_others_lead_on_are_published() {
        let mut found = Services::default();
        let text = "*nat\n\
            -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n\
            -A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 8080 -j CNI-DN-1\n\
            -A CNI-DN-1 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.244.1.5:80\n\
            -A DOCKER ! -i docker0 -p udp -m udp --dport 5000:5010 -j DNAT --to-destination 172.17.0.2\n\
            -A DOCKER -p tcp -m tcp --dport 99 -j RETURN\n\
            COMMIT\n";
        read(text, Iptables::Legacy4, &mut found);
        let node = "192.0.2.1".parse().expect("valid");
        let has = |port, protocol| found.publishes((node, port), protocol, true);
        assert!(has(8080, 6) && has(5003, 17));
        assert!(!has(99, 6) && !has(8080, 17));
        assert!(!found.publishes((node, 8080), 6, false), "another host's");
    }

    #[test]
    fn kube_proxys_chains_are_followed() {
        let mut found = Services::default();
        read(TEXT, Iptables::Legacy4, &mut found);
        assert!(found.kube_proxy);
        assert_eq!(found.rules.len(), 2, "{:?}", found.rules);
        let (rejected, web) = (&found.rules[0], &found.rules[1]);
        assert_eq!(web.name.as_deref(), Some("default/web:http"));
        let ports: Vec<_> = web.backends.iter().map(|b| b.1).collect();
        assert_eq!((web.port, ports, web.rejected), (80, vec![8080, 80], false));
        assert_eq!(
            (rejected.port, rejected.protocol, rejected.rejected),
            (53, 17, true)
        );
    }

    /// As kube-proxy 1.26 and later writes it.
    const LOCAL: &str = r#"*filter
-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "shop/web:http has no local endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j DROP
-A KUBE-EXTERNAL-SERVICES -d 203.0.113.7/32 -p tcp -m comment --comment "shop/web:http has no local endpoints" -m tcp --dport 80 -j DROP
-A KUBE-SERVICES -d 10.96.0.20/32 -p tcp -m comment --comment "shop/log:in has no local endpoints" -m tcp --dport 514 -j DROP
-A KUBE-EXTERNAL-SERVICES -d 192.168.0.0/16 -p tcp -m tcp --dport 30081 -j DROP
COMMIT
*nat
-A KUBE-NODEPORTS -p tcp -m comment --comment "shop/web:http" -m tcp --dport 30080 -j KUBE-EXT-X
-A KUBE-EXT-X -s 10.244.0.0/16 -m comment --comment "pod traffic for shop/web:http external destinations" -j KUBE-SVC-X
-A KUBE-SVC-X -m comment --comment "shop/web:http -> 10.244.2.6:8080" -j KUBE-SEP-Y
-A KUBE-SEP-Y -p tcp -m tcp -j DNAT --to-destination 10.244.2.6:8080
COMMIT
"#;

    /// As 1.23 and earlier did.
    const MARKED: &str = r#"*nat
-A KUBE-NODEPORTS -p tcp -m comment --comment "shop/web:http" -m tcp --dport 30080 -j KUBE-XLB-X
-A KUBE-XLB-X -s 10.244.0.0/16 -m comment --comment "Redirect pods trying to reach external loadbalancer VIP to clusterIP" -j KUBE-SVC-X
-A KUBE-XLB-X -m comment --comment "shop/web:http has no local endpoints" -j KUBE-MARK-DROP
-A KUBE-SVC-X -m comment --comment "shop/web:http" -j KUBE-SEP-Y
-A KUBE-SEP-Y -p tcp -m tcp -j DNAT --to-destination 10.244.2.6:8080
COMMIT
"#;

    #[test]
    fn a_local_policy_without_endpoints_here_is_told_apart() {
        for (text, addresses) in [(LOCAL, 2), (MARKED, 0)] {
            let mut found = Services::default();
            read(text, Iptables::Legacy4, &mut found);
            let [port] = found.node_ports.as_slice() else {
                panic!("{:?}", found.node_ports);
            };
            assert_eq!((port.port, port.rejected, port.local), (30080, true, true));
            assert_eq!(port.name.as_deref(), Some("shop/web:http"));
            let backend = ("10.244.2.6".parse().expect("valid"), 8080);
            assert_eq!(port.backends, [backend]);
            assert_eq!(found.rules.len(), addresses);
            assert!(found.rules.iter().all(|s| s.rejected && s.local));
        }
        let mut found = Services::default();
        let none = LOCAL.replace("no local endpoints", "no endpoints");
        read(
            &none.replace("-j DROP", "-j REJECT"),
            Iptables::Nft6,
            &mut found,
        );
        let all = found.rules.iter().chain(&found.node_ports);
        assert!(all.clone().all(|s| s.rejected && !s.local));
        assert_eq!(all.count(), 3);
        assert!(found.node_ports[0].address.is_ipv6());
    }

    #[test]
    fn broken_text_gives_nothing() {
        let mut found = Services::default();
        for text in [
            "",
            "-A",
            "*nat\n-A X -d\n-A X -d 1/2/3 --dport x -j",
            "[1:2",
        ] {
            read(text, Iptables::Nft4, &mut found);
        }
        assert_eq!(found, Services::default());
    }
}
