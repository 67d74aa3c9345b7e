//! Random commands, run here and on a real server: every reply and what is left in the end must be alike.
//!
//! `NEARCACHE_DIFFERENTIAL=100000` sets about how many commands are compared; 5,000 are by default.

mod grammar;
#[cfg(all(unix, feature = "serve"))]
mod port;
mod replies;
mod undefined;

use std::collections::BTreeSet;

use nearcache_embedded::Store;
use nearcache_testkit::Redis;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use redis::{Cmd, ConnectionLike, Value};

use grammar::{Arg, Step, line, steps};
use replies::{alike, kind};
use undefined::{
    answers_twice, asks_by_bytes, changes_protocol, is_cut_hyperloglog, may_cut_a_hyperloglog,
    may_mix_scores, splits_runs,
};

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

/// The score in a reply with one member and its score, in either protocol.
fn score(reply: &Value) -> Option<&Value> {
    match reply {
        Value::Array(elements) => elements.last().and_then(|last| score(last).or(Some(last))),
        _ => None,
    }
}

/// The two, side by side.
struct Pair<A, B> {
    store: Store,
    ours: A,
    theirs: B,
    /// Another connection to their server.
    aside: redis::Connection,
    /// Whether commands wait for EXEC, and their names.
    in_transaction: bool,
    queued: Vec<String>,
}

type Checked = Result<(), TestCaseError>;

impl<A: ConnectionLike, B: ConnectionLike> Pair<A, B> {
    fn new(store: Store, ours: A, (theirs, aside): (B, redis::Connection)) -> Self {
        Pair {
            store,
            ours,
            theirs,
            aside,
            in_transaction: false,
            queued: Vec::new(),
        }
    }

    /// Runs the steps in empty key spaces, and compares all that is left.
    fn compare_all(mut self, resp3: bool, steps: &[Step]) -> Checked {
        for reset in ["RESET", "FLUSHALL"] {
            self.command(&[reset.into()])?;
        }
        let defaults = "CONFIG SET maxmemory 0 maxmemory-policy noeviction maxmemory-samples 5 \
                        lfu-log-factor 10 lfu-decay-time 1 hll-sparse-max-bytes 3000 \
                        stream-node-max-entries 100 stream-node-max-bytes 4096 \
                        proto-max-bulk-len 1048576 \
                        hash-max-listpack-entries 512 hash-max-listpack-value 64 \
                        set-max-intset-entries 512 list-max-listpack-size -2";
        let defaults: Vec<Arg> = defaults.split(' ').map(Arg::from).collect();
        self.command(&defaults)?;
        let protocol = if resp3 { "3" } else { "2" };
        self.command(&["HELLO", protocol].map(Arg::from))?;
        for step in steps {
            self.run(step)?;
        }
        self.compare_everything()
    }

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
        if answers_twice(args)
            || self.meets_a_cut_hyperloglog(args)
            || self.meets_mixed_scores(args)
            || self.in_transaction && changes_protocol(args)
        {
            return Ok(());
        }
        if ["SORT", "SORT_RO", "EXEC"].contains(&name(args).as_str()) {
            // `SORT` takes a number that an earlier command found out of range for one of its own. SCAN forgets it.
            let scan = redis::cmd("SCAN").arg("0").exec(&mut self.aside);
            prop_assert!(scan.is_ok(), "{scan:?}");
        }
        if name(args) == "DBSIZE" {
            // Keys that expired are counted until they are removed: here by a cycle, there by a scan.
            while self.store.expire_cycle() > 0 {}
            let ask = ["SCAN", "0", "COUNT", "1000000"].map(Arg::from);
            let (ours, theirs) = self.both(&cmd(&ask));
            self.compare(&ask, &ours, &theirs)?;
        }
        let (ours, theirs) = self.both(&cmd(args));
        self.check(args, &ours, &theirs)
    }

    /// Compares replies, also in their order where there is one.
    fn check(&mut self, args: &[Arg], ours: &Value, theirs: &Value) -> Checked {
        if ours != theirs && self.has_order(args) {
            prop_assert_eq!(ours, theirs, "{}", line(args));
        }
        self.compare(args, ours, theirs)
    }

    fn compare(&mut self, args: &[Arg], ours: &Value, theirs: &Value) -> Checked {
        let name = kind(args);
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
            _ if ["EXEC", "DISCARD", "RESET"].contains(&name.as_str()) => {
                self.in_transaction = false;
                self.queued.clear();
            }
            Value::Okay if name == "MULTI" => self.in_transaction = true,
            _ => {}
        }
        prop_assert!(
            alike,
            "{}\n  ours: {ours:?}\ntheirs: {theirs:?}",
            line(args)
        );
        Ok(())
    }

    /// Whether a command changes a HyperLogLog that is cut, or one of which nobody knows yet.
    fn meets_a_cut_hyperloglog(&mut self, args: &[Arg]) -> bool {
        splits_runs(args)
            && (self.in_transaction
                || args[1..].iter().any(|key| {
                    let (ours, theirs) = self.both(&cmd(&["GET".into(), key.clone()]));
                    [ours, theirs].iter().any(
                    |value| matches!(value, Value::BulkString(bytes) if is_cut_hyperloglog(bytes)),
                )
                }))
    }

    /// Whether a command asks a large set whose scores differ for members by their bytes, or one of which nobody knows yet.
    fn meets_mixed_scores(&mut self, args: &[Arg]) -> bool {
        asks_by_bytes(args)
            && (self.in_transaction
                || args[1..].iter().any(|key| {
                    let end = |index: &str| {
                        let words = ["ZRANGE".into(), key.clone(), index.into(), index.into()];
                        [&words[..], &["WITHSCORES".into()]].concat()
                    };
                    let (first, _) = self.both(&cmd(&end("0")));
                    let (last, _) = self.both(&cmd(&end("-1")));
                    score(&first) != score(&last) && self.encoding(key) == "skiplist"
                }))
    }

    /// Whether a command replies with elements that come in a certain order, because they are not in a hash table.
    fn has_order(&mut self, args: &[Arg]) -> bool {
        let readers = ["HGETALL", "HKEYS", "HVALS", "HSCAN", "SMEMBERS", "SSCAN"];
        if !readers.contains(&name(args).as_str()) || args.len() < 2 {
            return false;
        }
        !["hashtable", "skiplist"].contains(&self.encoding(&args[1]).as_str())
    }

    /// How a server keeps what is there.
    fn encoding(&mut self, key: &Arg) -> String {
        let ask = cmd(&["OBJECT".into(), "ENCODING".into(), key.clone()]);
        match self.theirs.req_command(&ask).expect("theirs answers") {
            Value::BulkString(name) => String::from_utf8_lossy(&name).into_owned(),
            _ => String::new(),
        }
    }

    fn pipeline(&mut self, commands: &[Vec<Arg>], atomic: bool) -> Checked {
        let begins = |args: &Vec<Arg>| name(args) == "MULTI";
        let transaction = self.in_transaction || commands.iter().any(begins);
        if commands
            .iter()
            .any(|args| answers_twice(args) || transaction && changes_protocol(args))
        {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        if atomic {
            // As redis-rs sends a transaction of its own, there must not be one around it.
            self.command(&[b"RESET".to_vec()])?;
            self.command(&[b"HELLO".to_vec(), b"3".to_vec()])?;
            pipeline.atomic();
        }
        let at_once = ["MULTI", "EXEC", "DISCARD", "WATCH", "RESET"];
        let cuts = commands.iter().any(|args| may_cut_a_hyperloglog(args));
        let mixes = commands
            .iter()
            .any(|args| may_mix_scores(args) && !asks_by_bytes(args));
        let commands: Vec<_> = commands
            .iter()
            .filter(|args| !atomic || !at_once.contains(&name(args).as_str()))
            .filter(|args| !atomic || !changes_protocol(args))
            .filter(|args| {
                (!splits_runs(args) || !cuts && !self.meets_a_cut_hyperloglog(args))
                    && (!asks_by_bytes(args) || !mixes && !self.meets_mixed_scores(args))
            })
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
                self.queued = commands.iter().map(|args| kind(args)).collect();
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
        let ours = scan_all(&mut self.ours, &[b"SCAN".into()], options);
        let theirs = scan_all(&mut self.theirs, &[b"SCAN".into()], options);
        prop_assert_eq!(ours, theirs, "SCAN {}", line(options));
        Ok(())
    }

    fn theirs_says<T: redis::FromRedisValue>(&mut self, args: &[Arg]) -> T {
        cmd(args).query(&mut self.theirs).expect("theirs answers")
    }

    /// Runs many commands that only read, in one go.
    fn all(&mut self, commands: &[Vec<Arg>]) -> Checked {
        if commands.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for args in commands {
            pipeline.add_command(cmd(args));
        }
        let packed = pipeline.get_packed_pipeline();
        let ours = self.ours.req_packed_commands(&packed, 0, commands.len());
        let theirs = self.theirs.req_packed_commands(&packed, 0, commands.len());
        let (Ok(ours), Ok(theirs)) = (&ours, &theirs) else {
            return Err(TestCaseError::fail(format!("{ours:?}\n{theirs:?}")));
        };
        prop_assert_eq!(ours.len(), theirs.len());
        for (args, (ours, theirs)) in commands.iter().zip(ours.iter().zip(theirs)) {
            self.check(args, ours, theirs)?;
        }
        Ok(())
    }

    /// What is left must be alike, in every database.
    fn compare_everything(&mut self) -> Checked {
        self.command(&[b"RESET".to_vec()])?;
        for db in ["0", "1", "2", "15"] {
            self.command(&[b"SELECT".to_vec(), db.into()])?;
            self.command(&[b"KEYS".to_vec(), b"*".to_vec()])?;
            let keys = all_keys(&mut self.theirs);
            // Of a type that it is not, a command reads an error.
            let reads: Vec<Vec<Arg>> = keys
                .iter()
                .flat_map(|key| READS.map(|read| about(read, key)))
                .collect();
            self.all(&reads)?;
            for key in &keys {
                let kind: String = self.theirs_says(&["TYPE".into(), key.clone()]);
                let scan = match kind.as_str() {
                    "hash" => "HSCAN",
                    "set" => "SSCAN",
                    _ => continue,
                };
                let scan = [scan.into(), key.clone()];
                let options = ["COUNT", "2"].map(Arg::from);
                let ours = scan_all(&mut self.ours, &scan, &options);
                let theirs = scan_all(&mut self.theirs, &scan, &options);
                prop_assert_eq!(ours, theirs, "{}", line(&scan));
            }
            self.command(&[b"DBSIZE".to_vec()])?;
        }
        Ok(())
    }
}

/// How all that a key holds is read.
const READS: [&str; 14] = [
    "TYPE key",
    "PTTL key",
    "OBJECT ENCODING key",
    "ZRANGE key 0 -1 WITHSCORES",
    "ZSCAN key 0 COUNT 1000000",
    "HGETALL key",
    "SMEMBERS key",
    "GET key",
    "LRANGE key 0 -1",
    "XRANGE key - +",
    "XINFO STREAM key FULL COUNT 0",
    "XINFO GROUPS key",
    "XPENDING key g",
    "XPENDING key h - + 100",
];

/// A command about a key.
fn about(read: &str, key: &Arg) -> Vec<Arg> {
    let word = |word| {
        if word == "key" {
            key.clone()
        } else {
            Arg::from(word)
        }
    };
    read.split(' ').map(word).collect()
}

fn all_keys(connection: &mut impl ConnectionLike) -> Vec<Arg> {
    redis::cmd("KEYS")
        .arg("*")
        .query(connection)
        .expect("the keys")
}

/// What a scan to its end finds.
fn scan_all(
    connection: &mut impl ConnectionLike,
    scan: &[Arg],
    options: &[Arg],
) -> Result<BTreeSet<Vec<u8>>, String> {
    let (mut cursor, mut found) = (0, BTreeSet::new());
    loop {
        let page = cmd(scan)
            .arg(cursor)
            .arg(options)
            .query::<(u64, Vec<Vec<u8>>)>(connection);
        let (next, keys) = page.map_err(|error| error.to_string())?;
        found.extend(keys);
        if next == 0 {
            return Ok(found);
        }
        cursor = next;
    }
}

#[test]
fn replies_and_contents_are_those_of_a_server() {
    const STEPS: usize = 30;
    let asked = std::env::var("NEARCACHE_DIFFERENTIAL").ok();
    let commands = asked
        .as_ref()
        .map_or(5_000, |n| n.parse().expect("a number of commands"));
    let server = Redis::start();
    let client = redis::Client::open(server.unix_url()).unwrap();
    let connect = || client.get_connection().expect("a connection");
    // A server looks about so often whether somebody has waited long enough.
    let often = redis::cmd("CONFIG")
        .arg(&["SET", "hz", "500"])
        .exec(&mut connect());
    often.expect("a faster server");
    let cases = u32::try_from(commands / STEPS + 1).expect("a smaller number");
    // A step is one command on average, or a little more.
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    // What is run for every change is the same each time; a longer run looks for what nobody has seen.
    let mut runner = if asked.is_some() {
        TestRunner::new(config)
    } else {
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        TestRunner::new_with_rng(config, rng)
    };
    #[cfg(all(unix, feature = "serve"))]
    let port = port::Port::open();
    let cases = (any::<bool>(), any::<bool>(), steps(1..2 * STEPS));
    let test = runner.run(&cases, |(on_port, resp3, steps)| {
        // New connections for each case: what one leaves behind is not the next one's.
        let beside = || (connect(), connect());
        #[cfg(all(unix, feature = "serve"))]
        if on_port {
            let pair = Pair::new(port.store.clone(), port.connect(), beside());
            return pair.compare_all(resp3, &steps);
        }
        let _ = on_port;
        let store = Store::new();
        let ours = store.connect();
        Pair::new(store, ours, beside()).compare_all(resp3, &steps)
    });
    if let Err(difference) = test {
        panic!("{difference}");
    }
}

/// What a longer run has found, and is rarely met.
#[test]
fn what_once_differed_is_the_same() {
    let server = Redis::start();
    let store = Store::new();
    let client = redis::Client::open(server.unix_url()).unwrap();
    let connect = || client.get_connection().expect("a connection");
    let ours = store.connect();
    let mut pair = Pair::new(store, ours, (connect(), connect()));
    for said in [
        "ZADD z 0 foo",
        "ZINCRBY z -0 d",
        "ZRANGE z 0 -1 WITHSCORES",
        "ZADD v 0 foo",
        "SORT_RO v BY w_* GET w_*",
        "OBJECT ENCODING v",
        "ZINCRBY v -0 d",
        "ZRANGE v 0 -1 WITHSCORES",
        "ZSCAN v 0 COUNT 1000000",
        "ZADD y -0 d",
        "ZRANGE y 0 -1 WITHSCORES",
        "ZADD y INCR -0 e",
        "ZADD y 0 e",
        "ZADD y 0 d",
        "ZRANGE y 0 -1 WITHSCORES",
        "ZUNION 1 y WEIGHTS -1 WITHSCORES",
        "ZUNIONSTORE x 1 y WEIGHTS -1",
        "ZRANGE x 0 -1 WITHSCORES",
        "ZINTERSTORE x 2 x y",
        "ZRANGE x 0 -1 WITHSCORES",
        "ZRANGE z -0 +0 BYSCORE WITHSCORES",
        "RPUSH u 1 2 1",
        "SORT u BY fixed BY w_* GET #",
        "SORT u BY w_* BY fixed GET #",
        "RPUSH l -0",
        "ZREVRANGEBYSCORE l 0 1e400",
        "SORT l GET #",
        // The longest string, with the default limit.
        "SETBIT long 4294967295 1",
        "STRLEN long",
        "SETBIT long 4294967296 1",
        "SETBIT long 4294967294 1",
        "BITFIELD long INCRBY u8 4294967287 1 GET u8 4294967288",
        "BITFIELD long INCRBY u8 4294967288 1",
        "BITFIELD long SET u8 4294967296 1",
        "SETRANGE long 536870911 x",
        "SETRANGE long 536870911 xx",
        "SETRANGE long 536870912 x",
        "APPEND long x",
        "BITCOUNT long",
        "STRLEN long",
        "DEL long",
        "COMMAND GETKEYS lmpop 1.5 BAZ foo",
        "COMMAND GETKEYS lmpop +2 a b LEFT",
        "COMMAND GETKEYS lmpop -1 a b LEFT",
        "COMMAND GETKEYS lmpop 3 a b",
        "COMMAND GETKEYS lmpop 4294967297x a LEFT",
        "COMMAND GETKEYS lmpop 99999999999999999999 a LEFT",
        "COMMAND GETKEYS blmpop 0 1x a LEFT",
        "COMMAND GETKEYS sintercard x a b",
        "COMMAND GETKEYS zunionstore to 2.0 a b",
        "COMMAND GETKEYSANDFLAGS zunionstore to 2.0 a b",
        "COMMAND GETKEYS zdiff 1e1 a b",
        "COMMAND GETKEYS georadius k 1 2 3 km STORE",
        "COMMAND GETKEYS georadius k 1 2 3 km STORE STORE to",
        "COMMAND GETKEYS georadius k 1 2 3 km STORE a STOREDIST b STORE",
        "COMMAND GETKEYSANDFLAGS georadiusbymember k m 3 km STOREDIST",
        "COMMAND GETKEYS xread COUNT 1 STREAMS a b c",
        "COMMAND GETKEYS xread STREAMS",
        "COMMAND GETKEYS eval script 1x a",
    ] {
        let args: Vec<Arg> = said.split(' ').map(Arg::from).collect();
        if let Err(difference) = pair.command(&args) {
            panic!("{difference}");
        }
    }
}
