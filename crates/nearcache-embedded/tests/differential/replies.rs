//! How two replies to a command are compared: mostly byte for byte, and where a server's reply is a matter of chance, of
//! the moment, or of its own form of the data, by what both must have in common.

use std::collections::BTreeSet;

use redis::Value;

use crate::grammar::Arg;
use crate::name;

/// How a command's replies are compared: by its name, mostly.
pub(crate) fn kind(args: &[Arg]) -> String {
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

pub(crate) fn alike(name: &str, in_transaction: bool, ours: &Value, theirs: &Value) -> bool {
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
