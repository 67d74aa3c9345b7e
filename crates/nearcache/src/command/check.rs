//! Which commands may be sent: those whose keys are all named, and which touch nothing else.

use redis::{Arg, Cmd};

use crate::cache::check_shared;
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::StoredKey;

/// What may touch keys that are not among its arguments, or would not tell them.
const REFUSED: [&str; 24] = [
    "ACL",
    "CLUSTER",
    "CONFIG",
    "EVAL",
    "EVALSHA",
    "EVALSHA_RO",
    "EVAL_RO",
    "FCALL",
    "FCALL_RO",
    "FLUSHALL",
    "FLUSHDB",
    "FUNCTION",
    "KEYS",
    "MIGRATE",
    "MODULE",
    "MOVE",
    "PFDEBUG",
    "PFSELFTEST",
    "RANDOMKEY",
    "REPLICAOF",
    "SCAN",
    "SCRIPT",
    "SLAVEOF",
    "SWAPDB",
];

/// What may be sent without a key.
const WITHOUT_KEYS: [&str; 5] = ["DBSIZE", "ECHO", "INFO", "PING", "TIME"];

/// The name, in capitals.
pub(super) fn name(command: &Cmd) -> String {
    match command.args_iter().next() {
        Some(Arg::Simple(name)) => String::from_utf8_lossy(name).to_ascii_uppercase(),
        _ => String::new(),
    }
}

fn refused(why: &str) -> Error {
    let advice = "a `connection()` or the `shared_connection()` takes every command";
    Error::new(ErrorKind::Refused, format!("{why}; {advice}"))
}

/// Whether each of the commands only reads.
///
/// # Errors
/// `Refused`. `Server`: a command does not exist, or is not whole. Those of every call.
pub(super) async fn all<'c>(
    client: &Client,
    commands: impl IntoIterator<Item = (&'c Cmd, &'c [StoredKey])>,
) -> Result<Vec<bool>> {
    let commands: Vec<_> = commands.into_iter().collect();
    let mut rows = Vec::with_capacity(commands.len());
    for (command, _) in &commands {
        let name = by_name(command)?;
        rows.push((*command, client.command_row(&name).await?));
    }
    let found = client.keys_of(&rows).await?;
    for ((command, named), found) in commands.iter().zip(found) {
        let name = name(command);
        if found.is_empty() && named.is_empty() {
            if WITHOUT_KEYS.contains(&&*name) {
                continue;
            }
            return Err(refused(&format!("{name} names no key of the cache")));
        }
        let mut named: Vec<&[u8]> = named.iter().map(StoredKey::as_bytes).collect();
        let mut found: Vec<&[u8]> = found.iter().map(Vec::as_slice).collect();
        named.sort_unstable();
        found.sort_unstable();
        if named != found {
            let why = format!(
                "{name} has {} keys, and {} are named by `.key(..)`, or not the same ones; name each key so, and nothing \
                 else",
                found.len(),
                named.len()
            );
            return Err(refused(&why));
        }
    }
    Ok(rows.iter().map(|(_, row)| row.reads).collect())
}

/// What can be told without asking the server. Returns the name.
fn by_name(command: &Cmd) -> Result<String> {
    let name = name(command);
    if name.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidConfig,
            "a command has a name, such as ZADD",
        ));
    }
    check_shared(command)?;
    if REFUSED.contains(&&*name) {
        return Err(refused(&format!(
            "{name} may touch what does not belong to the cache"
        )));
    }
    let has = |word: &str| {
        command.args_iter().skip(1).any(
            |other| matches!(other, Arg::Simple(other) if other.eq_ignore_ascii_case(word.as_bytes())),
        )
    };
    if matches!(&*name, "SORT" | "SORT_RO") && (has("BY") || has("GET")) {
        return Err(refused(&format!(
            "{name} with BY or GET reads keys that it does not name"
        )));
    }
    if name == "COPY" && has("DB") {
        return Err(refused("COPY to another database leaves the cache"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Result<String> {
        let mut command = Cmd::new();
        for word in line.split_whitespace() {
            command.arg(word);
        }
        by_name(&command)
    }

    #[test]
    fn what_leaves_the_cache_is_told_by_its_name() {
        for line in [
            "keys *",
            "SCAN 0",
            "FlushAll",
            "FLUSHDB",
            "SELECT 1",
            "EVAL x 0",
            "evalsha x 0",
            "FCALL f 0",
            "BLPOP k 1",
            "MULTI",
            "WATCH k",
            "SUBSCRIBE c",
            "XREAD BLOCK 0 STREAMS k 0",
            "SORT k BY w_*",
            "SORT k get o_*",
            "SORT_RO k BY w_*",
            "COPY a b DB 1",
            "MOVE a 1",
            "MIGRATE h 1 k 0 1",
            "CLIENT REPLY OFF",
            "SCRIPT FLUSH",
            "CONFIG GET *",
        ] {
            assert_eq!(told(line).unwrap_err().kind(), ErrorKind::Refused, "{line}");
        }
        assert_eq!(told("").unwrap_err().kind(), ErrorKind::InvalidConfig);
        for line in [
            "zadd k 1 a",
            "SORT k ALPHA",
            "COPY a b",
            "XREAD STREAMS k 0",
        ] {
            assert!(told(line).is_ok(), "{line}");
        }
    }
}
