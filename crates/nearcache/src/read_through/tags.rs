//! Tags: invalidating many entries at once, however many there are.
//!
//! A tag has a version: a random value in a key of its own, the version key. An entry carries the versions that its
//! tags had *before* its value was loaded. If the version of a tag is missing or different, every entry that carries
//! the old version is dead. Invalidating a tag deletes its version key: no entry is listed or touched.
//!
//! A tag may also be marked stale. Then a new version goes in front of the old one in the version key, and an entry that
//! carries the old one is stale, not dead. The key holds the last eight old ones.
//!
//! 1. A version never repeats: it is random, so after an eviction no old version can appear again.
//! 2. A version lives at least as long as the entries that carry it; an entry whose version is missing is dead.
//! 3. A missing version is created only by a load or a `set` that needs it.

use redis::{Cmd, Value};

use super::entry::{Entry, Judgement, Versions};
use super::lease::{self, TAGS};
use crate::client::Client;
use crate::codec::envelope::{MAX_TAGS, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::script::Input;

/// A tag and its version key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: Vec<u8>,
    pub(crate) version_key: Vec<u8>,
}

impl Tag {
    /// The tags of one entry, without duplicates.
    ///
    /// # Errors
    /// `InvalidKey`: a tag is empty or too long; `InvalidConfig`: there are too many.
    pub(crate) fn of_entry(keyspace: &Keyspace, names: &[Vec<u8>]) -> Result<Vec<Tag>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let tags = Tag::all(keyspace, names)?;
        if tags.len() > MAX_TAGS {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("{} tags for one entry; {MAX_TAGS} are allowed", tags.len()),
            ));
        }
        Ok(tags)
    }

    /// Tags by their names, without duplicates.
    ///
    /// # Errors
    /// `InvalidKey`: a tag is empty or too long.
    pub(crate) fn all(keyspace: &Keyspace, names: &[Vec<u8>]) -> Result<Vec<Tag>> {
        let mut tags: Vec<Tag> = Vec::with_capacity(names.len());
        for name in names {
            if tags.iter().any(|tag| tag.name == *name) {
                continue;
            }
            let version_key = keyspace.tag(name)?;
            let name = name.clone();
            tags.push(Tag { name, version_key });
        }
        Ok(tags)
    }
}

/// The current versions of these tags, from their primaries, wherever the entry was read: a replica that lags would say
/// that a tag has not moved.
///
/// model: Action::ReadTags
pub(super) async fn read_versions(client: &Client, tags: &[&[u8]]) -> Result<Versions> {
    let mut versions = Versions::default();
    for part in tags.chunks(1_000) {
        let mut command = Cmd::new();
        command.arg("MGET");
        for tag in part {
            command.arg(client.keyspace().tag(tag)?);
        }
        let Value::Array(replies) = client.request(&command).await? else {
            return Err(Error::unexpected("MGET", &Value::Nil));
        };
        for (tag, reply) in part.iter().zip(replies) {
            if let Value::ServerError(error) = &reply {
                return Err(Error::from_server(error).on_host(client.host()));
            }
            versions.record(tag, &reply);
        }
    }
    Ok(versions)
}

/// The versions of these tags; missing ones are created. They will live at least as long as an entry with this TTL (in
/// ms; 0: no expiry).
pub(crate) async fn make_versions(client: &Client, tags: &[Tag], ttl: u64) -> Result<Vec<Version>> {
    let mut made = make_versions_of(client, &[(tags, ttl)]).await;
    made.pop().unwrap_or_else(|| Ok(Vec::new()))
}

/// Like [`make_versions`], for the tags and TTLs of many entries, in one round trip.
pub(crate) async fn make_versions_of(
    client: &Client,
    entries: &[(&[Tag], u64)],
) -> Vec<Result<Vec<Version>>> {
    if entries.is_empty() {
        return Vec::new();
    }
    if client.is_spread() {
        return make_each_of(client, entries).await;
    }
    let inputs: Vec<Input> = entries
        .iter()
        .map(|(tags, ttl)| {
            let mut input = Input::default();
            input.arg(ttl.to_string().as_bytes());
            for tag in *tags {
                input.key(&tag.version_key).arg(&lease::random());
            }
            input
        })
        .collect();
    let versions = |reply: Result<Value>| match reply? {
        Value::Array(replies) => lease::versions(replies),
        other => Err(Error::unexpected("a script", &other)),
    };
    match client.run_many(&TAGS, &inputs).await {
        Ok(replies) => replies.into_iter().map(versions).collect(),
        Err(error) => entries.iter().map(|_| Err(error.clone())).collect(),
    }
}

/// The same where each tag may be in another slot, so that each is asked for once and by itself.
async fn make_each_of(client: &Client, entries: &[(&[Tag], u64)]) -> Vec<Result<Vec<Version>>> {
    let mut keys: Vec<(&[u8], u64)> = entries
        .iter()
        .flat_map(|(tags, ttl)| tags.iter().map(|tag| (&*tag.version_key, *ttl)))
        .collect();
    keys.sort_unstable();
    keys.dedup_by(|(next, ttl), (key, longest)| {
        let same = next == key;
        if same {
            *longest = longer(*longest, *ttl);
        }
        same
    });
    let made = make_each(client, &keys).await;
    let version_of = |tag: &Tag| {
        let found = keys.binary_search_by_key(&&*tag.version_key, |(key, _)| *key);
        match found.ok().and_then(|at| made.get(at)) {
            Some(Ok(version)) => Ok(*version),
            Some(Err(error)) => Err(error.clone()),
            None => Err(Error::unexpected("a script", &Value::Nil)),
        }
    };
    let all = |(tags, _): &(&[Tag], u64)| tags.iter().map(version_of).collect();
    entries.iter().map(all).collect()
}

/// What each of these version keys holds now; a missing one is created. It will live so long at least (in ms; 0: for
/// ever). The keys may be in several slots.
pub(super) async fn make_each(client: &Client, keys: &[(&[u8], u64)]) -> Vec<Result<Version>> {
    let inputs = keys.iter().map(|(key, ttl)| {
        let mut input = Input::default();
        input.arg(ttl.to_string().as_bytes());
        input.key(key).arg(&lease::random());
        input
    });
    let inputs: Vec<Input> = inputs.collect();
    let version = |reply: Result<Value>| {
        let replies = match reply? {
            Value::Array(replies) => replies,
            other => return Err(Error::unexpected("a script", &other)),
        };
        let version = lease::versions(replies)?.pop();
        version.ok_or_else(|| Error::unexpected("a script", &Value::Nil))
    };
    match client.run_many(&TAGS, &inputs).await {
        Ok(replies) => replies.into_iter().map(version).collect(),
        Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
    }
}

/// The longer of two TTLs in ms; 0 is for ever.
pub(super) fn longer(one: u64, other: u64) -> u64 {
    if one == 0 || other == 0 {
        0
    } else {
        one.max(other)
    }
}

/// Judges an entry now. Without tags it takes no round trip.
pub(crate) async fn judge(client: &Client, entry: &Entry) -> Result<Judgement> {
    let tags: Vec<&[u8]> = entry.tags().collect();
    let versions = if tags.is_empty() {
        Versions::default()
    } else {
        // Boxed: most entries have no tags, and their reads should not carry this.
        Box::pin(read_versions(client, &tags)).await?
    };
    Ok(entry.judge(&versions, client.unix_millis()))
}

/// An entry, if there is one, and its judgement. Without an envelope it takes no round trip.
pub(super) async fn judge_found(
    client: &Client,
    entry: Option<Entry>,
) -> Result<(Option<Entry>, Judgement)> {
    let judgement = match &entry {
        Some(entry) if entry.has_envelope() => judge(client, entry).await?,
        Some(_) => Judgement::Fresh,
        None => Judgement::Dead,
    };
    Ok((entry, judgement))
}

/// Like [`judge_found`], for many entries. Takes one round trip for every 1,000 tags.
pub(super) async fn judge_all(
    client: &Client,
    entries: Vec<Option<Entry>>,
) -> Result<impl Iterator<Item = (Option<Entry>, Judgement)> + use<>> {
    let present = || entries.iter().flatten();
    let mut tags: Vec<&[u8]> = present().flat_map(Entry::tags).collect();
    tags.sort_unstable();
    tags.dedup();
    let versions = read_versions(client, &tags).await?;
    let now = if present().any(Entry::has_envelope) {
        client.unix_millis()
    } else {
        0
    };
    Ok(entries.into_iter().map(move |entry| {
        let judgement = entry
            .as_ref()
            .map_or(Judgement::Dead, |entry| entry.judge(&versions, now));
        (entry, judgement)
    }))
}

/// The versions in a reply, the current one first; none if the key is missing or holds something else.
pub(crate) fn versions_of(reply: &Value) -> impl Iterator<Item = Version> + '_ {
    let bytes = match reply {
        Value::BulkString(bytes) if lease::are_versions(bytes) => &**bytes,
        _ => &[],
    };
    bytes.chunks_exact(16).map(|version| {
        let mut copy = Version::default();
        copy.copy_from_slice(version);
        copy
    })
}
