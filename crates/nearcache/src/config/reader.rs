//! Turns a text into a configuration: parses TOML or JSON into a tree, expands the templates in it, and reads each
//! value as the type of its option.
//!
//! Every error names the file and the option, and says what to write there. No error quotes a value, because it may
//! be a secret, or come from a variable.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::{Map, Value};

use super::{CacheConfig, Config, OPTIONS, template};
use crate::error::{Error, ErrorKind, Result};

/// The maximum depth of a tree: deeper than any configuration, and not too deep for the stack.
const DEPTH: usize = 64;

/// The start of the names of variables that are options.
const VARIABLE: &str = "NEARCACHE_";

/// Reads configurations, with variables of your choice.
#[derive(Clone, Default)]
pub struct Reader {
    /// `None`: the variables of the process.
    vars: Option<HashMap<String, String>>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Reader::default()
    }

    /// Uses these variables, and not those of the process.
    #[must_use]
    pub fn vars(
        mut self,
        vars: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        let vars = vars.into_iter();
        self.vars = Some(
            vars.map(|(name, value)| (name.into(), value.into()))
                .collect(),
        );
        self
    }

    /// See [`Config::from_toml`].
    ///
    /// # Errors
    /// Those of [`Config::from_toml`].
    pub fn toml(&self, text: &str) -> Result<Config> {
        self.source("the TOML text").toml(text)
    }

    /// See [`Config::from_json`].
    ///
    /// # Errors
    /// Those of [`Config::from_json`].
    pub fn json(&self, text: &str) -> Result<Config> {
        self.source("the JSON text").json(text)
    }

    /// See [`Config::load`].
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Config> {
        let path = path.as_ref();
        let source = self.source(path.display());
        let kind = path.extension().and_then(|extension| extension.to_str());
        match kind.map(str::to_ascii_lowercase).as_deref() {
            Some("toml") => source.toml(&source.file(path)?),
            Some("json") => source.json(&source.file(path)?),
            _ => Err(source.error("", "its name ends neither in .toml nor in .json")),
        }
    }

    /// See [`Config::from_env`].
    ///
    /// # Errors
    /// Those of [`Config::from_env`].
    pub fn environment(&self) -> Result<Config> {
        let source = self.source("the environment");
        let mut vars: Vec<(String, String)> = match &self.vars {
            Some(vars) => vars.clone().into_iter().collect(),
            None => std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        };
        vars.retain(|(name, value)| {
            name.strip_prefix(VARIABLE)
                .is_some_and(|name| !is_link(name, value))
        });
        vars.sort();
        let mut config = Config::default();
        for (variable, value) in vars {
            let name = variable[VARIABLE.len()..].to_lowercase();
            let cache = match name.strip_prefix("caches__") {
                None => Some((&mut config.defaults, &*name)),
                Some(name) => name.split_once("__").map(|(cache, option)| {
                    (config.caches.entry(cache.to_owned()).or_default(), option)
                }),
            };
            let Some((cache, option)) = cache else {
                return Err(source.error(
                    &variable,
                    "a cache's option is NEARCACHE_CACHES__NAME__OPTION, with two underscores each",
                ));
            };
            match cache.set(option, &Value::String(value)) {
                Some(read) => {
                    read.map_err(|expected| {
                        source.error(&variable, &format!("expected {expected}"))
                    })?;
                }
                None => return Err(source.error(&variable, &no_option(option, &[]))),
            }
        }
        Ok(config)
    }

    pub(crate) fn source(&self, name: impl fmt::Display) -> Source<'_> {
        Source {
            name: name.to_string(),
            reader: self,
        }
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<String> {
        match &self.vars {
            Some(vars) => vars.get(name).cloned(),
            None => std::env::var(name).ok(),
        }
    }
}

/// The names of the variables, without their values.
impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Option<Vec<&String>> = self.vars.as_ref().map(|vars| vars.keys().collect());
        if let Some(names) = &mut names {
            names.sort();
        }
        f.debug_struct("Reader").field("vars", &names).finish()
    }
}

/// A source of a configuration, mostly a file.
#[derive(Debug)]
pub(crate) struct Source<'r> {
    name: String,
    reader: &'r Reader,
}

impl Source<'_> {
    /// An error at some place in it.
    pub(crate) fn error(&self, place: &str, why: &str) -> Error {
        let at = if place.is_empty() { "" } else { ": " };
        let why = format!("{}{at}{place}: {why}", self.name);
        Error::new(ErrorKind::InvalidConfig, why)
    }

    /// The text of a file.
    pub(crate) fn file(&self, path: &Path) -> Result<String> {
        std::fs::read_to_string(path).map_err(|error| {
            self.error("", &format!("cannot be read: {error}"))
                .caused_by(error)
        })
    }

    fn toml(&self, text: &str) -> Result<Config> {
        self.config(Value::Object(self.toml_tree(text)?))
    }

    fn json(&self, text: &str) -> Result<Config> {
        let tree = self.json_tree(text)?;
        self.config(tree)
    }

    /// JSON as it is written, with its templates.
    pub(crate) fn json_tree(&self, text: &str) -> Result<Value> {
        let text = without_mark(text);
        // Only the position: the parser's own message may quote the text.
        serde_json::from_str(text).map_err(|error| {
            let why = format!(
                "line {}, column {}: this is not valid JSON",
                error.line(),
                error.column()
            );
            self.error("", &why)
        })
    }

    /// TOML as it is written, with its templates.
    pub(crate) fn toml_tree(&self, text: &str) -> Result<Map<String, Value>> {
        let text = without_mark(text);
        let table = text.parse::<toml::Table>().map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = &text.as_bytes()[..at];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = at
                - before
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |end| end + 1);
            let why = format!("line {line}, column {}: this is not valid TOML", column + 1);
            self.error("", &why)
        })?;
        match tree(toml::Value::Table(table), DEPTH) {
            Some(Value::Object(map)) => Ok(map),
            _ => Err(self.error("", &format!("it is more than {DEPTH} levels deep"))),
        }
    }

    fn config(&self, tree: Value) -> Result<Config> {
        let Value::Object(mut tree) = tree else {
            return Err(self.error("", "expected the options of a cache"));
        };
        let mut config = Config::default();
        match tree.remove("caches") {
            None | Some(Value::Null) => {}
            Some(Value::Object(caches)) => {
                for (name, options) in caches {
                    let place = format!("caches.{}", name.escape_debug());
                    let Value::Object(options) = options else {
                        return Err(self.error(&place, "expected the options of a cache"));
                    };
                    let options = self.options(&place, options, &[])?;
                    config.caches.insert(name, options);
                }
            }
            Some(_) => return Err(self.error("caches", "expected caches with their names")),
        }
        config.defaults = self.options("", tree, &["caches"])?;
        Ok(config)
    }

    /// The options of one cache.
    pub(crate) fn options(
        &self,
        place: &str,
        options: Map<String, Value>,
        also: &[&str],
    ) -> Result<CacheConfig> {
        let mut config = CacheConfig::default();
        for (name, value) in options {
            let place = if place.is_empty() {
                name.escape_debug().to_string()
            } else {
                format!("{place}.{}", name.escape_debug())
            };
            // `null` sets nothing, but the option must exist.
            if value.is_null() {
                if OPTIONS.iter().all(|option| option.name != name) {
                    return Err(self.error(&place, &no_option(&name, also)));
                }
                continue;
            }
            let (value, variables) = self.expanded(&place, value)?;
            match config.set(&name, &value) {
                Some(Ok(())) => {}
                Some(Err(expected)) => return Err(self.unexpected(&place, &expected, &variables)),
                None => return Err(self.error(&place, &no_option(&name, also))),
            }
        }
        Ok(config)
    }

    /// The error for an option whose value is not what was expected.
    pub(crate) fn unexpected(&self, place: &str, expected: &str, variables: &[String]) -> Error {
        let mut why = format!("expected {expected}");
        if !variables.is_empty() {
            why += &format!(" once {{{{{}}}}} is expanded", variables.join("}}, {{"));
        }
        self.error(place, &why)
    }

    /// The value with its variables expanded, and the names of these variables.
    pub(crate) fn expanded(&self, place: &str, value: Value) -> Result<(Value, Vec<String>)> {
        let Value::String(text) = value else {
            return Ok((value, Vec::new()));
        };
        match template::expand(&text, |name| self.reader.lookup(name)) {
            Ok(expanded) => Ok((Value::String(expanded.text), expanded.variables)),
            Err(template::Failed::Unset { name }) => {
                let why = format!(
                    "the environment variable {name} is not set; set it, or write {{{{{name}:default}}}}"
                );
                Err(self.error(place, &why))
            }
            Err(template::Failed::Malformed { at, why }) => {
                Err(self.error(place, &format!("at byte {at}: {why}")))
            }
        }
    }
}

/// The text without the byte order mark that some editors begin a file with.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Whether a variable is one of those that Kubernetes and Docker set for a service or a container called `nearcache`, or
/// `nearcache-...`, in the form of Docker links: `PORT=tcp://10.0.0.1:6379`, `SERVICE_HOST`, `PORT_6379_TCP_ADDR`.
/// `name` is without the prefix that is common with the options of a cache.
fn is_link(name: &str, value: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];
    let is_address = value
        .split_once("://")
        .is_some_and(|(protocol, _)| PROTOCOLS.contains(&protocol));
    let ends_with = |last: &str| {
        name.strip_suffix(last)
            .is_some_and(|before| before.is_empty() || before.ends_with('_'))
    };
    // `PORT_6379_TCP` and what follows it.
    let has_port = || {
        let parts: Vec<&str> = name.split('_').collect();
        parts.windows(3).any(|parts| {
            let digits = !parts[1].is_empty() && parts[1].bytes().all(|byte| byte.is_ascii_digit());
            let protocol = PROTOCOLS.contains(&&*parts[2].to_lowercase());
            parts[0] == "PORT" && digits && protocol
        })
    };
    if name.starts_with("CACHES__") {
        return false;
    }
    (is_address && (ends_with("PORT") || ends_with("HOST")))
        || ends_with("SERVICE_HOST")
        || ends_with("SERVICE_PORT")
        || name.split_once("SERVICE_PORT_").is_some()
        || has_port()
}

fn no_option(name: &str, also: &[&str]) -> String {
    let mut names: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
    names.extend(also);
    names.sort_unstable();
    format!(
        "there is no such option{}; there are {}",
        suggestion(name, &names),
        names.join(", ")
    )
}

/// "; did you mean ...", if a known name is similar.
pub(crate) fn suggestion(name: &str, known: &[&str]) -> String {
    let mut text = String::new();
    crate::url::suggest(&mut text, name, known);
    text
}

/// Converts TOML's tree to JSON's; dates and times become text. `None`: it is too deep.
fn tree(value: toml::Value, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    Some(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        // No option allows a number that JSON cannot represent.
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .map_or_else(|| Value::String(number.to_string()), Value::Number),
        toml::Value::Boolean(on) => Value::Bool(on),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(values) => {
            let values = values.into_iter().map(|value| tree(value, depth));
            Value::Array(values.collect::<Option<_>>()?)
        }
        toml::Value::Table(table) => {
            let mut map = Map::new();
            for (name, value) in table {
                map.insert(name, tree(value, depth)?);
            }
            Value::Object(map)
        }
    })
}

/// For use inside an application's own configuration. Templates are expanded with the process's environment.
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tree = Value::deserialize(deserializer)
            .map_err(|_| D::Error::custom("expected the configuration of caches"))?;
        let config = Reader::new()
            .source("the configuration of caches")
            .config(tree);
        config.map_err(|error| D::Error::custom(error.detail()))
    }
}

/// For use inside an application's own configuration. Templates are expanded with the process's environment.
impl<'de> Deserialize<'de> for CacheConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tree = Value::deserialize(deserializer)
            .map_err(|_| D::Error::custom("expected the configuration of a cache"))?;
        let reader = Reader::new();
        let source = reader.source("the configuration of a cache");
        let config = match tree {
            Value::Object(options) => source.options("", options, &[]),
            _ => Err(source.error("", "expected the options of a cache")),
        };
        config.map_err(|error| D::Error::custom(error.detail()))
    }
}
