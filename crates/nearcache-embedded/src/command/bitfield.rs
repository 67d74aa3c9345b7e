//! `BITFIELD`: a string as numbers of any width, at any bit.

use redis::Value;

use super::bitmaps::{offset_of_number, reach};
use super::parse::{integer, is};
use super::{Args, c_string};
use crate::context::{Change, Context};
use crate::notify::Class;
use crate::reply::{Error, Reply};

/// A number's kind: `i5` or `u5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    signed: bool,
    /// 1 to 64; 63 at most if it has no sign.
    bits: u32,
}

/// What becomes of a result that has too many bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    /// The high bits are lost.
    Wrap,
    /// It becomes the nearest number that fits.
    Saturate,
    /// Nothing is written, and the reply is nil.
    Fail,
}

struct Step {
    kind: Kind,
    offset: u64,
    action: Action,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

pub(super) fn bitfield(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let steps = read(cx, args)?;
    let last = highest(&steps);
    let Some(last) = last else {
        return get_all(cx, args[1], &steps);
    };
    let replies = cx.change_string(args[1], |bytes| {
        let grown = reach(bytes, last);
        let mut wrote = false;
        let replies = steps
            .iter()
            .map(|step| {
                let (reply, changed) = step.run(bytes);
                wrote |= changed || grown && !matches!(reply, Value::Nil) && step.writes();
                reply
            })
            .collect();
        let change = Change::when(grown || wrote, replies);
        if wrote {
            change.notify(Class::STRING, "setbit")
        } else {
            change
        }
    })?;
    Ok(Value::Array(replies))
}

pub(super) fn bitfield_ro(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let steps = read(cx, args)?;
    if highest(&steps).is_some() {
        return Err(Error::new(
            "ERR BITFIELD_RO only supports the GET subcommand",
        ));
    }
    get_all(cx, args[1], &steps)
}

fn get_all(cx: &Context<'_>, key: &[u8], steps: &[Step]) -> Reply {
    let bytes = cx.string(key)?.unwrap_or_default();
    let get = |step: &Step| Value::Int(step.kind.get(bytes, step.offset));
    Ok(Value::Array(steps.iter().map(get).collect()))
}

/// The highest bit that is written to.
fn highest(steps: &[Step]) -> Option<u64> {
    let writing = steps.iter().filter(|step| step.writes());
    writing
        .map(|step| step.offset + u64::from(step.kind.bits) - 1)
        .max()
}

fn read(cx: &Context<'_>, args: Args<'_>) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut rest = &args[2..];
    loop {
        let action = match *rest {
            [] => return Ok(steps),
            [word, _, _, ..] if is(word, "GET") => Action::Get,
            [word, _, _, _, ..] if is(word, "SET") => Action::Set(0, overflow),
            [word, _, _, _, ..] if is(word, "INCRBY") => Action::Add(0, overflow),
            [word, kind, ref tail @ ..] if is(word, "OVERFLOW") => {
                overflow = Overflow::read(kind)?;
                rest = tail;
                continue;
            }
            _ => return Err(Error::SYNTAX),
        };
        let kind = Kind::read(rest[1])?;
        let offset = offset_of_number(cx, rest[2], kind.bits)?;
        let (action, taken) = match action {
            Action::Get => (Action::Get, 3),
            Action::Set(_, overflow) => (Action::Set(integer(rest[3])?, overflow), 4),
            Action::Add(_, overflow) => (Action::Add(integer(rest[3])?, overflow), 4),
        };
        steps.push(Step {
            kind,
            offset,
            action,
        });
        rest = &rest[taken..];
    }
}

impl Overflow {
    fn read(arg: &[u8]) -> Result<Self, Error> {
        match () {
            () if is(arg, "WRAP") => Ok(Overflow::Wrap),
            () if is(arg, "SAT") => Ok(Overflow::Saturate),
            () if is(arg, "FAIL") => Ok(Overflow::Fail),
            () => Err(Error::new("ERR Invalid OVERFLOW type specified")),
        }
    }
}

impl Step {
    fn writes(&self) -> bool {
        !matches!(self.action, Action::Get)
    }

    /// Returns the reply, and whether the number is another one now. The bytes are long enough for what is written.
    fn run(&self, bytes: &mut [u8]) -> (Value, bool) {
        let Step { kind, offset, .. } = *self;
        let old = kind.get(bytes, offset);
        let (new, reply) = match self.action {
            Action::Get => return (Value::Int(old), false),
            Action::Set(value, overflow) => (kind.fit(value, 0, overflow), old),
            Action::Add(by, overflow) => {
                let new = kind.fit(old, by, overflow);
                (new, new.unwrap_or(0))
            }
        };
        let Some(new) = new else {
            return (Value::Nil, false);
        };
        kind.set(bytes, offset, new);
        (Value::Int(reply), old != new)
    }
}

impl Kind {
    fn read(arg: &[u8]) -> Result<Self, Error> {
        const INVALID: Error = Error::new(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        let (sign, bits) = arg.split_first().ok_or(INVALID)?;
        let (signed, most) = match sign {
            b'i' => (true, 64),
            b'u' => (false, 63),
            _ => return Err(INVALID),
        };
        let bits = integer(c_string(bits, bits.len()))
            .ok()
            .and_then(|bits| u32::try_from(bits).ok())
            .filter(|bits| (1..=most).contains(bits))
            .ok_or(INVALID)?;
        Ok(Kind { signed, bits })
    }

    /// The bits of a number, at the end of a word.
    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// How far the number's last bit is from the end of the nine bytes that begin where the number begins.
    fn shift(self, offset: u64) -> u32 {
        72 - (offset & 7) as u32 - self.bits
    }

    /// The number at a bit. There are zeros behind the end.
    fn get(self, bytes: &[u8], offset: u64) -> i64 {
        let first = usize::try_from(offset >> 3).unwrap_or(usize::MAX);
        let there = bytes.get(first..).unwrap_or_default();
        let window = (0..9).fold(0u128, |window, at| {
            window << 8 | u128::from(there.get(at).copied().unwrap_or(0))
        });
        let word = (window >> self.shift(offset)) as u64 & self.mask();
        self.extend(word)
    }

    /// The number that the lowest bits of a word are.
    fn extend(self, word: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed {
            (word << unused).cast_signed() >> unused
        } else {
            (word & self.mask()).cast_signed()
        }
    }

    fn set(self, bytes: &mut [u8], offset: u64, number: i64) {
        let first = usize::try_from(offset >> 3).unwrap_or(usize::MAX);
        let shift = self.shift(offset);
        let mask = u128::from(self.mask()) << shift;
        let new = u128::from(number.cast_unsigned() & self.mask()) << shift;
        let there = bytes.get_mut(first..).unwrap_or_default();
        for (at, byte) in there.iter_mut().take(9).enumerate() {
            let down = 64 - 8 * at;
            *byte = *byte & !((mask >> down) as u8) | (new >> down) as u8;
        }
    }

    /// A sum, or what becomes of it if it has too many bits; `None` if nothing is to be written then.
    fn fit(self, value: i64, by: i64, overflow: Overflow) -> Option<i64> {
        let sum = value.wrapping_add(by);
        let limit = if self.signed {
            self.exceeded_signed(value, by)
        } else {
            self.exceeded_unsigned(value.cast_unsigned(), by)
        };
        match (limit, overflow) {
            (None, _) => Some(sum),
            (Some(_), Overflow::Fail) => None,
            (Some(limit), Overflow::Saturate) => Some(limit),
            (Some(_), Overflow::Wrap) => Some(self.extend(sum.cast_unsigned())),
        }
    }

    /// The limit that the sum exceeds. The differences wrap around, as on a server: so a number far below the range
    /// may count as one above it.
    fn exceeded_signed(self, value: i64, by: i64) -> Option<i64> {
        let max = (self.mask() >> 1).cast_signed();
        let min = -max - 1;
        let (up, down) = (max.wrapping_sub(value), min.wrapping_sub(value));
        let narrow = self.bits != 64;
        if value > max || by > up && (narrow || value >= 0 && by > 0) {
            Some(max)
        } else if value < min || by < down && (narrow || value < 0 && by < 0) {
            Some(min)
        } else {
            None
        }
    }

    fn exceeded_unsigned(self, value: u64, by: i64) -> Option<i64> {
        let max = self.mask();
        let up = max.wrapping_sub(value).cast_signed();
        let down = value.wrapping_neg().cast_signed();
        if value > max || by > 0 && by > up {
            Some(max.cast_signed())
        } else if by < 0 && by < down {
            Some(0)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_set_is_got_and_nothing_else_changes(
            before in prop::collection::vec(any::<u8>(), 20..21),
            signed in any::<bool>(),
            bits in 1u32..=63,
            offset in 0u64..90,
            number in any::<i64>(),
        ) {
            let kind = Kind { signed, bits };
            let number = kind.extend(number.cast_unsigned());
            let mut bytes = before.clone();
            kind.set(&mut bytes, offset, number);
            prop_assert_eq!(kind.get(&bytes, offset), number);
            let one = Kind { signed: false, bits: 1 };
            for at in (0..160).filter(|at| !(offset..offset + u64::from(bits)).contains(at)) {
                prop_assert_eq!(one.get(&bytes, at), one.get(&before, at));
            }
        }

        #[test]
        fn sums_that_fit_are_exact_and_others_become_what_was_said(
            bits in 1u32..=63,
            a in any::<i64>(),
            b in any::<i64>(),
            signed in any::<bool>(),
        ) {
            let kind = Kind { signed, bits };
            let (a, b) = (kind.extend(a.cast_unsigned()), b >> 1);
            let (min, max) = if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
            let sum = i128::from(a) + i128::from(b);
            let fits = (min..=max).contains(&sum);
            prop_assert_eq!(kind.fit(a, b, Overflow::Fail).map(i128::from), fits.then_some(sum));
            prop_assert_eq!(kind.fit(a, b, Overflow::Saturate).map(i128::from), Some(sum.clamp(min, max)));
            let wrapped = kind.fit(a, b, Overflow::Wrap).map(i128::from).unwrap();
            prop_assert_eq!((wrapped - sum).rem_euclid(1 << bits), 0);
            prop_assert!((min..=max).contains(&wrapped));
        }
    }

    #[test]
    fn kinds_are_read_as_a_server_reads_them() {
        let kind = |signed, bits| Ok(Kind { signed, bits });
        assert_eq!(Kind::read(b"i64"), kind(true, 64));
        assert_eq!(Kind::read(b"u63"), kind(false, 63));
        for bad in ["u64", "i65", "i0", "i", "", "x8", "I8", "i08", "i-1"] {
            assert!(Kind::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
