//! A primary that Sentinels name, and follow through its failovers.
//!
//! 1. At each connect the Sentinels are asked where the primary is, and what answers there is asked whether it is one
//!    (`ROLE`). A server that is a replica is not used: the others are asked, and all once more after a short pause.
//! 2. The Sentinel that answered last is asked first. The next one is asked after [`STAGGER`], or when one fails, so a
//!    Sentinel that is silent costs that long, once.
//! 3. A Sentinel that is behind the others, by the epoch of its configuration, is not believed, unless all are.
//! 4. While the cache is used, `watch` listens to a Sentinel. As soon as it says that another server is the primary, the
//!    connections to the old one are not used for new calls any more, even if it is alive: what is written to it
//!    would be lost.
//! 5. While no Sentinel answers, nothing is promoted by them. Then the primary that they named last is connected to, if
//!    it is still the same process, by its `run_id`.
//!
//! `ask` is the conversation with a Sentinel. The protocol: <https://redis.io/docs/latest/develop/reference/sentinel-clients/>.

mod ask;
mod watch;

use std::io;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch::Sender;

use super::driven::Driven;
use super::greeting::{Met, Role};
use super::led::{Led, Way};
use super::pushes::Pushes;
#[cfg(feature = "blocking")]
use super::socket::Socket;
use super::target::{Address, Part, Place, Target};
use super::{Alone, Backend, BoxFuture, Common, Dedicated, dial, timed_out};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{Runtime, first};
use ask::Answer;

/// What to say of a server that is asked as a Sentinel.
pub(super) const NO_SENTINEL: &str = "this is a Redis server and no Sentinel; for this server alone use redis://HOST:PORT, \
     or give the Sentinels' port, 26379 unless set otherwise";

/// How long a Sentinel is asked alone before the next one is asked as well.
const STAGGER: Duration = Duration::from_millis(100);

/// How often the Sentinels are asked at most in one connect, and the first pause between, which doubles.
const ROUNDS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(25);

/// How many Sentinels are known at most.
const MOST: usize = 64;

/// The Sentinels of a place, and what they said.
#[derive(Debug)]
pub(crate) struct Sentinels {
    /// The name that they have for the primary.
    master: String,
    /// Whether the place leads to a replica of it, rather than to itself.
    replica: bool,
    /// How to connect to a Sentinel, but for its address.
    target: Target,
    /// For the connections to Sentinels, which are no connections of the cache.
    common: Arc<Common>,
    way: Arc<Way>,
    state: Mutex<State>,
    /// The backend whose connections lead to the primary.
    backend: OnceLock<Weak<dyn Backend>>,
    watching: Mutex<watch::Watching>,
    /// Told when the watch is to end.
    stop: Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// In the order in which they are asked.
    known: Vec<Known>,
    /// The server that the place leads to.
    server: Option<Address>,
    /// The `run_id` that it had when a Sentinel had just named it.
    run_id: Option<String>,
    /// The highest epoch of a configuration that a Sentinel told.
    epoch: Option<u64>,
    /// Whether a cache uses the place.
    used: bool,
}

#[derive(Clone, Debug)]
struct Known {
    address: Address,
    /// Whether it is one of those in the URL, which are never forgotten.
    given: bool,
}

/// Where the server is, and who said so.
struct Found {
    server: Address,
    from: Option<Address>,
    /// Without a Sentinel that says so, only this process is believed to be it.
    run_id: Option<String>,
    led: Led,
}

/// What went wrong at each Sentinel that was asked.
#[derive(Debug, Default)]
struct Heard {
    failures: Vec<(Address, Error)>,
    behind: Option<Answer>,
}

/// A Sentinel told nothing that is of use. What it was is among what was heard.
struct Useless;

impl From<io::Error> for Useless {
    fn from(_: io::Error) -> Self {
        Useless
    }
}

impl Sentinels {
    /// Those of a target, if it is behind Sentinels.
    pub(super) fn of(target: &Target, runtime: &Runtime) -> Option<Arc<Self>> {
        let Place::Sentinel { sentinels, master } = &target.place else {
            return None;
        };
        let known = sentinels.iter().map(|address| Known {
            address: address.clone(),
            given: true,
        });
        let first = sentinels.first()?;
        let own = Target {
            username: target.sentinel_username.clone(),
            password: target.sentinel_password.clone(),
            db: 0,
            protocol: None,
            part: Part::Sentinel,
            supply: None,
            ..at(target, first)
        };
        Some(Arc::new(Sentinels {
            master: master.clone(),
            replica: target.part == Part::Replica,
            common: Arc::new(Common::new(&own, runtime.clone())),
            target: own,
            way: Way::new(),
            state: Mutex::new(State {
                known: known.collect(),
                server: None,
                run_id: None,
                epoch: None,
                used: true,
            }),
            backend: OnceLock::new(),
            watching: Mutex::default(),
            stop: Sender::new(0),
        }))
    }

    /// Names the backend that follows the primary.
    pub(super) fn lead_for(&self, backend: &Arc<dyn Backend>) {
        let _ = self.backend.set(Arc::downgrade(backend));
    }

    fn runtime(&self) -> &Runtime {
        self.common.runtime()
    }

    /// Whether a cache uses the place. The watch ends when none does.
    pub(super) fn note_use(&self, used: bool) {
        self.state.lock().used = used;
        if !used {
            self.stop.send_modify(|told| *told += 1);
        }
    }

    /// Connects to the primary.
    ///
    /// # Errors
    /// No Sentinel knows where it is, or what is there is no primary, or does not answer.
    pub(super) async fn lead<'o, C: Send>(
        self: &Arc<Self>,
        target: &Target,
        limit: Duration,
        open: impl Fn(Target) -> BoxFuture<'o, Result<(C, Met)>> + Send + Sync,
    ) -> Result<(C, Led)> {
        self.watch();
        let mut pause = PAUSE;
        let mut failed: Option<(Address, Error)> = None;
        for _ in 0..ROUNDS {
            let found = match self.find(limit).await {
                Ok(found) => found,
                Err(error) => return Err(failed.map_or(error, |(_, error)| error)),
            };
            if let Some((address, error)) = &failed
                && *address == found.server
                && error.kind() == ErrorKind::Connect
            {
                break;
            }
            let target = Target {
                part: self.part(),
                ..at(target, &found.server)
            };
            let opened = first(open(target), found.led.turned()).await;
            let error = match opened {
                // It moved meanwhile.
                Err(()) => continue,
                Ok(Ok(_)) if !found.led.is_current() => continue,
                Ok(Ok((connected, met))) => match self.suits(&met, &found) {
                    Ok(()) => return Ok((connected, found.led)),
                    Err(error) => error,
                },
                Ok(Err(error)) => found.blame(&error, self.replica),
            };
            if !matches!(error.kind(), ErrorKind::Connect | ErrorKind::Unavailable) {
                return Err(error);
            }
            if let Some(from) = &found.from {
                self.distrust(from);
            }
            let again = error.kind() == ErrorKind::Unavailable;
            failed = Some((found.server, error));
            if again {
                self.runtime().sleep(pause).await;
                pause *= 2;
            }
        }
        let error = failed.map(|(_, error)| error);
        Err(error.unwrap_or_else(|| {
            let why = "the server moved again and again while it was connected to";
            Error::new(ErrorKind::Unavailable, why)
        }))
    }

    /// What the server that the place leads to must be.
    fn part(&self) -> Part {
        match self.replica {
            true => Part::Replica,
            false => Part::Primary,
        }
    }

    /// Whether what answered is the server that was looked for.
    fn suits(&self, met: &Met, found: &Found) -> Result<()> {
        let Found { server, from, .. } = found;
        let unfit = |why: String| Err(Error::new(ErrorKind::Unavailable, why));
        if found.run_id.is_some() && found.run_id != met.run_id {
            return unfit(format!(
                "no Sentinel answers, and {server} is not the server any more that they named: it may be no primary"
            ));
        }
        let from_whom = from.as_ref().map(ToString::to_string).unwrap_or_default();
        match met.role {
            None => {}
            Some(Role::Primary) if !self.replica => {}
            Some(Role::Replica { linked: true }) if self.replica => {}
            Some(_) if self.replica => {
                return unfit(format!("{server} is no replica that is up to date"));
            }
            Some(_) => {
                return unfit(format!(
                    "{server} is a replica, although the Sentinel {from_whom} names it as the primary; a failover may \
                     be going on"
                ));
            }
        }
        if from.is_some() {
            let mut state = self.state.lock();
            if state.server.as_ref() == Some(server) {
                state.run_id.clone_from(&met.run_id);
            }
        }
        Ok(())
    }

    /// The server that the place leads to, by this answer, which may also name Sentinels that were not known.
    ///
    /// # Errors
    /// `Unavailable` if there is none. Then it does not lead anywhere any more.
    fn take(&self, answer: &Answer) -> Result<Address> {
        self.learn(&answer.from, &answer.others);
        if !self.replica {
            return Ok(answer.primary.clone());
        }
        let current = self.state.lock().server.clone();
        let stays = current.filter(|current| answer.replicas.contains(current));
        let one = || fastrand::choice(&answer.replicas).cloned();
        stays.or_else(one).ok_or_else(|| {
            self.lead_nowhere();
            let why = "the Sentinels know no replica that is up and connected to its primary";
            Error::new(ErrorKind::Unavailable, why)
        })
    }

    fn lead_nowhere(&self) {
        let mut state = self.state.lock();
        let led = state.server.take().is_some();
        state.run_id = None;
        if led {
            self.way.turn();
        }
        drop(state);
        if led && let Some(backend) = self.backend.get().and_then(Weak::upgrade) {
            backend.follow();
        }
    }

    /// Asks the Sentinels where the primary is.
    async fn find(self: &Arc<Self>, limit: Duration) -> Result<Found> {
        // The other half is for the primary.
        let patience = limit / 2;
        let heard = Arc::<Mutex<Heard>>::default();
        let order = self.order();
        let stagger = STAGGER.min(patience / 4);
        let attempt = {
            let (me, heard) = (Arc::clone(self), Arc::clone(&heard));
            move |address| Arc::clone(&me).attempt(address, patience, Arc::clone(&heard))
        };
        let answer = match self.runtime() {
            #[cfg(feature = "blocking")]
            Runtime::Threads => {
                let deadline = std::time::Instant::now() + patience;
                dial::blocking::first_of(order, stagger, deadline, move |address| {
                    crate::runtime::block_on(attempt(address))
                })
            }
            runtime => dial::first_of(order, stagger, runtime, attempt).await,
        };
        let Heard { failures, behind } = std::mem::take(&mut *heard.lock());
        let answer = answer.ok().or_else(|| {
            // All of them begin again, with lower epochs: their configuration was made anew.
            let anew = behind.filter(|_| failures.is_empty());
            if anew.is_some() {
                self.state.lock().epoch = None;
            }
            anew
        });
        if let Some(answer) = answer {
            let server = self.take(&answer)?;
            let led = self.note(&answer.from, &server, answer.epoch);
            return Ok(Found {
                server,
                from: Some(answer.from),
                run_id: None,
                led,
            });
        }
        let silent = failures.iter().all(|(_, error)| is_silence(error));
        let state = self.state.lock();
        if let (true, Some(server), Some(run_id)) = (silent, &state.server, &state.run_id) {
            return Ok(Found {
                server: server.clone(),
                from: None,
                run_id: Some(run_id.clone()),
                led: self.way.led(),
            });
        }
        drop(state);
        Err(self.no_answer(&failures))
    }

    /// Asks one Sentinel.
    async fn attempt(
        self: Arc<Self>,
        address: Address,
        patience: Duration,
        heard: Arc<Mutex<Heard>>,
    ) -> Result<Answer, Useless> {
        let asking = async || {
            let mut connection = self.connect(&address, None, patience).await?;
            ask::whereabouts(&mut connection, &self.master, &address, self.replica).await
        };
        let asked = self.runtime().timeout(patience, asking).await;
        let error = match asked.unwrap_or_else(|| Err(timed_out(patience, ""))) {
            Ok(answer) if !self.is_behind(answer.epoch) => return Ok(answer),
            Ok(answer) => {
                let mut heard = heard.lock();
                if heard
                    .behind
                    .as_ref()
                    .is_none_or(|other| other.epoch < answer.epoch)
                {
                    heard.behind = Some(answer);
                }
                return Err(Useless);
            }
            Err(error) => error,
        };
        heard.lock().failures.push((address, error));
        Err(Useless)
    }

    /// Connects to a Sentinel.
    async fn connect(
        &self,
        address: &Address,
        protocol: Option<super::Protocol>,
        limit: Duration,
    ) -> Result<Alone> {
        let target = Target {
            protocol,
            ..at(&self.target, address)
        };
        let dedicated = match self.runtime() {
            #[cfg(feature = "blocking")]
            Runtime::Threads => {
                let mut socket = Socket::open(
                    &target,
                    std::time::Instant::now() + limit,
                    &Runtime::Threads,
                )?;
                socket.keep_pushes();
                Dedicated::Socket(Box::new(socket))
            }
            runtime => {
                let opening = Driven::open(&target, Pushes::Kept, &self.common);
                let opened = runtime.timeout(limit, || opening).await;
                let opened = opened.unwrap_or_else(|| Err(timed_out(limit, "while connecting")));
                Dedicated::Multiplexed(opened?.shared())
            }
        };
        Ok(Alone::new(dedicated, self.runtime(), limit))
    }

    fn order(&self) -> Vec<Address> {
        let state = self.state.lock();
        state
            .known
            .iter()
            .map(|known| known.address.clone())
            .collect()
    }

    /// Whether a configuration with this epoch is older than one that was told before.
    fn is_behind(&self, epoch: Option<u64>) -> bool {
        let seen = self.state.lock().epoch;
        matches!((epoch, seen), (Some(epoch), Some(seen)) if epoch < seen)
    }

    /// A Sentinel named the server. Returns what a connection to it is led by.
    fn note(&self, from: &Address, server: &Address, epoch: Option<u64>) -> Led {
        let mut state = self.state.lock();
        if let Some(at) = state.known.iter().position(|known| known.address == *from) {
            state.known[..=at].rotate_right(1);
        }
        state.epoch = state.epoch.max(epoch);
        let before = state.server.replace(server.clone());
        let moved = before.as_ref().is_some_and(|before| before != server);
        if moved {
            state.run_id = None;
            // Under the lock, so that nobody is led to the old one by a newer turn.
            self.way.turn();
        }
        let led = self.way.led();
        drop(state);
        if let Some(before) = before.filter(|_| moved) {
            if self.replica {
                tracing::debug!(master = self.master, from = %before, to = %server, "another replica is read from");
            } else {
                tracing::warn!(master = self.master, from = %before, to = %server, sentinel = %from, "the primary has moved");
            }
            if let Some(backend) = self.backend.get().and_then(Weak::upgrade) {
                backend.follow();
                backend.common().tell(&super::events::LinkEvent::Moved);
            }
        }
        led
    }

    /// A Sentinel told of the others.
    fn learn(&self, from: &Address, others: &[Address]) {
        let mut state = self.state.lock();
        if others.is_empty() {
            return;
        }
        state.known.retain(|known| {
            known.given || known.address == *from || others.contains(&known.address)
        });
        for address in others {
            if state.known.len() < MOST && state.known.iter().all(|known| known.address != *address)
            {
                state.known.push(Known {
                    address: address.clone(),
                    given: false,
                });
            }
        }
    }

    /// A Sentinel was of no use: the others are asked before it.
    fn distrust(&self, address: &Address) {
        let mut state = self.state.lock();
        if let Some(at) = state
            .known
            .iter()
            .position(|known| known.address == *address)
        {
            state.known[at..].rotate_left(1);
        }
    }

    /// What to say when no Sentinel tells where the primary is.
    fn no_answer(&self, failures: &[(Address, Error)]) -> Error {
        let worst = |error: &Error| match error.kind() {
            ErrorKind::Auth => 4,
            ErrorKind::Denied => 3,
            ErrorKind::InvalidConfig => 2,
            ErrorKind::Connect | ErrorKind::Timeout => 0,
            _ => 1,
        };
        let Some((address, error)) = failures.iter().max_by_key(|(_, error)| worst(error)) else {
            let why = "the Sentinels that answer are behind others, which answered before";
            return Error::new(ErrorKind::Unavailable, why);
        };
        if !is_silence(error) {
            let advice = match error.kind() {
                ErrorKind::Auth => {
                    "; Sentinels have users of their own: give them as sentinel_username and sentinel_password"
                }
                _ => "",
            };
            let why = format!("Sentinel {address}: {}{advice}", error.detail());
            return Error::new(error.kind(), why).caused_by(error.clone());
        }
        let all: Vec<String> = failures
            .iter()
            .map(|(address, error)| format!("{address}: {}", error.detail()))
            .collect();
        let kind = match failures
            .iter()
            .any(|(_, error)| error.kind() == ErrorKind::Connect)
        {
            true => ErrorKind::Connect,
            false => ErrorKind::Timeout,
        };
        let why = format!("no Sentinel answers ({})", all.join("; "));
        Error::new(kind, why).caused_by(error.clone())
    }
}

impl Found {
    /// An error of the server, which says where it is.
    fn blame(&self, error: &Error, replica: bool) -> Error {
        let part = if replica { "replica" } else { "primary" };
        let (server, detail) = (&self.server, error.detail());
        let why = match &self.from {
            Some(from) => format!("the {part} {server}, as the Sentinel {from} says: {detail}"),
            None => format!(
                "no Sentinel answers, and the {part} {server}, which they named last: {detail}"
            ),
        };
        Error::new(error.kind(), why).caused_by(error.clone())
    }
}

/// Whether a Sentinel said nothing at all.
fn is_silence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Connect | ErrorKind::Timeout)
}

/// The same target at this address.
fn at(target: &Target, Address { host, port }: &Address) -> Target {
    Target {
        place: Place::Tcp {
            host: host.clone(),
            port: *port,
        },
        ..target.clone()
    }
}
