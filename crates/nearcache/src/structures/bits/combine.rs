//! Bitmaps that are combined bit by bit, into another one.

use std::fmt;
use std::marker::PhantomData;

use super::scripts::COMBINE;
use crate::cache::operation::{Async, CacheFuture, Marked, operation};
use crate::client::reply;
use crate::error::Result;
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::read_through::ReadThrough;
use crate::read_through::delivery::Poison;
use crate::script::Input;
use crate::structures::handle::{AsKey, Handle};
use crate::structures::write::fenced;
use crate::ttl::{IntoTtl, Ttl};

/// What several bitmaps give together: [`into`](BitCombine::into) says where it goes.
#[must_use = "nothing is combined until `.into(..)` says where it goes"]
pub struct BitCombine<M = Async> {
    handle: Handle<M>,
    operator: &'static str,
    sources: Result<Vec<StoredKey>>,
}

impl<M> BitCombine<M> {
    pub(super) fn new(
        handle: &Handle<M>,
        operator: &'static str,
        sources: Result<Vec<StoredKey>>,
    ) -> Self {
        BitCombine {
            handle: handle.clone(),
            operator,
            sources,
        }
    }

    /// Stores it at this key, which may be one of the bitmaps, and returns its length in bytes. Whatever the key held is
    /// replaced, its TTL too; if there is nothing to combine, the key is deleted. All keys must be on one server.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn into(self, destination: impl AsKey) -> BitCombineInto<M> {
        BitCombineInto {
            destination: self.handle.other(&destination),
            core: self.handle.core().clone(),
            operator: self.operator,
            sources: self.sources,
            ttl: None,
            mode: PhantomData,
        }
    }
}

impl<M> fmt::Debug for BitCombine<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitCombine")
            .field("operator", &self.operator)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// A pending combination of bitmaps.
#[must_use = "nothing is stored until it is carried out, by `.await` or `.run()`"]
pub struct BitCombineInto<M = Async> {
    core: ReadThrough,
    operator: &'static str,
    sources: Result<Vec<StoredKey>>,
    destination: Result<StoredKey>,
    ttl: Option<Result<Ttl>>,
    mode: Marked<M>,
}

impl<M> BitCombineInto<M> {
    /// How long the new bitmap lives, set in the same step. Without it, it has no TTL.
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.ttl = Some(ttl.into_ttl());
        self
    }

    fn start(self) -> CacheFuture<'static, u64> {
        let BitCombineInto {
            core,
            operator,
            sources,
            destination,
            ttl,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let mut keys = vec![destination?];
            keys.extend(sources?);
            let ttl = ttl.transpose()?;
            core.perform("bits.combine", CallKeys::Stored(&keys), async |core| {
                let [destination, sources @ ..] = &keys[..] else {
                    return Ok(0);
                };
                let _poison = Poison::key(core, destination);
                let client = core.client();
                let reply = match ttl {
                    None => {
                        let mut command = redis::cmd("BITOP");
                        command.arg(operator).arg(destination);
                        for source in sources {
                            command.arg(source);
                        }
                        fenced(client, [destination], std::slice::from_ref(&command)).await
                    }
                    Some(ttl) => {
                        let mut input = Input::default();
                        input.key(destination.as_bytes()).key(&destination.lease());
                        for source in sources {
                            input.key(source.as_bytes());
                        }
                        input.arg(operator.as_bytes());
                        input.arg(ttl.as_millis().to_string().as_bytes());
                        client.run(&COMBINE, &input).await
                    }
                };
                reply
                    .and_then(|reply| reply::count("BITOP", &reply))
                    .map_err(|error| error.for_key(destination))
            })
            .await
        })
    }
}

operation!(BitCombineInto<> -> u64);

impl<M> fmt::Debug for BitCombineInto<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitCombineInto")
            .field("operator", &self.operator)
            .field("destination", &self.destination)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
