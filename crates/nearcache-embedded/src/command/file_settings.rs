//! The settings of a store's files, for `CONFIG`.

use std::sync::atomic::Ordering;

use super::parse::integer;
use super::settings::Apply;
use crate::limits::parse_memory;
use crate::persist::Fsync;
use crate::store::Shared;

/// A setting of the files.
pub(super) struct FileSetting {
    pub(super) name: &'static str,
    pub(super) show: fn(&Shared) -> String,
    /// Checks a new value, and returns what applies it.
    pub(super) read: fn(&Shared, &str) -> Result<Apply, String>,
}

pub(super) const SETTINGS: &[FileSetting] = &[
    FileSetting {
        name: "appendonly",
        show: |shared| if shared.log().is_some() { "yes" } else { "no" }.to_owned(),
        read: |shared, value| match value.to_ascii_lowercase().as_str() {
            "yes" if shared.log().is_some() => nothing(),
            "no" if shared.log().is_none() => nothing(),
            "yes" => {
                Err("this store has no folder; one is given by Store::builder().persist(..)".into())
            }
            "no" => Err("a store that was opened in a folder logs until it is closed".into()),
            _ => Err("argument must be 'yes' or 'no'".into()),
        },
    },
    FileSetting {
        name: "appendfsync",
        show: |shared| {
            shared
                .log()
                .map_or(Fsync::EverySec, |log| log.fsync())
                .to_string()
        },
        read: |_, value| {
            let fsync: Fsync = value.parse().map_err(|_| {
                "argument(s) must be one of the following: everysec, always, no".to_owned()
            })?;
            Ok(Box::new(move |shared| {
                if let Some(log) = shared.log() {
                    log.set_fsync(fsync);
                }
            }))
        },
    },
    FileSetting {
        name: "auto-aof-rewrite-percentage",
        show: |shared| {
            number(
                shared,
                |log| log.rewrites().percentage.load(Ordering::Relaxed),
                100,
            )
        },
        read: |_, value| {
            let percentage = integer(value.as_bytes())
                .map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
            let percentage = u64::try_from(percentage)
                .ok()
                .filter(|percentage| *percentage <= i32::MAX as u64)
                .ok_or("argument must be between 0 and 2147483647 inclusive")?;
            Ok(Box::new(move |shared| {
                if let Some(log) = shared.log() {
                    log.rewrites()
                        .percentage
                        .store(percentage, Ordering::Relaxed);
                }
            }))
        },
    },
    FileSetting {
        name: "auto-aof-rewrite-min-size",
        show: |shared| {
            number(
                shared,
                |log| log.rewrites().min_size.load(Ordering::Relaxed),
                64 << 20,
            )
        },
        read: |_, value| {
            let bytes = parse_memory(value).ok_or("argument must be a memory value")?;
            Ok(Box::new(move |shared| {
                if let Some(log) = shared.log() {
                    log.rewrites()
                        .min_size
                        .store(bytes as u64, Ordering::Relaxed);
                }
            }))
        },
    },
    FileSetting {
        name: "dir",
        show: |shared| match shared.log() {
            Some(log) => std::path::absolute(&log.dir)
                .unwrap_or_else(|_| log.dir.clone())
                .display()
                .to_string(),
            None => String::new(),
        },
        read: |_, _| fixed(),
    },
    FileSetting {
        name: "appendfilename",
        show: |_| "appendonly.aof".to_owned(),
        read: |_, _| fixed(),
    },
    FileSetting {
        name: "appenddirname",
        show: |_| "appendonlydir".to_owned(),
        read: |_, _| fixed(),
    },
    FileSetting {
        name: "aof-load-truncated",
        show: |_| "yes".to_owned(),
        read: |_, value| only(value, "yes"),
    },
    FileSetting {
        name: "aof-use-rdb-preamble",
        show: |_| "no".to_owned(),
        read: |_, value| only(value, "no"),
    },
    FileSetting {
        name: "aof-timestamp-enabled",
        show: |_| "no".to_owned(),
        read: |_, value| only(value, "no"),
    },
    FileSetting {
        name: "no-appendfsync-on-rewrite",
        show: |_| "no".to_owned(),
        read: |_, value| only(value, "no"),
    },
];

fn number(shared: &Shared, of: fn(&crate::persist::Log) -> u64, default: u64) -> String {
    shared.log().map_or(default, |log| of(log)).to_string()
}

fn nothing() -> Result<Apply, String> {
    Ok(Box::new(|_| ()))
}

fn fixed() -> Result<Apply, String> {
    Err("can't set immutable config".into())
}

fn only(value: &str, known: &str) -> Result<Apply, String> {
    if value.eq_ignore_ascii_case(known) {
        return nothing();
    }
    Err(format!("a store knows only '{known}'"))
}
