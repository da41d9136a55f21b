//! `netdiag.drop`: what died within the interval, by why, where and whose it was. Counted from the
//! very rows that the metrics page counts, so that each packet's death is in one record once.
use std::collections::BTreeMap;

use netdiag_common::flow::FlowKey;
use opentelemetry::logs::Severity;

use crate::{
    agent::{
        meter::{hop_of, victim},
        series::{Workload, label},
    },
    legs::ends,
    model::{total::add, verdict::PodRef},
    pipeline::{
        clock::Clock,
        facts::{Facts, Loss},
    },
    record::Record,
};

/// Groups of an interval that are told apart; the rest is one.
const MOST: usize = 500;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Death {
    reason: String,
    location: String,
    hop: &'static str,
    interface: String,
    who: Workload,
}

#[derive(Debug)]
struct Row {
    packets: u64,
    bytes: u64,
    first: u64,
    last: u64,
    flow: FlowKey,
    /// Nothing where they are several.
    pod: Option<PodRef>,
}

#[derive(Debug, Default)]
pub struct Drops(BTreeMap<Death, Row>);

impl Drops {
    pub fn read(&mut self, facts: &Facts<'_>) {
        for loss in facts.losses.iter().filter(|loss| !loss.harmless) {
            self.add(facts, loss);
        }
    }

    fn add(&mut self, facts: &Facts<'_>, loss: &Loss) {
        let pod = victim(facts, loss);
        let mut death = Death {
            reason: label(&loss.reason),
            location: label(&loss.location),
            hop: hop_of(facts, loss),
            interface: loss.interface.as_deref().map(label).unwrap_or_default(),
            who: pod.as_ref().map(Workload::of).unwrap_or_default(),
        };
        if self.0.len() >= MOST && !self.0.contains_key(&death) {
            death = Death {
                reason: "other".to_owned(),
                ..Death::default()
            };
        }
        let dropped = &loss.dropped;
        let row = self.0.entry(death).or_insert_with(|| Row {
            packets: 0,
            bytes: 0,
            first: dropped.first,
            last: dropped.last,
            flow: loss.key.flow,
            pod: pod.clone(),
        });
        add(&mut row.packets, dropped.packets);
        add(&mut row.bytes, dropped.bytes);
        row.first = row.first.min(dropped.first);
        if dropped.last >= row.last {
            (row.last, row.flow) = (dropped.last, loss.key.flow);
        }
        let name = |pod: &Option<PodRef>| {
            pod.as_ref()
                .map(|it| (it.namespace.clone(), it.name.clone()))
        };
        if name(&row.pod) != name(&pod) {
            row.pod = None;
        }
    }

    /// What is told of the interval, which begins anew.
    pub fn take(&mut self, clock: Clock) -> Vec<Record> {
        let rows = std::mem::take(&mut self.0);
        rows.into_iter()
            .map(|(death, row)| record(&death, &row, clock))
            .collect()
    }
}

fn record(death: &Death, row: &Row, clock: Clock) -> Record {
    let (reason, location) = (&death.reason, &death.location);
    let at = match location.is_empty() {
        true => String::new(),
        false => format!(" at {location}"),
    };
    let body = format!("{} packets dropped: {reason}{at}", row.packets);
    let record = Record::new("netdiag.drop", Severity::Warn, clock.time(row.last), body)
        .text("netdiag.drop.reason", reason)
        .text("netdiag.drop.location", location)
        .text("netdiag.hop", death.hop)
        .text("network.interface.name", &death.interface)
        .text("netdiag.workload", &death.who.workload)
        .number("netdiag.packets", row.packets)
        .number("netdiag.bytes", row.bytes)
        .time_of("netdiag.first", clock.time(row.first));
    let record = match &row.pod {
        Some(_) => record.pod(row.pod.as_ref()),
        None => record.text("k8s.namespace.name", &death.who.namespace),
    };
    // One of the flows: the last.
    ends(record, &row.flow)
}

#[cfg(test)]
mod tests {
    use opentelemetry::logs::AnyValue;

    use super::*;
    use crate::{
        model::observation::Observation,
        pipeline::testing::{UPLINK, died, overlay_node, tcp, with_facts},
    };

    fn packets(records: &[Record]) -> Vec<i64> {
        let number = |record: &Record| {
            let found = record.attributes.iter();
            let found = found.filter(|(key, _)| *key == "netdiag.packets");
            found
                .map(|(_, value)| match value {
                    AnyValue::Int(number) => *number,
                    other => panic!("{other:?}"),
                })
                .sum()
        };
        records.iter().map(number).collect()
    }

    #[test]
    fn each_death_is_told_of_once_and_none_for_want_of_room() {
        let node = overlay_node(1450, 1450, 1500);
        let flow = tcp("10.244.1.7", "10.244.2.9", 80);
        let place = ("NO_SOCKET", "__udp4_lib_rcv");
        let reading = Observation {
            drops: vec![
                died(flow, place, UPLINK, 4),
                died(flow.reversed(), place, UPLINK, 3),
            ],
            ..Observation::default()
        };
        let mut drops = Drops::default();
        let read = |drops: &mut Drops| {
            with_facts(&node, &reading, |facts| {
                drops.read(facts);
                facts.clock
            })
        };
        let clock = read(&mut drops);
        assert_eq!(packets(&drops.take(clock)), [7], "one group");
        assert_eq!(packets(&drops.take(clock)), [0; 0]);
        for n in 0..MOST {
            let death = Death {
                interface: format!("veth{n}"),
                ..Death::default()
            };
            let row = Row {
                packets: 1,
                bytes: 1,
                first: 1,
                last: 1,
                flow,
                pod: None,
            };
            drops.0.insert(death, row);
        }
        read(&mut drops);
        let told = packets(&drops.take(clock));
        assert_eq!((told.len(), told.iter().sum::<i64>()), (MOST + 1, 507));
    }
}
