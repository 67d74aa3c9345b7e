//! Measures contenders side by side.
//!
//! A scenario has contenders, and one of them is the peer that the others are compared with. Round after round, each
//! is measured for the same short time, A B C A B C, so that disturbances of the machine affect all of them. A ratio
//! is taken within a round; over the rounds it has a median and a spread.

use std::cell::OnceCell;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::machine::Machine;
use crate::options::Options;
use crate::report::{self, Bounds, Cost, Figure, Measured, Outcome};
use crate::server::Server;

/// The result of one measurement of a contender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) calls: u64,
    pub(crate) elapsed: Duration,
}

impl Sample {
    pub(crate) fn per_second(self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64()
    }
}

/// The unit of a scenario's figures. Ratios are always of speed: above 1 is faster than the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Calls per second, of all tasks and threads together.
    Rate,
    /// Nanoseconds that a call takes on its thread, with this many threads.
    Nanos { threads: usize },
    /// Calls per second, and the server's processor time for each call.
    RateAndCost,
}

/// A contender: its function runs for about the given time, and returns what it did.
pub(crate) struct Contender<'a> {
    name: &'static str,
    run: Box<dyn FnMut(Duration) -> Result<Sample> + 'a>,
    goal: Option<f64>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(
        name: &'static str,
        run: impl FnMut(Duration) -> Result<Sample> + 'a,
    ) -> Self {
        Contender {
            name,
            run: Box::new(run),
            goal: None,
        }
    }

    /// Checks each measurement.
    pub(crate) fn checked(self, mut check: impl FnMut(Sample) -> Result<()> + 'a) -> Self {
        let mut run = self.run;
        let run = move |span| {
            let sample = run(span)?;
            check(sample)?;
            Ok(sample)
        };
        Contender {
            run: Box::new(run),
            ..self
        }
    }

    /// The goal: the lowest acceptable ratio to the peer.
    pub(crate) fn goal(mut self, ratio: f64) -> Self {
        self.goal = Some(ratio);
        self
    }
}

/// The run: its options, its machine, and the results so far.
pub(crate) struct Bench {
    options: Options,
    machine: Machine,
    server: OnceCell<Server>,
    outcomes: Vec<Outcome>,
    bounds: Vec<Bounds>,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Result<Self> {
        let machine = Machine::look();
        if !options.list {
            report::opening(&machine, options.rounds, options.span);
        }
        Ok(Bench {
            options,
            machine,
            server: OnceCell::new(),
            outcomes: Vec::new(),
            bounds: Vec::new(),
        })
    }

    /// The Redis server of this run, started when it is first needed.
    pub(crate) fn server(&self) -> Result<&Server> {
        if let Some(server) = self.server.get() {
            return Ok(server);
        }
        let server = Server::start();
        report::server(server.version());
        Ok(self.server.get_or_init(|| server))
    }

    /// Measures a scenario, if it was asked for. `contenders` sets them up; the others are compared with the one
    /// named `peer`.
    pub(crate) fn compare<'a>(
        &mut self,
        name: &str,
        unit: Unit,
        peer: &str,
        contenders: impl FnOnce(&Bench) -> Result<Vec<Contender<'a>>>,
    ) -> Result<()> {
        if !self.options.wants(name) {
            return Ok(());
        }
        if self.options.list {
            report::name(name);
            return Ok(());
        }
        let mut contenders = contenders(self)?;
        if let Some(only) = &self.options.only {
            let exact = contenders.iter().any(|contender| contender.name == only);
            contenders.retain(|contender| match exact {
                true => contender.name == only,
                false => contender.name.contains(only),
            });
            contenders
                .iter_mut()
                .for_each(|contender| contender.goal = None);
        }
        let Some(first) = contenders.first() else {
            return Ok(());
        };
        // When only one contender runs, for a profiler, it is its own peer.
        let peer = if self.options.only.is_some() {
            first.name
        } else {
            peer
        };
        let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
        let mut costs: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
        for contender in &mut contenders {
            // A warm-up that is not measured: it makes connections and touches memory.
            (contender.run)(self.options.span / 4)?;
        }
        for _ in 0..self.options.rounds {
            for (index, contender) in contenders.iter_mut().enumerate() {
                let before = self.server_cpu(unit)?;
                let sample = (contender.run)(self.options.span)?;
                let spent = self.server_cpu(unit)?.saturating_sub(before);
                rounds[index].push(sample.per_second());
                costs[index].push(spent.as_secs_f64() * 1e6 / sample.calls as f64);
            }
        }
        let base = contenders
            .iter()
            .position(|contender| contender.name == peer)
            .ok_or_else(|| format!("{name} has no contender {peer:?}"))?;
        let measured = contenders
            .iter()
            .zip(rounds.iter().zip(&costs))
            .map(|(contender, (speeds, micros))| {
                let cost = match unit {
                    Unit::RateAndCost => Some(Cost::new(micros, &costs[base])),
                    _ => None,
                };
                let (name, goal) = (contender.name, contender.goal);
                Measured::new(name, goal, unit, speeds, &rounds[base], cost)
            })
            .collect();
        let outcome = Outcome::new(name, unit, peer, measured);
        report::scenario(&outcome);
        self.outcomes.push(outcome);
        Ok(())
    }

    /// Measures figures that must stay below a limit, if they were asked for.
    pub(crate) fn bound(
        &mut self,
        name: &str,
        unit: &'static str,
        most: f64,
        measure: impl FnOnce(&Bench) -> Result<Vec<(String, f64)>>,
    ) -> Result<()> {
        self.bound_beside(name, unit, most, |bench| {
            let ours = |(name, value)| Figure {
                name,
                value,
                ours: true,
            };
            Ok(measure(bench)?.into_iter().map(ours).collect())
        })
    }

    /// The same, with figures of peers for comparison, which have no limit.
    pub(crate) fn bound_beside(
        &mut self,
        name: &str,
        unit: &'static str,
        most: f64,
        measure: impl FnOnce(&Bench) -> Result<Vec<Figure>>,
    ) -> Result<()> {
        if !self.options.wants(name) {
            return Ok(());
        }
        if self.options.list {
            report::name(name);
            return Ok(());
        }
        let bounds = Bounds::new(name, unit, most, measure(self)?);
        report::bounds(&bounds);
        self.bounds.push(bounds);
        Ok(())
    }

    /// The server's processor time until now, if the unit needs it.
    fn server_cpu(&self, unit: Unit) -> Result<Duration> {
        match unit {
            Unit::RateAndCost => self.server()?.cpu(),
            _ => Ok(Duration::ZERO),
        }
    }

    /// How often each contender is measured.
    pub(crate) fn rounds(&self) -> usize {
        self.options.rounds
    }

    /// How long a measurement is.
    pub(crate) fn span(&self) -> Duration {
        self.options.span
    }

    /// By what a long measurement is divided in a quick run.
    pub(crate) fn shortened(&self) -> usize {
        if self.options.rounds < 5 { 10 } else { 1 }
    }

    /// Prints which goals were met, and writes all results to a file.
    pub(crate) fn finish(mut self) -> Result<()> {
        if self.options.list || (self.outcomes.is_empty() && self.bounds.is_empty()) {
            return Ok(());
        }
        self.machine.redis_server = self.server.get().map(|server| server.version().to_owned());
        if self.options.goals {
            report::goals(&self.outcomes, &self.bounds);
        }
        report::closing(&self.outcomes, &self.bounds);
        report::write(&self.machine, &self.options, &self.outcomes, &self.bounds)
    }
}

/// Runs each worker on a thread of its own until the time is over. `calls` makes a number of calls, starting from a
/// position in the keys; the clock is read only between them.
pub(crate) fn on_threads<W: Send>(
    workers: &mut [W],
    span: Duration,
    at_once: usize,
    calls: impl Fn(&mut W, usize, usize) -> Result<()> + Sync,
) -> Result<Sample> {
    let calls = &calls;
    let start = Instant::now();
    let until = start + span;
    let counts: Result<Vec<u64>> = thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .enumerate()
            .map(|(index, worker)| {
                scope.spawn(move || {
                    let mut place = index * crate::scenario::APART;
                    let mut made = 0;
                    while Instant::now() < until {
                        calls(worker, place, at_once)?;
                        place += at_once;
                        made += at_once as u64;
                    }
                    Ok(made)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a worker panicked")?)
            .collect()
    });
    Ok(Sample {
        calls: counts?.iter().sum(),
        elapsed: start.elapsed(),
    })
}
