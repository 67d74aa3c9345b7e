//! Numbers of a few bits inside a bitmap (`BITFIELD`).

use std::fmt;

use redis::{Cmd, Value};

use crate::cache::operation::{Async, CacheFuture, operation};
use crate::error::{Error, ErrorKind, Result};
use crate::structures::handle::Handle;
use crate::structures::replies::{first, list};
use crate::structures::write::{Timing, Write, timed};

/// A number inside a bitmap: how many bits it has, whether it has a sign, and where it is.
///
/// ```
/// use nearcache::structures::BitField;
///
/// let level = BitField::u(8).at(24); // the byte that begins at bit 24
/// let fourth = BitField::i(5).nth(3); // of numbers of five bits in a row, the fourth: at bit 15
/// # let _ = (level, fourth);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BitField {
    signed: bool,
    bits: u8,
    /// In bits, or a multiple of the width.
    offset: u64,
    indexed: bool,
}

impl BitField {
    /// A number without a sign, of 1 to 63 bits.
    pub const fn u(bits: u8) -> Self {
        BitField {
            signed: false,
            bits,
            offset: 0,
            indexed: false,
        }
    }

    /// A number with a sign, of 1 to 64 bits.
    pub const fn i(bits: u8) -> Self {
        BitField {
            signed: true,
            ..BitField::u(bits)
        }
    }

    /// At this bit.
    #[must_use]
    pub const fn at(self, bit: u64) -> Self {
        BitField {
            offset: bit,
            indexed: false,
            ..self
        }
    }

    /// The one with this index in a row of such numbers that begins at bit 0.
    #[must_use]
    pub const fn nth(self, index: u64) -> Self {
        BitField {
            offset: index,
            indexed: true,
            ..self
        }
    }

    /// Its type and place, as Redis reads them.
    fn words(self) -> Result<(String, String)> {
        let widest = if self.signed { 64 } else { 63 };
        if !(1..=widest).contains(&self.bits) {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "a number in a bitmap has 1 to 63 bits, or 64 with a sign; {} were given",
                    self.bits
                ),
            ));
        }
        let first = match self.indexed {
            true => self.offset.saturating_mul(u64::from(self.bits)),
            false => self.offset,
        };
        super::checked(first.saturating_add(u64::from(self.bits) - 1))?;
        let sign = if self.signed { 'i' } else { 'u' };
        let hash = if self.indexed { "#" } else { "" };
        Ok((
            format!("{sign}{}", self.bits),
            format!("{hash}{}", self.offset),
        ))
    }
}

/// Pending reads and writes of numbers in a bitmap, all in one step.
///
/// The answer has one element for each of them, in their order: what was read; what a `set` replaced; what an `incr`
/// made. `None` for a `set` or an `incr` that would overflow after [`fail`](BitFields::fail).
///
/// With `.ttl(..)` a server answers with numbers that are exact up to 2⁵³ (they come out of a script); what is stored is
/// exact. To read larger numbers, leave the TTL to a call of [`expire`](crate::CacheOf::expire).
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct BitFields<M = Async> {
    handle: Handle<M>,
    command: Result<Vec<String>>,
    writes: bool,
    asked: usize,
    time: Timing,
}

impl<M> BitFields<M> {
    pub(super) fn new(handle: &Handle<M>) -> Self {
        BitFields {
            handle: handle.clone(),
            command: Ok(Vec::new()),
            writes: false,
            asked: 0,
            time: None,
        }
    }

    fn with(mut self, name: &str, field: BitField, number: Option<i64>) -> Self {
        self.asked += 1;
        self.writes |= number.is_some();
        self.command = self.command.and_then(|mut words| {
            let (kind, offset) = field.words()?;
            words.extend([name.to_owned(), kind, offset]);
            words.extend(number.map(|number| number.to_string()));
            Ok(words)
        });
        self
    }

    /// Reads a number.
    pub fn get(self, field: BitField) -> Self {
        self.with("GET", field, None)
    }

    /// Writes a number. The answer is what it replaced.
    pub fn set(self, field: BitField, number: i64) -> Self {
        self.with("SET", field, Some(number))
    }

    /// Adds to a number; a negative amount subtracts. The answer is the new number.
    pub fn incr(self, field: BitField, by: i64) -> Self {
        self.with("INCRBY", field, Some(by))
    }

    fn overflow(mut self, how: &str) -> Self {
        if let Ok(words) = &mut self.command {
            words.extend(["OVERFLOW".to_owned(), how.to_owned()]);
        }
        self
    }

    /// For the writes after this: what does not fit begins again at the other end, as in C. That is the default.
    pub fn wrap(self) -> Self {
        self.overflow("WRAP")
    }

    /// For the writes after this: what does not fit stays at the largest, or smallest, number.
    pub fn saturate(self) -> Self {
        self.overflow("SAT")
    }

    /// For the writes after this: what does not fit is not written, and its answer is `None`.
    pub fn fail(self) -> Self {
        self.overflow("FAIL")
    }

    fn start(self) -> CacheFuture<'static, Vec<Option<i64>>> {
        let handle = &self.handle;
        let verb = if self.writes {
            "BITFIELD"
        } else {
            "BITFIELD_RO"
        };
        let none = self.asked == 0;
        let command = self.command.and_then(|mut words| {
            let mut command: Cmd = handle.command(verb)?;
            if !self.writes {
                // OVERFLOW is about writes, and BITFIELD_RO does not know it.
                words = without_overflow(words);
            }
            command.arg(words);
            Ok(command)
        });
        match command {
            Ok(_) if none => CacheFuture::ready(Ok(Vec::new())),
            Ok(command) if self.time.is_none() && !self.writes => {
                let read = handle.read("bits.fields", Ok(command), numbers);
                read.start()
            }
            command => {
                let steps = command.map(|command| vec![command]);
                let write: Write<_, M> =
                    handle.write("bits.fields", steps, |replies| numbers(first(replies)));
                write.with_time(self.time).start()
            }
        }
    }
}

fn without_overflow(words: Vec<String>) -> Vec<String> {
    let mut kept = Vec::with_capacity(words.len());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "OVERFLOW" {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept
}

fn numbers(value: Value) -> Result<Vec<Option<i64>>> {
    let number = |value| match value {
        Value::Int(number) => Ok(Some(number)),
        Value::Nil => Ok(None),
        other => Err(Error::unexpected("BITFIELD", &other)),
    };
    list("BITFIELD", value)?.into_iter().map(number).collect()
}

timed!(BitFields);
operation!(BitFields<> -> Vec<Option<i64>>);

impl<M> fmt::Debug for BitFields<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitFields")
            .field("key", &self.handle)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}
