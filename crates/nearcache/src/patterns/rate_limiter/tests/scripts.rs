//! The scripts at times that are among their arguments: on a server, in the embedded store, and the steps alone.

use super::*;

/// A script that takes the time from its last two arguments, seconds and microseconds.
fn timed(
    script: &Script,
    twin: fn(&mut Call<'_>) -> Result<Value, ScriptError>,
) -> &'static Script {
    let lua = script.embedded.lua();
    let asked = "redis.call('TIME')";
    assert!(lua.contains(asked));
    let lua = lua.replace(asked, "{ARGV[#ARGV - 1], ARGV[#ARGV]}");
    Box::leak(Box::new(Script::new(Box::leak(lua.into_boxed_str()), twin)))
}

macro_rules! timed_twin {
    ($twin:path) => {
        |call| {
            let args = call.args();
            let (args, time) = args.split_at(args.len() - 2);
            let part = |at: usize| numbers::<1>(time[at], b"").unwrap()[0];
            let asked = Asked::at(call.keys(), args, part(0) * 1_000_000 + part(1))?;
            $twin(call, &asked)
        }
    };
}

static TIMED: LazyLock<[&'static Script; 3]> = LazyLock::new(|| {
    [
        timed(&gcra::GCRA, timed_twin!(gcra::twin)),
        timed(&sliding::SLIDING_WINDOW, timed_twin!(sliding::twin)),
        timed(&window::FIXED_WINDOW, timed_twin!(window::twin)),
    ]
});

const KEYS: [&[u8]; 3] = [b"{t}gcra", b"{t}log", b"{t}window"];

/// The quotas, with the shortest time that matters.
fn algorithm(rng: &mut Rng) -> (usize, Algorithm) {
    let at = rng.usize(..3);
    let quotas = [
        Quota::per_minute(7).burst(5),
        Quota::per_minute(6),
        Quota::per_second(3),
        Quota::per_day(999_999_937).burst(999_999_937),
    ];
    let quota = if rng.u8(..4) == 0 || (at == 1 && rng.bool()) {
        &quotas[rng.usize(..3)]
    } else {
        &quotas[if at == 1 { 1 } else { rng.usize(..4) }]
    };
    (at, Kind::ALL[at].with(quota).unwrap())
}

/// A time: they go on by far less than a window, now and then by more, and sometimes back.
fn time(rng: &mut Rng) -> u64 {
    let minutes = rng.u64(..4) * 60_000_000;
    let near = [
        0,
        1,
        999,
        1_000_000,
        8_571_428,
        8_571_429,
        10_000_000,
        rng.u64(..60_000_000),
    ];
    START + 600_000_000 + minutes + near[rng.usize(..near.len())]
}

fn call(rng: &mut Rng) -> Step {
    let (at, algorithm) = algorithm(rng);
    let now = time(rng);
    let cost = rng.u64(..4).min(algorithm.limit());
    let key = if rng.u8(..30) == 0 {
        KEYS[rng.usize(..3)]
    } else {
        KEYS[at]
    };
    let mut input = algorithm.input(key, cost, rng.u8(..8) > 0);
    input
        .arg((now / 1_000_000).to_string().as_bytes())
        .arg((now % 1_000_000).to_string().as_bytes());
    Step::Call(["GCRA", "SLIDING", "FIXED"][at], TIMED[at], input)
}

/// What others leave under the keys.
fn other(rng: &mut Rng) -> Cmd {
    let mut command = Cmd::new();
    let key = KEYS[rng.usize(..3)];
    let near = time(rng);
    match rng.u8(..12) {
        0 => command.arg("UNLINK").arg(key),
        1 => command.arg("LPUSH").arg(key).arg("x"),
        2 => command.arg("HSET").arg(key).arg("x").arg("y"),
        3 => command.arg("SET").arg(key).arg(&[0xff_u8, 0][..]),
        4 => command.arg("SET").arg(key).arg(format!("{near}:0/0")),
        5 => command.arg("SET").arg(key).arg(format!("{near}:5/7")),
        6 => command
            .arg("SET")
            .arg(key)
            .arg(format!("{near}:{}", rng.u64(..9))),
        7 => command.arg("SET").arg(key).arg("9007199254740991:0/1"),
        8 => command.arg("SET").arg(key).arg("99999999999999999999:1"),
        9 => command.arg("ZADD").arg(key).arg("inf").arg("garbage"),
        10 => {
            let member = format!("{near:016}:{:016}:{}", rng.u64(..40), rng.u64(..4));
            command.arg("ZADD").arg(key).arg(near).arg(member)
        }
        _ => command.arg("SET").arg(key).arg(""),
    };
    command
}

fn contents() -> Pipeline {
    let mut all = Pipeline::new();
    for key in KEYS {
        all.cmd("TYPE").arg(key);
        all.cmd("GET").arg(key);
        all.cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("WITHSCORES");
        all.cmd("PTTL").arg(key);
    }
    all
}

/// Numbers of a reply are the same to the last digit; TTLs nearly.
fn alike(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Int(ours), Value::Int(theirs)) if *ours > 2 * TOLERANCE.cast_signed() => {
            ours.abs_diff(*theirs) < TOLERANCE
        }
        (Value::ServerError(ours), Value::ServerError(theirs)) => ours.code() == theirs.code(),
        (ours, theirs) => ours == theirs,
    }
}

#[test]
fn scripts_and_their_twins_do_the_same() {
    twins::compare(&Family {
        scripts: &*Box::leak(Box::new(*TIMED)),
        sequences: 300,
        steps: 60,
        step: |rng| {
            if rng.u8(..12) == 0 {
                Step::Other(other(rng))
            } else {
                call(rng)
            }
        },
        contents,
        alike,
        answer: |_, reply| match answer(reply) {
            Ok(Answer { allowed, .. }) if allowed => "allowed".into(),
            Ok(_) => "denied".into(),
            Err(_) => format!("{reply:?}"),
        },
        answers: &[
            "GCRA allowed",
            "GCRA denied",
            "SLIDING allowed",
            "SLIDING denied",
            "FIXED allowed",
            "FIXED denied",
        ],
    });
}

/// The step alone, which the models judge, and the script on the embedded store.
#[test]
fn a_script_does_what_the_step_does() {
    let store = twins::store(&*Box::leak(Box::new(*TIMED)));
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let mut connection = store.connect();
        redis::cmd("FLUSHDB").exec(&mut connection).unwrap();
        let mut limits = [Limits::default(), Limits::default(), Limits::default()];
        let mut forward = 0;
        for step in 0..60 {
            let (at, algorithm) = algorithm(&mut rng);
            let now = if rng.u8(..6) == 0 {
                time(&mut rng)
            } else {
                forward += rng.u64(..3_000_000);
                START + 600_000_000 + forward
            };
            let (cost, takes) = (rng.u64(..4).min(algorithm.limit()), rng.u8(..8) > 0);
            let mut input = algorithm.input(KEYS[at], cost, takes);
            input
                .arg((now / 1_000_000).to_string().as_bytes())
                .arg((now % 1_000_000).to_string().as_bytes());
            let reply: Value = TIMED[at].by_text(&input).query(&mut connection).unwrap();
            let expected = limits[at].check(b"id", algorithm, now, cost, takes);
            assert_eq!(
                answer(&reply).unwrap(),
                expected,
                "seed {seed}, step {step}, {algorithm:?}"
            );
        }
    }
}

/// What is under a key and no script has written is as nothing, and what is from too far ahead does not stay.
#[test]
fn foreign_content_locks_nobody_out() {
    let store = twins::store(&*Box::leak(Box::new(*TIMED)));
    let mut connection = store.connect();
    let ahead = START + 50 * 365 * 86_400_000_000;
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        let algorithm = kind.with(&Quota::per_minute(5)).unwrap();
        let member = format!("{ahead:016}:{:016}:9", 9);
        let stuck = format!("{:016}:{:016}:5", START - 30_000_000, 5);
        for (what, is_anew) in [
            (vec!["SET", "k", ""], true),
            (vec!["SET", "k", "x"], true),
            (vec!["LPUSH", "k", "x"], true),
            (vec!["HSET", "k", "f", "x"], true),
            (vec!["ZADD", "k", "inf", "x"], true),
            (vec!["SET", "k", "9007199254740991:0/1"], kind != Kind::Gcra),
            (
                vec!["SET", "k", "9007199254740991:5"],
                kind != Kind::FixedWindow,
            ),
            (
                vec!["ZADD", "k", "inf", &member],
                kind != Kind::SlidingWindow,
            ),
            (
                vec!["ZADD", "k", "inf", &stuck],
                kind != Kind::SlidingWindow,
            ),
        ] {
            redis::cmd("DEL").arg("k").exec(&mut connection).unwrap();
            let mut command = Cmd::new();
            command.arg(&what).exec(&mut connection).unwrap();
            let mut check = |now: u64| {
                let mut input = algorithm.input(b"k", 1, true);
                input
                    .arg((now / 1_000_000).to_string().as_bytes())
                    .arg((now % 1_000_000).to_string().as_bytes());
                let reply: Value = TIMED[at].by_text(&input).query(&mut connection).unwrap();
                answer(&reply).unwrap()
            };
            assert_eq!(check(START).allowed, is_anew, "{kind:?}: {what:?}");
            let then = check(START + 120_000_000);
            assert!(then.allowed, "{kind:?}: {what:?} locks out");
            assert_eq!(then.remaining, 4, "{kind:?}: {what:?}");
        }
    }
}
