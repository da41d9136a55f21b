//! Covers links the moment that they come, on a thread of its own: reading and judging a node with a
//! thousand links takes longer than a pod's first packets.
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Instant,
};

use super::attach::Hooks;
use crate::model::node::{Link, Node};

/// Links that wait to be covered; the next reading finds those that there was no room for.
const WAITING: usize = 512;

/// The hooks, which readings and new links change in turn.
pub struct Covering {
    hooks: Arc<Mutex<Hooks>>,
    new: SyncSender<Link>,
}

impl Covering {
    /// In this thread's namespace.
    pub fn new(hooks: Hooks) -> Self {
        let hooks = Arc::new(Mutex::new(hooks));
        let (new, come) = sync_channel(WAITING);
        let theirs = hooks.clone();
        let thread = thread::Builder::new().name("covering".into());
        if let Err(e) = thread.spawn(move || cover(&theirs, &come)) {
            log::debug!("new links wait for a reading: {e}");
        }
        Self { hooks, new }
    }

    pub fn hooks(&self) -> MutexGuard<'_, Hooks> {
        lock(&self.hooks)
    }

    /// Brings them in line with the node; what takes long goes on in the background.
    pub fn follow(&self, node: &Node, begun: Instant) {
        for link in self.hooks().follow(node, begun) {
            // What finds no room the next reading finds.
            let _ = self.new.try_send(link);
        }
    }

    /// Takes up again what others took away.
    pub fn keep(&self, node: &Node) {
        self.hooks().keep(node, Instant::now());
    }

    /// Where links are told that have just come.
    pub fn new_links(&self) -> SyncSender<Link> {
        self.new.clone()
    }
}

fn cover(hooks: &Mutex<Hooks>, come: &Receiver<Link>) {
    for link in come {
        lock(hooks).cover_new(&link);
    }
}

fn lock(hooks: &Mutex<Hooks>) -> MutexGuard<'_, Hooks> {
    hooks.lock().unwrap_or_else(PoisonError::into_inner)
}
