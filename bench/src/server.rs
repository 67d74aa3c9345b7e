//! The Redis server of the run.

use std::time::Duration;

use nearcache_testkit::Redis;
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo};

use crate::Result;

/// A server on a free port of this machine. It is killed when this is dropped.
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
            line.strip_prefix("valkey_version:")
                .or_else(|| line.strip_prefix("redis_version:"))
        });
        let version = version.unwrap_or("of an unknown version").trim().to_owned();
        Server { redis, version }
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The processor time that it has used since its start.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let info = self.redis.inline("INFO cpu");
        let seconds = |field: &str| -> Result<f64> {
            let mut lines = info.lines();
            let figure = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            let figure = figure.ok_or_else(|| format!("INFO cpu does not say {field}"))?;
            Ok(figure.trim().parse()?)
        };
        let seconds = seconds("used_cpu_user")? + seconds("used_cpu_sys")?;
        Ok(Duration::from_secs_f64(seconds))
    }

    pub(crate) fn port(&self) -> u16 {
        self.redis.port()
    }

    pub(crate) fn url(&self) -> String {
        self.redis.url()
    }

    /// A redis-rs client in its default configuration.
    pub(crate) fn client(&self) -> Result<Client> {
        self.client_with(TcpSettings::default())
    }

    pub(crate) fn client_with(&self, settings: TcpSettings) -> Result<Client> {
        let info = self.url().into_connection_info()?;
        Ok(Client::open(info.set_tcp_settings(settings))?)
    }
}
