//! A run in words: one numbered line for each step, and how things stand after it.

use std::fmt::{self, Write as _};

use crate::action::{Action, Event, Outcome, Who};
use crate::explorer::Traced;
use crate::model::Model;
use crate::state::{Age, At, Copied, Entry, Late, Stamp, State, Task, Token, Way, Writing};

/// The steps of a run, numbered, each followed by what is stored and promised after it.
pub fn told(trace: &[Traced<Model>]) -> String {
    let mut text = String::new();
    if let Some(first) = trace.first() {
        let _ = writeln!(text, "  0. at first {}", standing(&first.before));
    }
    for (number, step) in trace.iter().enumerate() {
        let _ = writeln!(
            text,
            "{:>3}. {:<22} {:<58} {}",
            number + 1,
            who(step.event.who, &step.before),
            what(step.event, &step.before, &step.after),
            standing(&step.after),
        );
    }
    text
}

fn who(who: Who, before: &State) -> String {
    match who {
        Who::Caller(p, c) => format!("process {}, caller {}", p + 1, c + 1),
        Who::Task(p, slot) => {
            let task = &before.processes[usize::from(p)].tasks[usize::from(slot)];
            let name = match (task.way, slot) {
                (Way::Force, _) => "forced refresh",
                (Way::Refresh, _) => "refresh",
                (Way::Miss, 0) => "flight",
                // A task begins here only as one.
                (Way::Miss, _) if task.at == At::Nowhere => "forced refresh",
                (Way::Miss, _) => "old flight",
            };
            format!("process {}, {name}", p + 1)
        }
        Who::Writer(p) => format!("process {}, writer", p + 1),
        Who::World => "the world".to_owned(),
    }
}

fn what(event: Event, before: &State, after: &State) -> String {
    let of = |state: &State, (p, slot): (u8, u8)| {
        state.processes[usize::from(p)].tasks[usize::from(slot)]
    };
    let (was, is) = match event.who {
        Who::Task(p, slot) => (of(before, (p, slot)), of(after, (p, slot))),
        _ => (Task::default(), Task::default()),
    };
    let outcome = match event.outcome {
        Outcome::Plain => String::new(),
        outcome => format!(": {}", words(outcome)),
    };
    let command = match event.action {
        Action::Join => "calls remember".to_owned(),
        Action::AskAgain => "asks again".to_owned(),
        Action::Answer => format!("answers with v{}", was.value),
        Action::Get => format!("GET s = {}", entry(before.server.entry)),
        Action::Wait => format!("waits, GET s = {}", entry(before.server.entry)),
        Action::ReadTags => format!("GET V = {}", stamp(before.server.tag)),
        Action::CreateTag => format!("SET V NX, V = {}", stamp(after.server.tag)),
        Action::ReadTagsAgain => format!("GET V again = {}", stamp(before.server.tag)),
        Action::ReadEpoch => format!("GET E = {}", stamp(is.epoch)),
        Action::CreateEpoch => format!("SET E NX, E = {}", stamp(after.server.epoch)),
        Action::ReadEpochAgain => "GET E again".to_owned(),
        Action::Acquire if is.token == Token::NONE => {
            format!("ACQUIRE(a new token, seen {})", entry(was.seen))
        }
        Action::Acquire => format!("ACQUIRE({}, seen {})", token(is.token), entry(was.seen)),
        Action::Take => format!("ACQUIRE({}), taking the lease", token(is.token)),
        Action::RefreshDeletes => format!(
            "{}, for v{}",
            match is.at {
                At::UnlinkEntry => "UNLINK L",
                _ if was.at == At::UnlinkEntry => "UNLINK s",
                _ => "UNLINK s L",
            },
            was.value
        ),
        Action::RefreshEnds => format!("has loaded v{} without a lease", was.value),
        Action::Fill => format!(
            "FILL({}, seen {}, v{}{})",
            token(was.token),
            entry(was.seen),
            was.value,
            tagged(was.stamp)
        ),
        Action::Renew => format!("RENEW({})", token(was.token)),
        Action::Release => format!("RELEASE({})", token(was.token)),
        Action::Load => format!("the load begins and reads v{}", before.source),
        Action::LoadFails => format!("the load fails, RELEASE({})", token(was.token)),
        Action::LoadAlone => format!("loads without a lease, reads v{}", before.source),
        Action::Refresh => format!("answers with stale v{}, begins a refresh", was.value),
        Action::Cancel => "goes away".to_owned(),
        Action::ChangeSource => format!("changes the source to v{}", after.source),
        Action::Delete => {
            format!("delete: UNLINK{}", unlinked(event.who, before, after))
        }
        Action::Redirect => format!(
            "delete: UNLINK{} is redirected",
            unlinked(event.who, before, after)
        ),
        Action::SetReadsTags => format!("set: V = {}", stamp(after.server.tag)),
        Action::Set => "set: the first or only step".to_owned(),
        Action::SetEnds => "set: the second step".to_owned(),
        Action::InvalidateEpoch => "UNLINK E".to_owned(),
        Action::InvalidateTag => format!("invalidate_tag: V = {}", stamp(after.server.tag)),
        Action::Mark => "mark_stale".to_owned(),
        Action::MarkTag => format!("mark_tag_stale: V = {}", stamp(after.server.tag)),
        Action::ClearLeases => "clear: SCAN the lease keys".to_owned(),
        Action::ClearKeys => "clear: SCAN the stored keys".to_owned(),
        Action::ClearFinds => "clear: a page names the key".to_owned(),
        Action::ClearUnlinks => "clear: UNLINK it".to_owned(),
        Action::ClearMisses => "clear: the scan ends without the key".to_owned(),
        Action::ExpireEntry => "s expires or is evicted".to_owned(),
        Action::ExpireLease => "L expires or is evicted".to_owned(),
        Action::EvictTag => "V is evicted".to_owned(),
        Action::EvictEpoch => "E is evicted".to_owned(),
        Action::SoftExpire => "s passes its soft expiry".to_owned(),
        Action::ForeignSet => "another program changes the source, SET s".to_owned(),
        Action::Lose => format!("the connection is lost under {}", late(&after.late)),
        Action::Arrive => format!("late, the server carries out {}", late(&before.late)),
        Action::MoveSlot => "the slot of s and L is moved to another node".to_owned(),
        Action::Replicate => format!("the replica catches up: {}", copied(after.server.copy)),
        Action::FailOver => format!("the replica takes over: {}", copied(before.server.copy)),
    };
    command + &outcome
}

/// Which key a step of a `delete` of two steps is about.
fn unlinked(who: Who, before: &State, after: &State) -> &'static str {
    let Who::Writer(p) = who else {
        return "";
    };
    let at = |state: &State| state.processes[usize::from(p)].writer.at;
    match (at(before), at(after)) {
        (Writing::EntryDeleted, _)
        | (Writing::Changed, Writing::LeaseDeleted | Writing::LeaseRedirected) => " L",
        (Writing::LeaseDeleted | Writing::LeaseRedirected, _)
        | (Writing::Changed, Writing::EntryDeleted) => " s",
        _ => "",
    }
}

fn words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Plain => "",
        Outcome::Leads => "leads",
        Outcome::Joins => "joins the flight",
        Outcome::Absent => "nothing",
        Outcome::ToBeJudged => "V is to be read",
        Outcome::Live => "live",
        Outcome::Stale => "stale, to be refreshed",
        Outcome::TooStale => "too stale, unless the load fails",
        Outcome::Dead => "dead",
        Outcome::Mine => "mine",
        Outcome::Theirs => "theirs",
        Outcome::Skipped => "skipped",
        Outcome::Stored => "stored",
        Outcome::Replaced => "stored over what was unusable",
        Outcome::Fenced => "fenced",
        Outcome::Moved => "moved",
        Outcome::Unmoved => "not moved",
        Outcome::Missing => "missing",
        Outcome::Failed => "an error for everyone",
        Outcome::StaleOnError => "the stale value instead",
        Outcome::Everyone => "everyone",
        Outcome::LeaderOnly => "not all; the others ask again",
        Outcome::GoesOn => "the load goes on",
        Outcome::Dropped => "the flight ends",
        Outcome::SentAgain => "will be sent again",
        Outcome::GivenUp => "given up",
    }
}

/// What is stored, and what is promised.
fn standing(state: &State) -> impl fmt::Display {
    let replica = match state.server.copy {
        Copied::Stamp(Stamp::NONE) => String::new(),
        copy => format!(" replica {}", copied(copy)),
    };
    let marked = match state.marked {
        0 => String::new(),
        version => format!(" marked v{version}"),
    };
    format!(
        "| s {:<12} L {:<3} V {:<3} E {:<3} source v{} promised v{}{marked}{replica}",
        entry(state.server.entry),
        token(state.server.lease),
        stamp(state.server.tag),
        stamp(state.server.epoch),
        state.source,
        state.floor,
    )
}

fn entry(entry: Option<Entry>) -> String {
    let Some(entry) = entry else {
        return "-".to_owned();
    };
    let tag = tagged(entry.stamp);
    let age = match entry.age {
        Age::Fresh => "",
        Age::Soft => " soft",
        Age::Corrupt => " corrupt",
    };
    format!("v{}{tag}{age}", entry.version)
}

fn tagged(by: Stamp) -> String {
    if by == Stamp::NONE {
        String::new()
    } else {
        format!(" {}", stamp(by))
    }
}

fn token(token: Token) -> String {
    if token == Token::NONE {
        "-".to_owned()
    } else {
        format!("t{}", token.0)
    }
}

fn copied(copy: Copied) -> String {
    match copy {
        Copied::Stamp(of_v) => stamp(of_v),
        Copied::Slot(found, lease) => {
            let found = found.map_or("-".to_owned(), |entry| format!("v{}", entry.version));
            format!("s {found}, L {}", token(lease))
        }
    }
}

fn stamp(stamp: Stamp) -> String {
    if stamp == Stamp::NONE {
        "-".to_owned()
    } else {
        format!("r{}", stamp.0)
    }
}

fn late(late: &Late) -> String {
    match late {
        Late::Nothing => "nothing".to_owned(),
        Late::Acquire(by, seen) => format!("ACQUIRE({}, seen {})", token(*by), entry(*seen)),
        Late::Take(by) => format!("ACQUIRE({}), taking the lease", token(*by)),
        Late::Fill(by, _, value, _) => format!("FILL({}, v{})", token(*by), value.version),
        Late::Invalidate(Stamp::NONE) => "UNLINK V".to_owned(),
        Late::Invalidate(value) => format!("SET V {}", stamp(*value)),
        Late::Create(value) => format!("SET V {} NX", stamp(*value)),
        Late::InvalidateEpoch => "UNLINK E".to_owned(),
        Late::CreateEpoch(value) => format!("SET E {} NX", stamp(*value)),
    }
}
