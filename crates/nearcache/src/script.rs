//! Scripts: several steps that the server carries out atomically.
//!
//! A script has two bodies: the Lua text for a server, and a Rust function, its twin, which does the same in the
//! embedded store. `twins` runs both on the same inputs and compares them.

#[cfg(all(test, feature = "embedded"))]
pub(crate) mod twins;

use std::sync::OnceLock;

#[cfg(feature = "embedded")]
use nearcache_embedded::{Call, ScriptError};
use redis::Cmd;
#[cfg(feature = "embedded")]
use redis::Value;

use crate::error::{Error, ErrorKind};

/// A script.
#[derive(Debug)]
pub(crate) struct Script {
    lua: &'static str,
    #[cfg(feature = "embedded")]
    pub(crate) embedded: nearcache_embedded::Script,
    sha1: OnceLock<String>,
}

impl Script {
    /// See [`script!`].
    #[cfg(feature = "embedded")]
    pub(crate) const fn new(
        lua: &'static str,
        twin: fn(&mut Call<'_>) -> Result<Value, ScriptError>,
    ) -> Self {
        Script {
            lua,
            embedded: nearcache_embedded::Script::new(lua, twin),
            sha1: OnceLock::new(),
        }
    }

    /// See [`script!`].
    #[cfg(not(feature = "embedded"))]
    pub(crate) const fn new(lua: &'static str) -> Self {
        Script {
            lua,
            sha1: OnceLock::new(),
        }
    }

    fn sha1(&self) -> &str {
        self.sha1.get_or_init(|| sha1_hex(self.lua.as_bytes()))
    }

    /// The size of its text in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.lua.len()
    }

    /// The command that runs the script by its hash. A server that has not seen the script answers with [`unknown`].
    pub(crate) fn by_name(&self, call: &Input) -> Cmd {
        call.command("EVALSHA", self.sha1())
    }

    /// The command that runs the script by its text. The server then knows its hash.
    pub(crate) fn by_text(&self, call: &Input) -> Cmd {
        call.command("EVAL", self.lua)
    }
}

/// The input of a script: its KEYS and its ARGV.
#[derive(Clone, Debug, Default)]
pub(crate) struct Input {
    keys: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
}

impl Input {
    pub(crate) fn key(&mut self, key: &[u8]) -> &mut Self {
        self.keys.push(key.to_vec());
        self
    }

    pub(crate) fn arg(&mut self, arg: &[u8]) -> &mut Self {
        self.args.push(arg.to_vec());
        self
    }

    /// The same keys, with the first `count` arguments.
    pub(crate) fn with_args(&self, count: usize) -> Self {
        Input {
            keys: self.keys.clone(),
            args: self.args.iter().take(count).cloned().collect(),
        }
    }

    /// Its size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.iter().chain(&self.args).map(Vec::len).sum()
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let parts = self.keys.len() + self.args.len();
        let bytes = verb.len() + script.len() + 20 + self.bytes();
        let mut command = Cmd::with_capacity(3 + parts, bytes);
        command.arg(verb).arg(script).arg(self.keys.len());
        for part in self.keys.iter().chain(&self.args) {
            command.arg(part);
        }
        command
    }
}

/// Makes a script from its Lua text and its twin, which is left out if there is no embedded store.
macro_rules! script {
    ($lua:expr, $twin:expr) => {{
        #[cfg(feature = "embedded")]
        {
            $crate::script::Script::new($lua, $twin)
        }
        #[cfg(not(feature = "embedded"))]
        {
            $crate::script::Script::new($lua)
        }
    }};
}
pub(crate) use script;

/// Whether the server answered that it does not know the script's hash.
pub(crate) fn unknown(error: &Error) -> bool {
    error.kind() == ErrorKind::Server && error.detail().starts_with("NOSCRIPT")
}

/// The same as `redis.sha1hex` in Lua.
pub(crate) fn sha1_hex(bytes: &[u8]) -> String {
    sha1_smol::Sha1::from(bytes).digest().to_string()
}
