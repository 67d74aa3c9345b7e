//! Commands as redis-rs hands them over: a [`Cmd`], or the bytes that it would send.

use redis::{Arg, Cmd, ErrorKind, RedisError, RedisResult};

use crate::command::Args;
use crate::reply::Error;

/// Up to this many arguments are passed without an allocation.
const ON_STACK: usize = 8;

/// Calls `run` with a command's arguments.
#[inline]
pub(crate) fn with_args<R>(cmd: &Cmd, run: impl FnOnce(Args<'_>) -> R) -> R {
    let args = cmd.args_iter();
    if args.len() <= ON_STACK {
        let mut on_stack = [&[][..]; ON_STACK];
        let len = args.len();
        let mut has_cursor = false;
        for (slot, arg) in on_stack.iter_mut().zip(args) {
            match arg {
                Arg::Simple(bytes) => *slot = bytes,
                _ => has_cursor = true,
            }
        }
        if !has_cursor {
            return run(&on_stack[..len]);
        }
    } else if let Some(args) = collect(args) {
        return run(&args);
    }
    // A cursor argument is a placeholder, whose number can only be read from the encoded command.
    let packed = cmd.get_packed_command();
    let mut rest = &packed[..];
    let args = read_command(&mut rest).unwrap_or_default();
    run(&args)
}

/// Adds a command's arguments.
///
/// # Errors
/// One of them is a cursor.
pub(crate) fn extend<'a>(words: &mut impl Extend<&'a [u8]>, cmd: &'a Cmd) -> Result<(), Error> {
    let mut has_cursor = false;
    words.extend(cmd.args_iter().map(|arg| match arg {
        Arg::Simple(bytes) => bytes,
        _ => {
            has_cursor = true;
            &[]
        }
    }));
    match has_cursor {
        false => Ok(()),
        true => Err(Error::new("ERR a cursor in a transaction")),
    }
}

/// The arguments, unless one is a cursor.
fn collect<'a>(args: impl Iterator<Item = Arg<&'a [u8]>>) -> Option<Vec<&'a [u8]>> {
    args.map(|arg| match arg {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    })
    .collect()
}

/// Reads one command, an array of bulk strings, off the front of `bytes`.
pub(crate) fn read_command<'a>(bytes: &mut &'a [u8]) -> RedisResult<Vec<&'a [u8]>> {
    let count = read_length(bytes, b'*')?;
    // An argument takes at least five bytes more than its content, so the number of bytes limits a false count.
    let mut args = Vec::with_capacity(count.min(bytes.len() / 5));
    for _ in 0..count {
        let len = read_length(bytes, b'$')?;
        let (arg, rest) = bytes.split_at_checked(len).ok_or_else(malformed)?;
        *bytes = rest.strip_prefix(b"\r\n").ok_or_else(malformed)?;
        args.push(arg);
    }
    Ok(args)
}

fn read_length(bytes: &mut &[u8], marker: u8) -> RedisResult<usize> {
    let (first, rest) = bytes.split_first().ok_or_else(malformed)?;
    let end = rest
        .iter()
        .position(|byte| *byte == b'\r')
        .filter(|_| *first == marker)
        .ok_or_else(malformed)?;
    let (digits, rest) = rest.split_at(end);
    *bytes = rest.strip_prefix(b"\r\n").ok_or_else(malformed)?;
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(malformed)
}

#[cold]
fn malformed() -> RedisError {
    (
        ErrorKind::Parse,
        "not a command: expected a RESP array of bulk strings",
    )
        .into()
}

#[cold]
pub(crate) fn empty_command() -> RedisError {
    (ErrorKind::Client, "empty command").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> RedisResult<(Vec<&[u8]>, &[u8])> {
        read_command(&mut bytes).map(|args| (args, bytes))
    }

    #[test]
    fn a_command_is_read_as_redis_rs_writes_it() {
        let packed = redis::cmd("SET")
            .arg("key")
            .arg(&b"\0\r\n\xff"[..])
            .arg("")
            .get_packed_command();
        let (args, rest) = read(&packed).unwrap();
        assert_eq!(args, [&b"SET"[..], b"key", b"\0\r\n\xff", b""]);
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_not_a_command_is_refused() {
        for bad in [
            "",
            "*",
            "*1",
            "*1\r\n",
            "*1\r\n$3\r\nGE",
            "*1\r\n$3\r\nGETxx",
            "*-1\r\n",
            "*+1\r\n$1\r\na\r\n",
            "GET k\r\n",
            "*1\r\n:1\r\n",
            "*99999999999999999999\r\n",
            "*18446744073709551615\r\n",
            "*1\r\n$18446744073709551615\r\na\r\n",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_cursor_argument_is_its_number() {
        for extra in [0, 20] {
            let mut cmd = redis::cmd("SCAN");
            cmd.cursor_arg(42);
            (0..extra).for_each(|_| {
                cmd.arg("x");
            });
            with_args(&cmd, |args| {
                assert_eq!((args[1], args.len()), (&b"42"[..], 2 + extra));
            });
        }
    }
}
