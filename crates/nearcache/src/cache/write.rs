//! Writing one key: `set`, its conditional forms `add` and `replace`, `delete` and `mark_stale`.
//!
//! Each of these is an invalidation: after it returned, no load that began before it stores anything. To ensure this,
//! each deletes the lease of a running load, in the same round trip:
//!
//! - `delete` unlinks the lease first and the entry second. No load can store a stale value between the two: the old
//!   load has lost its lease, and a new load began after the source was changed.
//! - `set` does both in one transaction, because neither order is safe without one. If it wrote first, the new value
//!   might expire or be evicted before the lease is unlinked, and the old load would store. If it unlinked first, a
//!   load that begins between the two could do so. (A transaction is also the cheapest atomic form: `bench`, scenario
//!   `fence`.)

use std::fmt;
use std::marker::PhantomData;

use redis::{Cmd, Pipeline, Value};

use super::CacheOf;
use super::in_place::{Call, Prepared};
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::client::batch::unlink_leases;
use crate::client::reply;
use crate::codec::envelope::Head;
use crate::codec::{self, Body, Encode};
use crate::error::{Error, Result};
use crate::hooks::{CallKeys, Outcome};
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::{self, Delivery};
use crate::read_through::presence::{Condition, Stay};
use crate::read_through::tags::{self, Tag};
use crate::resilience::Steps;
use crate::ttl::{IntoTtl, Ttl};

impl<M> CacheOf<M> {
    /// Stores a value, or what a reference points to, and replaces the existing one. `.ttl(..)`, `.forever()` or `.keep_ttl()` set how long it stays;
    /// without them the cache's default TTL applies. If there is none, the entry does not expire.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let user = String::from("alice");
    /// cache.set("session:7", &user).ttl("30m").await?; // by reference
    /// cache.set("session:7", "bob").keep_ttl().await?; // or by value
    /// let first = cache.set("session:7", "carol").only_if_absent().await?;
    /// assert!(!first);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) and
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) before anything is sent. After
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) the value may or may not have been stored.
    pub fn set<V: Encode>(&self, key: impl AsRef<[u8]>, value: V) -> Set<'_, V, M> {
        Set::new(&self.core, key.as_ref(), value)
    }

    /// Stores a value if there is no entry, as [`contains`](CacheOf::contains) says. Returns whether it stored. An
    /// existing entry keeps its value and TTL.
    ///
    /// # Errors
    /// Those of [`set`](CacheOf::set).
    pub fn add<V: Encode>(&self, key: impl AsRef<[u8]>, value: V) -> SetIf<'_, V, M> {
        self.set(key, value).only_if_absent()
    }

    /// Stores a value if there is an entry, as [`contains`](CacheOf::contains) says. Returns whether it stored.
    ///
    /// # Errors
    /// Those of [`set`](CacheOf::set).
    pub fn replace<V: Encode>(&self, key: impl AsRef<[u8]>, value: V) -> SetIf<'_, V, M> {
        self.set(key, value).only_if_present()
    }

    /// Deletes a key. Returns whether there was something to delete: also a value past its TTL that was kept for
    /// `stale_for`, or one whose tag was invalidated.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Pending<'_, bool, M> {
        let (core, key) = self.named(key);
        Pending::new(async move {
            let key = [key?];
            core.invalidate("delete", CallKeys::One(key[0].user()), async |core| {
                Ok(delivery::unlink(core, &key).await? > 0)
            })
            .await
            .map_err(|error| error.for_key(&key[0]))
        })
    }
}

impl<M> CacheOf<M> {
    /// Marks the value of a key stale from now on. `remember` with a `stale_for` then returns it at once, and loads a
    /// new one in the background; to every other method the entry is gone. A load that began before stores nothing.
    ///
    /// The value stays as long as its TTL was. The time of the mark is kept in an envelope, so another program that reads
    /// plain values no longer finds one, and a counter begins anew. If the value must not be seen any more,
    /// [`delete`](CacheOf::delete) it. An entry of another version of nearcache cannot be marked; it is a miss anyway.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # use nearcache::Error;
    /// let price = async |price: u32| {
    ///     cache
    ///         .remember("price", move || async move { Ok::<_, Error>(price) })
    ///         .ttl("1h")
    ///         .stale_for("5m")
    ///         .await
    /// };
    /// assert_eq!(price(10).await?, 10);
    /// cache.mark_stale("price").await?;
    /// assert_eq!(price(11).await?, 10); // the old price at once; 11 is loaded meanwhile
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) if the key holds a list, a hash or the like, and those of
    /// every call (see [`CacheOf`]). What Redis did not acknowledge is sent later as a deletion of the key.
    pub fn mark_stale(&self, key: impl AsRef<[u8]>) -> Pending<'_, (), M> {
        let (core, key) = self.named(key);
        Pending::new(async move {
            let key = [key?];
            core.invalidate("mark_stale", CallKeys::One(key[0].user()), async |core| {
                let delivery = Delivery::keys(core, &key);
                let marked = core.mark(&key[0]).await;
                delivery.conclude(marked)
            })
            .await
            .map_err(|error| error.for_key(&key[0]))
        })
    }
}

/// The TTL option of a write.
#[derive(Clone, Debug)]
pub(super) enum Life {
    /// The cache's default TTL.
    Default,
    For(Result<Ttl>),
    Forever,
    /// The TTL of the entry that it replaces.
    Keep,
}

impl Life {
    pub(super) fn settle(&self, core: &ReadThrough) -> Result<Stay> {
        Ok(match self {
            Life::Default => core.default_ttl().map_or(Stay::Forever, Stay::For),
            Life::For(ttl) => Stay::For(ttl.clone()?),
            Life::Forever => Stay::Forever,
            Life::Keep => Stay::Keep,
        })
    }
}

/// The TTL of an entry with its jitter, in milliseconds; `None`: it does not expire.
pub(super) fn millis<'d>(
    core: &ReadThrough,
    stay: Stay,
    digits: &'d mut itoa::Buffer,
) -> Option<&'d [u8]> {
    match stay {
        Stay::For(ttl) => Some(digits.format(core.jittered(ttl).as_millis()).as_bytes()),
        Stay::Forever | Stay::Keep => None,
    }
}

/// `SET key value`, with this TTL in milliseconds.
pub(super) fn set_step<'w>(
    steps: &mut Steps<'w>,
    key: &'w StoredKey,
    value: &'w [u8],
    ttl: Option<&'w [u8]>,
) {
    let key = key.as_bytes();
    match ttl {
        Some(ttl) => steps.step(&[b"SET", key, value, b"PX", ttl]),
        None => steps.step(&[b"SET", key, value]),
    };
}

/// `SET key value`, with the TTL and its jitter.
pub(super) fn set_command(core: &ReadThrough, key: &StoredKey, value: &[u8], stay: Stay) -> Cmd {
    // Capacity for SET, the key, the value, PX and a number.
    let mut command = Cmd::with_capacity(6, 3 + key.as_bytes().len() + value.len() + 24);
    command.arg("SET").arg(key).arg(value);
    match stay {
        Stay::For(ttl) => command.arg("PX").arg(core.jittered(ttl).as_millis()),
        Stay::Forever => &mut command,
        Stay::Keep => command.arg("KEEPTTL"),
    };
    command
}

/// The head of an entry with these tags that is written without a load.
///
/// model: Action::Set
pub(super) async fn tagged_head(core: &ReadThrough, tags: &[Tag], stay: Stay) -> Result<Head> {
    let mut head = Head::default();
    if tags.is_empty() {
        return Ok(head);
    }
    let ttl = match stay {
        // Jitter at most doubles the TTL.
        Stay::For(ttl) => ttl.as_millis().saturating_mul(2),
        Stay::Forever | Stay::Keep => 0,
    };
    // Boxed: most writes have no tags.
    let versions = Box::pin(tags::make_versions(&core.quiet(), tags, ttl)).await?;
    for (tag, version) in tags.iter().zip(versions) {
        head.tags.push((tag.name.clone(), version));
    }
    Ok(head)
}

/// A pending `set`; one under a condition ([`SetIf`]) answers whether it stored.
#[must_use = "nothing is stored until it is carried out, by `.await` or `.run()`"]
pub struct Set<'c, V, M = Async, A = ()> {
    core: &'c ReadThrough,
    key: Result<StoredKey>,
    value: V,
    life: Life,
    tags: Vec<Vec<u8>>,
    condition: Condition,
    answer: PhantomData<fn() -> A>,
    mode: Marked<M>,
}

/// A pending `set` under a condition: `add` and `replace`.
pub type SetIf<'c, V, M = Async> = Set<'c, V, M, bool>;

impl<'c, V: Encode, M> Set<'c, V, M> {
    fn new(core: &'c ReadThrough, key: &[u8], value: V) -> Self {
        Set {
            core,
            key: core.client().stored(key),
            value,
            life: Life::Default,
            tags: Vec::new(),
            condition: Condition::Always,
            answer: PhantomData,
            mode: PhantomData,
        }
    }

    /// Stores only if there is no entry. The operation then returns whether it stored.
    pub fn only_if_absent(self) -> SetIf<'c, V, M> {
        self.under(Condition::Absent)
    }

    /// Stores only if there is an entry. The operation then returns whether it stored.
    pub fn only_if_present(self) -> SetIf<'c, V, M> {
        self.under(Condition::Present)
    }

    /// The same, where the caller is to know whether it stored: not if Redis is away and the write passes all the same.
    #[cfg(feature = "simple")]
    pub(crate) fn answering(self) -> SetIf<'c, V, M> {
        let condition = self.condition;
        self.under(condition)
    }

    fn under(self, condition: Condition) -> SetIf<'c, V, M> {
        Set {
            core: self.core,
            key: self.key,
            value: self.value,
            life: self.life,
            tags: self.tags,
            condition,
            answer: PhantomData,
            mode: PhantomData,
        }
    }
}

impl<'c, V: Encode, M, A> Set<'c, V, M, A> {
    /// The entry expires after this time, varied by the cache's jitter.
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.life = Life::For(ttl.into_ttl());
        self
    }

    /// The entry does not expire, whatever the cache's default TTL.
    pub fn forever(mut self) -> Self {
        self.life = Life::Forever;
        self
    }

    /// The entry expires when the value that it replaces would have become stale. If there is none, it does not expire.
    pub fn keep_ttl(mut self) -> Self {
        self.life = Life::Keep;
        self
    }

    /// Tags of the entry: [`invalidate_tag`](crate::CacheOf::invalidate_tag) of any of them invalidates it. Up to 64
    /// tags, of 1 byte to 1 KiB each. Tags take one more round trip for the write, and one more for each read.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.tags
            .extend(tags.into_iter().map(|tag| tag.as_ref().to_vec()));
        self
    }

    /// Encodes the value now, so that it need be neither `Send` nor outlive this call.
    fn prepare_command(self) -> Result<SetCommand<'c>> {
        let key = self.key?;
        let client = self.core.client();
        let value = codec::encode(&self.value, client.codec())
            .and_then(|body| body.packed(client.codec()))
            .map_err(|error| error.for_key(&key))?;
        Ok(SetCommand {
            core: self.core,
            key: [key],
            value,
            stay: self.life.settle(self.core)?,
            tags: Tag::of_entry(client.keyspace(), &self.tags)?,
            condition: self.condition,
        })
    }

    fn ready(self) -> Prepared<'c, SetCall<'c, A>>
    where
        A: From<Stored> + Send + 'c,
    {
        match self.prepare_command() {
            Ok(command) => Prepared::Call(SetCall(command, PhantomData)),
            Err(error) => Prepared::Done(Err(error)),
        }
    }

    pub(crate) fn start(self) -> CacheFuture<'c, A>
    where
        A: From<Stored> + Send + 'c,
    {
        self.ready().start()
    }
}

impl<'c, V: Encode, M> Set<'c, V, M> {
    fn prepare(self) -> Prepared<'c, SetCall<'c, ()>> {
        self.ready()
    }
}

/// A `set`, ready to go.
pub struct SetCall<'c, A>(SetCommand<'c>, PhantomData<fn() -> A>);

impl<A> fmt::Debug for SetCall<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SetCall").field(&self.0.key[0]).finish()
    }
}

impl<A: From<Stored> + Send> Call for SetCall<'_, A> {
    type Output = A;

    fn is_at_once(&self) -> bool {
        self.0.core.client().guarded().is_at_once()
    }

    #[inline]
    fn at_once(&self) -> Option<A> {
        self.0.store_at_once().map(A::from)
    }

    async fn carry_out(&self) -> Result<A> {
        self.0.send().await.map(A::from)
    }
}

/// Whether a `SET` stored.
#[derive(Clone, Copy, Default)]
pub(crate) struct Stored(bool);

impl From<Stored> for () {
    fn from(_: Stored) {}
}

impl From<Stored> for bool {
    fn from(stored: Stored) -> bool {
        stored.0
    }
}

operation!(in place SetCall<'c, ()>: Set<'c, V: Encode> -> ());

impl<'c, V: Encode> IntoFuture for SetIf<'c, V> {
    type Output = Result<bool>;
    type IntoFuture = CacheFuture<'c, bool>;

    fn into_future(self) -> Self::IntoFuture {
        self.start()
    }
}

#[cfg(feature = "blocking")]
impl<V: Encode> SetIf<'_, V, super::operation::Blocking> {
    /// Carries the operation out on this thread.
    ///
    /// # Errors
    /// Those of the verb that made the operation.
    pub fn run(self) -> Result<bool> {
        self.ready().run()
    }
}

/// A `SET`, ready to go.
struct SetCommand<'c> {
    core: &'c ReadThrough,
    key: [StoredKey; 1],
    value: Body,
    stay: Stay,
    tags: Vec<Tag>,
    condition: Condition,
}

impl SetCommand<'_> {
    async fn send(&self) -> Result<Stored> {
        let verb = match self.condition {
            Condition::Always => "set",
            Condition::Absent => "add",
            Condition::Present => "replace",
        };
        let keys = CallKeys::One(self.key[0].user());
        self.core
            .invalidate(verb, keys, async |core| self.store(core).await)
            .await
    }

    /// The short way, in a store in this process: of a `set` without conditions and tags.
    #[inline]
    fn store_at_once(&self) -> Option<Stored> {
        let plain = self.condition == Condition::Always && self.tags.is_empty();
        if !plain || matches!(self.stay, Stay::Keep) || !self.core.is_short() {
            return None;
        }
        let (core, [key]) = (self.core, &self.key);
        let (entry, mut digits) = (Head::default().seal(&self.value), itoa::Buffer::new());
        let ttl = millis(core, self.stay, &mut digits);
        core.store_here(key, &entry, ttl)?;
        Some(Stored(true))
    }

    async fn store(&self, core: &ReadThrough) -> Result<Stored> {
        let [key] = &self.key;
        let delivery = match self.condition {
            // If the reply is lost, it is not known whether `add` stored, and the entry may be another caller's. So the
            // outbox keeps only the deletion of the lease.
            Condition::Absent => Delivery::leases(core, &self.key),
            Condition::Present | Condition::Always => Delivery::keys(core, &self.key),
        };
        let head = match tagged_head(core, &self.tags, self.stay).await {
            Ok(head) => head,
            Err(error) => return delivery.fail(error),
        };
        let entry = head.seal(&self.value);
        let stored = match (self.condition, self.stay) {
            (Condition::Always, Stay::For(_) | Stay::Forever) => {
                let (lease, mut digits) = (key.lease(), itoa::Buffer::new());
                let ttl = millis(core, self.stay, &mut digits);
                let mut steps = Steps::default();
                set_step(&mut steps, key, &entry, ttl);
                steps.step(&[b"UNLINK", &lease]);
                let replies = delivery.send_steps(&steps).await;
                replies.and_then(|replies| {
                    reply::stored("SET", replies.first().unwrap_or(&Value::Int(0)))
                })
            }
            (Condition::Absent, _) => {
                let added = Box::pin(self.add(core, key, &entry)).await;
                delivery.conclude(added)
            }
            (condition, stay) => {
                let stay = jittered(core, stay);
                let put = Box::pin(core.put(key, &entry, stay, condition)).await;
                delivery.conclude(put)
            }
        };
        let stored = stored.map_err(|error| error.for_key(key))?;
        if stored {
            core.client().count_write(entry.len());
            core.client().note(Outcome::Stored, entry.len());
        } else {
            core.client().note(Outcome::NotStored, 0);
        }
        Ok(Stored(stored))
    }

    /// `SET NX`. If the key is taken, by an entry with an envelope, it may yet be by one that is not there any more.
    async fn add(&self, core: &ReadThrough, key: &StoredKey, entry: &[u8]) -> Result<bool> {
        let mut set = set_command(core, key, entry, self.stay);
        set.arg("NX");
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.atomic().add_command(set);
        pipeline.add_command(unlink_leases([key]));
        let beginning = codec::envelope::MAGIC.len() - 1;
        pipeline.cmd("GETRANGE").arg(key).arg(0).arg(beginning);
        let mut replies = core.client().pipeline(&pipeline).await?;
        // An error if the key holds another Redis type.
        let taken_by = replies.pop();
        for reply in &replies {
            if let Value::ServerError(error) = reply {
                return Err(Error::from_server(error).on_host(core.client().host()));
            }
        }
        if reply::stored("SET", replies.first().unwrap_or(&Value::Int(0)))? {
            return Ok(true);
        }
        match taken_by {
            Some(Value::BulkString(head)) if head == codec::envelope::MAGIC => {
                let stay = jittered(core, self.stay);
                core.put(key, entry, stay, Condition::Absent).await
            }
            _ => Ok(false),
        }
    }
}

fn jittered(core: &ReadThrough, stay: Stay) -> Stay {
    match stay {
        Stay::For(ttl) => Stay::For(core.jittered(ttl)),
        stay => stay,
    }
}

impl<V, M, A> fmt::Debug for Set<'_, V, M, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set")
            .field("key", &self.key)
            .field("life", &self.life)
            .field("condition", &self.condition)
            .finish_non_exhaustive()
    }
}
