//! `COMMAND`: what commands there are, how they are called, and what they do.

mod catalog;
mod keys;

use redis::{ProtocolVersion, Value};

pub(super) use self::catalog::CATEGORIES;
use self::catalog::{Begin, Details, Find, Spec};
use super::object::lines;
use super::parse::is;
use super::row::prelude::*;
use super::{Args, Place, table};
use crate::context::Context;
use crate::glob::Glob;
use crate::reply::{Error, Reply, bulk, count, map, set};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("command",                 -1, Shared,    NONE,     Container, all),
    ("command|count",            2, Shared,    NONE,     Anywhere,  how_many),
    ("command|info",            -2, Shared,    NONE,     Anywhere,  info),
    ("command|list",            -2, Shared,    NONE,     Anywhere,  list),
    ("command|docs",            -2, Shared,    NONE,     Anywhere,  docs),
    ("command|getkeys",         -4, Shared,    NONE,     Anywhere,  getkeys),
    ("command|getkeysandflags", -4, Shared,    NONE,     Anywhere,  getkeysandflags),
    ("command|help",             2, Shared,    NONE,     Anywhere,  help),
];

/// The commands that are not subcommands.
fn commands() -> impl Iterator<Item = &'static Command> {
    table::all().filter(|command| !command.name.contains('|'))
}

fn subcommands(container: &Command) -> impl Iterator<Item = &'static Command> {
    let name = container.name;
    let is_one = move |command: &&Command| {
        let rest = command.name.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('|'))
    };
    table::all()
        .filter(move |_| container.place == Place::Container)
        .filter(is_one)
}

pub(super) fn all(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let protocol = cx.session.protocol;
    Ok(Value::Array(
        commands()
            .map(|command| describe(protocol, command))
            .collect(),
    ))
}

pub(super) fn how_many(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(count(commands().count()))
}

pub(super) fn info(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    if args.len() == 2 {
        return all(cx, args);
    }
    let describe = |name: &&[u8]| {
        table::find(name).map_or(Value::Nil, |command| describe(cx.session.protocol, command))
    };
    Ok(Value::Array(args[2..].iter().map(describe).collect()))
}

fn describe(protocol: ProtocolVersion, command: &Command) -> Value {
    let details = Details::of(command.name);
    let (first, last, step) = details.range();
    let categories = CATEGORIES.iter().filter(|category| details.is_in(category));
    let categories = categories.map(|category| Value::SimpleString(format!("@{category}")));
    let subcommands: Vec<_> = subcommands(command)
        .map(|subcommand| describe(protocol, subcommand))
        .collect();
    Value::Array(vec![
        bulk(command.name.as_bytes()),
        Value::Int(command.arity.into()),
        words(protocol, &details.flags),
        Value::Int(first),
        Value::Int(last),
        Value::Int(step),
        set(protocol, categories.collect()),
        set(
            protocol,
            details
                .tips
                .iter()
                .map(|tip| bulk(tip.as_bytes()))
                .collect(),
        ),
        set(
            protocol,
            details
                .keys
                .iter()
                .map(|spec| describe_keys(protocol, spec))
                .collect(),
        ),
        if subcommands.is_empty() {
            set(protocol, subcommands)
        } else {
            Value::Array(subcommands)
        },
    ])
}

fn words(protocol: ProtocolVersion, words: &[&str]) -> Value {
    let words = words
        .iter()
        .map(|word| Value::SimpleString((*word).to_owned()));
    set(protocol, words.collect())
}

fn describe_keys(protocol: ProtocolVersion, spec: &Spec) -> Value {
    let named = |pairs: Vec<(&str, Value)>| {
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| (bulk(name.as_bytes()), value));
        map(protocol, pairs)
    };
    let part = |kind: &str, fields: Vec<(&str, Value)>| {
        named(vec![
            ("type", bulk(kind.as_bytes())),
            ("spec", named(fields)),
        ])
    };
    let begin = match spec.begin {
        Begin::Index(index) => part("index", vec![("index", Value::Int(index))]),
        Begin::After(word, from) => part(
            "keyword",
            vec![
                ("keyword", bulk(word.as_bytes())),
                ("startfrom", Value::Int(from)),
            ],
        ),
        Begin::Unknown => part("unknown", Vec::new()),
    };
    let find = match spec.find {
        Find::Range { last, step, limit } => part(
            "range",
            vec![
                ("lastkey", Value::Int(last)),
                ("keystep", Value::Int(step)),
                ("limit", Value::Int(limit)),
            ],
        ),
        Find::Counted { count, first, step } => part(
            "keynum",
            vec![
                ("keynumidx", Value::Int(count)),
                ("firstkey", Value::Int(first)),
                ("keystep", Value::Int(step)),
            ],
        ),
        Find::Unknown => part("unknown", Vec::new()),
    };
    named(vec![
        ("flags", words(protocol, &spec.flags)),
        ("begin_search", begin),
        ("find_keys", find),
    ])
}

pub(super) fn list(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    let accepts: Box<dyn Fn(&Command) -> bool + '_> = match args[2..] {
        [] => Box::new(|_| true),
        // There are no modules.
        [by, kind, _] if is(by, "FILTERBY") && is(kind, "MODULE") => Box::new(|_| false),
        [by, kind, category] if is(by, "FILTERBY") && is(kind, "ACLCAT") => {
            let category = CATEGORIES.iter().find(|known| is(category, known));
            Box::new(move |command| {
                category.is_some_and(|category| Details::of(command.name).is_in(category))
            })
        }
        [by, kind, pattern] if is(by, "FILTERBY") && is(kind, "PATTERN") => {
            let pattern = pattern.to_ascii_lowercase();
            Box::new(move |command| Glob::new(&pattern).matches(command.name.as_bytes()))
        }
        _ => return Err(Error::SYNTAX),
    };
    let accepted = table::all().filter(|command| accepts(command));
    Ok(Value::Array(
        accepted
            .map(|command| bulk(command.name.as_bytes()))
            .collect(),
    ))
}

pub(super) fn docs(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let protocol = cx.session.protocol;
    let asked: Vec<_> = if args.len() == 2 {
        commands().collect()
    } else {
        args[2..]
            .iter()
            .filter_map(|name| table::find(name))
            .collect()
    };
    Ok(document_all(protocol, asked.into_iter()))
}

fn document_all(
    protocol: ProtocolVersion,
    commands: impl Iterator<Item = &'static Command>,
) -> Value {
    let documented =
        commands.map(|command| (bulk(command.name.as_bytes()), document(protocol, command)));
    map(protocol, documented)
}

fn document(protocol: ProtocolVersion, command: &Command) -> Value {
    let details = Details::of(command.name);
    let texts = [
        ("summary", details.summary),
        ("since", details.since),
        ("group", details.group),
        ("complexity", details.complexity),
    ];
    let mut pairs: Vec<_> = texts
        .iter()
        .map(|(name, text)| (bulk(name.as_bytes()), bulk(text.as_bytes())))
        .collect();
    if command.place == Place::Container {
        let subcommands = document_all(protocol, subcommands(command));
        pairs.push((bulk(b"subcommands"), subcommands));
    }
    map(protocol, pairs)
}

pub(super) fn getkeys(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    let keys = keys_of(&args[2..])?;
    Ok(Value::Array(
        keys.iter().map(|(key, _)| bulk(key)).collect(),
    ))
}

pub(super) fn getkeysandflags(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let keys = keys_of(&args[2..])?;
    let with_flags = |(key, flags): &(&[u8], Vec<&str>)| {
        Value::Array(vec![bulk(key), words(cx.session.protocol, flags)])
    };
    Ok(Value::Array(keys.iter().map(with_flags).collect()))
}

/// A key among the arguments, and the flags of what happens to it.
type Key<'a> = (&'a [u8], Vec<&'static str>);

/// The keys of a command as it would be sent, with what happens to them.
fn keys_of<'a>(args: Args<'a>) -> Result<Vec<Key<'a>>, Error> {
    const INVALID: Error = Error::new("ERR Invalid command specified");
    let command = args
        .first()
        .and_then(|name| table::find_command(name))
        .ok_or(INVALID)?;
    let command = match args.get(1) {
        Some(name) if command.place == Place::Container => {
            let name = [command.name.as_bytes(), name].join(&b'|');
            table::find(&name).ok_or(INVALID)?
        }
        _ => command,
    };
    let details = Details::of(command.name);
    if !keys::has_keys(details) {
        return Err(Error::new("ERR The command has no key arguments"));
    }
    if !command.accepts(args) {
        return Err(Error::new(
            "ERR Invalid number of arguments specified for command",
        ));
    }
    let found = keys::find(command.name, details, args);
    if found.is_empty() && !details.may_lack_keys() {
        return Err(Error::new("ERR Invalid arguments specified for command"));
    }
    let key = |(at, flags): (usize, Vec<&'static str>)| Some((*args.get(at)?, flags));
    Ok(found.into_iter().filter_map(key).collect())
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "COMMAND [<subcommand> [<arg> [value] [opt] ...]]. Subcommands are:",
        "(none)",
        "    Describes all commands.",
        "COUNT",
        "    Counts the commands.",
        "LIST [FILTERBY <MODULE name | ACLCAT category | PATTERN pattern>]",
        "    Lists the names of the commands.",
        "INFO [<command> ...]",
        "    Describes some commands, or all.",
        "DOCS [<command> ...]",
        "    Documents some commands, or all.",
        "GETKEYS <command> [<arg> ...]",
        "    Returns the keys among the arguments of a command.",
        "GETKEYSANDFLAGS <command> [<arg> ...]",
        "    Returns the keys, and what happens to each.",
        "HELP",
        "    Prints this help.",
    ]))
}

/// Whether Redis's table gives the command this flag.
pub(super) fn has_flag(command: &Command, flag: &str) -> bool {
    Details::of(command.name).has(flag)
}

/// Whether the command is in this category.
pub(super) fn is_in_category(command: &Command, category: &str) -> bool {
    Details::of(command.name).is_in(category)
}
