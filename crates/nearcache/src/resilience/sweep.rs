//! Scanning the keys of a server page by page, and deleting matches.
//!
//! Redis guarantees that a scan returns every key that exists from its beginning to its end, perhaps more than once.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use super::Guarded;
use super::guarded::LEAST;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;

/// The default number of keys that the server examines for one page.
pub(crate) const PAGE: usize = 1_000;

/// The pattern that matches a whole keyspace.
pub(super) const EVERYTHING: &[u8] = b"*";

impl Guarded {
    /// One page of the matching keys, without those that this process has invalidated, and the cursor of the next page;
    /// 0 after the last.
    pub(crate) async fn page(
        &self,
        cursor: u64,
        pattern: &[u8],
        count: usize,
        limit: Duration,
    ) -> Result<(u64, Vec<Vec<u8>>)> {
        let begun = self.begin();
        loop {
            let epoch = self.outbox().epoch();
            let left = self.left_of(limit, begun).max(LEAST);
            let listed = if self.outbox().is_waiting() {
                let listing = self.outbox().listing();
                // What the background deletes while the page is on its way would not be hidden any more.
                let hold = || self.outbox().hold();
                let held = self.runtime().timeout(left, hold).await;
                let _held = held.ok_or_else(|| self.gave_up(limit))?;
                let left = self.left_of(limit, begun).max(LEAST);
                let (next, mut keys) = page(self, cursor, pattern, count, false, left).await?;
                listing.hide(&mut keys);
                self.drain(limit);
                (next, keys)
            } else {
                page(self, cursor, pattern, count, false, left).await?
            };
            // Read the page again if it may be another server's.
            if self.outbox().epoch() == epoch {
                return Ok(listed);
            }
        }
    }

    /// Deletes the matching keys on every primary. Returns how many of them were users' keys.
    pub(crate) async fn sweep(
        self: &Arc<Self>,
        keyspace: &Keyspace,
        pattern: &[u8],
        limit: Duration,
    ) -> Result<u64> {
        let primaries = self.primaries();
        let owed = |primary: &Arc<Guarded>| primary.outbox().number_of(keyspace, pattern);
        let servers = |primary: &Arc<Guarded>| primary.outbox().servers();
        let mut deleted = 0;
        loop {
            let owed: Vec<_> = primaries.iter().map(owed).collect();
            let before: Vec<_> = primaries.iter().map(servers).collect();
            deleted += matching(primaries, keyspace, pattern, limit).await?;
            // A server that took another's place meanwhile may have more than was deleted there.
            if primaries.iter().map(servers).ne(before) {
                continue;
            }
            let now = self.runtime().now();
            for (primary, owed) in primaries.iter().zip(owed) {
                let outbox = primary.outbox();
                outbox.record_sweep(keyspace, pattern, owed, now);
            }
            return Ok(deleted);
        }
    }

    /// Keeps a sweep that was not acknowledged. Returns whether it could be kept. Each primary repeats its own sweep,
    /// because a key and its lease are on the same primary.
    pub(crate) fn defer_sweep(self: &Arc<Self>, keyspace: &Keyspace, pattern: &[u8]) -> bool {
        let mut kept = true;
        for primary in self.primaries() {
            kept &= primary.outbox().defer_sweep(keyspace, pattern);
        }
        kept
    }

    /// Clears this prefix whenever another server takes a primary's place.
    pub(crate) fn clear_on_loss(self: &Arc<Self>, keyspace: &Keyspace) {
        for primary in self.primaries() {
            primary.outbox().clear_on_loss(keyspace);
        }
    }

    /// Undoes [`Guarded::clear_on_loss`].
    pub(crate) fn keep_on_loss(self: &Arc<Self>, keyspace: &Keyspace) {
        for primary in self.primaries() {
            primary.outbox().forget(keyspace);
        }
    }
}

/// One page of the matching keys, and the cursor of the next page. `strings`: only keys that hold a string.
pub(super) async fn page(
    primary: &Guarded,
    cursor: u64,
    pattern: &[u8],
    count: usize,
    strings: bool,
    limit: Duration,
) -> Result<(u64, Vec<Vec<u8>>)> {
    let mut command = redis::cmd("SCAN");
    command
        .arg(cursor)
        .arg("MATCH")
        .arg(pattern)
        .arg("COUNT")
        .arg(count);
    let reply = if strings {
        let mut typed = command.clone();
        typed.arg("TYPE").arg("string");
        primary.directly(&typed, limit).await
    } else {
        primary.directly(&command, limit).await
    };
    match reply {
        // Redis knows `TYPE` since 6.0.
        Err(error) if strings && error.detail().contains("syntax error") => {
            let (next, found) = cursor_and_keys(primary, primary.directly(&command, limit).await?)?;
            let keys = found.iter().map(Vec::as_slice);
            let mut are = self::strings(primary, keys, limit).await?.into_iter();
            let mut found = found;
            found.retain(|_| are.next() == Some(true));
            Ok((next, found))
        }
        reply => cursor_and_keys(primary, reply?),
    }
}

fn cursor_and_keys(primary: &Guarded, reply: Value) -> Result<(u64, Vec<Vec<u8>>)> {
    redis::from_redis_value(reply).map_err(|_| {
        Error::new(ErrorKind::Protocol, "SCAN did not return a cursor and keys")
            .on_host(primary.host())
    })
}

/// Which of these keys hold a string. If the server does not permit the question, all of them count as strings.
pub(super) async fn strings<'k>(
    primary: &Guarded,
    keys: impl Iterator<Item = &'k [u8]>,
    limit: Duration,
) -> Result<Vec<bool>> {
    let mut types = Pipeline::new();
    for key in keys {
        types.cmd("TYPE").arg(key);
    }
    if types.is_empty() {
        return Ok(Vec::new());
    }
    let replies = primary.directly(&types, limit).await?;
    Ok(replies
        .iter()
        .map(|reply| match reply {
            Value::SimpleString(kind) => kind == "string",
            Value::ServerError(_) => true,
            _ => false,
        })
        .collect())
}

/// Deletes every lease of the keyspace, and then the matching keys. Returns how many of them were users' keys.
///
/// All leases go first: only then can no earlier load fill a key that was just deleted. (A load of a key that does not
/// match is fenced too; it is repeated.)
///
/// model: Action::ClearLeases, Action::ClearKeys
async fn matching(
    primaries: &[impl Borrow<Guarded>],
    keyspace: &Keyspace,
    pattern: &[u8],
    limit: Duration,
) -> Result<u64> {
    let everything = pattern == EVERYTHING;
    let mut deleted = 0;
    for (of_leases, pattern) in [
        (true, keyspace.leases()),
        (false, keyspace.pattern(pattern)),
    ] {
        for primary in primaries {
            let (primary, mut cursor) = (primary.borrow(), 0);
            loop {
                let (next, mut found) = page(primary, cursor, &pattern, PAGE, false, limit).await?;
                if of_leases {
                    found.retain(|key| keyspace.is_lease(key));
                    unlink(primary, &found, limit).await?;
                } else {
                    let (users, mut others): (Vec<_>, Vec<_>) = found
                        .into_iter()
                        .partition(|key| keyspace.user(key).is_some());
                    deleted += unlink(primary, &users, limit).await?;
                    // Without entries, tag versions and the index have no use.
                    others.retain(|key| everything && keyspace.is_tag_or_index(key));
                    unlink(primary, &others, limit).await?;
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
    }
    Ok(deleted)
}

pub(super) async fn unlink(primary: &Guarded, keys: &[Vec<u8>], limit: Duration) -> Result<u64> {
    if keys.is_empty() {
        return Ok(0);
    }
    let mut command = Cmd::new();
    command.arg("UNLINK").arg(keys);
    match primary.directly(&command, limit).await? {
        Value::Int(count) => Ok(count.max(0).unsigned_abs()),
        other => Err(Error::unexpected("UNLINK", &other)),
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use nearcache_embedded::Store;
    use parking_lot::Mutex;
    use redis::Arg;

    use super::*;
    use crate::connect::target::{Place, Target};
    use crate::connect::{Backend, BoxFuture, Common, Dedicated, Terms, over_store};
    use crate::runtime::Runtime;

    const LIMIT: Duration = Duration::from_secs(10);

    type Log = Arc<Mutex<Vec<Vec<u8>>>>;

    /// A store that records the scanned patterns, with further primaries as its nodes.
    #[derive(Debug)]
    struct Primary {
        store: Arc<dyn Backend>,
        scans: Log,
        /// Whether its `SCAN` knows no `TYPE`.
        old: bool,
        nodes: Vec<Arc<dyn Backend>>,
    }

    impl Backend for Primary {
        fn request<'a>(&'a self, command: &'a Cmd, terms: Terms) -> BoxFuture<'a, Result<Value>> {
            let args: Vec<_> = command.args_iter().collect();
            if let [Arg::Simple(b"SCAN"), _, _, Arg::Simple(pattern), ..] = args[..] {
                self.scans.lock().push(pattern.to_vec());
                if self.old && args.contains(&Arg::Simple(b"TYPE")) {
                    let refused = Error::new(ErrorKind::Server, "ERR syntax error");
                    return Box::pin(async { Err(refused) });
                }
            }
            self.store.request(command, terms)
        }

        fn pipeline<'a>(
            &'a self,
            pipeline: &'a Pipeline,
            terms: Terms,
        ) -> BoxFuture<'a, Result<Vec<Value>>> {
            self.store.pipeline(pipeline, terms)
        }

        fn nodes(&self) -> Vec<Arc<dyn Backend>> {
            self.nodes.clone()
        }

        fn dedicated(&self, limit: Duration) -> BoxFuture<'_, Result<Dedicated>> {
            self.store.dedicated(limit)
        }

        fn disconnect(&self) {}

        fn common(&self) -> &Common {
            self.store.common()
        }
    }

    /// Two primaries behind one backend. The target is a server, because a store in this process has no outbox.
    fn two_primaries(scans: &Log, old: bool) -> (Arc<Guarded>, [Store; 2]) {
        let target = Target::new(Place::Tcp {
            host: "cluster".into(),
            port: 1,
        });
        let primary = |store: &Store, nodes| -> Arc<dyn Backend> {
            Arc::new(Primary {
                store: over_store(store, &target, Runtime::Tokio).unwrap(),
                scans: Arc::clone(scans),
                old,
                nodes,
            })
        };
        let stores = [Store::new(), Store::new()];
        let nodes = stores.iter().map(|store| primary(store, Vec::new()));
        let all = primary(&Store::new(), nodes.collect());
        (Guarded::new(all, &target), stores)
    }

    #[tokio::test]
    async fn the_leases_go_first_on_all_primaries() {
        let scans = Log::default();
        let (guarded, stores) = two_primaries(&scans, false);
        let keyspace = Keyspace::new("app", ":").unwrap();
        for (number, store) in stores.iter().enumerate() {
            let key = keyspace.stored(format!("k{number}").as_bytes()).unwrap();
            let mut mset = redis::cmd("MSET");
            mset.arg(key.as_bytes()).arg("v").arg(key.lease()).arg("t");
            assert_eq!(store.connect().call(&mset), Value::Okay);
        }
        let deleted = guarded.sweep(&keyspace, EVERYTHING, LIMIT).await.unwrap();
        assert_eq!(deleted, 2);
        for store in &stores {
            let left = store.connect().call(&redis::cmd("DBSIZE"));
            assert_eq!(left, Value::Int(0));
        }
        let (leases, keys) = (keyspace.leases(), keyspace.pattern(EVERYTHING));
        assert_eq!(*scans.lock(), [leases.clone(), leases, keys.clone(), keys]);
    }

    #[tokio::test]
    async fn each_primary_keeps_a_sweep_until_it_has_acknowledged_it() {
        let (guarded, _stores) = two_primaries(&Log::default(), false);
        let keyspace = Keyspace::new("app", ":").unwrap();
        assert!(guarded.defer_sweep(&keyspace, EVERYTHING));
        let waiting = || {
            let primaries = guarded.primaries().iter();
            primaries
                .map(|primary| primary.outbox().waiting())
                .collect::<Vec<_>>()
        };
        assert_eq!(waiting(), [1, 1]);
        let ping = redis::cmd("PING");
        guarded.primaries()[1].request(&ping, LIMIT).await.unwrap();
        // In the background.
        while waiting() != [1, 0] {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_page_of_strings_has_only_strings_even_if_scan_knows_no_types() {
        for old in [false, true] {
            let (guarded, stores) = two_primaries(&Log::default(), old);
            let link = stores[0].connect();
            for command in ["SET app:string 1", "RPUSH app:list 1", "HSET app:hash f 1"] {
                let mut parts = command.split(' ');
                let mut cmd = redis::cmd(parts.next().unwrap());
                parts.for_each(|part| {
                    cmd.arg(part);
                });
                link.call(&cmd);
            }
            let primary = &guarded.primaries()[0];
            let (_, found) = page(primary, 0, b"app:*", 100, true, LIMIT).await.unwrap();
            assert_eq!(found, [b"app:string"], "{old}");
            let (_, found) = page(primary, 0, b"app:*", 100, false, LIMIT).await.unwrap();
            assert!(found.contains(&b"app:string".to_vec()), "{old}");
        }
    }
}
