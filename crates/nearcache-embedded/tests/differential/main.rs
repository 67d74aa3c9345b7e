//! Random commands, run here and on a real server: every reply and what is left in the end must be alike.
//!
//! `NEARCACHE_DIFFERENTIAL=100000` sets about how many commands are compared; 5,000 are by default.

mod grammar;
use nearcache_testkit::Redis;
use std::collections::BTreeSet;

use grammar::{Arg, Step, line, steps};
use nearcache_embedded::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
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

/// How a command's replies are compared: by its name, mostly.
fn kind(args: &[Arg]) -> String {
    let name = name(args);
    let has = |word: &str| {
        args.iter()
            .any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    match name.as_str() {
        "COMMAND" => {
            let word = args.get(1).map_or(&b""[..], |word| word);
            format!("COMMAND {}", String::from_utf8_lossy(word).to_uppercase())
        }
        // From a cursor of its own, each goes its own way.
        "ZSCAN" if args.get(2).is_some_and(|cursor| cursor != b"0") => "SCAN".into(),
        "SORT" | "SORT_RO" if is_unsorted(args) || has("BY") && has("ALPHA") => {
            "SORT ANYHOW".into()
        }
        _ => name,
    }
}

/// Whether a `SORT` has a pattern without a star, so that it does not sort: a set then comes in any order.
fn is_unsorted(args: &[Arg]) -> bool {
    args.windows(2)
        .any(|pair| pair[0].eq_ignore_ascii_case(b"BY") && !pair[1].contains(&b'*'))
}

/// The two, side by side.
struct Pair<A, B> {
    store: Store,
    ours: A,
    theirs: B,
    /// Another connection to their server.
    aside: redis::Connection,
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
        if answers_twice(args) {
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
        if ours != theirs && self.has_order(args) {
            prop_assert_eq!(&ours, &theirs, "{}", line(args));
        }
        self.compare(args, &ours, &theirs)
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

    /// Whether a command replies with elements that come in a certain order, because they are not in a hash table.
    fn has_order(&mut self, args: &[Arg]) -> bool {
        let readers = ["HGETALL", "HKEYS", "HVALS", "HSCAN", "SMEMBERS", "SSCAN"];
        if !readers.contains(&name(args).as_str()) || args.len() < 2 {
            return false;
        }
        let ask = ["OBJECT", "ENCODING"].map(Arg::from);
        let encoding = self
            .theirs
            .req_command(&cmd(&[&ask[..], &args[1..2]].concat()));
        let tables = ["hashtable", "skiplist"].map(|name| Value::BulkString(name.into()));
        !tables.contains(&encoding.expect("theirs answers"))
    }

    fn pipeline(&mut self, commands: &[Vec<Arg>], atomic: bool) -> Checked {
        if commands.iter().any(|args| answers_twice(args)) {
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
                for scan in ["HSCAN", "SSCAN"] {
                    let scan = [scan.into(), key.clone()];
                    let ours = scan_all(&mut self.ours, &scan, &[b"COUNT".into(), b"2".into()]);
                    let theirs = scan_all(&mut self.theirs, &scan, &[b"COUNT".into(), b"2".into()]);
                    prop_assert_eq!(ours, theirs, "{}", line(&scan));
                }
            }
            self.command(&[b"DBSIZE".to_vec()])?;
        }
        Ok(())
    }
}

/// Where the second of several prefixes overlaps with a later one, a server answers with an error, and once more with OK:
/// from then on all replies are one late.
fn answers_twice(args: &[Arg]) -> bool {
    let prefixes = args
        .iter()
        .filter(|arg| arg.eq_ignore_ascii_case(b"PREFIX"));
    let is_tracking = args
        .get(1)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"TRACKING"));
    name(args) == "CLIENT" && is_tracking && prefixes.count() > 2
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

fn alike(name: &str, in_transaction: bool, ours: &Value, theirs: &Value) -> bool {
    same(name, in_transaction, ours, theirs)
        || name.starts_with('Z') && same(name, in_transaction, &unsigned(ours), &unsigned(theirs))
}

/// A reply with scores, with 0 for -0: a server keeps the sign in its large form of a sorted set only, and `SORT` makes
/// every sorted set large there.
fn unsigned(reply: &Value) -> Value {
    match reply {
        Value::Array(values) => Value::Array(values.iter().map(unsigned).collect()),
        Value::BulkString(text) if text == b"-0" => Value::BulkString(b"0".to_vec()),
        reply => reply.clone(),
    }
}

fn same(name: &str, in_transaction: bool, ours: &Value, theirs: &Value) -> bool {
    match (name, ours, theirs) {
        // There is no Lua here.
        (_, Value::ServerError(ours), _)
            if ours
                .details()
                .is_some_and(|text| text.contains("native twin")) =>
        {
            true
        }
        // Some commands do not exist here.
        ("COMMAND GETKEYS" | "COMMAND GETKEYSANDFLAGS", Value::ServerError(ours), _)
            if ours.details() == Some("Invalid command specified") =>
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
                // SORT leaves a sorted set in its large form there.
                || (&ours[..], &theirs[..]) == (b"listpack", b"skiplist")
        }
        ("OBJECT", Value::Int(_), Value::Int(_)) | ("MEMORY", Value::Int(_), Value::Int(_)) => true,
        // A server does not look whether a key has expired before it says how much it takes.
        ("MEMORY", Value::Nil, Value::Int(_)) => true,
        ("CONFIG", Value::Array(_) | Value::Map(_), _) => settings(ours) == settings(theirs),
        // A server takes a number for out of range if one in a command shortly before was.
        ("SORT" | "SORT_RO" | "SORT ANYHOW", Value::Array(_), Value::ServerError(theirs)) => theirs
            .details()
            .is_some_and(|text| text.contains("can't be converted into double")),
        ("COMMAND COUNT", Value::Int(_), Value::Int(_)) => true,
        // A server reads "1e3" as 1 when it counts keys.
        (
            "COMMAND GETKEYS" | "COMMAND GETKEYSANDFLAGS",
            Value::Array(ours),
            Value::Array(theirs),
        ) => ours.iter().all(|key| theirs.contains(key)),
        ("COMMAND INFO", Value::Array(ours), Value::Array(theirs))
            if ours.len() == theirs.len() =>
        {
            ours.iter().zip(theirs).all(described_alike)
        }
        // All of them, and a server has more.
        ("COMMAND INFO" | "COMMAND ", Value::Array(ours), Value::Array(theirs)) => ours
            .iter()
            .all(|one| theirs.iter().any(|other| described_alike((one, other)))),
        ("COMMAND DOCS", Value::Array(_) | Value::Map(_), _) => documented_alike(ours, theirs),
        // A server has others as well.
        ("COMMAND LIST", Value::Array(ours), Value::Array(theirs)) => ours.iter().all(|name| {
            theirs.contains(name) || *name == Value::BulkString("client|setinfo".into())
        }),
        // Any key may come, but if there is one, some key must.
        ("RANDOMKEY", Value::BulkString(_), Value::BulkString(_)) => true,
        ("CLIENT", Value::Int(_), Value::Int(_)) => true,
        ("DBSIZE", Value::Int(_), Value::Int(_)) if in_transaction => true,
        ("KEYS", Value::Array(ours), Value::Array(theirs)) => sorted(ours) == sorted(theirs),
        // A limit may choose others.
        ("SORT ANYHOW", Value::Array(ours), Value::Array(theirs)) => ours.len() == theirs.len(),
        // Cursors are each one's own business; whole scans are compared elsewhere.
        ("SCAN" | "HSCAN" | "SSCAN", Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == 2 && theirs.len() == 2
        }
        // A whole scan finds the same.
        ("ZSCAN", Value::Array(ours), Value::Array(theirs)) => match (&ours[..], &theirs[..]) {
            ([ours, Value::Array(found)], [theirs, Value::Array(other)]) => {
                // SORT leaves a sorted set in its large form there, which prints whole scores in another way.
                ours != theirs || pairs(&printed_alike(found)) == pairs(&printed_alike(other))
            }
            _ => false,
        },
        // Any order; and pairs of RESP2 are compared in pairs.
        ("HGETALL", Value::Array(ours), Value::Array(theirs)) => pairs(ours) == pairs(theirs),
        ("HGETALL", Value::Map(ours), Value::Map(theirs)) => {
            let texts = |pairs: &[(Value, Value)]| {
                let mut texts: Vec<_> = pairs.iter().map(|pair| format!("{pair:?}")).collect();
                texts.sort();
                texts
            };
            texts(ours) == texts(theirs)
        }
        (
            "HKEYS" | "HVALS" | "SMEMBERS" | "SINTER" | "SUNION" | "SDIFF" | "SPOP",
            Value::Array(ours),
            Value::Array(theirs),
        )
        | (
            "SMEMBERS" | "SINTER" | "SUNION" | "SDIFF" | "SPOP",
            Value::Set(ours),
            Value::Set(theirs),
        ) => all_sorted(ours) == all_sorted(theirs),
        // Any elements, but as many.
        (
            "HRANDFIELD" | "SRANDMEMBER" | "ZRANDMEMBER",
            Value::BulkString(_),
            Value::BulkString(_),
        ) => true,
        (
            "HRANDFIELD" | "SRANDMEMBER" | "ZRANDMEMBER",
            Value::Array(ours),
            Value::Array(theirs),
        ) => {
            let nested = |values: &[Value]| {
                values
                    .iter()
                    .all(|value| matches!(value, Value::Array(pair) if pair.len() == 2))
            };
            ours.len() == theirs.len() && nested(ours) == nested(theirs)
        }
        // Of a damaged one, whose last opcode is cut, a server reads what happens to lie behind it in memory.
        ("PFDEBUG", Value::BulkString(ours), Value::BulkString(theirs)) => {
            let but_the_last = |text: &[u8]| {
                let end = text.iter().rposition(|byte| *byte == b' ');
                text[..end.unwrap_or(0)].to_vec()
            };
            ours == theirs || but_the_last(ours) == but_the_last(theirs)
        }
        ("INFO", Value::BulkString(_), Value::BulkString(_)) => true,
        (
            "INFO",
            Value::VerbatimString { format: ours, .. },
            Value::VerbatimString { format: theirs, .. },
        ) => ours == theirs,
        ("XINFO", ..) => at_about_the_same_time(ours, theirs),
        ("XPENDING", Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|pair| pending(pair.0, pair.1))
        }
        ("HELLO", Value::Array(_) | Value::Map(_), _) => {
            without_identity(ours) == without_identity(theirs)
        }
        _ => ours == theirs,
    }
}

/// Two pending entries, of which the idle time is measured at another moment.
fn pending(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) if a.len() == 4 && b.len() == 4 => {
            let near = matches!((&a[2], &b[2]), (Value::Int(a), Value::Int(b)) if a.abs_diff(*b) <= 30_000);
            near && (&a[..2], &a[3]) == (&b[..2], &b[3])
        }
        _ => ours == theirs,
    }
}

/// Two replies in which idle times, and moments of the present, may differ a little.
fn at_about_the_same_time(ours: &Value, theirs: &Value) -> bool {
    const LONG_AGO: i64 = 100_000_000_000;
    let is_idle = |name: &Value| *name == Value::BulkString(b"idle".to_vec());
    let near = |a: &Value, b: &Value| matches!((a, b), (Value::Int(a), Value::Int(b)) if a.abs_diff(*b) <= 30_000);
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) => {
            let alike = |at: usize| {
                at_about_the_same_time(&a[at], &b[at])
                    || at > 0 && is_idle(&a[at - 1]) && near(&a[at], &b[at])
            };
            a.len() == b.len() && (0..a.len()).all(alike)
        }
        (Value::Map(a), Value::Map(b)) => {
            let alike = |(a, b): (&(Value, Value), &(Value, Value))| {
                a.0 == b.0
                    && (at_about_the_same_time(&a.1, &b.1) || is_idle(&a.0) && near(&a.1, &b.1))
            };
            a.len() == b.len() && a.iter().zip(b).all(alike)
        }
        (Value::Int(a), Value::Int(b)) => {
            a == b || a.min(b) > &LONG_AGO && a.abs_diff(*b) <= 30_000
        }
        _ => ours == theirs,
    }
}

/// Members and their scores, with all scores printed in one way.
fn printed_alike(members: &[Value]) -> Vec<Value> {
    let score = |value: &Value| match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse::<f64>().ok(),
        _ => None,
    };
    let mut members = members.to_vec();
    for value in members.iter_mut().skip(1).step_by(2) {
        if let Some(score) = score(value) {
            *value = Value::BulkString(format!("{score:?}").into());
        }
    }
    members
}

/// Whether what is said of a command is the same, but for its subcommands, and for notes about its keys. What does not
/// exist here is nothing.
fn described_alike((ours, theirs): (&Value, &Value)) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            let facts = |fields: &[Value]| {
                let mut fields = fields.to_vec();
                fields.truncate(9);
                if let Some(Value::Array(specs) | Value::Set(specs)) = fields.pop() {
                    fields.extend(specs.iter().map(without_notes));
                }
                fields
            };
            facts(ours) == facts(theirs)
        }
        (Value::Nil, _) => true,
        _ => false,
    }
}

fn without_notes(spec: &Value) -> Value {
    let pairs = spec.as_map_iter().expect("a map");
    let notes = Value::BulkString("notes".into());
    let pairs = pairs.filter(|(name, _)| **name != notes);
    Value::Map(
        pairs
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

/// Whether the documents are of the same commands, groups and versions, where the commands exist here.
fn documented_alike(ours: &Value, theirs: &Value) -> bool {
    let facts = |reply: &Value| -> Vec<_> {
        let of = |document: &Value| -> Vec<_> {
            let pairs = document.as_map_iter().expect("a document");
            let pairs = pairs.map(|(name, value)| (format!("{name:?}"), format!("{value:?}")));
            pairs
                .filter(|(name, _)| name.contains("\"since\"") || name.contains("group"))
                .collect()
        };
        let documents = reply.as_map_iter().expect("documents");
        documents
            .map(|(name, document)| (format!("{name:?}"), of(document)))
            .collect()
    };
    let theirs = facts(theirs);
    facts(ours).iter().all(|document| theirs.contains(document))
}

fn sorted(values: &[Value]) -> BTreeSet<String> {
    values.iter().map(|value| format!("{value:?}")).collect()
}

/// The same, but what is there several times is counted.
fn all_sorted(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    texts.sort();
    texts
}

fn pairs(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<_> = values.chunks(2).map(|pair| format!("{pair:?}")).collect();
    texts.sort();
    texts
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
        "stream-node-max-bytes",
        "stream-node-max-entries",
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
    let test = runner.run(&(any::<bool>(), steps(1..2 * STEPS)), |(resp3, steps)| {
        let store = Store::new();
        let mut pair = Pair {
            ours: store.connect(),
            // A new one for each case: what one leaves behind is not the next one's.
            theirs: connect(),
            aside: connect(),
            store,
            queued: Vec::new(),
        };
        for reset in ["RESET", "FLUSHALL"] {
            pair.command(&[reset.into()])?;
        }
        let defaults = "CONFIG SET maxmemory 0 maxmemory-policy noeviction maxmemory-samples 5 \
                            lfu-log-factor 10 lfu-decay-time 1 hll-sparse-max-bytes 3000 \
                            stream-node-max-entries 100 stream-node-max-bytes 4096 \
                            hash-max-listpack-entries 512 hash-max-listpack-value 64 \
                            set-max-intset-entries 512 list-max-listpack-size -2";
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

/// What a longer run has found, and is rarely met.
#[test]
fn what_once_differed_is_the_same() {
    let server = Redis::start();
    let store = Store::new();
    let client = redis::Client::open(server.unix_url()).unwrap();
    let mut pair = Pair {
        ours: store.connect(),
        theirs: client.get_connection().expect("a connection"),
        aside: client.get_connection().expect("a connection"),
        store,
        queued: Vec::new(),
    };
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
        "RPUSH l -0",
        "ZREVRANGEBYSCORE l 0 1e400",
        "SORT l GET #",
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
