//! Replies that wait until what they acknowledge is on the disk.
//!
//! Of all the connections that wait, one task waits for the log's thread, and then wakes them. So the log's thread
//! wakes a task of another thread once for each sync, and not once for each client; and whatever the connections with
//! input have changed in this turn of the runtime is written and synced together.

use std::future::poll_fn;
use std::mem;
use std::task::{Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::persist::Commit;
use crate::reply::Error;

#[derive(Default)]
pub(super) struct Settler {
    waiting: Mutex<Waiting>,
    some: Notify,
}

#[derive(Default)]
struct Waiting {
    /// The one after which all are settled.
    last: Option<Commit>,
    wakers: Vec<Waker>,
}

impl Settler {
    /// Waits until a change is on the disk, as far as it must be.
    pub(super) async fn settled(&self, commit: Commit) -> Result<(), Error> {
        let mut is_new = true;
        poll_fn(|cx| {
            if mem::take(&mut is_new) && !commit.is_settled() {
                self.enter(&commit, cx.waker());
                return Poll::Pending;
            }
            // Whoever is woken before its time waits for the log's thread itself.
            commit.poll_by(cx.waker())
        })
        .await
    }

    fn enter(&self, commit: &Commit, waker: &Waker) {
        let mut waiting = self.waiting.lock();
        waiting.wakers.push(waker.clone());
        let last = waiting.last.as_ref().map_or(0, |last| last.position);
        if commit.position > last {
            waiting.last = Some(commit.clone());
        }
        drop(waiting);
        self.some.notify_one();
    }

    /// Waits for all others, for ever.
    pub(super) async fn run(&self) {
        loop {
            self.some.notified().await;
            let_others_run().await;
            let Waiting { last, wakers } = mem::take(&mut *self.waiting.lock());
            if let Some(commit) = last {
                // Each of them asks for itself how it went.
                let _ = commit.await;
            }
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

/// Ends the task's turn, so that the tasks that are ready run first.
pub(super) async fn let_others_run() {
    let mut is_over = false;
    poll_fn(|cx| {
        if mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
