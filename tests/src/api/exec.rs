//! A command in a container, over WebSocket: v5.channel.k8s.io, as kubelets speak it
//! (k8s.io/apimachinery, pkg/util/remotecommand).
use std::{process::Stdio, sync::Arc};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, StatusCode, body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::{
    Shared,
    serve::{Asked, Body, failure},
};

const PROTOCOL: &str = "v5.channel.k8s.io";
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;

pub fn exec(request: Request<Incoming>, asked: &Asked, shared: &Arc<Shared>) -> Response<Body> {
    let own = |part: &Option<String>| part.clone().unwrap_or_default();
    let key = format!("{}/{}", own(&asked.namespace), own(&asked.name));
    let (node, command) = {
        let state = shared.state();
        let pod = state.objects.get("pods").and_then(|all| all.get(&key));
        let node = pod.and_then(|pod| pod["spec"]["nodeName"].as_str());
        let node = node.unwrap_or_default().to_owned();
        let command = match state.containers.get(&key) {
            Some(running) if !state.is_silent(&node) => Some(running.command(&asked.command)),
            _ => None,
        };
        (node, command)
    };
    let shared = shared.clone();
    let header = request.headers().get("sec-websocket-key");
    let accept = header.map(|it| derive_accept_key(it.as_bytes()));
    let Some(accept) = accept else {
        return failure(400, "BadRequest", "you must use a WebSocket");
    };
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else {
            return;
        };
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        match command {
            Some(command) => {
                let silent = || shared.state().is_silent(&node);
                run(socket, Command::from(command), silent).await;
            }
            // A kubelet that is gone says nothing, and the connection stands.
            None => std::future::pending().await,
        }
    });
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("upgrade", "websocket".parse().expect("a value"));
    headers.insert("connection", "Upgrade".parse().expect("a value"));
    headers.insert("sec-websocket-accept", accept.parse().expect("a value"));
    headers.insert("sec-websocket-protocol", PROTOCOL.parse().expect("a value"));
    response
}

async fn run(
    socket: WebSocketStream<TokioIo<Upgraded>>,
    mut command: Command,
    silent: impl Fn() -> bool,
) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("a command in the container");
    let (mut to, mut from) = socket.split();
    let (sender, mut frames) = mpsc::channel(16);
    let stdout = tokio::spawn(frames_of(STDOUT, child.stdout.take(), sender.clone()));
    let stderr = tokio::spawn(frames_of(STDERR, child.stderr.take(), sender.clone()));
    let ended = tokio::spawn(async move {
        let _ = stdout.await;
        let _ = stderr.await;
        let code = child.wait().await.ok().and_then(|it| it.code());
        let status = status(code.unwrap_or(137)).to_string();
        let _ = sender.send(frame(STATUS, status.as_bytes())).await;
    });
    loop {
        tokio::select! {
            frame = frames.recv() => {
                let Some(frame) = frame else { break };
                // What the command says on a node that is cut off reaches nobody.
                if silent() {
                    continue;
                }
                if to.send(Message::Binary(frame)).await.is_err() {
                    break;
                }
            }
            // Whoever asked is gone: the ends of the pipes go with this, and with them what writes to them.
            message = from.next() => if !matches!(message, Some(Ok(_))) { break },
        }
    }
    ended.abort();
    let _ = to.close().await;
}

async fn frames_of(channel: u8, from: Option<impl AsyncRead + Unpin>, to: mpsc::Sender<Bytes>) {
    let mut from = from.expect("a pipe");
    let mut buffer = vec![0; 32 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 || to.send(frame(channel, &buffer[..read])).await.is_err() {
            return;
        }
    }
}

fn frame(channel: u8, bytes: &[u8]) -> Bytes {
    [&[channel][..], bytes].concat().into()
}

fn status(code: i32) -> Value {
    match code {
        0 => json!({ "metadata": {}, "status": "Success" }),
        code => json!({ "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: {code}"),
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] } }),
    }
}
