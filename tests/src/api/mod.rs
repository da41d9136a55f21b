//! A Kubernetes API server for tests: lists (page by page), watches (bookmarks, streamed lists,
//! resumption) of whatever objects it is given, over TLS, by token or certificate. It can do what
//! real ones do on bad days: forget what came before (410 Gone), drop its connections, forbid a
//! resource, be slow, be gone.
mod exec;
mod kubelet;
pub mod objects;
mod serve;
pub mod tls;
mod writes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use self::kubelet::{Kubelet, Running};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{broadcast, watch};

pub const TOKEN: &str = "fixture-token";

/// How a watch is told that what it asks for is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// As the answer's status.
    Status,
    /// As an ERROR event of a watch that began well.
    Event,
}

/// As whom a kubeconfig speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    Token,
    Certificate,
    /// A token that the server does not know.
    Stranger,
    /// A token, for whoever answers.
    Unverified,
}

pub struct Api {
    shared: Arc<Shared>,
    address: SocketAddr,
    dir: TempDir,
    tls: tls::Tls,
    end: Option<watch::Sender<()>>,
}

struct Shared {
    state: Mutex<State>,
    events: broadcast::Sender<Signal>,
}

/// For all watches.
#[derive(Clone, Debug)]
enum Signal {
    Changed,
    /// Connections are cut in the middle of a stream.
    Cut,
}

#[derive(Default)]
struct State {
    /// Of each resource, by `namespace/name`.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// What happened: version, resource, kind of event, object.
    log: Vec<(u64, String, &'static str, Value)>,
    version: u64,
    /// What came before is forgotten.
    oldest: u64,
    gone: Option<Gone>,
    forbidden: BTreeSet<String>,
    delay: BTreeMap<String, Duration>,
    /// What is to be made is there so long after its making has failed.
    late: Option<Duration>,
    minor: u32,
    /// `list pods`, `watch pods`, `410`.
    counts: BTreeMap<String, usize>,
    /// Of nodes on which pods run.
    kubelets: BTreeMap<String, Kubelet>,
    /// By `namespace/name` of their pods.
    containers: BTreeMap<String, Running>,
    /// Where they have their roots.
    folder: PathBuf,
}

impl Api {
    /// Serves on the loopback of the namespace that this thread is in.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Self::on(listener)
    }

    /// The same in a named namespace.
    pub fn start_in(netns: &str) -> Self {
        let file = fs::File::open(Path::new("/run/netns").join(netns)).expect("a namespace");
        let bind = move || {
            nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).expect("entered");
            TcpListener::bind("127.0.0.1:0").expect("a port")
        };
        Self::on(std::thread::spawn(bind).join().expect("a listener"))
    }

    pub fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("an address");
        let (events, _) = broadcast::channel(1024);
        let dir = tempfile::tempdir().expect("a folder");
        let state = State {
            version: 100,
            minor: 33,
            folder: dir.path().to_owned(),
            ..State::default()
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            events,
        });
        let mut api = Self {
            shared,
            address,
            dir,
            tls: tls::make(address.ip()),
            end: None,
        };
        api.serve(listener);
        api
    }

    fn serve(&mut self, listener: TcpListener) {
        let (end, ended) = watch::channel(());
        let (shared, tls) = (self.shared.clone(), self.tls.server.clone());
        std::thread::spawn(move || serve::run(listener, shared, tls, ended));
        self.end = Some(end);
    }

    /// Nobody listens any more, and all connections end.
    pub fn stop(&mut self) {
        self.end = None;
        self.cut();
    }

    /// Serves again, where it did before.
    pub fn restart(&mut self) {
        let bound = (0..200).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            TcpListener::bind(self.address).ok()
        });
        self.serve(bound.expect("the same port"));
    }

    /// A kubeconfig for it.
    pub fn kubeconfig(&self, login: Login) -> PathBuf {
        let file = |name: &str, text: &str| {
            let path = self.dir.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let ca = file("ca.pem", &self.tls.ca);
        let user = match login {
            Login::Token | Login::Unverified => json!({ "token": TOKEN }),
            Login::Stranger => json!({ "token": "nobody" }),
            Login::Certificate => json!({
                "client-certificate": file("client.pem", &self.tls.client.0),
                "client-key": file("client.key", &self.tls.client.1),
            }),
        };
        let server = format!("https://{}", self.address);
        let cluster = match login {
            Login::Unverified => json!({ "server": server, "insecure-skip-tls-verify": true }),
            _ => json!({ "server": server, "certificate-authority": ca }),
        };
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": cluster }],
            "users": [{ "name": "u", "user": user }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        });
        file(&format!("{login:?}.kubeconfig"), &config.to_string())
    }

    /// Where the kubeconfigs are, for files beside them.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds an object, or changes it.
    pub fn put(&self, resource: &str, object: Value) {
        self.put_all(resource, [object]);
    }

    pub fn put_all(&self, resource: &str, objects: impl IntoIterator<Item = Value>) {
        self.change(|state| {
            for object in objects {
                state.put(resource, object);
            }
        });
    }

    pub fn delete(&self, resource: &str, key: &str) {
        self.change(|state| {
            let all = state.objects.get_mut(resource);
            if let Some(object) = all.and_then(|all| all.remove(key)) {
                state.note(resource, "DELETED", object);
            }
        });
    }

    /// What was before is forgotten, and whoever watches must find that out.
    pub fn compact(&self, gone: Gone) {
        self.change(|state| {
            state.version += 1;
            state.oldest = state.version;
            state.log.clear();
            state.gone = Some(gone);
        });
        self.cut();
    }

    /// Cuts all watches in the middle of their streams.
    pub fn cut(&self) {
        let _ = self.shared.events.send(Signal::Cut);
    }

    /// From now on pods of that node run in that network namespace.
    pub fn kubelet(&self, node: &str, netns: &str, cni: Option<&str>) {
        let kubelet = Kubelet {
            netns: netns.to_owned(),
            cni: cni.map(str::to_owned),
            silent: false,
        };
        self.change(|state| state.kubelets.insert(node.to_owned(), kubelet));
    }

    /// The node's kubelet takes nothing any more, and its pods answer nobody.
    pub fn silence(&self, node: &str) {
        self.change(|state| state.kubelets.get_mut(node).expect("a kubelet").silent = true);
    }

    /// A pod that somebody has put on a node with a kubelet.
    pub fn run(&self, pod: Value) {
        let key = key(&pod);
        self.change(|state| {
            state.put("pods", pod);
            state.run(&key);
        });
    }

    /// A pod that somebody takes away.
    pub fn end(&self, key: &str) {
        self.change(|state| state.delete_pod(key, true));
    }

    /// Names of the objects that there are.
    pub fn names(&self, resource: &str) -> Vec<String> {
        let state = self.shared.state();
        let all = state.objects.get(resource).into_iter().flatten();
        all.map(|(key, _)| key.clone()).collect()
    }

    pub fn forbid(&self, resource: &str) {
        self.change(|state| state.forbidden.insert(resource.to_owned()));
    }

    pub fn allow(&self, resource: &str) {
        self.change(|state| state.forbidden.remove(resource));
    }

    /// Each answer about that resource takes so long.
    pub fn delay(&self, resource: &str, delay: Duration) {
        self.change(|state| state.delay.insert(resource.to_owned(), delay));
    }

    /// Whoever makes something hears that this took too long; it is there so long after that.
    pub fn make_late(&self, delay: Duration) {
        self.change(|state| state.late = Some(delay));
    }

    /// Becomes Kubernetes 1.`minor`: those before 1.32 stream no lists.
    pub fn become_minor(&self, minor: u32) {
        self.change(|state| state.minor = minor);
    }

    /// How often that was asked: `list pods`, `watch pods`; or was answered: `410`.
    pub fn count(&self, what: &str) -> usize {
        self.shared.state().counts.get(what).copied().unwrap_or(0)
    }

    /// Everything that was asked, each once.
    pub fn asked(&self) -> BTreeSet<String> {
        let state = self.shared.state();
        let asked = state.counts.keys().filter(|what| what.contains(' '));
        asked.cloned().collect()
    }

    /// All objects of a resource as they are now.
    pub fn objects(&self, resource: &str) -> Vec<Value> {
        let state = self.shared.state();
        let all = state.objects.get(resource);
        all.into_iter()
            .flat_map(|all| all.values().cloned())
            .collect()
    }

    fn change<T>(&self, how: impl FnOnce(&mut State) -> T) {
        how(&mut self.shared.state());
        let _ = self.shared.events.send(Signal::Changed);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the state")
    }
}

impl State {
    fn put(&mut self, resource: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let key = key(&object);
        let all = self.objects.entry(resource.to_owned()).or_default();
        let known = all.insert(key, object.clone()).is_some();
        let event = if known { "MODIFIED" } else { "ADDED" };
        self.log
            .push((self.version, resource.to_owned(), event, object));
    }

    fn note(&mut self, resource: &str, event: &'static str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log
            .push((self.version, resource.to_owned(), event, object));
    }

    fn tally(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }
}

fn key(object: &Value) -> String {
    let part = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    format!("{}/{}", part("namespace"), part("name"))
}
