//! Random commands, run here and on a real server: every reply and what is left in the end must be alike.
//!
//! `NEARCACHE_DIFFERENTIAL=100000` sets about how many commands are compared; 5,000 are by default.

mod grammar;
use nearcache_testkit::Redis;
use std::cell::RefCell;
use std::collections::BTreeSet;

use grammar::{Arg, Step, line, steps};
use nearcache_embedded::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use redis::{Cmd, ConnectionLike, Value};

fn cmd(args: &[Arg]) -> Cmd {
    let mut cmd = Cmd::new();
    args.iter().for_each(|arg| {
        cmd.arg(arg);
    });
    cmd
}

fn name(args: &[Arg]) -> String {
    String::from_utf8_lossy(&args[0]).to_uppercase()
}

/// The two, side by side.
struct Pair<A, B> {
    store: Store,
    ours: A,
    theirs: B,
    /// The names of the commands that wait for EXEC.
    queued: Vec<String>,
}

type Checked = Result<(), TestCaseError>;

impl<A: ConnectionLike, B: ConnectionLike> Pair<A, B> {
    fn both(&mut self, cmd: &Cmd) -> (Value, Value) {
        let ours = self.ours.req_command(cmd).expect("ours answers");
        (ours, self.theirs.req_command(cmd).expect("theirs answers"))
    }

    fn run(&mut self, step: &Step) -> Checked {
        match step {
            Step::Command(args) => self.command(args),
            Step::Pipeline { commands, atomic } => self.pipeline(commands, *atomic),
            Step::Scan(options) => self.scan(options),
        }
    }

    fn command(&mut self, args: &[Arg]) -> Checked {
        if name(args) == "DBSIZE" {
            // Keys that expired are counted until they are removed: here by a cycle, there by a scan.
            while self.store.expire_cycle() > 0 {}
            let ask = ["SCAN", "0", "COUNT", "1000000"].map(Arg::from);
            let (ours, theirs) = self.both(&cmd(&ask));
            self.compare(&ask, &ours, &theirs)?;
        }
        let (ours, theirs) = self.both(&cmd(args));
        self.compare(args, &ours, &theirs)
    }

    fn compare(&mut self, args: &[Arg], ours: &Value, theirs: &Value) -> Checked {
        let name = name(args);
        let alike = match name.as_str() {
            "EXEC" => match (ours, theirs) {
                (Value::Array(ours), Value::Array(theirs)) => {
                    let queued = std::mem::take(&mut self.queued);
                    ours.len() == theirs.len()
                        && queued.len() == ours.len()
                        && queued
                            .iter()
                            .zip(ours.iter().zip(theirs))
                            .all(|(name, (a, b))| alike(name, true, a, b))
                }
                _ => ours == theirs,
            },
            name => alike(name, false, ours, theirs),
        };
        match ours {
            Value::SimpleString(status) if status == "QUEUED" => self.queued.push(name),
            _ if ["EXEC", "DISCARD", "RESET"].contains(&name.as_str()) => self.queued.clear(),
            _ => {}
        }
        prop_assert!(
            alike,
            "{}\n  ours: {ours:?}\ntheirs: {theirs:?}",
            line(args)
        );
        Ok(())
    }

    fn pipeline(&mut self, commands: &[Vec<Arg>], atomic: bool) -> Checked {
        let mut pipeline = redis::pipe();
        if atomic {
            // As redis-rs sends a transaction of its own, there must not be one around it.
            self.command(&[b"RESET".to_vec()])?;
            self.command(&[b"HELLO".to_vec(), b"3".to_vec()])?;
            pipeline.atomic();
        }
        let at_once = ["MULTI", "EXEC", "DISCARD", "WATCH", "RESET"];
        let commands: Vec<_> = commands
            .iter()
            .filter(|args| !atomic || !at_once.contains(&name(args).as_str()))
            .collect();
        if commands.is_empty() {
            return Ok(());
        }
        commands.iter().for_each(|args| {
            pipeline.add_command(cmd(args));
        });
        let packed = pipeline.get_packed_pipeline();
        let (offset, count) = if atomic {
            (commands.len() + 1, 1)
        } else {
            (0, commands.len())
        };
        let ours = self.ours.req_packed_commands(&packed, offset, count);
        let theirs = self.theirs.req_packed_commands(&packed, offset, count);
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) if atomic => {
                self.queued = commands.iter().map(|args| name(args)).collect();
                self.compare(&[b"EXEC".to_vec()], &ours[0], &theirs[0])?;
                prop_assert!(ours.len() == 1 && theirs.len() == 1);
            }
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(ours.len(), theirs.len());
                for (args, (ours, theirs)) in commands.iter().zip(ours.iter().zip(theirs)) {
                    // Nobody asked for what expired in between.
                    if name(args) != "DBSIZE" || !matches!(ours, Value::Int(_)) {
                        self.compare(args, ours, theirs)?;
                    }
                }
            }
            (Err(ours), Err(theirs)) => {
                prop_assert_eq!(ours.kind(), theirs.kind());
                // Without the feature, redis-rs's own words for a refused transaction are out of reach.
                if cfg!(feature = "aio") {
                    prop_assert_eq!(ours.to_string(), theirs.to_string());
                }
            }
            _ => prop_assert!(false, "{pipeline:?}\n  ours: {ours:?}\ntheirs: {theirs:?}"),
        }
        Ok(())
    }

    fn scan(&mut self, options: &[Arg]) -> Checked {
        // In a transaction, a scan is only queued.
        self.command(&[b"RESET".to_vec()])?;
        let ours = scan_all(&mut self.ours, options);
        let theirs = scan_all(&mut self.theirs, options);
        prop_assert_eq!(ours, theirs, "SCAN {}", line(options));
        Ok(())
    }

    /// What is left must be alike, in every database.
    fn compare_everything(&mut self) -> Checked {
        self.command(&[b"RESET".to_vec()])?;
        for db in ["0", "1", "2", "15"] {
            self.command(&[b"SELECT".to_vec(), db.into()])?;
            self.command(&[b"KEYS".to_vec(), b"*".to_vec()])?;
            let keys = all_keys(&mut self.theirs);
            for key in &keys {
                for read in ["TYPE", "PTTL"] {
                    self.command(&[read.into(), key.clone()])?;
                }
                // Of a type that it is not, a command reads an error.
                for read in [
                    "GET key",
                    "LRANGE key 0 -1",
                    "ZRANGE key 0 -1 WITHSCORES",
                    "ZSCAN key 0 COUNT 1000000",
                    "OBJECT ENCODING key",
                ] {
                    let args: Vec<Arg> = read
                        .split(' ')
                        .map(|word| {
                            if word == "key" {
                                key.clone()
                            } else {
                                word.into()
                            }
                        })
                        .collect();
                    self.command(&args)?;
                }
            }
            self.command(&[b"DBSIZE".to_vec()])?;
        }
        Ok(())
    }
}

fn all_keys(connection: &mut impl ConnectionLike) -> Vec<Arg> {
    redis::cmd("KEYS")
        .arg("*")
        .query(connection)
        .expect("the keys")
}

fn scan_all(
    connection: &mut impl ConnectionLike,
    options: &[Arg],
) -> Result<BTreeSet<Vec<u8>>, String> {
    let (mut cursor, mut found) = (0, BTreeSet::new());
    loop {
        let scan = redis::cmd("SCAN")
            .arg(cursor)
            .arg(options)
            .query::<(u64, Vec<Vec<u8>>)>(connection);
        let (next, keys) = scan.map_err(|error| error.to_string())?;
        found.extend(keys);
        if next == 0 {
            return Ok(found);
        }
        cursor = next;
    }
}

fn alike(name: &str, in_transaction: bool, ours: &Value, theirs: &Value) -> bool {
    match (name, ours, theirs) {
        // There is no Lua here.
        (_, Value::ServerError(ours), _)
            if ours
                .details()
                .is_some_and(|text| text.contains("native twin")) =>
        {
            true
        }
        (_, Value::ServerError(ours), Value::ServerError(theirs)) => ours == theirs,
        (_, Value::SimpleString(ours), _) if ours == "QUEUED" => {
            *theirs == Value::SimpleString(ours.clone())
        }
        // Measured at another moment.
        ("TTL" | "EXPIRETIME", Value::Int(ours), Value::Int(theirs)) if *ours > 0 => {
            ours.abs_diff(*theirs) <= 30
        }
        ("PTTL" | "PEXPIRETIME", Value::Int(ours), Value::Int(theirs)) if *ours > 0 => {
            ours.abs_diff(*theirs) <= 30_000
        }
        ("TIME", Value::Array(ours), Value::Array(theirs)) => {
            let is_time = |value: &Value| matches!(value, Value::BulkString(digits) if digits.iter().all(u8::is_ascii_digit));
            ours.len() == 2 && ours.iter().chain(theirs).all(is_time)
        }
        // An object is kept in another way, and how often it was used is a matter of chance.
        ("OBJECT", Value::BulkString(ours), Value::BulkString(theirs)) => {
            // A sum of INCRBYFLOAT is `embstr` there even if it is whole, and a bit that is set to what it was before
            // makes a string `raw`.
            ours == theirs || *theirs == b"raw" || (&ours[..], &theirs[..]) == (b"int", b"embstr")
        }
        ("OBJECT", Value::Int(_), Value::Int(_)) | ("MEMORY", Value::Int(_), Value::Int(_)) => true,
        // A server does not look whether a key has expired before it says how much it takes.
        ("MEMORY", Value::Nil, Value::Int(_)) => true,
        ("CONFIG", Value::Array(_) | Value::Map(_), _) => settings(ours) == settings(theirs),
        // Any key may come, but if there is one, some key must.
        ("RANDOMKEY", Value::BulkString(_), Value::BulkString(_)) => true,
        ("CLIENT", Value::Int(_), Value::Int(_)) => true,
        ("DBSIZE", Value::Int(_), Value::Int(_)) if in_transaction => true,
        ("KEYS", Value::Array(ours), Value::Array(theirs)) => sorted(ours) == sorted(theirs),
        // Cursors are each one's own business; whole scans are compared elsewhere.
        ("SCAN", Value::Array(ours), Value::Array(theirs)) => ours.len() == 2 && theirs.len() == 2,
        // A whole scan finds the same; else it is as with SCAN.
        ("ZSCAN", Value::Array(ours), Value::Array(theirs)) => {
            ours[0] != theirs[0] || pairs(&ours[1]) == pairs(&theirs[1])
        }
        // Any elements may come, but as many, and in the same form.
        ("ZRANDMEMBER", Value::BulkString(_), Value::BulkString(_)) => true,
        ("ZRANDMEMBER", Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(a, b)| {
                    std::mem::discriminant(a) == std::mem::discriminant(b)
                })
        }
        ("INFO", Value::BulkString(_), Value::BulkString(_)) => true,
        (
            "INFO",
            Value::VerbatimString { format: ours, .. },
            Value::VerbatimString { format: theirs, .. },
        ) => ours == theirs,
        ("HELLO", Value::Array(_) | Value::Map(_), _) => {
            without_identity(ours) == without_identity(theirs)
        }
        _ => ours == theirs,
    }
}

fn sorted(values: &[Value]) -> BTreeSet<String> {
    values.iter().map(|value| format!("{value:?}")).collect()
}

/// The elements of a reply two by two, in any order.
fn pairs(reply: &Value) -> Option<BTreeSet<String>> {
    let Value::Array(values) = reply else {
        return None;
    };
    Some(values.chunks(2).map(|pair| format!("{pair:?}")).collect())
}

/// Parameters and their values, without those of a server that a store has not.
fn settings(reply: &Value) -> Option<BTreeSet<String>> {
    // A server has two hundred others, which a pattern may hit as well.
    let ours = [
        "maxmemory",
        "maxmemory-policy",
        "maxmemory-samples",
        "lfu-log-factor",
        "lfu-decay-time",
        "proto-max-bulk-len",
        "hll-sparse-max-bytes",
    ];
    let pairs = reply.as_map_iter()?.filter(|(name, _)| match name {
        Value::BulkString(name) => ours.iter().any(|ours| ours.as_bytes() == name),
        _ => true,
    });
    Some(pairs.map(|pair| format!("{pair:?}")).collect())
}

/// The greeting without the id and the version.
fn without_identity(greeting: &Value) -> Vec<(Value, Value)> {
    let text = |text: &str| Value::BulkString(text.into());
    let fields: Vec<_> = greeting
        .as_map_iter()
        .expect("a map")
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    fields
        .into_iter()
        .filter(|(field, _)| *field != text("id") && *field != text("version"))
        .collect()
}

#[test]
fn replies_and_contents_are_those_of_a_server() {
    const STEPS: usize = 30;
    let commands = std::env::var("NEARCACHE_DIFFERENTIAL")
        .ok()
        .map_or(5_000, |n| n.parse().expect("a number of commands"));
    let server = Redis::start();
    let theirs = RefCell::new(
        redis::Client::open(server.unix_url())
            .unwrap()
            .get_connection()
            .unwrap(),
    );
    let cases = u32::try_from(commands / STEPS + 1).expect("a smaller number");
    // A step is one command on average, or a little more.
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    });
    let test = runner.run(&(any::<bool>(), steps(1..2 * STEPS)), |(resp3, steps)| {
        let store = Store::new();
        let mut pair = Pair {
            ours: store.connect(),
            theirs: theirs.borrow_mut(),
            store,
            queued: Vec::new(),
        };
        for reset in ["RESET", "FLUSHALL"] {
            pair.command(&[reset.into()])?;
        }
        let defaults = "CONFIG SET maxmemory 0 maxmemory-policy noeviction maxmemory-samples 5 \
                            lfu-log-factor 10 lfu-decay-time 1 hll-sparse-max-bytes 3000";
        let defaults: Vec<Arg> = defaults.split(' ').map(Arg::from).collect();
        pair.command(&defaults)?;
        pair.command(&[
            b"HELLO".to_vec(),
            if resp3 { b"3".to_vec() } else { b"2".to_vec() },
        ])?;
        for step in &steps {
            pair.run(step)?;
        }
        pair.compare_everything()
    });
    if let Err(difference) = test {
        panic!("{difference}");
    }
}
