//! What is asked of a Sentinel, and what its answers mean.

use redis::{Pipeline, Value};

use super::NO_SENTINEL;
use crate::connect::target::Address;
use crate::connect::{Alone, result_of};
use crate::error::{Error, ErrorKind, Result};

/// What a Sentinel knows of the primary.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Who said so.
    pub(super) from: Address,
    pub(super) primary: Address,
    /// The epoch of the configuration, which grows with each failover.
    pub(super) epoch: Option<u64>,
    /// The other Sentinels.
    pub(super) others: Vec<Address>,
    /// The replicas that are up and connected to their primary, if they were asked for.
    pub(super) replicas: Vec<Address>,
}

/// Asks a Sentinel where the primary is, and where its replicas are if they are of interest.
///
/// # Errors
/// `InvalidConfig` if it does not know the name, or is no Sentinel.
pub(super) async fn whereabouts(
    connection: &mut Alone,
    master: &str,
    from: &Address,
    replicas: bool,
) -> Result<Answer> {
    let mut asked = Pipeline::new();
    asked
        .cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(master);
    // The rest is of help, but a user may be permitted only the first.
    asked.cmd("SENTINEL").arg("MASTER").arg(master);
    asked.cmd("SENTINEL").arg("SENTINELS").arg(master);
    if replicas {
        // `REPLICAS` from Redis 5 on.
        asked.cmd("SENTINEL").arg("SLAVES").arg(master);
    }
    let mut replies = connection.pipeline(&asked).await?.into_iter();
    let mut next = || replies.next().unwrap_or(Value::Nil);
    let named = result_of(next()).map_err(no_sentinel)?;
    let (fields, others) = (fields(&next()), next());
    let Some(primary) = address(&named) else {
        return Err(match named {
            Value::Nil => unknown(connection, master).await,
            other => Error::unexpected("SENTINEL GET-MASTER-ADDR-BY-NAME", &other),
        });
    };
    let epoch = field(&fields, "config-epoch").and_then(|epoch| epoch.parse().ok());
    let others = match others {
        Value::Array(others) => others.iter().filter_map(listed).collect(),
        _ => Vec::new(),
    };
    let replicas = match next() {
        Value::Array(replicas) => replicas
            .iter()
            .filter(|entry| is_well(entry))
            .filter_map(listed)
            .collect(),
        _ => Vec::new(),
    };
    Ok(Answer {
        from: from.clone(),
        primary,
        epoch,
        others,
        replicas,
    })
}

/// Whether a replica is up and connected to its primary.
fn is_well(entry: &Value) -> bool {
    let fields = fields(entry);
    field(&fields, "flags") == Some("slave") && field(&fields, "master-link-status") == Some("ok")
}

/// An address in a list of Sentinels or servers.
fn listed(entry: &Value) -> Option<Address> {
    let fields = fields(entry);
    Some(Address {
        host: field(&fields, "ip")
            .filter(|host| !host.is_empty())?
            .to_owned(),
        port: field(&fields, "port")?
            .parse()
            .ok()
            .filter(|port| *port != 0)?,
    })
}

/// The error for a name that the Sentinel does not know: it says which there are.
async fn unknown(connection: &mut Alone, master: &str) -> Error {
    let mut masters = redis::cmd("SENTINEL");
    masters.arg("MASTERS");
    let names = match connection.request(&masters).await {
        Ok(Value::Array(masters)) => masters
            .iter()
            .filter_map(|one| field(&fields(one), "name").map(|name| format!("{name:?}")))
            .collect(),
        _ => Vec::new(),
    };
    let knows = match names.len() {
        0 => "it watches none".to_owned(),
        _ => format!("it knows {}", names.join(", ")),
    };
    let why = format!("it knows no primary by the name {master:?}; {knows}");
    Error::new(ErrorKind::InvalidConfig, why)
}

/// A server that does not know `SENTINEL` is none.
fn no_sentinel(error: Error) -> Error {
    match error
        .detail()
        .to_ascii_lowercase()
        .contains("unknown command")
    {
        true => Error::new(ErrorKind::InvalidConfig, NO_SENTINEL),
        false => error,
    }
}

/// What a Sentinel publishes when the primary has moved: `NAME OLD-HOST OLD-PORT HOST PORT`.
pub(super) fn switched(message: &[u8], master: &str) -> Option<Address> {
    let message = std::str::from_utf8(message).ok()?;
    let mut words = message.rsplit(' ');
    let port = words.next()?.parse().ok()?;
    let host = words.next()?.to_owned();
    let name = words.nth(2)?;
    (name == master && words.next().is_none()).then_some(Address { host, port })
}

fn address(value: &Value) -> Option<Address> {
    let Value::Array(parts) = value else {
        return None;
    };
    let [host, port] = &parts[..] else {
        return None;
    };
    Some(Address {
        host: text(host)?,
        port: text(port)?.parse().ok()?,
    })
}

/// Names and values: a map in RESP3, an array in RESP2.
fn fields(value: &Value) -> Vec<(String, String)> {
    let pair = |name: &Value, value: &Value| Some((text(name)?, text(value)?));
    match value {
        Value::Map(pairs) => pairs
            .iter()
            .filter_map(|(name, value)| pair(name, value))
            .collect(),
        Value::Array(values) => values
            .chunks_exact(2)
            .filter_map(|both| pair(&both[0], &both[1]))
            .collect(),
        _ => Vec::new(),
    }
}

fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn an_announcement_is_of_one_primary_and_names_the_new_one() {
        let switched = |text: &str| switched(text.as_bytes(), "main").map(|to| to.to_string());
        let expected = Some("10.0.0.2:6380".to_owned());
        assert_eq!(switched("main 10.0.0.1 6379 10.0.0.2 6380"), expected);
        assert_eq!(
            switched("main ::1 6379 ::2 6380"),
            Some("[::2]:6380".to_owned())
        );
        for other in [
            "other 1 2 3 4",
            "main 1 2 3",
            "x main 1 2 3 4",
            "",
            "main 1 2 3 x",
        ] {
            assert_eq!(switched(other), None, "{other}");
        }
    }

    #[test]
    fn lists_are_maps_in_resp3_and_arrays_in_resp2() {
        let (ip, port) = ((bulk("ip"), bulk("h")), (bulk("port"), bulk("7")));
        let map = Value::Map(vec![ip.clone(), port.clone()]);
        let array = Value::Array(vec![ip.0, ip.1, port.0, port.1]);
        for entry in [map, array] {
            assert_eq!(listed(&entry).unwrap().to_string(), "h:7");
        }
        let nothing = Value::Array(vec![bulk("ip"), bulk(""), bulk("port"), bulk("7")]);
        assert!(listed(&nothing).is_none() && listed(&Value::Nil).is_none());
    }
}
