//! What the server says about its commands: which arguments are keys, and which commands only read. Each command is
//! asked for once.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};

use super::Client;
use crate::error::{Error, ErrorKind, Result};

/// What `COMMAND INFO` says about a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Whether it changes nothing.
    pub(crate) reads: bool,
    keys: Keys,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Keys {
    None,
    /// The first, the last (negative: from the end), and the step.
    At(usize, i64, usize),
    /// Only the server can tell, from the whole command.
    Asked,
}

/// The commands that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Commands(Mutex<HashMap<String, Arc<Row>>>);

impl Commands {
    /// The row of a command.
    ///
    /// # Errors
    /// `Server`: there is no such command. Those of every call.
    pub(super) async fn row(&self, client: &Client, name: &str) -> Result<Arc<Row>> {
        if let Some(row) = self.0.lock().get(name) {
            return Ok(Arc::clone(row));
        }
        let mut asked = redis::cmd("COMMAND");
        asked.arg("INFO").arg(name);
        let reply = client.request(&asked).await?;
        let Some(row) = Row::parse(&reply)? else {
            let why = format!("this server has no command {name}");
            return Err(Error::new(ErrorKind::Server, why).on_host(client.host()));
        };
        let row = Arc::new(row);
        self.0.lock().insert(name.to_owned(), Arc::clone(&row));
        Ok(row)
    }
}

impl Row {
    /// The reply to `COMMAND INFO` of one name; `None` if there is no such command.
    ///
    /// # Errors
    /// `Protocol`.
    fn parse(reply: &Value) -> Result<Option<Row>> {
        let wrong = || Error::unexpected("COMMAND INFO", reply);
        let fields = match reply {
            Value::Array(rows) => match &rows[..] {
                [] | [Value::Nil] => return Ok(None),
                [Value::Array(fields)] if fields.is_empty() => return Ok(None),
                [Value::Array(fields)] => fields,
                _ => return Err(wrong()),
            },
            Value::Nil => return Ok(None),
            _ => return Err(wrong()),
        };
        let [
            _,
            _,
            flags,
            Value::Int(first),
            Value::Int(last),
            Value::Int(step),
            rest @ ..,
        ] = &fields[..]
        else {
            return Err(wrong());
        };
        let (Value::Array(flags) | Value::Set(flags)) = flags else {
            return Err(wrong());
        };
        let has = |name: &str| {
            flags.iter().any(|flag| match flag {
                Value::SimpleString(flag) => flag == name,
                Value::BulkString(flag) => flag == name.as_bytes(),
                _ => false,
            })
        };
        // Categories, hints, keys, subcommands: since Redis 7.
        let has_subcommands = matches!(
            rest.get(3),
            Some(Value::Array(subcommands) | Value::Set(subcommands)) if !subcommands.is_empty()
        );
        let keys = match (usize::try_from(*first), usize::try_from(*step)) {
            _ if has("movablekeys") || has_subcommands => Keys::Asked,
            (Ok(0), _) => Keys::None,
            (Ok(first), Ok(step)) => Keys::At(first, *last, step.max(1)),
            _ => return Err(wrong()),
        };
        Ok(Some(Row {
            reads: has("readonly"),
            keys,
        }))
    }
}

/// The words of a command.
fn words(command: &Cmd) -> Vec<&[u8]> {
    let words = command.args_iter().map(|word| match word {
        redis::Arg::Simple(word) => word,
        _ => b"",
    });
    words.collect()
}

impl Client {
    /// What the server says about a command, asked once.
    ///
    /// # Errors
    /// `Server`: there is no such command. Those of every call.
    pub(crate) async fn command_row(&self, name: &str) -> Result<Arc<Row>> {
        let name = name.to_ascii_lowercase();
        self.shared.commands.row(self, &name).await
    }

    /// Which words of these commands are keys. Those whose keys only the server can tell are asked for together.
    ///
    /// # Errors
    /// `Server`: a command is not whole. Those of every call.
    pub(crate) async fn keys_of(&self, commands: &[(&Cmd, Arc<Row>)]) -> Result<Vec<Vec<Vec<u8>>>> {
        let mut asked = Pipeline::new();
        for (command, row) in commands {
            if row.keys == Keys::Asked {
                asked.cmd("COMMAND").arg("GETKEYS").arg(words(command));
            }
        }
        let replies = match asked.is_empty() {
            true => Vec::new(),
            false => self.pipeline(&asked).await?,
        };
        let mut replies = replies.into_iter();
        let mut found = Vec::with_capacity(commands.len());
        for (command, row) in commands {
            found.push(match row.keys {
                Keys::None => Vec::new(),
                Keys::At(first, last, step) => {
                    let words = words(command);
                    let end = match usize::try_from(last) {
                        Ok(last) => last + 1,
                        Err(_) => {
                            words
                                .len()
                                .saturating_sub(usize::try_from(last.unsigned_abs()).unwrap_or(0))
                                + 1
                        }
                    };
                    let end = end.min(words.len());
                    let keys = words.get(first..end).unwrap_or_default().iter();
                    keys.step_by(step).map(|key| key.to_vec()).collect()
                }
                Keys::Asked => match replies.next() {
                    Some(Value::Array(keys)) => keys
                        .into_iter()
                        .map(|key| match key {
                            Value::BulkString(key) => Ok(key),
                            other => Err(Error::unexpected("COMMAND GETKEYS", &other)),
                        })
                        .collect::<Result<_>>()?,
                    Some(Value::ServerError(error)) => {
                        let error = Error::from_server(&error);
                        if !error.detail().contains("no key arguments") {
                            return Err(error.on_host(self.host()));
                        }
                        Vec::new()
                    }
                    other => {
                        return Err(Error::unexpected(
                            "COMMAND GETKEYS",
                            &other.unwrap_or(Value::Nil),
                        ));
                    }
                },
            });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(flags: &[&str], first: i64, last: i64, step: i64) -> Value {
        let flags = flags.iter().map(|flag| Value::SimpleString((*flag).into()));
        Value::Array(vec![Value::Array(vec![
            Value::BulkString(b"x".to_vec()),
            Value::Int(2),
            Value::Array(flags.collect()),
            Value::Int(first),
            Value::Int(last),
            Value::Int(step),
        ])])
    }

    #[test]
    fn a_row_is_read_in_every_shape() {
        let read = Row::parse(&row(&["readonly", "fast"], 1, -1, 1)).unwrap();
        let keys = Keys::At(1, -1, 1);
        assert_eq!(read, Some(Row { reads: true, keys }));
        let moved = Row::parse(&row(&["write", "movablekeys"], 0, 0, 0)).unwrap();
        assert_eq!(moved.unwrap().keys, Keys::Asked);
        let none = Row::parse(&row(&["fast"], 0, 0, 0)).unwrap();
        assert_eq!(none.unwrap().keys, Keys::None);
        for missing in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![Value::Array(vec![])]),
            Value::Array(vec![]),
        ] {
            assert_eq!(Row::parse(&missing).unwrap(), None);
        }
        for wrong in [
            Value::Int(1),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![Value::Int(1)])]),
            row(&[], -1, 0, 0),
        ] {
            assert!(Row::parse(&wrong).is_err(), "{wrong:?}");
        }
    }
}
