//! What a queue does at the server, one step each.
//!
//! The jobs are a stream with one consumer group. An entry is there until its job is done: one that waits was not
//! delivered, one that runs is pending. A job that is to wait for a time is in a sorted set, as `ID:ATTEMPT:JOB`, with
//! the time as its score. A dead letter is an entry of another stream.
//!
//! 1. A job is moved from one to another in one step, so it is never in none of them.
//! 2. Only the consumer that a job is delivered to fails it, keeps it or gives it back; anybody may say that it is done.
//! 3. What another program put there is moved with what can be read of it, and stops nobody.

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

#[cfg(feature = "embedded")]
use crate::patterns::lock::scripts::{millis, number, text};
use crate::script::{Script, script};

/// How many fields of an entry a dead letter keeps; ours have three.
#[cfg(feature = "embedded")]
const FIELDS: usize = 1_000;

/// How many jobs whose time has come are moved at once.
#[cfg(feature = "embedded")]
const MOVED: &[u8] = b"100";

/// Lua for the time in milliseconds.
macro_rules! now {
    () => {
        "local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"
    };
}

/// Lua for how many attempts an entry says that its job has had.
macro_rules! attempts {
    () => {
        "local function attempts_of(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'attempt' and #fields[i + 1] <= 9 and string.find(fields[i + 1], '^%d+$') then
      return tonumber(fields[i + 1])
    end
  end
  return 0
end
"
    };
}

/// Lua that puts a job away as a dead letter.
macro_rules! bury {
    () => {
        "local function bury(entry, attempts, why)
  local kept = {}
  for i = 1, math.min(#entry[2], 2000), 2 do
    local name = entry[2][i]
    if name ~= 'attempt' and name ~= 'error' then
      kept[#kept + 1] = name
      kept[#kept + 1] = entry[2][i + 1]
    end
  end
  redis.call('XADD', KEYS[3], '*', 'attempt', string.format('%.0f', attempts), 'error', why, unpack(kept))
  redis.call('XACK', KEYS[1], ARGV[1], entry[1])
  redis.call('XDEL', KEYS[1], entry[1])
end
"
    };
}

/// KEYS: the jobs, those to come. ARGV: the id, the job, after how many ms it is due, how many there may be (0: any
/// number).
///
/// Returns 1, or 0 if there are as many already.
pub(crate) static PUSH: Script = script!(
    concat!(
        "local most = tonumber(ARGV[4])
if most > 0 and redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2]) >= most then
  return 0
end
if ARGV[3] == '0' then
  redis.call('XADD', KEYS[1], '*', 'id', ARGV[1], 'attempt', '0', 'job', ARGV[2])
  return 1
end
",
        now!(),
        "redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[3]), ARGV[1] .. ':0:' .. ARGV[2])
return 1"
    ),
    push
);

#[cfg(feature = "embedded")]
fn push(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let most = number(args[3])?;
    if most > 0.0 {
        let jobs = count(&call.call(&[b"XLEN", keys[0]])?);
        let later = count(&call.call(&[b"ZCARD", keys[1]])?);
        if jobs + later >= most {
            return Ok(Value::Int(0));
        }
    }
    if args[2] == b"0" {
        add(call, keys[0], args[0], b"0", args[1])?;
        return Ok(Value::Int(1));
    }
    let due = format!("{:.0}", millis(call)? + number(args[2])?);
    let member = [args[0], b":0:", args[1]].concat();
    call.call(&[b"ZADD", keys[1], due.as_bytes(), &member])?;
    Ok(Value::Int(1))
}

/// KEYS: the jobs, those to come, the dead ones. ARGV: the group, the consumer, after how many ms a job that is not
/// kept is given to another consumer, how many jobs are wanted, how many retries a job may have.
///
/// Moves what is due, and returns `{jobs, ms}`: the jobs that are the consumer's now, each as `{entry, deliveries,
/// fields}`, and in how many ms the next one is due (-1: none). Jobs whose consumers were lost too often are dead.
/// `NOGROUP` if there is no group.
pub(crate) static TAKE: Script = script!(
    concat!(
        attempts!(),
        bury!(),
        now!(),
        "local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)
for _, member in ipairs(due) do
  local a = string.find(member, ':', 1, true)
  local b = a and string.find(member, ':', a + 1, true)
  if b then
    redis.call('XADD', KEYS[1], '*', 'id', string.sub(member, 1, a - 1), 'attempt', string.sub(member, a + 1, b - 1), 'job', string.sub(member, b + 1))
  else
    redis.call('XADD', KEYS[1], '*', 'job', member)
  end
  redis.call('ZREM', KEYS[2], member)
end
local wanted, retries, taken = tonumber(ARGV[4]), tonumber(ARGV[5]), {}
local idle = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', ARGV[4])
for _, pending in ipairs(idle) do
  local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], pending[1])[1]
  if not entry then
    redis.call('XACK', KEYS[1], ARGV[1], pending[1])
  else
    local made = attempts_of(entry[2]) + pending[4]
    if made > retries then
      bury(entry, made, 'its worker was lost')
    else
      taken[#taken + 1] = {entry[1], pending[4] + 1, entry[2]}
    end
  end
end
if #taken < wanted then
  local fresh = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', wanted - #taken, 'STREAMS', KEYS[1], '>')
  if fresh then
    for _, entry in ipairs(fresh[1][2]) do
      taken[#taken + 1] = {entry[1], 1, entry[2]}
    end
  end
end
local next = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
return {taken, next[2] and math.max(next[2] - now, 0) or -1}"
    ),
    take
);

#[cfg(feature = "embedded")]
fn take(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let (jobs, later) = (keys[0], keys[1]);
    let (group, consumer) = (args[0], args[1]);
    let now = millis(call)?;
    let now_text = format!("{now:.0}");
    let due: [&[u8]; 7] = [
        b"ZRANGEBYSCORE",
        later,
        b"-inf",
        now_text.as_bytes(),
        b"LIMIT",
        b"0",
        MOVED,
    ];
    for member in list(call.call(&due)?).into_iter().filter_map(text) {
        match parts(&member) {
            Some((id, attempt, job)) => add(call, jobs, id, attempt, job)?,
            None => drop(call.call(&[b"XADD", jobs, b"*", b"job", &member])?),
        }
        call.call(&[b"ZREM", later, &member])?;
    }
    let (wanted, retries) = (number(args[3])?, number(args[4])?);
    let mut taken = Vec::new();
    let idle: [&[u8]; 8] = [
        b"XPENDING",
        jobs,
        group,
        b"IDLE",
        args[2],
        b"-",
        b"+",
        args[3],
    ];
    for pending in list(call.call(&idle)?) {
        let pending = list(pending);
        let (Some(Value::BulkString(id)), Some(deliveries)) = (pending.first(), pending.get(3))
        else {
            continue;
        };
        let deliveries = count(deliveries);
        let claim: [&[u8]; 6] = [b"XCLAIM", jobs, group, consumer, args[2], id];
        let claimed = list(call.call(&claim)?).into_iter().next();
        let Some(fields) = claimed.and_then(fields_of) else {
            call.call(&[b"XACK", jobs, group, id])?;
            continue;
        };
        let made = attempts_of(&fields) + deliveries;
        if made > retries {
            bury(call, id, &fields, made, b"its worker was lost")?;
        } else {
            taken.push(delivered(id.clone(), deliveries + 1.0, fields));
        }
    }
    if (taken.len() as f64) < wanted {
        let more = format!("{:.0}", wanted - taken.len() as f64);
        let fresh: [&[u8]; 9] = [
            b"XREADGROUP",
            b"GROUP",
            group,
            consumer,
            b"COUNT",
            more.as_bytes(),
            b"STREAMS",
            jobs,
            b">",
        ];
        for entry in entries_read(call.call(&fresh)?) {
            let mut entry = list(entry).into_iter();
            if let (Some(Value::BulkString(id)), Some(fields)) = (entry.next(), entry.next()) {
                taken.push(delivered(
                    id,
                    1.0,
                    list(fields).into_iter().filter_map(text).collect(),
                ));
            }
        }
    }
    let next: [&[u8]; 5] = [b"ZRANGE", later, b"0", b"0", b"WITHSCORES"];
    let next = list(call.call(&next)?).pop().and_then(text);
    let wait = match next {
        Some(next) => (number(&next)? - now).max(0.0) as i64,
        None => -1,
    };
    Ok(Value::Array(vec![Value::Array(taken), Value::Int(wait)]))
}

/// KEYS: the jobs. ARGV: the group, the consumer, entries.
///
/// Keeps those that are the consumer's from being given to another one, and returns how many they are.
pub(crate) static KEEP: Script = script!(
    "local kept = 0
for i = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) == 1 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
    kept = kept + 1
  end
end
return kept",
    |call| {
        let (jobs, args) = (call.keys()[0], call.args());
        let mut kept = 0;
        for entry in &args[2..] {
            if deliveries(call, args[0], args[1], entry)?.is_some() {
                let claim: [&[u8]; 7] = [b"XCLAIM", jobs, args[0], args[1], b"0", entry, b"JUSTID"];
                call.call(&claim)?;
                kept += 1;
            }
        }
        Ok(Value::Int(kept))
    }
);

/// KEYS: the jobs. ARGV: the group, the consumer, entries.
///
/// Gives those that are the consumer's back, as if they had not been delivered: whoever asks next gets them. Then
/// removes the consumer, if it has no others. Returns how many were given back.
pub(crate) static LEAVE: Script = script!(
    "local given = 0
for i = 3, #ARGV do
  local found = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])
  if #found == 1 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', 31536000000, 'RETRYCOUNT', math.max(found[1][4] - 1, 0), 'JUSTID')
    given = given + 1
  end
end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return given",
    leave
);

#[cfg(feature = "embedded")]
fn leave(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (jobs, args) = (call.keys()[0], call.args());
    let (group, consumer) = (args[0], args[1]);
    let mut given = 0;
    for entry in &args[2..] {
        if let Some(deliveries) = deliveries(call, group, consumer, entry)? {
            let before = format!("{:.0}", (deliveries - 1.0).max(0.0));
            let claim: [&[u8]; 11] = [
                b"XCLAIM",
                jobs,
                group,
                consumer,
                b"0",
                entry,
                b"IDLE",
                b"31536000000",
                b"RETRYCOUNT",
                before.as_bytes(),
                b"JUSTID",
            ];
            call.call(&claim)?;
            given += 1;
        }
    }
    let others: [&[u8]; 7] = [b"XPENDING", jobs, group, b"-", b"+", b"1", consumer];
    if list(call.call(&others)?).is_empty() {
        call.call(&[b"XGROUP", b"DELCONSUMER", jobs, group, consumer])?;
    }
    Ok(Value::Int(given))
}

/// KEYS: the jobs. ARGV: the group, an entry.
///
/// Removes a job that is done. Returns 1 if it was there and delivered.
pub(crate) static DONE: Script = script!(
    "local done = redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if done == 1 then
  redis.call('XDEL', KEYS[1], ARGV[2])
end
return done",
    |call| {
        let (jobs, args) = (call.keys()[0], call.args());
        let done = call.call(&[b"XACK", jobs, args[0], args[1]])?;
        if done == Value::Int(1) {
            call.call(&[b"XDEL", jobs, args[1]])?;
        }
        Ok(done)
    }
);

/// KEYS: the jobs, those to come, the dead ones. ARGV: the group, the consumer, an entry, after how many ms its job is
/// due again ("": never, it is dead), why.
///
/// Returns 1, or 0 if the job is not the consumer's any more.
pub(crate) static FAIL: Script = script!(
    concat!(
        attempts!(),
        bury!(),
        "local found = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2])
if #found == 0 then
  return 0
end
local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1]
if not entry then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
  return 0
end
local made = attempts_of(entry[2]) + found[1][4]
if ARGV[4] == '' then
  bury(entry, made, ARGV[5])
  return 1
end
local id, job = entry[1], ''
for i = 1, #entry[2], 2 do
  if entry[2][i] == 'id' then
    id = string.gsub(entry[2][i + 1], ':', '-')
  elseif entry[2][i] == 'job' then
    job = entry[2][i + 1]
  end
end
made = string.format('%.0f', made)
if ARGV[4] == '0' then
  redis.call('XADD', KEYS[1], '*', 'id', id, 'attempt', made, 'job', job)
else
  ",
        now!(),
        "  redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[4]), id .. ':' .. made .. ':' .. job)
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[3])
return 1"
    ),
    fail
);

#[cfg(feature = "embedded")]
fn fail(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (keys, args) = (call.keys(), call.args());
    let (jobs, group, entry) = (keys[0], args[0], args[2]);
    let Some(deliveries) = deliveries(call, group, args[1], entry)? else {
        return Ok(Value::Int(0));
    };
    let found = list(call.call(&[b"XRANGE", jobs, entry, entry])?);
    let Some(fields) = found.into_iter().next().and_then(fields_of) else {
        call.call(&[b"XACK", jobs, group, entry])?;
        return Ok(Value::Int(0));
    };
    let made = attempts_of(&fields) + deliveries;
    if args[3].is_empty() {
        bury(call, entry, &fields, made, args[4])?;
        return Ok(Value::Int(1));
    }
    let (mut id, mut job) = (entry.to_vec(), Vec::new());
    for pair in fields.chunks_exact(2) {
        match &pair[0][..] {
            b"id" => {
                let colons = |byte: &u8| if *byte == b':' { b'-' } else { *byte };
                id = pair[1].iter().map(colons).collect();
            }
            b"job" => job.clone_from(&pair[1]),
            _ => {}
        }
    }
    let made = format!("{made:.0}");
    if args[3] == b"0" {
        add(call, jobs, &id, made.as_bytes(), &job)?;
    } else {
        let due = format!("{:.0}", millis(call)? + number(args[3])?);
        let member = [&id, &b":"[..], made.as_bytes(), b":", &job].concat();
        call.call(&[b"ZADD", keys[1], due.as_bytes(), &member])?;
    }
    call.call(&[b"XACK", jobs, group, entry])?;
    call.call(&[b"XDEL", jobs, entry])?;
    Ok(Value::Int(1))
}

/// KEYS: the jobs. ARGV: the group; how many ms a consumer was idle.
///
/// Removes the consumers that were idle for longer and have no job. Returns how many.
pub(crate) static SWEEP: Script = script!(
    "local swept = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local of = {}
  for i = 1, #consumer, 2 do
    of[consumer[i]] = consumer[i + 1]
  end
  if of.pending == 0 and of.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of.name)
    swept = swept + 1
  end
end
return swept",
    sweep
);

#[cfg(feature = "embedded")]
fn sweep(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (jobs, group) = (call.keys()[0], call.args()[0]);
    let idle = number(call.args()[1])?;
    let mut swept = 0;
    for consumer in list(call.call(&[b"XINFO", b"CONSUMERS", jobs, group])?) {
        let pairs: Vec<(Value, Value)> = match consumer {
            Value::Map(pairs) => pairs,
            other => {
                let mut parts = list(other).into_iter();
                std::iter::from_fn(|| parts.next().zip(parts.next())).collect()
            }
        };
        let of = |wanted: &[u8]| {
            let found = pairs.iter().find(|(name, _)| match name {
                Value::BulkString(name) => name == wanted,
                Value::SimpleString(name) => name.as_bytes() == wanted,
                _ => false,
            });
            found.map(|(_, value)| value)
        };
        let counted = |name: &[u8]| of(name).map_or(0.0, count);
        if counted(b"pending") == 0.0
            && counted(b"idle") > idle
            && let Some(Value::BulkString(name)) = of(b"name")
        {
            call.call(&[b"XGROUP", b"DELCONSUMER", jobs, group, name])?;
            swept += 1;
        }
    }
    Ok(Value::Int(swept))
}

/// KEYS: the jobs, the dead ones. ARGV: entries of dead ones.
///
/// Puts their jobs into the queue once more, as if they had not been tried. Returns how many.
pub(crate) static REVIVE: Script = script!(
    "local revived = 0
for i = 1, #ARGV do
  local entry = redis.call('XRANGE', KEYS[2], ARGV[i], ARGV[i])[1]
  if entry then
    local kept = {}
    for j = 1, #entry[2], 2 do
      local name = entry[2][j]
      if name ~= 'attempt' and name ~= 'error' then
        kept[#kept + 1] = name
        kept[#kept + 1] = entry[2][j + 1]
      end
    end
    redis.call('XADD', KEYS[1], '*', 'attempt', '0', unpack(kept))
    redis.call('XDEL', KEYS[2], ARGV[i])
    revived = revived + 1
  end
end
return revived",
    revive
);

#[cfg(feature = "embedded")]
fn revive(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (jobs, dead) = (call.keys()[0], call.keys()[1]);
    let mut revived = 0;
    for entry in call.args() {
        let found = list(call.call(&[b"XRANGE", dead, entry, entry])?);
        let Some(fields) = found.into_iter().next().and_then(fields_of) else {
            continue;
        };
        let mut command: Vec<&[u8]> = vec![b"XADD", jobs, b"*", b"attempt", b"0"];
        command.extend(kept(&fields));
        call.call(&command)?;
        call.call(&[b"XDEL", dead, entry])?;
        revived += 1;
    }
    Ok(Value::Int(revived))
}

/// All of them.
#[cfg(all(test, feature = "embedded"))]
pub(crate) static ALL: [&Script; 8] = [&PUSH, &TAKE, &KEEP, &LEAVE, &DONE, &FAIL, &SWEEP, &REVIVE];

#[cfg(feature = "embedded")]
fn add(
    call: &mut Call<'_>,
    jobs: &[u8],
    id: &[u8],
    attempt: &[u8],
    job: &[u8],
) -> Result<(), ScriptError> {
    let fields: [&[u8]; 9] = [
        b"XADD", jobs, b"*", b"id", id, b"attempt", attempt, b"job", job,
    ];
    call.call(&fields).map(drop)
}

/// Puts a job away as a dead letter.
#[cfg(feature = "embedded")]
fn bury(
    call: &mut Call<'_>,
    entry: &[u8],
    fields: &[Vec<u8>],
    attempts: f64,
    why: &[u8],
) -> Result<(), ScriptError> {
    let (jobs, dead, group) = (call.keys()[0], call.keys()[2], call.args()[0]);
    let attempts = format!("{attempts:.0}");
    let mut command: Vec<&[u8]> = vec![b"XADD", dead, b"*", b"attempt", attempts.as_bytes()];
    command.extend([b"error", why]);
    command.extend(kept(&fields[..fields.len().min(2 * FIELDS)]));
    call.call(&command)?;
    call.call(&[b"XACK", jobs, group, entry])?;
    call.call(&[b"XDEL", jobs, entry])?;
    Ok(())
}

/// The fields that go with a job.
#[cfg(feature = "embedded")]
fn kept(fields: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    let pairs = fields.chunks_exact(2);
    pairs
        .filter(|pair| pair[0] != b"attempt" && pair[0] != b"error")
        .flatten()
        .map(|part| &part[..])
}

/// How often an entry was delivered to this consumer, if it is pending with it.
#[cfg(feature = "embedded")]
fn deliveries(
    call: &mut Call<'_>,
    group: &[u8],
    consumer: &[u8],
    entry: &[u8],
) -> Result<Option<f64>, ScriptError> {
    let jobs = call.keys()[0];
    let asked: [&[u8]; 7] = [b"XPENDING", jobs, group, entry, entry, b"1", consumer];
    let found = list(call.call(&asked)?).into_iter().next();
    Ok(found.and_then(|pending| list(pending).get(3).map(count)))
}

/// How many attempts an entry says that its job has had.
#[cfg(feature = "embedded")]
fn attempts_of(fields: &[Vec<u8>]) -> f64 {
    let mut named = fields.chunks_exact(2).filter(|pair| pair[0] == b"attempt");
    let numbers = |pair: &&[Vec<u8>]| {
        (1..=9).contains(&pair[1].len()) && pair[1].iter().all(u8::is_ascii_digit)
    };
    let found = named.find(numbers);
    found.and_then(|pair| number(&pair[1]).ok()).unwrap_or(0.0)
}

/// The parts of a member: the id, the attempts, the job.
#[cfg(feature = "embedded")]
fn parts(member: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut parts = member.splitn(3, |byte| *byte == b':');
    Some((parts.next()?, parts.next()?, parts.next()?))
}

#[cfg(feature = "embedded")]
fn delivered(id: Vec<u8>, deliveries: f64, fields: Vec<Vec<u8>>) -> Value {
    let fields = fields.into_iter().map(Value::BulkString).collect();
    Value::Array(vec![
        Value::BulkString(id),
        Value::Int(deliveries as i64),
        Value::Array(fields),
    ])
}

/// The entries in a reply to `XREADGROUP`, of the one stream that was asked for.
#[cfg(feature = "embedded")]
fn entries_read(reply: Value) -> Vec<Value> {
    let stream = match reply {
        Value::Map(streams) => streams.into_iter().next().map(|(_, entries)| entries),
        other => list(other)
            .into_iter()
            .next()
            .and_then(|stream| list(stream).pop()),
    };
    stream.map(list).unwrap_or_default()
}

/// The names and values of an entry; `None` if there is none, as for one that was deleted.
#[cfg(feature = "embedded")]
fn fields_of(entry: Value) -> Option<Vec<Vec<u8>>> {
    let fields = list(entry).pop()?;
    Some(list(fields).into_iter().filter_map(text).collect())
}

#[cfg(feature = "embedded")]
fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

#[cfg(feature = "embedded")]
fn count(value: &Value) -> f64 {
    match value {
        Value::Int(count) => *count as f64,
        _ => 0.0,
    }
}
