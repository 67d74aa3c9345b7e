//! The buckets of a series, and the server's clock, which says which bucket it is.
//!
//! A script must be given its keys, and only the server knows the time. So the caller guesses: it gives the keys of the
//! bucket that it takes for the current one, and of one before and one after. If none of them is right, the script
//! changes nothing and returns the time, and the caller asks once more, and knows by how much its clock is off from then
//! on. Clocks that agree to within a bucket need one round trip.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use redis::Value;

use crate::client::Client;
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::script::{Input, Script};

/// How often it is asked at most. The second answer is only wrong if the bucket has changed meanwhile, or the clock.
const ATTEMPTS: usize = 4;

/// Buckets of equal length, in milliseconds, aligned to 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buckets(pub(super) u64);

impl Buckets {
    fn length(self) -> i64 {
        self.0.max(1).cast_signed()
    }

    /// The bucket of a time.
    pub(super) fn at(self, millis: i64) -> i64 {
        millis.div_euclid(self.length())
    }

    /// When a bucket begins, in Unix milliseconds.
    pub(super) fn start(self, bucket: i64) -> i64 {
        bucket.saturating_mul(self.length())
    }
}

/// By how much the server's clock is ahead of ours, in milliseconds. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock(Arc<AtomicI64>);

impl Clock {
    fn now(&self, client: &Client) -> i64 {
        let ahead = self.0.load(Ordering::Relaxed);
        client.unix_millis().cast_signed().saturating_add(ahead)
    }

    /// Runs a script with keys for the bucket that it is. `input` makes its input for a first and a last bucket; the first
    /// argument is the first bucket. Returns the server's time, and what the script returned beside it.
    pub(super) async fn run(
        &self,
        client: &Client,
        script: &'static Script,
        buckets: Buckets,
        input: impl Fn(i64, i64) -> Result<Input>,
    ) -> Result<(i64, Vec<Value>)> {
        for _ in 0..ATTEMPTS {
            let bucket = buckets.at(self.now(client));
            let reply = client.run(script, &input(bucket - 1, bucket + 1)?).await?;
            let Value::Array(reply) = reply else {
                return Err(Error::unexpected("EVALSHA", &reply));
            };
            let mut reply = reply.into_iter();
            let now = reply::integer("TIME", &reply.next().unwrap_or(Value::Nil))?;
            let rest: Vec<Value> = reply.collect();
            if !rest.is_empty() {
                return Ok((now, rest));
            }
            let ahead = now.saturating_sub(client.unix_millis().cast_signed());
            self.0.store(ahead, Ordering::Relaxed);
        }
        Err(Error::new(
            ErrorKind::Protocol,
            "the server's clock moves too fast: the bucket changed between each two calls",
        )
        .on_host(client.host()))
    }
}
