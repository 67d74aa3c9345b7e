//! Turns a configuration into a text: TOML to be read again, TOML to be shown, and serde.

use std::fmt::{self, Write as _};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::{CacheConfig, Config, template};

impl Config {
    /// TOML that reads back to the same configuration. **It contains the passwords**: use `Display` to show a
    /// configuration to people.
    ///
    /// ```
    /// # fn main() -> nearcache::Result<()> {
    /// use nearcache::config::Config;
    ///
    /// let config = Config::from_toml("[caches.pages]\nurl = 'memory://'\ndefault_ttl = 300")?;
    /// assert_eq!(config.to_toml(), "[caches.pages]\nurl = \"memory://\"\ndefault_ttl = \"5m\"\n");
    /// assert_eq!(Config::from_toml(&config.to_toml())?, config);
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_toml(&self) -> String {
        self.toml(false)
    }

    fn toml(&self, shown: bool) -> String {
        let mut text = String::new();
        lines(&mut text, &self.defaults, shown);
        for (name, cache) in &self.caches {
            if !text.is_empty() {
                text.push('\n');
            }
            let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            let name = if !name.is_empty() && name.chars().all(bare) {
                name.clone()
            } else {
                quoted(name)
            };
            let _ = writeln!(text, "[caches.{name}]");
            lines(&mut text, cache, shown);
        }
        text
    }
}

impl CacheConfig {
    /// TOML that reads back to the same options. **It contains the password.**
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        lines(&mut text, self, false);
        text
    }
}

fn lines(text: &mut String, config: &CacheConfig, shown: bool) {
    for (name, value) in config.values(shown) {
        let value = match value {
            Value::String(value) if shown => quoted(&value),
            Value::String(value) => quoted(&template::escape(&value)),
            other => other.to_string(),
        };
        let _ = writeln!(text, "{name} = {value}");
    }
}

/// A basic string. It is JSON's, except for one more character that TOML wants escaped.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\x7f', "\\u007f")
}

/// TOML, without passwords.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.toml(true))
    }
}

/// TOML, without the password.
impl fmt::Display for CacheConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        lines(&mut text, self, true);
        f.write_str(&text)
    }
}

/// The options that are set, without the password.
impl fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CacheConfig");
        for (name, value) in self.values(true) {
            out.field(name, &format_args!("{value}"));
        }
        out.finish()
    }
}

/// The form to be read again, with the password.
impl Serialize for CacheConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.values(false);
        let mut map = serializer.serialize_map(Some(values.len()))?;
        entries(&mut map, values)?;
        map.end()
    }
}

/// The form to be read again, with the passwords.
impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.defaults.values(false);
        let caches = usize::from(!self.caches.is_empty());
        let mut map = serializer.serialize_map(Some(values.len() + caches))?;
        entries(&mut map, values)?;
        if !self.caches.is_empty() {
            map.serialize_entry("caches", &self.caches)?;
        }
        map.end()
    }
}

fn entries<M: SerializeMap>(
    map: &mut M,
    values: Vec<(&'static str, Value)>,
) -> Result<(), M::Error> {
    for (name, value) in values {
        match value {
            Value::String(text) => map.serialize_entry(name, &template::escape(&text))?,
            other => map.serialize_entry(name, &other)?,
        }
    }
    Ok(())
}
