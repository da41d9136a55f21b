//! Events on pods and nodes, for who looks at them with `kubectl describe`: one series for each
//! finding and pod, as core/v1 counts them. A task of its own talks to the API; who tells never waits.
//!
//! | part | what it does |
//! |---|---|
//! | `desk` | what waits, the most urgent first, and the series |
//! | `bucket` | how many a minute |
//! | `shut` | namespaces whose events the API forbids |
//! | `object` | one event as the API has it |
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::Result;
use kube::Client;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{Asked, bounded, cluster_store::ClusterStore, connect};

mod bucket;
mod desk;
mod object;
mod shut;
#[cfg(test)]
mod tests;

use bucket::Bucket;
use desk::{Desk, Key, Words};
use object::{Failed, Series};
use shut::Shut;

/// Where events of what has no namespace are, as the kubelet's of its node.
const CLUSTER: &str = "default";

/// Whom an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Pod {
        namespace: String,
        name: String,
        uid: Option<String>,
    },
    Node(String),
}

impl Subject {
    fn namespace(&self) -> &str {
        match self {
            Self::Pod { namespace, .. } => namespace,
            Self::Node(_) => CLUSTER,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Notice {
    /// A finding stands, and this one suffers from it.
    Stands {
        finding: String,
        subject: Subject,
        reason: String,
        message: String,
        /// It comes before those that are not.
        critical: bool,
    },
    /// It stands no more: its series end.
    Over(String),
}

/// What became of them; none of it falls.
#[derive(Debug, Default)]
pub struct Counts {
    pub sent: AtomicU64,
    pub limited: AtomicU64,
    pub failed: AtomicU64,
}

pub struct Events {
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    desk: Mutex<Desk>,
    come: Notify,
    counts: Arc<Counts>,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limited(&self, more: u64) {
        self.counts.limited.fetch_add(more, Relaxed);
    }
}

impl Events {
    /// Nothing where no API is known. `most` a minute are told.
    pub async fn open(asked: Asked<'_>, node: String, most: u32) -> Result<Option<Self>> {
        let Some(config) = connect::config(asked).await? else {
            return Ok(None);
        };
        let (book, _) = ClusterStore::new(config.cluster_url.to_string());
        let client = connect::client(config, &book, bounded::PAGE)?;
        Ok(Some(Self::through(client, node, most)))
    }

    fn through(client: Client, node: String, most: u32) -> Self {
        let shared = Arc::new(Shared::default());
        let teller = Teller {
            client,
            node,
            shared: shared.clone(),
            bucket: Bucket::new(most, Instant::now()),
            shut: Shut::default(),
        };
        let mut task = JoinSet::new();
        task.spawn(teller.run());
        Self {
            shared,
            _task: task,
        }
    }

    /// Without waiting; what there is no room for is counted as limited.
    pub fn tell(&self, notice: Notice) {
        let lost = match notice {
            Notice::Over(finding) => self.shared.desk().over(&finding),
            Notice::Stands {
                finding,
                subject,
                reason,
                message,
                critical,
            } => {
                let words = Words {
                    reason,
                    message,
                    critical,
                };
                self.shared.desk().put((finding, subject), words)
            }
        };
        self.shared.limited(lost);
        self.shared.come.notify_one();
    }

    pub fn counts(&self) -> Arc<Counts> {
        self.shared.counts.clone()
    }
}

struct Teller {
    client: Client,
    node: String,
    shared: Arc<Shared>,
    bucket: Bucket,
    shut: Shut,
}

impl Teller {
    async fn run(mut self) {
        loop {
            while self.shared.desk().is_empty() {
                self.shared.come.notified().await;
            }
            sleep(self.bucket.wait(Instant::now())).await;
            // Which is the most urgent is known no sooner.
            let taken = self.shared.desk().take();
            if let Some((key, words, series)) = taken {
                let series = self.one(&key, &words, series).await;
                self.shared.desk().told(series);
            }
        }
    }

    /// Tells it, and has its series as it is then.
    async fn one(&mut self, key: &Key, words: &Words, before: Option<Series>) -> Option<Series> {
        let namespace = key.1.namespace();
        let counts = self.shared.counts.clone();
        if self.shut.has(namespace, Instant::now()) {
            counts.failed.fetch_add(1, Relaxed);
            return before;
        }
        self.bucket.take(Instant::now());
        match self.ask(&key.1, words, before.as_ref()).await {
            Ok(series) => {
                counts.sent.fetch_add(1, Relaxed);
                self.shut.allowed(namespace);
                Some(series)
            }
            Err(failed) => {
                counts.failed.fetch_add(1, Relaxed);
                if let Failed::Forbidden(why) = failed {
                    self.shut.forbidden(namespace, why, Instant::now());
                }
                before
            }
        }
    }

    async fn ask(
        &self,
        subject: &Subject,
        words: &Words,
        before: Option<&Series>,
    ) -> Result<Series, Failed> {
        let Words {
            reason, message, ..
        } = words;
        if let Some(before) = before {
            match object::again(&self.client, before, message).await {
                // API servers forget events after an hour.
                Err(Failed::Missing) => {}
                went => return went,
            }
        }
        object::create(&self.client, &self.node, subject, reason, message).await
    }
}
