//! What the container runtime says of setting up pods' networks: by its CRI socket, in its log
//! and in kubelet's; and what the CNI's configuration says of who gives out the addresses.
mod conf;
#[cfg(feature = "cri")]
mod cri;
mod lines;
mod logs;
mod tally;
mod time;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::Places;
use crate::model::runtime::Runtime;
use tally::Tally;

/// How far back logs count: kubelet tries a pod again every 10 to 20 s, and what it met is no
/// news any more after some minutes.
const LOOK_BACK: Duration = Duration::from_secs(300);

pub fn runtime(places: &Places) -> Result<Runtime> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let clock = time::Clock::of_node(places, now);
    let since = i64::try_from(now.saturating_sub(LOOK_BACK).as_nanos()).unwrap_or(0);
    let mut tally = Tally::default();
    let mut unread = Vec::new();
    for log in logs::all(places, now.saturating_sub(LOOK_BACK)) {
        match log.text {
            Ok(text) => tally.read(&log.name, &log.show, &text, &clock, since),
            Err(why) => unread.push((log.name, why)),
        }
    }
    let (cri, ready) = asked(places);
    tally.ready(&ready);
    Ok(Runtime {
        cri,
        setups: tally.close(),
        networks: conf::networks(places),
        unread,
    })
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
