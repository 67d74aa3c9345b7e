//! Bitmaps: strings, seen as bits. The first bit is the highest one of the first byte. `BITFIELD` is in its own file.

use std::ops::RangeInclusive;

use redis::Value;

use super::Args;
use super::bitfield::{bitfield, bitfield_ro};
use super::parse::{integer, is};
use super::row::prelude::*;
use crate::context::{Change, Context};
use crate::keyspace::bytes::Bytes;
use crate::keyspace::entry::Data;
use crate::notify::Class;
use crate::reply::{Error, Reply, count, truth};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("setbit",        4, Growing,   ONE,      Anywhere,  setbit),
    ("getbit",        3, Shared,    ONE,      Anywhere,  getbit),
    ("bitcount",     -2, Shared,    ONE,      Anywhere,  bitcount),
    ("bitpos",       -3, Shared,    ONE,      Anywhere,  bitpos),
    ("bitop",        -4, Growing,   FROM_SECOND, Anywhere, bitop),
    ("bitfield",     -2, Growing,   ONE,      Anywhere,  bitfield),
    ("bitfield_ro",  -2, Shared,    ONE,      Anywhere,  bitfield_ro),
];

/// The destination and the sources of `BITOP`.
const FROM_SECOND: Keys = Keys::Range {
    first: 2,
    last: -1,
    step: 1,
};

const BAD_OFFSET: Error = Error::new("ERR bit offset is not an integer or out of range");

/// The number of a bit. It must lie within the longest string that is allowed.
pub(super) fn offset(cx: &Context<'_>, arg: &[u8]) -> Result<u64, Error> {
    let number = integer(arg).map_err(|_| BAD_OFFSET)?;
    within(cx, number)
}

/// The same, but `#3` means the third number of so many bits, counted from 0.
pub(super) fn offset_of_number(cx: &Context<'_>, arg: &[u8], bits: u32) -> Result<u64, Error> {
    match arg {
        [b'#', number @ ..] => {
            let number = integer(number).map_err(|_| BAD_OFFSET)?;
            within(cx, number.wrapping_mul(bits.into()))
        }
        _ => offset(cx, arg),
    }
}

fn within(cx: &Context<'_>, number: i64) -> Result<u64, Error> {
    let number = u64::try_from(number).map_err(|_| BAD_OFFSET)?;
    if number >> 3 < cx.max_len() as u64 {
        Ok(number)
    } else {
        Err(BAD_OFFSET)
    }
}

/// Makes a string long enough to have this bit. Returns whether it was not.
pub(super) fn reach(bytes: &mut Vec<u8>, bit: u64) -> bool {
    let len = usize::try_from(bit >> 3).map_or(usize::MAX, |byte| byte + 1);
    let short = bytes.len() < len;
    if short {
        bytes.resize(len, 0);
    }
    short
}

pub(super) fn setbit(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const BAD_BIT: Error = Error::new("ERR bit is not an integer or out of range");
    let offset = offset(cx, args[2])?;
    let on = match integer(args[3]) {
        Ok(0) => false,
        Ok(1) => true,
        _ => return Err(BAD_BIT),
    };
    let before = cx.change_string(args[1], |bytes| {
        let grown = reach(bytes, offset);
        let mask = 0x80 >> (offset & 7);
        let byte = &mut bytes[(offset >> 3) as usize];
        let before = *byte & mask != 0;
        *byte = if on { *byte | mask } else { *byte & !mask };
        Change::when(grown || before != on, before).notify(Class::STRING, "setbit")
    })?;
    Ok(truth(before))
}

pub(super) fn getbit(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let offset = offset(cx, args[2])?;
    let bytes = cx.string(args[1])?.unwrap_or_default();
    let byte = usize::try_from(offset >> 3)
        .ok()
        .and_then(|at| bytes.get(at));
    Ok(truth(
        byte.is_some_and(|byte| byte & (0x80 >> (offset & 7)) != 0),
    ))
}

/// Whether positions are those of bits. Those of bytes are the default.
fn counts_bits(unit: &[u8]) -> Result<bool, Error> {
    match () {
        () if is(unit, "BIT") => Ok(true),
        () if is(unit, "BYTE") => Ok(false),
        () => Err(Error::SYNTAX),
    }
}

/// The bits between two positions, both included; negative ones count from the end.
fn bits_between(start: i64, end: i64, len: usize, in_bits: bool) -> Option<RangeInclusive<usize>> {
    let unit = if in_bits { 1 } else { 8 };
    let total = i64::try_from(len).ok()? * 8 / unit;
    let from_start = |index: i64| {
        if index < 0 {
            (total + index).max(0)
        } else {
            index
        }
    };
    let (start, end) = (from_start(start), from_start(end).min(total - 1));
    (start <= end).then(|| (start * unit) as usize..=(end * unit + unit - 1) as usize)
}

pub(super) fn bitcount(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let Some(bytes) = cx.string(args[1])? else {
        return Ok(count(0));
    };
    let range = match args[2..] {
        [] => bits_between(0, -1, bytes.len(), false),
        [start, end, ref unit @ ..] if unit.len() <= 1 => {
            let (start, end) = (integer(start)?, integer(end)?);
            if start < 0 && end < 0 && start > end {
                return Ok(count(0));
            }
            let in_bits = unit.first().map_or(Ok(false), |unit| counts_bits(unit))?;
            bits_between(start, end, bytes.len(), in_bits)
        }
        _ => return Err(Error::SYNTAX),
    };
    Ok(count(range.map_or(0, |range| ones(bytes, range))))
}

/// How many bits are set in a range that lies within the bytes.
fn ones(bytes: &[u8], range: RangeInclusive<usize>) -> usize {
    let (start, end) = (*range.start(), *range.end());
    let whole = bytes.get(start / 8..=end / 8).unwrap_or_default();
    let (words, rest) = whole.as_chunks();
    let in_words: u32 = words
        .iter()
        .map(|word| u64::from_ne_bytes(*word).count_ones())
        .sum();
    let in_rest: u32 = rest.iter().map(|byte| byte.count_ones()).sum();
    let outside = |byte: Option<&u8>, mask: u8| byte.map_or(0, |byte| (byte & mask).count_ones());
    let before = outside(whole.first(), !(0xff >> (start % 8)));
    let after = outside(whole.last(), 0x7f >> (end % 8));
    (in_words + in_rest - before - after) as usize
}

pub(super) fn bitpos(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let bit = match integer(args[2])? {
        0 => false,
        1 => true,
        _ => return Err(Error::new("ERR The bit argument must be 1 or 0.")),
    };
    let Some(bytes) = cx.string(args[1])? else {
        // As if it were zeros without end.
        return Ok(Value::Int(if bit { -1 } else { 0 }));
    };
    let (range, end_given) = match args[3..] {
        [] => (bits_between(0, -1, bytes.len(), false), false),
        [start] => (bits_between(integer(start)?, -1, bytes.len(), false), false),
        [start, end, ref unit @ ..] if unit.len() <= 1 => {
            let start = integer(start)?;
            let in_bits = unit.first().map_or(Ok(false), |unit| counts_bits(unit))?;
            let range = bits_between(start, integer(end)?, bytes.len(), in_bits);
            (range, true)
        }
        _ => return Err(Error::SYNTAX),
    };
    let Some(range) = range else {
        return Ok(Value::Int(-1));
    };
    Ok(match find(bytes, range, bit) {
        Some(at) => count(at),
        // Zeros follow the string, unless the end of the range was said.
        None if !bit && !end_given => count(bytes.len() * 8),
        None => Value::Int(-1),
    })
}

/// The first bit of that kind in a range that lies within the bytes.
fn find(bytes: &[u8], range: RangeInclusive<usize>, bit: bool) -> Option<usize> {
    let (start, end) = (*range.start(), *range.end());
    // What is looked for becomes a one.
    let flip = if bit { 0 } else { 0xff };
    let whole = bytes.get(start / 8..=end / 8)?;
    let skipped = [flip; 8];
    let first = (whole.first()? ^ flip) & (0xff >> (start % 8));
    let at = if first != 0 {
        start / 8 * 8 + first.leading_zeros() as usize
    } else {
        let rest = &whole[1..];
        let words = rest
            .as_chunks()
            .0
            .iter()
            .take_while(|word| **word == skipped)
            .count();
        let byte = words * 8 + rest[words * 8..].iter().position(|byte| *byte != flip)?;
        (start / 8 + 1 + byte) * 8 + (rest[byte] ^ flip).leading_zeros() as usize
    };
    (at <= end).then_some(at)
}

pub(super) fn bitop(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (destination, sources) = (args[2], &args[3..]);
    let combine: fn(&mut u8, u8) = match () {
        () if is(args[1], "AND") => |byte, other| *byte &= other,
        () if is(args[1], "OR") => |byte, other| *byte |= other,
        () if is(args[1], "XOR") => |byte, other| *byte ^= other,
        () if is(args[1], "NOT") => |byte, _| *byte = !*byte,
        () => return Err(Error::SYNTAX),
    };
    let negates = is(args[1], "NOT");
    if negates && sources.len() != 1 {
        return Err(Error::new(
            "ERR BITOP NOT must be called with a single source key.",
        ));
    }
    let mut strings = Vec::with_capacity(sources.len());
    for key in sources {
        strings.push(cx.string(key)?.unwrap_or_default());
    }
    let len = strings.iter().map(|string| string.len()).max().unwrap_or(0);
    if len == 0 {
        if cx.take(destination).is_some() {
            cx.notify(Class::GENERIC, "del", destination);
        }
        return Ok(count(0));
    }
    let mut result = strings[0].to_vec();
    result.resize(len, 0);
    if negates {
        result.iter_mut().for_each(|byte| combine(byte, 0));
    }
    for string in &strings[1..] {
        let (beginning, rest) = result.split_at_mut(string.len());
        beginning
            .iter_mut()
            .zip(*string)
            .for_each(|(byte, other)| combine(byte, *other));
        // A shorter string counts as one that ends in zeros.
        if is(args[1], "AND") {
            rest.fill(0);
        }
    }
    cx.put(destination, Data::String(Bytes::raw(result)).into(), None);
    cx.notify(Class::STRING, "set", destination);
    Ok(count(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bit(bytes: &[u8], at: usize) -> bool {
        bytes[at / 8] & (0x80 >> (at % 8)) != 0
    }

    proptest! {
        #[test]
        fn bits_are_counted_and_found_as_one_by_one(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 1..60),
            a in any::<prop::sample::Index>(),
            b in any::<prop::sample::Index>(),
        ) {
            let (a, b) = (a.index(bytes.len() * 8), b.index(bytes.len() * 8));
            let range = a.min(b)..=a.max(b);
            let expected = range.clone().filter(|at| bit(&bytes, *at)).count();
            prop_assert_eq!(ones(&bytes, range.clone()), expected);
            for wanted in [false, true] {
                let expected = range.clone().find(|at| bit(&bytes, *at) == wanted);
                prop_assert_eq!(find(&bytes, range.clone(), wanted), expected);
            }
        }
    }

    #[test]
    fn positions_count_from_either_end() {
        assert_eq!(bits_between(0, -1, 2, false), Some(0..=15));
        assert_eq!(bits_between(1, 1, 2, false), Some(8..=15));
        assert_eq!(bits_between(-3, 100, 2, true), Some(13..=15));
        assert_eq!(bits_between(-100, -14, 2, true), Some(0..=2));
        assert_eq!(bits_between(2, 5, 2, false), None);
        assert_eq!(bits_between(0, -1, 0, false), None);
        assert_eq!(bits_between(i64::MIN, i64::MIN, 1, true), Some(0..=0));
    }
}
