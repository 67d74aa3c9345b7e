//! Storing a loaded value: how it is encoded, the input of FILL, and its reply.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use redis::Value;

use super::entry::Entry;
use super::flight::Answer;
use super::guards::{Carried, Moved};
use super::held::Held;
use super::lead::{Engine, Lead};
use super::load::{Loaded, panic_message};
use super::near::{self, OwnFill};
use super::plan::Life;
use super::tags::{self, Tag};
use crate::codec::envelope::{Head, Version};
use crate::codec::{self, Body, Codec, Decode, Encode};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::Outcome;
use crate::keyspace::Keyspace;
use crate::script::Input;

/// A loaded value as bytes, with the loader's options.
pub(super) struct Encoded {
    body: Body,
    pub(super) answer: Answer,
    life: Life,
    tags: Vec<Vec<u8>>,
    store: bool,
}

impl Encoded {
    /// # Errors
    /// `Codec` or `TooLarge`: it cannot be stored. A panic of the type's `Serialize` is such an error, too. So is what
    /// the type itself does not read back: it would be no answer to those who wait, and a miss for all others.
    pub(super) fn of<T: Encode + Decode>(loaded: &Loaded<T>, codec: &Codec) -> Result<Self> {
        let encode = || {
            let body = codec::encode(&loaded.value, codec)?;
            if body.is_nothing::<T>() {
                return Ok((body, Answer::Nothing));
            }
            // Not compressed, so that the waiters need not decompress it.
            let sealed = Head::default().seal(&body);
            let answer = Answer::Value((&*sealed).into());
            Entry::new(sealed.to_vec())
                .decode::<T>(codec)
                .map_err(|error| not_read_back(&error))?;
            Ok((body, answer))
        };
        // Unwind safe: after a panic the value is only cloned and returned, never written again.
        let (body, answer) = catch_unwind(AssertUnwindSafe(encode))
            .map_err(|panic| serialize_panicked(&*panic))??;
        Ok(Encoded {
            answer,
            body: body.packed(codec)?,
            life: Life {
                ttl: loaded.ttl.clone(),
                kept: loaded.kept.clone(),
                exact: loaded.exact,
            },
            tags: loaded.tags.clone(),
            store: loaded.store,
        })
    }
}

/// A loaded value and the input of its FILL.
pub(super) struct Filling {
    input: Input,
    pending: Pending,
    /// The named tags, where FILL does not compare them.
    carried: Carried,
    /// Whom FILL may answer, and the announcement, if they were noted before something that was sent before FILL.
    pub(super) noted: Option<(u64, Option<OwnFill>)>,
}

/// What is needed when the reply of a FILL arrives.
pub(super) struct Pending {
    /// The entry; `None` if it must not be stored.
    entry: Option<Vec<u8>>,
    /// Its TTL in ms; 0: it does not expire.
    stays: u64,
    pub(super) answer: Answer,
}

impl Filling {
    /// The version keys of the tags of the entry that is to be stored.
    pub(super) fn version_keys(&self, keyspace: &Keyspace) -> Vec<Vec<u8>> {
        match &self.pending.entry {
            Some(bytes) => near::version_keys(&Entry::new(bytes.clone()), keyspace),
            None => Vec::new(),
        }
    }

    pub(super) fn into_parts(self) -> (Pending, Input, Carried) {
        (self.pending, self.input, self.carried)
    }
}

/// An entry's TTL for FILL in ms (0: it does not expire), its head without tags, and the tags that only the loader named.
pub(super) struct Sealed {
    stays: u64,
    head: Head,
    brought: Vec<Tag>,
}

impl Sealed {
    /// Whether only the loader named some of its tags.
    pub(super) fn brings_tags(&self) -> bool {
        !self.brought.is_empty()
    }
}

/// The end of a FILL.
pub(super) struct Filled {
    pub(super) outcome: Outcome,
    /// How many bytes were written.
    pub(super) bytes: usize,
    pub(super) stored: bool,
    /// Whether nothing was invalidated before FILL: its value is for the waiters that joined before FILL was sent, too
    /// (or before what was noted earlier).
    pub(super) current: bool,
}

/// A load under a lease, on its way to FILL.
pub(super) type Prepared = (Lead, u64, Held, Encoded, Sealed);

impl Engine<'_> {
    /// What the entry says besides its value.
    ///
    /// # Errors
    /// `InvalidTtl`, `InvalidKey` or `InvalidConfig`: the loader's options are not valid.
    pub(super) fn seal(&self, encoded: &Encoded, took: Duration) -> Result<Sealed> {
        let brought = if encoded.store {
            self.brought_tags(&encoded.tags)?
        } else {
            Vec::new()
        };
        let nothing = matches!(encoded.answer, Answer::Nothing);
        let (stays, head) = self
            .plan
            .seal(self.cache, encoded.life.clone(), nothing, took)?;
        Ok(Sealed {
            stays,
            head,
            brought,
        })
    }

    /// The versions of the tags that only the loaders named, for each of these, in one round trip.
    pub(super) async fn versions_of_brought(
        &self,
        prepared: &[Prepared],
    ) -> Vec<Result<Vec<Version>>> {
        let asking = || {
            let all = prepared.iter().map(|(_, _, _, _, sealed)| sealed);
            all.filter(|sealed| !sealed.brought.is_empty())
        };
        let asked: Vec<_> = asking()
            .map(|sealed| (&*sealed.brought, sealed.stays))
            .collect();
        let mut made = tags::make_versions_of(&self.cache.quiet(), &asked)
            .await
            .into_iter();
        prepared
            .iter()
            .map(|(_, _, _, _, sealed)| match sealed.brought.is_empty() {
                true => Ok(Vec::new()),
                false => made.next().unwrap_or_else(|| Ok(Vec::new())),
            })
            .collect()
    }

    /// The input of FILL. `brought` has the versions of the tags that only the loader named.
    pub(super) fn fill_input(
        &self,
        lead: &Lead,
        held: &Held,
        encoded: Encoded,
        sealed: Sealed,
        versions: Vec<Version>,
    ) -> Filling {
        let Sealed {
            stays,
            mut head,
            brought,
        } = sealed;
        let mut guards: Vec<(Vec<u8>, Version)> = Vec::new();
        let mut carried = Carried::default();
        let spread = self.is_spread();
        for (tag, version) in self.plan.tags.iter().zip(&held.versions) {
            let named = (tag.version_key.clone(), *version);
            if spread {
                carried.versions.push(named);
            } else {
                guards.push(named);
            }
            head.tags.push((tag.name.clone(), *version));
        }
        // If no tag was invalidated since the load began (FILL compares the epoch), the current versions of these tags
        // are also those from before the load.
        if let Some(before) = held.epoch.filter(|_| !brought.is_empty() && !spread) {
            guards.push((self.cache.client.keyspace().tag_epoch(), before));
        }
        for (tag, version) in brought.into_iter().zip(versions) {
            if !spread {
                guards.push((tag.version_key, version));
            }
            head.tags.push((tag.name, version));
        }
        let entry = encoded.store.then(|| head.seal(&encoded.body).into_owned());
        carried.stays = entry.as_ref().map(|_| stays);
        let time = match entry {
            Some(_) => stays.to_string(),
            None => "-1".to_owned(),
        };
        let mut input = Input::default();
        input.key(lead.key.as_bytes()).key(&lead.key.lease());
        input
            .arg(&held.token)
            .arg(held.seen.as_bytes())
            .arg(entry.as_deref().unwrap_or_default())
            .arg(time.as_bytes());
        for (version_key, version) in &guards {
            input.key(version_key).arg(version);
        }
        let pending = Pending {
            entry,
            stays,
            answer: encoded.answer,
        };
        Filling {
            input,
            pending,
            carried,
            noted: None,
        }
    }

    /// Reads the reply of FILL.
    pub(super) fn filled(
        &self,
        pending: &Pending,
        (reply, moved): (Result<Value>, Moved),
        own: Option<OwnFill>,
    ) -> Filled {
        let client = &self.cache.client;
        let mut filled = Filled {
            outcome: Outcome::NotStored,
            bytes: 0,
            stored: false,
            current: false,
        };
        match reply {
            Ok(Value::Int(1)) => {
                filled.current = moved == Moved::No;
                if let Some(entry) = &pending.entry {
                    client.count_write(entry.len());
                    if let Some(own) = own.filter(|_| filled.current) {
                        own.stored(entry, pending.stays, client);
                    }
                    filled.stored = true;
                    filled.outcome = Outcome::Stored;
                    filled.bytes = entry.len();
                }
                if moved == Moved::Yes {
                    // What is stored is dead: its readers compare the versions.
                    client.counters().fenced.add(1);
                    filled.outcome = Outcome::Fenced;
                }
            }
            Ok(_) => {
                client.counters().fenced.add(1);
                filled.outcome = Outcome::Fenced;
            }
            // It is not known whether the value was stored.
            Err(error) => {
                client.note_degraded(&error);
                client.counters().not_stored.add(1);
                tracing::debug!(%error, "a loaded value could not be stored");
            }
        }
        filled
    }

    /// The tags that only the loader named.
    fn brought_tags(&self, names: &[Vec<u8>]) -> Result<Vec<Tag>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut all: Vec<Vec<u8>> = self.plan.tags.iter().map(|tag| tag.name.clone()).collect();
        all.extend_from_slice(names);
        let mut tags = Tag::of_entry(self.cache.client.keyspace(), &all)?;
        Ok(tags.split_off(self.plan.tags.len()))
    }
}

fn not_read_back(error: &Error) -> Error {
    let why = format!(
        "its type does not read back what it writes, so it is not stored: {}",
        error.detail()
    );
    Error::new(ErrorKind::Codec, why)
}

fn serialize_panicked(panic: &(dyn Any + Send)) -> Error {
    let why = format!(
        "its Serialize or Deserialize panicked: {}",
        panic_message(panic)
    );
    Error::new(ErrorKind::Codec, why)
}
