//! Measuring side by side.
//!
//! A scenario has contenders, one of which is the peer that the others are compared with. Round after
//! round, each is measured for the same short span, A B C A B C, so that what happens to the machine
//! meanwhile happens to all of them. A ratio is taken within a round; over the rounds it has a median
//! and a spread.

use std::cell::OnceCell;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::machine::Machine;
use crate::options::Options;
use crate::report::{self, Bounds, Cost, Figure, Measured, Outcome};
use crate::server::Server;

/// What a contender did in one measurement.
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

/// How a scenario's figures are given. Ratios are always of speed: above 1 is faster than the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Calls a second, of all tasks and threads together.
    Rate,
    /// Nanoseconds that a call takes on its thread, of which there are so many.
    Nanos { threads: usize },
    /// Calls a second, and the processor time that each costs the run's server.
    RateAndCost,
}

/// Someone who is measured: runs for about the span, and says what it did.
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

    /// The least ratio to the peer that we want to see.
    pub(crate) fn goal(mut self, ratio: f64) -> Self {
        self.goal = Some(ratio);
        self
    }
}

/// The run: what was asked for, where it runs, and what came out so far.
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

    /// Measures a scenario, if it was asked for. `contenders` sets them up; the one named `peer` is
    /// what the others are compared with.
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
            contenders.retain(|contender| contender.name.contains(only));
            contenders
                .iter_mut()
                .for_each(|contender| contender.goal = None);
        }
        let Some(first) = contenders.first() else {
            return Ok(());
        };
        // Alone, for a profiler, a contender is its own peer.
        let peer = if self.options.only.is_some() {
            first.name
        } else {
            peer
        };
        let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
        let mut costs: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
        for contender in &mut contenders {
            // Unmeasured: connections are made, memory is touched.
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

    /// Measures what must stay below a bound, if it was asked for.
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

    /// The same, with peers beside, who are held to nothing.
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

    /// The processor time of the run's server until now, where that is asked for.
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

    /// Says which goals were met, and writes everything down.
    pub(crate) fn finish(mut self) -> Result<()> {
        if self.options.list || (self.outcomes.is_empty() && self.bounds.is_empty()) {
            return Ok(());
        }
        self.machine.redis_server = self.server.get().map(|server| server.version().to_owned());
        report::closing(&self.outcomes, &self.bounds);
        report::write(&self.machine, &self.options, &self.outcomes, &self.bounds)
    }
}

/// Lets each worker call on a thread of its own until the span is over. `calls` makes so many calls,
/// from that place in the keys on: the clock is read between them only.
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
