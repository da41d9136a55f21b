//! Stations that have a resource, and what the kernel counts where it is spent: a packet that the state lets pass may
//! be lost there all the same, and at no other station.
use super::facts::Facts;
use crate::model::world::{Netns, station::Station};

/// By the names of /proc/net/stat and /proc/net/{netstat,snmp,snmp6}.
const COUNTERS: [(Station, &[&str]); 3] = [
    // Connection tracking's table, and its confirm (net/netfilter/nf_conntrack_core.c).
    (
        Station::Hook,
        &["nf_conntrack.drop", "nf_conntrack.insert_failed"],
    ),
    // A neighbour table that is full (net/core/neighbour.c).
    (
        Station::Neighbour,
        &["arp_cache.table_fulls", "ndisc_cache.table_fulls"],
    ),
    // Queues and buffers of who listens (net/ipv4/tcp_input.c, net/ipv4/udp.c).
    (
        Station::Socket,
        &[
            "TcpExt.ListenOverflows",
            "TcpExt.ListenDrops",
            "Udp.RcvbufErrors",
            "Udp6.RcvbufErrors",
        ],
    ),
];

/// By how much the counters of a station's resources moved during the run.
pub fn spent(facts: &Facts<'_>, netns: Netns, station: Station) -> u64 {
    let of = COUNTERS.iter().find(|(at, _)| *at == station);
    let counters = of.map_or(&[][..], |(_, counters)| counters);
    let moved = counters.iter().map(|name| facts.moved(netns, name));
    moved.map(Option::unwrap_or_default).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::Data,
        model::{cluster::Cluster, node::Counters, observation::Observation, pod::PodIndex},
        testing::{Built, NETNS, overlay_node},
    };

    #[test]
    fn a_station_is_spent_where_its_own_counter_moved() {
        let mut start = overlay_node(1450, 1450, 1500);
        let counters = |failed| Counters {
            netns: NETNS,
            values: [("nf_conntrack.insert_failed".into(), failed)].into(),
        };
        start.counters = vec![counters(3)];
        let mut node = start.clone();
        node.counters = vec![counters(8)];
        let built = Built {
            start: &start,
            node: &node,
            observation: &Observation::default(),
            found: &[],
            open: &[],
            pods: &PodIndex::default(),
            cluster: &Cluster::default(),
            data: Data::default(),
            distrusted: &[],
        };
        built.judge(
            |_, _, _| (),
            |facts| {
                assert_eq!(spent(facts, NETNS, Station::Hook), 5);
                assert_eq!(spent(facts, NETNS, Station::Socket), 0);
                assert_eq!(spent(facts, NETNS, Station::Route), 0);
                assert_eq!(spent(facts, NETNS + 1, Station::Hook), 0);
            },
        );
    }
}
