//! The settings of the port, and those of a server that have no effect here.
//!
//! The latter are of two kinds. What says how a server does its work, where a store does it otherwise or not at all,
//! may be set, so that programs which set it go on; it is [kept](Other::Kept), and returned as it was set. What would
//! promise something that a store does not do has one value, and cannot be [changed](Other::Fixed).

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use super::parse::integer;
use crate::limits::{Settings, parse_memory};
use crate::store::Shared;

/// A setting that is not one of the key space.
pub(super) enum Other {
    /// Numbers.
    Count(i64, i64, fn(&Shared) -> &AtomicUsize),
    Seconds(i64, i64, fn(&Shared) -> &AtomicU64),
    Signed(i64, i64, fn(&Shared) -> &AtomicI64),
    Memory(fn(&Shared) -> &AtomicUsize),
    /// It has no effect: its value, if it was not set, and what it may be.
    Kept(&'static str, Form),
    /// The same, but only told to those who ask for it by its whole name.
    Hidden(&'static str, Form),
    /// It always has this value.
    Fixed(&'static str),
    /// It has a value that cannot be changed.
    Shown(fn(&Shared) -> String),
    Password,
    Port,
    OutputLimits,
    Tracking,
}

/// The form of a value.
#[derive(Clone, Copy)]
pub(super) enum Form {
    YesNo,
    Number(i64, i64),
    Memory,
    /// A size, or a part of `maxmemory`.
    MemoryOrPercent,
    Word(&'static [&'static str]),
    Text,
    Percentiles,
}

/// A new value, checked.
pub(super) type Apply = Box<dyn FnOnce(&Shared)>;

use Form::{Memory, MemoryOrPercent, Number, Percentiles, Text, Word, YesNo};
use Other::{Count, Fixed, Hidden, Kept, Seconds, Shown, Signed};

const MOST: i64 = i32::MAX as i64;
const SHUTDOWN: Form = Text;

#[rustfmt::skip]
pub(super) const OTHERS: &[(&str, Other)] = &[
    ("requirepass", Other::Password),
    ("port", Other::Port),
    ("client-output-buffer-limit", Other::OutputLimits),
    ("latency-tracking", Other::Tracking),
    ("maxclients", Count(1, u32::MAX as i64, |shared| &shared.settings.port.max_clients)),
    ("timeout", Seconds(0, MOST, |shared| &shared.settings.port.idle)),
    ("tcp-keepalive", Seconds(0, MOST, |shared| &shared.settings.port.keepalive)),
    ("client-query-buffer-limit", Other::Memory(|shared| &shared.settings.port.input)),
    ("slowlog-log-slower-than", Signed(-1, i64::MAX, |shared| &shared.settings.slow)),
    ("slowlog-max-len", Count(0, i64::MAX, |shared| &shared.settings.slow_entries)),
    ("latency-monitor-threshold", Seconds(0, i64::MAX, |shared| &shared.latency.threshold)),
    ("databases", Shown(|shared| shared.databases.to_string())),
    ("unixsocket", Shown(|shared| shared.clients.path.lock().clone())),
    // Where the work is done otherwise, or not at all.
    ("save", Kept("", Text)),
    ("hz", Kept("10", Number(0, MOST))),
    ("dynamic-hz", Kept("yes", YesNo)),
    ("active-expire-effort", Kept("1", Number(1, 10))),
    ("activerehashing", Kept("yes", YesNo)),
    ("activedefrag", Kept("no", YesNo)),
    ("maxmemory-eviction-tenacity", Kept("10", Number(0, 100))),
    ("maxmemory-clients", Kept("0", MemoryOrPercent)),
    ("lazyfree-lazy-eviction", Kept("no", YesNo)),
    ("lazyfree-lazy-expire", Kept("no", YesNo)),
    ("lazyfree-lazy-server-del", Kept("no", YesNo)),
    ("lazyfree-lazy-user-del", Kept("no", YesNo)),
    ("lazyfree-lazy-user-flush", Kept("no", YesNo)),
    ("list-compress-depth", Kept("0", Number(0, MOST))),
    ("lua-time-limit", Kept("5000", Number(0, i64::MAX))),
    ("busy-reply-threshold", Kept("5000", Number(0, i64::MAX))),
    ("loglevel", Kept("notice", Word(&["debug", "verbose", "notice", "warning"]))),
    ("latency-tracking-info-percentiles", Kept("50 99 99.9", Percentiles)),
    ("stop-writes-on-bgsave-error", Kept("yes", YesNo)),
    ("rdbcompression", Kept("yes", YesNo)),
    ("rdb-save-incremental-fsync", Kept("yes", YesNo)),
    ("sanitize-dump-payload", Kept("no", Word(&["no", "yes", "clients"]))),
    ("repl-timeout", Kept("60", Number(1, MOST))),
    ("repl-ping-replica-period", Kept("10", Number(1, MOST))),
    ("repl-backlog-size", Kept("1048576", Memory)),
    ("repl-backlog-ttl", Kept("3600", Number(0, i64::MAX))),
    ("repl-disable-tcp-nodelay", Kept("no", YesNo)),
    ("repl-diskless-sync", Kept("yes", YesNo)),
    ("repl-diskless-sync-delay", Kept("5", Number(0, MOST))),
    ("replica-serve-stale-data", Kept("yes", YesNo)),
    ("replica-read-only", Kept("yes", YesNo)),
    ("replica-priority", Kept("100", Number(0, MOST))),
    ("min-replicas-max-lag", Kept("10", Number(0, MOST))),
    ("crash-log-enabled", Kept("yes", YesNo)),
    ("watchdog-period", Kept("0", Number(0, MOST))),
    ("shutdown-timeout", Kept("10", Number(0, MOST))),
    ("shutdown-on-sigint", Kept("default", SHUTDOWN)),
    ("shutdown-on-sigterm", Kept("default", SHUTDOWN)),
    ("close-on-replica-write", Kept("yes", YesNo)),
    ("ignore-warnings", Kept("", Text)),
    ("key-load-delay", Hidden("0", Number(-MOST, MOST))),
    ("rdb-key-save-delay", Hidden("0", Number(-MOST, MOST))),
    // What a store does not do.
    ("bind", Shown(|shared| if shared.clients.port.load(Ordering::Relaxed) > 0 { "127.0.0.1".to_owned() } else { String::new() })),
    ("protected-mode", Fixed("yes")),
    ("daemonize", Fixed("no")),
    ("supervised", Fixed("no")),
    ("cluster-enabled", Fixed("no")),
    ("io-threads", Fixed("1")),
    ("tls-port", Fixed("0")),
    ("tcp-backlog", Fixed("1024")),
    ("replicaof", Fixed("")),
    ("slaveof", Fixed("")),
    ("min-replicas-to-write", Fixed("0")),
    ("min-slaves-to-write", Fixed("0")),
    ("masteruser", Fixed("")),
    ("masterauth", Fixed("")),
    ("aclfile", Fixed("")),
    ("acl-pubsub-default", Fixed("resetchannels")),
    ("enable-debug-command", Fixed("no")),
    ("enable-module-command", Fixed("no")),
    ("enable-protected-configs", Fixed("no")),
    ("logfile", Fixed("")),
    ("pidfile", Fixed("")),
    ("set-proc-title", Fixed("no")),
    ("syslog-enabled", Fixed("no")),
    ("dbfilename", Fixed("")),
];

impl Other {
    pub(super) fn is_hidden(&self) -> bool {
        matches!(self, Hidden(..))
    }

    pub(super) fn value(&self, name: &str, shared: &Shared) -> String {
        match self {
            Count(_, _, at) | Other::Memory(at) => at(shared).load(Ordering::Relaxed).to_string(),
            Seconds(_, _, at) => at(shared).load(Ordering::Relaxed).to_string(),
            Signed(_, _, at) => at(shared).load(Ordering::Relaxed).to_string(),
            Kept(default, _) | Hidden(default, _) => {
                let kept = shared.settings.port.kept.lock();
                kept.get(name)
                    .cloned()
                    .unwrap_or_else(|| (*default).to_owned())
            }
            Fixed(value) => (*value).to_owned(),
            Shown(show) => show(shared),
            // It is never shown.
            Other::Password => String::new(),
            Other::Port => shared.clients.port.load(Ordering::Relaxed).to_string(),
            Other::OutputLimits => output_limits(&shared.settings),
            Other::Tracking => {
                let on = shared
                    .settings
                    .port
                    .latency_tracking
                    .load(Ordering::Relaxed);
                if on { "yes" } else { "no" }.to_owned()
            }
        }
    }

    pub(super) fn read(
        &'static self,
        name: &'static str,
        value: &[u8],
        shared: &Shared,
    ) -> Result<Apply, String> {
        if let Other::Password = self {
            let password = value.to_vec();
            return Ok(Box::new(move |shared| {
                shared.settings.port.password.set(&password);
            }));
        }
        let text = String::from_utf8_lossy(value).into_owned();
        match *self {
            Count(least, most, at) => {
                let number = whole(&text, least, most)?;
                let number = usize::try_from(number).unwrap_or(usize::MAX);
                Ok(Box::new(move |shared| {
                    at(shared).store(number, Ordering::Relaxed);
                    let entries = shared.settings.slow_entries.load(Ordering::Relaxed);
                    shared.slow_log.truncate(entries);
                }))
            }
            Seconds(least, most, at) => {
                let number = whole(&text, least, most)?;
                let number = u64::try_from(number).unwrap_or(u64::MAX);
                Ok(Box::new(move |shared| {
                    at(shared).store(number, Ordering::Relaxed);
                }))
            }
            Signed(least, most, at) => {
                let number = whole(&text, least, most)?;
                Ok(Box::new(move |shared| {
                    at(shared).store(number, Ordering::Relaxed);
                }))
            }
            Other::Memory(at) => {
                let bytes = memory(&text)?;
                Ok(Box::new(move |shared| {
                    at(shared).store(bytes, Ordering::Relaxed);
                }))
            }
            Kept(_, form) | Hidden(_, form) => {
                let text = form.read(text)?;
                Ok(Box::new(move |shared| {
                    shared.settings.port.kept.lock().insert(name, text);
                }))
            }
            Fixed(_) | Shown(_) if text == self.value(name, shared) => Ok(Box::new(|_| ())),
            Fixed(_) | Shown(_) => Err("can't set immutable config".to_owned()),
            Other::Port => {
                let port = whole(&text, 0, 65535)?;
                if text == self.value(name, shared) {
                    return Ok(Box::new(|_| ()));
                }
                Err(format!(
                    "Unable to listen on this port: {port}. It is chosen when the server starts."
                ))
            }
            Other::OutputLimits => read_output_limits(&text),
            Other::Tracking => {
                let on = YesNo.read(text)? == "yes";
                Ok(Box::new(move |shared| {
                    shared
                        .settings
                        .port
                        .latency_tracking
                        .store(on, Ordering::Relaxed);
                }))
            }
            Other::Password => Ok(Box::new(|_| ())),
        }
    }
}

impl Form {
    /// A value as it is returned.
    fn read(self, text: String) -> Result<String, String> {
        match self {
            YesNo
                if ["yes", "no"]
                    .iter()
                    .any(|word| text.eq_ignore_ascii_case(word)) =>
            {
                Ok(text.to_ascii_lowercase())
            }
            YesNo => Err("argument must be 'yes' or 'no'".to_owned()),
            Number(least, most) => whole(&text, least, most).map(|number| number.to_string()),
            Memory => memory(&text).map(|bytes| bytes.to_string()),
            MemoryOrPercent => match text.strip_suffix('%') {
                None => memory(&text).map(|bytes| bytes.to_string()),
                Some(percent) => match percent.parse::<u64>() {
                    Ok(0..=100) => Ok(text),
                    Ok(_) => Err("percentage argument must be less or equal to 100".to_owned()),
                    Err(_) => Err("argument must be a memory or percent value".to_owned()),
                },
            },
            Word(words) if words.iter().any(|word| text.eq_ignore_ascii_case(word)) => {
                Ok(text.to_ascii_lowercase())
            }
            Word(words) => Err(format!(
                "argument(s) must be one of the following: {}",
                words.join(", ")
            )),
            Text => Ok(text),
            Percentiles => {
                let mut shown = Vec::new();
                for word in text.split_whitespace() {
                    match word.parse::<f64>() {
                        Ok(percent) if (0.0..=100.0).contains(&percent) => {
                            shown.push(percent.to_string());
                        }
                        _ => return Err("latency-tracking-info-percentiles should contain only percentiles between 0.0 and 100.0".to_owned()),
                    }
                }
                Ok(shown.join(" "))
            }
        }
    }
}

fn whole(text: &str, least: i64, most: i64) -> Result<i64, String> {
    let number = integer(text.as_bytes())
        .map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
    (least..=most)
        .contains(&number)
        .then_some(number)
        .ok_or_else(|| format!("argument must be between {least} and {most} inclusive"))
}

fn memory(text: &str) -> Result<usize, String> {
    parse_memory(text).ok_or_else(|| "argument must be a memory value".to_owned())
}

/// There are no replicas; their class is shown as a server has it.
fn output_limits(settings: &Settings) -> String {
    let (normal, pushes) = (&settings.port.output, &settings.push_bound);
    format!(
        "normal {} {} {} slave 268435456 67108864 60 pubsub {} {} {}",
        normal.hard.load(Ordering::Relaxed),
        normal.soft.load(Ordering::Relaxed),
        normal.seconds.load(Ordering::Relaxed),
        pushes.hard.load(Ordering::Relaxed),
        pushes.soft.load(Ordering::Relaxed),
        pushes.seconds.load(Ordering::Relaxed),
    )
}

fn read_output_limits(text: &str) -> Result<Apply, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    let mut limits = Vec::new();
    for class in words.chunks(4) {
        let [name, hard, soft, seconds] = *class else {
            continue;
        };
        let name = name.to_ascii_lowercase();
        if !["normal", "slave", "replica", "pubsub"].contains(&name.as_str()) {
            return Err("Invalid client class specified in buffer limit configuration.".to_owned());
        }
        let limit = (
            parse_memory(hard),
            parse_memory(soft),
            seconds.parse::<u64>(),
        );
        let (Some(hard), Some(soft), Ok(seconds)) = limit else {
            return Err(
                "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                    .to_owned(),
            );
        };
        limits.push((name, hard, soft, seconds));
    }
    Ok(Box::new(move |shared| {
        let settings = &shared.settings;
        for (name, hard, soft, seconds) in limits {
            let (normal, pushes) = (&settings.port.output, &settings.push_bound);
            let (at_hard, at_soft, at_seconds) = match name.as_str() {
                "normal" => (&normal.hard, &normal.soft, &normal.seconds),
                "pubsub" => (&pushes.hard, &pushes.soft, &pushes.seconds),
                _ => continue,
            };
            at_hard.store(hard, Ordering::Relaxed);
            at_soft.store(soft, Ordering::Relaxed);
            at_seconds.store(seconds, Ordering::Relaxed);
        }
    }))
}
