//! Leaderboards: who has the best score, and where somebody stands.
//!
//! 1. The best score is first. Equal scores share a rank, and the next one is as many ranks below: 1, 2, 2, 4. Those who
//!    share a rank are in the order of their bytes. (So scores are stored with their sign turned: then Redis's own order,
//!    lowest score and lowest bytes first, is this one.)
//! 2. Each verb is one round trip and one step: a rank and a score belong to the same moment.
//! 3. A period is a key of its own. It expires when the next period ends, so the last one can be read as long.

#![allow(
    clippy::needless_pass_by_value,
    reason = "a player is given as it is: `submit(7, ..)`, `submit(\"ada\", ..)`"
)]

mod period;
mod scripts;
#[cfg(all(test, feature = "embedded"))]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use redis::{Cmd, Value};

pub(crate) use self::scripts::{AROUND, STANDING, SUBMIT};
use crate::cache::CacheOf;
use crate::cache::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::client::{Client, reply};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::keyspace::{Key, StoredKey, in_message};
use crate::read_through::ReadThrough;
use crate::script::{Input, Script};
use crate::structures::{Element, Member, element, score_text, scored, some_float};
use crate::ttl::{IntoTtl, Ttl};

impl<M> CacheOf<M> {
    /// The leaderboard of this name, for players of the type `P`.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let board = cache.leaderboard::<String>("weekly").resets("1w");
    /// board.submit("ada", 70).await?;
    /// board.submit("bob", 90).await?;
    /// let ada = board.submit("ada", 60).best().await?;
    /// assert_eq!((ada.rank, ada.score), (2, 70.0));
    ///
    /// let top = board.top(10).await?;
    /// assert_eq!((&*top[0].player, top[0].rank), ("bob", 1));
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn leaderboard<P: Member>(&self, name: impl AsRef<[u8]>) -> Leaderboard<P, M> {
        Leaderboard {
            core: self.core().clone(),
            name: Key::from(name.as_ref()),
            period: None,
            back: 0,
            player: PhantomData,
            mode: PhantomData,
        }
    }
}

/// A leaderboard: see [`CacheOf::leaderboard`].
///
/// The best score is first. Players with the same score share a rank, and are in the order of their bytes (see
/// [`Member`]); the next one's rank is as much greater: 1, 2, 2, 4. A score is an `f64`, so integers are exact up to 2⁵³;
/// NaN is an error.
///
/// Its keys are hidden from [`keys`](CacheOf::keys) and spared by [`clear`](CacheOf::clear), and a server that evicts
/// (`allkeys-*`, and `memory://` without other options) may evict it: a leaderboard that is no cache wants `noeviction`.
/// While Redis is away, every verb fails as every call does.
pub struct Leaderboard<P, M = Async> {
    core: ReadThrough,
    name: Key,
    period: Option<Result<Ttl>>,
    /// How many periods ago.
    back: u64,
    player: PhantomData<fn() -> P>,
    mode: Marked<M>,
}

/// Where a player stands.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Standing {
    /// 1 for the best score. Equal scores share a rank.
    pub rank: u64,
    /// The score.
    pub score: f64,
}

/// A line of a leaderboard.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ranked<P> {
    /// Who it is.
    pub player: P,
    /// 1 for the best score. Equal scores share a rank.
    pub rank: u64,
    /// The score.
    pub score: f64,
}

impl<P: Member, M> Leaderboard<P, M> {
    /// Begins anew each period, aligned to UTC: `"1d"` at midnight, `"1w"` on Monday, another time at its multiples since
    /// 1970. From 1 s on. The clock is this process's. The last period can still be read: see
    /// [`last_period`](Leaderboard::last_period).
    pub fn resets(mut self, period: impl IntoTtl) -> Self {
        self.period = Some(period.into_ttl());
        self
    }

    /// The leaderboard of the period before this one, to be read; it is gone when the current period ends.
    #[must_use]
    pub fn last_period(&self) -> Self {
        let mut last = self.clone();
        last.back = self.back.saturating_add(1);
        last
    }

    /// Submits a score, and returns where the player stands then. `.best()`, the default, keeps the best of the player's
    /// scores, `.sum()` adds them up, and `.last()` takes this one.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for NaN;
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for a period out of its range, or one that has ended;
    /// and those of every call (see [`CacheOf`]). After [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) the score may
    /// or may not have been submitted.
    pub fn submit(&self, player: impl Element<P>, score: impl Into<f64>) -> Submit<P, M> {
        Submit {
            board: self.clone(),
            player: element(&player),
            score: score.into(),
            keep: Keep::Best,
        }
    }

    /// The first so many.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a player that is no `P`, and those of every call (see
    /// [`CacheOf`]).
    pub fn top(&self, players: u32) -> Pending<'static, Vec<Ranked<P>>, M> {
        // For nobody: a range that holds nothing.
        let (first, last) = if players == 0 {
            (1, 0)
        } else {
            (0, i64::from(players) - 1)
        };
        let words = [first.to_string(), last.to_string(), "WITHSCORES".to_owned()];
        let words = words.map(String::into_bytes).to_vec();
        self.ask(
            "leaderboard.top",
            Ok(Ask::Command("ZRANGE", words)),
            |found| ranked(found, 0, 0),
        )
    }

    /// A player, with as many as this before and after; nobody if the player has no score.
    ///
    /// # Errors
    /// Those of [`top`](Leaderboard::top).
    pub fn around(
        &self,
        player: impl Element<P>,
        players: u32,
    ) -> Pending<'static, Vec<Ranked<P>>, M> {
        let ask = element(&player)
            .map(|player| Ask::Script(&AROUND, vec![player, players.to_string().into_bytes()]));
        self.ask("leaderboard.around", ask, |reply| match reply {
            Value::Nil => Ok(Vec::new()),
            Value::Array(parts) => match <[Value; 3]>::try_from(parts) {
                Ok([from, better, found]) => ranked(
                    found,
                    reply::count("AROUND", &from)?,
                    reply::count("AROUND", &better)?,
                ),
                Err(_) => Err(Error::unexpected("AROUND", &Value::Nil)),
            },
            other => Err(Error::unexpected("AROUND", &other)),
        })
    }

    /// Where a player stands; `None` without a score.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn standing(&self, player: impl Element<P>) -> Pending<'static, Option<Standing>, M> {
        let ask = element(&player).map(|player| Ask::Script(&STANDING, vec![player]));
        self.ask("leaderboard.standing", ask, |reply| match reply {
            Value::Nil => Ok(None),
            found => standing(&found).map(Some),
        })
    }

    /// Removes a player. Returns whether there was a score.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn remove(&self, player: impl Element<P>) -> Pending<'static, bool, M> {
        let ask = element(&player).map(|player| Ask::Command("ZREM", vec![player]));
        self.ask("leaderboard.remove", ask, |removed| {
            reply::flag("ZREM", &removed)
        })
    }

    /// How many players have a score.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn len(&self) -> Pending<'static, u64, M> {
        let ask = Ok(Ask::Command("ZCARD", Vec::new()));
        self.ask("leaderboard.len", ask, |length| {
            reply::count("ZCARD", &length)
        })
    }

    /// Removes all players of the period. Returns whether there were any.
    ///
    /// # Errors
    /// Those of every call (see [`CacheOf`]).
    pub fn reset(&self) -> Pending<'static, bool, M> {
        let ask = Ok(Ask::Command("UNLINK", Vec::new()));
        self.ask("leaderboard.reset", ask, |removed| {
            reply::flag("UNLINK", &removed)
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        verb: &'static str,
        ask: Result<Ask>,
        parse: fn(Value) -> Result<T>,
    ) -> Pending<'static, T, M> {
        let board = self.clone();
        let (core, name, period, back) = (board.core, board.name, board.period, board.back);
        Pending::new(async move {
            let (ask, period) = (ask?, period.transpose()?);
            core.perform(verb, CallKeys::One(name.as_bytes()), async |core| {
                let client = core.client();
                let (key, ends) = period::key(client, &name, period, back)?;
                let reply = ask.send(client, &key, ends).await;
                reply
                    .and_then(parse)
                    .map_err(|error| error.named(name.as_bytes(), client.keyspace().redacts()))
            })
            .await
        })
    }
}

/// What is asked of the leaderboard's key.
enum Ask {
    /// A command, and its words after the key.
    Command(&'static str, Vec<Vec<u8>>),
    /// A script, and its arguments.
    Script(&'static Script, Vec<Vec<u8>>),
    /// The same, with the time when the key ends.
    Ending(&'static Script, Vec<Vec<u8>>),
}

impl Ask {
    async fn send(&self, client: &Client, key: &StoredKey, ends: Option<u64>) -> Result<Value> {
        let (script, arguments) = match self {
            Ask::Command(name, words) => {
                let mut command = Cmd::new();
                command.arg(*name).arg(key).arg(words);
                return client.request(&command).await;
            }
            Ask::Script(script, arguments) | Ask::Ending(script, arguments) => (script, arguments),
        };
        let mut input = Input::default();
        input.key(key.as_bytes());
        for argument in arguments {
            input.arg(argument);
        }
        if matches!(self, Ask::Ending(..)) {
            input.arg(ends.unwrap_or_default().to_string().as_bytes());
        }
        client.run(script, &input).await
    }
}

/// The lines of a leaderboard. `from` players are before the first of them, and `better` have a better score.
fn ranked<P: Member>(found: Value, from: u64, better: u64) -> Result<Vec<Ranked<P>>> {
    let mut lines: Vec<Ranked<P>> = Vec::new();
    for (at, (player, score)) in (from + 1..).zip(scored::<P>("ZRANGE", found)?) {
        // Stored with its sign turned; a zero has none.
        let score = 0.0 - score;
        let rank = match lines.last() {
            None => better + 1,
            Some(above) if above.score == score => above.rank,
            Some(_) => at,
        };
        lines.push(Ranked {
            player,
            rank,
            score,
        });
    }
    Ok(lines)
}

fn standing(reply: &Value) -> Result<Standing> {
    let Value::Array(parts) = reply else {
        return Err(Error::unexpected("STANDING", reply));
    };
    let [score, better] = &parts[..] else {
        return Err(Error::unexpected("STANDING", reply));
    };
    Ok(Standing {
        rank: reply::count("STANDING", better)? + 1,
        score: 0.0 - some_float("STANDING", score)?,
    })
}

#[derive(Clone, Copy, Debug)]
enum Keep {
    Best,
    Sum,
    Last,
}

/// A pending [`submit`](Leaderboard::submit).
#[must_use = "nothing is submitted until it is carried out, by `.await` or `.run()`"]
pub struct Submit<P, M = Async> {
    board: Leaderboard<P, M>,
    player: Result<Vec<u8>>,
    score: f64,
    keep: Keep,
}

impl<P: Member, M> Submit<P, M> {
    /// Keeps the best of the player's scores: the default.
    pub fn best(mut self) -> Self {
        self.keep = Keep::Best;
        self
    }

    /// Adds the player's scores up.
    pub fn sum(mut self) -> Self {
        self.keep = Keep::Sum;
        self
    }

    /// Takes this score, whatever the player had.
    pub fn last(mut self) -> Self {
        self.keep = Keep::Last;
        self
    }

    fn start(self) -> CacheFuture<'static, Standing> {
        let keep: &[u8] = match self.keep {
            Keep::Best => b"best",
            Keep::Sum => b"sum",
            Keep::Last => b"last",
        };
        let ask = || {
            if self.board.back > 0 {
                let why = "a period that has ended takes no scores";
                return Err(Error::new(ErrorKind::InvalidConfig, why));
            }
            let score = score_text(0.0 - self.score)?;
            let arguments = vec![keep.to_vec(), score.into_bytes(), self.player?];
            Ok(Ask::Ending(&SUBMIT, arguments))
        };
        self.board
            .ask("leaderboard.submit", ask(), |reply| standing(&reply))
            .start()
    }
}

operation!(Submit<P: Member> -> Standing);

impl<P, M> Clone for Leaderboard<P, M> {
    fn clone(&self) -> Self {
        Leaderboard {
            core: self.core.clone(),
            name: self.name.clone(),
            period: self.period.clone(),
            back: self.back,
            player: PhantomData,
            mode: PhantomData,
        }
    }
}

impl<P, M> fmt::Debug for Leaderboard<P, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redact = self.core.client().keyspace().redacts();
        f.debug_struct("Leaderboard")
            .field("name", &in_message(self.name.as_bytes(), redact))
            .field("resets", &self.period)
            .finish_non_exhaustive()
    }
}

impl<P, M> fmt::Debug for Submit<P, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submit")
            .field("board", &self.board)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}
