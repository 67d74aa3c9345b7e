//! New TTLs for entries: `touch`, `expire`, `expire_at`, `persist`, and reads that extend.
//!
//! 1. A TTL is the time until the value is stale. A stale window behind it moves along.
//! 2. The versions of an entry's tags live as long as the entry: they are extended first, and never shortened.
//! 3. What is not there (`presence`) gets no TTL.
//!
//! An entry without an envelope takes one round trip, one with an envelope two, and one with tags three. An entry with
//! an envelope is judged before it is changed, and the change is made only if the entry still is the judged one. If
//! others keep changing it, the call ends without a change of its own, as if it had come just before theirs.

use redis::Value;

use super::ReadThrough;
use super::change::{KEEP_TAGS, PROLONG, RETIME};
use super::entry::{Entry, Judgement, Versions};
use super::presence::{Found, plain};
use super::read::Of;
use super::tags;
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::StoredKey;
use crate::script::Input;
use crate::ttl::Ttl;

/// How often a changed entry is looked at again.
const ROUNDS: usize = 4;

/// How long a version is kept at least. Added where the server's clock decides, which may be another than ours.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// Until when an entry is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    For(Ttl),
    /// A time in Unix milliseconds.
    At(u64),
    Forever,
    /// As before: only note that it is used.
    Used,
}

impl Until {
    /// The command, and its argument, for an entry with this stale window.
    fn command(self, window: u64) -> (&'static [u8], String) {
        match self {
            Until::For(ttl) => {
                let stays = ttl.as_millis().saturating_add(window);
                (b"PEXPIRE", stays.min(Ttl::MAX.as_millis()).to_string())
            }
            Until::At(time) => (b"PEXPIREAT", time.saturating_add(window).to_string()),
            Until::Forever => (b"PERSIST", String::new()),
            Until::Used => (b"TOUCH", String::new()),
        }
    }

    /// The time at which the value becomes stale; `None`: as before.
    fn stale_at(self, now: u64) -> Option<u64> {
        match self {
            Until::For(ttl) => Some(now.saturating_add(ttl.as_millis())),
            Until::At(time) => Some(time),
            Until::Forever => Some(u64::MAX),
            Until::Used => None,
        }
    }

    /// How long the versions of tags must live, in ms (0: for ever); `None`: as before.
    fn tags_live(self, now: u64, window: u64) -> Option<u64> {
        match self {
            Until::For(ttl) => Some(ttl.as_millis().saturating_add(window)),
            Until::At(time) if time <= now => None,
            Until::At(time) => Some((time - now).saturating_add(window).saturating_add(DAY)),
            Until::Forever => Some(0),
            Until::Used => None,
        }
    }
}

/// The result for one key.
#[derive(Debug)]
pub(crate) struct Prolonged {
    /// What the plain command would answer for an entry that is there.
    pub(crate) done: bool,
    /// The entry, if it was to be read, and its judgement from before.
    pub(super) entry: Option<Entry>,
    pub(super) judgement: Judgement,
}

/// An envelope that was found, and where it belongs.
struct Seat {
    index: usize,
    found: Found,
    window: u64,
}

impl ReadThrough {
    /// Gives one key another TTL. Returns whether there is an entry (for `persist`: one that had a TTL).
    pub(crate) async fn prolong(&self, key: &StoredKey, until: Until) -> Result<bool> {
        let keys = std::slice::from_ref(key);
        let mut prolonged = self.prolong_each(keys, &[until], false).await?;
        Ok(prolonged.pop().is_some_and(|prolonged| prolonged.done))
    }

    /// Gives keys another TTL, each its own, and reads them if asked to.
    pub(super) async fn prolong_each(
        &self,
        keys: &[StoredKey],
        until: &[Until],
        reads: bool,
    ) -> Result<Vec<Prolonged>> {
        let mut prolonged: Vec<Option<Prolonged>> = keys.iter().map(|_| None).collect();
        let mut asking: Vec<usize> = (0..keys.len()).collect();
        for _ in 0..ROUNDS {
            let inputs: Vec<Input> = asking
                .iter()
                .map(|index| prolong_input(&keys[*index], until[*index], reads))
                .collect();
            let replies = self.client.run_many(&PROLONG, &inputs).await?;
            let mut seats = Vec::new();
            for (index, reply) in asking.iter().copied().zip(replies) {
                let key = &keys[index];
                let reply = match reply {
                    Err(error) if error.kind() == ErrorKind::Denied => {
                        let done = self.prolong_without_scripts(key, until[index], reads, error);
                        prolonged[index] = Some(Box::pin(done).await?);
                        continue;
                    }
                    // To a read of many keys, a value of another Redis type is a miss.
                    Err(error) if error.kind() == ErrorKind::WrongType && keys.len() > 1 => {
                        Value::Nil
                    }
                    reply => reply.map_err(|error| error.for_key(key))?,
                };
                if let Some(found) = Found::from_reply(&reply) {
                    let (window, index) = (0, index);
                    seats.push(Seat {
                        index,
                        found,
                        window,
                    });
                    continue;
                }
                let (done, (entry, judgement)) = if reads {
                    let bytes = reply::bytes("PROLONG", reply)?;
                    (bytes.is_some(), plain(bytes))
                } else {
                    (reply::flag("PROLONG", &reply)?, plain(None))
                };
                prolonged[index] = Some(Prolonged {
                    done,
                    entry,
                    judgement,
                });
            }
            if seats.is_empty() {
                break;
            }
            asking = self
                .prolong_envelopes(keys, until, seats, &mut prolonged)
                .await?;
            if asking.is_empty() {
                break;
            }
        }
        let missing = || Error::unexpected("PROLONG", &Value::Nil);
        prolonged
            .into_iter()
            .map(|prolonged| prolonged.ok_or_else(missing))
            .collect()
    }

    /// For a user who may not run scripts. Bytes without an envelope need none; an entry with one that is there cannot
    /// be changed safely, which is the error that came.
    async fn prolong_without_scripts(
        &self,
        key: &StoredKey,
        until: Until,
        reads: bool,
        denied: Error,
    ) -> Result<Prolonged> {
        let found = if reads {
            let entry = self.get(key, Of::Primary).await?.map(Entry::new);
            entry.map(|entry| Found { entry, left: -1 })
        } else {
            self.look(key, Of::Primary).await?
        };
        let Some(Found { entry, .. }) = found else {
            return Ok(Prolonged {
                done: false,
                entry: None,
                judgement: Judgement::Dead,
            });
        };
        let judgement = tags::judge(&self.client, &entry).await?;
        if entry.is_there(judgement) && entry.has_envelope() {
            return Err(denied.for_key(key));
        }
        let done = entry.is_there(judgement) && {
            let (command, argument) = until.command(0);
            let mut plain = redis::Cmd::new();
            plain.arg(command).arg(key);
            if !argument.is_empty() {
                plain.arg(argument);
            }
            reply::flag("PROLONG", &self.client.request_for(key, &plain).await?)?
        };
        Ok(Prolonged {
            done,
            entry: reads.then_some(entry),
            judgement,
        })
    }

    /// Judges entries with an envelope, and gives another TTL to those that are there. Returns the keys to look at
    /// again, because their entry has changed meanwhile.
    async fn prolong_envelopes(
        &self,
        keys: &[StoredKey],
        until: &[Until],
        mut seats: Vec<Seat>,
        prolonged: &mut [Option<Prolonged>],
    ) -> Result<Vec<usize>> {
        let now = self.client.unix_millis();
        for seat in &mut seats {
            // One that is gone by now is found to have changed when it is to be changed.
            seat.found.complete(self, &keys[seat.index]).await?;
            seat.window = seat.found.window(now);
        }
        let versions = self.keep_versions(until, &seats, now).await?;
        let mut changing = Vec::new();
        for seat in seats {
            let Seat {
                index,
                found,
                window,
            } = seat;
            let until = until[index];
            let judgement = found.entry.judge(&versions, now);
            let there = found.entry.is_there(judgement);
            if there && until != Until::Used {
                changing.push((
                    index,
                    retime_input(&keys[index], &found, until, window, now),
                ));
            }
            prolonged[index] = Some(Prolonged {
                done: there && (until != Until::Forever || found.fresh_for(now) >= 0),
                entry: Some(found.entry),
                judgement,
            });
        }
        let (indices, inputs): (Vec<usize>, Vec<Input>) = changing.into_iter().unzip();
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        let replies = self.client.run_many(&RETIME, &inputs).await?;
        let mut again = Vec::new();
        for (index, reply) in indices.into_iter().zip(replies) {
            let reply = match reply {
                // It was replaced by a value of another Redis type.
                Err(error) if error.kind() == ErrorKind::WrongType => Value::Int(0),
                reply => reply.map_err(|error| error.for_key(&keys[index]))?,
            };
            if !reply::flag("RETIME", &reply)? {
                again.push(index);
            }
        }
        Ok(again)
    }

    /// The versions of the tags of these entries, which will live as long as the entries.
    async fn keep_versions(&self, until: &[Until], seats: &[Seat], now: u64) -> Result<Versions> {
        let mut names: Vec<&[u8]> = seats
            .iter()
            .flat_map(|seat| seat.found.entry.tags())
            .collect();
        if names.is_empty() {
            return Ok(Versions::default());
        }
        names.sort_unstable();
        names.dedup();
        let tagged = seats
            .iter()
            .filter(|seat| seat.found.entry.tags().next().is_some());
        let live = tagged.filter_map(|seat| until[seat.index].tags_live(now, seat.window));
        // The longest; 0 is for ever.
        let Some(live) = live.max_by_key(|millis| millis.wrapping_sub(1)) else {
            return tags::read_versions(&self.client, &names).await;
        };
        let live = live.min(Ttl::MAX.as_millis()).to_string();
        let mut versions = Versions::default();
        // A script names keys of one slot.
        let together = if self.client.is_spread() { 1 } else { 1_000 };
        let mut inputs = Vec::with_capacity(names.len().div_ceil(together));
        for part in names.chunks(together) {
            let mut input = Input::default();
            input.arg(live.as_bytes());
            for name in part {
                input.key(&self.client.keyspace().tag(name)?);
            }
            inputs.push(input);
        }
        let kept = self.client.run_many(&KEEP_TAGS, &inputs).await?;
        for (part, reply) in names.chunks(together).zip(kept) {
            let Value::Array(replies) = reply? else {
                return Err(Error::unexpected("KEEP_TAGS", &Value::Nil));
            };
            for (name, reply) in part.iter().zip(replies) {
                versions.record(name, &reply);
            }
        }
        Ok(versions)
    }
}

impl Found {
    /// How long the value is kept after it became stale, in ms.
    fn window(&self, now: u64) -> u64 {
        match self.entry.stale_at() {
            Some(soft) if self.left >= 0 => {
                let left = self.left.unsigned_abs();
                left.saturating_sub(soft.saturating_sub(now))
            }
            _ => 0,
        }
    }
}

fn prolong_input(key: &StoredKey, until: Until, reads: bool) -> Input {
    let (command, argument) = until.command(0);
    let mut input = Input::default();
    input.key(key.as_bytes());
    input.arg(command).arg(argument.as_bytes());
    input.arg(if reads { b"1" } else { b"0" });
    input
}

fn retime_input(key: &StoredKey, found: &Found, until: Until, window: u64, now: u64) -> Input {
    let (beginning, exactly) = found.entry.beginning();
    // A time that has passed ends the entry, its stale window included.
    let window = match until {
        Until::At(time) if time <= now => 0,
        _ => window,
    };
    let (command, argument) = until.command(window);
    let mut moved = beginning.to_vec();
    if let Some(time) = until.stale_at(now) {
        found.entry.set_stale_at(&mut moved, time);
    }
    let mut input = Input::default();
    input.key(key.as_bytes()).arg(beginning);
    input.arg(if exactly { b"1" } else { b"0" });
    input.arg(&moved).arg(command).arg(argument.as_bytes());
    input
}
