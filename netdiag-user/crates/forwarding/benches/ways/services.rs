//! Two thousand Services of three pods each, as kube-proxy has them in iptables, in nftables and in IPVS
//! (pkg/proxy/iptables/proxier.go, pkg/proxy/nftables/proxier.go).
use std::net::{IpAddr, Ipv4Addr};

use netdiag_model::{
    netfilter::Family,
    world::{
        ipvs::{Forward, Ipvs, RealServer, VirtualServer, Wanted},
        ruleset::{
            Base, BaseChain, Bytes, Chain, ChainKind, Compare, Data, Element, Expression, Hook,
            Load, Meta, Nat, NatKind, Reg, Rule, Ruleset, Set, Table, Verdict,
        },
    },
};

pub const SERVICES: u32 = 2_000;
const PODS: u32 = 3;
const PORT: u16 = 80;
const SERVED: u16 = 443;

const ADDRESS: Reg = Reg(0);
const OTHER: Reg = Reg(4);
const THIRD: Reg = Reg(8);
const PROTOCOL: Load = Load::Meta(Meta::L4Protocol);
const TO: Load = Load::Payload {
    base: Base::Network,
    offset: 16,
    length: 4,
};
const DPORT: Load = Load::Payload {
    base: Base::Transport,
    offset: 2,
    length: 2,
};
const TCP: u8 = 6;

/// The same by IPVS (pkg/proxy/ipvs/proxier.go).
pub fn ipvs() -> Ipvs {
    let server = |number: u32| VirtualServer {
        wanted: Wanted::At {
            address: address(number),
            protocol: TCP,
            port: PORT,
        },
        scheduler: "rr".to_owned(),
        one_packet: false,
        persistent: false,
        real: (0..PODS)
            .map(|which| RealServer {
                address: pod(number + which).into(),
                port: SERVED,
                forward: Forward::Masquerade,
                weight: 1,
            })
            .collect(),
    };
    Ipvs {
        servers: (0..SERVICES).map(server).collect(),
        conntrack: true,
        snat_reroute: true,
    }
}

pub fn address(number: u32) -> IpAddr {
    octets(number).into()
}

fn octets(number: u32) -> [u8; 4] {
    let [.., a, b] = number.to_be_bytes();
    [10, 96, a, b]
}

/// One of the node's own pods, as the others have them.
fn pod(number: u32) -> Ipv4Addr {
    [10, 1, 0, 10 + (number % 200) as u8].into()
}

fn is(load: Load, with: &[u8]) -> [Expression; 2] {
    [
        Expression::Load(load, ADDRESS),
        Expression::Compare {
            how: Compare::Equal,
            reg: ADDRESS,
            with: with.into(),
        },
    ]
}

fn leads(verdict: Verdict) -> Expression {
    Expression::Sets(Data::Verdict(verdict), ADDRESS)
}

fn to_pod(of: u32, which: u32) -> Vec<Expression> {
    let address = pod(of + which).octets();
    let value = |bytes: &[u8], reg| Expression::Sets(Data::Value(bytes.into()), reg);
    vec![
        value(&address, ADDRESS),
        value(&SERVED.to_be_bytes(), OTHER),
        Expression::Nat(Nat {
            kind: NatKind::Destination,
            family: Family::Ip,
            addresses: Some((ADDRESS, ADDRESS)),
            ports: Some((OTHER, OTHER)),
            flags: 0,
        }),
    ]
}

fn chain(name: String, hook: Option<Hook>, rules: Vec<Vec<Expression>>) -> Chain {
    let counted = |(at, mut expressions): (usize, Vec<Expression>)| {
        let last = expressions.len().saturating_sub(1);
        expressions.insert(last, Expression::Counter { packets: 0 });
        Rule {
            handle: at as u64 + 1,
            expressions,
            comment: None,
        }
    };
    Chain {
        name,
        handle: 1,
        base: hook.map(|hook| BaseChain {
            hook,
            priority: -100,
            kind: ChainKind::Nat,
            accepts: true,
            devices: Vec::new(),
        }),
        rules: rules.into_iter().enumerate().map(counted).collect(),
    }
}

fn of(chains: Vec<Chain>, sets: Vec<Set>) -> Ruleset {
    let table = Table {
        family: Family::Ip,
        name: "nat".into(),
        legacy: false,
        dormant: false,
        chains,
        sets,
    };
    Ruleset {
        tables: vec![table],
        ..Ruleset::default()
    }
}

/// A chain for all, one for each Service, and one for each of its pods.
pub fn iptables() -> Ruleset {
    let first = vec![vec![leads(Verdict::Jump("KUBE-SERVICES".into()))]];
    let mut services = Vec::new();
    let mut chains = Vec::new();
    for number in 0..SERVICES {
        let name = format!("KUBE-SVC-{number:016}");
        let mut rule = is(PROTOCOL, &[TCP]).to_vec();
        rule.extend(is(TO, &octets(number)));
        rule.extend(is(DPORT, &PORT.to_be_bytes()));
        rule.push(leads(Verdict::Jump(name.clone())));
        services.push(rule);
        let mut pods = Vec::new();
        for which in 0..PODS {
            let own = format!("KUBE-SEP-{number:012}{which:04}");
            let mut rule = Vec::new();
            if which + 1 < PODS {
                rule.push(one_of(PODS - which));
            }
            rule.push(leads(Verdict::Jump(own.clone())));
            pods.push(rule);
            let mut nat = is(PROTOCOL, &[TCP]).to_vec();
            nat.extend(to_pod(number, which));
            chains.push(chain(own, None, vec![nat]));
        }
        chains.push(chain(name, None, pods));
    }
    chains.push(chain("KUBE-SERVICES".into(), None, services));
    chains.push(chain("PREROUTING".into(), Some(Hook::Prerouting), first));
    of(chains, Vec::new())
}

/// `-m statistic --mode random` (`struct xt_statistic_info`).
fn one_of(several: u32) -> Expression {
    let mut info = vec![0; 32];
    info[4..8].copy_from_slice(&((1 << 31) / several).to_ne_bytes());
    Expression::Xtables {
        target: false,
        name: "statistic".into(),
        revision: 0,
        info: Bytes::from(info),
    }
}

/// A map for all, and a chain with a map for each Service.
pub fn nftables() -> Ruleset {
    let (mut chains, mut sets, mut elements) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..SERVICES {
        let name = format!("service-{number}");
        let port = [PORT.to_be_bytes(), [0; 2]].concat();
        let key = [&octets(number)[..], &[TCP, 0, 0, 0], &port].concat();
        elements.push(element(&key, Verdict::Goto(name.clone())));
        let mut pods = Vec::new();
        for which in 0..PODS {
            let own = format!("endpoint-{number}-{which}");
            pods.push(element(&which.to_ne_bytes(), Verdict::Goto(own.clone())));
            chains.push(chain(own, None, vec![to_pod(number, which)]));
        }
        let name_of_map = format!("pods-{number}");
        let chooses = Expression::Chooses {
            to: ADDRESS,
            least: 0,
            of: PODS,
        };
        chains.push(chain(
            name,
            None,
            vec![vec![chooses, looks_up(&name_of_map)]],
        ));
        sets.push(map(&name_of_map, &[4], pods));
    }
    let rule = vec![
        Expression::Load(TO, ADDRESS),
        Expression::Load(PROTOCOL, OTHER),
        Expression::Load(DPORT, THIRD),
        looks_up("service-ips"),
    ];
    sets.push(map("service-ips", &[4, 1, 2], elements));
    chains.push(chain("nat".into(), Some(Hook::Prerouting), vec![rule]));
    of(chains, sets)
}

fn looks_up(map: &str) -> Expression {
    Expression::Lookup {
        set: map.into(),
        reg: ADDRESS,
        to: None,
        invert: false,
    }
}

fn element(key: &[u8], leads: Verdict) -> Element {
    Element {
        key: Some(key.into()),
        end: None,
        gap: false,
        data: Some(Data::Verdict(leads)),
        expressions: Vec::new(),
        comment: None,
    }
}

fn map(name: &str, parts: &[u8], elements: Vec<Element>) -> Set {
    Set {
        name: name.into(),
        intervals: false,
        parts: parts.to_vec(),
        dynamic: false,
        map: true,
        elements,
        partly: false,
    }
}
