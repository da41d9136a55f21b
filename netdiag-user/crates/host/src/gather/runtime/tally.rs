//! Counts, by pod, what the logs say.
use std::collections::{BTreeMap, BTreeSet};

use super::{Ready, lines, time::Clock};
use crate::model::runtime::{Setups, Shown, is_shared};

/// Pods that are kept apart; more than that fit no node.
const MOST: usize = 1000;
/// The same of one log that anybody may write to: whoever invents pods there takes no other log's room.
const MOST_SHARED: usize = 100;

/// What was told of one pod, in the order of time.
#[derive(Default)]
struct Told {
    log: String,
    /// By a log that root alone writes to.
    by_root: bool,
    show: Shown,
    /// When, for which sandbox, and why; the same failure is told by several programs.
    failures: BTreeMap<(i64, Option<String>), String>,
    sandboxes: BTreeSet<String>,
    succeeded: Option<i64>,
}

#[derive(Default)]
pub struct Tally {
    pods: BTreeMap<(String, String), Told>,
}

/// Clocks of programs differ by no more than this.
const AHEAD: i64 = 5_000_000_000;
/// Lines of one failure that name no sandbox come within this time.
const SAME: i64 = 1_000_000_000;

impl Tally {
    /// Takes the lines of one log that are young enough, and says how many pods found no room. Logs of
    /// root's come first: what they tell of a pod, no other adds to.
    pub fn read(
        &mut self,
        log: &str,
        show: &Shown,
        text: &str,
        clock: &Clock,
        since: i64,
    ) -> usize {
        let mut left_out = BTreeSet::new();
        let mut of_this = BTreeSet::new();
        let until = clock.now().saturating_add(AHEAD);
        for line in text.lines() {
            let Some(read) = lines::read(line) else {
                continue;
            };
            // Anybody may write to some logs: what is of the future there, or takes a failure back.
            let shared = is_shared(log);
            let young = |when: &i64| *when >= since && (!shared || *when <= until);
            let Some(when) = clock.when(line).filter(young) else {
                continue;
            };
            if shared && read.failed.is_none() {
                continue;
            }
            let pod = (read.namespace, read.name);
            match self.pods.get(&pod) {
                Some(told) if shared && told.by_root => continue,
                Some(_) => {}
                None if shared && of_this.len() < MOST_SHARED => {
                    of_this.insert(pod.clone());
                }
                None if !shared && self.pods.len() < MOST => {}
                None => {
                    // As many as can be told apart; beyond them it is a matter of thousands.
                    if left_out.len() < MOST {
                        left_out.insert(pod);
                    }
                    continue;
                }
            }
            let told = self.pods.entry(pod).or_default();
            told.by_root |= !shared;
            match read.failed {
                None => told.succeeded = told.succeeded.max(Some(when)),
                Some(why) => told.fail(when, read.sandbox, why, (log, show)),
            }
        }
        left_out.len()
    }

    /// A pod that has its network now got it when its sandbox was made, whatever was logged.
    pub fn ready(&mut self, ready: &[Ready]) {
        for pod in ready {
            let key = (pod.namespace.clone(), pod.name.clone());
            if let Some(told) = self.pods.get_mut(&key) {
                told.succeeded = told.succeeded.max(Some(pod.created));
            }
        }
    }

    pub fn close(self) -> Vec<Setups> {
        let pods = self.pods.into_iter();
        pods.map(|((namespace, name), told)| told.setups(namespace, name))
            .collect()
    }
}

impl Told {
    fn fail(&mut self, when: i64, sandbox: Option<String>, why: String, log: (&str, &Shown)) {
        let known = match &sandbox {
            Some(id) => !self.sandboxes.insert(id.clone()),
            None => {
                let near = |(other, _): &(i64, Option<String>)| (when - other).abs() < SAME;
                self.failures.keys().any(near)
            }
        };
        if !known {
            (self.log, self.show) = (log.0.to_owned(), log.1.clone());
            self.failures.insert((when, sandbox), why);
        }
    }

    fn setups(mut self, namespace: String, name: String) -> Setups {
        let after = self.succeeded.unwrap_or(i64::MIN);
        self.failures.retain(|(when, _), _| *when > after);
        let mut times = self.failures.keys().map(|(when, _)| *when);
        let first = times.next().unwrap_or(0);
        Setups {
            namespace,
            name,
            log: self.log,
            show: self.show,
            failures: self.failures.len() as u32,
            first,
            last: times.next_back().unwrap_or(first),
            message: self.failures.into_values().next_back().unwrap_or_default(),
            succeeded: self.succeeded,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use super::*;
    use crate::gather::Places;

    fn tally(lines: &[&str]) -> Vec<Setups> {
        let places = Places {
            root: PathBuf::from("/nowhere"),
            ..Places::default()
        };
        // 2026-11-20T15:01:00Z
        let clock = Clock::of_node(&places, Duration::from_secs(1_795_186_860));
        let mut tally = Tally::default();
        tally.read("a", &Shown::Journal, &lines.join("\n"), &clock, 0);
        tally.close()
    }

    fn failure(second: u32, sandbox: char) -> String {
        let id = sandbox.to_string().repeat(64);
        format!(
            "time=\"2026-11-20T15:00:{second:02}Z\" msg=\"RunPodSandbox for &PodSandboxMetadata{{\
             Name:a,Uid:u,Namespace:b,}} failed, error\" error=\"failed to setup network for \
             sandbox \\\"{id}\\\": why {second}\""
        )
    }

    #[test]
    fn what_anybody_may_write_takes_nothing_from_what_root_wrote() {
        let clock = Clock::of_node(&Places::default(), Duration::from_secs(1_795_186_860));
        let mut tally = Tally::default();
        let show = |log: &str| Shown::File(log.into());
        let (own, shared) = ("/var/log/containerd.log", "/var/log/syslog");
        let (behind, forged) = ("/var/log/daemon.log", failure(50, 'f'));
        let lines = [failure(1, 'a'), failure(10, 'b')].join("\n");
        assert_eq!(tally.read(own, &show(own), &lines, &clock, 0), 0);
        let invented = (0..1000).map(|n| forged.replace("Name:a", &format!("Name:x{n}")));
        let invented = [forged.clone(), invented.collect::<Vec<_>>().join("\n")].join("\n");
        assert_eq!(tally.read(shared, &show(shared), &invented, &clock, 0), 900);
        let other = failure(20, 'c').replace("Name:a", "Name:z");
        assert_eq!(tally.read(behind, &show(behind), &other, &clock, 0), 0);
        let all = tally.close();
        let pod = |name: &str| all.iter().find(|pod| pod.name == name).expect("told");
        assert_eq!((pod("a").failures, pod("a").log.as_str()), (2, own));
        assert_eq!((pod("z").failures, pod("z").log.as_str()), (1, behind));
        assert_eq!(all.len(), 102);
    }

    #[test]
    fn failures_count_once_and_since_the_last_success() {
        let done = "time=\"2026-11-20T15:00:05Z\" msg=\"RunPodSandbox for &PodSandboxMetadata{\
                    Name:a,Uid:u,Namespace:b,} returns sandbox id \\\"x\\\"\"";
        let (one, two, three) = (failure(1, 'a'), failure(10, 'b'), failure(20, 'c'));
        let all = tally(&[&one, done, &two, &two, &three]);
        let [pod] = all.as_slice() else {
            panic!("{all:?}");
        };
        assert_eq!((pod.failures, pod.message.as_str()), (2, "why 20"));
        assert_eq!(pod.last - pod.first, 10_000_000_000);
    }
}
