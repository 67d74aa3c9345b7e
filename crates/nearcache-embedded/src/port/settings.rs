//! The settings of the port, and those that are only kept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

#[derive(Debug)]
pub(crate) struct PortSettings {
    pub(crate) password: Password,
    /// How many clients there may be.
    pub(crate) max_clients: AtomicUsize,
    /// After how many seconds without a command a client is disconnected; 0 means never.
    pub(crate) idle: AtomicU64,
    /// After how many seconds of silence the system asks whether a client is still there; 0 means never.
    pub(crate) keepalive: AtomicU64,
    /// How many bytes of a request may wait for the rest of it.
    pub(crate) input: AtomicUsize,
    /// How many bytes of replies may wait for a client that is no subscriber.
    pub(crate) output: OutputLimit,
    pub(crate) latency_tracking: AtomicBool,
    /// Settings that have no effect here, as they were set.
    pub(crate) kept: Mutex<BTreeMap<&'static str, String>>,
}

/// A class of `client-output-buffer-limit`.
#[derive(Debug, Default)]
pub(crate) struct OutputLimit {
    pub(crate) hard: AtomicUsize,
    pub(crate) soft: AtomicUsize,
    pub(crate) seconds: AtomicU64,
}

impl Default for PortSettings {
    fn default() -> Self {
        PortSettings {
            password: Password::default(),
            max_clients: AtomicUsize::new(10_000),
            idle: AtomicU64::new(0),
            keepalive: AtomicU64::new(300),
            input: AtomicUsize::new(1 << 30),
            output: OutputLimit::default(),
            latency_tracking: AtomicBool::new(true),
            kept: Mutex::default(),
        }
    }
}

/// The password that clients have to know. It is never printed.
#[derive(Default)]
pub(crate) struct Password {
    is_set: AtomicBool,
    bytes: RwLock<Box<[u8]>>,
}

impl Password {
    /// Sets it; an empty one means that none is needed.
    pub(crate) fn set(&self, password: &[u8]) {
        let mut bytes = self.bytes.write();
        *bytes = password.into();
        self.is_set.store(!password.is_empty(), Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    /// Whether this is the password. How long that takes depends only on the length of what was given.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let password = self.bytes.read();
        if password.is_empty() {
            return true;
        }
        let mut differs = u8::from(given.len() != password.len());
        for (byte, expected) in given.iter().zip(password.iter().cycle()) {
            differs |= byte ^ expected;
        }
        std::hint::black_box(differs) == 0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() {
            "Password(***)"
        } else {
            "Password(none)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_compared_as_a_whole_and_not_printed() {
        let password = Password::default();
        assert!(password.is(b"anything"));
        password.set(b"se\0cret");
        assert!(password.is(b"se\0cret"));
        for wrong in [
            &b""[..],
            b"s",
            b"se",
            b"se\0cre",
            b"se\0cretse\0cret",
            b"Se\0cret",
        ] {
            assert!(!password.is(wrong));
        }
        assert_eq!(format!("{password:?}"), "Password(***)");
        password.set(b"");
        assert!(!password.is_set());
    }
}
