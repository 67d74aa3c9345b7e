//! Commands as their words: what a cache's own reads and writes are sent as. A place in this process runs them as they
//! are; for a server, they are encoded where they are sent from.
//!
//! A redis-rs command copies its arguments into memory of its own, and is taken apart again where it is run. In this
//! process that would be half of what a call costs.

#[cfg(feature = "cluster")]
use std::time::Instant;

use redis::{Cmd, Pipeline, Value};
use smallvec::SmallVec;

use super::sendable::Sendable;
#[cfg(feature = "cluster")]
use super::spread::Spread;
use crate::connect::{Backend, Terms, changes_nothing, command_of, each_of};
use crate::error::Result;

/// One command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'w>(pub(crate) &'w [&'w [u8]]);

impl Words<'_> {
    /// The same as redis-rs has it.
    pub(super) fn command(self) -> Cmd {
        command_of(self.0)
    }

    /// The slot of its key, if it has one.
    #[cfg(feature = "cluster")]
    pub(super) fn slot(self) -> Option<u16> {
        self.0.get(1).map(|key| crate::slot::slot(key))
    }
}

impl Sendable for Words<'_> {
    type Reply = Value;

    #[inline]
    fn send<'a>(
        &'a self,
        backend: &'a dyn Backend,
        terms: Terms,
    ) -> impl Future<Output = Result<Value>> + Send + 'a {
        backend.begin_words(self.0, terms)
    }

    #[cfg(feature = "cluster")]
    fn spread<'a>(
        &'a self,
        spread: &'a Spread,
        terms: Terms,
        begun: Option<Instant>,
    ) -> impl Future<Output = Result<Value>> + Send + 'a {
        // Boxed, so that the future of a call elsewhere is not larger.
        Box::pin(async move {
            match self.slot() {
                Some(slot) => spread.words(slot, *self, terms, begun).await,
                None => spread.anywhere(&self.command(), terms, begun).await,
            }
        })
    }

    fn changes_nothing(&self) -> bool {
        changes_nothing(self.0)
    }

    fn names(&self) -> Vec<&[u8]> {
        self.0.iter().skip(1).copied().collect()
    }
}

/// Commands that take effect together, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps<'w> {
    words: SmallVec<[&'w [u8]; 7]>,
    /// Where each command ends.
    ends: SmallVec<[usize; 2]>,
}

impl<'w> Steps<'w> {
    /// For so many commands with so many words.
    pub(crate) fn with_capacity(commands: usize, words: usize) -> Self {
        Steps {
            words: SmallVec::with_capacity(words),
            ends: SmallVec::with_capacity(commands),
        }
    }

    /// Adds a command.
    #[inline]
    pub(crate) fn step(&mut self, words: &[&'w [u8]]) -> &mut Self {
        self.words.extend_from_slice(words);
        self.end()
    }

    /// Adds a word to the command that [`end`](Steps::end) ends.
    pub(crate) fn word(&mut self, word: &'w [u8]) {
        self.words.push(word);
    }

    #[inline]
    pub(crate) fn end(&mut self) -> &mut Self {
        self.ends.push(self.words.len());
        self
    }

    /// The slot of the keys, if they are all in one and each command has one key.
    #[cfg(feature = "cluster")]
    pub(super) fn slot(&self) -> Option<u16> {
        let slot = |words: Words<'_>| match words.0 {
            [b"SET", key, ..] | [b"UNLINK", key] => Some(crate::slot::slot(key)),
            _ => None,
        };
        let mut slots = self.each().map(slot);
        let first = slots.next()??;
        slots.all(|slot| slot == Some(first)).then_some(first)
    }

    fn each(&self) -> impl Iterator<Item = Words<'_>> {
        each_of(&self.words, &self.ends).map(Words)
    }

    /// The same as redis-rs has it.
    pub(crate) fn pipeline(&self) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(self.ends.len());
        pipeline.atomic();
        for words in self.each() {
            pipeline.add_command(words.command());
        }
        pipeline
    }
}

impl Sendable for Steps<'_> {
    type Reply = Vec<Value>;

    #[inline]
    fn send<'a>(
        &'a self,
        backend: &'a dyn Backend,
        terms: Terms,
    ) -> impl Future<Output = Result<Vec<Value>>> + Send + 'a {
        backend.begin_steps(&self.words, &self.ends, terms)
    }

    #[cfg(feature = "cluster")]
    fn spread<'a>(
        &'a self,
        spread: &'a Spread,
        terms: Terms,
        begun: Option<Instant>,
    ) -> impl Future<Output = Result<Vec<Value>>> + Send + 'a {
        // Boxed, so that the future of a call elsewhere is not larger.
        Box::pin(spread.steps(self, terms, begun))
    }

    fn changes_nothing(&self) -> bool {
        self.each().all(|words| words.changes_nothing())
    }

    fn is_answer(replies: &Vec<Value>) -> bool {
        Pipeline::is_answer(replies)
    }

    fn names(&self) -> Vec<&[u8]> {
        self.each()
            .flat_map(|words| words.0.iter().skip(1).copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    /// Words are sent, retried, announced and kept back as the redis-rs command of the same words.
    #[test]
    fn words_are_the_command_that_they_say() {
        let lost = Error::new(ErrorKind::Connect, "");
        // On a connection without a user nothing was carried out.
        let signed_out = Error::new(ErrorKind::Auth, "NOAUTH Authentication required.");
        let get: [&[u8]; 2] = [b"GET", b"k"];
        let set: [&[u8]; 5] = [b"SET", b"k", b"\r\n\xff", b"PX", b"10"];
        for words in [&get[..], &set[..]] {
            let (words, command) = (Words(words), Words(words).command());
            let mut expected = Cmd::new();
            words.0.iter().for_each(|word| {
                expected.arg(word);
            });
            assert_eq!(command.get_packed_command(), expected.get_packed_command());
            assert_eq!(words.names(), command.names());
            assert_eq!(words.changes_nothing(), command.changes_nothing());
            assert_eq!(
                words.may_be_sent_again(&lost),
                command.may_be_sent_again(&lost)
            );
            assert!(words.may_be_sent_again(&signed_out));
        }
        let mut steps = Steps::default();
        steps.step(&get).step(&set);
        let mut pipeline = Pipeline::new();
        pipeline.atomic();
        pipeline.add_command(Words(&get).command());
        pipeline.add_command(Words(&set).command());
        assert_eq!(
            steps.pipeline().get_packed_pipeline(),
            pipeline.get_packed_pipeline()
        );
        assert_eq!(steps.names(), pipeline.names());
        assert_eq!(steps.changes_nothing(), pipeline.changes_nothing());
        assert_eq!(
            steps.may_be_sent_again(&lost),
            pipeline.may_be_sent_again(&lost)
        );
        assert!(steps.may_be_sent_again(&signed_out));
    }
}
