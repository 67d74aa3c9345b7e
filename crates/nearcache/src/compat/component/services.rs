//! Discovery services and credential stores that need no server: in memory, in the environment, in a file. Each of
//! them is both.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Context, CredentialStore, Discovery, Params, Resolving};
use crate::config::Reader;
use crate::error::Result;

/// Parameters that the application registers under keys. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub struct InMemory {
    entries: Arc<RwLock<std::collections::BTreeMap<String, Params>>>,
}

impl InMemory {
    /// An empty one.
    pub fn new() -> InMemory {
        InMemory::default()
    }

    /// Adds parameters under a key.
    #[must_use]
    pub fn with(self, key: impl Into<String>, params: Params) -> InMemory {
        self.register(key, params);
        self
    }

    /// Registers parameters under a key, in place of earlier ones. A component reads them when it is opened.
    pub fn register(&self, key: impl Into<String>, params: Params) {
        self.entries.write().insert(key.into(), params);
    }

    fn find(&self, key: &str) -> Result<Option<Params>> {
        Ok(self.entries.read().get(key).cloned())
    }
}

/// The keys only: parameters may be secrets.
impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.read().keys()).finish()
    }
}

/// The variables of the process whose names begin with the key in capitals: for the key `main.redis`,
/// `MAIN_REDIS_HOST`, `MAIN_REDIS_PORT` and `MAIN_REDIS_URI`, `MAIN_REDIS_USERNAME` and `MAIN_REDIS_PASSWORD`. (Every
/// character except letters and digits becomes `_`.)
#[derive(Clone, Debug, Default)]
pub struct InEnvironment {
    reader: Reader,
}

impl InEnvironment {
    /// The process's environment.
    pub fn new() -> InEnvironment {
        InEnvironment::default()
    }

    /// Uses these variables, and not those of the process.
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

/// A TOML or JSON file with a section for each key. It is read each time that a component is opened, and templates in
/// it are expanded.
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
    /// This file. It is JSON if its name ends in `.json`, else TOML.
    pub fn new(path: impl Into<PathBuf>) -> InFile {
        InFile {
            path: path.into(),
            reader: Reader::default(),
        }
    }

    /// Uses these variables for templates, and not those of the process.
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
