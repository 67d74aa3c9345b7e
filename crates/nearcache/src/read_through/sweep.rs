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

/// Deletes the keys that match, and before them every lease of the key space; says how many keys of the
/// user's that were.
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
    for node in &nodes {
        unlink_all(*node, &keyspace.leases(), limit, |keys| {
            keys.retain(|key| keyspace.is_lease(key));
            Vec::new()
        })
        .await?;
    }
    let stored = keyspace.pattern(pattern);
    let mut deleted = 0;
    for node in &nodes {
        deleted += unlink_all(*node, &stored, limit, |keys| {
            let (users, others) = std::mem::take(keys)
                .into_iter()
                .partition(|key| keyspace.user(key).is_some());
            *keys = users;
            // Without entries, the counters of their tags are of no use.
            let counters = |key: &Vec<u8>| pattern == EVERYTHING && keyspace.is_counter(key);
            others.into_iter().filter(counters).collect()
        })
        .await?;
    }
    Ok(deleted)
}

/// Deletes keys of a pattern, page by page: those that `choose` leaves in the page, which are counted, and
/// those that it gives.
async fn unlink_all(
    node: &dyn Backend,
    pattern: &[u8],
    limit: Duration,
    choose: impl Fn(&mut Vec<Vec<u8>>) -> Vec<Vec<u8>>,
) -> Result<u64> {
    let (mut cursor, mut deleted) = (0, 0);
    loop {
        let (next, mut keys) = page(node, cursor, pattern, PAGE, limit).await?;
        let others = choose(&mut keys);
        deleted += unlink(node, keys, limit).await?;
        unlink(node, others, limit).await?;
        if next == 0 {
            return Ok(deleted);
        }
        cursor = next;
    }
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
