//! What is sent: one command, several together, or several that must take effect together. It says how it goes to one
//! server and to the primaries of a Cluster, whether it may be sent again, and which names it has.

#[cfg(feature = "cluster")]
use std::time::Instant;

use redis::{Arg, Cmd, Pipeline, Value};

use super::retry;
#[cfg(feature = "cluster")]
use super::spread::Spread;
#[cfg(feature = "cluster")]
use crate::connect::BoxFuture;
use crate::connect::{Backend, Terms, change_nothing};
use crate::error::{Error, Result};

/// Something to send: one command, or several together.
pub(super) trait Sendable: Sync {
    type Reply: Send;

    fn send<'a>(
        &'a self,
        backend: &'a dyn Backend,
        terms: Terms,
    ) -> impl Future<Output = Result<Self::Reply>> + Send + 'a;

    /// Sends it to the primaries of a Cluster that have its keys.
    #[cfg(feature = "cluster")]
    fn spread<'a>(
        &'a self,
        spread: &'a Spread,
        terms: Terms,
        begun: Option<Instant>,
    ) -> impl Future<Output = Result<Self::Reply>> + Send + 'a;

    /// Whether it may be sent again after this error.
    fn may_be_sent_again(&self, error: &Error) -> bool {
        retry::may_be_sent_again(error, || self.changes_nothing())
    }

    /// Whether it only reads.
    fn changes_nothing(&self) -> bool;

    /// The one who keeps copies that announces it to itself; 0: none.
    fn announced_by(&self) -> usize {
        0
    }

    /// Whether a replica has answered, and does not only say who else may.
    fn is_answer(reply: &Self::Reply) -> bool {
        let _ = reply;
        true
    }

    /// The arguments, keys among them. (To take another argument for a key does no harm: only keys that must be deleted
    /// anyway can be found by it.)
    fn names(&self) -> Vec<&[u8]>;
}

pub(super) fn names_of(command: &Cmd) -> impl Iterator<Item = &[u8]> {
    command.args_iter().skip(1).filter_map(|arg| match arg {
        Arg::Simple(name) => Some(name),
        _ => None,
    })
}

impl Sendable for Cmd {
    type Reply = Value;

    #[inline]
    fn send<'a>(
        &'a self,
        backend: &'a dyn Backend,
        terms: Terms,
    ) -> impl Future<Output = Result<Value>> + Send + 'a {
        backend.begin(self, terms)
    }

    #[cfg(feature = "cluster")]
    fn spread<'a>(
        &'a self,
        spread: &'a Spread,
        terms: Terms,
        begun: Option<Instant>,
    ) -> impl Future<Output = Result<Value>> + Send + 'a {
        // A command whose way is known does not go by here.
        Box::pin(spread.request(self, terms, begun))
    }

    fn changes_nothing(&self) -> bool {
        change_nothing([self])
    }

    fn names(&self) -> Vec<&[u8]> {
        names_of(self).collect()
    }
}

/// A command of which it is known which slot of a Cluster has its keys. `None`: it has no keys.
#[cfg(feature = "cluster")]
pub(super) struct Routed<'c>(pub(super) Option<u16>, pub(super) &'c Cmd);

#[cfg(feature = "cluster")]
impl Sendable for Routed<'_> {
    type Reply = Value;

    #[inline]
    async fn send(&self, backend: &dyn Backend, terms: Terms) -> Result<Value> {
        self.1.send(backend, terms).await
    }

    fn spread<'a>(
        &'a self,
        spread: &'a Spread,
        terms: Terms,
        begun: Option<Instant>,
    ) -> impl Future<Output = Result<Value>> + Send + 'a {
        // Boxed: it would be moved with each of the futures around it, which costs more than to allocate it.
        let sent: BoxFuture<'a, Result<Value>> = match self.0 {
            Some(slot) => Box::pin(spread.at(slot, self.1, terms, begun)),
            None => Box::pin(spread.anywhere(self.1, terms, begun)),
        };
        sent
    }

    fn changes_nothing(&self) -> bool {
        self.1.changes_nothing()
    }

    fn names(&self) -> Vec<&[u8]> {
        self.1.names()
    }
}

/// What the sender announces to itself.
pub(super) struct By<'s, S>(pub(super) usize, pub(super) &'s S);

impl<S: Sendable> Sendable for By<'_, S> {
    type Reply = S::Reply;

    #[inline]
    fn send<'a>(
        &'a self,
        backend: &'a dyn Backend,
        terms: Terms,
    ) -> impl Future<Output = Result<S::Reply>> + Send + 'a {
        self.1.send(backend, terms)
    }

    #[cfg(feature = "cluster")]
    fn spread<'a>(
        &'a self,
        spread: &'a Spread,
        terms: Terms,
        begun: Option<Instant>,
    ) -> impl Future<Output = Result<S::Reply>> + Send + 'a {
        self.1.spread(spread, terms, begun)
    }

    fn changes_nothing(&self) -> bool {
        self.1.changes_nothing()
    }

    fn announced_by(&self) -> usize {
        self.0
    }

    fn is_answer(reply: &S::Reply) -> bool {
        S::is_answer(reply)
    }

    fn names(&self) -> Vec<&[u8]> {
        self.1.names()
    }
}

impl Sendable for Pipeline {
    type Reply = Vec<Value>;

    #[inline]
    fn send<'a>(
        &'a self,
        backend: &'a dyn Backend,
        terms: Terms,
    ) -> impl Future<Output = Result<Vec<Value>>> + Send + 'a {
        backend.begin_together(self, terms)
    }

    #[cfg(feature = "cluster")]
    fn spread<'a>(
        &'a self,
        spread: &'a Spread,
        terms: Terms,
        begun: Option<Instant>,
    ) -> impl Future<Output = Result<Vec<Value>>> + Send + 'a {
        Box::pin(spread.pipeline(self, terms, begun))
    }

    fn changes_nothing(&self) -> bool {
        change_nothing(self.cmd_iter())
    }

    fn is_answer(replies: &Vec<Value>) -> bool {
        !replies.iter().any(|reply| match reply {
            Value::ServerError(error) => {
                matches!(error.code(), "ASK" | "LOADING" | "MASTERDOWN" | "MOVED")
            }
            _ => false,
        })
    }

    fn names(&self) -> Vec<&[u8]> {
        self.cmd_iter().flat_map(names_of).collect()
    }
}

/// Commands that a caller wants to take effect together or not at all. Unlike those of a cache itself they are not taken
/// apart, in whatever state a Cluster is.
pub(super) struct Transaction<'p>(pub(super) &'p Pipeline);

impl Sendable for Transaction<'_> {
    type Reply = Vec<Value>;

    #[inline]
    fn send<'a>(
        &'a self,
        backend: &'a dyn Backend,
        terms: Terms,
    ) -> impl Future<Output = Result<Vec<Value>>> + Send + 'a {
        backend.begin_together(self.0, terms)
    }

    #[cfg(feature = "cluster")]
    fn spread<'a>(
        &'a self,
        spread: &'a Spread,
        terms: Terms,
        begun: Option<Instant>,
    ) -> impl Future<Output = Result<Vec<Value>>> + Send + 'a {
        Box::pin(spread.transaction(self.0, terms, begun))
    }

    fn changes_nothing(&self) -> bool {
        Sendable::changes_nothing(self.0)
    }

    fn names(&self) -> Vec<&[u8]> {
        self.0.names()
    }
}
