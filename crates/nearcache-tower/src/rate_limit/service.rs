//! The service: checks a request, and passes it on or answers it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use nearcache::patterns::{Decision, WhenAway};
use tower_service::Service;

use super::RateLimitLayer;
use super::fields::write_retry_after;
use super::key::WithoutKey;
use super::layer::Shared;

/// When to come again, if the limit could not be checked.
const UNKNOWN: Duration = Duration::from_secs(2);

/// A service whose requests are limited: what a [`RateLimitLayer`] makes of one.
#[derive(Clone)]
pub struct RateLimit<S> {
    pub(super) shared: Arc<Shared>,
    pub(super) service: S,
}

impl<S: fmt::Debug> fmt::Debug for RateLimit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("shared", &self.shared)
            .field("service", &self.service)
            .finish()
    }
}

/// What becomes of a request.
enum Verdict {
    Pass(Option<Decision>),
    /// With the time after which to come again, if there is one.
    TooMany(Option<Decision>, Option<Duration>),
}

impl Shared {
    async fn judge(&self, parts: &http::request::Parts) -> Verdict {
        let key = match (self.key.of(parts), self.without_key) {
            (Some(key), _) => key,
            (None, WithoutKey::Together) => RateLimitLayer::NO_KEY.into(),
            (None, WithoutKey::Allow) => return Verdict::Pass(None),
            (None, WithoutKey::Deny) => return Verdict::TooMany(None, None),
        };
        let cost = self.cost.as_ref().map_or(1, |cost| cost(parts));
        match self.limiter.check(key).cost(cost).await {
            Ok(decision) if decision.is_allowed() => Verdict::Pass(Some(decision)),
            Ok(decision) => Verdict::TooMany(Some(decision), Some(decision.retry_after())),
            Err(error) => {
                tracing::warn!(%error, "a rate limit could not be checked");
                match self.limiter.away() {
                    WhenAway::Deny => Verdict::TooMany(None, Some(UNKNOWN)),
                    _ => Verdict::Pass(None),
                }
            }
        }
    }
}

impl<S, Q, B> Service<Request<Q>> for RateLimit<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Send + 'static,
    B: Default + Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        // The one that is ready is used; its clone may not be.
        let next = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, next);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let verdict = shared.judge(&parts).await;
            let (decision, mut response) = match verdict {
                Verdict::Pass(decision) => {
                    let request = Request::from_parts(parts, body);
                    (decision, service.call(request).await?)
                }
                Verdict::TooMany(decision, after) => {
                    let mut response = Response::new(B::default());
                    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                    if let Some(after) = after {
                        write_retry_after(after, response.headers_mut());
                    }
                    (decision, response)
                }
            };
            if let Some(decision) = decision {
                shared.fields.write(&decision, response.headers_mut());
            }
            Ok(response)
        })
    }
}
