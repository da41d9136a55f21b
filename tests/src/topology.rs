//! Network namespaces that a test joins as it likes, removed when dropped.
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::{
    netns::{exec, sh},
    process::run,
};

/// Some nodes, pods and routers.
pub struct Topology {
    prefix: String,
    members: Vec<&'static str>,
}

impl Topology {
    /// Namespaces of these names, with nothing in them but `lo`, and forwarding where `routers`
    /// has them.
    pub fn new(members: &[&'static str], routers: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let topology = Self {
            prefix: format!("tp{}x{next}", std::process::id()),
            members: members.to_vec(),
        };
        for member in members {
            sh(&["ip", "netns", "add", &topology.netns(member)]);
            topology.ip(member, "link set lo up");
            // Silence: what is on the links is the test's. IPv4's own values, whatever the host's.
            let quiet = [
                "net.ipv6.conf.all.disable_ipv6=1",
                "net.ipv6.conf.default.disable_ipv6=1",
                "net.ipv4.conf.all.rp_filter=0",
                "net.ipv4.conf.default.rp_filter=0",
            ];
            topology.sysctl(member, &quiet);
        }
        for router in routers {
            topology.sysctl(router, &["net.ipv4.ip_forward=1"]);
        }
        topology
    }

    /// A namespace's name for `ip netns exec`.
    pub fn netns(&self, member: &str) -> String {
        format!("{}-{member}", self.prefix)
    }

    /// Lines of ip(8) in a member.
    pub fn ip(&self, member: &str, lines: &str) {
        let netns = self.netns(member);
        for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let words: Vec<_> = line.split_whitespace().collect();
            sh(&[&["ip", "-n", &netns], &words[..]].concat());
        }
    }

    /// A veth pair between two members, both ends up.
    pub fn cable(&self, (here, link): (&str, &str), (there, peer): (&str, &str)) {
        let netns = self.netns(there);
        self.ip(
            here,
            &format!("link add {link} type veth peer name {peer} netns {netns}"),
        );
        self.ip(here, &format!("link set {link} up"));
        self.ip(there, &format!("link set {peer} up"));
    }

    /// A pod behind a routed link of its node: no bridge, a gateway that is nobody's address and
    /// whose neighbour entry stands in the pod, as on EKS.
    pub fn routed_pod(&self, node: &str, pod: &str, link: &str, address: &str) {
        self.cable((node, link), (pod, "eth0"));
        let path = format!("/sys/class/net/{link}/address");
        let mac = exec(&self.netns(node), &["cat", &path]);
        self.ip(
            pod,
            &format!(
                "addr add {address}/32 dev eth0
                 route add 169.254.1.1 dev eth0
                 route add default via 169.254.1.1
                 neigh add 169.254.1.1 lladdr {} dev eth0 nud permanent",
                mac.trim()
            ),
        );
        self.ip(
            node,
            &format!("route add {address}/32 dev {link} scope link"),
        );
    }

    /// A pod on a bridge of its node, which is there already and has the gateway's address.
    pub fn bridged_pod(&self, node: &str, pod: &str, bridge: &str, link: &str, address: &str) {
        self.cable((node, link), (pod, "eth0"));
        self.ip(node, &format!("link set {link} master {bridge}"));
        let block = address.rsplit_once('.').expect("an IPv4 address").0;
        self.ip(
            pod,
            &format!(
                "addr add {address}/24 dev eth0
                 route add default via {block}.1"
            ),
        );
    }

    pub fn sysctl(&self, member: &str, settings: &[&str]) {
        exec(
            &self.netns(member),
            &[&["sysctl", "-qw"], settings].concat(),
        );
    }

    pub fn nft(&self, member: &str, rules: &str) {
        exec(&self.netns(member), &["nft", rules]);
    }

    /// Packets that the rules with that comment have counted.
    pub fn counted(&self, member: &str, comment: &str) -> u64 {
        let text = exec(&self.netns(member), &["nft", "-j", "list", "ruleset"]);
        let ruleset: Value = serde_json::from_str(&text).expect("nft prints JSON");
        let objects = ruleset["nftables"].as_array().expect("a list");
        let rules = objects.iter().map(|object| &object["rule"]);
        let named = rules.filter(|rule| rule["comment"] == comment);
        let expressions = named.filter_map(|rule| rule["expr"].as_array()).flatten();
        let packets = expressions.filter_map(|e| e["counter"]["packets"].as_u64());
        packets.sum()
    }

    /// Packets that a link of the member took in for another link-layer address.
    pub fn not_for_us(&self, member: &str, link: &str) -> u64 {
        let netns = self.netns(member);
        let text = sh(&["ip", "-n", &netns, "-j", "-s", "-s", "link", "show", link]);
        let links: Value = serde_json::from_str(&text).expect("ip prints JSON");
        // It is listed where it counted something.
        let dropped = &links[0]["stats64"]["rx"]["otherhost"];
        dropped.as_u64().unwrap_or(0)
    }

    /// A counter of the member's kernel, as nstat(8) names it.
    pub fn counter(&self, member: &str, name: &str) -> u64 {
        let text = exec(&self.netns(member), &["nstat", "-asz", name]);
        let line = text.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.and_then(|n| n.parse().ok()).expect("a counter")
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        for member in &self.members {
            let netns = self.netns(member);
            let ended = run(std::process::Command::new("ip").args(["netns", "del", &netns]));
            if ended.code != Some(0) {
                eprintln!("{netns} is not gone: {ended:?}");
            }
        }
    }
}
