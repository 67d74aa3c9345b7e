//! Messages that a server sends by itself, for whoever reads them one by one: how many are kept, and what is said when
//! there are more, or none can come.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, RedisError};
use tokio::sync::mpsc;

/// How many messages of the server are kept for a reader who is slow. With one more, the connection ends for it: there
/// is a gap, which it must learn of.
pub(super) const KEPT_PUSHES: usize = 100_000;

/// And how many bytes they may have together.
pub(super) const KEPT_BYTES: usize = 32 << 20;

/// About how many bytes a message takes.
pub(super) fn size(push: &PushInfo) -> usize {
    fn of(value: &redis::Value) -> usize {
        let inside = match value {
            redis::Value::BulkString(bytes) => bytes.len(),
            redis::Value::SimpleString(text) => text.len(),
            redis::Value::Array(values) | redis::Value::Set(values) => values.iter().map(of).sum(),
            _ => 0,
        };
        size_of::<redis::Value>() + inside
    }
    size_of::<PushInfo>() + push.data.iter().map(of).sum::<usize>()
}

/// What becomes of messages that the server sends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushes {
    Dropped,
    Kept,
    /// They are the news of changed keys, for the listeners.
    Told,
}

/// The messages that are kept, and their bytes.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) messages: tokio::sync::Mutex<mpsc::Receiver<PushInfo>>,
    pub(super) bytes: Arc<AtomicUsize>,
}

pub(super) fn keep_in(
    sender: mpsc::Sender<PushInfo>,
    bytes: Arc<AtomicUsize>,
) -> impl Fn(PushInfo) -> std::result::Result<(), ()> + Send + Sync + 'static {
    let sender = Mutex::new(Some(sender));
    move |push| {
        let mut open = sender.lock();
        let (size, ends) = (size(&push), push.kind == PushKind::Disconnection);
        let kept = open.as_ref().is_some_and(|sender| {
            let fits = ends || bytes.load(Ordering::Relaxed) + size <= KEPT_BYTES;
            // Counted first: the reader takes it off again.
            bytes.fetch_add(size, Ordering::Relaxed);
            fits && sender.try_send(push).is_ok()
        });
        if !kept {
            // The reader gets what is there, and then learns that there is no more.
            *open = None;
        }
        kept.then_some(()).ok_or(())
    }
}

pub(super) fn too_many_pushes() -> RedisError {
    io::Error::other(format!(
        "more than {KEPT_PUSHES} messages of the server, or {} MiB, were not read: the rest is lost, so open another \
         connection",
        KEPT_BYTES >> 20
    ))
    .into()
}

pub(super) fn without_pushes() -> RedisError {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the connection speaks RESP2, in which the server sends no messages beside its replies: they need RESP3 \
         (Redis 6 or later, and no protocol=2)",
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> PushInfo {
        let data = vec![redis::Value::BulkString(vec![b'x'; bytes])];
        PushInfo {
            kind: PushKind::Message,
            data,
        }
    }

    /// How many messages of that many bytes are kept for a reader who does not read.
    fn kept(bytes: usize) -> usize {
        let (sender, mut reader) = mpsc::channel(KEPT_PUSHES);
        let counted = Arc::new(AtomicUsize::new(0));
        let keep = keep_in(sender, Arc::clone(&counted));
        let kept = (0..).take_while(|_| keep(message(bytes)).is_ok()).count();
        // None that comes later is kept either: it would hide the gap.
        assert_eq!(keep(message(0)), Err(()));
        let mut read = 0;
        while let Ok(push) = reader.try_recv() {
            read += 1;
            assert_eq!(push, message(bytes));
        }
        assert_eq!(read, kept);
        assert!(reader.is_closed());
        kept
    }

    #[test]
    fn messages_are_kept_up_to_a_number_and_a_size() {
        assert_eq!(kept(10), KEPT_PUSHES);
        assert_eq!(
            kept(1 << 20),
            31,
            "32 with what is around each are more than 32 MiB"
        );
        assert_eq!(kept(KEPT_BYTES), 0);
    }

    #[test]
    fn who_reads_is_not_bounded() {
        let (sender, mut reader) = mpsc::channel(KEPT_PUSHES);
        let bytes = Arc::new(AtomicUsize::new(0));
        let keep = keep_in(sender, Arc::clone(&bytes));
        for _ in 0..1000 {
            assert_eq!(keep(message(1 << 20)), Ok(()));
            let push = reader.try_recv().unwrap();
            bytes.fetch_sub(size(&push), Ordering::Relaxed);
        }
        assert_eq!(bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_end_of_the_connection_is_told_however_much_is_kept() {
        let (sender, mut reader) = mpsc::channel(KEPT_PUSHES);
        let keep = keep_in(sender, Arc::default());
        let fits = KEPT_BYTES - size(&message(0));
        assert_eq!(keep(message(fits)), Ok(()));
        let end = PushInfo {
            kind: PushKind::Disconnection,
            data: Vec::new(),
        };
        assert_eq!(keep(end.clone()), Ok(()));
        assert_eq!(reader.try_recv().unwrap(), message(fits));
        assert_eq!(reader.try_recv().unwrap(), end);
    }
}
