//! Each script and its twin do the same: run on a real server and on the embedded store, on the same random
//! inputs, with what others do between them. Replies, values and TTLs are compared after every step.
//!
//! A family of scripts says what its steps are and what is alike; the clocks of the two are not the same.

use std::collections::BTreeMap;

use fastrand::Rng;
use nearcache_embedded::Store;
use nearcache_testkit::Redis;
use redis::{Cmd, ConnectionLike, Pipeline, Value};

use super::{Input, Script};

/// Times pass while both are asked, in milliseconds: what is further apart than this is not the same.
pub(crate) const TOLERANCE: u64 = 5_000;

/// Scripts that work on the same keys.
pub(crate) struct Family<'s> {
    pub(crate) scripts: &'s [&'static Script],
    /// How many times they begin with an empty store.
    pub(crate) sequences: u64,
    pub(crate) steps: usize,
    pub(crate) step: fn(&mut Rng) -> Step,
    /// What asks for everything that there is.
    pub(crate) contents: fn() -> Pipeline,
    pub(crate) alike: fn(&Value, &Value) -> bool,
    /// A word for a script's reply.
    pub(crate) answer: fn(&str, &Value) -> String,
    /// `SCRIPT ANSWER`: each must be given, and often.
    pub(crate) answers: &'static [&'static str],
}

/// What asks for everything under these keys.
pub(crate) fn contents(keys: &[&[u8]]) -> Pipeline {
    let mut all = Pipeline::new();
    for key in keys {
        all.cmd("TYPE").arg(key);
        all.cmd("GET").arg(key);
        all.cmd("PTTL").arg(key);
    }
    all
}

/// Whether two replies are the same, but for a few seconds in a time and for the words of an error.
pub(crate) fn alike(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| alike(a, b))
        }
        (Value::ServerError(ours), Value::ServerError(theirs)) => ours.code() == theirs.code(),
        (Value::Int(ours), Value::Int(theirs)) if *ours > 2 * TOLERANCE.cast_signed() => {
            ours.abs_diff(*theirs) < TOLERANCE
        }
        (ours, theirs) => ours == theirs,
    }
}

pub(crate) enum Step {
    /// What somebody else does.
    Other(Cmd),
    Call(&'static str, &'static Script, Input),
}

/// A store that knows the scripts.
pub(crate) fn store(scripts: &[&'static Script]) -> Store {
    let store = Store::new();
    for script in scripts {
        store.register(script.embedded);
    }
    store
}

pub(crate) fn compare(family: &Family<'_>) {
    let store = store(family.scripts);
    let redis = Redis::start();
    let client = redis::Client::open(redis.url()).unwrap();
    let (mut ours, mut theirs) = (store.connect(), client.get_connection().unwrap());
    let mut answers = BTreeMap::<String, usize>::new();
    for seed in 0..family.sequences {
        let mut rng = Rng::with_seed(seed);
        let mut empty = Cmd::new();
        empty.arg("FLUSHDB");
        ours.req_command(&empty).unwrap();
        theirs.req_command(&empty).unwrap();
        for step in 0..family.steps {
            let (name, command) = match (family.step)(&mut rng) {
                Step::Other(command) => (None, command),
                Step::Call(name, script, input) => (Some(name), script.by_text(&input)),
            };
            let same = |place: &str, here: &Value, there: &Value| {
                assert!(
                    (family.alike)(here, there),
                    "seed {seed}, step {step}, {name:?}: {command:?}\n{place}\n{here:?}\n{there:?}"
                );
            };
            let here = ours.req_command(&command).unwrap();
            let there = theirs.req_command(&command).unwrap();
            same("the reply", &here, &there);
            if let Some(name) = name {
                let answer = match &here {
                    Value::ServerError(error) => error.code().to_owned(),
                    other => (family.answer)(name, other),
                };
                *answers.entry(format!("{name} {answer}")).or_default() += 1;
            }
            let contents = (family.contents)();
            let look = |of: &mut dyn ConnectionLike| {
                of.req_packed_commands(&contents.get_packed_pipeline(), 0, contents.len())
                    .expect("it answers")
            };
            let (here, there) = (look(&mut ours), look(&mut theirs));
            for (at, asked) in contents.cmd_iter().enumerate() {
                same(&format!("{asked:?}"), &here[at], &there[at]);
            }
        }
    }
    for answer in family.answers {
        assert!(
            answers.get(*answer).is_some_and(|count| *count > 10),
            "{answer}: {answers:?}"
        );
    }
}
