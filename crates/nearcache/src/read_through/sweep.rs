//! Going through the keys of a server page by page, and deleting what is found.
//!
//! Redis's guarantee: a key that is there from the beginning of a scan to its end is returned, perhaps
//! more than once.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use crate::connect::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::resilience::direct;

/// How many keys the server looks at for one page, unless something else is asked for.
pub(crate) const PAGE: usize = 1_000;

/// The pattern of a whole key space.
pub(crate) const EVERYTHING: &[u8] = b"*";

/// One page of the keys that match, and the cursor of the next; 0 after the last.
pub(crate) async fn page(
    node: &dyn Backend,
    cursor: u64,
    pattern: &[u8],
    count: usize,
    limit: Duration,
) -> Result<(u64, Vec<Vec<u8>>)> {
    let mut command = redis::cmd("SCAN");
    command
        .arg(cursor)
        .arg("MATCH")
        .arg(pattern)
        .arg("COUNT")
        .arg(count);
    let reply = direct::request(node, &command, limit).await?;
    redis::from_redis_value(reply).map_err(|_| {
        Error::new(
            ErrorKind::Protocol,
            "SCAN was answered with no cursor and keys",
        )
        .on_host(node.common().host())
    })
}

/// How far a sweep has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    /// How many scans it has ended: one of the leases for each server, then one of the keys for each.
    scans: usize,
    /// Where the one that is under way goes on.
    cursor: u64,
}

/// Deletes the keys that match, and before them every lease of the key space; says how many keys of the
/// user's that were. It begins at a position, and tells each that it comes to, where it may be ended.
///
/// The leases first, all of them: only then can no load that began before fill what has just been
/// deleted. (A load of a key that does not match is fenced, too; it is asked for again.)
///
/// model: Action::ClearLeases, Action::ClearKeys
pub(crate) async fn matching(
    backend: &dyn Backend,
    keyspace: &Keyspace,
    pattern: &[u8],
    limit: Duration,
    from: Position,
    come_to: impl Fn(Position) -> Result<()>,
) -> Result<u64> {
    let nodes = backend.nodes();
    let nodes: Vec<&dyn Backend> = if nodes.is_empty() {
        vec![backend]
    } else {
        nodes
            .iter()
            .map(|node: &Arc<dyn Backend>| &**node)
            .collect()
    };
    let everything = pattern == EVERYTHING;
    let (leases, keys) = (keyspace.leases(), keyspace.pattern(pattern));
    let (mut position, mut deleted) = (from, 0);
    while position.scans < 2 * nodes.len() {
        let node = nodes[position.scans % nodes.len()];
        let of_leases = position.scans < nodes.len();
        let pattern = if of_leases { &leases } else { &keys };
        let (next, mut found) = page(node, position.cursor, pattern, PAGE, limit).await?;
        if of_leases {
            found.retain(|key| keyspace.is_lease(key));
            unlink(node, found, limit).await?;
        } else {
            let (users, others): (Vec<_>, Vec<_>) = found
                .into_iter()
                .partition(|key| keyspace.user(key).is_some());
            deleted += unlink(node, users, limit).await?;
            // Without entries, the counters of their tags are of no use.
            let counter = |key: &Vec<u8>| everything && keyspace.is_counter(key);
            let counters = others.into_iter().filter(counter).collect();
            unlink(node, counters, limit).await?;
        }
        position.cursor = next;
        if next == 0 {
            position.scans += 1;
        }
        come_to(position)?;
    }
    Ok(deleted)
}

async fn unlink(node: &dyn Backend, keys: Vec<Vec<u8>>, limit: Duration) -> Result<u64> {
    if keys.is_empty() {
        return Ok(0);
    }
    let mut command = Cmd::new();
    command.arg("UNLINK").arg(keys);
    match direct::request(node, &command, limit).await? {
        Value::Int(count) => Ok(count.max(0).unsigned_abs()),
        other => Err(Error::unexpected("UNLINK", &other)),
    }
}
