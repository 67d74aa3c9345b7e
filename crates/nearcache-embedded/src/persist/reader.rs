//! Reads a file of commands, one after the other, and tells a file that was cut from one that is damaged.
//!
//! A file is **cut** if it ends within a command: that happens when a process is killed while it writes, and only the
//! command that was being written is lost. Zeros at the end are the same: some file systems leave them after a power
//! failure. Everything else that makes no sense is **damage**. So is a command that does not end, if whole commands
//! follow within it: then its length is wrong, and to cut there would lose all of them.

use std::io::{self, Read};
use std::ops::Range;

use crate::command;

/// How much is read at once.
const CHUNK: usize = 1 << 20;
/// The longest line: a marker, a number, and the end of the line.
const MAX_LINE: usize = 32;
/// The longest comment; a server writes `#TS:` and a number.
const MAX_COMMENT: usize = 1024;
/// The longest argument: a server's `proto-max-bulk-len`.
const MAX_ARGUMENT: usize = 512 << 20;

pub(crate) struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    /// The part of the buffer that was not read yet begins here.
    at: usize,
    /// The offset in the file at which the buffer begins.
    base: u64,
    ended: bool,
}

/// What comes next in a file.
pub(crate) enum Next {
    /// A command: its arguments, as ranges of [`Reader::bytes`].
    Command(Vec<Range<usize>>),
    /// The end.
    End,
    /// The file was cut within a command that begins here.
    Cut(u64),
    /// What begins here makes no sense.
    Damaged(u64, String),
}

/// One record at the beginning of some bytes.
enum Record {
    Command(Vec<Range<usize>>, usize),
    Comment(usize),
    /// The bytes end before it does; at least so many are needed.
    Incomplete(usize),
    Bad(String),
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(input: R) -> Self {
        Reader {
            input,
            buffer: Vec::new(),
            at: 0,
            base: 0,
            ended: false,
        }
    }

    /// The offset of what comes next.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub(crate) fn next(&mut self) -> io::Result<Next> {
        loop {
            let rest = &self.buffer[self.at..];
            if rest.is_empty() {
                if self.ended {
                    return Ok(Next::End);
                }
                self.fill(1)?;
                continue;
            }
            match read(rest) {
                Record::Command(mut args, length) => {
                    for arg in &mut args {
                        *arg = arg.start + self.at..arg.end + self.at;
                    }
                    self.at += length;
                    return Ok(Next::Command(args));
                }
                Record::Comment(length) => self.at += length,
                Record::Incomplete(needed) if !self.ended => self.fill(needed)?,
                Record::Incomplete(_) => {
                    return Ok(match whole_command_in(rest) {
                        None => Next::Cut(self.offset()),
                        Some(at) => Next::Damaged(
                            self.offset(),
                            format!(
                                "a command does not end, although another one begins at byte {}",
                                self.offset() + at as u64
                            ),
                        ),
                    });
                }
                Record::Bad(why) => {
                    let offset = self.offset();
                    let written = rest.iter().rposition(|byte| *byte != 0);
                    let written = written.map_or(0, |last| last + 1);
                    let is_cut = match rest.get(..written) {
                        Some([]) => self.only_zeros()?,
                        Some(rest) => {
                            self.ended
                                && written < self.buffer.len() - self.at
                                && matches!(read(rest), Record::Incomplete(_))
                                && whole_command_in(rest).is_none()
                        }
                        None => false,
                    };
                    if is_cut {
                        return Ok(Next::Cut(offset));
                    }
                    return Ok(Next::Damaged(offset, why));
                }
            }
        }
    }

    /// Reads on, until so many bytes are there, or the file ends.
    fn fill(&mut self, needed: usize) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        // Doubling bounds how often a long command is looked at again.
        let wanted = needed
            .max(self.buffer.len() * 2)
            .clamp(CHUNK, MAX_ARGUMENT * 2);
        let missing = wanted.saturating_sub(self.buffer.len()).max(CHUNK);
        let read = (&mut self.input)
            .take(missing as u64)
            .read_to_end(&mut self.buffer)?;
        self.ended = read < missing;
        Ok(())
    }

    fn only_zeros(&mut self) -> io::Result<bool> {
        loop {
            if self.buffer[self.at..].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            if self.ended {
                return Ok(true);
            }
            self.at = self.buffer.len();
            self.fill(1)?;
        }
    }
}

fn read(bytes: &[u8]) -> Record {
    if bytes[0] == b'#' {
        let line = &bytes[..bytes.len().min(MAX_COMMENT)];
        return match line.iter().position(|byte| *byte == b'\n') {
            Some(end) => Record::Comment(end + 1),
            None if bytes.len() < MAX_COMMENT => Record::Incomplete(MAX_COMMENT),
            None => Record::Bad("a comment does not end".into()),
        };
    }
    let mut at = 0;
    let count = match number(bytes, &mut at, b'*') {
        Ok(count) => count,
        Err(record) => return record,
    };
    if count == 0 {
        return Record::Bad("a command without a name".into());
    }
    // An argument takes at least five bytes more than its content, so the number of bytes limits a false count.
    let mut args = Vec::with_capacity(count.min(bytes.len() / 5));
    for _ in 0..count {
        let length = match number(bytes, &mut at, b'$') {
            Ok(length) if length > MAX_ARGUMENT => {
                return Record::Bad(format!("an argument of {length} bytes"));
            }
            Ok(length) => length,
            Err(record) => return record,
        };
        let end = at + length;
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => {}
            Some(_) => return Record::Bad("an argument is longer or shorter than it says".into()),
            None if bytes.get(end).is_some_and(|byte| *byte != b'\r') => {
                return Record::Bad("an argument is longer or shorter than it says".into());
            }
            None => return Record::Incomplete(end + 2),
        }
        args.push(at..end);
        at = end + 2;
    }
    Record::Command(args, at)
}

/// The number in a line that begins with that marker.
fn number(bytes: &[u8], at: &mut usize, marker: u8) -> Result<usize, Record> {
    let bad = |what: &[u8]| {
        let marker = marker as char;
        Record::Bad(format!(
            "expected '{marker}' and a number, found '{}'",
            what[..what.len().min(16)].escape_ascii()
        ))
    };
    let rest = &bytes[*at..];
    let line = &rest[..rest.len().min(MAX_LINE)];
    let Some(first) = line.first() else {
        return Err(Record::Incomplete(*at + MAX_LINE));
    };
    if *first != marker {
        return Err(bad(line));
    }
    let digits = line[1..].iter().take_while(|byte| byte.is_ascii_digit());
    let digits = digits.count();
    let number = std::str::from_utf8(&line[1..=digits]).unwrap_or_default();
    match &line[1 + digits..] {
        [b'\r', b'\n', ..] => {
            *at += digits + 3;
            number.parse().map_err(|_| bad(line))
        }
        [] | [b'\r'] if rest.len() < MAX_LINE => Err(Record::Incomplete(*at + MAX_LINE)),
        _ => Err(bad(line)),
    }
}

/// Where, within a command that does not end, another one begins that is whole, known, and followed by a third or by
/// the end.
fn whole_command_in(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = find(&bytes[from..], b"\r\n*") {
        let at = from + found + 2;
        if let Record::Command(args, length) = read(&bytes[at..])
            && args
                .first()
                .is_some_and(|name| command::find(&bytes[at..][name.clone()]).is_some())
            && bytes
                .get(at + length)
                .is_none_or(|byte| b"*#".contains(byte))
        {
            return Some(at);
        }
        from = at;
    }
    None
}

fn find(bytes: &[u8], what: &[u8; 3]) -> Option<usize> {
    bytes.windows(3).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the commands in it, and how it ends.
    fn all(bytes: &[u8]) -> (Vec<String>, String) {
        let mut reader = Reader::new(bytes);
        let mut names = Vec::new();
        loop {
            match reader.next().unwrap() {
                Next::Command(args) => {
                    names.push(String::from_utf8_lossy(&reader.bytes()[args[0].clone()]).into());
                }
                Next::End => return (names, "end".into()),
                Next::Cut(at) => return (names, format!("cut {at}")),
                Next::Damaged(at, _) => return (names, format!("damaged {at}")),
            }
        }
    }

    const TWO: &[u8] = b"#TS:1234\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n\r\n*1\r\n";

    #[test]
    fn a_file_is_read_to_its_end_and_comments_are_skipped() {
        assert_eq!(all(TWO), (vec!["INCR".into(), "SET".into()], "end".into()));
        assert_eq!(all(b""), (vec![], "end".into()));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_cut_at_the_command() {
        for end in 0..TWO.len() {
            let (names, ending) = all(&TWO[..end]);
            let expected = match end {
                0 | 10 | 31 => "end".to_owned(),
                1..10 => "cut 0".to_owned(),
                11..31 => "cut 10".to_owned(),
                _ => "cut 31".to_owned(),
            };
            assert_eq!(ending, expected, "{end}");
            assert_eq!(names.len(), usize::from(end >= 31));
            let zeros = [&TWO[..31], &vec![0; end][..]].concat();
            let ending = if end == 0 { "end" } else { "cut 31" };
            assert_eq!(all(&zeros).1, ending);
        }
    }

    #[test]
    fn damage_is_told_from_a_cut() {
        for (bytes, at) in [
            (
                &b"*2\r\n$4\r\nINCR\r\n$8\r\na\r\n*1\r\n$4\r\nEXEC\r\n"[..],
                0,
            ),
            (
                b"*2\r\n$4\r\nINCR\r\n$99\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
                0,
            ),
            (
                b"*9\r\n$4\r\nINCR\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
                0,
            ),
            (b"*1\r\n$4\r\nPING\r\nX", 14),
            (b"*1\r\n$4\r\nPINGXX*1\r\n", 0),
            (b"*x\r\n", 0),
            (b"*0\r\n", 0),
            (b"*-1\r\n", 0),
            (b"*1\r\n$999999999999\r\n", 0),
            (b"*99999999999999999999999\r\n", 0),
            (b"*1\r\n$4\r\nPING\r\n\0\0\0*1\r\n", 14),
        ] {
            let text = bytes.escape_ascii();
            assert_eq!(all(bytes).1, format!("damaged {at}"), "{text}");
        }
    }

    #[test]
    fn a_long_argument_is_read_in_parts() {
        let value = vec![b'x'; 5 << 20];
        let mut bytes = Vec::new();
        for _ in 0..3 {
            let args = [&b"SET"[..], b"key", &value].into_iter();
            super::super::record::write_command(&mut bytes, args);
        }
        let (names, ending) = all(&bytes);
        assert_eq!((names.len(), ending.as_str()), (3, "end"));
        assert_eq!(all(&bytes[..bytes.len() - 1]).0.len(), 2);
    }
}
