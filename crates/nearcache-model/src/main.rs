//! Runs the whole protocol in every configuration, then each mechanism taken out.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nearcache_model::experiments::{self, Experiment};
use nearcache_model::explorer::{self, Limits, Report, Verdict};
use nearcache_model::{
    Action, Mechanism, Model, Outcome, configuration::Configuration, suite, trace,
};

const USAGE: &str = "\
cargo run --release -p nearcache-model -- [--wide] [--threads N] [--only TEXT | --trace NAME]

Looks at every state of nearcache's read-through protocols, in each configuration, and then takes out
each mechanism in turn, which must be missed. Fails if anything is not as it should be.

  --wide          larger configurations too: some minutes more, and some GiB of memory
  --threads N     how many searches run at once (2)
  --only TEXT     only the configurations with TEXT in their name, and nothing taken out
  --trace NAME    only the run that breaks the protocol without the mechanism NAME, step by step
";

/// More than any configuration has: a search that reaches it has failed.
const MOST_STATES: usize = 60_000_000;

type Seen = BTreeSet<(Action, Outcome)>;

/// One search, and what it should find.
struct Job {
    model: Model,
    should: Should,
}

#[derive(Clone, Copy)]
enum Should {
    Hold,
    Break(nearcache_model::Property),
}

struct Done {
    report: Report<Model>,
    seen: Seen,
}

fn main() -> ExitCode {
    match arguments() {
        Ok(Arguments {
            trace: Some(name), ..
        }) => tell(&name),
        Ok(arguments) => run(&arguments),
        Err(why) => {
            println!("{why}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Arguments {
    wide: bool,
    threads: usize,
    only: Option<String>,
    trace: Option<String>,
}

fn arguments() -> Result<Arguments, lexopt::Error> {
    use lexopt::prelude::*;
    let mut arguments = Arguments {
        wide: false,
        threads: 2,
        only: None,
        trace: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("wide") => arguments.wide = true,
            Long("threads") => arguments.threads = parser.value()?.parse()?,
            Long("only") => arguments.only = Some(parser.value()?.string()?),
            Long("trace") => arguments.trace = Some(parser.value()?.string()?),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(arguments)
}

fn search(model: &Model) -> Done {
    let limits = Limits {
        states: MOST_STATES,
        progress: model.configuration.progress,
    };
    let mut seen = Seen::new();
    let mut table = vec![false; Action::ALL.len() * Outcome::ALL.len()];
    let report = explorer::explore(model, limits, |event| {
        let at = event.action as usize * Outcome::ALL.len() + event.outcome as usize;
        if !std::mem::replace(&mut table[at], true) {
            seen.insert((event.action, event.outcome));
        }
    });
    Done { report, seen }
}

/// Runs all jobs, so many at a time, and hands over each result in the order of the jobs.
fn in_order(jobs: &[Job], threads: usize, mut each: impl FnMut(&Job, &Done)) {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                while let Some((at, job)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(at).map(|job| (at, job))
                } {
                    if sender.send((at, search(&job.model))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting: Vec<Option<Done>> = jobs.iter().map(|_| None).collect();
        let mut shown = 0;
        for (at, done) in receiver {
            waiting[at] = Some(done);
            while let Some(done) = waiting.get_mut(shown).and_then(Option::take) {
                each(&jobs[shown], &done);
                shown += 1;
            }
        }
    });
}

fn run(arguments: &Arguments) -> ExitCode {
    let threads = arguments.threads;
    let began = Instant::now();
    let mut wrong = 0;
    let mut states = 0;
    let mut seen = Seen::new();

    println!("The protocol. Every state is looked at; each property must hold in all of them.\n");
    println!(
        "{:<24}{:>12}{:>13}{:>7}{:>8}  verdict",
        "configuration", "states", "steps", "depth", "time"
    );
    let mut configurations = suite::configurations();
    if arguments.wide {
        configurations.extend(suite::wide());
    }
    if let Some(text) = &arguments.only {
        configurations.retain(|configuration| configuration.name.contains(text.as_str()));
    }
    let jobs: Vec<Job> = configurations.into_iter().map(whole).collect();
    in_order(&jobs, threads, |job, done| {
        let report = &done.report;
        states += report.states;
        seen.extend(&done.seen);
        let right = as_it_should(job, report);
        wrong += usize::from(!right);
        println!(
            "{:<24}{:>12}{:>13}{:>7}{:>8}  {}",
            job.model.configuration.name,
            report.states,
            report.steps,
            report.depth,
            seconds(report.time),
            verdict(report)
        );
        if let Verdict::Broken { trace, .. } = &report.verdict {
            println!("{}", trace::told(trace));
        }
    });

    if arguments.only.is_some() {
        return ended(states, wrong, began);
    }
    println!(
        "\nEach mechanism taken out. It must be missed, and is not where its condition never comes about.\n"
    );
    println!("{:<40}{:>6}  {:<42}control", "without", "steps", "breaks");
    let experiments = experiments::experiments();
    let jobs: Vec<Job> = experiments.iter().flat_map(jobs_of).collect();
    let mut rows = experiments.iter();
    in_order(&jobs, threads, |job, done| {
        states += done.report.states;
        let right = as_it_should(job, &done.report);
        wrong += usize::from(!right);
        let warning = if right { "" } else { "  WRONG" };
        match job.should {
            Should::Hold => println!("{}{warning}", verdict(&done.report)),
            Should::Break(_) => {
                let row = rows.next().expect("a row for each experiment");
                print_row(row, &done.report);
                print!("{warning}");
                if row.unless.is_none() {
                    println!();
                }
            }
        }
    });

    for missing in never_seen(&seen) {
        println!("\nnever happened in any configuration: {missing}");
        wrong += 1;
    }
    for mechanism in Mechanism::ALL {
        if !experiments
            .iter()
            .any(|experiment| experiment.without == *mechanism)
        {
            println!("\nnever taken out: {mechanism:?}");
            wrong += 1;
        }
    }
    ended(states, wrong, began)
}

fn ended(states: usize, wrong: usize, began: Instant) -> ExitCode {
    println!(
        "\n{states} states in {}; {wrong} not as it should be",
        seconds(began.elapsed())
    );
    if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The first part of a row, up to how its control went.
fn print_row(experiment: &Experiment, report: &Report<Model>) {
    let steps = match &report.verdict {
        Verdict::Broken { trace, .. } => trace.len().to_string(),
        _ => "-".to_owned(),
    };
    let name = experiment.name();
    print!("{name:<40}{steps:>6}  {:<42}", verdict(report));
    if let Some((condition, _)) = experiment.unless {
        print!("without {condition}: ");
    }
}

fn whole(configuration: Configuration) -> Job {
    Job {
        model: Model {
            configuration,
            without: None,
        },
        should: Should::Hold,
    }
}

fn jobs_of(experiment: &Experiment) -> Vec<Job> {
    let job = |configuration, should| Job {
        model: Model {
            configuration,
            without: Some(experiment.without),
        },
        should,
    };
    let mut jobs = vec![job(
        experiment.configuration,
        Should::Break(experiment.breaks),
    )];
    jobs.extend(
        experiment
            .unless
            .map(|(_, configuration)| job(configuration, Should::Hold)),
    );
    jobs
}

fn as_it_should(job: &Job, report: &Report<Model>) -> bool {
    match (&report.verdict, job.should) {
        (Verdict::Holds, Should::Hold) => true,
        (Verdict::Broken { property, .. }, Should::Break(expected)) => *property == expected,
        _ => false,
    }
}

fn verdict(report: &Report<Model>) -> String {
    match &report.verdict {
        Verdict::Holds => "holds".to_owned(),
        Verdict::Broken { property, .. } => format!("{property}"),
        Verdict::TooMany => "too many states".to_owned(),
    }
}

/// A model in which something never happens says nothing about it.
fn never_seen(seen: &Seen) -> Vec<String> {
    let actions = Action::ALL.iter().filter(|&&action| {
        // A right renewal changes nothing that is modelled.
        action != Action::Renew && !seen.iter().any(|&(seen, _)| seen == action)
    });
    let outcomes = Outcome::ALL.iter();
    let outcomes = outcomes.filter(|&&outcome| !seen.iter().any(|&(_, seen)| seen == outcome));
    let actions = actions.map(|action| format!("{action:?}"));
    actions
        .chain(outcomes.map(|outcome| format!("{outcome:?}")))
        .collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn tell(name: &str) -> ExitCode {
    let experiments = experiments::experiments();
    let named = |experiment: &&Experiment| experiment.name().eq_ignore_ascii_case(name);
    let Some(experiment) = experiments.iter().find(named) else {
        println!("no mechanism has this name; there are:");
        for experiment in &experiments {
            println!("  {}", experiment.name());
        }
        return ExitCode::from(2);
    };
    let model = Model {
        configuration: experiment.configuration,
        without: Some(experiment.without),
    };
    match search(&model).report.verdict {
        Verdict::Broken { property, trace } => {
            println!("Without {:?}: {property}.\n", experiment.without);
            println!("{}", trace::told(&trace));
            ExitCode::SUCCESS
        }
        Verdict::Holds | Verdict::TooMany => {
            println!("nothing is broken without {:?}", experiment.without);
            ExitCode::FAILURE
        }
    }
}
