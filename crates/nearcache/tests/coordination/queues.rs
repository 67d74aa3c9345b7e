//! Workers that are killed lose nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nearcache::blocking;
use nearcache_testkit::{Redis, eventually, random_prefix};

use crate::child::Folder;
use crate::process::start;
use crate::seconds;

const WORKERS: usize = 4;

#[test]
fn workers_that_are_killed_lose_no_job() {
    let (redis, prefix, folder) = (Redis::start(), random_prefix(), Folder::new());
    let start = |blocking| start("queue", redis.port(), &prefix, blocking, &folder);
    let mut workers: Vec<_> = (0..WORKERS).map(|number| start(number % 2 == 1)).collect();
    let url = format!("{}?timeout=20s&prefix={prefix}", redis.url());
    let cache = blocking::Cache::open(&url).unwrap();
    let queue = cache.queue::<u32>("jobs");
    let (begun, mut pushed, mut kills) = (Instant::now(), 0_u32, 0);
    while begun.elapsed() < Duration::from_secs(seconds()) || kills <= 3 || pushed <= 500 {
        // More than they can do: they are killed in the middle of it.
        for _ in 0..100 {
            let push = queue.push(&pushed);
            let push = match fastrand::u8(..10) {
                0 => push.delay("50ms"),
                _ => push,
            };
            push.run().unwrap();
            pushed += 1;
        }
        std::thread::sleep(Duration::from_millis(fastrand::u64(20..150)));
        let victim = fastrand::usize(..WORKERS);
        if fastrand::u8(..4) == 0 {
            workers[victim].pause(Duration::from_millis(500));
        } else {
            workers[victim].kill();
            workers[victim] = start(fastrand::bool());
            kills += 1;
        }
    }
    eventually("all jobs are done", || queue.is_empty().run().unwrap());
    drop(workers);
    let mut done = HashMap::<u32, u32>::new();
    for line in folder.texts().iter().flat_map(|text| text.lines()) {
        let number = line
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok());
        *done.entry(number.expect("a number")).or_default() += 1;
    }
    let lost: Vec<u32> = (0..pushed)
        .filter(|number| !done.contains_key(number))
        .collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(queue.dead().is_empty().run().unwrap());
    let twice = done.values().filter(|times| **times > 1).count();
    println!(
        "queue: {pushed} jobs, {kills} workers killed: none lost, {twice} done more than once"
    );
}
