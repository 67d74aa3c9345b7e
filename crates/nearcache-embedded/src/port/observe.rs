//! What is noted of every command that a client of the port runs: its time, its error, the slow log, the monitors.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::command::{Args, Command};
use crate::context::Context;
use crate::port::clients::Client;
use crate::reply::{Error, Reply};
use crate::session::Session;
use crate::store::Shared;

impl Context<'_> {
    /// Runs a command of a client of the port.
    #[inline]
    pub(crate) fn run_observed(&mut self, command: &'static Command, args: Args<'_>) -> Reply {
        let db = self.session.db;
        let begun = self.session.last_end.take().unwrap_or_else(Instant::now);
        let reply = self.run_plainly(command, args);
        let end = Instant::now();
        self.session.last_end = Some(end);
        let took = end.saturating_duration_since(begun);
        let waits = self.waits.is_some();
        let shared = self.shared;
        let failed = reply.is_err();
        shared.stats.call(command, took, failed, waits);
        if let Err(error) = &reply {
            shared.stats.error(error.text());
        }
        if !waits {
            shared.note_duration(self.session, command, args, took);
        }
        if shared.clients.has_monitors() && command.is_monitored() {
            shared.tell_monitors(self.session.client.as_deref(), db, command, args);
        }
        reply
    }
}

impl Shared {
    /// Notes how long a command took.
    #[inline]
    fn note_duration(&self, session: &Session, command: &Command, args: Args<'_>, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if self.latency.is_event(micros / 1000) {
            let event = if command.is_fast() {
                "fast-command"
            } else {
                "command"
            };
            self.latency.note(event, micros / 1000, self.clock.now_ms());
        }
        let limit = self.settings.slow.load(Ordering::Relaxed);
        if u64::try_from(limit).is_ok_and(|limit| micros >= limit) && command.is_slow_logged() {
            self.log_slow(session, command, args, micros);
        }
    }

    #[cold]
    fn log_slow(&self, session: &Session, command: &Command, args: Args<'_>, micros: u64) {
        let Some(client) = &session.client else {
            return;
        };
        let most = self.settings.slow_entries.load(Ordering::Relaxed);
        let args = redacted(command, args);
        let time = self.clock.now_ms() / 1000;
        let name = session.name.as_deref().unwrap_or_default();
        self.slow_log.add(client, name, &args, time, micros, most);
    }

    #[cold]
    fn tell_monitors(&self, client: Option<&Client>, db: u32, command: &Command, args: Args<'_>) {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let mut line = format!("{}.{:06} ", now.as_secs(), now.subsec_micros());
        let address = client.map_or("", |client| &client.address);
        // Writing to a string cannot fail.
        let _ = match client {
            Some(client) if client.is_unix => {
                let path = address.strip_suffix(":0").unwrap_or(address);
                write!(line, "[{db} unix:{path}]")
            }
            _ => write!(line, "[{db} {address}]"),
        };
        for arg in redacted(command, args) {
            line.push_str(" \"");
            escape(&mut line, arg);
            line.push('"');
        }
        self.clients.tell_monitors(line);
    }

    /// Notes that a command which has waited got its reply.
    pub(crate) fn note_end(
        &self,
        session: &Session,
        command: &Command,
        args: Args<'_>,
        took: Duration,
        reply: &Reply,
    ) {
        self.stats.end(command, took, reply.is_err());
        if let Err(error) = reply {
            self.stats.error(error.text());
        }
        // The time that it waited was nobody's work.
        self.note_duration(session, command, args, Duration::ZERO);
    }

    /// Notes that a command was refused.
    #[cold]
    pub(crate) fn note_refusal(&self, session: &Session, command: Option<&Command>, error: &Error) {
        if session.client.is_some() {
            self.stats.error(error.text());
            if let Some(command) = command {
                self.stats.reject(command);
            }
        }
    }
}

/// The arguments, without what must not be shown.
fn redacted<'a>(command: &Command, args: Args<'a>) -> Vec<&'a [u8]> {
    const REDACTED: &[u8] = b"(redacted)";
    let shown = |(at, arg): (usize, &&'a [u8])| {
        if is_secret(command, args, at) {
            REDACTED
        } else {
            *arg
        }
    };
    args.iter().enumerate().map(shown).collect()
}

fn is_secret(command: &Command, args: Args<'_>, at: usize) -> bool {
    let is = |at: Option<usize>, words: &[&str]| {
        let arg = at.and_then(|at| args.get(at));
        arg.is_some_and(|arg| {
            words
                .iter()
                .any(|word| arg.eq_ignore_ascii_case(word.as_bytes()))
        })
    };
    match command.name {
        "auth" => at > 0,
        "acl|setuser" => at > 1,
        "hello" => is(at.checked_sub(1), &["AUTH"]) || is(at.checked_sub(2), &["AUTH"]),
        "config|set" => {
            let secrets = ["requirepass", "masterauth", "tls-key-file-pass"];
            at > 2 && at % 2 == 1 && is(at.checked_sub(1), &secrets)
        }
        _ => false,
    }
}

/// Bytes as a server prints them between quotes.
fn escape(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'\\' | b'"' => {
                line.push('\\');
                line.push(char::from(*byte));
            }
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            7 => line.push_str("\\a"),
            8 => line.push_str("\\b"),
            b' '..=b'~' => line.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(line, "\\x{byte:02x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::find;

    #[test]
    fn secrets_are_not_shown() {
        let shown = |name: &str, args: &[&str]| {
            let command = find(name.as_bytes()).unwrap();
            let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
            let shown = redacted(command, &args);
            let shown: Vec<_> = shown
                .iter()
                .map(|arg| String::from_utf8_lossy(arg))
                .collect();
            shown.join(" ")
        };
        assert_eq!(shown("auth", &["AUTH", "pw"]), "AUTH (redacted)");
        assert_eq!(
            shown("hello", &["HELLO", "3", "auth", "u", "pw", "SETNAME", "n"]),
            "HELLO 3 auth (redacted) (redacted) SETNAME n"
        );
        assert_eq!(
            shown(
                "config|set",
                &["config", "set", "maxmemory", "1", "requirepass", "pw"]
            ),
            "config set maxmemory 1 requirepass (redacted)"
        );
        assert_eq!(shown("get", &["GET", "auth"]), "GET auth");
    }

    #[test]
    fn bytes_are_printed_between_quotes() {
        let mut line = String::new();
        escape(&mut line, b"a\"\\\n\r\t\x07\x08\x00\xff ~");
        assert_eq!(line, "a\\\"\\\\\\n\\r\\t\\a\\b\\x00\\xff ~");
    }
}
