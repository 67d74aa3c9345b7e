//! A key with its value as commands that make it: the forms in which a server writes them when it rewrites its log.

use super::record::{write_bulk, write_command, write_count, write_select};
use crate::keyspace::entry::{Data, Entry};
use crate::keyspace::stream::{Group, Id, Stream};
use crate::reply::double_text;

/// How many elements one command adds, so that no command is too long.
const ELEMENTS: usize = 64;

/// Appends the commands that make an entry.
pub(crate) fn write_entry(out: &mut Vec<u8>, selected: &mut Option<u32>, db: u32, entry: &Entry) {
    write_select(out, selected, db);
    let key = &*entry.key;
    match &entry.data {
        Data::String(value) => write(out, &[b"SET", key, value]),
        Data::List(list) => {
            write_elements(out, &[b"RPUSH", key], list.len(), list.iter(), write_bulk);
        }
        Data::Set(set) => {
            write_elements(out, &[b"SADD", key], set.len(), set.iter(), |out, member| {
                member.with(|member| write_bulk(out, member));
            });
        }
        Data::Hash(hash) => {
            let fields = hash.iter();
            write_pairs(out, &[b"HMSET", key], hash.len(), fields, |out, (field, value)| {
                write_bulk(out, field);
                write_bulk(out, value);
            });
        }
        Data::SortedSet(set) => {
            let members = set.iter();
            write_pairs(out, &[b"ZADD", key], set.len(), members, |out, (member, score)| {
                write_bulk(out, double_text(score).as_bytes());
                write_bulk(out, member);
            });
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
        start.iter().for_each(|arg| write_bulk(out, arg));
        elements
            .by_ref()
            .take(count)
            .for_each(|element| write(out, element));
        left -= count;
    }
}

fn write_stream(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    let entries = &stream.entries;
    for entry in entries.range(Id::MIN, Id::MAX) {
        let fields: Vec<_> = entry.fields.clone().collect();
        write_count(out, 3 + fields.len() * 2);
        write_bulk(out, b"XADD");
        write_bulk(out, key);
        write_bulk(out, &entry.id.text());
        for (field, value) in fields {
            write_bulk(out, &field.to_vec());
            write_bulk(out, &value.to_vec());
        }
    }
    if entries.len() == 0 {
        // An empty stream is made by an entry that is trimmed at once.
        write(out, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
    }
    let mut added = itoa::Buffer::new();
    write(
        out,
        &[
            b"XSETID",
            key,
            &entries.last_id.text(),
            b"ENTRIESADDED",
            added.format(entries.added).as_bytes(),
            b"MAXDELETEDID",
            &entries.max_deleted_id.text(),
        ],
    );
    for (name, group) in stream.groups() {
        write_group(out, key, name, group);
    }
}

fn write_group(out: &mut Vec<u8>, key: &[u8], name: &[u8], group: &Group) {
    let mut read = itoa::Buffer::new();
    let read = read.format(group.entries_read.unwrap_or(-1)).as_bytes();
    let last = group.last_id.text();
    write(
        out,
        &[b"XGROUP", b"CREATE", key, name, &last, b"ENTRIESREAD", read],
    );
    for (consumer, state) in group.consumers() {
        if state.pending() == 0 {
            write(out, &[b"XGROUP", b"CREATECONSUMER", key, name, consumer]);
        }
        for id in state.from(Id::MIN) {
            let Some(pending) = group.pending().get(&id) else {
                continue;
            };
            let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
            write(
                out,
                &[
                    b"XCLAIM",
                    key,
                    name,
                    consumer,
                    b"0",
                    &id.text(),
                    b"TIME",
                    time.format(pending.delivered).as_bytes(),
                    b"RETRYCOUNT",
                    count.format(pending.deliveries).as_bytes(),
                    b"JUSTID",
                    b"FORCE",
                ],
            );
        }
    }
}
