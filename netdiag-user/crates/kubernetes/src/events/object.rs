//! One event as the API has it: made, and counted on.
use std::time::Duration;

use http::{Method, Request};
use jiff::Timestamp;
use kube::{Client, core::Status};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Subject, shut::Why};

/// An API server that lives answers sooner.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a message that the API takes.
const MESSAGE: usize = 1024;

/// One event object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    path: String,
    count: u64,
}

#[cfg(test)]
pub fn a_series() -> Series {
    let path = "/api/v1/namespaces/default/events/netdiag.x".to_owned();
    Series { path, count: 1 }
}

/// Why nothing was told.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed {
    Forbidden(Why),
    /// There is no such event (any more), or no such namespace.
    Missing,
    Other,
}

pub async fn create(
    client: &Client,
    node: &str,
    subject: &Subject,
    reason: &str,
    message: &str,
) -> Result<Series, Failed> {
    let event = event(node, subject, reason, message, Timestamp::now());
    let path = format!("/api/v1/namespaces/{}/events", subject.namespace());
    let made = ask(client, Method::POST, &path, "application/json", &event).await?;
    let name = made["metadata"]["name"].as_str().ok_or(Failed::Other)?;
    Ok(Series {
        path: format!("{path}/{name}"),
        count: 1,
    })
}

pub async fn again(client: &Client, series: &Series, message: &str) -> Result<Series, Failed> {
    let now = seconds(Timestamp::now());
    let count = series.count + 1;
    let more = json!({ "count": count, "lastTimestamp": now, "message": short(message) });
    let kind = "application/merge-patch+json";
    ask(client, Method::PATCH, &series.path, kind, &more).await?;
    let path = series.path.clone();
    Ok(Series { path, count })
}

async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    kind: &str,
    body: &Value,
) -> Result<Value, Failed> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(body.to_string().into_bytes());
    let request = request.map_err(|_| Failed::Other)?;
    match timeout(PATIENCE, client.request::<Value>(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(failed(&status)),
        Ok(Err(_)) | Err(_) => Err(Failed::Other),
    }
}

fn failed(status: &Status) -> Failed {
    match status.code {
        403 => Failed::Forbidden(Why::of(status)),
        404 => Failed::Missing,
        _ => Failed::Other,
    }
}

fn event(node: &str, subject: &Subject, reason: &str, message: &str, now: Timestamp) -> Value {
    let namespace = subject.namespace();
    let about = match subject {
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
            about
        }
        // The kubelet's events of a node have its name for its uid, and kubectl looks for that.
        Subject::Node(name) => {
            json!({ "apiVersion": "v1", "kind": "Node", "name": name, "uid": name })
        }
    };
    let time = seconds(now);
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "namespace": namespace, "generateName": "netdiag." },
        "involvedObject": about,
        "type": "Warning", "reason": reason, "message": short(message),
        "source": { "component": "netdiag", "host": node },
        "firstTimestamp": time, "lastTimestamp": time, "count": 1,
    })
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
    fn an_event_is_about_its_pod_or_its_node() {
        let pod = Subject::Pod {
            namespace: "shop".into(),
            name: "cart-0".into(),
            uid: None,
        };
        let made = event("node-a", &pod, "NoRoute", "no route", Timestamp::UNIX_EPOCH);
        assert_eq!(made["metadata"]["namespace"], "shop");
        assert_eq!(made["involvedObject"]["name"], "cart-0");
        assert_eq!(made["firstTimestamp"], "1970-01-01T00:00:00Z");
        let node = Subject::Node("node-a".into());
        let long = "é".repeat(MESSAGE * 2);
        let made = event("node-a", &node, "NoRoute", &long, Timestamp::UNIX_EPOCH);
        assert_eq!(
            (
                &made["metadata"]["namespace"],
                &made["involvedObject"]["uid"]
            ),
            (&json!("default"), &json!("node-a"))
        );
        assert_eq!(
            made["message"].as_str().map(|m| m.chars().count()),
            Some(MESSAGE)
        );
    }
}
