//! The attributes of a call: those of the semantic conventions, and nearcache's own.

use opentelemetry::trace::SpanKind;
use opentelemetry::{KeyValue, StringValue};

use crate::error::Error;
use crate::hooks::{Call, Done};

pub(super) const KEY_GROUP: &str = "nearcache.key.group";
const CACHE: &str = "nearcache.cache";
const COMMAND: &str = "nearcache.command";
const OUTCOME: &str = "nearcache.outcome";
const ERROR: &str = "error.type";

/// Whether a command is a database operation, rather than one that waits for a loader, or for its turn.
pub(super) fn is_operation(command: &str) -> bool {
    !matches!(
        command,
        "remember"
            | "remember_many"
            | "refresh"
            | "load"
            | "rate_limiter.until_ready"
            | "lock.acquire"
            | "semaphore.acquire"
    )
}

/// A call to a server has the kind client; a call within this process is internal.
pub(super) fn kind_of(call: &Call<'_>) -> SpanKind {
    if is_operation(call.command()) && !is_embedded(call.host()) {
        SpanKind::Client
    } else {
        SpanKind::Internal
    }
}

fn is_embedded(host: &str) -> bool {
    host.starts_with("memory://")
}

/// The attributes that are the same for all calls of a hook.
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    pub(super) fn new(cache: Option<&str>) -> Self {
        let cache = cache.map(|name| KeyValue::new(CACHE, StringValue::from(name.to_owned())));
        Attributes(cache.into_iter().collect())
    }

    /// The attributes of what a cache counts.
    pub(super) fn of_cache(&self) -> &[KeyValue] {
        &self.0
    }

    pub(super) fn of_command(&self, call: &Call<'_>) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(5);
        attributes.extend_from_slice(&self.0);
        attributes.push(KeyValue::new(COMMAND, call.command()));
        attributes
    }

    /// The attributes of `nearcache.call.duration`.
    pub(super) fn of_call(
        &self,
        call: &Call<'_>,
        outcome: &'static str,
        error: Option<&Error>,
    ) -> Vec<KeyValue> {
        let mut attributes = self.of_command(call);
        attributes.push(KeyValue::new(OUTCOME, outcome));
        attributes.extend(error.map(error_type));
        attributes
    }

    /// The attributes of `db.client.operation.duration`.
    pub(super) fn of_operation(&self, call: &Call<'_>, error: Option<&Error>) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(7);
        attributes.extend_from_slice(&self.0);
        attributes.extend(of_database(call));
        attributes.extend(error.map(error_type));
        attributes
    }

    /// The attributes of a span when it begins.
    pub(super) fn of_span(&self, call: &Call<'_>) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(12);
        attributes.extend_from_slice(&self.0);
        if is_operation(call.command()) {
            attributes.extend(of_database(call));
        } else {
            attributes.push(KeyValue::new(COMMAND, call.command()));
        }
        // The conventions define it only for two operations or more.
        if call.key_count() > 1 {
            let keys = i64::try_from(call.key_count()).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("db.operation.batch.size", keys));
        }
        attributes
    }
}

/// The attributes of a span when its call has succeeded.
pub(super) fn of_outcome(call: &Call<'_>, done: &Done) -> Vec<KeyValue> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut attributes = vec![
        KeyValue::new(OUTCOME, done.outcome.as_str()),
        KeyValue::new("nearcache.bytes", number(done.bytes)),
    ];
    if call.key_count() > 1 {
        attributes.push(KeyValue::new("nearcache.hits", number(done.hits)));
        attributes.push(KeyValue::new("nearcache.misses", number(done.misses)));
    }
    attributes
}

pub(super) fn error_type(error: &Error) -> KeyValue {
    KeyValue::new(ERROR, error.kind().as_str())
}

fn of_database(call: &Call<'_>) -> impl Iterator<Item = KeyValue> {
    let host = call.host();
    let (system, server) = if is_embedded(host) {
        ("nearcache", None)
    } else {
        ("redis", Some(address(host)))
    };
    let (address, port) = server.unzip();
    [
        Some(KeyValue::new("db.system.name", system)),
        Some(KeyValue::new("db.namespace", call.db().to_string())),
        Some(KeyValue::new("db.operation.name", call.command())),
        address.map(|address| KeyValue::new("server.address", address)),
        port.flatten()
            .map(|port| KeyValue::new("server.port", i64::from(port))),
    ]
    .into_iter()
    .flatten()
}

/// Splits `host:port` and `[host]:port`; the path of a socket has no port.
fn address(host: &str) -> (String, Option<u16>) {
    let split = host.rsplit_once(':');
    match split.and_then(|(name, port)| Some((name, port.parse().ok()?))) {
        Some((name, port)) => {
            let name = name.strip_prefix('[').unwrap_or(name);
            (
                name.strip_suffix(']').unwrap_or(name).to_owned(),
                Some(port),
            )
        }
        None => (host.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_named_by_address_and_port() {
        for (host, named) in [
            ("localhost:6379", ("localhost", Some(6379))),
            ("[::1]:1", ("::1", Some(1))),
            ("/run/redis.sock", ("/run/redis.sock", None)),
            ("/run/a:b", ("/run/a:b", None)),
        ] {
            assert_eq!(address(host), (named.0.to_owned(), named.1));
        }
    }
}
