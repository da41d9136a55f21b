//! A new pod's packets may be seen before its name is known: the runtime writes it down when the
//! pod's network is there, and somebody has to read it. What such a flow lost is told a little
//! later, with the name.
use std::collections::HashMap;

use netdiag_common::flow::FlowKey;

use crate::{
    model::verdict::PodRef,
    pipeline::scene::{Change, LinkChange},
};

/// How long after a link came flows without a name may be a new pod's, ns.
const COMING_NS: u64 = 5_000_000_000;
/// How long one of them is kept back, ns.
const WAIT_NS: u64 = 1_000_000_000;

/// Which flows are kept back, and since when.
#[derive(Default)]
pub struct NameGracePeriod {
    now: u64,
    /// When a link came last; nothing where none did, or where no source has names.
    coming: Option<u64>,
    since: HashMap<FlowKey, u64>,
}

impl NameGracePeriod {
    /// A reading at `now`; `names` tells whether anybody could name a pod.
    pub fn reading(&mut self, now: u64, links: &[LinkChange], names: bool) {
        self.now = now;
        if links.iter().any(|link| link.what == Change::Added) {
            self.coming = Some(now);
        }
        let over = |came: u64| now.saturating_sub(came) >= COMING_NS;
        if !names || self.coming.is_none_or(over) {
            self.end();
        }
    }

    /// Nothing is kept back any more: there is no later reading.
    pub fn end(&mut self) {
        self.coming = None;
        self.since.clear();
    }

    /// Whether what happened to the flow of these pods is told later.
    pub fn keeps(&mut self, flow: &FlowKey, pods: &[PodRef]) -> bool {
        let named = !pods.is_empty() && pods.iter().all(|pod| pod.name.is_some());
        if self.coming.is_none() || flow.family == 0 || named {
            return false;
        }
        let since = *self.since.entry(*flow).or_insert(self.now);
        self.now.saturating_sub(since) < WAIT_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn flow() -> FlowKey {
        FlowKey {
            family: 4,
            ..FlowKey::default()
        }
    }

    fn added() -> [LinkChange; 1] {
        [LinkChange {
            name: "veth9".into(),
            what: Change::Added,
        }]
    }

    fn named() -> PodRef {
        PodRef {
            name: Some("web".into()),
            ..PodRef::default()
        }
    }

    #[test]
    fn a_flow_of_a_new_link_is_kept_until_it_has_a_name() {
        let mut patience = NameGracePeriod::default();
        patience.reading(SECOND, &added(), true);
        assert!(patience.keeps(&flow(), &[]));
        assert!(patience.keeps(&flow(), &[named(), PodRef::default()]));
        assert!(!patience.keeps(&flow(), &[named()]));
    }

    #[test]
    fn it_is_kept_for_a_second_at_most() {
        let mut patience = NameGracePeriod::default();
        patience.reading(SECOND, &added(), true);
        assert!(patience.keeps(&flow(), &[]));
        patience.reading(2 * SECOND, &[], true);
        assert!(!patience.keeps(&flow(), &[]));
    }

    #[test]
    fn nothing_is_kept_where_nothing_comes() {
        let mut patience = NameGracePeriod::default();
        patience.reading(SECOND, &[], true);
        assert!(!patience.keeps(&flow(), &[]), "no link came");
        patience.reading(SECOND, &added(), false);
        assert!(!patience.keeps(&flow(), &[]), "nobody has names");
        patience.reading(SECOND, &added(), true);
        patience.reading(6 * SECOND, &[], true);
        assert!(!patience.keeps(&flow(), &[]), "it came long ago");
        patience.reading(6 * SECOND, &added(), true);
        patience.end();
        assert!(!patience.keeps(&flow(), &[]), "the run ends");
    }
}
