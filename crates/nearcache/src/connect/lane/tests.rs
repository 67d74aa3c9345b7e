//! Calls over a real server, with a proxy where the way there must misbehave, and a clock that is moved where time
//! must pass.

use std::sync::Arc;
use std::time::Duration;

use futures_util::poll;
use nearcache_testkit::{Fault, Frames, Proxy, Redis};
use redis::{Cmd, Pipeline, Value};
use tokio::runtime::Handle;
use tokio::task::yield_now;

use super::super::multiplexed::Multiplexed;
use super::super::target::{Address, Place, Target};
use super::super::{Backend, Terms};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{Runtime, moved};

const LIMIT: Duration = Duration::from_secs(600);
const TERMS: Terms = Terms {
    limit: LIMIT,
    epoch: 0,
};

fn over(url: &str, runtime: Runtime) -> Arc<Multiplexed> {
    let client = redis::Client::open(url).unwrap();
    Arc::new(Multiplexed::new(
        Target::from_client(&client).unwrap(),
        runtime,
    ))
}

/// A server whose clock stands still, with a connection.
async fn still(url: &str) -> (Arc<Multiplexed>, moved::Clock) {
    let clock = moved::Clock::new();
    let server = over(url, Runtime::Moved(clock.clone()));
    server.request(&redis::cmd("PING"), TERMS).await.unwrap();
    (server, clock)
}

fn get(key: &str) -> Cmd {
    let mut get = redis::cmd("GET");
    get.arg(key);
    get
}

fn set(key: &str, value: &str) -> Pipeline {
    let mut set = Pipeline::new();
    set.atomic().cmd("SET").arg(key).arg(value);
    set.cmd("UNLINK").arg(lease(key));
    set
}

fn lease(key: &str) -> String {
    match key.contains('{') {
        true => format!("{key}#nearcache:lease"),
        false => format!("{{{key}}}#nearcache:lease"),
    }
}

fn text(value: &str) -> Value {
    Value::BulkString(value.into())
}

/// Something to ask, by itself or together with others.
#[derive(Clone, Debug)]
enum Ask {
    Get(String),
    Set(String, String),
}

/// What became of it, so that it can be compared.
async fn ask(server: &Multiplexed, ask: &Ask) -> std::result::Result<Value, (ErrorKind, String)> {
    let told = |error: Error| (error.kind(), error.to_string());
    match ask {
        Ask::Get(key) => server.request(&get(key), TERMS).await.map_err(told),
        Ask::Set(key, value) => {
            let replies = server.pipeline(&set(key, value), TERMS).await;
            let first = replies.map(|mut replies| replies.swap_remove(0));
            match first.map_err(told)? {
                Value::ServerError(error) => Err(told(Error::from_server(&error))),
                reply => Ok(reply),
            }
        }
    }
}

/// All of them in one turn of the scheduler.
async fn together(
    server: &Arc<Multiplexed>,
    asks: &[Ask],
) -> Vec<std::result::Result<Value, (ErrorKind, String)>> {
    let spawn = |what: &Ask| {
        let (server, what) = (Arc::clone(server), what.clone());
        tokio::spawn(async move { ask(&server, &what).await })
    };
    let asked: Vec<_> = asks.iter().map(spawn).collect();
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await.unwrap());
    }
    answers
}

/// So many calls, which have left: the next ones that gather are fewer than those under way, until they are as many.
macro_rules! company {
    ($server:expr, $calls:expr, $lone:ident) => {
        let lone = get("lone");
        let calls = (0..$calls).map(|_| $server.request(&lone, TERMS));
        let mut calls: Vec<_> = calls.collect();
        for call in &mut calls {
            assert!(poll!(call).is_pending());
        }
        let $lone = async move {
            for call in calls {
                assert_eq!(call.await?, Value::Nil);
            }
            Ok::<_, Error>(())
        };
    };
}

/// How many calls that is where it does not matter, of a power of two all of which their callers send; and how many
/// batches, of how many calls.
const COMPANY: usize = 8;
const BATCHES: (u64, u64) = (2, 6);

/// Polls these calls in company, so that they leave together.
macro_rules! in_company {
    ($server:expr, $lone:ident, $($call:ident = $made:expr),+) => {
        company!($server, COMPANY, $lone);
        $(let mut $call = $made;
        assert!(poll!(&mut $call).is_pending());)+
    };
}

/// Random calls on keys that hold a text, nothing, a list, or are forbidden to this user.
#[tokio::test]
async fn invariant_1_each_call_has_the_answer_that_it_has_by_itself() {
    let redis = Redis::start();
    redis.inline("ACL SETUSER half on >secret ~ok:* ~{ok:* +@all");
    let url = redis.url().replace("redis://", "redis://half:secret@");
    let server = over(&url, Runtime::Tokio);
    let mut seed = 7_u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    for round in 0..60 {
        redis.inlines(&[
            "FLUSHALL",
            "RPUSH ok:list a",
            "SET ok:text t",
            "SET no:text t",
        ]);
        let asks: Vec<Ask> = (0..=random(20))
            .map(|place| match random(if round % 3 == 0 { 8 } else { 6 }) {
                0 => Ask::Get("ok:text".into()),
                1 => Ask::Get("ok:nothing".into()),
                2 => Ask::Get("ok:list".into()),
                3 => Ask::Get("no:text".into()),
                4 | 5 => Ask::Set(format!("ok:set:{}", random(9)), place.to_string()),
                _ => Ask::Set("no:set".into(), place.to_string()),
            })
            .collect();
        let answers = together(&server, &asks).await;
        for (what, answer) in asks.iter().zip(answers) {
            assert_eq!(answer, ask(&server, what).await, "{what:?} of {asks:?}");
        }
    }
    let (batches, calls) = server.common().batches();
    assert!(batches > 30 && calls > 3 * batches, "{batches} {calls}");
}

#[tokio::test]
async fn invariant_8_sets_of_one_key_keep_their_order_and_leases_go() {
    let redis = Redis::start();
    let (server, _clock) = still(&redis.url()).await;
    redis.inlines(&[&format!("SET {} token", lease("k")), "SET k 0"]);
    let (first, second) = (set("k", "1"), set("k", "2"));
    in_company!(
        server,
        lone,
        a = server.pipeline(&first, TERMS),
        b = server.pipeline(&second, TERMS)
    );
    assert_eq!(a.await.unwrap()[0], Value::Okay);
    assert_eq!(b.await.unwrap()[0], Value::Okay);
    lone.await.unwrap();
    assert_eq!(server.request(&get("k"), TERMS).await.unwrap(), text("2"));
    let left = redis.inline(&format!("EXISTS {}", lease("k")));
    assert_eq!(left.trim(), ":0");
    let (batches, calls) = BATCHES;
    assert_eq!(server.common().batches(), (batches + 1, calls + 2));
}

/// A server that is full refuses sets and answers reads; one that has no `MULTI` carries the sets out one by one.
#[tokio::test]
async fn invariant_8_a_refused_multi_is_not_the_end_of_its_sets() {
    let full = Redis::start();
    let server = over(&full.url(), Runtime::Tokio);
    full.inlines(&["SET k v", "CONFIG SET maxmemory 1"]);
    let mut asks = vec![Ask::Get("k".into())];
    asks.extend((0..8).map(|n| Ask::Set(format!("set:{n}"), "v".into())));
    asks.push(Ask::Get("k".into()));
    let answers = together(&server, &asks).await;
    for (what, answer) in asks.iter().zip(answers) {
        match what {
            Ask::Get(_) => assert_eq!(answer, Ok(text("v"))),
            Ask::Set(..) => {
                let (_, said) = answer.unwrap_err();
                assert!(said.contains("OOM"), "{said}");
            }
        }
    }
    full.inline("CONFIG SET maxmemory 0");
    assert!(together(&server, &asks).await.iter().all(Result::is_ok));

    let bare = Redis::start_with(&["--rename-command", "MULTI", ""]);
    let server = over(&bare.url(), Runtime::Tokio);
    bare.inline(&format!("SET {} token", lease("set:3")));
    let answers = together(&server, &asks[1..9]).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(bare.inline("DBSIZE").trim(), ":8");
}

#[tokio::test]
async fn invariant_2_each_call_has_its_own_limit() {
    let redis = Redis::start();
    redis.inline("SET k v");
    let proxy = Proxy::start(&redis.address());
    let (server, clock) = still(&proxy.url()).await;
    let hold = proxy.hold(Frames::replies());
    let short = Duration::from_millis(50);
    let (k, write) = (get("k"), set("w", "v"));
    let limited = Terms {
        limit: short,
        epoch: 0,
    };
    in_company!(
        server,
        lone,
        brief = server.request(&k, limited),
        long = server.request(&k, TERMS),
        set = server.pipeline(&write, limited)
    );
    hold.until_held(COMPANY + 1).await;
    clock.advance(short - Duration::from_millis(1));
    yield_now().await;
    assert!(poll!(&mut brief).is_pending());
    clock.advance(Duration::from_millis(1));
    for error in [brief.await.unwrap_err(), set.await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("50ms"), "{error}");
    }
    assert!(poll!(&mut long).is_pending());
    hold.release();
    assert_eq!(long.await.unwrap(), text("v"));
    lone.await.unwrap();
}

#[tokio::test]
async fn invariant_2_what_was_decided_in_an_earlier_epoch_does_not_leave() {
    let redis = Redis::start();
    let (server, _clock) = still(&redis.url()).await;
    let write = set("k", "v");
    in_company!(server, lone, old = server.pipeline(&write, TERMS));
    server.common().epoch().advance();
    let current = Terms { epoch: 1, ..TERMS };
    let k = get("k");
    let mut new = server.request(&k, current);
    assert!(poll!(&mut new).is_pending());
    assert!(old.await.unwrap_err().is_outdated());
    assert_eq!(new.await.unwrap(), Value::Nil);
    lone.await.unwrap();
}

#[tokio::test]
async fn invariant_3_a_call_that_is_dropped_does_not_disturb_the_others() {
    let redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let (server, _clock) = still(&proxy.url()).await;
    redis.inline("SET k v");
    let (k, none) = (get("k"), get("none"));
    for before in [true, false] {
        let hold = proxy.hold(Frames::replies());
        let [a, b, c] = ["a", "b", "c"].map(|key| set(key, "v"));
        in_company!(
            server,
            lone,
            first = server.pipeline(&a, TERMS),
            read = server.request(&k, TERMS),
            second = server.pipeline(&b, TERMS),
            third = server.pipeline(&c, TERMS)
        );
        if !before {
            hold.until_held(COMPANY + 1).await;
        }
        drop(first);
        drop(read);
        drop(third);
        // Those that come later are not given their replies.
        let mut late = server.request(&none, TERMS);
        assert!(poll!(&mut late).is_pending());
        hold.release();
        assert_eq!(second.await.unwrap(), [Value::Okay, Value::Int(0)]);
        assert_eq!(late.await.unwrap(), Value::Nil);
        lone.await.unwrap();
        assert_eq!(server.request(&k, TERMS).await.unwrap(), text("v"));
    }
    assert_eq!(proxy.connections(), 1);
}

/// Its connection is in doubt once it is lost; the calls beside it go on.
#[tokio::test]
async fn invariant_4_a_write_given_up_after_it_was_sent_is_in_doubt() {
    let redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let (server, _clock) = still(&proxy.url()).await;
    let connected = server.found(Handle::current().id()).unwrap();
    for gives_up in [false, true] {
        let hold = proxy.hold(Frames::replies());
        let (a, b) = (set("a", "v"), set("b", "v"));
        in_company!(
            server,
            lone,
            dropped = server.pipeline(&a, TERMS),
            kept = server.pipeline(&b, TERMS)
        );
        hold.until_held(COMPANY + 1).await;
        if gives_up {
            drop(dropped);
            connected.lose();
            assert!(server.common().doubts().any());
        } else {
            hold.release();
            dropped.await.unwrap();
            assert!(!server.common().doubts().any());
            kept.await.unwrap();
            lone.await.unwrap();
            continue;
        }
        hold.release();
        assert_eq!(kept.await.unwrap()[0], Value::Okay, "running calls stay");
        lone.await.unwrap();
    }
    // The next call closes it at the server.
    drop(connected);
    server.request(&get("a"), TERMS).await.unwrap();
    assert!(!server.common().doubts().any());
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn invariant_4_a_connection_that_breaks_ends_all_its_calls_and_writes_are_in_doubt() {
    let redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let (server, _clock) = still(&proxy.url()).await;
    proxy.set(Fault::Drop(Frames::requests()));
    let (a, k) = (set("a", "v"), get("k"));
    in_company!(
        server,
        lone,
        write = server.pipeline(&a, TERMS),
        read = server.request(&k, TERMS)
    );
    for _ in 0..9 {
        yield_now().await;
    }
    proxy.cut(nearcache_testkit::Close::Reset);
    for error in [
        write.await.unwrap_err(),
        read.await.unwrap_err(),
        lone.await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    }
    assert!(server.common().doubts().any());
}

/// The first have no reply yet when the second one leaves.
#[tokio::test]
async fn invariant_5_no_call_waits_for_the_reply_of_another() {
    let redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let (server, _clock) = still(&proxy.url()).await;
    let hold = proxy.hold(Frames::replies());
    let k = get("k");
    in_company!(server, lone, first = server.request(&k, TERMS));
    hold.until_held(COMPANY + 1).await;
    let mut second = server.request(&k, TERMS);
    assert!(poll!(&mut second).is_pending());
    hold.until_held(COMPANY + 2).await;
    assert_eq!(server.common().batches(), BATCHES);
    hold.release();
    for reply in [first.await, second.await] {
        assert_eq!(reply.unwrap(), Value::Nil);
    }
    lone.await.unwrap();
}

/// The driver has no turn meanwhile: the last of them sends them.
#[tokio::test]
async fn invariant_5_calls_that_gather_leave_when_they_are_half_of_those_under_way() {
    let redis = Redis::start();
    let (server, _clock) = still(&redis.url()).await;
    company!(server, COMPANY, lone);
    let k = get("k");
    let mut gathering = Vec::new();
    let (batches, calls) = BATCHES;
    for left in (0..COMPANY).rev() {
        assert_eq!(server.common().batches(), BATCHES);
        let mut call = server.request(&k, TERMS);
        assert!(poll!(&mut call).is_pending());
        gathering.push(call);
        if left == 0 {
            let all = calls + COMPANY as u64;
            assert_eq!(server.common().batches(), (batches + 1, all));
        }
    }
    lone.await.unwrap();
    for call in gathering {
        assert_eq!(call.await.unwrap(), Value::Nil);
    }
}

/// Its caller writes what fits into the socket, and the driver the rest.
#[tokio::test]
async fn invariant_5_a_lone_call_may_be_larger_than_the_socket() {
    let redis = Redis::start();
    let (server, _clock) = still(&redis.url()).await;
    for length in [10, 48 << 20, 20, 48 << 20] {
        // Of a `MULTI` the first reply would come before the end is written.
        let mut write = redis::cmd("SET");
        write.arg("k").arg("v".repeat(length));
        assert_eq!(server.request(&write, TERMS).await.unwrap(), Value::Okay);
        assert_eq!(redis.inline("STRLEN k").trim(), format!(":{length}"));
    }
}

/// The driver has set its alarm for a limit that ends later, and has nothing to write. Time passes here, because a clock
/// that is moved wakes the driver.
#[tokio::test]
async fn invariant_2_the_limit_of_a_lone_call_is_watched() {
    let redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let server = over(&proxy.url(), Runtime::Tokio);
    let k = get("k");
    assert_eq!(server.request(&k, TERMS).await.unwrap(), Value::Nil);
    let hold = proxy.hold(Frames::requests().of("GET"));
    for millis in [150, 100, 50] {
        let limit = Duration::from_millis(millis);
        let call = server.request(&k, Terms { limit, ..TERMS });
        let waited = tokio::time::timeout(Duration::from_secs(20), call).await;
        let error = waited.expect("its limit ends it").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    hold.release();
}

#[tokio::test]
async fn invariant_8_a_shared_multi_is_bounded_in_sets_and_in_bytes() {
    let redis = Redis::start();
    let (server, _clock) = still(&redis.url()).await;
    for (sets, value, expected) in [
        (2 * super::sets::MOST + 10, "v".to_owned(), 3),
        (40, "v".repeat(super::sets::MOST_BYTES / 16), 3),
    ] {
        company!(server, 512, lone);
        redis.inlines(&["FLUSHALL", "CONFIG RESETSTAT"]);
        let asks: Vec<Ask> = (0..sets)
            .map(|n| Ask::Set(n.to_string(), value.clone()))
            .collect();
        let answers = together(&server, &asks).await;
        assert!(answers.iter().all(|answer| *answer == Ok(Value::Okay)));
        assert_eq!(redis.inline("DBSIZE").trim(), format!(":{sets}"));
        assert_eq!(transactions(&redis), expected);
        lone.await.unwrap();
    }
}

fn transactions(redis: &Redis) -> usize {
    let stats = redis.inline("INFO commandstats");
    let calls = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_exec:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn invariant_6_what_was_not_sent_goes_over_another_connection() {
    let redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let (server, _clock) = still(&proxy.url()).await;
    let (a, k) = (set("a", "v"), get("k"));
    in_company!(
        server,
        lone,
        write = server.pipeline(&a, TERMS),
        read = server.request(&k, TERMS)
    );
    server.found(Handle::current().id()).unwrap().lose();
    assert_eq!(write.await.unwrap(), [Value::Okay, Value::Int(0)]);
    assert_eq!(read.await.unwrap(), Value::Nil);
    lone.await.unwrap();
    assert_eq!(proxy.connections(), 2);
}

/// Its callers may be elsewhere, and must not wait for ever.
#[cfg(feature = "blocking")]
#[test]
fn calls_end_with_their_runtime() {
    let redis = Redis::start();
    let proxy = Proxy::start(&redis.address());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = over(&proxy.url(), Runtime::Tokio);
    let hold = proxy.hold(Frames::replies().of("GET"));
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let server = Arc::clone(&server);
            runtime.spawn(async move { server.request(&get("k"), TERMS).await })
        })
        .collect();
    runtime.block_on(hold.until_held(3));
    let waiting = {
        let _inside = runtime.enter();
        let server = Arc::clone(&server);
        std::thread::spawn({
            let handle = Handle::current();
            move || {
                let _inside = handle.enter();
                crate::runtime::block_on(async move { server.request(&get("k"), TERMS).await })
            }
        })
    };
    runtime.block_on(hold.until_held(4));
    drop(runtime);
    assert_eq!(
        waiting.join().unwrap().unwrap_err().kind(),
        ErrorKind::Connect
    );
    drop(calls);
}

/// A node of a Cluster refuses a `MULTI` about several slots.
#[tokio::test]
async fn invariant_8_sets_of_several_slots_do_not_share_a_multi() {
    let redis = Redis::start_with(&["--cluster-enabled", "yes"]);
    redis.inline("CLUSTER ADDSLOTSRANGE 0 16383");
    nearcache_testkit::eventually("the Cluster is whole", || {
        redis.inline("CLUSTER INFO").contains("cluster_state:ok")
    });
    let node = Target::new(Place::Node(Address {
        host: "127.0.0.1".to_owned(),
        port: redis.port(),
    }));
    let server = Arc::new(Multiplexed::new(node, Runtime::Tokio));
    server.request(&redis::cmd("PING"), TERMS).await.unwrap();
    let asks: Vec<Ask> = (0..40)
        .map(|n| Ask::Set(format!("{{{}}}:{n}", n % 7), "v".into()))
        .collect();
    company!(server, 64, lone);
    let answers = together(&server, &asks).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Value::Okay)));
    assert_eq!(transactions(&redis), 7);
    lone.await.unwrap();
}

/// As the near tier reads, and as a cache deletes.
#[tokio::test]
async fn invariant_1_pairs_of_commands_have_their_own_replies() {
    let redis = Redis::start();
    let (server, _clock) = still(&redis.url()).await;
    redis.inlines(&["SET a 1", "SET b 2", "RPUSH list x"]);
    let pair = |first: [&str; 2], second: [&str; 2]| {
        let mut pipeline = Pipeline::new();
        for [verb, key] in [first, second] {
            pipeline.cmd(verb).arg(key);
        }
        pipeline
    };
    let read = |key| pair(["GET", key], ["PTTL", key]);
    let delete = |key| pair(["UNLINK", "lease"], ["UNLINK", key]);
    let (a, list, gone, other) = (read("a"), read("list"), delete("b"), delete("missing"));
    in_company!(
        server,
        lone,
        first = server.pipeline(&a, TERMS),
        second = server.pipeline(&gone, TERMS),
        third = server.pipeline(&list, TERMS),
        fourth = server.pipeline(&other, TERMS)
    );
    assert_eq!(first.await.unwrap(), [text("1"), Value::Int(-1)]);
    assert_eq!(second.await.unwrap(), [Value::Int(0), Value::Int(1)]);
    let replies = third.await.unwrap();
    assert!(matches!(
        &replies[..],
        [Value::ServerError(_), Value::Int(-1)]
    ));
    assert_eq!(fourth.await.unwrap(), [Value::Int(0), Value::Int(0)]);
    lone.await.unwrap();
    let (batches, calls) = BATCHES;
    assert_eq!(server.common().batches(), (batches + 1, calls + 4));
}
