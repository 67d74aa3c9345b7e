//! The built-in Type: turns the fields of `caches.RedisType` into options.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::element::{Element, Field};
use crate::config::{CacheConfig, OPTIONS, Source, suggestion};
use crate::error::Result;

/// The defaults of this Type.
const DB: u32 = 1;
const SOCKET_TIMEOUT: Duration = Duration::from_millis(500);

/// The fields that are not options of a configuration.
const OWN: [&str; 4] = [
    "charset",
    "decode_responses",
    "socket_timeout",
    "socket_connect_timeout",
];

/// The options that the application sets for all its elements.
const THE_APPLICATIONS: [&str; 2] = ["prefix", "separator"];

pub(super) fn config(element: &Element) -> Result<CacheConfig> {
    let mut options = CacheConfig::default();
    let mut timeouts = Vec::new();
    // The fields are read per file, so that an error can name the file.
    let mut by_file: BTreeMap<&PathBuf, Map<String, Value>> = BTreeMap::new();
    for field in &element.fields {
        let source = element.reader.source(field.file.display());
        match field.name.as_str() {
            "socket_timeout" | "socket_connect_timeout" => {
                timeouts.extend(timeout(&source, field)?);
            }
            "charset" => charset(&source, field)?,
            "decode_responses" => decode_responses(&source, field)?,
            name if THE_APPLICATIONS.contains(&name) => {
                return Err(source.error(
                    name,
                    "the prefix of every key is the application's id, and : follows it",
                ));
            }
            name if OPTIONS.iter().all(|option| option.name != name) => {
                return Err(source.error(&name.escape_debug().to_string(), &no_field(name)));
            }
            _ => {
                let fields = by_file.entry(&field.file).or_default();
                fields.insert(field.name.clone(), field.value.clone());
            }
        }
    }
    for (file, fields) in by_file {
        let said = element
            .reader
            .source(file.display())
            .options("", fields, &OWN)?;
        options = options.or(said);
    }
    if options.url.is_none() {
        for field in ["host", "port", "password"] {
            // A password may be null; a host may not.
            let there = match field {
                "host" => options.host.is_some(),
                "port" => options.port.is_some(),
                field => element.has(field),
            };
            if !there {
                let names: Vec<&str> = element
                    .fields
                    .iter()
                    .map(|field| field.name.as_str())
                    .collect();
                let why = match field {
                    "password" => "the field is missing; write null where there is none".to_owned(),
                    field => format!("the field is missing{}", suggestion(field, &names)),
                };
                return Err(element
                    .reader
                    .source(element.file.display())
                    .error(field, &why));
            }
        }
    }
    let password = options
        .password
        .take()
        .filter(|password| !password.expose().is_empty());
    // A password alone authenticates the user `default`, on every version of Redis.
    let username = options
        .username
        .take()
        .filter(|name| password.is_some() && name != "default" && !name.is_empty());
    options.timeout = options.timeout.or(timeouts.into_iter().max());
    if options.url.is_none() {
        options.timeout = options.timeout.or(Some(SOCKET_TIMEOUT));
    }
    if options.db.is_none() && !url_says_db(&options) {
        options.db = Some(DB);
    }
    options.password = password;
    options.username = username;
    options.prefix = Some(element.app_id.clone());
    Ok(options)
}

/// Whether the URL names a database other than 0. (An explicit 0 cannot be told from none.)
fn url_says_db(options: &CacheConfig) -> bool {
    options
        .url
        .as_ref()
        .and_then(|url| crate::url::parse(url.as_str()).ok())
        .is_some_and(|parsed| parsed.target.db != 0)
}

/// A number of seconds, or `None`.
fn timeout(source: &Source<'_>, field: &Field) -> Result<Option<Duration>> {
    // Read like the option `timeout` of a configuration, to which it corresponds.
    let mut read = CacheConfig::default();
    let (value, variables) = source.expanded(&field.name, field.value.clone())?;
    if value.is_null() {
        return Ok(None);
    }
    match read.set("timeout", &value) {
        Some(Err(expected)) => Err(source.unexpected(&field.name, &expected, &variables)),
        _ => Ok(read.timeout),
    }
}

fn charset(source: &Source<'_>, field: &Field) -> Result<()> {
    match source.expanded(&field.name, field.value.clone())?.0 {
        Value::Null => Ok(()),
        Value::String(name)
            if matches!(&*name.to_ascii_lowercase(), "utf-8" | "utf8" | "utf_8") =>
        {
            Ok(())
        }
        _ => Err(source.error(&field.name, "text is UTF-8 here: expected \"utf-8\"")),
    }
}

fn decode_responses(source: &Source<'_>, field: &Field) -> Result<()> {
    // Only checked: the requested type decides how a value is read.
    let (value, variables) = source.expanded(&field.name, field.value.clone())?;
    if value.is_null() {
        return Ok(());
    }
    match CacheConfig::default().set("breaker", &value) {
        Some(Err(_)) => Err(source.unexpected(&field.name, "true or false", &variables)),
        _ => Ok(()),
    }
}

fn no_field(name: &str) -> String {
    let mut known: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
    known.extend(OWN);
    known.retain(|known| !THE_APPLICATIONS.contains(known));
    known.sort_unstable();
    format!(
        "there is no such field{}; there are {}",
        suggestion(name, &known),
        known.join(", ")
    )
}
