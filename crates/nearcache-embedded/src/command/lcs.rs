//! `LCS`: the longest common subsequence of two strings.

use redis::Value;

use super::Args;
use super::parse::{integer, is};
use super::row::prelude::*;
use crate::context::Context;
use crate::reply::{Error, Reply, bulk, count, map};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("lcs",  -3, Shared,    TWO,      Anywhere,  lcs),
];

/// What is wanted.
#[derive(Default)]
struct Options {
    len: bool,
    matches: bool,
    least_match: usize,
    with_len: bool,
}

impl Options {
    fn read(args: Args<'_>) -> Result<Self, Error> {
        let mut options = Options::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if is(arg, "IDX") {
                options.matches = true;
            } else if is(arg, "LEN") {
                options.len = true;
            } else if is(arg, "WITHMATCHLEN") {
                options.with_len = true;
            } else if is(arg, "MINMATCHLEN") {
                let least = integer(args.next().ok_or(Error::SYNTAX)?)?;
                options.least_match = usize::try_from(least).unwrap_or(0);
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(options)
    }
}

pub(super) fn lcs(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let strings = [cx.string(args[1]), cx.string(args[2])];
    let [Ok(a), Ok(b)] = strings else {
        return Err(Error::new(
            "ERR The specified keys must contain string values",
        ));
    };
    let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
    let options = Options::read(&args[3..])?;
    if options.len && options.matches {
        return Err(Error::new(
            "ERR If you want both the length and indexes, please just use IDX.",
        ));
    }
    let table = Table::of(a, b, cx.max_len())?;
    let len = table.get(a.len(), b.len());
    if options.matches {
        let matches = table.matches(a, b);
        let long = matches
            .iter()
            .filter(|found| found.len() >= options.least_match);
        let found = long.map(|found| found.reply(options.with_len)).collect();
        let pairs = [("matches", Value::Array(found)), ("len", count(len))];
        let pairs = pairs.map(|(name, value)| (bulk(name.as_bytes()), value));
        return Ok(map(cx.session.protocol, pairs));
    }
    Ok(if options.len {
        count(len)
    } else {
        let mut common = Vec::with_capacity(len);
        let matches = table.matches(a, b);
        for found in matches.iter().rev() {
            common.extend_from_slice(&a[found.a..=found.a_end]);
        }
        Value::BulkString(common)
    })
}

/// The lengths of the longest common subsequences of all beginnings of two strings.
struct Table {
    width: usize,
    lengths: Vec<u32>,
}

impl Table {
    /// The table may take as much memory as a string.
    fn of(a: &[u8], b: &[u8], most: usize) -> Result<Self, Error> {
        const TOO_LARGE: Error = Error::new(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        );
        let too_long = |string: &[u8]| string.len() >= u32::MAX as usize - 1;
        if too_long(a) || too_long(b) {
            return Err(Error::new("ERR String too long for LCS"));
        }
        let width = b.len() + 1;
        let cells = (a.len() + 1).checked_mul(width);
        let cells = cells
            .filter(|cells| {
                cells
                    .checked_mul(size_of::<u32>())
                    .is_some_and(|bytes| bytes <= most)
            })
            .ok_or(TOO_LARGE)?;
        let mut lengths = Vec::new();
        lengths.try_reserve_exact(cells).map_err(|_| TOO_LARGE)?;
        lengths.resize(width, 0);
        for byte in a {
            let above = lengths.len() - width;
            lengths.push(0);
            for (at, other) in b.iter().enumerate() {
                let length = if byte == other {
                    lengths[above + at] + 1
                } else {
                    lengths[above + at + 1].max(lengths[lengths.len() - 1])
                };
                lengths.push(length);
            }
        }
        Ok(Table { width, lengths })
    }

    fn get(&self, a: usize, b: usize) -> usize {
        self.lengths[a * self.width + b] as usize
    }

    /// The parts that the strings have in common, the last one first.
    fn matches(&self, a: &[u8], b: &[u8]) -> Vec<Match> {
        let mut matches = Vec::new();
        let mut open: Option<Match> = None;
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                match &mut open {
                    Some(part) if part.a == i + 1 && part.b == j + 1 => (part.a, part.b) = (i, j),
                    _ => {
                        matches.extend(open.take());
                        open = Some(Match {
                            a: i,
                            b: j,
                            a_end: i,
                            b_end: j,
                        });
                    }
                }
            } else {
                matches.extend(open.take());
                if self.get(i - 1, j) > self.get(i, j - 1) {
                    i -= 1;
                } else {
                    j -= 1;
                }
            }
        }
        matches.extend(open);
        matches
    }
}

/// A part of both strings: where it begins and ends in each, both included.
struct Match {
    a: usize,
    b: usize,
    a_end: usize,
    b_end: usize,
}

impl Match {
    fn len(&self) -> usize {
        self.a_end - self.a + 1
    }

    fn reply(&self, with_len: bool) -> Value {
        let range = |start, end| Value::Array(vec![count(start), count(end)]);
        let mut parts = vec![range(self.a, self.a_end), range(self.b, self.b_end)];
        if with_len {
            parts.push(count(self.len()));
        }
        Value::Array(parts)
    }
}
