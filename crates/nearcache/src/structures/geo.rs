//! Geospatial indexes: members with a position, found by distance.

mod search;
mod units;

use std::fmt;
use std::marker::PhantomData;

use redis::Value;

pub use self::search::{GeoFound, GeoSearch};
pub use self::units::{Distance, Ft, Km, M, Mi, Point};
use super::handle::{Handle, handle};
use super::member::{Element, Member, element, elements};
use super::replies::{list, sum};
use super::write::{Timing, Write, timed};
use crate::cache::CacheOf;
use crate::cache::operation::{Async, CacheFuture, Pending, operation};
use crate::client::batch::parts;
use crate::client::reply;
use crate::error::{Error, Result};

impl<Mode> CacheOf<Mode> {
    /// The geospatial index at this key: members with a position each.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::structures::{Km, Point};
    ///
    /// let shops = cache.geo::<String>("shops");
    /// shops.add("bakery", Point::new(13.4094, 52.5208)).await?; // GEOADD shops 13.4094 52.5208 bakery
    /// shops.add("florist", Point::new(13.3777, 52.5163)).await?;
    ///
    /// let here = Point::new(13.4050, 52.5200);
    /// let found = shops.within(here, Km(5.0)).nearest(10).await?;
    /// assert_eq!(found[0].member, "bakery");
    /// assert!(found[0].distance.in_m() < 400.0);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn geo<T: Member>(&self, key: impl AsRef<[u8]>) -> Geo<T, Mode> {
        Geo::at(self, key)
    }
}

/// A geospatial index: see [`CacheOf::geo`].
///
/// Redis keeps a position as 52 bits, which is exact to 0.6 m, and computes distances on a sphere, with an error of up to
/// 0.5 %. (<https://redis.io/docs/latest/commands/geoadd/>) It is a sorted set: `cache.sorted_set` reads its members, with
/// the 52 bits as scores.
pub struct Geo<T, M = Async> {
    handle: Handle<M>,
    element: PhantomData<fn() -> T>,
}

handle!(Geo<T>);

impl<T: Member, Mode> Geo<T, Mode> {
    /// Puts a member at a position, or moves it there. Returns whether it is new (`GEOADD`).
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a position that cannot be stored (see [`Point`]), and those of every verb
    /// of a structure (see [`structures`](crate::structures)).
    pub fn add(&self, member: impl Element<T>, position: Point) -> GeoAdd<bool, Mode> {
        let member = element(&member).map(|member| vec![(member, position)]);
        GeoAdd::new(&self.handle, "geo.add", member, |count| count > 0)
    }

    /// Puts many members at their positions. Returns how many are new, or, after `.count_changes()`, how many are new or
    /// were moved. More than 1,000 are sent in parts of 1,000: each part is atomic, all of them together are not.
    ///
    /// # Errors
    /// Those of [`add`](Geo::add).
    pub fn add_many<E: Element<T>>(
        &self,
        members: impl IntoIterator<Item = (E, Point)>,
    ) -> GeoAdd<u64, Mode> {
        let members = members
            .into_iter()
            .map(|(member, position)| Ok((element(&member)?, position)));
        GeoAdd::new(&self.handle, "geo.add_many", members.collect(), |count| {
            count
        })
    }

    /// A member's position (`GEOPOS`); `None` if it is not there.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn position(&self, member: impl Element<T>) -> Pending<'static, Option<Point>, Mode> {
        let command = || {
            let mut command = self.handle.command("GEOPOS")?;
            command.arg(element(&member)?);
            Ok(command)
        };
        self.handle.read("geo.position", command(), |value| {
            let position = list("GEOPOS", value)?.into_iter().next();
            position.map_or(Ok(None), |position| Point::read("GEOPOS", position))
        })
    }

    /// The positions of members, in their order (`GEOPOS`); `None` for each that is not there. More than 1,000 are asked for
    /// in parts.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn positions<E: Element<T>>(
        &self,
        members: impl IntoIterator<Item = E>,
    ) -> Pending<'static, Vec<Option<Point>>, Mode> {
        let commands = elements(members).and_then(|all| self.handle.in_parts("GEOPOS", &all));
        self.handle.reads("geo.positions", commands, |replies| {
            let mut found = Vec::new();
            for part in replies {
                for position in list("GEOPOS", part)? {
                    found.push(Point::read("GEOPOS", position)?);
                }
            }
            Ok(found)
        })
    }

    /// How far two members are from each other (`GEODIST`); `None` if one of them is not there.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::structures::Point;
    ///
    /// let sicily = cache.geo::<String>("sicily");
    /// sicily.add("Palermo", Point::new(13.361389, 38.115556)).await?;
    /// sicily.add("Catania", Point::new(15.087269, 37.502669)).await?;
    /// let distance = sicily.distance("Palermo", "Catania").await?.unwrap();
    /// assert_eq!(distance.in_km().round(), 166.0);
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn distance(
        &self,
        one: impl Element<T>,
        other: impl Element<T>,
    ) -> Pending<'static, Option<Distance>, Mode> {
        let command = || {
            let mut command = self.handle.command("GEODIST")?;
            command.arg(element(&one)?).arg(element(&other)?).arg("m");
            Ok(command)
        };
        self.handle.read("geo.distance", command(), |value| {
            let metres = super::replies::float("GEODIST", &value)?;
            Ok(metres.map(|metres| M(metres).into()))
        })
    }

    /// A member's geohash of 11 characters (`GEOHASH`); `None` if it is not there. The shorter it is cut, the larger the
    /// area that it names. (<https://en.wikipedia.org/wiki/Geohash>)
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn hash(&self, member: impl Element<T>) -> Pending<'static, Option<String>, Mode> {
        let command = || {
            let mut command = self.handle.command("GEOHASH")?;
            command.arg(element(&member)?);
            Ok(command)
        };
        self.handle.read("geo.hash", command(), |value| {
            let hash = list("GEOHASH", value)?.into_iter().next();
            let hash = reply::bytes("GEOHASH", hash.unwrap_or(Value::Nil))?;
            let text = |bytes| {
                String::from_utf8(bytes).map_err(|_| Error::unexpected("GEOHASH", &Value::Nil))
            };
            hash.map(text).transpose()
        })
    }

    /// Removes members. Returns how many were there (`ZREM`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn remove<E: Element<T>>(&self, members: impl IntoIterator<Item = E>) -> Write<u64, Mode> {
        let commands = elements(members).and_then(|all| self.handle.in_parts("ZREM", &all));
        self.handle.write("geo.remove", commands, sum("ZREM"))
    }

    /// How many members there are (`ZCARD`).
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn len(&self) -> Pending<'static, u64, Mode> {
        self.handle
            .read("geo.len", self.handle.command("ZCARD"), |value| {
                reply::count("ZCARD", &value)
            })
    }

    /// The members within this distance of a point (`GEOSEARCH`), in no order; see [`GeoSearch`] for the nearest of them.
    pub fn within(&self, center: Point, radius: impl Into<Distance>) -> GeoSearch<T, Mode> {
        GeoSearch::new(&self.handle, center.words(), radius.into().radius())
    }

    /// The members within this distance of a member, which is one of them. Nothing is found if the member is not there.
    pub fn within_of(
        &self,
        center: impl Element<T>,
        radius: impl Into<Distance>,
    ) -> GeoSearch<T, Mode> {
        GeoSearch::new(&self.handle, of_member(&center), radius.into().radius())
    }

    /// The members in a box around a point, so wide (from west to east) and so high.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// use nearcache::structures::{Km, Point};
    ///
    /// let sicily = cache.geo::<String>("sicily");
    /// sicily.add("Palermo", Point::new(13.361389, 38.115556)).await?;
    /// sicily.add("Catania", Point::new(15.087269, 37.502669)).await?;
    /// let center = Point::new(15.0, 37.0);
    /// let found = sicily.within_box(center, Km(400.0), Km(400.0)).farthest(1).await?;
    /// assert_eq!(found[0].member, "Palermo");
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn within_box(
        &self,
        center: Point,
        width: impl Into<Distance>,
        height: impl Into<Distance>,
    ) -> GeoSearch<T, Mode> {
        let shape = units::sides(width.into(), height.into());
        GeoSearch::new(&self.handle, center.words(), shape)
    }

    /// The members in a box around a member, which is one of them. Nothing is found if the member is not there.
    pub fn within_box_of(
        &self,
        center: impl Element<T>,
        width: impl Into<Distance>,
        height: impl Into<Distance>,
    ) -> GeoSearch<T, Mode> {
        let shape = units::sides(width.into(), height.into());
        GeoSearch::new(&self.handle, of_member(&center), shape)
    }
}

fn of_member<T>(center: &impl Element<T>) -> Result<Vec<Vec<u8>>> {
    Ok(vec![b"FROMMEMBER".to_vec(), element(center)?])
}

/// A pending `add` to a geospatial index.
#[must_use = "nothing is written until it is carried out, by `.await` or `.run()`"]
pub struct GeoAdd<T, M = Async> {
    handle: Handle<M>,
    verb: &'static str,
    members: Result<Vec<(Vec<u8>, Point)>>,
    only: Option<&'static str>,
    changes: bool,
    answer: fn(u64) -> T,
    time: Timing,
}

impl<T, M> GeoAdd<T, M> {
    fn new(
        handle: &Handle<M>,
        verb: &'static str,
        members: Result<Vec<(Vec<u8>, Point)>>,
        answer: fn(u64) -> T,
    ) -> Self {
        GeoAdd {
            handle: handle.clone(),
            verb,
            members,
            only: None,
            changes: false,
            answer,
            time: None,
        }
    }

    /// Only members that are not there yet (`NX`): none is moved.
    pub fn only_if_absent(mut self) -> Self {
        self.only = Some("NX");
        self
    }

    /// Only members that are there already (`XX`): none is added.
    pub fn only_if_present(mut self) -> Self {
        self.only = Some("XX");
        self
    }

    /// The answer counts members that were moved as well, not only new ones (`CH`).
    pub fn count_changes(mut self) -> Self {
        self.changes = true;
        self
    }
}

timed!(GeoAdd<T>);

impl<T: Send + 'static, M> GeoAdd<T, M> {
    fn start(self) -> CacheFuture<'static, T> {
        let commands = self.members.and_then(|members| {
            parts(&members, |(member, _)| member.len() + 40)
                .map(|part| {
                    let mut command = self.handle.command("GEOADD")?;
                    command.arg(self.only);
                    if self.changes {
                        command.arg("CH");
                    }
                    for (member, position) in part {
                        let [longitude, latitude] = position.checked()?;
                        command.arg(longitude).arg(latitude).arg(&**member);
                    }
                    Ok(command)
                })
                .collect::<Result<Vec<_>>>()
        });
        let answer = self.answer;
        let counted = sum("GEOADD");
        self.handle
            .write(self.verb, commands, move |replies| {
                Ok(answer(counted(replies)?))
            })
            .with_time(self.time)
            .start()
    }
}

operation!(GeoAdd<T: Send> -> T);

impl<T, M> fmt::Debug for GeoAdd<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeoAdd")
            .field("key", &self.handle)
            .field("only", &self.only)
            .field("ttl", &self.time)
            .finish_non_exhaustive()
    }
}
