//! A key with its value as commands that make it: the forms in which a server writes them when it rewrites its log.

use super::record::{write_bulk, write_command, write_count, write_select};
use crate::keyspace::entry::{Data, Entry};
use crate::keyspace::list::List;

/// How many elements one command adds, so that no command is too long.
const ELEMENTS: usize = 64;

/// Appends the commands that make an entry.
pub(crate) fn write_entry(out: &mut Vec<u8>, selected: &mut Option<u32>, db: u32, entry: &Entry) {
    write_select(out, selected, db);
    let key = &*entry.key;
    match &entry.data {
        Data::String(value) => write(out, &[b"SET", key, value]),
        Data::List(list) => write_list(out, key, list),
        Data::Hash(_) | Data::Set(_) | Data::SortedSet(_) | Data::Stream(_) => {}
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

fn write_list(out: &mut Vec<u8>, key: &[u8], list: &List) {
    write_elements(out, &[b"RPUSH", key], list.len(), list.iter());
}

/// Appends commands that begin with `start` and name all elements between them.
fn write_elements<E: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    start: &[&[u8]],
    mut left: usize,
    mut elements: impl Iterator<Item = E>,
) {
    while left > 0 {
        let count = left.min(ELEMENTS);
        write_count(out, start.len() + count);
        start.iter().for_each(|arg| write_bulk(out, arg));
        for element in elements.by_ref().take(count) {
            write_bulk(out, element.as_ref());
        }
        left -= count;
    }
}
