//! The names of a cache's keys in Redis: the prefix, the reserved names, and patterns that cannot leave the prefix.
//!
//! 1. A stored key is exactly `prefix` + `separator` + `key`, or `key` without a prefix, because other clients read it
//!    too.
//! 2. Nothing outside the prefix is read, listed or deleted, whatever characters prefix and pattern contain: the prefix
//!    is escaped in every pattern, and the keys that a server lists are checked again.
//! 3. nearcache's own keys (leases, versions of tags) are never listed, and cannot be named by a user.

mod search;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use crate::error::{Error, ErrorKind, Result};
use crate::slot;
use search::{contains, has};

/// The default text between prefix and key.
pub(crate) const SEPARATOR: &str = ":";

/// After the prefix, names that begin with this are reserved.
const OWN: &[u8] = b"#nearcache:";

/// A lease key consists of its entry's key and this marker (and in rare cases a suffix), so no user's key may contain
/// the marker.
const LEASE_MARKER: &[u8] = b"#nearcache:lease";

/// By how many bytes a lease's name is longer than its key's, mostly: the marker, and two braces.
pub(crate) const LEASE_EXTRA: usize = LEASE_MARKER.len() + 2;

/// After the prefix, a tag's version key is this and the tag.
const TAG: &[u8] = b"#nearcache:tag:";

/// After the prefix, the key of the epoch, which changes with every tag invalidation.
const TAG_EPOCH: &[u8] = b"#nearcache:tags";

/// After the prefix, the index of a cache that limits its number of values.
const INDEX: &[u8] = b"#nearcache:index";

/// The longest tag. Every entry with the tag stores it.
pub(crate) const MAX_TAG: usize = 1_024;

/// The longest key, without the prefix.
const MAX_KEY: usize = 64 * 1024;

/// The longest prefix, with its separator. It is sent with every key.
const MAX_PREFIX: usize = 4 * 1024;

/// A key as users write it, without the prefix. Listings return it, and errors contain it.
///
/// Keys are bytes. [`Key::as_str`] returns the text, if the key is text; `Display` shows it, with bytes that are no
/// text as `\x..`. A key borrows as `[u8]`, so that a map by keys can be asked with bytes. With serde it is text in a
/// human-readable format (an array of bytes if it is no text), and bytes in a binary one.
///
/// ```
/// use nearcache::Key;
/// use std::collections::HashMap;
///
/// let seen = HashMap::from([(Key::from("user:1"), 3)]);
/// assert_eq!(seen.get(b"user:1".as_slice()), Some(&3));
/// assert_eq!(Key::from(String::from("user:1")).to_string(), "user:1");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Key(bytes.into())
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Key(bytes.into())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Key(text.into_bytes().into())
    }
}

/// The text; bytes that are no text as `\x..`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.as_str() {
            return f.pad(text);
        }
        for chunk in self.0.utf8_chunks() {
            write!(f, "{}{}", chunk.valid(), chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.as_str() {
            Some(text) if serializer.is_human_readable() => serializer.serialize_str(text),
            _ => serializer.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(KeyVisitor)
        } else {
            deserializer.deserialize_byte_buf(KeyVisitor)
        }
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key: text or bytes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Key, E> {
        Ok(Key::from(text))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> std::result::Result<Key, E> {
        Ok(Key::from(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Key, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Key::from(bytes))
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Key(text.as_bytes().into())
    }
}

impl PartialEq<str> for Key {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Key {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// A key in a message, if its cache shows no keys ([`redact_keys`](crate::Builder::redact_keys)): `#` and the first 12
/// hexadecimal digits of its SHA-1. They are the same in every process and every release.
pub(crate) struct Redacted<'k>(pub(crate) &'k [u8]);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = sha1_smol::Sha1::from(self.0).digest().to_string();
        write!(f, "#{}", &digest[..12])
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key in a message: as it is, or [`Redacted`].
pub(crate) fn in_message(key: &[u8], redact: bool) -> Box<dyn fmt::Debug + '_> {
    if redact {
        Box::new(Redacted(key))
    } else {
        Box::new(Key::from(key))
    }
}

/// The text in quotes, with other bytes as `\x..`. A long key is cut, because this is used in messages.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 120;
        let shown = &self.0[..self.0.len().min(SHOWN)];
        match std::str::from_utf8(shown) {
            Ok(text) => write!(f, "{text:?}")?,
            Err(_) => write!(f, "\"{}\"", shown.escape_ascii())?,
        }
        if self.0.len() > SHOWN {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

/// Up to how many bytes a key is kept in place. It is moved with each operation on it, so more would cost every call.
const IN_PLACE: usize = 64;

/// The name of a lease: in place if its key mostly is.
pub(crate) type LeaseKey = SmallVec<[u8; 2 * IN_PLACE]>;

/// A key as a caller gave it: it is not checked yet whether it is one, and it has no prefix.
///
/// The near tier is asked with it. Only what is not there is checked, and gets a name in Redis ([`Keyspace::stored`]).
pub(crate) type GivenKey = SmallVec<[u8; IN_PLACE]>;

/// A key as it is in Redis, with the prefix.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct StoredKey {
    bytes: SmallVec<[u8; IN_PLACE]>,
    /// The length of the prefix, which is at most [`MAX_PREFIX`].
    prefix: u32,
    /// Whether messages show a hash in its place.
    redact: bool,
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_message(self.user(), self.redact).fmt(f)
    }
}

impl StoredKey {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key as the user wrote it.
    #[inline]
    pub(crate) fn user(&self) -> &[u8] {
        &self.bytes[self.prefix_len()..]
    }

    /// The key's lease key. It is in the same cluster slot and under the same prefix. The forms must never change:
    /// processes of all versions must agree on them.
    pub(crate) fn lease(&self) -> LeaseKey {
        lease_of(self.as_bytes(), self.prefix_len())
    }

    /// The length of the prefix, with its separator.
    #[inline]
    pub(crate) fn prefix_len(&self) -> usize {
        self.prefix as usize
    }

    /// Whether messages show a hash in its place.
    pub(crate) fn is_redacted(&self) -> bool {
        self.redact
    }
}

/// The lease key of a stored key whose prefix has this length.
pub(crate) fn lease_of(key: &[u8], prefix: usize) -> LeaseKey {
    let braced = has(key, b'{') || has(key, b'}');
    let length = prefix + key.len() + LEASE_EXTRA;
    if !braced && length <= 2 * IN_PLACE {
        // With every write: copied into place part by part, without asking each time whether there is room.
        let mut name = [0; 2 * IN_PLACE];
        let parts = [&key[..prefix], b"{", key, b"}", LEASE_MARKER];
        let mut rest = &mut name[..];
        for part in parts {
            let (place, after) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        }
        return LeaseKey::from_buf_and_len(name, length);
    }
    let mut lease = LeaseKey::new();
    if !braced {
        lease.extend_from_slice(&key[..prefix]);
        lease.push(b'{');
        lease.extend_from_slice(key);
        lease.extend_from_slice(b"}");
        lease.extend_from_slice(LEASE_MARKER);
        return lease;
    }
    lease.extend_from_slice(key);
    lease.extend_from_slice(LEASE_MARKER);
    if slot::hash_tag(key).is_some() {
        return lease;
    }
    // A brace, but no hash tag: the whole key decides the slot, and so does the whole lease key, so a suffix is needed.
    let suffix = slot::suffix(&lease, slot::slot(key));
    lease.extend_from_slice(&suffix);
    lease
}

impl redis::ToRedisArgs for StoredKey {
    fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
        out.write_arg(&self.bytes);
    }
}

impl redis::ToSingleRedisArg for StoredKey {}

/// The key names of one cache.
#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    /// The prefix with its separator; empty for none.
    prefix: Vec<u8>,
    /// Whether messages show hashes in place of keys.
    redact: bool,
}

/// The names are the same, whatever messages show.
impl PartialEq for Keyspace {
    fn eq(&self, other: &Self) -> bool {
        self.prefix == other.prefix
    }
}

impl Eq for Keyspace {}

impl Hash for Keyspace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.prefix.hash(state);
    }
}

impl Keyspace {
    /// The pattern of the helpers' keys, and of some others.
    pub(crate) const HELPERS: &[u8] = b"#nearcache:*";

    /// # Errors
    /// `InvalidConfig` for a prefix that is too long or contains a reserved name.
    pub(crate) fn new(prefix: &str, separator: &str) -> Result<Self> {
        if prefix.is_empty() {
            return Ok(Keyspace {
                prefix: Vec::new(),
                redact: false,
            });
        }
        let prefix = [prefix.as_bytes(), separator.as_bytes()].concat();
        let refused = |why: String| Err(Error::new(ErrorKind::InvalidConfig, why));
        if prefix.len() > MAX_PREFIX {
            return refused(format!(
                "the prefix has {} bytes with its separator; {MAX_PREFIX} are allowed",
                prefix.len()
            ));
        }
        if contains(&prefix, OWN) {
            return refused(
                "the prefix holds \"#nearcache:\", which nearcache keeps for itself".into(),
            );
        }
        Ok(Keyspace {
            prefix,
            redact: false,
        })
    }

    /// The same names; messages show hashes in place of keys if `redact`.
    pub(crate) fn redacted(mut self, redact: bool) -> Self {
        self.redact = redact;
        self
    }

    /// Whether messages show hashes in place of keys.
    pub(crate) fn redacts(&self) -> bool {
        self.redact
    }

    /// The keyspace of a stored key whose prefix has this length.
    pub(crate) fn of(stored: &[u8], prefix: usize) -> Self {
        Keyspace {
            prefix: stored[..prefix].to_vec(),
            redact: false,
        }
    }

    /// The length of the prefix, with its separator.
    pub(crate) fn prefix_len(&self) -> usize {
        self.prefix.len()
    }

    /// What all its keys begin with.
    pub(crate) fn beginning(&self) -> &[u8] {
        &self.prefix
    }

    /// The stored form of a user's key.
    ///
    /// # Errors
    /// `InvalidKey`: empty, longer than 64 KiB, or reserved.
    #[inline]
    pub(crate) fn stored(&self, key: &[u8]) -> Result<StoredKey> {
        let refused =
            |why: String| Err(Error::new(ErrorKind::InvalidKey, why).named(key, self.redact));
        if key.is_empty() {
            return refused("a key has at least one byte".into());
        }
        if key.len() > MAX_KEY {
            return refused(format!(
                "it has {} bytes; {MAX_KEY} are allowed. Hash long keys before you use them",
                key.len()
            ));
        }
        if is_own(key) {
            return refused(
                "keys that begin with \"#nearcache:\" or hold \"#nearcache:lease\" are kept for \
                 nearcache's own use"
                    .into(),
            );
        }
        let bytes = if self.prefix.is_empty() {
            SmallVec::from_slice(key)
        } else {
            let mut bytes = SmallVec::from_slice(&self.prefix);
            bytes.extend_from_slice(key);
            bytes
        };
        Ok(StoredKey {
            bytes,
            prefix: self.prefix.len() as u32,
            redact: self.redact,
        })
    }

    /// The user's form of a key that a server listed. `None` for keys of others and for nearcache's own.
    pub(crate) fn user<'k>(&self, stored: &'k [u8]) -> Option<&'k [u8]> {
        let key = stored.strip_prefix(&*self.prefix)?;
        (!key.is_empty() && !is_own(key)).then_some(key)
    }

    /// A user's glob pattern as a pattern for Redis that cannot leave the prefix.
    pub(crate) fn pattern(&self, pattern: &[u8]) -> Vec<u8> {
        literally(&self.prefix, pattern)
    }

    /// A tag's version key.
    ///
    /// # Errors
    /// `InvalidKey`: a tag is empty or longer than 1 KiB.
    pub(crate) fn tag(&self, tag: &[u8]) -> Result<Vec<u8>> {
        if (1..=MAX_TAG).contains(&tag.len()) {
            return Ok([&self.prefix, TAG, tag].concat());
        }
        Err(Error::new(
            ErrorKind::InvalidKey,
            format!(
                "a tag has 1 to {MAX_TAG} bytes; one of {} was given",
                tag.len()
            ),
        ))
    }

    /// The key of the epoch, which changes with every tag invalidation.
    pub(crate) fn tag_epoch(&self) -> Vec<u8> {
        [&self.prefix, TAG_EPOCH].concat()
    }

    /// The key of the index of a cache that limits its number of values.
    pub(crate) fn index(&self) -> Vec<u8> {
        [&self.prefix, INDEX].concat()
    }

    /// A key of a helper's own (a lock's, a rate limiter's): `prefix#nearcache:helper:{name}:part`. The name may have
    /// several parts. All keys of one name are in one cluster slot, whatever characters prefix and name hold, and no
    /// two names share a key.
    ///
    /// # Errors
    /// `InvalidKey`: a part of the name is empty, or they are longer than a key may be.
    pub(crate) fn helper(&self, helper: &str, name: &[&[u8]], part: &str) -> Result<StoredKey> {
        let refused = |why: String| {
            let shown = name.join(&b':');
            Err(Error::new(ErrorKind::InvalidKey, why).named(&shown, self.redact))
        };
        if name.iter().any(|each| each.is_empty()) {
            return refused(format!("a name of a {helper} has at least one byte"));
        }
        let mut key = [&*self.prefix, OWN, helper.as_bytes(), b":{"].concat();
        for (at, each) in name.iter().enumerate() {
            if at > 0 {
                key.push(b':');
            }
            escape(each, &mut key);
        }
        key.push(b'}');
        // Without a hash tag the prefix holds `{}`: then the whole key decides the slot.
        let wanted = slot::hash_tag(&key).is_none().then(|| slot::slot(&key));
        if !part.is_empty() {
            key.push(b':');
            key.extend_from_slice(part.as_bytes());
        }
        if let Some(wanted) = wanted {
            key.extend(slot::suffix(&key, wanted));
        }
        if key.len() > self.prefix.len() + MAX_KEY {
            return refused(format!(
                "a name of a {helper} may have about {MAX_KEY} bytes; use a hash of it"
            ));
        }
        Ok(StoredKey {
            bytes: SmallVec::from_vec(key),
            prefix: self.prefix.len() as u32,
            redact: self.redact,
        })
    }

    /// The pattern of all leases, for Redis.
    pub(crate) fn leases(&self) -> Vec<u8> {
        self.pattern(&[b"*", LEASE_MARKER, b"*"].concat())
    }

    /// Whether a key that a server listed is one of this cache's leases.
    pub(crate) fn is_lease(&self, stored: &[u8]) -> bool {
        stored
            .strip_prefix(&*self.prefix)
            .is_some_and(|key| contains(key, LEASE_MARKER))
    }

    /// The stored keys that a lease key which a server listed may belong to. (A key may look like the lease of another
    /// one with a shorter prefix, so there can be two.)
    pub(crate) fn entries_of<'l>(
        &self,
        lease: &'l [u8],
    ) -> impl Iterator<Item = &'l [u8]> + use<'l> {
        let mut parts = lease.windows(LEASE_MARKER.len());
        let at = parts.rposition(|part| part == LEASE_MARKER);
        let whole = at.map(|at| &lease[..at]);
        let tagged = whole.and_then(|whole| whole.strip_suffix(b"}"));
        let inner = tagged.and_then(|tagged| {
            let brace = tagged.iter().rposition(|byte| *byte == b'{')?;
            Some(&tagged[brace + 1..])
        });
        whole.into_iter().chain(inner)
    }

    /// Whether a key that a server listed is a helper's.
    pub(crate) fn is_helpers(&self, stored: &[u8]) -> bool {
        let own = stored
            .strip_prefix(&*self.prefix)
            .is_some_and(|key| key.starts_with(OWN));
        own && !self.is_lease(stored) && !self.is_tag_or_index(stored)
    }

    /// Whether a key that a server listed is a version key, the epoch or the index.
    pub(crate) fn is_tag_or_index(&self, stored: &[u8]) -> bool {
        stored
            .strip_prefix(&*self.prefix)
            .is_some_and(|key| key.starts_with(TAG) || key == TAG_EPOCH || key == INDEX)
    }

    pub(crate) fn has_prefix(&self) -> bool {
        !self.prefix.is_empty()
    }
}

/// The prefix with its separator, as it appears in messages.
impl fmt::Display for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Key::from(&*self.prefix))
    }
}

/// A glob pattern: a beginning that is meant literally, and a pattern after it.
pub(crate) fn literally(beginning: &[u8], pattern: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(beginning.len() + pattern.len() + 8);
    for &byte in beginning {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped.extend_from_slice(pattern);
    escaped
}

fn is_own(key: &[u8]) -> bool {
    // Both begin so, and hardly any other key has it.
    has(key, b'#') && (key.starts_with(OWN) || contains(key, LEASE_MARKER))
}

/// Whether a key can be that of a lease, of whatever cache. No key of a user is named so.
#[inline]
pub(crate) fn is_named_like_a_lease(key: &[u8]) -> bool {
    has(key, LEASE_MARKER[0]) && contains(key, LEASE_MARKER)
}

/// Appends a part of a name. What separates parts, and what decides the slot, is written as `%` and two hexadecimal
/// digits, and so is `#`, which begins a lease's marker.
fn escape(part: &[u8], out: &mut Vec<u8>) {
    for &byte in part {
        match byte {
            b'%' | b':' | b'{' | b'}' | b'#' => out.extend(format!("%{byte:02X}").bytes()),
            byte => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests;
