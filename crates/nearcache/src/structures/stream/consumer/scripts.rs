//! Giving a delivery back, unless another consumer has it by now.

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
#[cfg(feature = "embedded")]
use redis::Value;

use crate::script::{Script, script};

/// How long ago a delivery that is given back is said to have been, in ms: 30 years, so that whoever looks for idle ones
/// takes it.
pub(super) const LONG_AGO: u64 = 946_080_000_000;

/// KEYS: the stream. ARGV: the group, the consumer, the entry's id; how long it is said to be idle, in ms.
///
/// Returns 1, or 0 if the entry is not this consumer's.
pub(crate) static RETRY: Script = script!(
    "if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then
  return 0
end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', ARGV[4], 'JUSTID')
return 1",
    retry
);

#[cfg(feature = "embedded")]
fn retry(call: &mut Call<'_>) -> Result<Value, ScriptError> {
    let (key, args) = (call.keys()[0], call.args());
    let [group, consumer, id, idle] = [args[0], args[1], args[2], args[3]];
    let own = call.call(&[b"XPENDING", key, group, id, id, b"1", consumer])?;
    if !matches!(own, Value::Array(own) if !own.is_empty()) {
        return Ok(Value::Int(0));
    }
    call.call(&[
        b"XCLAIM", key, group, consumer, b"0", id, b"IDLE", idle, b"JUSTID",
    ])?;
    Ok(Value::Int(1))
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::script::Input;
    use crate::script::twins::{self, Family, Step};

    const KEY: &[u8] = b"{t}s";

    fn step(rng: &mut Rng) -> Step {
        let id = format!("{}-0", rng.u8(1..6));
        let consumer: &[u8] = [b"a", b"b"][rng.usize(..2)];
        let mut other = redis::Cmd::new();
        match rng.u8(..12) {
            0 => other.arg("UNLINK").arg(KEY),
            1 => other.arg("SET").arg(KEY).arg("text"),
            2..5 => other.arg("XADD").arg(KEY).arg(&id).arg("value").arg(1),
            5 => {
                other.arg("XGROUP").arg("CREATE").arg(KEY).arg("g").arg(0);
                other.arg("MKSTREAM")
            }
            6..9 => {
                other.arg("XREADGROUP").arg("GROUP").arg("g").arg(consumer);
                other.arg("COUNT").arg(1).arg("STREAMS").arg(KEY).arg(">")
            }
            _ => {
                let mut input = Input::default();
                input.key(KEY).arg(b"g").arg(consumer).arg(id.as_bytes());
                input.arg(b"946080000000");
                return Step::Call("RETRY", &RETRY, input);
            }
        };
        Step::Other(other)
    }

    static ALL: [&Script; 1] = [&RETRY];

    #[test]
    fn the_script_and_its_twin_do_the_same() {
        twins::compare(&Family {
            scripts: &ALL,
            sequences: 300,
            steps: 30,
            step,
            contents: || {
                let mut contents = twins::contents(&[KEY]);
                contents.cmd("XLEN").arg(KEY);
                contents.cmd("XPENDING").arg(KEY).arg("g");
                contents
                    .cmd("XPENDING")
                    .arg(KEY)
                    .arg("g")
                    .arg("-")
                    .arg("+")
                    .arg(10);
                contents
            },
            alike,
            answer: |_, reply| format!("{reply:?}"),
            answers: &[
                "RETRY int(0)",
                "RETRY int(1)",
                "RETRY NOGROUP",
                "RETRY WRONGTYPE",
            ],
        });
    }

    /// Times that are short are not the same either.
    fn alike(ours: &Value, theirs: &Value) -> bool {
        match (ours, theirs) {
            (Value::Array(ours), Value::Array(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| alike(a, b))
            }
            (Value::Int(ours), Value::Int(theirs)) => ours.abs_diff(*theirs) < twins::TOLERANCE,
            (ours, theirs) => twins::alike(ours, theirs),
        }
    }
}
