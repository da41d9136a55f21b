//! What a run was too short, or its node too quiet, to tell.
use netdiag_common::dns::PORT as DNS;
use netdiag_lang::{mark, t};

use super::{
    connection_groups::{self, ConnectionGroup},
    facts::Facts,
    scene::Run,
};
use crate::model::{
    flow::{TCP, UDP},
    verdict::{NotChecked, PodRole},
};

/// What is said not to be checked then.
pub const TRAFFIC: &str = mark!("traffic");
/// The longest that a rule waits before it takes silence for a fault: rounds of asking a
/// neighbour, and clients that catch up with pods that are gone.
const GRACE_NS: u64 = 10_000_000_000;
/// What to watch at least for all rules to have waited.
const LONG_ENOUGH: &str = "15s";
/// A SYN or a query and its repetition: one alone may have been lost by chance.
const ASKED: u64 = 2;

/// Why silence of the rules is no good news; nothing where it is.
pub fn coverage(facts: &Facts<'_>, run: &Run) -> Option<NotChecked> {
    let seconds = facts.now.saturating_sub(run.started) as f64 / 1e9;
    if run.hooks == 0 {
        return None;
    }
    if facts.flows.is_empty() {
        // By whoever recorded it, or whoever replays it.
        let why = match run.partly || run.filtered || !run.links.is_empty() {
            true => t!("no packet that was asked for seen in {seconds:.1} s"),
            false => t!("no packet seen in {seconds:.1} s"),
        };
        return Some(NotChecked::new(TRAFFIC, why));
    }
    if facts.now.saturating_sub(run.started) < connection_groups::PATIENCE {
        let why = t!("watched for {seconds:.1} s: run with --duration {LONG_ENOUGH}");
        return Some(NotChecked::new(TRAFFIC, why));
    }
    let silent = silent(facts);
    let first = silent.first()?;
    let short = facts.now.saturating_sub(run.started) < GRACE_NS;
    let (target, client) = (first.target(), first.client);
    let what = match silent.len() {
        1 => t!("{target} from {client}"),
        n => t!("{target} from {client} and {} more", n - 1),
    };
    let why = t!(
        "unanswered so far; watched for {seconds:.1} s, and silence needs {} s to be judged: run \
         with --duration {LONG_ENOUGH}",
        GRACE_NS / 1_000_000_000
    );
    short.then(|| NotChecked::new(what, why))
}

/// What this node and its pods asked for and got no answer to, nor since.
fn silent<'a>(facts: &Facts<'a>) -> Vec<ConnectionGroup<'a>> {
    let asks = |a: &&ConnectionGroup<'_>| {
        let asks = a.protocol == TCP || a.protocol == UDP && a.port == DNS;
        let ours = || facts.owns(a.client) || facts.pod(a.client, PodRole::Source).is_some();
        asks && a.packets() >= ASKED && ours()
    };
    let silent = connection_groups::unanswered(facts).iter().filter(asks);
    silent.cloned().collect()
}

#[cfg(test)]
mod tests {
    use netdiag_common::hop::SYN;

    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{from_pod, overlay_node, tcp, with_facts},
    };

    const SECOND: u64 = 1_000_000_000;

    fn told(syns: u32, seconds: u64) -> Option<String> {
        let flow = tcp("172.20.1.5", "172.20.2.9", 443);
        let hop = from_pod(flow, |hop| {
            (hop.first, hop.last) = (1, SECOND);
            (hop.syns, hop.flags) = (syns, SYN);
        });
        let observation = Observation {
            now: seconds * SECOND,
            flows: if syns > 0 { vec![hop] } else { Vec::new() },
            ..Observation::default()
        };
        let run = Run {
            hooks: 3,
            ..Run::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        let told = with_facts(&node, &observation, |facts| coverage(facts, &run));
        told.map(|told| told.why)
    }

    #[test]
    fn a_short_look_at_silence_is_none() {
        let why = told(3, 8).expect("too short");
        assert!(why.contains("watched for 8.0 s, and silence needs 10 s"));
        assert_eq!(told(3, 15), None);
        assert_eq!(told(1, 8), None, "one packet may be lost");
        assert!(told(1, 0).expect("too short").contains("watched for 0.0 s"));
    }

    #[test]
    fn what_nobody_asked_for_may_have_passed() {
        let run = Run {
            hooks: 3,
            filtered: true,
            ..Run::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        let told = with_facts(&node, &Observation::default(), |facts| {
            coverage(facts, &run)
        });
        let why = told.expect("told").why;
        assert!(why.contains("no packet that was asked for"), "{why}");
    }

    #[test]
    fn where_nothing_passes_nothing_is_known() {
        assert!(told(0, 15).expect("told").contains("no packet seen"));
    }
}
