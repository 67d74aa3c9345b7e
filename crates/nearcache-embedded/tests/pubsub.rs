//! Pub/sub: the same steps here and on a real server, and what only shows with threads, tasks, and slow subscribers.

mod both;

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use both::Both;
use nearcache_embedded::{Connection, Pushes, Store};
use redis::{ProtocolVersion, PushKind, Value, cmd};

fn run(con: &mut Connection, line: &str) -> Value {
    let args: Vec<&str> = line.split(' ').collect();
    con.execute(cmd(args[0]).arg(&args[1..]))
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Int(n) => n.to_string(),
        other => format!("{other:?}"),
    }
}

/// The next push, as its kind and its parts.
fn next(pushes: &mut Pushes) -> Option<(PushKind, Vec<String>)> {
    let push = pushes.wait_for(Duration::from_secs(60))?;
    Some((push.kind, push.data.iter().map(text).collect()))
}

/// `2:` marks what is for RESP2 only.
const STEPS: &[(usize, &str)] = &[
    (0, "SUBSCRIBE a"),
    (0, "SUBSCRIBE a b a"),
    (1, "PUBLISH a hello"),
    (1, "PUBLISH c hello"),
    (1, "PUBLISH a \"\""),
    (0, "PSUBSCRIBE a* a? *"),
    (1, "PUBSUB NUMPAT"),
    (1, "PUBSUB NUMSUB a b c"),
    (1, "PUBSUB NUMSUB"),
    (1, "PUBSUB CHANNELS b*"),
    (1, "PUBSUB CHANNELS nothing"),
    (1, "PUBSUB CHANNELS a b"),
    (1, "PUBSUB NOPE"),
    (1, "PUBSUB NUMPAT x"),
    (1, "PUBSUB"),
    (1, "PUBSUB HELP"),
    (0, "PING"),
    (0, "PING x"),
    (0, "PING x y"),
    (0, "GET k"),
    (0, "NOPE"),
    (0, "CLIENT GETNAME"),
    (0, "PUBLISH a x"),
    (0, "2:MULTI"),
    (0, "GET"),
    (0, "SUBSCRIBE"),
    (0, "UNSUBSCRIBE b zzz"),
    (1, "PUBLISH b gone"),
    (0, "UNSUBSCRIBE"),
    (0, "UNSUBSCRIBE"),
    (0, "PUNSUBSCRIBE a*"),
    (0, "PUNSUBSCRIBE"),
    (0, "PUNSUBSCRIBE"),
    (0, "PING"),
    (0, "GET k"),
    (0, "SSUBSCRIBE a s"),
    (1, "PUBLISH a no"),
    (1, "SPUBLISH a yes"),
    (1, "PUBSUB SHARDNUMSUB a s z"),
    (1, "PUBSUB SHARDCHANNELS s*"),
    (1, "PUBSUB SHARDCHANNELS a b"),
    (0, "SUBSCRIBE a"),
    (1, "PUBLISH a yes"),
    (0, "SUNSUBSCRIBE a"),
    (0, "SUNSUBSCRIBE"),
    (0, "SUNSUBSCRIBE"),
    (0, "PING"),
    (0, "UNSUBSCRIBE x"),
    (0, "UNSUBSCRIBE a"),
    (0, "SUBSCRIBE a"),
    (0, "RESET"),
    (1, "PUBLISH a nobody"),
    (0, "GET k"),
    (0, "MULTI"),
    (0, "SUBSCRIBE m"),
    (0, "PUBLISH other x"),
    (0, "EXEC"),
    (1, "PUBLISH m hello"),
    (0, "GET k"),
    (0, "UNSUBSCRIBE m"),
    (1, "MULTI"),
    (1, "SET k v"),
    (1, "PUBLISH none x"),
    (1, "SPUBLISH none x"),
    (1, "EXEC"),
    (0, "SUBSCRIBE a"),
    (1, "PSUBSCRIBE a"),
    (2, "PUBLISH a both"),
    (2, "MULTI"),
    (2, "PUBLISH a 1"),
    (2, "SET k v"),
    (2, "PUBLISH a 2"),
    (2, "EXEC"),
    (2, "PUBLISH"),
    (2, "PUBLISH a"),
    (2, "SPUBLISH a b c"),
    (2, "SUBSCRIBE"),
    (2, "PSUBSCRIBE"),
    (2, "SSUBSCRIBE"),
];

#[test]
fn clients_of_resp2_get_what_a_server_sends() {
    let mut both = Both::start(3);
    for (client, line) in STEPS {
        // A server keeps its patterns in no order.
        let line = line.trim_start_matches("2:");
        if line.contains("PUBLISH a hello") || line.contains("PUNSUBSCRIBE") {
            both.step_in_any_order(*client, line);
        } else {
            both.step(*client, line);
        }
    }
}

#[test]
fn clients_of_resp3_get_what_a_server_sends() {
    let mut both = Both::start(3);
    for client in 0..3 {
        both.speak_3(client);
    }
    // What a client publishes to itself comes before the reply on a server, and after it here.
    let is_for_3 = |line: &str| line != "PUBLISH a x" && !line.starts_with("2:");
    for (client, line) in STEPS.iter().filter(|(_, line)| is_for_3(line)) {
        both.step_in_any_order(*client, line);
        if *line == "RESET" {
            both.speak_3(0);
        }
    }
}

#[test]
fn a_client_sees_its_confirmation_before_the_messages_and_each_publishers_messages_in_order() {
    const EACH: usize = 2_000;
    let store = Store::new();
    let start = Barrier::new(5);
    let (store, start) = (&store, &start);
    let mut con = store.connect();
    let mut pushes = con.pushes();
    thread::scope(|scope| {
        for publisher in 0..4 {
            scope.spawn(move || {
                let mut con = store.connect();
                start.wait();
                for n in 0..EACH {
                    run(&mut con, &format!("PUBLISH news.{} {publisher}:{n}", n % 3));
                }
            });
        }
        start.wait();
        run(&mut con, "PSUBSCRIBE news.*");
    });
    let (kind, parts) = next(&mut pushes).unwrap();
    assert_eq!(kind, PushKind::PSubscribe);
    assert_eq!(parts, ["news.*", "1"]);
    let mut last = [None; 4];
    while let Some(push) = pushes.try_next() {
        let message = text(&push.data[2]);
        let (publisher, n) = message.split_once(':').unwrap();
        let (publisher, n): (usize, usize) = (publisher.parse().unwrap(), n.parse().unwrap());
        if let Some(last) = last[publisher] {
            assert_eq!(n, last + 1, "a message of {publisher} was lost or moved");
        }
        last[publisher] = Some(n);
    }
    assert!(last.iter().flatten().all(|last| last + 1 == EACH));
}

#[test]
fn all_subscribers_of_a_channel_see_the_same_order() {
    let store = Store::new();
    let mut subscribers: Vec<_> = (0..3).map(|_| store.connect()).collect();
    let mut queues: Vec<_> = subscribers.iter_mut().map(Connection::pushes).collect();
    run(&mut subscribers[0], "SUBSCRIBE c");
    run(&mut subscribers[1], "SUBSCRIBE c");
    run(&mut subscribers[2], "PSUBSCRIBE c*");
    thread::scope(|scope| {
        for publisher in 0..4 {
            let store = &store;
            scope.spawn(move || {
                let mut con = store.connect();
                for n in 0..1_000 {
                    assert_eq!(
                        run(&mut con, &format!("PUBLISH c {publisher}:{n}")),
                        Value::Int(3)
                    );
                }
            });
        }
    });
    let orders: Vec<Vec<String>> = queues
        .iter_mut()
        .map(|pushes| {
            std::iter::from_fn(|| pushes.try_next())
                .skip(1)
                .map(|push| text(push.data.last().unwrap()))
                .collect()
        })
        .collect();
    assert_eq!(orders[0].len(), 4_000);
    assert!(orders[0] == orders[1] && orders[1] == orders[2]);
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_and_nobody_waits_for_it() {
    let store = Store::new();
    let (mut slow, mut publisher) = (store.connect(), store.connect());
    let mut pushes = slow.pushes();
    run(&mut slow, "SUBSCRIBE c d");
    run(&mut slow, "PSUBSCRIBE e*");
    let megabyte = "x".repeat(1 << 20);
    let mut accepted = 0;
    while run(&mut publisher, &format!("PUBLISH c {megabyte}")) == Value::Int(1) {
        accepted += 1;
        assert!(accepted <= 32, "it is bounded");
    }
    assert!(pushes.was_cut());
    for (line, receivers) in [("PUBLISH d x", 0), ("PUBLISH e x", 0), ("PUBLISH c x", 0)] {
        assert_eq!(run(&mut publisher, line), Value::Int(receivers));
    }
    assert_eq!(
        next(&mut pushes).map(|(kind, _)| kind),
        Some(PushKind::Disconnection)
    );
    assert_eq!(next(&mut pushes), None);

    // As if it had connected again.
    assert_eq!(run(&mut slow, "GET k"), Value::Nil);
    run(&mut slow, "SUBSCRIBE d");
    let mut pushes = slow.pushes();
    assert_eq!(run(&mut publisher, "PUBLISH d x"), Value::Int(1));
    assert_eq!(next(&mut pushes).unwrap().0, PushKind::Subscribe);
    assert_eq!(next(&mut pushes).unwrap().1, ["d", "x"]);
}

#[test]
fn subscriptions_end_with_the_connection_with_quit_and_with_reset() {
    let store = Store::new();
    let mut publisher = store.connect();
    for end in ["drop", "QUIT", "RESET"] {
        let mut con = store.connect();
        let mut pushes = con.pushes();
        run(&mut con, "SUBSCRIBE c");
        assert_eq!(run(&mut publisher, "PUBLISH c 1"), Value::Int(1));
        match end {
            "drop" => drop(con),
            _ => {
                run(&mut con, end);
            }
        }
        assert_eq!(run(&mut publisher, "PUBLISH c 2"), Value::Int(0), "{end}");
        assert_eq!(next(&mut pushes).unwrap().0, PushKind::Subscribe);
        assert_eq!(
            next(&mut pushes).unwrap().1,
            ["c", "1"],
            "what was sent is still there"
        );
        if end != "RESET" {
            assert_eq!(next(&mut pushes), None);
        }
    }
}

#[test]
fn a_clone_has_subscriptions_of_its_own() {
    let store = Store::new();
    let mut con = store.connect();
    run(&mut con, "SUBSCRIBE c");
    let mut clone = con.clone();
    assert_eq!(run(&mut clone, "GET k"), Value::Nil);
    run(&mut clone, "SUBSCRIBE c");
    assert_eq!(run(&mut store.connect(), "PUBLISH c 1"), Value::Int(2));
    drop(clone);
    assert_eq!(run(&mut store.connect(), "PUBLISH c 1"), Value::Int(1));
    // A session that ends with the reply has none.
    let _ = store.connect().call(cmd("SUBSCRIBE").arg("c"));
    assert_eq!(run(&mut store.connect(), "PUBLISH c 1"), Value::Int(1));
}

#[test]
fn many_channels_are_found_at_once_and_leave_nothing_behind() {
    let store = Store::new();
    let mut con = store.connect();
    let channels: Vec<String> = (0..100_000).map(|n| format!("channel:{n}")).collect();
    let mut pushes = con.pushes();
    for some in channels.chunks(1_000) {
        con.execute(cmd("SUBSCRIBE").arg(some));
        while pushes.try_next().is_some() {}
    }
    let mut publisher = store.connect();
    for channel in channels.iter().step_by(997) {
        assert_eq!(
            run(&mut publisher, &format!("PUBLISH {channel} x")),
            Value::Int(1)
        );
        assert_eq!(next(&mut pushes).unwrap().1[0], *channel);
    }
    drop(con);
    assert_eq!(run(&mut publisher, "PUBSUB CHANNELS"), Value::Array(vec![]));
}

#[test]
fn a_published_message_reaches_subscribers_that_come_and_go() {
    let store = Store::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (store, stop) = (&store, &stop);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                let mut con = store.connect();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    run(&mut con, "PUBLISH c x");
                    run(&mut con, "PUBLISH d x");
                }
            });
        }
        let comers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..300 {
                        let mut con = store.connect();
                        con.set_protocol(ProtocolVersion::RESP3);
                        let mut pushes = con.pushes();
                        run(&mut con, "SUBSCRIBE c d");
                        run(&mut con, "PSUBSCRIBE *");
                        run(&mut con, "UNSUBSCRIBE c");
                        let mut left = false;
                        while let Some(push) = pushes.try_next() {
                            let channel = push.data.first().map(text);
                            if push.kind == PushKind::Unsubscribe {
                                left = true;
                            } else if push.kind == PushKind::Message {
                                assert!(!left || channel.as_deref() != Some("c"));
                            }
                        }
                        assert!(left);
                    }
                })
            })
            .collect();
        for comer in comers {
            comer.join().unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let mut con = store.connect();
    assert_eq!(run(&mut con, "PUBSUB NUMPAT"), Value::Int(0));
    assert_eq!(run(&mut con, "PUBLISH c x"), Value::Int(0));
}

#[cfg(feature = "aio")]
#[tokio::test]
async fn a_task_waits_for_pushes() {
    let store = Store::new();
    let mut con = store.connect();
    let mut pushes = con.pushes();
    let reader = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(push) = pushes.next().await {
            seen.push(text(push.data.last().unwrap()));
        }
        seen
    });
    run(&mut con, "SUBSCRIBE c");
    let publisher = tokio::task::spawn_blocking({
        let store = store.clone();
        move || {
            let mut con = store.connect();
            for n in 0..1_000 {
                run(&mut con, &format!("PUBLISH c {n}"));
            }
        }
    });
    publisher.await.unwrap();
    drop(con);
    let seen = reader.await.unwrap();
    // The number of subscriptions, and the messages.
    assert_eq!(seen.len(), 1_001);
    assert!(
        seen[1..]
            .iter()
            .enumerate()
            .all(|(n, text)| *text == n.to_string())
    );
}
