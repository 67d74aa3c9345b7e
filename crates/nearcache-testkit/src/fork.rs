//! A fork of the test's own process, for what a program that forks sees.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A process that was forked off, and must be waited for.
#[derive(Debug)]
#[must_use = "wait for it"]
pub struct Fork(libc::pid_t);

impl Fork {
    /// Runs `work` in a child of this process, which ends with it: it succeeds if `work` does not panic.
    ///
    /// The child has no thread but this one. What another thread holds at this moment stays locked there, so the test is
    /// to be alone in its process.
    ///
    /// # Panics
    /// When there can be no other process.
    pub fn of(work: impl FnOnce()) -> Fork {
        #[allow(
            unsafe_code,
            reason = "the child runs the caller's work and nothing else"
        )]
        // SAFETY: neither function takes a pointer. The child leaves by `_exit`, so nothing that belongs to the parent's
        // test harness runs in it.
        let child = unsafe {
            match libc::fork() {
                0 => {
                    let outcome = catch_unwind(AssertUnwindSafe(work));
                    libc::_exit(i32::from(outcome.is_err()))
                }
                child => child,
            }
        };
        assert!(child > 0, "no fork: {}", io::Error::last_os_error());
        Fork(child)
    }

    /// Waits for its end. Whether it succeeded.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn succeeded(self) -> bool {
        let mut status = 0;
        #[allow(unsafe_code, reason = "std waits only for what it has started")]
        // SAFETY: the pointer is to a local variable, and the child is ours and not waited for yet.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(waited, self.0, "{}", io::Error::last_os_error());
        status == 0
    }
}
