//! The error of a transaction in which commands were refused.
//!
//! redis-rs has a distinct error for this, which lists the refused commands, but only its own connections can create
//! it. So we feed one of these, in memory, the replies that a server would have sent, and return the error that it
//! makes of them. This is slow, but refused transactions are rare.

use redis::{RedisError, ServerError, Value};

/// The error for a transaction in which the commands at these positions were refused with these errors, and the
/// `EXEC` with `exec`.
#[cold]
pub(crate) fn transaction_aborted(
    errors: &[(usize, ServerError)],
    exec: Option<Value>,
) -> RedisError {
    replayed(errors)
        .or_else(|| plain(exec))
        .unwrap_or_else(crate::wire::empty_command)
}

/// The server's error, for builds without redis-rs's async connection.
fn plain(exec: Option<Value>) -> Option<RedisError> {
    exec?.extract_error().err()
}

#[cfg(not(feature = "aio"))]
fn replayed(_: &[(usize, ServerError)]) -> Option<RedisError> {
    None
}

#[cfg(feature = "aio")]
fn replayed(errors: &[(usize, ServerError)]) -> Option<RedisError> {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use futures_util::FutureExt;
    use redis::aio::MultiplexedConnection;
    use redis::{AsyncConnectionConfig, RedisConnectionInfo};
    use tokio::io::AsyncWriteExt;

    let (replies, count) = replies(errors);
    let (stream, mut server) = tokio::io::duplex(replies.len() + 1024);
    let info = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let connecting = MultiplexedConnection::new_with_config(&info, stream, config);
    let (mut connection, driver) = connecting.now_or_never()?.ok()?;
    let (mut pipeline, mut driver) = (redis::pipe(), pin!(driver));
    let mut request =
        pin!(connection.send_packed_commands(pipeline.atomic().cmd("PING"), count, 1));

    // Nothing here waits, so no waker is needed: the first poll hands the request to the driver, and the driver sends
    // it and reads the replies as soon as there are any.
    let mut cx = Context::from_waker(Waker::noop());
    let _ = request.as_mut().poll(&mut cx);
    let _ = driver.as_mut().poll(&mut cx);
    server.write_all(&replies).now_or_never()?.ok()?;
    let _ = driver.as_mut().poll(&mut cx);
    match request.as_mut().poll(&mut cx) {
        Poll::Ready(Err(error)) => Some(error),
        _ => None,
    }
}

/// The replies of a server: one to MULTI, one to each command up to the last refused one, and one to EXEC. Also
/// returns how many replies come before the last one.
#[cfg(feature = "aio")]
fn replies(errors: &[(usize, ServerError)]) -> (Vec<u8>, usize) {
    let mut replies = b"+OK\r\n".to_vec();
    let mut count = 0;
    for (index, error) in errors {
        (count..*index).for_each(|_| replies.extend_from_slice(b"+QUEUED\r\n"));
        let line = format!(
            "-{} {}\r\n",
            error.code(),
            error.details().unwrap_or_default()
        );
        replies.extend_from_slice(line.as_bytes());
        count = index + 1;
    }
    replies.extend_from_slice(b"*-1\r\n");
    (replies, count + 1)
}

#[cfg(all(test, feature = "aio"))]
mod tests {
    use super::*;

    #[test]
    fn a_refused_transaction_names_the_refused_commands() {
        let Ok(Value::ServerError(error)) = redis::parse_redis_value(b"-ERR nonsense\r\n") else {
            panic!("not an error");
        };
        let aborted = transaction_aborted(&[(1, error.clone()), (3, error)], None);
        assert_eq!(
            aborted.to_string(),
            "Transaction aborted: [(Index 1, error: ResponseError: nonsense), (Index 3, error: ResponseError: nonsense)]"
        );
    }
}
