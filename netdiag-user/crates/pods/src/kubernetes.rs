//! Pods as the Kubernetes API knows them: this node's, and of the others those that back a
//! Service. The API tells what is; when that came to be so is noted here.
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{
    Pictures,
    feed::{Publisher, Subscription, feed},
};
use crate::model::{
    cluster::{Cluster, Topic},
    pod::{Known, Origin, Pod},
};

/// Pods that are gone and still have events: as many as a node deletes within minutes.
const MOST_GONE: usize = 1_000;

/// Follows what the API says.
pub fn listen(mut pictures: Pictures) -> Subscription {
    let (feed, listener) = feed();
    tokio::spawn(async move {
        let mut teller = Teller::default();
        loop {
            let cluster = pictures.borrow_and_update().clone();
            teller.tell(&cluster, &feed);
            tokio::select! {
                changed = pictures.changed() => if changed.is_err() {
                    return;
                },
                () = feed.closed() => return,
            }
        }
    });
    listener
}

#[derive(Default)]
struct Teller {
    /// The pods as they were last told, by namespace and name.
    told: HashMap<(String, String), Pod>,
    gone: VecDeque<Pod>,
    /// The first picture has what was there before anybody looked.
    begun: bool,
    /// It was said that this node's pods are not known.
    failed: bool,
}

impl Teller {
    fn tell(&mut self, cluster: &Arc<Cluster>, feed: &Publisher) {
        let known = |topic| cluster.states.get(&topic).is_some_and(|s| s.known);
        let why = cluster.silence(Topic::Pods);
        // Others' pods are worth knowing where one's own are not.
        if known(Topic::Pods) || self.failed && known(Topic::EndpointSlices) {
            self.follow(&cluster.pods, super::now());
            feed.say(self.told.values().chain(&self.gone).cloned().collect());
        }
        if let Some(why) = why.filter(|_| !known(Topic::Pods)) {
            self.failed = true;
            feed.fail(why);
        }
    }

    fn follow(&mut self, pods: &[Pod], now: u64) {
        let mut before = std::mem::take(&mut self.told);
        for pod in pods {
            let key = (pod.namespace.clone(), pod.name.clone());
            let was = before.remove(&key);
            let told = self.next(pod, was, now);
            self.told.insert(key, told);
        }
        before.into_values().for_each(|pod| self.end(pod, now));
        self.begun = true;
    }

    /// The pod with its times.
    fn next(&mut self, pod: &Pod, was: Option<Pod>, now: u64) -> Pod {
        let from = self.begun.then_some(now);
        let (from, at) = match was {
            Some(was) if !same_network(&was, pod) => {
                self.end(was, now);
                (from, now)
            }
            Some(was) if was.addresses.is_empty() && !pod.addresses.is_empty() => (from, now),
            Some(was) => {
                let same = is_same(&was, pod);
                let at = was.sources.first().map_or(now, |known| known.at);
                (was.from, if same { at } else { now })
            }
            None => (from, now),
        };
        Pod {
            from,
            sources: vec![Known {
                source: Origin::Kubernetes,
                at,
            }],
            ..pod.clone()
        }
    }

    /// What it had may be another's now.
    fn end(&mut self, pod: Pod, now: u64) {
        if pod.addresses.is_empty() || pod.host_network {
            return;
        }
        self.gone.truncate(MOST_GONE - 1);
        self.gone.push_front(Pod {
            gone: Some(now),
            ..pod
        });
    }
}

/// A pod that had no address yet, and has one now, is the same.
fn same_network(was: &Pod, is: &Pod) -> bool {
    let unknown = was.addresses.is_empty();
    was.uid == is.uid && (unknown || was.addresses == is.addresses)
}

fn is_same(was: &Pod, is: &Pod) -> bool {
    let bare = |pod: &Pod| Pod {
        from: None,
        sources: Vec::new(),
        ..pod.clone()
    };
    bare(was) == bare(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str, address: &str) -> Pod {
        Pod {
            name: name.into(),
            uid: Some(uid.into()),
            addresses: address.parse().into_iter().collect(),
            ..Pod::default()
        }
    }

    #[test]
    fn an_address_goes_from_one_pod_to_the_next() {
        let mut teller = Teller::default();
        teller.follow(&[pod("a", "1", "10.0.0.1")], 10);
        teller.follow(&[pod("a", "1", "10.0.0.1"), pod("b", "2", "")], 20);
        teller.follow(&[pod("b", "2", "10.0.0.1")], 30);
        let (first, next) = (&teller.gone[0], teller.told.values().next().expect("b"));
        assert_eq!((first.from, first.gone), (None, Some(30)));
        assert_eq!((next.name.as_str(), next.from), ("b", Some(30)));
    }

    #[test]
    fn a_pod_of_the_same_name_is_another() {
        let mut teller = Teller::default();
        teller.follow(&[pod("db-0", "1", "10.0.0.1")], 10);
        teller.follow(&[pod("db-0", "2", "10.0.0.2")], 20);
        assert_eq!(teller.gone[0].uid.as_deref(), Some("1"));
        let now = teller.told.values().next().expect("db-0");
        assert_eq!((now.from, now.sources[0].at), (Some(20), 20));
    }

    #[test]
    fn what_stays_as_it_was_is_not_told_anew() {
        let mut teller = Teller::default();
        teller.follow(&[pod("a", "1", "10.0.0.1")], 10);
        let before = teller.told.clone();
        teller.follow(&[pod("a", "1", "10.0.0.1")], 20);
        assert_eq!(teller.told, before);
    }
}
