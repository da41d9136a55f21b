//! Several sources' words about the same pods, made one.
//!
//! A row is one sandbox: it has one network namespace, and so one set of interfaces and addresses.
//! Words are of the same pod when they have the same sandbox, else the same UID, else the same
//! namespace and name, else the same network namespace, else the same address; never when their
//! sandboxes or UIDs differ, whatever else is alike: that is the next pod of that name or address.
//!
//! Where words differ, who is nearer to the fact counts: for labels and owners the API (a runtime
//! keeps those that a sandbox was made with), for namespaces, interfaces and addresses the
//! runtime and its plugins before the API (which hears of a new sandbox later, and of the end of
//! one too).
use std::{collections::HashMap, hash::Hash, net::IpAddr};

use crate::model::pod::{Container, Origin, Pod, PodInterface};

/// Who is heard first: whoever knows sandboxes, then who knows namespaces, then the rest.
fn turn(pod: &Pod) -> u8 {
    match origin(pod) {
        Some(Origin::Cri) => 0,
        Some(Origin::Cni) => 1,
        Some(Origin::Cgroup) => 2,
        Some(Origin::Node) => 3,
        Some(Origin::File) | None => 4,
        Some(Origin::Kubernetes) => 5,
    }
}

fn origin(pod: &Pod) -> Option<Origin> {
    pod.sources.first().map(|known| known.source)
}

/// One row for each pod of which somebody says something.
pub fn join(mut said: Vec<Pod>) -> Vec<Pod> {
    said.sort_by_key(turn);
    let mut rows = Rows::default();
    for word in said {
        rows.hear(word);
    }
    rows.pods
}

#[derive(Default)]
struct Rows {
    pods: Vec<Pod>,
    by_sandbox: HashMap<String, Vec<usize>>,
    by_uid: HashMap<String, Vec<usize>>,
    by_name: HashMap<(String, String), Vec<usize>>,
    by_netns: HashMap<u32, Vec<usize>>,
    by_address: HashMap<IpAddr, Vec<usize>>,
}

impl Rows {
    fn hear(&mut self, word: Pod) {
        match self.same(&word) {
            same if same.is_empty() => {
                self.pods.push(word);
                self.enter(self.pods.len() - 1);
            }
            same => {
                for n in same {
                    merge(&mut self.pods[n], &word);
                    self.enter(n);
                }
            }
        }
    }

    /// The rows that it is about: those of the first key that leads to any.
    fn same(&self, word: &Pod) -> Vec<usize> {
        let of = |rows: Option<&Vec<usize>>| -> Vec<usize> {
            let rows = rows.into_iter().flatten().copied();
            rows.filter(|n| fits(&self.pods[*n], word)).collect()
        };
        let live = |rows: Option<&Vec<usize>>| {
            let mut rows = of(rows);
            rows.retain(|n| at_once(&self.pods[*n], word));
            rows
        };
        let sandbox = || of(word.sandbox.as_ref().and_then(|id| self.by_sandbox.get(id)));
        let uid = || {
            let rows = word.uid.as_ref().and_then(|uid| self.by_uid.get(uid));
            // A namespace is one sandbox's of those that a pod has in turn.
            if word.netns.is_some() {
                live(rows)
            } else {
                of(rows)
            }
        };
        let named = || of(name(word).and_then(|name| self.by_name.get(&name)));
        let netns = || live(word.netns.and_then(|netns| self.by_netns.get(&netns)));
        let address = || {
            let rows = word.addresses.iter().map(|a| self.by_address.get(a));
            let mut rows = rows.flat_map(live).collect::<Vec<_>>();
            rows.retain(|n| name(&self.pods[*n]).is_none() || name(word).is_none());
            rows.truncate(1);
            rows
        };
        let keys: [&dyn Fn() -> Vec<usize>; 5] = [&sandbox, &uid, &named, &netns, &address];
        let found = keys.iter().map(|key| key()).find(|rows| !rows.is_empty());
        found.unwrap_or_default()
    }

    fn enter(&mut self, n: usize) {
        let pod = &self.pods[n];
        if let Some(id) = &pod.sandbox {
            note(&mut self.by_sandbox, id.clone(), n);
        }
        if let Some(uid) = &pod.uid {
            note(&mut self.by_uid, uid.clone(), n);
        }
        if let Some(name) = name(pod) {
            note(&mut self.by_name, name, n);
        }
        for netns in pod.netns.iter().filter(|_| !pod.host_network) {
            note(&mut self.by_netns, *netns, n);
        }
        for address in pod.addresses.iter().filter(|_| !pod.host_network) {
            note(&mut self.by_address, *address, n);
        }
    }
}

fn note<K: Eq + Hash>(rows: &mut HashMap<K, Vec<usize>>, key: K, n: usize) {
    let rows = rows.entry(key).or_default();
    if !rows.contains(&n) {
        rows.push(n);
    }
}

/// A host name alone is no name: two namespaces may have it.
fn name(pod: &Pod) -> Option<(String, String)> {
    let known = !pod.namespace.is_empty() && !pod.name.is_empty();
    known.then(|| (pod.namespace.clone(), pod.name.clone()))
}

/// Nothing that they say tells them apart.
fn fits(row: &Pod, word: &Pod) -> bool {
    fn apart<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
        one.is_some() && other.is_some() && one != other
    }
    // One UID can have several sandboxes in turn.
    !apart(&row.sandbox, &word.sandbox)
        && !apart(&row.netns, &word.netns)
        && !apart(&row.uid, &word.uid)
        && !apart(&name(row), &name(word))
}

/// Both had what is theirs at the same time.
fn at_once(row: &Pod, word: &Pod) -> bool {
    let before = |one: &Pod, other: &Pod| matches!((one.gone, other.from), (Some(gone), Some(from)) if gone < from);
    let over = row.gone.is_some() != word.gone.is_some();
    !over && !before(row, word) && !before(word, row)
}

fn merge(row: &mut Pod, word: &Pod) {
    let api = origin(word) == Some(Origin::Kubernetes);
    fill_text(&mut row.namespace, &word.namespace);
    fill_text(&mut row.name, &word.name);
    fill(&mut row.uid, &word.uid);
    fill(&mut row.sandbox, &word.sandbox);
    fill(&mut row.node, &word.node);
    fill(&mut row.created, &word.created);
    if !word.labels.is_empty() && (api || row.labels.is_empty()) {
        row.labels.clone_from(&word.labels);
    }
    if word.owner.is_some() && (api || row.owner.is_none()) {
        row.owner.clone_from(&word.owner);
    }
    merge_host_network(row, word);
    merge_network(row, word, api);
    for container in &word.containers {
        merge_container(&mut row.containers, container);
    }
    merge_time(row, word);
    row.sources.extend_from_slice(&word.sources);
}

fn fill<T: Clone>(own: &mut Option<T>, said: &Option<T>) {
    if own.is_none() {
        own.clone_from(said);
    }
}

fn fill_text(own: &mut String, said: &String) {
    if own.is_empty() {
        own.clone_from(said);
    }
}

/// Whoever sees processes alone has seen where they were just then. The API and the runtime know
/// what was asked for, and a plugin is called for nobody else.
fn merge_host_network(row: &mut Pod, word: &Pod) {
    let seen = row.sources.iter().all(|k| k.source == Origin::Cgroup);
    match (seen, origin(word)) {
        (true, Some(Origin::Cri | Origin::Cni | Origin::Kubernetes)) => {
            row.host_network = word.host_network;
        }
        (false, Some(Origin::Cgroup)) => {}
        _ => row.host_network |= word.host_network,
    }
}

fn merge_network(row: &mut Pod, word: &Pod, api: bool) {
    fill(&mut row.netns, &word.netns);
    fill(&mut row.interface, &word.interface);
    // The API's may be those of a sandbox before.
    if !api || row.addresses.is_empty() {
        for address in &word.addresses {
            if !row.addresses.contains(address) {
                row.addresses.push(*address);
            }
        }
    }
    for interface in &word.interfaces {
        merge_interface(&mut row.interfaces, interface);
    }
}

fn merge_interface(own: &mut Vec<PodInterface>, said: &PodInterface) {
    let Some(same) = own.iter_mut().find(|i| i.name == said.name) else {
        return own.push(said.clone());
    };
    fill(&mut same.host, &said.host);
    fill(&mut same.index, &said.index);
    fill(&mut same.network, &said.network);
    for address in &said.addresses {
        if !same.addresses.contains(address) {
            same.addresses.push(*address);
        }
    }
}

fn merge_container(own: &mut Vec<Container>, said: &Container) {
    let Some(same) = own.iter_mut().find(|c| c.id == said.id) else {
        return own.push(said.clone());
    };
    fill_text(&mut same.name, &said.name);
    fill(&mut same.pid, &said.pid);
    fill(&mut same.process, &said.process);
    fill(&mut same.restarts, &said.restarts);
}

/// Its network ends when the first of those says so who see it; the API and the processes tell
/// of other ends.
fn merge_time(row: &mut Pod, word: &Pod) {
    let sees = |pod: &Pod| turn(pod) < 2 || turn(pod) == 3;
    // Plugins write their result when they are done; a runtime has begun long before.
    row.from = match origin(word) {
        Some(Origin::Cni) => word.from.or(row.from),
        _ => row.from.or(word.from),
    };
    row.gone = match (row.gone, word.gone) {
        (one, _) if sees(row) && !sees(word) => one,
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{pod::Known, verdict::Owner};

    fn word(source: Origin, name: &str) -> Pod {
        Pod {
            namespace: "shop".into(),
            name: name.into(),
            sources: vec![Known { source, at: 1 }],
            ..Pod::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_source_adds_what_it_knows() {
        let mut api = word(Origin::Kubernetes, "cart");
        api.uid = Some("u1".into());
        api.owner = Some(Owner::new("Deployment", "cart"));
        api.addresses = vec![address("10.0.0.9")];
        let mut cri = word(Origin::Cri, "cart");
        cri.uid = Some("u1".into());
        cri.sandbox = Some("s1".into());
        let mut cni = word(Origin::Cni, "cart");
        cni.sandbox = Some("s1".into());
        cni.netns = Some(77);
        cni.addresses = vec![address("10.0.0.7")];
        let mut cgroup = word(Origin::Cgroup, "");
        cgroup.namespace.clear();
        cgroup.netns = Some(77);
        cgroup.containers = vec![Container {
            id: "c1".into(),
            ..Container::default()
        }];
        let rows = join(vec![api, cgroup, cni, cri]);
        assert_eq!(rows.len(), 1, "{rows:#?}");
        let row = &rows[0];
        assert_eq!(row.owner, Some(Owner::new("Deployment", "cart")));
        assert_eq!((row.netns, row.containers.len()), (Some(77), 1));
        assert_eq!(row.addresses, [address("10.0.0.7")], "the plugin knows");
        assert_eq!(row.sources.len(), 4);
    }

    #[test]
    fn a_process_in_the_nodes_namespace_makes_no_pod_the_nodes() {
        let of = |source, host_network| {
            let mut pod = word(source, "cart");
            (pod.uid, pod.host_network) = (Some("u1".into()), host_network);
            pod
        };
        let is_nodes = |words: &[Pod]| join(words.to_vec())[0].host_network;
        let seen = of(Origin::Cgroup, true);
        assert!(is_nodes(std::slice::from_ref(&seen)));
        for source in [Origin::Cri, Origin::Cni, Origin::Kubernetes] {
            assert!(
                !is_nodes(&[seen.clone(), of(source, false)]),
                "{source:?} knows"
            );
        }
        let unseen = of(Origin::Cgroup, false);
        assert!(is_nodes(&[unseen, of(Origin::Cri, true)]));
    }

    #[test]
    fn a_new_sandbox_is_another_row_of_the_same_pod() {
        let mut words = Vec::new();
        for (sandbox, netns, gone) in [("s1", 77, Some(5)), ("s2", 78, None)] {
            let mut cri = word(Origin::Cri, "cart");
            cri.uid = Some("u1".into());
            cri.sandbox = Some(sandbox.into());
            cri.netns = Some(netns);
            cri.gone = gone;
            words.push(cri);
        }
        let mut api = word(Origin::Kubernetes, "cart");
        api.uid = Some("u1".into());
        api.labels = [("app".to_owned(), "cart".to_owned())].into();
        words.push(api);
        let rows = join(words);
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|r| r.labels.len() == 1), "{rows:#?}");
        assert_eq!((rows[0].gone, rows[1].gone), (Some(5), None));
    }

    #[test]
    fn the_next_pod_of_a_name_or_an_address_is_another() {
        let of = |uid: &str, gone| {
            let mut api = word(Origin::Kubernetes, "db-0");
            api.uid = Some(uid.into());
            api.addresses = vec![address("10.0.0.7")];
            api.gone = gone;
            api
        };
        assert_eq!(join(vec![of("u1", Some(3)), of("u2", None)]).len(), 2);
        let mut old = word(Origin::Cni, "old");
        old.netns = Some(77);
        old.gone = Some(3);
        let mut new = word(Origin::Cgroup, "");
        new.uid = Some("u2".into());
        new.netns = Some(77);
        assert_eq!(
            join(vec![old, new]).len(),
            2,
            "a namespace's number is reused"
        );
    }
}
