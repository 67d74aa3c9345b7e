//! The built-in Type: turns the fields of `caches.RedisType` into options.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::charset::{CHARSETS, Charset};
use super::element::{Element, Field};
use crate::config::{CacheConfig, OPTIONS, Setting, Source, suggestion};
use crate::error::Result;

/// The defaults of this Type.
const DB: u32 = 1;
const SOCKET_TIMEOUT: Duration = Duration::from_millis(500);
const SOCKET_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

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
    let (mut call, mut connect) = (None, None);
    // The fields are read per file, so that an error can name the file.
    let mut by_file: BTreeMap<&PathBuf, Map<String, Value>> = BTreeMap::new();
    for field in &element.fields {
        let source = element.reader.source(field.file.display());
        match field.name.as_str() {
            "socket_timeout" => call = timeout(&source, field)?,
            "socket_connect_timeout" => connect = timeout(&source, field)?,
            // What texts are is the face's affair: here they are only checked.
            "charset" => {
                charset(&source, field)?;
            }
            "decode_responses" => {
                decode_responses(&source, field)?;
            }
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
    options.timeout = options.timeout.or(call);
    options.connect_timeout = options.connect_timeout.or(connect);
    if options.url.is_none() {
        options.timeout = options.timeout.or(Some(SOCKET_TIMEOUT));
        options.connect_timeout = options.connect_timeout.or(Some(SOCKET_CONNECT_TIMEOUT));
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

/// How the face of an element reads and writes texts: its charset, and whether `get` returns text.
///
/// # Errors
/// Those of [`Registry::element`](super::Registry::element).
pub(super) fn texts(element: &Element) -> Result<(Charset, bool)> {
    let (mut charset_of, mut decode) = (None, None);
    for field in &element.fields {
        let source = element.reader.source(field.file.display());
        match field.name.as_str() {
            "charset" => charset_of = charset(&source, field)?,
            "decode_responses" => decode = decode_responses(&source, field)?,
            _ => {}
        }
    }
    Ok((charset_of.unwrap_or(Charset::Utf8), decode.unwrap_or(true)))
}

fn charset(source: &Source<'_>, field: &Field) -> Result<Option<Charset>> {
    let (value, variables) = source.expanded(&field.name, field.value.clone())?;
    match &value {
        Value::Null => Ok(None),
        Value::String(name) => Charset::named(name)
            .map(Some)
            .ok_or_else(|| source.unexpected(&field.name, CHARSETS, &variables)),
        _ => Err(source.unexpected(&field.name, CHARSETS, &variables)),
    }
}

fn decode_responses(source: &Source<'_>, field: &Field) -> Result<Option<bool>> {
    let (value, variables) = source.expanded(&field.name, field.value.clone())?;
    if value.is_null() {
        return Ok(None);
    }
    bool::read(&value)
        .map(Some)
        .map_err(|expected| source.unexpected(&field.name, &expected, &variables))
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
