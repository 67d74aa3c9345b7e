//! Keyspace notifications: which commands tell what about a key, and what of that is published, on which channels.

use std::sync::atomic::Ordering;

use crate::store::Shared;

/// A class of notifications: a letter of `notify-keyspace-events`. The numbers are those of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class(pub(crate) u32);

/// `K`: notifications go to a channel of the key.
const KEYSPACE: u32 = 1 << 0;
/// `E`: they go to a channel of the event.
const KEYEVENT: u32 = 1 << 1;
/// `d`: modules, of which there are none.
const MODULE: u32 = 1 << 13;
/// The letters of the classes that `A` stands for, in the order in which they are printed.
const ALL: [(u8, u32); 10] = [
    (b'g', Class::GENERIC.0),
    (b'$', Class::STRING.0),
    (b'l', Class::LIST.0),
    (b's', Class::SET.0),
    (b'h', Class::HASH.0),
    (b'z', Class::SORTED_SET.0),
    (b'x', Class::EXPIRED.0),
    (b'e', Class::EVICTED.0),
    (b't', Class::STREAM.0),
    (b'd', MODULE),
];
/// The other letters: the first is printed only without `A`, as a server does.
const OTHERS: [(u8, u32); 4] = [
    (b'n', Class::NEW.0),
    (b'K', KEYSPACE),
    (b'E', KEYEVENT),
    (b'm', Class::KEY_MISS.0),
];

/// Reads a value of `notify-keyspace-events`.
pub(crate) fn parse(letters: &[u8]) -> Option<u32> {
    let mut flags = 0;
    for letter in letters {
        let mut known = ALL.iter().chain(&OTHERS);
        flags |= match letter {
            b'A' => all(),
            _ => known.find(|(of, _)| of == letter)?.1,
        };
    }
    Some(flags)
}

/// Prints it.
pub(crate) fn print(flags: u32) -> String {
    let set = |(_, class): &&(u8, u32)| flags & class != 0;
    let mut letters = Vec::new();
    if flags & all() == all() {
        letters.push(b'A');
        letters.extend(OTHERS[1..].iter().filter(set).map(|(letter, _)| letter));
    } else {
        letters.extend(
            ALL.iter()
                .chain(&OTHERS)
                .filter(set)
                .map(|(letter, _)| letter),
        );
    }
    String::from_utf8_lossy(&letters).into_owned()
}

fn all() -> u32 {
    ALL.iter().fold(0, |all, (_, class)| all | class)
}

impl Shared {
    /// Whether a notification of this class is published, and there is anybody to hear it.
    #[inline]
    pub(crate) fn notifies(&self, class: Class) -> bool {
        self.settings.notify.load(Ordering::Relaxed) & class.0 != 0 && !self.exchange.is_idle()
    }
}

/// Publishes a notification on the channels that are chosen.
pub(crate) fn publish(shared: &Shared, class: Class, event: &str, db: u32, key: &[u8]) {
    let flags = shared.settings.notify.load(Ordering::Relaxed);
    if flags & class.0 == 0 {
        return;
    }
    if flags & KEYSPACE != 0 {
        let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
        shared.exchange.publish(&channel, event.as_bytes());
    }
    if flags & KEYEVENT != 0 {
        let channel = format!("__keyevent@{db}__:{event}");
        shared.exchange.publish(channel.as_bytes(), key);
    }
}

impl Class {
    /// `g`: commands on keys of any type.
    pub(crate) const GENERIC: Class = Class(1 << 2);
    /// `$`
    pub(crate) const STRING: Class = Class(1 << 3);
    /// `l`
    pub(crate) const LIST: Class = Class(1 << 4);
    /// `s`
    pub(crate) const SET: Class = Class(1 << 5);
    /// `h`
    pub(crate) const HASH: Class = Class(1 << 6);
    /// `z`
    pub(crate) const SORTED_SET: Class = Class(1 << 7);
    /// `x`
    pub(crate) const EXPIRED: Class = Class(1 << 8);
    /// `e`
    pub(crate) const EVICTED: Class = Class(1 << 9);
    /// `t`
    pub(crate) const STREAM: Class = Class(1 << 10);
    /// `m`
    pub(crate) const KEY_MISS: Class = Class(1 << 11);
    /// `n`
    pub(crate) const NEW: Class = Class(1 << 14);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_printed_as_a_server_prints_them() {
        for (given, printed) in [
            ("", ""),
            ("gKE", "gKE"),
            ("$lshzxeKE", "$lshzxeKE"),
            ("KA", "AK"),
            ("EA", "AE"),
            ("AKEn", "AKE"),
            ("AKEm", "AKEm"),
            ("mnE", "nEm"),
            ("g$lshzxetd", "A"),
            ("ttt", "t"),
        ] {
            let flags = parse(given.as_bytes());
            assert_eq!(flags.map(print).as_deref(), Some(printed), "{given}");
        }
        assert_eq!(parse(b"KEy"), None);
    }
}
