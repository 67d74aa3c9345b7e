//! Replies of several elements. In process, each element is a value of its own. A port lends its output to the command
//! instead, and the elements are written into it straight from where they are kept: no value is made, nothing is copied
//! twice.

use std::cell::Cell;

use redis::{ProtocolVersion, Value};

use super::Context;
use crate::reply::{self, Reply};
use crate::resp;

/// What a reply of several elements is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Array,
    /// Each element is there once: RESP2 has them as an array.
    Set,
    /// Names, each followed by its value: RESP2 has them in a row.
    Map,
}

/// A reply to which elements are added: as many as were announced.
pub(crate) struct Elements<'o> {
    to: To<'o>,
    protocol: ProtocolVersion,
}

enum To<'o> {
    Values(Form, Vec<Value>),
    Output(&'o mut Vec<u8>, &'o Cell<bool>),
}

impl Context<'_> {
    /// Begins a reply of so many elements; for a map, of so many pairs. From here on the command cannot fail.
    #[inline]
    pub(crate) fn elements(&self, form: Form, len: usize) -> Elements<'_> {
        let protocol = self.session.protocol;
        let to = match self.lent_output() {
            Some(output) => {
                let resp3 = protocol != ProtocolVersion::RESP2;
                match form {
                    Form::Set if resp3 => resp::header(output, b'~', len),
                    Form::Map if resp3 => resp::header(output, b'%', len),
                    Form::Map => resp::header(output, b'*', len.saturating_mul(2)),
                    _ => resp::header(output, b'*', len),
                }
                To::Output(output, &self.replied)
            }
            None => {
                let per_element = if form == Form::Map { 2 } else { 1 };
                To::Values(form, Vec::with_capacity(len.saturating_mul(per_element)))
            }
        };
        Elements { to, protocol }
    }

    /// Replies with a byte string, or with nil.
    #[inline]
    pub(crate) fn bulk_or_nil(&self, bytes: Option<&[u8]>) -> Reply {
        match self.lent_output() {
            Some(output) => {
                let (to, protocol) = (To::Output(output, &self.replied), self.session.protocol);
                let mut alone = Elements { to, protocol };
                alone.bulk_or_nil(bytes);
                alone.reply()
            }
            None => Ok(reply::bulk_or_nil(bytes)),
        }
    }

    /// The output of the port, if the reply of this command goes there as it is: not into that of a transaction or to
    /// a script.
    #[inline]
    fn lent_output(&self) -> Option<&mut Vec<u8>> {
        if self.queued || self.in_script {
            return None;
        }
        self.output.take()
    }
}

impl Elements<'_> {
    #[inline]
    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        match &mut self.to {
            To::Values(_, values) => values.push(reply::bulk(bytes)),
            To::Output(output, _) => resp::bulk(output, bytes),
        }
    }

    #[inline]
    pub(crate) fn bulk_or_nil(&mut self, bytes: Option<&[u8]>) {
        match (bytes, &mut self.to) {
            (Some(bytes), _) => self.bulk(bytes),
            (None, To::Values(_, values)) => values.push(Value::Nil),
            (None, To::Output(output, _)) if self.protocol == ProtocolVersion::RESP2 => {
                output.extend_from_slice(b"$-1\r\n");
            }
            (None, To::Output(output, _)) => output.extend_from_slice(b"_\r\n"),
        }
    }

    /// Adds a number with a fraction.
    pub(crate) fn double(&mut self, number: f64) {
        match &mut self.to {
            To::Values(_, values) => values.push(reply::double(self.protocol, number)),
            To::Output(output, _) => resp::double(output, self.protocol, number),
        }
    }

    /// Adds a byte string and a number as one element, an array.
    pub(crate) fn pair(&mut self, bytes: &[u8], number: f64) {
        match &mut self.to {
            To::Values(_, values) => values.push(Value::Array(vec![
                reply::bulk(bytes),
                reply::double(self.protocol, number),
            ])),
            To::Output(output, _) => {
                resp::header(output, b'*', 2);
                resp::bulk(output, bytes);
                resp::double(output, self.protocol, number);
            }
        }
    }

    /// The reply. If it has been written, nobody looks at its value.
    #[inline]
    pub(crate) fn reply(self) -> Reply {
        Ok(match self.to {
            To::Output(_, replied) => {
                replied.set(true);
                Value::Nil
            }
            To::Values(Form::Array, values) => Value::Array(values),
            To::Values(Form::Set, values) => reply::set(self.protocol, values),
            To::Values(Form::Map, values) if self.protocol == ProtocolVersion::RESP2 => {
                Value::Array(values)
            }
            To::Values(Form::Map, values) => {
                let mut values = values.into_iter();
                let pairs = std::iter::from_fn(|| Some((values.next()?, values.next()?)));
                Value::Map(pairs.collect())
            }
        })
    }
}
