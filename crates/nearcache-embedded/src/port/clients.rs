//! The clients of the port: what is known of each, and how one reaches another.
//!
//! The task of a connection owns its state. What others see of it lies in its [`Client`], which is brought up to date
//! whenever the task waits for more. Connections within the process are not listed here, and pay nothing for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use redis::{ProtocolVersion, Value};

use crate::mailbox::Mailbox;
use crate::port::bell::Bell;
use crate::session::Session;

/// A client of the port.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    /// Its address, and the one that it is connected to, as `CLIENT LIST` shows them.
    pub(crate) address: String,
    pub(crate) local: String,
    pub(crate) is_unix: bool,
    /// The number of its socket.
    pub(crate) socket: i64,
    pub(crate) born: Instant,
    pub(crate) bell: Bell,
    pub(crate) mailbox: Arc<Mailbox>,
    /// Whether its connection is to be closed at once.
    killed: AtomicBool,
    /// Whether its connection is closed after the reply.
    pub(crate) closing: AtomicBool,
    /// Whether it may do more than authenticate.
    pub(crate) authenticated: AtomicBool,
    /// Whether it waits, in a command or because of a pause.
    pub(crate) blocked: AtomicBool,
    pub(crate) monitors: AtomicBool,
    pub(crate) no_evict: AtomicBool,
    replies: AtomicU8,
    /// When it last sent or was sent something, or ended a wait, in milliseconds of the store's coarse clock.
    pub(crate) active: AtomicU64,
    pub(crate) seen: Mutex<Seen>,
}

/// What others see of a client's session and buffers.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) name: Option<Arc<[u8]>>,
    pub(crate) db: u32,
    pub(crate) protocol: ProtocolVersion,
    /// How many commands its transaction has.
    pub(crate) queued: Option<usize>,
    pub(crate) queued_bytes: usize,
    /// Whether a key that it watches has changed.
    pub(crate) dirty: bool,
    /// How many channels, patterns and shard channels it is subscribed to.
    pub(crate) subscribed: [usize; 3],
    /// The flags and the redirection of tracking.
    pub(crate) push_flags: String,
    pub(crate) redirect: i64,
    /// The last command.
    pub(crate) command: &'static str,
    pub(crate) input: usize,
    pub(crate) input_free: usize,
    pub(crate) args: usize,
    pub(crate) output: usize,
}

/// Whether a client gets replies: `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replies {
    On = 0,
    Off = 1,
    /// Not to the command that comes next.
    SkipNext = 2,
    /// Not to this command.
    Skip = 3,
}

/// The kinds of clients that `CLIENT LIST` and `CLIENT KILL` know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientType {
    Normal,
    PubSub,
    Replica,
    Master,
}

impl ClientType {
    pub(crate) fn read(name: &[u8]) -> Option<Self> {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        match () {
            () if is("normal") => Some(ClientType::Normal),
            () if is("pubsub") => Some(ClientType::PubSub),
            () if is("replica") || is("slave") => Some(ClientType::Replica),
            () if is("master") => Some(ClientType::Master),
            () => None,
        }
    }
}

/// How a client is connected.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) peer: String,
    pub(crate) local: String,
    pub(crate) is_unix: bool,
    pub(crate) socket: i64,
}

impl Client {
    pub(crate) fn new(
        id: u64,
        address: Address,
        mailbox: Arc<Mailbox>,
        authenticated: bool,
    ) -> Self {
        Client {
            id,
            address: address.peer,
            local: address.local,
            is_unix: address.is_unix,
            socket: address.socket,
            born: Instant::now(),
            bell: Bell::default(),
            mailbox,
            killed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            authenticated: AtomicBool::new(authenticated),
            blocked: AtomicBool::new(false),
            monitors: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            replies: AtomicU8::new(Replies::On as u8),
            active: AtomicU64::new(0),
            seen: Mutex::new(Seen {
                name: None,
                db: 0,
                protocol: ProtocolVersion::RESP2,
                queued: None,
                queued_bytes: 0,
                dirty: false,
                subscribed: [0; 3],
                push_flags: String::new(),
                redirect: -1,
                command: "NULL",
                input: 0,
                input_free: 0,
                args: 0,
                output: 0,
            }),
        }
    }

    /// Notes the last command.
    #[inline]
    pub(crate) fn last_command(&self, name: &'static str) {
        self.seen.lock().command = name;
    }

    /// Closes its connection.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.bell.ring();
    }

    #[inline]
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn is_authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Relaxed)
    }

    pub(crate) fn replies(&self) -> Replies {
        match self.replies.load(Ordering::Relaxed) {
            1 => Replies::Off,
            2 => Replies::SkipNext,
            3 => Replies::Skip,
            _ => Replies::On,
        }
    }

    pub(crate) fn set_replies(&self, replies: Replies) {
        self.replies.store(replies as u8, Ordering::Relaxed);
    }

    pub(crate) fn kind(&self) -> ClientType {
        let subscribed = self.seen.lock().subscribed;
        if self.monitors.load(Ordering::Relaxed) {
            ClientType::Replica
        } else if subscribed == [0; 3] {
            ClientType::Normal
        } else {
            ClientType::PubSub
        }
    }
}

impl Seen {
    /// Takes over what others may see of a session.
    pub(crate) fn look(&mut self, session: &Session) {
        if self.name.as_ref().map(Arc::as_ptr) != session.name.as_ref().map(Arc::as_ptr) {
            self.name.clone_from(&session.name);
        }
        self.db = session.db;
        self.protocol = session.protocol;
        self.subscribed = session.subscription_counts();
        self.push_flags = session.push_flags();
        self.redirect = session.redirect();
        self.queued = None;
        self.queued_bytes = 0;
        if let Some(transaction) = &session.transaction {
            let args = transaction.queue.iter().flat_map(|queued| &queued.args);
            self.queued = Some(transaction.queue.len());
            self.queued_bytes = args.map(|arg| arg.len()).sum();
        }
        self.dirty = session
            .watching
            .as_ref()
            .is_some_and(|watching| watching.is_dirty());
    }
}

/// Which commands a pause holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    Writes = 1,
    All = 2,
}

/// Ends a server.
type Stop = Box<dyn Fn() + Send + Sync>;

/// The clients of a store's ports.
#[derive(Default)]
pub(crate) struct Clients {
    list: RwLock<BTreeMap<u64, Arc<Client>>>,
    count: AtomicUsize,
    /// How many there have been, and how many were refused.
    pub(crate) total: AtomicU64,
    pub(crate) refused: AtomicU64,
    monitors: RwLock<Vec<Arc<Client>>>,
    monitor_count: AtomicUsize,
    paused: AtomicU8,
    pause_ends: Mutex<Option<Instant>>,
    /// How many wait because of a pause.
    pub(crate) held: AtomicUsize,
    stops: Mutex<Vec<Stop>>,
    /// The port that clients connect to, and the path of the unix socket.
    pub(crate) port: AtomicUsize,
    pub(crate) path: Mutex<String>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Clients {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, client: Arc<Client>) {
        let mut list = self.list.write();
        list.insert(client.id, client);
        self.count.store(list.len(), Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, client: &Client) {
        self.end_monitor(client);
        let mut list = self.list.write();
        list.remove(&client.id);
        self.count.store(list.len(), Ordering::Relaxed);
    }

    /// All clients, the oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.list.read().values().cloned().collect()
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.list.read().get(&id).cloned()
    }

    /// Lets a client see every command from now on.
    pub(crate) fn begin_monitor(&self, client: &Arc<Client>) {
        if !client.monitors.swap(true, Ordering::Relaxed) {
            let mut monitors = self.monitors.write();
            monitors.push(client.clone());
            self.monitor_count.store(monitors.len(), Ordering::Relaxed);
        }
    }

    pub(crate) fn end_monitor(&self, client: &Client) {
        if client.monitors.swap(false, Ordering::Relaxed) {
            let mut monitors = self.monitors.write();
            monitors.retain(|monitor| monitor.id != client.id);
            self.monitor_count.store(monitors.len(), Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn has_monitors(&self) -> bool {
        self.monitor_count.load(Ordering::Relaxed) > 0
    }

    /// Sends a line to all monitors.
    pub(crate) fn tell_monitors(&self, line: String) {
        let line = Arc::new(Value::SimpleString(line));
        for monitor in self.monitors.read().iter() {
            monitor.mailbox.push(line.clone());
        }
    }

    /// Holds up commands from now on. A pause that is on is only made stronger and longer.
    pub(crate) fn pause(&self, what: Pause, duration: Duration) {
        let mut ends = self.pause_ends.lock();
        // The longest time is as good as for ever.
        let end = Instant::now()
            .checked_add(duration)
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(1 << 32));
        *ends = Some(ends.map_or(end, |known| known.max(end)));
        self.paused.fetch_max(what as u8, Ordering::Relaxed);
    }

    pub(crate) fn unpause(&self) {
        *self.pause_ends.lock() = None;
        self.paused.store(0, Ordering::Relaxed);
        for client in self.all() {
            client.bell.ring();
        }
    }

    /// What is held up, and until when.
    #[inline]
    pub(crate) fn paused(&self) -> Option<(Pause, Instant)> {
        if self.paused.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.pause_in_force()
    }

    #[cold]
    fn pause_in_force(&self) -> Option<(Pause, Instant)> {
        let mut ends = self.pause_ends.lock();
        let end = (*ends)?;
        if end <= Instant::now() {
            *ends = None;
            self.paused.store(0, Ordering::Relaxed);
            return None;
        }
        let what = match self.paused.load(Ordering::Relaxed) {
            0 => return None,
            1 => Pause::Writes,
            _ => Pause::All,
        };
        Some((what, end))
    }

    /// Lets `SHUTDOWN` end a server.
    pub(crate) fn on_shutdown(&self, stop: Stop) {
        self.stops.lock().push(stop);
    }

    /// Ends the servers. False if there are none.
    pub(crate) fn shut_down(&self) -> bool {
        let stops = std::mem::take(&mut *self.stops.lock());
        stops.iter().for_each(|stop| stop());
        !stops.is_empty()
    }
}
