//! Devices' settings as a link's message carries them: the kernel's own values (IFLA_INET_CONF,
//! IFLA_INET6_CONF), with no file to open.
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, Inet6DevConf, InetDevConf,
};

use crate::model::world::conf::{Conf4, Conf6};

/// Nothing for a family that does not run on the device.
pub fn of(specs: &[AfSpecUnspec]) -> (Option<Conf4>, Option<Conf6>) {
    let (mut four, mut six) = (None, None);
    for spec in specs {
        match spec {
            AfSpecUnspec::Inet(all) => {
                four = all.iter().find_map(|one| match one {
                    AfSpecInet::DevConf(conf) => Some(conf4(conf)),
                    _ => None,
                });
            }
            AfSpecUnspec::Inet6(all) => {
                six = all.iter().find_map(|one| match one {
                    AfSpecInet6::DevConf(conf) => Some(conf6(conf)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    (four, six)
}

fn conf4(conf: &InetDevConf) -> Conf4 {
    Conf4 {
        forwarding: conf.forwarding != 0,
        rp_filter: small(conf.rp_filter),
        accept_local: conf.accept_local != 0,
        route_localnet: conf.route_localnet != 0,
        src_valid_mark: conf.src_vmark != 0,
        send_redirects: conf.send_redirects != 0,
        accept_redirects: conf.accept_redirects != 0,
        arp_ignore: small(conf.arp_ignore),
        arp_announce: small(conf.arp_announce),
        arp_filter: conf.arpfilter != 0,
        proxy_arp: conf.proxy_arp != 0,
        proxy_arp_pvlan: conf.proxy_arp_pvlan != 0,
        medium_id: conf.medium_id,
        bc_forwarding: conf.bc_forwarding != 0,
        ignore_routes_with_linkdown: conf.ignore_routes_with_linkdown != 0,
        drop_unicast_in_l2_multicast: conf.drop_unicast_in_l2_multicast != 0,
    }
}

fn conf6(conf: &Inet6DevConf) -> Conf6 {
    Conf6 {
        disable: conf.disable_ipv6 != 0,
        forwarding: conf.forwarding != 0,
        force_forwarding: conf.force_forwarding != 0,
        proxy_ndp: conf.proxy_ndp != 0,
        hop_limit: small(conf.hoplimit),
        mtu: u32::try_from(conf.mtu6).unwrap_or(0),
        accept_dad: i8::try_from(conf.accept_dad).unwrap_or(i8::MAX),
        accept_redirects: conf.accept_redirects != 0,
        use_oif_addrs_only: conf.use_oif_addrs_only != 0,
        ignore_routes_with_linkdown: conf.ignore_routes_with_linkdown != 0,
        drop_unicast_in_l2_multicast: conf.drop_unicast_in_l2_multicast != 0,
    }
}

/// The kernel lets anybody write what fits an int; what is larger than these means no more.
fn small(value: i32) -> u8 {
    u8::try_from(value.max(0)).unwrap_or(u8::MAX)
}
