//! Processes that change one session. Some are killed while they do.

use std::time::Duration;

use nearcache::patterns::SessionId;
use nearcache::{Cache, blocking};
use nearcache_testkit::{Redis, random_prefix};

use crate::child::{Process, say};

/// Says to this binary that it is one of the processes: `URL PREFIX ID PART COUNT`.
const ROLE: &str = "NEARCACHE_TEST_SESSIONS";

/// How many numbers of one process there are.
const PART: u32 = 100_000;

/// A process that appends the numbers of its part.
fn start(prefix: &str, id: &SessionId, part: u32, count: u32) -> Process {
    let role = format!("{} {prefix} {id} {part} {count}", Redis::shared().url());
    Process::heard("processes::one_of_the_processes", ROLE, &role)
}

/// Does nothing unless this is one of the processes.
#[test]
fn one_of_the_processes() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let words: Vec<&str> = role.split(' ').collect();
    let [url, prefix, id, part, count] = words[..] else {
        panic!("a role has five words");
    };
    let (part, count): (u32, u32) = (part.parse().unwrap(), count.parse().unwrap());
    let builder = blocking::Cache::builder(url).prefix(prefix);
    let cache = builder.timeout(Duration::from_secs(20)).build().unwrap();
    let sessions = cache.sessions::<Vec<u32>>();
    let id: SessionId = id.parse().unwrap();
    for number in 0..count {
        let added = sessions.update(&id, |list| list.push(part * PART + number));
        assert_eq!(added.run().unwrap(), Some(()));
        if number == 20 {
            say("half");
        }
    }
    say("done");
}

#[test]
fn processes_that_change_one_session_lose_nothing_and_a_killed_one_leaves_it_whole() {
    const COUNT: u32 = 120;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let prefix = random_prefix();
    let cache = Cache::builder(&Redis::shared().url())
        .prefix(&prefix)
        .build()
        .unwrap();
    let sessions = cache.sessions::<Vec<u32>>();
    let id = runtime
        .block_on(sessions.create(&vec![]).user("alice").into_future())
        .unwrap();
    let mut whole: Vec<Process> = (0..4)
        .map(|part| start(&prefix, &id, part, COUNT))
        .collect();
    // These would go on for long. They are killed in the midst of it.
    let mut killed: Vec<Process> = (4..6).map(|part| start(&prefix, &id, part, PART)).collect();
    for process in &mut killed {
        process.hear("half");
    }
    drop(killed);
    for process in &mut whole {
        process.hear("done");
    }
    let list = runtime
        .block_on(sessions.load(&id).into_future())
        .unwrap()
        .unwrap();
    let of = |part: u32| -> Vec<u32> {
        let numbers = list.iter().filter(|number| **number / PART == part);
        numbers.map(|number| number % PART).collect()
    };
    for part in 0..4 {
        assert_eq!(of(part), (0..COUNT).collect::<Vec<u32>>(), "process {part}");
    }
    for part in 4..6 {
        let numbers = of(part);
        assert!(numbers.len() > 20);
        let expected: Vec<u32> = (0..numbers.len() as u32).collect();
        assert_eq!(numbers, expected, "process {part}, which was killed");
    }
}
