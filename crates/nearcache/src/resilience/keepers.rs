//! Those in this process who keep copies of values, and are told of this process's own writes.
//!
//! A server that tells of changed keys does not tell the connection that made the change (`NOLOOP`), and what it tells
//! another connection may come late. So every command that may write is announced here, by [`Guarded`](super::Guarded), through which all of
//! them go: the cache's verbs, scripts, structures, raw commands, the outbox.
//!
//! 1. A write is announced before it is sent, and again when it is over, however it is over: answered, failed, given up
//!    by its caller. So a copy that was read meanwhile does not stay. (Of one that was given up it is enough: what is read
//!    after that on the same connection is sent after the write, and another connection is told of it.)
//! 2. Everyone at the same host is told, whichever cache has written. A process without keepers pays one load.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

/// The longest argument that may be a key: the longest prefix, key and marker.
const LONGEST: usize = 72 * 1024;

/// Keeps copies of values.
pub(crate) trait Keeper: Send + Sync {
    /// What was read of this key is old, or may be.
    fn written(&self, key: &[u8]);

    /// What was read of any key is old, or may be.
    fn all_written(&self);
}

/// Keepers are few, and they hardly ever change.
static KEEPERS: RwLock<Vec<Known>> = RwLock::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Known {
    host: Arc<str>,
    keeper: Weak<dyn Keeper>,
}

/// Tells a keeper of all writes at this host, for as long as it lives.
pub(crate) fn register(host: &Arc<str>, keeper: Weak<dyn Keeper>) {
    let mut keepers = KEEPERS.write();
    keepers.retain(|known| known.keeper.strong_count() > 0);
    keepers.push(Known {
        host: Arc::clone(host),
        keeper,
    });
    COUNT.store(keepers.len(), Ordering::SeqCst);
}

/// A write that is announced, until it is over.
pub(super) struct Announced<'w> {
    keepers: Vec<Arc<dyn Keeper>>,
    names: Vec<&'w [u8]>,
    /// The address of a keeper that announces it to itself.
    except: usize,
}

/// Whether nobody in this process wants to know of writes.
#[inline]
pub(super) fn none() -> bool {
    COUNT.load(Ordering::SeqCst) == 0
}

/// A command is announced that may write keys that it does not name, until it is over.
pub(crate) struct AllAnnounced {
    keepers: Vec<Arc<dyn Keeper>>,
}

/// Announces such a command: a script whose keys are not declared, or one that empties a database.
pub(crate) fn announce_all(host: &Arc<str>) -> AllAnnounced {
    let announced = AllAnnounced { keepers: at(host) };
    announced.tell();
    announced
}

impl AllAnnounced {
    fn tell(&self) {
        for keeper in &self.keepers {
            keeper.all_written();
        }
    }
}

impl Drop for AllAnnounced {
    fn drop(&mut self) {
        self.tell();
    }
}

/// The keepers at a host.
fn at(host: &Arc<str>) -> Vec<Arc<dyn Keeper>> {
    if none() {
        return Vec::new();
    }
    KEEPERS
        .read()
        .iter()
        .filter(|known| known.host == *host)
        .filter_map(|known| known.keeper.upgrade())
        .collect()
}

/// Announces a write of these keys; `None` if nobody at this host wants to know.
pub(super) fn announce<'w>(
    host: &Arc<str>,
    except: usize,
    names: impl FnOnce() -> Vec<&'w [u8]>,
) -> Option<Announced<'w>> {
    let keepers = at(host);
    if keepers.is_empty() {
        return None;
    }
    let mut names = names();
    names.retain(|name| name.len() <= LONGEST);
    let announced = Announced {
        keepers,
        names,
        except,
    };
    announced.tell();
    Some(announced)
}

impl Announced<'_> {
    fn tell(&self) {
        for keeper in &self.keepers {
            if Arc::as_ptr(keeper).addr() == self.except {
                continue;
            }
            for name in &self.names {
                keeper.written(name);
            }
        }
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Vec<u8>>>);

    impl Keeper for Heard {
        fn written(&self, key: &[u8]) {
            self.0.lock().push(key.to_vec());
        }

        fn all_written(&self) {
            self.0.lock().push(b"all".to_vec());
        }
    }

    #[test]
    fn invariants_1_and_2_a_write_is_told_twice_to_everyone_at_its_host() {
        let (here, there): (Arc<str>, Arc<str>) = (Arc::from("here:1"), Arc::from("there:1"));
        let (one, other) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
        let keeper: Weak<dyn Keeper> = Arc::<Heard>::downgrade(&one);
        register(&here, keeper);
        let keeper: Weak<dyn Keeper> = Arc::<Heard>::downgrade(&other);
        register(&there, keeper);
        let long = vec![0; LONGEST + 1];
        let announced = announce(&here, 0, || vec![b"k", &long]).unwrap();
        assert_eq!(*one.0.lock(), [b"k"]);
        drop(announced);
        assert_eq!(*one.0.lock(), [b"k", b"k"]);
        assert!(other.0.lock().is_empty());
        drop(announce_all(&here));
        assert_eq!(one.0.lock().split_off(2), [b"all", b"all"]);
        let except = Arc::as_ptr(&one).addr();
        drop(announce(&here, except, || vec![b"k"]));
        assert_eq!(one.0.lock().len(), 2);
        drop(one);
        assert!(announce(&here, 0, Vec::new).is_none());
    }
}
