//! The parameters of components: pairs of a name and a text, where dots divide a name into sections.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::config::{Reader, Source};
use crate::error::Result;

/// Parameters: `connection.host` is `localhost`, and so on. `Debug` shows no password.
///
/// ```
/// use nearcache::compat::component::Params;
///
/// let params = Params::from([("connection.host", "localhost"), ("connection.port", "6379")]);
/// assert_eq!(params.get("connection.port"), Some("6379"));
/// assert_eq!(params.section("connection").get("host"), Some("localhost"));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Params(BTreeMap<String, String>);

impl Params {
    /// No parameters.
    pub fn new() -> Params {
        Params::default()
    }

    /// Adds a parameter.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "a number is given as it is")]
    pub fn with(mut self, name: impl Into<String>, value: impl ToString) -> Params {
        self.0.insert(name.into(), value.to_string());
        self
    }

    /// Reads a file, whose name ends in `.toml` or `.json`. A table in it becomes a section. Templates (`{{NAME}}`)
    /// are expanded as in every [configuration](crate::config).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig), with the file's path.
    pub fn load(path: impl AsRef<Path>) -> Result<Params> {
        Params::read(&Reader::default(), path.as_ref())
    }

    pub(super) fn read(reader: &Reader, path: &Path) -> Result<Params> {
        let source = reader.source(path.display());
        let text = source.file(path)?;
        let is_json = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let tree = if is_json {
            source.json_tree(&text)?
        } else {
            Value::Object(source.toml_tree(&text)?)
        };
        let mut params = Params::new();
        params.flatten(&source, String::new(), tree)?;
        Ok(params)
    }

    fn flatten(&mut self, source: &Source<'_>, name: String, value: Value) -> Result<()> {
        let inside = |part: &str| {
            if name.is_empty() {
                part.to_owned()
            } else {
                format!("{name}.{part}")
            }
        };
        match value {
            Value::Null => {}
            Value::Object(map) => {
                for (part, value) in map {
                    self.flatten(source, inside(&part), value)?;
                }
            }
            Value::Array(values) => {
                for (index, value) in values.into_iter().enumerate() {
                    self.flatten(source, inside(&index.to_string()), value)?;
                }
            }
            Value::String(_) => {
                if let (Value::String(text), _) = source.expanded(&name, value)? {
                    self.0.insert(name, text);
                }
            }
            Value::Bool(_) | Value::Number(_) => drop(self.0.insert(name, value.to_string())),
        }
        Ok(())
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The parameters of a section, without the section's name, which is the part before a dot.
    #[must_use]
    pub fn section(&self, name: &str) -> Params {
        let inside = |(full, value): (&String, &String)| {
            let rest = full.strip_prefix(name)?.strip_prefix('.')?;
            Some((rest.to_owned(), value.clone()))
        };
        Params(self.0.iter().filter_map(inside).collect())
    }

    /// The names of the sections; numbers are sorted as numbers.
    pub fn sections(&self) -> Vec<String> {
        let names = self
            .0
            .keys()
            .filter_map(|name| Some(name.split_once('.')?.0.to_owned()));
        let mut names: Vec<String> = names.collect();
        names.dedup();
        names.sort_by_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
        names
    }

    /// These parameters, and the others' for names that these do not have.
    #[must_use]
    pub fn or(mut self, other: Params) -> Params {
        for (name, value) in other.0 {
            self.0.entry(name).or_insert(value);
        }
        self
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All parameters, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: ToString, const COUNT: usize> From<[(N, V); COUNT]> for Params {
    fn from(pairs: [(N, V); COUNT]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<N: Into<String>, V: ToString> FromIterator<(N, V)> for Params {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Params(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.to_string()))
                .collect(),
        )
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in &self.0 {
            let last = name.rsplit('.').next().unwrap_or(name).to_lowercase();
            if ["pass", "secret", "token", "key"]
                .iter()
                .any(|word| last.contains(word))
                && last != "discovery_key"
                && last != "store_key"
            {
                map.entry(name, &format_args!("***"));
            } else {
                map.entry(name, &crate::url::masked(value));
            }
        }
        map.finish()
    }
}
