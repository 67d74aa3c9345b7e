//! What a connection asks when it is new, and what it learns of the server.
//!
//! 1. Only `HELLO` or `AUTH`, and `SELECT`, must succeed. Everything else is an extra: the cache works without it, so a
//!    server that is too old for it, or a user who may not, is no failure.
//! 2. A server of a kind that cannot be used is told by `INFO server`, before any other command is sent.

use redis::{Cmd, Pipeline, Value};

use super::result_of;
use super::server::{self, ServerId, ServerInfo};
#[cfg(any(feature = "cluster", feature = "sentinel"))]
use super::target::Part;
use super::target::{Place, Target};
use crate::error::{Error, ErrorKind, Result};

/// What a connection has learnt of its server.
#[derive(Clone, Debug, Default)]
pub(super) struct Met {
    /// The server's `run_id`, which tells it from another server, if it sends one.
    pub(super) run_id: Option<String>,
    /// The replication id, which names the history of the server's data: a server that was a replica meanwhile, and took
    /// its primary's data for its own, has another one. A server may not send it.
    pub(super) replication_id: Option<String>,
    /// The connection's id there, to close it by.
    pub(super) id: Option<i64>,
    /// The part that it has, if it was asked.
    #[cfg(feature = "sentinel")]
    pub(super) role: Option<Role>,
}

impl Met {
    /// The server, and the history of its data.
    pub(super) fn server(&self) -> Option<ServerId> {
        self.run_id.as_ref().map(|run_id| ServerId {
            run_id: run_id.clone(),
            replication_id: self.replication_id.clone(),
        })
    }

    /// What a connection that was idle for long is asked before it is used: whether anybody is there, and if the server
    /// says so, whether its data is still that of the same history. A primary that was a replica meanwhile does not always
    /// close its connections.
    pub(super) fn question(&self) -> Cmd {
        match self.replication_id {
            Some(_) => server::ask_replication(),
            None => redis::cmd("PING"),
        }
    }

    /// Whether the connection may be used after this answer to [`Met::question`].
    pub(super) fn is_confirmed_by(&self, answer: &Value) -> bool {
        let id = server::replication_id(answer);
        // Whatever else it says, it is there.
        id.is_none() || id == self.replication_id
    }
}

/// Adds what follows `HELLO` or `AUTH`. [`read`] takes the replies.
pub(super) fn write(target: &Target, greeting: &mut Pipeline) {
    if target.db != 0 {
        greeting.cmd("SELECT").arg(target.db);
    }
    for (name, value) in [
        ("LIB-NAME", "nearcache"),
        ("LIB-VER", env!("CARGO_PKG_VERSION")),
    ] {
        greeting.cmd("CLIENT").arg("SETINFO").arg(name).arg(value);
    }
    if let Some(name) = &target.client_name {
        greeting.cmd("CLIENT").arg("SETNAME").arg(name);
    }
    greeting.cmd("INFO").arg("server");
    greeting.add_command(server::ask_replication());
    greeting.cmd("CLIENT").arg("ID");
    #[cfg(feature = "sentinel")]
    if matches!(target.part, Part::Primary | Part::Replica) {
        greeting.cmd("ROLE");
    }
    #[cfg(feature = "cluster")]
    if target.part == Part::ReadOnly {
        greeting.cmd("READONLY");
    }
}

/// Reads the replies to what [`write`] added.
///
/// # Errors
/// `InvalidConfig` for a server of a kind that cannot be used; the server's own if it refuses the database.
pub(super) fn read(target: &Target, mut replies: Vec<Value>) -> Result<Met> {
    let mut met = Met::default();
    #[cfg(feature = "cluster")]
    if target.part == Part::ReadOnly
        && let Some(Err(error)) = replies.pop().map(result_of)
    {
        tracing::debug!(%error, "READONLY was refused: the primary is read from");
    }
    #[cfg(feature = "sentinel")]
    if matches!(target.part, Part::Primary | Part::Replica) {
        // A user who may not ask it is told by the first write whether this is a replica.
        met.role = replies.pop().and_then(|role| role_of(&role));
    }
    if let Some(Value::Int(id)) = replies.pop() {
        met.id = Some(id);
    }
    met.replication_id = replies.pop().as_ref().and_then(server::replication_id);
    match replies.pop().map(result_of) {
        Some(Ok(info)) => {
            if let Ok(info) = ServerInfo::from_info(&info) {
                usable(target, &info)?;
            }
            met.run_id = server::run_id(&info);
        }
        Some(Err(error)) if error.kind() == ErrorKind::Auth => return Err(error),
        Some(Err(error)) => tracing::debug!(%error, "INFO was refused"),
        None => {}
    }
    if target.client_name.is_some()
        && let Some(Err(error)) = replies.pop().map(result_of)
    {
        tracing::debug!(%error, "the connection has no name, because CLIENT SETNAME was refused");
    }
    if target.db != 0 {
        replies
            .into_iter()
            .next()
            .map_or(Ok(Value::Nil), result_of)?;
    }
    Ok(met)
}

/// Whether a server of this kind holds the keys that it is asked for.
fn usable(target: &Target, server: &ServerInfo) -> Result<()> {
    #[cfg(feature = "sentinel")]
    if target.part == Part::Sentinel {
        return match &*server.mode {
            "sentinel" => Ok(()),
            _ => Err(Error::new(
                ErrorKind::InvalidConfig,
                super::sentinel::NO_SENTINEL,
            )),
        };
    }
    let of_cluster = matches!(target.place, Place::Node(_));
    let why = match &*server.mode {
        "cluster" if of_cluster => return Ok(()),
        "cluster" => Error::CLUSTER,
        "standalone" if of_cluster && server.is_at_least(3, 0) => {
            "this server belongs to no Cluster, so write redis:// in the URL"
        }
        "sentinel" => {
            "this is a Sentinel; give the address of the primary, or redis-sentinel://HOST:PORT/NAME"
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::InvalidConfig, why))
}

/// The part that a server says to have.
#[cfg(feature = "sentinel")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    /// `linked`: whether its primary tells it what is written.
    Replica {
        linked: bool,
    },
    Other,
}

/// Reads the reply of `ROLE`: `master ...`, or `slave HOST PORT STATE OFFSET`.
#[cfg(feature = "sentinel")]
fn role_of(reply: &Value) -> Option<Role> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let word = |at: usize| match parts.get(at)? {
        Value::BulkString(word) => Some(&word[..]),
        Value::SimpleString(word) => Some(word.as_bytes()),
        _ => None,
    };
    Some(match word(0)? {
        b"master" => Role::Primary,
        b"slave" | b"replica" => Role::Replica {
            linked: word(3) == Some(b"connected"),
        },
        _ => Role::Other,
    })
}
