//! A stream as commands that make it. As on a server, what is pending but deleted is left out; and entries are packed
//! into nodes anew.

use super::record::{write_command, write_count};
use crate::keyspace::stream::{Entries, Group, Id, Stream};
use crate::resp::bulk;

pub(super) fn write_stream(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    let entries = &stream.entries;
    for entry in entries.range(Id::MIN, Id::MAX) {
        write_count(out, 3 + 2 * entry.fields.len());
        bulk(out, b"XADD");
        bulk(out, key);
        bulk(out, &entry.id.text());
        for (field, value) in entry.fields {
            bulk(out, &field.to_vec());
            bulk(out, &value.to_vec());
        }
    }
    if entries.len() == 0 {
        // Makes an empty stream.
        write(out, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
    }
    write_ids(out, key, entries);
    for (name, group) in stream.groups() {
        write_group(out, key, name, group, entries);
    }
}

fn write(out: &mut Vec<u8>, args: &[&[u8]]) {
    write_command(out, args.iter().copied());
}

/// Appends what is remembered of entries that are gone.
fn write_ids(out: &mut Vec<u8>, key: &[u8], entries: &Entries) {
    let (last, deleted) = (entries.last_id, entries.max_deleted_id);
    let added = itoa::Buffer::new().format(entries.added).to_owned();
    write(
        out,
        &[
            b"XSETID",
            key,
            // A last id that was set back cannot be told together with a deleted one beyond it.
            &last.max(deleted).text(),
            b"ENTRIESADDED",
            added.as_bytes(),
            b"MAXDELETEDID",
            &deleted.text(),
        ],
    );
    if last < deleted {
        write(out, &[b"XSETID", key, &last.text()]);
    }
}

fn write_group(out: &mut Vec<u8>, key: &[u8], name: &[u8], group: &Group, entries: &Entries) {
    let number = |number: i64| itoa::Buffer::new().format(number).to_owned();
    let read = number(group.entries_read.unwrap_or(-1));
    let last = group.last_id.text();
    let create: [&[u8]; 7] = [
        b"XGROUP",
        b"CREATE",
        key,
        name,
        &last,
        b"ENTRIESREAD",
        read.as_bytes(),
    ];
    write(out, &create);
    for (consumer, of) in group.consumers() {
        let mut has_any = false;
        for id in of.from(Id::MIN) {
            let Some(pending) = group.pending().get(&id) else {
                continue;
            };
            has_any |= entries.get(id).is_some();
            let (delivered, deliveries) = (number(pending.delivered), number(pending.deliveries));
            let claim: [&[u8]; 12] = [
                b"XCLAIM",
                key,
                name,
                consumer,
                b"0",
                &id.text(),
                b"TIME",
                delivered.as_bytes(),
                b"RETRYCOUNT",
                deliveries.as_bytes(),
                b"JUSTID",
                b"FORCE",
            ];
            write(out, &claim);
        }
        if !has_any {
            write(out, &[b"XGROUP", b"CREATECONSUMER", key, name, consumer]);
        }
    }
}
