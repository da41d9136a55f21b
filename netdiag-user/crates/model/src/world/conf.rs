//! Sysctls that decide a packet's way: each device's own, what `all` adds, and the namespace's.
//!
//! How a device's value and that of `all` come together is the kernel's own choice for each
//! (include/linux/inetdevice.h): some are the larger of the two, some either, some both, and some are
//! the device's alone. Each has a function here, so that nobody chooses again.
use serde::{Deserialize, Serialize};

/// A device's IPv4 settings (`net.ipv4.conf.DEVICE.*`), or those of `all`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conf4 {
    pub forwarding: bool,
    pub rp_filter: u8,
    pub accept_local: bool,
    pub route_localnet: bool,
    pub src_valid_mark: bool,
    pub send_redirects: bool,
    pub accept_redirects: bool,
    pub arp_ignore: u8,
    pub arp_announce: u8,
    pub arp_filter: bool,
    pub proxy_arp: bool,
    pub proxy_arp_pvlan: bool,
    pub medium_id: i32,
    pub bc_forwarding: bool,
    pub ignore_routes_with_linkdown: bool,
    pub drop_unicast_in_l2_multicast: bool,
}

/// A device's IPv6 settings (`net.ipv6.conf.DEVICE.*`), or those of `all`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conf6 {
    pub disable: bool,
    pub forwarding: bool,
    /// From 6.17: forwards although `all` does not.
    pub force_forwarding: bool,
    pub proxy_ndp: bool,
    pub hop_limit: u8,
    /// The MTU that IPv6 sends by, which routers' advertisements may make smaller than the device's.
    pub mtu: u32,
    pub accept_dad: i8,
    pub accept_redirects: bool,
    pub use_oif_addrs_only: bool,
    pub ignore_routes_with_linkdown: bool,
    pub drop_unicast_in_l2_multicast: bool,
}

/// A namespace's, beside its devices'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub all4: Conf4,
    pub all6: Conf6,
    /// IPv4's `local` and `main` are one trie, until somebody makes a rule and for ever after: the longest
    /// prefix of both wins, where otherwise `local` is asked first (/proc/net/fib_trie).
    pub one_trie: bool,
    /// `net.ipv4.ip_forward_use_pmtu`: what was learned of a path counts for forwarded packets too.
    pub forward_use_pmtu: bool,
    /// `net.ipv4.fwmark_reflect`, `net.ipv6.fwmark_reflect`: answers of the kernel's own carry the
    /// mark of what they answer.
    pub fwmark_reflect4: bool,
    pub fwmark_reflect6: bool,
    /// `net.ipv4.fib_multipath_hash_policy`, `net.ipv6.…`.
    pub multipath_policy4: u8,
    pub multipath_policy6: u8,
    pub multipath_use_neigh: bool,
    pub default_ttl: u8,
    /// `net.ipv4.route.min_pmtu`
    pub min_pmtu: u32,
    pub early_demux: bool,
    /// `net.ipv4.icmp_errors_use_inbound_ifaddr`
    pub errors_use_inbound_address: bool,
    pub ip_nonlocal_bind: bool,
    pub ipv6_nonlocal_bind: bool,
    /// `net.bridge.bridge-nf-call-iptables`, `net.bridge.bridge-nf-call-ip6tables`: what bridges send on
    /// passes IP's hooks, which cut it or refuse it for its size.
    #[serde(default)]
    pub bridge_calls_iptables: bool,
    #[serde(default)]
    pub bridge_calls_ip6tables: bool,
    /// `kernel.osrelease`, for what later kernels do otherwise and no other file tells.
    #[serde(default)]
    pub release: Release,
}

/// Of a kernel, the first two numbers of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Release(pub u16, pub u16);

impl Release {
    /// Of a name like `6.18.44-generic`.
    pub fn named(name: &str) -> Self {
        let mut numbers = name.trim().split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let (first, second) = (next(), next());
        Self(first, second)
    }
}

/// What counts for packets that come in or go out by a device.
#[derive(Clone, Copy, Debug)]
pub struct Of4<'a> {
    pub device: &'a Conf4,
    pub all: &'a Conf4,
}

impl Of4<'_> {
    /// The device's alone: `all` and `ip_forward` write all devices' when they are written.
    pub fn forwarding(self) -> bool {
        self.device.forwarding
    }

    /// The larger of both.
    pub fn rp_filter(self) -> u8 {
        self.device.rp_filter.max(self.all.rp_filter)
    }

    pub fn accept_local(self) -> bool {
        self.device.accept_local || self.all.accept_local
    }

    pub fn route_localnet(self) -> bool {
        self.device.route_localnet || self.all.route_localnet
    }

    pub fn src_valid_mark(self) -> bool {
        self.device.src_valid_mark || self.all.src_valid_mark
    }

    pub fn send_redirects(self) -> bool {
        self.device.send_redirects || self.all.send_redirects
    }

    /// Both: a router takes part only where `all` says so too.
    pub fn bc_forwarding(self) -> bool {
        self.device.bc_forwarding && self.all.bc_forwarding
    }

    pub fn arp_ignore(self) -> u8 {
        self.device.arp_ignore.max(self.all.arp_ignore)
    }

    pub fn arp_announce(self) -> u8 {
        self.device.arp_announce.max(self.all.arp_announce)
    }

    pub fn arp_filter(self) -> bool {
        self.device.arp_filter || self.all.arp_filter
    }

    pub fn proxy_arp(self) -> bool {
        self.device.proxy_arp || self.all.proxy_arp
    }

    pub fn proxy_arp_pvlan(self) -> bool {
        self.device.proxy_arp_pvlan || self.all.proxy_arp_pvlan
    }

    pub fn ignore_routes_with_linkdown(self) -> bool {
        self.device.ignore_routes_with_linkdown || self.all.ignore_routes_with_linkdown
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Of6<'a> {
    pub device: &'a Conf6,
    pub all: &'a Conf6,
}

impl Of6<'_> {
    /// `all` decides; a device's own says whether it is a router to those on its link, no more
    /// (net/ipv6/ip6_output.c, `ip6_forward`).
    pub fn forwarding(self) -> bool {
        self.all.forwarding || self.device.force_forwarding
    }

    /// The device's alone (`ip6_ignore_linkdown`).
    pub fn ignore_routes_with_linkdown(self) -> bool {
        self.device.ignore_routes_with_linkdown
    }

    /// The device's alone: `all` writes all devices' when it is written.
    pub fn disabled(self) -> bool {
        self.device.disable
    }

    pub fn proxy_ndp(self) -> bool {
        self.device.proxy_ndp || self.all.proxy_ndp
    }
}

#[cfg(test)]
mod tests {
    use super::Release;

    #[test]
    fn a_kernels_name_begins_with_its_release() {
        assert_eq!(Release::named("6.18.44-generic\n"), Release(6, 18));
        assert_eq!(Release::named("7.2-rc1"), Release(7, 2));
        assert_eq!(Release::named("mine"), Release::default());
        assert!(Release(6, 9) < Release(6, 19));
    }
}
