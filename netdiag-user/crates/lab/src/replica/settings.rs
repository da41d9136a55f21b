//! Sysctls of a namespace and of its devices; none of the whole machine.
use std::{fs, io, path::PathBuf};

use super::space::{Place, Space};
use crate::model::world::{
    conf::{Conf4, Conf6, Settings},
    device::Device,
};

type Values = Vec<(&'static str, i64)>;

/// Before there are devices: these write those of all devices.
pub fn of_namespace(place: &Place<'_>, space: &mut Space) {
    // A device's own link-local address is recorded where it had one.
    write(
        "ipv6/conf/default",
        vec![("addr_gen_mode", 1), ("accept_dad", 0), ("accept_ra", 0)],
        space,
    );
    write(
        "ipv6/conf/default",
        vec![("router_solicitations", 0)],
        space,
    );
    let Some(settings) = place.stack.settings.some() else {
        space.lacks("sysctls, which were not recorded".into());
        return;
    };
    write("ipv4/conf/all", conf4(&settings.all4), space);
    write("ipv6/conf/all", conf6(&settings.all6), space);
    write("", beside(settings), space);
}

pub fn of_device(device: &Device, space: &mut Space) {
    let name = &device.name;
    if let Some(conf) = &device.conf4 {
        write(&format!("ipv4/conf/{name}"), conf4(conf), space);
    }
    if let Some(conf) = &device.conf6 {
        let all = conf6(conf).into_iter();
        let mtu = (conf.mtu > 0 && conf.mtu < device.mtu).then_some(("mtu", conf.mtu.into()));
        let all = all.filter(|(key, _)| *key != "accept_dad").chain(mtu);
        write(&format!("ipv6/conf/{name}"), all.collect(), space);
    }
}

fn conf4(of: &Conf4) -> Values {
    vec![
        ("forwarding", of.forwarding.into()),
        ("rp_filter", of.rp_filter.into()),
        ("accept_local", of.accept_local.into()),
        ("route_localnet", of.route_localnet.into()),
        ("src_valid_mark", of.src_valid_mark.into()),
        ("send_redirects", of.send_redirects.into()),
        ("accept_redirects", of.accept_redirects.into()),
        ("arp_ignore", of.arp_ignore.into()),
        ("arp_announce", of.arp_announce.into()),
        ("arp_filter", of.arp_filter.into()),
        ("proxy_arp", of.proxy_arp.into()),
        ("proxy_arp_pvlan", of.proxy_arp_pvlan.into()),
        ("medium_id", of.medium_id.into()),
        ("bc_forwarding", of.bc_forwarding.into()),
        (
            "ignore_routes_with_linkdown",
            of.ignore_routes_with_linkdown.into(),
        ),
        (
            "drop_unicast_in_l2_multicast",
            of.drop_unicast_in_l2_multicast.into(),
        ),
    ]
}

fn conf6(of: &Conf6) -> Values {
    let mut all: Values = vec![
        ("disable_ipv6", of.disable.into()),
        ("forwarding", of.forwarding.into()),
        ("force_forwarding", of.force_forwarding.into()),
        ("proxy_ndp", of.proxy_ndp.into()),
        ("accept_redirects", of.accept_redirects.into()),
        ("use_oif_addrs_only", of.use_oif_addrs_only.into()),
        (
            "ignore_routes_with_linkdown",
            of.ignore_routes_with_linkdown.into(),
        ),
        (
            "drop_unicast_in_l2_multicast",
            of.drop_unicast_in_l2_multicast.into(),
        ),
    ];
    if of.hop_limit > 0 {
        all.push(("hop_limit", of.hop_limit.into()));
    }
    all
}

fn beside(of: &Settings) -> Values {
    let mut all: Values = vec![
        ("ipv4/ip_forward_use_pmtu", of.forward_use_pmtu.into()),
        ("ipv4/fwmark_reflect", of.fwmark_reflect4.into()),
        ("ipv6/fwmark_reflect", of.fwmark_reflect6.into()),
        (
            "ipv4/fib_multipath_hash_policy",
            of.multipath_policy4.into(),
        ),
        (
            "ipv6/fib_multipath_hash_policy",
            of.multipath_policy6.into(),
        ),
        (
            "ipv4/fib_multipath_use_neigh",
            of.multipath_use_neigh.into(),
        ),
        (
            "ipv4/icmp_errors_use_inbound_ifaddr",
            of.errors_use_inbound_address.into(),
        ),
        ("ipv4/ip_nonlocal_bind", of.ip_nonlocal_bind.into()),
        ("ipv6/ip_nonlocal_bind", of.ipv6_nonlocal_bind.into()),
        (
            "bridge/bridge-nf-call-iptables",
            of.bridge_calls_iptables.into(),
        ),
        (
            "bridge/bridge-nf-call-ip6tables",
            of.bridge_calls_ip6tables.into(),
        ),
    ];
    if of.default_ttl > 0 {
        all.push(("ipv4/ip_default_ttl", of.default_ttl.into()));
    }
    if of.min_pmtu > 0 {
        all.push(("ipv4/route/min_pmtu", of.min_pmtu.into()));
    }
    all
}

/// Names of devices are those that the kernel took: none of them leads out of its folder.
fn write(folder: &str, values: Values, space: &mut Space) {
    for (key, value) in values {
        let path: PathBuf = ["/proc/sys/net", folder, key].iter().collect();
        let written = match fs::read_to_string(&path) {
            Ok(before) if before.trim() == value.to_string() => Ok(()),
            // Kernels before some of them, and without a module.
            Err(error) if error.kind() == io::ErrorKind::NotFound && value == 0 => Ok(()),
            _ => fs::write(&path, value.to_string()),
        };
        space.refused(written, || format!("sysctl {folder}/{key}"));
    }
}
