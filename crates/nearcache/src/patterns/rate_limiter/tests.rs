//! The algorithms: what they promise, against plain models with a clock that the test moves; and the scripts, on a
//! real server and in the embedded store, which do the same as the steps in Rust, at times that the test gives them.

use std::sync::LazyLock;

use fastrand::Rng;
use nearcache_embedded::{Call, ScriptError};
use proptest::prelude::*;
use redis::{Cmd, Pipeline, Value};

use super::algorithm::{Algorithm, Asked, Kind, answer, numbers};
use super::decision::Answer;
use super::local::Limits;
use super::quota::{Bucket, Quota, Window};
use super::{gcra, sliding, window};
use crate::script::Script;
use crate::script::twins::{self, Family, Step, TOLERANCE};

mod models;
mod scripts;

/// Where the clock starts: in 2100, so that nothing expires by the clock of the machine.
const START: u64 = 4_102_444_800_000_000;

/// The algorithms as they run in this process.
struct Steps {
    limits: Limits,
    algorithm: Algorithm,
}

impl Steps {
    fn new(kind: Kind, quota: &Quota) -> Self {
        Steps {
            limits: Limits::default(),
            algorithm: kind.with(quota).unwrap(),
        }
    }

    fn check(&mut self, now: u64, cost: u64) -> Answer {
        self.limits.check(b"id", self.algorithm, now, cost, true)
    }

    fn peek(&mut self, now: u64, cost: u64) -> Answer {
        self.limits.check(b"id", self.algorithm, now, cost, false)
    }
}
