//! Which arguments of a command are keys, and what happens to each: for `COMMAND GETKEYS`.

use super::super::Args;
use super::super::parse::{integer, is};
use super::catalog::{Begin, Details, Find, Spec};

/// A key: which argument it is, and the flags of what happens to it.
pub(super) type Found<'d> = (usize, Vec<&'d str>);

/// Whether the command has keys at all.
pub(super) fn has_keys(details: &Details) -> bool {
    let is_key = |spec: &Spec| !spec.flags.contains(&"not_key");
    details.keys.iter().any(is_key)
}

/// The keys; none if the arguments are not right.
pub(super) fn find<'d>(name: &str, details: &'d Details, args: Args<'_>) -> Vec<Found<'d>> {
    match name {
        // What happens to the key depends on the options.
        "set" => {
            let gets = args.iter().skip(3).any(|arg| is(arg, "GET"));
            let flags: &[_] = if gets {
                &["RW", "access", "update"]
            } else {
                &["OW", "update"]
            };
            vec![(1, flags.to_vec())]
        }
        "bitfield" => {
            let flags: &[_] = if only_gets(&args[2..]) {
                &["RO", "access"]
            } else {
                &["RW", "access", "update"]
            };
            vec![(1, flags.to_vec())]
        }
        "sort" => sort(args),
        "sort_ro" => vec![(1, vec!["RO", "access"])],
        _ => by_specs(details, args)
            .or_else(|| by_count(details, args))
            .unwrap_or_default(),
    }
}

/// Where the specifications fail, a number is read more leniently, and nothing is known of what happens to the keys.
fn by_count(details: &Details, args: Args<'_>) -> Option<Vec<Found<'static>>> {
    let mut destination = None;
    for spec in &details.keys {
        match (&spec.begin, &spec.find) {
            (
                Begin::Index(first),
                Find::Counted {
                    count,
                    first: offset,
                    ..
                },
            ) => {
                let number = leading_integer(args.get(usize::try_from(first + count).ok()?)?);
                let first = usize::try_from(first + offset).ok()?;
                let number = usize::try_from(number).ok()?;
                let left = args.len().checked_sub(first)?;
                return (1..=left).contains(&number).then(|| {
                    let keys = (first..first + number).chain(destination);
                    keys.map(|at| (at, Vec::new())).collect()
                });
            }
            (Begin::Index(first), _) => destination = usize::try_from(*first).ok(),
            _ => {}
        }
    }
    None
}

/// The integer that a text begins with, as C's `atoi` reads it; 0 if there is none.
fn leading_integer(text: &[u8]) -> i32 {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let blanks = text.iter().take_while(|byte| blank(byte)).count();
    let text = &text[blanks..];
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let digits = digits.iter().take_while(|digit| digit.is_ascii_digit());
    // `strtol` stops at the limits of a long, of which an int takes the low half.
    let number = digits.fold(0_i64, |number, digit| {
        let digit = i64::from(digit - b'0');
        let number = number.saturating_mul(10);
        if negative {
            number.saturating_sub(digit)
        } else {
            number.saturating_add(digit)
        }
    });
    number as i32
}

fn only_gets(mut steps: Args<'_>) -> bool {
    loop {
        steps = match *steps {
            [] => return true,
            [word, _, _, ref rest @ ..] if is(word, "GET") => rest,
            [word, _, ref rest @ ..] if is(word, "OVERFLOW") => rest,
            _ => return false,
        };
    }
}

fn sort(args: Args<'_>) -> Vec<Found<'static>> {
    let mut found = vec![(1, vec!["RO", "access"])];
    let mut at = 2;
    let mut destination = None;
    while let Some(arg) = args.get(at) {
        if is(arg, "LIMIT") {
            at += 2;
        } else if is(arg, "GET") || is(arg, "BY") {
            at += 1;
        } else if is(arg, "STORE") && at + 1 < args.len() {
            destination = Some(at + 1);
        }
        at += 1;
    }
    found.extend(destination.map(|at| (at, vec!["OW", "update"])));
    found
}

fn by_specs<'d>(details: &'d Details, args: Args<'_>) -> Option<Vec<Found<'d>>> {
    let mut found = Vec::new();
    let count = i64::try_from(args.len()).ok()?;
    let specs = &details.keys;
    for spec in specs.iter().filter(|spec| !spec.flags.contains(&"not_key")) {
        let first = match spec.begin {
            Begin::Index(first) => first,
            Begin::After(word, from) => match after(word, from, args) {
                Some(first) => first,
                None => continue,
            },
            Begin::Unknown => return None,
        };
        let (first, last, step) = match spec.find {
            Find::Range { last, step, limit } => {
                let last = match (last, limit) {
                    (0.., _) => first + last,
                    (_, 0) => count + last,
                    _ => first + (count - first) / limit + last,
                };
                (first, last, step)
            }
            Find::Counted {
                count,
                first: offset,
                step,
            } => {
                let number = args.get(usize::try_from(first + count).ok()?)?;
                let number = integer(number).ok().filter(|number| *number >= 0)?;
                let first = first + offset;
                (first, first.checked_add(number)? - 1, step)
            }
            Find::Unknown => return None,
        };
        if last >= count || last < first || first >= count {
            return None;
        }
        let step = usize::try_from(step).ok().filter(|step| *step > 0)?;
        let (first, last) = (usize::try_from(first).ok()?, usize::try_from(last).ok()?);
        found.extend(
            (first..=last)
                .step_by(step)
                .map(|at| (at, spec.flags.clone())),
        );
    }
    Some(found)
}

/// What comes after a word, which is looked for from an argument on; backwards, if from the end.
fn after(word: &str, from: i64, args: Args<'_>) -> Option<i64> {
    let is_it = |at: &usize| is(args[*at], word);
    let at = if from > 0 {
        // The last argument cannot come before a key.
        (usize::try_from(from).ok()?..args.len() - 1).find(is_it)
    } else {
        let from = args.len().checked_sub(usize::try_from(-from).ok()?)?;
        (2..=from.min(args.len().saturating_sub(1)))
            .rev()
            .find(is_it)
    };
    i64::try_from(at? + 1).ok()
}
