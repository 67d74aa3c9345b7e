//! A key with its value as commands that make it: the forms in which a server writes them when it rewrites its log.

use super::record::{write_command, write_count, write_select};
use super::stream::write_stream;
use crate::keyspace::entry::{Data, Entry};
use crate::reply::double_text;
use crate::resp::bulk;

/// How many elements one command adds, so that no command is too long.
const ELEMENTS: usize = 64;

/// Appends the commands that make an entry.
pub(crate) fn write_entry(out: &mut Vec<u8>, selected: &mut Option<u32>, db: u32, entry: &Entry) {
    write_select(out, selected, db);
    let key = &*entry.key;
    match &entry.data {
        Data::String(value) => write(out, &[b"SET", key, value]),
        Data::List(list) => {
            write_elements(out, &[b"RPUSH", key], list.len(), list.iter(), bulk);
        }
        Data::Set(set) => {
            write_elements(
                out,
                &[b"SADD", key],
                set.len(),
                set.iter(),
                |out, member| {
                    member.with(|member| bulk(out, member));
                },
            );
        }
        Data::Hash(hash) => {
            let fields = hash.iter();
            write_pairs(
                out,
                &[b"HMSET", key],
                hash.len(),
                fields,
                |out, (field, value)| {
                    bulk(out, field);
                    bulk(out, value);
                },
            );
        }
        Data::SortedSet(set) => {
            let members = set.iter();
            write_pairs(
                out,
                &[b"ZADD", key],
                set.len(),
                members,
                |out, (member, score)| {
                    bulk(out, double_text(score).as_bytes());
                    bulk(out, member);
                },
            );
        }
        Data::Stream(stream) => write_stream(out, key, stream),
    }
    if let Some(deadline) = entry.deadline {
        let mut buffer = itoa::Buffer::new();
        let deadline = buffer.format(deadline.unix_ms());
        write(out, &[b"PEXPIREAT", key, deadline.as_bytes()]);
    }
}

fn write(out: &mut Vec<u8>, args: &[&[u8]]) {
    write_command(out, args.iter().copied());
}

/// Appends commands that begin with `start` and name all elements between them.
fn write_elements<E>(
    out: &mut Vec<u8>,
    start: &[&[u8]],
    count: usize,
    elements: impl Iterator<Item = E>,
    write: impl FnMut(&mut Vec<u8>, E),
) {
    write_all(out, start, (count, 1), elements, write);
}

/// The same with elements of two arguments.
fn write_pairs<E>(
    out: &mut Vec<u8>,
    start: &[&[u8]],
    count: usize,
    elements: impl Iterator<Item = E>,
    write: impl FnMut(&mut Vec<u8>, E),
) {
    write_all(out, start, (count, 2), elements, write);
}

fn write_all<E>(
    out: &mut Vec<u8>,
    start: &[&[u8]],
    (mut left, args): (usize, usize),
    mut elements: impl Iterator<Item = E>,
    mut write: impl FnMut(&mut Vec<u8>, E),
) {
    while left > 0 {
        let count = left.min(ELEMENTS);
        write_count(out, start.len() + count * args);
        start.iter().for_each(|arg| bulk(out, arg));
        elements
            .by_ref()
            .take(count)
            .for_each(|element| write(out, element));
        left -= count;
    }
}
