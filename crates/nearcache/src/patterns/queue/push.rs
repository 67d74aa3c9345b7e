//! Putting a job into a queue.

use std::fmt;
use std::marker::PhantomData;

use redis::Value;

use super::scripts::PUSH;
use super::{Keys, Place};
use crate::cache::operation::{Async, CacheFuture, Marked, operation};
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::read_through::lease::random;
use crate::script::Input;
use crate::structures::{AsMember, encoded};
use crate::ttl::{IntoTtl, Ttl};

/// A pending `push`.
#[must_use = "nothing is pushed until it is carried out, by `.await` or `.run()`"]
pub struct Push<M = Async> {
    place: Place,
    job: Result<Vec<u8>>,
    max_len: u64,
    delay: Option<Result<Ttl>>,
    mode: Marked<M>,
}

impl<M> Push<M> {
    pub(super) fn new(place: &Place, job: &(impl AsMember + ?Sized), max_len: u64) -> Self {
        Push {
            place: place.clone(),
            job: encoded(job),
            max_len,
            delay: None,
            mode: PhantomData,
        }
    }

    /// The job is not taken before this time has passed, by the server's clock. It can be late by up to a second,
    /// and by more while no worker is free.
    pub fn delay(mut self, time: impl IntoTtl) -> Self {
        self.delay = Some(time.into_ttl());
        self
    }

    fn start(self) -> CacheFuture<'static, String> {
        let Push {
            place,
            job,
            max_len,
            delay,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let (job, delay) = (job?, delay.transpose()?.map_or(0, Ttl::as_millis));
            let id: String = random().iter().map(|byte| format!("{byte:02x}")).collect();
            let pushed = async |client: &Client| {
                let keys = place.keys()?;
                let new = New {
                    id: &id,
                    job: &job,
                    delay,
                    max_len,
                };
                new.send(client, &keys).await
            };
            place.perform("queue.push", pushed).await?;
            Ok(id)
        })
    }
}

/// A job that is to be pushed.
struct New<'n> {
    id: &'n str,
    job: &'n [u8],
    /// In milliseconds.
    delay: u64,
    /// 0: any number.
    max_len: u64,
}

impl New<'_> {
    async fn send(&self, client: &Client, keys: &Keys) -> Result<()> {
        if self.delay == 0 && self.max_len == 0 {
            let mut command = redis::cmd("XADD");
            command.arg(&keys.jobs).arg("*").arg("id").arg(self.id);
            command.arg("attempt").arg(0).arg("job").arg(self.job);
            return client.request(&command).await.map(drop);
        }
        let mut input = Input::default();
        input.key(keys.jobs.as_bytes()).key(keys.later.as_bytes());
        input.arg(self.id.as_bytes()).arg(self.job);
        input.arg(self.delay.to_string().as_bytes());
        input.arg(self.max_len.to_string().as_bytes());
        match client.run(&PUSH, &input).await? {
            Value::Int(1) => Ok(()),
            Value::Int(0) => Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "the queue holds {} jobs or more; push again when some are done, or raise `max_len`",
                    self.max_len
                ),
            )),
            other => Err(Error::unexpected("the script", &other)),
        }
    }
}

operation!(Push<> -> String);

impl<M> fmt::Debug for Push<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("queue", &self.place)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}
