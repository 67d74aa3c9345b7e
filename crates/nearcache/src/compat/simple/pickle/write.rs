//! Writing a pickle, in protocol 4, which every Python from 3.4 on reads.

use super::opcode::*;
use super::{MAX_DEPTH, MAX_VALUES};
use crate::compat::simple::Value;

/// The protocol that is written.
const PROTOCOL: u8 = 4;

/// Appends the pickle of a value.
///
/// # Errors
/// The value cannot be read back: it is too large or too deep, or a list is the key of a dict.
pub(in crate::compat::simple) fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    out.extend([PROTO, PROTOCOL]);
    let mut writer = Writer {
        out,
        left: MAX_VALUES,
    };
    writer.value(value, MAX_DEPTH)?;
    out.push(STOP);
    Ok(())
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// How many values may still come.
    left: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
        };
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| format!("it holds more than {MAX_VALUES} values"))?;
        match value {
            Value::None => self.out.push(NONE),
            Value::Bool(true) => self.out.push(NEWTRUE),
            Value::Bool(false) => self.out.push(NEWFALSE),
            Value::Int(number) => match number.as_i64().map(i32::try_from) {
                Some(Ok(number)) => self.with(BININT, &number.to_le_bytes()),
                _ => {
                    let bytes = number.to_le_bytes();
                    self.sized(&bytes, Some(LONG1), LONG4, None)?;
                }
            },
            Value::Float(number) => self.with(BINFLOAT, &number.to_be_bytes()),
            Value::Str(text) => {
                let text = text.as_bytes();
                self.sized(text, Some(SHORT_BINUNICODE), BINUNICODE, Some(BINUNICODE8))?;
            }
            Value::Bytes(bytes) => {
                self.sized(bytes, Some(SHORT_BINBYTES), BINBYTES, Some(BINBYTES8))?;
            }
            Value::List(items) => {
                self.out.extend([EMPTY_LIST, MARK]);
                self.all(items, depth)?;
                self.out.push(APPENDS);
            }
            Value::Tuple(items) => {
                self.out.push(MARK);
                self.all(items, depth)?;
                self.out.push(TUPLE);
            }
            Value::Dict(dict) => {
                self.out.extend([EMPTY_DICT, MARK]);
                for (key, value) in dict {
                    self.hashable(key, depth)?;
                    self.value(value, depth)?;
                }
                self.out.push(SETITEMS);
            }
            Value::Set(members) => {
                self.out.extend([EMPTY_SET, MARK]);
                for member in members {
                    self.hashable(member, depth)?;
                }
                self.out.push(ADDITEMS);
            }
            Value::FrozenSet(members) => {
                self.out.push(MARK);
                for member in members {
                    self.hashable(member, depth)?;
                }
                self.out.push(FROZENSET);
            }
        }
        Ok(())
    }

    fn all(&mut self, items: &[Value], depth: usize) -> Result<(), String> {
        items.iter().try_for_each(|item| self.value(item, depth))
    }

    /// A key, or the member of a set.
    fn hashable(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        if let Some(kind) = value.unhashable() {
            return Err(format!(
                "a {kind} cannot be the key of a dict, or be in a set"
            ));
        }
        self.value(value, depth)
    }

    fn with(&mut self, opcode: u8, bytes: &[u8]) {
        self.out.push(opcode);
        self.out.extend(bytes);
    }

    /// Bytes after their length, in as many bytes as it takes.
    fn sized(
        &mut self,
        bytes: &[u8],
        short: Option<u8>,
        medium: u8,
        long: Option<u8>,
    ) -> Result<(), String> {
        let length = bytes.len();
        match (u8::try_from(length), u32::try_from(length), short, long) {
            (Ok(length), _, Some(short), _) => self.with(short, &[length]),
            // A signed length, for an integer.
            (_, Ok(length), _, _) if long.is_some() || i32::try_from(length).is_ok() => {
                self.with(medium, &length.to_le_bytes());
            }
            (_, _, _, Some(long)) => self.with(long, &(length as u64).to_le_bytes()),
            _ => return Err("an int of more than 2 GiB".into()),
        }
        self.out.extend(bytes);
        Ok(())
    }
}
