//! `CONFIG`: the settings of a store. Those of its port, and those without an effect, are in [`super::settings`].

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};

use redis::Value;

use super::file_settings::{self, FileSetting};
use super::object::lines;
use super::row::prelude::*;
use super::server::container;
use super::settings::{Apply, OTHERS, Other};
use super::{Args, excerpt};
use crate::context::Context;
use crate::glob::Glob;
use crate::limits::{CompactSettings, Policy, Settings, parse_memory};
use crate::notify;
use crate::reply::{Error, Reply, bulk, map};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("config",            -2, Shared,    NONE,     Container, container),
    ("config|get",        -3, Shared,    NONE,     NoScript,  get),
    ("config|set",        -4, Shared,    NONE,     NoScript,  set),
    ("config|resetstat",   2, Shared,    NONE,     NoScript,  resetstat),
    ("config|rewrite",     2, Shared,    NONE,     NoScript,  rewrite),
    ("config|help",        2, Shared,    NONE,     NoScript,  help),
];

struct Parameter {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    /// Which keyspace notifications are published.
    Notify,
    Count {
        at: fn(&Settings) -> &AtomicUsize,
    },
    MaxMemory,
    Bytes {
        least: usize,
        at: fn(&Settings) -> &AtomicUsize,
    },
    Policy,
    Number {
        least: i64,
        at: fn(&Settings) -> &AtomicU32,
    },
    Compact {
        least: i64,
        at: fn(&CompactSettings) -> &AtomicI64,
    },
    CompactBytes {
        at: fn(&CompactSettings) -> &AtomicI64,
    },
}

const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "notify-keyspace-events",
        kind: Kind::Notify,
    },
    Parameter {
        name: "tracking-table-max-keys",
        kind: Kind::Count {
            at: |settings| &settings.tracked_keys,
        },
    },
    Parameter {
        name: "maxmemory",
        kind: Kind::MaxMemory,
    },
    Parameter {
        name: "maxmemory-policy",
        kind: Kind::Policy,
    },
    Parameter {
        name: "maxmemory-samples",
        kind: Kind::Number {
            least: 1,
            at: |settings| &settings.samples,
        },
    },
    Parameter {
        name: "lfu-log-factor",
        kind: Kind::Number {
            least: 0,
            at: |settings| &settings.log_factor,
        },
    },
    Parameter {
        name: "lfu-decay-time",
        kind: Kind::Number {
            least: 0,
            at: |settings| &settings.decay_time,
        },
    },
    Parameter {
        name: "proto-max-bulk-len",
        kind: Kind::Bytes {
            least: 1 << 20,
            at: |settings| &settings.max_len,
        },
    },
    Parameter {
        name: "hll-sparse-max-bytes",
        kind: Kind::Bytes {
            least: 0,
            at: |settings| &settings.hyperloglog_sparse,
        },
    },
    compact("hash-max-listpack-entries", 0, |compact| {
        &compact.hash_entries
    }),
    compact("hash-max-ziplist-entries", 0, |compact| {
        &compact.hash_entries
    }),
    compact_bytes("hash-max-listpack-value", |compact| &compact.hash_value),
    compact_bytes("hash-max-ziplist-value", |compact| &compact.hash_value),
    compact("zset-max-listpack-entries", 0, |compact| {
        &compact.sorted_set_entries
    }),
    compact("zset-max-ziplist-entries", 0, |compact| {
        &compact.sorted_set_entries
    }),
    compact_bytes("zset-max-listpack-value", |compact| {
        &compact.sorted_set_value
    }),
    compact_bytes("zset-max-ziplist-value", |compact| {
        &compact.sorted_set_value
    }),
    compact("set-max-intset-entries", 0, |compact| &compact.set_integers),
    compact("list-max-listpack-size", i32::MIN as i64, |compact| {
        &compact.list_node
    }),
    compact("list-max-ziplist-size", i32::MIN as i64, |compact| {
        &compact.list_node
    }),
    compact_bytes("stream-node-max-bytes", |compact| {
        &compact.stream_node_bytes
    }),
    compact("stream-node-max-entries", 0, |compact| {
        &compact.stream_node_entries
    }),
];

const fn compact(
    name: &'static str,
    least: i64,
    at: fn(&CompactSettings) -> &AtomicI64,
) -> Parameter {
    Parameter {
        name,
        kind: Kind::Compact { least, at },
    }
}

const fn compact_bytes(name: &'static str, at: fn(&CompactSettings) -> &AtomicI64) -> Parameter {
    Parameter {
        name,
        kind: Kind::CompactBytes { at },
    }
}

/// A new value of a setting, checked.
enum Setting {
    MaxMemory(usize),
    Policy(Policy),
    Bytes(fn(&Settings) -> &AtomicUsize, usize),
    Notify(u32),
    Number(fn(&Settings) -> &AtomicU32, u32),
    Compact(fn(&CompactSettings) -> &AtomicI64, i64),
    Other(Apply),
}

impl Parameter {
    fn value(&self, settings: &Settings) -> String {
        match self.kind {
            Kind::MaxMemory => settings.maxmemory.load(Ordering::Relaxed).to_string(),
            Kind::Policy => settings.policy().to_string(),
            Kind::Bytes { at, .. } | Kind::Count { at } => {
                at(settings).load(Ordering::Relaxed).to_string()
            }
            Kind::Notify => notify::print(settings.notify.load(Ordering::Relaxed)),
            Kind::Number { at, .. } => at(settings).load(Ordering::Relaxed).to_string(),
            Kind::Compact { at, .. } | Kind::CompactBytes { at } => {
                at(&settings.compact).load(Ordering::Relaxed).to_string()
            }
        }
    }

    fn read(&self, value: &[u8]) -> Result<Setting, String> {
        let value = String::from_utf8_lossy(value);
        match self.kind {
            // An empty value means no limit.
            Kind::MaxMemory if value.is_empty() => Ok(Setting::MaxMemory(0)),
            Kind::MaxMemory => parse_memory(&value)
                .map(Setting::MaxMemory)
                .ok_or_else(|| "argument must be a memory value".to_owned()),
            Kind::Policy => value.parse().map(Setting::Policy).map_err(|_| {
                let names = Policy::ALL.map(Policy::name).join(", ");
                format!("argument(s) must be one of the following: {names}")
            }),
            Kind::Bytes { least, at } => bytes(&value, least).map(|n| Setting::Bytes(at, n)),
            Kind::CompactBytes { at } => bytes(&value, 0).map(|n| Setting::Compact(at, n as i64)),
            Kind::Count { at } => whole(&value, 0, i64::MAX)
                .map(|count| Setting::Bytes(at, usize::try_from(count).unwrap_or(usize::MAX))),
            Kind::Notify => notify::parse(super::c_string(value.as_bytes(), value.len()))
                .map(Setting::Notify)
                .ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned()),
            Kind::Number { least, at } => whole(&value, least, i32::MAX.into())
                .map(|number| Setting::Number(at, u32::try_from(number).unwrap_or(u32::MAX))),
            Kind::Compact { least, at } => {
                let most = if least < 0 { i32::MAX.into() } else { i64::MAX };
                whole(&value, least, most).map(|number| Setting::Compact(at, number))
            }
        }
    }
}

fn bytes(value: &str, least: usize) -> Result<usize, String> {
    let most = i64::MAX.cast_unsigned() as usize;
    // Nothing means 0.
    let bytes = Some(0)
        .filter(|_| value.is_empty())
        .or_else(|| parse_memory(value))
        .ok_or_else(|| "argument must be a memory value".to_owned())?;
    (least..=most)
        .contains(&bytes)
        .then_some(bytes)
        .ok_or_else(|| format!("argument must be between {least} and {most} inclusive"))
}

fn whole(value: &str, least: i64, most: i64) -> Result<i64, String> {
    let number = super::parse::integer(value.as_bytes())
        .map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
    (least..=most)
        .contains(&number)
        .then_some(number)
        .ok_or_else(|| format!("argument must be between {least} and {most} inclusive"))
}

/// A setting of the key space, or another one.
#[derive(Clone, Copy)]
enum Known {
    Own(&'static Parameter),
    Other(&'static str, &'static Other),
    File(&'static FileSetting),
}

fn known() -> impl Iterator<Item = Known> {
    let own = PARAMETERS.iter().map(Known::Own);
    let others = OTHERS.iter().map(|(name, other)| Known::Other(name, other));
    own.chain(others)
        .chain(file_settings::SETTINGS.iter().map(Known::File))
}

impl Known {
    fn name(self) -> &'static str {
        match self {
            Known::Own(parameter) => parameter.name,
            Known::Other(name, _) => name,
            Known::File(setting) => setting.name,
        }
    }

    fn is_hidden(self) -> bool {
        matches!(self, Known::Other(_, other) if other.is_hidden())
    }

    fn value(self, cx: &Context<'_>) -> String {
        match self {
            Known::Own(parameter) => parameter.value(&cx.shared.settings),
            Known::Other(name, other) => other.value(name, cx.shared),
            Known::File(setting) => (setting.show)(cx.shared),
        }
    }

    fn read(self, cx: &Context<'_>, value: &[u8]) -> Result<Setting, String> {
        match self {
            Known::Own(parameter) => parameter.read(value),
            Known::Other(name, other) => other.read(name, value, cx.shared).map(Setting::Other),
            Known::File(setting) => {
                let value = String::from_utf8_lossy(value);
                (setting.read)(cx.shared, &value).map(Setting::Other)
            }
        }
    }
}

/// The settings that match any of the patterns, each once. A setting that is named literally is returned under the
/// name as it was given.
pub(super) fn get(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let mut found: Vec<(&[u8], String)> = Vec::new();
    for pattern in &args[2..] {
        let is_name = !pattern.iter().any(|byte| b"[*?".contains(byte));
        let lower = pattern.to_ascii_lowercase();
        for parameter in known() {
            let known = parameter.name().as_bytes();
            let name = if is_name { pattern } else { known };
            let matches = if is_name {
                lower == known
            } else {
                !parameter.is_hidden() && Glob::new(&lower).matches(known)
            };
            if matches
                && found
                    .iter()
                    .all(|(other, _)| !other.eq_ignore_ascii_case(name))
            {
                found.push((name, parameter.value(cx)));
            }
        }
    }
    let pairs = found
        .into_iter()
        .map(|(name, value)| (bulk(name), bulk(value.as_bytes())));
    Ok(map(cx.session.protocol, pairs))
}

/// Sets all of them, or none if one is invalid.
pub(super) fn set(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let pairs = args[2..].chunks(2);
    if !args.len().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    let mut given: Vec<(Known, &[u8])> = Vec::new();
    for pair in pairs {
        let named = |parameter: &Known| pair[0].eq_ignore_ascii_case(parameter.name().as_bytes());
        let Some(parameter) = known().find(named) else {
            return Err(Error::from(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                excerpt(pair[0], usize::MAX)
            )));
        };
        if given
            .iter()
            .any(|(other, _)| other.name() == parameter.name())
        {
            return Err(failed(pair[0], "duplicate parameter"));
        }
        given.push((parameter, pair[1]));
    }
    let mut settings = Vec::new();
    for (parameter, value) in given {
        settings.push(
            parameter
                .read(cx, value)
                .map_err(|why| failed(parameter.name().as_bytes(), &why))?,
        );
    }
    for setting in settings {
        match setting {
            Setting::MaxMemory(bytes) => {
                cx.shared.settings.maxmemory.store(bytes, Ordering::Relaxed);
            }
            Setting::Bytes(at, bytes) => at(&cx.shared.settings).store(bytes, Ordering::Relaxed),
            Setting::Other(apply) => apply(cx.shared),
            Setting::Notify(flags) => cx.shared.settings.notify.store(flags, Ordering::Relaxed),
            Setting::Policy(policy) => cx.shared.settings.set_policy(policy),
            Setting::Number(at, number) => {
                at(&cx.shared.settings).store(number, Ordering::Relaxed);
            }
            Setting::Compact(at, number) => {
                at(&cx.shared.settings.compact).store(number, Ordering::Relaxed);
            }
        }
    }
    cx.bound();
    Ok(Value::Okay)
}

fn failed(parameter: &[u8], why: &str) -> Error {
    Error::from(format!(
        "ERR CONFIG SET failed (possibly related to argument '{}') - {why}",
        excerpt(parameter, usize::MAX)
    ))
}

pub(super) fn resetstat(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    cx.shared.stats.reset();
    cx.shared.evictor.evicted.store(0, Ordering::Relaxed);
    cx.shared.evictor.expired.store(0, Ordering::Relaxed);
    Ok(Value::Okay)
}

/// The settings are those of the program: there is no file of them.
pub(super) fn rewrite(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Err(Error::new(
        "ERR The server is running without a config file",
    ))
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
        "HELP",
        "    Prints this help.",
    ]))
}
