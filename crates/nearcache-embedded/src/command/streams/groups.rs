//! `XGROUP` and `XACK`: groups, their consumers, and what these have done.

use redis::Value;

use super::super::Args;
use super::super::object::lines;
use super::super::parse::{integer, is};
use super::parse::{self, until_nul};
use super::{no_group_of_stream, wrong_options};
use crate::context::{Change, Context};
use crate::keyspace::stream::{Id, Stream};
use crate::notify::Class;
use crate::reply::{Error, Reply, count, truth};

const NO_KEY: Error = Error::new(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
);

/// The options of `XGROUP CREATE` and `XGROUP SETID`.
#[derive(Default)]
struct Options {
    make: bool,
    entries_read: Option<i64>,
}

impl Options {
    fn read(args: Args<'_>, creates: bool) -> Result<Self, Error> {
        const NEGATIVE: Error = Error::new("ERR value for ENTRIESREAD must be positive or -1");
        let mut options = Options::default();
        let mut rest = args[5..].iter();
        while let Some(option) = rest.next() {
            if creates && is(option, "MKSTREAM") {
                options.make = true;
            } else if is(option, "ENTRIESREAD")
                && let Some(number) = rest.next()
            {
                options.entries_read = match integer(number)? {
                    -1 => None,
                    ..-1 => return Err(NEGATIVE),
                    read => Some(read),
                };
            } else {
                return Err(wrong_options(args));
            }
        }
        Ok(options)
    }
}

/// The stream that a subcommand needs.
fn needed<'c>(cx: &'c Context<'_>, args: Args<'_>) -> Result<&'c Stream, Error> {
    cx.structure::<Stream>(args[2])?.ok_or(NO_KEY)
}

/// Whether the stream that a subcommand needs has the group.
fn need_group(cx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let group = needed(cx, args)?.group(args[3]);
    group.map_or_else(|| Err(no_group_of_stream(args[2], args[3])), |_| Ok(()))
}

pub(super) fn create(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const EXISTS: Error = Error::new("BUSYGROUP Consumer Group name already exists");
    let options = Options::read(args, true)?;
    let stream = cx.structure::<Stream>(args[2])?;
    if stream.is_none() && !options.make {
        return Err(NO_KEY);
    }
    if args.len() > 8 {
        return Err(wrong_options(args));
    }
    let last_id = if until_nul(args[4]) == b"$" {
        stream.map_or(Id::MIN, |stream| stream.entries.last_id)
    } else {
        parse::id(args[4], 0)?
    };
    let created = cx.change_or_make(args[2], |stream: &mut Stream| {
        let created = stream.create_group(args[3], last_id, options.entries_read);
        Change::when(created, created)
            .quietly()
            .notify(Class::STREAM, "xgroup-create")
    })?;
    if created {
        Ok(Value::Okay)
    } else {
        Err(EXISTS)
    }
}

pub(super) fn setid(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let options = Options::read(args, false)?;
    need_group(cx, args)?;
    if args.len() != 5 && args.len() != 7 {
        return Err(wrong_options(args));
    }
    let last_id = if until_nul(args[4]) == b"$" {
        needed(cx, args)?.entries.last_id
    } else {
        parse::id_or_end(args[4], 0)?
    };
    cx.change(args[2], |stream: &mut Stream| {
        stream.edit_group(args[3], |group, _| {
            group.last_id = last_id;
            group.entries_read = options.entries_read;
        });
        Change::done(())
            .quietly()
            .notify(Class::STREAM, "xgroup-setid")
    })?;
    Ok(Value::Okay)
}

/// Those who wait for the group are told that it is gone.
pub(super) fn destroy(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    needed(cx, args)?;
    let removed = cx.change(args[2], |stream: &mut Stream| {
        let removed = stream.remove_group(args[3]);
        Change::when(removed, removed)
            .quietly()
            .notify(Class::STREAM, "xgroup-destroy")
    })?;
    let removed = removed.unwrap_or(false);
    if removed {
        cx.wake(args[2]);
    }
    Ok(truth(removed))
}

pub(super) fn createconsumer(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    need_group(cx, args)?;
    let now = cx.now();
    let created = cx.change(args[2], |stream: &mut Stream| {
        let created = stream.edit_group(args[3], |group, _| group.create(args[4], now));
        let created = created.unwrap_or(false);
        Change::when(created, created)
            .quietly()
            .notify(Class::STREAM, "xgroup-createconsumer")
    })?;
    Ok(truth(created.unwrap_or(false)))
}

pub(super) fn delconsumer(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    need_group(cx, args)?;
    let pending = cx.change(args[2], |stream: &mut Stream| {
        let removed = stream.edit_group(args[3], |group, _| group.remove(args[4]));
        let removed = removed.flatten();
        Change::when(removed.is_some(), removed)
            .quietly()
            .notify(Class::STREAM, "xgroup-delconsumer")
    })?;
    Ok(count(pending.flatten().unwrap_or(0)))
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a new consumer group. Options are:",
        "    * MKSTREAM",
        "      Create the empty stream if it does not exist.",
        "    * ENTRIESREAD entries_read",
        "      Set the group's entries_read counter (internal use).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a new consumer in the specified group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove the specified consumer.",
        "DESTROY <key> <groupname>",
        "    Remove the specified group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the current group ID and entries_read counter.",
        "HELP",
        "    Prints this help.",
    ]))
}

pub(super) fn xack(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let stream = cx.structure::<Stream>(args[1])?;
    if stream.is_none_or(|stream| stream.group(args[2]).is_none()) {
        return Ok(Value::Int(0));
    }
    let ids = args[3..]
        .iter()
        .map(|arg| parse::id(arg, 0))
        .collect::<Result<Vec<_>, _>>()?;
    let acknowledged = cx.change(args[1], |stream: &mut Stream| {
        let acknowledged = stream.edit_group(args[2], |group, _| {
            let released = ids.iter().filter_map(|id| group.release(*id));
            released.count()
        });
        let acknowledged = acknowledged.unwrap_or(0);
        Change::when(acknowledged > 0, acknowledged).quietly()
    })?;
    Ok(count(acknowledged.unwrap_or(0)))
}
