//! The options on the command line.

use std::time::Duration;

use lexopt::prelude::*;

use crate::{Result, goals};

pub(crate) const HELP: &str = "\
Measures nearcache beside its peers.

Usage: cargo run --release -- [FILTER...] [OPTIONS]

  FILTER        only scenarios whose name contains one of these
  --goals       only what has a goal, and at the end a table of the goals: which are met
  --list        the names of the scenarios
  --quick       3 rounds of 100 ms: whether it works, not how fast it is
  --rounds N    how many rounds                            [9]
  --millis N    how long each measurement of a round is    [400]
  --only NAME   this contender alone, for a profiler: there is no ratio then
";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) filters: Vec<String>,
    pub(crate) goals: bool,
    pub(crate) list: bool,
    pub(crate) only: Option<String>,
    pub(crate) rounds: usize,
    pub(crate) span: Duration,
}

impl Options {
    /// Parses the options; `None` for `--help`.
    pub(crate) fn parse() -> Result<Option<Self>> {
        let mut options = Options {
            filters: Vec::new(),
            goals: false,
            list: false,
            only: None,
            rounds: 9,
            span: Duration::from_millis(400),
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(None),
                Long("goals") => options.goals = true,
                Long("list") => options.list = true,
                Long("only") => options.only = Some(arguments.value()?.string()?),
                Long("quick") => {
                    options.rounds = 3;
                    options.span = Duration::from_millis(100);
                }
                Long("rounds") => options.rounds = arguments.value()?.parse::<usize>()?.max(1),
                Long("millis") => {
                    let millis: u64 = arguments.value()?.parse()?;
                    options.span = Duration::from_millis(millis.max(1));
                }
                Value(filter) => options.filters.push(filter.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(options))
    }

    /// Whether a scenario of this name was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        (!self.goals || goals::has(name))
            && (self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter)))
    }
}
