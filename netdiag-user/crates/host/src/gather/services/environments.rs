//! What kubelet told containers: it gives each `NAME_SERVICE_HOST` of every Service of its namespace
//! and of `kubernetes` (pkg/kubelet/envvars).
//!
//! A container can write any address there itself. Its word is sure where its pod is of the
//! cluster's own namespaces, or where pods of two namespaces have the same address.
//!
//! An environment lies in the memory of its process, and is read under that memory's lock
//! (fs/proc/base.c, environ_read; mm/memory.c, access_remote_vm): whoever holds the lock holds up the
//! reader. So it is read on a thread of its own, for so long, those of the cluster's own pods first;
//! what a thread still hangs at is passed over by the next.
use netdiag_lang::english;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    gather::processes::{self, Believer, Process},
    model::{
        control::is_of_cluster,
        services::{Services, Told},
        text,
    },
    sys::cost,
};

const HOST: &str = "_SERVICE_HOST";
/// The API's, which every container has.
const API: &str = "KUBERNETES_SERVICE_HOST";
/// A Service's name has 63 characters at most.
const LONGEST: usize = 63 + HOST.len();
/// Addresses that are kept: of one container; of the cluster's own pods, and of all others. A large
/// cluster has some thousand Services.
const OF_ONE: usize = 4096;
const MOST: usize = 16_384;
/// How long all of it may take.
const TIME: Duration = Duration::from_secs(2);
/// Threads that hang; beyond that nothing is read any more.
const HANGING: usize = 8;
/// What could not be read, as it is called.
const WHAT: &str = "what containers were told of Services";

/// Environments that a thread is reading just now: the node's root, and the process.
static READING: Mutex<BTreeSet<(PathBuf, u32)>> = Mutex::new(BTreeSet::new());

type Environment = (Vec<String>, bool);
type Reader = dyn Fn(&Process) -> Environment + Send + Sync;

/// A container's first process has what kubelet wrote; the others have it from there.
struct Container {
    pid: u32,
    id: String,
    /// Nothing where kubelet does not say.
    namespace: Option<String>,
}

impl Container {
    fn is_of_cluster(&self) -> bool {
        self.namespace.as_deref().is_some_and(is_of_cluster)
    }
}

/// Those of a walk through the processes.
#[derive(Default)]
pub struct Containers {
    all: Vec<Container>,
    known: HashSet<String>,
}

impl Containers {
    /// The first that is met is taken for a container's first.
    pub fn meet(&mut self, process: &Process, believer: &mut Believer) {
        let Some((uid, id)) = believer.pod(process) else {
            return;
        };
        if self.known.insert(id.clone()) {
            let namespace = believer.namespace(uid).map(str::to_owned);
            self.all.push(Container {
                pid: process.pid,
                id,
                namespace,
            });
        }
    }
}

pub fn read(root: &Path, containers: Containers, found: &mut Services) {
    let reader: Arc<Reader> = Arc::new(Process::environment);
    read_by(root, containers, TIME, reader, found);
}

fn read_by(
    root: &Path,
    containers: Containers,
    time: Duration,
    reader: Arc<Reader>,
    found: &mut Services,
) {
    let mut containers = containers.all;
    containers.sort_by_key(|container| (!container.is_of_cluster(), container.pid));
    let mut heard = Heard::default();
    // Few at a time: a thread that nobody listens to any more ends at the next.
    let (sender, said) = mpsc::sync_channel(4);
    let root = root.to_owned();
    let thread = thread::Builder::new().name("environments".into());
    let begun = thread.spawn(move || {
        let (_, spent) = cost::of(|| walk(&root, containers, &*reader, &sender));
        let _ = sender.send(Said::Ends(spent));
    });
    if let Err(e) = begun {
        heard.miss(WHAT.to_owned(), format!("starting a thread: {e}"));
    }
    heard.listen(&said, time);
    heard.close(found);
}

/// What the thread says.
enum Said {
    Begins(String),
    Told(Words),
    /// Another thread still hangs at it.
    Hangs(String),
    Ends(Duration),
}

struct Words {
    by: Container,
    process: String,
    all: Vec<(String, IpAddr)>,
    /// There is more in it than was read.
    cut: bool,
}

fn walk(root: &Path, containers: Vec<Container>, reader: &Reader, to: &SyncSender<Said>) {
    let pids: Vec<_> = containers.iter().map(|c| c.pid).collect();
    let mut open: BTreeMap<_, _> = containers.into_iter().map(|c| (c.pid, c)).collect();
    // Made where these are looked at: there cgroups are seen as the first process sees them.
    let mut believer = None;
    processes::these(root, pids, |process| {
        let believer = believer.get_or_insert_with(|| Believer::new(root));
        let Some(by) = open.remove(&process.pid) else {
            return;
        };
        // It may be another's number by now.
        let is_same = || believer.pod(process).is_some_and(|(_, id)| id == by.id);
        if !is_same() {
            return;
        }
        let label = process.label();
        let Some(_reading) = Reading::begin(root, &by) else {
            let _ = to.send(Said::Hangs(label));
            return;
        };
        if to.send(Said::Begins(label.clone())).is_err() {
            return;
        }
        let (variables, cut) = reader(process);
        let all = variables.iter().filter_map(|variable| host(variable));
        let all: Vec<_> = all.map(|(name, at)| (name.to_owned(), at)).collect();
        let words = Words {
            by,
            process: label,
            all,
            cut,
        };
        let _ = to.send(Said::Told(words));
    });
}

/// For as long as a thread reads an environment.
struct Reading((PathBuf, u32));

impl Reading {
    fn begin(root: &Path, container: &Container) -> Option<Self> {
        let mut all = READING.lock().unwrap_or_else(PoisonError::into_inner);
        let this = (root.to_owned(), container.pid);
        let hanging = all.iter().filter(|(of, _)| of == root).count();
        // What others hold up takes nothing from the cluster's own.
        let room = hanging < HANGING || container.is_of_cluster();
        (room && all.insert(this.clone())).then(|| Self(this))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut all = READING.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.0);
    }
}

/// An address, and who has it.
struct Entry {
    by: String,
    namespace: Option<String>,
    sure: bool,
}

#[derive(Default)]
struct Heard {
    all: BTreeMap<IpAddr, Entry>,
    /// Of those, the cluster's own pods'.
    of_cluster: usize,
    /// Addresses that found no room.
    left_out: usize,
    hangs: Vec<String>,
    cut: Vec<String>,
    unread: Vec<(String, String)>,
}

impl Heard {
    fn listen(&mut self, said: &mpsc::Receiver<Said>, time: Duration) {
        let until = Instant::now() + time;
        let mut at = "its beginning".to_owned();
        loop {
            match said.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Said::Begins(process)) => at = process,
                Ok(Said::Told(words)) => self.take(words),
                Ok(Said::Hangs(process)) => self.hangs.push(process),
                Ok(Said::Ends(spent)) => return cost::add(spent),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = time.as_secs_f64();
                    let why = format!(
                        "reading stopped after {seconds:.0} s at {at}, and was not waited for: \
                         what was read before counts"
                    );
                    return self.miss(WHAT.to_owned(), why);
                }
            }
        }
    }

    fn take(&mut self, words: Words) {
        let Words {
            by,
            process,
            all,
            cut,
        } = words;
        if cut {
            self.cut.push(process.clone());
        }
        self.left_out += all.len().saturating_sub(OF_ONE);
        let mut api = false;
        for (name, address) in all.into_iter().take(OF_ONE) {
            let told = format!("{name} of {process}");
            if let Some(entry) = self.all.get_mut(&address) {
                entry.hear(told, &by);
                continue;
            }
            let sure = by.is_of_cluster();
            let strangers = self.all.len() - self.of_cluster;
            // Who fills the list keeps nobody from what every container has once.
            let is_api = name == API && !std::mem::replace(&mut api, true);
            let room = match sure {
                true => self.of_cluster < MOST,
                false => strangers < MOST || is_api,
            };
            if !room {
                self.left_out += 1;
                continue;
            }
            self.of_cluster += usize::from(sure);
            let namespace = by.namespace.clone();
            let entry = Entry {
                by: told,
                namespace,
                sure,
            };
            self.all.insert(address, entry);
        }
    }

    fn miss(&mut self, what: String, why: String) {
        self.unread.push((what, why));
    }

    fn close(mut self, found: &mut Services) {
        if let Some(first) = self.hangs.first() {
            let more = match self.hangs.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            let what = english!("what {first}{more} was told of Services");
            let why = "an earlier reader of a process's memory still hangs".to_owned();
            self.miss(what, why);
        }
        if let Some(first) = self.cut.first() {
            let what = english!("the rest of the environment of {first}");
            let why = format!(
                "only the first 256 KiB are read, of {} so",
                text::counted(self.cut.len() as u64, "container")
            );
            self.miss(what, why);
        }
        if self.left_out > 0 {
            let what = english!("{} addresses that containers call Services'", self.left_out);
            let why = english!("{OF_ONE} of each container are kept, and {MOST} of all");
            self.miss(what, why);
        }
        found.unread.append(&mut self.unread);
        let told = self.all.into_iter().map(|(address, entry)| Told {
            address,
            by: entry.by,
            sure: entry.sure,
        });
        found.told.extend(told);
    }
}

impl Entry {
    /// Somebody else has it too.
    fn hear(&mut self, told: String, by: &Container) {
        if self.sure || by.namespace.is_none() {
            return;
        }
        if by.is_of_cluster() {
            (self.by, self.sure) = (told, true);
        } else if self.namespace.is_none() {
            (self.by, self.namespace) = (told, by.namespace.clone());
        } else if self.namespace != by.namespace {
            self.by = format!("{} and {told}, of two namespaces", self.by);
            self.sure = true;
        }
    }
}

/// As kubelet names it (pkg/kubelet/envvars): what else ends so is of somebody else's making.
fn host(variable: &str) -> Option<(&str, IpAddr)> {
    let (name, value) = variable.split_once('=')?;
    let valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let valid = name.len() <= LONGEST && name.chars().all(valid);
    (valid && name.ends_with(HOST)).then_some(())?;
    Some((name, value.parse().ok()?))
}

#[cfg(test)]
mod tests;
