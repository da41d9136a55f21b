//! What can be gathered.
use super::{
    samples::{name, text},
    stack::stack,
    wants::wants,
};
use crate::{
    model::{
        command::Command,
        control::{EtcdMember, EtcdStatus, MemoryCgroup, RangeSet, Reserved, Sandbox},
        gather::{
            Asks, Destination, Gathered, Listener, Piece, Qdisc, Receiver, Resolver, Rule,
            TokenBucket, Tracked, Tuple, Want, Whom,
        },
        impostors::{Doubt, Impostor, Impostors},
        interception::{Interception, Redirect},
        link_filters::{
            Attachment, Dataplane, LinkFilter, LinkHook, LinkProgram, TcFilter, XdpMode,
        },
        netfilter::{Chain, Family, Iptables, Listing, RuleOrigin},
        runtime::{Cri, Network, Runtime, Setups, Shown},
        security::{CgroupProgram, Security},
        services::{Engine, Published, Service, Services, Told},
        source_nat::{Keeper, SourceNat, Who},
        verdict::NotChecked,
    },
    testing::ip,
};

fn families() -> Vec<Family> {
    every! { Family:
        Family::Ip => Family::Ip,
        Family::Ip6 => Family::Ip6,
        Family::Inet => Family::Inet,
        Family::Arp => Family::Arp,
        Family::Bridge => Family::Bridge,
        Family::Netdev => Family::Netdev,
    }
}

fn programs() -> Vec<Iptables> {
    every! { Iptables:
        Iptables::Legacy4 => Iptables::Legacy4,
        Iptables::Legacy6 => Iptables::Legacy6,
        Iptables::Nft4 => Iptables::Nft4,
        Iptables::Nft6 => Iptables::Nft6,
    }
}

fn chain(family: Family) -> Chain {
    Chain {
        family,
        table: text(),
        chain: text(),
    }
}

fn listings() -> Vec<Listing> {
    let mut all = every! { Listing:
        Listing::NftChain(_) => Listing::NftChain(chain(Family::Ip)),
        Listing::Iptables { .. } => Listing::Iptables { program: Iptables::Nft4, table: text() },
        Listing::Unknown => Listing::Unknown,
    };
    all.extend(families().into_iter().map(chain).map(Listing::NftChain));
    let of = |program| Listing::Iptables {
        program,
        table: text(),
    };
    all.extend(programs().into_iter().map(of));
    all
}

fn origins() -> Vec<RuleOrigin> {
    let mut all = every! { RuleOrigin:
        RuleOrigin::Nft { .. } => RuleOrigin::Nft { chain: chain(Family::Inet), handle: None },
        RuleOrigin::Iptables { .. } => RuleOrigin::Iptables {
            program: Iptables::Legacy4,
            table: text(),
            chain: text(),
            words: None,
            number: None,
        },
        RuleOrigin::Unknown => RuleOrigin::Unknown,
    };
    let nft = |family| RuleOrigin::Nft {
        chain: chain(family),
        handle: Some(7),
    };
    let iptables = |program| RuleOrigin::Iptables {
        program,
        table: text(),
        chain: text(),
        words: Some(vec![text(), name()]),
        number: Some(3),
    };
    all.extend(families().into_iter().map(nft));
    all.extend(programs().into_iter().map(iptables));
    all
}

fn doubts() -> Vec<Doubt> {
    every! { Doubt:
        Doubt::NoService => Doubt::NoService,
        Doubt::SetUid => Doubt::SetUid,
        Doubt::OtherPod(_) => Doubt::OtherPod(name()),
        Doubt::UnknownPod => Doubt::UnknownPod,
    }
}

fn shown() -> Vec<Shown> {
    every! { Shown:
        Shown::File(_) => Shown::File(format!("/var/log/{}", name())),
        Shown::Journal => Shown::Journal,
        Shown::Unknown => Shown::Unknown,
    }
}

fn engines() -> Vec<Engine> {
    every! { Engine:
        Engine::IptablesLegacy => Engine::IptablesLegacy,
        Engine::IptablesNft => Engine::IptablesNft,
        Engine::Nftables => Engine::Nftables,
        Engine::Ipvs => Engine::Ipvs,
    }
}

fn keepers() -> Vec<Keeper> {
    let all = every! { Who:
        Who::Flannel => Who::Flannel,
        Who::Calico => Who::Calico,
        Who::Plugin => Who::Plugin,
        Who::Unknown => Who::Unknown,
    };
    let of = |who| Keeper {
        who,
        file: text(),
        told: Some(true),
    };
    all.into_iter().map(of).collect()
}

fn sandboxes() -> Vec<Sandbox> {
    every! { Sandbox:
        Sandbox::Alive => Sandbox::Alive,
        Sandbox::Gone => Sandbox::Gone,
        Sandbox::Unknown => Sandbox::Unknown,
    }
}

fn dataplanes() -> Vec<Dataplane> {
    every! { Dataplane:
        Dataplane::Cilium => Dataplane::Cilium,
        Dataplane::Calico => Dataplane::Calico,
        Dataplane::AwsNetworkPolicy => Dataplane::AwsNetworkPolicy,
    }
}

fn link_hooks() -> Vec<LinkHook> {
    every! { LinkHook:
        LinkHook::Ingress => LinkHook::Ingress,
        LinkHook::Egress => LinkHook::Egress,
        LinkHook::Xdp => LinkHook::Xdp,
    }
}

fn attachments() -> Vec<Attachment> {
    let modes = every! { XdpMode:
        XdpMode::Driver => XdpMode::Driver,
        XdpMode::Generic => XdpMode::Generic,
        XdpMode::Hardware => XdpMode::Hardware,
    };
    let mut all = every! { Attachment:
        Attachment::Tc(_) => Attachment::Tc(TcFilter {
            kind: text(),
            protocol: 0x0800,
            preference: 10,
            handle: 1,
            chain: 2,
            block: Some(22),
        }),
        Attachment::Tcx { .. } => Attachment::Tcx { link: Some(7) },
        Attachment::Xdp { .. } => Attachment::Xdp { mode: XdpMode::Driver, link: None },
    };
    all.extend(modes.into_iter().map(|mode| Attachment::Xdp {
        mode,
        link: Some(8),
    }));
    all
}

fn link_filters() -> Vec<LinkFilter> {
    let filter = |hook, at, dataplane| LinkFilter {
        link: 2,
        hook,
        at,
        program: Some(LinkProgram {
            id: 1,
            name: name(),
            user: 1000,
            holders: vec![name()],
            dataplane,
        }),
        dropped: Some(2),
        moved: 1,
    };
    let own = Attachment::Tcx { link: None };
    let hooks = link_hooks().into_iter();
    let mut all: Vec<_> = hooks.map(|hook| filter(hook, own.clone(), None)).collect();
    let at = attachments().into_iter();
    all.extend(at.map(|at| filter(LinkHook::Ingress, at, None)));
    let of = dataplanes().into_iter();
    all.extend(of.map(|of| filter(LinkHook::Ingress, own.clone(), Some(of))));
    all
}

fn pieces() -> Vec<Piece> {
    every! { Piece:
        Piece::Listeners(_) => Piece::Listeners(vec![Listener {
            address: ip("10.20.30.40"),
            port: 80,
            device: 2,
            queued: 1,
            backlog: 2,
            ipv6_only: false,
            owner: Some(name()),
        }]),
        Piece::Connections(_) => Piece::Connections(vec![Destination {
            source: ip("10.20.30.40"),
            address: ip("2001:db8:acce::7"),
            port: 80,
            sockets: 1,
            waiting: 2,
            owner: Some(name()),
        }]),
        Piece::Services(_) => Piece::Services(services()),
        Piece::Stack(_) => Piece::Stack(Box::new(stack())),
        Piece::Qdiscs(_) => Piece::Qdiscs(vec![Qdisc {
            ifindex: 1,
            kind: text(),
            sent: 2,
            drops: 3,
            waiting: 4,
            root: true,
            bucket: Some(TokenBucket { rate: 1, burst: 2, limit: 3, peak: true }),
        }]),
        Piece::Rules(_) => Piece::Rules(origins().into_iter().map(rule).collect()),
        Piece::Receivers(_) => Piece::Receivers(vec![Receiver {
            address: ip("10.20.30.40"),
            device: 2,
            queued: 1,
            limit: 2,
            drops: 3,
            owner: Some(name()),
            peer: Some((ip("10.20.30.40"), 5)),
        }]),
        Piece::Resolvers(_) => Piece::Resolvers(vec![Resolver {
            netns: 1,
            servers: vec![ip("10.20.30.40")],
            search: vec![name()],
            kubelet: true,
        }]),
        Piece::Security(_) => Piece::Security(Security {
            modules: vec![text()],
            programs: vec![CgroupProgram {
                id: 1,
                name: name(),
                egress: true,
                cgroup: name(),
                user: 1000,
                holders: vec![name()],
                processes: vec![name()],
            }],
        }),
        Piece::LinkFilters(_) => Piece::LinkFilters(link_filters()),
        Piece::Etcd(_) => Piece::Etcd(members()),
        Piece::Ipam(_) => Piece::Ipam(vec![RangeSet {
            network: name(),
            conf: text(),
            ranges: vec![(ip("10.20.30.40"), ip("10.20.30.50"))],
            capacity: 11,
            reserved: sandboxes().into_iter().map(reserved).collect(),
        }]),
        Piece::PodNetworks(_) => Piece::PodNetworks(vec![(prefix(), text())]),
        Piece::MemoryCgroup(_) => Piece::MemoryCgroup(MemoryCgroup {
            id: 1,
            path: text(),
            limit_file: text(),
            limit: Some(1),
            peak: Some(2),
            kills: Some(3),
            namespace: Some(name()),
        }),
        Piece::Commands(_) => Piece::Commands(vec![Command {
            pid: 7,
            arguments: vec![text(), name()],
            unit: Some(name()),
        }]),
        Piece::Tracked(_) => Piece::Tracked(vec![Tracked { asked: tuple(), answered: tuple() }]),
        Piece::Runtime(_) => Piece::Runtime(runtime()),
        Piece::Interception(_) => Piece::Interception(Interception {
            inbound: listings().into_iter().map(redirect).collect(),
            outbound: Vec::new(),
            exempt: vec![15000, 15001, 15006, 15008],
            proxies: vec![name()],
        }),
        Piece::Impostors(_) => Piece::Impostors(Impostors {
            all: doubts().into_iter().map(impostor).collect(),
            cut: vec![text()],
            unseen: 1,
            closed: 2,
        }),
        Piece::SourceNat(_) => Piece::SourceNat(SourceNat {
            rule: Some(text()),
            others: 2,
            programs: programs(),
            keeper: None,
        }),
        Piece::Partly { .. } => Piece::Partly {
            piece: Box::new(Piece::PodNetworks(vec![(prefix(), text())])),
            left: vec![NotChecked::new(text(), text())],
        },
    }
}

fn prefix() -> crate::model::address::Prefix {
    "10.20.30.0/24".parse().expect("a prefix")
}

fn rule(origin: RuleOrigin) -> Rule {
    Rule {
        place: text(),
        text: text(),
        packets: 3,
        origin,
        counted: true,
        asks: Asks {
            sources: Some(Whom::These(prefix())),
            destinations: Some(Whom::AllBut(prefix())),
            protocol: Some(6),
            ports: Some((443, 443)),
            ..Asks::default()
        },
    }
}

fn redirect(list: Listing) -> Redirect {
    Redirect {
        port: 15001,
        of: vec![80, 443, 8080, 8443],
        rule: text(),
        list,
    }
}

fn reserved(state: Sandbox) -> Reserved {
    Reserved {
        address: ip("10.20.30.40"),
        file: text(),
        container: name(),
        state,
    }
}

fn impostor(doubt: Doubt) -> Impostor {
    Impostor {
        name: name(),
        pid: 7,
        uid: Some(1000),
        more: 1,
        doubt,
    }
}

fn tuple() -> Tuple {
    Tuple {
        source: (ip("10.20.30.40"), 1),
        destination: (ip("10.20.30.50"), 2),
        protocol: 6,
    }
}

fn members() -> Vec<EtcdMember> {
    let status = EtcdStatus {
        version: "3.5.9-acme".into(),
        revision: 1,
        size: 2,
        in_use: Some(3),
        quota: Some(4),
        alarms: vec![(text(), text())],
        healthy: Some(true),
    };
    let member = |answer| EtcdMember {
        endpoint: text(),
        credentials: vec![text()],
        answer,
    };
    [Ok(status), Err(text())].map(member).into()
}

fn services() -> Services {
    let service = |engine| Service {
        address: ip("10.20.30.40"),
        port: 80,
        protocol: 6,
        name: Some(name()),
        backends: vec![(ip("10.20.30.50"), 8080)],
        rejected: false,
        local: false,
        engine,
        table: Some(text().into()),
    };
    Services {
        rules: engines().into_iter().map(service).collect(),
        node_ports: vec![service(Engine::Ipvs)],
        published: vec![Published {
            address: Some(ip("10.20.30.60")),
            ipv6: false,
            protocol: 6,
            ports: (80, 80),
        }],
        kube_proxy: true,
        proxies: vec![name()],
        told: vec![Told {
            address: ip("10.20.30.40"),
            by: text(),
            sure: true,
        }],
        ranges: vec![(prefix(), text())],
        unseen: 1,
        unread: vec![(text(), text())],
    }
}

fn runtime() -> Runtime {
    let setups = |show| Setups {
        namespace: name(),
        name: name(),
        log: text(),
        show,
        failures: 1,
        first: 2,
        last: 3,
        message: text(),
        succeeded: Some(4),
    };
    let cri = Cri {
        network_not_ready: Some(text()),
    };
    Runtime {
        cri: Some((text(), Ok(cri))),
        setups: shown().into_iter().map(setups).collect(),
        networks: vec![Network {
            name: name(),
            file: text(),
            plugins: vec![text()],
            ipam: Some(text()),
            etcd: vec![text()],
        }],
        unread: vec![(text(), text())],
    }
}

pub fn gathered() -> Gathered {
    let mut gathered = Gathered::default();
    for (n, piece) in pieces().into_iter().enumerate() {
        // Each under a want of its own.
        let netns = u32::try_from(n).expect("few") + 100;
        gathered.insert(Want::Listeners(netns), Ok(piece));
    }
    for (n, keeper) in (200..).zip(keepers()) {
        let kept = SourceNat {
            keeper: Some(keeper),
            ..SourceNat::default()
        };
        gathered.insert(Want::Rules(n), Ok(Piece::SourceNat(kept)));
    }
    let failed = Runtime {
        cri: Some((text(), Err(text()))),
        ..Runtime::default()
    };
    gathered.insert(Want::Rules(100), Ok(Piece::Runtime(failed)));
    for want in wants() {
        gathered.insert(want, Err(text()));
    }
    gathered.ask(&[Want::Commands(text()), Want::Ipam]);
    gathered
}
