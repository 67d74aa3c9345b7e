//! The service: looks for a stored response, and decides what becomes of the request.

use std::convert::Infallible;
use std::fmt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::body::ResponseBody;
use super::conditions;
use super::load::{Answer, Exchange, Kind, Left, Load, call};
use super::look::Look;
use super::record::{Record, Stored};
use super::shared::{Refreshing, Shared};
use super::status::{Reason, Status};
use super::subject::{Subject, at, keys_of, resolved};
use super::tags::take_tags;
use super::terms::Terms;

/// How often a request looks for a response that others have loaded, before it asks the handler for itself.
const ATTEMPTS: usize = 3;

/// A service whose responses are cached: what a [`ResponseCacheLayer`](crate::ResponseCacheLayer) makes of one.
#[derive(Clone)]
pub struct ResponseCache<S> {
    pub(super) shared: Arc<Shared>,
    pub(super) service: S,
}

impl<S: fmt::Debug> fmt::Debug for ResponseCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache")
            .field("shared", &self.shared)
            .field("service", &self.service)
            .finish()
    }
}

type Answered<B, E> = Result<Response<ResponseBody<B>>, E>;

impl<S, Q, B> Service<Request<Q>> for ResponseCache<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send + 'static,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Answered<B, S::Error>> + Send>>;

    /// Always ready: what is stored is answered however busy the service within is, and a request that needs it waits
    /// for it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let service = self.clone();
        Box::pin(service.handle(request))
    }
}

impl<S> ResponseCache<S> {
    /// A response from what is stored.
    fn serve<B: Body<Data = Bytes>>(
        &self,
        record: Record,
        terms: &Terms,
        subject: &Subject,
        collapsed: bool,
    ) -> Response<ResponseBody<B>> {
        let now = self.shared.now();
        let length = record.body.len();
        let mut response = Response::new(ResponseBody::whole(record.body, record.trailers));
        *response.status_mut() = record.status;
        *response.headers_mut() = record.headers;
        let age = HeaderValue::from(terms.age(now).as_secs());
        response.headers_mut().insert(header::AGE, age);
        let status = match collapsed {
            true => Status::Collapsed,
            false => Status::Hit {
                left: terms.fresh_for(now),
                stale: terms.stale_for(now),
            },
        };
        self.finish(response, subject, status, Some(length))
    }

    /// Answers what the client asks of a response: its head only, or whether it has it already.
    fn finish<B: Body<Data = Bytes>>(
        &self,
        response: Response<ResponseBody<B>>,
        subject: &Subject,
        status: Status,
        length: Option<usize>,
    ) -> Response<ResponseBody<B>> {
        let known = conditions::is_known(&subject.headers, response.status(), response.headers());
        let mut response = match known {
            true => conditions::not_modified(response, ResponseBody::empty()),
            false => response,
        };
        if let (false, true, Some(length)) = (known, subject.is_head, length) {
            *response.body_mut() = ResponseBody::empty();
            let has_body = !matches!(response.status().as_u16(), 204 | 304);
            if has_body && !response.headers().contains_key(header::CONTENT_LENGTH) {
                let length = HeaderValue::from(length);
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, length);
            }
        }
        self.tell(status, response.headers_mut());
        response
    }

    fn tell(&self, status: Status, headers: &mut HeaderMap) {
        if let Some(name) = &self.shared.cache_status {
            status.write(name, headers);
        }
    }

    /// What a client gets that only wants what is stored (RFC 9111, section 5.2.1.7).
    fn not_stored<B: Body<Data = Bytes>>(&self) -> Response<ResponseBody<B>> {
        let mut response = Response::new(ResponseBody::empty());
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        self.tell(Status::NotAsked, response.headers_mut());
        response
    }

    async fn handle<Q, B>(mut self, request: Request<Q>) -> Answered<B, S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
        Q: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Send + 'static,
    {
        if !request.method().is_safe() {
            return self.write(request).await;
        }
        let (parts, body) = request.into_parts();
        let subject = Subject::of(&parts, &self.shared);
        let request = Request::from_parts(parts, body);
        match subject {
            Some(subject) => self.answer(subject, request).await,
            None => {
                let why = match *request.method() {
                    Method::GET | Method::HEAD => Reason::Bypass,
                    _ => Reason::Method,
                };
                self.forward(request, why).await
            }
        }
    }

    async fn answer<Q, B>(
        &mut self,
        subject: Subject,
        mut request: Request<Q>,
    ) -> Answered<B, S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
        Q: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Send + 'static,
    {
        let mut look = self.shared.look(&subject).await;
        // Whether others' loads are of no use to this request.
        let mut for_itself = subject.asks.is_for_new;
        for _ in 0..ATTEMPTS {
            let (key, why, previous) = match look {
                Look::Fresh(record, terms) => {
                    return Ok(self.serve(record, &terms, &subject, false));
                }
                Look::Pass(_) | Look::Never if subject.asks.is_only_if_cached => {
                    return Ok(self.not_stored());
                }
                Look::Pass(key) => return self.pass(request, &subject, key).await,
                Look::Never => return self.forward(request, Reason::Varies).await,
                Look::Missing(key, why) => (key, why, None),
                Look::Stale {
                    key,
                    record,
                    terms,
                    is_marked,
                } => {
                    let now = self.shared.now();
                    if terms.may_be_revalidated_later(&subject.asks, now) {
                        let stale = (record, terms);
                        if !subject.is_head {
                            self.renew(request, &subject, key, &stale);
                        }
                        let (record, terms) = stale;
                        return Ok(self.serve(record, &terms, &subject, false));
                    }
                    let is_fresh = terms.is_fresh(now) && !is_marked;
                    for_itself |= is_fresh || terms.is_always_stale();
                    let why = if is_fresh {
                        Reason::Request
                    } else {
                        Reason::Stale
                    };
                    (key, why, Some((record, terms)))
                }
            };
            if subject.asks.is_only_if_cached {
                return Ok(self.not_stored());
            }
            if subject.is_head {
                return self.forward(request, why).await;
            }
            let exchange = Exchange::new(request);
            let stale = previous.as_ref();
            let load = self.load(exchange.share(), &subject, stale);
            let loading = self
                .shared
                .cache
                .remember_with(&key, move || load.run())
                .tags(&subject.tags)
                .load_timeout(self.shared.wait_for);
            let loaded = match for_itself {
                true => loading.bypass().await,
                false => loading.await,
            };
            match exchange.take() {
                Left::Request(again) => request = again,
                Left::Answer(answer) => return self.led(answer, why, previous, &subject),
                Left::Panic(panic) => resume_unwind(panic),
                Left::Nothing => {
                    let mut response = Response::new(ResponseBody::empty());
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    return Ok(response);
                }
            }
            // Another's load has an answer.
            let stored = match loaded {
                Ok(bytes) => Stored::decode(bytes.0),
                Err(error) => {
                    tracing::debug!(%error, "a response could not be loaded through the cache");
                    None
                }
            };
            let now = self.shared.now();
            look = match stored {
                Some(Stored::Response(record)) if record.is_for(&subject.headers) => {
                    let terms = Terms::of_record(&self.shared.rules, &record, subject.asker);
                    if terms.satisfies(&subject.asks, now)
                        || terms.may_be_revalidated_later(&subject.asks, now)
                    {
                        return Ok(self.serve(record, &terms, &subject, true));
                    }
                    for_itself = true;
                    Look::Missing(key, why)
                }
                Some(Stored::Response(record)) => {
                    Look::Missing(subject.variant_key(&self.shared, &record), Reason::Varies)
                }
                Some(Stored::Alone) => match previous {
                    Some((record, terms)) if terms.may_replace_an_error(&subject.asks, now) => {
                        return Ok(self.serve(record, &terms, &subject, false));
                    }
                    _ => break,
                },
                Some(Stored::Pass) | None => break,
            };
        }
        self.forward(request, Reason::Bypass).await
    }

    fn load<Q, B: Body>(
        &self,
        exchange: Exchange<Q, B, S::Error>,
        subject: &Subject,
        previous: Option<&(Record, Terms)>,
    ) -> Load<S, Q, B, S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>> + Clone,
    {
        let now = self.shared.now();
        let excused = |(_, terms): &(Record, Terms)| terms.may_replace_an_error(&subject.asks, now);
        Load {
            shared: Arc::clone(&self.shared),
            service: self.service.clone(),
            exchange,
            asker: subject.asker,
            selected_by: subject.headers.clone(),
            previous: previous.map(|(record, _)| record.clone()),
            is_excused: previous.is_some_and(excused),
        }
    }

    /// The response to the request that led a load.
    fn led<B: Body<Data = Bytes>, E>(
        &self,
        answer: Answer<B, E>,
        why: Reason,
        previous: Option<(Record, Terms)>,
        subject: &Subject,
    ) -> Answered<B, E> {
        let now = self.shared.now();
        if let (Kind::Failed, Some((record, terms))) = (answer.kind, previous)
            && terms.may_replace_an_error(&subject.asks, now)
        {
            return Ok(self.serve(record, &terms, subject, false));
        }
        let status = match answer.kind {
            Kind::Passed | Kind::Failed => Status::Forwarded(why),
            Kind::Stored => Status::Stored(why),
            Kind::Validated => Status::Validated(why),
        };
        let response = answer.response?;
        Ok(self.finish(response, subject, status, None))
    }

    /// Fetches a page anew in the background, if nobody in this process does already.
    fn renew<Q, B>(
        &self,
        request: Request<Q>,
        subject: &Subject,
        key: String,
        stale: &(Record, Terms),
    ) where
        S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
        Q: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Send + 'static,
    {
        let Some(refreshing) = Refreshing::begin(&self.shared, &key) else {
            return;
        };
        let load = self.load(Exchange::new(request), subject, Some(stale));
        let (cache, tags) = (self.shared.cache.clone(), subject.tags.clone());
        tokio::spawn(async move {
            let loading = cache.remember_with(&key, move || load.run()).tags(&tags);
            if let Err(error) = loading.await {
                tracing::debug!(%error, "a stale response could not be fetched anew");
            }
            drop(refreshing);
        });
    }

    /// Asks the handler, for this request alone.
    async fn forward<Q, B>(&mut self, request: Request<Q>, why: Reason) -> Answered<B, S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>>,
        B: Body<Data = Bytes>,
    {
        let response = call(&mut self.service, request).await?;
        let (mut parts, body) = response.into_parts();
        take_tags(&mut parts, self.shared.tag_header.as_ref());
        self.tell(Status::Forwarded(why), &mut parts.headers);
        Ok(Response::from_parts(parts, ResponseBody::streamed(body)))
    }

    /// The same, for a page that is not stored. If its response could be now, the next one will.
    async fn pass<Q, B>(
        &mut self,
        request: Request<Q>,
        subject: &Subject,
        key: String,
    ) -> Answered<B, S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>>,
        B: Body<Data = Bytes>,
    {
        let asked_at = self.shared.unix_millis();
        let response = self.forward(request, Reason::Bypass).await?;
        let answered_at = self.shared.unix_millis();
        let headers = response.headers();
        let terms = Terms::of(
            &self.shared.rules,
            response.status(),
            headers,
            asked_at,
            answered_at,
            subject.asker,
        );
        let is_short = response.body().size_hint().lower() <= self.shared.body_limit as u64;
        if is_short && terms.may_be_shared() && terms.is_of_use(headers, self.shared.now()) {
            self.shared.remove(vec![key]).await;
        }
        Ok(response)
    }

    /// A request that may change what is stored: RFC 9111, section 4.4.
    async fn write<Q, B>(&mut self, request: Request<Q>) -> Answered<B, S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>>,
        B: Body<Data = Bytes>,
    {
        let (mut parts, body) = request.into_parts();
        let request = Request::from_parts(parts.clone(), body);
        let response = self.forward(request, Reason::Method).await?;
        if response.status().is_success() || response.status().is_redirection() {
            parts.method = Method::GET;
            let keys = self.keys_changed(&parts, response.headers());
            self.shared.remove(keys).await;
        }
        Ok(response)
    }

    /// The keys of the pages that a response to a write names: its own, and those of the same host that it points to.
    fn keys_changed(&self, parts: &Parts, response: &HeaderMap) -> Vec<String> {
        let mut keys = keys_of(parts, &self.shared);
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let named = response.get(name).and_then(|value| value.to_str().ok());
            if let Some(uri) = named.and_then(|location| resolved(parts, location.trim())) {
                keys.extend(keys_of(&at(parts.clone(), uri), &self.shared));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// Pins what axum's `Router::layer` asks of a service.
const _: () = {
    fn is_a_service<T: Clone + Send + Sync + 'static>() {}
    fn check() {
        is_a_service::<ResponseCache<Infallible>>();
    }
    let _ = check;
};
