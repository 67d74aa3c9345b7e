//! Commands that wait: who is served, in which order, and what a dropped future takes.

mod waits;

use std::time::Duration;

use nearcache_embedded::{Clock, Connection, Store};
use redis::{Cmd, Commands, Value};
use waits::{blocked, waits};

fn run(connection: &mut Connection, line: &str) -> Value {
    connection.execute(Cmd::new().arg(line.split(' ').collect::<Vec<_>>()))
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.into())
}

fn pair(key: &str, element: &str) -> Value {
    Value::Array(vec![bulk(key), bulk(element)])
}

#[test]
fn who_came_first_is_served_first() {
    let store = Store::new();
    let first = waits(&store, "BLPOP a queue 0");
    let second = waits(&store, "BRPOP queue 0");
    let third = waits(&store, "BLPOP queue b 0");
    let mut connection = store.connect();
    assert_eq!(run(&mut connection, "RPUSH queue 1 2 3 4"), Value::Int(4));
    assert_eq!(first.join().unwrap(), pair("queue", "1"));
    assert_eq!(second.join().unwrap(), pair("queue", "4"));
    assert_eq!(third.join().unwrap(), pair("queue", "2"));
    let left: Vec<String> = connection.lrange("queue", 0, -1).unwrap();
    assert_eq!(left, ["3"]);
    assert_eq!(blocked(&store), 0);
}

#[test]
fn what_is_there_is_taken_at_once() {
    let store = Store::new();
    let mut connection = store.connect();
    run(&mut connection, "RPUSH b 1");
    run(&mut connection, "ZADD z 1 low 2 high");
    assert_eq!(run(&mut connection, "BLPOP a b 0"), pair("b", "1"));
    assert_eq!(
        run(&mut connection, "BZPOPMAX z 0"),
        Value::Array(vec![bulk("z"), bulk("high"), bulk("2")])
    );
}

#[test]
fn a_key_of_another_type_is_an_error_or_not_looked_at() {
    let store = Store::new();
    let mut connection = store.connect();
    run(&mut connection, "SET text 1");
    let reply = run(&mut connection, "BLPOP text 0");
    assert!(matches!(reply, Value::ServerError(error) if error.code() == "WRONGTYPE"));
    // Who waits goes on waiting when the key becomes something else.
    let waiter = waits(&store, "BLPOP queue 0");
    run(&mut connection, "SET queue text");
    assert_eq!(blocked(&store), 1);
    run(&mut connection, "DEL queue");
    run(&mut connection, "RPUSH queue 1");
    assert_eq!(waiter.join().unwrap(), pair("queue", "1"));
}

#[test]
fn nobody_waits_in_a_transaction_or_on_a_shared_connection() {
    let store = Store::new();
    let mut connection = store.connect();
    run(&mut connection, "MULTI");
    run(&mut connection, "BLPOP queue 0");
    run(&mut connection, "BLMOVE queue other LEFT LEFT 0");
    assert_eq!(
        run(&mut connection, "EXEC"),
        Value::Array(vec![Value::Nil, Value::Nil])
    );
    let mut cmd = redis::cmd("BLPOP");
    cmd.arg("queue").arg(0);
    assert_eq!(connection.call(&cmd), Value::Nil);
    assert_eq!(
        connection.transaction([&cmd]),
        Value::Array(vec![Value::Nil])
    );
}

#[test]
fn a_transaction_serves_when_it_is_done() {
    let store = Store::new();
    let waiter = waits(&store, "BLPOP queue 0");
    let mut connection = store.connect();
    for line in ["MULTI", "RPUSH queue 1 2", "LPOP queue", "EXEC"] {
        run(&mut connection, line);
    }
    assert_eq!(waiter.join().unwrap(), pair("queue", "2"));
    // What is gone again wakes nobody.
    let waiter = waits(&store, "BLPOP queue 0");
    for line in ["MULTI", "RPUSH queue 1", "DEL queue", "EXEC"] {
        run(&mut connection, line);
    }
    assert_eq!(blocked(&store), 1);
    run(&mut connection, "LPUSH queue 3");
    assert_eq!(waiter.join().unwrap(), pair("queue", "3"));
}

#[test]
fn one_who_is_served_may_serve_another() {
    let store = Store::new();
    let mover = waits(&store, "BLMOVE source queue LEFT RIGHT 0");
    let second = waits(&store, "BRPOPLPUSH queue end 0");
    let last = waits(&store, "BLPOP end 0");
    run(&mut store.connect(), "RPUSH source 1");
    assert_eq!(mover.join().unwrap(), bulk("1"));
    assert_eq!(second.join().unwrap(), bulk("1"));
    assert_eq!(last.join().unwrap(), pair("end", "1"));
}

#[test]
fn a_moved_clock_ends_a_wait() {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).build();
    let list = waits(&store, "BLPOP queue 1.5");
    let set = waits(&store, "BZPOPMIN z 2");
    let replicas = waits(&store, "WAIT 1 1500");
    clock.advance(Duration::from_millis(1_499));
    assert_eq!(blocked(&store), 3);
    clock.advance(Duration::from_millis(1));
    assert_eq!(list.join().unwrap(), Value::Nil);
    assert_eq!(replicas.join().unwrap(), Value::Int(0));
    assert_eq!(blocked(&store), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(set.join().unwrap(), Value::Nil);
}

#[test]
fn the_systems_clock_ends_a_wait() {
    let store = Store::new();
    let mut connection = store.connect();
    assert_eq!(run(&mut connection, "BLPOP queue 0.01"), Value::Nil);
    assert_eq!(run(&mut connection, "BLPOP queue 0.001"), Value::Nil);
    assert_eq!(
        run(&mut connection, "BLMOVE a b LEFT LEFT 0.01"),
        Value::Nil
    );
}

#[cfg(feature = "aio")]
mod futures {
    use std::collections::BTreeSet;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll, Waker};
    use std::thread;

    use super::*;

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn blpop(key: &str) -> Cmd {
        let mut cmd = redis::cmd("BLPOP");
        cmd.arg(key).arg(0);
        cmd
    }

    #[test]
    fn a_future_that_is_dropped_takes_nothing() {
        let store = Store::new();
        let (mut one, mut two, mut other) = (store.connect(), store.connect(), store.connect());
        let cmd = blpop("queue");
        let mut first = Box::pin(cmd.query_async::<Value>(&mut one));
        assert!(poll(&mut first).is_pending());
        let mut second = Box::pin(cmd.query_async::<Value>(&mut two));
        assert!(poll(&mut second).is_pending());
        run(&mut other, "RPUSH queue 1");
        // It is the first one's turn, but it goes.
        assert!(poll(&mut second).is_pending());
        drop(first);
        assert_eq!(
            poll(&mut second).map(Result::unwrap),
            Poll::Ready(pair("queue", "1"))
        );
        drop(second);
        // One that goes before anything comes leaves nothing behind.
        let mut third = Box::pin(cmd.query_async::<Value>(&mut one));
        assert!(poll(&mut third).is_pending());
        drop(third);
        assert_eq!(blocked(&store), 0);
        run(&mut other, "RPUSH queue 2");
        assert_eq!(run(&mut other, "LPOP queue"), bulk("2"));
    }

    #[test]
    fn a_future_whose_turn_was_in_vain_waits_on() {
        let store = Store::new();
        let (mut one, mut other) = (store.connect(), store.connect());
        let cmd = blpop("queue");
        let mut future = Box::pin(cmd.query_async::<Value>(&mut one));
        assert!(poll(&mut future).is_pending());
        run(&mut other, "RPUSH queue 1");
        assert_eq!(run(&mut other, "LPOP queue"), bulk("1"));
        assert!(poll(&mut future).is_pending());
        run(&mut other, "RPUSH queue 2");
        assert_eq!(
            poll(&mut future).map(Result::unwrap),
            Poll::Ready(pair("queue", "2"))
        );
    }

    #[test]
    fn a_thread_behind_a_future_has_its_turn_after_it() {
        let store = Store::new();
        let (mut one, mut other) = (store.connect(), store.connect());
        let cmd = blpop("queue");
        let mut future = Box::pin(cmd.query_async::<Value>(&mut one));
        assert!(poll(&mut future).is_pending());
        let thread = waits(&store, "BLPOP queue 0");
        run(&mut other, "RPUSH queue 1 2");
        assert_eq!(
            poll(&mut future).map(Result::unwrap),
            Poll::Ready(pair("queue", "1"))
        );
        assert_eq!(thread.join().unwrap(), pair("queue", "2"));
    }

    /// Nothing is lost and nothing comes twice, whoever pushes, pops, gives up or is dropped.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_is_lost_whoever_gives_up() {
        const ELEMENTS: usize = 3_000;
        let store = Store::new();
        let (taken, done) = (Arc::new(Taken::default()), Arc::new(AtomicBool::new(false)));
        let mut tasks = Vec::new();
        for number in 0..6_u64 {
            let (store, taken, done) = (store.clone(), taken.clone(), done.clone());
            tasks.push(tokio::spawn(async move {
                let mut connection = store.connect();
                let cmd = blpop(if number % 2 == 0 { "queue" } else { "other" });
                let mut rounds = 0;
                while !done.load(Ordering::SeqCst) {
                    rounds += 1;
                    let patience = Duration::from_micros(rounds * 7 % 400);
                    let pop = pin!(cmd.query_async::<Option<(String, usize)>>(&mut connection));
                    if let Ok(Ok(Some((_, element)))) = tokio::time::timeout(patience, pop).await {
                        taken.add(element);
                    }
                }
            }));
        }
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (store, taken, done) = (store.clone(), taken.clone(), done.clone());
                thread::spawn(move || {
                    let mut connection = store.connect();
                    while !done.load(Ordering::SeqCst) {
                        let popped: Option<(String, usize)> =
                            connection.blpop(&["queue", "other"], 0.002).unwrap();
                        if let Some((_, element)) = popped {
                            taken.add(element);
                        }
                    }
                })
            })
            .collect();
        let pushed = Arc::new(AtomicUsize::new(0));
        let pushers: Vec<_> = (0..2)
            .map(|_| {
                let (store, pushed) = (store.clone(), pushed.clone());
                thread::spawn(move || {
                    let mut connection = store.connect();
                    loop {
                        let element = pushed.fetch_add(1, Ordering::SeqCst);
                        if element >= ELEMENTS {
                            return;
                        }
                        let key = ["queue", "other", "aside"][element % 3];
                        let () = connection.rpush(key, element).unwrap();
                        if key == "aside" {
                            let to = ["queue", "other"][element % 2];
                            redis::cmd("LMOVE")
                                .arg(&["aside", to, "LEFT", "RIGHT"])
                                .exec(&mut connection)
                                .unwrap();
                        }
                    }
                })
            })
            .collect();
        pushers.into_iter().for_each(|t| t.join().unwrap());
        while taken.len() < ELEMENTS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        done.store(true, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert!(taken.is_every(ELEMENTS));
        assert_eq!(blocked(&store), 0);
    }

    /// What was taken, each once.
    #[derive(Default)]
    struct Taken(Mutex<BTreeSet<usize>>);

    impl Taken {
        fn add(&self, element: usize) {
            assert!(self.0.lock().unwrap().insert(element), "{element} twice");
        }

        fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }

        fn is_every(&self, count: usize) -> bool {
            self.0.lock().unwrap().iter().copied().eq(0..count)
        }
    }
}
