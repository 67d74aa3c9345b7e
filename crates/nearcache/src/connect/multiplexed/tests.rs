//! The promises of the backend, over servers that misbehave, with a clock that is moved.

use super::super::LAIN_IDLE;
use super::super::target::{self, Place};
use super::super::vain::{SHORT_CALLS, SILENT};
use super::*;
use crate::runtime::moved;

/// Long enough that a test would notice if real time counted.
const LIMIT: Duration = Duration::from_secs(600);
const TERMS: Terms = Terms {
    limit: LIMIT,
    epoch: 0,
};

/// A server with a moved clock, and its listener: the kernel accepts the connection, but nobody reads from it.
fn silent() -> (Arc<Multiplexed>, moved::Clock, std::net::TcpListener) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let place = Place::Tcp {
        host: address.ip().to_string(),
        port: address.port(),
    };
    let clock = moved::Clock::new();
    let server = Multiplexed::new(Target::new(place), Runtime::Moved(clock.clone()));
    (Arc::new(server), clock, listener)
}

/// The runtime of this test has one thread, and the driver does not run while the test itself does.
#[tokio::test]
async fn invariant_6_what_the_server_closed_while_it_was_idle_is_found_before_a_write() {
    let redis = nearcache_testkit::SecureRedis::start();
    let targets = target::of(&redis);
    let written = 4 * targets.len();
    for target in targets {
        let clock = moved::Clock::new();
        let server = Multiplexed::new(target, Runtime::Moved(clock.clone()));
        let mut write = redis::cmd("INCR");
        write.arg("n");
        for _ in 0..3 {
            server.request(&write, TERMS).await.unwrap();
            redis.inline("CLIENT KILL TYPE normal");
            nearcache_testkit::eventually("the connection is closed", || {
                redis.inline("CLIENT LIST").lines().count() == 1
            });
            clock.advance(LAIN_IDLE);
        }
        server.request(&write, TERMS).await.unwrap();
    }
    assert_eq!(redis.inline("GET n"), written.to_string());
}

/// A real server whose way goes silent, and calls that are each too short to be a proof.
#[tokio::test]
async fn invariant_4_short_calls_in_vain_retire_a_silent_connection_too() {
    let redis = nearcache_testkit::Redis::start();
    let proxy = nearcache_testkit::Proxy::start(&redis.address());
    let client = redis::Client::open(proxy.url()).unwrap();
    let clock = moved::Clock::new();
    let server = Arc::new(Multiplexed::new(
        Target::from_client(&client).unwrap(),
        Runtime::Moved(clock.clone()),
    ));
    let ping = redis::cmd("PING");
    let runtime = Handle::current().id();
    let limit = SILENT / 2;
    let in_vain = async || {
        let mut call = server.request(&ping, Terms { limit, epoch: 0 });
        assert!(futures_util::poll!(&mut call).is_pending());
        clock.advance(limit);
        call.await.unwrap_err();
    };
    server.request(&ping, TERMS).await.unwrap();
    proxy.set(nearcache_testkit::Fault::delay(
        nearcache_testkit::Frames::replies(),
        Duration::from_secs(600),
    ));
    for _ in 1..SHORT_CALLS {
        in_vain().await;
        assert!(server.found(runtime).is_some(), "too early");
    }
    in_vain().await;
    assert!(server.found(runtime).is_none());

    // A reply in between starts the count again.
    proxy.heal();
    server.request(&ping, TERMS).await.unwrap();
    for _ in 0..2 * SHORT_CALLS {
        let hold = proxy.hold(nearcache_testkit::Frames::replies());
        in_vain().await;
        drop(hold);
        server.request(&ping, TERMS).await.unwrap();
    }
    assert!(server.found(runtime).is_some());
    assert_eq!(proxy.connections(), 2);
}

/// As a firewall does that has forgotten a connection: what is sent on it is gone, and nobody is told.
#[tokio::test]
async fn invariant_8_what_was_dropped_silently_while_it_was_idle_costs_a_part_of_the_limit() {
    let redis = nearcache_testkit::Redis::start();
    let proxy = nearcache_testkit::Proxy::start(&redis.address());
    let client = redis::Client::open(proxy.url()).unwrap();
    let clock = moved::Clock::new();
    let server = Arc::new(Multiplexed::new(
        Target::from_client(&client).unwrap(),
        Runtime::Moved(clock.clone()),
    ));
    let mut write = redis::cmd("INCR");
    write.arg("n");
    // A busy connection is not asked, and one that answers is used on.
    for questions in [0, 0, 1] {
        if questions > 0 {
            clock.advance(super::super::LONG_IDLE);
        }
        server.request(&write, TERMS).await.unwrap();
        let commands = proxy.commands();
        let sent = commands
            .iter()
            .filter(|command| *command == "INFO replication");
        assert_eq!(
            sent.count(),
            1 + questions,
            "once by the greeting: {commands:?}"
        );
        assert_eq!(proxy.connections(), 1);
    }
    clock.advance(super::super::LONG_IDLE);
    let silence = proxy.hold(nearcache_testkit::Frames::requests());
    // All who come meanwhile wait for the same answer.
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let (server, write) = (Arc::clone(&server), write.clone());
            tokio::spawn(async move { server.request(&write, TERMS).await })
        })
        .collect();
    silence.until_held(1).await;
    clock.advance(LIMIT / 4);
    while proxy.connections() < 2 {
        tokio::task::yield_now().await;
    }
    drop(silence);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(redis.inline("GET n"), "6");
}

/// It keeps its connections when it becomes a replica, and when it is promoted again, with the data of the other one.
#[tokio::test]
async fn invariant_8_a_server_that_took_anothers_data_meanwhile_is_another_one() {
    let (redis, other) = (
        nearcache_testkit::Redis::start(),
        nearcache_testkit::Redis::start(),
    );
    let client = redis::Client::open(redis.url()).unwrap();
    let clock = moved::Clock::new();
    let server = Multiplexed::new(
        Target::from_client(&client).unwrap(),
        Runtime::Moved(clock.clone()),
    );
    let met = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&met);
    server.common().listeners().add(Arc::new(move |event| {
        if let LinkEvent::Ready { server } = event {
            listener.lock().push(server.clone());
        }
    }));
    let mut read = redis::cmd("GET");
    read.arg("k");
    for met_before in [1, 1] {
        server.request(&read, TERMS).await.unwrap();
        clock.advance(super::super::LONG_IDLE);
        assert_eq!(met.lock().len(), met_before);
    }
    let port = other.port();
    redis.inline(&format!("REPLICAOF 127.0.0.1 {port}"));
    nearcache_testkit::eventually("it has the other's data", || {
        let info = redis.inline("INFO replication");
        info.contains("master_link_status:up")
    });
    redis.inline("REPLICAOF NO ONE");
    server.request(&read, TERMS).await.unwrap();
    let met = met.lock();
    assert_eq!(met.len(), 2);
    assert_ne!(met[0], met[1]);
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_call_ends_when_its_limit_has_passed_and_not_before() {
    let (server, clock, _listener) = silent();
    let call = tokio::spawn(async move { server.request(&redis::cmd("PING"), TERMS).await });
    settle().await;
    clock.advance(LIMIT - Duration::from_millis(1));
    settle().await;
    assert!(!call.is_finished());
    clock.advance(Duration::from_millis(1));
    assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn invariant_2_calls_that_wait_together_for_a_connect_and_fail_are_one_failure() {
    let (server, clock, _listener) = silent();
    let limit = Duration::from_millis(500);
    for _ in 0..2 {
        let calls: Vec<_> = (0..10)
            .map(|_| {
                let (server, terms) = (Arc::clone(&server), Terms { limit, epoch: 0 });
                tokio::spawn(async move { server.request(&redis::cmd("PING"), terms).await })
            })
            .collect();
        settle().await;
        clock.advance(limit);
        let mut echoes = 0;
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout);
            echoes += usize::from(error.is_echo());
        }
        assert_eq!(echoes, 9);
    }
}

/// The connect goes on for longer than a call waits, and its end reaches whoever waits then.
#[tokio::test]
async fn a_call_that_waits_for_a_connect_is_told_its_own_limit() {
    let (server, clock, _listener) = silent();
    let limit = Duration::from_millis(500);
    let call = || {
        let (server, terms) = (Arc::clone(&server), Terms { limit, epoch: 0 });
        tokio::spawn(async move { server.request(&redis::cmd("PING"), terms).await })
    };
    let first = call();
    settle().await;
    clock.advance(CONNECT - limit / 2);
    let error = first.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("gave up after 500ms"), "{error}");
    let second = call();
    settle().await;
    clock.advance(limit / 2);
    let error = second.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("gave up after 500ms"), "{error}");
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_stop_the_connect_that_others_wait_for() {
    let (server, _clock, listener) = silent();
    let ping = redis::cmd("PING");
    let mut first = server.request(&ping, TERMS);
    assert!(futures_util::poll!(&mut first).is_pending());
    settle().await;
    let second = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.request(&redis::cmd("PING"), TERMS).await }
    });
    settle().await;
    drop(first);
    settle().await;
    assert!(!second.is_finished());
    assert!(listener.accept().is_ok());
    listener.set_nonblocking(true).unwrap();
    assert!(
        listener.accept().is_err(),
        "the second caller opened a connection of its own"
    );
    second.abort();
}

/// Each runtime has a connection of its own, and one of them is told.
#[test]
fn a_server_that_takes_no_writes_any_more_is_left_by_all_runtimes() {
    let redis = nearcache_testkit::Redis::start();
    let client = redis::Client::open(redis.url()).unwrap();
    let target = Target::from_client(&client).unwrap();
    let server = Multiplexed::new(target, Runtime::Tokio);
    let runtimes = [(); 3].map(|()| {
        let mut building = tokio::runtime::Builder::new_current_thread();
        building.enable_all().build().unwrap()
    });
    let mut id = redis::cmd("CLIENT");
    id.arg("ID");
    let ids = || {
        let ask = |runtime: &tokio::runtime::Runtime| {
            runtime.block_on(server.request(&id, TERMS)).unwrap()
        };
        runtimes.each_ref().map(ask)
    };
    let before = ids();
    assert_eq!(ids(), before, "connections are kept");
    redis.inline("REPLICAOF 127.0.0.1 1");
    let mut write = redis::cmd("SET");
    write.arg("k").arg("v");
    let error = runtimes[1].block_on(server.request(&write, TERMS));
    assert!(error.unwrap_err().to_string().contains("READONLY"));
    for (old, new) in before.iter().zip(ids()) {
        assert_ne!(*old, new);
    }
}
