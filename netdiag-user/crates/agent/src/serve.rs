//! The page and the health, over HTTP.
mod visits;

use std::{
    convert::Infallible,
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use self::visits::Visits;
use crate::page::{Format, Page};

/// A scraper's whole visit.
const VISIT: Duration = Duration::from_secs(10);
/// Until a request is there; honest clients send it with the connection.
const REQUEST: Duration = Duration::from_secs(2);
/// How often an address that another program has is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// The page is written so often at most: how many ask for it costs nothing.
const KEPT: Duration = Duration::from_secs(1);
/// The agent goes round every second; where it hangs for so long, it is not alive.
const ALIVE: Duration = Duration::from_secs(60);

/// Where it listens, or is going to.
pub struct Listener {
    address: SocketAddr,
    bound: Option<TcpListener>,
}

impl Listener {
    /// Takes the address at once. One that another program has is no error: nobody keeps the agent from
    /// watching by taking its port.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let bound =
            match TcpListener::bind(address).await {
                Err(e) if e.kind() == ErrorKind::AddrInUse => None,
                bound => Some(bound.with_context(|| {
                    format!("listening on {address} (--listen chooses another)")
                })?),
            };
        Ok(Self { address, bound })
    }

    /// Why nobody is answered there yet.
    pub fn is_taken(&self) -> bool {
        self.bound.is_none()
    }

    async fn wait(self) -> TcpListener {
        let mut bound = self.bound;
        loop {
            if let Some(listener) = bound {
                return listener;
            }
            tokio::time::sleep(AGAIN).await;
            bound = TcpListener::bind(self.address).await.ok();
            if bound.is_some() {
                log::warn!("listening on {} now", self.address);
            }
        }
    }
}

/// Answers as long as the process is there.
pub async fn serve(listener: Listener, page: Page) {
    let listener = listener.wait().await;
    let mut visits = Visits::default();
    let kept = Arc::new(Kept::default());
    loop {
        match listener.accept().await {
            Ok((stream, from)) => visits.take(from.ip(), |asked| {
                let (page, kept) = (page.clone(), kept.clone());
                tokio::spawn(visit(stream, page, kept, asked)).abort_handle()
            }),
            Err(error) => {
                // No descriptor is left, mostly: it is not tried again at once.
                log::debug!("accepting a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn visit(stream: TcpStream, page: Page, kept: Arc<Kept>, asked: Arc<AtomicBool>) {
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        let answer = answer(&page, &kept, &request);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).keep_alive(false);
    server.header_read_timeout(REQUEST);
    let visit = server.serve_connection(TokioIo::new(stream), service);
    // Who goes away before the end is nobody's concern.
    let _ = timeout(VISIT, visit).await;
}

fn answer(page: &Page, kept: &Kept, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return told(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered");
    }
    match request.uri().path() {
        "/metrics" => metrics(page, kept, request),
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

fn metrics(page: &Page, kept: &Kept, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let accept = request.headers().get(header::ACCEPT);
    let accept = accept.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    match kept.write(page, format) {
        Ok(text) => response(StatusCode::OK, format.content_type(), text),
        Err(error) => told(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("writing the page: {error}"),
        ),
    }
}

/// Each form of the page, and when it was written.
#[derive(Default)]
struct Kept(Mutex<Vec<(Format, Instant, String)>>);

impl Kept {
    fn write(&self, page: &Page, format: Format) -> Result<String, std::fmt::Error> {
        let mut forms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forms.retain(|(_, at, _)| at.elapsed() < KEPT);
        if let Some((_, _, text)) = forms.iter().find(|(of, ..)| *of == format) {
            return Ok(text.clone());
        }
        let text = page.write(format)?;
        forms.push((format, Instant::now(), text.clone()));
        Ok(text)
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
