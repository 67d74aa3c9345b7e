//! Writes that were given up on, on connections that are not used any more.
//!
//! A write that is under way somewhere may reach the server late: after a newer one, on a newer connection, which it
//! would undo. So the server is told to close the old connection first.
//!
//! 1. A connection is in doubt if a write on it was given up, no later reply on it proves that the server is done with
//!    that write, and the connection is not used for new calls any more. (While it is used, order is kept: a server
//!    answers the commands of a connection in turn.)
//! 2. Before the next call is sent on another connection to the same server, every connection in doubt is closed there,
//!    by its id. Whoever comes before that is acknowledged does so too, so that nobody overtakes it.
//! 3. An id is only used at the server that gave it: elsewhere it is another client's.
//! 4. A server that does not permit it is not asked again. Then a late write is possible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redis::{Pipeline, Value};

use super::greeting::Met;

/// How many are remembered, the newest. In an outage every call may leave one.
const MOST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Whether there are any, without the lock.
    any: AtomicBool,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    doubts: Vec<Doubt>,
    refused: bool,
}

#[derive(Debug)]
struct Doubt {
    run_id: String,
    id: i64,
    settled: Settled,
}

/// Whether the server turned out to be done with the writes of a connection.
pub(super) type Settled = Arc<AtomicBool>;

impl Doubts {
    /// A connection is in doubt from now on. `None`: nothing can be done about it.
    pub(super) fn add(&self, met: &Met) -> Option<Settled> {
        let (run_id, id) = (met.run_id.as_ref()?, met.id?);
        let mut list = self.list.lock();
        if list.refused {
            return None;
        }
        let known = list
            .doubts
            .iter()
            .find(|doubt| doubt.id == id && doubt.run_id == *run_id);
        if let Some(known) = known {
            return Some(Arc::clone(&known.settled));
        }
        if list.doubts.len() == MOST {
            list.doubts.remove(0);
        }
        let settled = Settled::default();
        list.doubts.push(Doubt {
            run_id: run_id.clone(),
            id,
            settled: Arc::clone(&settled),
        });
        self.any.store(true, Ordering::Release);
        Some(settled)
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// The connections to close before a call is sent on this one. Those of another server are forgotten.
    pub(super) fn before(&self, met: &Met) -> Vec<i64> {
        let mut list = self.list.lock();
        list.doubts.retain(|doubt| {
            !doubt.settled.load(Ordering::Acquire)
                && met.run_id.as_ref() == Some(&doubt.run_id)
                && met.id != Some(doubt.id)
        });
        self.any.store(!list.doubts.is_empty(), Ordering::Release);
        list.doubts.iter().map(|doubt| doubt.id).collect()
    }

    /// Takes the replies to [`kill`].
    pub(super) fn killed(&self, ids: &[i64], replies: &[Value], host: &str) {
        let mut list = self.list.lock();
        list.doubts.retain(|doubt| !ids.contains(&doubt.id));
        // The old connection may be gone already, which is no error.
        let refused = replies.iter().find_map(|reply| match reply {
            Value::ServerError(error) => Some(error),
            _ => None,
        });
        if let Some(error) = refused
            && !list.refused
        {
            list.refused = true;
            list.doubts.clear();
            tracing::warn!(
                %host, error = error.code(),
                "CLIENT KILL is not permitted: a write that was given up may still happen after a newer one"
            );
        }
        self.any.store(!list.doubts.is_empty(), Ordering::Release);
    }
}

/// The commands that close connections at the server.
pub(super) fn kill(ids: &[i64]) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for id in ids {
        pipeline.cmd("CLIENT").arg("KILL").arg("ID").arg(id);
    }
    pipeline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::needless_update, reason = "there is more of it with Sentinels")]
    fn met(run_id: &str, id: i64) -> Met {
        Met {
            run_id: Some(run_id.to_owned()),
            id: Some(id),
            ..Met::default()
        }
    }

    #[test]
    fn invariants_1_and_2_a_doubt_stays_until_it_is_settled_or_closed() {
        let doubts = Doubts::default();
        assert!(!doubts.any());
        let first = doubts.add(&met("a", 1)).unwrap();
        doubts.add(&met("a", 2)).unwrap();
        doubts.add(&met("a", 2)).unwrap();
        assert_eq!(doubts.before(&met("a", 9)), [1, 2]);
        assert_eq!(doubts.before(&met("a", 9)), [1, 2], "not yet acknowledged");
        first.store(true, Ordering::Release);
        assert_eq!(doubts.before(&met("a", 9)), [2]);
        doubts.killed(&[2], &[Value::Int(0)], "host");
        assert!(!doubts.any());
    }

    #[test]
    fn invariant_3_an_id_is_not_used_at_another_server() {
        let doubts = Doubts::default();
        doubts.add(&met("a", 1)).unwrap();
        assert!(doubts.before(&met("b", 9)).is_empty());
        assert!(!doubts.any(), "the other server replaced that one");
        assert!(doubts.add(&Met::default()).is_none());
        doubts.add(&met("a", 1)).unwrap();
        assert!(doubts.before(&Met::default()).is_empty());
    }

    #[test]
    fn invariant_4_a_server_that_refuses_is_not_asked_again() {
        let doubts = Doubts::default();
        doubts.add(&met("a", 1)).unwrap();
        let refused = redis::parse_redis_value(b"-NOPERM no\r\n").unwrap();
        doubts.killed(&[1], &[refused], "host");
        assert!(doubts.add(&met("a", 2)).is_none() && !doubts.any());
    }
}
