//! The pushes of a connection within the process: messages of channels, and news of keys that changed.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};

use crate::mailbox::{Mailbox, Message, Next};

/// What is sent to a [`Connection`](crate::Connection) beside its replies, in order: confirmations of `SUBSCRIBE` and
/// its kin, messages of channels, and invalidations by `CLIENT TRACKING`. They have the same form under RESP2 and
/// RESP3.
///
/// It ends with the connection. If what waits here exceeds the limit (32 MiB, or more than 8 MiB for a minute), the
/// client is cut, as a server cuts a client that does not read: all that waits is dropped, its subscriptions end, and
/// the last push is a [`PushKind::Disconnection`].
///
/// ```
/// use redis::{PushKind, Value};
///
/// let store = nearcache_embedded::Store::new();
/// let mut subscriber = store.connect();
/// let mut pushes = subscriber.pushes();
/// redis::cmd("SUBSCRIBE").arg("news").exec(&mut subscriber)?;
/// let receivers: i64 = redis::cmd("PUBLISH").arg("news").arg("hello").query(&mut store.connect())?;
/// assert_eq!(receivers, 1);
///
/// assert_eq!(pushes.wait().unwrap().kind, PushKind::Subscribe);
/// let message = pushes.wait().unwrap();
/// assert_eq!(message.kind, PushKind::Message);
/// assert_eq!(message.data, ["news", "hello"].map(|text| Value::BulkString(text.into())));
/// # Ok::<(), redis::RedisError>(())
/// ```
pub struct Pushes {
    mailbox: Arc<Mailbox>,
    /// Whether the cut was told.
    ended: bool,
}

impl Pushes {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        Pushes {
            mailbox,
            ended: false,
        }
    }

    /// The next push; `None` when the connection is gone. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<PushInfo> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same, by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<PushInfo>> {
        let next = std::task::ready!(self.mailbox.poll_next(cx));
        Poll::Ready(self.take(next))
    }

    /// Parks the thread until there is a push; `None` when the connection is gone.
    pub fn wait(&mut self) -> Option<PushInfo> {
        let next = self.mailbox.next(None);
        self.take(next)
    }

    /// The same, for at most this long.
    pub fn wait_for(&mut self, timeout: Duration) -> Option<PushInfo> {
        let next = self.mailbox.next(Some(timeout));
        self.take(next)
    }

    /// The next push, if it is there already.
    pub fn try_next(&mut self) -> Option<PushInfo> {
        let next = self.mailbox.try_next();
        self.take(next)
    }

    /// Whether the client was cut, because nobody read its pushes.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.mailbox.is_cut()
    }

    fn take(&mut self, next: Next) -> Option<PushInfo> {
        match next {
            Next::Message(message) => Some(push(message)),
            Next::Nothing | Next::Closed => None,
            Next::Cut => {
                let first = !std::mem::replace(&mut self.ended, true);
                first.then_some(PushInfo {
                    kind: PushKind::Disconnection,
                    data: Vec::new(),
                })
            }
        }
    }
}

fn push(message: Message) -> PushInfo {
    match Arc::unwrap_or_clone(message) {
        Value::Push { kind, data } => PushInfo { kind, data },
        other => PushInfo {
            kind: PushKind::Other(String::new()),
            data: vec![other],
        },
    }
}

/// Parks the thread for each push, until the connection is gone.
impl Iterator for &mut Pushes {
    type Item = PushInfo;

    fn next(&mut self) -> Option<PushInfo> {
        self.wait()
    }
}

#[cfg(feature = "aio")]
impl futures_util::Stream for Pushes {
    type Item = PushInfo;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<PushInfo>> {
        Pushes::poll_next(&mut self, cx)
    }
}

impl fmt::Debug for Pushes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, bytes) = self.mailbox.waiting();
        f.debug_struct("Pushes")
            .field("waiting", &waiting)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}
