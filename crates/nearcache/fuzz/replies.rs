//! Replies of a server.
//!
//! 1. No reply causes a panic, whatever the command was.
//! 2. There are as many replies as commands, or an error after which the socket is not used again.
//! 3. A reply is read as what it says: a lease is ours only with as many versions as tags that were asked for, and a
//!    version has 16 bytes.
//! 4. However the bytes are cut into pieces, the same replies are found, and read as redis-rs reads them.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use redis::Value;

use crate::connect::ServerInfo;
use crate::connect::frames::{Frames, value};
use crate::connect::socket::Socket;
use crate::error::Error;
use crate::read_through::lease::{Acquired, Seen, versions};
use crate::read_through::presence::Found;
use crate::read_through::tags::versions_of;

/// Promise 4.
fn in_pieces(piece: usize, data: &[u8]) {
    let lengths = |piece: usize| {
        let (mut frames, mut start, mut there, mut lengths) = (Frames::new(), 0, 0, Vec::new());
        loop {
            match frames.next(&data[start..there]) {
                Ok(Some(length)) => {
                    start += length;
                    lengths.push(length);
                }
                Ok(None) if there == data.len() => return (lengths, true),
                Ok(None) => there = (there + piece).min(data.len()),
                Err(_) => return (lengths, false),
            }
        }
    };
    let whole = lengths(data.len().max(1));
    assert_eq!(lengths(piece + 1), whole, "promise 4");
    let mut rest = data;
    for length in whole.0 {
        let (reply, after) = rest.split_at(length);
        let (ours, theirs) = (value(reply), redis::parse_redis_value(reply));
        // As text, because not every number is itself.
        let told = |read: Option<Value>| format!("{read:?}");
        assert_eq!(told(ours.ok()), told(theirs.ok()), "promise 4");
        rest = after;
    }
}

/// The first byte of the data says how many replies are expected; the rest is what the server sends.
pub fn replies(data: &[u8]) {
    let [first, data @ ..] = data else { return };
    in_pieces(usize::from(*first), data);
    let (offset, count) = (usize::from(first & 3), usize::from(first >> 2 & 3));
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    // A larger write would block until somebody reads.
    let data = &data[..data.len().min(16 * 1024)];
    theirs.write_all(data).expect("room for that");
    theirs.shutdown(Shutdown::Write).expect("an end");
    let mut socket = Socket::over(ours);
    // Twice: the second read continues where the first one stopped.
    for _ in 0..2 {
        let was_in_step = socket.is_in_step();
        let now = Instant::now();
        match socket.exchange(b"PING", offset, count, now, now + Duration::from_secs(10)) {
            Ok(replies) => {
                assert!(was_in_step && socket.is_in_step(), "promise 2");
                assert_eq!(replies.len(), count, "promise 2");
                replies.into_iter().for_each(answer);
            }
            Err(error) => {
                assert!(was_in_step || !socket.is_in_step(), "promise 2");
                let error = Error::from_redis(error);
                let _ = format!("{error} {error:?}");
            }
        }
    }
    if let Ok(value) = redis::parse_redis_value(data) {
        answer(value);
    }
}

/// Parses the reply in every way that commands do.
fn answer(reply: Value) {
    if let Value::ServerError(error) = &reply {
        let error = Error::from_server(error);
        let _ = format!("{error} {error:?} {}", error.kind());
    }
    let _ = Error::unexpected("PING", &reply);
    if let Ok(info) = ServerInfo::from_info(&reply) {
        let _ = format!("{info} {}", info.is_at_least(6, 0));
    }
    let _ = versions_of(&reply).count();
    if let Some(found) = Found::from_reply(&reply) {
        for now in [0, 1 << 40, u64::MAX] {
            let _ = found.fresh_for(now);
        }
    }
    for count in 0..3 {
        match Acquired::from_reply(reply.clone(), count) {
            Ok(Acquired::Mine(seen, versions)) => {
                assert_eq!(versions.len(), count, "promise 3");
                assert!(!matches!(seen, Seen::Anything | Seen::Unknown));
            }
            Ok(Acquired::Entry(_) | Acquired::Theirs(_)) | Err(_) => {}
        }
    }
    if let Value::Array(parts) = reply {
        let count = parts.len();
        if let Ok(versions) = versions(parts.clone()) {
            assert_eq!(versions.len(), count, "promise 3");
        }
        parts.into_iter().for_each(answer);
    }
}
