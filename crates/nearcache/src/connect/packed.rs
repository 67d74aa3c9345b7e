//! Commands in the bytes that redis-rs hands over to a blocking connection.

use redis::{Cmd, Pipeline, RedisError, RedisResult};

/// A pipeline. Of a transaction, `MULTI` and `EXEC` are its `atomic`.
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

/// The number of a line that begins with this sign.
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

fn broken() -> RedisError {
    (redis::ErrorKind::Client, "these are no packed commands").into()
}

#[cfg(test)]
mod tests {
    use super::*;

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
