//! `SORT`: the elements of a list, a set or a sorted set, in an order that their numbers, their bytes or other keys
//! give.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use redis::Value;

use super::lists::node_size;
use super::parse::{float, integer, is};
use super::row::prelude::*;
use super::{Args, c_string};
use crate::context::Context;
use crate::keyspace::entry::Data;
use crate::keyspace::list::{End, List};
use crate::keyspace::set::Member;
use crate::notify::Class;
use crate::reply::{Error, Reply, bulk_or_nil, count};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("sort",     -2, Growing,   Keys::Sort, Anywhere,  sort),
    ("sort_ro",  -2, Shared,    Keys::Sort, Anywhere,  sort_ro),
];

pub(super) fn sort(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let options = Options::read(&args[2..], true)?;
    let Some(destination) = options.store else {
        return Ok(Value::Array(rows(cx, args[1], &options, bulk_or_nil)?));
    };
    let elements = rows(cx, args[1], &options, |element| {
        element.unwrap_or_default().to_vec()
    })?;
    let stored = elements.len();
    let list = list_of(cx, &elements);
    cx.store(destination, list, Class::LIST, "sortstore");
    Ok(count(stored))
}

pub(super) fn sort_ro(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let options = Options::read(&args[2..], false)?;
    Ok(Value::Array(rows(cx, args[1], &options, bulk_or_nil)?))
}

struct Options<'a> {
    descending: bool,
    /// By bytes, and not by numbers.
    alpha: bool,
    /// How many to skip, and how many to return; negative for all.
    limit: (i64, i64),
    by: Option<Pattern<'a>>,
    /// Whether any `BY` was a fixed key: the elements keep their order then, whatever other `BY` there is.
    unsorted: bool,
    get: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn read(args: Args<'a>, may_store: bool) -> Result<Self, Error> {
        let mut options = Options {
            descending: false,
            alpha: false,
            limit: (0, -1),
            by: None,
            unsorted: false,
            get: Vec::new(),
            store: None,
        };
        let mut rest = args;
        while let [word, tail @ ..] = rest {
            rest = match *tail {
                _ if is(word, "ASC") => {
                    options.descending = false;
                    tail
                }
                _ if is(word, "DESC") => {
                    options.descending = true;
                    tail
                }
                _ if is(word, "ALPHA") => {
                    options.alpha = true;
                    tail
                }
                [skip, most, ref tail @ ..] if is(word, "LIMIT") => {
                    options.limit = (integer(skip)?, integer(most)?);
                    tail
                }
                [key, ref tail @ ..] if may_store && is(word, "STORE") => {
                    options.store = Some(key);
                    tail
                }
                [pattern, ref tail @ ..] if is(word, "BY") => {
                    let by = Pattern::read(pattern);
                    options.unsorted |= !matches!(by, Pattern::Key { .. });
                    options.by = Some(by);
                    tail
                }
                [pattern, ref tail @ ..] if is(word, "GET") => {
                    options.get.push(Pattern::read(pattern));
                    tail
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(options)
    }

    /// The part of so many elements that is returned.
    fn range(&self, len: usize) -> Range<usize> {
        let (skip, most) = self.limit;
        let start = usize::try_from(skip.max(0)).map_or(len, |skip| skip.min(len));
        let most = usize::try_from(most).unwrap_or(len);
        start..start.saturating_add(most).min(len)
    }
}

/// Where a value is that belongs to an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// A fixed key: that makes no sense, and means nothing.
    Nowhere,
    /// The string at the key `before` + element + `after`, or a field of the hash there.
    Key {
        before: &'a [u8],
        after: &'a [u8],
        field: Option<&'a [u8]>,
    },
}

impl<'a> Pattern<'a> {
    fn read(pattern: &'a [u8]) -> Self {
        let text = c_string(pattern, pattern.len());
        if text == b"#" {
            return Pattern::Element;
        }
        let Some(star) = text.iter().position(|byte| *byte == b'*') else {
            return Pattern::Nowhere;
        };
        let arrow = text[star + 1..].windows(2).position(|two| two == b"->");
        let arrow = arrow
            .map(|at| star + 1 + at)
            .filter(|at| at + 2 < text.len());
        Pattern::Key {
            before: &pattern[..star],
            after: &pattern[star + 1..arrow.unwrap_or(pattern.len())],
            field: arrow.map(|at| &pattern[at + 2..]),
        }
    }

    fn find<'c>(self, cx: &'c Context<'_>, element: &'c [u8]) -> Option<&'c [u8]> {
        match self {
            Pattern::Element => Some(element),
            Pattern::Nowhere => None,
            Pattern::Key {
                before,
                after,
                field,
            } => {
                let entry = cx.read(&[before, element, after].concat())?;
                match (&entry.data, field) {
                    (Data::String(bytes), None) => Some(bytes),
                    (data, Some(field)) => field_of(data, field),
                    _ => None,
                }
            }
        }
    }
}

/// The elements that are returned, in their order, or what is got for each of them.
fn rows<R>(
    cx: &Context<'_>,
    key: &[u8],
    options: &Options<'_>,
    row: impl Fn(Option<&[u8]>) -> R,
) -> Result<Vec<R>, Error> {
    let elements = ordered(cx, key, options)?;
    let mut rows = Vec::with_capacity(elements.len() * options.get.len().max(1));
    for element in elements {
        if options.get.is_empty() {
            rows.push(row(Some(&element)));
        }
        for pattern in &options.get {
            rows.push(row(pattern.find(cx, &element)));
        }
    }
    Ok(rows)
}

fn ordered<'c>(
    cx: &'c Context<'_>,
    key: &[u8],
    options: &Options<'_>,
) -> Result<Vec<Cow<'c, [u8]>>, Error> {
    let Some(entry) = cx.read(key) else {
        return Ok(Vec::new());
    };
    let (mut elements, has_order) = elements_of(&entry.data).ok_or(Error::WRONG_TYPE)?;
    let range = options.range(elements.len());
    if !options.unsorted {
        elements = sorted(cx, elements, options.by, options.alpha, options)?;
    } else if !has_order && (options.store.is_some() || cx.in_script) {
        // What is stored must be the same everywhere, and so must what scripts do.
        elements = sorted(cx, elements, None, true, options)?;
    } else if has_order && options.descending {
        elements.reverse();
    }
    elements.truncate(range.end);
    elements.drain(..range.start);
    Ok(elements)
}

/// What an element is sorted by.
enum Weight<'c> {
    Score(f64),
    /// The bytes of another key; nothing comes first.
    Other(Option<Cow<'c, [u8]>>),
    Itself,
}

fn sorted<'c>(
    cx: &'c Context<'_>,
    elements: Vec<Cow<'c, [u8]>>,
    by: Option<Pattern<'_>>,
    alpha: bool,
    options: &Options<'_>,
) -> Result<Vec<Cow<'c, [u8]>>, Error> {
    let mut weighed = Vec::with_capacity(elements.len());
    for element in elements {
        let weight = match by {
            Some(pattern) => {
                let other = pattern.find(cx, &element);
                if alpha {
                    Weight::Other(other.map(|other| Cow::Owned(other.to_vec())))
                } else {
                    Weight::Score(other.map_or(Ok(0.0), score)?)
                }
            }
            None if alpha => Weight::Itself,
            None => Weight::Score(score(&element)?),
        };
        weighed.push((weight, element));
    }
    // A server compares as the language of its system wants, unless it stores the result. Here it is bytes, up to the
    // first zero.
    let text = |a: &[u8], b: &[u8]| {
        if options.store.is_some() {
            a.cmp(b)
        } else {
            c_string(a, a.len()).cmp(c_string(b, b.len()))
        }
    };
    weighed.sort_by(|(weight, element), (other_weight, other)| {
        let order = match (weight, other_weight) {
            (Weight::Score(a), Weight::Score(b)) => a
                .partial_cmp(b)
                .unwrap_or(Ordering::Equal)
                .then_with(|| element.cmp(other)),
            (Weight::Other(Some(a)), Weight::Other(Some(b))) => text(a, b),
            (Weight::Other(a), Weight::Other(b)) => a.is_some().cmp(&b.is_some()),
            _ => text(element, other),
        };
        if options.descending {
            order.reverse()
        } else {
            order
        }
    });
    Ok(weighed.into_iter().map(|(_, element)| element).collect())
}

/// A number as `strtod` reads it. Spaces may come before it, and nothing at all is 0.
fn score(bytes: &[u8]) -> Result<f64, Error> {
    let text = c_string(bytes, bytes.len());
    if text.is_empty() {
        return Ok(0.0);
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_space(byte));
    float(&text[start.unwrap_or(text.len())..])
        .map_err(|_| Error::new("ERR One or more scores can't be converted into double"))
}

/// The elements, and whether they have an order of their own; `None` if the type cannot be sorted.
fn elements_of(data: &Data) -> Option<(Vec<Cow<'_, [u8]>>, bool)> {
    match data {
        Data::List(list) => Some((list.iter().map(Cow::Borrowed).collect(), true)),
        Data::Set(set) => {
            let member = |member| match member {
                Member::Integer(_) => Cow::Owned(member.to_vec()),
                Member::Text(text) => Cow::Borrowed(text),
            };
            Some((set.iter().map(member).collect(), false))
        }
        Data::SortedSet(set) => {
            let members = set.iter().map(|(member, _)| Cow::Borrowed(member));
            Some((members.collect(), true))
        }
        _ => None,
    }
}

/// A field of a hash.
fn field_of<'d>(data: &'d Data, field: &[u8]) -> Option<&'d [u8]> {
    match data {
        Data::Hash(hash) => hash.get(field),
        _ => None,
    }
}

fn list_of(cx: &Context<'_>, elements: &[Vec<u8>]) -> List {
    let mut list = List::default();
    let size = node_size(cx);
    for element in elements {
        list.push(End::Right, element, size);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_a_star_and_perhaps_a_field() {
        let key = |before, after, field| Pattern::Key {
            before,
            after,
            field,
        };
        assert_eq!(Pattern::read(b"#"), Pattern::Element);
        assert_eq!(Pattern::read(b"weight"), Pattern::Nowhere);
        assert_eq!(Pattern::read(b"w_*"), key(b"w_", b"", None));
        assert_eq!(Pattern::read(b"a*b*c"), key(b"a", b"b*c", None));
        assert_eq!(Pattern::read(b"h*->f"), key(b"h", b"", Some(b"f")));
        assert_eq!(Pattern::read(b"h*x->f->g"), key(b"h", b"x", Some(b"f->g")));
        assert_eq!(Pattern::read(b"h*->"), key(b"h", b"->", None));
        assert_eq!(Pattern::read(b"->*"), key(b"->", b"", None));
    }

    #[test]
    fn a_limit_stays_within_the_elements() {
        let range = |skip, most, len| {
            let mut options = Options::read(&[], true).unwrap();
            options.limit = (skip, most);
            options.range(len)
        };
        assert_eq!(range(0, -1, 5), 0..5);
        assert_eq!(range(1, 2, 5), 1..3);
        assert_eq!(range(-3, 2, 5), 0..2);
        assert_eq!(range(3, 100, 5), 3..5);
        assert_eq!(range(9, 2, 5), 5..5);
        assert_eq!(range(i64::MAX, i64::MAX, 5), 5..5);
    }
}
