//! Real Redis servers for nearcache's tests. Each listens on a free port of 127.0.0.1 and on a unix socket, and ends
//! with its test.
//!
//! [`Redis::start`] starts a server for one test, which may kill and restart it; [`Redis::shared`] is one server for
//! the whole test binary, where each test uses a [`random_prefix`]. [`Proxy`] is put between a client and a server;
//! it counts what passes, and breaks connections. [`Cluster`] is several servers that share the keys. [`SecureRedis`]
//! speaks TLS beside plain text, with the certificates of an [`Authority`]. [`Logs`] is what a thread logs.

mod client;
mod cluster;
#[cfg(unix)]
mod fork;
mod impostor;
mod logs;
mod port;
mod proxy;
mod python;
mod secure;
mod sentinel;
mod servers;
mod tls;

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

pub use client::{Client, Reply};
pub use cluster::{Cluster, ClusterOptions, Member, Migration, Proxies, SLOTS, View};
#[cfg(unix)]
pub use fork::Fork;
pub use impostor::Impostor;
pub use logs::Logs;
pub use port::Port;
pub use proxy::{Close, Counts, Direction, Fault, Frames, Hold, Proxy};
pub use python::Python;
pub use secure::SecureRedis;
pub use sentinel::Sentinels;
pub use servers::Server;
pub use tls::{Authority, Identity, Valid};

/// How long a server may take to start, and anything else that is waited for. Long, because a loaded machine is slow,
/// and who waits for so long has failed anyway.
const PATIENCE: Duration = Duration::from_secs(60);

/// What makes a server a Sentinel.
const SENTINEL: &str = "--sentinel";

/// A running `redis-server`. When it is dropped, the server is killed and its folder is removed.
#[derive(Debug)]
pub struct Redis {
    binary: PathBuf,
    port: Port,
    /// The port with TLS, if there is one, and the folder of the certificates.
    tls: Option<(Port, PathBuf)>,
    /// Where the nodes of a Cluster talk to each other.
    bus: Option<Port>,
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
        Redis::start_as(Server::Installed, arguments)
    }

    /// The same with another server than the one that is installed.
    ///
    /// # Panics
    /// As [`Redis::start_with`].
    pub fn start_as(server: Server, arguments: &[&str]) -> Redis {
        Redis::start_on(server, None, arguments)
    }

    fn start_on(server: Server, tls: Option<(Port, PathBuf)>, arguments: &[&str]) -> Redis {
        // A node of a Cluster also listens on a port for its bus: ten thousand above its own, if nothing else is said.
        let (port, bus) = match arguments {
            all if all.contains(&"--cluster-enabled") && !all.contains(&"--cluster-port") => {
                let (port, bus) = cluster::ports();
                (port, Some(bus))
            }
            _ => (Port::unused(), None),
        };
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let ports = (port, bus, tls);
        let mut redis = Redis::on_ports(server.binary(), ports, arguments, |_| ());
        assert!(
            redis.waited(),
            "redis-server did not start:\n{}",
            redis.log()
        );
        redis
    }

    /// A server that was told to start, and may not have done so yet. `prepare` is given its folder before.
    fn spawned(
        binary: PathBuf,
        port: Port,
        bus: Option<Port>,
        arguments: Vec<String>,
        prepare: impl FnOnce(&Path),
    ) -> Redis {
        Redis::on_ports(binary, (port, bus, None), arguments, prepare)
    }

    /// The same on these ports: its own, that of a Cluster's bus, that with TLS.
    fn on_ports(
        binary: PathBuf,
        (port, bus, tls): (Port, Option<Port>, Option<(Port, PathBuf)>),
        arguments: Vec<String>,
        prepare: impl FnOnce(&Path),
    ) -> Redis {
        let folder = std::env::temp_dir().join(format!("nearcache-{}", random_name()));
        fs::create_dir(&folder).expect("a folder for the server");
        prepare(&folder);
        let mut redis = Redis {
            binary,
            port,
            bus,
            tls,
            folder,
            arguments,
            process: None,
        };
        redis.spawn();
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

    /// The same with a timeout that is not over before there is an answer, however busy the machine is: for tests that
    /// are about the answer.
    pub fn patient_url(&self) -> String {
        format!("{}?timeout=20s", self.url())
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

    /// Whether it was not killed.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
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
        self.spawn();
        self.waited()
    }

    fn spawn(&mut self) {
        self.port.make_way();
        let tls = self.tls.as_mut().map(|(port, _)| port);
        for port in self.bus.as_mut().into_iter().chain(tls) {
            port.make_way();
        }
        let _ = fs::remove_file(self.socket());
        let log = fs::File::create(self.folder.join("log")).expect("a log file");
        let mut command = Command::new(&self.binary);
        if self.arguments.iter().any(|argument| argument == SENTINEL) {
            // It wants a configuration that it can write, before anything else.
            let file = self.folder.join("sentinel.conf");
            if !file.exists() {
                fs::write(&file, "").expect("a configuration");
            }
            command.arg(file);
        }
        let server = command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(&self.folder)
            .arg("--unixsocket")
            .arg(self.socket())
            .args(
                self.tls
                    .iter()
                    .flat_map(|(port, _)| ["--tls-port".to_owned(), port.to_string()]),
            )
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a log file"))
            .stdout(log)
            .spawn()
            .expect("redis-server can be started");
        self.process = Some(Process::watched(
            server,
            &self.folder,
            self.tls.as_ref().map(|(_, folder)| folder.as_path()),
        ));
    }

    /// Waits until it answers. Whether it does.
    fn waited(&mut self) -> bool {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            // A server that asks for a password is running, too.
            if inline(self.port(), "PING").is_ok_and(|reply| reply.starts_with(['+', '-'])) {
                return true;
            }
            let Some(process) = self.process.as_mut() else {
                break;
            };
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
    fn watched(server: Child, folder: &Path, certificates: Option<&Path>) -> Process {
        // The shell's input is a pipe from this process, so its `read` returns when this process is gone.
        let watch = Command::new("sh")
            .args([
                "-c",
                r#"read _; kill -9 "$0"; rm -rf "$@""#,
                &server.id().to_string(),
            ])
            .arg(folder)
            .args(certificates)
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
/// If it does not hold within a minute.
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
        stream.set_read_timeout(Some(Duration::from_secs(15)))?;
        Ok(Inline(BufReader::new(stream)))
    }

    /// Runs one command. Returns the text of a string reply; of any other reply, its line.
    ///
    /// # Errors
    /// The server closes the connection, or does not answer within 15 seconds.
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
        self.bulk(length)
    }

    fn bulk(&mut self, length: usize) -> io::Result<String> {
        let mut bulk = vec![0; length + 2];
        self.0.read_exact(&mut bulk)?;
        bulk.truncate(length);
        Ok(String::from_utf8_lossy(&bulk).into_owned())
    }

    /// Runs one command that is answered by an array. Returns the texts in it, and in the arrays in it, in their
    /// order. Any other reply is an array of one.
    ///
    /// # Errors
    /// Those of [`Inline::ask`].
    pub fn list(&mut self, command: &str) -> io::Result<Vec<String>> {
        self.0
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes())?;
        let (mut left, mut texts) = (1, Vec::new());
        while left > 0 {
            left -= 1;
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let line = line.trim_end();
            let length = |mark| {
                let digits: Option<&str> = line.strip_prefix(mark);
                digits.and_then(|digits| digits.parse::<usize>().ok())
            };
            if let Some(length) = length('*') {
                left += length;
            } else if let Some(length) = length('$') {
                texts.push(self.bulk(length)?);
            } else if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            } else {
                texts.push(line.to_owned());
            }
        }
        Ok(texts)
    }
}
