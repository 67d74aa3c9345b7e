//! The results: a table for people, and JSON for programs.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::Result;
use crate::goals;
use crate::harness::Unit;
use crate::machine::Machine;
use crate::options::Options;

/// A scenario's figures.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    name: String,
    unit: &'static str,
    peer: String,
    contenders: Vec<Measured>,
}

impl Outcome {
    pub(crate) fn new(name: &str, unit: Unit, peer: &str, contenders: Vec<Measured>) -> Self {
        Outcome {
            name: name.to_owned(),
            unit: match unit {
                Unit::Rate | Unit::RateAndCost => "calls/s",
                Unit::Nanos { .. } => "ns/call",
            },
            peer: peer.to_owned(),
            contenders,
        }
    }
}

/// A contender's figures, in its scenario's unit.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    name: &'static str,
    goal: Option<f64>,
    rounds: Vec<f64>,
    figure: Spread,
    /// Its speed divided by the peer's, round by round.
    ratio: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Cost>,
}

/// The server's cost for a call.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cost {
    /// Processor time, in microseconds.
    micros: Spread,
    /// The cost divided by the peer's, round by round.
    ratio: Spread,
}

impl Cost {
    pub(crate) fn new(micros: &[f64], peer: &[f64]) -> Self {
        let ratios = micros.iter().zip(peer).map(|(one, peer)| one / peer);
        Cost {
            micros: Spread::of(micros.to_vec()),
            ratio: Spread::of(ratios.collect()),
        }
    }
}

impl Measured {
    pub(crate) fn new(
        name: &'static str,
        goal: Option<f64>,
        unit: Unit,
        speeds: &[f64],
        peer: &[f64],
        server: Option<Cost>,
    ) -> Self {
        let rounds: Vec<f64> = match unit {
            Unit::Rate | Unit::RateAndCost => speeds.to_vec(),
            Unit::Nanos { threads } => {
                let nanos = |speed| threads as f64 * 1e9 / speed;
                speeds.iter().copied().map(nanos).collect()
            }
        };
        let ratios = speeds.iter().zip(peer).map(|(speed, peer)| speed / peer);
        Measured {
            name,
            goal,
            figure: Spread::of(rounds.clone()),
            ratio: Spread::of(ratios.collect()),
            server,
            rounds,
        }
    }

    fn missed(&self) -> bool {
        self.goal.is_some_and(|goal| self.ratio.median < goal)
    }
}

/// Figures that must stay below a limit.
#[derive(Debug, Serialize)]
pub(crate) struct Bounds {
    name: String,
    unit: &'static str,
    most: f64,
    figures: Vec<Figure>,
}

/// A figure of ours, or one of a peer for comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) ours: bool,
}

impl Bounds {
    pub(crate) fn new(name: &str, unit: &'static str, most: f64, figures: Vec<Figure>) -> Self {
        Bounds {
            name: name.to_owned(),
            unit,
            most,
            figures,
        }
    }

    fn missed(&self, figure: &Figure) -> bool {
        figure.ours && figure.value > self.most
    }
}

/// The lowest, the median and the highest value.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Spread {
            min: values[0],
            median: (lower + upper) / 2.0,
            max: values[values.len() - 1],
        }
    }
}

pub(crate) fn name(name: &str) {
    println!("{name}");
}

pub(crate) fn opening(machine: &Machine, rounds: usize, span: Duration) {
    println!("{machine}");
    println!("{rounds} rounds, {span:?} for each contender in each\n");
}

pub(crate) fn server(version: &str) {
    println!("redis-server {version}, on loopback, nothing saved\n");
}

const NAME: usize = 31;

pub(crate) fn scenario(outcome: &Outcome) {
    let Outcome {
        name, unit, peer, ..
    } = outcome;
    println!("{name:<width$} {unit:>11}   ÷ {peer}", width = NAME + 2);
    for measured in &outcome.contenders {
        let Measured {
            name,
            figure,
            ratio,
            goal,
            server,
            ..
        } = measured;
        let figure = grouped(figure.median);
        let ratio = if name == peer {
            "1".to_owned()
        } else {
            format!("{:.2}..{:.2}..{:.2}", ratio.min, ratio.median, ratio.max)
        };
        let goal = match goal {
            Some(goal) if measured.missed() => format!("   missed {goal:.2}"),
            Some(goal) => format!("   meets {goal:.2}"),
            None => String::new(),
        };
        let server = match server {
            Some(Cost { micros, ratio: of }) => format!(
                "{:gap$}server {:.2}..{:.2}..{:.2} µs, × {:.2}..{:.2}..{:.2}",
                "",
                micros.min,
                micros.median,
                micros.max,
                of.min,
                of.median,
                of.max,
                gap = 18_usize.saturating_sub(ratio.len()),
            ),
            None => String::new(),
        };
        println!("  {name:<NAME$} {figure:>11}   {ratio}{goal}{server}");
    }
    println!();
}

pub(crate) fn bounds(bounds: &Bounds) {
    let Bounds {
        name,
        unit,
        most,
        figures,
    } = bounds;
    println!(
        "{name:<width$} {unit:>11}   at most {most}",
        width = NAME + 2
    );
    // Names of figures may be longer than names of contenders.
    let width = figures
        .iter()
        .map(|figure| figure.name.chars().count())
        .fold(NAME, usize::max);
    for figure in figures {
        let Figure { name, value, ours } = figure;
        let verdict = match ours {
            true if bounds.missed(figure) => "   missed",
            true => "   met",
            false => "",
        };
        println!("  {name:<width$} {value:>11.2}{verdict}");
    }
    println!();
}

/// The table of goals.
pub(crate) fn goals(outcomes: &[Outcome], bounds: &[Bounds]) {
    println!(
        "goals, and what was measured (lowest..median..highest of the rounds; the median counts)\n"
    );
    for row in goals::ROWS {
        let ratios = outcomes.iter().filter(|outcome| row.has(&outcome.name));
        let ratios = ratios.flat_map(|outcome| {
            let with_goals = outcome.contenders.iter().filter_map(move |measured| {
                let goal = measured.goal?;
                let Spread { min, median, max } = measured.ratio;
                Some(format!(
                    "{min:.2}..{median:.2}..{max:.2} × {}, goal {goal:.2}: {}\t{}, {}",
                    outcome.peer,
                    verdict(measured.missed()),
                    outcome.name,
                    measured.name,
                ))
            });
            with_goals.collect::<Vec<_>>()
        });
        let limits = bounds.iter().filter(|bounds| row.has(&bounds.name));
        let limits = limits.flat_map(|bounds| {
            let ours = bounds.figures.iter().filter(|figure| figure.ours);
            ours.map(move |figure| {
                format!(
                    "{:.2} {}, at most {}: {}\t{}, {}",
                    figure.value,
                    bounds.unit,
                    bounds.most,
                    verdict(bounds.missed(figure)),
                    bounds.name,
                    figure.name,
                )
            })
        });
        let lines: Vec<String> = ratios.chain(limits).collect();
        if lines.is_empty() {
            continue;
        }
        println!("{} — {}", row.what, row.goal);
        for line in lines {
            let (figure, what) = line.split_once('\t').unwrap_or((&line, ""));
            println!("  {figure:<64} {what}");
        }
        println!();
    }
}

fn verdict(missed: bool) -> &'static str {
    if missed { "missed" } else { "met" }
}

pub(crate) fn closing(outcomes: &[Outcome], bounds: &[Bounds]) {
    let with_goal = |outcome: &Outcome| {
        let contenders = outcome.contenders.iter();
        contenders
            .filter(|measured| measured.goal.is_some())
            .count()
    };
    let ratios: usize = outcomes.iter().map(with_goal).sum();
    let goals = ratios
        + bounds
            .iter()
            .flat_map(|bounds| &bounds.figures)
            .filter(|figure| figure.ours)
            .count();
    let too_much = bounds.iter().flat_map(|bounds| {
        let missed = bounds.figures.iter().filter(|figure| bounds.missed(figure));
        missed.map(|Figure { name, value, .. }| {
            format!("  {}: {name} at {value:.2} {}", bounds.name, bounds.unit)
        })
    });
    let missed: Vec<String> = outcomes
        .iter()
        .flat_map(|outcome| outcome.contenders.iter().map(move |one| (outcome, one)))
        .filter(|(_, measured)| measured.missed())
        .map(|(outcome, measured)| {
            let (name, ratio) = (&outcome.name, measured.ratio.median);
            format!(
                "  {name}: {} at {ratio:.2} × {}",
                measured.name, outcome.peer
            )
        })
        .chain(too_much)
        .collect();
    if goals > 0 {
        println!("{} of {goals} goals met", goals - missed.len());
    }
    for line in missed {
        println!("{line}");
    }
}

/// Writes everything to a file in `results/`, one for each run.
pub(crate) fn write(
    machine: &Machine,
    options: &Options,
    outcomes: &[Outcome],
    bounds: &[Bounds],
) -> Result<()> {
    #[derive(Serialize)]
    struct Run<'a> {
        unix_time: u64,
        machine: &'a Machine,
        rounds: usize,
        span_millis: u128,
        scenarios: &'a [Outcome],
        bounds: &'a [Bounds],
    }
    let unix_time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let run = Run {
        unix_time,
        machine,
        rounds: options.rounds,
        span_millis: options.span.as_millis(),
        scenarios: outcomes,
        bounds,
    };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    std::fs::create_dir_all(&directory)?;
    let file = format!("{unix_time}.json");
    std::fs::write(directory.join(&file), serde_json::to_vec_pretty(&run)?)?;
    println!("\nwritten to bench/results/{file}");
    Ok(())
}

/// `1234567.8` as `1,234,568`.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
