//! Notes every request that the API granted: a watch that goes on where it was cut says nothing by
//! itself, and is known to live all the same.
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tower::{Layer, Service};

use super::cluster_store::ClusterStore;
use crate::model::cluster::Topic;

#[derive(Clone)]
pub struct Liveness(pub ClusterStore);

impl<S> Layer<S> for Liveness {
    type Service = Heard<S>;

    fn layer(&self, inner: S) -> Heard<S> {
        let book = self.0.clone();
        Heard { inner, book }
    }
}

pub struct Heard<S> {
    inner: S,
    book: ClusterStore,
}

impl<S, Q, A> Service<Request<Q>> for Heard<S>
where
    S: Service<Request<Q>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let topic = topic(request.uri().path());
        let (book, answer) = (self.book.clone(), self.inner.call(request));
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(topic) = topic.filter(|_| answer.status().is_success()) {
                book.heard(topic);
            }
            Ok(answer)
        })
    }
}

fn topic(path: &str) -> Option<Topic> {
    let plural = |t: &Topic| t.resource().split('.').next().unwrap_or_default();
    let named = |t: &Topic| path.split('/').any(|part| part == plural(t));
    Topic::ALL.into_iter().find(named)
}
