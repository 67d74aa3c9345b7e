//! Commands in the bytes that are sent: a cache's own, and those that redis-rs hands over to a blocking connection.

#[cfg(feature = "blocking")]
use redis::{Cmd, Pipeline, RedisError, RedisResult};

/// A pipeline. Of a transaction, `MULTI` and `EXEC` are its `atomic`.
#[cfg(feature = "blocking")]
pub(crate) fn pipeline(packed: &[u8], transaction: bool) -> RedisResult<Pipeline> {
    let mut commands = commands(packed)?;
    let is = |command: Option<&Cmd>, name: &[u8]| {
        command.is_some_and(|command| {
            let mut words = command.args_iter();
            matches!(words.next(), Some(redis::Arg::Simple(verb)) if verb == name)
        })
    };
    let mut pipeline = Pipeline::with_capacity(commands.len());
    if transaction && is(commands.first(), b"MULTI") && is(commands.last(), b"EXEC") {
        pipeline.atomic();
        commands.pop();
        commands.remove(0);
    }
    for command in commands {
        pipeline.add_command(command);
    }
    Ok(pipeline)
}

/// The commands of `*<count>` and their arguments of `$<length>`.
#[cfg(feature = "blocking")]
pub(crate) fn commands(mut packed: &[u8]) -> RedisResult<Vec<Cmd>> {
    let mut commands = Vec::new();
    while !packed.is_empty() {
        let mut command = Cmd::new();
        for _ in 0..number(&mut packed, b'*')? {
            let length = number(&mut packed, b'$')?;
            let argument = packed.get(..length).ok_or_else(broken)?;
            packed = packed.get(length + 2..).ok_or_else(broken)?;
            command.arg(argument);
        }
        commands.push(command);
    }
    Ok(commands)
}

/// Commands that are given as their words.
#[cfg(feature = "blocking")]
pub(super) fn pack<'w>(commands: impl IntoIterator<Item = &'w [&'w [u8]]>) -> Vec<u8> {
    // Enough for a small value, in one allocation.
    let mut packed = Vec::with_capacity(256);
    for words in commands {
        write_words(&mut packed, words);
    }
    packed
}

/// Adds a command that is given as its words.
#[inline]
pub(super) fn write_words(packed: &mut Vec<u8>, words: &[&[u8]]) {
    line(packed, b'*', words.len());
    for word in words {
        write_word(packed, word);
    }
}

/// Adds a word of a command.
#[inline]
pub(super) fn write_word(packed: &mut Vec<u8>, word: &[u8]) {
    line(packed, b'$', word.len());
    packed.extend_from_slice(word);
    packed.extend_from_slice(b"\r\n");
}

/// Adds a line with a number.
#[inline]
pub(super) fn line(packed: &mut Vec<u8>, sign: u8, number: usize) {
    packed.push(sign);
    // Most are of one digit, and a number is formatted for longer than it is written.
    match number {
        0..10 => packed.push(b'0' + number as u8),
        _ => packed.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
    }
    packed.extend_from_slice(b"\r\n");
}

/// The number of a line that begins with this sign.
#[cfg(feature = "blocking")]
fn number(packed: &mut &[u8], sign: u8) -> RedisResult<usize> {
    let end = packed
        .iter()
        .position(|byte| *byte == b'\r')
        .ok_or_else(broken)?;
    let line = packed[..end].strip_prefix(&[sign]).ok_or_else(broken)?;
    let number = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.parse().ok());
    *packed = packed.get(end + 2..).ok_or_else(broken)?;
    number.ok_or_else(broken)
}

#[cfg(feature = "blocking")]
fn broken() -> RedisError {
    (redis::ErrorKind::Client, "these are no packed commands").into()
}

#[cfg(all(test, feature = "blocking"))]
mod tests {
    use super::*;

    #[test]
    fn words_are_packed_as_redis_rs_packs_them() {
        let words: [&[u8]; 4] = [b"SET", b"", b"\r\n\xff", &[b'v'; 1_000]];
        let mut command = Cmd::new();
        for word in words {
            command.arg(word);
        }
        let one = command.get_packed_command();
        assert_eq!(pack([&words[..]]), one);
        assert_eq!(pack([&words[..], &words[..]]), [one.clone(), one].concat());
    }

    #[test]
    fn a_packed_pipeline_is_read_as_it_was_written() {
        let mut pipe = redis::pipe();
        pipe.cmd("SET")
            .arg("k")
            .arg(&b"\r\n*1\r\n$0\r\n"[..])
            .cmd("GET")
            .arg("k");
        for atomic in [false, true] {
            if atomic {
                pipe.atomic();
            }
            let packed = pipe.get_packed_pipeline();
            let read = pipeline(&packed, atomic).unwrap();
            assert_eq!(read.get_packed_pipeline(), packed);
            assert_eq!(read.is_transaction(), atomic);
        }
        for broken in [
            &b"*1"[..],
            b"*1\r\n",
            b"*1\r\n$5\r\nab\r\n",
            b"$1\r\na\r\n",
            b"*x\r\n",
        ] {
            assert!(commands(broken).is_err(), "{broken:?}");
        }
    }
}
