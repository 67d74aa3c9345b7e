//! The same steps here and on a real server: what each client gets must be the same, replies and pushes, in order.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nearcache_embedded::{Connection, Pushes, Store};
use nearcache_testkit::Redis;
use redis::{Cmd, Parser, ProtocolVersion, PushKind, Value};

/// Some clients, each with a connection here and one to the server.
pub(crate) struct Both {
    _redis: Redis,
    clients: Vec<Client>,
    token: u64,
}

struct Client {
    here: Connection,
    pushes: Pushes,
    there: BufReader<Unmoved>,
    parser: Parser,
    in_multi: bool,
    resp2: bool,
    is_gone: bool,
}

impl Both {
    /// Starts a server, and connects so many clients.
    pub(crate) fn start(clients: usize) -> Both {
        let (store, redis) = (Store::new(), Redis::start());
        let clients = (0..clients).map(|_| Client::connect(&store, &redis));
        Both {
            clients: clients.collect(),
            _redis: redis,
            token: 0,
        }
    }

    /// Lets a client run a command on both sides, and compares what all clients get. `$id0` stands for the id of
    /// client 0.
    pub(crate) fn step(&mut self, client: usize, line: &str) {
        let (here, there) = self.run(client, line);
        assert_eq!(here, there, "what each client gets after {client}: {line}");
    }

    /// Runs commands with a pause after each, and compares what each client gets in all. (What happens in the background
    /// may happen after one or after the other.)
    #[allow(dead_code)]
    pub(crate) fn steps(&mut self, client: usize, lines: &[&str], pause: Duration) {
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for line in lines {
            let got = self.run(client, line);
            here.resize(got.0.len(), Vec::new());
            there.resize(got.1.len(), Vec::new());
            for (all, more) in here
                .iter_mut()
                .zip(got.0)
                .chain(there.iter_mut().zip(got.1))
            {
                all.extend(more);
            }
            std::thread::sleep(pause);
        }
        assert_eq!(
            here, there,
            "what each client gets after {client}: {lines:?}"
        );
    }

    /// Lets a client speak RESP3.
    #[allow(dead_code)]
    pub(crate) fn speak_3(&mut self, client: usize) {
        // The replies tell ids.
        let _ = self.run(client, "HELLO 3");
    }

    /// What the two sides differ in, for tests that go on.
    #[allow(dead_code)]
    pub(crate) fn difference(&mut self, client: usize, line: &str) -> Option<String> {
        let (here, there) = self.run(client, line);
        (here != there).then(|| format!("{line}\n  here:  {here:?}\n  there: {there:?}"))
    }

    /// The same, but the order of what a client gets does not matter.
    #[allow(dead_code)]
    pub(crate) fn step_in_any_order(&mut self, client: usize, line: &str) {
        let (mut here, mut there) = self.run(client, line);
        for got in here.iter_mut().chain(&mut there) {
            got.sort_unstable();
        }
        assert_eq!(here, there, "what each client gets after {client}: {line}");
    }

    /// Ends a client.
    #[allow(dead_code)]
    pub(crate) fn quit(&mut self, client: usize) {
        let this = &mut self.clients[client];
        this.here.execute(&redis::cmd("QUIT"));
        this.send(&["QUIT".to_owned()]);
        assert_eq!(this.receive(), Value::Okay);
        this.is_gone = true;
    }

    fn run(&mut self, client: usize, line: &str) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
        let mut args = line.to_owned();
        for (n, client) in self.clients.iter().enumerate() {
            args = args.replace(&format!("$id{n}"), &client.here.id().to_string());
        }
        let args = words(&args);
        let mut here = vec![Vec::new(); self.clients.len()];
        let mut there = here.clone();

        let this = &mut self.clients[client];
        let verb = args[0].to_uppercase();
        let was_in_multi = this.in_multi;
        let mut cmd = Cmd::new();
        cmd.arg(&args);
        let reply = this.here.execute(&cmd);
        match verb.as_str() {
            "MULTI" => this.in_multi |= reply == Value::Okay,
            "EXEC" | "DISCARD" | "RESET" => this.in_multi = false,
            _ => {}
        }
        this.resp2 = this.here.protocol() == ProtocolVersion::RESP2;
        let confirms =
            verb.ends_with("SUBSCRIBE") && !was_in_multi && !matches!(reply, Value::ServerError(_));
        if !confirms {
            here[client].push(text(&reply));
        }
        this.send(&args);
        // A reply that is not a push; in RESP3 pushes may come before it.
        let resp2 = this.resp2;
        if !confirms {
            loop {
                let value = this.receive();
                let is_push = matches!(value, Value::Push { .. });
                there[client].push(text(&value));
                if !is_push || resp2 {
                    break;
                }
            }
        }
        for (at, other) in self.clients.iter_mut().enumerate() {
            while let Some(push) = other.pushes.try_next() {
                if let Some(push) = other.as_sent(push.kind, push.data) {
                    here[at].push(push);
                }
            }
            // A command between these two would undo the first, or would be queued.
            if other.is_gone || other.in_multi || at == client && verb == "CLIENT" {
                continue;
            }
            self.token += 1;
            let token = format!("token-{}", self.token);
            other.send(&["PING".to_owned(), token.clone()]);
            loop {
                let got = text(&other.receive());
                if got.contains(&token) {
                    break;
                }
                there[at].push(got);
            }
        }
        (here, there)
    }
}

/// A socket whose reads go on when the process was stopped and continued meanwhile. (With a timeout they do not.)
struct Unmoved(TcpStream);

impl Read for Unmoved {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Client {
    fn connect(store: &Store, redis: &Redis) -> Client {
        let there = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
        there
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let (mut there, mut parser) = (BufReader::new(Unmoved(there)), Parser::new());
        let id = redis::cmd("CLIENT").arg("ID").get_packed_command();
        there.get_mut().0.write_all(&id).unwrap();
        let id = parser.parse_value(&mut there).unwrap();
        // Both sides have the same id, because some replies tell it.
        let mut here = store.connect();
        while Value::Int(here.id().cast_signed()) != id {
            here = store.connect();
        }
        Client {
            pushes: here.pushes(),
            here,
            there,
            parser,
            in_multi: false,
            resp2: true,
            is_gone: false,
        }
    }

    fn send(&mut self, args: &[String]) {
        let mut cmd = Cmd::new();
        cmd.arg(args);
        let packed = cmd.get_packed_command();
        self.there.get_mut().0.write_all(&packed).unwrap();
    }

    fn receive(&mut self) -> Value {
        self.parser.parse_value(&mut self.there).unwrap()
    }

    /// A push as a port would send it to this client; `None` if it would not.
    fn as_sent(&self, kind: PushKind, mut data: Vec<Value>) -> Option<String> {
        let bulk = |text: &str| Value::BulkString(text.into());
        if !self.resp2 {
            return Some(text(&Value::Push { kind, data }));
        }
        if kind == PushKind::Invalidate {
            // Here a client of RESP2 gets it as such; on a port only if it is subscribed, and as a message.
            data.insert(0, bulk("__redis__:invalidate"));
            data.insert(0, bulk("message"));
            return Some(text(&Value::Array(data)));
        }
        if matches!(kind, PushKind::Other(_)) {
            return None;
        }
        let name = match kind {
            PushKind::Message => "message",
            PushKind::PMessage => "pmessage",
            PushKind::SMessage => "smessage",
            PushKind::Subscribe => "subscribe",
            PushKind::Unsubscribe => "unsubscribe",
            PushKind::PSubscribe => "psubscribe",
            PushKind::PUnsubscribe => "punsubscribe",
            PushKind::SSubscribe => "ssubscribe",
            _ => "sunsubscribe",
        };
        data.insert(0, bulk(name));
        Some(text(&Value::Array(data)))
    }
}

/// The words of a line; `""` is an empty one.
fn words(line: &str) -> Vec<String> {
    let words = line.split_whitespace();
    words.map(|word| word.replace("\"\"", "")).collect()
}

/// A value in a form that can be compared and read: strings of all kinds alike.
fn text(value: &Value) -> String {
    let all = |values: &[Value]| values.iter().map(text).collect::<Vec<_>>().join(" ");
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Int(n) => n.to_string(),
        Value::BulkString(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        Value::SimpleString(text) => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::Array(values) => format!("[{}]", all(values)),
        Value::Set(values) => format!("~[{}]", all(values)),
        Value::Map(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| format!("{}: {}", text(key), text(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        Value::Push { kind, data } => format!("push {kind:?} [{}]", all(data)),
        Value::ServerError(error) => {
            format!(
                "error {} {}",
                error.code(),
                error.details().unwrap_or_default()
            )
        }
        other => format!("{other:?}"),
    }
}
