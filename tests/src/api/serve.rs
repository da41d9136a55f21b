//! The server's side: requests, lists and watches.
use std::{collections::HashMap, convert::Infallible, net::TcpListener, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::sync::{broadcast::error::RecvError, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::{Gone, Shared, Signal, State, TOKEN, exec, writes};

/// How often a watch that asked for it hears where it is.
const BOOKMARK: Duration = Duration::from_millis(500);
/// API servers from 1.32 on stream lists by default.
const STREAMING: u32 = 32;

pub type Body = BoxBody<Bytes, std::io::Error>;

pub struct Kind {
    pub resource: &'static str,
    group: &'static str,
    name: &'static str,
}

const KINDS: [Kind; 7] = [
    kind("pods", "v1", "Pod"),
    kind("services", "v1", "Service"),
    kind("nodes", "v1", "Node"),
    kind("configmaps", "v1", "ConfigMap"),
    kind("jobs", "batch/v1", "Job"),
    kind("events", "v1", "Event"),
    kind("endpointslices", "discovery.k8s.io/v1", "EndpointSlice"),
];

const fn kind(resource: &'static str, group: &'static str, name: &'static str) -> Kind {
    Kind {
        resource,
        group,
        name,
    }
}

/// A request, as far as it matters.
pub struct Asked {
    pub kind: &'static Kind,
    pub namespace: Option<String>,
    pub name: Option<String>,
    subresource: Option<String>,
    query: HashMap<String, String>,
    /// The words of `command`, which comes once for each.
    pub command: Vec<String>,
}

pub fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    tls: Arc<ServerConfig>,
    mut ended: watch::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a listener");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let tls = TlsAcceptor::from(tls);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = ended.changed() => return,
            };
            let Ok((stream, _)) = accepted else { continue };
            let (tls, shared) = (tls.clone(), shared.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let certified = stream.get_ref().1.peer_certificates().is_some();
                let service = service_fn(move |request| {
                    let shared = shared.clone();
                    async move { Ok::<_, Infallible>(answer(request, &shared, certified).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let connection = http.serve_connection(TokioIo::new(stream), service);
                let _ = connection.with_upgrades().await;
            });
        }
    });
}

async fn answer(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    certified: bool,
) -> Response<Body> {
    let bearer = request.headers().get("authorization");
    let known = bearer.is_some_and(|b| b.as_bytes() == format!("Bearer {TOKEN}").as_bytes());
    if !known && !certified {
        return failure(401, "Unauthorized", "Unauthorized");
    }
    if request.uri().path() == "/version" {
        let minor = shared.state().minor.to_string();
        let version = json!({ "major": "1", "minor": minor, "gitVersion": format!("v1.{minor}.0"),
            "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "",
            "compiler": "", "platform": "" });
        return document(200, &version);
    }
    let Some(asked) = asked(request.uri()) else {
        return failure(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
    };
    let watching = asked.is("watch");
    let verb = match (request.method(), watching, &asked.name) {
        (&Method::POST, ..) => "create",
        (&Method::PATCH, ..) => "patch",
        (&Method::DELETE, ..) => "delete",
        (_, true, _) => "watch",
        (_, false, Some(_)) => "get",
        (_, false, None) => "list",
    };
    let resource = match asked.subresource.as_deref() {
        Some("exec") => "pods/exec",
        _ => asked.kind.resource,
    };
    let (delay, forbidden) = {
        let mut state = shared.state();
        state.tally(format!("{verb} {resource}"));
        let delay = state.delay.get(resource).copied();
        (delay, state.forbidden.contains(resource))
    };
    tokio::time::sleep(delay.unwrap_or_default()).await;
    if forbidden {
        let text = format!(
            "{resource} is forbidden: User \"netdiag\" cannot {verb} resource \"{resource}\""
        );
        return failure(403, "Forbidden", &text);
    }
    match (verb, asked.subresource.as_deref()) {
        (_, Some("exec")) => exec::exec(request, &asked, shared),
        ("create" | "patch", None) if resource == "events" => write(&asked, request, shared).await,
        ("create", None) => writes::create(request, &asked, shared).await,
        ("delete", None) => writes::delete(request, &asked, shared).await,
        ("watch", None) => follow(asked, shared),
        (_, None) => list(&asked, &shared.state()),
        (_, Some(_)) => failure(
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
    }
}

/// Makes an object, or merges into one that is there (RFC 7386, without what it says of null).
async fn write(asked: &Asked, request: Request<Incoming>, shared: &Arc<Shared>) -> Response<Body> {
    let body = request.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes);
    let Some(mut object) = body.ok().and_then(|it| serde_json::from_slice(&it).ok()) else {
        return failure(400, "BadRequest", "no JSON");
    };
    let resource = asked.kind.resource;
    let mut state = shared.state();
    if let Some(name) = &asked.name {
        let namespace = asked.namespace.as_deref().unwrap_or_default();
        let known = state.objects.get(resource);
        let Some(known) = known.and_then(|all| all.get(&format!("{namespace}/{name}"))) else {
            return failure(404, "NotFound", "not found");
        };
        let mut whole = known.clone();
        merge(&mut whole, &object);
        object = whole;
    } else if let Some(begins) = object["metadata"]["generateName"].as_str() {
        let name = format!("{begins}{}", state.version);
        object["metadata"]["name"] = name.into();
    }
    state.put(resource, object.clone());
    drop(state);
    let _ = shared.events.send(Signal::Changed);
    document(201, &asked.typed(&object))
}

fn merge(into: &mut Value, from: &Value) {
    match from.as_object() {
        Some(members) if into.is_object() => {
            for (name, value) in members {
                merge(&mut into[name], value);
            }
        }
        _ => *into = from.clone(),
    }
}

impl Asked {
    pub fn is(&self, flag: &str) -> bool {
        self.query
            .get(flag)
            .is_some_and(|v| v == "true" || v == "1")
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.query.get(name)?.parse().ok()
    }

    /// Whether an object is asked for: by namespace, name and field selector.
    fn wants(&self, object: &Value) -> bool {
        let meta = &object["metadata"];
        let own = |asked: &Option<String>, field: &str| {
            asked.as_deref().is_none_or(|it| meta[field] == it)
        };
        let selector = self.query.get("fieldSelector");
        let terms = selector.into_iter().flat_map(|s| s.split(','));
        let mut terms = terms.filter_map(|t| t.split_once('='));
        let labels = self.query.get("labelSelector");
        let labels = labels.into_iter().flat_map(|s| s.split(','));
        let mut labels = labels.filter_map(|t| t.split_once('='));
        labels.all(|(name, value)| meta["labels"][name] == value)
            && own(&self.namespace, "namespace")
            && own(&self.name, "name")
            && terms.all(|(path, value)| {
                let pointer = format!("/{}", path.replace('.', "/"));
                let value = value.trim_start_matches('=');
                object.pointer(&pointer).is_some_and(|found| found == value)
            })
    }

    pub fn typed(&self, object: &Value) -> Value {
        let mut object = object.clone();
        object["apiVersion"] = self.kind.group.into();
        object["kind"] = self.kind.name.into();
        object
    }
}

fn asked(uri: &hyper::Uri) -> Option<Asked> {
    let mut path = uri.path().trim_matches('/').split('/');
    match path.next()? {
        "api" => path.next()?,
        "apis" => path.nth(1)?,
        _ => return None,
    };
    let mut rest: Vec<&str> = path.collect();
    let mut namespace = None;
    if rest.len() > 2 && rest[0] == "namespaces" {
        namespace = Some(rest[1].to_owned());
        rest.drain(..2);
    }
    let kind = KINDS.iter().find(|k| k.resource == rest[0])?;
    let query = uri.query().unwrap_or_default().split('&');
    let query = query.filter_map(|pair| pair.split_once('='));
    let query: Vec<_> = query.map(|(k, v)| (k.to_owned(), decoded(v))).collect();
    let words = query.iter().filter(|(name, _)| name == "command");
    let part = |n: usize| rest.get(n).map(|name| (*name).to_owned());
    Some(Asked {
        kind,
        namespace,
        name: part(1),
        subresource: part(2),
        command: words.map(|(_, word)| word.clone()).collect(),
        query: query.into_iter().collect(),
    })
}

/// Percent-decoding of what clients escape in selectors.
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            // Forms write a blank so.
            out.push(if byte == b'+' { b' ' } else { byte });
            continue;
        }
        let code: String = bytes.by_ref().take(2).map(char::from).collect();
        out.push(u8::from_str_radix(&code, 16).unwrap_or(b'?'));
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn list(asked: &Asked, state: &State) -> Response<Body> {
    let all = state.objects.get(asked.kind.resource);
    let wanted = all.into_iter().flatten().map(|(_, object)| object);
    let wanted: Vec<&Value> = wanted.filter(|o| asked.wants(o)).collect();
    if asked.name.is_some() {
        return match wanted.first() {
            Some(object) => document(200, &asked.typed(object)),
            None => failure(404, "NotFound", "not found"),
        };
    }
    let from = asked.number("continue").unwrap_or(0) as usize;
    let limit = asked.number("limit").map_or(usize::MAX, |n| n as usize);
    let page: Vec<Value> = wanted
        .iter()
        .skip(from)
        .take(limit)
        .map(|o| asked.typed(o))
        .collect();
    let next = from.saturating_add(limit);
    let mut meta = json!({ "resourceVersion": state.version.to_string() });
    if next < wanted.len() {
        meta["continue"] = next.to_string().into();
    }
    document(
        200,
        &json!({ "kind": format!("{}List", asked.kind.name), "apiVersion": asked.kind.group,
            "metadata": meta, "items": page }),
    )
}

/// A watch: of everything first where that is asked for, then of what happens.
fn follow(asked: Asked, shared: &Arc<Shared>) -> Response<Body> {
    let mut state = shared.state();
    let streamed = asked.is("sendInitialEvents");
    if streamed && state.minor < STREAMING {
        return failure(422, "Invalid", "sendInitialEvents is forbidden for watch");
    }
    let from = asked.number("resourceVersion").unwrap_or(0);
    let (sender, receiver) = mpsc::unbounded_channel();
    if from < state.oldest && !streamed {
        let how = state.gone.unwrap_or(Gone::Status);
        state.tally("410");
        if how == Gone::Status {
            return failure(410, "Expired", "too old resource version");
        }
        let status = status(410, "Expired", "too old resource version");
        let _ = sender.send(Ok(line("ERROR", &status)));
        return streaming(receiver);
    }
    let mut seen = from;
    if streamed {
        let all = state.objects.get(asked.kind.resource);
        for object in all
            .into_iter()
            .flatten()
            .map(|(_, o)| o)
            .filter(|o| asked.wants(o))
        {
            let _ = sender.send(Ok(line("ADDED", &asked.typed(object))));
        }
        seen = state.version;
        let mut mark = bookmark(&asked, seen);
        mark["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        let _ = sender.send(Ok(line("BOOKMARK", &mark)));
    }
    let (mut events, shared) = (shared.events.subscribe(), shared.clone());
    drop(state);
    tokio::spawn(async move {
        loop {
            seen = tell(&asked, &shared.state(), seen, &sender);
            let event = tokio::time::timeout(BOOKMARK, events.recv()).await;
            match event {
                Ok(Ok(Signal::Changed) | Err(RecvError::Lagged(_))) => {}
                Ok(Ok(Signal::Cut) | Err(RecvError::Closed)) => {
                    let _ = sender.send(Err(std::io::Error::other("cut")));
                    return;
                }
                Err(_) if asked.is("allowWatchBookmarks") => {
                    let mark = line("BOOKMARK", &bookmark(&asked, seen));
                    if sender.send(Ok(mark)).is_err() {
                        return;
                    }
                }
                Err(_) => {}
            }
        }
    });
    streaming(receiver)
}

/// What has happened since; returns until when.
fn tell(
    asked: &Asked,
    state: &State,
    seen: u64,
    to: &mpsc::UnboundedSender<std::io::Result<Bytes>>,
) -> u64 {
    let new = state.log.iter().filter(|(version, ..)| *version > seen);
    for (_, resource, event, object) in new {
        if resource == asked.kind.resource && asked.wants(object) {
            let _ = to.send(Ok(line(event, &asked.typed(object))));
        }
    }
    state.version
}

fn bookmark(asked: &Asked, version: u64) -> Value {
    asked.typed(&json!({ "metadata": { "resourceVersion": version.to_string() } }))
}

fn line(event: &str, object: &Value) -> Bytes {
    // As Go writes it: the type comes first.
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n").into()
}

fn streaming(lines: mpsc::UnboundedReceiver<std::io::Result<Bytes>>) -> Response<Body> {
    let frames = stream::unfold(lines, |mut lines| async move {
        let line = lines.recv().await?;
        Some((line.map(Frame::data), lines))
    });
    response(200, StreamBody::new(frames).boxed())
}

pub fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code })
}

pub fn failure(code: u16, reason: &str, message: &str) -> Response<Body> {
    document(code, &status(code, reason, message))
}

pub fn document(code: u16, value: &Value) -> Response<Body> {
    let full = Full::new(Bytes::from(value.to_string()));
    response(code, full.map_err(|never| match never {}).boxed())
}

pub fn response(code: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}
