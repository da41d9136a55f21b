//! The rules that kube-proxy writes, so that a lab's Services are what they are on a real node:
//! chain for chain as in pkg/proxy/nftables/proxier.go and pkg/proxy/iptables/proxier.go.
mod texts;

use std::fmt::Write;
use std::net::IpAddr;

use super::plan::{Node, Plan};
use super::step::Step;
use crate::model::address::endpoint;
use texts::{CHAINS, FILTER, NAT, NAT_CHAINS};

/// kube-proxy's `--proxy-mode`, and which iptables its image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Nftables,
    IptablesLegacy,
    IptablesNft,
    /// Never by seed: most kernels of CI systems have no ip_vs.
    Ipvs,
}

/// The traffic policies of a call's Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Both are Cluster.
    Cluster,
    /// internalTrafficPolicy is Local.
    InternalLocal,
    /// externalTrafficPolicy is.
    ExternalLocal,
}

/// A Service with one port.
#[derive(Clone, Debug)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    pub address: IpAddr,
    pub port: u16,
    /// The port of every node at which it is reached from outside.
    pub node_port: Option<u16>,
    pub backends: Vec<(IpAddr, u16)>,
}

impl Plan {
    /// The mode of that number, so that all come up within a few seeds.
    pub fn proxy_mode(&self) -> Mode {
        [Mode::Nftables, Mode::IptablesLegacy, Mode::IptablesNft][self.form() % 3]
    }

    /// The ClusterIP of that number; in every lab the same few ranges, apart from nodes and pods.
    pub fn cluster_ip(&self, number: u8) -> IpAddr {
        let seed = self.options.seed as usize;
        let third = (seed * 37 % 200) as u8;
        if self.options.ipv6 {
            let segments = [0xfd00, 0x10, 0x96, 0, 0, 0, third.into(), number.into()];
            return IpAddr::from(segments);
        }
        let second = [43, 152, 233][seed % 3];
        IpAddr::from([10, second, third, number])
    }
}

/// What kube-proxy does on that node for these Services.
pub fn sync(plan: &Plan, node: &Node, mode: Mode, services: &[Service]) -> Step {
    sync_by(plan, node, mode, services, Policy::Cluster)
}

/// The same where they have that policy.
pub fn sync_by(plan: &Plan, node: &Node, mode: Mode, services: &[Service], policy: Policy) -> Step {
    let pods = if plan.options.ipv6 {
        format!("{}/64", node.pods_ipv6)
    } else {
        format!("{}/24", node.pods_ipv4)
    };
    let own = if plan.options.ipv6 {
        IpAddr::from(node.ipv6)
    } else {
        node.ipv4.into()
    };
    let here = node
        .pods
        .iter()
        .flat_map(|pod| [pod.ipv4.into(), pod.ipv6.into()]);
    let writer = Writer {
        ipv6: plan.options.ipv6,
        policy,
        here: here.collect(),
        node: own,
        pods,
        services,
    };
    let (program, arguments) = program(mode, plan.options.ipv6);
    let script = writer.ipvs_script();
    let (arguments, input) = match mode {
        Mode::Ipvs => ([arguments, &[script.as_str()]].concat(), writer.ipvs()),
        Mode::Nftables => (arguments.to_vec(), writer.nftables()),
        Mode::IptablesLegacy | Mode::IptablesNft => (arguments.to_vec(), writer.iptables()),
    };
    step(node, program, &arguments, input)
}

/// What `kube-proxy --cleanup` leaves of them.
pub fn cleanup(plan: &Plan, node: &Node, mode: Mode) -> Step {
    let ip = if plan.options.ipv6 { "ip6" } else { "ip" };
    let (program, arguments) = program(mode, plan.options.ipv6);
    let (arguments, input) = match mode {
        Mode::Ipvs => (
            [arguments, &["ipvsadm -C; ip link del kube-ipvs0"]].concat(),
            String::new(),
        ),
        Mode::Nftables => (
            arguments.to_vec(),
            format!("delete table {ip} kube-proxy\n"),
        ),
        Mode::IptablesLegacy | Mode::IptablesNft => (
            arguments.to_vec(),
            "*filter\nCOMMIT\n*nat\nCOMMIT\n".to_owned(),
        ),
    };
    step(node, program, &arguments, input)
}

/// What reads such rules.
fn program(mode: Mode, ipv6: bool) -> (&'static str, &'static [&'static str]) {
    match (mode, ipv6) {
        (Mode::Ipvs, _) => ("sh", &["-ec"]),
        (Mode::Nftables, _) => ("nft", &["-f", "-"]),
        (Mode::IptablesLegacy, false) => ("iptables-legacy-restore", &[]),
        (Mode::IptablesLegacy, true) => ("ip6tables-legacy-restore", &[]),
        (Mode::IptablesNft, false) => ("iptables-nft-restore", &[]),
        (Mode::IptablesNft, true) => ("ip6tables-nft-restore", &[]),
    }
}

fn step(node: &Node, program: &'static str, arguments: &[&str], input: String) -> Step {
    Step::Run {
        netns: node.netns.clone(),
        program,
        arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
        input,
    }
}

/// What is the same in each mode.
struct Writer<'a> {
    ipv6: bool,
    policy: Policy,
    /// Addresses of the node's own pods.
    here: Vec<IpAddr>,
    node: IpAddr,
    pods: String,
    services: &'a [Service],
}

impl Writer<'_> {
    /// Whom connections under a Local policy go to on this node.
    fn local(&self, service: &Service) -> Vec<(IpAddr, u16)> {
        let here = |(address, _): &&(IpAddr, u16)| self.here.contains(address);
        service.backends.iter().filter(here).copied().collect()
    }

    /// Those that are not led on here, though others have endpoints.
    fn drops(&self, service: &Service, policy: Policy) -> bool {
        self.policy == policy && !service.backends.is_empty() && self.local(service).is_empty()
    }

    fn nftables(&self) -> String {
        let (ip, kind) = if self.ipv6 {
            ("ip6", "ipv6_addr")
        } else {
            ("ip", "ipv4_addr")
        };
        let (mut ips, mut served, mut empty, mut chains) = (vec![], vec![], vec![], String::new());
        let (mut ports, mut no_ports) = (Vec::new(), Vec::new());
        for service in self.services {
            let key = format!(
                "{} . {} . {}",
                service.address, service.protocol, service.port
            );
            ips.push(service.address.to_string());
            if service.backends.is_empty() {
                let name = format!("{}/{}:p", service.namespace, service.name);
                empty.push(format!("{key} comment \"{name}\" : goto reject-chain"));
                continue;
            }
            let name = format!("{}/{}:p", service.namespace, service.name);
            let chain = self.nft_service(&mut chains, ip, service);
            match self.drops(service, Policy::InternalLocal) {
                true => empty.push(format!("{key} comment \"{name}\" : drop")),
                false => served.push(format!("{key} : goto {chain}")),
            }
            if let Some(port) = service.node_port {
                let outside = self.nft_outside(&mut chains, ip, service, &chain);
                let key = format!("{} . {port}", service.protocol);
                ports.push(format!("{key} : goto {outside}"));
                if self.drops(service, Policy::ExternalLocal) {
                    no_ports.push(format!("{key} comment \"{name}\" : drop"));
                }
            }
        }
        // What was there goes away in the same transaction, as with kube-proxy's own sync.
        let mut text = format!("add table {ip} kube-proxy\nflush table {ip} kube-proxy\n");
        let _ = write!(
            text,
            "table {ip} kube-proxy {{\n    comment \"rules for kube-proxy\"\n"
        );
        let key = format!("{kind} . inet_proto . inet_service : verdict");
        for (what, of, elements) in [
            ("set cluster-ips", kind, &ips),
            ("map no-endpoint-services", &key, &empty),
            ("map service-ips", &key, &served),
            (
                "map service-nodeports",
                "inet_proto . inet_service : verdict",
                &ports,
            ),
            (
                "map no-endpoint-nodeports",
                "inet_proto . inet_service : verdict",
                &no_ports,
            ),
        ] {
            let _ = writeln!(text, "    {what} {{\n        type {of}");
            if !elements.is_empty() {
                let _ = writeln!(text, "        elements = {{ {} }}", elements.join(", "));
            }
            text.push_str("    }\n");
        }
        text + &CHAINS.replace("IP daddr", &format!("{ip} daddr")) + &chains + "}\n"
    }

    /// For what comes by the node's port. Under a Local policy the node's own and its pods' go to any
    /// endpoint, and others where one is here to the Service's chain: it is the only one.
    fn nft_outside(&self, chains: &mut String, ip: &str, service: &Service, chain: &str) -> String {
        let outside = chain.replacen("service", "external", 1);
        let pods = &self.pods;
        let rules = match (self.policy, self.local(service).is_empty()) {
            (Policy::ExternalLocal, empty) => {
                let spared = format!(
                    "{ip} saddr {pods} goto {chain} comment \"short-circuit pod traffic\"\n        \
                     fib saddr type local jump mark-for-masquerade\n        \
                     fib saddr type local goto {chain} comment \"short-circuit local traffic\""
                );
                match empty {
                    true => spared,
                    false => format!("{spared}\n        goto {chain}"),
                }
            }
            _ => format!("jump mark-for-masquerade\n        goto {chain}"),
        };
        let _ = writeln!(chains, "    chain {outside} {{\n        {rules}\n    }}");
        outside
    }

    fn nft_service(&self, chains: &mut String, ip: &str, service: &Service) -> String {
        let Service {
            namespace,
            name,
            protocol,
            address,
            port,
            ..
        } = service;
        let path = format!("{namespace}/{name}/{protocol}/p");
        let chain = format!("service-{}-{path}", &hash(&path)[..8]);
        let mut ends = Vec::new();
        for (n, (backend, to)) in service.backends.iter().enumerate() {
            let end = endpoint(*backend, *to);
            let plain = backend.to_string().replace(':', ".");
            let own = format!("endpoint-{}-{path}__{plain}/{to}", &hash(&end)[..8]);
            let _ = writeln!(
                chains,
                "    chain {own} {{\n        {ip} saddr {backend} jump mark-for-masquerade\n        \
                 meta l4proto {protocol} dnat to {end}\n    }}"
            );
            ends.push(format!("{n} : goto {own}"));
        }
        let (pods, ways, all) = (&self.pods, ends.len(), ends.join(", "));
        let _ = writeln!(
            chains,
            "    chain {chain} {{\n        {ip} daddr {address} {protocol} dport {port} \
             {ip} saddr != {pods} jump mark-for-masquerade\n        \
             numgen random mod {ways} vmap {{ {all} }}\n    }}"
        );
        chain
    }

    /// The addresses are the node's own, so that packets to them get as far as IPVS; what comes
    /// by a node's port is masqueraded.
    fn ipvs_script(&self) -> String {
        let iptables = if self.ipv6 { "ip6tables" } else { "iptables" };
        let mut script = String::from("ip link add kube-ipvs0 type dummy\n");
        for service in self.services {
            let _ = writeln!(script, "ip addr add {} dev kube-ipvs0", service.address);
            if let Some(port) = service.node_port {
                let _ = writeln!(
                    script,
                    "{iptables} -t nat -A POSTROUTING -m ipvs --vaddr {} --vport {port} -j MASQUERADE",
                    self.node
                );
            }
        }
        script + "sysctl -qw net.ipv4.vs.conntrack=1\nipvsadm -R\n"
    }

    /// As ipvsadm(8) reads it.
    fn ipvs(&self) -> String {
        let mut text = String::new();
        for service in self.services {
            let kind = if service.protocol == "udp" {
                "-u"
            } else {
                "-t"
            };
            let inside = endpoint(service.address, service.port);
            let outside = service.node_port.map(|port| endpoint(self.node, port));
            for at in [Some(inside), outside].into_iter().flatten() {
                let _ = writeln!(text, "-A {kind} {at} -s rr");
                for (backend, port) in &service.backends {
                    let to = endpoint(*backend, *port);
                    let _ = writeln!(text, "-a {kind} {at} -r {to} -m");
                }
            }
        }
        text
    }

    fn iptables(&self) -> String {
        let mut filter = String::from(FILTER);
        let (mut names, mut rules) = (String::from(NAT_CHAINS), String::from(NAT));
        for service in self.services {
            if service.backends.is_empty() {
                let rule = self.to(service, "has no endpoints");
                let _ = writeln!(filter, "-A KUBE-SERVICES {rule} -j REJECT");
            } else {
                self.iptables_dropped(&mut filter, service);
                self.iptables_service(&mut names, &mut rules, service);
            }
        }
        let last = "-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: \
                    this must be the last rule in this chain\" -m addrtype --dst-type LOCAL -j \
                    KUBE-NODEPORTS";
        format!("{filter}COMMIT\n{names}{rules}{last}\nCOMMIT\n")
    }

    fn iptables_dropped(&self, filter: &mut String, service: &Service) {
        let why = "has no local endpoints";
        if self.drops(service, Policy::InternalLocal) {
            let rule = self.to(service, why);
            let _ = writeln!(filter, "-A KUBE-SERVICES {rule} -j DROP");
        }
        let Service {
            namespace,
            name,
            protocol,
            ..
        } = service;
        let port = service
            .node_port
            .filter(|_| self.drops(service, Policy::ExternalLocal));
        if let Some(port) = port {
            let _ = writeln!(
                filter,
                "-A KUBE-EXTERNAL-SERVICES -p {protocol} -m comment --comment \"{namespace}/{name}:p \
                 {why}\" -m addrtype --dst-type LOCAL -m {protocol} --dport {port} -j DROP"
            );
        }
    }

    /// What a rule for the Service matches.
    fn to(&self, service: &Service, what: &str) -> String {
        let Service {
            namespace,
            name,
            protocol,
            address,
            port,
            ..
        } = service;
        let whole = if self.ipv6 { 128 } else { 32 };
        format!(
            "-d {address}/{whole} -p {protocol} -m comment --comment \"{namespace}/{name}:p {what}\" \
             -m {protocol} --dport {port}"
        )
    }

    fn iptables_service(&self, names: &mut String, rules: &mut String, service: &Service) {
        let Service {
            namespace,
            name,
            protocol,
            ..
        } = service;
        let (chain, to) = (
            format!("KUBE-SVC-{}", hash(name)),
            self.to(service, "cluster IP"),
        );
        let whole = if self.ipv6 { 128 } else { 32 };
        let _ = writeln!(names, ":{chain} - [0:0]");
        if !self.drops(service, Policy::InternalLocal) {
            let _ = writeln!(rules, "-A KUBE-SERVICES {to} -j {chain}");
        }
        if let Some(port) = service.node_port {
            let outside = chain.replacen("SVC", "EXT", 1);
            let _ = writeln!(names, ":{outside} - [0:0]");
            let comment = format!("-m comment --comment \"{namespace}/{name}:p\"");
            let _ = writeln!(
                rules,
                "-A KUBE-NODEPORTS -p {protocol} {comment} -m {protocol} --dport {port} -j {outside}"
            );
            let pods = &self.pods;
            let _ = match self.policy {
                Policy::ExternalLocal => writeln!(
                    rules,
                    "-A {outside} -s {pods} {comment} -j {chain}\n\
                     -A {outside} {comment} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ\n\
                     -A {outside} {comment} -m addrtype --src-type LOCAL -j {chain}"
                ),
                _ => writeln!(rules, "-A {outside} {comment} -j KUBE-MARK-MASQ"),
            };
            if !self.drops(service, Policy::ExternalLocal) {
                let _ = writeln!(rules, "-A {outside} -j {chain}");
            }
        }
        let _ = writeln!(
            rules,
            "-A {chain} ! -s {} {to} -j KUBE-MARK-MASQ",
            self.pods
        );
        for (n, (backend, port)) in service.backends.iter().enumerate() {
            let end = endpoint(*backend, *port);
            let own = format!("KUBE-SEP-{}", hash(&format!("{name}{end}")));
            let comment = format!("-m comment --comment \"{namespace}/{name}:p");
            let chance = match service.backends.len() - n {
                1 => String::new(),
                left => format!(
                    "-m statistic --mode random --probability {} ",
                    1.0 / left as f64
                ),
            };
            let _ = writeln!(names, ":{own} - [0:0]");
            let _ = writeln!(rules, "-A {chain} {comment} -> {end}\" {chance}-j {own}");
            let _ = writeln!(
                rules,
                "-A {own} -s {backend}/{whole} {comment}\" -j KUBE-MARK-MASQ"
            );
            let _ = writeln!(
                rules,
                "-A {own} -p {protocol} {comment}\" -m {protocol} -j DNAT --to-destination {end}"
            );
        }
    }
}

/// Sixteen characters of base32, as kube-proxy makes of a SHA-256; here of FNV-1a.
fn hash(text: &str) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let number = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let letter = |n: u32| char::from(LETTERS[(number.rotate_left(n * 4) & 31) as usize]);
    (0..16).map(letter).collect()
}
