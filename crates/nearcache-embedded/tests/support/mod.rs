//! A real redis-server to compare with.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A server of its own, on a socket in a directory of its own. Ends with the value.
pub(crate) struct RedisServer {
    child: Child,
    directory: PathBuf,
}

impl RedisServer {
    /// Starts the server that `REDIS_SERVER` names, or else the `redis-server` on the path.
    pub(crate) fn start() -> RedisServer {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "nearcache-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("a directory for the server");
        let program = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let mut child = Command::new(&program)
            .current_dir(&directory)
            .args(["--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "cannot start {program:?}: {error}.\nThis test compares with a real server: install Redis 7 \
                     (Debian and Ubuntu: `apt-get install redis-server`), or set REDIS_SERVER to its path."
                )
            });
        let log = BufReader::new(child.stdout.take().expect("the server's log"));
        let mut lines = log.lines().map_while(Result::ok);
        let ready = lines.any(|line| line.contains("eady to accept connections"));
        assert!(ready, "{program:?} ended before it was ready");
        // Whatever else it says is read, so that it never waits for a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        RedisServer { child, directory }
    }

    #[cfg(feature = "aio")]
    pub(crate) async fn connect_async(&self) -> redis::aio::MultiplexedConnection {
        let connection = self.client().get_multiplexed_async_connection().await;
        connection.expect("a connection to the server")
    }

    pub(crate) fn connect(&self) -> redis::Connection {
        self.client()
            .get_connection()
            .expect("a connection to the server")
    }

    fn client(&self) -> redis::Client {
        let url = format!("redis+unix://{}", self.directory.join("socket").display());
        redis::Client::open(url).expect("a client")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
