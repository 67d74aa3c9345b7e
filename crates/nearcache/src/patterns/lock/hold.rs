//! What is held for a time: a lock, or a permit of a semaphore. It is taken, renewed in the background, and released.
//!
//! 1. [`Hold::is_held`] is true only while the server keeps the hold for its owner: until the time at which the last
//!    successful request *was sent*, plus the TTL, minus a margin. The server began to count later than that.
//! 2. Once it was false it stays false, whatever a renewal answers.
//! 3. The owner is a random number of its own for each hold, so nobody releases or renews what another one holds.
//! 4. A try whose reply was lost may have taken the hold. The next try names the same owner, and learns of it; if
//!    there is none, it is released.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::Value;
use tokio::runtime::Handle;

use crate::client::Client;
use crate::connect::BoxFuture;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::keyspace::{Key, StoredKey};
use crate::patterns::upkeep::{self, Chore, Tended};
use crate::read_through::ReadThrough;
use crate::read_through::lease::random;
use crate::runtime::Runtime;
use crate::script::{Input, Script};
use crate::ttl::{IntoTtl, Ttl};

/// The shortest time for which something is held: a few round trips, and the margin.
const SHORTEST: Duration = Duration::from_millis(100);

/// How far this process's clock and the server's may drift apart, as a part of the TTL.
const DRIFT: u32 = 100;

/// What the margin has beside the drift: the server counts in whole milliseconds.
const GRAIN: Duration = Duration::from_millis(2);

/// The first pause between two tries, and the longest. Each varies at random between half of it and all of it.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// A kind of hold: its scripts, and what its operations are called.
#[derive(Debug)]
pub(in crate::patterns) struct Sort {
    pub(in crate::patterns) helper: &'static str,
    /// What one of them is called in messages.
    pub(in crate::patterns) noun: &'static str,
    /// The words of an error for a wait that has ended.
    pub(in crate::patterns) not_free: &'static str,
    /// KEYS: the holders, the last token. ARGV: the owner, the TTL in ms, how many there are.
    pub(in crate::patterns) acquire: &'static Script,
    /// KEYS: the holders. ARGV: the owner, the TTL in ms.
    pub(in crate::patterns) renew: &'static Script,
    /// KEYS: the holders. ARGV: the owner.
    pub(in crate::patterns) release: &'static Script,
    pub(in crate::patterns) verbs: Verbs,
}

/// What hooks are told.
#[derive(Debug)]
pub(in crate::patterns) struct Verbs {
    pub(in crate::patterns) try_acquire: &'static str,
    pub(in crate::patterns) acquire: &'static str,
    pub(in crate::patterns) renew: &'static str,
    pub(in crate::patterns) release: &'static str,
}

/// What is wanted: which, for how long, of how many.
#[derive(Clone)]
pub(in crate::patterns) struct Wanted {
    pub(in crate::patterns) core: ReadThrough,
    pub(in crate::patterns) sort: &'static Sort,
    pub(in crate::patterns) name: Key,
    pub(in crate::patterns) ttl: Result<Ttl>,
    pub(in crate::patterns) of: u64,
    pub(in crate::patterns) renewed: bool,
}

impl Wanted {
    pub(in crate::patterns) fn set_ttl(&mut self, ttl: impl IntoTtl) {
        self.ttl = ttl.into_ttl();
    }

    /// The key of the holders.
    ///
    /// # Errors
    /// `InvalidKey`.
    pub(in crate::patterns) fn holders(&self) -> Result<StoredKey> {
        self.key("")
    }

    fn key(&self, part: &str) -> Result<StoredKey> {
        let keys = self.core.client().keyspace();
        keys.helper(self.sort.helper, &[self.name.as_bytes()], part)
    }

    fn attempt(&self) -> Result<Attempt> {
        let ttl = self.ttl.clone()?.as_duration();
        if ttl < SHORTEST {
            return Err(Error::new(
                ErrorKind::InvalidTtl,
                format!(
                    "{ttl:?} is too short to hold a {}: it is held for {SHORTEST:?} at least",
                    self.sort.noun
                ),
            ));
        }
        if self.of == 0 {
            let why = format!("a {} that nobody may hold: give 1 or more", self.sort.noun);
            return Err(Error::new(ErrorKind::InvalidConfig, why));
        }
        let owner: String = random().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Attempt {
            is_unknown: false,
            lease: Arc::new(Lease {
                core: self.core.clone(),
                sort: self.sort,
                name: self.name.clone(),
                holders: self.key("")?,
                last: self.key("token")?,
                owner,
                ttl,
                of: self.of,
                state: Mutex::new(State::default()),
            }),
            renewed: self.renewed,
        })
    }

    /// Tries once.
    pub(in crate::patterns) async fn try_once(self) -> Result<Option<Hold>> {
        let mut attempt = self.attempt()?;
        let verb = self.sort.verbs.try_acquire;
        let work = async |core: &ReadThrough| attempt.ask(core.client()).await;
        let asked = self
            .core
            .perform(verb, CallKeys::One(self.name.as_bytes()), work)
            .await;
        Ok(match asked? {
            Answer::Taken(token) => Some(attempt.held(token)?),
            Answer::NotFree => None,
        })
    }

    /// Tries until it is held, or until this time has passed.
    pub(in crate::patterns) async fn wait(self, patience: Duration) -> Result<Hold> {
        let mut attempt = self.attempt()?;
        let verb = self.sort.verbs.acquire;
        let work = async |core: &ReadThrough| attempt.insist(core.client(), patience).await;
        let token = self
            .core
            .perform(verb, CallKeys::One(self.name.as_bytes()), work)
            .await?;
        attempt.held(token)
    }
}

impl Wanted {
    /// What `Debug` of a lock or a semaphore shows.
    pub(in crate::patterns) fn describe(
        &self,
        f: &mut fmt::Formatter<'_>,
        what: &str,
    ) -> fmt::Result {
        let redact = self.core.client().keyspace().redacts();
        let name = crate::keyspace::in_message(self.name.as_bytes(), redact);
        f.debug_struct(what)
            .field("name", &name)
            .field("permits", &self.of)
            .field("ttl", &self.ttl)
            .field("renewed", &self.renewed)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, "Wanted")
    }
}

enum Answer {
    Taken(u64),
    NotFree,
}

/// A try to hold something. Dropped while it is unknown whether it succeeded, it releases what it may have taken.
struct Attempt {
    lease: Arc<Lease>,
    renewed: bool,
    is_unknown: bool,
}

impl Attempt {
    async fn ask(&mut self, client: &Client) -> Result<Answer> {
        let lease = &self.lease;
        let mut input = lease.input(true);
        input
            .key(lease.last.as_bytes())
            .arg(lease.of.to_string().as_bytes());
        self.is_unknown = true;
        let until = lease.end_if_sent_now();
        let reply = client.run(lease.sort.acquire, &input).await;
        let reply = reply.map_err(|error| {
            // What was not sent, or was refused, has taken nothing.
            self.is_unknown &= matches!(
                error.kind(),
                ErrorKind::Timeout | ErrorKind::Connect | ErrorKind::Protocol
            );
            lease.explain(error)
        })?;
        match reply {
            Value::Array(parts) => match &parts[..] {
                [Value::Int(1), Value::BulkString(token)] => {
                    let token = std::str::from_utf8(token)
                        .ok()
                        .and_then(|text| text.parse().ok());
                    let unexpected = || Error::unexpected("the script", &Value::Nil);
                    lease.state.lock().until = Some(until);
                    token.map(Answer::Taken).ok_or_else(unexpected)
                }
                [Value::Int(0), _] => {
                    self.is_unknown = false;
                    Ok(Answer::NotFree)
                }
                _ => Err(Error::unexpected("the script", &Value::Array(parts))),
            },
            other => Err(Error::unexpected("the script", &other)),
        }
    }

    async fn insist(&mut self, client: &Client, patience: Duration) -> Result<u64> {
        let runtime = client.runtime();
        let begun = runtime.now();
        let mut pause = PAUSES.0;
        loop {
            let failed = match self.ask(client).await {
                Ok(Answer::Taken(token)) => return Ok(token),
                Ok(Answer::NotFree) => None,
                Err(error) if is_passing(error.kind()) => Some(error),
                Err(error) => return Err(error),
            };
            let left = patience.saturating_sub(runtime.now().saturating_duration_since(begun));
            if left.is_zero() {
                return Err(failed.unwrap_or_else(|| self.not_free(patience)));
            }
            runtime.sleep(jittered(pause).min(left)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn not_free(&self, patience: Duration) -> Error {
        let lease = &self.lease;
        let words = lease.sort.not_free;
        let why = format!("waited for {patience:?}; `wait` says for how long");
        lease.explain(Error::too_late(words, why))
    }

    /// It is held.
    fn held(mut self, token: u64) -> Result<Hold> {
        let lease = Arc::clone(&self.lease);
        let runtime = lease.core.client().runtime();
        let tended = match self.renewed {
            // On an error, the drop of this attempt releases it.
            true => Some(upkeep::begin(runtime, lease.period(), lease.clone())?),
            false => None,
        };
        self.is_unknown = false;
        Ok(Hold {
            home: Handle::try_current().ok(),
            lease,
            token,
            tended,
            released: false,
        })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_unknown {
            let lease = Arc::clone(&self.lease);
            // Without a runtime it ends by itself.
            let _ = lease.core.client().runtime().clone().try_detach_as(
                "nearcache-release",
                async move {
                    let _ = lease.release().await;
                },
            );
        }
    }
}

/// Whether the next try may find the server back.
pub(in crate::patterns) fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Connect
            | ErrorKind::Timeout
            | ErrorKind::Unavailable
            | ErrorKind::PoolExhausted
            | ErrorKind::Protocol
    )
}

/// At random between half of a time and all of it.
pub(in crate::patterns) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// A place at the server, with the owner that may hold it.
struct Lease {
    core: ReadThrough,
    sort: &'static Sort,
    name: Key,
    holders: StoredKey,
    last: StoredKey,
    owner: String,
    ttl: Duration,
    of: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Until when it is held. `None`: not any more, or not yet.
    until: Option<End>,
}

/// A time on this process's clock, and on the store's if that is in this process.
#[derive(Clone, Copy)]
struct End {
    at: Instant,
    store: Option<u64>,
}

impl Lease {
    /// The keys and arguments that all scripts begin with.
    fn input(&self, with_ttl: bool) -> Input {
        let mut input = Input::default();
        input
            .key(self.holders.as_bytes())
            .arg(self.owner.as_bytes());
        if with_ttl {
            input.arg(self.ttl.as_millis().to_string().as_bytes());
        }
        input
    }

    /// How long before the server's end this process gives up.
    fn margin(&self) -> Duration {
        self.ttl / DRIFT + GRAIN
    }

    fn period(&self) -> Duration {
        self.ttl / 3
    }

    /// Until when it is held if the server does what is sent now.
    fn end_if_sent_now(&self) -> End {
        let client = self.core.client();
        let sure = self.ttl.saturating_sub(self.margin());
        let now = client.runtime().now();
        End {
            // A TTL beyond what the clock can count is no promise for ever: then for a day.
            at: now
                .checked_add(sure)
                .unwrap_or(now + Duration::from_secs(86_400)),
            store: client
                .store_millis()
                .map(|millis| millis.saturating_add(sure.as_millis() as u64)),
        }
    }

    /// For how long it is still held, without another renewal. Zero is for good.
    fn left(&self) -> Duration {
        let mut state = self.state.lock();
        let left = self.left_of(&state);
        if left.is_zero() {
            state.until = None;
        }
        left
    }

    fn left_of(&self, state: &State) -> Duration {
        let Some(end) = state.until else {
            return Duration::ZERO;
        };
        let client = self.core.client();
        let left = end.at.saturating_duration_since(client.runtime().now());
        match end.store.zip(client.store_millis()) {
            Some((end, now)) => left.min(Duration::from_millis(end.saturating_sub(now))),
            None => left,
        }
    }

    /// Takes the later end of a renewal. Returns false if it has ended meanwhile.
    fn extend(&self, until: End) -> bool {
        let mut state = self.state.lock();
        let goes_on = !self.left_of(&state).is_zero();
        state.until = goes_on.then_some(until);
        goes_on
    }

    fn end(&self) {
        self.state.lock().until = None;
    }

    /// Renews it once. Returns when to renew it again; `None` if it is lost.
    async fn renew(&self) -> Option<Duration> {
        let left = self.left();
        if left.is_zero() {
            return None;
        }
        let client = self.core.client();
        // A request that takes longer than it is held is of no use.
        let core = self
            .core
            .within(Ok(client.limit().min(left).max(Duration::from_millis(1))));
        let until = self.end_if_sent_now();
        let renewed = core
            .perform(
                self.sort.verbs.renew,
                CallKeys::One(self.name.as_bytes()),
                async |core| core.client().run(self.sort.renew, &self.input(true)).await,
            )
            .await;
        match renewed {
            Ok(Value::Int(1)) => self.extend(until).then(|| self.period()),
            Ok(_) => {
                tracing::warn!(
                    what = self.sort.noun,
                    "a hold was lost before it was released: it expired, or its key was evicted or deleted"
                );
                self.end();
                None
            }
            Err(error) => {
                tracing::debug!(%error, what = self.sort.noun, "a hold could not be renewed; trying again");
                (!self.left().is_zero()).then(|| (self.ttl / 20).max(Duration::from_millis(5)))
            }
        }
    }

    /// Releases it, if it is the owner's. Returns whether it was.
    async fn release(&self) -> Result<bool> {
        self.end();
        let released = self
            .core
            .perform(
                self.sort.verbs.release,
                CallKeys::One(self.name.as_bytes()),
                async |core| {
                    core.client()
                        .run(self.sort.release, &self.input(false))
                        .await
                },
            )
            .await;
        match released {
            Ok(Value::Int(count)) => Ok(count > 0),
            Ok(other) => Err(Error::unexpected("the script", &other)),
            Err(error) => Err(self.explain(error)),
        }
    }

    fn explain(&self, error: Error) -> Error {
        let redact = self.core.client().keyspace().redacts();
        error.named(self.name.as_bytes(), redact)
    }
}

impl Chore for Lease {
    fn tend(&self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(self.renew())
    }
}

/// Something that is held, until it is released or dropped.
pub(in crate::patterns) struct Hold {
    lease: Arc<Lease>,
    token: u64,
    tended: Option<Tended>,
    released: bool,
    /// The runtime on which it was taken, if there is one.
    home: Option<Handle>,
}

impl Hold {
    pub(in crate::patterns) fn token(&self) -> u64 {
        self.token
    }

    pub(in crate::patterns) fn is_held(&self) -> bool {
        !self.lease.left().is_zero()
    }

    pub(in crate::patterns) fn left(&self) -> Duration {
        self.lease.left()
    }

    pub(in crate::patterns) async fn release(mut self) -> Result<bool> {
        self.tended = None;
        let released = self.lease.release().await;
        // After an error the drop would only meet it again.
        self.released = true;
        released
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.tended = None;
        if self.released {
            return;
        }
        self.lease.end();
        let lease = Arc::clone(&self.lease);
        let release = async move {
            if let Err(error) = lease.release().await {
                tracing::debug!(%error, "a hold that was dropped could not be released; it ends by itself");
            }
        };
        match self.lease.core.client().runtime() {
            #[cfg(feature = "blocking")]
            Runtime::Threads => crate::runtime::block_on(release),
            Runtime::Tokio => {
                if let Some(home) = &self.home {
                    home.spawn(release);
                }
            }
            #[cfg(test)]
            Runtime::Moved(_) => {
                if let Some(home) = &self.home {
                    home.spawn(release);
                }
            }
        }
    }
}

/// What it is and whether it is held; not the owner, which would let others release it.
impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lease = &self.lease;
        let redact = lease.core.client().keyspace().redacts();
        f.debug_struct(lease.sort.noun)
            .field(
                "name",
                &crate::keyspace::in_message(lease.name.as_bytes(), redact),
            )
            .field("token", &self.token)
            .field("is_held", &self.is_held())
            .finish_non_exhaustive()
    }
}
