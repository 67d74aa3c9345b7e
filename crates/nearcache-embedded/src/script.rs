//! Scripts with a native twin: the Lua text that a server runs, and the Rust function that takes its place here.

use std::collections::HashMap;
use std::fmt;

use parking_lot::RwLock;
use redis::{ProtocolVersion, Value};

use crate::command::{self, Place};
use crate::context::Context;
use crate::reply::{Error, Reply};

/// The Rust function that runs in place of a script.
pub type Twin = fn(&mut Call<'_>) -> Result<Value, ScriptError>;

/// A Lua script, and a Rust function that does the same.
///
/// The store has no Lua. Code that sends scripts works on it all the same, if every script is
/// [registered](crate::Store::register) with its twin.
///
/// ```
/// use nearcache_embedded::{Script, Store};
/// use redis::Value;
///
/// static TAKE_IF_EQUAL: Script = Script::new(
///     "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
///     |call| {
///         let key = call.keys()[0];
///         if call.call(&[b"GET", key])? == Value::BulkString(call.args()[0].to_vec()) {
///             return call.call(&[b"DEL", key]);
///         }
///         Ok(Value::Int(0))
///     },
/// );
///
/// let store = Store::builder().script(TAKE_IF_EQUAL).build();
/// let mut connection = store.connect();
/// redis::cmd("SET").arg("lock").arg("token").exec(&mut connection)?;
///
/// let mut eval = redis::cmd("EVALSHA");
/// eval.arg(TAKE_IF_EQUAL.sha1()).arg(1).arg("lock").arg("token");
/// assert_eq!(eval.query::<i64>(&mut connection)?, 1);
/// assert_eq!(eval.query::<i64>(&mut connection)?, 0);
/// # Ok::<(), redis::RedisError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Script {
    lua: &'static str,
    twin: Twin,
}

impl Script {
    /// A script with its twin. Nothing checks that the two agree: run both on the same inputs in a test, as the tests
    /// of this crate do.
    #[must_use]
    pub const fn new(lua: &'static str, twin: Twin) -> Self {
        Script { lua, twin }
    }

    /// The Lua text.
    #[must_use]
    pub const fn lua(&self) -> &'static str {
        self.lua
    }

    /// The text's SHA1 in hexadecimal, by which `EVALSHA` names the script.
    #[must_use]
    pub fn sha1(&self) -> String {
        sha1_of(self.lua.as_bytes())
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("lua", &self.lua)
            .finish_non_exhaustive()
    }
}

/// What ends a script: an error of a command that it called, or one of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError(Error);

impl ScriptError {
    /// An error reply, as by `redis.error_reply`: a code in capitals, a space, and text.
    pub fn new(text: impl Into<String>) -> Self {
        ScriptError(Error::from(text.into()))
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ScriptError {}

/// A call of a script, as its twin sees it.
///
/// The shards of the declared keys stay locked until the twin returns, so it is as atomic as a script on a server. It
/// must not use a [`Connection`](crate::Connection) of the same store: that would deadlock.
pub struct Call<'a> {
    cx: &'a mut dyn Caller,
    keys: &'a [&'a [u8]],
    args: &'a [&'a [u8]],
}

impl<'a> Call<'a> {
    pub(crate) fn run(
        script: Script,
        cx: &'a mut Context<'_>,
        keys: &'a [&'a [u8]],
        args: &'a [&'a [u8]],
    ) -> Reply {
        let mut call = Call { cx, keys, args };
        (script.twin)(&mut call).map_err(|error| error.0)
    }

    /// `KEYS`.
    #[must_use]
    pub fn keys(&self) -> &'a [&'a [u8]] {
        self.keys
    }

    /// `ARGV`.
    #[must_use]
    pub fn args(&self) -> &'a [&'a [u8]] {
        self.args
    }

    /// Runs a command, as `redis.call` does, and returns what the script gets: the reply as RESP2 has it, whatever the
    /// client speaks.
    ///
    /// # Errors
    /// The error of the command; a command that scripts may not call, or that needs the whole key space; a key that
    /// is not one of [`keys`](Call::keys), because it is not locked.
    pub fn call(&mut self, args: &[&[u8]]) -> Result<Value, ScriptError> {
        self.checked(args).map_err(ScriptError)
    }

    fn checked(&mut self, args: &[&[u8]]) -> Reply {
        let Some(command) = args.first().and_then(|name| command::find(name)) else {
            return Err(Error::new("ERR Unknown Redis command called from script"));
        };
        // `XGROUP CREATE` is a command of its own.
        let command = match command.place {
            Place::Container => command::resolve(args)?,
            _ => command,
        };
        if command.place != Place::Anywhere {
            return Err(Error::new(
                "ERR This Redis command is not allowed from script",
            ));
        }
        if !command.accepts(args) {
            return Err(Error::new(
                "ERR Wrong number of args calling Redis command from script",
            ));
        }
        if command.needs_everything(args) {
            return Err(Error::from(format!(
                "ERR a script's twin cannot call '{}': it needs the whole key space, and only the script's KEYS are locked",
                command.name
            )));
        }
        if let Some(key) = command.keys(args).find(|key| !self.keys.contains(key)) {
            return Err(Error::from(format!(
                "ERR a script's twin called '{}' with the key '{}', which is not among the script's KEYS",
                command.name,
                key.escape_ascii()
            )));
        }
        let reply = self.cx.run(command, args);
        if command.is_read() {
            // What a script returns may depend on all its keys.
            self.cx.remember(self.keys);
        }
        reply
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("keys", &self.keys.len())
            .field("args", &self.args.len())
            .finish()
    }
}

/// The context behind a call. (A trait object, so that [`Call`] needs no second lifetime.)
trait Caller {
    fn run(&mut self, command: &'static command::Command, args: &[&[u8]]) -> Reply;
    fn remember(&self, keys: &[&[u8]]);
}

impl Caller for Context<'_> {
    fn run(&mut self, command: &'static command::Command, args: &[&[u8]]) -> Reply {
        if command.grows() && self.out_of_memory {
            return Err(Error::OUT_OF_MEMORY);
        }
        if command.is_exclusive()
            && let Some(error) = self.shared.refuses_writes()
        {
            return Err(error);
        }
        // A script that has changed something may go on.
        self.out_of_memory &= !command.is_exclusive();
        // A script gets what RESP2 has, whatever its client speaks.
        let spoken = std::mem::replace(&mut self.session.protocol, ProtocolVersion::RESP2);
        let reply = Context::run(self, command, args);
        self.session.protocol = spoken;
        reply
    }

    fn remember(&self, keys: &[&[u8]]) {
        if self.session.tracking.is_some() {
            Context::remember(self, keys.iter().copied());
        }
    }
}

/// The scripts that a store knows.
#[derive(Default)]
pub(crate) struct Scripts {
    by_sha1: RwLock<HashMap<String, Known>>,
}

struct Known {
    script: Script,
    /// Whether `EVALSHA` finds it. Registering sets this; `SCRIPT FLUSH` clears it.
    loaded: bool,
}

impl Scripts {
    pub(crate) fn register(&self, script: Script) {
        self.by_sha1.write().entry(script.sha1()).or_insert(Known {
            script,
            loaded: true,
        });
    }

    /// Finds a script by its text, and marks it as loaded.
    pub(crate) fn load(&self, lua: &[u8]) -> Option<(String, Script)> {
        let sha1 = sha1_of(lua);
        let mut scripts = self.by_sha1.write();
        let known = scripts.get_mut(&sha1)?;
        known.loaded = true;
        let script = known.script;
        Some((sha1, script))
    }

    /// Finds a loaded script by its SHA1.
    pub(crate) fn get(&self, sha1: &[u8]) -> Option<Script> {
        let mut lower = [0; 40];
        lower.copy_from_slice(sha1.get(..40).filter(|_| sha1.len() == 40)?);
        lower.make_ascii_lowercase();
        let scripts = self.by_sha1.read();
        scripts
            .get(std::str::from_utf8(&lower).ok()?)
            .filter(|known| known.loaded)
            .map(|known| known.script)
    }

    pub(crate) fn flush(&self) {
        self.by_sha1
            .write()
            .values_mut()
            .for_each(|known| known.loaded = false);
    }
}

fn sha1_of(text: &[u8]) -> String {
    sha1_smol::Sha1::from(text).digest().to_string()
}
