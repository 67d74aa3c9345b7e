//! A primary whose replica lags, and which it takes over from.
//!
//! What a failover loses had returned, and is then promised no more until it is replayed. It is noticed at
//! once: a removal that comes in between is no more than an eviction.

use crate::action::Action;
use crate::configuration::Replica;
use crate::mechanism::Mechanism;
use crate::model::{Model, Steps};
use crate::state::{Server, Stamp, State, Writing};

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
        if model.has(Mechanism::ReadsFromPrimary) || model.configuration.replica != replica {
            primary
        } else {
            self.from.server.copy
        }
    }

    pub(crate) fn replica(&mut self) {
        let model = self.model;
        if !model.lags(self.from) {
            return;
        }
        let mut server = self.from.server;
        let primary = *model.replicated(&mut server);
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
    pub(crate) fn replicated<'s>(&self, server: &'s mut Server) -> &'s mut Stamp {
        match self.configuration.replica {
            Replica::OfTag => &mut server.tag,
            Replica::OfEpoch => &mut server.epoch,
            Replica::None => &mut server.copy,
        }
    }
}

impl State {
    fn fail_over(&mut self, model: &Model) {
        self.failovers -= 1;
        *model.replicated(&mut self.server) = self.server.copy;
        self.server.copy = Stamp::NONE;
        self.floor = 0;
        for process in &mut self.processes {
            for caller in &mut process.callers {
                caller.floor = 0;
            }
            let writer = &mut process.writer;
            let whole = match writer.at {
                Writing::EpochMoved => model.has(Mechanism::InterruptedBeginsAgain),
                Writing::Idle if writer.version > 0 => {
                    writer.left += 1;
                    model.has(Mechanism::ReplayIsWhole)
                }
                _ => continue,
            };
            writer.at = if whole {
                Writing::Changed
            } else {
                Writing::EpochMoved
            };
        }
    }
}
