//! From when until when each pod had what is its own, and what was known of one before it went.
use super::kept::Kept;
use crate::{
    host::link_times::{Life, LinkTimes},
    model::pod::{Pod, PodInterface},
};

#[derive(Default)]
pub struct Past {
    kept: Kept,
    /// Whatever is there at the first look may have been there for long.
    looked: bool,
}

impl Past {
    /// The pods as they are now, with those that were until a short time ago.
    pub fn follow(&mut self, pods: Vec<Pod>, times: &LinkTimes, now: u64) -> Vec<Pod> {
        let mut rows = Vec::new();
        for mut pod in pods {
            let key = key(&pod);
            match self.kept.get(&key) {
                Some(before) => remember(&mut pod, before),
                None if self.looked && pod.is_local() => pod.from = pod.from.or(Some(now)),
                None => {}
            }
            date(&mut pod, times);
            rows.push((key, pod));
        }
        self.looked = true;
        self.absorb(&rows);
        self.kept.update(now, rows);
        self.kept.all()
    }

    /// A pod that is known by a better key than before is not two.
    fn absorb(&mut self, rows: &[(String, Pod)]) {
        // The next sandbox can get the number of the namespace before.
        let same = |old: &Pod, new: &Pod| {
            let netns = old.netns.is_some() && old.netns == new.netns;
            let uid = old.uid.is_some() && old.uid == new.uid;
            old.sandbox.is_none() && new.gone.is_none() && (netns || uid)
        };
        for (key, old) in self.kept.live() {
            let found = rows.iter().any(|(new, _)| *new == key);
            if !found && rows.iter().any(|(_, pod)| same(&old, pod)) {
                self.kept.forget(&key);
            }
        }
    }

    /// A pod whose link is gone has nothing any more of what is to be seen now, whoever still
    /// speaks of it: its namespace's number can be the next one's.
    pub fn bury(&self, pod: &mut Pod, times: &LinkTimes) {
        let Some(before) = self.kept.get(&key(pod)) else {
            return;
        };
        let own = |i: &&PodInterface| i.host == before.interface;
        let own = before.interfaces.iter().find(own);
        let died = own.and_then(|i| times.of(i.index?)?.died);
        // A link that was made anew by the same name is the same pod's.
        let last = before.interface.as_ref().and_then(|name| times.named(name));
        let again = last.is_some_and(|(_, life)| life.died.is_none());
        if pod.gone.is_none() && !again {
            pod.gone = died;
        }
    }

    pub fn forgotten(&self) -> u64 {
        self.kept.forgotten
    }
}

/// By what it is the same pod from one look to the next.
fn key(pod: &Pod) -> String {
    match (&pod.sandbox, &pod.uid, pod.netns) {
        (Some(sandbox), ..) => format!("sandbox {sandbox}"),
        (_, Some(uid), _) => format!("uid {uid}"),
        (.., Some(netns)) if pod.name.is_empty() => format!("netns {netns}"),
        _ => format!("{}/{} {:?}", pod.namespace, pod.name, pod.addresses.first()),
    }
}

/// What could be seen of it while it was there, and since when.
fn remember(pod: &mut Pod, before: &Pod) {
    pod.from = match (pod.from, before.from) {
        (Some(said), Some(from)) => Some(said.min(from)),
        _ => before.from,
    };
    if pod.gone.is_none() {
        return;
    }
    if let Some(gone) = before.gone {
        pod.gone = pod.gone.min(Some(gone));
    }
    pod.netns = pod.netns.or(before.netns);
    if before.interface.is_some() {
        pod.interface.clone_from(&before.interface);
    }
    if !before.interfaces.is_empty() {
        pod.interfaces.clone_from(&before.interfaces);
    }
    for address in &before.addresses {
        if !pod.addresses.contains(address) {
            pod.addresses.push(*address);
        }
    }
}

/// Its link's times are its own: the kernel tells of them at once.
fn date(pod: &mut Pod, times: &LinkTimes) {
    let Some(life) = link(pod, times) else {
        return;
    };
    // Where much is going on the notice comes late.
    if let Some(born) = life.born {
        pod.from = Some(pod.from.map_or(born, |from| from.min(born)));
    }
    if let Some(died) = life.died {
        pod.gone = Some(pod.gone.map_or(died, |gone| gone.min(died)));
    }
}

fn link(pod: &mut Pod, times: &LinkTimes) -> Option<Life> {
    let (host, gone) = (pod.interface.clone()?, pod.gone);
    let own = pod.interfaces.iter_mut();
    let own = { own }.find(|i| i.host.as_ref() == Some(&host))?;
    if own.index.is_none() {
        // It came and went between two looks at the links.
        let before = |(_, life): &(u32, Life)| match (gone, life.born) {
            (Some(gone), Some(born)) => born <= gone,
            _ => true,
        };
        own.index = times.named(&host).filter(before).map(|(index, _)| index);
    }
    times.of(own.index?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(sandbox: Option<&str>) -> Pod {
        Pod {
            namespace: "shop".into(),
            name: "cart".into(),
            sandbox: sandbox.map(str::to_owned),
            netns: Some(77),
            interface: Some("veth0".into()),
            interfaces: vec![PodInterface {
                host: Some("veth0".into()),
                index: Some(7),
                ..PodInterface::default()
            }],
            ..Pod::default()
        }
    }

    #[test]
    fn a_pod_that_went_keeps_what_was_known_of_it() {
        let (mut past, times) = (Past::default(), LinkTimes::default());
        past.follow(vec![pod(Some("s1"))], &times, 10);
        let mut gone = pod(Some("s1"));
        gone.gone = Some(15);
        (gone.interface, gone.netns) = (None, None);
        gone.interfaces.clear();
        let rows = past.follow(vec![gone], &times, 20);
        assert_eq!(
            (rows.len(), rows[0].netns, rows[0].gone),
            (1, Some(77), Some(15))
        );
        let rows = past.follow(Vec::new(), &times, 30);
        assert_eq!((rows.len(), rows[0].gone), (1, Some(15)));
    }

    #[test]
    fn one_that_comes_later_was_not_there_before() {
        let (mut past, times) = (Past::default(), LinkTimes::default());
        assert_eq!(past.follow(vec![pod(Some("s1"))], &times, 10)[0].from, None);
        let rows = past.follow(vec![pod(Some("s2"))], &times, 20);
        let of = |id: &str| rows.iter().find(|p| p.sandbox.as_deref() == Some(id));
        assert_eq!(of("s2").expect("there").from, Some(20));
    }

    #[test]
    fn a_better_key_makes_no_second_pod() {
        let (mut past, times) = (Past::default(), LinkTimes::default());
        past.follow(vec![pod(None)], &times, 10);
        let rows = past.follow(vec![pod(Some("s1"))], &times, 20);
        assert_eq!(rows.len(), 1, "{rows:#?}");
    }
}
