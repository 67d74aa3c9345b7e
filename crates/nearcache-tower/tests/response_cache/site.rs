//! A site: a handler behind the layer, whose runs are counted.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use nearcache::Cache;
use nearcache::embedded::{Clock, Store};
use nearcache_testkit::{Redis, random_prefix};
use nearcache_tower::{ResponseBody, ResponseCache, ResponseCacheBuilder, ResponseCacheLayer};
use tower::{BoxError, Layer, Service, ServiceExt};

/// Runs each test on the embedded store and on Redis.
macro_rules! places {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::site::Place::Embedded).await;
            })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::site::Place::Redis).await;
            })*
        }
    };
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    Embedded,
    Redis,
}

impl Place {
    /// A cache that no other test has.
    pub(crate) fn cache(self) -> Cache {
        let url = match self {
            Place::Embedded => "memory://".to_owned(),
            Place::Redis => Redis::shared().url(),
        };
        cache_at(&url, &random_prefix())
    }
}

pub(crate) fn cache_at(url: &str, prefix: &str) -> Cache {
    let builder = Cache::builder(url).prefix(prefix).timeout("5s");
    builder.build().expect("a cache")
}

/// A cache whose time is moved by the test.
pub(crate) fn timed() -> (Cache, Clock) {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let cache = Cache::builder("memory://").store(&store).build();
    (cache.expect("a cache"), clock)
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;
type Answering = dyn Fn(Request<Body>, usize) -> Answer + Send + Sync;

/// A handler. It is told how often it has run before.
#[derive(Clone)]
pub(crate) struct Handler {
    runs: Arc<AtomicUsize>,
    answer: Arc<Answering>,
}

impl Service<Request<Body>> for Handler {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        (self.answer)(request, run)
    }
}

/// A handler behind the layer.
#[derive(Clone)]
pub(crate) struct Site {
    service: ResponseCache<Handler>,
    pub(crate) layer: ResponseCacheLayer,
    runs: Arc<AtomicUsize>,
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: Option<HeaderMap>,
    /// Whether the body broke off.
    pub(crate) broken: bool,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().expect("text"))
    }
}

impl Site {
    /// A site with an async handler.
    pub(crate) fn serve<F>(
        cache: &Cache,
        options: impl FnOnce(ResponseCacheBuilder) -> ResponseCacheBuilder,
        answer: impl Fn(Request<Body>, usize) -> F + Send + Sync + 'static,
    ) -> Site
    where
        F: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
    {
        let builder = options(ResponseCacheLayer::builder(cache.clone()).cache_status("c"));
        let layer = builder.build().expect("the options are valid");
        let runs = Arc::new(AtomicUsize::new(0));
        let handler = Handler {
            runs: Arc::clone(&runs),
            answer: Arc::new(move |request, run| Box::pin(answer(request, run))),
        };
        Site {
            service: layer.layer(handler),
            layer,
            runs,
        }
    }

    /// A site that answers at once, with these headers, and with the number of the run as its body.
    pub(crate) fn with(cache: &Cache, headers: &[(&str, &str)]) -> Site {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Site::serve(
            cache,
            |options| options,
            move |_, run| {
                let response = page(run, &headers);
                async { Ok(response) }
            },
        )
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.ask("GET", path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Got {
        self.ask("GET", path, headers).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Got {
        self.try_to_ask(method, path, headers)
            .await
            .expect("an answer")
    }

    pub(crate) async fn try_to_ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Got, BoxError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "example.com");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = self.service.clone().oneshot(request).await?;
        Ok(read(response).await)
    }
}

async fn read(response: Response<ResponseBody<Body>>) -> Got {
    let (parts, mut body) = response.into_parts();
    let (mut bytes, mut trailers, mut broken) = (Vec::new(), None, false);
    while let Some(frame) = body.frame().await {
        match frame.map(parted) {
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(found)) => trailers = Some(found),
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    Got {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(bytes).expect("text"),
        trailers,
        broken,
    }
}

fn parted(frame: Frame<Bytes>) -> Result<Bytes, HeaderMap> {
    frame
        .into_data()
        .map_err(|frame| frame.into_trailers().unwrap_or_default())
}

/// A page whose body is a number.
pub(crate) fn page(
    number: usize,
    headers: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Response<Body> {
    let mut response = Response::builder();
    for (name, value) in headers {
        response = response.header(name.as_ref(), value.as_ref());
    }
    let body = Body::from(number.to_string());
    response.body(body).expect("a response")
}

/// Waits for what another task is about to do.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within ten seconds: {what}");
}
