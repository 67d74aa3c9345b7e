//! What Redis 7 can do with a range of bits, and 6.2 only with one of bytes.

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

use crate::script::{Script, script};

/// KEYS: the bitmap. ARGV: the first and the last bit, both counted; negative ones from the end.
///
/// Returns how many bits between them are 1.
pub(crate) static COUNT: Script = script!(
    "local bits = redis.call('STRLEN', KEYS[1]) * 8
local from, to = tonumber(ARGV[1]), tonumber(ARGV[2])
if from < 0 then
  from = math.max(from + bits, 0)
end
if to < 0 then
  to = to + bits
end
to = math.min(to, bits - 1)
local count = 0
while from <= to and from % 8 ~= 0 do
  count = count + redis.call('GETBIT', KEYS[1], from)
  from = from + 1
end
while from <= to and to % 8 ~= 7 do
  count = count + redis.call('GETBIT', KEYS[1], to)
  to = to - 1
end
if from <= to then
  count = count + redis.call('BITCOUNT', KEYS[1], from / 8, (to - 7) / 8)
end
return count",
    count
);

#[cfg(feature = "embedded")]
fn count(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (key, args) = (call.keys()[0], call.args());
    // The length is asked for first, as in the script: it says whether the key is a string.
    let length = call.call(&[b"STRLEN", key])?;
    let bits = match length {
        Value::Int(length) => length.saturating_mul(8),
        _ => 0,
    };
    let number = |text: &[u8]| -> i64 {
        let text = std::str::from_utf8(text).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let (mut from, mut to) = (number(args[0]), number(args[1]));
    if from < 0 {
        from = from.saturating_add(bits).max(0);
    }
    if to < 0 {
        to = to.saturating_add(bits);
    }
    to = to.min(bits - 1);
    if from > to {
        return Ok(Value::Int(0));
    }
    let (from, to) = (from.to_string(), to.to_string());
    call.call(&[b"BITCOUNT", key, from.as_bytes(), to.as_bytes(), b"BIT"])
}

/// KEYS: the destination, its lease, the bitmaps. ARGV: AND, OR, XOR or NOT; the destination's TTL in ms.
///
/// Returns the destination's length in bytes. Its lease is gone.
pub(crate) static COMBINE: Script = script!(
    "local length = redis.call('BITOP', ARGV[1], KEYS[1], unpack(KEYS, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
return length",
    |call: &mut Call<'_>| {
        let (keys, args) = (call.keys(), call.args());
        let mut command = vec![&b"BITOP"[..], args[0], keys[0]];
        command.extend(&keys[2..]);
        let length = call.call(&command)?;
        call.call(&[b"PEXPIRE", keys[0], args[1]])?;
        call.call(&[b"DEL", keys[1]])?;
        Ok(length)
    }
);

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::script::Input;
    use crate::script::twins::{self, Family, Step};

    const KEYS: [&[u8]; 4] = [b"{t}a", b"{t}b", b"{t}c", b"{t}d"];

    fn step(rng: &mut Rng) -> Step {
        let one = |rng: &mut Rng| KEYS[rng.usize(..KEYS.len())];
        let key = one(rng);
        let mut input = Input::default();
        match rng.u8(..10) {
            0 => {
                let mut other = redis::Cmd::new();
                other.arg("UNLINK").arg(key);
                Step::Other(other)
            }
            1 => {
                let mut other = redis::Cmd::new();
                other.arg("RPUSH").arg(b"{t}d").arg("element");
                Step::Other(other)
            }
            2..5 => {
                let mut other = redis::Cmd::new();
                other
                    .arg("SETBIT")
                    .arg(key)
                    .arg(rng.u8(..60))
                    .arg(rng.u8(..2));
                Step::Other(other)
            }
            5..8 => {
                input.key(key);
                for _ in 0..2 {
                    let bit = if rng.u8(..8) == 0 {
                        rng.i64(-1_000_000..1_000_000)
                    } else {
                        rng.i64(-70..70)
                    };
                    input.arg(bit.to_string().as_bytes());
                }
                Step::Call("COUNT", &COUNT, input)
            }
            _ => {
                let operator = [&b"AND"[..], b"OR", b"XOR", b"NOT"][rng.usize(..4)];
                input.key(key).key(one(rng)).key(one(rng));
                if operator != b"NOT" {
                    input.key(one(rng));
                }
                input.arg(operator).arg(b"60000");
                Step::Call("COMBINE", &COMBINE, input)
            }
        }
    }

    static ALL: [&Script; 2] = [&COUNT, &COMBINE];

    #[test]
    fn the_scripts_and_their_twins_do_the_same() {
        twins::compare(&Family {
            scripts: &ALL,
            sequences: 200,
            steps: 40,
            step,
            contents: || twins::contents(&KEYS),
            alike: twins::alike,
            answer: |_, reply| match reply {
                Value::Int(0) => "nothing".to_owned(),
                Value::Int(_) => "something".to_owned(),
                other => format!("{other:?}"),
            },
            answers: &[
                "COUNT nothing",
                "COUNT something",
                "COUNT WRONGTYPE",
                "COMBINE nothing",
                "COMBINE something",
                "COMBINE WRONGTYPE",
            ],
        });
    }
}
