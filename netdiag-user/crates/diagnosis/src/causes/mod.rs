//! The causes: each a pure rule over [`Facts`], one file each, and this one explicit registry.
//!
//! The doc comment of a cause's file is its manual, printed by `netdiag explain ID`.
#![doc = ""]
#![doc = include_str!("ADDING.md")]
use std::collections::BTreeSet;

use crate::{
    model::{gather::Want, verdict::Finding},
    multi_node::{self, Sides},
    need::{Need, Role, Strength},
    pipeline::{connection_groups, facts::Facts},
    shared::stacks,
    unexplained::{self, Symptoms},
};

#[cfg(test)]
mod tests;
mod zh;

pub mod bridge_nf_disabled;
pub mod checksum_offload;
pub mod cni_add_failing;
pub mod cni_daemon_oom;
pub mod conntrack_full;
pub mod conntrack_insert_race;
pub mod dns_misconfigured;
pub mod dns_unreachable;
pub mod dns_upstream_failing;
pub mod duplicate_address;
pub mod etcd_nospace;
pub mod firewall_drop;
pub mod flannel_iface_regex_unanchored;
pub mod forwarding_disabled;
pub mod hairpin_off;
pub mod ipam_exhausted;
pub mod ipip_mtu_too_large;
pub mod kube_proxy_missing;
pub mod link_failure;
pub mod listen_backlog_overflow;
pub mod loopback_only_listener;
pub mod lsm_denied;
pub mod masquerade_missing;
pub mod neighbour_failed;
pub mod neighbour_table_full;
pub mod nic_queue_full;
pub mod no_route;
pub mod not_listening;
pub mod overlay_blocked;
pub mod overlay_port_or_vni_mismatch;
pub mod overlay_wrong_interface;
pub mod path_broken;
pub mod pmtu_black_hole;
pub mod pod_mtu_too_large;
pub mod pod_route_missing;
pub mod port_exhaustion;
pub mod rp_filter_drop;
pub mod service_local_only;
pub mod service_no_endpoints;
pub mod service_stale_endpoint;
pub mod sidecar_blocked;
pub mod socket_buffer_overflow;
pub mod tc_drop;
pub mod tunnel_mtu_too_large;
pub mod vxlan_mtu_too_large;
pub mod vxlan_source_mismatch;

/// One cause: its public name, its manual, its rule.
pub struct Cause {
    pub id: &'static str,
    /// One line for lists.
    pub title: &'static str,
    /// The source of the rule, whose `//!` lines are the manual.
    source: &'static str,
    /// The manual in Chinese, with the line that tells what it was translated from.
    zh: &'static str,
    evaluate: fn(&Facts<'_>) -> Vec<Finding>,
    /// What it must find out before it can tell, given what is seen.
    needs: fn(&Facts<'_>) -> Vec<Need>,
    /// What it adds where another node was watched as well.
    complete: Option<multi_node::Complete>,
    role: Role,
}

impl Cause {
    const fn with_role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// The same cause with what another node can tell of it.
    const fn with_other_node(mut self, complete: multi_node::Complete) -> Self {
        self.complete = Some(complete);
        self
    }
}

macro_rules! cause {
    ($module:ident) => {
        cause!($module, |_| Vec::<Need>::new())
    };
    // Its rule asks for more than the readings: `cause!(stem, stem::wants)`, for each want with what
    // hangs on it.
    ($module:ident, $wants:expr) => {
        Cause {
            id: $module::ID,
            title: $module::TITLE,
            source: include_str!(concat!(stringify!($module), ".rs")),
            zh: include_str!(concat!("zh/", stringify!($module), ".md")),
            evaluate: |facts| $module::evaluate(facts).into_iter().collect(),
            needs: |facts| $wants(facts).into_iter().map(Need::from).collect(),
            complete: None,
            role: Role::Why,
        }
    };
}

/// One that tells what the others leave untold: see [`rest`].
macro_rules! rest {
    ($module:ident) => {
        Cause {
            id: $module::ID,
            title: $module::TITLE,
            source: include_str!(concat!(stringify!($module), ".rs")),
            zh: include_str!(concat!("zh/", stringify!($module), ".md")),
            evaluate: |_| Vec::new(),
            needs: |_| Vec::new(),
            complete: None,
            role: Role::Why,
        }
    };
}

/// Every cause. Adding one is its file and its line.
pub const ALL: &[Cause] = &[
    cause!(bridge_nf_disabled),
    cause!(checksum_offload, checksum_offload::wants),
    cause!(cni_add_failing, cni_add_failing::wants).with_role(Role::Effect),
    cause!(cni_daemon_oom, cni_daemon_oom::wants),
    cause!(conntrack_full),
    cause!(conntrack_insert_race),
    cause!(dns_misconfigured, dns_misconfigured::wants),
    cause!(dns_unreachable, dns_unreachable::wants).with_role(Role::Effect),
    cause!(dns_upstream_failing, dns_upstream_failing::wants),
    cause!(duplicate_address, duplicate_address::wants),
    cause!(etcd_nospace, etcd_nospace::wants),
    cause!(firewall_drop, firewall_drop::wants).with_role(Role::Culprit),
    cause!(
        flannel_iface_regex_unanchored,
        flannel_iface_regex_unanchored::wants
    ),
    cause!(forwarding_disabled),
    cause!(hairpin_off, hairpin_off::wants),
    cause!(ipam_exhausted, ipam_exhausted::wants),
    cause!(ipip_mtu_too_large),
    cause!(kube_proxy_missing, kube_proxy_missing::wants),
    cause!(link_failure),
    cause!(listen_backlog_overflow, listen_backlog_overflow::wants),
    cause!(loopback_only_listener, loopback_only_listener::wants),
    cause!(lsm_denied, lsm_denied::wants),
    cause!(masquerade_missing, masquerade_missing::wants),
    cause!(neighbour_failed, neighbour_failed::wants),
    cause!(neighbour_table_full),
    cause!(nic_queue_full, nic_queue_full::wants),
    cause!(no_route),
    cause!(not_listening, not_listening::wants),
    cause!(overlay_blocked)
        .with_role(Role::Effect)
        .with_other_node(overlay_blocked::complete),
    cause!(overlay_port_or_vni_mismatch),
    cause!(overlay_wrong_interface),
    rest!(path_broken),
    cause!(pmtu_black_hole),
    cause!(pod_mtu_too_large),
    cause!(pod_route_missing, pod_route_missing::wants)
        .with_other_node(pod_route_missing::complete),
    cause!(port_exhaustion, port_exhaustion::wants),
    cause!(rp_filter_drop),
    cause!(service_local_only, service_local_only::wants),
    cause!(service_no_endpoints, service_no_endpoints::wants),
    cause!(service_stale_endpoint, service_stale_endpoint::wants),
    cause!(sidecar_blocked, sidecar_blocked::wants).with_role(Role::Effect),
    cause!(socket_buffer_overflow, socket_buffer_overflow::wants),
    cause!(tc_drop, tc_drop::wants),
    cause!(tunnel_mtu_too_large),
    cause!(vxlan_mtu_too_large),
    cause!(vxlan_source_mismatch).with_other_node(vxlan_source_mismatch::complete),
];

impl Cause {
    /// What it says of a reading, as it alone sees it.
    pub fn evaluate(&self, facts: &Facts<'_>) -> Vec<Finding> {
        (self.evaluate)(facts)
    }

    /// What it must find out before it can tell.
    pub fn needs(&self, facts: &Facts<'_>) -> Vec<Need> {
        (self.needs)(facts)
    }

    /// The manual: the module's doc comment.
    pub fn manual(&self) -> String {
        let lines = self.source.lines().take_while(|l| l.starts_with("//!"));
        let text: Vec<_> = lines
            .map(|l| l.trim_start_matches("//!").trim_start_matches(' '))
            .collect();
        text.join("\n")
    }

    /// The manual in Chinese, one line a paragraph.
    pub fn manual_zh(&self) -> &'static str {
        zh::shown(self.zh)
    }
}

/// The cause of that public name.
pub fn find(id: &str) -> Option<&'static Cause> {
    ALL.iter().find(|c| c.id == id)
}

/// How strong a finding is; nothing for what names an effect.
pub fn strength(finding: &Finding) -> Option<Strength> {
    Strength::of(finding, find(&finding.cause).map(|cause| cause.role))
}

/// Adds what the other node says of a finding.
pub fn complete(sides: &Sides<'_, '_>, finding: &mut Finding) {
    sides.has_its_part(finding);
    if let Some(complete) = find(&finding.cause).and_then(|cause| cause.complete) {
        complete(sides, finding);
    }
}

/// Findings of all causes, as each of them alone sees it.
pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    ALL.iter().flat_map(|c| c.evaluate(facts)).collect()
}

/// Findings about what those of all others leave untold, and what must be found out for them.
pub fn rest(
    facts: &Facts<'_>,
    symptoms: &Symptoms<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<(&'static str, Need)> {
    let needs = path_broken::needs(facts, symptoms, findings);
    path_broken::evaluate(facts, symptoms, findings);
    needs
        .into_iter()
        .map(|need| (path_broken::ID, need))
        .collect()
}

/// What each of them must find out before it can tell, with its public name.
pub fn needs(facts: &Facts<'_>) -> Vec<(&'static str, Need)> {
    let all = ALL.iter().map(|cause| (cause.id, cause.needs(facts)));
    let each = all.flat_map(|(id, needs)| needs.into_iter().map(move |need| (id, need)));
    each.collect()
}

/// What the causes must find out before they can tell.
#[cfg(test)]
pub fn wants(facts: &Facts<'_>) -> BTreeSet<Want> {
    asked(facts, &Symptoms::of(facts), &needs(facts))
}

/// What these needs ask for, and what fails without an explanation.
pub fn asked(
    facts: &Facts<'_>,
    symptoms: &Symptoms<'_>,
    needs: &[(&'static str, Need)],
) -> BTreeSet<Want> {
    let wants = needs.iter().filter_map(|(_, need)| need.query.want());
    let wants = wants.cloned().chain(unexplained::wants(facts, symptoms));
    let wants = wants.chain(path_broken::wants(facts));
    wants.chain(stacks::wants(facts)).collect()
}

#[cfg(test)]
mod registry_tests {
    use super::*;

    #[test]
    fn every_manual_has_its_chapters() {
        for cause in ALL {
            let manual = cause.manual();
            for chapter in [
                "Symptom",
                "Mechanism",
                "Signals",
                "Look-alikes",
                "By hand",
                "Fix",
            ] {
                let heading = format!("# {chapter}");
                assert!(manual.contains(&heading), "{} lacks {heading}", cause.id);
            }
        }
    }

    #[test]
    fn ids_are_kebab_case_and_sorted() {
        for (i, cause) in ALL.iter().enumerate() {
            assert!(
                cause
                    .id
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-')
            );
            // Sorted, so that each is there once and lists are easy to search.
            assert!(i == 0 || ALL[i - 1].id < cause.id, "{}", cause.id);
        }
    }
}
