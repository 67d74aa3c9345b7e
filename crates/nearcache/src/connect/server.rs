//! The kind of the server behind a cache, asked once with `INFO server`.

use std::borrow::Cow;
use std::fmt;

use redis::{Cmd, Value};

use crate::error::{Error, Result};

/// The kind of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerKind {
    /// The store in this process.
    Embedded,
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
}

/// A server's information about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// The kind of the server.
    pub kind: ServerKind,
    /// Its version, such as `7.0.15`. For the embedded store, the version of Redis that it follows.
    pub version: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: String,
}

impl ServerInfo {
    /// Whether the version is at least this one.
    pub fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut parts = self
            .version
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
    }

    /// Parses the reply of `INFO server`.
    pub(crate) fn from_info(reply: &Value) -> Result<Self> {
        let text = text(reply).ok_or_else(|| Error::unexpected("INFO", reply))?;
        let field = |name: &str| field(&text, name);
        let (kind, version) = match (field("valkey_version"), field("redis_version")) {
            _ if field("nearcache_embedded_version").is_some() => {
                (ServerKind::Embedded, field("redis_version"))
            }
            (Some(version), _) => (ServerKind::Valkey, Some(version)),
            (None, version) => (ServerKind::Redis, version),
        };
        Ok(ServerInfo {
            kind,
            version: version.unwrap_or("unknown").to_owned(),
            mode: field("redis_mode")
                .or(field("server_mode"))
                .unwrap_or("standalone")
                .to_owned(),
        })
    }
}

/// The `run_id`, which tells a server from one that was restarted or has replaced it.
pub(super) fn run_id(reply: &Value) -> Option<String> {
    field(&text(reply)?, "run_id").map(str::to_owned)
}

/// Asks for [`replication_id`].
pub(super) fn ask_replication() -> Cmd {
    let mut info = redis::cmd("INFO");
    info.arg("replication");
    info
}

/// The `master_replid` of `INFO replication`.
pub(super) fn replication_id(reply: &Value) -> Option<String> {
    field(&text(reply)?, "master_replid").map(str::to_owned)
}

/// Which server answers, and with the data of which history: a server that comes back as a primary, after it was the
/// replica of another one, is the same process, and may have lost what it had acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerId {
    pub(super) run_id: String,
    pub(super) replication_id: Option<String>,
}

#[cfg(test)]
impl From<&str> for ServerId {
    fn from(run_id: &str) -> Self {
        ServerId {
            run_id: run_id.to_owned(),
            replication_id: None,
        }
    }
}

fn text(reply: &Value) -> Option<Cow<'_, str>> {
    match reply {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes)),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Some(text.into()),
        _ => None,
    }
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

impl fmt::Display for ServerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ServerKind::Embedded => "embedded, as Redis",
            ServerKind::Redis => "Redis",
            ServerKind::Valkey => "Valkey",
        };
        write!(f, "{kind} {} ({})", self.version, self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_and_valkey_are_told_apart() {
        let redis = Value::BulkString(
            b"# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\n".to_vec(),
        );
        let info = ServerInfo::from_info(&redis).unwrap();
        assert_eq!(
            (info.kind, &*info.version, &*info.mode),
            (ServerKind::Redis, "7.0.15", "cluster")
        );
        assert!(info.is_at_least(7, 0) && info.is_at_least(6, 2) && !info.is_at_least(7, 1));

        let text =
            "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\n".to_owned();
        let valkey = Value::VerbatimString {
            format: redis::VerbatimFormat::Text,
            text,
        };
        let info = ServerInfo::from_info(&valkey).unwrap();
        assert_eq!(info.to_string(), "Valkey 8.1.0 (standalone)");
    }

    #[test]
    fn an_answer_that_is_no_text_is_an_error() {
        assert!(ServerInfo::from_info(&Value::Int(1)).is_err());
    }
}
