//! A server that says what it is told, for answers that a real one gives only where it cannot be brought to: behind a
//! proxy, in a managed service, with another version.
//!
//! It sits in front of a real server, which answers everything else. It speaks RESP2.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The server. It ends when it is dropped.
#[derive(Debug)]
pub struct Impostor {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    told: Mutex<Option<Told>>,
    signed_out: Mutex<Option<SignedOut>>,
    /// How many clients have come.
    clients: AtomicUsize,
    ended: AtomicBool,
}

/// The clients that came first are answered with this, after some more commands.
#[derive(Debug)]
struct SignedOut {
    clients: usize,
    left: usize,
    answer: Vec<u8>,
}

/// The bytes, and the command that they are the answer to; `None`: to every command.
#[derive(Clone, Debug)]
struct Told {
    to: Option<String>,
    answer: Vec<u8>,
}

impl Impostor {
    /// Starts one in front of `host:port`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(upstream: &str) -> Impostor {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            told: Mutex::default(),
            signed_out: Mutex::default(),
            clients: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let serving = Arc::clone(&serving);
                thread::spawn(move || serving.serve(client));
            }
        });
        Impostor { address, shared }
    }

    /// The URL, for RESP2.
    pub fn url(&self) -> String {
        format!("redis://{}?protocol=2", self.address)
    }

    /// From now on, this is the answer to every command of this name, or to every command at all.
    pub fn says(&self, answer: impl Into<Vec<u8>>, to: Option<&str>) {
        self.shared.tell(Some(Told {
            to: to.map(str::to_owned),
            answer: answer.into(),
        }));
    }

    /// The connections that exist now serve so many commands more, all together. After that, this is the answer to
    /// whatever is sent on them. Connections that are made later are served.
    pub fn signs_out_after(&self, commands: usize, answer: impl Into<Vec<u8>>) {
        self.shared.sign_out(Some(SignedOut {
            clients: self.connections(),
            left: commands,
            answer: answer.into(),
        }));
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.shared.clients.load(Ordering::SeqCst)
    }

    /// From now on, the real server answers.
    pub fn is_honest(&self) {
        self.shared.tell(None);
        self.shared.sign_out(None);
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn tell(&self, told: Option<Told>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    fn sign_out(&self, whom: Option<SignedOut>) {
        *self
            .signed_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = whom;
    }

    /// What a client is answered with that is served no more.
    fn answer_to_all(&self, client: usize) -> Option<Vec<u8>> {
        let mut signed_out = self
            .signed_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let whom = signed_out.as_mut().filter(|whom| client < whom.clients)?;
        if whom.left > 0 {
            whom.left -= 1;
            return None;
        }
        Some(whom.answer.clone())
    }

    fn answer_to(&self, command: &[u8]) -> Option<Vec<u8>> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Told { to, answer } = told.as_ref()?;
        let is_meant = to
            .as_ref()
            .is_none_or(|name| command.eq_ignore_ascii_case(name.as_bytes()));
        is_meant.then(|| answer.clone())
    }

    /// Serves one connection, until either side closes it.
    fn serve(&self, client: TcpStream) -> Option<()> {
        let number = self.clients.fetch_add(1, Ordering::SeqCst);
        let mut replies = client.try_clone().ok()?;
        let mut commands = BufReader::new(client);
        let mut upstream = BufReader::new(TcpStream::connect(&self.upstream).ok()?);
        loop {
            let mut frame = Vec::new();
            copy(&mut commands, &mut frame).ok()?;
            let answer = self.answer_to_all(number);
            match answer.or_else(|| self.answer_to(name(&frame))) {
                Some(answer) => replies.write_all(&answer).ok()?,
                None => {
                    upstream.get_mut().write_all(&frame).ok()?;
                    let mut reply = Vec::new();
                    copy(&mut upstream, &mut reply).ok()?;
                    replies.write_all(&reply).ok()?;
                }
            }
        }
    }
}

/// The first element of a command.
fn name(frame: &[u8]) -> &[u8] {
    let mut lines = frame.split(|byte| *byte == b'\n').skip(2);
    lines.next().unwrap_or_default().trim_ascii_end()
}

/// Copies one frame of RESP2.
fn copy(from: &mut impl BufRead, to: &mut Vec<u8>) -> io::Result<()> {
    let mut left = 1;
    while left > 0 {
        left -= 1;
        let begin = to.len();
        if from.read_until(b'\n', to)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = to[begin..].trim_ascii_end();
        let length = || -> Option<i64> { std::str::from_utf8(&line[1..]).ok()?.parse().ok() };
        match line.first() {
            Some(b'*') => left += length().unwrap_or(0).max(0),
            Some(b'$') => {
                if let Some(bytes) = length().and_then(|length| u64::try_from(length).ok()) {
                    from.take(bytes + 2).read_to_end(to)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
