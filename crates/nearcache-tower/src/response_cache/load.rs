//! A load: the handler is asked for a response on behalf of all who wait for it, and what may be shared of it is stored.
//!
//! It runs in a task of the cache's, under the page's lease. What only its own caller may have goes to it through an
//! [`Exchange`]: a response that is not stored is never seen by anyone else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;
use nearcache::{Loaded, Raw};
use parking_lot::Mutex;
use tower_service::Service;

use super::body::{Collected, ResponseBody, collect};
use super::record::{Record, Stored, fits};
use super::shared::Shared;
use super::tags::take_tags;
use super::terms::{Asker, Terms};
use super::{conditions, fields, vary};

/// The cache takes a response for stale so much earlier than the response itself says. Otherwise it would still hand out,
/// for a moment, what the layer no longer takes.
const EARLIER: Duration = Duration::from_millis(20);

/// What the caller of a load and the load share.
pub(super) struct Exchange<Q, B: Body, E>(Arc<Mutex<State<Q, B, E>>>);

enum State<Q, B: Body, E> {
    /// The load has not begun: another's answer may come first.
    Asked(Request<Q>),
    /// It runs, or was given up.
    Running,
    Answered(Answer<B, E>),
    Panicked(Box<dyn Any + Send>),
}

/// What a load has for its own caller.
pub(super) struct Answer<B: Body, E> {
    pub(super) response: Result<Response<ResponseBody<B>>, E>,
    pub(super) kind: Kind,
}

/// What became of the handler's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is not stored.
    Passed,
    /// It is an error, and not stored: an older response may take its place.
    Failed,
    Stored,
    /// The handler said that the stored one is still right.
    Validated,
}

/// What is left in an exchange after the call.
pub(super) enum Left<Q, B: Body, E> {
    /// The load never began.
    Request(Request<Q>),
    Answer(Answer<B, E>),
    /// The handler panicked.
    Panic(Box<dyn Any + Send>),
    /// The load was given up, as at the end of a runtime.
    Nothing,
}

impl<Q, B: Body, E> Exchange<Q, B, E> {
    pub(super) fn new(request: Request<Q>) -> Self {
        Exchange(Arc::new(Mutex::new(State::Asked(request))))
    }

    pub(super) fn share(&self) -> Self {
        Exchange(Arc::clone(&self.0))
    }

    fn begin(&self) -> Option<Request<Q>> {
        match std::mem::replace(&mut *self.0.lock(), State::Running) {
            State::Asked(request) => Some(request),
            State::Running | State::Answered(_) | State::Panicked(_) => None,
        }
    }

    fn end(&self, state: State<Q, B, E>) {
        *self.0.lock() = state;
    }

    pub(super) fn take(&self) -> Left<Q, B, E> {
        match std::mem::replace(&mut *self.0.lock(), State::Running) {
            State::Asked(request) => Left::Request(request),
            State::Running => Left::Nothing,
            State::Answered(answer) => Left::Answer(answer),
            State::Panicked(panic) => Left::Panic(panic),
        }
    }
}

/// What a load needs.
pub(super) struct Load<S, Q, B: Body, E> {
    pub(super) shared: Arc<Shared>,
    pub(super) service: S,
    pub(super) exchange: Exchange<Q, B, E>,
    pub(super) asker: Asker,
    /// The fields of the request, as the client sent them.
    pub(super) selected_by: HeaderMap,
    /// What is stored, and stale.
    pub(super) previous: Option<Record>,
    /// Whether that may take the place of an error.
    pub(super) is_excused: bool,
}

impl<S, Q, B> Load<S, Q, B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    pub(super) async fn run(self) -> Loaded<Raw> {
        let exchange = self.exchange.share();
        let Some(request) = exchange.begin() else {
            return alone();
        };
        match catch_panic(self.ask(request)).await {
            Ok((answer, loaded)) => {
                exchange.end(State::Answered(answer));
                loaded
            }
            Err(panic) => {
                exchange.end(State::Panicked(panic));
                alone()
            }
        }
    }

    async fn ask(mut self, mut request: Request<Q>) -> (Answer<B, S::Error>, Loaded<Raw>) {
        let asks_for_change = match &self.previous {
            Some(previous) => conditions::ask_for_change(request.headers_mut(), &previous.headers),
            None => {
                conditions::unconditional(request.headers_mut());
                false
            }
        };
        let asked_at = self.shared.unix_millis();
        let response = match call(&mut self.service, request).await {
            Ok(response) => response,
            Err(error) => return (failed(Err(error)), alone()),
        };
        let answered_at = self.shared.unix_millis();
        match self.previous.take() {
            Some(previous) if asks_for_change && response.status() == StatusCode::NOT_MODIFIED => {
                self.validated(previous, response, asked_at, answered_at)
            }
            previous => {
                self.answered(previous, response, asked_at, answered_at)
                    .await
            }
        }
    }

    /// The handler said that the stored response is still right.
    fn validated(
        &self,
        previous: Record,
        response: Response<B>,
        asked_at: u64,
        answered_at: u64,
    ) -> (Answer<B, S::Error>, Loaded<Raw>) {
        let (mut parts, _) = response.into_parts();
        let tags = take_tags(&mut parts, self.shared.tag_header.as_ref());
        with_date(&mut parts.headers, answered_at);
        let record = Record {
            asked_at,
            answered_at,
            headers: fields::updated(&previous.headers, parts.headers),
            tags: if tags.is_empty() { previous.tags } else { tags },
            ..previous
        };
        let whole = ResponseBody::whole(record.body.clone(), record.trailers.clone());
        let mut response = Response::new(whole);
        *response.status_mut() = record.status;
        *response.headers_mut() = record.headers.clone();
        let (kind, loaded) = match self.store(record) {
            Some(loaded) => (Kind::Validated, loaded),
            None => (Kind::Passed, self.pass()),
        };
        let answer = Answer {
            response: Ok(response),
            kind,
        };
        (answer, loaded)
    }

    /// The handler has a response.
    async fn answered(
        self,
        previous: Option<Record>,
        response: Response<B>,
        asked_at: u64,
        answered_at: u64,
    ) -> (Answer<B, S::Error>, Loaded<Raw>) {
        let (mut parts, body) = response.into_parts();
        let tags = take_tags(&mut parts, self.shared.tag_header.as_ref());
        let terms = Terms::of(
            &self.shared.rules,
            parts.status,
            &parts.headers,
            asked_at,
            answered_at,
            self.asker,
        );
        let mut headers = parts.headers.clone();
        fields::strip(&mut headers);
        let names = vary::names(&headers);
        let is_worth_it = terms.may_be_shared()
            && terms.is_of_use(&headers, self.shared.now())
            && fits(&headers)
            && tags.len() <= usize::from(u16::MAX);
        let limit = self.shared.body_limit;
        let length = stated_length(&headers);
        let is_error = is_failure(parts.status);
        let (Some(names), true) = (names, is_worth_it && !(is_error && self.is_excused)) else {
            let response = Response::from_parts(parts, ResponseBody::streamed(body));
            return match is_error {
                true => (failed(Ok(response)), alone()),
                false => (passed(response), self.pass()),
            };
        };
        if length.is_some_and(|length| length > limit as u64) {
            let response = Response::from_parts(parts, ResponseBody::streamed(body));
            return (passed(response), self.pass());
        }
        let (bytes, trailers) = match collect(body, limit).await {
            Collected::Whole { bytes, trailers } => (bytes, trailers),
            Collected::TooLong(body) => {
                return (passed(Response::from_parts(parts, body)), self.pass());
            }
            Collected::Broken(body) => {
                return (failed(Ok(Response::from_parts(parts, body))), alone());
            }
        };
        let whole = ResponseBody::whole(bytes.clone(), trailers.clone());
        let response = Response::from_parts(parts, whole);
        // What ends before its length is cut off.
        let is_cut_off = length.is_some_and(|length| length != bytes.len() as u64);
        if is_cut_off || !trailers.as_ref().is_none_or(fits) {
            return (passed(response), alone());
        }
        with_date(&mut headers, answered_at);
        let selecting = vary::select(&names, &self.selected_by);
        // The page's other variants stay reachable where this is the first of them, renewed.
        let same = previous.filter(|previous| {
            let known = previous.selecting.iter().map(|(name, _)| name);
            known.eq(&names)
        });
        let generation =
            same.map_or_else(|| fastrand::u128(..).to_be_bytes(), |same| same.generation);
        let record = Record {
            generation,
            asked_at,
            answered_at,
            status: response.status(),
            headers,
            selecting,
            trailers,
            tags,
            body: bytes,
        };
        match self.store(record) {
            Some(loaded) => {
                let answer = Answer {
                    response: Ok(response),
                    kind: Kind::Stored,
                };
                (answer, loaded)
            }
            None => (passed(response), self.pass()),
        }
    }

    /// What is to be stored of a record, and for how long; `None` if it is of no use.
    fn store(&self, record: Record) -> Option<Loaded<Raw>> {
        let terms = Terms::of_record(&self.shared.rules, &record, self.asker);
        let now = self.shared.now();
        if !terms.may_be_shared() || !terms.is_of_use(&record.headers, now) {
            return None;
        }
        let fresh = terms.fresh_for(now).saturating_sub(EARLIER);
        let kept = terms.kept_for();
        let tags = record.tags.clone();
        let loaded = Loaded::new(Raw(Stored::Response(record).encode()))
            .ttl(fresh.max(Duration::from_millis(1)))
            .exact()
            .tags(tags);
        Some(match kept.is_zero() {
            true => loaded,
            false => loaded.stale_for(kept + EARLIER),
        })
    }

    /// Those who wait need not, nor those who come.
    fn pass(&self) -> Loaded<Raw> {
        Loaded::new(Raw(Stored::Pass.encode())).ttl(self.shared.pass_for)
    }
}

/// Those who wait ask themselves.
fn alone() -> Loaded<Raw> {
    Loaded::do_not_store(Raw(Stored::Alone.encode()))
}

fn passed<B: Body, E>(response: Response<ResponseBody<B>>) -> Answer<B, E> {
    Answer {
        response: Ok(response),
        kind: Kind::Passed,
    }
}

fn failed<B: Body, E>(response: Result<Response<ResponseBody<B>>, E>) -> Answer<B, E> {
    Answer {
        response,
        kind: Kind::Failed,
    }
}

/// RFC 5861, section 4: the statuses in place of which a stale response may be used.
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// The length that a response says its body has. One that is no number is none that a body can have.
fn stated_length(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_LENGTH)?;
    let length = text.to_str().ok().and_then(|text| text.trim().parse().ok());
    Some(length.unwrap_or(u64::MAX))
}

/// A response has the date at which it came, if it does not say another.
fn with_date(headers: &mut HeaderMap, at: u64) {
    if fields::date(headers, &header::DATE).is_none() {
        let text = httpdate::fmt_http_date(fields::from_millis(at));
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(header::DATE, value);
        }
    }
}

/// Waits until the service is ready, and calls it.
pub(super) async fn call<S, Q>(
    service: &mut S,
    request: Request<Q>,
) -> Result<S::Response, S::Error>
where
    S: Service<Request<Q>>,
{
    std::future::poll_fn(|context| service.poll_ready(context)).await?;
    service.call(request).await
}

async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        // Unwind safe: after a panic, nothing of the handler's is used again.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}
