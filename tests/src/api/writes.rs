//! What is made and taken away: Jobs with their pods.
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming};
use serde_json::Value;

use super::{
    Shared, Signal, kubelet,
    serve::{Asked, Body, document, failure},
};

async fn body(request: Request<Incoming>) -> Option<Value> {
    let bytes = request.into_body().collect().await.ok()?.to_bytes();
    serde_json::from_slice(&bytes).ok()
}

pub async fn create(
    request: Request<Incoming>,
    asked: &Asked,
    shared: &Arc<Shared>,
) -> Response<Body> {
    let Some(mut object) = body(request).await else {
        return failure(400, "BadRequest", "the body is no object");
    };
    if asked.kind.resource != "jobs" {
        return failure(405, "MethodNotAllowed", "this fixture makes Jobs only");
    }
    object["metadata"]["namespace"] = asked.namespace.clone().unwrap_or_default().into();
    let late = shared.state().late;
    let Some(late) = late else {
        make(shared, &object);
        return document(201, &asked.typed(&object));
    };
    let shared = shared.clone();
    tokio::spawn(async move {
        tokio::time::sleep(late).await;
        make(&shared, &object);
    });
    failure(
        504,
        "Timeout",
        "request did not complete within the allotted timeout",
    )
}

/// The Job, and its pod.
fn make(shared: &Arc<Shared>, job: &Value) {
    let pod = {
        let mut state = shared.state();
        state.put("jobs", job.clone());
        let pod = state.pod_of(job);
        state.run(&pod);
        pod
    };
    kubelet::expire(shared, job, pod);
    let _ = shared.events.send(Signal::Changed);
}

pub async fn delete(
    request: Request<Incoming>,
    asked: &Asked,
    shared: &Arc<Shared>,
) -> Response<Body> {
    let options = body(request).await.unwrap_or_default();
    let own = |part: &Option<String>| part.clone().unwrap_or_default();
    let key = format!("{}/{}", own(&asked.namespace), own(&asked.name));
    let deleted = {
        let mut state = shared.state();
        match asked.kind.resource {
            "jobs" => state.delete_job(&key),
            "pods" => state.delete_pod(&key, options["gracePeriodSeconds"] == 0),
            _ => None,
        }
    };
    let _ = shared.events.send(Signal::Changed);
    match deleted {
        Some(object) => document(200, &asked.typed(&object)),
        None => failure(404, "NotFound", "not found"),
    }
}
