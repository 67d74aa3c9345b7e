//! An entry, and whether it may still be returned.

use std::borrow::Cow;
use std::time::Duration;

use redis::Value;

use smallvec::SmallVec;

use super::tags::versions_of;
use crate::codec::envelope::{Head, NEVER, SOFT_FIELD, Unreadable, Version};
use crate::codec::{self, Codec, Decode, Form, Format, Stored};
use crate::error::{Error, ErrorKind, Result};

/// An entry as it was read.
#[derive(Debug)]
pub(crate) struct Entry {
    bytes: Vec<u8>,
    head: Head,
    form: Form,
    /// Where the body begins; `None` if the bytes cannot be read at all.
    body: Option<usize>,
    /// Whether the envelope is ours, and broken.
    damaged: bool,
}

/// Whether an entry may be returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It may be returned.
    Fresh,
    /// Its TTL ended this long ago, or it was marked stale. It may be returned where a stale value is accepted.
    Stale(Duration),
    /// A tag was invalidated, or the entry is damaged or written by another version of nearcache: it is never returned.
    Dead,
}

impl Entry {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let mut damaged = false;
        let (head, form, body) = match Head::open(&bytes) {
            Ok(None) => (Head::default(), Form::default(), Some(0)),
            Ok(Some((head, form, body))) => (head, form, Some(body)),
            Err(unreadable) => {
                damaged = unreadable == Unreadable::Damaged;
                (Head::default(), Form::default(), None)
            }
        };
        Entry {
            bytes,
            head,
            form,
            body,
            damaged,
        }
    }

    /// The bytes as they are in Redis.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it counts as an entry, for every verb but `remember`: see `presence`.
    pub(crate) fn is_there(&self, judgement: Judgement) -> bool {
        match judgement {
            Judgement::Fresh => true,
            Judgement::Stale(_) => false,
            // What nobody here can read may be another program's, or another version's.
            Judgement::Dead => self.body.is_none() && !self.damaged,
        }
    }

    /// Its beginning, by which a judged entry is recognized, and whether that is the whole entry. It holds everything
    /// that the judgement depends on.
    pub(super) fn beginning(&self) -> (&[u8], bool) {
        match self.body {
            Some(body) => (&self.bytes[..body], false),
            None => (&self.bytes, true),
        }
    }

    /// When the value becomes stale, in Unix milliseconds; `None`: never.
    pub(super) fn stale_at(&self) -> Option<u64> {
        self.head.soft.filter(|time| *time != NEVER)
    }

    /// Changes the time at which the value becomes stale, in a copy of its beginning, if there is such a time.
    pub(super) fn set_stale_at(&self, beginning: &mut [u8], time: u64) {
        if self.head.soft.is_some()
            && let Some(field) = beginning.get_mut(SOFT_FIELD)
        {
            field.copy_from_slice(&time.to_be_bytes());
        }
    }

    /// Whether it has an envelope: metadata in front of the value.
    pub(crate) fn has_envelope(&self) -> bool {
        self.body != Some(0)
    }

    /// Whether its envelope, if any, can be read.
    pub(crate) fn is_readable(&self) -> bool {
        self.body.is_some()
    }

    /// The value as an entry without metadata, for the waiters.
    pub(crate) fn value(&self) -> Cow<'_, [u8]> {
        Head::default().seal_as(self.form, &self.bytes[self.body.unwrap_or(0)..])
    }

    /// Whether it is an entry of ours that nobody can read any more: its envelope is broken, or its compressed value is.
    /// Another program's bytes, another type's and another version's are not damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        let broken = |body: usize| {
            let known = self.form.packing.filter(|packing| packing.is_known());
            known.is_some_and(|packing| packing.unpack(&self.bytes[body..]).is_err())
        };
        self.damaged || self.body.is_some_and(broken)
    }

    /// The tags that it carries.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &[u8]> {
        self.head.tags.iter().map(|(tag, _)| &**tag)
    }

    /// Judges the entry, given the versions of its tags and the time in Unix milliseconds.
    pub(crate) fn judge(&self, versions: &Versions, now: u64) -> Judgement {
        if self.body.is_none() {
            return Judgement::Dead;
        }
        let mut marked = false;
        for (tag, version) in &self.head.tags {
            match versions.age(tag, version) {
                Some(age) => marked |= age > 0,
                None => return Judgement::Dead,
            }
        }
        match self.head.soft {
            Some(soft) if now >= soft => Judgement::Stale(Duration::from_millis(now - soft)),
            // It is not known since when, and its TTL has not ended.
            _ if marked => Judgement::Stale(Duration::ZERO),
            _ => Judgement::Fresh,
        }
    }

    /// Whether to load a new value although this one is still fresh, so that no caller has to wait for a load later:
    /// XFetch (Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015).
    pub(crate) fn is_due(&self, beta: f64, now: u64) -> bool {
        let (Some(soft), Some(load)) = (self.head.soft, self.head.load) else {
            return false;
        };
        // `1 - [0, 1)` is `(0, 1]`, so the logarithm is finite.
        let ahead = -load.as_secs_f64() * 1_000.0 * beta * (1.0 - fastrand::f64()).ln();
        beta > 0.0 && now as f64 + ahead >= soft as f64
    }

    /// Decodes the value, which may take the bytes out of the entry.
    ///
    /// # Errors
    /// `Codec`. The entry then still has its bytes.
    pub(crate) fn decode<T: Decode>(&mut self, codec: &Codec) -> Result<Stored<T>> {
        let format = self.form.format;
        match (self.body, self.form.packing) {
            // Plain bytes do not name their format, so both possible ones are tried.
            (Some(0), _) if codec.plain_format() != format && self.bytes != codec::NOTHING => {
                T::decode(codec.plain_format(), codec, &mut self.bytes, 0)
                    .or_else(|error| T::decode(format, codec, &mut self.bytes, 0).or(Err(error)))
            }
            // It may have been plain bytes before it was marked stale.
            (Some(body), None) if self.head.soft.is_some() && format == Format::Json => {
                let plain = codec.plain_format();
                T::decode(format, codec, &mut self.bytes, body).or_else(|error| {
                    if plain == format {
                        return Err(error);
                    }
                    T::decode(plain, codec, &mut self.bytes, body).or(Err(error))
                })
            }
            (Some(body), None) => T::decode(format, codec, &mut self.bytes, body),
            (Some(body), Some(packing)) => {
                T::decode(format, codec, &mut packing.unpack(&self.bytes[body..])?, 0)
            }
            (None, _) => Err(Error::new(
                ErrorKind::Codec,
                "it was written by another version of nearcache, or is damaged",
            )),
        }
    }
}

/// Versions of tags, without the tags whose version is missing. The first is current; entries that carry another one
/// are stale.
#[derive(Debug, Default)]
pub(crate) struct Versions(Vec<(Vec<u8>, SmallVec<[Version; 1]>)>);

impl Versions {
    #[cfg(any(test, fuzzing))]
    pub(crate) fn insert(&mut self, tag: &[u8], version: Version) {
        self.0.push((tag.to_vec(), SmallVec::from_buf([version])));
    }

    /// Notes what a version key holds, if that is a version.
    pub(super) fn record(&mut self, tag: &[u8], reply: &Value) {
        let versions: SmallVec<_> = versions_of(reply).collect();
        if !versions.is_empty() {
            self.0.push((tag.to_vec(), versions));
        }
    }

    /// How many times the tag was marked stale since it had this version; `None`: it was invalidated.
    fn age(&self, tag: &[u8], version: &Version) -> Option<usize> {
        let (_, versions) = self.0.iter().find(|(other, _)| *other == tag)?;
        versions.iter().position(|other| other == version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Raw;
    use crate::codec::Body;

    fn entry(head: &Head) -> Entry {
        Entry::new(head.seal(&Body::plain(b"body")).into_owned())
    }

    #[test]
    fn an_entry_is_fresh_until_its_time_and_then_stale() {
        let none = Versions::default();
        assert_eq!(
            entry(&Head::default()).judge(&none, u64::MAX),
            Judgement::Fresh
        );
        let mut soft = entry(&Head {
            soft: Some(1_000),
            ..Head::default()
        });
        assert_eq!(soft.judge(&none, 999), Judgement::Fresh);
        let since = Duration::from_millis(5);
        assert_eq!(soft.judge(&none, 1_005), Judgement::Stale(since));
        assert_eq!(
            soft.decode::<Raw>(&Codec::json()).unwrap(),
            Stored::Value(Raw(b"body".to_vec()))
        );
    }

    #[test]
    fn an_entry_is_dead_when_a_tag_moved_or_its_version_is_gone() {
        let tagged = entry(&Head {
            tags: vec![(b"a".to_vec(), [1; 16]), (b"b".to_vec(), [2; 16])],
            ..Head::default()
        });
        let versions = |of: &[(&[u8], u8)]| {
            let mut versions = Versions::default();
            for (tag, byte) in of {
                versions.insert(tag, [*byte; 16]);
            }
            versions
        };
        let mut marked = versions(&[(b"b", 2)]);
        marked.record(b"a", &Value::BulkString([[9; 16], [1; 16]].concat()));
        assert_eq!(tagged.judge(&marked, 0), Judgement::Stale(Duration::ZERO));
        let mut invalid = versions(&[(b"b", 2)]);
        for bytes in [vec![1; 15], vec![1; 17], vec![1; 160], Vec::new()] {
            invalid.record(b"a", &Value::BulkString(bytes));
            assert_eq!(tagged.judge(&invalid, 0), Judgement::Dead);
        }
        let judge = |versions| tagged.judge(&versions, 0);
        assert_eq!(judge(versions(&[(b"a", 1), (b"b", 2)])), Judgement::Fresh);
        assert_eq!(judge(versions(&[(b"a", 1), (b"b", 3)])), Judgement::Dead);
        assert_eq!(judge(versions(&[(b"a", 1)])), Judgement::Dead);
        assert_eq!(
            Entry::new(b"\xC1NC\x09".to_vec()).judge(&Versions::default(), 0),
            Judgement::Dead
        );
    }

    #[test]
    fn an_entry_that_took_long_to_load_is_due_early_and_one_without_a_time_never() {
        let head = Head {
            soft: Some(10_000),
            load: Some(Duration::from_millis(1_000)),
            ..Head::default()
        };
        let due = |beta, now| {
            let entry = entry(&head);
            (0..10_000).filter(|_| entry.is_due(beta, now)).count()
        };
        // One load time before the end, the probability is 1/e.
        let tries = due(1.0, 9_000);
        assert!((3_300..4_100).contains(&tries), "{tries}");
        assert_eq!(due(0.0, 9_999), 0);
        assert_eq!(due(1.0, 10_000), 10_000);
        assert!(!entry(&Head::default()).is_due(1.0, u64::MAX));
    }
}
