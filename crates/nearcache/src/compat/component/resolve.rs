//! Resolves the parameters of a component: where its server is, which credentials it uses, and its options.

use std::time::Duration;

use super::bounded::MAX_SIZE;
use super::{Context, Params, References, Resolving};
use crate::config::{CacheConfig, suggestion};
use crate::error::{Error, ErrorKind, Result};
use crate::ttl::Ttl;

/// What a component works with while it is open.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: CacheConfig,
    pub(super) options: Options,
}

/// The options of a component.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// How often a call is retried if the server cannot be reached.
    pub(super) retries: u32,
    /// The TTL of values.
    pub(super) timeout: Ttl,
    /// The maximum number of values; 0 for no limit.
    pub(super) max_size: usize,
}

/// Each option with its default.
const OPTIONS: [(&str, &str); 7] = [
    ("retries", "3"),
    ("timeout", "60000"),
    ("max_size", "1000"),
    ("use_username", "false"),
    ("call_timeout", "500"),
    ("db", "0"),
    ("prefix", ""),
];

const MAX_RETRIES: u64 = 100;

/// # Errors
/// `NoConnection`, `Unresolved`, `InvalidConfig`.
pub(super) async fn settings(
    params: &Params,
    references: Option<&References>,
    context: &Context,
) -> Result<Settings> {
    let options = params.section("options");
    for (name, _) in options.iter() {
        if OPTIONS.iter().all(|(known, _)| known != &name) {
            let known = OPTIONS.map(|(known, _)| known);
            tracing::warn!(
                "there is no parameter options.{name}{}: it is ignored",
                suggestion(name, &known)
            );
        }
    }
    let connection = connection(params, references, context).await?;
    let credential = credential(params, references, context).await?;
    let mut config = place(&connection)?;
    config.password = first(&credential, &["password", "pass"]).map(Into::into);
    if switch(&options, "use_username")? {
        config.username = first(&credential, &["username", "user"]).map(str::to_owned);
    }
    // Without `options.db`, the database number in the URL applies.
    if options.get("db").is_some() {
        let db = number(&options, "db", 0..=i32::MAX.unsigned_abs().into())?;
        config.db = u32::try_from(db).ok();
    }
    config.prefix = options.get("prefix").map(str::to_owned);
    if options.get("call_timeout").is_some() {
        let millis = number(&options, "call_timeout", 1..=3_600_000)?;
        config.timeout = Some(Duration::from_millis(millis));
    }
    let timeout = number(&options, "timeout", 1..=Ttl::MAX.as_millis())?;
    Ok(Settings {
        config,
        options: Options {
            retries: number(&options, "retries", 0..=MAX_RETRIES)? as u32,
            timeout: Ttl::from_millis(timeout)?,
            max_size: number(&options, "max_size", 0..=MAX_SIZE as u64)? as usize,
        },
    })
}

/// Of the configured connections, the first without a `discovery_key`; else the first that a discovery service knows.
async fn connection(
    params: &Params,
    references: Option<&References>,
    context: &Context,
) -> Result<Params> {
    let mut configured = numbered(params, "connections", "connection");
    let bare = ["host", "ip", "port", "uri", "discovery_key"];
    let bare: Params = bare
        .iter()
        .filter_map(|name| Some((*name, params.get(name)?)))
        .collect();
    configured.push(bare);
    configured.retain(|connection| !connection.is_empty());
    if let Some(direct) = configured
        .iter()
        .find(|one| one.get("discovery_key").is_none())
    {
        return Ok(direct.clone());
    }
    let Some(first) = configured.first() else {
        return Err(Error::new(
            ErrorKind::NoConnection,
            "configure connection.host and connection.port, connection.uri, or connection.discovery_key",
        ));
    };
    let services = references.map(References::discoveries).unwrap_or_default();
    if services.is_empty() {
        let key = first.get("discovery_key").unwrap_or_default();
        return Err(Error::new(
            ErrorKind::Unresolved,
            format!(
                "connection.discovery_key is {key:?}, but there is no discovery service; add one with \
                 set_references (*:discovery:*:*:1.0)"
            ),
        ));
    }
    for connection in &configured {
        let key = connection.get("discovery_key").unwrap_or_default();
        for service in &services {
            // The service's answer overrides the configured parameters.
            if let Some(found) =
                ask(service.resolve(context, key), "discovery service", key).await?
            {
                return Ok(found.or(connection.clone()));
            }
        }
    }
    let keys: Vec<&str> = configured
        .iter()
        .filter_map(|one| one.get("discovery_key"))
        .collect();
    Err(Error::new(
        ErrorKind::NoConnection,
        format!("no discovery service knows {}", keys.join(", ")),
    ))
}

/// The credentials, if there are any.
async fn credential(
    params: &Params,
    references: Option<&References>,
    context: &Context,
) -> Result<Params> {
    let mut configured = numbered(params, "credentials", "credential");
    configured.retain(|credential| !credential.is_empty());
    if let Some(direct) = configured.iter().find(|one| one.get("store_key").is_none()) {
        return Ok(direct.clone());
    }
    let stores = references.map(References::stores).unwrap_or_default();
    for credential in &configured {
        let key = credential.get("store_key").unwrap_or_default();
        for store in &stores {
            if let Some(found) = ask(store.lookup(context, key), "credential store", key).await? {
                return Ok(found.or(credential.clone()));
            }
        }
    }
    let Some(key) = configured.iter().find_map(|one| one.get("store_key")) else {
        return Ok(Params::new());
    };
    // Without credentials, the component would act as a different user.
    let why = if stores.is_empty() {
        format!(
            "credential.store_key is {key:?}, but there is no credential store; add one with set_references \
             (*:credential-store:*:*:1.0)"
        )
    } else {
        format!("no credential store knows {key:?}")
    };
    Err(Error::new(ErrorKind::Unresolved, why))
}

/// Asks a service, and turns its failure into an error of ours.
async fn ask(question: Resolving<'_>, who: &str, key: &str) -> Result<Option<Params>> {
    question.await.map_err(|error| {
        let why = format!("the {who} failed for {key:?}: {error}");
        Error::new(ErrorKind::Unresolved, why).caused_by(error)
    })
}

/// The sections `several.0`, `several.1` and so on, and the section `one`; `several` without a number may be one,
/// too.
fn numbered(params: &Params, several: &str, one: &str) -> Vec<Params> {
    let all = params.section(several);
    let mut sections: Vec<Params> = all
        .sections()
        .iter()
        .map(|name| all.section(name))
        .collect();
    if sections.is_empty() {
        sections.push(all);
    }
    sections.push(params.section(one));
    sections
}

fn first<'p>(params: &'p Params, names: &[&str]) -> Option<&'p str> {
    names
        .iter()
        .find_map(|name| params.get(name))
        .filter(|value| !value.is_empty())
}

/// Where the server is: the default is localhost:6379.
fn place(connection: &Params) -> Result<CacheConfig> {
    if let Some(uri) = first(connection, &["uri"]) {
        let config = CacheConfig::at(uri);
        config.effective()?;
        return Ok(config);
    }
    let host = first(connection, &["host", "ip"]).unwrap_or("localhost");
    let mut config = CacheConfig {
        host: Some(host.to_owned()),
        ..CacheConfig::default()
    };
    if let Some(port) = first(connection, &["port"]) {
        let port = port.trim().parse().ok().filter(|port| *port > 0);
        config.port =
            Some(port.ok_or_else(|| invalid("connection.port", "a number from 1 to 65535"))?);
    }
    Ok(config)
}

fn default_of(name: &str) -> &'static str {
    let found = OPTIONS.iter().find(|(known, _)| *known == name);
    found.map_or("", |(_, default)| default)
}

fn number(options: &Params, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64> {
    let text = options.get(name).unwrap_or(default_of(name));
    let number = text
        .trim()
        .parse()
        .ok()
        .filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        invalid(&format!("options.{name}"), &expected)
    })
}

fn switch(options: &Params, name: &str) -> Result<bool> {
    match options.get(name).unwrap_or(default_of(name)).trim() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(invalid(&format!("options.{name}"), "true or false")),
    }
}

/// The error does not quote the value, because it may be a secret in the wrong place.
fn invalid(place: &str, expected: &str) -> Error {
    Error::new(
        ErrorKind::InvalidConfig,
        format!("{place}: expected {expected}"),
    )
}
