//! A proxy between a client and a real server that breaks things: slow, cut, refused, half-open,
//! cut off in mid-reply, in tests and by hand.
//!
//! [`Proxy::start`] puts one in front of a server. [`Proxy::set`] breaks something, for live and new
//! connections at once, and [`Proxy::heal`] mends everything. [`Proxy::hold`] keeps frames back until
//! the test has arranged what they are to meet. [`Proxy::counts`] and [`Proxy::commands`] say what
//! went through. Nothing here needs an async runtime; what waits has a blocking and an async form.
//!
//! Start with [`fault`] to see what can go wrong, [`resp`] for how a stream is cut into frames, and
//! [`pump`] for what happens to them.

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

/// A proxy for the Redis protocol, and for what goes wrong. Dropped, it closes every connection and
/// ends its threads.
///
/// It listens on a port of 127.0.0.1 and on a unix socket, and connects to a server over either. Bytes
/// pass unchanged and in order; nothing ever overtakes.
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
    /// One change of the faults at a time: it waits for the acceptors to follow.
    control: Mutex<()>,
}

/// What went through a [`Proxy`] since it started, or since [`Proxy::reset_counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Accepted connections, those that were closed at once included. One that is counted is within
    /// reach of [`Proxy::cut`].
    pub connections: usize,
    /// Connections that are open as far as their clients know, now.
    pub live: usize,
    /// Commands that arrived at the proxy.
    pub requests: usize,
    /// See [`Proxy::round_trips`].
    pub round_trips: usize,
    /// Pushes that arrived at the proxy, see [`Frames::pushes`].
    pub pushes: usize,
    /// Frames that vanished, by [`Fault::Drop`] and [`Fault::Silence`].
    pub vanished: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told of every change somebody outside a connection may wait for.
    changed: Condvar,
    target: Endpoint,
}

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    holds: Vec<Held>,
    /// `live` is counted when asked for.
    counts: Counts,
    commands: Commands,
    connections: BTreeMap<u64, Connection>,
    ports: Vec<Port>,
    threads: Vec<JoinHandle<()>>,
    ids: u64,
    /// How often `changed` was told of something.
    changes: u64,
    ended: bool,
}

#[derive(Debug, Default)]
struct Commands(VecDeque<String>);

impl Proxy {
    /// A proxy to `host:port`, to a unix socket's path, or to a URL of either.
    ///
    /// # Panics
    /// When `to` is none of these, or there is nothing to listen on.
    pub fn start(to: &str) -> Proxy {
        Proxy::listen((Ipv4Addr::LOCALHOST, 0).into(), to).expect("a proxy can be started")
    }

    /// The same, on a port of choice.
    ///
    /// # Errors
    /// When `to` is no address, or nothing can listen at `address`.
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

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// `redis+unix:///.../proxy.sock`.
    pub fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// Breaks something, for live and for new connections. It is in force when this returns; a frame
    /// that is being written is not called back.
    pub fn set(&self, fault: Fault) {
        let _control = self.control();
        let mut state = self.shared.lock();
        state.faults.set(fault);
        self.follow(state);
    }

    /// Mends the fault of the same kind for the same frames, if there is one. When nothing vanishes
    /// any more after it, connections out of which something vanished are reset, as by
    /// [`Proxy::heal`].
    ///
    /// # Panics
    /// When nothing can listen on the proxy's port again.
    pub fn unset(&self, fault: &Fault) {
        let _control = self.control();
        let mut state = self.shared.lock();
        state.faults.unset(fault);
        self.mend(state);
    }

    /// Mends everything. Connections out of which something vanished that a client would miss are
    /// reset; the others go on. What is held stays held.
    ///
    /// # Panics
    /// When nothing can listen on the proxy's port again.
    pub fn heal(&self) {
        let _control = self.control();
        let mut state = self.shared.lock();
        state.faults.clear();
        self.mend(state);
    }

    /// Closes every connection there is now, and returns when that is done. New ones are welcome. What
    /// was passed on before is read first, unless a [`Close::Reset`] finds the client far behind.
    pub fn cut(&self, close: Close) {
        let closing = self.shared.lock().close_those(close, |_| true);
        self.shared.wait_until_closed(&closing);
    }

    /// Keeps these frames back from now on, those already waiting in the proxy included. What comes
    /// after a held frame on its connection waits behind it; other connections are not concerned.
    pub fn hold(&self, frames: Frames) -> Hold {
        let mut state = self.shared.lock();
        let id = state.next_id();
        let passed = HashSet::new();
        state.holds.push(Held { id, frames, passed });
        let shared = Arc::clone(&self.shared);
        Hold { shared, id }
    }

    /// What went through.
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

    /// Commands that arrived.
    pub fn requests(&self) -> usize {
        self.counts().requests
    }

    /// How often clients waited for the server: on each connection, the number of times a reply was
    /// passed on after requests had arrived since the reply before. A pipeline that is answered
    /// together counts once, a push never, and a reply that was dropped or is still held not at all.
    /// Of a client that shares one connection between callers, it is the number of turns the
    /// connection took.
    ///
    /// A reply is counted before it is passed on: a client that has its answer finds it counted. A
    /// pipeline of more than 64 KiB may count more than once, when the server answers its beginning
    /// before its end is sent.
    pub fn round_trips(&self) -> usize {
        self.counts().round_trips
    }

    /// The commands that arrived, each with its name in capitals and its key, as `GET user:1`: for a
    /// script its first key, and for a command without a key its first argument, as
    /// `CLIENT TRACKING`. No password. The last 100,000.
    pub fn commands(&self) -> Vec<String> {
        self.shared.lock().commands.0.iter().cloned().collect()
    }

    /// Starts all counts, and the list of commands, anew.
    pub fn reset_counts(&self) {
        let mut state = self.shared.lock();
        state.counts = Counts::default();
        state.commands.0.clear();
        self.shared.tell(&mut state);
    }

    /// Waits until the counts are so.
    ///
    /// # Panics
    /// When they are not within 20 seconds.
    #[track_caller]
    pub fn wait_until(&self, what: &str, holds: impl FnMut(&Counts) -> bool) {
        expect(self.shared.wait_until(what, holds));
    }

    /// [`Proxy::wait_until`] for a test that must not block its thread.
    ///
    /// # Panics
    /// When awaited, as [`Proxy::wait_until`].
    pub fn until(
        &self,
        what: &str,
        holds: impl FnMut(&Counts) -> bool + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let what = what.to_owned();
        in_a_thread(&self.shared, move |shared| shared.wait_until(&what, holds))
    }

    /// Makes everybody who waits look at the faults, and opens and closes the ports as they say.
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

    /// The same when faults have gone.
    fn mend(&self, mut state: MutexGuard<'_, State>) {
        // In the same step: an end that was kept from a client must not reach it in between.
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
        // Nobody can start a connection any more.
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

    /// Begins to close connections, and says which.
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

    /// Faults or holds have changed: every lane is looked at again, too.
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

    /// Waits until what is taken from the state is so. It is looked at without the lock: the test's
    /// own code may ask the proxy what it likes.
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
                return Err(("the proxy was dropped before".to_owned(), taken));
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
        let proxy = Proxy::start(&redis.address());
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
        // Every thread of the proxy has an owner's share in it.
        let shared = Arc::downgrade(&proxy.shared);
        assert!(shared.strong_count() > 5 * 4);
        let address = proxy.address();
        let folder = proxy.folder.clone();
        drop(proxy);
        assert_eq!(shared.strong_count(), 0);
        assert!(!folder.exists());
        assert!(TcpStream::connect(address).is_err());
        for client in &mut clients {
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).expect("an orderly end");
        }
        crate::eventually("the server is rid of the clients", || {
            redis.inline("INFO clients").contains("connected_clients:1")
        });
    }
}
