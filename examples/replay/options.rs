//! The options on the command line.

use std::path::PathBuf;

use lexopt::prelude::*;
use nearcache::{IntoTtl, Ttl};

use crate::Result;

pub(crate) const HELP: &str = "\
Replays a trace of accesses through a cache.

Usage: replay [FILE] [OPTIONS]

  FILE               a 4-byte big-endian key per access, plain or xz;
                     without it, a made-up trace
  --url URL          where the cache is             [memory://]
  --tasks N          how many tasks go through it   [8]
  --limit N          how many accesses at most      [10000000; made up: 500000]
  --value-bytes N    how large each value is        [100]
  --ttl TTL          how long a value stays         [1h]";

/// A trace of this many accesses is 40 MB in memory.
const MOST: usize = 10_000_000;

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) file: Option<PathBuf>,
    pub(crate) url: String,
    pub(crate) tasks: usize,
    pub(crate) limit: usize,
    pub(crate) value_bytes: usize,
    pub(crate) ttl: Ttl,
}

impl Options {
    /// Parses the options; `None` for `--help`.
    pub(crate) fn parse() -> Result<Option<Self>> {
        let mut options = Options {
            file: None,
            url: "memory://".to_owned(),
            tasks: 8,
            limit: 0,
            value_bytes: 100,
            ttl: "1h".into_ttl()?,
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(None),
                Long("url") => options.url = arguments.value()?.string()?,
                Long("tasks") => options.tasks = arguments.value()?.parse()?,
                Long("limit") => options.limit = arguments.value()?.parse()?,
                Long("value-bytes") => options.value_bytes = arguments.value()?.parse()?,
                Long("ttl") => options.ttl = arguments.value()?.string()?.into_ttl()?,
                Value(file) if options.file.is_none() => options.file = Some(file.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        let default = match options.file {
            Some(_) => MOST,
            None => 500_000,
        };
        options.limit = match options.limit {
            0 => default,
            limit if limit <= MOST => limit,
            _ => return Err(format!("--limit is at most {MOST}").into()),
        };
        if !(1..=10_000).contains(&options.tasks) {
            return Err("--tasks is from 1 to 10000".into());
        }
        if options.value_bytes > 1024 * 1024 {
            return Err("--value-bytes is at most 1048576".into());
        }
        Ok(Some(options))
    }
}
