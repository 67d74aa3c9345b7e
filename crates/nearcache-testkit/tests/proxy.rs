//! The proxy in front of a real server: what passes it, each way it can break things, and its counts.

mod client;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use client::Client;
use nearcache_testkit::{Close, Direction, Fault, Frames, Proxy, Redis, random_prefix};

fn start() -> Proxy {
    Proxy::start(&Redis::shared().address())
}

/// A new connection is served.
#[track_caller]
fn serves(proxy: &Proxy) {
    Client::of(proxy).asks("PING\r\n", "+PONG\r\n");
}

fn connection(url: &str) -> redis::Connection {
    let client = redis::Client::open(url).expect("a url");
    client.get_connection().expect("the proxy listens")
}

#[test]
fn a_long_value_passes_unharmed() {
    let proxy = start();
    let value: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(10 << 20)
        .collect();
    let key = random_prefix();
    for url in [proxy.url(), proxy.unix_url()] {
        let mut connection = connection(&url);
        let (found,): (Vec<u8>,) = redis::pipe()
            .set(&key, &value)
            .ignore()
            .get(&key)
            .query(&mut connection)
            .expect("both");
        assert!(found == value);
    }
}

#[test]
fn a_long_pipeline_passes_unharmed() {
    let proxy = start();
    let mut connection = connection(&proxy.url());
    let mut pipeline = redis::pipe();
    for number in 0..20_000 {
        pipeline.cmd("ECHO").arg(number);
    }
    let found: Vec<u32> = pipeline.query(&mut connection).expect("all");
    assert!(found.into_iter().eq(0..20_000));
    assert!(proxy.requests() >= 20_000);
}

#[test]
fn a_server_is_reached_over_its_unix_socket() {
    let proxy = Proxy::start(&Redis::shared().unix_url());
    serves(&proxy);
    let mut connection = connection(&proxy.unix_url());
    let pong: String = redis::cmd("PING").query(&mut connection).expect("a reply");
    assert_eq!(pong, "PONG");
}

#[test]
fn what_is_not_the_protocol_passes_too() {
    let proxy = start();
    let mut client = Client::of(&proxy);
    client.send("*1\r\n+no\r\n");
    let (bytes, _) = client.rest();
    assert!(bytes.starts_with(b"-ERR Protocol error"), "{bytes:?}");
    // A command that is broken off is passed on as far as it goes, and the end with it.
    let mut client = Client::of(&proxy);
    client.send("PING\r\n*1\r\n$4\r\nPI");
    client.gets("+PONG\r\n");
    client.0.shutdown(std::net::Shutdown::Write).expect("open");
    client.is_at_its_end();
    proxy.wait_until("both are gone", |counts| counts.live == 0);
}

#[test]
fn round_trips_count_how_often_the_client_waited() {
    let proxy = start();
    let mut client = Client::of(&proxy);
    let key = random_prefix();
    let get = format!("GET {key}\r\n");
    client.asks(&get, "$-1\r\n");
    assert_eq!((proxy.round_trips(), proxy.requests()), (1, 1));
    proxy.reset_counts();
    client.asks(&get.repeat(10), &"$-1\r\n".repeat(10));
    assert_eq!((proxy.round_trips(), proxy.requests()), (1, 10));
    proxy.reset_counts();
    for _ in 0..3 {
        client.asks(&get, "$-1\r\n");
    }
    assert_eq!((proxy.round_trips(), proxy.requests()), (3, 3));
    assert_eq!(proxy.commands(), vec![format!("GET {key}"); 3]);
    assert_eq!(proxy.connections(), 0);
    assert_eq!(proxy.live(), 1);
    drop(client);
    proxy.wait_until("the client is gone", |counts| counts.live == 0);
}

#[test]
fn commands_are_listed_with_their_keys() {
    let proxy = start();
    let mut client = connection(&proxy.url());
    let key = random_prefix();
    proxy.reset_counts();
    let _: () = redis::pipe()
        .set(&key, 1)
        .cmd("EVAL")
        .arg("return 1")
        .arg(1)
        .arg(&key)
        .cmd("CLIENT")
        .arg("ID")
        .cmd("PING")
        .query(&mut client)
        .expect("all");
    assert_eq!(
        proxy.commands(),
        [
            format!("SET {key}"),
            format!("EVAL {key}"),
            "CLIENT ID".to_owned(),
            "PING".to_owned()
        ]
    );
    assert_eq!(proxy.round_trips(), 1);
}

#[test]
fn pushes_are_no_replies_in_either_protocol() {
    let proxy = start();
    let channel = random_prefix();
    let publish = format!("PUBLISH {channel} hello\r\n");
    let length = channel.len();
    for (hello, mark) in [("", '*'), ("HELLO 3\r\n", '>')] {
        let mut subscriber = Client::of(&proxy);
        if !hello.is_empty() {
            subscriber.send(format!("{hello}PING\r\n"));
            while !String::from_utf8_lossy(&subscriber.chunk()).ends_with("+PONG\r\n") {}
        }
        proxy.reset_counts();
        subscriber.asks(
            &format!("SUBSCRIBE {channel}\r\n"),
            &format!("{mark}3\r\n$9\r\nsubscribe\r\n${length}\r\n{channel}\r\n:1\r\n"),
        );
        assert_eq!(proxy.round_trips(), 1);
        let hold = proxy.hold(Frames::pushes().of("message").about(&channel));
        let mut publisher = Client::of(&proxy);
        publisher.asks(&publish, ":1\r\n");
        hold.wait_until_held(1);
        subscriber.has_nothing();
        hold.release();
        subscriber.gets(&format!(
            "{mark}3\r\n$7\r\nmessage\r\n${length}\r\n{channel}\r\n$5\r\nhello\r\n"
        ));
        assert_eq!(proxy.round_trips(), 2);
    }
}

#[test]
fn replies_and_requests_are_delayed() {
    let proxy = start();
    let mut client = Client::of(&proxy);
    client.asks("PING\r\n", "+PONG\r\n");
    let part = Duration::from_millis(30);
    proxy.set(Fault::delay(Frames::replies(), part));
    proxy.set(Fault::delay(Frames::requests().of("ping"), part));
    proxy.set(Fault::Delay {
        frames: Frames::from_server(),
        by: part,
        jitter: part,
    });
    let since = Instant::now();
    client.asks("PING\r\n", "+PONG\r\n");
    assert!(since.elapsed() >= part * 3);
    // A pipeline is delayed, not each of its replies after the one before.
    client.asks(&"PING\r\n".repeat(1000), &"+PONG\r\n".repeat(1000));
    // What is under way is passed on when it is healed.
    proxy.heal();
    proxy.set(Fault::delay(Frames::replies(), Duration::from_secs(3600)));
    let hold = proxy.hold(Frames::replies());
    client.send("PING\r\n");
    hold.wait_until_held(1);
    hold.release();
    proxy.heal();
    client.gets("+PONG\r\n");
}

#[test]
fn pushes_alone_are_delayed() {
    let proxy = start();
    let delay = Duration::from_millis(100);
    proxy.set(Fault::delay(Frames::pushes(), delay));
    let channel = random_prefix();
    let mut subscriber = Client::of(&proxy);
    let since = Instant::now();
    subscriber.send(format!("SUBSCRIBE {channel}\r\n"));
    subscriber.gets("*3\r\n");
    assert!(since.elapsed() >= delay);
    proxy.set(Fault::delay(Frames::pushes(), Duration::from_secs(3600)));
    serves(&proxy);
}

#[test]
fn the_bandwidth_is_limited_each_way() {
    let proxy = start();
    let key = random_prefix();
    let mut client = Client::of(&proxy);
    let value = "x".repeat(10_000);
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.set(Fault::Limit {
            direction,
            bytes_per_second: 50_000,
        });
        let since = Instant::now();
        client.asks(&format!("SET {key} {value}\r\n"), "+OK\r\n");
        client.asks(&format!("GET {key}\r\n"), &format!("$10000\r\n{value}\r\n"));
        assert!(since.elapsed() >= Duration::from_millis(190));
        proxy.heal();
    }
    // Lifted in the middle of a frame that would take days.
    proxy.set(Fault::Limit {
        direction: Direction::ToClient,
        bytes_per_second: 1,
    });
    client.send(format!("GET {key}\r\n"));
    client.gets("$");
    proxy.heal();
    client.gets(&format!("10000\r\n{value}\r\n"));
}

/// Invariant 4 of the pump.
#[test]
fn every_connection_is_cut() {
    let proxy = start();
    for (close, how) in [
        (Close::Finish, Client::is_at_its_end as fn(&mut Client)),
        (Close::Reset, Client::is_reset),
    ] {
        let mut clients = [Client::of(&proxy), Client::of(&proxy)];
        for client in &mut clients {
            client.asks("PING\r\n", "+PONG\r\n");
        }
        proxy.cut(close);
        assert_eq!(proxy.live(), 0);
        for client in &mut clients {
            how(client);
        }
        serves(&proxy);
        proxy.wait_until("it is gone", |counts| counts.live == 0);
    }
    let mut client = UnixStream::connect(socket(&proxy)).expect("it listens");
    client.write_all(b"PING\r\n").expect("can be sent");
    client.read_exact(&mut [0; 7]).expect("an answer");
    proxy.cut(Close::Reset);
    assert_eq!(client.read(&mut [0; 1]).expect("the end"), 0);
}

fn socket(proxy: &Proxy) -> String {
    proxy.unix_url().replace("redis+unix://", "")
}

#[test]
fn connecting_is_refused_and_the_address_stays() {
    let proxy = start();
    let mut client = Client::of(&proxy);
    client.asks("PING\r\n", "+PONG\r\n");
    for _ in 0..20 {
        proxy.set(Fault::Refuse);
        let is_refused = |result: io::Result<()>| {
            let error = result.err();
            error.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        };
        assert!(is_refused(TcpStream::connect(proxy.address()).map(drop)));
        assert!(is_refused(UnixStream::connect(socket(&proxy)).map(drop)));
        // Those that are there are not concerned.
        client.asks("PING\r\n", "+PONG\r\n");
        proxy.heal();
        serves(&proxy);
        UnixStream::connect(socket(&proxy)).expect("it listens");
    }
    proxy.set(Fault::Refuse);
    proxy.unset(&Fault::Refuse);
    serves(&proxy);
}

#[test]
fn new_connections_are_closed_at_once() {
    let proxy = start();
    proxy.set(Fault::Reject(Close::Finish));
    Client::of(&proxy).is_at_its_end();
    proxy.set(Fault::Reject(Close::Reset));
    let (bytes, _) = match TcpStream::connect(proxy.address()) {
        Ok(stream) => Client(stream).rest(),
        Err(error) => (Vec::new(), Some(error.kind())),
    };
    assert_eq!(bytes, b"");
    proxy.heal();
    serves(&proxy);
}

#[test]
fn in_silence_connections_stay_open_and_nothing_comes() {
    let mut redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let mut before = Client::of(&proxy);
    before.asks("PING\r\n", "+PONG\r\n");
    proxy.set(Fault::Silence);
    let mut after = Client::of(&proxy);
    for client in [&mut before, &mut after] {
        client.send("PING\r\n");
    }
    proxy.wait_until("both have asked", |counts| counts.vanished == 2);
    // Not even that the server is gone is heard.
    redis.kill();
    let mut late = Client::of(&proxy);
    late.send("PING\r\n");
    proxy.wait_until("it has asked", |counts| counts.vanished == 3);
    for client in [&mut before, &mut after, &mut late] {
        client.has_nothing();
    }
    assert_eq!(proxy.live(), 3);
    redis.restart();
    proxy.heal();
    // Nobody gets the answer to a question of before for the answer to the next.
    for client in [&mut before, &mut after, &mut late] {
        client.is_reset();
    }
    assert_eq!(proxy.live(), 0);
    serves(&proxy);
}

/// Invariant 3 of the pump.
#[test]
fn one_direction_goes_dead_from_the_frame_that_vanished() {
    let proxy = start();
    let key = random_prefix();
    let mut client = Client::of(&proxy);
    proxy.set(Fault::Drop(Frames::requests().of("INCR")));
    client.asks("PING\r\n", "+PONG\r\n");
    client.send(format!("INCR {key}\r\nPING\r\n"));
    proxy.wait_until("all have come", |counts| counts.requests == 3);
    client.has_nothing();
    proxy.heal();
    client.is_reset();

    let mut client = Client::of(&proxy);
    proxy.set(Fault::Drop(Frames::replies().of("INCR")));
    client.asks("PING\r\n", "+PONG\r\n");
    client.send(format!("INCR {key}\r\nPING\r\n"));
    proxy.wait_until("both vanished twice", |counts| counts.vanished == 4);
    client.has_nothing();
    // The first was lost on the way there, the second on the way back.
    assert_eq!(Redis::shared().inline(&format!("GET {key}")), "1");
    proxy.unset(&Fault::Drop(Frames::replies().of("INCR")));
    client.is_reset();
    serves(&proxy);
}

#[test]
fn a_push_vanishes_alone() {
    let proxy = start();
    let channel = random_prefix();
    let mut client = Client::of(&proxy);
    client.send(format!("SUBSCRIBE {channel}\r\n"));
    client.gets("*3\r\n$9\r\nsubscribe\r\n");
    proxy.set(Fault::Drop(Frames::pushes().of("message")));
    let mut publisher = Client::of(&proxy);
    publisher.asks(&format!("PUBLISH {channel} lost\r\n"), ":1\r\n");
    client.send("PING pong\r\n");
    client.gets(&format!("${}\r\n{channel}\r\n:1\r\n", channel.len()));
    client.gets("*2\r\n$4\r\npong\r\n$4\r\npong\r\n");
    proxy.heal();
    client.asks("PING pong\r\n", "*2\r\n$4\r\npong\r\n$4\r\npong\r\n");
}

#[test]
fn a_reply_is_cut_off_in_its_middle() {
    let proxy = start();
    let key = random_prefix();
    let mut client = Client::of(&proxy);
    client.asks(&format!("SET {key} {}\r\n", "x".repeat(500)), "+OK\r\n");
    proxy.set(Fault::truncate(Frames::replies().longer_than(100), 20));
    client.asks("PING\r\n", "+PONG\r\n");
    client.send(format!("GET {key}\r\nPING\r\n"));
    let (bytes, error) = client.rest();
    assert_eq!(String::from_utf8_lossy(&bytes), "$500\r\nxxxxxxxxxxxxxx");
    assert_eq!(error, None);
    // Once.
    let mut client = Client::of(&proxy);
    client.asks(&format!("STRLEN {key}\r\n"), ":500\r\n");
    let expected = format!("$500\r\n{}\r\n", "x".repeat(500));
    client.asks(&format!("GET {key}\r\n"), &expected);
    proxy.set(Fault::Truncate {
        frames: Frames::replies().of("get").about(&key),
        at: 0,
        close: Close::Reset,
    });
    client.send(format!("GET {key}\r\n"));
    client.is_reset();
    serves(&proxy);
}

#[test]
fn a_request_is_cut_off_in_its_middle() {
    let proxy = start();
    let key = random_prefix();
    let mut client = Client::of(&proxy);
    proxy.set(Fault::truncate(Frames::requests().of("SET"), 10));
    client.send(format!("SET {key} value\r\n"));
    client.is_at_its_end();
    Client::of(&proxy).asks(&format!("EXISTS {key}\r\n"), ":0\r\n");
}

#[test]
fn a_reply_is_replaced_by_any_bytes() {
    let proxy = start();
    let mut client = Client::of(&proxy);
    proxy.set(Fault::replace(Frames::replies(), "garbage"));
    client.asks("PING\r\n", "garbage");
    client.asks("PING\r\n", "+PONG\r\n");
    for once in ["-LOADING Redis is loading\r\n", "-READONLY\r\n"] {
        proxy.set(Fault::replace(Frames::replies().of("GET"), once));
    }
    client.asks("GET a\r\n", "-LOADING Redis is loading\r\n");
    client.asks("GET a\r\n", "-READONLY\r\n");
    proxy.set(Fault::Replace {
        frames: Frames::replies(),
        with: b"\0\xff".to_vec(),
        close: Some(Close::Finish),
    });
    client.send("PING\r\n");
    assert_eq!(client.rest(), (b"\0\xff".to_vec(), None));
    serves(&proxy);
}

/// Invariant 2 of the pump.
#[test]
fn held_replies_come_when_they_are_released() {
    let proxy = start();
    let key = random_prefix();
    let mut client = Client::of(&proxy);
    let hold = proxy.hold(Frames::replies());
    client.send(format!("INCR {key}\r\n"));
    hold.wait_until_held(1);
    // The server has done it, and the client does not know.
    assert_eq!(Redis::shared().inline(&format!("GET {key}")), "1");
    client.has_nothing();
    assert_eq!((proxy.requests(), proxy.round_trips()), (1, 0));
    proxy.heal();
    assert_eq!(hold.held(), 1);
    hold.release();
    client.gets(":1\r\n");
    assert_eq!(proxy.round_trips(), 1);
}

#[test]
fn held_requests_have_not_reached_the_server() {
    let proxy = start();
    let key = random_prefix();
    let mut clients = [Client::of(&proxy), Client::of(&proxy)];
    let hold = proxy.hold(Frames::requests().of("APPEND").about(&key));
    for (client, number) in clients.iter_mut().zip(1..) {
        client.asks("PING\r\n", "+PONG\r\n");
        client.send(format!("APPEND {key} {number}\r\n"));
        hold.wait_until_held(number);
    }
    let mut other = Client::of(&proxy);
    other.asks(&format!("EXISTS {key}\r\n"), ":0\r\n");
    // In the order in which they arrived.
    hold.pass(1);
    clients[0].gets(":1\r\n");
    assert_eq!(hold.held(), 1);
    clients[1].has_nothing();
    drop(hold);
    clients[1].gets(":2\r\n");
    other.asks(&format!("GET {key}\r\n"), "$2\r\n12\r\n");
}

/// Invariant 1 of the pump.
#[test]
fn what_follows_a_held_frame_waits_behind_it() {
    let proxy = start();
    let mut client = Client::of(&proxy);
    let hold = proxy.hold(Frames::replies().of("ECHO"));
    client.send("PING\r\nECHO a\r\nPING\r\n");
    client.gets("+PONG\r\n");
    hold.wait_until_held(1);
    client.has_nothing();
    hold.release();
    client.gets("$1\r\na\r\n+PONG\r\n");
}

#[test]
fn a_hold_can_be_awaited() {
    let proxy = start();
    let mut client = Client::of(&proxy);
    let hold = proxy.hold(Frames::replies());
    let held = hold.until_held(1);
    let asked = proxy.until("it has asked", |counts| counts.requests == 1);
    client.send("PING\r\n");
    block_on(asked);
    block_on(held);
    hold.release();
    client.gets("+PONG\r\n");
}

/// The smallest runtime there is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_server_that_is_away_or_ends_is_felt_by_the_client() {
    let mut redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let mut client = Client::of(&proxy);
    client.asks("PING\r\n", "+PONG\r\n");
    redis.kill();
    let (bytes, _) = client.rest();
    assert_eq!(bytes, b"");
    let (bytes, _) = match TcpStream::connect(proxy.address()) {
        Ok(stream) => Client(stream).rest(),
        Err(error) => (Vec::new(), Some(error.kind())),
    };
    assert_eq!(bytes, b"");
    redis.restart();
    serves(&proxy);
}

#[test]
fn it_can_be_used_by_hand() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_breakage"))
        .args(["--to", &Redis::shared().address(), "--delay", "1ms"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    let (url, unix_url) = (line(), line());
    assert!(unix_url.starts_with("redis+unix://"), "{unix_url}");
    let pong: String = redis::cmd("PING")
        .query(&mut connection(&url))
        .expect("a reply");
    assert_eq!(pong, "PONG");
    let mut input = process.stdin.take().expect("piped");
    input
        .write_all(b"cut\nnonsense\ncounts\nquit\n")
        .expect("it reads");
    assert_eq!(line(), "cut");
    assert!(line().contains("--help"));
    assert!(line().starts_with("1 connections (0 live now)"));
    assert!(process.wait().expect("it ends").success());
}

#[test]
fn faults_come_and_go_under_load() {
    let proxy = start();
    let (stop, stopped) = mpsc::channel::<()>();
    let stopped = std::sync::Mutex::new(stopped);
    thread::scope(|scope| {
        for _ in 0..4 {
            let (proxy, stopped) = (&proxy, &stopped);
            scope.spawn(move || {
                let key = random_prefix();
                let running = || {
                    let message = stopped.lock().expect("no panic").try_recv();
                    message == Err(mpsc::TryRecvError::Empty)
                };
                'connections: while running() {
                    let Ok(stream) = TcpStream::connect(proxy.address()) else {
                        continue;
                    };
                    let mut client = Client(stream);
                    for number in 0..100 {
                        let payload = format!("{key}:{number}");
                        let asked = format!("ECHO {payload}\r\n");
                        let expected = format!("${}\r\n{payload}\r\n", payload.len());
                        let mut answer = vec![0; expected.len()];
                        if client.0.write_all(asked.as_bytes()).is_err()
                            || client.0.read_exact(&mut answer).is_err()
                        {
                            continue 'connections;
                        }
                        // Whatever happens, an answer is the answer to its question.
                        assert_eq!(String::from_utf8_lossy(&answer), expected);
                    }
                }
            });
        }
        for round in 0..60 {
            proxy.set(match round % 6 {
                0 => Fault::Silence,
                1 => Fault::Refuse,
                2 => Fault::Reject(Close::Reset),
                3 => Fault::Drop(Frames::replies()),
                4 => Fault::truncate(Frames::replies(), 3),
                _ => Fault::delay(Frames::replies(), Duration::from_millis(1)),
            });
            if round % 4 == 0 {
                proxy.cut(Close::Reset);
            }
            let requests = proxy.requests();
            proxy.heal();
            proxy.wait_until("somebody is served", |counts| {
                counts.requests > requests + 20
            });
        }
        drop(stop);
    });
    proxy.wait_until("all are gone", |counts| counts.live == 0);
    serves(&proxy);
}
