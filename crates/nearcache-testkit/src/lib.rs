//! Real Redis servers for nearcache's tests. Each listens on a free port of 127.0.0.1 and on a unix socket, and ends
//! with its test.
//!
//! [`Redis::start`] starts a server for one test, which may kill and restart it; [`Redis::shared`] is one server for
//! the whole test binary, where each test uses a [`random_prefix`]. [`Proxy`] is put between a client and a server;
//! it counts what passes, and breaks connections.

#[cfg(unix)]
mod fork;
mod impostor;
mod port;
mod proxy;
mod python;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

/// The entry points of the fuzz targets.
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod __fuzz {
    pub use crate::proxy::fuzz::frames;
}

#[cfg(unix)]
pub use fork::Fork;
pub use impostor::Impostor;
pub use port::Port;
pub use proxy::{Close, Counts, Direction, Fault, Frames, Hold, Proxy};
pub use python::Python;

/// How long a server may take to start. Long, because a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// What makes a server a Sentinel.
const SENTINEL: &str = "--sentinel";

/// A running `redis-server`. When it is dropped, the server is killed and its folder is removed.
#[derive(Debug)]
pub struct Redis {
    port: Port,
    folder: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// A server of your own.
    pub fn start() -> Redis {
        Redis::start_with(&[])
    }

    /// A server of your own, with more arguments, as in `["--requirepass", "secret"]`.
    ///
    /// # Panics
    /// If there is no `redis-server` (the message says what to install), or if it does not start (with its log).
    pub fn start_with(arguments: &[&str]) -> Redis {
        let folder = std::env::temp_dir().join(format!("nearcache-{}", random_name()));
        fs::create_dir(&folder).expect("a folder for the server");
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut redis = Redis {
            port: Port::unused(),
            folder,
            arguments,
            process: None,
        };
        assert!(
            redis.launch(),
            "redis-server did not start:\n{}",
            redis.log()
        );
        redis
    }

    /// A Sentinel of the caller's own, which watches nothing.
    ///
    /// # Panics
    /// As [`Redis::start_with`].
    pub fn start_sentinel() -> Redis {
        Redis::start_with(&[SENTINEL])
    }

    /// One server for the whole test binary. It ends with the process.
    pub fn shared() -> &'static Redis {
        static SHARED: LazyLock<Redis> = LazyLock::new(Redis::start);
        &SHARED
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// `redis+unix:///.../redis.sock`.
    pub fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// The server's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The server's process id.
    ///
    /// # Panics
    /// If it was killed.
    pub fn pid(&self) -> u32 {
        self.process
            .as_ref()
            .expect("the server was killed")
            .server
            .id()
    }

    /// Kills the server, as a crash would. It keeps its port for [`Redis::restart`].
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops the server (`SIGSTOP`): the kernel still accepts connections, but nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Continues a frozen server.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the server cannot be signalled"
        );
    }

    /// Starts the server again on its port, with the data that it saved: none by default.
    ///
    /// # Panics
    /// If it does not start, with its log.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// Like [`Redis::restart`], with more arguments.
    ///
    /// # Panics
    /// If it does not start, with its log.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.process = None;
        self.arguments
            .extend(arguments.iter().map(ToString::to_string));
        assert!(
            self.launch(),
            "redis-server did not start again:\n{}",
            self.log()
        );
    }

    /// Runs one command, written inline as in `telnet`. Returns the text of a string reply; of any other reply, its
    /// line.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn inline(&self, command: &str) -> String {
        inline(self.port(), command).expect("the server answers")
    }

    /// Runs several commands on one connection, and returns the last reply. For commands that need an `AUTH` first.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn inlines(&self, commands: &[&str]) -> String {
        let mut connection = Inline::open(self.port()).expect("the server takes connections");
        let replies = commands
            .iter()
            .map(|command| connection.ask(command).expect("the server answers"));
        replies.last().unwrap_or_default()
    }

    fn launch(&mut self) -> bool {
        self.port.make_way();
        let _ = fs::remove_file(self.socket());
        let log = fs::File::create(self.folder.join("log")).expect("a log file");
        let mut command = Command::new(server_binary());
        if self.arguments.iter().any(|argument| argument == SENTINEL) {
            // It wants a configuration that it can write, before anything else.
            let file = self.folder.join("sentinel.conf");
            fs::write(&file, "").expect("a configuration");
            command.arg(file);
        }
        let server = command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(&self.folder)
            .arg("--unixsocket")
            .arg(self.socket())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a log file"))
            .stdout(log)
            .spawn()
            .expect("redis-server can be started");
        self.process = Some(Process::watched(server, &self.folder));
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            // A server that asks for a password is running, too.
            if inline(self.port(), "PING").is_ok_and(|reply| reply.starts_with(['+', '-'])) {
                return true;
            }
            let process = self.process.as_mut().expect("just started");
            if !matches!(process.server.try_wait(), Ok(None)) {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.process = None;
        false
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process = None;
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A server, and a shell that kills it if this process ends without doing so. Values in a `static` are never dropped,
/// and nothing is dropped when a test is killed.
#[derive(Debug)]
struct Process {
    server: Child,
    watch: Child,
}

impl Process {
    fn watched(server: Child, folder: &Path) -> Process {
        // The shell's input is a pipe from this process, so its `read` returns when this process is gone.
        let watch = Command::new("sh")
            .args([
                "-c",
                r#"read _; kill -9 "$0"; rm -rf "$1""#,
                &server.id().to_string(),
            ])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");
        Process { server, watch }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watching shell goes first: after the server has ended, its pid may belong to another process.
        let _ = self.watch.kill();
        let _ = self.watch.wait();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The `redis-server` to run: `$REDIS_SERVER`, or the one on `PATH`.
///
/// # Panics
/// If there is none; the message says what to install.
pub fn server_binary() -> PathBuf {
    if let Some(binary) = std::env::var_os("REDIS_SERVER").filter(|binary| !binary.is_empty()) {
        return PathBuf::from(binary);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("redis-server"))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "these tests run against a real Redis, and there is no redis-server on PATH. Install it \
             (Debian and Ubuntu: apt-get install redis-server; macOS: brew install redis), or set \
             REDIS_SERVER to the file"
        )
    })
}

/// A prefix that no other test has.
pub fn random_prefix() -> String {
    format!("t{}", random_name())
}

/// Waits until a condition holds that depends on something outside this process.
///
/// # Panics
/// If it does not hold within 20 seconds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(
            since.elapsed() < PATIENCE,
            "still not so after {PATIENCE:?}: {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// The files in the corpus of a fuzz target.
///
/// # Panics
/// If there is no corpus.
pub fn corpus(target: &str) -> impl Iterator<Item = Vec<u8>> {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
    let files = fs::read_dir(format!("{corpus}/{target}")).expect("a corpus");
    files.map(|file| fs::read(file.expect("a file of the corpus").path()).expect("its bytes"))
}

fn random_name() -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .take(12)
        .collect()
}

fn inline(port: u16, command: &str) -> io::Result<String> {
    Inline::open(port)?.ask(command)
}

/// A connection for commands that are written as in `telnet`.
#[derive(Debug)]
pub struct Inline(BufReader<TcpStream>);

impl Inline {
    /// # Errors
    /// Nobody listens on this port of 127.0.0.1.
    pub fn open(port: u16) -> io::Result<Inline> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Inline(BufReader::new(stream)))
    }

    /// Runs one command. Returns the text of a string reply; of any other reply, its line.
    ///
    /// # Errors
    /// The server closes the connection, or does not answer within 5 seconds.
    pub fn ask(&mut self, command: &str) -> io::Result<String> {
        self.0
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes())?;
        let mut reply = String::new();
        self.0.read_line(&mut reply)?;
        let Some(length) = reply
            .strip_prefix('$')
            .and_then(|length| length.trim().parse::<usize>().ok())
        else {
            return Ok(reply);
        };
        let mut bulk = vec![0; length + 2];
        self.0.read_exact(&mut bulk)?;
        bulk.truncate(length);
        Ok(String::from_utf8_lossy(&bulk).into_owned())
    }
}
