//! Streams: entries in their order, and groups that share them out.

use std::time::Duration;

use nearcache::structures::{Consumer, Delivery, EntryId};
use nearcache::{ErrorKind, Remaining};
use serde::{Deserialize, Serialize};

use crate::target::{Face, Target, raw};

suite! {
    entries_are_appended_and_read,
    entries_are_as_others_write_them,
    a_reader_waits_for_what_is_new,
    a_stream_is_capped_and_trimmed,
    a_group_shares_entries_out,
    what_was_not_acknowledged_comes_again,
    a_delivery_is_given_back,
    idle_deliveries_are_taken_over,
    what_holds_no_element_is_delivered_as_an_error,
    a_group_that_is_gone_is_made_anew,
    closing_the_cache_ends_a_consumer,
    wrong_types_and_options_are_errors,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    customer: String,
    total: u32,
    note: Option<String>,
}

fn order(customer: &str, total: u32) -> Order {
    Order {
        customer: customer.into(),
        total,
        note: None,
    }
}

async fn entries_are_appended_and_read(target: Target) {
    let cache = target.cache();
    assert_eq!(call!(cache.stream::<Order>("s").len()).unwrap(), 0);
    assert!(
        call!(cache.stream::<Order>("s").range(..))
            .unwrap()
            .is_empty()
    );
    let mut ids = Vec::new();
    for total in 0..5 {
        ids.push(
            call!(
                cache
                    .stream::<Order>("s")
                    .append(order("ada", total))
                    .ttl_if_new("1h")
            )
            .unwrap(),
        );
    }
    assert!(ids.is_sorted());
    assert!(call!(cache.ttl("s")).unwrap().duration().is_some());
    assert_eq!(call!(cache.stream::<Order>("s").len()).unwrap(), 5);
    let all = call!(cache.stream::<Order>("s").range(..)).unwrap();
    assert_eq!(all.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids);
    assert_eq!(all[3].value, order("ada", 3));
    let totals = |entries: Vec<nearcache::structures::Entry<Order>>| -> Vec<u32> {
        entries.iter().map(|entry| entry.value.total).collect()
    };
    let some = call!(cache.stream::<Order>("s").range(ids[1]..ids[3])).unwrap();
    assert_eq!(totals(some), [1, 2]);
    let some = call!(cache.stream::<Order>("s").range(ids[1]..).limit(2)).unwrap();
    assert_eq!(totals(some), [1, 2]);
    let some = call!(cache.stream::<Order>("s").range(..=ids[3]).rev().limit(2)).unwrap();
    assert_eq!(totals(some), [3, 2]);
    assert_eq!(
        totals(call!(cache.stream::<Order>("s").last(2)).unwrap()),
        [4, 3]
    );
    assert!(
        call!(cache.stream::<Order>("s").last(0))
            .unwrap()
            .is_empty()
    );
    assert!(
        call!(cache.stream::<Order>("s").range(..EntryId::MIN))
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        totals(call!(cache.stream::<Order>("s").read()).unwrap()),
        [0, 1, 2, 3, 4]
    );
    let some = call!(cache.stream::<Order>("s").read().since(ids[2]).limit(1)).unwrap();
    assert_eq!(totals(some), [3]);
    assert!(
        call!(cache.stream::<Order>("s").read().since(ids[4]))
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        call!(
            cache
                .stream::<Order>("s")
                .remove([ids[1], ids[1], EntryId::MAX])
        )
        .unwrap(),
        1
    );
    assert_eq!(
        totals(call!(cache.stream::<Order>("s").range(..)).unwrap()),
        [0, 2, 3, 4]
    );
    let id = EntryId::new(u64::MAX - 1, 7);
    assert_eq!(
        call!(cache.stream::<Order>("s").append(order("ada", 9)).id(id)).unwrap(),
        id
    );
    let error = call!(cache.stream::<Order>("s").append(order("ada", 9)).id(id)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
}

async fn entries_are_as_others_write_them(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = target.cache_at(&target.url("streams"), &prefix);
    let key = format!("{prefix}:s");
    let text = |text: &str| redis::Value::BulkString(text.as_bytes().to_vec());
    let fields = async || {
        let all = raw(
            &cache,
            &[b"XREVRANGE", key.as_bytes(), b"+", b"-", b"COUNT", b"1"],
        )
        .await;
        let redis::Value::Array(mut all) = all else {
            panic!("{all:?}")
        };
        let redis::Value::Array(mut entry) = all.remove(0) else {
            panic!("{all:?}")
        };
        entry.pop().unwrap()
    };
    call!(cache.stream::<Order>("s").append(order("ada", 30))).unwrap();
    let whole = r#"{"customer":"ada","note":null,"total":30}"#;
    assert_eq!(
        fields().await,
        redis::Value::Array(vec![text("value"), text(whole)])
    );
    call!(cache.stream::<u32>("s").append(7)).unwrap();
    assert_eq!(
        fields().await,
        redis::Value::Array(vec![text("value"), text("7")])
    );
    call!(cache.delete("s")).unwrap();
    call!(
        cache
            .stream::<Order>("s")
            .by_fields()
            .append(order("ada", 30))
    )
    .unwrap();
    let redis::Value::Array(parts) = fields().await else {
        panic!()
    };
    assert_eq!(parts.len(), 4, "{parts:?}");
    assert!(
        parts
            .windows(2)
            .any(|pair| pair == [text("customer"), text("ada")])
    );
    assert!(
        parts
            .windows(2)
            .any(|pair| pair == [text("total"), text("30")])
    );
    raw(
        &cache,
        &[
            b"XADD",
            key.as_bytes(),
            b"*",
            b"total",
            b"5",
            b"customer",
            b"bob",
            b"note",
            b"soon",
        ],
    )
    .await;
    let all = call!(cache.stream::<Order>("s").by_fields().range(..)).unwrap();
    assert_eq!(all[0].value, order("ada", 30));
    let bob = Order {
        note: Some("soon".into()),
        ..order("bob", 5)
    };
    assert_eq!(all[1].value, bob);
    // The forms are not mixed up.
    let error = call!(cache.stream::<Order>("s").range(..)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(
        error.to_string().contains(&all[0].id.to_string()),
        "{error}"
    );
    let nothing: Option<u8> = None;
    let none = call!(cache.stream::<Option<u8>>("s").by_fields().append(nothing)).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Codec);
    call!(cache.delete("s")).unwrap();
}

async fn a_reader_waits_for_what_is_new(target: Target) {
    let cache = target.cache();
    let none = call!(cache.stream::<u32>("s").read().new().wait("10ms")).unwrap();
    assert!(none.is_empty());
    call!(cache.stream::<u32>("s").append(1)).unwrap();
    let at_once = call!(cache.stream::<u32>("s").read().wait("30s")).unwrap();
    assert_eq!(at_once[0].value, 1);
    let error = call!(cache.stream::<u32>("s").read().new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let (waiting, last) = (cache.clone(), at_once[0].id);
    let waits = match waiting {
        Face::Async(cache) => tokio::spawn(async move {
            cache
                .stream::<u32>("s")
                .read()
                .since(last)
                .wait("30s")
                .await
        }),
        Face::Blocking(cache) => tokio::task::spawn_blocking(move || {
            cache
                .stream::<u32>("s")
                .read()
                .since(last)
                .wait("30s")
                .run()
        }),
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    call!(cache.stream::<u32>("s").append(2)).unwrap();
    assert_eq!(waits.await.unwrap().unwrap()[0].value, 2);
}

async fn a_stream_is_capped_and_trimmed(target: Target) {
    let cache = target.cache();
    for number in 0..20_u32 {
        call!(cache.stream::<u32>("s").append(number).cap(10).ttl("1h")).unwrap();
    }
    assert_eq!(call!(cache.stream::<u32>("s").len()).unwrap(), 10);
    call!(cache.stream::<u32>("s").append(20).cap(5).approx()).unwrap();
    assert!(call!(cache.stream::<u32>("s").len()).unwrap() >= 5);
    let error = call!(cache.stream::<u32>("s").append(20).approx()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    call!(cache.stream::<u32>("s").trim(4)).unwrap();
    let left = call!(cache.stream::<u32>("s").range(..)).unwrap();
    assert_eq!(left.len(), 4);
    assert_eq!(left[3].value, 20);
    assert_eq!(
        call!(cache.stream::<u32>("s").trim_before(left[2].id)).unwrap(),
        2
    );
    assert_eq!(call!(cache.stream::<u32>("s").trim(0)).unwrap(), 2);
    assert_eq!(call!(cache.stream::<u32>("s").len()).unwrap(), 0);
    // It is there, and empty.
    assert!(call!(cache.contains("s")).unwrap());
}

/// A consumer of either face.
enum Worker<T> {
    Async(Consumer<T>),
    Blocking(Consumer<T, nearcache::operation::Blocking>),
}

enum Work<T> {
    Async(Delivery<T>),
    Blocking(Delivery<T, nearcache::operation::Blocking>),
}

impl<T: nearcache::structures::Member> Worker<T> {
    async fn next(&mut self) -> nearcache::Result<Work<T>> {
        self.next_within(Duration::from_secs(60))
            .await
            .expect("a delivery")
    }

    async fn next_within(&mut self, time: Duration) -> Option<nearcache::Result<Work<T>>> {
        match self {
            Worker::Async(worker) => {
                let next = tokio::time::timeout(time, worker.next()).await.ok()?;
                next.map(|next| next.map(Work::Async))
            }
            Worker::Blocking(worker) => {
                let next = worker.next_timeout(time);
                next.map(|next| next.map(Work::Blocking))
            }
        }
    }
}

macro_rules! of {
    ($work:expr, $delivery:ident => $asked:expr) => {
        match &$work {
            Work::Async($delivery) => $asked,
            Work::Blocking($delivery) => $asked,
        }
    };
}

macro_rules! done {
    ($work:expr, $method:ident) => {
        match &$work {
            Work::Async(delivery) => delivery.$method().await.unwrap(),
            Work::Blocking(delivery) => delivery.$method().run().unwrap(),
        }
    };
}

fn worker<T: nearcache::structures::Member>(
    cache: &Face,
    name: &str,
    idle: Option<&str>,
) -> Worker<T> {
    match cache {
        Face::Async(cache) => {
            let worker = cache.stream::<T>("s").group("g").consumer(name);
            Worker::Async(match idle {
                Some(idle) => worker.claim_idle(idle),
                None => worker,
            })
        }
        Face::Blocking(cache) => {
            let worker = cache.stream::<T>("s").group("g").consumer(name);
            Worker::Blocking(match idle {
                Some(idle) => worker.claim_idle(idle),
                None => worker,
            })
        }
    }
}

fn value(work: &Work<u32>) -> u32 {
    of!(work, delivery => *delivery.value().unwrap())
}

async fn a_group_shares_entries_out(target: Target) {
    let cache = target.cache();
    for number in 0..40_u32 {
        call!(cache.stream::<u32>("s").append(number)).unwrap();
    }
    assert!(call!(cache.stream::<u32>("s").group("g").create()).unwrap());
    assert!(!call!(cache.stream::<u32>("s").group("g").create()).unwrap());
    let (mut one, mut other) = (worker(&cache, "a", None), worker(&cache, "b", None));
    let mut seen = Vec::new();
    for _ in 0..20 {
        for worker in [&mut one, &mut other] {
            let work: Work<u32> = worker.next().await.unwrap();
            assert_eq!(of!(work, delivery => delivery.attempts()), 1);
            seen.push(value(&work));
            assert!(done!(work, ack));
            assert!(!done!(work, ack));
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
    let pending = call!(cache.stream::<u32>("s").group("g").pending()).unwrap();
    assert_eq!(
        (pending.count, pending.first, pending.consumers.len()),
        (0, None, 0)
    );
    // What comes later is delivered, too; and another group has its own.
    call!(cache.stream::<u32>("s").append(99)).unwrap();
    let work = one.next().await.unwrap();
    assert_eq!(value(&work), 99);
    assert!(other.next_within(Duration::from_millis(30)).await.is_none());
    assert!(call!(cache.stream::<u32>("s").group("late").from_now().create()).unwrap());
    let entries = call!(cache.stream::<u32>("s").group("g").pending_entries()).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((&*entries[0].consumer, entries[0].attempts), ("a", 1));
    let of_b = call!(
        cache
            .stream::<u32>("s")
            .group("g")
            .pending_entries()
            .of("b")
    )
    .unwrap();
    assert!(of_b.is_empty());
    let idle = call!(
        cache
            .stream::<u32>("s")
            .group("g")
            .pending_entries()
            .idle("1h")
            .limit(5)
    )
    .unwrap();
    assert!(idle.is_empty());
    let pending = call!(cache.stream::<u32>("s").group("g").pending()).unwrap();
    assert_eq!(pending.consumers, [("a".to_owned(), 1)]);
    assert_eq!(
        call!(cache.stream::<u32>("s").group("g").remove_consumer("a")).unwrap(),
        1
    );
    assert!(call!(cache.stream::<u32>("s").group("g").destroy()).unwrap());
    assert!(!call!(cache.stream::<u32>("s").group("g").destroy()).unwrap());
    let error = call!(cache.stream::<u32>("s").group("g").pending()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
}

async fn what_was_not_acknowledged_comes_again(target: Target) {
    let cache = target.cache();
    for number in 0..25_u32 {
        call!(cache.stream::<u32>("s").append(number)).unwrap();
    }
    let mut first = worker::<u32>(&cache, "a", None);
    for number in 0..3 {
        let work = first.next().await.unwrap();
        assert_eq!(value(&work), number);
        if number == 1 {
            done!(work, ack);
        }
    }
    drop(first);
    // The same name, after a restart: what it had, also what it had not got to yet, and then what is new.
    let mut second = worker::<u32>(&cache, "a", None);
    let mut seen = Vec::new();
    for _ in 0..24 {
        let work = second.next().await.unwrap();
        let expected = if value(&work) < 10 { 2 } else { 1 };
        assert_eq!(of!(work, delivery => delivery.attempts()), expected);
        seen.push(value(&work));
        done!(work, ack);
    }
    let expected: Vec<u32> = (0..25).filter(|number| *number != 1).collect();
    assert_eq!(seen, expected);
}

async fn a_delivery_is_given_back(target: Target) {
    let cache = target.cache();
    for number in 0..2_u32 {
        call!(cache.stream::<u32>("s").append(number)).unwrap();
    }
    let mut first = worker::<u32>(&cache, "a", None);
    let work = first.next().await.unwrap();
    assert!(done!(work, retry));
    // What was read together with it comes first.
    assert_eq!(value(&first.next().await.unwrap()), 1);
    let again = first.next().await.unwrap();
    assert_eq!(value(&again), 0);
    assert_eq!(of!(again, delivery => delivery.attempts()), 2);
    // Another consumer takes it over at once, however long it otherwise waits.
    assert!(done!(again, retry));
    let mut other = worker::<u32>(&cache, "b", Some("1d"));
    let taken = other.next().await.unwrap();
    assert_eq!(value(&taken), 0);
    assert!(first.next_within(Duration::from_millis(30)).await.is_none());
    assert!(!done!(again, retry), "it is another's by now");
    assert!(done!(taken, ack));
}

async fn idle_deliveries_are_taken_over(target: Target) {
    let cache = target.cache();
    for number in 0..30_u32 {
        call!(cache.stream::<u32>("s").append(number)).unwrap();
    }
    let mut dead = worker::<u32>(&cache, "dead", None);
    for _ in 0..30 {
        dead.next().await.unwrap();
    }
    drop(dead);
    let mut alive = worker::<u32>(&cache, "alive", Some("1ms"));
    let mut seen = Vec::new();
    while seen.len() < 30 {
        let work = alive.next().await.unwrap();
        if done!(work, ack) {
            seen.push(value(&work));
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    assert_eq!(
        call!(cache.stream::<u32>("s").group("g").pending())
            .unwrap()
            .count,
        0
    );
}

async fn what_holds_no_element_is_delivered_as_an_error(target: Target) {
    let cache = target.cache();
    call!(cache.stream::<String>("s").append("seven".to_owned())).unwrap();
    let removed = call!(cache.stream::<u32>("s").append(8)).unwrap();
    call!(cache.stream::<u32>("s").append(9)).unwrap();
    let mut first = worker::<u32>(&cache, "a", None);
    let work = first.next().await.unwrap();
    let error = of!(work, delivery => delivery.value().unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(done!(work, ack));
    drop(first);
    // What was removed meanwhile is done.
    call!(cache.stream::<u32>("s").remove([removed])).unwrap();
    let mut second = worker::<u32>(&cache, "a", None);
    assert_eq!(value(&second.next().await.unwrap()), 9);
    assert_eq!(
        call!(cache.stream::<u32>("s").group("g").pending())
            .unwrap()
            .count,
        1
    );
}

async fn a_group_that_is_gone_is_made_anew(target: Target) {
    let cache = target.cache();
    let mut consumer = worker::<u32>(&cache, "a", None);
    // The first wait makes the stream.
    for _ in 0..1_000 {
        let came = consumer.next_within(Duration::from_millis(20)).await;
        assert!(came.is_none());
        if call!(cache.contains("s")).unwrap() {
            break;
        }
    }
    assert!(call!(cache.contains("s")).unwrap(), "the stream was made");
    call!(cache.stream::<u32>("s").append(1)).unwrap();
    assert_eq!(value(&consumer.next().await.unwrap()), 1);
    call!(cache.delete("s")).unwrap();
    call!(cache.stream::<u32>("s").append(2)).unwrap();
    assert_eq!(value(&consumer.next().await.unwrap()), 2);
}

async fn closing_the_cache_ends_a_consumer(target: Target) {
    let cache = target.cache();
    let waits = match worker::<u32>(&cache, "a", None) {
        Worker::Async(mut consumer) => tokio::spawn(async move { consumer.next().await.is_none() }),
        Worker::Blocking(mut consumer) => {
            tokio::task::spawn_blocking(move || consumer.next().is_none())
        }
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    call!(cache.close()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), waits).await;
    assert!(ended.unwrap().unwrap());
}

async fn wrong_types_and_options_are_errors(target: Target) {
    let cache = target.cache();
    call!(cache.set("text", "text")).unwrap();
    for error in [
        call!(cache.stream::<u32>("text").append(1).ttl("1h"))
            .map(drop)
            .unwrap_err(),
        call!(cache.stream::<u32>("text").append(1).cap(3))
            .map(drop)
            .unwrap_err(),
        call!(cache.stream::<u32>("text").range(..))
            .map(drop)
            .unwrap_err(),
        call!(cache.stream::<u32>("text").len())
            .map(drop)
            .unwrap_err(),
        call!(cache.stream::<u32>("text").read())
            .map(drop)
            .unwrap_err(),
        call!(cache.stream::<u32>("text").read().wait("1s"))
            .map(drop)
            .unwrap_err(),
        call!(cache.stream::<u32>("text").trim(1))
            .map(drop)
            .unwrap_err(),
        call!(cache.stream::<u32>("text").remove([EntryId::MIN]))
            .map(drop)
            .unwrap_err(),
        call!(cache.stream::<u32>("text").group("g").create())
            .map(drop)
            .unwrap_err(),
        call!(cache.stream::<u32>("text").group("g").pending())
            .map(drop)
            .unwrap_err(),
        call!(cache.stream::<u32>("text").group("g").ack([EntryId::MIN]))
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
    }
    assert_eq!(
        call!(cache.get::<String>("text")).unwrap().as_deref(),
        Some("text")
    );
    assert_eq!(call!(cache.ttl("text")).unwrap(), Remaining::Forever);
    call!(cache.delete("text")).unwrap();
    call!(cache.set("s", "text")).unwrap();
    let mut consumer = worker::<u32>(&cache, "a", None);
    let error = consumer.next().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    let mut consumer = worker::<u32>(&cache, "a", Some("0s"));
    let error = consumer.next().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
}
