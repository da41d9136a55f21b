//! What stands below the findings: what nobody explains, cannot tell or has not checked.
use netdiag_lang::{mark, retold, say, t};

use super::{BOLD, Page, clean, of_node, paint, way, wrap};
use crate::{
    model::{
        own::{Events, OwnCost},
        text::{counted, listed},
        verdict::{CannotTell, Observer, PodSource, Verdict},
    },
    style::DIM,
};

impl Page {
    /// Each row a paragraph; nothing where there is none.
    fn sentences<'a>(
        &self,
        title: &str,
        rows: impl Iterator<Item = (String, Option<&'a str>)>,
    ) -> String {
        let row = |(text, node): (String, Option<&str>)| {
            let text = clean(&of_node(node, &text));
            wrap(&text, self.width, "  ")
        };
        let all: String = rows.map(row).collect();
        match all.is_empty() {
            true => all,
            false => format!("\n{}\n{all}", paint(BOLD, title)),
        }
    }

    pub(super) fn foot(&self, verdict: &Verdict) -> String {
        let unexplained = verdict.unexplained.iter();
        let unexplained = unexplained.map(|u| (sentence(&u.what, &u.why), u.node.as_deref()));
        let mut out = self.sentences(t!("Not explained"), unexplained);
        let undecided = verdict.cannot_tell.iter();
        let undecided = undecided.map(|c| (undecided_between(c), c.node.as_deref()));
        out.push_str(&self.sentences(t!("Cannot tell"), undecided));
        let missing = verdict.not_checked.iter();
        let missing = missing.map(|n| (sentence(&n.what, &n.why), n.node.as_deref()));
        out.push_str(&self.sentences(t!("Not checked"), missing));
        if self.wide && !verdict.pod_sources.is_empty() {
            let text = sources(&verdict.pod_sources);
            out.push_str(&format!("\n{}\n{text}", paint(BOLD, t!("Pods' names"))));
        }
        let o = &verdict.observer;
        let text = observed(o);
        out.push_str(&format!("\n{}\n", paint(DIM, &text)));
        if let Some(cost) = &o.cost {
            let text = wrap(&own(cost, verdict.duration), self.width, "");
            out.push_str(&format!("{}\n", paint(DIM, text.trim_end())));
            if let Some(events) = cost.events.as_ref().filter(|e| e.drops.seen > 0) {
                let text = wrap(&accounts(events), self.width, "");
                out.push_str(&format!("{}\n", paint(DIM, text.trim_end())));
            }
        }
        out
    }
}

/// What netdiag saw and lost.
pub fn observed(o: &Observer) -> String {
    let lost = match (o.lost, o.overflowed_flows) {
        (0, 0) => t!("no event missed").to_owned(),
        (lost, 0) => t!("{lost} events lost"),
        (lost, flows) => t!("{lost} events lost, {flows} flows overflowed"),
    };
    let unkept = match o.unkept {
        0 => String::new(),
        n => t!(", {n} packets of too many new flows at once not told apart"),
    };
    let foreign = match o.foreign {
        0 => String::new(),
        n => t!(", {n} drops in other namespaces left out"),
    };
    t!(
        "{} hooks, {} events, {lost}{unkept}{foreign}",
        o.hooks,
        o.events
    )
}

/// What netdiag itself took: of a processor, of memory, and of each packet.
pub fn own(cost: &OwnCost, seconds: f64) -> String {
    const MIB: f64 = 1_048_576.0;
    let share = (cost.user_seconds + cost.system_seconds) / seconds.max(1.0) * 100.0;
    let mut text = t!(
        "Own cost: {share:.1} % of a CPU, {:.1} MiB resident, {:.1} MiB of maps",
        cost.rss_bytes as f64 / MIB,
        cost.map_bytes as f64 / MIB
    );
    let programs = cost.programs.iter();
    let programs = programs.map(|p| format!("{} {} ns × {}", p.name, p.ns_per_run(), p.runs));
    let programs: Vec<String> = programs.collect();
    if !programs.is_empty() {
        let timed = cost.timed_seconds;
        text.push_str(&t!("; in {timed:.1} s: {}", listed(&programs)));
    }
    text
}

/// What became of each event; what is nothing is not told.
pub fn accounts(events: &Events) -> String {
    let (drops, records) = (&events.drops, &events.records);
    let of_drops = told(&[
        (drops.aggregated, mark!("counted")),
        (drops.ignored, mark!("no loss")),
        (drops.foreign, mark!("in other namespaces")),
        (drops.left_out, mark!("left out")),
        (drops.lost.no_room, mark!("without room")),
        (drops.lost.evicted, mark!("evicted")),
        (drops.lost.interrupted, mark!("missed while busy")),
        (drops.unaccounted.unsigned_abs(), mark!("unaccounted for")),
    ]);
    let of_records = told(&[
        (records.delivered, mark!("delivered")),
        (records.late, mark!("late")),
        (records.lost.ring_full, mark!("without room in the ring")),
        (records.unaccounted.unsigned_abs(), mark!("unaccounted for")),
    ]);
    let drops = counted(drops.seen, mark!("drop"));
    let mut text = t!("Events: {drops} seen, {of_drops}");
    if records.seen > 0 {
        let records = counted(records.seen, mark!("record"));
        text.push_str(&t!("; {records} due, {of_records}"));
    }
    text
}

fn told(parts: &[(u64, &'static str)]) -> String {
    let some = parts.iter().filter(|(n, _)| *n > 0);
    let some: Vec<String> = some.map(|(n, what)| t!("{n} {}", say(what))).collect();
    listed(&some)
}

/// Who names how many pods, and when it was last heard.
fn sources(sources: &[PodSource]) -> String {
    let line = |s: &PodSource| {
        let read = s.read.as_ref();
        let read = read.map_or_else(String::new, |at| t!(", heard at {at}"));
        t!("  {}: {} pods{read}\n", s.source.name(), s.pods)
    };
    sources.iter().map(line).collect()
}

fn sentence(what: &str, why: &str) -> String {
    t!("{what}: {why}", what = retold(what), why = retold(why))
}

/// `between not-listening and sidecar-blocked: rules for a sidecar …: nft is not installed here (tcp …)`
pub fn undecided_between(row: &CannotTell) -> String {
    let causes = match row.causes.as_slice() {
        [one] => t!("whether it is {one}"),
        [rest @ .., last] => t!("between {} and {last}", listed(rest)),
        [] => t!("the cause").to_owned(),
    };
    let suffers = match row.flows.as_slice() {
        [] => String::new(),
        [one] => t!(" ({})", way(one)),
        [one, rest @ ..] => {
            let more = counted(rest.len() as u64, mark!("more flow"));
            t!(" ({} and {more})", way(one))
        }
    };
    t!(
        "{causes}: {}: {}{suffers}",
        retold(&row.what),
        retold(&row.why)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{own::ProgramCost, verdict::FlowRef};

    #[test]
    fn each_event_has_its_place() {
        let mut events = Events::default();
        events.drops.aggregated = 90;
        events.drops.lost.evicted = 10;
        events.drops.seen = 100;
        assert_eq!(
            accounts(&events),
            "Events: 100 drops seen, 90 counted, 10 evicted"
        );
        events.records.seen = 3;
        events.records.delivered = 2;
        events.records.unaccounted = 1;
        let told = accounts(&events);
        let records = "; 3 records due, 2 delivered, 1 unaccounted for";
        assert!(told.ends_with(records), "{told}");
    }

    #[test]
    fn what_it_took_is_told_by_program() {
        let mut cost = OwnCost {
            user_seconds: 0.1,
            system_seconds: 0.2,
            rss_bytes: 16 << 20,
            map_bytes: 14 << 20,
            timed_seconds: 1.0,
            ..OwnCost::default()
        };
        let told = "Own cost: 2.0 % of a CPU, 16.0 MiB resident, 14.0 MiB of maps";
        assert_eq!(own(&cost, 15.0), told);
        cost.programs.push(ProgramCost {
            name: "hop_ingress".into(),
            runs: 10,
            ns: 2800,
        });
        assert_eq!(
            own(&cost, 15.0),
            format!("{told}; in 1.0 s: hop_ingress 280 ns × 10")
        );
    }

    #[test]
    fn what_cannot_be_told_says_between_what_and_why() {
        let flow = |source: &str| FlowRef {
            protocol: "tcp".into(),
            source: source.into(),
            destination: "10.0.0.2:80".into(),
            ..FlowRef::default()
        };
        let mut row = CannotTell {
            causes: vec!["a".into(), "b".into(), "c".into()],
            what: "rules for Services".into(),
            why: "nft is not installed here".into(),
            flows: vec![flow("10.0.0.1"), flow("10.0.0.3")],
            pods: Vec::new(),
            node: None,
        };
        let told = "between a, b and c: rules for Services: nft is not installed here \
                    (tcp 10.0.0.1 → 10.0.0.2:80 and 1 more flow)";
        assert_eq!(undecided_between(&row), told);
        row.causes.truncate(1);
        row.flows.clear();
        let told = "whether it is a: rules for Services: nft is not installed here";
        assert_eq!(undecided_between(&row), told);
    }
}
