//! Sysctls of the namespace, which no netlink message carries: `all`'s, and those of no device.
use std::path::Path;

use crate::{
    model::world::{
        Known, Why,
        conf::{Conf4, Conf6, Release, Settings},
    },
    sys::file::{self, SMALL},
};

/// Those of the namespace that this thread is in; the files show each reader its own.
pub fn read(root: &Path) -> Known<Settings> {
    let net = Net(root);
    // Every kernel has it: without, /proc/sys is not there to be read.
    if net.number("ipv4/ip_default_ttl").is_none() {
        return Known::Not(Why::Refused("/proc/sys/net is not readable".into()));
    }
    Known::Is(Settings {
        all4: all4(&net),
        all6: all6(&net),
        one_trie: is_one_trie(root),
        forward_use_pmtu: net.on("ipv4/ip_forward_use_pmtu"),
        fwmark_reflect4: net.on("ipv4/fwmark_reflect"),
        fwmark_reflect6: net.on("ipv6/fwmark_reflect"),
        multipath_policy4: net.small("ipv4/fib_multipath_hash_policy"),
        multipath_policy6: net.small("ipv6/fib_multipath_hash_policy"),
        multipath_use_neigh: net.on("ipv4/fib_multipath_use_neigh"),
        default_ttl: net.small("ipv4/ip_default_ttl"),
        min_pmtu: net
            .number("ipv4/route/min_pmtu")
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(DEFAULT_MIN_PMTU),
        early_demux: net.on("ipv4/ip_early_demux"),
        errors_use_inbound_address: net.on("ipv4/icmp_errors_use_inbound_ifaddr"),
        ip_nonlocal_bind: net.on("ipv4/ip_nonlocal_bind"),
        ipv6_nonlocal_bind: net.on("ipv6/ip_nonlocal_bind"),
        // Without br_netfilter they are not there.
        bridge_calls_iptables: net.on("bridge/bridge-nf-call-iptables"),
        bridge_calls_ip6tables: net.on("bridge/bridge-nf-call-ip6tables"),
        release: file::kernel(&root.join("proc/sys/kernel/osrelease"), SMALL)
            .map_or_else(|_| Release::default(), |name| Release::named(&name)),
    })
}

/// Namespaces other than the first have no file for it before Linux 5.18, and this value
/// (net/ipv4/route.c, `DEFAULT_MIN_PMTU`).
const DEFAULT_MIN_PMTU: u32 = 512 + 20 + 20;

fn all4(net: &Net<'_>) -> Conf4 {
    let of = |name: &str| format!("ipv4/conf/all/{name}");
    let on = |name: &str| net.on(&of(name));
    let small = |name: &str| net.small(&of(name));
    Conf4 {
        forwarding: on("forwarding"),
        rp_filter: small("rp_filter"),
        accept_local: on("accept_local"),
        route_localnet: on("route_localnet"),
        src_valid_mark: on("src_valid_mark"),
        send_redirects: on("send_redirects"),
        accept_redirects: on("accept_redirects"),
        arp_ignore: small("arp_ignore"),
        arp_announce: small("arp_announce"),
        arp_filter: on("arp_filter"),
        proxy_arp: on("proxy_arp"),
        proxy_arp_pvlan: on("proxy_arp_pvlan"),
        medium_id: 0,
        bc_forwarding: on("bc_forwarding"),
        ignore_routes_with_linkdown: on("ignore_routes_with_linkdown"),
        drop_unicast_in_l2_multicast: on("drop_unicast_in_l2_multicast"),
    }
}

fn all6(net: &Net<'_>) -> Conf6 {
    let of = |name: &str| format!("ipv6/conf/all/{name}");
    let on = |name: &str| net.on(&of(name));
    Conf6 {
        disable: on("disable_ipv6"),
        forwarding: on("forwarding"),
        force_forwarding: false,
        proxy_ndp: on("proxy_ndp"),
        hop_limit: net.small(&of("hop_limit")),
        mtu: 0,
        accept_dad: 0,
        accept_redirects: on("accept_redirects"),
        use_oif_addrs_only: on("use_oif_addrs_only"),
        ignore_routes_with_linkdown: on("ignore_routes_with_linkdown"),
        drop_unicast_in_l2_multicast: on("drop_unicast_in_l2_multicast"),
    }
}

/// Whether `main`, which is shown first, has routes to this host itself.
fn is_one_trie(root: &Path) -> bool {
    let (mut main, mut local) = (false, false);
    let path = root.join("proc/thread-self/net/fib_trie");
    let read = file::lines(&path, TRIE, |line| {
        if !line.starts_with(' ') {
            main = line.trim_end() == "Main:";
        }
        local |= main && line.trim_end().ends_with("host LOCAL");
    });
    read.is_ok() && local
}

/// Of a node with a hundred thousand routes its beginning will do.
const TRIE: usize = 4 << 20;

/// `/proc/sys/net` under a root.
struct Net<'a>(&'a Path);

impl Net<'_> {
    fn number(&self, name: &str) -> Option<i64> {
        let path = self.0.join("proc/sys/net").join(name);
        file::kernel(&path, SMALL).ok()?.trim().parse().ok()
    }

    /// A sysctl that this kernel does not have is one that it does not obey.
    fn on(&self, name: &str) -> bool {
        self.number(name).is_some_and(|value| value != 0)
    }

    fn small(&self, name: &str) -> u8 {
        let value = self.number(name).unwrap_or(0).max(0);
        u8::try_from(value).unwrap_or(u8::MAX)
    }
}
