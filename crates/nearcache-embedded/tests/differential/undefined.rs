//! What is not asked, because a server's answer is no promise of Redis: it is a slip of that server, or depends on what
//! happens to lie in its memory. And one thing that is known to be different here.

use crate::grammar::Arg;
use crate::name;

/// Where the second of several prefixes overlaps with a later one, a server answers with an error, and once more with OK:
/// from then on all replies are one late.
pub(crate) fn answers_twice(args: &[Arg]) -> bool {
    let prefixes = args
        .iter()
        .filter(|arg| arg.eq_ignore_ascii_case(b"PREFIX"));
    let is_tracking = args
        .get(1)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"TRACKING"));
    name(args) == "CLIENT" && is_tracking && prefixes.count() > 2
}

/// Whether a command changes a HyperLogLog run by run.
pub(crate) fn splits_runs(args: &[Arg]) -> bool {
    ["PFADD", "PFMERGE"].contains(&name(args).as_str())
}

/// Whether a string is a sparse HyperLogLog whose last run has two bytes, of which the second is missing. A server that
/// splits this run writes the byte behind the string, and later reads what lies there.
pub(crate) fn is_cut_hyperloglog(bytes: &[u8]) -> bool {
    const HEADER: usize = 16;
    if !bytes.starts_with(b"HYLL\x01") {
        return false;
    }
    let mut runs = bytes.iter().skip(HEADER);
    while let Some(byte) = runs.next() {
        if byte >> 6 == 1 && runs.next().is_none() {
            return true;
        }
    }
    false
}

/// Whether a command may leave such a string behind. None that works on HyperLogLogs does.
pub(crate) fn may_cut_a_hyperloglog(args: &[Arg]) -> bool {
    const HARMLESS: [&str; 5] = ["GET", "STRLEN", "OBJECT", "DEL", "CONFIG"];
    let name = name(args);
    !name.starts_with("PF") && !HARMLESS.contains(&name.as_str())
}

/// Whether a command asks for members by their bytes. In a large set whose scores differ, a server finds what the levels
/// of its skip list lead to, and these are random.
pub(crate) fn asks_by_bytes(args: &[Arg]) -> bool {
    let by_lex = || args.iter().any(|arg| arg.eq_ignore_ascii_case(b"BYLEX"));
    match name(args).as_str() {
        "ZLEXCOUNT" | "ZRANGEBYLEX" | "ZREVRANGEBYLEX" | "ZREMRANGEBYLEX" => true,
        "ZRANGE" | "ZRANGESTORE" => by_lex(),
        _ => false,
    }
}

/// Whether a command changes the protocol. In a transaction, a server writes each reply as the protocol is by then; here
/// all of them are written in the last one, as `docs/embedded.md` says.
pub(crate) fn changes_protocol(args: &[Arg]) -> bool {
    name(args) == "HELLO" && args.len() > 1
}

/// Whether a command may give members of a sorted set other scores.
pub(crate) fn may_mix_scores(args: &[Arg]) -> bool {
    ["Z", "GEO", "SORT", "RENAME", "COPY", "MOVE"]
        .iter()
        .any(|start| name(args).starts_with(start))
}
