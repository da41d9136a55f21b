//! What netdiag's own packets add to the conclusion.
use netdiag_lang::t;

use crate::model::path::{Fate, FateKind, Outcome, Path, Probe, Step, Way};

/// Adds the probes. Where small ones are answered and full-size ones are not, the counts alone may
/// read as a good path.
pub fn conclude(path: &mut Path, probes: Vec<Probe>) {
    path.probes = probes;
    let Some(bytes) = too_large(&path.probes) else {
        return;
    };
    let at = last_of_size(path, bytes);
    let text = t!("small packets pass, full-size ones ({bytes} bytes) do not: MTU");
    let spoils = [
        Outcome::Answered,
        Outcome::Lossy,
        Outcome::PartlyRefused,
        Outcome::Unknown,
    ];
    if spoils.contains(&path.outcome) {
        path.outcome = Outcome::Lossy;
        path.summary.clone_from(&text);
        // Echoes are of no port: where one was asked for, no hop counts them.
        path.at.clone_from(&at);
    }
    path.request.fates.push(Fate {
        at,
        kind: FateKind::Vanished,
        packets: 0,
        text,
        reason: None,
        location: None,
    });
}

/// The full size of a kind of which no such packet was answered, and small ones were.
fn too_large(probes: &[Probe]) -> Option<u32> {
    let lost = |large: &&Probe| {
        let small = probes
            .iter()
            .filter(|p| p.kind == large.kind && p.bytes < large.bytes);
        large.sent > 0 && large.answered == 0 && small.clone().any(|p| p.answered > 0)
    };
    probes.iter().find(lost)?.bytes
}

/// Where packets of that size were seen last: on the way there, or back where they got so far.
fn last_of_size(path: &Path, bytes: u32) -> Option<String> {
    let large = |s: &&Step| s.largest >= bytes;
    let last = |way: &Way| {
        way.steps
            .iter()
            .rev()
            .find(large)
            .map(|s| s.interface.clone())
    };
    last(&path.reply).or_else(|| last(&path.request))
}
