//! How commands are written down: as a client would send them, and a transaction around what belongs together.

use std::cell::Cell;

use crate::resp::{bulk, header};

/// Appends a command.
pub(crate) fn write_command<'a>(out: &mut Vec<u8>, args: impl ExactSizeIterator<Item = &'a [u8]>) {
    header(out, b'*', args.len());
    args.for_each(|arg| bulk(out, arg));
}

/// Appends the beginning of a command with that many arguments, its name included.
pub(crate) fn write_count(out: &mut Vec<u8>, count: usize) {
    header(out, b'*', count);
}

/// Appends a `SELECT`, unless that database is selected already.
pub(crate) fn write_select(out: &mut Vec<u8>, selected: &mut Option<u32>, db: u32) {
    if *selected != Some(db) {
        *selected = Some(db);
        let db = itoa::Buffer::new().format(db).to_owned();
        write_command(out, [&b"SELECT"[..], db.as_bytes()].into_iter());
    }
}

/// What one client changed in one step, as commands.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    commands: usize,
    /// The database of the first command, and of the last.
    first: u32,
    selected: Option<u32>,
    /// The commands have nothing to do with each other, so no transaction is needed around them.
    separate: bool,
}

/// A buffer that is larger than this is not kept.
const KEPT: usize = 64 << 10;

thread_local! {
    /// The batch of this thread's last command, whose memory the next one uses.
    static SPARE: Cell<Option<Box<Batch>>> = const { Cell::new(None) };
}

impl Batch {
    /// An empty batch.
    pub(crate) fn take() -> Box<Self> {
        SPARE.take().unwrap_or_default()
    }

    /// Keeps its memory for the next one.
    pub(crate) fn give_back(mut self: Box<Self>) {
        if self.bytes.capacity() <= KEPT {
            self.bytes.clear();
            self.commands = 0;
            self.selected = None;
            SPARE.set(Some(self));
        }
    }

    /// A batch whose commands need not stay together.
    pub(crate) fn of_separate() -> Self {
        Batch {
            separate: true,
            ..Batch::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.commands == 0
    }

    pub(crate) fn push<'a>(&mut self, db: u32, args: impl ExactSizeIterator<Item = &'a [u8]>) {
        if self.commands == 0 {
            (self.first, self.selected) = (db, Some(db));
        }
        write_select(&mut self.bytes, &mut self.selected, db);
        write_command(&mut self.bytes, args);
        self.commands += 1;
    }

    /// The store removed a key.
    pub(crate) fn push_removal(&mut self, db: u32, key: &[u8]) {
        self.push(db, [&b"DEL"[..], key].into_iter());
    }

    /// Appends it to a log in which that database is selected.
    pub(crate) fn write(&self, out: &mut Vec<u8>, selected: &mut Option<u32>) {
        if self.commands == 0 {
            return;
        }
        write_select(out, selected, self.first);
        let together = self.commands > 1 && !self.separate;
        if together {
            out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
        }
        out.extend_from_slice(&self.bytes);
        if together {
            out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        }
        *selected = self.selected;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(batch: &Batch, selected: Option<u32>) -> (String, Option<u32>) {
        let (mut out, mut selected) = (Vec::new(), selected);
        batch.write(&mut out, &mut selected);
        (
            String::from_utf8(out).unwrap().replace("\r\n", " "),
            selected,
        )
    }

    #[test]
    fn one_command_stands_alone_and_several_are_a_transaction() {
        let mut batch = Batch::default();
        batch.push(0, [&b"INCR"[..], b"a"].into_iter());
        assert_eq!(text(&batch, Some(0)), ("*2 $4 INCR $1 a ".into(), Some(0)));
        assert_eq!(text(&batch, None).0, "*2 $6 SELECT $1 0 *2 $4 INCR $1 a ");
        batch.push_removal(3, b"b");
        assert_eq!(
            text(&batch, Some(0)),
            (
                "*1 $5 MULTI *2 $4 INCR $1 a *2 $6 SELECT $1 3 *2 $3 DEL $1 b *1 $4 EXEC ".into(),
                Some(3)
            )
        );
    }

    #[test]
    fn what_the_store_removed_needs_no_transaction() {
        let mut batch = Batch::of_separate();
        batch.push_removal(1, b"a");
        batch.push_removal(1, b"b");
        let removals = "*2 $3 DEL $1 a *2 $3 DEL $1 b ";
        assert_eq!(text(&batch, Some(1)).0, removals);
    }
}
