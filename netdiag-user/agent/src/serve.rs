//! The page and the health, over HTTP.
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use crate::page::{Format, Page};

/// Connections at once; who comes then waits.
const CONNECTIONS: usize = 16;
/// A scraper's whole visit.
const VISIT: Duration = Duration::from_secs(10);
/// The agent goes round every second; where it hangs for so long, it is not alive.
const ALIVE: Duration = Duration::from_secs(60);

/// Takes the address at once, so that whoever has it already is told of.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("listening on {address} (--listen chooses another)"))
}

/// Answers as long as the process is there.
pub async fn serve(listener: TcpListener, page: Page) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = page.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let answer = answer(&page, &request);
                        async { Ok::<_, Infallible>(answer) }
                    });
                    let mut server = http1::Builder::new();
                    server.timer(TokioTimer::new()).keep_alive(false);
                    let visit = server.serve_connection(TokioIo::new(stream), service);
                    // Who goes away before the end is nobody's concern.
                    let _ = timeout(VISIT, visit).await;
                    drop(place);
                });
            }
            Err(error) => {
                // No descriptor is left, mostly: it is not tried again at once.
                log::debug!("accepting a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn answer(page: &Page, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return told(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered");
    }
    match request.uri().path() {
        "/metrics" => metrics(page, request),
        "/healthz" => {
            let (status, why) = alive(page);
            told(status, &why)
        }
        "/readyz" => {
            let (status, why) = ready(page);
            told(status, &why)
        }
        _ => told(
            StatusCode::NOT_FOUND,
            "here are /metrics, /healthz and /readyz",
        ),
    }
}

fn metrics(page: &Page, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let accept = request.headers().get(header::ACCEPT);
    let accept = accept.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    match page.write(format) {
        Ok(text) => response(StatusCode::OK, format.content_type(), text),
        Err(error) => told(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("writing the page: {error}"),
        ),
    }
}

/// Whether the agent goes round. Before its hooks are there it is about to.
pub fn alive(page: &Page) -> (StatusCode, String) {
    let silent = page
        .state()
        .alive
        .map(|at| Instant::now().duration_since(at));
    match silent {
        Some(silent) if silent >= ALIVE => {
            let why = format!("nothing was read for {} s", silent.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, why)
        }
        _ => (StatusCode::OK, "alive".to_owned()),
    }
}

/// Whether it sees what it should.
pub fn ready(page: &Page) -> (StatusCode, String) {
    let state = page.state();
    match (&state.blind, state.alive) {
        (_, None) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "hooks are being attached".to_owned(),
        ),
        (Some(why), _) => (StatusCode::SERVICE_UNAVAILABLE, format!("blind: {why}")),
        (None, _) => (
            StatusCode::OK,
            format!("ready: {} hooks attached", state.hooks),
        ),
    }
}

fn told(status: StatusCode, sentence: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
