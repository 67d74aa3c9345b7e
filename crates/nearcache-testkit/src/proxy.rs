//! A proxy between a client and a real server that breaks things: slow, cut, refused or half-open connections, and
//! replies that stop in the middle. For tests, and by hand.
//!
//! [`Proxy::start`] puts one in front of a server. [`Proxy::set`] breaks something, at once for live and new
//! connections, and [`Proxy::heal`] repairs everything. [`Proxy::hold`] keeps frames back until the test has arranged
//! the situation that they should meet. [`Proxy::counts`] and [`Proxy::commands`] tell what passed. Nothing here
//! needs an async runtime; every method that waits has a blocking and an async form.
//!
//! Start with [`fault`] to see what can go wrong, then [`resp`] for how a stream is cut into frames, and [`pump`] for
//! what happens to the frames.

mod fault;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod hold;
mod listener;
mod pump;
mod resp;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

pub use fault::{Close, Direction, Fault, Frames};
pub use hold::Hold;

use crate::{PATIENCE, random_name};
use fault::Faults;
use hold::{Held, expect, in_a_thread};
use listener::{Endpoint, Port};
use pump::Connection;

/// How many commands [`Proxy::commands`] remembers.
const MAX_COMMANDS: usize = 100_000;

/// A proxy for the Redis protocol that can break connections. When it is dropped, it closes all connections and ends
/// its threads.
///
/// It listens on a port of 127.0.0.1 and on a unix socket, and connects to a server over either. Bytes pass unchanged
/// and in order; no frame overtakes another.
///
/// ```no_run
/// use nearcache_testkit::{Fault, Frames, Proxy, Redis};
/// use std::time::Duration;
///
/// let redis = Redis::start();
/// let proxy = Proxy::start(&redis.address());
/// // ... a client of proxy.url() ...
/// proxy.set(Fault::delay(Frames::replies(), Duration::from_millis(200)));
/// proxy.heal();
/// let hold = proxy.hold(Frames::replies().of("GET"));
/// // ... the client sends a GET ...
/// hold.wait_until_held(1);
/// // ... now the server has answered, and the client does not know it ...
/// hold.release();
/// assert_eq!(proxy.round_trips(), 1);
/// ```
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    socket: PathBuf,
    folder: PathBuf,
    acceptors: Vec<JoinHandle<()>>,
    /// Only one change of the faults at a time, because a change waits for the acceptors.
    control: Mutex<()>,
}

/// What has passed a [`Proxy`] since it started, or since [`Proxy::reset_counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Accepted connections, including those that were closed at once. A connection that is counted can be closed by
    /// [`Proxy::cut`].
    pub connections: usize,
    /// Connections that are open now, as far as their clients know.
    pub live: usize,
    /// Commands that arrived at the proxy.
    pub requests: usize,
    /// See [`Proxy::round_trips`].
    pub round_trips: usize,
    /// Pushes that arrived at the proxy, see [`Frames::pushes`].
    pub pushes: usize,
    /// Frames that were dropped by [`Fault::Drop`] and [`Fault::Silence`].
    pub vanished: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified of every change that somebody outside a connection may wait for.
    changed: Condvar,
    target: Endpoint,
}

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    holds: Vec<Held>,
    /// `live` is not kept here, but counted on request.
    counts: Counts,
    commands: Commands,
    connections: BTreeMap<u64, Connection>,
    ports: Vec<Port>,
    threads: Vec<JoinHandle<()>>,
    /// The ports that replies name, and what they name instead.
    renames: Vec<(u16, u16)>,
    ids: u64,
    /// How often `changed` was notified.
    changes: u64,
    ended: bool,
}

#[derive(Debug, Default)]
struct Commands(VecDeque<String>);

impl Proxy {
    /// Starts a proxy to `host:port`, to the path of a unix socket, or to a URL of either.
    ///
    /// # Panics
    /// If `to` is none of these, or the proxy cannot listen.
    pub fn start(to: &str) -> Proxy {
        Proxy::listen((Ipv4Addr::LOCALHOST, 0).into(), to).expect("a proxy can be started")
    }

    /// The same, on a given port.
    ///
    /// # Errors
    /// `to` is not an address, or nothing can listen at `address`.
    pub fn listen(address: SocketAddr, to: &str) -> io::Result<Proxy> {
        let target = Endpoint::parse(to)?;
        let folder = std::env::temp_dir().join(format!("nearcache-{}", random_name()));
        let socket = folder.join("proxy.sock");
        let tcp = Port::open(&Endpoint::Tcp(address))?;
        let address = match &tcp.endpoint {
            Endpoint::Tcp(bound) => *bound,
            Endpoint::Unix(_) => address,
        };
        std::fs::create_dir(&folder)?;
        let unix = Port::open(&Endpoint::Unix(socket.clone()))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                ports: vec![tcp, unix],
                ..State::default()
            }),
            changed: Condvar::new(),
            target,
        });
        let acceptors = (0..2).map(|port| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || listener::accept(&shared, port))
        });
        Ok(Proxy {
            acceptors: acceptors.collect(),
            shared,
            address,
            socket,
            folder,
            control: Mutex::new(()),
        })
    }

    /// `127.0.0.1:PORT`. It stays the same while connections are refused.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// `redis+unix:///.../proxy.sock`.
    pub fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// Breaks something, for live and for new connections. It applies when this returns, except to a frame that is
    /// being written already.
    pub fn set(&self, fault: Fault) {
        let _control = self.control();
        let mut state = self.shared.lock();
        state.faults.set(fault);
        self.follow(state);
    }

    /// Repairs the fault of the same kind for the same frames, if there is one. If no frames are dropped any more
    /// after this, connections that lost a frame are reset, as by [`Proxy::heal`].
    ///
    /// # Panics
    /// If nothing can listen on the proxy's port again.
    pub fn unset(&self, fault: &Fault) {
        let _control = self.control();
        let mut state = self.shared.lock();
        state.faults.unset(fault);
        self.mend(state);
    }

    /// Repairs everything. Connections that lost a frame which the client would miss are reset; the others go on.
    /// Held frames stay held.
    ///
    /// # Panics
    /// If nothing can listen on the proxy's port again.
    pub fn heal(&self) {
        let _control = self.control();
        let mut state = self.shared.lock();
        state.faults.clear();
        self.mend(state);
    }

    /// Closes all connections that exist now, and returns when that is done. New connections are accepted. The client
    /// can first read what was passed on before, unless it is far behind and the close is a [`Close::Reset`].
    pub fn cut(&self, close: Close) {
        let closing = self.shared.lock().close_those(close, |_| true);
        self.shared.wait_until_closed(&closing);
    }

    /// Keeps these frames back from now on, including those that wait in the proxy already. Later frames on the same
    /// connection wait behind a held one; other connections are not affected.
    pub fn hold(&self, frames: Frames) -> Hold {
        let mut state = self.shared.lock();
        let id = state.next_id();
        let passed = HashSet::new();
        state.holds.push(Held { id, frames, passed });
        let shared = Arc::clone(&self.shared);
        Hold { shared, id }
    }

    /// From now on replies that name one of these ports of 127.0.0.1 name the other one instead. For the nodes of a
    /// Cluster, which tell their clients where the others are: so the clients are told of proxies. Both have as many
    /// digits.
    ///
    /// # Panics
    /// If they have not.
    pub fn rename_ports(&self, renames: Vec<(u16, u16)>) {
        for (from, to) in &renames {
            assert_eq!(from.to_string().len(), to.to_string().len(), "{from}, {to}");
        }
        self.shared.lock().renames = renames;
    }

    /// What passed.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts()
    }

    /// Accepted connections.
    pub fn connections(&self) -> usize {
        self.counts().connections
    }

    /// Connections that are open now.
    pub fn live(&self) -> usize {
        self.counts().live
    }

    /// Commands that arrived at the proxy.
    pub fn requests(&self) -> usize {
        self.counts().requests
    }

    /// How often clients waited for the server: on each connection, the number of replies that were passed on after
    /// requests had arrived since the previous reply. A pipeline that is answered together counts once, a push never,
    /// and a reply that was dropped or is still held does not count. For a client that shares one connection between
    /// callers, this is the number of round trips of the connection.
    ///
    /// A reply is counted before it is passed on, so when a client has its answer, it is counted. A pipeline of more
    /// than 64 KiB may count more than once, if the server answers its beginning before its end is sent.
    pub fn round_trips(&self) -> usize {
        self.counts().round_trips
    }

    /// The commands that arrived, each with its name in capitals and its key, as in `GET user:1`: for a script its
    /// first key, and for a command without a key its first argument, as in `CLIENT TRACKING`. Passwords are left
    /// out. The last 100,000.
    pub fn commands(&self) -> Vec<String> {
        self.shared.lock().commands.0.iter().cloned().collect()
    }

    /// Resets all counts, and the list of commands.
    pub fn reset_counts(&self) {
        let mut state = self.shared.lock();
        state.counts = Counts::default();
        state.commands.0.clear();
        self.shared.tell(&mut state);
    }

    /// Waits until the counts satisfy a condition.
    ///
    /// # Panics
    /// If they do not within a minute.
    #[track_caller]
    pub fn wait_until(&self, what: &str, holds: impl FnMut(&Counts) -> bool) {
        expect(self.shared.wait_until(what, holds));
    }

    /// [`Proxy::wait_until`] for a test that must not block its thread.
    ///
    /// # Panics
    /// When awaited, like [`Proxy::wait_until`].
    pub fn until(
        &self,
        what: &str,
        holds: impl FnMut(&Counts) -> bool + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let what = what.to_owned();
        in_a_thread(&self.shared, move |shared| shared.wait_until(&what, holds))
    }

    /// Makes all threads check the faults again, and opens or closes the ports accordingly.
    fn follow(&self, mut state: MutexGuard<'_, State>) {
        let refuse = state.faults.refuse();
        if !refuse {
            for port in &mut state.ports {
                port.listen()
                    .unwrap_or_else(|error| panic!("cannot listen again: {error}: {port:?}"));
            }
        }
        self.shared.look_up(&mut state);
        drop(state);
        if refuse {
            self.wake_acceptors();
            let mut state = self.shared.lock();
            while state.ports.iter().any(|port| port.open) {
                state = self.shared.wait(state);
            }
        }
    }

    /// The same after faults were removed.
    fn mend(&self, mut state: MutexGuard<'_, State>) {
        // In the same step: a connection end that was kept from a client must not reach it in between.
        let closing = if state.faults.lose() {
            Vec::new()
        } else {
            state.close_those(Close::Reset, Connection::is_lossy)
        };
        self.follow(state);
        self.shared.wait_until_closed(&closing);
    }

    fn wake_acceptors(&self) {
        let state = self.shared.lock();
        let open = state.ports.iter().filter(|port| port.open);
        let endpoints: Vec<_> = open.map(|port| port.endpoint.clone()).collect();
        drop(state);
        for endpoint in endpoints {
            listener::wake(&endpoint);
        }
    }

    fn control(&self) -> MutexGuard<'_, ()> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        self.shared.tell(&mut state);
        drop(state);
        self.wake_acceptors();
        for acceptor in self.acceptors.drain(..) {
            let _ = acceptor.join();
        }
        // No new connections can start any more.
        self.cut(Close::Finish);
        let mut state = self.shared.lock();
        state.ports.clear();
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        for thread in threads {
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn counts(&self) -> Counts {
        let live = self.connections.values().filter(|one| one.is_live());
        Counts {
            live: live.count(),
            ..self.counts
        }
    }

    /// Begins to close connections, and returns their ids.
    fn close_those(&mut self, close: Close, chosen: impl Fn(&Connection) -> bool) -> Vec<u64> {
        let mut closing = Vec::new();
        for (id, connection) in &mut self.connections {
            if chosen(connection) {
                connection.close(close);
                closing.push(*id);
            }
        }
        closing
    }

    fn held(&self, id: u64) -> usize {
        self.held_ids(id).count()
    }

    fn held_ids(&self, id: u64) -> impl Iterator<Item = u64> {
        let hold = self.holds.iter().find(|hold| hold.id == id);
        hold.into_iter().flat_map(|hold| {
            self.connections.values().flat_map(move |connection| {
                let to_server = connection.to_server.queue.iter();
                let to_server = to_server.map(|item| (Direction::ToServer, item));
                let to_client = connection.to_client.queue.iter();
                let to_client = to_client.map(|item| (Direction::ToClient, item));
                to_server
                    .chain(to_client)
                    .filter(move |(direction, item)| hold.keeps(item, *direction))
                    .map(|(_, item)| item.id)
            })
        })
    }
}

impl Commands {
    fn push(&mut self, command: String) {
        if self.0.len() == MAX_COMMANDS {
            self.0.pop_front();
        }
        self.0.push_back(command);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &mut State) {
        state.changes += 1;
        self.changed.notify_all();
    }

    /// The faults or holds have changed, so all lanes are checked again, too.
    fn look_up(&self, state: &mut State) {
        for connection in state.connections.values_mut() {
            for direction in [Direction::ToServer, Direction::ToClient] {
                connection.settle(direction, &state.faults, &state.holds, &mut state.counts);
                connection.lane(direction).changed.notify_all();
            }
        }
        self.tell(state);
    }

    fn wait_until_closed(&self, connections: &[u64]) {
        let mut state = self.lock();
        self.tell(&mut state);
        while connections
            .iter()
            .any(|id| state.connections.contains_key(id))
        {
            state = self.wait(state);
        }
    }

    fn wait_until(&self, what: &str, mut holds: impl FnMut(&Counts) -> bool) -> Result<(), String> {
        self.wait_for(State::counts, |counts| holds(counts))
            .map_err(|(why, counts)| format!("{why}: {what}; there are {counts:?}"))
    }

    fn wait_until_held(&self, id: u64, count: usize) -> Result<(), String> {
        self.wait_for(
            |state| (state.held(id), state.counts()),
            |(held, _)| *held >= count,
        )
        .map_err(|(why, (held, counts))| {
            format!("{why}: {count} frames held; there are {held}, and {counts:?}")
        })
    }

    /// Waits until a value that is taken from the state satisfies a condition. The condition runs without the lock,
    /// because the test's own code may call the proxy.
    fn wait_for<T>(
        &self,
        take: impl Fn(&State) -> T,
        mut holds: impl FnMut(&T) -> bool,
    ) -> Result<(), (String, T)> {
        let since = Instant::now();
        loop {
            let state = self.lock();
            let (taken, changes, ended) = (take(&state), state.changes, state.ended);
            drop(state);
            if holds(&taken) {
                return Ok(());
            }
            if ended {
                return Err(("the proxy was dropped".to_owned(), taken));
            }
            let mut state = self.lock();
            while state.changes == changes {
                let left = PATIENCE.saturating_sub(since.elapsed());
                if left.is_zero() {
                    return Err((format!("still not so after {PATIENCE:?}"), taken));
                }
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} connections ({} live now), {} requests in {} round trips, {} pushes, {} frames vanished",
            self.connections,
            self.live,
            self.requests,
            self.round_trips,
            self.pushes,
            self.vanished
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Redis;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// Invariant 5 of the pump.
    #[test]
    fn dropping_the_proxy_ends_its_threads_and_sockets() {
        let redis = Redis::start();
        // Nobody else is given it afterwards.
        let port = crate::Port::unused();
        let proxy = Proxy::listen(port.address(), &redis.address()).expect("it listens");
        let mut clients: Vec<_> = (0..5)
            .map(|_| TcpStream::connect(proxy.address()).expect("it listens"))
            .collect();
        let hold = proxy.hold(Frames::replies());
        for client in &mut clients {
            client.write_all(b"PING\r\n").expect("it is there");
        }
        hold.wait_until_held(5);
        drop(hold.until_held(6));
        drop(hold);
        // Every thread of the proxy shares ownership of this.
        let shared = Arc::downgrade(&proxy.shared);
        assert!(shared.strong_count() > 5 * 4);
        let folder = proxy.folder.clone();
        drop(proxy);
        assert_eq!(shared.strong_count(), 0);
        assert!(!folder.exists());
        assert!(TcpStream::connect(port.address()).is_err());
        for client in &mut clients {
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).expect("an orderly end");
        }
        crate::eventually("the server has closed the clients' connections", || {
            redis.inline("INFO clients").contains("connected_clients:1")
        });
    }
}
