//! How long a response may be used, and on what terms. The crate `http-cache-semantics` decides whether it may be stored
//! and how fresh it is; what it is shown is the response's fields in one canonical form, so that odd ones (quoted or
//! doubled directives, old date formats, an age that is no number) are read by the RFC here, once.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::directives::{Directives, members, seconds};
use super::fields::{date, from_millis};
use super::record::Record;

/// The statuses that may be stored without explicit freshness: RFC 9110, section 15.1, without 206.
const CACHEABLE_BY_DEFAULT: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// And those whose meaning for a cache is known.
const UNDERSTOOD: [u16; 14] = [
    200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501,
];

/// The directives that decide whether a response is stored and how long it is fresh.
const OF_A_RESPONSE: [&str; 8] = [
    "no-store",
    "no-cache",
    "private",
    "public",
    "must-revalidate",
    "s-maxage",
    "max-age",
    "immutable",
];

/// What the layer's options say about every response.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The part of its age at which a response without explicit freshness is stale; 0: at once.
    pub(super) heuristic: f32,
    /// How long a response is fresh that does not say it.
    pub(super) default_ttl: Duration,
    pub(super) stale_while_revalidate: Duration,
    pub(super) stale_if_error: Duration,
    /// How long a response that can be validated is kept past its freshness.
    pub(super) keep_for: Duration,
    pub(super) with_set_cookie: bool,
}

impl Rules {
    /// Whether a response may be fresh without saying so.
    pub(super) fn are_implicit(&self) -> bool {
        self.heuristic > 0.0 || !self.default_ttl.is_zero()
    }
}

/// Who asks, as far as it decides what may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Anonymous,
    /// With cookies, which matters where responses are stored that do not say how long they are fresh.
    Known,
    /// With `Authorization`.
    Authorized,
}

/// The terms of a response for one asker.
pub(super) struct Terms {
    policy: CachePolicy,
    directives: Directives,
    lifetime: Duration,
    windows: Windows,
    storable: bool,
}

/// How long a stale response may be used.
#[derive(Clone, Copy, Debug)]
struct Windows {
    while_revalidating: Duration,
    if_error: Duration,
    keep: Duration,
}

impl Terms {
    pub(super) fn of_record(rules: &Rules, record: &Record, asker: Asker) -> Self {
        let Record {
            status,
            headers,
            asked_at,
            answered_at,
            ..
        } = record;
        Terms::of(rules, *status, headers, *asked_at, *answered_at, asker)
    }

    /// The terms of a response: when the request was sent and the response came, in Unix milliseconds.
    pub(super) fn of(
        rules: &Rules,
        status: StatusCode,
        headers: &HeaderMap,
        asked_at: u64,
        answered_at: u64,
        asker: Asker,
    ) -> Self {
        let directives = Directives::of(headers);
        let explicit = directives.has("max-age")
            || directives.has("s-maxage")
            || headers.contains_key(header::EXPIRES);
        let implicit = !explicit && asker != Asker::Known;
        let answered = from_millis(answered_at);
        let view = view(rules, status, headers, &directives, explicit, implicit);
        let options = CacheOptions {
            shared: true,
            cache_heuristic: if implicit { rules.heuristic } else { 0.0 },
            ..CacheOptions::default()
        };
        // Its age when it came is counted by moving the time at which it came.
        let age = age_at_arrival(headers, asked_at, answered_at);
        let born = answered.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let policy = CachePolicy::new_options(&asked_by(asker), &view, born, options);
        let lifetime = policy.time_to_live(born);
        let storable = policy.is_storable()
            && super::vary::names(headers).is_some()
            && (rules.with_set_cookie || !headers.contains_key(header::SET_COOKIE))
            && !is_endless(headers);
        let windows = Windows::of(rules, &directives, headers);
        Terms {
            policy,
            directives,
            lifetime,
            windows,
            storable,
        }
    }

    /// Whether it may be stored for, and used by, other requests of such askers.
    pub(super) fn may_be_shared(&self) -> bool {
        self.storable
    }

    /// Whether storing it is of use: it is fresh for a while, or can be validated.
    pub(super) fn is_of_use(&self, headers: &HeaderMap, now: SystemTime) -> bool {
        !self.policy.is_stale(now) || has_validator(headers)
    }

    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        self.storable && !self.policy.is_stale(now)
    }

    /// Whether every use needs the handler's consent.
    pub(super) fn is_always_stale(&self) -> bool {
        self.lifetime.is_zero()
    }

    /// Whether this request may have it without asking the handler.
    pub(super) fn satisfies(&self, asks: &Asks, now: SystemTime) -> bool {
        let refused = self.policy.is_stale(now) && self.forbids_stale();
        self.storable
            && !refused
            && self
                .policy
                .before_request(&asks.view, now)
                .satisfies_without_revalidation()
    }

    pub(super) fn age(&self, now: SystemTime) -> Duration {
        self.policy.age(now)
    }

    /// How long it is still fresh.
    pub(super) fn fresh_for(&self, now: SystemTime) -> Duration {
        self.policy.time_to_live(now)
    }

    /// How long it has been stale.
    pub(super) fn stale_for(&self, now: SystemTime) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// Whether it may be used now, while a new one is fetched.
    pub(super) fn may_be_revalidated_later(&self, asks: &Asks, now: SystemTime) -> bool {
        self.storable && !asks.is_strict && self.stale_for(now) < self.windows.while_revalidating
    }

    /// Whether it may be used in place of an error.
    pub(super) fn may_replace_an_error(&self, asks: &Asks, now: SystemTime) -> bool {
        let window = match (self.forbids_stale_for_certain(), asks.stale_if_error) {
            (false, Some(asked)) => self.windows.if_error.max(asked),
            _ => self.windows.if_error,
        };
        self.storable && !asks.is_strict && self.stale_for(now) < window
    }

    /// How long it is kept past its freshness.
    pub(super) fn kept_for(&self) -> Duration {
        let windows = &self.windows;
        windows
            .keep
            .max(windows.while_revalidating)
            .max(windows.if_error)
    }

    /// RFC 9111, section 4.2.4.
    fn forbids_stale(&self) -> bool {
        self.forbids_stale_for_certain() || self.directives.has("s-maxage")
    }

    fn forbids_stale_for_certain(&self) -> bool {
        Windows::are_shut(&self.directives)
    }
}

impl Windows {
    fn of(rules: &Rules, directives: &Directives, headers: &HeaderMap) -> Self {
        let keep = match has_validator(headers) {
            true => rules.keep_for,
            false => Duration::ZERO,
        };
        // `s-maxage` forbids a stale use, unless the response itself says how long it may be stale.
        let window = |name: &str, usual: Duration| match directives.time(name) {
            _ if Windows::are_shut(directives) => Duration::ZERO,
            Some(said) => said,
            None if directives.has("s-maxage") => Duration::ZERO,
            None => usual,
        };
        Windows {
            while_revalidating: window("stale-while-revalidate", rules.stale_while_revalidate),
            if_error: window("stale-if-error", rules.stale_if_error),
            keep,
        }
    }

    fn are_shut(directives: &Directives) -> bool {
        ["must-revalidate", "proxy-revalidate", "no-cache"]
            .iter()
            .any(|name| directives.has(name))
    }
}

/// What a request says about what it may be given: RFC 9111, section 5.2.1.
#[derive(Debug)]
pub(super) struct Asks {
    view: Request<()>,
    /// Whether it wants a response that is validated now.
    pub(super) is_for_new: bool,
    /// Whether it wants no older one than it says.
    is_strict: bool,
    pub(super) forbids_storing: bool,
    pub(super) is_only_if_cached: bool,
    stale_if_error: Option<Duration>,
}

impl Asks {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let directives = Directives::of(headers);
        let mut said = Vec::new();
        for name in ["no-cache", "max-age", "min-fresh", "max-stale"] {
            directives.write(name, &mut said);
        }
        // `Pragma` counts where there is no `Cache-Control`.
        let pragma = !headers.contains_key(header::CACHE_CONTROL)
            && headers.get_all(header::PRAGMA).iter().any(|value| {
                let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
                members(&value).any(|member| member == "no-cache")
            });
        if pragma {
            said.push("no-cache".to_owned());
        }
        let is_for_new = pragma || directives.has("no-cache");
        Asks {
            view: asking(&said),
            is_for_new,
            is_strict: is_for_new || directives.has("max-age") || directives.has("min-fresh"),
            forbids_storing: directives.has("no-store"),
            is_only_if_cached: directives.has("only-if-cached"),
            stale_if_error: directives.time("stale-if-error"),
        }
    }

    /// Of a request whose directives are ignored.
    pub(super) fn nothing() -> Self {
        Asks::of(&HeaderMap::new())
    }
}

fn asking(directives: &[String]) -> Request<()> {
    let mut request = Request::new(());
    if let Ok(value) = HeaderValue::from_str(&directives.join(", ")) {
        request.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    request
}

/// A request as the policy sees it: of `Vary`, the host and the method the layer takes care itself.
fn asked_by(asker: Asker) -> Request<()> {
    let mut request = Request::new(());
    if asker == Asker::Authorized {
        let value = HeaderValue::from_static("yes");
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    request
}

/// The response as the policy sees it.
fn view(
    rules: &Rules,
    status: StatusCode,
    headers: &HeaderMap,
    directives: &Directives,
    explicit: bool,
    implicit: bool,
) -> Response<()> {
    let understood = UNDERSTOOD.contains(&status.as_u16());
    let must_understand = directives.has("must-understand");
    let mut said = Vec::new();
    for name in OF_A_RESPONSE {
        // What must be understood and is may be stored, whatever else is said to caches that do not know of it.
        if !(name == "no-store" && must_understand && understood) {
            directives.write(name, &mut said);
        }
    }
    let by_default = CACHEABLE_BY_DEFAULT.contains(&status.as_u16());
    if implicit && by_default && !rules.default_ttl.is_zero() {
        said.push(format!("max-age={}", rules.default_ttl.as_secs().max(1)));
    }
    let mut response = Response::new(());
    // Any final status may be stored if the response says so, unless it must be understood (RFC 9111, section 3).
    let says_so = explicit || directives.has("public");
    *response.status_mut() = match status {
        StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => status,
        _ if understood || must_understand || !says_so || status.is_informational() => status,
        _ => StatusCode::OK,
    };
    let view = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&said.join(", "))
        && !value.is_empty()
    {
        view.insert(header::CACHE_CONTROL, value);
    }
    for name in [header::DATE, header::EXPIRES, header::LAST_MODIFIED] {
        if headers.contains_key(&name) {
            // "0" is no date, and so in the past.
            let text = date(headers, &name).map(httpdate::fmt_http_date);
            let value = text.and_then(|text| HeaderValue::from_str(&text).ok());
            view.insert(name, value.unwrap_or(HeaderValue::from_static("0")));
        }
    }
    if let Some(pragma) = headers.get(header::PRAGMA)
        && !headers.contains_key(header::CACHE_CONTROL)
    {
        view.insert(header::PRAGMA, pragma.clone());
    }
    response
}

/// RFC 9111, section 4.2.3: how old the response was when it came. One with neither an age nor a date comes from this
/// process, and is new.
fn age_at_arrival(headers: &HeaderMap, asked_at: u64, answered_at: u64) -> Duration {
    let said = headers.contains_key(header::AGE);
    let apparent = match date(headers, &header::DATE) {
        Some(date) => {
            let whole = from_millis(answered_at / 1000 * 1000);
            whole.duration_since(date).unwrap_or_default()
        }
        None => Duration::ZERO,
    };
    let corrected = match said {
        true => stated_age(headers) + Duration::from_millis(answered_at.saturating_sub(asked_at)),
        false => Duration::ZERO,
    };
    apparent.max(corrected)
}

/// What `Age` says. What is no number, or more than one, is taken for very old: then nothing is used that is perhaps
/// stale.
fn stated_age(headers: &HeaderMap) -> Duration {
    let mut lines = headers.get_all(header::AGE).iter();
    let only = lines.next().filter(|_| lines.next().is_none());
    let age = only.and_then(|value| seconds(value.to_str().ok()?.trim()));
    Duration::from_secs(age.unwrap_or(1 << 31))
}

pub(super) fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED)
}

/// A body that is meant not to end is not waited for.
fn is_endless(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.trim_start().to_ascii_lowercase();
    kind.starts_with("text/event-stream") || kind.starts_with("multipart/x-mixed-replace")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn rules() -> Rules {
        Rules {
            heuristic: 0.0,
            default_ttl: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            keep_for: Duration::from_secs(3600),
            with_set_cookie: false,
        }
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn terms(rules: &Rules, status: u16, lines: &[(&'static str, &str)], asker: Asker) -> Terms {
        let status = StatusCode::from_u16(status).unwrap();
        Terms::of(rules, status, &headers(lines), NOW - 30, NOW, asker)
    }

    fn fresh_for(lines: &[(&'static str, &str)]) -> u64 {
        let terms = terms(&rules(), 200, lines, Asker::Anonymous);
        terms.fresh_for(from_millis(NOW)).as_secs()
    }

    #[test]
    fn what_must_not_be_shared_is_not() {
        let shared = |lines: &[(&'static str, &str)], asker| {
            terms(&rules(), 200, lines, asker).may_be_shared()
        };
        use Asker::{Anonymous, Authorized};
        let fresh = ("cache-control", "max-age=60");
        assert!(shared(&[fresh], Anonymous));
        assert!(!shared(&[fresh], Authorized));
        for allowed in [
            "public, max-age=9",
            "s-maxage=9",
            "max-age=9, must-revalidate",
        ] {
            assert!(
                shared(&[("cache-control", allowed)], Authorized),
                "{allowed}"
            );
        }
        for kept in [
            "private, max-age=9",
            "no-store, max-age=9",
            "PRIVATE=\"x\", max-age=9",
        ] {
            assert!(!shared(&[("cache-control", kept)], Anonymous), "{kept}");
        }
        for other in [
            ("set-cookie", "a=b"),
            ("vary", "accept, *"),
            ("content-type", "text/event-stream; charset=utf-8"),
        ] {
            assert!(!shared(&[fresh, other], Anonymous), "{other:?}");
        }
    }

    #[test]
    fn a_status_is_stored_if_it_is_understood_or_says_how_long() {
        let shared = |status, said| {
            let lines = [("cache-control", said)];
            terms(&rules(), status, &lines, Asker::Anonymous).may_be_shared()
        };
        assert!(shared(500, "max-age=9") && shared(299, "max-age=9") && shared(404, "public"));
        assert!(!shared(500, "no-transform") && !shared(302, "no-transform"));
        assert!(!shared(206, "max-age=9") && !shared(304, "max-age=9"));
        assert!(!shared(599, "max-age=9, must-understand"));
        assert!(shared(200, "max-age=9, must-understand, no-store"));
    }

    #[test]
    fn an_age_shortens_what_is_left_and_an_odd_one_ends_it() {
        let fresh = ("cache-control", "max-age=60");
        assert_eq!(fresh_for(&[fresh]), 60);
        assert_eq!(fresh_for(&[fresh, ("age", "20")]), 39); // and 30 ms on the way
        for odd in ["abc", "-5", "7.0", "0, 0", "7, 0", ""] {
            assert_eq!(fresh_for(&[fresh, ("age", odd)]), 0, "{odd}");
        }
        assert_eq!(fresh_for(&[fresh, ("age", "0"), ("age", "0")]), 0);
        let earlier = httpdate::fmt_http_date(from_millis(NOW - 50_000));
        assert_eq!(fresh_for(&[fresh, ("date", &earlier)]), 10);
    }

    #[test]
    fn dates_of_every_form_are_read() {
        for expires in [
            "Tue, 14 Nov 2023 23:13:20 GMT",
            "Tuesday, 14-Nov-23 23:13:20 GMT",
            "Tue Nov 14 23:13:20 2023",
        ] {
            assert_eq!(fresh_for(&[("expires", expires)]), 3600, "{expires}");
        }
        assert_eq!(fresh_for(&[("expires", "0")]), 0);
        assert_eq!(
            fresh_for(&[("expires", "0"), ("cache-control", "max-age=5")]),
            5
        );
    }

    #[test]
    fn freshness_that_is_not_said_is_given_only_if_told_and_not_to_who_has_cookies() {
        let told = Rules {
            default_ttl: Duration::from_secs(60),
            ..rules()
        };
        let left = |rules: &Rules, status, lines: &[(&'static str, &str)], asker| {
            let terms = terms(rules, status, lines, asker);
            (
                terms.fresh_for(from_millis(NOW)).as_secs(),
                terms.may_be_shared(),
            )
        };
        assert_eq!(left(&rules(), 200, &[], Asker::Anonymous), (0, true));
        assert_eq!(left(&told, 200, &[], Asker::Anonymous), (60, true));
        assert_eq!(left(&told, 200, &[], Asker::Known), (0, true));
        assert_eq!(left(&told, 200, &[], Asker::Authorized), (0, false));
        assert_eq!(left(&told, 500, &[], Asker::Anonymous), (0, false));
        assert_eq!(left(&told, 302, &[], Asker::Anonymous), (0, false));
        let said = [("cache-control", "max-age=5")];
        assert_eq!(left(&told, 200, &said, Asker::Known), (5, true));
        for no in ["no-cache", "no-store", "private"] {
            assert_eq!(
                left(&told, 200, &[("cache-control", no)], Asker::Anonymous).0,
                0,
                "{no}"
            );
        }
    }

    #[test]
    fn stale_uses_are_those_that_the_response_and_the_options_allow() {
        let told = Rules {
            stale_while_revalidate: Duration::from_secs(10),
            stale_if_error: Duration::from_secs(20),
            ..rules()
        };
        let now = from_millis(NOW + 65_000);
        let asks = Asks::nothing();
        let uses = |rules: &Rules, said: &str| {
            let terms = terms(rules, 200, &[("cache-control", said)], Asker::Anonymous);
            assert!(!terms.is_fresh(now));
            (
                terms.may_be_revalidated_later(&asks, now),
                terms.may_replace_an_error(&asks, now),
            )
        };
        assert_eq!(uses(&rules(), "max-age=60"), (false, false));
        assert_eq!(uses(&told, "max-age=60"), (true, true));
        assert_eq!(uses(&told, "max-age=50"), (false, true));
        let own = "max-age=60, stale-while-revalidate=9";
        assert_eq!(uses(&rules(), own), (true, false));
        assert_eq!(
            uses(&rules(), "s-maxage=60, stale-if-error=9"),
            (false, true)
        );
        for shut in [
            "must-revalidate",
            "proxy-revalidate",
            "s-maxage=60",
            "no-cache",
        ] {
            assert_eq!(
                uses(&told, &format!("max-age=60, {shut}")),
                (false, false),
                "{shut}"
            );
        }
    }

    #[test]
    fn a_request_says_what_it_takes() {
        let asks = |said: &str| Asks::of(&headers(&[("cache-control", said)]));
        let terms = terms(
            &rules(),
            200,
            &[("cache-control", "max-age=60")],
            Asker::Anonymous,
        );
        let (then, late) = (from_millis(NOW + 30_000), from_millis(NOW + 70_000));
        assert!(terms.satisfies(&Asks::nothing(), then));
        assert!(terms.satisfies(&asks("max-age=40"), then));
        assert!(!terms.satisfies(&asks("max-age=20"), then));
        assert!(!terms.satisfies(&asks("min-fresh=40"), then));
        assert!(!terms.satisfies(&asks("no-cache"), then));
        assert!(!terms.satisfies(&Asks::nothing(), late));
        assert!(terms.satisfies(&asks("max-stale"), late));
        assert!(terms.satisfies(&asks("max-stale=20"), late));
        assert!(!terms.satisfies(&asks("max-stale=5"), late));
        let pragma = Asks::of(&headers(&[("pragma", "no-cache")]));
        assert!(pragma.is_for_new && !terms.satisfies(&pragma, then));
    }
}
