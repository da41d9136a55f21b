//! What is known without asking.
use std::sync::Arc;

use super::{
    gathered::gathered,
    samples::{name, text},
};
use crate::{
    model::{
        cluster::{Backend, Cluster, Flannel, Member, Port, Service, Slice, State, Topic, Trouble},
        journal::{self, Doer, How, Thing},
        netfilter::{Chain, Family},
        node::{
            Counters, Fdb, Link, LinkAddress, LinkCounters, LinkKind, Neighbour, NeighbourMoves,
            Node, PodSide, Route, RouteKind, Tunnel,
        },
        pod::{Container, Known, Origin, Pod, PodIndex, PodInterface, SourceUse},
        policy::{Action, PolicyRule},
        reason::Reasons,
        verdict::{NotChecked, Owner},
    },
    pipeline::{
        facts::KnownNames,
        scene::{Change, LinkChange, Run, Scene},
    },
    testing::ip,
};

const MAC: [u8; 6] = [2, 0xf1, 0xc5, 0xf6, 0x2a, 1];

fn topics() -> Vec<Topic> {
    every! { Topic:
        Topic::Pods => Topic::Pods,
        Topic::Services => Topic::Services,
        Topic::EndpointSlices => Topic::EndpointSlices,
        Topic::Nodes => Topic::Nodes,
        Topic::ConfigMaps => Topic::ConfigMaps,
    }
}

fn troubles() -> Vec<Trouble> {
    every! { Trouble:
        Trouble::Forbidden(_) => Trouble::Forbidden(text()),
        Trouble::Failed { .. } => Trouble::Failed {
            why: text(),
            heard: Some("2026-11-20T18:51:21.462Z".into()),
        },
    }
}

fn kinds() -> Vec<LinkKind> {
    every! { LinkKind:
        LinkKind::Loopback => LinkKind::Loopback,
        LinkKind::Physical => LinkKind::Physical,
        LinkKind::Veth => LinkKind::Veth,
        LinkKind::Netkit => LinkKind::Netkit,
        LinkKind::Bridge => LinkKind::Bridge,
        LinkKind::Vxlan => LinkKind::Vxlan,
        LinkKind::Geneve => LinkKind::Geneve,
        LinkKind::Ipip => LinkKind::Ipip,
        LinkKind::Sit => LinkKind::Sit,
        LinkKind::Ip6Tunnel => LinkKind::Ip6Tunnel,
        LinkKind::Gre => LinkKind::Gre,
        LinkKind::Wireguard => LinkKind::Wireguard,
        LinkKind::Vlan => LinkKind::Vlan,
        LinkKind::Bond => LinkKind::Bond,
        LinkKind::Other(_) => LinkKind::Other(text()),
    }
}

fn routes() -> Vec<RouteKind> {
    every! { RouteKind:
        RouteKind::Unicast => RouteKind::Unicast,
        RouteKind::Local => RouteKind::Local,
        RouteKind::Refusing => RouteKind::Refusing,
    }
}

fn actions() -> Vec<Action> {
    every! { Action:
        Action::Table(_) => Action::Table(254),
        Action::Refuse => Action::Refuse,
        Action::Goto(_) => Action::Goto(7),
        Action::Nothing => Action::Nothing,
    }
}

fn origins() -> Vec<Origin> {
    every! { Origin:
        Origin::Kubernetes => Origin::Kubernetes,
        Origin::Cri => Origin::Cri,
        Origin::Cni => Origin::Cni,
        Origin::Cgroup => Origin::Cgroup,
        Origin::File => Origin::File,
        Origin::Node => Origin::Node,
    }
}

fn changes() -> Vec<Change> {
    every! { Change:
        Change::Added => Change::Added,
        Change::Removed => Change::Removed,
    }
}

fn prefix() -> crate::model::address::Prefix {
    "10.20.30.40/24".parse().expect("a prefix")
}

fn port() -> Port {
    Port {
        name: Some(name()),
        port: 80,
        protocol: 6,
        node_port: Some(30080),
    }
}

fn cluster() -> Cluster {
    let backend = Backend {
        addresses: vec![ip("10.20.30.50")],
        ready: true,
        pod: Some((name(), name())),
        uid: Some("3f2504e0-4f89-1103-9a0c-0305e82c3301".into()),
        node: Some(name()),
    };
    let service = Service {
        namespace: name(),
        name: name(),
        addresses: vec![ip("10.20.30.40")],
        external: vec![ip("2001:db8:acce::7")],
        ports: vec![port()],
        selector: [(name(), name())].into(),
        slices: vec![Slice {
            ports: vec![port()],
            backends: vec![backend],
        }],
        external_local: true,
        internal_local: true,
    };
    let member = Member {
        name: name(),
        addresses: vec![ip("10.20.30.40")],
        pod_cidrs: vec![prefix()],
        announced: vec![(ip("10.20.30.40"), text())],
        vni: Some(1),
        vtep_mac: Some(MAC.into()),
    };
    let state = |trouble| State {
        known: true,
        trouble,
        left_out: 1,
        cut: 2,
    };
    let troubles = troubles().into_iter().map(Some);
    let states = troubles.chain(std::iter::repeat(None)).map(state);
    Cluster {
        server: text(),
        node: Some(name()),
        no_node: Some(text()),
        pods: Vec::new(),
        services: vec![service],
        nodes: vec![member],
        flannel: Some(Flannel {
            from: name(),
            networks: vec![prefix()],
            backend: Some(text()),
            vni: Some(1),
            port: Some(8472),
        }),
        states: topics().into_iter().zip(states).collect(),
    }
}

fn link(kind: LinkKind) -> Link {
    Link {
        index: 2,
        name: name(),
        kind,
        mtu: 1500,
        up: true,
        ethernet: true,
        master: Some(1),
        link: Some(2),
        peer_netns: Some(3),
        peer_elsewhere: true,
        tunnel: Some(Tunnel {
            vni: Some(1),
            port: Some(8472),
            local: Some(ip("10.20.30.40")),
            remote: Some(ip("10.20.30.50")),
            underlay: Some(2),
            external: false,
            extra: 4,
            zero_checksum: Some(true),
        }),
        lladdr: Some(MAC.into()),
        addresses: vec![LinkAddress {
            prefix: prefix(),
            dynamic: false,
            link_local: false,
        }],
        carrier: true,
        counters: LinkCounters::default(),
        isolated: false,
        hairpin: false,
        vlan_filtering: false,
        promiscuous: false,
    }
}

fn side() -> PodSide {
    PodSide {
        netns: 4_026_532_414,
        mtu: 1450,
        route_mtu: Some(1400),
        addresses: vec![ip("10.20.30.50")],
        ports: vec![2],
        links: vec![(2, name())],
        lower: Some(3),
        path: Some(text()),
        ways: vec![(prefix(), Some(ip("10.20.30.1")))],
    }
}

fn rule(action: Action) -> PolicyRule {
    PolicyRule {
        priority: 100,
        ipv6: false,
        action,
        from: Some(prefix()),
        to: None,
        iif: Some(name()),
        not: false,
        others: true,
        suppress_prefix_length: Some(0),
        line: text(),
    }
}

fn node() -> Node {
    let route = |kind| Route {
        kind,
        destination: prefix(),
        table: 254,
        metric: 100,
        oif: Some(2),
        gateway: Some(ip("10.20.30.1")),
        mtu: Some(1400),
    };
    Node {
        name: name(),
        kernel: "6.1.0-13-acme-payroll".into(),
        netns: 4_026_531_840,
        links: kinds().into_iter().map(link).collect(),
        routes: routes().into_iter().map(route).collect(),
        policy_tables: vec![253, 254, 255, 7],
        rules: actions().into_iter().map(rule).collect(),
        neighbours: vec![Neighbour {
            ifindex: 2,
            address: ip("10.20.30.50"),
            lladdr: Some(MAC.into()),
            failed: false,
            permanent: true,
        }],
        fdb: vec![Fdb {
            ifindex: 2,
            lladdr: MAC.into(),
            vtep: ip("10.20.30.50"),
        }],
        pod_sides: vec![side()],
        linkless: vec![side()],
        sysctls: vec![
            (format!("net.ipv4.conf.{}.rp_filter", name()), "1".into()),
            (text(), text()),
        ],
        counters: vec![Counters {
            netns: 1,
            values: [("TcpExt.ListenOverflows".into(), 1), (text().into(), 2)].into(),
        }],
        known_as: vec![(ip("10.20.30.40"), text())],
        neighbour_moves: vec![NeighbourMoves {
            ifindex: 2,
            address: ip("10.20.30.50"),
            lladdrs: vec![MAC.into(), vec![10, 20, 30, 40]],
            changes: 3,
            returns: Some(1),
        }],
        changes: journal(),
    }
}

fn journal() -> Vec<journal::Change> {
    let family = Family::Inet;
    let chain = || Chain {
        family,
        table: text(),
        chain: text(),
    };
    let things = every! { Thing:
        Thing::Link { .. } => Thing::Link { name: name() },
        Thing::Port { .. } => Thing::Port { name: name() },
        Thing::Address { .. } => Thing::Address {
            prefix: prefix(),
            link: name(),
        },
        Thing::Route { .. } => Thing::Route {
            to: prefix(),
            table: 7,
        },
        Thing::Policy { .. } => Thing::Policy {
            ipv6: false,
            priority: 100,
        },
        Thing::Neighbour { .. } => Thing::Neighbour {
            address: ip("10.20.30.60"),
            link: name(),
        },
        Thing::Forwarding { .. } => Thing::Forwarding {
            lladdr: MAC.into(),
            link: name(),
        },
        Thing::Queue { .. } => Thing::Queue { link: name() },
        Thing::Filter { .. } => Thing::Filter { link: name() },
        Thing::Setting { .. } => Thing::Setting { sysctl: text() },
        Thing::Table { .. } => Thing::Table {
            family,
            table: text(),
        },
        Thing::Chain { .. } => Thing::Chain { chain: chain() },
        Thing::Rule { .. } => Thing::Rule {
            chain: chain(),
            handle: 7,
        },
        Thing::Set { .. } => Thing::Set {
            family,
            table: text(),
            set: text(),
        },
    };
    let change = |of| journal::Change {
        at: 1,
        of,
        how: How::Appeared,
        by: Some(Doer {
            name: name(),
            pid: 7,
        }),
        translates: None,
    };
    things.into_iter().map(change).collect()
}

fn pod() -> Pod {
    Pod {
        namespace: name(),
        name: name(),
        uid: Some("3f2504e0-4f89-1103-9a0c-0305e82c3301".into()),
        addresses: vec![ip("10.20.30.50")],
        interface: Some(name()),
        netns: Some(4_026_532_414),
        labels: [(name(), name())].into(),
        owner: Some(Owner {
            kind: text(),
            name: name(),
        }),
        host_network: false,
        node: Some(name()),
        containers: vec![Container {
            id: "3f2504e0".repeat(8),
            name: name(),
            pid: Some(7),
            process: Some(name()),
            restarts: Some(1),
        }],
        created: Some(1),
        from: Some(2),
        gone: Some(3),
        sandbox: Some("3f2504e0".repeat(8)),
        interfaces: vec![PodInterface {
            name: name(),
            host: Some(name()),
            index: Some(2),
            addresses: vec![ip("10.20.30.50")],
            network: Some(name()),
        }],
        sources: origins()
            .into_iter()
            .map(|source| Known { source, at: 1 })
            .collect(),
    }
}

fn run() -> Run {
    let source = |source| SourceUse {
        source,
        pods: 1,
        at: Some(2),
    };
    Run {
        started: 1,
        hooked: 2,
        level: Some(crate::model::level::Level::Light),
        lifted: true,
        lowered: true,
        hooks: 3,
        not_checked: vec![NotChecked {
            what: text(),
            why: text(),
            node: Some(name()),
        }],
        blind: true,
        partly: true,
        links: vec![name()],
        filtered: true,
        sources: origins().into_iter().map(source).collect(),
        cost: None,
    }
}

pub fn scene() -> Scene {
    let reasons = [(2, "SKB_DROP_REASON_NO_SOCKET".into()), (3, text())];
    Scene {
        node: node(),
        pods: PodIndex::new(vec![pod()]),
        cluster: Arc::new(cluster()),
        gathered: gathered(),
        names: Box::new(KnownNames {
            symbols: Default::default(),
            reasons: Reasons::new(reasons),
        }),
        run: run(),
        links: changes()
            .into_iter()
            .map(|what| LinkChange { name: name(), what })
            .collect(),
        ..crate::tests::scene()
    }
}
