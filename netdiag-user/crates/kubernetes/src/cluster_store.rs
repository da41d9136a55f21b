//! What the API has told so far, and of each kind how far that goes. Tasks write it; whoever reads
//! it gets a finished picture and never waits.
use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::{
    keep::{SliceOf, Truncation, Watched},
    store::Store,
};
use crate::model::{
    cluster::{Cluster, Flannel, Member, Service, State, Topic, Trouble},
    pod::Pod,
};

/// A node's pods: Kubernetes is made for 110.
const MOST_PODS: usize = 2_000;
const MOST_SERVICES: usize = 20_000;
/// All slices together: some 20 MB.
const MOST_ENDPOINTS: usize = 100_000;
/// Kubernetes is made for 5,000.
const MOST_NODES: usize = 10_000;
/// A picture is made no more often.
const PACE: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub struct ClusterStore(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    changed: Notify,
    picture: watch::Sender<Arc<Cluster>>,
}

pub struct Inner {
    server: String,
    pub node: Option<String>,
    pub no_node: Option<String>,
    pub pods: Store<Pod>,
    pub services: Store<Service>,
    pub slices: Store<SliceOf>,
    pub nodes: Store<Member>,
    pub flannel: Option<Flannel>,
    notes: BTreeMap<Topic, Note>,
}

/// What happened with one kind.
#[derive(Default)]
struct Note {
    known: bool,
    trouble: Option<Trouble>,
    heard: Option<(Instant, jiff::Timestamp)>,
    cut: u64,
}

impl ClusterStore {
    pub fn new(server: String) -> (Self, watch::Receiver<Arc<Cluster>>) {
        let inner = Inner {
            server,
            node: None,
            no_node: None,
            pods: Store::new(MOST_PODS),
            services: Store::new(MOST_SERVICES),
            slices: Store::new(MOST_ENDPOINTS),
            nodes: Store::new(MOST_NODES),
            flannel: None,
            notes: Topic::ALL.map(|t| (t, Note::default())).into(),
        };
        let (picture, receiver) = watch::channel(Arc::new(inner.picture()));
        let shared = Shared {
            inner: Mutex::new(inner),
            changed: Notify::new(),
            picture,
        };
        (Self(Arc::new(shared)), receiver)
    }

    /// Makes a new picture after each change, not too often.
    pub async fn publish(self) {
        loop {
            self.0.changed.notified().await;
            let picture = self.lock().picture();
            self.0.picture.send_if_modified(|last| {
                let differs = **last != picture;
                *last = Arc::new(picture);
                differs
            });
            tokio::time::sleep(PACE).await;
        }
    }

    pub fn write<T>(&self, what: impl FnOnce(&mut Inner) -> T) -> T {
        let done = what(&mut self.lock());
        self.0.changed.notify_one();
        done
    }

    /// The API granted a request about it.
    pub fn heard(&self, topic: Topic) {
        let mut inner = self.lock();
        let note = inner.note(topic);
        note.heard = Some((Instant::now(), jiff::Timestamp::now()));
        if note.known && note.trouble.take().is_some() {
            self.0.changed.notify_one();
        }
    }

    /// How long ago that was.
    pub fn silence(&self, topic: Topic) -> Option<Duration> {
        let mut inner = self.lock();
        Some(inner.note(topic).heard?.0.elapsed())
    }

    /// A list of it begins.
    pub fn begin<K: Watched>(&self) {
        self.write(|inner| {
            inner.note(K::TOPIC).cut = 0;
            K::store(inner).begin();
        });
    }

    pub fn come<K: Watched>(&self, object: K) {
        // Nothing of it shows before the list is complete.
        let mut inner = self.lock();
        let (key, kept) = kept(&mut inner, object);
        K::store(&mut inner).come(key, kept);
    }

    pub fn complete<K: Watched>(&self) {
        self.write(|inner| {
            K::store(inner).complete();
            inner.known(K::TOPIC);
        });
    }

    pub fn put<K: Watched>(&self, object: K) {
        self.write(|inner| {
            let (key, kept) = kept(inner, object);
            K::store(inner).put(key, kept);
            inner.known(K::TOPIC);
        });
    }

    pub fn remove<K: Watched>(&self, object: &K) {
        self.write(|inner| K::store(inner).remove(&key(object)));
    }

    pub fn trouble(&self, topic: Topic, trouble: Trouble) {
        self.write(|inner| inner.note(topic).trouble = Some(trouble));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        let locked = self.0.inner.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }
}

fn key<K: Watched>(object: &K) -> String {
    let meta = object.meta();
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&meta.namespace), part(&meta.name))
}

fn kept<K: Watched>(inner: &mut Inner, object: K) -> (String, K::Kept) {
    let (key, mut cut) = (key(&object), Truncation::default());
    let kept = object.keep(&mut cut);
    inner.note(K::TOPIC).cut += u64::from(cut.0);
    (key, kept)
}

impl Inner {
    fn note(&mut self, topic: Topic) -> &mut Note {
        self.notes.entry(topic).or_default()
    }

    pub fn known(&mut self, topic: Topic) {
        let note = self.note(topic);
        (note.known, note.trouble) = (true, None);
    }

    fn is_known(&self, topic: Topic) -> bool {
        self.notes.get(&topic).is_some_and(|n| n.known)
    }

    fn picture(&self) -> Cluster {
        let services = self.with_endpoints();
        Cluster {
            server: self.server.clone(),
            node: self.node.clone(),
            no_node: self.no_node.clone(),
            pods: self.all_pods(&services),
            services,
            nodes: self.nodes.iter().cloned().collect(),
            flannel: self.flannel.clone(),
            states: self.states(),
        }
    }

    /// The Services with their endpoints. A slice whose Service may not be read makes one without
    /// an address.
    fn with_endpoints(&self) -> Vec<Service> {
        let known = self.services.iter().cloned();
        let key = |s: &Service| (s.namespace.clone(), s.name.clone());
        let mut all: BTreeMap<_, Service> = known.map(|s| (key(&s), s)).collect();
        for of in self.slices.iter() {
            let Some(name) = &of.service else { continue };
            let (namespace, name) = (of.namespace.clone(), name.clone());
            let new = || Service {
                namespace: of.namespace.clone(),
                name: of.service.clone().unwrap_or_default(),
                ..Service::default()
            };
            let service = all.entry((namespace, name)).or_insert_with(new);
            service.slices.push(of.slice.clone());
        }
        all.into_values().collect()
    }

    /// This node's pods, and of the others those that a slice names.
    fn all_pods(&self, services: &[Service]) -> Vec<Pod> {
        let own = self.pods.iter().cloned();
        let key = |p: &Pod| (p.namespace.clone(), p.name.clone());
        let mut all: BTreeMap<_, Pod> = own.map(|p| (key(&p), p)).collect();
        let nodes = self.nodes.iter().flat_map(|n| n.addresses.iter().copied());
        let nodes: HashSet<IpAddr> = nodes.collect();
        for backend in services.iter().flat_map(Service::backends) {
            let Some((namespace, name)) = &backend.pod else {
                continue;
            };
            // Those with a node's address live in its network namespace.
            let of_a_node = |a: &IpAddr| nodes.contains(a);
            let new = || Pod {
                namespace: namespace.clone(),
                name: name.clone(),
                uid: backend.uid.clone(),
                node: backend.node.clone(),
                host_network: backend.addresses.iter().any(of_a_node),
                ..Pod::default()
            };
            // This node's own are told by themselves, sooner and with their end.
            let here = backend.node.is_some() && backend.node == self.node;
            if here && self.is_known(Topic::Pods) {
                continue;
            }
            let key = (namespace.clone(), name.clone());
            let pod = all.entry(key).or_insert_with(new);
            merge(&mut pod.addresses, &backend.addresses);
        }
        all.into_values().collect()
    }

    fn states(&self) -> BTreeMap<Topic, State> {
        let left_out = |topic| match topic {
            Topic::Pods => self.pods.left_out(),
            Topic::Services => self.services.left_out(),
            Topic::EndpointSlices => self.slices.left_out(),
            Topic::Nodes => self.nodes.left_out(),
            Topic::ConfigMaps => 0,
        };
        let state = |(topic, note): (&Topic, &Note)| {
            let state = State {
                known: note.known,
                trouble: note.trouble.clone().map(|t| since(t, note)),
                left_out: left_out(*topic),
                cut: note.cut,
            };
            (*topic, state)
        };
        self.notes.iter().map(state).collect()
    }
}

fn merge(into: &mut Vec<IpAddr>, from: &[IpAddr]) {
    for address in from {
        if !into.contains(address) {
            into.push(*address);
        }
    }
}

/// With the age of what is known.
fn since(trouble: Trouble, note: &Note) -> Trouble {
    match trouble {
        Trouble::Failed { why, .. } => {
            let at = note.heard.map(|(_, at)| at);
            let at = at.and_then(|at| at.round(jiff::Unit::Second).ok());
            let heard = at.map(|at| at.to_string());
            Trouble::Failed { why, heard }
        }
        forbidden => forbidden,
    }
}
