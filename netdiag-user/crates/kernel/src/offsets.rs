//! The struct offsets that the programs need, from the running kernel's BTF.
use anyhow::{Context, Result};
use netdiag_common::config::{ABSENT, Offsets};

use super::btf::Btf;

/// All offsets, or the first member that this kernel lacks; `plain` says that members may be read by plain
/// loads.
pub fn offsets(btf: &Btf, plain: bool) -> Result<Offsets> {
    let of = |name: &str, path: &str| {
        btf.offset(name, path)
            .with_context(|| format!("this kernel's BTF has no {path} in struct {name}"))
    };
    // The network header moved into an anonymous group in 5.18; member look-up sees through it.
    let sock = |path: &str| of("sock_common", path);
    let of_drops = btf.tracepoint_arguments("kfree_skb").unwrap_or(0);
    // Without these a process killed for memory is told by its pid alone.
    let maybe = |name: &str, path: &str| btf.offset(name, path).unwrap_or(ABSENT);
    Ok(Offsets {
        skb_dev: of("sk_buff", "dev")?,
        skb_sk: of("sk_buff", "sk")?,
        skb_len: of("sk_buff", "len")?,
        skb_head: of("sk_buff", "head")?,
        skb_end: of("sk_buff", "end")?,
        skb_tail: of("sk_buff", "tail")?,
        skb_protocol: of("sk_buff", "protocol")?,
        skb_network_header: of("sk_buff", "network_header")?,
        skb_cb: of("sk_buff", "cb")?,
        skb_mark: of("sk_buff", "mark")?,
        shinfo_gso_size: of("skb_shared_info", "gso_size")?,
        shinfo_gso_segs: of("skb_shared_info", "gso_segs")?,
        dev_ifindex: of("net_device", "ifindex")?,
        dev_net: of("net_device", "nd_net.net")?,
        net_inum: of("net", "ns.inum")?,
        sock_net: sock("skc_net.net")?,
        sock_family: sock("skc_family")?,
        sock_source4: sock("skc_rcv_saddr")?,
        sock_destination4: sock("skc_daddr")?,
        sock_source6: sock("skc_v6_rcv_saddr")?,
        sock_destination6: sock("skc_v6_daddr")?,
        sock_source_port: sock("skc_num")?,
        sock_destination_port: sock("skc_dport")?,
        tcp_cb_seq: of("tcp_skb_cb", "seq")?,
        tcp_cb_end_seq: of("tcp_skb_cb", "end_seq")?,
        has_reason: u32::from(of_drops >= 3),
        has_rx_sk: u32::from(of_drops >= 4),
        plain_loads: u32::from(plain),
        task_tgid: maybe("task_struct", "tgid"),
        task_comm: maybe("task_struct", "comm"),
        task_nsproxy: maybe("task_struct", "nsproxy"),
        nsproxy_net: maybe("nsproxy", "net_ns"),
        task_cgroups: maybe("task_struct", "cgroups"),
        css_set_memory: memory_slot(btf).unwrap_or(ABSENT),
        css_cgroup: maybe("cgroup_subsys_state", "cgroup"),
        cgroup_kn: maybe("cgroup", "kn"),
        kn_id: maybe("kernfs_node", "id"),
        victim_is_task: u32::from(
            btf.tracepoint_arguments("mark_victim")
                .is_some_and(|n| n >= 2),
        ),
    })
}

/// Where a `css_set` points to the memory controller's state: its place among the controllers
/// differs from build to build.
fn memory_slot(btf: &Btf) -> Option<u32> {
    let controllers = btf.enumeration("cgroup_subsys_id")?;
    let (index, _) = controllers
        .iter()
        .find(|(_, name)| name == "memory_cgrp_id")?;
    btf.offset("css_set", "subsys")?.checked_add(index * 8)
}

#[cfg(test)]
mod tests;
