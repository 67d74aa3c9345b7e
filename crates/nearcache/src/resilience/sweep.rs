//! Scanning the keys of a server page by page, and deleting matches.
//!
//! Redis guarantees that a scan returns every key that exists from its beginning to its end, perhaps more than once.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::Guarded;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;

/// The default number of keys that the server examines for one page.
pub(crate) const PAGE: usize = 1_000;

/// The pattern that matches a whole keyspace.
pub(super) const EVERYTHING: &[u8] = b"*";

impl Guarded {
    /// One page of the matching keys, and the cursor of the next page; 0 after the last.
    pub(crate) async fn page(
        &self,
        cursor: u64,
        pattern: &[u8],
        count: usize,
        limit: Duration,
    ) -> Result<(u64, Vec<Vec<u8>>)> {
        loop {
            let epoch = self.outbox().epoch();
            self.catch_up(limit).await?;
            let page = page(self, cursor, pattern, count, limit).await?;
            // Read the page again if the outbox got something to send first.
            if self.outbox().epoch() == epoch {
                return Ok(page);
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
        for primary in primaries {
            primary.catch_up(limit).await?;
        }
        let (from, all) = (Position::default(), |_| Ok(()));
        let deleted = matching(primaries, keyspace, pattern, limit, from, all).await?;
        let now = self.runtime().now();
        for primary in primaries {
            primary.outbox().record_sweep(keyspace, pattern, now);
        }
        Ok(deleted)
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

async fn page(
    primary: &Guarded,
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
    let reply = primary.directly(&command, limit).await?;
    redis::from_redis_value(reply).map_err(|_| {
        Error::new(ErrorKind::Protocol, "SCAN did not return a cursor and keys")
            .on_host(primary.host())
    })
}

/// The position of a sweep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    /// How many scans are complete: first a scan for leases on each primary, then a scan for keys on each.
    scans: usize,
    /// The cursor of the current scan.
    cursor: u64,
}

/// Deletes every lease of the keyspace, and then the matching keys. Returns how many of them were users' keys. It
/// starts at the position `from` and passes each later position to `come_to`, which can stop it with an error.
///
/// All leases go first: only then can no earlier load fill a key that was just deleted. (A load of a key that does not
/// match is fenced too; it is repeated.)
///
/// model: Action::ClearLeases, Action::ClearKeys
pub(super) async fn matching(
    primaries: &[impl Borrow<Guarded>],
    keyspace: &Keyspace,
    pattern: &[u8],
    limit: Duration,
    from: Position,
    come_to: impl Fn(Position) -> Result<()>,
) -> Result<u64> {
    let everything = pattern == EVERYTHING;
    let (leases, keys) = (keyspace.leases(), keyspace.pattern(pattern));
    let (mut position, mut deleted) = (from, 0);
    while position.scans < 2 * primaries.len() {
        let primary = primaries[position.scans % primaries.len()].borrow();
        let of_leases = position.scans < primaries.len();
        let pattern = if of_leases { &leases } else { &keys };
        let (next, mut found) = page(primary, position.cursor, pattern, PAGE, limit).await?;
        if of_leases {
            found.retain(|key| keyspace.is_lease(key));
            unlink(primary, found, limit).await?;
        } else {
            let (users, others): (Vec<_>, Vec<_>) = found
                .into_iter()
                .partition(|key| keyspace.user(key).is_some());
            deleted += unlink(primary, users, limit).await?;
            // Without entries, tag versions and the index have no use.
            let useless = |key: &Vec<u8>| everything && keyspace.is_tag_or_index(key);
            unlink(primary, others.into_iter().filter(useless).collect(), limit).await?;
        }
        position.cursor = next;
        if next == 0 {
            position.scans += 1;
        }
        come_to(position)?;
    }
    Ok(deleted)
}

async fn unlink(primary: &Guarded, keys: Vec<Vec<u8>>, limit: Duration) -> Result<u64> {
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
    use redis::{Arg, Pipeline};

    use super::*;
    use crate::connect::target::{Place, Target};
    use crate::connect::{Backend, BoxFuture, Common, Raw, Terms, over_store};
    use crate::runtime::Runtime;

    const LIMIT: Duration = Duration::from_secs(10);

    type Log = Arc<Mutex<Vec<Vec<u8>>>>;

    /// A store that records the scanned patterns, with further primaries as its nodes.
    #[derive(Debug)]
    struct Primary {
        store: Arc<dyn Backend>,
        scans: Log,
        nodes: Vec<Arc<dyn Backend>>,
    }

    impl Backend for Primary {
        fn request<'a>(&'a self, command: &'a Cmd, terms: Terms) -> BoxFuture<'a, Result<Value>> {
            let args: Vec<_> = command.args_iter().collect();
            if let [Arg::Simple(b"SCAN"), _, _, Arg::Simple(pattern), ..] = args[..] {
                self.scans.lock().push(pattern.to_vec());
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

        fn connection(&self, limit: Duration) -> BoxFuture<'_, Result<Raw>> {
            self.store.connection(limit)
        }

        fn disconnect(&self) {}

        fn common(&self) -> &Common {
            self.store.common()
        }
    }

    /// Two primaries behind one backend. The target is a server, because a store in this process has no outbox.
    fn two_primaries(scans: &Log) -> (Arc<Guarded>, [Store; 2]) {
        let target = Target::new(Place::Tcp {
            host: "cluster".into(),
            port: 1,
        });
        let primary = |store: &Store, nodes| -> Arc<dyn Backend> {
            Arc::new(Primary {
                store: over_store(store, &target, Runtime::Tokio).unwrap(),
                scans: Arc::clone(scans),
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
        let (guarded, stores) = two_primaries(&scans);
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
        let (guarded, _stores) = two_primaries(&Log::default());
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
        assert_eq!(waiting(), [1, 0]);
    }
}
