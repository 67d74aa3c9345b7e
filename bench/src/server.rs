//! A Redis server of our own, for as long as we run.

use std::env;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// A server on a free port of this machine. It ends when this is dropped.
pub(crate) struct Server {
    process: Child,
    port: u16,
    version: String,
}

impl Server {
    /// Starts `$REDIS_SERVER`, or the `redis-server` of the `PATH`, and waits until it answers.
    pub(crate) fn start() -> Result<Self> {
        let program = env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        // Free now, and given back: another program could take it before the server does, which then
        // ends at once and is noticed below.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let process = Command::new(&program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| {
                let program = program.display();
                format!("{program}: {error}; install Redis, or say where it is in REDIS_SERVER")
            })?;
        let mut server = Server {
            process,
            port,
            version: String::new(),
        };
        server.version = server.wait()?;
        Ok(server)
    }

    /// Waits until it answers; gives its version.
    fn wait(&mut self) -> Result<String> {
        let client = self.client()?;
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let asked = client
                .get_connection_with_timeout(Duration::from_secs(1))
                .and_then(|mut connection| redis::cmd("INFO").arg("server").query(&mut connection));
            match asked {
                Ok::<String, _>(info) => {
                    let version = info.lines().find_map(|line| {
                        line.strip_prefix("valkey_version:")
                            .or_else(|| line.strip_prefix("redis_version:"))
                    });
                    return Ok(version.unwrap_or("of an unknown version").trim().to_owned());
                }
                Err(error) if Instant::now() > until => return Err(error.into()),
                Err(_) => {}
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("the Redis server ended as it started: {status}").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn client(&self) -> Result<redis::Client> {
        Ok(redis::Client::open(self.url())?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
