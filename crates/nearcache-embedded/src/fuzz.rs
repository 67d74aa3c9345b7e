//! Any commands, in any order, with any arguments.
//!
//! 1. No command panics.
//! 2. The meter shows what the keys really take; this is recounted after every step.
//! 3. A reply is in a form of the connection's protocol, and a line in it is a single line.

use std::time::Duration;

#[path = "fuzz_load.rs"]
mod load;

pub use load::load;

use arbitrary::{Result, Unstructured};
use redis::{Cmd, ConnectionLike, ProtocolVersion, Value};

use crate::waiting::Patience;
use crate::{Clock, Connection, Policy, Script, Store, command, reply};

/// Any command, called from a script.
static CALL: Script = Script::new("return redis.call(unpack(ARGV))", |call| {
    let args = call.args();
    call.call(args)
});

const KEYS: [&[u8]; 6] = [
    b"a",
    b"b",
    b"",
    b"user:1",
    b"\0\xff\r\n",
    b"a key that is too long to lie in place",
];

/// Words that mean something as arguments of some command.
const WORDS: &[&str] = &[
    "0",
    "1",
    "2",
    "-1",
    "-0",
    "+5",
    " 7",
    "00",
    "10",
    "100",
    "1.5",
    "1e3",
    "-1e-300",
    "nan",
    "inf",
    "100000000",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "KEEPTTL",
    "PERSIST",
    "NX",
    "XX",
    "GT",
    "LT",
    "GET",
    "MATCH",
    "COUNT",
    "TYPE",
    "string",
    "DB",
    "REPLACE",
    "ASYNC",
    "SAMPLES",
    "LEFT",
    "RIGHT",
    "BEFORE",
    "AFTER",
    "RANK",
    "WITHVALUES",
    "*",
    "a*",
    "[a-",
    "maxmemory",
    "maxmemory-policy",
    "AUTH",
    "SETNAME",
    "notify-keyspace-events",
    "KEAmn",
    "ON",
    "OFF",
    "BCAST",
    "PREFIX",
    "REDIRECT",
    "NOLOOP",
    "OPTIN",
    "YES",
    "STREAMS",
    "GROUP",
    "$",
    ">",
    "+",
    "(1-1",
    "1-1",
    "1-2",
    "5-*",
    "MAXLEN",
    "MINID",
    "~",
    "=",
    "LIMIT",
    "NOMKSTREAM",
    "MKSTREAM",
    "ENTRIESREAD",
    "NOACK",
    "FORCE",
    "JUSTID",
    "IDLE",
    "TIME",
    "RETRYCOUNT",
    "LASTID",
    "FULL",
    "ENTRIESADDED",
    "MAXDELETEDID",
    "BIT",
    "BYTE",
    "AND",
    "NOT",
    "OVERFLOW",
    "SAT",
    "FAIL",
    "INCRBY",
    "i8",
    "u63",
    "#1",
    "BY",
    "STORE",
    "ALPHA",
    "DESC",
    "IDX",
    "LEN",
    "MINMATCHLEN",
    "GETREG",
    "TODENSE",
    "FILTERBY",
    "PATTERN",
    "w_*->f",
    "#",
    "WITHSCORES",
    "BYSCORE",
    "BYLEX",
    "REV",
    "WEIGHTS",
    "AGGREGATE",
    "SUM",
    "MIN",
    "MAX",
    "CH",
    "INCR",
    "-inf",
    "+inf",
    "(1",
    "[a",
    "(a",
    "-",
    "FROMMEMBER",
    "FROMLONLAT",
    "BYRADIUS",
    "BYBOX",
    "km",
    "m",
    "WITHDIST",
    "WITHCOORD",
    "WITHHASH",
    "ASC",
    "ANY",
    "STOREDIST",
];

/// Inputs with more steps are cut off, because findings should be short.
const MOST_STEPS: usize = 200;

/// Runs the commands that the bytes describe.
pub fn commands(data: &[u8]) {
    // Data that ends early ends the commands.
    let _ = run(&mut Unstructured::new(data));
}

fn run(data: &mut Unstructured<'_>) -> Result<()> {
    let clock = Clock::manual();
    let shards = *data.choose(&[1, 1, 8])?;
    let max_memory = *data.choose(&[0, 0, 2_000, 10_000, 50_000])?;
    let policy = *data.choose(&Policy::ALL)?;
    let store = Store::builder()
        .clock(clock.clone())
        .shards(shards)
        .max_memory(max_memory)
        .policy(policy)
        .script(CALL)
        .build();
    let mut connections = [store.connect(), store.connect()];
    if data.arbitrary()? {
        connections[0].set_protocol(ProtocolVersion::RESP3);
    }
    for _ in 0..MOST_STEPS {
        if data.is_empty() {
            break;
        }
        let kind = data.int_in_range(0..=15u8)?;
        let connection = &mut connections[usize::from(kind % 2)];
        match kind {
            0..=9 => {
                let args = command(data)?;
                let before = connection.protocol();
                let slices: Vec<&[u8]> = args.iter().map(AsRef::as_ref).collect();
                let begun = connection.begin(&slices, Patience::Never);
                let reply = reply::value(begun.reply());
                let all_2 = [before, connection.protocol()]
                    .iter()
                    .all(|protocol| *protocol == ProtocolVersion::RESP2);
                let several = args[0].eq_ignore_ascii_case(b"EXEC");
                assert!(
                    well_formed(&reply, all_2 && !several),
                    "{args:?}: {reply:?}"
                );
            }
            10 | 11 => {
                let commands = (0..data.int_in_range(0..=4)?)
                    .map(|_| command(data))
                    .collect::<Result<Vec<_>>>()?;
                let commands: Vec<Cmd> = commands
                    .iter()
                    .map(|args| Cmd::new().arg(args).take())
                    .collect();
                let reply = connection.transaction(&commands);
                assert!(well_formed(&reply, false), "{reply:?}");
            }
            12 => {
                let packed = Cmd::new().arg(command(data)?).get_packed_command();
                if !waits(&packed) {
                    let _ = connection.req_packed_command(&packed);
                }
            }
            13 => packed(connection, data)?,
            _ => {
                clock.advance(Duration::from_millis(data.arbitrary::<u32>()?.into()));
                if data.arbitrary()? {
                    store.expire_cycle();
                }
            }
        }
        // Nobody reads these, and a client of RESP2 that is subscribed may do little else.
        let mut pushes = connection.pushes();
        while pushes.try_next().is_some() {}
        if data.ratio(1, 4)? && connection.protocol() == ProtocolVersion::RESP2 {
            for line in ["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"] {
                connection.execute(&redis::cmd(line));
            }
        }
        check(&store);
    }
    Ok(())
}

/// Bytes that are mostly not a command.
fn packed(connection: &mut Connection, data: &mut Unstructured<'_>) -> Result<()> {
    let length = data.int_in_range(0..=60)?;
    let bytes = data.bytes(length.min(data.len()))?;
    if unsized_(bytes) && !waits(bytes) {
        let _ = connection.req_packed_command(bytes);
        let _ = connection.req_packed_commands(bytes, 0, 2);
    }
    Ok(())
}

/// Sizes of half a gigabyte are not interesting, and take too long.
fn unsized_(bytes: &[u8]) -> bool {
    let upper = bytes.to_ascii_uppercase();
    let has = |word: &[u8]| upper.windows(word.len()).any(|part| part == word);
    !(has(b"SETRANGE") || has(b"SETBIT") || has(b"BITFIELD") || has(b"RAND"))
}

/// Nobody would ever end the wait of such a command.
fn waits(bytes: &[u8]) -> bool {
    let upper = bytes.to_ascii_uppercase();
    [&b"BL"[..], b"BR", b"BZ", b"WAIT"]
        .iter()
        .any(|word| upper.windows(word.len()).any(|part| part == *word))
}

fn command(data: &mut Unstructured<'_>) -> Result<Vec<Vec<u8>>> {
    let name = command::name(data.arbitrary()?);
    let mut args: Vec<Vec<u8>> = name.split('|').map(Vec::from).collect();
    if name == "eval" && data.ratio(7, 8)? {
        // A registered script, and the command that it calls.
        args.push(CALL.lua().into());
        let key = argument(data)?;
        args.extend([b"1".to_vec(), key]);
        args.push(command::name(data.arbitrary()?).into());
    }
    if data.ratio(1, 32)? {
        args[0] = argument(data)?;
    }
    for _ in 0..data.int_in_range(0..=5)? {
        args.push(argument(data)?);
    }
    if args.iter().any(|arg| !unsized_(arg)) {
        for arg in &mut args {
            let number = std::str::from_utf8(arg)
                .ok()
                .and_then(|text| text.parse().ok());
            let is_large = |number: i64| (5_000..1 << 33).contains(&number.unsigned_abs());
            if number.is_some_and(is_large) {
                *arg = b"5000".to_vec();
            }
        }
    }
    Ok(args)
}

fn argument(data: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    Ok(match data.int_in_range(0..=9)? {
        0..=4 => data.choose(&KEYS)?.to_vec(),
        5 | 6 => data.choose(WORDS)?.as_bytes().to_vec(),
        7 => data.arbitrary::<i16>()?.to_string().into_bytes(),
        8 => vec![b'v'; data.int_in_range(0..=3_000)?],
        _ => {
            let length = data.int_in_range(0..=20)?;
            data.bytes(length.min(data.len()))?.to_vec()
        }
    })
}

/// Whether a connection could send this reply; RESP2 has fewer forms.
fn well_formed(reply: &Value, resp2: bool) -> bool {
    let one_line = |text: &str| !text.contains(['\r', '\n']);
    match reply {
        Value::Nil | Value::Int(_) | Value::BulkString(_) | Value::Okay => true,
        Value::SimpleString(text) => one_line(text),
        Value::ServerError(error) => one_line(error.code()) && error.details().is_none_or(one_line),
        Value::Array(values) => values.iter().all(|value| well_formed(value, resp2)),
        // What is told of subscriptions, by either protocol.
        Value::Push { data, .. } => data.iter().all(|value| well_formed(value, resp2)),
        _ if resp2 => false,
        Value::Set(values) => values.iter().all(|value| well_formed(value, false)),
        Value::Map(entries) => entries
            .iter()
            .all(|(key, value)| well_formed(key, false) && well_formed(value, false)),
        Value::Double(_) | Value::Boolean(_) | Value::VerbatimString { .. } => true,
        _ => false,
    }
}

/// Bytes that a client of the port sends, in parts.
///
/// 1. Nothing panics.
/// 2. The requests are the same, however the bytes are cut.
#[cfg(feature = "serve")]
pub fn requests(data: &[u8]) {
    let (Some(&step), data) = (data.first(), data.get(1..).unwrap_or_default()) else {
        return;
    };
    let whole = crate::serve::read_all(data, data.len().max(1));
    let parts = crate::serve::read_all(data, usize::from(step % 16) + 1);
    assert_eq!(whole, parts);
}

/// Recounts all entries, and compares the result with every shard and the meter.
pub(crate) fn check(store: &Store) {
    let shared = &store.shared;
    let (mut sum, mut keys) = (0, 0);
    let mut untold = 0;
    for index in 0..shared.keyspace.shards() {
        let mut shard = shared.keyspace.write(index);
        for (_, table) in shard.tables() {
            sum += table.recount();
            keys += table.len();
        }
        untold += shard.untold();
        shard.tell();
    }
    assert_eq!(store.used_memory(), sum);
    assert_eq!(shared.keyspace.meter.told().cast_unsigned(), sum);
    let max = store.max_memory();
    // Under a limit of a few bytes, the tables alone may be too large.
    let full = max > 0 && sum > max && keys > 0;
    if full && !store.policy().is_volatile() {
        assert_eq!(
            store.policy(),
            Policy::NoEviction,
            "{sum} of {max}, {untold} untold"
        );
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_fuzzer_found_holds() {
        nearcache_testkit::corpus("commands").for_each(|bytes| super::commands(&bytes));
    }

    #[cfg(feature = "serve")]
    #[test]
    fn requests_that_a_fuzzer_found_are_read() {
        nearcache_testkit::corpus("requests").for_each(|bytes| super::requests(&bytes));
    }
}
