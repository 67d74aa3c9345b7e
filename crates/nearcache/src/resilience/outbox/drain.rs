//! Emptying the outbox in the background, step by step: a part of the list, or a page of a sweep.
//!
//! One task (for async callers) or thread (for blocking ones) does it for all caches that share a connection. A call
//! starts it when Redis has answered it and something still waits. It ends when nothing waits, when the caches are
//! closed, or when they are gone.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use redis::{Pipeline, Value};

use super::super::breaker::{LONGEST, SHORTEST};
use super::super::guarded::LEAST;
use super::super::invalidation::{Invalidation, Kind};
use super::super::sweep;
use super::super::{BreakerState, Guarded};
use super::owed::{Position, Scope, Sweep};
use super::ring::Done;
use super::waiting::{Numbered, Task};
use super::{BEGINNINGS, Outbox, leaves_open, replaced};
use crate::error::{Error, Result};
use crate::runtime::first;

/// How long one step may take at least, however short the timeout of the call that started it.
const STEP: Duration = Duration::from_millis(500);

/// What a step found.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Step {
    /// It did something; there may be more.
    Done,
    /// There is nothing to do.
    Nothing,
    /// Nothing can be done before this time.
    NotBefore(Instant),
}

impl Outbox {
    /// Deletes a part of what waits.
    ///
    /// # Errors
    /// The error that kept the server from acknowledging it. It waits on.
    pub(in super::super) async fn step(
        &self,
        guarded: &Arc<Guarded>,
        limit: Duration,
    ) -> Result<Step> {
        let _mine = self.emptying.lock().await;
        let now = guarded.runtime().now();
        let task = {
            let mut state = self.state.lock();
            if let Some(at) = state.not_before.filter(|at| now < *at) {
                return Ok(Step::NotBefore(at));
            }
            state
                .waiting
                .task(|invalidation| invalidation.goal(guarded))
        };
        let Some(task) = task else {
            // What there is may be for servers that are away.
            return Ok(match self.has_work() {
                true => Step::NotBefore(now + STEP),
                false => Step::Nothing,
            });
        };
        let _deleting = Deleting(self);
        let outcome = match task {
            Task::Send(part) => self.send(guarded, &part, limit).await,
            Task::Page(sweep, at) => self.page(guarded, &sweep, at, limit).await,
        };
        match outcome {
            Err(error) if self.takes_no_writes(guarded, &error) => {}
            outcome => outcome?,
        }
        Ok(Step::Done)
    }

    /// Sends invalidations, and removes them when they are acknowledged.
    ///
    /// # Errors
    /// The error that kept the server from acknowledging them. They wait on.
    pub(in super::super) async fn send(
        &self,
        guarded: &Guarded,
        part: &Numbered,
        limit: Duration,
    ) -> Result<()> {
        let begun = guarded.begin();
        let skipped = self.no_strings(guarded, part, limit).await?;
        for _ in 0..BEGINNINGS {
            let servers = self.servers();
            let wanted = part.iter().zip(&skipped).filter(|(_, skipped)| !**skipped);
            for step in Invalidation::steps(wanted.map(|((invalidation, _), _)| invalidation)) {
                let left = guarded.left_of(limit, begun).max(LEAST);
                self.send_step(guarded, &step, left).await?;
            }
            let now = guarded.runtime().now();
            let mut state = self.state.lock();
            if state.servers != servers {
                // A server that took another's place meanwhile may have lost one of the steps.
                continue;
            }
            for (invalidation, number) in part {
                state.waiting.remove(invalidation, *number);
                state.done.remember(now, Done::One(invalidation.clone()));
            }
            state.note_sent(part.len(), now, guarded.host());
            self.note_waiting(&state);
            return Ok(());
        }
        Err(replaced(BEGINNINGS).on_host(guarded.host()))
    }

    /// Sends one step of invalidations.
    async fn send_step(&self, guarded: &Guarded, step: &Pipeline, limit: Duration) -> Result<()> {
        for reply in guarded.directly(step, limit).await? {
            let Value::ServerError(error) = reply else {
                continue;
            };
            let error = Error::from_server(&error).on_host(guarded.host());
            if leaves_open(&error) {
                return Err(error);
            }
            self.refused(guarded, &error);
        }
        Ok(())
    }

    /// Which of these keys must be left alone, because they hold no string and nobody asked for their deletion.
    async fn no_strings(
        &self,
        guarded: &Guarded,
        part: &Numbered,
        limit: Duration,
    ) -> Result<Vec<bool>> {
        let mut skipped = vec![false; part.len()];
        let asked: Vec<usize> = (0..part.len())
            .filter(|at| part[*at].0.kind == Kind::String)
            .collect();
        if asked.is_empty() {
            return Ok(skipped);
        }
        let keys = asked.iter().map(|at| &*part[*at].0.name);
        let strings = sweep::strings(guarded, keys, limit).await?;
        for (at, string) in asked.into_iter().zip(strings) {
            skipped[at] = !string;
        }
        Ok(skipped)
    }

    /// Deletes what one page of a sweep finds.
    async fn page(
        &self,
        guarded: &Arc<Guarded>,
        sweep: &Sweep,
        at: Position,
        limit: Duration,
    ) -> Result<()> {
        match self.page_or_refusal(guarded, sweep, at, limit).await {
            Err(error) if !leaves_open(&error) => {
                self.refused(guarded, &error);
                let mut state = self.state.lock();
                state.waiting.give_up(sweep);
                self.note_waiting(&state);
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn page_or_refusal(
        &self,
        guarded: &Arc<Guarded>,
        sweep: &Sweep,
        at: Position,
        limit: Duration,
    ) -> Result<()> {
        let (keyspace, scope) = sweep;
        let primaries = guarded.primaries(limit).await?;
        let Some(primary) = primaries.get(at.primary) else {
            // There were more of them when it came so far.
            self.state.lock().waiting.go_on(sweep, at, None, &[]);
            return Ok(());
        };
        let (next, found) = if at.leases_are_done {
            let pattern = keyspace.pattern(scope.pattern());
            let strings = *scope == Scope::Entries;
            let page = sweep::page(primary, at.cursor, &pattern, sweep::PAGE, strings, limit);
            let (next, mut found) = page.await?;
            if strings && at.cursor == 0 && at.primary == 0 {
                // No string, but of no use without its entries.
                found.push(keyspace.index());
            }
            (next, found)
        } else {
            let pattern = keyspace.leases();
            sweep::page(primary, at.cursor, &pattern, sweep::PAGE, false, limit).await?
        };
        let Some(doomed) = self.state.lock().waiting.doomed(sweep, at, found) else {
            return Ok(());
        };
        sweep::unlink(guarded, &doomed, limit).await?;
        let now = guarded.runtime().now();
        let mut state = self.state.lock();
        let last = next == 0 && at.primary + 1 == primaries.len();
        let next = (!last).then_some(next);
        let (ended, done) = state.waiting.go_on(sweep, at, next, &doomed);
        for invalidation in done {
            state.done.remember(now, Done::One(invalidation));
        }
        if ended && *scope != Scope::Marked {
            state.done.remember(now, Done::Sweep(sweep.clone()));
        }
        if ended {
            tracing::info!(host = %guarded.host(), prefix = %keyspace, "a deletion of many keys that was owed to Redis is done");
        }
        self.note_waiting(&state);
        Ok(())
    }
}

/// While a step runs. Afterwards, nothing is being deleted, even if the step was cancelled.
struct Deleting<'o>(&'o Outbox);

impl Drop for Deleting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting.end_deleting();
    }
}

/// The task that empties the outbox. While it exists, no other is started.
pub(in super::super) struct Drain {
    guarded: Weak<Guarded>,
    limit: Duration,
    ended: bool,
}

impl Drain {
    pub(in super::super) fn new(guarded: Weak<Guarded>, limit: Duration) -> Self {
        Drain {
            guarded,
            limit: limit.max(STEP),
            ended: false,
        }
    }

    pub(in super::super) async fn run(mut self) {
        let mut pause = SHORTEST;
        while let Some(guarded) = self.guarded.upgrade() {
            let closing = Arc::clone(guarded.closing());
            let mut closed = pin!(closing.notified());
            if !guarded.is_used() {
                return;
            }
            let outcome = if guarded.breaker_state() == BreakerState::Open {
                // Calls find out whether Redis is back.
                Ok(Err(()))
            } else {
                let step = guarded.outbox().step(&guarded, self.limit);
                let step = first(step, closed.as_mut()).await;
                step.map(|outcome| outcome.map_err(drop))
            };
            let wait = match outcome {
                Err(()) => return,
                Ok(Ok(Step::Done)) => {
                    pause = SHORTEST;
                    continue;
                }
                Ok(Ok(Step::Nothing)) => {
                    self.ended = guarded.end_draining();
                    if self.ended {
                        return;
                    }
                    continue;
                }
                Ok(Ok(Step::NotBefore(at))) => {
                    at.saturating_duration_since(guarded.runtime().now())
                }
                Ok(Err(())) => {
                    let wait = pause;
                    pause = (2 * pause).min(LONGEST);
                    wait
                }
            };
            let runtime = guarded.runtime().clone();
            drop(guarded);
            let _ = first(runtime.sleep(wait), closed).await;
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        let Some(guarded) = self.guarded.upgrade() else {
            return;
        };
        if !self.ended {
            // It was cancelled, with its runtime for example: another may be started.
            guarded.stop_draining();
        }
        // However it ends: it may have made a connection since the caches were closed.
        guarded.disconnect_unused();
    }
}
