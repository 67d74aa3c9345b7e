//! What one call asks of a server, as its caller has it, and its way into the write buffer of a connection.

use std::sync::Arc;
use std::time::Instant;

use redis::{Cmd, Pipeline};

use super::driven::Driven;
use super::lane::{OnItsWay, Way, fenced_set};
use super::packed::write_words;
use super::{change_nothing, changes_nothing, count, each_of};

/// What is asked. Nothing of it is owned: it is encoded when it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask<'a> {
    Command(&'a Cmd),
    Pipeline(&'a Pipeline),
    /// A command as its words.
    Words(&'a [&'a [u8]]),
    /// Commands that take effect together: their words in a row, and where each of them ends.
    Steps(&'a [&'a [u8]], &'a [usize]),
    /// The same, in a `MULTI` that nobody shares.
    Alone(&'a [&'a [u8]], &'a [usize]),
}

impl<'a> Ask<'a> {
    /// Writes it into the lane of a connection. `None`: the connection has ended.
    #[inline]
    pub(super) fn send(self, connected: Arc<Driven>, terms: (u64, Instant)) -> Option<OnItsWay> {
        match self {
            Ask::Words(words) => {
                let write = |out: &mut Vec<u8>| write_words(out, words);
                let way = Way::Commands(write, None);
                OnItsWay::over(connected, terms, !changes_nothing(words), way)
            }
            Ask::Steps(words, ends) => match fenced_set(words, ends) {
                Some((set, lease)) => {
                    let way = Way::<fn(&mut Vec<u8>)>::Set(set, lease);
                    OnItsWay::over(connected, terms, true, way)
                }
                None => Ask::Alone(words, ends).send(connected, terms),
            },
            Ask::Alone(words, ends) => {
                let write = |out: &mut Vec<u8>| {
                    write_words(out, &[b"MULTI"]);
                    each_of(words, ends).for_each(|command| write_words(out, command));
                    write_words(out, &[b"EXEC"]);
                };
                let way = Way::Commands(write, Some(ends.len() as u32 + 2));
                OnItsWay::over(connected, terms, true, way)
            }
            Ask::Command(command) => {
                let write = |out: &mut Vec<u8>| command.write_packed_command(out);
                let way = Way::Commands(write, None);
                OnItsWay::over(connected, terms, !change_nothing([command]), way)
            }
            Ask::Pipeline(pipeline) => {
                let write = |out: &mut Vec<u8>| {
                    let transaction = pipeline.is_transaction();
                    if transaction {
                        write_words(out, &[b"MULTI"]);
                    }
                    for command in pipeline.cmd_iter() {
                        command.write_packed_command(out);
                    }
                    if transaction {
                        write_words(out, &[b"EXEC"]);
                    }
                };
                let writes = !change_nothing(pipeline.cmd_iter());
                let way = Way::Commands(write, Some(count(pipeline) as u32));
                OnItsWay::over(connected, terms, writes, way)
            }
        }
    }

    /// Whether it may share a `MULTI` with others.
    pub(super) fn is_shared(self) -> bool {
        matches!(self, Ask::Steps(words, ends) if fenced_set(words, ends).is_some())
    }

    /// Whether the replies are those of a transaction, of `MULTI` and `EXEC` too.
    pub(super) fn is_transaction(self) -> bool {
        match self {
            Ask::Command(_) | Ask::Words(_) => false,
            Ask::Pipeline(pipeline) => pipeline.is_transaction(),
            Ask::Steps(..) | Ask::Alone(..) => true,
        }
    }

    /// The same, sent so that it is no part of anything.
    pub(super) fn alone(self) -> Self {
        match self {
            Ask::Steps(words, ends) => Ask::Alone(words, ends),
            other => other,
        }
    }
}
