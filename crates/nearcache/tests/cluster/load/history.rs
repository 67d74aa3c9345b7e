//! What a process asked and what it was answered, as lines of a file.

use std::fmt;
use std::io::Write as _;
use std::str::FromStr;

/// What one process has done, in the order in which it was answered.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) process: usize,
    pub(crate) records: Vec<Record>,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) what: What,
    pub(crate) key: usize,
    /// Microseconds of the clock that all processes share.
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    /// The version that was read, or that is the oldest after an invalidation; what a counter answered; the number that
    /// was put into a list.
    pub(crate) value: u64,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum What {
    /// `remember`, and `remember_many`.
    Remember,
    /// `get`. 0 is none.
    Get,
    /// `delete`, `delete_many`, `set`.
    Invalidate,
    /// `invalidate_tag`.
    Tag,
    /// `incr`.
    Count,
    /// `push_back` to a list.
    Push,
}

pub(crate) const ALL: [What; 6] = [
    What::Remember,
    What::Get,
    What::Invalidate,
    What::Tag,
    What::Count,
    What::Push,
];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Answered,
    /// Not acknowledged, but kept for later.
    Deferred(String),
    /// The kind of the error.
    Failed(String),
}

/// The time now, in microseconds of the clock that all processes share.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
    u64::try_from(micros).expect("it began at zero")
}

impl Outcome {
    pub(crate) fn of<T>(result: &nearcache::Result<T>) -> Outcome {
        if let (Err(error), Some(_)) = (result, std::env::var_os("NEARCACHE_CLUSTER_ERRORS")) {
            // For a person who looks for the cause of one.
            let _ = writeln!(std::io::stderr(), "{}: {error}", now());
        }
        match result {
            Ok(_) => Outcome::Answered,
            Err(error) if error.is_deferred() => {
                Outcome::Deferred(error.kind().as_str().to_owned())
            }
            Err(error) => Outcome::Failed(error.kind().as_str().to_owned()),
        }
    }
}

impl Record {
    pub(crate) fn is_answered(&self) -> bool {
        self.outcome == Outcome::Answered
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = ALL
            .iter()
            .position(|what| *what == self.what)
            .unwrap_or_default();
        let Record {
            key,
            begun,
            ended,
            value,
            ..
        } = self;
        let (outcome, kind) = match &self.outcome {
            Outcome::Answered => ("answered", "-"),
            Outcome::Deferred(kind) => ("deferred", kind.as_str()),
            Outcome::Failed(kind) => ("failed", kind.as_str()),
        };
        write!(f, "{what} {key} {begun} {ended} {value} {outcome} {kind}")
    }
}

impl History {
    /// A file's first line is the number of the process.
    pub(crate) fn parsed(text: &str) -> History {
        let mut lines = text.lines();
        let process = lines.next().and_then(|line| line.parse().ok());
        History {
            process: process.expect("the process's number"),
            records: lines.map(|line| parsed(line).expect("a record")).collect(),
        }
    }
}

fn parsed(line: &str) -> Option<Record> {
    fn number<T: FromStr>(word: Option<&str>) -> Option<T> {
        word?.parse().ok()
    }
    let mut words = line.split(' ');
    let what: usize = number(words.next())?;
    let mut record = Record {
        what: ALL[what],
        key: number(words.next())?,
        begun: number(words.next())?,
        ended: number(words.next())?,
        value: number(words.next())?,
        outcome: Outcome::Answered,
    };
    let (outcome, kind) = (words.next()?, words.next()?.to_owned());
    record.outcome = match outcome {
        "answered" => Outcome::Answered,
        "deferred" => Outcome::Deferred(kind),
        _ => Outcome::Failed(kind),
    };
    Some(record)
}
