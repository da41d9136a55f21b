//! The incidents as data, one file each.
mod bench;
mod bridge_nf_disabled;
mod checksum_offload;
mod cni_add_failing;
mod cni_daemon_oom;
mod conntrack_full;
mod conntrack_insert_race;
mod dns_blocked;
mod dns_misconfigured;
mod dns_unreachable;
mod dns_upstream_failing;
mod duplicate_address;
mod etcd_nospace;
mod firewall_drop;
mod flannel_iface_regex_unanchored;
mod forwarding_disabled;
mod hairpin_off;
mod healthy;
mod ipam_etcd_full;
mod ipam_exhausted;
mod ipam_range_full;
mod ipip_mtu_too_large;
mod kube_proxy_missing;
mod link_failure;
mod listen_backlog_overflow;
mod loopback_only_listener;
mod lsm_denied;
mod masquerade_missing;
mod neighbour_failed;
mod neighbour_table_full;
mod nic_queue_full;
mod no_route;
mod noise;
mod not_listening;
mod overlay_blocked;
mod overlay_port_or_vni_mismatch;
mod overlay_wrong_interface;
mod path_broken;
mod pmtu_black_hole;
mod pod_mtu_too_large;
mod pod_route_missing;
mod port_exhaustion;
mod resized;
mod rp_filter_drop;
mod rule_refuses;
mod service_firewalled;
mod service_local_only;
mod service_no_endpoints;
mod service_stale_endpoint;
mod sidecar_blocked;
mod sidecar_without_dns;
mod socket_buffer_overflow;
mod tc_drop;
mod tunnel_mtu_too_large;
mod vxlan_mtu_too_large;
mod vxlan_source_mismatch;

use std::net::{IpAddr, SocketAddr};

use super::daemon::Daemon;
use super::needs::Need;
use super::parts::Part;
use super::plan::{A, B, Kind, Place, Plan};
use super::state::Options;
use super::step::Step;
use super::timeline::Timeline;
use super::traffic::{DNS_PORT, Flow, Pmtu, Work};
use resized::resized;

/// Everything that there is to say about an incident.
pub struct Scenario {
    /// The ID of its cause, or a plain word.
    pub name: &'static str,
    pub summary: &'static str,
    pub topology: Kind,
    /// The causes that the node must name, and no others.
    pub expected: &'static [&'static str],
    /// Causes that must be found below those.
    pub leads_to: &'static [&'static str],
    pub needs: &'static [Need],
    /// What no other scenario in the same node may change or hide.
    pub takes: &'static [Part],
    /// What must work there, though it changes nothing about it.
    pub relies_on: &'static [Part],
    /// What of `takes` lets nothing through while its fault lasts.
    stops: fn(&Plan) -> &'static [Part],
    /// The causes of which one is found all the same where what it relies on is stopped: below the
    /// fault that stops it, or under `cannot_tell`. None: nothing of it can be seen then.
    hidden_as: fn(&Plan) -> &'static [&'static str],
    /// Why there is no IPv6 twin.
    pub no_ipv6: Option<&'static str>,
    /// Puts the incident's numbers into the plan, or with `healthy` those that work.
    shape: fn(&mut Plan),
    /// What is done to the lab when it stands.
    faults: fn(&Plan) -> Vec<Step>,
    /// What brings the fault over a node that was built as the healthy twin's, beside those of `faults` that are not
    /// the twin's own.
    late: fn(&Plan) -> Vec<Step>,
    /// Why its fault cannot come while it is watched.
    pub no_late: Option<&'static str>,
    traffic: fn(&Plan) -> Vec<Flow>,
    /// Real programs that run beside the traffic.
    daemons: fn(&Plan) -> Vec<Daemon>,
    /// What happens while the traffic goes on.
    timeline: fn(&Plan) -> Timeline,
    /// Flows of the findings that the node translates: the client, and what it asks. Each must be
    /// told once, with what it became.
    translated: fn(&Plan) -> Vec<(IpAddr, SocketAddr)>,
    /// Whether the commands of the fix that is printed undo this form of the fault in the lab.
    fixable: fn(&Plan) -> bool,
    /// The index of the node that diagnoses.
    observer: fn(&Plan) -> usize,
}

impl Scenario {
    /// What most scenarios have; each names what it has of its own.
    const BASE: Self = Self {
        name: "",
        summary: "",
        topology: Kind::Vxlan,
        expected: &[],
        leads_to: &[],
        needs: VXLAN,
        takes: &[],
        relies_on: &[],
        stops: |_| &[],
        hidden_as: |_| &[],
        no_ipv6: None,
        shape: |_| {},
        faults: |_| Vec::new(),
        late: |_| Vec::new(),
        no_late: None,
        traffic: |_| Vec::new(),
        daemons: |_| Vec::new(),
        timeline: |_| Timeline::default(),
        translated: |_| Vec::new(),
        fixable: |_| false,
        observer: |_| A,
    };
}

pub use bench::SCENARIO as BENCH;

/// All scenarios, in the order in which they are listed and run.
pub const ALL: &[Scenario] = &[
    healthy::SCENARIO,
    noise::SCENARIO,
    vxlan_mtu_too_large::SCENARIO,
    ipip_mtu_too_large::SCENARIO,
    pod_mtu_too_large::SCENARIO,
    vxlan_source_mismatch::SCENARIO,
    firewall_drop::SCENARIO,
    service_firewalled::SCENARIO,
    service_firewalled::IPVS,
    dns_blocked::SCENARIO,
    dns_unreachable::SCENARIO,
    dns_misconfigured::SCENARIO,
    dns_upstream_failing::SCENARIO,
    rp_filter_drop::SCENARIO,
    rule_refuses::SCENARIO,
    overlay_blocked::SCENARIO,
    overlay_wrong_interface::SCENARIO,
    path_broken::SCENARIO,
    no_route::SCENARIO,
    etcd_nospace::SCENARIO,
    not_listening::SCENARIO,
    loopback_only_listener::SCENARIO,
    ipam_exhausted::SCENARIO,
    pod_route_missing::SCENARIO,
    pmtu_black_hole::SCENARIO,
    listen_backlog_overflow::SCENARIO,
    kube_proxy_missing::SCENARIO,
    masquerade_missing::SCENARIO,
    service_no_endpoints::SCENARIO,
    service_local_only::SCENARIO,
    tunnel_mtu_too_large::SCENARIO,
    service_stale_endpoint::SCENARIO,
    duplicate_address::SCENARIO,
    neighbour_failed::SCENARIO,
    neighbour_table_full::SCENARIO,
    forwarding_disabled::SCENARIO,
    socket_buffer_overflow::SCENARIO,
    nic_queue_full::SCENARIO,
    overlay_port_or_vni_mismatch::SCENARIO,
    link_failure::SCENARIO,
    checksum_offload::SCENARIO,
    conntrack_full::SCENARIO,
    conntrack_insert_race::SCENARIO,
    bridge_nf_disabled::SCENARIO,
    hairpin_off::SCENARIO,
    port_exhaustion::SCENARIO,
    lsm_denied::SCENARIO,
    tc_drop::SCENARIO,
    cni_daemon_oom::SCENARIO,
    cni_add_failing::SCENARIO,
    ipam_etcd_full::SCENARIO,
    ipam_range_full::SCENARIO,
    sidecar_blocked::SCENARIO,
    sidecar_without_dns::SCENARIO,
    flannel_iface_regex_unanchored::SCENARIO,
];

const VXLAN: &[Need] = &[Need::Veth, Need::Bridge, Need::Vxlan];
const VXLAN_IP: &[Need] = &[Need::Veth, Need::Bridge, Need::Vxlan, Need::Program("ip")];
/// kube-proxy's rules in each of its modes.
const KUBE_PROXY: &[Need] = &[
    Need::Veth,
    Need::Bridge,
    Need::Vxlan,
    Need::NfTables,
    Need::Program("nft"),
    Need::Program("iptables-legacy-restore"),
    Need::Program("iptables-nft-restore"),
];
const VXLAN_NFT: &[Need] = &[Need::Veth, Need::Bridge, Need::Vxlan, Need::NfTables];
/// The same with rules that nft(8) sets.
const VXLAN_NFT_RULES: &[Need] = &[
    Need::Veth,
    Need::Bridge,
    Need::Vxlan,
    Need::NfTables,
    Need::Program("nft"),
];

/// The first pod of each node, and the name server on node B.
const POD_A: Place = Place::Pod(A, 0);
const POD_B: Place = Place::Pod(B, 0);
const DNS_B: Place = Place::Pod(B, 1);
const HTTP: u16 = 8080;
const BULK: u16 = 9000;

/// What goes on in a busy healthy cluster beside an incident: the flows of `noise`.
pub fn background(plan: &Plan) -> Vec<Flow> {
    noise::traffic(plan)
}

pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    pub fn plan(&self, id: &str, options: Options) -> Plan {
        let mut plan = Plan::new(id, options, self.topology);
        self.shape(&mut plan);
        plan
    }

    /// Puts the incident's numbers into a plan.
    pub fn shape(&self, plan: &mut Plan) {
        (self.shape)(plan);
    }

    pub fn expected(&self, healthy: bool) -> Vec<String> {
        let causes = if healthy { &[] } else { self.expected };
        causes.iter().map(|cause| (*cause).to_owned()).collect()
    }

    /// Scenarios that go wrong at the same part of a node; those that take none share one word.
    pub fn family(&self) -> &'static str {
        self.takes.first().map_or("traffic", |part| part.name())
    }

    pub fn stops(&self, plan: &Plan) -> &'static [Part] {
        (self.stops)(plan)
    }

    pub fn hidden_as(&self, plan: &Plan) -> &'static [&'static str] {
        (self.hidden_as)(plan)
    }

    pub fn faults(&self, plan: &Plan) -> Vec<Step> {
        (self.faults)(plan)
    }

    pub fn late(&self, plan: &Plan) -> Vec<Step> {
        (self.late)(plan)
    }

    pub fn traffic(&self, plan: &Plan) -> Vec<Flow> {
        (self.traffic)(plan)
    }

    pub fn daemons(&self, plan: &Plan) -> Vec<Daemon> {
        (self.daemons)(plan)
    }

    pub fn timeline(&self, plan: &Plan) -> Timeline {
        (self.timeline)(plan)
    }

    pub fn translated(&self, plan: &Plan) -> Vec<(IpAddr, SocketAddr)> {
        (self.translated)(plan)
    }

    pub fn fixable(&self, plan: &Plan) -> bool {
        (self.fixable)(plan)
    }

    pub fn observer(&self, plan: &Plan) -> usize {
        (self.observer)(plan)
    }
}

/// What goes on in any cluster: small requests, datagrams, pings between pods and between nodes,
/// names that do not exist.
fn everyday() -> Vec<Flow> {
    vec![
        Flow::new(Work::Request, POD_A, POD_B, HTTP, 100),
        Flow::new(Work::Request, POD_B, POD_A, HTTP, 150),
        Flow::new(Work::Request, Place::Outside, POD_A, HTTP, 300),
        Flow::new(Work::Datagram, POD_A, POD_B, 7, 200),
        Flow::new(Work::Ping, POD_A, POD_B, 0, 500),
        Flow::new(Work::Ping, Place::Node(A), Place::Node(B), 0, 700),
        Flow::new(Work::Nxdomain, POD_A, DNS_B, DNS_PORT, 400),
    ]
}

/// Large transfers in both directions, each started by either side.
fn bulk(bytes: u32) -> Vec<Flow> {
    vec![
        Flow::new(Work::Upload(bytes), POD_A, POD_B, BULK, 250),
        Flow::new(Work::Download(bytes), POD_A, POD_B, BULK, 350),
        Flow::new(Work::Upload(bytes), POD_B, POD_A, BULK, 450),
    ]
}

/// A tunnel over an uplink, either with the room that its headers take or too large for it; then
/// the pods do not hear of it.
fn tunnel_over(plan: &mut Plan, uplink: u32, overhead: u32, too_large: u32) {
    plan.deaf = !plan.options.healthy;
    let tunnel = match plan.deaf {
        true => too_large,
        false => uplink - overhead,
    };
    plan.mtu.uplink = uplink;
    plan.mtu.tunnel = tunnel;
    plan.mtu.pod = tunnel;
}

/// Large transfers that go by the path's MTU, unless the pods hear nothing of it.
fn everyday_and_large(plan: &Plan) -> Vec<Flow> {
    let pmtu = match plan.deaf {
        true => Pmtu::Ignores,
        false => Pmtu::Obeys,
    };
    let large = bulk(300_000).into_iter().map(|flow| Flow { pmtu, ..flow });
    everyday().into_iter().chain(large).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn options(scenario: &Scenario, seed: u64, healthy: bool) -> Options {
        let scenario = scenario.name.to_owned();
        Options {
            scenario,
            seed,
            healthy,
            ipv6: false,
            offload: true,
            with: None,
        }
    }

    fn plans() -> impl Iterator<Item = (&'static Scenario, Plan)> {
        let variants = (0..200).flat_map(|seed| [(seed, false), (seed, true)]);
        variants.flat_map(|(seed, healthy)| {
            ALL.iter()
                .map(move |it| (it, it.plan("0000", options(it, seed, healthy))))
        })
    }

    #[test]
    fn a_seed_always_gives_the_same_plan() {
        for (scenario, plan) in plans() {
            let again = scenario.plan("0000", plan.options.clone());
            assert_eq!(format!("{plan:?}"), format!("{again:?}"));
        }
    }

    #[test]
    fn no_name_or_address_is_used_twice() {
        for (scenario, plan) in plans() {
            let mut hosts = vec![plan.outside.ipv4];
            for node in &plan.nodes {
                hosts.extend([node.ipv4, node.gateway_ipv4(), node.pods_ipv4]);
                hosts.extend(node.leased);
            }
            hosts.extend(plan.pods().map(|pod| pod.ipv4));
            let different: BTreeSet<_> = hosts.iter().collect();
            assert_eq!(different.len(), hosts.len(), "{}: {plan:?}", scenario.name);
            let names = plan.namespaces();
            let different: BTreeSet<_> = names.iter().collect();
            assert_eq!(different.len(), names.len(), "{}: {plan:?}", scenario.name);
        }
    }

    #[test]
    fn every_device_name_fits_the_kernel() {
        for (_, plan) in plans() {
            let pods = plan.pods().map(|pod| pod.veth.as_str());
            let rest = [
                plan.tunnel.device.as_str(),
                &plan.bridge,
                &plan.nodes[A].uplink,
            ];
            assert!(pods.chain(rest).all(|name| name.len() < libc::IFNAMSIZ));
        }
    }

    #[test]
    fn a_healthy_twin_leaves_room_for_every_header() {
        for (scenario, plan) in plans() {
            let overhead = match plan.kind {
                Kind::Vxlan => 50,
                Kind::Ipip => 20,
                Kind::Gre => 28,
            };
            let fits =
                plan.mtu.tunnel + overhead <= plan.mtu.uplink && plan.mtu.pod <= plan.mtu.tunnel;
            let about_mtu = !plan.options.healthy && scenario.name.ends_with("mtu-too-large");
            assert_eq!(fits, !about_mtu, "{}: {:?}", scenario.name, plan.mtu);
        }
    }
}
