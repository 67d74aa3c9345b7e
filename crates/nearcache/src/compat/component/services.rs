//! Discovery services and credential stores that need no server of their own: in memory, in the environment, in
//! a file. Each is both.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Context, CredentialStore, Discovery, Params, Resolving};
use crate::config::Reader;
use crate::error::Result;

/// What the application registers, under keys. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub struct InMemory {
    entries: Arc<RwLock<std::collections::BTreeMap<String, Params>>>,
}

impl InMemory {
    /// Nothing yet.
    pub fn new() -> InMemory {
        InMemory::default()
    }

    /// With parameters under a key.
    #[must_use]
    pub fn with(self, key: impl Into<String>, params: Params) -> InMemory {
        self.register(key, params);
        self
    }

    /// Registers parameters under a key, in place of those that were there. A component sees them the next time that
    /// it is opened.
    pub fn register(&self, key: impl Into<String>, params: Params) {
        self.entries.write().insert(key.into(), params);
    }

    fn find(&self, key: &str) -> Result<Option<Params>> {
        Ok(self.entries.read().get(key).cloned())
    }
}

/// Which keys there are.
impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.read().keys()).finish()
    }
}

/// The variables of the process that begin with the key in capitals: for the key `main.redis`,
/// `MAIN_REDIS_HOST`, `MAIN_REDIS_PORT` and `MAIN_REDIS_URI`, `MAIN_REDIS_USERNAME` and `MAIN_REDIS_PASSWORD`.
/// (What is no letter and no digit is `_`.)
#[derive(Clone, Debug, Default)]
pub struct InEnvironment {
    reader: Reader,
}

impl InEnvironment {
    /// The process's environment.
    pub fn new() -> InEnvironment {
        InEnvironment::default()
    }

    /// These variables, and none of the process.
    #[must_use]
    pub fn vars(
        mut self,
        vars: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> InEnvironment {
        self.reader = self.reader.vars(vars);
        self
    }

    fn find(&self, key: &str) -> Result<Option<Params>> {
        let letter = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        };
        let key: String = key.chars().map(letter).collect();
        let found = ["host", "ip", "port", "uri", "username", "password"]
            .into_iter()
            .filter_map(|name| {
                let value = self
                    .reader
                    .lookup(&format!("{key}_{}", name.to_uppercase()))?;
                Some((name, value))
            });
        let params: Params = found.collect();
        Ok((!params.is_empty()).then_some(params))
    }
}

/// A file of TOML or JSON, in which a section has the parameters of its key. It is read anew each time that a
/// component is opened; templates are put in.
///
/// ```toml
/// [redis]
/// host = "db.example.com"
/// port = "{{REDIS_PORT:6379}}"
/// ```
#[derive(Clone, Debug)]
pub struct InFile {
    path: PathBuf,
    reader: Reader,
}

impl InFile {
    /// This file, whose name ends in `.json`, or else it is TOML.
    pub fn new(path: impl Into<PathBuf>) -> InFile {
        InFile {
            path: path.into(),
            reader: Reader::default(),
        }
    }

    /// Takes these variables for templates, and none of the process.
    #[must_use]
    pub fn vars(
        mut self,
        vars: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> InFile {
        self.reader = self.reader.vars(vars);
        self
    }

    fn find(&self, key: &str) -> Result<Option<Params>> {
        let params = Params::read(&self.reader, &self.path)?.section(key);
        Ok((!params.is_empty()).then_some(params))
    }
}

macro_rules! finds {
    ($($service:ty),*) => {$(
        impl Discovery for $service {
            fn resolve<'a>(&'a self, _: &'a Context, key: &'a str) -> Resolving<'a> {
                Box::pin(async move { Ok(self.find(key)?) })
            }
        }

        impl CredentialStore for $service {
            fn lookup<'a>(&'a self, _: &'a Context, key: &'a str) -> Resolving<'a> {
                Box::pin(async move { Ok(self.find(key)?) })
            }
        }
    )*};
}

finds!(InMemory, InEnvironment, InFile);
