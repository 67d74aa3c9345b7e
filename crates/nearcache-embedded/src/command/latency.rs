//! `LATENCY`: what took long, see [`crate::latency`], and how long commands take.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use redis::{ProtocolVersion, Value};

use super::object::lines;
use super::row::prelude::*;
use super::server::container;
use super::{Args, excerpt, find, table};
use crate::context::Context;
use crate::port::latency::Event;
use crate::reply::{self, Error, Reply, bulk, count};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("latency",            -2, Shared,    NONE,     Container, container),
    ("latency|history",     3, Shared,    NONE,     NoScript,  history),
    ("latency|latest",      2, Shared,    NONE,     NoScript,  latest),
    ("latency|reset",      -2, Shared,    NONE,     NoScript,  reset),
    ("latency|graph",       3, Shared,    NONE,     NoScript,  graph),
    ("latency|doctor",      2, Shared,    NONE,     NoScript,  doctor),
    ("latency|histogram",  -2, Shared,    NONE,     NoScript,  histogram),
    ("latency|help",        2, Shared,    NONE,     NoScript,  help),
];

fn millis(millis: u64) -> Value {
    Value::Int(i64::try_from(millis).unwrap_or(i64::MAX))
}

pub(super) fn history(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let event = cx.shared.latency.event(args[2]).unwrap_or_default();
    let samples = event.samples.into_iter();
    Ok(Value::Array(
        samples
            .map(|(second, longest)| Value::Array(vec![Value::Int(second), millis(longest)]))
            .collect(),
    ))
}

pub(super) fn latest(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let events = cx.shared.latency.events().into_iter();
    let shown = events.map(|(name, event)| {
        let (second, last) = event.samples.back().copied().unwrap_or_default();
        Value::Array(vec![
            bulk(name.as_bytes()),
            Value::Int(second),
            millis(last),
            millis(event.longest),
        ])
    });
    Ok(Value::Array(shown.collect()))
}

pub(super) fn reset(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let latency = &cx.shared.latency;
    Ok(count(match &args[2..] {
        [] => latency.reset(None),
        names => names.iter().map(|name| latency.reset(Some(name))).sum(),
    }))
}

/// A column for each sample, as high as it is long.
pub(super) fn graph(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    const ROWS: u64 = 4;
    let Some(event) = cx.shared.latency.event(args[2]) else {
        return Err(Error::from(format!(
            "ERR No samples available for event '{}'",
            excerpt(args[2], usize::MAX)
        )));
    };
    let (low, high) = range(&event);
    let name = String::from_utf8_lossy(args[2]);
    let mut graph = format!(
        "{name} - high {high} ms, low {low} ms (all time high {} ms)\n",
        event.longest
    );
    graph.push_str(&"-".repeat(80));
    graph.push('\n');
    for row in (0..ROWS).rev() {
        for (_, sample) in &event.samples {
            let height = (sample - low) * (ROWS * 2 - 1) / (high - low).max(1);
            graph.push(match height.checked_sub(row * 2) {
                None => ' ',
                Some(0) => '_',
                Some(_) => '#',
            });
        }
        graph.push('\n');
    }
    let now = cx.now() / 1000;
    let ages: Vec<_> = event
        .samples
        .iter()
        .map(|(second, _)| age(now - second))
        .collect();
    let longest = ages.iter().map(String::len).max().unwrap_or(0);
    for at in 0..longest {
        let column = |age: &String| age.as_bytes().get(at).map_or(' ', |byte| char::from(*byte));
        graph.extend(ages.iter().map(column));
        graph.push('\n');
    }
    Ok(reply::text(cx.session.protocol, graph))
}

fn range(event: &Event) -> (u64, u64) {
    let samples = || event.samples.iter().map(|(_, sample)| *sample);
    (samples().min().unwrap_or(0), samples().max().unwrap_or(0))
}

fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

pub(super) fn doctor(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let events = cx.shared.latency.events();
    let mut report = String::new();
    if events.is_empty() {
        report.push_str(if cx.shared.latency.threshold.load(Ordering::Relaxed) == 0 {
            "The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on.\n"
        } else {
            "Nothing has taken longer than the threshold so far.\n"
        });
    }
    for (name, event) in &events {
        let samples = event.samples.len().max(1) as u64;
        let sum: u64 = event.samples.iter().map(|(_, sample)| sample).sum();
        // Writing to a string cannot fail.
        let _ = writeln!(
            report,
            "{name}: {} spikes, {} ms on average, {} ms at most.",
            event.samples.len(),
            sum / samples,
            event.longest
        );
    }
    if events.contains_key("command") {
        report.push_str("\nSLOWLOG GET names the commands that took long.\n");
    }
    Ok(reply::text(cx.session.protocol, report))
}

pub(super) fn histogram(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let mut shown = Vec::new();
    if args.len() == 2 {
        table::all().for_each(|command| show(cx, command, &mut shown));
    }
    for name in &args[2..] {
        let Some(command) = find(name) else {
            continue;
        };
        show(cx, command, &mut shown);
        let subcommand = format!("{}|", command.name);
        table::all()
            .filter(|other| other.name.starts_with(&subcommand))
            .for_each(|command| show(cx, command, &mut shown));
    }
    Ok(map(cx, shown))
}

fn show(cx: &Context<'_>, command: &Command, shown: &mut Vec<(Value, Value)>) {
    let steps = cx.shared.stats.histogram(command);
    let Some((_, calls)) = steps.last() else {
        return;
    };
    let calls = millis(*calls);
    let steps = steps
        .into_iter()
        .map(|(micros, calls)| (Value::Int(micros), millis(calls)))
        .collect();
    let fields = vec![
        (bulk(b"calls"), calls),
        (bulk(b"histogram_usec"), map(cx, steps)),
    ];
    shown.push((bulk(command.name.as_bytes()), map(cx, fields)));
}

fn map(cx: &Context<'_>, pairs: Vec<(Value, Value)>) -> Value {
    match cx.session.protocol {
        ProtocolVersion::RESP2 => {
            Value::Array(pairs.into_iter().flat_map(|(a, b)| [a, b]).collect())
        }
        _ => Value::Map(pairs),
    }
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DOCTOR",
        "    Return a human readable latency analysis report.",
        "GRAPH <event>",
        "    Return an ASCII latency graph for the <event> class.",
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "    (default: reset all data for all event classes)",
        "HISTOGRAM [COMMAND ...]",
        "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
        "    If no commands are specified then all histograms are replied",
        "HELP",
        "    Prints this help.",
    ]))
}
