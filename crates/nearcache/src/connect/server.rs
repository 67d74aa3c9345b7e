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

/// The `master_replid` of a primary, by `INFO replication`. That of a replica is its primary's.
pub(super) fn replication_id(reply: &Value) -> Option<String> {
    let text = text(reply)?;
    let is_primary = field(&text, "role") == Some("master");
    let id = field(&text, "master_replid").filter(|_| is_primary);
    id.map(str::to_owned)
}

/// Which server answers, and with the data of which history: a server that comes back as a primary, after it was the
/// replica of another one, is the same process, and may have lost what it had acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerId {
    pub(super) run_id: String,
    /// That of the last time it was a primary, if it says it.
    pub(super) replication_id: Option<String>,
}

impl ServerId {
    /// Takes what a newer connection says. Returns whether it is still the same server, with data of the same history.
    pub(crate) fn follow(&mut self, newer: ServerId) -> bool {
        let before = std::mem::replace(self, newer);
        if before.run_id != self.run_id {
            return false;
        }
        match (&before.replication_id, &self.replication_id) {
            (Some(id), Some(newer)) => id == newer,
            (Some(_), None) => {
                self.replication_id = before.replication_id;
                true
            }
            (None, _) => true,
        }
    }
}

#[cfg(test)]
impl From<&str> for ServerId {
    /// `RUN_ID`, or `RUN_ID REPLICATION_ID`.
    fn from(id: &str) -> Self {
        let mut words = id.split(' ').map(str::to_owned);
        ServerId {
            run_id: words.next().unwrap_or_default(),
            replication_id: words.next(),
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
    fn a_primary_that_was_a_replica_meanwhile_is_another_server() {
        let told = |role: &str| {
            let info = format!("# Replication\r\nrole:{role}\r\nmaster_replid:abc\r\n");
            replication_id(&Value::BulkString(info.into_bytes()))
        };
        assert_eq!(told("master").as_deref(), Some("abc"));
        assert_eq!(told("slave"), None);
        let mut known = ServerId::from("a");
        // What it says: the process, and the history of its data if it is a primary.
        for (says, is_same) in [
            ("a", true),
            ("a 1", true),
            ("a", true),
            ("a 1", true),
            ("a", true),
            ("a 2", false),
            ("a 2", true),
            ("b", false),
            ("b 2", true),
            ("a 2", false),
        ] {
            assert_eq!(known.follow(says.into()), is_same, "{says}");
        }
    }

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
