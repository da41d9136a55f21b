//! The API's answers are as long as it likes: a list that is longer than a node needs, or a line of
//! a watch that never ends, is an error before it is memory.
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use tower::{Layer, Service};

/// A line of a watch is one object; etcd takes none above 1.5 MiB unless told to.
const LINE: usize = 8 << 20;
/// A page of a list has 250 objects.
const WHOLE: usize = 32 << 20;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
pub struct Bounded;

impl<S> Layer<S> for Bounded {
    type Service = Limiting<S>;

    fn layer(&self, inner: S) -> Limiting<S> {
        Limiting { inner }
    }
}

pub struct Limiting<S> {
    inner: S,
}

impl<S, Q, A> Service<Request<Q>> for Limiting<S>
where
    S: Service<Request<Q>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = Response<Limited<A>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let mut query = request.uri().query().unwrap_or_default().split('&');
        let watch = query.any(|word| ["watch=true", "watch=1"].contains(&word));
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Limited::new(body, watch))) })
    }
}

/// A body that fails where it becomes too long.
pub struct Limited<A> {
    body: Pin<Box<A>>,
    /// Whether lines are counted, each for itself.
    watch: bool,
    most: usize,
    had: usize,
}

impl<A> Limited<A> {
    fn new(body: A, watch: bool) -> Self {
        Self {
            body: Box::pin(body),
            watch,
            most: if watch { LINE } else { WHOLE },
            had: 0,
        }
    }

    fn count(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // What is behind the last end of a line belongs to the next.
        let mut lines = bytes.split(|byte| *byte == b'\n' && self.watch);
        let first = lines.next().unwrap_or_default();
        let mut longest = self.had + first.len();
        self.had = longest;
        for line in lines {
            self.had = line.len();
            longest = longest.max(line.len());
        }
        if longest <= self.most {
            return Ok(());
        }
        let (what, most) = (["", "a line of "][usize::from(self.watch)], self.most >> 20);
        Err(format!("the answer has {what}more than {most} MiB").into())
    }
}

impl<A> Body for Limited<A>
where
    A: Body<Data = Bytes>,
    A::Error: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(frame) = ready!(self.body.as_mut().poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Into::into)?;
        if let Some(bytes) = frame.data_ref() {
            self.count(bytes)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    async fn read(watch: bool, most: usize, text: &str) -> Result<Bytes, String> {
        let mut body = Limited::new(Full::new(Bytes::from(text.to_owned())), watch);
        body.most = most;
        let all = body.collect().await;
        all.map(|b| b.to_bytes()).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn an_answer_ends_somewhere() {
        assert_eq!(read(false, 5, "12345").await, Ok("12345".into()));
        assert!(read(false, 5, "123\n56").await.is_err());
        assert_eq!(read(true, 5, "123\n567\n").await, Ok("123\n567\n".into()));
        assert!(read(true, 5, "1\n123456").await.is_err());
        assert!(read(true, 5, "123456\n1").await.is_err());
    }

    #[test]
    fn a_line_goes_on_over_frames() {
        let mut body = Limited::new(Full::new(Bytes::new()), true);
        body.most = 5;
        assert!(body.count(b"x\n123").is_ok() && body.count(b"45").is_ok());
        let why = body.count(b"6").expect_err("too long").to_string();
        assert_eq!(why, "the answer has a line of more than 0 MiB");
        let mut body = Limited::new(Full::new(Bytes::new()), true);
        body.most = 5;
        assert!(body.count(b"12345").is_ok() && body.count(b"\n12345\n").is_ok());
    }
}
