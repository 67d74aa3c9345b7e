//! The Redis server of the run.

use nearcache_testkit::Redis;

use crate::Result;

/// A server on a free port of this machine. It ends when this is dropped.
pub(crate) struct Server {
    redis: Redis,
    version: String,
}

impl Server {
    /// Starts `$REDIS_SERVER`, or the `redis-server` of the `PATH`, and waits until it answers.
    pub(crate) fn start() -> Self {
        let redis = Redis::start();
        let info = redis.inline("INFO server");
        let version = info.lines().find_map(|line| {
            line.strip_prefix("valkey_version:").or_else(|| line.strip_prefix("redis_version:"))
        });
        let version = version.unwrap_or("of an unknown version").trim().to_owned();
        Server { redis, version }
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn port(&self) -> u16 {
        self.redis.port()
    }

    pub(crate) fn url(&self) -> String {
        self.redis.url()
    }

    pub(crate) fn client(&self) -> Result<redis::Client> {
        Ok(redis::Client::open(self.url())?)
    }
}
