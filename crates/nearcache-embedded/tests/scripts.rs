//! Scripts: a twin does what its Lua text does on a server.

use nearcache_embedded::{Call, Script, ScriptError, Store};
use nearcache_testkit::Redis;
use proptest::prelude::*;
use redis::{Cmd, ConnectionLike, ErrorKind, ServerErrorKind, Value, cmd};

/// Deletes the keys that hold a value, and returns how many; a negative limit is an error.
static DELETE_EQUAL: Script = Script::new(
    "
    local limit = tonumber(ARGV[2])
    if limit < 0 then return redis.error_reply('LIMIT is negative') end
    local count = 0
    for _, key in ipairs(KEYS) do
        if count < limit and redis.call('GET', key) == ARGV[1] then
            count = count + redis.call('DEL', key)
        end
    end
    return {count, redis.call('EXISTS', unpack(KEYS)), redis.call('GET', KEYS[1])}
    ",
    delete_equal,
);

fn delete_equal(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let [value, limit] = *call.args() else {
        return Err(ScriptError::new("ERR two arguments are needed"));
    };
    let limit: i64 = std::str::from_utf8(limit)
        .ok()
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(0);
    if limit < 0 {
        return Err(ScriptError::new("LIMIT is negative"));
    }
    let mut count = 0;
    for key in call.keys() {
        if count < limit
            && call.call(&[b"GET", key])? == Value::BulkString(value.to_vec())
            && let Value::Int(deleted) = call.call(&[b"DEL", key])?
        {
            count += deleted;
        }
    }
    let exists: Vec<&[u8]> = [&b"EXISTS"[..]]
        .iter()
        .chain(call.keys())
        .copied()
        .collect();
    Ok(Value::Array(vec![
        Value::Int(count),
        call.call(&exists)?,
        call.call(&[b"GET", call.keys()[0]])?,
    ]))
}

fn compare_and_delete(keys: &[String], value: &str, limit: i64) -> Cmd {
    let mut eval = cmd("EVAL");
    eval.arg(DELETE_EQUAL.lua())
        .arg(keys.len())
        .arg(keys)
        .arg(value)
        .arg(limit);
    eval
}

/// Errors of a command are followed by where in the script it was called.
fn without_position(reply: Value) -> Value {
    match &reply {
        Value::ServerError(error) => {
            let text = error.details().unwrap_or_default();
            let text = text.split(" script: ").next().unwrap_or_default();
            Value::SimpleString(format!("{} {text}", error.code()))
        }
        _ => reply,
    }
}

#[test]
fn a_twin_does_what_its_lua_does_on_a_server() {
    let server = Redis::start();
    let theirs = std::cell::RefCell::new(
        redis::Client::open(server.unix_url())
            .unwrap()
            .get_connection()
            .unwrap(),
    );
    let key = || {
        prop::sample::select(vec![
            "a".to_owned(),
            "b".to_owned(),
            "c".to_owned(),
            "list".to_owned(),
        ])
    };
    let value = || prop::sample::select(vec!["1", "2"]);
    let call = (prop::collection::vec(key(), 1..4), value(), -1i64..3);
    let input = (
        prop::collection::vec((key(), value()), 0..4),
        prop::collection::vec(call, 1..6),
        any::<bool>(),
    );
    proptest!(|((pairs, calls, resp3) in input)| {
        let mut theirs = theirs.borrow_mut();
        let mut ours = Store::builder().script(DELETE_EQUAL).build().connect();
        let mut both = |cmd: &Cmd| {
            let ours = without_position(ours.req_command(cmd).unwrap());
            (ours, without_position(theirs.req_command(cmd).unwrap()))
        };
        both(&cmd("FLUSHALL"));
        both(cmd("HELLO").arg(if resp3 { 3 } else { 2 }));
        for (key, value) in pairs {
            both(cmd(if key == "list" { "LPUSH" } else { "SET" }).arg(key).arg(value));
        }
        for (keys, value, limit) in calls {
            let (ours, theirs) = both(&compare_and_delete(&keys, value, limit));
            prop_assert_eq!(ours, theirs);
            let (ours, theirs) = both(cmd("MGET").arg(&["a", "b", "c"]));
            prop_assert_eq!(ours, theirs);
        }
    });
}

#[test]
fn redis_rs_scripts_run_whether_loaded_or_not() {
    let store = Store::new();
    let mut con = store.connect();
    let script = redis::Script::new(DELETE_EQUAL.lua());
    assert_eq!(script.get_hash(), DELETE_EQUAL.sha1());
    let mut call = script.key("k");
    call.arg("v").arg(1);

    let error = call.invoke::<Value>(&mut con).unwrap_err();
    assert!(error.to_string().contains("native twin"), "{error}");

    store.register(DELETE_EQUAL);
    store.register(DELETE_EQUAL);
    cmd("SET").arg("k").arg("v").exec(&mut con).unwrap();
    assert_eq!(
        call.invoke::<(i64, i64, Option<String>)>(&mut con).unwrap(),
        (1, 0, None)
    );

    // redis-rs loads the script again when the server has forgotten it.
    cmd("SCRIPT").arg("FLUSH").exec(&mut con).unwrap();
    let missing = cmd("EVALSHA")
        .arg(script.get_hash())
        .arg(0)
        .exec(&mut con)
        .unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Server(ServerErrorKind::NoScript));
    assert_eq!(
        call.invoke::<(i64, i64, Option<String>)>(&mut con).unwrap(),
        (0, 0, None)
    );
    let known: Vec<bool> = cmd("SCRIPT")
        .arg("EXISTS")
        .arg(script.get_hash())
        .arg("x")
        .query(&mut con)
        .unwrap();
    assert_eq!(known, [true, false]);
}

fn error_of(twin: nearcache_embedded::Twin) -> String {
    let script = Script::new("-- any text", twin);
    let mut con = Store::builder().script(script).build().connect();
    let eval = cmd("EVAL")
        .arg(script.lua())
        .arg(1)
        .arg("k")
        .query::<Value>(&mut con);
    eval.unwrap_err().to_string()
}

#[test]
fn a_twin_cannot_touch_keys_that_were_not_declared() {
    let error = error_of(|call| call.call(&[b"SET", b"other", b"v"]));
    assert!(
        error.contains("'set' with the key 'other', which is not among the script's KEYS"),
        "{error}"
    );
    let error = error_of(|call| call.call(&[b"MGET", b"k", b"other"]));
    assert!(error.contains("'other'"), "{error}");
}

#[test]
fn a_twin_cannot_call_what_scripts_may_not() {
    for (twin, text) in [
        (
            (|call| call.call(&[b"MULTI"])) as nearcache_embedded::Twin,
            "not allowed from script",
        ),
        (
            |call| call.call(&[b"EVAL", b"", b"0"]),
            "not allowed from script",
        ),
        (
            |call| call.call(&[b"NOPE"]),
            "Unknown Redis command called from script",
        ),
        (
            |call| call.call(&[b"GET"]),
            "Wrong number of args calling Redis command from script",
        ),
        (
            |call| call.call(&[b"FLUSHALL"]),
            "needs the whole key space",
        ),
        (|call| call.call(&[]), "Unknown Redis command"),
    ] {
        let error = error_of(twin);
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn a_script_is_part_of_a_transaction_like_any_command() {
    let mut con = Store::builder().script(DELETE_EQUAL).build().connect();
    let mut pipe = redis::pipe();
    pipe.atomic()
        .set("k", "v")
        .ignore()
        .add_command(compare_and_delete(&["k".to_owned()], "v", 1))
        .exists("k");
    let (script, exists): ((i64, i64, Option<String>), bool) = pipe.query(&mut con).unwrap();
    assert_eq!((script, exists), ((1, 0, None), false));
}

/// A script speaks RESP2 whatever its client speaks, and a subcommand is a command as any other.
#[test]
fn a_twin_gets_what_a_script_gets_whatever_the_client_speaks() {
    static SCORES: Script = Script::new(
        "redis.call('XGROUP', 'CREATE', KEYS[2], 'group', '0', 'MKSTREAM')
redis.call('ZADD', KEYS[1], 1, 'a', 2, 'b')
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
return {#all, all[2], redis.call('ZSCORE', KEYS[1], 'b')}",
        |call| {
            let [board, stream] = *call.keys() else {
                return Err(ScriptError::new("ERR two keys are needed"));
            };
            call.call(&[b"XGROUP", b"CREATE", stream, b"group", b"0", b"MKSTREAM"])?;
            call.call(&[b"ZADD", board, b"1", b"a", b"2", b"b"])?;
            let all = call.call(&[b"ZRANGE", board, b"0", b"-1", b"WITHSCORES"])?;
            let Value::Array(all) = all else {
                return Err(ScriptError::new("ERR no list"));
            };
            let score = call.call(&[b"ZSCORE", board, b"b"])?;
            Ok(Value::Array(vec![
                Value::Int(all.len() as i64),
                all[1].clone(),
                score,
            ]))
        },
    );
    let redis = Redis::start();
    let client = redis::Client::open(format!("{}?protocol=resp3", redis.url())).unwrap();
    let store = Store::builder().script(SCORES).build();
    let mut ours = store.connect();
    ours.set_protocol(redis::ProtocolVersion::RESP3);
    let mut eval = cmd("EVAL");
    eval.arg(SCORES.lua()).arg(2).arg("board").arg("stream");
    let theirs: Value = eval.query(&mut client.get_connection().unwrap()).unwrap();
    assert_eq!(eval.query::<Value>(&mut ours).unwrap(), theirs);
    let score: Value = cmd("ZSCORE")
        .arg("board")
        .arg("b")
        .query(&mut ours)
        .unwrap();
    assert_eq!(score, Value::Double(2.0), "the client still speaks RESP3");
}
