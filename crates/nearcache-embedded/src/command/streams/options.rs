//! The options of `XADD` and `XTRIM`.

use super::super::Args;
use super::super::parse::{integer, is};
use super::parse::{id, new_id};
use crate::context::Context;
use crate::keyspace::stream::{Id, Keep, NodeLimits, Trim};
use crate::reply::Error;

#[derive(Debug)]
pub(super) struct Options {
    pub(super) trim: Option<Trim>,
    pub(super) must_exist: bool,
    /// The id of a new entry; `None` if all of it is left to the stream.
    pub(super) id: Option<Wish>,
    /// Where the id stands; behind all arguments if there is none.
    pub(super) at: usize,
}

/// An id that was given, and whether its number was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) id: Id,
    pub(super) whole: bool,
}

/// If nothing else is said, whole nodes are trimmed up to this many entries at a time.
fn usual_limit(limits: NodeLimits) -> usize {
    match limits.entries.saturating_mul(100) {
        0 => 10_000,
        entries => entries.min(1_000_000),
    }
}

pub(super) fn node_limits(cx: &Context<'_>) -> NodeLimits {
    let compact = cx.compact();
    NodeLimits {
        bytes: compact.stream_node_bytes,
        entries: compact.stream_node_entries,
    }
}

/// What follows `MAXLEN` or `MINID`: where its value stands, and whether a `~` is before it.
fn threshold(args: Args<'_>, at: usize) -> (usize, bool) {
    match args.get(at + 1) {
        Some(sign) if at + 2 < args.len() && *sign == b"~" => (at + 2, true),
        Some(sign) if at + 2 < args.len() && *sign == b"=" => (at + 2, false),
        _ => (at + 1, false),
    }
}

impl Options {
    /// Reads the options of `XADD`, up to the id, or of `XTRIM`.
    pub(super) fn read(cx: &Context<'_>, args: Args<'_>, adds: bool) -> Result<Self, Error> {
        const BOTH: Error = Error::new(
            "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
        );
        const NEGATIVE_LENGTH: Error = Error::new("ERR The MAXLEN argument must be >= 0.");
        const NEGATIVE_LIMIT: Error = Error::new("ERR The LIMIT argument must be >= 0.");
        let mut options = Options {
            trim: None,
            must_exist: false,
            id: None,
            at: args.len(),
        };
        let mut keep = None;
        let mut nodes = false;
        let mut limit = None;
        let mut at = 2;
        while at < args.len() {
            let arg = args[at];
            let more = at + 1 < args.len();
            if adds && arg == b"*" {
                options.at = at;
                break;
            } else if more && (is(arg, "MAXLEN") || is(arg, "MINID")) {
                if keep.is_some() {
                    return Err(BOTH);
                }
                (at, nodes) = threshold(args, at);
                keep = Some(if is(arg, "MAXLEN") {
                    let len = usize::try_from(integer(args[at])?);
                    Keep::Length(len.map_err(|_| NEGATIVE_LENGTH)?)
                } else {
                    Keep::From(id(args[at], 0)?)
                });
            } else if more && is(arg, "LIMIT") {
                at += 1;
                let most = usize::try_from(integer(args[at])?);
                limit = Some(most.map_err(|_| NEGATIVE_LIMIT)?);
            } else if adds && is(arg, "NOMKSTREAM") {
                options.must_exist = true;
            } else if adds {
                let (id, whole) = new_id(arg)?;
                options.id = Some(Wish { id, whole });
                options.at = at;
                break;
            } else {
                return Err(Error::SYNTAX);
            }
            at += 1;
        }
        if cx.loading {
            // What a server logs has been trimmed exactly, but still names the limit.
            limit = limit.filter(|_| keep.is_none()).map(|_| 0);
        }
        check(keep.is_some(), nodes, limit, adds)?;
        let limit = match limit {
            Some(limit) => limit,
            None if nodes => usual_limit(node_limits(cx)),
            None => 0,
        };
        options.trim = keep.map(|keep| Trim { keep, nodes, limit });
        Ok(options)
    }
}

/// Whether the options go together.
fn check(trims: bool, nodes: bool, limit: Option<usize>, adds: bool) -> Result<(), Error> {
    const LIMIT_OF_NOTHING: Error =
        Error::new("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
    const NO_STRATEGY: Error =
        Error::new("ERR syntax error, XTRIM must be called with a trimming strategy");
    const LIMIT_OF_EXACT: Error =
        Error::new("ERR syntax error, LIMIT cannot be used without the special ~ option");
    match limit {
        Some(1..) if !trims => Err(LIMIT_OF_NOTHING),
        _ if !adds && !trims => Err(NO_STRATEGY),
        Some(_) if !nodes => Err(LIMIT_OF_EXACT),
        _ => Ok(()),
    }
}
