//! Against an API that forbids some and forgets others.
use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::Service;

use super::*;

/// Answers with each of these in turn, then with an event; and keeps what it was asked.
#[derive(Clone, Default)]
struct Fake {
    answers: Arc<Mutex<VecDeque<Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service<Request<Body>> for Fake {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let line = format!("{} {}", request.method(), request.uri().path());
        self.asked.lock().expect("nobody panics").push(line);
        let mut answers = self.answers.lock().expect("nobody panics");
        let answer = answers.pop_front();
        let answer = answer.unwrap_or_else(|| json!({ "metadata": { "name": "netdiag.x" } }));
        let code = answer["code"].as_u64().unwrap_or(201);
        let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
        *response.status_mut() = u16::try_from(code)
            .ok()
            .and_then(|it| it.try_into().ok())
            .expect("a status");
        ready(Ok(response))
    }
}

impl Fake {
    fn with(answers: impl IntoIterator<Item = Value>) -> Self {
        let fake = Self::default();
        fake.answers.lock().expect("nobody panics").extend(answers);
        fake
    }

    fn events(&self) -> Events {
        let client = Client::new(self.clone(), "default");
        Events::through(client, "node-a".to_owned(), 1000)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics").clone()
    }
}

fn refusal(code: u16, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": "x", "message": message })
}

fn stands(finding: &str, namespace: &str) -> Notice {
    Notice::Stands {
        finding: finding.to_owned(),
        subject: Subject::Pod {
            namespace: namespace.to_owned(),
            name: "cart-0".to_owned(),
            uid: None,
        },
        reason: "NoRoute".to_owned(),
        message: "no route".to_owned(),
        critical: false,
    }
}

/// Until so many were sent and so many failed.
async fn until(events: &Events, sent: u64, failed: u64) {
    let counts = events.counts();
    let now = || (counts.sent.load(Relaxed), counts.failed.load(Relaxed));
    let come = async {
        while now() != (sent, failed) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let come = timeout(Duration::from_secs(10), come).await;
    come.unwrap_or_else(|_| panic!("{:?} are not {:?}", now(), (sent, failed)));
}

#[tokio::test]
async fn one_namespace_that_refuses_does_not_end_the_others() {
    let fake = Fake::with([refusal(403, "exceeded quota: few")]);
    let events = fake.events();
    events.tell(stands("a", "shop"));
    until(&events, 0, 1).await;
    events.tell(stands("a", "web"));
    until(&events, 1, 1).await;
    events.tell(stands("b", "shop"));
    until(&events, 1, 2).await;
    let asked = ["shop", "web"].map(|it| format!("POST /api/v1/namespaces/{it}/events"));
    assert_eq!(fake.asked(), asked, "who refused is left alone for a while");
}

#[tokio::test]
async fn an_event_that_the_api_forgot_is_made_anew() {
    let made = json!({ "metadata": { "name": "netdiag.old" } });
    let fake = Fake::with([made, refusal(404, "events \"netdiag.old\" not found")]);
    let events = fake.events();
    for sent in 1..=3 {
        events.tell(stands("a", "shop"));
        until(&events, sent, 0).await;
    }
    let path = "/api/v1/namespaces/shop/events";
    let asked = [
        format!("POST {path}"),
        format!("PATCH {path}/netdiag.old"),
        format!("POST {path}"),
        format!("PATCH {path}/netdiag.x"),
    ];
    assert_eq!(fake.asked(), asked);
}
