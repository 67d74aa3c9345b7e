//! The ways to store a value and delete its lease key, and what each of them sends.

use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Connection, Pipeline};

use super::super::{KEYS, VALUE, key};
use crate::Result;

/// The TTL of values: none expires during the measurement.
const TTL_MILLIS: u64 = 3_600_000;

/// The lease keys, in the slots of their stored keys.
static LEASES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let lease = |place| format!("{{{}}}#nearcache:lease", key(place));
    (0..KEYS).map(lease).collect()
});

/// The lease key of the stored key at a position.
pub(super) fn lease(place: usize) -> &'static str {
    &LEASES[place % KEYS]
}

/// For one set: KEYS `s`, `L`; ARGV value, ttl.
const SCRIPT: &str = "
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('UNLINK', KEYS[2])
return 1";

/// The same, with `UNLINK` only if there is a lease.
const SCRIPT_EXISTS: &str = "
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('UNLINK', KEYS[2]) end
return 1";

/// For many sets: KEYS all `s`, then all `L`; ARGV value, ttl, value, ttl, ...
const SCRIPT_MANY: &str = "
local n = #KEYS / 2
for i = 1, n do
  redis.call('SET', KEYS[i], ARGV[2 * i - 1], 'PX', ARGV[2 * i])
end
redis.call('UNLINK', unpack(KEYS, n + 1))
return n";

/// The same, with an `UNLINK` for each.
const SCRIPT_PAIRS: &str = "
local n = #KEYS / 2
for i = 1, n do
  redis.call('SET', KEYS[i], ARGV[2 * i - 1], 'PX', ARGV[2 * i])
  redis.call('UNLINK', KEYS[n + i])
end
return n";

const FUNCTION: &str = "#!lua name=bench_fence
redis.register_function('bench_fence', function(keys, args)
  redis.call('SET', keys[1], args[1], 'PX', args[2])
  redis.call('UNLINK', keys[2])
  return 1
end)";

/// How a number of sets is sent. `s` is a stored key, `L` its lease key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// `SET s`, each a command of its own: no fence.
    Plain,
    /// All `SET s` in one pipeline: no fence.
    PlainPipeline,
    /// `SET s`, `UNLINK L` for each, in one pipeline.
    Unlink,
    /// `SET s`, `DEL L` for each, in one pipeline.
    Del,
    /// `SET L`, `RENAME L s` for each, in one pipeline.
    Rename,
    /// All `SET s`, then one `UNLINK` of all `L`, in one pipeline.
    OneUnlink,
    /// The same, in a transaction.
    Multi,
    /// One script, one set.
    Script,
    /// One script, one set, `UNLINK` only if `EXISTS` finds a lease.
    ScriptExists,
    /// One function, one set. Redis 7 and later.
    Function,
    /// One script, many sets, one `UNLINK`.
    ScriptMany,
    /// One script, many sets, an `UNLINK` for each.
    ScriptPairs,
}

impl Way {
    /// The ways to make one set at a time.
    pub(super) const ONE: [Way; 8] = [
        Way::Plain,
        Way::Unlink,
        Way::Rename,
        Way::Multi,
        Way::Script,
        Way::ScriptExists,
        Way::Function,
        Way::Del,
    ];

    /// The ways to make many sets at a time.
    pub(super) const MANY: [Way; 7] = [
        Way::PlainPipeline,
        Way::Plain,
        Way::Unlink,
        Way::OneUnlink,
        Way::Multi,
        Way::ScriptMany,
        Way::ScriptPairs,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Plain => "SET",
            Way::PlainPipeline => "SETs",
            Way::Unlink => "SET, UNLINK",
            Way::Del => "SET, DEL",
            Way::Rename => "SET L, RENAME",
            Way::OneUnlink => "SETs, one UNLINK",
            Way::Multi => "MULTI, SET, UNLINK, EXEC",
            Way::Script => "EVALSHA",
            Way::ScriptExists => "EVALSHA, EXISTS",
            Way::Function => "FCALL",
            Way::ScriptMany => "EVALSHA, one UNLINK",
            Way::ScriptPairs => "EVALSHA, UNLINK each",
        }
    }

    /// Whether the lease is deleted when a set has returned.
    fn fences(self) -> bool {
        !matches!(self, Way::Plain | Way::PlainPipeline)
    }

    fn script(self) -> Option<&'static str> {
        match self {
            Way::Script => Some(SCRIPT),
            Way::ScriptExists => Some(SCRIPT_EXISTS),
            Way::ScriptMany => Some(SCRIPT_MANY),
            Way::ScriptPairs => Some(SCRIPT_PAIRS),
            _ => None,
        }
    }
}

/// A way whose scripts or functions are loaded on the server.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    way: Way,
    sha: String,
}

impl Ready {
    /// Loads the way's scripts or functions, and checks that it stores the value and deletes the lease.
    pub(super) fn new(way: Way, connection: &mut Connection) -> Result<Self> {
        let sha = match way.script() {
            Some(script) => {
                let load = redis::cmd("SCRIPT").arg("LOAD").arg(script).take();
                load.query(connection)?
            }
            None => String::new(),
        };
        if way == Way::Function {
            let mut load = redis::cmd("FUNCTION");
            load.arg("LOAD").arg("REPLACE").arg(FUNCTION);
            load.exec(connection)?;
        }
        let ready = Ready { way, sha };
        let place = 0;
        redis::cmd("SET")
            .arg(lease(place))
            .arg("token")
            .exec(connection)?;
        redis::cmd("DEL").arg(key(place)).exec(connection)?;
        match ready.request(place, 1) {
            Request::Command(command) => command.exec(connection)?,
            Request::Pipeline(pipeline) => pipeline.exec(connection)?,
        }
        let value: Vec<u8> = redis::cmd("GET").arg(key(place)).query(connection)?;
        let left: u64 = redis::cmd("DEL").arg(lease(place)).query(connection)?;
        if value == VALUE && (left == 0) == way.fences() {
            Ok(ready)
        } else {
            Err(format!("{way:?} does not store the value and delete the lease").into())
        }
    }

    /// The command for this many sets, starting from a position.
    fn request(&self, place: usize, count: usize) -> Request {
        let places = place..place + count;
        let mut pipeline = Pipeline::with_capacity(2 * count);
        match self.way {
            Way::Plain => return Request::Command(set(key(place))),
            Way::PlainPipeline => {
                for place in places {
                    pipeline.add_command(set(key(place))).ignore();
                }
            }
            Way::Unlink | Way::Del => {
                let remove = if self.way == Way::Del {
                    "DEL"
                } else {
                    "UNLINK"
                };
                for place in places {
                    pipeline.add_command(set(key(place))).ignore();
                    pipeline.cmd(remove).arg(lease(place)).ignore();
                }
            }
            Way::Rename => {
                for place in places {
                    let (key, lease) = (key(place), lease(place));
                    pipeline.add_command(set(lease)).ignore();
                    pipeline.cmd("RENAME").arg(lease).arg(key).ignore();
                }
            }
            Way::OneUnlink | Way::Multi => {
                if self.way == Way::Multi {
                    pipeline.atomic();
                }
                for place in places.clone() {
                    pipeline.add_command(set(key(place))).ignore();
                }
                pipeline.cmd("UNLINK");
                for place in places {
                    pipeline.arg(lease(place));
                }
                pipeline.ignore();
            }
            Way::Function => return Request::Command(self.call("FCALL", "bench_fence", places)),
            Way::Script | Way::ScriptExists | Way::ScriptMany | Way::ScriptPairs => {
                return Request::Command(self.call("EVALSHA", &self.sha, places));
            }
        }
        Request::Pipeline(pipeline)
    }

    /// The call of a script or a function.
    fn call(&self, verb: &str, what: &str, places: std::ops::Range<usize>) -> Cmd {
        let mut call = redis::cmd(verb);
        call.arg(what).arg(2 * places.len());
        for place in places.clone() {
            call.arg(key(place));
        }
        for place in places.clone() {
            call.arg(lease(place));
        }
        for _ in places {
            call.arg(&VALUE).arg(TTL_MILLIS);
        }
        call
    }

    pub(super) fn run(
        &self,
        connection: &mut Connection,
        place: usize,
        count: usize,
    ) -> Result<usize> {
        Ok(match self.request(place, count) {
            Request::Command(command) => {
                command.exec(connection)?;
                self.made(count)
            }
            Request::Pipeline(pipeline) => {
                pipeline.exec(connection)?;
                count
            }
        })
    }

    pub(super) async fn run_async(
        &self,
        connection: &mut MultiplexedConnection,
        place: usize,
        count: usize,
    ) -> Result<usize> {
        Ok(match self.request(place, count) {
            Request::Command(command) => {
                command.exec_async(connection).await?;
                self.made(count)
            }
            Request::Pipeline(pipeline) => {
                pipeline.exec_async(connection).await?;
                count
            }
        })
    }

    /// How many sets a command makes; a plain `SET` always makes one.
    fn made(&self, count: usize) -> usize {
        if self.way == Way::Plain { 1 } else { count }
    }
}

enum Request {
    Command(Cmd),
    Pipeline(Pipeline),
}

fn set(key: &str) -> Cmd {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(&VALUE).arg("PX").arg(TTL_MILLIS);
    set
}
