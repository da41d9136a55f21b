//! sysctl(8), of what decides a packet's way (Documentation/networking/ip-sysctl.rst).
use std::str::FromStr;

use netdiag_model::world::{
    Stack,
    address::Address,
    conf::{Conf4, Conf6, Settings},
    device::Device,
    route::Kind,
};

use crate::{
    Done, Refused, Words,
    device::{of, whole},
    ip::{self, connected},
    words::unknown,
};

pub fn carry_out(stack: &mut Stack, mut words: Words<'_>) -> Done {
    if !words.take("-w") {
        return Err(Refused::Ends);
    }
    while let Some(word) = words.more() {
        let (name, value) = word.split_once('=').ok_or_else(|| unknown(word))?;
        set(stack, &name.replace('/', "."), value)?;
    }
    Ok(())
}

fn set(stack: &mut Stack, name: &str, value: &str) -> Done {
    if let Some(rest) = name.strip_prefix("net.ipv4.conf.") {
        let (device, key) = rest.rsplit_once('.').ok_or(Refused::Ends)?;
        return set4(stack, (device, key), value);
    }
    if let Some(rest) = name.strip_prefix("net.ipv6.conf.") {
        let (device, key) = rest.rsplit_once('.').ok_or(Refused::Ends)?;
        return set6(stack, (device, key), value);
    }
    if name == "net.ipv4.ip_forward" {
        return set4(stack, ("all", "forwarding"), value);
    }
    let settings = whole(&mut stack.settings)?;
    of_all(settings, name, value)
}

fn of_all(settings: &mut Settings, name: &str, value: &str) -> Done {
    match name {
        "net.ipv4.ip_forward_use_pmtu" => settings.forward_use_pmtu = truth(value)?,
        "net.ipv4.fwmark_reflect" => settings.fwmark_reflect4 = truth(value)?,
        "net.ipv6.fwmark_reflect" => settings.fwmark_reflect6 = truth(value)?,
        "net.ipv4.fib_multipath_hash_policy" => settings.multipath_policy4 = number(value)?,
        "net.ipv6.fib_multipath_hash_policy" => settings.multipath_policy6 = number(value)?,
        "net.ipv4.fib_multipath_use_neigh" => settings.multipath_use_neigh = truth(value)?,
        "net.ipv4.ip_default_ttl" => settings.default_ttl = number(value)?,
        "net.ipv4.route.min_pmtu" => settings.min_pmtu = number(value)?,
        "net.ipv4.ip_early_demux" => settings.early_demux = truth(value)?,
        "net.ipv4.icmp_errors_use_inbound_ifaddr" => {
            settings.errors_use_inbound_address = truth(value)?;
        }
        "net.ipv4.ip_nonlocal_bind" => settings.ip_nonlocal_bind = truth(value)?,
        "net.ipv6.ip_nonlocal_bind" => settings.ipv6_nonlocal_bind = truth(value)?,
        "net.bridge.bridge-nf-call-iptables" => settings.bridge_calls_iptables = truth(value)?,
        "net.bridge.bridge-nf-call-ip6tables" => settings.bridge_calls_ip6tables = truth(value)?,
        _ => return Err(Refused::NotModelled),
    }
    Ok(())
}

fn set4(stack: &mut Stack, (device, key): (&str, &str), value: &str) -> Done {
    let mut conf = Conf4::default();
    key4(&mut conf, key, value)?;
    // What `all` writes to every device.
    if (device, key) == ("all", "forwarding") {
        let all = &mut whole(&mut stack.settings)?.all4;
        // What stays as it is changes nothing, whatever devices have (`devinet_sysctl_forward`).
        if all.forwarding == conf.forwarding {
            return Ok(());
        }
        all.accept_redirects = !conf.forwarding;
        all.forwarding = conf.forwarding;
        let devices = whole(&mut stack.devices)?.values_mut();
        let confs = devices.filter_map(|device| device.conf4.as_mut());
        confs.for_each(|of| of.forwarding = conf.forwarding);
        return Ok(());
    }
    match device {
        "all" => key4(&mut whole(&mut stack.settings)?.all4, key, value),
        // Of devices that are to come.
        "default" => Ok(()),
        name => key4(
            of_device(stack, name, |device| &mut device.conf4)?,
            key,
            value,
        ),
    }
}

fn of_device<'a, T>(
    stack: &'a mut Stack,
    name: &str,
    conf: impl FnOnce(&'a mut Device) -> &'a mut Option<T>,
) -> Result<&'a mut T, Refused> {
    conf(of(stack, name)?).as_mut().ok_or(Refused::NotRead)
}

fn key4(conf: &mut Conf4, key: &str, value: &str) -> Done {
    match key {
        "rp_filter" => conf.rp_filter = number(value)?,
        "arp_ignore" => conf.arp_ignore = number(value)?,
        "arp_announce" => conf.arp_announce = number(value)?,
        "medium_id" => conf.medium_id = number(value)?,
        _ => *switch4(conf, key).ok_or(Refused::NotModelled)? = truth(value)?,
    }
    Ok(())
}

fn switch4<'a>(conf: &'a mut Conf4, key: &str) -> Option<&'a mut bool> {
    Some(match key {
        "forwarding" => &mut conf.forwarding,
        "accept_local" => &mut conf.accept_local,
        "route_localnet" => &mut conf.route_localnet,
        "src_valid_mark" => &mut conf.src_valid_mark,
        "send_redirects" => &mut conf.send_redirects,
        "accept_redirects" => &mut conf.accept_redirects,
        "arp_filter" => &mut conf.arp_filter,
        "proxy_arp" => &mut conf.proxy_arp,
        "proxy_arp_pvlan" => &mut conf.proxy_arp_pvlan,
        "bc_forwarding" => &mut conf.bc_forwarding,
        "ignore_routes_with_linkdown" => &mut conf.ignore_routes_with_linkdown,
        "drop_unicast_in_l2_multicast" => &mut conf.drop_unicast_in_l2_multicast,
        _ => return None,
    })
}

fn set6(stack: &mut Stack, (device, key): (&str, &str), value: &str) -> Done {
    let mut conf = Conf6::default();
    key6(&mut conf, key, value)?;
    match device {
        "all" if key == "forwarding" => {
            key6(&mut whole(&mut stack.settings)?.all6, key, value)?;
            let devices = whole(&mut stack.devices)?.values_mut();
            let mut confs = devices.filter_map(|device| device.conf6.as_mut());
            confs.try_for_each(|of| key6(of, key, value))?;
        }
        "all" => return key6(&mut whole(&mut stack.settings)?.all6, key, value),
        "default" => return Ok(()),
        name => key6(of_device(stack, name, |it| &mut it.conf6)?, key, value)?,
    }
    match key {
        "forwarding" => routers(stack),
        _ => Ok(()),
    }
}

/// Who forwards is in the address of all routers of each of its networks, and nobody else is (`dev_forward_change`).
fn routers(stack: &mut Stack) -> Done {
    let forwards = |device: &Device| device.conf6.is_some_and(|conf| conf.forwarding);
    let devices = whole(&mut stack.devices)?.values();
    let forwarding = devices.filter(|device| forwards(device));
    let forwarding: Vec<u32> = forwarding.map(|device| device.index).collect();
    let ours = |index: &u32| forwarding.contains(index);
    let routes = whole(&mut stack.routes)?;
    routes.retain(|route| {
        route.kind != Kind::Anycast || route.hops.iter().all(|hop| ours(&hop.device))
    });
    let addresses = whole(&mut stack.addresses)?.iter();
    let of: Vec<Address> = addresses.filter(|it| ours(&it.device)).cloned().collect();
    of.iter()
        .filter(|address| ip::routers(address).is_some())
        .try_for_each(|address| connected(stack, address))
}

fn key6(conf: &mut Conf6, key: &str, value: &str) -> Done {
    match key {
        "hop_limit" => conf.hop_limit = number(value)?,
        "mtu" => conf.mtu = number(value)?,
        "accept_dad" => conf.accept_dad = number(value)?,
        _ => *switch6(conf, key).ok_or(Refused::NotModelled)? = truth(value)?,
    }
    Ok(())
}

fn switch6<'a>(conf: &'a mut Conf6, key: &str) -> Option<&'a mut bool> {
    Some(match key {
        "forwarding" => &mut conf.forwarding,
        "force_forwarding" => &mut conf.force_forwarding,
        "proxy_ndp" => &mut conf.proxy_ndp,
        "accept_redirects" => &mut conf.accept_redirects,
        "use_oif_addrs_only" => &mut conf.use_oif_addrs_only,
        "ignore_routes_with_linkdown" => &mut conf.ignore_routes_with_linkdown,
        "drop_unicast_in_l2_multicast" => &mut conf.drop_unicast_in_l2_multicast,
        _ => return None,
    })
}

fn number<T: FromStr>(value: &str) -> Result<T, Refused> {
    value.parse().map_err(|_| unknown(value))
}

/// The kernel takes any number.
fn truth(value: &str) -> Result<bool, Refused> {
    number::<i32>(value).map(|value| value != 0)
}
