//! A token bucket that is smaller than a packet lets no such packet pass, however long it waits (net/sched/sch_tbf.c,
//! `tbf_enqueue`: `max_size`).
use netdiag_lang::t;

use super::resized;
use crate::{
    model::{
        gather::{Qdisc, TokenBucket},
        node::Link,
        total::Total,
        verdict::Fix,
    },
    shared::losses::DropGroup,
};

/// What a link's frames have before the IP header.
const ETHERNET: u64 = 14;
/// A bucket holds what leaves in this part of a second, at least: a clock ticks so often.
const TICKS: u64 = 100;

/// Where most of what was dropped is larger than that, and a packet of the link's may be.
pub fn exceeded<'q>(
    link: &Link,
    qdisc: &'q Qdisc,
    patterns: &[DropGroup<'_>],
) -> Option<&'q TokenBucket> {
    let bucket = qdisc.bucket.as_ref();
    let bucket = bucket.filter(|it| it.burst < u64::from(link.mtu) + ETHERNET)?;
    let losses = || patterns.iter().flat_map(|p| &p.losses);
    let large = losses().filter(|l| u64::from(l.dropped.largest) + ETHERNET > bucket.burst);
    let large = large.map(|l| l.dropped.packets).total();
    let all = losses().map(|l| l.dropped.packets).total();
    (large.saturating_mul(2) > all).then_some(bucket)
}

pub fn summary(link: &Link, bucket: &TokenBucket, (lost, passed): (u64, u64)) -> String {
    t!(
        "the token bucket of {} (tbf) holds {} bytes, and drops every packet that is larger: {lost} of {passed} packets",
        link.name,
        bucket.burst
    )
}

pub fn fix(link: &Link, qdisc: &Qdisc, bucket: &TokenBucket) -> Fix {
    let frame = u64::from(link.mtu) + ETHERNET;
    let burst = (bucket.rate / TICKS).max(frame.saturating_mul(2));
    let (name, limit) = (&link.name, bucket.limit.max(burst));
    Fix {
        summary: t!(
            "give the bucket of {name} room for a frame of its MTU and more, {burst} bytes (the rate stays as it is); and \
             where a plugin or an agent set it, set it there too"
        ),
        commands: resized(link, qdisc, bucket, (burst, limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::evaluate, *};
    use crate::{
        model::{
            gather::{Piece, Want},
            observation::Observation,
        },
        testing::{UPLINK, at, died, overlay_node, tcp, with_gathered},
    };

    #[test]
    fn a_bucket_smaller_than_a_packet_is_told_and_made_larger() {
        let judged = |burst, largest| {
            let flow = tcp("172.20.1.5", "172.20.2.9", 443);
            let mut lost = died(flow, ("QDISC_DROP", "__dev_queue_xmit"), UPLINK, 100);
            (lost.1.last, lost.1.largest) = (3_000_000_000, largest);
            let observation = Observation {
                drops: vec![lost],
                flows: vec![at(flow, UPLINK, true, 0, |hop| hop.packets = 1000)],
                ..Observation::default()
            };
            let qdisc = Qdisc {
                ifindex: UPLINK,
                kind: "tbf".into(),
                drops: 100,
                root: true,
                bucket: Some(TokenBucket {
                    rate: 250_000,
                    burst,
                    limit: 200_000,
                    peak: false,
                }),
                ..Qdisc::default()
            };
            let gathered = [(Want::Qdiscs, Ok(Piece::Qdiscs(vec![qdisc])))];
            let node = overlay_node(1450, 1450, 1500);
            let found = with_gathered(&node, &observation, gathered, evaluate);
            found.expect("a finding")
        };
        let found = judged(1000, 1400);
        let told = "holds 1000 bytes, and drops every packet that is larger: 100 of 1000";
        assert!(found.summary.contains(told), "{}", found.summary);
        assert_eq!(
            found.fix.commands,
            ["tc qdisc change dev ens5 root tbf rate 2000000bit burst 3028b limit 200000b"]
        );
        let small = judged(1000, 500).summary;
        assert!(small.contains("is full"), "{small}");
        let superpackets = judged(10_000, 60_000).summary;
        assert!(superpackets.contains("is full"), "{superpackets}");
    }
}
