//! A primary, its replica, and three Sentinels that watch them: real processes, quick to agree that a server is down.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::{Inline, Redis, eventually};

/// After how many milliseconds without an answer a server counts as down. Not after fewer: on a busy machine one that is
/// well is late, too.
const DOWN_AFTER: u32 = 1_000;

/// After how many milliseconds a failover that makes no progress is given up.
const GIVEN_UP: u32 = 4_000;

/// How many Sentinels have to agree.
const QUORUM: u32 = 2;

/// What makes servers replicate at once, rather than in a while.
const SERVER: [&str; 6] = [
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
    "--replica-priority",
    "100",
];

/// Servers that Sentinels watch. All end when this is dropped.
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl Sentinels {
    /// The name under which the Sentinels know the primary.
    pub const MASTER: &str = "mymaster";

    /// A primary, a replica and three Sentinels of your own.
    pub fn start() -> Sentinels {
        Sentinels::start_with(&[], &[])
    }

    /// The same, with more arguments for the servers and for the Sentinels.
    ///
    /// # Panics
    /// As [`Redis::start_with`], or if they do not find each other.
    pub fn start_with(servers: &[&str], sentinels: &[&str]) -> Sentinels {
        let arguments: Vec<&str> = SERVER.iter().chain(servers).copied().collect();
        let primary = Redis::start_with(&arguments);
        let port = primary.port().to_string();
        let mut of_replica = arguments.clone();
        of_replica.extend(["--replicaof", "127.0.0.1", &port]);
        let replica = Redis::start_with(&of_replica);
        let mut of_sentinel = vec!["--sentinel"];
        of_sentinel.extend(sentinels);
        let sentinels = (0..3).map(|_| Redis::start_with(&of_sentinel)).collect();
        let site = Sentinels {
            servers: vec![primary, replica],
            sentinels,
        };
        for sentinel in &site.sentinels {
            site.watch_with(sentinel, &site.servers[0], QUORUM);
        }
        site.until_agreed();
        site
    }

    /// One group for the whole test binary, which stays as it is. It ends with the process.
    pub fn shared() -> &'static Sentinels {
        static SHARED: LazyLock<Sentinels> = LazyLock::new(Sentinels::start);
        &SHARED
    }

    /// Makes a Sentinel watch a server as the primary, whatever the others say.
    ///
    /// # Panics
    /// If it refuses.
    pub fn watch_with(&self, sentinel: &Redis, server: &Redis, quorum: u32) {
        let (name, port) = (Self::MASTER, server.port());
        // How often it asks and tells. Servers before 7.0 do not have this: there everything takes a little longer.
        sentinel.inline(
            "SENTINEL DEBUG publish-period 200 info-period 500 ping-period 200 ask-period 200 tilt-trigger 10000 tilt-period 1000",
        );
        let said = sentinel.inlines(&[
            &format!("SENTINEL MONITOR {name} 127.0.0.1 {port} {quorum}"),
            &format!("SENTINEL SET {name} down-after-milliseconds {DOWN_AFTER}"),
            &format!("SENTINEL SET {name} failover-timeout {GIVEN_UP}"),
        ]);
        assert!(said.starts_with("+OK"), "{said}");
    }

    /// `redis-sentinel://HOST:PORT,HOST:PORT,HOST:PORT/mymaster`.
    pub fn url(&self) -> String {
        let addresses = self.addresses().join(",");
        format!("redis-sentinel://{addresses}/{}", Self::MASTER)
    }

    /// The Sentinels' addresses.
    pub fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(Redis::address).collect()
    }

    /// The Sentinels, which a test may kill, freeze and restart.
    pub fn sentinels(&mut self) -> &mut [Redis] {
        &mut self.sentinels
    }

    /// A server: 0 began as the primary, 1 as its replica.
    pub fn server(&self, number: usize) -> &Redis {
        &self.servers[number]
    }

    /// The same, to kill it or to start it again, as what it was.
    pub fn server_mut(&mut self, number: usize) -> &mut Redis {
        &mut self.servers[number]
    }

    /// The number of the server that most Sentinels name as the primary.
    ///
    /// # Panics
    /// If no two Sentinels agree within a while.
    pub fn primary(&self) -> usize {
        let mut named = None;
        eventually("most Sentinels name the same primary", || {
            let said: Vec<Option<usize>> = self.named();
            named = (0..self.servers.len())
                .find(|number| said.iter().filter(|said| **said == Some(*number)).count() >= 2);
            named.is_some()
        });
        named.unwrap_or_default()
    }

    /// What each Sentinel that answers names as the primary.
    fn named(&self) -> Vec<Option<usize>> {
        let ask = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {}", Self::MASTER);
        let answers = self.sentinels.iter().filter_map(|sentinel| {
            let mut sentinel = Inline::open(sentinel.port()).ok()?;
            sentinel.list(&ask).ok()
        });
        answers
            .map(|address| {
                let port: u16 = address.get(1)?.parse().ok()?;
                self.servers.iter().position(|server| server.port() == port)
            })
            .collect()
    }

    /// Waits until all Sentinels know each other and both servers, and the replica has what the primary has.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn until_agreed(&self) {
        let ask = format!("SENTINEL MASTER {}", Self::MASTER);
        let others = (self.sentinels.len() - 1).to_string();
        eventually("the Sentinels know each other and the replica", || {
            self.sentinels.iter().all(|sentinel| {
                let said = Inline::open(sentinel.port()).and_then(|mut asked| asked.list(&ask));
                let Ok(said) = said else { return false };
                let is =
                    |name: &str, value: &str| said.windows(2).any(|pair| pair == [name, value]);
                is("num-other-sentinels", &others)
                    && is("num-slaves", "1")
                    && is("flags", "master")
                    && self.replica_is_well(sentinel)
            })
        });
    }

    fn replica_is_well(&self, sentinel: &Redis) -> bool {
        let ask = format!("SENTINEL REPLICAS {}", Self::MASTER);
        let said = Inline::open(sentinel.port()).and_then(|mut asked| asked.list(&ask));
        said.is_ok_and(|said| {
            let is = |name: &str, value: &str| said.windows(2).any(|pair| pair == [name, value]);
            is("flags", "slave") && is("master-link-status", "ok")
        })
    }

    /// An orderly failover: a Sentinel promotes the replica. Waits until most of them name it.
    ///
    /// # Panics
    /// If that is refused, or takes too long.
    pub fn failover(&self) {
        let before = self.primary();
        let asked_again = Duration::from_millis(2 * u64::from(GIVEN_UP));
        let mut begun: Option<Instant> = None;
        eventually("most Sentinels name another primary", || {
            if self.has_moved_from(before) {
                return true;
            }
            // If it has replaced the primary, and the others have not heard of it, it would replace the new one.
            let leads = self.named().first() == Some(&Some(before));
            if leads && begun.is_none_or(|begun| begun.elapsed() > asked_again) {
                let said = self.sentinels[0].inline(&format!("SENTINEL FAILOVER {}", Self::MASTER));
                begun = said.starts_with("+OK").then(Instant::now);
            }
            false
        });
    }

    /// Waits until most Sentinels name another server than this one as the primary.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn until_moved_from(&self, number: usize) {
        eventually("most Sentinels name another primary", || {
            self.has_moved_from(number)
        });
    }

    fn has_moved_from(&self, number: usize) -> bool {
        let named = self.named();
        let others = named.iter().flatten().filter(|said| **said != number);
        others.count() >= 2
    }

    /// Waits until this server says that it replicates the primary.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn until_replica(&self, number: usize) {
        eventually("the server is a replica, with its primary's data", || {
            let said = Inline::open(self.servers[number].port())
                .and_then(|mut server| server.list("ROLE"));
            said.is_ok_and(|said| {
                said.first().is_some_and(|role| role == "slave")
                    && said.iter().any(|state| state == "connected")
            })
        });
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_is_replaced_when_it_is_told_to_freezes_or_dies() {
        let mut site = Sentinels::start();
        assert_eq!(site.primary(), 0);
        site.failover();
        assert_eq!(site.primary(), 1);
        site.until_replica(0);
        site.until_agreed();
        site.server(1).freeze();
        site.until_moved_from(1);
        assert_eq!(site.primary(), 0);
        site.server(1).thaw();
        site.until_replica(1);
        site.until_agreed();
        site.server_mut(0).kill();
        site.until_moved_from(0);
        site.server_mut(0).restart();
        site.until_replica(0);
        site.until_agreed();
        assert_eq!(site.primary(), 1);
    }
}
