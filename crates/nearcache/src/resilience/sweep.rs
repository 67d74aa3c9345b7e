//! Scanning the keys of a server page by page, and deleting matches.
//!
//! Redis guarantees that a scan returns every key that exists from its beginning to its end, perhaps more than once.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use super::guarded::LEAST;
use super::{Guarded, Primary};
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;

/// The default number of keys that the server examines for one page.
pub(crate) const PAGE: usize = 1_000;

/// The pattern that matches a whole keyspace.
pub(super) const EVERYTHING: &[u8] = b"*";

impl Primary {
    /// One page of the matching keys, without those that this process has invalidated, and the cursor of the next page;
    /// 0 after the last.
    pub(crate) async fn page(
        &self,
        cursor: u64,
        pattern: &[u8],
        count: usize,
        limit: Duration,
    ) -> Result<(u64, Vec<Vec<u8>>)> {
        let guarded = &self.guarded;
        let begun = guarded.begin();
        loop {
            let epoch = self.outbox().epoch();
            let left = guarded.left_of(limit, begun).max(LEAST);
            let listed = if self.outbox().is_waiting() {
                let listing = self.outbox().listing();
                // What the background deletes while the page is on its way would not be hidden any more.
                let hold = || self.outbox().hold();
                let held = guarded.runtime().timeout(left, hold).await;
                let _held = held.ok_or_else(|| guarded.gave_up(limit))?;
                let left = guarded.left_of(limit, begun).max(LEAST);
                let (next, mut keys) = page(self, cursor, pattern, count, false, left).await?;
                listing.hide(&mut keys);
                guarded.drain(limit);
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
}

impl Guarded {
    /// Deletes the matching keys on every primary. Returns how many of them were users' keys.
    pub(crate) async fn sweep(
        self: &Arc<Self>,
        keyspace: &Keyspace,
        pattern: &[u8],
        limit: Duration,
    ) -> Result<u64> {
        let outbox = self.outbox();
        let mut deleted = 0;
        loop {
            let (owed, before) = (outbox.number_of(keyspace, pattern), outbox.servers());
            let (moves, moving) = self.moves(limit).await;
            deleted += self.matching(keyspace, pattern, limit).await?;
            // A key that moved from a server that was still to be scanned to one that was scanned already stays there
            // for a while, so once more is enough.
            if moving || self.moves(limit).await != (moves, false) {
                deleted += self.matching(keyspace, pattern, limit).await?;
            }
            // A server that took another's place meanwhile may have more than was deleted there.
            if outbox.servers() == before {
                outbox.record_sweep(keyspace, pattern, owed, self.runtime().now());
                return Ok(deleted);
            }
        }
    }

    /// Keeps a sweep that was not acknowledged. Returns whether it could be kept.
    pub(crate) fn defer_sweep(&self, keyspace: &Keyspace, pattern: &[u8]) -> bool {
        self.outbox().defer_sweep(keyspace, pattern)
    }

    /// Clears this prefix whenever another server takes a primary's place.
    pub(crate) fn clear_on_loss(&self, keyspace: &Keyspace) {
        self.outbox().clear_on_loss(keyspace);
    }

    /// Undoes [`Guarded::clear_on_loss`].
    pub(crate) fn keep_on_loss(&self, keyspace: &Keyspace) {
        self.outbox().forget(keyspace);
    }

    /// Deletes every lease of the keyspace, and then the matching keys. Returns how many of them were users' keys.
    ///
    /// All leases go first: only then can no earlier load fill a key that was just deleted. (A load of a key that does not
    /// match is fenced too; it is repeated.)
    ///
    /// model: Action::ClearLeases, Action::ClearKeys
    async fn matching(
        self: &Arc<Self>,
        keyspace: &Keyspace,
        pattern: &[u8],
        limit: Duration,
    ) -> Result<u64> {
        let primaries = self.primaries(limit).await?;
        let everything = pattern == EVERYTHING;
        let mut deleted = 0;
        for (of_leases, pattern) in [
            (true, keyspace.leases()),
            (false, keyspace.pattern(pattern)),
        ] {
            for primary in &primaries {
                let mut cursor = 0;
                loop {
                    let (next, mut found) =
                        page(primary, cursor, &pattern, PAGE, false, limit).await?;
                    if of_leases {
                        found.retain(|key| keyspace.is_lease(key));
                        unlink(self, &found, limit).await?;
                    } else {
                        let (users, mut others): (Vec<_>, Vec<_>) = found
                            .into_iter()
                            .partition(|key| keyspace.user(key).is_some());
                        deleted += unlink(self, &users, limit).await?;
                        // Without entries, tag versions and the index have no use.
                        others.retain(|key| everything && keyspace.is_tag_or_index(key));
                        unlink(self, &others, limit).await?;
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
}

/// One page of the matching keys, and the cursor of the next page. `strings`: only keys that hold a string.
pub(super) async fn page(
    primary: &Primary,
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
            let mut are = self::strings(&primary.guarded, keys, limit)
                .await?
                .into_iter();
            let mut found = found;
            found.retain(|_| are.next() == Some(true));
            Ok((next, found))
        }
        reply => cursor_and_keys(primary, reply?),
    }
}

fn cursor_and_keys(primary: &Primary, reply: Value) -> Result<(u64, Vec<Vec<u8>>)> {
    redis::from_redis_value(reply).map_err(|_| {
        Error::new(ErrorKind::Protocol, "SCAN did not return a cursor and keys")
            .on_host(primary.host())
    })
}

/// Which of these keys hold a string. If the server does not permit the question, all of them count as strings.
pub(super) async fn strings<'k>(
    guarded: &Guarded,
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
    let replies = guarded.directly(&types, limit).await?;
    Ok(replies
        .iter()
        .map(|reply| match reply {
            Value::SimpleString(kind) => kind == "string",
            Value::ServerError(_) => true,
            _ => false,
        })
        .collect())
}

pub(super) async fn unlink(guarded: &Guarded, keys: &[Vec<u8>], limit: Duration) -> Result<u64> {
    if keys.is_empty() {
        return Ok(0);
    }
    let mut command = Cmd::new();
    command.arg("UNLINK").arg(keys);
    match guarded.directly(&command, limit).await? {
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

    /// A store that records the scanned patterns.
    #[derive(Debug)]
    struct Recording {
        store: Arc<dyn Backend>,
        scans: Log,
        /// Whether its `SCAN` knows no `TYPE`.
        old: bool,
    }

    impl Backend for Recording {
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

        fn dedicated(&self, limit: Duration) -> BoxFuture<'_, Result<Dedicated>> {
            self.store.dedicated(limit)
        }

        fn disconnect(&self) {}

        fn common(&self) -> &Common {
            self.store.common()
        }
    }

    /// The target is a server, because a store in this process has no outbox.
    fn recorded(scans: &Log, old: bool) -> (Arc<Guarded>, Store) {
        let target = Target::new(Place::Tcp {
            host: "server".into(),
            port: 1,
        });
        let store = Store::new();
        let backend = Recording {
            store: over_store(&store, &target, Runtime::Tokio).unwrap(),
            scans: Arc::clone(scans),
            old,
        };
        (Guarded::new(Arc::new(backend), &target), store)
    }

    #[tokio::test]
    async fn the_leases_go_first() {
        let scans = Log::default();
        let (guarded, store) = recorded(&scans, false);
        let keyspace = Keyspace::new("app", ":").unwrap();
        let key = keyspace.stored(b"k").unwrap();
        let mut mset = redis::cmd("MSET");
        mset.arg(key.as_bytes())
            .arg("v")
            .arg(&*key.lease())
            .arg("t");
        assert_eq!(store.connect().call(&mset), Value::Okay);
        let deleted = guarded.sweep(&keyspace, EVERYTHING, LIMIT).await.unwrap();
        assert_eq!(deleted, 1);
        let left = store.connect().call(&redis::cmd("DBSIZE"));
        assert_eq!(left, Value::Int(0));
        let (leases, keys) = (keyspace.leases(), keyspace.pattern(EVERYTHING));
        assert_eq!(*scans.lock(), [leases, keys]);
    }

    #[tokio::test]
    async fn a_sweep_is_kept_until_it_is_acknowledged() {
        let (guarded, _store) = recorded(&Log::default(), false);
        let keyspace = Keyspace::new("app", ":").unwrap();
        assert!(guarded.defer_sweep(&keyspace, EVERYTHING));
        assert_eq!(guarded.outbox().waiting(), 1);
        guarded.request(&redis::cmd("PING"), LIMIT).await.unwrap();
        // In the background.
        while guarded.outbox().waiting() != 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_page_of_strings_has_only_strings_even_if_scan_knows_no_types() {
        for old in [false, true] {
            let (guarded, store) = recorded(&Log::default(), old);
            let link = store.connect();
            for command in ["SET app:string 1", "RPUSH app:list 1", "HSET app:hash f 1"] {
                let mut parts = command.split(' ');
                let mut cmd = redis::cmd(parts.next().unwrap());
                parts.for_each(|part| {
                    cmd.arg(part);
                });
                link.call(&cmd);
            }
            let primary = &guarded.primaries(LIMIT).await.unwrap()[0];
            let (_, found) = page(primary, 0, b"app:*", 100, true, LIMIT).await.unwrap();
            assert_eq!(found, [b"app:string"], "{old}");
            let (_, found) = page(primary, 0, b"app:*", 100, false, LIMIT).await.unwrap();
            assert!(found.contains(&b"app:string".to_vec()), "{old}");
        }
    }
}
