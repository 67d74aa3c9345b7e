//! Credentials that change while a process runs, on a real server: refused, shared, and a provider that fails, hangs or
//! panics. (How they are renewed and expire is tested where a clock can be moved, beside `connect/supply.rs`.)

#[macro_use]
#[path = "support/face.rs"]
mod face;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use face::{Face, run};
use nearcache::{
    BoxError, Cache, Credentials, CredentialsProvider, ErrorKind, IntoCredentialsProvider, blocking,
};
use nearcache_testkit::{Impostor, Redis, eventually, random_prefix};

/// What an application has: a password that changes, and ways to fail.
#[derive(Clone, Default)]
struct Vault(Arc<Inside>);

#[derive(Default)]
struct Inside {
    password: Mutex<String>,
    asked: AtomicUsize,
    fails: AtomicBool,
    panics: AtomicBool,
    hangs: AtomicBool,
}

impl Vault {
    fn with(password: &str) -> Vault {
        let vault = Vault::default();
        vault.rotate(password);
        vault
    }

    fn rotate(&self, password: &str) {
        password.clone_into(&mut self.0.password.lock().unwrap());
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    fn give(&self) -> Result<Credentials, BoxError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        while self.0.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!self.0.panics.load(Ordering::SeqCst), "hunter2");
        if self.0.fails.load(Ordering::SeqCst) {
            return Err("no route to the vault, with hunter2".into());
        }
        Ok(self.credentials())
    }

    fn credentials(&self) -> Credentials {
        Credentials::new("app", self.0.password.lock().unwrap().as_str())
    }

    fn provider(&self) -> Arc<dyn CredentialsProvider> {
        let vault = self.clone();
        (move || vault.give()).into_provider()
    }
}

fn server() -> Redis {
    let redis = Redis::start();
    redis.inline("ACL SETUSER app on >old ~* &* +@all");
    redis
}

fn face(url: &str, provider: &Arc<dyn CredentialsProvider>, blocking: bool) -> Face {
    if blocking {
        let builder = blocking::Cache::builder(url).credentials(Arc::clone(provider));
        Face::Blocking(builder.build().unwrap())
    } else {
        let builder = Cache::builder(url).credentials(Arc::clone(provider));
        Face::Async(builder.build().unwrap())
    }
}

/// Closes the connections of everybody, and waits until they have been idle for so long that their next call looks.
async fn cut(redis: &Redis) {
    redis.inline("CLIENT KILL TYPE normal");
    eventually("the connections are closed", || {
        redis.inline("CLIENT LIST").lines().count() == 1
    });
    tokio::time::sleep(Duration::from_millis(150)).await;
}

#[test]
fn a_password_that_was_changed_at_the_server_is_asked_for_anew() {
    let redis = server();
    run(async {
        for blocking in [false, true] {
            redis.inline("ACL SETUSER app resetpass >old");
            let vault = Vault::with("old");
            let stale = AtomicUsize::new(0);
            let inner = vault.clone();
            // A cache of its own gives the old password once more.
            let provider = (move || {
                let given = inner.give()?;
                Ok::<_, BoxError>(match stale.fetch_add(1, Ordering::SeqCst) {
                    1 => Credentials::new("app", "old"),
                    _ => given,
                })
            })
            .into_provider();
            let url = format!("{}?timeout=10s", redis.url());
            let cache = face(&url, &provider, blocking);
            call!(cache.set("k", &1)).unwrap();
            assert_eq!(vault.asked(), 1);
            redis.inline("ACL SETUSER app resetpass >new");
            vault.rotate("new");
            cut(&redis).await;
            call!(cache.set("k", &2)).unwrap();
            assert_eq!(
                vault.asked(),
                3,
                "once on the connect, and once more after it was refused"
            );
        }
    });
}

#[test]
fn a_provider_that_fails_hangs_or_panics_costs_a_failed_connect() {
    let redis = server();
    run(async {
        for blocking in [false, true] {
            let vault = Vault::with("old");
            let provider = vault.provider();
            let url = format!("{}?timeout=300ms&breaker=off", redis.url());
            let cache = face(&url, &provider, blocking);
            // A panic that writes a backtrace takes its time.
            let (patient, short) = (Duration::from_secs(60), Duration::from_millis(300));
            let whole = cache;
            for (fault, kind, limit) in [
                (&vault.0.fails, ErrorKind::Auth, patient),
                (&vault.0.panics, ErrorKind::Auth, patient),
                (&vault.0.hangs, ErrorKind::Timeout, short),
            ] {
                let cache = whole.within(limit);
                fault.store(true, Ordering::SeqCst);
                let error = call!(cache.set("k", &1)).unwrap_err();
                assert_eq!(error.kind(), kind, "{error}");
                let text = format!("{error} {error:?} {cache:?}");
                assert!(text.contains("credentials provider"), "{text}");
                assert!(!text.contains("hunter2") && !text.contains("old"), "{text}");
                let loaded = match &cache {
                    Face::Async(cache) => {
                        cache.remember("l", || async { Ok::<_, BoxError>(7) }).await
                    }
                    Face::Blocking(cache) => cache.remember("l", || Ok::<_, BoxError>(7)).run(),
                };
                assert_eq!(loaded.unwrap(), 7, "the source is asked");
                fault.store(false, Ordering::SeqCst);
            }
            // What was given once is used on while it is valid.
            let cache = whole;
            eventually("the provider works again", || match &cache {
                Face::Blocking(cache) => cache.ping().run().is_ok(),
                Face::Async(_) => true,
            });
            let again = cache.within(Duration::from_secs(10));
            call!(again.set("k", &1)).unwrap();
            for fault in [&vault.0.fails, &vault.0.panics, &vault.0.hangs] {
                fault.store(true, Ordering::SeqCst);
                cut(&redis).await;
                call!(again.set("k", &2)).unwrap();
                fault.store(false, Ordering::SeqCst);
            }
        }
    });
}

#[test]
fn a_provider_and_a_password_contradict_each_other() {
    let closure = || Ok::<_, BoxError>(Credentials::new("app", "hunter2"));
    for url in [
        "redis://app:s3cret@localhost",
        "redis://localhost?username=app",
    ] {
        let error = Cache::builder(url)
            .credentials(closure)
            .build()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let text = error.to_string();
        assert!(
            text.contains("credentials provider") && !text.contains("s3cret"),
            "{text}"
        );
    }
    let error = Cache::builder("redis://localhost")
        .password("x")
        .credentials(closure)
        .build();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
}

/// How many connections there are, without that of the question.
fn connections(redis: &Redis) -> usize {
    let list = redis.inline("CLIENT LIST");
    let mut users: HashMap<&str, usize> = HashMap::new();
    for line in list.lines() {
        let user = line
            .split(' ')
            .find_map(|field| field.strip_prefix("user="));
        *users.entry(user.unwrap_or_default()).or_default() += 1;
    }
    users.get("app").copied().unwrap_or(0)
}

#[test]
fn caches_with_one_provider_share_a_connection_and_others_do_not() {
    let redis = server();
    let (one, other) = (Vault::with("old").provider(), Vault::with("old").provider());
    run(async {
        let mut open = Vec::new();
        for (provider, expected) in [(&one, 1), (&one, 1), (&other, 2)] {
            let cache = face(&redis.url(), provider, false);
            call!(cache.ping()).unwrap();
            open.push(cache);
            assert_eq!(connections(&redis), expected);
        }
        open.clear();
        eventually("all are closed", || connections(&redis) == 0);
        // An async closure, and the other face of the same cache.
        let asked = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&asked);
        let cache = Cache::builder(&redis.patient_url())
            .credentials(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    Ok::<_, BoxError>(Credentials::new("app", "old"))
                }
            })
            .build()
            .unwrap();
        cache.set("k", &1).await.unwrap();
        let sync = cache.blocking().unwrap();
        let found = tokio::task::spawn_blocking(move || sync.get::<u8>("k").run());
        assert_eq!(found.await.unwrap().unwrap(), Some(1));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    });
}

/// Calls at the same time.
const CALLERS: usize = 40;

/// A cache with connections of its own, and what is stored there: each key's number.
fn numbered(server: &Impostor, redis: &Redis, options: &str, blocking: bool) -> Face {
    let prefix = random_prefix();
    for i in 0..CALLERS {
        redis.inline(&format!("SET {prefix}:k{i} {i}"));
    }
    let url = format!(
        "{}&timeout=20s&client_name={prefix}&prefix={prefix}&{options}",
        server.url()
    );
    if blocking {
        Face::Blocking(blocking::Cache::open(&url).unwrap())
    } else {
        Face::Async(Cache::open(&url).unwrap())
    }
}

/// A thread or a task for each call.
async fn at_the_same_time<T: Send + 'static>(
    face: &Face,
    call: impl AsyncFn(&Face, usize) -> T + Copy + Send + Sync + 'static,
) -> Vec<T> {
    let callers = (0..CALLERS).map(|i| {
        let face = face.clone();
        // Each thread drives its own call; an async one is driven by the runtime of the test.
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(call(&face, i)))
    });
    let callers: Vec<_> = callers.collect();
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.push(caller.await.unwrap());
    }
    outcomes
}

/// Faces, and after how many commands their connection is signed out.
fn signed_out() -> impl Iterator<Item = (bool, usize)> {
    let after = [0, 1, 2, 7, 20, 39].into_iter();
    after.flat_map(|after| [(false, after), (true, after)])
}

#[test]
fn a_connection_that_is_signed_out_is_left_and_each_caller_gets_its_own_answer() {
    let redis = Redis::start();
    let server = Impostor::start(&redis.address());
    run(async {
        for (blocking, after) in signed_out() {
            // Nobody notices: what was sent there was not carried out, and is sent again.
            let face = numbered(&server, &redis, "breaker=on", blocking);
            call!(face.get::<usize>("k0")).unwrap();
            server.signs_out_after(after, "-NOAUTH Authentication required.\r\n");
            let connections = server.connections();
            let found = at_the_same_time(&face, async |face, i| {
                call!(face.get::<usize>(format!("k{i}")))
            });
            for (i, found) in found.await.into_iter().enumerate() {
                assert_eq!(found.unwrap(), Some(i), "{blocking} {after}");
            }
            let counted =
                at_the_same_time(&face, async |face, i| call!(face.incr(format!("k{i}"))));
            for (i, counted) in counted.await.into_iter().enumerate() {
                assert_eq!(counted.unwrap(), i as i64 + 1, "{blocking} {after}");
            }
            let stored = at_the_same_time(&face, async |face, i| {
                call!(face.set(format!("k{i}"), &(2 * i)))
            });
            assert!(stored.await.into_iter().all(|stored| stored.is_ok()));
            let found = call!(face.get_many::<usize>((0..CALLERS).map(|i| format!("k{i}"))));
            let expected: Vec<_> = (0..CALLERS).map(|i| Some(2 * i)).collect();
            assert_eq!(found.unwrap(), expected);
            assert!(server.connections() > connections, "{blocking} {after}");
            server.is_honest();
        }
    });
}

#[test]
fn a_password_that_is_refused_on_a_live_connection_is_told_to_whom_it_concerns() {
    let redis = Redis::start();
    let server = Impostor::start(&redis.address());
    run(async {
        for (blocking, after) in signed_out() {
            let face = numbered(&server, &redis, "breaker=off", blocking);
            call!(face.get::<usize>("k0")).unwrap();
            server.signs_out_after(
                after,
                "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
            );
            let connections = server.connections();
            let stored = at_the_same_time(&face, async |face, i| {
                call!(face.set(format!("k{i}"), &(2 * i)))
            });
            let stored = stored.await;
            // Of 16 connections of threads, the one that is signed out may have stored so little that it is still good for
            // some calls. Then one of these is told, and only one.
            let mut spared = blocking;
            for (i, stored) in stored.into_iter().enumerate() {
                let mut found = call!(face.get::<usize>(format!("k{i}")));
                if matches!(&found, Err(error) if error.kind() == ErrorKind::Auth && spared) {
                    spared = false;
                    found = call!(face.get::<usize>(format!("k{i}")));
                }
                let found = found.unwrap();
                match stored {
                    Ok(_) => assert_eq!(found, Some(2 * i), "{blocking} {after}"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
                        // It may have been deleted: nobody is to read what the caller meant to replace.
                        assert!(found.is_none_or(|found| found == i), "{found:?}");
                    }
                }
            }
            // Connected anew, with the credentials of now.
            assert!(server.connections() > connections, "{blocking} {after}");
            server.is_honest();
        }
    });
}
