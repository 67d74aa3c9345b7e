//! The run of the protocol: `remember` from its GET to the lease, and its answer; and the refresh, which is
//! the same from its ACQUIRE on. `load` has what happens under the lease.

use crate::action::{Action, Outcome, Who};
use crate::caller::more;
use crate::configuration::Tags;
use crate::mechanism::Mechanism;
use crate::model::{Model, Steps, name};
use crate::property::Property;
use crate::redis::{Acquired, Compares};
use crate::state::{Age, At, Covered, Entry, Late, Phase, Process, State, Task, Token, Way};

/// How good an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Live,
    Soft,
    Dead,
}

/// Who has an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    /// The leader, and joiners by rule 2.
    Flight,
    /// The leader, and joiners who joined before the loader was called.
    Loaded,
    /// The leader. Joiners ask again.
    Leader,
    /// Everybody, come what may.
    All,
}

impl Model {
    pub(crate) fn compares(&self) -> Compares {
        Compares {
            seen: self.has(Mechanism::AcquireTakesSeen),
            exclusive: self.has(Mechanism::LeaseIsExclusive),
            token: self.has(Mechanism::FillComparesToken),
            entry: self.has(Mechanism::FillComparesEntry),
            tag: self.configuration.scripts() && self.has(Mechanism::TagsReadAgain),
            epoch: self.configuration.tags == Tags::Brought
                && self.has(Mechanism::FillComparesEpoch),
            current: self.has(Mechanism::FillComparesCurrent),
        }
    }

    /// The token of an ACQUIRE about to be sent.
    fn token(&self, p: usize, task: &Task, state: &State) -> Token {
        if !self.has(Mechanism::TokenPerLoad) {
            Token(name(p) + 1)
        } else if task.token != Token::NONE && !self.has(Mechanism::TokenPerAcquire) {
            task.token
        } else {
            state.fresh_token()
        }
    }
}

impl Steps<'_> {
    pub(crate) fn task(&mut self, p: usize, slot: usize) {
        let who = Who::Task(name(p), name(slot));
        let task = self.from.processes[p].tasks[slot];
        let tags = self.model.configuration.tags;
        match task.at {
            At::Nowhere => {}
            At::Ask => self.get(who, p, slot),
            At::Judge => self.judge(who, p, slot, &task),
            At::Acquire => self.acquire(who, p, slot, &task),
            At::Waiting => self.wait(who, p, slot, &task),
            At::Mine => self.before_load(who, p, slot),
            At::Create if tags == Tags::ClusterBrought => self.create_epoch(who, p, slot, &task),
            At::Create | At::CreateNamed => self.create_tag(who, p, slot, &task),
            At::Ready => self.load(who, p, slot),
            At::Loading => {
                self.after_load(who, p, slot, &task);
                if self.model.configuration.errors {
                    self.load_fails(who, p, slot, &task);
                }
            }
            At::Named => self.read_named_tags(who, p, slot),
            At::EpochNext => self.read_epoch_again(who, p, slot, &task),
            At::Checked => self.fill(who, p, slot, &task),
            At::Moved => {
                self.release(who, p, slot, &task);
                if tags == Tags::ClusterNamed {
                    // It may have been sent beside the reading.
                    self.fill(who, p, slot, &task);
                }
            }
            At::Filled => self.read_tags_after_fill(who, p, slot, &task),
            At::Alone => {
                let answers = if self.model.has(Mechanism::AloneAfterJoin) {
                    Answers::Flight
                } else {
                    Answers::All
                };
                self.answer(who, p, slot, &task, answers);
            }
            At::Give | At::GiveStale => {
                let answers = if self.model.has(Mechanism::CommandAfterJoin) {
                    Answers::Flight
                } else {
                    Answers::All
                };
                self.answer(who, p, slot, &task, answers);
            }
            At::GiveLoaded => {
                let answers = if self.model.has(Mechanism::FencedAfterJoin) {
                    Answers::Loaded
                } else {
                    Answers::Flight
                };
                self.answer(who, p, slot, &task, answers);
            }
            At::GiveLeader => self.answer(who, p, slot, &task, Answers::Leader),
            At::Unlink => self.unlink(who, p, slot),
            At::UnlinkEntry => self.unlink_entry(who, p, slot),
        }
        let leased = matches!(
            task.at,
            At::Mine
                | At::Create
                | At::Ready
                | At::Loading
                | At::Named
                | At::CreateNamed
                | At::EpochNext
                | At::Checked
        );
        if leased && self.model.configuration.renews {
            self.renew(who, &task);
        }
    }

    fn get(&mut self, who: Who, p: usize, slot: usize) {
        let mut state = *self.from;
        state.processes[p].cover(slot);
        if let Some(entry) = state.server.entry {
            return self.found(who, Action::Get, p, slot, entry, &state);
        }
        state.processes[p].tasks[slot].at = At::Acquire;
        self.push(who, Action::Get, Outcome::Absent, state);
    }

    /// An entry was read: judged at once, or after V was read.
    fn found(
        &mut self,
        who: Who,
        action: Action,
        p: usize,
        slot: usize,
        entry: Entry,
        from: &State,
    ) {
        if entry.age == Age::Corrupt {
            self.judged(who, action, p, slot, entry, Judgement::Dead, from);
        } else if self.model.configuration.tagged() && !self.believes(action) {
            let mut state = *from;
            state.processes[p].tasks[slot] = Task {
                at: At::Judge,
                seen: Some(entry),
                ..Task::default()
            };
            self.push(who, action, Outcome::ToBeJudged, state);
        } else {
            self.judged(who, action, p, slot, entry, untagged(entry), from);
        }
    }

    /// Whether what was found is taken for live because it must have been stored just now.
    fn believes(&self, action: Action) -> bool {
        action != Action::Get && !self.model.has(Mechanism::FoundIsJudged)
    }

    fn judge(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        let entry = task.seen.expect("an entry to judge");
        let compares = self.model.has(Mechanism::ReadersCompareTags);
        let judgement = if !compares || self.model.unmoved(self.tag(), entry.stamp) {
            untagged(entry)
        } else if self.from.server.is_marked(entry.stamp) {
            if self.model.has(Mechanism::MarkedIsStale) {
                Judgement::Soft
            } else {
                untagged(entry)
            }
        } else {
            Judgement::Dead
        };
        self.judged(who, Action::ReadTags, p, slot, entry, judgement, self.from);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "they are what a verdict consists of"
    )]
    fn judged(
        &mut self,
        who: Who,
        action: Action,
        p: usize,
        slot: usize,
        entry: Entry,
        judgement: Judgement,
        from: &State,
    ) {
        let unusable = |stale| Task {
            at: At::Acquire,
            seen: Some(entry),
            stale,
            ..Task::default()
        };
        let version = if self.model.configuration.foreign_tagless(entry.stamp) {
            NEVER_OLD
        } else {
            entry.version
        };
        let given = |at, seen| Task {
            at,
            value: version,
            seen,
            ..Task::default()
        };
        let strict = self.model.configuration.strict;
        let mut push = |outcome, task| {
            let mut state = *from;
            state.processes[p].tasks[slot] = task;
            self.push(who, action, outcome, state);
        };
        match judgement {
            Judgement::Live => push(Outcome::Live, given(At::Give, None)),
            Judgement::Soft if strict => push(Outcome::TooStale, unusable(false)),
            Judgement::Soft => {
                push(Outcome::Stale, given(At::GiveStale, Some(entry)));
                push(Outcome::TooStale, unusable(true));
            }
            Judgement::Dead => push(Outcome::Dead, unusable(false)),
        }
    }

    fn acquire(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        let mut state = *self.from;
        let token = self.model.token(p, task, &state);
        state.processes[p].cover(slot);
        match state
            .server
            .acquire(token, task.seen, self.model.compares())
        {
            Acquired::Found(entry) => {
                if Some(entry) == task.seen {
                    let broken = Some(Property::Refresh);
                    self.push_broken(who, Action::Acquire, Outcome::Dead, state, broken);
                } else if task.way == Way::Refresh {
                    state.processes[p].end(slot);
                    self.push(who, Action::Acquire, Outcome::Skipped, state);
                } else {
                    self.found(who, Action::Acquire, p, slot, entry, &state);
                }
            }
            Acquired::Mine => {
                let (tag, epoch) = self.tags_by_acquire(&mut state);
                let task = &mut state.processes[p].tasks[slot];
                task.at = if self.model.configuration.scripts() {
                    At::Ready
                } else {
                    At::Mine
                };
                task.token = token;
                (task.stamp, task.epoch) = (tag, epoch);
                self.push(who, Action::Acquire, Outcome::Mine, state);
            }
            Acquired::Theirs if task.way == Way::Refresh => {
                state.processes[p].end(slot);
                self.push(who, Action::Acquire, Outcome::Skipped, state);
            }
            Acquired::Theirs => {
                let task = &mut state.processes[p].tasks[slot];
                task.at = At::Waiting;
                task.token = Token::NONE;
                self.push(who, Action::Acquire, Outcome::Theirs, state);
            }
        }
        if self.may_lose() {
            let mut state = *self.from;
            state.lose(Late::Acquire(token, task.seen));
            let again = &mut state.processes[p].tasks[slot];
            again.at = At::Acquire;
            if !self.model.has(Mechanism::TokenPerAcquire) {
                again.token = token;
            }
            self.push(who, Action::Lose, Outcome::SentAgain, state);
        }
    }

    /// Polls `s`, and asks for the lease once it is gone.
    fn wait(&mut self, who: Who, p: usize, slot: usize, task: &Task) {
        let mut state = *self.from;
        state.processes[p].cover(slot);
        match state.server.entry {
            Some(entry) if Some(entry) != task.seen => {
                self.found(who, Action::Wait, p, slot, entry, &state);
            }
            _ => {}
        }
        if self.from.server.lease == Token::NONE {
            self.acquire(who, p, slot, task);
        }
        if self.model.configuration.timeouts {
            state.loads = more(state.loads);
            state.processes[p].tasks[slot] = Task {
                at: At::Alone,
                value: state.source,
                ..Task::default()
            };
            self.push(who, Action::LoadAlone, Outcome::Plain, state);
        }
    }

    fn answer(&mut self, who: Who, p: usize, slot: usize, task: &Task, mut answers: Answers) {
        if !self.model.has(Mechanism::RuleTwo) {
            answers = Answers::All;
        }
        let mut state = *self.from;
        let process = &mut state.processes[p];
        let mut broken = None;
        for caller in process.of(slot) {
            let answered = match (caller.phase, answers) {
                (Phase::Leads, _) | (_, Answers::All) => true,
                (_, Answers::Flight) => caller.covered != Covered::No,
                (_, Answers::Loaded) => caller.covered == Covered::ByLoad,
                (_, Answers::Leader) => false,
            };
            if answered {
                if task.value < caller.floor {
                    broken = Some(Property::Answer);
                }
                caller.answered();
            }
        }
        let left = process.of(slot).count();
        process.end(slot);
        let beside = usize::from(!self.model.configuration.joins_refresh);
        if let Some(seen) = task.seen
            && process.tasks[beside].at == At::Nowhere
        {
            process.tasks[beside] = Task {
                at: At::Acquire,
                way: Way::Refresh,
                seen: Some(seen),
                ..Task::default()
            };
        }
        let outcome = if left == 0 {
            Outcome::Everyone
        } else {
            Outcome::LeaderOnly
        };
        let action = if task.seen.is_some() {
            Action::Refresh
        } else {
            Action::Answer
        };
        self.push_broken(who, action, outcome, state, broken);
    }

    pub(crate) fn may_lose(&self) -> bool {
        self.from.losses > 0 && self.from.late == Late::Nothing
    }
}

/// A version that no promise is about: no source comes to be newer.
const NEVER_OLD: u8 = 3;

/// What an entry is worth by its age alone.
fn untagged(entry: Entry) -> Judgement {
    match entry.age {
        Age::Fresh => Judgement::Live,
        Age::Soft => Judgement::Soft,
        Age::Corrupt => Judgement::Dead,
    }
}

impl State {
    /// The connection is lost under a command.
    pub(crate) fn lose(&mut self, late: Late) {
        self.losses -= 1;
        self.late = late;
    }
}

impl Process {
    /// The load is over and its value is the answer, if there is anybody to give it to.
    pub(crate) fn give(&mut self, slot: usize, at: At) {
        if self.of(slot).next().is_none() {
            return self.end(slot);
        }
        let task = &mut self.tasks[slot];
        *task = Task {
            at,
            value: task.value,
            ..Task::default()
        };
    }
}
