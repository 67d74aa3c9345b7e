//! Sessions: what a service keeps of a visitor between requests, under a secret id.
//!
//! `id` is the secret; `record` is a session as it is in Redis; `scripts` read and change one atomically; `store` is
//! what the verbs do, and how all sessions of a user are ended; `operation` are the verbs that have options.

mod id;
mod operation;
mod record;
mod scripts;
mod store;

use std::fmt;
use std::marker::PhantomData;

use crate::cache::CacheOf;
use crate::cache::operation::{Async, Marked, Pending};
use crate::codec::{Decode, Encode};
use crate::error::Result;
use crate::hooks::Outcome;
use crate::ttl::{IntoTtl, Ttl};

use record::sealed;
use store::{Found, Store};

pub use id::SessionId;
pub use operation::{CreateSession, RenewSessionId, SaveSession};
pub(super) use scripts::{LOAD, OPEN, REMOVE, SAVE};

/// The idle time of sessions, unless it is set.
const IDLE: &str = "30m";

/// The absolute time of sessions, unless it is set.
const ABSOLUTE: &str = "12h";

impl<M> CacheOf<M> {
    /// The sessions of a service, each with a value of this type. They end after 30 minutes without a request, and
    /// after 12 hours in any case: [`idle`](Sessions::idle) and [`absolute`](Sessions::absolute) change that.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    /// struct Login {
    ///     user: String,
    ///     cart: Vec<u32>,
    /// }
    ///
    /// let sessions = cache.sessions::<Login>().idle("30m").absolute("12h");
    /// let login = Login { user: "alice".into(), cart: vec![] };
    ///
    /// let id = sessions.create(&login).user("alice").await?; // for the cookie
    /// assert_eq!(sessions.load(&id).await?, Some(login));
    ///
    /// sessions.update(&id, |login| login.cart.push(7)).await?;
    /// let renewed = sessions.renew_id(&id).await?.unwrap();
    /// assert!(sessions.load(&id).await?.is_none());
    /// assert_eq!(sessions.load(&renewed).await?.unwrap().cart, [7]);
    ///
    /// sessions.end_all_of("alice").await?; // her password was changed
    /// assert!(sessions.load(&renewed).await?.is_none());
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// All sessions under one prefix share their users: [`end_all_of`](Sessions::end_all_of) ends the sessions of
    /// every type. Sessions of two types should have caches with different prefixes all the same, if an id of the one
    /// must not be taken for an id of the other.
    pub fn sessions<T>(&self) -> Sessions<T, M> {
        Sessions {
            store: Store {
                core: self.core().clone(),
                idle: IDLE.into_ttl(),
                absolute: ABSOLUTE.into_ttl(),
            },
            value: PhantomData,
            mode: PhantomData,
        }
    }
}

/// Sessions: see [`CacheOf::sessions`].
///
/// - **The id is the secret.** It has 192 random bits. Redis holds its SHA-256 only, and no error, log, hook or metric
///   shows it. See [`SessionId`].
/// - **Expired is gone.** Each load begins the idle time anew, but never beyond the absolute time, which runs from the
///   creation on. Both are the server's time. The idle time is the handle's; the absolute time is that of the creation.
/// - **Nothing is lost.** [`update`](Sessions::update) compares and sets: of two requests that change one session, both
///   changes stay.
/// - **Ended is ended.** [`end_all_of`](Sessions::end_all_of) ends all sessions of a user, also those that are being
///   saved or renewed at that moment. No save revives a session that has ended.
///
/// # While Redis is away
/// Every verb fails within the timeout, as every call does (see [`CacheOf`]): a session is never guessed, neither that
/// there is one nor that there is none. Nothing is deferred: after an error of [`end`](Sessions::end) or
/// [`end_all_of`](Sessions::end_all_of) the sessions may live, so tell the user, or try again. After
/// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) a change may or may not have been carried out.
///
/// # What a server may lose
/// An evicted session is a user who must log in again; an evicted version of a user (a key of its own) ends all
/// sessions of that user. Nobody gets a session that has ended that way. Use a server that does not evict (`noeviction`), or one that
/// evicts by TTL (`volatile-ttl`) and has memory to spare. A failover, or a restart without the newest writes, may
/// bring back a session that was ended in the last moments before, or lose one that was created then.
///
/// # Errors
/// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl) for times out of their range;
/// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey) for a user's name that is empty or too long;
/// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a value that cannot be encoded; and those of every call.
pub struct Sessions<T, M = Async> {
    store: Store,
    value: PhantomData<fn() -> T>,
    mode: Marked<M>,
}

impl<T, M> Sessions<T, M> {
    /// How long a session lives without a request. The default is 30 minutes.
    pub fn idle(mut self, time: impl IntoTtl) -> Self {
        self.store.idle = time.into_ttl();
        self
    }

    /// How long a session lives at most, however busy it is. The default is 12 hours. It applies to sessions that are
    /// created from now on.
    pub fn absolute(mut self, time: impl IntoTtl) -> Self {
        self.store.absolute = time.into_ttl();
        self
    }
}

impl<T: Encode + Decode, M> Sessions<T, M> {
    /// Makes a session with this value, and returns its id. [`user`](CreateSession::user) says whose it is.
    ///
    /// # Errors
    /// Those of [`Sessions`]; [`ErrorKind::Refused`](crate::ErrorKind::Refused) if the operating system has no random
    /// bits.
    pub fn create(&self, value: &T) -> CreateSession<M> {
        CreateSession::new(&self.store, self.sealed(value))
    }

    /// The value of a session, whose idle time begins anew. `None` if it has ended or never was, and if what is under
    /// its key is no session or holds no `T`; that is left as it is.
    ///
    /// One round trip; one more for a session with a user.
    ///
    /// # Errors
    /// Those of [`Sessions`].
    pub fn load(&self, id: &SessionId) -> Pending<'static, Option<T>, M> {
        let (store, id) = (self.store.clone(), id.clone());
        Pending::new(async move {
            let (times, key) = (store.times()?, store.key(&id)?);
            store
                .perform("sessions.load", &key, async |client| {
                    let found = store::load(client, &key, times).await?;
                    if let Found::Session(record) = found
                        && let Ok(value) = record.decode(client.codec())
                    {
                        client.note(Outcome::Hit, record.len());
                        return Ok(Some(value));
                    }
                    client.note(Outcome::Miss, 0);
                    Ok(None)
                })
                .await
        })
    }

    /// Changes a session, and returns what the function returned; `None` if there is no session.
    ///
    /// The function gets the value as it is now. If another request changes the session meanwhile, it runs again on the
    /// value of that one, so it may run several times: it should do nothing but change the value. What it leaves as it
    /// was is not written. The idle time begins anew.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let carts = cache.sessions::<Vec<u32>>();
    /// let id = carts.create(&vec![]).await?;
    /// let add = |item| carts.update(&id, move |cart| {
    ///     cart.push(item);
    ///     cart.len()
    /// });
    /// assert_eq!(add(7).await?, Some(1));
    /// assert_eq!(add(8).await?, Some(2));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`Sessions`]; [`ErrorKind::Codec`](crate::ErrorKind::Codec) if what is there is no session or holds no
    /// `T`, which is left as it is; [`ErrorKind::Refused`](crate::ErrorKind::Refused) if others change the session
    /// faster than this call, a thousand times in a row.
    pub fn update<'f, R: Send + 'f>(
        &self,
        id: &SessionId,
        mut change: impl FnMut(&mut T) -> R + Send + 'f,
    ) -> Pending<'f, Option<R>, M> {
        let (store, id) = (self.store.clone(), id.clone());
        Pending::new(async move {
            let (times, key) = (store.times()?, store.key(&id)?);
            store
                .perform("sessions.update", &key, async |client| {
                    let codec = client.codec();
                    store::update(client, &key, times, |record| {
                        let mut value: T = record.decode(codec)?;
                        let result = change(&mut value);
                        let bytes = sealed(&value, codec)?;
                        Ok(((bytes != record.value()).then_some(bytes), result))
                    })
                    .await
                })
                .await
        })
    }

    /// Replaces the value of a session, whatever it is now: the last save wins. Returns whether there is such a session;
    /// none is made. For values that one request owns, or that another library merges;
    /// [`update`](Sessions::update) loses nothing.
    ///
    /// # Errors
    /// Those of [`Sessions`]; [`ErrorKind::Codec`](crate::ErrorKind::Codec) if what is there is no session, which is
    /// left as it is.
    pub fn save(&self, id: &SessionId, value: &T) -> SaveSession<M> {
        SaveSession::new(&self.store, id, self.sealed(value))
    }

    fn sealed(&self, value: &T) -> Result<Vec<u8>> {
        sealed(value, self.store.client().codec())
    }
}

impl<T, M> Sessions<T, M> {
    /// Moves a session to a new id. When it returns, the old id is refused. `None` if there is no session.
    ///
    /// Do this at every login and wherever a user gets more rights: whoever planted the old id in the browser (session
    /// fixation) then has nothing. Changes by other requests meanwhile are kept or find no session; none is lost.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// # let sessions = cache.sessions::<Vec<u32>>();
    /// let visitor = sessions.create(&vec![7]).await?;
    /// // The visitor logs in: the cart stays, the id does not.
    /// let alice = sessions.renew_id(&visitor).user("alice").await?;
    /// # assert!(alice.is_some());
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of [`Sessions`]; [`ErrorKind::Codec`](crate::ErrorKind::Codec) if what is there is no session, which is
    /// left as it is. After [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) the old id may be refused, and then
    /// nobody knows the new one: the user must log in again.
    pub fn renew_id(&self, id: &SessionId) -> RenewSessionId<M> {
        RenewSessionId::new(&self.store, id)
    }

    /// Ends a session: its id is refused from now on. Returns whether there was anything.
    ///
    /// # Errors
    /// Those of [`Sessions`].
    pub fn end(&self, id: &SessionId) -> Pending<'static, bool, M> {
        let (store, id) = (self.store.clone(), id.clone());
        Pending::new(async move {
            let key = store.key(&id)?;
            store
                .perform("sessions.end", &key, async |client| {
                    store::end(client, &key).await
                })
                .await
        })
    }

    /// Ends all sessions that were created or renewed with this [`user`](CreateSession::user): after a change of the
    /// password, or to lock somebody out. When it returns, all their ids are refused, in every process, also of those
    /// that are being saved or renewed at this moment. One round trip, however many they are.
    ///
    /// Sessions that are created afterwards are new ones; one that is created at this moment ends, or is one of those. The old ones are not listed; they expire by their idle time, or are
    /// deleted by the first load.
    ///
    /// # Errors
    /// Those of [`Sessions`].
    pub fn end_all_of(&self, user: impl AsRef<[u8]>) -> Pending<'static, (), M> {
        let (store, user) = (self.store.clone(), user.as_ref().to_vec());
        Pending::new(async move {
            let key = store::user_key(store.client().keyspace(), &user)?;
            store
                .perform("sessions.end_all_of", &key, async |client| {
                    store::end(client, &key).await.map(drop)
                })
                .await
        })
    }
}

impl<T, M> Clone for Sessions<T, M> {
    fn clone(&self) -> Self {
        Sessions {
            store: self.store.clone(),
            value: PhantomData,
            mode: PhantomData,
        }
    }
}

impl<T, M> fmt::Debug for Sessions<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: &Result<Ttl>| time.as_ref().ok().copied().map(Ttl::as_duration);
        f.debug_struct("Sessions")
            .field("idle", &time(&self.store.idle))
            .field("absolute", &time(&self.store.absolute))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
