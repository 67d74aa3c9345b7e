//! An entry, and how an element becomes its fields.

use std::fmt;

use redis::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::id::EntryId;
use crate::error::{Error, ErrorKind, Result};
use crate::structures::fields;
use crate::structures::member::{Member, encoded};
use crate::structures::replies::{list, pairs};

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<T> {
    /// Its id.
    pub id: EntryId,
    /// What it holds.
    pub value: T,
}

/// Fields with their values.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The one field of an entry that holds a whole element.
const VALUE: &[u8] = b"value";

/// How an element becomes the fields of an entry, and the other way round.
pub(super) struct Form<T> {
    pub(super) write: fn(&T) -> Result<Fields>,
    pub(super) read: fn(Fields) -> Result<T>,
}

impl<T> Clone for Form<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Form<T> {}

impl<T> fmt::Debug for Form<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Form")
    }
}

impl<T: Member> Form<T> {
    pub(super) fn value() -> Self {
        Form {
            write: |element| Ok(vec![(VALUE.to_vec(), encoded(element)?)]),
            read: |fields| {
                let value = fields.into_iter().find(|(name, _)| name == VALUE);
                let (_, value) = value.ok_or_else(|| {
                    Error::new(
                        ErrorKind::Codec,
                        "the entry has no field `value`; entries with a field for each part are read `by_fields`",
                    )
                })?;
                T::from_member(value)
            },
        }
    }

    pub(super) fn fields() -> Self
    where
        T: Serialize + DeserializeOwned,
    {
        Form {
            write: |element| {
                let fields = fields::write(element)?;
                if fields.is_empty() {
                    return Err(Error::new(
                        ErrorKind::Codec,
                        "an entry has at least one field, and every field of this element is `None`",
                    ));
                }
                Ok(fields)
            },
            read: |fields| fields::read(&fields),
        }
    }
}

/// An entry of a reply; without fields if it has been removed meanwhile.
pub(super) type Raw = (EntryId, Option<Fields>);

/// The entries of a reply.
pub(super) fn raw(command: &str, value: Value) -> Result<Vec<Raw>> {
    let wrong = || Error::unexpected(command, &Value::Nil);
    let mut entries = Vec::new();
    for entry in list(command, value)? {
        let parts = match entry {
            // Removed, and Redis 6 does not say which.
            Value::Nil => continue,
            Value::Array(parts) => <[Value; 2]>::try_from(parts),
            other => return Err(Error::unexpected(command, &other)),
        };
        let Ok([Value::BulkString(id), fields]) = parts else {
            return Err(wrong());
        };
        let id = EntryId::read(&id).ok_or_else(wrong)?;
        let fields = match fields {
            Value::Nil => None,
            fields => {
                let named = pairs(command, fields)?.into_iter();
                let fields = named.map(|(name, value)| match value {
                    Value::BulkString(value) => Ok((name, value)),
                    other => Err(Error::unexpected(command, &other)),
                });
                Some(fields.collect::<Result<Fields>>()?)
            }
        };
        entries.push((id, fields));
    }
    Ok(entries)
}

/// The entries of one stream in a reply to `XREAD` or `XREADGROUP`.
pub(super) fn of_one(command: &str, value: Value) -> Result<Vec<Raw>> {
    match pairs(command, value)?.into_iter().next() {
        Some((_, entries)) => raw(command, entries),
        None => Ok(Vec::new()),
    }
}

/// Entries that are there.
pub(super) fn parsed<T>(form: Form<T>, raw: Vec<Raw>) -> Result<Vec<Entry<T>>> {
    let there = raw
        .into_iter()
        .filter_map(|(id, fields)| Some((id, fields?)));
    there
        .map(|(id, fields)| {
            let value = element(form, id, fields)?;
            Ok(Entry { id, value })
        })
        .collect()
}

pub(super) fn element<T>(form: Form<T>, id: EntryId, fields: Fields) -> Result<T> {
    (form.read)(fields).map_err(|error| {
        let detail = format!("entry {id}: {}", error.detail());
        Error::new(ErrorKind::Codec, detail)
    })
}
