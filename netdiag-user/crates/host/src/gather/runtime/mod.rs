//! What the container runtime says of setting up pods' networks: by its CRI socket, in its log
//! and in kubelet's; and what the CNI's configuration says of who gives out the addresses.
mod conf;
#[cfg(feature = "cri")]
mod cri;
mod lines;
mod logs;
mod message;
mod tally;
mod time;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use netdiag_lang::english;

use super::Places;
use crate::model::runtime::{Runtime, is_shared};
use logs::Log;
use tally::Tally;
use time::Clock;

/// How far back logs count: kubelet tries a pod again every 10 to 20 s, and what it met is no
/// news any more after some minutes.
const LOOK_BACK: Duration = Duration::from_secs(300);

pub fn runtime(places: &Places) -> Result<Runtime> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let clock = Clock::of_node(places, now);
    let since = i64::try_from(now.saturating_sub(LOOK_BACK).as_nanos()).unwrap_or(0);
    let mut tally = Tally::default();
    let mut unread = Vec::new();
    let mut logs = logs::all(places, now.saturating_sub(LOOK_BACK));
    // What anybody may write to comes last.
    logs.sort_by_key(|log| is_shared(&log.name));
    for log in logs {
        match &log.text {
            Ok(text) => {
                let left_out = tally.read(&log.name, &log.show, text, &clock, since);
                if left_out > 0 {
                    let what = english!("some of the pods in {}", log.name);
                    let why = english!("it names too many: {left_out} or more pods were left out");
                    unread.push((what, why));
                }
                unread.extend(not_reached(&log, text, &clock, since));
            }
            Err(why) => unread.push((log.name, why.clone())),
        }
    }
    let (networks, not_read) = conf::networks(places);
    unread.extend(not_read);
    let (cri, ready) = asked(places);
    tally.ready(&ready);
    Ok(Runtime {
        cri,
        setups: tally.close(),
        networks,
        unread,
    })
}

/// What is told of a log of which the end alone was read, where that is less than is to be looked
/// back.
fn not_reached(log: &Log, text: &str, clock: &Clock, since: i64) -> Option<(String, String)> {
    let only = log.only?;
    let why = english!("only its last {only} are read");
    match clock.oldest(text) {
        Some(oldest) if oldest.as_nanosecond() <= since.into() => None,
        Some(oldest) => Some((english!("{} further back than {oldest:.0}", log.name), why)),
        None => Some((english!("the beginning of {}", log.name), why)),
    }
}

/// A pod whose sandbox is ready, and since when.
struct Ready {
    namespace: String,
    name: String,
    created: i64,
}

type Asked = Option<(String, Result<crate::model::runtime::Cri, String>)>;

#[cfg(feature = "cri")]
fn asked(places: &Places) -> (Asked, Vec<Ready>) {
    cri::ask(places)
}

/// Its log tells without it.
#[cfg(not(feature = "cri"))]
fn asked(_: &Places) -> (Asked, Vec<Ready>) {
    (None, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::runtime::Shown;

    #[test]
    fn what_the_end_of_a_log_does_not_reach_is_told() {
        let clock = Clock::of_node(&Places::default(), Duration::from_secs(1_795_186_860));
        let told = |text: &str, only, since: i64| {
            let log = Log {
                name: "/var/log/x".into(),
                show: Shown::Unknown,
                text: Ok(String::new()),
                only,
            };
            not_reached(&log, text, &clock, since * 1_000_000_000).map(|(what, _)| what)
        };
        let text = "t off\n1795186800.000000 n1 kubelet[7]: y\n";
        assert_eq!(told(text, None, 0), None, "it is all there is");
        assert_eq!(told(text, Some("2 MiB"), 1_795_186_801), None);
        let further = "/var/log/x further back than 2026-11-20T15:00:00Z";
        assert_eq!(
            told(text, Some("2 MiB"), 1_795_186_799).as_deref(),
            Some(further)
        );
        let beginning = told("x", Some("2 MiB"), 0);
        assert_eq!(beginning.as_deref(), Some("the beginning of /var/log/x"));
    }
}
