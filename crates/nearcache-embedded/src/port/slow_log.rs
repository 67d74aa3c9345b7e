//! The slow log: commands that took longer than a setting says.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::port::clients::Client;

/// An entry has at most this many arguments, and of each at most this many bytes.
const MOST_ARGS: usize = 32;
const LONGEST_ARG: usize = 128;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    /// When, in unix seconds.
    pub(crate) time: i64,
    pub(crate) micros: u64,
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) address: String,
    pub(crate) name: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct SlowLog {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    next: i64,
    /// The newest first.
    list: VecDeque<Entry>,
}

impl SlowLog {
    /// Adds an entry, and drops the oldest beyond `most`.
    pub(crate) fn add(
        &self,
        client: &Client,
        name: &[u8],
        args: &[&[u8]],
        time: i64,
        micros: u64,
        most: usize,
    ) {
        let entry = Entry {
            id: 0,
            time,
            micros,
            args: excerpt(args),
            address: client.address.clone(),
            name: name.to_vec(),
        };
        let mut entries = self.entries.lock();
        let id = entries.next;
        entries.next += 1;
        entries.list.push_front(Entry { id, ..entry });
        entries.list.truncate(most);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.lock().list.len()
    }

    /// The newest entries.
    pub(crate) fn newest(&self, most: usize) -> Vec<Entry> {
        self.entries
            .lock()
            .list
            .iter()
            .take(most)
            .cloned()
            .collect()
    }

    pub(crate) fn clear(&self) {
        self.entries.lock().list.clear();
    }

    pub(crate) fn truncate(&self, most: usize) {
        self.entries.lock().list.truncate(most);
    }
}

fn excerpt(args: &[&[u8]]) -> Vec<Vec<u8>> {
    let whole = if args.len() > MOST_ARGS {
        MOST_ARGS - 1
    } else {
        args.len()
    };
    let cut = |arg: &&[u8]| match arg.get(..LONGEST_ARG) {
        Some(beginning) if arg.len() > LONGEST_ARG => {
            let rest = format!("... ({} more bytes)", arg.len() - LONGEST_ARG);
            [beginning, rest.as_bytes()].concat()
        }
        _ => arg.to_vec(),
    };
    let mut excerpt: Vec<_> = args[..whole].iter().map(cut).collect();
    if whole < args.len() {
        excerpt.push(format!("... ({} more arguments)", args.len() - whole).into_bytes());
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_cut() {
        let long = [b'A'; 129];
        let args: Vec<&[u8]> = std::iter::once(&long[..]).chain([&b"x"[..]; 32]).collect();
        let cut = excerpt(&args);
        assert_eq!(cut.len(), 32);
        assert!(cut[0].ends_with(b"A... (1 more bytes)"));
        assert_eq!(cut[31], b"... (2 more arguments)");
        assert_eq!(excerpt(&args[1..]).len(), 32);
        assert_eq!(excerpt(&args[1..])[31], b"x");
    }
}
