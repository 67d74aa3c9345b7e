//! What a hook keeps during one call: mostly a span.
//!
//! A call is polled inside the scopes of its hooks, so that the work of its loader (a query, a request) belongs to
//! the call in a trace.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::{Call, Done};
use crate::error::Error;

/// What a hook keeps during one call, from [`Hook::scope`](super::Hook::scope) to the end of the call.
///
/// If the caller is cancelled, the scope is dropped without a further call.
pub trait Scope: Send + Sync {
    /// Runs a part of the call's work, exactly once: with a span entered, for instance.
    fn within(&self, work: &mut dyn FnMut()) {
        work();
    }

    /// The call succeeded.
    fn after(&self, call: &Call<'_>, done: &Done) {
        let _ = (call, done);
    }

    /// The call failed.
    fn error(&self, call: &Call<'_>, error: &Error, took: Duration) {
        let _ = (call, error, took);
    }
}

/// The scopes of a call, the outermost first.
#[derive(Default)]
pub(crate) struct Scopes(Vec<Box<dyn Scope>>);

impl Scopes {
    pub(super) fn push(&mut self, scope: Box<dyn Scope>) {
        self.0.push(scope);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn Scope> {
        self.0.iter().map(|scope| &**scope)
    }

    /// Runs a part of the work within all scopes. The work runs even if a scope panics, or forgets to run it;
    /// `panicked` is called for a panic.
    fn within<T>(&self, work: impl FnOnce() -> T, panicked: &(dyn Fn() + Sync)) -> T {
        if self.0.is_empty() {
            return work();
        }
        let mut work = Some(work);
        let mut outcome = None;
        let mut run = || {
            if let Some(work) = work.take() {
                outcome = Some(catch_unwind(AssertUnwindSafe(work)));
            }
        };
        nest(&self.0, &mut run, panicked);
        run();
        match outcome {
            Some(Ok(output)) => output,
            Some(Err(panic)) => resume_unwind(panic),
            None => unreachable!("the work has run, at the latest above"),
        }
    }
}

fn nest(scopes: &[Box<dyn Scope>], run: &mut dyn FnMut(), panicked: &(dyn Fn() + Sync)) {
    let Some((outer, inner)) = scopes.split_first() else {
        return run();
    };
    let entered = catch_unwind(AssertUnwindSafe(|| {
        outer.within(&mut || nest(inner, run, panicked));
    }));
    if entered.is_err() {
        panicked();
    }
}

/// Polls `work` within these scopes, and returns its output. The work is created in here, so that the future contains
/// it only once.
pub(crate) async fn within<T, F>(
    scopes: Option<(&Scopes, &(dyn Fn() + Sync))>,
    work: impl FnOnce() -> F,
) -> T
where
    F: Future<Output = T>,
{
    let mut work = pin!(work());
    poll_fn(|context| -> Poll<T> {
        match scopes {
            None => work.as_mut().poll(context),
            Some((scopes, panicked)) => scopes.within(|| work.as_mut().poll(context), panicked),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Panics;

    impl Scope for Panics {
        fn within(&self, _: &mut dyn FnMut()) {
            panic!("as tests do");
        }
    }

    struct Forgets;

    impl Scope for Forgets {
        fn within(&self, _: &mut dyn FnMut()) {}
    }

    struct Twice;

    impl Scope for Twice {
        fn within(&self, work: &mut dyn FnMut()) {
            work();
            work();
        }
    }

    #[test]
    fn the_work_is_done_once_whatever_a_scope_does() {
        let scopes: [Box<dyn Scope>; 3] = [Box::new(Twice), Box::new(Forgets), Box::new(Panics)];
        for scope in scopes {
            let scopes = Scopes(vec![Box::new(Twice), scope]);
            let ran = Cell::new(0);
            let output = scopes.within(
                || {
                    ran.set(ran.get() + 1);
                    7
                },
                &|| {},
            );
            assert_eq!((output, ran.get()), (7, 1));
        }
    }

    #[test]
    fn a_panic_of_the_work_is_passed_on() {
        let scopes = Scopes(vec![Box::new(Twice)]);
        let panicked = AtomicBool::new(false);
        let work = || {
            scopes.within(|| panic!("the work"), &|| {
                panicked.store(true, Ordering::Relaxed);
            })
        };
        let caught = catch_unwind(AssertUnwindSafe(work));
        let caught: Box<dyn std::any::Any + Send> = caught.unwrap_err();
        assert_eq!(caught.downcast_ref::<&str>(), Some(&"the work"));
        assert!(!panicked.into_inner());
    }
}
