//! How long a command waits by itself: `BLPOP` and its kin. Such a command may take that long on top of the timeout.

use std::time::Duration;

use redis::{Arg, Cmd};

/// How long a command may wait for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It does not wait.
    No,
    For(Duration),
    /// Until something comes.
    Forever,
}

impl Wait {
    /// The time limit of a command that may wait this long; `None` if there is none.
    pub(super) fn limit(self, timeout: Duration) -> Option<Duration> {
        match self {
            Wait::No => Some(timeout),
            Wait::For(wait) => Some(wait.saturating_add(timeout)),
            Wait::Forever => None,
        }
    }

    /// What several commands wait, one after the other.
    fn and(self, other: Wait) -> Wait {
        match (self, other) {
            (Wait::Forever, _) | (_, Wait::Forever) => Wait::Forever,
            (Wait::For(one), Wait::For(other)) => Wait::For(one.saturating_add(other)),
            (Wait::No, other) => other,
            (one, Wait::No) => one,
        }
    }

    pub(super) fn of_all<'c>(commands: impl IntoIterator<Item = &'c Cmd>) -> Wait {
        let waits = commands.into_iter().map(Wait::of);
        waits.fold(Wait::No, Wait::and)
    }

    pub(super) fn of(command: &Cmd) -> Wait {
        let mut args = command.args_iter().map(|arg| match arg {
            Arg::Simple(arg) => arg,
            _ => b"",
        });
        // All of them are short, and most other commands are told by this.
        let Some(name) = args
            .next()
            .filter(|name| matches!(name.first(), Some(b'b' | b'B' | b'x' | b'X' | b'w' | b'W')))
        else {
            return Wait::No;
        };
        let name = name.to_ascii_uppercase();
        match &name[..] {
            b"BLPOP" | b"BRPOP" | b"BRPOPLPUSH" | b"BLMOVE" | b"BZPOPMIN" | b"BZPOPMAX" => {
                seconds(args.last())
            }
            b"BLMPOP" | b"BZMPOP" => seconds(args.next()),
            b"WAIT" => millis(args.last()),
            b"XREAD" | b"XREADGROUP" => {
                let before_keys = args.take_while(|arg| !arg.eq_ignore_ascii_case(b"STREAMS"));
                let mut block = before_keys.skip_while(|arg| !arg.eq_ignore_ascii_case(b"BLOCK"));
                match block.nth(1) {
                    Some(time) => millis(Some(time)),
                    None => Wait::No,
                }
            }
            _ => Wait::No,
        }
    }
}

/// A time that the server would refuse is no wait.
fn seconds(arg: Option<&[u8]>) -> Wait {
    let seconds: Option<f64> = number(arg);
    match seconds.map(Duration::try_from_secs_f64) {
        Some(Ok(Duration::ZERO)) => Wait::Forever,
        Some(Ok(time)) => Wait::For(time),
        _ => Wait::No,
    }
}

fn millis(arg: Option<&[u8]>) -> Wait {
    match number(arg) {
        Some(0) => Wait::Forever,
        Some(time) => Wait::For(Duration::from_millis(time)),
        None => Wait::No,
    }
}

fn number<T: std::str::FromStr>(arg: Option<&[u8]>) -> Option<T> {
    std::str::from_utf8(arg?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(line: &str) -> Wait {
        let mut cmd = Cmd::new();
        line.split(' ').for_each(|word| {
            cmd.arg(word);
        });
        Wait::of(&cmd)
    }

    #[test]
    fn a_command_says_how_long_it_waits() {
        let (second, millisecond) = (Duration::from_secs(1), Duration::from_millis(1));
        for (line, expected) in [
            ("GET key", Wait::No),
            ("BITCOUNT key", Wait::No),
            ("BLPOP a b 1", Wait::For(second)),
            ("brpop a 0", Wait::Forever),
            ("BLMOVE a b LEFT RIGHT 0.001", Wait::For(millisecond)),
            ("BRPOPLPUSH a b 1", Wait::For(second)),
            ("BLMPOP 1 1 a LEFT", Wait::For(second)),
            ("BZMPOP 0 1 a MIN", Wait::Forever),
            ("BZPOPMIN a 1", Wait::For(second)),
            ("WAIT 1 1", Wait::For(millisecond)),
            ("WAIT 1 0", Wait::Forever),
            ("XREAD STREAMS BLOCK 0", Wait::No),
            ("XREAD COUNT 1 BLOCK 1 STREAMS a $", Wait::For(millisecond)),
            ("XREADGROUP GROUP g c block 0 STREAMS a >", Wait::Forever),
            ("BLPOP a soon", Wait::No),
            ("BLPOP a -1", Wait::No),
            ("BLPOP a inf", Wait::No),
            ("BLPOP", Wait::No),
        ] {
            assert_eq!(wait(line), expected, "{line}");
        }
    }
}
