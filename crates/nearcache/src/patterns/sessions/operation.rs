//! The verbs of sessions that have options: creating one, saving one, and renewing an id.

use std::fmt;
use std::marker::PhantomData;
use std::time::SystemTime;

use super::id::SessionId;
use super::store::{self, Beginning, Saved, Store};
use crate::cache::expiry::unix_millis;
use crate::cache::operation::{Async, CacheFuture, Marked, operation};
use crate::error::Result;
use crate::hooks::{CallKeys, Outcome};

/// A pending [`create`](super::Sessions::create).
#[must_use = "no session is made until it is carried out, by `.await` or `.run()`"]
pub struct CreateSession<M = Async> {
    store: Store,
    value: Result<Vec<u8>>,
    user: Option<Vec<u8>>,
    id: Option<SessionId>,
    ends: Option<Result<u64>>,
    mode: Marked<M>,
}

impl<M> CreateSession<M> {
    pub(super) fn new(store: &Store, value: Result<Vec<u8>>) -> Self {
        CreateSession {
            store: store.clone(),
            value,
            user: None,
            id: None,
            ends: None,
            mode: PhantomData,
        }
    }

    /// Whose session it is, so that [`end_all_of`](super::Sessions::end_all_of) ends it: a name or number of 1 to 1,024
    /// bytes. It costs a round trip more now, and with each load.
    pub fn user(mut self, user: impl AsRef<[u8]>) -> Self {
        self.user = Some(user.as_ref().to_vec());
        self
    }

    /// Uses an id that another library has made, in place of a new one. If a session has it already, nothing is
    /// changed, and the call fails with [`ErrorKind::Refused`](crate::ErrorKind::Refused).
    pub fn id(mut self, id: SessionId) -> Self {
        self.id = Some(id);
        self
    }

    /// Ends the session at this time at the latest, in place of the handle's absolute time. If the time is past, the
    /// session is gone at once.
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.ends = Some(unix_millis(time));
        self
    }

    fn start(self) -> CacheFuture<'static, SessionId> {
        let CreateSession {
            store,
            value,
            user,
            id,
            ends,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let beginning = Beginning {
                value: value?,
                user,
                id,
                ends: ends.transpose()?,
            };
            // The key is not known yet: it is the new id's.
            store
                .core
                .perform("sessions.create", CallKeys::None, async |core| {
                    store::open(&store, core.client(), &beginning).await
                })
                .await
        })
    }
}

operation!(CreateSession<> -> SessionId);

impl<M> fmt::Debug for CreateSession<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateSession")
            .field("has_user", &self.user.is_some())
            .finish_non_exhaustive()
    }
}

/// A pending [`save`](super::Sessions::save).
#[must_use = "nothing is saved until it is carried out, by `.await` or `.run()`"]
pub struct SaveSession<M = Async> {
    store: Store,
    id: SessionId,
    value: Result<Vec<u8>>,
    ends: Option<Result<u64>>,
    mode: Marked<M>,
}

impl<M> SaveSession<M> {
    pub(super) fn new(store: &Store, id: &SessionId, value: Result<Vec<u8>>) -> Self {
        SaveSession {
            store: store.clone(),
            id: id.clone(),
            value,
            ends: None,
            mode: PhantomData,
        }
    }

    /// Moves the end of the session to this time, whatever it was. If the time is past, the session ends now.
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.ends = Some(unix_millis(time));
        self
    }

    fn start(self) -> CacheFuture<'static, bool> {
        let SaveSession {
            store,
            id,
            value,
            ends,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let (value, ends) = (value?, ends.transpose()?);
            let (times, key) = (store.times()?, store.key(&id)?);
            store
                .perform("sessions.save", &key, async |client| {
                    let saved = store::save(client, &key, b"", &value, ends, times).await?;
                    let done = matches!(saved, Saved::Done);
                    let outcome = if done {
                        Outcome::Stored
                    } else {
                        Outcome::NotStored
                    };
                    client.note(outcome, value.len());
                    Ok(done)
                })
                .await
        })
    }
}

operation!(SaveSession<> -> bool);

impl<M> fmt::Debug for SaveSession<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaveSession").finish_non_exhaustive()
    }
}

/// A pending [`renew_id`](super::Sessions::renew_id).
#[must_use = "the old id stays valid until it is carried out, by `.await` or `.run()`"]
pub struct RenewSessionId<M = Async> {
    store: Store,
    id: SessionId,
    user: Option<Vec<u8>>,
    mode: Marked<M>,
}

impl<M> RenewSessionId<M> {
    pub(super) fn new(store: &Store, id: &SessionId) -> Self {
        RenewSessionId {
            store: store.clone(),
            id: id.clone(),
            user: None,
            mode: PhantomData,
        }
    }

    /// Whose session it is from now on: what a login knows. See [`CreateSession::user`].
    pub fn user(mut self, user: impl AsRef<[u8]>) -> Self {
        self.user = Some(user.as_ref().to_vec());
        self
    }

    fn start(self) -> CacheFuture<'static, Option<SessionId>> {
        let RenewSessionId {
            store,
            id,
            user,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let key = store.key(&id)?;
            store
                .perform("sessions.renew_id", &key, async |client| {
                    let renewed = store::renew(&store, client, &key, user.as_deref()).await?;
                    if renewed.is_none() {
                        client.note(Outcome::NotStored, 0);
                    }
                    Ok(renewed)
                })
                .await
        })
    }
}

operation!(RenewSessionId<> -> Option<SessionId>);

impl<M> fmt::Debug for RenewSessionId<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenewSessionId")
            .field("has_user", &self.user.is_some())
            .finish_non_exhaustive()
    }
}
