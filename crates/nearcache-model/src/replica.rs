//! A primary whose replica lags, and which it takes over from.
//!
//! What a failover loses had returned, and is then promised no more until it is replayed. It is noticed at
//! once: a removal that comes in between is no more than an eviction.

use crate::action::Action;
use crate::configuration::Replica;
use crate::mechanism::Mechanism;
use crate::model::{Model, Steps};
use crate::state::{Copied, Server, Stamp, State, Writing};

impl Steps<'_> {
    /// V as it is read.
    pub(crate) fn tag(&self) -> Stamp {
        self.read(Replica::OfTag, self.from.server.tag)
    }

    /// The epoch as it is read.
    pub(crate) fn epoch(&self) -> Stamp {
        self.read(Replica::OfEpoch, self.from.server.epoch)
    }

    fn read(&self, replica: Replica, primary: Stamp) -> Stamp {
        let model = self.model;
        match self.from.server.copy {
            Copied::Stamp(copy)
                if !model.has(Mechanism::ReadsFromPrimary)
                    && model.configuration.replica == replica =>
            {
                copy
            }
            _ => primary,
        }
    }

    pub(crate) fn replica(&mut self) {
        let model = self.model;
        if !model.lags(self.from) {
            return;
        }
        let primary = model.replicated(&self.from.server);
        self.happens(Action::Replicate, |state| state.server.copy = primary);
        // A failover that loses nothing changes nothing.
        if self.from.failovers > 0 && self.from.server.copy != primary {
            self.happens(Action::FailOver, |state| state.fail_over(model));
        }
    }
}

impl Model {
    /// Whether it matters what the replica has.
    pub(crate) fn lags(&self, state: &State) -> bool {
        let once = self.configuration.failovers > 0;
        self.configuration.replica != Replica::None && (!once || state.failovers > 0)
    }

    /// What the replica has a copy of.
    pub(crate) fn replicated(&self, server: &Server) -> Copied {
        match self.configuration.replica {
            Replica::OfTag => Copied::Stamp(server.tag),
            Replica::OfEpoch => Copied::Stamp(server.epoch),
            Replica::OfSlot => Copied::Slot(server.entry, server.lease),
            Replica::None => server.copy,
        }
    }

    /// What is there once the replica has taken over.
    fn take_over(&self, server: &mut Server) {
        match (self.configuration.replica, std::mem::take(&mut server.copy)) {
            (Replica::OfTag, Copied::Stamp(stamp)) => server.tag = stamp,
            (Replica::OfEpoch, Copied::Stamp(stamp)) => server.epoch = stamp,
            (_, Copied::Slot(entry, lease)) => (server.entry, server.lease) = (entry, lease),
            _ => {}
        }
    }
}

impl State {
    fn fail_over(&mut self, model: &Model) {
        self.failovers -= 1;
        model.take_over(&mut self.server);
        let of_slot = model.configuration.replica == Replica::OfSlot;
        self.floor = 0;
        for process in &mut self.processes {
            for caller in &mut process.callers {
                caller.floor = 0;
            }
            let writer = &mut process.writer;
            let whole = match writer.at {
                Writing::EpochMoved | Writing::LeaseDeleted => {
                    model.has(Mechanism::InterruptedBeginsAgain)
                }
                Writing::Idle if writer.version > 0 => {
                    writer.left += 1;
                    model.has(Mechanism::ReplayIsWhole)
                }
                _ => continue,
            };
            writer.at = if whole {
                Writing::Changed
            } else if of_slot {
                Writing::LeaseDeleted
            } else {
                Writing::EpochMoved
            };
        }
    }
}
