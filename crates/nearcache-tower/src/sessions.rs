//! A session store for tower-sessions, over [`nearcache::patterns::Sessions`].
//!
//! 1. A record lives until its expiry date. There is no idle time beside it: tower-sessions moves the date.
//! 2. The last save wins, because tower-sessions has no other way to change a record.
//! 3. A save never revives a session that was deleted, flushed or renewed meanwhile.
//! 4. The id is a secret: Redis holds its SHA-256 only. The data are stored without the id.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use nearcache::patterns::{SessionId, Sessions};
use nearcache::{Cache, ErrorKind, Text, Ttl};
use time::OffsetDateTime;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::session_store::{Error, Result};

/// What is stored, as JSON whatever the cache's format: what tower-sessions keeps in a session, and its expiry date in
/// Unix seconds and nanoseconds.
type Data = (HashMap<String, serde_json::Value>, i64, u32);

/// A store for [tower-sessions](https://docs.rs/tower-sessions) 0.15, over a cache: on Redis, or in this process with
/// `memory://`.
///
/// ```
/// use nearcache_tower::SessionStore;
/// use tower_sessions::SessionManagerLayer;
///
/// # fn main() -> nearcache::Result<()> {
/// let cache = nearcache::Cache::open("memory://")?; // or redis://...
/// let layer = SessionManagerLayer::new(SessionStore::new(&cache));
/// // let app = Router::new().route("/", get(handler)).layer(layer);
/// # drop(layer);
/// # Ok(())
/// # }
/// ```
///
/// - **Expiry** is tower-sessions' own: a record ends at its expiry date. An
///   `Expiry::OnInactivity` is moved by each request that changes the session, or by every request with
///   `with_always_save(true)`.
/// - **The last save wins.** Two requests that change one session at the same time may lose a change: tower-sessions
///   saves a record as a whole. Where that matters, use [`nearcache::patterns::Sessions`], whose `update` compares and
///   sets.
/// - **Ended is ended.** A request that saves a session which another request has flushed or cycled meanwhile saves
///   nothing, and is told nothing; the next request has no session.
/// - **Ids** are in Redis as their SHA-256 only, and in no error or log of this store.
///
/// # While Redis is away
/// Every call fails within the cache's timeout with [`Error::Backend`]. tower-sessions answers 500 if it cannot save,
/// and gives the error to a handler that reads the session: a session is never guessed.
///
/// A record that cannot be read (another program's bytes) is no session, and stays as it is.
#[derive(Clone)]
pub struct SessionStore {
    sessions: Sessions<Text<String>>,
}

impl SessionStore {
    /// A store in this cache, under its prefix.
    pub fn new(cache: &Cache) -> Self {
        SessionStore {
            sessions: cache.sessions().idle(Ttl::MAX).absolute(Ttl::MAX),
        }
    }
}

impl fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl tower_sessions_core::SessionStore for SessionStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let ends = time_of(record.expiry_date);
        loop {
            let data = written(record)?;
            let create = self.sessions.create(&data).id(id_of(&record.id)?);
            match create.expires_at(ends).await {
                Ok(_) => return Ok(()),
                // Another session has this id.
                Err(error) if error.kind() == ErrorKind::Refused => record.id = Id::default(),
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let data = written(record)?;
        let save = self.sessions.save(&id_of(&record.id)?, &data);
        let saved = save.expires_at(time_of(record.expiry_date)).await;
        saved.map(drop).map_err(|error| failed(&error))
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let loaded = self.sessions.load(&id_of(id)?).await;
        let loaded = loaded.map_err(|error| failed(&error))?;
        Ok(loaded.and_then(|Text(text)| read(*id, &text)))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let ended = self.sessions.end(&id_of(id)?).await;
        ended.map(drop).map_err(|error| failed(&error))
    }
}

fn written(record: &Record) -> Result<Text<String>> {
    let date = record.expiry_date;
    let data = (&record.data, date.unix_timestamp(), date.nanosecond());
    let text = serde_json::to_string(&data);
    text.map(Text)
        .map_err(|error| Error::Encode(error.to_string()))
}

/// The record, if the text is one.
fn read(id: Id, text: &str) -> Option<Record> {
    let (data, seconds, nanoseconds): Data = serde_json::from_str(text).ok()?;
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    Some(Record {
        id,
        data,
        expiry_date: date.replace_nanosecond(nanoseconds).ok()?,
    })
}

/// The id as the cookie has it.
fn id_of(id: &Id) -> Result<SessionId> {
    id.to_string().parse().map_err(|error| failed(&error))
}

/// The expiry date, up to 900 years from now.
fn time_of(date: OffsetDateTime) -> SystemTime {
    const FURTHEST: Duration = Duration::from_secs(900 * 365 * 24 * 60 * 60);
    let furthest = SystemTime::now() + FURTHEST;
    match u64::try_from(date.unix_timestamp()) {
        Ok(seconds) => {
            let since = Duration::new(seconds, date.nanosecond());
            (UNIX_EPOCH + since).min(furthest)
        }
        Err(_) => UNIX_EPOCH,
    }
}

/// What tower-sessions is told. A session's id is in none of our errors.
fn failed(error: &nearcache::Error) -> Error {
    match error.kind() {
        ErrorKind::Codec => Error::Decode(error.to_string()),
        _ => Error::Backend(error.to_string()),
    }
}
