//! Tags: invalidating many entries at once, however many they are.
//!
//! A tag has a counter, a key that holds a random version. An entry carries the versions that its tags had
//! *before* its value was loaded; once a counter is gone, or holds another one, every entry that carries
//! the old one is dead. Invalidating a tag is removing its counter: no entry is listed or touched.
//!
//! 1. A version never comes back: it is random, so that a counter that was evicted does not begin again
//!    where it once was.
//! 2. A counter lives at least as long as the entries that carry its version, or they are dead with it.
//! 3. A counter that is gone stays so until a load, or a `set`, needs it.

use redis::{Cmd, Value};

use super::entry::{Entry, Judgement, Versions};
use super::lease::{self, TAGS};
use crate::cache::Core;
use crate::codec::envelope::{MAX_TAGS, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::script::Input;

/// A tag, with its counter's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: Vec<u8>,
    pub(crate) counter: Vec<u8>,
}

impl Core {
    /// The tags of a call, each once.
    ///
    /// # Errors
    /// `InvalidKey`: one is empty or too long; `InvalidConfig`: they are too many.
    pub(crate) fn tags(&self, names: &[Vec<u8>]) -> Result<Vec<Tag>> {
        let tags = self.tags_of(names)?;
        if tags.len() > MAX_TAGS {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("{} tags for one entry; {MAX_TAGS} are allowed", tags.len()),
            ));
        }
        Ok(tags)
    }

    /// Tags by their names, each once.
    pub(crate) fn tags_of(&self, names: &[Vec<u8>]) -> Result<Vec<Tag>> {
        let mut tags: Vec<Tag> = Vec::with_capacity(names.len());
        for name in names {
            if tags.iter().any(|tag| tag.name == *name) {
                continue;
            }
            let counter = self.keyspace().tag(name)?;
            let name = name.clone();
            tags.push(Tag { name, counter });
        }
        Ok(tags)
    }

    /// The versions that these tags have now.
    ///
    /// model: Action::ReadTags
    pub(crate) async fn versions(&self, tags: &[&[u8]]) -> Result<Versions> {
        let mut versions = Versions::default();
        for part in tags.chunks(1_000) {
            let mut command = Cmd::new();
            command.arg("MGET");
            for tag in part {
                command.arg(self.keyspace().tag(tag)?);
            }
            let Value::Array(replies) = self.request(&command).await? else {
                return Err(Error::unexpected("MGET", &Value::Nil));
            };
            for (tag, reply) in part.iter().zip(replies) {
                if let Some(version) = version_of(&reply) {
                    versions.insert(tag, version);
                }
            }
        }
        Ok(versions)
    }

    /// What an entry is good for now. One without tags costs nothing more.
    pub(crate) async fn judge(&self, entry: &Entry) -> Result<Judgement> {
        let tags: Vec<&[u8]> = entry.tags().collect();
        let versions = if tags.is_empty() {
            Versions::default()
        } else {
            self.versions(&tags).await?
        };
        Ok(entry.judge(&versions, self.unix_millis()))
    }

    /// An entry, with what it is good for now. One without an envelope costs nothing more.
    pub(crate) async fn judged_one(
        &self,
        entry: Option<Entry>,
    ) -> Result<(Option<Entry>, Judgement)> {
        let judgement = match &entry {
            Some(entry) if entry.has_envelope() => self.judge(entry).await?,
            Some(_) => Judgement::Fresh,
            None => Judgement::Dead,
        };
        Ok((entry, judgement))
    }

    /// What each of these is good for now, for one round trip at most.
    pub(crate) async fn judged(
        &self,
        entries: Vec<Option<Entry>>,
    ) -> Result<impl Iterator<Item = (Option<Entry>, Judgement)>> {
        let present = || entries.iter().flatten();
        let mut tags: Vec<&[u8]> = present().flat_map(Entry::tags).collect();
        tags.sort_unstable();
        tags.dedup();
        let versions = self.versions(&tags).await?;
        let now = if present().any(Entry::has_envelope) {
            self.unix_millis()
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

    /// The versions of these tags, whose counters are made where they are missing and live on for as
    /// long as an entry of this TTL (in ms; 0 is without end).
    pub(crate) async fn versions_for(&self, tags: &[Tag], ttl: u64) -> Result<Vec<Version>> {
        let mut call = Input::default();
        call.arg(ttl.to_string().as_bytes());
        for tag in tags {
            call.key(&tag.counter).arg(&lease::random());
        }
        match self.run(&TAGS, &call).await? {
            Value::Array(replies) => lease::versions(replies),
            other => Err(Error::unexpected("a script", &other)),
        }
    }
}

/// The version that a counter holds; `None` if it is missing, or no counter of ours.
pub(crate) fn version_of(reply: &Value) -> Option<Version> {
    match reply {
        Value::BulkString(bytes) => Version::try_from(&**bytes).ok(),
        _ => None,
    }
}
