//! The credentials of a target whose user or password changes: asked of the application's provider, and kept.
//!
//! 1. The provider runs on a thread of its own, once at a time for all who need an answer together. Whatever it does (it
//!    fails, hangs, panics), those who wait have their own limits.
//! 2. What it gave is used until it expires, whatever becomes of later questions. A connect that finds older credentials
//!    waits only [`PATIENCE`] for newer ones.
//! 3. A provider that does not answer within [`ABANDONED`] is asked anew, on another thread; but at most [`MOST_HUNG`]
//!    threads hang in it.
//! 4. Credentials that a server refused are not used again for a connect: the provider is asked anew, once.
//! 5. After a fork, the child asks for itself: the thread that ran has stayed with the parent.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::credentials::{Credentials, CredentialsProvider, Expires};
use crate::error::{BoxError, Error, Result};
use crate::runtime::Runtime;

/// How long a connect waits for new credentials while the ones before are valid.
const PATIENCE: Duration = Duration::from_millis(250);

/// After so long, a question counts as lost.
const ABANDONED: Duration = Duration::from_secs(30);

/// How many threads may hang in a provider.
const MOST_HUNG: usize = 4;

/// The time before the end at which credentials are renewed, at most.
const LEAD: Duration = Duration::from_secs(300);

/// The shortest and longest pause between tries to renew.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));

/// A provider, and what it gave. Two are equal if they have the same provider.
#[derive(Clone)]
pub(crate) struct Supply {
    provider: Arc<dyn CredentialsProvider>,
    state: Arc<Mutex<State>>,
}

/// Credentials that were given.
pub(super) struct Held {
    pub(super) credentials: Credentials,
    /// Which answer it was.
    number: u64,
    expires: Option<Lifetime>,
}

#[derive(Clone, Copy, Debug)]
struct Lifetime {
    renew: Instant,
    end: Instant,
}

/// The outcome of a question; `None` until it is known.
type Outcome = Option<Result<Arc<Held>>>;

struct State {
    process: u32,
    latest: Option<Arc<Held>>,
    asking: Option<(Instant, watch::Receiver<Outcome>)>,
    answers: u64,
    hung: usize,
    /// After a failure, not before this time is it asked for connections that still work.
    not_before: Option<Instant>,
}

impl State {
    fn new() -> Self {
        State {
            process: std::process::id(),
            latest: None,
            asking: None,
            answers: 0,
            hung: 0,
            not_before: None,
        }
    }
}

impl Held {
    fn new(credentials: Credentials, number: u64, now: Instant) -> Result<Arc<Self>> {
        let left = match credentials.expires {
            None => None,
            Some(Expires::In(time)) => Some(time),
            Some(Expires::At(time)) => {
                Some(time.duration_since(SystemTime::now()).unwrap_or_default())
            }
        };
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Error::no_credentials(
                "it gave credentials that have expired",
            ));
        }
        // A time that no clock can hold does not come.
        let expires = left.and_then(|left| {
            let end = now.checked_add(left)?;
            let renew = end.checked_sub((left / 5).min(LEAD))?;
            Some(Lifetime { renew, end })
        });
        Ok(Arc::new(Held {
            credentials,
            number,
            expires,
        }))
    }

    /// When they end; `None`: never.
    pub(super) fn end(&self) -> Option<Instant> {
        self.expires.map(|life| life.end)
    }

    /// When they are renewed.
    pub(super) fn renewal(&self) -> Option<Instant> {
        self.expires.map(|life| life.renew)
    }

    #[cfg(feature = "blocking")]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.expires.is_some_and(|life| now >= life.renew)
    }

    pub(super) fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|life| now >= life.end)
    }

    /// The command by which a connection that is in use takes them.
    pub(super) fn auth(&self) -> redis::Cmd {
        let mut auth = redis::cmd("AUTH");
        auth.arg(self.credentials.username.as_deref())
            .arg(&self.credentials.password);
        auth
    }

    /// The pause before the next try to renew them.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        let left = self
            .end()
            .map(|end| end.saturating_duration_since(now) / 10);
        left.unwrap_or_default().clamp(PAUSES.0, PAUSES.1)
    }
}

impl Supply {
    pub(crate) fn new(provider: Arc<dyn CredentialsProvider>) -> Self {
        Supply {
            provider,
            state: Arc::new(Mutex::new(State::new())),
        }
    }

    fn address(&self) -> *const () {
        Arc::as_ptr(&self.provider).cast()
    }

    /// Whether an answer is awaited.
    pub(super) fn is_asking(&self) -> bool {
        self.state.lock().asking.is_some()
    }

    /// Credentials for a new connection. `refused`: those that the server has just refused.
    ///
    /// # Errors
    /// `Auth` if there are none.
    pub(super) async fn ask(&self, runtime: &Runtime, refused: Option<&Held>) -> Result<Arc<Held>> {
        let (outcome, latest) = self.start(runtime);
        let kept = latest.filter(|held| {
            !held.has_expired(runtime.now())
                && refused.is_none_or(|refused| held.number > refused.number)
        });
        let mut outcome = outcome?;
        let Some(kept) = kept else {
            return wait(&mut outcome).await;
        };
        match runtime.timeout(PATIENCE, || wait(&mut outcome)).await {
            Some(Ok(held)) => Ok(held),
            Some(Err(error)) => {
                tracing::warn!(%error, "the credentials before are used on");
                Ok(kept)
            }
            None => Ok(kept),
        }
    }

    /// Newer credentials than these, for a connection that works: those that came meanwhile. If there are none, the
    /// provider is asked, and nobody waits for it.
    #[cfg(feature = "blocking")]
    pub(super) fn newer(&self, runtime: &Runtime, than: &Held) -> Option<Arc<Held>> {
        let now = runtime.now();
        let (newer, not_before) = self.given_since(than, now);
        let asks = newer.is_none() && not_before.is_none_or(|at| now >= at);
        if asks && let (Err(error), _) = self.start(runtime) {
            tracing::warn!(%error, "the credentials cannot be renewed yet");
        }
        newer
    }

    /// The same, waiting for the answer.
    pub(super) async fn renewed(&self, runtime: &Runtime, than: &Held) -> Result<Arc<Held>> {
        match self.given_since(than, runtime.now()).0 {
            Some(held) => Ok(held),
            None => wait(&mut self.start(runtime).0?).await,
        }
    }

    /// What the provider has given since it gave these, and is valid; and when it is to be asked at the earliest.
    fn given_since(&self, than: &Held, now: Instant) -> (Option<Arc<Held>>, Option<Instant>) {
        let state = self.state.lock();
        let newer = state.latest.as_ref();
        let newer = newer.filter(|held| held.number > than.number && !held.has_expired(now));
        (newer.cloned(), state.not_before)
    }

    /// Asks the provider, or joins those who wait for its answer. Returns what it gave last, too.
    fn start(&self, runtime: &Runtime) -> (Result<watch::Receiver<Outcome>>, Option<Arc<Held>>) {
        let now = runtime.now();
        let mut state = self.state.lock();
        if state.process != std::process::id() {
            let latest = state.latest.take();
            *state = State {
                latest,
                ..State::new()
            };
        }
        let latest = state.latest.clone();
        if let Some((since, outcome)) = &state.asking {
            let lost = now.saturating_duration_since(*since) >= ABANDONED;
            if !lost && outcome.has_changed().is_ok() {
                return (Ok(outcome.clone()), latest);
            }
            state.hung += usize::from(lost);
            state.asking = None;
        }
        if state.hung >= MOST_HUNG {
            let hangs = Error::no_credentials("it hangs, in several calls at once");
            return (Err(hangs), latest);
        }
        let (tell, outcome) = watch::channel(None);
        state.asking = Some((now, outcome.clone()));
        drop(state);
        let asked = Asked {
            supply: self.clone(),
            since: now,
            tell,
        };
        if let Err(error) = asked.on_a_thread(runtime) {
            self.state.lock().asking = None;
            let failed = Error::no_credentials("no thread could be started for it");
            return (Err(failed.caused_by(error)), latest);
        }
        (Ok(outcome), latest)
    }
}

async fn wait(outcome: &mut watch::Receiver<Outcome>) -> Result<Arc<Held>> {
    match outcome.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(outcome)) => outcome.clone(),
        _ => Err(Error::no_credentials("its thread has ended")),
    }
}

/// A question, on its way.
struct Asked {
    supply: Supply,
    since: Instant,
    tell: watch::Sender<Outcome>,
}

impl Asked {
    fn on_a_thread(self, runtime: &Runtime) -> std::io::Result<()> {
        let clock = runtime.clone();
        let tokio = tokio::runtime::Handle::try_current().ok();
        std::thread::Builder::new()
            .name("nearcache-credentials".into())
            .spawn(move || {
                let provider = Arc::clone(&self.supply.provider);
                let asking = AssertUnwindSafe(|| run(tokio.as_ref(), &*provider));
                let given = catch_unwind(asking);
                let given = match given {
                    Ok(Ok(credentials)) => Ok(credentials),
                    // Its text is the application's, and may hold anything: it is the source, and not in the message.
                    Ok(Err(error)) => Err(Error::no_credentials(
                        "it failed; the source of this error says why",
                    )
                    .caused_by(error)),
                    Err(_) => Err(Error::no_credentials("it panicked")),
                };
                self.settle(given, &clock);
            })
            .map(drop)
    }

    fn settle(self, given: Result<Credentials>, runtime: &Runtime) {
        let now = runtime.now();
        let mut state = self.supply.state.lock();
        let current = state.asking.as_ref().is_some_and(|(since, outcome)| {
            *since == self.since && outcome.same_channel(&self.tell.subscribe())
        });
        if !current {
            // Given up, and now it has ended after all. A newer question may have been answered meanwhile.
            state.hung = state.hung.saturating_sub(1);
        }
        state.answers += 1;
        let number = state.answers;
        let held = given.and_then(|credentials| Held::new(credentials, number, now));
        match &held {
            Ok(held) if current || state.latest.is_none() => {
                state.latest = Some(Arc::clone(held));
                state.not_before = None;
            }
            Ok(_) => {}
            Err(_) => {
                let pause = state.latest.as_ref().map(|held| held.pause(now));
                state.not_before = Some(now + pause.unwrap_or(PAUSES.0));
            }
        }
        if current {
            state.asking = None;
        }
        drop(state);
        self.tell.send_replace(Some(held));
    }
}

/// Runs the provider on this thread.
fn run(
    tokio: Option<&tokio::runtime::Handle>,
    provider: &dyn CredentialsProvider,
) -> std::result::Result<Credentials, BoxError> {
    match tokio {
        Some(handle) => {
            let _context = handle.enter();
            handle.block_on(async { provider.credentials().await })
        }
        #[cfg(feature = "blocking")]
        None => crate::runtime::block_on(async { provider.credentials().await }),
        #[cfg(not(feature = "blocking"))]
        None => Err("there is no tokio runtime".into()),
    }
}

impl PartialEq for Supply {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for Supply {}

impl Hash for Supply {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

impl fmt::Debug for Supply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a provider")
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("number", &self.number)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "blocking"))]
mod tests;
