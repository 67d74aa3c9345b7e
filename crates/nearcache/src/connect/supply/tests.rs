//! Credentials that change and end, and connections whose user is gone, on a real server, with both kinds of callers. The
//! clock is moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nearcache_testkit::{Proxy, Redis, eventually};
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};
use tokio::runtime::Handle;

use super::Supply;
use crate::connect::credentials::{Credentials, IntoCredentialsProvider};
use crate::connect::multiplexed::Multiplexed;
use crate::connect::pooled::Pooled;
use crate::connect::target::Target;
use crate::connect::{Backend, Common, Terms};
use crate::error::{BoxError, ErrorKind};
use crate::runtime::{Runtime, block_on, moved};

/// For how long the credentials are good.
const LIFE: Duration = Duration::from_secs(5);

/// By then, others are looked for; and no connection is idle for so long that it is asked whether it is there.
const RENEWAL: Duration = Duration::from_millis(4_500);

const TERMS: Terms = Terms {
    limit: Duration::from_secs(3_600),
    epoch: 0,
};

/// What an application has: a password that changes.
#[derive(Default)]
struct Vault {
    password: Mutex<&'static str>,
    fails: AtomicBool,
    asked: AtomicUsize,
}

impl Vault {
    fn give(&self) -> Result<Credentials, BoxError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err("no route to the vault".into());
        }
        Ok(Credentials::new("app", *self.password.lock()).expires_in(LIFE))
    }
}

/// A server with the user `app`, and a backend that connects there as that user, through a proxy that looks on.
struct Site {
    redis: Redis,
    proxy: Proxy,
    vault: Arc<Vault>,
    clock: moved::Clock,
    backend: Arc<dyn Backend>,
    /// The same, for async callers.
    shared: Option<Arc<Multiplexed>>,
}

impl Site {
    fn new(blocking: bool) -> Site {
        let redis = Redis::start_with(&["--requirepass", "s3cret"]);
        let proxy = Proxy::start(&redis.address());
        let (vault, clock) = (Arc::<Vault>::default(), moved::Clock::new());
        let client = redis::Client::open(proxy.url()).unwrap();
        let giving = Arc::clone(&vault);
        let provider = (move || giving.give()).into_provider();
        let target = Target {
            supply: Some(Supply::new(provider)),
            ..Target::from_client(&client).unwrap()
        };
        let common = Common::new(&target, Runtime::Moved(clock.clone()));
        let (backend, shared): (Arc<dyn Backend>, _) = match blocking {
            true => (Arc::new(Pooled::with(target, common)), None),
            false => {
                let shared = Arc::new(Multiplexed::with(target, common));
                (Arc::clone(&shared) as _, Some(shared))
            }
        };
        let site = Site {
            redis,
            proxy,
            vault,
            clock,
            backend,
            shared,
        };
        site.rotate("first", "resetpass ");
        site
    }

    /// From now on the provider gives this password. `reset`: no other is valid any more.
    fn rotate(&self, password: &'static str, reset: &str) {
        let user = format!("ACL SETUSER app on {reset}>{password} ~* &* +@all");
        self.redis.inlines(&["AUTH s3cret", &user]);
        *self.vault.password.lock() = password;
    }

    fn asked(&self) -> usize {
        self.vault.asked.load(Ordering::SeqCst)
    }

    /// How often a connection in use has taken other credentials.
    fn renewals(&self) -> usize {
        let commands = self.proxy.commands();
        commands
            .iter()
            .filter(|sent| sent.starts_with("AUTH"))
            .count()
    }

    async fn incr(&self) -> crate::error::Result<Value> {
        self.backend
            .request(Cmd::new().arg("INCR").arg("n"), TERMS)
            .await
    }

    /// Whether the connection that the tasks of a runtime share goes by credentials that are good for longer than until
    /// their renewal: the reply to `AUTH` comes after the server has seen it.
    fn is_good(&self, runtime: &Handle) -> bool {
        let Some(shared) = &self.shared else {
            return true;
        };
        let connected = shared.found(runtime.id());
        connected.is_some_and(|connected| connected.is_good_for(&self.clock, RENEWAL))
    }

    /// Takes the user off the connection.
    async fn reset(&self) {
        self.backend
            .request(Cmd::new().arg("RESET"), TERMS)
            .await
            .unwrap();
    }
}

/// Runs a test for either kind of callers.
fn both(test: impl AsyncFn(Site)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(test(Site::new(false)));
    block_on(test(Site::new(true)));
}

#[test]
fn a_connection_takes_newer_credentials_before_its_own_end() {
    both(async |site| {
        site.incr().await.unwrap();
        for (times, password) in [(1, "second"), (2, "third")] {
            let before = site.renewals();
            site.rotate(password, "resetpass ");
            site.clock.advance(RENEWAL);
            let since = Instant::now();
            while site.renewals() == before {
                assert!(since.elapsed() < Duration::from_secs(60), "not renewed");
                site.incr().await.unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(site.asked(), 1 + times, "{:?}", site.proxy.commands());
            let since = Instant::now();
            while site.shared.is_some() && !site.is_good(&Handle::current()) {
                assert!(since.elapsed() < Duration::from_secs(20), "not taken");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(site.proxy.connections(), 1, "nobody has connected anew");
    });
}

#[test]
fn what_expired_and_is_not_renewed_is_used_no_more() {
    both(async |site| {
        site.incr().await.unwrap();
        site.vault.fails.store(true, Ordering::SeqCst);
        site.clock.advance(LIFE);
        let error = site.incr().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        let source = std::error::Error::source(&error).expect("the provider's own");
        assert!(source.to_string().contains("no route"), "{source}");
        site.vault.fails.store(false, Ordering::SeqCst);
        assert_eq!(site.incr().await.unwrap(), Value::Int(2));
        assert_eq!(site.proxy.connections(), 2);
    });
}

/// How many callers there are at a time.
const CALLERS: usize = 3;

#[test]
fn a_password_is_rotated_under_load_and_no_call_fails() {
    for blocking in [false, true] {
        let (site, stop) = (Site::new(blocking), AtomicBool::new(false));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let life = async |made: &AtomicUsize| {
            while !stop.load(Ordering::SeqCst) {
                site.incr().await.expect("no call fails");
                made.fetch_add(1, Ordering::SeqCst);
            }
        };
        // How many calls each of them has made.
        let made: [AtomicUsize; CALLERS] = Default::default();
        let counted = || made.each_ref().map(|made| made.load(Ordering::SeqCst));
        let (runtime, life) = (&runtime, &life);
        std::thread::scope(|scope| {
            for made in &made {
                scope.spawn(move || match blocking {
                    true => block_on(life(made)),
                    false => runtime.block_on(life(made)),
                });
            }
            // The shared connection, or each of the sockets.
            let connections = if blocking { CALLERS } else { 1 };
            eventually("all are connected", || {
                site.proxy.connections() == connections
            });
            // Both are valid for a while; then only the last one.
            for (password, reset) in [("second", ""), ("third", ""), ("fourth", "resetpass ")] {
                let before = site.renewals();
                site.rotate(password, reset);
                site.clock.advance(RENEWAL);
                let all = before + connections;
                eventually("all have authenticated anew", || site.renewals() >= all);
                // The server has seen it. Whoever makes another call after that has its answer.
                eventually("all know", || site.is_good(runtime.handle()));
                let then = counted();
                eventually("all go on", || {
                    counted()
                        .iter()
                        .zip(then)
                        .all(|(now, then)| *now > then + 1)
                });
            }
            stop.store(true, Ordering::SeqCst);
            assert_eq!(site.proxy.connections(), connections);
        });
        let refused = site.redis.inlines(&["AUTH s3cret", "ACL LOG"]);
        assert!(refused.starts_with("*0"), "a refused password: {refused}");
    }
}

/// As a server does whose users are loaded anew, or a proxy whose token has ended.
#[test]
fn a_connection_whose_user_is_gone_is_left_for_one_with_the_credentials_of_now() {
    both(async |site| {
        site.incr().await.unwrap();
        for connections in [2, 3] {
            site.rotate("next", "resetpass ");
            site.reset().await;
            let refused = match connections {
                2 => site.incr().await.map(drop),
                _ => {
                    let mut pipeline = Pipeline::new();
                    pipeline.atomic().cmd("INCR").arg("n").cmd("INCR").arg("n");
                    site.backend.pipeline(&pipeline, TERMS).await.map(drop)
                }
            };
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
            let counted = i64::try_from(connections).unwrap();
            assert_eq!(site.incr().await.unwrap(), Value::Int(counted));
            assert_eq!(site.asked(), connections);
            assert_eq!(site.proxy.connections(), connections);
            // No connection is left before this.
            site.clock.advance(Duration::from_secs(1));
        }
    });
}
