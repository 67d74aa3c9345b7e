//! A proxy that breaks the connection to a Redis server, controlled by hand.
//!
//! ```text
//! cargo run -p nearcache-testkit --bin breakage -- --to 127.0.0.1:6379 --delay 200ms
//! ```
//!
//! Options say what is broken from the start. Later, the same words as lines on standard input change it: `delay 1s`,
//! `cut`, `silence`, `heal`, `counts`.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use nearcache_testkit::{Close, Direction, Fault, Frames, Hold, Proxy};

const HELP: &str = "\
A proxy for the Redis protocol that breaks things.

breakage --to HOST:PORT|/PATH|URL [--listen IP:PORT] [FAULT...]

Faults, as options (--delay 200ms) and as lines on standard input (delay 200ms):
  delay TIME            replies come so much later
  jitter TIME           up to so much more, by chance
  delay-requests TIME   requests come so much later
  delay-pushes TIME     pushes come so much later, and what is behind them
  limit BYTES           so many bytes a second for each connection, to the client
  limit-requests BYTES  the same, to the server
  drop requests|replies|pushes
  silence               everything vanishes, connections stay open
  refuse                connecting is refused
  reject                new connections are reset at once
  truncate BYTES        once: so much of the next reply, then the connection ends
  replace TEXT          once: TEXT and a line's end in place of the next reply

Lines only:
  cut, reset            close every connection, in order or with a reset
  hold requests|replies|pushes
  release               let everything go that is held
  heal                  mend every fault
  counts, commands      what went through (commands also starts the list anew)
  quit

TIME is a number with ms or s. BYTES may end in k or m.
";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "breakage: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = lexopt::Parser::from_env();
    let mut out = io::stdout();
    let (mut to, mut listen) = (None, SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut faults = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                out.write_all(HELP.as_bytes())?;
                return Ok(());
            }
            lexopt::Arg::Long("to") => to = Some(text(&mut arguments)?),
            lexopt::Arg::Long("listen") => listen = text(&mut arguments)?.parse()?,
            lexopt::Arg::Long(word) if takes_a_value(word) => {
                let word = word.to_owned();
                faults.push((word, text(&mut arguments)?));
            }
            lexopt::Arg::Long(word @ ("silence" | "refuse" | "reject")) => {
                faults.push((word.to_owned(), String::new()));
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let to = to.ok_or("--to is missing: the server's host:port, as --to 127.0.0.1:6379")?;
    let mut hand = Hand {
        proxy: Proxy::listen(listen, &to)?,
        holds: Vec::new(),
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
    };
    for (word, value) in &faults {
        hand.obey(word, value)?;
    }
    writeln!(out, "{}\n{}", hand.proxy.url(), hand.proxy.unix_url())?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (word, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        if word == "quit" {
            return Ok(());
        }
        match hand.obey(word, value) {
            Ok(answer) => writeln!(out, "{answer}")?,
            Err(error) => writeln!(out, "{error}")?,
        }
    }
    // Without a terminal, it serves until it is killed.
    loop {
        std::thread::park();
    }
}

fn text(arguments: &mut lexopt::Parser) -> Result<String> {
    let value = arguments.value()?.into_string();
    value.map_err(|value| format!("{} is not text", value.display()).into())
}

fn takes_a_value(word: &str) -> bool {
    [
        "delay",
        "jitter",
        "delay-requests",
        "delay-pushes",
        "limit",
        "limit-requests",
        "drop",
        "truncate",
        "replace",
    ]
    .contains(&word)
}

/// Controls the proxy.
struct Hand {
    proxy: Proxy,
    holds: Vec<Hold>,
    delay: Duration,
    jitter: Duration,
}

impl Hand {
    /// Executes a line, and returns the answer to print.
    fn obey(&mut self, word: &str, value: &str) -> Result<String> {
        let limit = |direction| -> Result<Fault> {
            Ok(Fault::Limit {
                direction,
                bytes_per_second: bytes(value)?,
            })
        };
        let fault = match word {
            "" => return Ok(String::new()),
            "delay" | "jitter" => {
                let time = duration(value)?;
                match word {
                    "delay" => self.delay = time,
                    _ => self.jitter = time,
                }
                Fault::Delay {
                    frames: Frames::replies(),
                    by: self.delay,
                    jitter: self.jitter,
                }
            }
            "delay-requests" => Fault::delay(Frames::requests(), duration(value)?),
            "delay-pushes" => Fault::delay(Frames::pushes(), duration(value)?),
            "limit" => limit(Direction::ToClient)?,
            "limit-requests" => limit(Direction::ToServer)?,
            "drop" => Fault::Drop(frames(value)?),
            "silence" => Fault::Silence,
            "refuse" => Fault::Refuse,
            "reject" => Fault::Reject(Close::Reset),
            "truncate" => Fault::truncate(Frames::replies(), usize::try_from(bytes(value)?)?),
            "replace" => Fault::replace(Frames::replies(), format!("{value}\r\n")),
            "cut" => {
                self.proxy.cut(Close::Finish);
                return Ok("cut".to_owned());
            }
            "reset" => {
                self.proxy.cut(Close::Reset);
                return Ok("reset".to_owned());
            }
            "hold" => {
                self.holds.push(self.proxy.hold(frames(value)?));
                return Ok(format!("holds {value}"));
            }
            "release" => {
                let held: usize = self.holds.iter().map(Hold::held).sum();
                self.holds.clear();
                return Ok(format!("released {held}"));
            }
            "heal" => {
                (self.delay, self.jitter) = (Duration::ZERO, Duration::ZERO);
                self.proxy.heal();
                return Ok("healed".to_owned());
            }
            "counts" => return Ok(self.proxy.counts().to_string()),
            "commands" => {
                let commands = self.proxy.commands().join("\n");
                self.proxy.reset_counts();
                return Ok(commands);
            }
            _ => return Err(format!("{word:?} is unknown; --help lists the commands").into()),
        };
        let answer = format!("{fault:?}");
        self.proxy.set(fault);
        Ok(answer)
    }
}

fn frames(text: &str) -> Result<Frames> {
    match text {
        "requests" => Ok(Frames::requests()),
        "replies" => Ok(Frames::replies()),
        "pushes" => Ok(Frames::pushes()),
        _ => Err(format!("{text:?} is not one of requests, replies, pushes").into()),
    }
}

fn duration(text: &str) -> Result<Duration> {
    let wrong = || format!("{text:?} is not a time: give ms or s, as 200ms");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').ok_or_else(wrong)?, 1000),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_millis(number.saturating_mul(unit)))
}

fn bytes(text: &str) -> Result<u64> {
    let (number, unit) = match text.strip_suffix('k') {
        Some(number) => (number, 1 << 10),
        None => text
            .strip_suffix('m')
            .map_or((text, 1), |number| (number, 1 << 20)),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a number of bytes, as 500 or 64k"))?;
    Ok(number.saturating_mul(unit))
}
