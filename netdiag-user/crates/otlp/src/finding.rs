//! `netdiag.finding`: one record where a finding begins, changes or ends, and now and then while it
//! stands; two where its id changes.
use jiff::Timestamp;
use opentelemetry::logs::Severity as Level;

use crate::{
    agent::{
        page::families::{confidence, rank},
        standing::{News, Stands},
    },
    model::verdict::{Finding, Severity},
    record::{Record, pod_name},
};

/// Pods that a record names.
const PODS: usize = 20;
/// Bytes of the finding as the verdict has it.
const LARGEST: usize = 3000;
const FIRING: &str = "firing";
const RESOLVED: &str = "resolved";

pub fn records(news: &News, time: Timestamp) -> Vec<Record> {
    match news {
        News::Named(it) => vec![record(it, "begins", FIRING, time)],
        News::Changed(it) | News::Spread(it) => vec![record(it, "changes", FIRING, time)],
        // It neither ends nor begins.
        News::Renamed(it) => vec![
            record(&it.before, "renamed", RESOLVED, time),
            record(&it.now, "changes", FIRING, time),
        ],
        News::Withdrawn(it) => vec![ends(it, time)],
    }
}

/// It stands as before.
pub fn stands(it: &Stands, time: Timestamp) -> Record {
    record(it, "stands", FIRING, time)
}

/// It stands no more, or nobody looks any more.
pub fn ends(it: &Stands, time: Timestamp) -> Record {
    record(it, "ends", RESOLVED, time)
}

fn record(it: &Stands, change: &str, state: &str, time: Timestamp) -> Record {
    let finding = &it.finding;
    let level = match (state, finding.severity) {
        (RESOLVED, _) | (_, Severity::Info) => Level::Info,
        (_, Severity::Warning) => Level::Warn,
        (_, Severity::Critical) => Level::Error,
    };
    let one = match &finding.pods[..] {
        [one] => Some(one),
        _ => None,
    };
    let pods = finding.pods.iter().filter_map(pod_name);
    let pods: Vec<_> = pods.take(PODS).collect();
    let commands = finding.fix.commands.iter().map(ToString::to_string);
    let commands: Vec<_> = commands.take(PODS).collect();
    Record::new("netdiag.finding", level, time, finding.summary.clone())
        .text("netdiag.finding.id", &finding.id)
        .text("netdiag.cause", &finding.cause)
        .text("netdiag.severity", rank(finding.severity).1)
        .text("netdiag.confidence", confidence(finding.confidence))
        .text("netdiag.state", state)
        .text("netdiag.change", change)
        .text("netdiag.first_seen", &finding.first_seen)
        .text("netdiag.last_seen", &finding.last_seen)
        .text(
            "netdiag.consequence_of",
            finding.consequence_of.as_deref().unwrap_or_default(),
        )
        .pod(one)
        .list("netdiag.pods", &pods, ",")
        .number("netdiag.pods.count", finding.pods.len() as u64)
        .list("netdiag.evidence.kinds", &kinds(finding), ",")
        .text("netdiag.fix", &finding.fix.summary)
        .list("netdiag.fix.commands", &commands, "\n")
        .whole("netdiag.finding.json", json(finding))
}

fn kinds(finding: &Finding) -> Vec<String> {
    let each = finding.evidence.iter();
    let each = each.filter_map(|it| serde_json::to_value(it.kind).ok());
    let mut kinds: Vec<_> = each
        .filter_map(|it| it.as_str().map(str::to_owned))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// As the verdict has it, with as many of its rows as there is room for.
fn json(finding: &Finding) -> String {
    let mut cut = finding.clone();
    loop {
        let text = serde_json::to_string(&cut).unwrap_or_default();
        if text.len() <= LARGEST {
            return text;
        }
        let (flows, pods) = (cut.flows.len(), cut.pods.len());
        let (evidence, commands) = (cut.evidence.len(), cut.fix.commands.len());
        match [flows, pods, evidence, commands].into_iter().max() {
            Some(0) | None => return String::from("{}"),
            Some(most) if most == flows => cut.flows.truncate(flows / 2),
            Some(most) if most == pods => cut.pods.truncate(pods / 2),
            Some(most) if most == evidence => cut.evidence.truncate(evidence / 2),
            Some(_) => cut.fix.commands.truncate(commands / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::logs::AnyValue;

    use super::*;
    use crate::agent::standing::Renamed;
    use crate::model::verdict::{Confidence, FlowRef, PodRef};

    fn named(id: &str) -> Stands {
        let summary = "no route".to_owned();
        Stands::of(&Finding {
            id: id.into(),
            ..Finding::new(
                "no-route",
                Severity::Critical,
                Confidence::Confirmed,
                summary,
            )
        })
    }

    #[test]
    fn no_id_is_left_firing_where_another_takes_its_place() {
        let renamed = Renamed {
            before: named("a"),
            now: named("a of b"),
        };
        let records = records(&News::Renamed(Box::new(renamed)), Timestamp::UNIX_EPOCH);
        let states = records.iter().map(|record| {
            let of = |key: &str| {
                let mut each = record.attributes.iter();
                each.find(|it| it.0 == key)
                    .map(|it| format!("{:?}", it.1))
                    .unwrap_or_default()
            };
            (of("netdiag.finding.id"), of("netdiag.state"))
        });
        let text = |it: &str| format!("{:?}", AnyValue::from(it.to_owned()));
        assert_eq!(
            states.collect::<Vec<_>>(),
            [(text("a"), text(RESOLVED)), (text("a of b"), text(FIRING))]
        );
    }

    #[test]
    fn a_large_finding_is_cut_to_whole_rows() {
        let mut finding = Finding::new(
            "no-route",
            Severity::Critical,
            Confidence::Confirmed,
            "no route".into(),
        );
        let pod = |n: usize| PodRef {
            namespace: Some("shop".into()),
            name: Some(format!("cart-{n}")),
            ..PodRef::default()
        };
        finding.pods = (0..500).map(pod).collect();
        finding.flows = vec![FlowRef::default(); 100];
        let text = json(&finding);
        assert!(
            text.len() <= LARGEST && text.len() > LARGEST / 3,
            "{}",
            text.len()
        );
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["cause"], "no-route");
        assert!(!read["pods"].as_array().expect("rows").is_empty());
    }
}
