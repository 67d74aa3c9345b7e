//! The port, as clients see it: redis-rs, raw sockets, and whatever is not a client at all.

#![cfg(feature = "serve")]

mod port;

use std::io::{Read, Write};
use std::net::TcpStream;

use nearcache_embedded::{ServeError, Server, Store};
use port::{Port, Raw, eventually};
use redis::{Commands, ConnectionLike, ProtocolVersion, Value};

#[test]
fn clients_of_both_protocols_and_the_process_share_the_store() {
    let port = Port::open();
    let mut inside = port.store.connect();
    let () = inside.set("from", "inside").unwrap();
    for parameters in ["", "?protocol=resp3"] {
        let mut client = port.client(parameters).get_connection().unwrap();
        let value: String = client.get("from").unwrap();
        assert_eq!(value, "inside");
        let () = client.hset("hash", "field", "value").unwrap();
        let fields: std::collections::HashMap<String, String> = client.hgetall("hash").unwrap();
        assert_eq!(fields["field"], "value");
        let (counted, missing): (u64, Option<String>) = redis::pipe()
            .atomic()
            .incr("n", 1)
            .get("missing")
            .query(&mut client)
            .unwrap();
        assert!(counted > 0 && missing.is_none());
    }
    let n: u64 = inside.get("n").unwrap();
    assert_eq!(n, 2);
}

#[test]
fn replies_have_the_forms_of_their_protocol() {
    let port = Port::open();
    let mut raw = port.raw();
    raw.ask("HSET h f 1", ":1\r\n");
    raw.ask("HGETALL h", "*2\r\n$1\r\nf\r\n$1\r\n1\r\n");
    raw.ask("GET nothing", "$-1\r\n");
    raw.ask("LPOP nothing", "$-1\r\n");
    raw.ask("LPOP nothing 2", "*-1\r\n");
    raw.ask("BLPOP nothing 0.01", "*-1\r\n");
    raw.ask("BLMOVE nothing there LEFT LEFT 0.01", "*-1\r\n");
    raw.ask("XREAD STREAMS nothing 0", "*-1\r\n");
    raw.ask("WATCH w", "+OK\r\n");
    raw.ask("SET w 1", "+OK\r\n");
    raw.ask("MULTI", "+OK\r\n");
    raw.ask("LMPOP 1 nothing LEFT", "+QUEUED\r\n");
    raw.ask("EXEC", "*-1\r\n");
    raw.ask("MULTI", "+OK\r\n");
    raw.ask("LMPOP 1 nothing LEFT", "+QUEUED\r\n");
    raw.ask("GET nothing", "+QUEUED\r\n");
    raw.ask("EXEC", "*2\r\n*-1\r\n$-1\r\n");
    raw.send("HELLO 3\r\n");
    raw.expect("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n");
    raw.send("PING\r\n");
    eventually("the rest of the greeting", || {
        let mut byte = [0];
        raw.0.read_exact(&mut byte).unwrap();
        byte[0] == b'+'
    });
    raw.expect("PONG\r\n");
    raw.ask("HGETALL h", "%1\r\n$1\r\nf\r\n$1\r\n1\r\n");
    raw.ask("BLPOP nothing 0.01", "_\r\n");
    raw.ask("SMEMBERS nothing", "~0\r\n");
}

#[test]
fn replies_of_many_elements_are_those_of_the_process() {
    let port = Port::open();
    let mut inside = port.store.connect();
    for line in [
        "RPUSH list a bb 300 -7",
        "HSET hash f 1 g 22",
        "SADD numbers 1 -200000",
        "SADD texts a b c",
        "ZADD scores 1 one 2.5 some -inf none",
        "SET text value",
    ] {
        command(line).exec(&mut inside).unwrap();
    }
    for protocol in [ProtocolVersion::RESP2, ProtocolVersion::RESP3] {
        inside.set_protocol(protocol);
        let resp3 = protocol != ProtocolVersion::RESP2;
        let client = port.client(if resp3 { "?protocol=resp3" } else { "" });
        let client = &mut client.get_connection().unwrap();
        for line in [
            "LRANGE list 0 -1",
            "LRANGE list 5 9",
            "LRANGE nothing 0 -1",
            "LRANGE text 0 -1",
            "LINDEX list 1",
            "LINDEX list 9",
            "HGETALL hash",
            "HGETALL nothing",
            "HKEYS hash",
            "HVALS hash",
            "HGET hash f",
            "HGET hash x",
            "HMGET hash f x",
            "SMEMBERS numbers",
            "SMEMBERS texts",
            "SMEMBERS nothing",
            "ZRANGE scores 0 -1",
            "ZRANGE scores 0 -1 WITHSCORES",
            "ZRANGE scores 0 -1 REV WITHSCORES",
            "ZRANGEBYSCORE nothing 0 1 WITHSCORES",
            "GET text",
            "GET nothing",
            "GET list",
            "MGET text nothing list",
        ] {
            let command = command(line);
            let expected = inside.execute(&command);
            let is_error = matches!(expected, Value::ServerError(_));
            let got = client.req_command(&command).unwrap();
            assert_eq!(got, expected, "{line}");
            if !is_error {
                let mut pipeline = redis::pipe();
                pipeline.atomic().add_command(command);
                let alone: Vec<Value> = pipeline.query(client).unwrap();
                assert_eq!(alone, [expected], "{line} in a transaction");
            }
        }
    }
    let mut raw = port.raw();
    raw.send("CLIENT REPLY SKIP\r\nLRANGE list 0 -1\r\nLRANGE list 0 0\r\n");
    raw.expect("*1\r\n$1\r\na\r\n");
    raw.send("CLIENT REPLY OFF\r\nGET text\r\nHGETALL hash\r\nCLIENT REPLY ON\r\nGET text\r\n");
    raw.expect("+OK\r\n$5\r\nvalue\r\n");
}

/// A command of words without spaces.
fn command(line: &str) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    line.split(' ').for_each(|word| {
        command.arg(word);
    });
    command
}

#[test]
fn requests_may_be_cut_anywhere() {
    let port = Port::open();
    let mut raw = port.raw();
    raw.0.set_nodelay(true).unwrap();
    let request = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nv\r\n\0x\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\nPING \"a b\"\r\n";
    for step in [1, 3, 7, request.len()] {
        for part in request.chunks(step) {
            raw.send(part);
        }
        raw.expect("+OK\r\n$5\r\nv\r\n\0x\r\n$3\r\na b\r\n");
    }
}

#[test]
fn a_large_value_comes_back_as_it_was() {
    let port = Port::open();
    let mut client = port.connect();
    let value: Vec<u8> = (0..3_000_000u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    let () = client.set("large", &value).unwrap();
    let back: Vec<u8> = client.get("large").unwrap();
    assert!(back == value);
    let many: Vec<(String, u32)> = (0..20_000).map(|n| (format!("k{n}"), n)).collect();
    let () = client.mset(&many).unwrap();
    let last: u32 = client.get("k19999").unwrap();
    assert_eq!(last, 19_999);
}

#[test]
fn a_violation_of_the_protocol_ends_the_connection_and_no_other() {
    let port = Port::open();
    let mut bystander = port.raw();
    for (bytes, error) in [
        (
            "*1\r\n$x\r\n",
            "-ERR Protocol error: invalid bulk length\r\n",
        ),
        (
            "*x\r\n",
            "-ERR Protocol error: invalid multibulk length\r\n",
        ),
        (
            "*1\r\nPING\r\n",
            "-ERR Protocol error: expected '$', got 'P'\r\n",
        ),
        (
            "PING \"\r\n",
            "-ERR Protocol error: unbalanced quotes in request\r\n",
        ),
        ("POST / HTTP/1.1\r\nHost: here\r\n\r\nSET a b\r\n", ""),
    ] {
        let mut raw = port.raw();
        raw.send(bytes);
        assert_eq!(raw.rest(), error);
        bystander.ask("PING", "+PONG\r\n");
    }
    let mut seed = 7u64;
    for _ in 0..200 {
        let mut raw = port.raw();
        let garbage: Vec<u8> = (0..300)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let byte = (seed >> 56) as u8;
                if byte < 100 {
                    b"*$\r\n0123 \"PINGSET"[byte as usize % 17]
                } else {
                    byte
                }
            })
            .collect();
        // It may be closed before everything is sent.
        let _ = raw.0.write_all(&garbage);
    }
    bystander.ask("PING", "+PONG\r\n");
}

#[test]
fn a_port_that_others_reach_has_a_password() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::new();
    let open = Server::builder(&store).bind("0.0.0.0:0");
    let refused = runtime.block_on(open.start());
    assert!(matches!(refused, Err(ServeError::Unprotected { .. })));
    let nowhere = runtime.block_on(Server::builder(&store).start());
    assert!(matches!(nowhere, Err(ServeError::Nowhere)));
    let protected = Server::builder(&store).bind("0.0.0.0:0").password("secret");
    assert!(!format!("{protected:?}").contains("secret"));
    assert!(runtime.block_on(protected.start()).is_ok());
}

#[test]
fn nothing_runs_before_the_password() {
    let port = Port::with(|builder| builder.password("secret"));
    assert!(port.client("").get_connection().is_ok_and(|mut client| {
        let error = client.get::<_, Option<String>>("key").unwrap_err();
        error.code() == Some("NOAUTH")
    }));
    let address = format!("redis://:secret@{}/", port.address);
    let mut client = redis::Client::open(address)
        .unwrap()
        .get_connection()
        .unwrap();
    let () = client.set("key", "value").unwrap();

    let mut raw = port.raw();
    raw.ask("GET key", "-NOAUTH Authentication required.\r\n");
    raw.ask(
        "AUTH wrong",
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
    );
    raw.ask(
        "AUTH other secret",
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
    );
    raw.ask("AUTH secret", "+OK\r\n");
    raw.ask("GET key", "$5\r\nvalue\r\n");
    raw.ask(
        "CONFIG GET requirepass",
        "*2\r\n$11\r\nrequirepass\r\n$0\r\n\r\n",
    );
    raw.ask("RESET", "+RESET\r\n");
    raw.ask("GET key", "-NOAUTH Authentication required.\r\n");
    raw.send("HELLO 2 AUTH default secret\r\n");
    raw.expect("*14\r\n");

    let mut raw = port.raw();
    raw.send("*100\r\n");
    assert!(raw.rest().contains("unauthenticated multibulk length"));
    let mut raw = port.raw();
    raw.send("*1\r\n$100000\r\n");
    assert!(raw.rest().contains("unauthenticated bulk length"));
    // The store has its password, and not its address, so those in the process need none.
    let value: String = port.store.connect().get("key").unwrap();
    assert_eq!(value, "value");
}

#[test]
fn many_clients_are_served_and_too_many_turned_away() {
    let port = Port::with(|builder| builder.max_clients(300));
    let mut clients: Vec<Raw> = (0..300).map(|_| port.raw()).collect();
    for round in 0..5 {
        for client in &mut clients {
            client.send("INCR n\r\n");
        }
        for client in &mut clients {
            let mut byte = [0];
            client.0.read_exact(&mut byte).unwrap();
            assert_eq!(byte[0], b':', "{round}");
            while byte[0] != b'\n' {
                client.0.read_exact(&mut byte).unwrap();
            }
        }
    }
    assert_eq!(port.raw().rest(), "-ERR max number of clients reached\r\n");
    clients[0].ask("GET n", "$4\r\n1500\r\n");
    clients.truncate(200);
    eventually("those who left make room", || {
        let mut raw = port.raw();
        raw.send("PING\r\n");
        let mut byte = [0];
        raw.0.read_exact(&mut byte).is_ok() && byte[0] == b'+'
    });
}

#[test]
fn a_slow_reader_holds_up_nobody_and_can_be_killed() {
    let port = Port::open();
    let mut other = port.raw();
    let () = port
        .store
        .connect()
        .set("large", vec![b'x'; 1 << 20])
        .unwrap();
    let mut slow = port.raw();
    slow.send("CLIENT SETNAME slow\r\n");
    slow.expect("+OK\r\n");
    for _ in 0..200 {
        slow.send("GET large\r\n");
    }
    for _ in 0..50 {
        other.ask("PING", "+PONG\r\n");
    }
    // It has not read anything, and gets all of it.
    let mut got = 0u64;
    let mut buffer = vec![0; 1 << 16];
    while got < 100 * (1 << 20) {
        got += slow.0.read(&mut buffer).unwrap() as u64;
    }
    other.send("CLIENT KILL TYPE normal SKIPME yes\r\n");
    other.expect(":1\r\n");
    let mut left = 0u64;
    while let Ok(bytes @ 1..) = slow.0.read(&mut buffer) {
        left += bytes as u64;
    }
    assert!(
        got + left < 200 * (1 << 20),
        "it was killed before everything was sent"
    );
    other.ask("PING", "+PONG\r\n");
}

#[test]
fn a_client_that_waits_is_served_unblocked_and_killed() {
    let port = Port::open();
    let mut other = port.connect();
    let mut waits = port.raw();
    let id = |raw: &mut Raw| {
        raw.send("CLIENT ID\r\n");
        let (mut byte, mut id) = ([0], String::new());
        raw.0.read_exact(&mut byte).unwrap();
        while byte[0] != b'\n' {
            raw.0.read_exact(&mut byte).unwrap();
            id.push(char::from(byte[0]));
        }
        id.trim().parse::<u64>().unwrap()
    };
    let blocked = |other: &mut redis::Connection, count: usize| {
        eventually("the number of those who wait", || {
            let info: redis::InfoDict = redis::cmd("INFO").arg("clients").query(other).unwrap();
            info.get::<usize>("blocked_clients") == Some(count)
        });
    };
    // What comes after a command that waits, waits as well.
    waits.send("BLPOP list 0\r\nPING\r\n");
    blocked(&mut other, 1);
    let () = other.rpush("list", "value").unwrap();
    waits.expect("*2\r\n$4\r\nlist\r\n$5\r\nvalue\r\n+PONG\r\n");

    let number = id(&mut waits);
    waits.send("BLPOP list 0\r\n");
    blocked(&mut other, 1);
    let () = redis::cmd("CLIENT")
        .arg("UNBLOCK")
        .arg(number)
        .arg("ERROR")
        .query(&mut other)
        .unwrap();
    waits.expect("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");

    waits.send("BLPOP list 0\r\n");
    blocked(&mut other, 1);
    let mut leaves = port.raw();
    leaves.send("BLPOP list 0\r\n");
    blocked(&mut other, 2);
    drop(leaves);
    blocked(&mut other, 1);
    let killed: u64 = redis::cmd("CLIENT")
        .arg("KILL")
        .arg("ID")
        .arg(number)
        .query(&mut other)
        .unwrap();
    assert_eq!(killed, 1);
    assert_eq!(waits.rest(), "");
    blocked(&mut other, 0);
    // Nobody has taken it.
    let () = other.rpush("list", "kept").unwrap();
    let kept: Vec<String> = other.lrange("list", 0, -1).unwrap();
    assert_eq!(kept, ["kept"]);
}

#[test]
fn a_pause_holds_commands_up_and_loses_none() {
    let port = Port::open();
    let mut other = port.raw();
    other.ask("CLIENT PAUSE 60000 WRITE", "+OK\r\n");
    let mut held = port.raw();
    held.send("GET n\r\nINCR n\r\nINCR n\r\n");
    held.expect("$-1\r\n");
    other.ask("GET n", "$-1\r\n");
    other.ask("CLIENT UNPAUSE", "+OK\r\n");
    held.expect(":1\r\n:2\r\n");
    other.ask("CLIENT PAUSE 50 ALL", "+OK\r\n");
    held.ask("INCR n", ":3\r\n");
}

#[test]
fn messages_and_replies_share_the_connection() {
    let port = Port::open();
    let mut subscriber = port.raw();
    subscriber.ask(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
    );
    let receivers: i64 = port.connect().publish("news", "one").unwrap();
    let inside: i64 = port.store.connect().publish("news", "two").unwrap();
    assert_eq!((receivers, inside), (1, 1));
    subscriber.expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\none\r\n");
    subscriber.expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\ntwo\r\n");
    subscriber.ask("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    subscriber.ask(
        "UNSUBSCRIBE",
        "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n",
    );
    subscriber.ask("PING", "+PONG\r\n");
}

#[test]
fn a_subscriber_that_does_not_read_is_cut() {
    let port = Port::open();
    let mut other = port.connect();
    let () = redis::cmd("CONFIG")
        .arg("SET")
        .arg("client-output-buffer-limit")
        .arg("pubsub 1mb 0 0")
        .query(&mut other)
        .unwrap();
    let mut subscriber = port.raw();
    subscriber.ask(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
    );
    let message = vec![b'm'; 100_000];
    eventually("it is cut", || {
        let receivers: i64 = other.publish("news", &message).unwrap();
        receivers == 0
    });
}

#[test]
fn monitors_see_commands_and_no_secrets() {
    let port = Port::open();
    let mut monitor = port.raw();
    monitor.ask("MONITOR", "+OK\r\n");
    let mut other = port.raw();
    other.ask("SET key \"a\\\"b\"", "+OK\r\n");
    other.send("AUTH default secret\r\nQUIT\r\n");
    other.rest();
    monitor.send("QUIT\r\n");
    let seen = monitor.rest();
    assert!(seen.contains(r#""SET" "key" "a\"b""#), "{seen}");
    assert!(
        seen.contains(r#""AUTH" "(redacted)" "(redacted)""#),
        "{seen}"
    );
    assert!(!seen.contains("secret"), "{seen}");
}

#[test]
fn clients_may_do_without_replies() {
    let port = Port::open();
    let mut raw = port.raw();
    raw.send("CLIENT REPLY OFF\r\nPING\r\nSET a 1\r\nCLIENT REPLY ON\r\nGET a\r\n");
    raw.expect("+OK\r\n$1\r\n1\r\n");
    raw.send("CLIENT REPLY SKIP\r\nPING\r\nGET a\r\n");
    raw.expect("$1\r\n1\r\n");
}

#[test]
fn what_clients_do_is_counted() {
    let port = Port::open();
    let mut client = port.connect();
    let () = client.set("key", "value").unwrap();
    let _: Value = redis::cmd("INCR")
        .arg("key")
        .query(&mut client)
        .unwrap_or(Value::Nil);
    let _: Value = redis::cmd("GET").query(&mut client).unwrap_or(Value::Nil);
    let info: redis::InfoDict = redis::cmd("INFO")
        .arg("everything")
        .query(&mut client)
        .unwrap();
    let of = |name: &str| info.get::<String>(name).unwrap_or_default();
    assert!(of("cmdstat_set").starts_with("calls=1,"));
    assert!(of("cmdstat_incr").ends_with("rejected_calls=0,failed_calls=1"));
    assert!(of("cmdstat_get").ends_with("rejected_calls=1,failed_calls=0"));
    assert_eq!(of("errorstat_ERR"), "count=2");
    assert_eq!(of("tcp_port"), port.address.port().to_string());
}

#[test]
fn a_shutdown_closes_all_connections_and_the_store_stays() {
    let port = Port::open();
    let mut client = port.raw();
    client.ask("SET key value", "+OK\r\n");
    let mut waits = port.raw();
    waits.send("BLPOP list 0\r\n");
    client.send("SHUTDOWN NOSAVE\r\n");
    assert_eq!(client.rest(), "");
    assert_eq!(waits.rest(), "");
    eventually("nobody listens", || {
        TcpStream::connect(port.address).is_err()
    });
    let value: String = port.store.connect().get("key").unwrap();
    assert_eq!(value, "value");
}

#[cfg(unix)]
#[test]
fn a_unix_socket_serves_as_well() {
    let path = std::env::temp_dir().join(format!("nearcache-{}.sock", std::process::id()));
    // What a server that was killed has left there.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let port = Port::with(|builder| builder.unix(&path));
    let mut client = redis::Client::open(format!("unix://{}", path.display()))
        .unwrap()
        .get_connection()
        .unwrap();
    let () = client.set("key", "value").unwrap();
    let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut client).unwrap();
    assert!(list.contains("flags=U "), "{list}");
    drop(port);
    assert!(!path.exists());
}

#[test]
fn a_client_of_resp3_is_told_of_changes() {
    let port = Port::open();
    let client = port.client("?protocol=resp3");
    assert_eq!(
        client.get_connection_info().redis_settings().protocol(),
        ProtocolVersion::RESP3
    );
    let mut raw = port.raw();
    raw.send("HELLO 3\r\nCLIENT TRACKING ON\r\nGET key\r\n");
    eventually("the reply to GET", || {
        let mut byte = [0];
        raw.0.read_exact(&mut byte).unwrap();
        byte[0] == b'_'
    });
    raw.expect("\r\n");
    let () = port.store.connect().set("key", "new").unwrap();
    raw.expect(">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n");
}
