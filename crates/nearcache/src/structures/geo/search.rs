//! A search in a geospatial index: its order, its limit, and where what it finds goes.

use std::fmt;
use std::marker::PhantomData;

use redis::{Cmd, Value};

use super::{Distance, M, Point};
use crate::cache::operation::{Async, CacheFuture, operation};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::structures::handle::{AsKey, Handle};
use crate::structures::member::Member;
use crate::structures::replies::{first, list, some_float};
use crate::structures::write::Write;

/// A member that a search has found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GeoFound<T> {
    /// The member.
    pub member: T,
    /// How far it is from the center.
    pub distance: Distance,
    /// Where it is.
    pub position: Point,
}

/// A pending search (`GEOSEARCH`): every member in the area, in no order. [`nearest`](GeoSearch::nearest) and
/// [`farthest`](GeoSearch::farthest) say an order and a limit, [`any`](GeoSearch::any) a limit only;
/// [`into`](GeoSearch::into) stores what is found.
#[must_use = "nothing is found until it is carried out, by `.await` or `.run()`"]
pub struct GeoSearch<T, Mode = Async> {
    handle: Handle<Mode>,
    area: Result<Vec<Vec<u8>>>,
    order: Option<&'static str>,
    limit: Option<u32>,
    any: bool,
    element: PhantomData<fn() -> T>,
}

impl<T, Mode> GeoSearch<T, Mode> {
    pub(super) fn new(
        handle: &Handle<Mode>,
        center: Result<Vec<Vec<u8>>>,
        shape: Result<Vec<Vec<u8>>>,
    ) -> Self {
        GeoSearch {
            handle: handle.clone(),
            area: center.and_then(|center| Ok([center, shape?].concat())),
            order: None,
            limit: None,
            any: false,
            element: PhantomData,
        }
    }

    fn ordered(mut self, order: Option<&'static str>, limit: u32, any: bool) -> Self {
        (self.order, self.limit, self.any) = (order, Some(limit), any);
        self
    }

    /// The nearest ones, so many, the nearest first.
    pub fn nearest(self, limit: u32) -> Self {
        self.ordered(Some("ASC"), limit, false)
    }

    /// The farthest ones, so many, the farthest first.
    pub fn farthest(self, limit: u32) -> Self {
        self.ordered(Some("DESC"), limit, false)
    }

    /// The first ones that Redis meets, so many, in no order: it need not look at all of them.
    pub fn any(self, limit: u32) -> Self {
        self.ordered(None, limit, true)
    }

    fn words(&self, command: &mut Cmd) -> Result<()> {
        for word in self.area.as_ref().map_err(Clone::clone)? {
            command.arg(&**word);
        }
        command.arg(self.order);
        if let Some(limit) = self.limit {
            command.arg("COUNT").arg(limit);
            if self.any {
                command.arg("ANY");
            }
        }
        Ok(())
    }

    /// Stores what is found at this key, as a geospatial index, and returns how many they are (`GEOSEARCHSTORE`). Whatever
    /// the key held is replaced; if nothing is found, it is deleted. Both keys must be on one server.
    ///
    /// # Errors
    /// [`ErrorKind::Server`](crate::ErrorKind::Server) if the center is a member that is not there (the key stays as it is), and
    /// those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn into(self, destination: impl AsKey) -> Write<u64, Mode> {
        let destination = self.handle.other(&destination);
        let none = self.limit == Some(0);
        let step = || {
            let to = destination.as_ref().map_err(Clone::clone)?;
            if none {
                let mut delete = redis::cmd("DEL");
                delete.arg(to);
                return Ok(vec![delete]);
            }
            let mut command = redis::cmd("GEOSEARCHSTORE");
            command.arg(to).arg(self.handle.stored()?);
            self.words(&mut command)?;
            Ok(vec![command])
        };
        let steps = step();
        let reads = self.handle.stored().into_iter().collect();
        Write::at(
            &self.handle,
            destination,
            "geo.search_into",
            steps,
            move |replies| match none {
                true => Ok(0),
                false => reply::count("GEOSEARCHSTORE", &first(replies)),
            },
        )
        .reading(reads)
    }
}

impl<T: Member, Mode> GeoSearch<T, Mode> {
    fn start(self) -> CacheFuture<'static, Vec<GeoFound<T>>> {
        if self.limit == Some(0) {
            return CacheFuture::ready(Ok(Vec::new()));
        }
        let command = || {
            let mut command = self.handle.command("GEOSEARCH")?;
            self.words(&mut command)?;
            command.arg("WITHDIST").arg("WITHCOORD");
            Ok(command)
        };
        let command = command();
        let core = self.handle.core().clone();
        let key = self.handle.key().clone();
        CacheFuture::asking(async move {
            let command = command?;
            core.perform("geo.search", CallKeys::One(key.as_bytes()), async |core| {
                let key = core.client().stored(key.as_bytes())?;
                let found = match core.client().request_for(&key, &command).await {
                    Err(error) if has_no_center(&error) => return Ok(Vec::new()),
                    reply => reply?,
                };
                let found = list("GEOSEARCH", found)?.into_iter().map(read);
                found
                    .collect::<Result<Vec<_>>>()
                    .map_err(|error| error.for_key(&key))
            })
            .await
        })
    }
}

/// Whether the member around which was searched is not there.
fn has_no_center(error: &Error) -> bool {
    // In the words of Redis, and of Valkey from 8.1 on.
    let detail = error.detail();
    error.kind() == ErrorKind::Server
        && (detail.contains("could not decode requested zset member")
            || (detail.starts_with("ERR member ") && detail.ends_with(" does not exist")))
}

fn read<T: Member>(value: Value) -> Result<GeoFound<T>> {
    let wrong = |value: &Value| Error::unexpected("GEOSEARCH", value);
    let Value::Array(parts) = value else {
        return Err(wrong(&value));
    };
    let Ok([Value::BulkString(member), distance, position]) = <[Value; 3]>::try_from(parts) else {
        return Err(wrong(&Value::Nil));
    };
    Ok(GeoFound {
        member: T::from_member(member)?,
        distance: M(some_float("GEOSEARCH", &distance)?).into(),
        position: Point::read("GEOSEARCH", position)?.ok_or_else(|| wrong(&Value::Nil))?,
    })
}

operation!(GeoSearch<T: Member> -> Vec<GeoFound<T>>);

impl<T, Mode> fmt::Debug for GeoSearch<T, Mode> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeoSearch")
            .field("key", &self.handle)
            .field("order", &self.order)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
