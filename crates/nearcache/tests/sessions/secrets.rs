//! An id is a secret: nothing that is told, shown or stored has it, nor a part of it.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nearcache::hooks::{Call, Done, Hook};
use nearcache::{Cache, Error};
use nearcache_testkit::{Logs, Proxy, Redis, random_prefix};

use super::{every_verb, value};

/// Keeps all that it is told, as text.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>);

impl Told {
    fn note(&self, text: std::fmt::Arguments<'_>) {
        let _ = self.0.lock().unwrap().write_fmt(text);
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Hook for Told {
    fn before(&self, call: &Call<'_>) {
        let keys: Vec<String> = call
            .keys()
            .map(|key| key.escape_ascii().to_string())
            .collect();
        self.note(format_args!("{call:?} {keys:?} {:?}\n", call.key()));
    }

    fn after(&self, call: &Call<'_>, done: &Done) {
        self.note(format_args!("{call:?} {done:?}\n"));
    }

    fn error(&self, call: &Call<'_>, error: &Error, _: Duration) {
        self.note(format_args!("{call:?} {error} {error:?}\n"));
    }
}

#[tokio::test]
async fn no_hook_log_error_or_debug_shows_an_id() {
    let told = Told::default();
    let logged = Logs::up_to(tracing::Level::TRACE);

    let redis = Redis::shared();
    let proxy = Proxy::start(&redis.address());
    let prefix = random_prefix();
    let cache = Cache::builder(&proxy.url())
        .prefix(&prefix)
        .hook(told.clone())
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let sessions = cache.sessions();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(sessions.create(&value()).user("alice").await.unwrap());
    }
    let renewed = sessions.renew_id(&ids[0]).await.unwrap().unwrap();
    ids.push(renewed);
    for id in &ids {
        told.note(format_args!("{id:?} {sessions:?} {cache:?}\n"));
        let (load, save) = (sessions.load(id), sessions.save(id, &value()));
        told.note(format_args!(
            "{load:?} {save:?} {:?}\n",
            sessions.renew_id(id)
        ));
    }
    every_verb(&sessions, &ids[1]).await;
    // Errors as well.
    proxy.set(nearcache_testkit::Fault::Refuse);
    every_verb(&sessions, &ids[2]).await;

    let all = told.text() + &logged.text();
    assert!(all.contains("sessions.load") && all.contains("sessions.update"));
    for id in &ids {
        for at in 0..id.as_str().len() - 8 {
            let part = &id.as_str()[at..at + 8];
            assert!(!all.contains(part), "an id was shown");
        }
    }
}
