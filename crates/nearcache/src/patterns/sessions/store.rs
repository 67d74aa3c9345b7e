//! What the verbs of sessions do: scripts on a session's own key, and the version of its user.
//!
//! A user has a version, a random value in a key of its own. A session of the user carries the version that the user
//! had when the session was made, and is dead if that has changed or is missing.
//!
//! 1. `end_all_of` deletes the version. No session is listed or touched: so it is one command, however many there are,
//!    also on a Cluster, where the sessions are in many slots.
//! 2. A session that is being saved or renewed meanwhile keeps the version that it has. So it is dead as well. One that
//!    is being made is dead if it has read the version already, and else begins afterwards.
//! 3. A load compares the version *after* it has read the session. So what was ended before the load began is not
//!    found.
//! 4. A version lives at least as long as the sessions that carry it. If it is lost, they end: that is the safe side.
//! 5. A new id is a copy, then a compared deletion of the old session. Nobody knows the new id before the old one is
//!    refused; and a change that came between makes the deletion fail, so nothing is lost.

use std::time::Duration;

use redis::Value;

use super::id::SessionId;
use super::record::{MAX_USER, Owner, Record};
use super::scripts::{LOAD, OPEN, REMOVE, SAVE};
use crate::client::{Client, reply};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{CallKeys, Outcome};
use crate::keyspace::{Keyspace, StoredKey};
use crate::read_through::ReadThrough;
use crate::read_through::lease;
use crate::read_through::tags::{Tag, make_versions, versions_of};
use crate::script::{Input, Script};
use crate::ttl::Ttl;

/// How often a change of a session is tried. Each time, another change of the same session has succeeded.
const TRIES: usize = 1_000;

/// How much longer than its sessions a version lives: they are made a round trip later, by another clock.
const MARGIN: Duration = Duration::from_secs(60);

/// How long sessions live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) idle: Ttl,
    pub(super) absolute: Ttl,
}

/// What clones of a handle have.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) core: ReadThrough,
    pub(super) idle: Result<Ttl>,
    pub(super) absolute: Result<Ttl>,
}

/// What is under a session's key.
pub(super) enum Found {
    Nothing,
    /// Something that is no session.
    Foreign,
    Session(Record),
}

/// What became of a save.
pub(super) enum Saved {
    Done,
    /// There is no session any more.
    Gone,
    /// It was changed meanwhile.
    Changed(Record),
}

/// How a new session begins.
pub(super) struct Beginning {
    pub(super) value: Vec<u8>,
    pub(super) user: Option<Vec<u8>>,
    pub(super) id: Option<SessionId>,
    /// When it ends, in Unix milliseconds; `None`: after the absolute time.
    pub(super) ends: Option<u64>,
}

impl Store {
    /// # Errors
    /// `InvalidTtl`.
    pub(super) fn times(&self) -> Result<Times> {
        Ok(Times {
            idle: self.idle.clone()?,
            absolute: self.absolute.clone()?,
        })
    }

    pub(super) fn client(&self) -> &Client {
        self.core.client()
    }

    /// A session's key.
    ///
    /// # Errors
    /// `InvalidKey`.
    pub(super) fn key(&self, id: &SessionId) -> Result<StoredKey> {
        let digest = id.digest();
        let keyspace = self.client().keyspace();
        keyspace.helper("session", &[digest.as_bytes()], "")
    }

    /// Does the work of a verb about one key, and tells the hooks. They see the key, which holds the digest of the id.
    pub(super) async fn perform<T>(
        &self,
        verb: &'static str,
        key: &StoredKey,
        work: impl AsyncFnOnce(&Client) -> Result<T>,
    ) -> Result<T> {
        self.core
            .perform(verb, CallKeys::One(key.user()), async |core| {
                let done = work(core.client()).await;
                done.map_err(|error| error.for_key(key))
            })
            .await
    }
}

/// The key of a user's version.
///
/// # Errors
/// `InvalidKey`.
pub(super) fn user_key(keyspace: &Keyspace, user: &[u8]) -> Result<StoredKey> {
    if user.len() > MAX_USER {
        return Err(Error::new(
            ErrorKind::InvalidKey,
            format!(
                "a user's name has {} bytes; {MAX_USER} are allowed",
                user.len()
            ),
        ));
    }
    keyspace.helper("session", &[b"user", user], "")
}

/// Reads a session, whose idle time begins anew.
pub(super) async fn load(client: &Client, key: &StoredKey, times: Times) -> Result<Found> {
    let reply = run(client, &LOAD, key, &[&millis(times.idle)]).await?;
    let record = match reply {
        Value::BulkString(bytes) => Record::new(bytes)?,
        Value::Nil => return Ok(Found::Nothing),
        Value::Int(0) => return Ok(Found::Foreign),
        other => return Err(Error::unexpected("a script", &other)),
    };
    if let Some(owner) = record.owner()
        && !is_current(client, &owner).await?
    {
        // It stays dead: a version never repeats, and a session never gets another one.
        client.request(redis::cmd("UNLINK").arg(key)).await?;
        return Ok(Found::Nothing);
    }
    Ok(Found::Session(record))
}

/// Makes a session.
pub(super) async fn open(
    store: &Store,
    client: &Client,
    beginning: &Beginning,
) -> Result<SessionId> {
    let times = store.times()?;
    let owner = match &beginning.user {
        Some(user) => Some(owner(client, user, times, beginning.ends).await?),
        None => None,
    };
    let owner = Owner::written(owner.as_ref());
    let ends = beginning.ends.map(digits).unwrap_or_default();
    loop {
        let id = match &beginning.id {
            Some(id) => id.clone(),
            None => SessionId::random()?,
        };
        let key = store.key(&id)?;
        match put(client, &key, &owner, &beginning.value, &ends, times).await? {
            // Past its end, it is gone at once.
            Put::Done | Put::Past => return Ok(id),
            Put::Taken if beginning.id.is_some() => {
                return Err(Error::new(
                    ErrorKind::Refused,
                    "there is a session with this id already; nothing was changed",
                ));
            }
            Put::Taken => {}
        }
    }
}

/// Replaces the value of a session, if it has this revision (or any, if that is empty).
pub(super) async fn save(
    client: &Client,
    key: &StoredKey,
    revision: &[u8],
    value: &[u8],
    ends: Option<u64>,
    times: Times,
) -> Result<Saved> {
    let (new, idle) = (lease::random(), millis(times.idle));
    let until = ends.map(digits).unwrap_or_default();
    let arguments = [revision, &new, value, &idle, &until];
    let reply = run(client, &SAVE, key, &arguments).await?;
    let parts = match reply {
        Value::Nil => return Ok(Saved::Gone),
        Value::Int(0) => return Err(foreign()),
        Value::Array(parts) => parts,
        other => return Err(Error::unexpected("a script", &other)),
    };
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next()) {
        (Some(Value::Int(0)), Some(Value::BulkString(record))) => {
            Ok(Saved::Changed(Record::new(record)?))
        }
        (Some(Value::Int(1)), Some(Value::BulkString(part))) => {
            client.count_write(value.len());
            let alive = match (Owner::read(&part), ends) {
                (None, _) => true,
                // Its end has moved, and so the version must live longer.
                (Some(held), Some(_)) => {
                    owner(client, &held.user, times, ends).await?.version == held.version
                }
                // What was compared was read by a load, which has looked.
                (Some(_), None) if !revision.is_empty() => true,
                (Some(held), None) => is_current(client, &held).await?,
            };
            Ok(if alive { Saved::Done } else { Saved::Gone })
        }
        _ => Err(Error::unexpected("a script", &Value::Nil)),
    }
}

/// Changes a session's value: `change` makes new bytes of a record, or `None` for the same ones. It may run several
/// times.
pub(super) async fn update<R>(
    client: &Client,
    key: &StoredKey,
    times: Times,
    mut change: impl FnMut(&Record) -> Result<(Option<Vec<u8>>, R)>,
) -> Result<Option<R>> {
    let mut record = match load(client, key, times).await? {
        Found::Nothing => {
            client.note(Outcome::NotStored, 0);
            return Ok(None);
        }
        Found::Foreign => return Err(foreign()),
        Found::Session(record) => record,
    };
    for _ in 0..TRIES {
        let (value, result) = change(&record)?;
        let Some(value) = value else {
            client.note(Outcome::Done, record.len());
            return Ok(Some(result));
        };
        match save(client, key, record.revision(), &value, None, times).await? {
            Saved::Done => {
                client.note(Outcome::Stored, value.len());
                return Ok(Some(result));
            }
            Saved::Gone => {
                client.note(Outcome::NotStored, 0);
                return Ok(None);
            }
            Saved::Changed(by_another) => record = by_another,
        }
    }
    Err(contended())
}

/// Moves a session to a new id.
pub(super) async fn renew(
    store: &Store,
    client: &Client,
    key: &StoredKey,
    user: Option<&[u8]>,
) -> Result<Option<SessionId>> {
    let times = store.times()?;
    for _ in 0..TRIES {
        let record = match load(client, key, times).await? {
            Found::Nothing => return Ok(None),
            Found::Foreign => return Err(foreign()),
            Found::Session(record) => record,
        };
        let ends = std::str::from_utf8(record.ends())
            .ok()
            .and_then(|digits| digits.parse().ok());
        let held = record.owner();
        let owner = match user.filter(|user| held.is_none_or(|held| held.user != *user)) {
            Some(user) => Owner::written(Some(&owner(client, user, times, ends).await?)),
            // With the version that it has: what ends all sessions of the user meanwhile ends this one, too.
            None => record.owner_part().to_vec(),
        };
        let id = SessionId::random()?;
        let new = store.key(&id)?;
        match put(client, &new, &owner, record.value(), record.ends(), times).await? {
            Put::Done => {}
            Put::Past => return Ok(None),
            Put::Taken => continue,
        }
        let removed = run(client, &REMOVE, key, &[record.revision()]).await?;
        if removed == Value::Int(1) {
            return Ok(Some(id));
        }
        // Nobody knows the copy.
        client.request(redis::cmd("UNLINK").arg(&new)).await?;
        match removed {
            Value::Nil => return Ok(None),
            Value::Int(0) => return Err(foreign()),
            _ => {}
        }
    }
    Err(contended())
}

/// Deletes a session. Returns whether there was one.
pub(super) async fn end(client: &Client, key: &StoredKey) -> Result<bool> {
    let reply = client.request(redis::cmd("UNLINK").arg(key)).await?;
    reply::flag("UNLINK", &reply)
}

enum Put {
    Done,
    Taken,
    /// Its end has passed.
    Past,
}

async fn put(
    client: &Client,
    key: &StoredKey,
    owner: &[u8],
    value: &[u8],
    ends: &[u8],
    times: Times,
) -> Result<Put> {
    let (revision, idle) = (lease::random(), millis(times.idle));
    let absolute = millis(times.absolute);
    let arguments = [&revision, owner, value, &idle, ends, &absolute];
    match run(client, &OPEN, key, &arguments).await? {
        Value::Int(1) => {
            client.count_write(value.len());
            client.note(Outcome::Stored, value.len());
            Ok(Put::Done)
        }
        Value::Int(2) => Ok(Put::Taken),
        Value::Int(0) => Ok(Put::Past),
        other => Err(Error::unexpected("a script", &other)),
    }
}

/// A user with the current version, which is made if it is missing, and lives as long as a session that begins now.
async fn owner(client: &Client, user: &[u8], times: Times, ends: Option<u64>) -> Result<Owner> {
    let own = ends.map_or(0, |ends| ends.saturating_sub(client.unix_millis()));
    let margin = u64::try_from(MARGIN.as_millis()).unwrap_or_default();
    // No TTL is longer, and a server refuses one that is much longer.
    let time = own
        .max(times.absolute.as_millis())
        .min(Ttl::MAX.as_millis())
        + margin;
    let tag = Tag {
        name: user.to_vec(),
        version_key: user_key(client.keyspace(), user)?.as_bytes().to_vec(),
    };
    let versions = make_versions(client, &[tag], time).await?;
    match versions.first() {
        Some(version) => Ok(Owner {
            user: user.to_vec(),
            version: *version,
        }),
        None => Err(Error::unexpected("a script", &Value::Nil)),
    }
}

/// Whether the user still has this version.
async fn is_current(client: &Client, owner: &Owner) -> Result<bool> {
    let key = user_key(client.keyspace(), &owner.user)?;
    let reply = client.request(redis::cmd("GET").arg(&key)).await?;
    Ok(versions_of(&reply).next() == Some(owner.version))
}

async fn run(
    client: &Client,
    script: &'static Script,
    key: &StoredKey,
    arguments: &[&[u8]],
) -> Result<Value> {
    let mut input = Input::default();
    input.key(key.as_bytes());
    for argument in arguments {
        input.arg(argument);
    }
    client.run(script, &input).await
}

fn millis(ttl: Ttl) -> Vec<u8> {
    ttl.as_millis().to_string().into_bytes()
}

/// An end, as a record has it.
fn digits(ends: u64) -> Vec<u8> {
    format!("{:016}", ends.min(9_000_000_000_000_000)).into_bytes()
}

fn foreign() -> Error {
    Error::new(
        ErrorKind::Codec,
        "the session's key holds no session that this version of nearcache knows: another \
         program's bytes, or another version's. Nothing was changed; `end` deletes it",
    )
}

fn contended() -> Error {
    Error::new(
        ErrorKind::Refused,
        format!(
            "the session was changed by others {TRIES} times while this change was tried; nothing \
             was changed. Change a session less often, or keep what changes so often elsewhere"
        ),
    )
}
