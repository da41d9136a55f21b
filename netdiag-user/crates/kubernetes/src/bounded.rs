//! The API's answers are as long as it likes: a list that is longer than a node needs, or a line of
//! a watch that never ends, is an error before it is memory.
use std::{
    error::Error as StdError,
    fmt,
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
/// A page of a list has 250 objects, or fewer where they are large.
pub const PAGE: usize = 32 << 20;

type Error = Box<dyn StdError + Send + Sync>;

/// An answer that was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    most: usize,
    /// A line of a watch, which is one object: no shorter one can be asked for.
    line: bool,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, most) = (["", "a line of "][usize::from(self.line)], self.most >> 20);
        write!(f, "the answer has {what}more than {most} MiB")
    }
}

impl StdError for TooLong {}

impl TooLong {
    /// Whether a list failed for its length: a page of fewer objects is shorter.
    pub fn is_list(error: &(dyn StdError + 'static)) -> bool {
        let long = error.downcast_ref::<Self>();
        match (long, error.source()) {
            (Some(long), _) => !long.line,
            (None, Some(source)) => Self::is_list(source),
            (None, None) => false,
        }
    }
}

/// What is not a watch has so many bytes at most.
#[derive(Clone)]
pub struct Bounded(pub usize);

impl<S> Layer<S> for Bounded {
    type Service = Limiting<S>;

    fn layer(&self, inner: S) -> Limiting<S> {
        let Self(most) = *self;
        Limiting { inner, most }
    }
}

pub struct Limiting<S> {
    inner: S,
    most: usize,
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
        let most = if watch { LINE } else { self.most };
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Limited::new(body, watch, most))) })
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
    fn new(body: A, watch: bool, most: usize) -> Self {
        Self {
            body: Box::pin(body),
            watch,
            most,
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
        let (most, line) = (self.most, self.watch);
        Err(TooLong { most, line }.into())
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
        let all = collected(watch, most, text).await;
        all.map_err(|e| e.to_string())
    }

    async fn collected(watch: bool, most: usize, text: &str) -> Result<Bytes, Error> {
        let body = Limited::new(Full::new(Bytes::from(text.to_owned())), watch, most);
        Ok(body.collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn a_list_that_is_too_long_is_told_from_other_failures() {
        let is_list = |error: Error| TooLong::is_list(&kube::Error::Service(error));
        let list = collected(false, 5, "123456").await.expect_err("too long");
        let line = collected(true, 5, "123456").await.expect_err("too long");
        assert!(is_list(list) && !is_list(line) && !is_list("reset".into()));
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
        let mut body = Limited::new(Full::new(Bytes::new()), true, 5);
        assert!(body.count(b"x\n123").is_ok() && body.count(b"45").is_ok());
        let why = body.count(b"6").expect_err("too long").to_string();
        assert_eq!(why, "the answer has a line of more than 0 MiB");
        let mut body = Limited::new(Full::new(Bytes::new()), true, 5);
        assert!(body.count(b"12345").is_ok() && body.count(b"\n12345\n").is_ok());
    }
}
