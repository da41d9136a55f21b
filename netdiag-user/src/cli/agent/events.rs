//! Findings as Kubernetes Events on the pods of this node that suffer from them, else on the node.
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    agent::{
        sending::Noticed,
        standing::{News, Stands},
    },
    cli::options::NodeRootArgs,
    kubernetes::{
        Asked,
        events::{Counts, Events, Notice, Subject},
    },
    model::{text, verdict::Severity},
};

/// Events a minute that a node tells at most.
const MOST: u32 = 10;
/// Pods of one finding that get one; the others' owners are the same, mostly.
const PODS: usize = 20;
/// A finding that stands is told again, as a count more.
const AGAIN: Duration = Duration::from_secs(300);

/// Nothing in it where nobody asked.
pub struct Noticing(Option<Open>);

struct Open {
    events: Events,
    node: String,
    standing: BTreeMap<String, (Stands, Instant)>,
}

impl Noticing {
    pub async fn open(wanted: bool, place: &NodeRootArgs, node: &str) -> Result<Self> {
        if !wanted {
            return Ok(Self(None));
        }
        let asked = Asked {
            kubeconfig: place.kubeconfig.as_deref(),
            context: None,
            plugins: place.allow_exec_plugin,
        };
        let Some(events) = Events::open(asked, node.to_owned(), MOST).await? else {
            log::warn!("no Kubernetes Events: no Kubernetes API was given or found");
            return Ok(Self(None));
        };
        Ok(Self(Some(Open {
            events,
            node: node.to_owned(),
            standing: BTreeMap::new(),
        })))
    }

    pub fn counts(&self) -> Option<Noticed> {
        let counts: Arc<Counts> = self.0.as_ref()?.events.counts();
        Some(Noticed {
            sent: counts.sent.load(Relaxed),
            limited: counts.limited.load(Relaxed),
            failed: counts.failed.load(Relaxed),
        })
    }

    /// What is new, and what stands for long.
    pub fn news(&mut self, news: &[News], now: Instant) {
        let Some(open) = &mut self.0 else { return };
        for it in news {
            match it {
                News::Named(it) | News::Changed(it) | News::Spread(it) => open.stands(it, now),
                News::Renamed(it) => {
                    open.over(&it.before);
                    open.stands(&it.now, now);
                }
                News::Withdrawn(it) => open.over(it),
            }
        }
        let old = open.standing.values();
        let old = old.filter(|(_, told)| now.duration_since(*told) >= AGAIN);
        let old: Vec<_> = old.map(|(it, _)| it.clone()).collect();
        old.iter().for_each(|it| open.stands(it, now));
    }
}

impl Open {
    fn over(&mut self, it: &Stands) {
        self.standing.remove(&it.finding.id);
        self.events.tell(Notice::Over(it.finding.id.clone()));
    }

    fn stands(&mut self, it: &Stands, now: Instant) {
        let id = it.finding.id.clone();
        self.standing.insert(id, (it.clone(), now));
        for subject in self.subjects(it) {
            self.events.tell(Notice::Stands {
                finding: it.finding.id.clone(),
                subject,
                reason: reason(&it.finding.cause),
                message: format!(
                    "{} (netdiag explain {})",
                    text::line(&it.finding.summary, 900),
                    it.finding.cause
                ),
                critical: it.finding.severity == Severity::Critical,
            });
        }
    }

    fn subjects(&self, it: &Stands) -> Vec<Subject> {
        let here = it.finding.pods.iter().filter(|pod| pod.interface.is_some());
        let pods = here.filter_map(|pod| {
            Some(Subject::Pod {
                namespace: pod.namespace.clone()?,
                name: pod.name.clone()?,
                uid: pod.uid.clone(),
            })
        });
        let mut pods: Vec<_> = pods.take(PODS).collect();
        pods.sort_unstable();
        pods.dedup();
        match pods.is_empty() {
            true => vec![Subject::Node(self.node.clone())],
            false => pods,
        }
    }
}

/// As Kubernetes writes reasons: `firewall-drop` is `FirewallDrop`.
fn reason(cause: &str) -> String {
    let upper = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    cause.split('-').map(upper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_word() {
        assert_eq!(reason("vxlan-mtu-too-large"), "VxlanMtuTooLarge");
        assert_eq!(reason("no--route"), "NoRoute");
    }
}
