//! Calls that waited in vain: when their connection is given up, and what is done about the writes that were given up.

use std::sync::Arc;
use std::time::Duration;

use super::driven::Driven;
use super::{doubts, timed_out};
use crate::error::{Error, Result};

/// How long a connection that is given up is asked whether it is done with what was given up on it.
const ASKED: Duration = Duration::from_secs(2);

/// A call that waits this long without a reply retires its connection. A shorter limit is the caller's choice: a single
/// such call does not mean that the connection is bad.
pub(super) const SILENT: Duration = Duration::from_millis(100);

/// How many calls in a row must have waited in vain to retire a connection, if each was shorter than [`SILENT`].
pub(super) const SHORT_CALLS: u32 = 3;

impl Driven {
    /// A call on the connection waited so long in vain.
    pub(super) fn note_silence(self: &Arc<Self>, time: Duration) {
        let now = self.common().runtime().now();
        let (calls, together) = self.waited(time, now);
        if time >= SILENT || (calls >= SHORT_CALLS && together >= SILENT) {
            self.lose();
            self.ask_whether_settled(ASKED);
        }
    }

    /// Closes the connections in doubt (see [`doubts`]). Returns what is left of the limit.
    pub(super) async fn close_doubtful(self: &Arc<Self>, limit: Duration) -> Result<Duration> {
        let common = self.common();
        let (doubts, runtime) = (common.doubts(), common.runtime());
        let ids = doubts.before(&self.met);
        if ids.is_empty() {
            return Ok(limit);
        }
        let begun = runtime.now();
        let kill = doubts::kill(&ids);
        let call = self.begin();
        let mut connection = call.connection();
        let closing = connection.send_packed_commands(&kill, 0, ids.len());
        match runtime.timeout(limit, || closing).await {
            Some(Ok(replies)) => {
                call.answered();
                doubts.killed(&ids, &replies, common.host());
                let took = runtime.now().saturating_duration_since(begun);
                Ok(limit.saturating_sub(took))
            }
            Some(Err(error)) => {
                if error.is_unrecoverable_error() {
                    self.lose();
                }
                Err(Error::from_redis(error))
            }
            None => {
                self.note_silence(limit);
                Err(timed_out(limit, ""))
            }
        }
    }
}
