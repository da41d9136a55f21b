//! Events on pods and nodes, for who looks at them with `kubectl describe`: one series for each
//! finding and pod, as core/v1 counts them. A task of its own talks to the API; who tells never waits.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Result;
use http::{Method, Request};
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{Asked, book::Book, bounded, connect};

/// What waits for the API at most.
const ROOM: usize = 256;
/// Series that are kept in mind; kubelets forget theirs as well.
const SERIES: usize = 1024;
/// An API server that lives answers sooner.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where events of what has no namespace are, as the kubelet's of its node.
const CLUSTER: &str = "default";
/// Characters of a message that the API takes.
const MESSAGE: usize = 1024;

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

#[derive(Clone, Debug)]
pub enum Notice {
    /// A finding stands, and this one suffers from it.
    Stands {
        finding: String,
        subject: Subject,
        reason: String,
        message: String,
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
    to: Sender<Notice>,
    counts: Arc<Counts>,
    _task: JoinSet<()>,
}

impl Events {
    /// Nothing where no API is known. `most` a minute are told.
    pub async fn open(asked: Asked<'_>, node: String, most: u32) -> Result<Option<Self>> {
        let Some(config) = connect::config(asked).await? else {
            return Ok(None);
        };
        let (book, _) = Book::new(config.cluster_url.to_string());
        let client = connect::client(config, &book, bounded::PAGE)?;
        let (to, from) = channel(ROOM);
        let counts = Arc::new(Counts::default());
        let teller = Teller {
            client,
            node,
            counts: counts.clone(),
            bucket: Bucket::new(most, Instant::now()),
            series: BTreeMap::new(),
        };
        let mut task = JoinSet::new();
        task.spawn(teller.run(from));
        Ok(Some(Self {
            to,
            counts,
            _task: task,
        }))
    }

    /// Without waiting; what there is no room for is counted as limited.
    pub fn tell(&self, notice: Notice) {
        let stands = matches!(notice, Notice::Stands { .. });
        if self.to.try_send(notice).is_err() && stands {
            self.counts.limited.fetch_add(1, Relaxed);
        }
    }

    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }
}

/// So many a minute, and as many at once.
#[derive(Debug)]
struct Bucket {
    most: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    fn new(most: u32, now: Instant) -> Self {
        let most = f64::from(most);
        Self {
            most,
            left: most,
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let gained = now.duration_since(self.at).as_secs_f64() * self.most / 60.0;
        (self.left, self.at) = ((self.left + gained).min(self.most), now);
        let has = self.left >= 1.0;
        if has {
            self.left -= 1.0;
        }
        has
    }
}

/// One event object.
#[derive(Debug)]
struct Series {
    path: String,
    count: u64,
}

struct Teller {
    client: Client,
    node: String,
    counts: Arc<Counts>,
    bucket: Bucket,
    series: BTreeMap<(String, Subject), Series>,
}

/// The API forbids it.
struct Forbidden;

impl Teller {
    async fn run(mut self, mut from: Receiver<Notice>) {
        while let Some(notice) = from.recv().await {
            if self.notice(notice).await.is_err() {
                log::warn!(
                    "no Kubernetes Events: the API does not allow to create and patch events (RBAC)"
                );
                break;
            }
        }
        // What comes is taken, and told to nobody.
        while from.recv().await.is_some() {}
    }

    async fn notice(&mut self, notice: Notice) -> Result<(), Forbidden> {
        let (finding, subject, reason, message) = match notice {
            Notice::Over(finding) => {
                self.series.retain(|(of, _), _| *of != finding);
                return Ok(());
            }
            Notice::Stands {
                finding,
                subject,
                reason,
                message,
            } => (finding, subject, reason, message),
        };
        let key = (finding, subject);
        let full = self.series.len() >= SERIES && !self.series.contains_key(&key);
        if full || !self.bucket.take(Instant::now()) {
            self.counts.limited.fetch_add(1, Relaxed);
            return Ok(());
        }
        let told = match self.series.get_mut(&key) {
            Some(series) => again(&self.client, series, &message).await,
            None => {
                let new = create(&self.client, &self.node, &key.1, &reason, &message).await;
                new.map(|series| {
                    self.series.insert(key, series);
                })
            }
        };
        match told {
            Ok(()) => self.counts.sent.fetch_add(1, Relaxed),
            Err(Some(403)) => return Err(Forbidden),
            Err(_) => self.counts.failed.fetch_add(1, Relaxed),
        };
        Ok(())
    }
}

/// The status that the API answered, where it did.
type Refused = Option<u16>;

async fn create(
    client: &Client,
    node: &str,
    subject: &Subject,
    reason: &str,
    message: &str,
) -> Result<Series, Refused> {
    let (event, namespace) = event(node, subject, reason, message, Timestamp::now());
    let path = format!("/api/v1/namespaces/{namespace}/events");
    let made = ask(client, Method::POST, &path, "application/json", &event).await?;
    let name = made["metadata"]["name"].as_str().ok_or(None)?;
    Ok(Series {
        path: format!("{path}/{name}"),
        count: 1,
    })
}

async fn again(client: &Client, series: &mut Series, message: &str) -> Result<(), Refused> {
    let now = seconds(Timestamp::now());
    let more =
        json!({ "count": series.count + 1, "lastTimestamp": now, "message": short(message) });
    let kind = "application/merge-patch+json";
    ask(client, Method::PATCH, &series.path, kind, &more).await?;
    series.count += 1;
    Ok(())
}

async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    kind: &str,
    body: &Value,
) -> Result<Value, Refused> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(body.to_string().into_bytes());
    let request = request.map_err(|_| None)?;
    match timeout(PATIENCE, client.request::<Value>(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(Some(status.code)),
        Ok(Err(_)) | Err(_) => Err(None),
    }
}

fn event(
    node: &str,
    subject: &Subject,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> (Value, String) {
    let (namespace, about) = match subject {
        Subject::Pod {
            namespace,
            name,
            uid,
        } => {
            let mut about =
                json!({ "apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name });
            if let Some(uid) = uid {
                about["uid"] = uid.as_str().into();
            }
            (namespace.clone(), about)
        }
        // The kubelet's events of a node have its name for its uid, and kubectl looks for that.
        Subject::Node(name) => (
            CLUSTER.to_owned(),
            json!({ "apiVersion": "v1", "kind": "Node", "name": name, "uid": name }),
        ),
    };
    let time = seconds(now);
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "namespace": namespace, "generateName": "netdiag." },
        "involvedObject": about,
        "type": "Warning", "reason": reason, "message": short(message),
        "source": { "component": "netdiag", "host": node },
        "firstTimestamp": time, "lastTimestamp": time, "count": 1,
    });
    (event, namespace)
}

/// metav1.Time has whole seconds.
fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

fn short(message: &str) -> String {
    message.chars().take(MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_so_many_at_once_and_a_minute() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        let mut taken = |after: u64| {
            let now = start + Duration::from_secs(after);
            (0..100).filter(|_| bucket.take(now)).count()
        };
        assert_eq!(taken(0), 10);
        assert_eq!(taken(6), 1);
        assert_eq!(taken(7), 0);
        assert_eq!(taken(6000), 10, "what is not taken is not saved");
    }

    #[test]
    fn an_event_is_about_its_pod_or_its_node() {
        let pod = Subject::Pod {
            namespace: "shop".into(),
            name: "cart-0".into(),
            uid: None,
        };
        let (made, namespace) = event("node-a", &pod, "NoRoute", "no route", Timestamp::UNIX_EPOCH);
        assert_eq!(namespace, "shop");
        assert_eq!(made["involvedObject"]["name"], "cart-0");
        assert_eq!(made["firstTimestamp"], "1970-01-01T00:00:00Z");
        let node = Subject::Node("node-a".into());
        let long = "é".repeat(MESSAGE * 2);
        let (made, namespace) = event("node-a", &node, "NoRoute", &long, Timestamp::UNIX_EPOCH);
        assert_eq!(
            (namespace.as_str(), &made["involvedObject"]["uid"]),
            (CLUSTER, &json!("node-a"))
        );
        assert_eq!(
            made["message"].as_str().map(|m| m.chars().count()),
            Some(MESSAGE)
        );
    }
}
