//! The primaries of a Cluster. Each command goes to the node that serves its slot, through that node's own breaker; what
//! names keys in several slots is split, and its replies are joined.
//!
//! 1. A command is sent again only where the node that was asked has not carried it out: after `MOVED`, `ASK` and
//!    `TRYAGAIN`, and by the rule of `retry`.
//! 2. Within one call, the commands for one node keep their order.
//! 3. A node that is away costs only what is for its slots: the other parts of a pipeline have their replies, and its
//!    own have its error in their places.
//! 4. Commands that must take effect together go to one slot as `MULTI`. Those that the cache itself sends are one
//!    `MULTI` for each slot, all those of a node in one go; and in a slot that is just moving they go one by one, in their
//!    order: each is right without the others.
//! 5. Before a command goes to a node that has taken over from another, the listener knows of the failover.
//!
//! `nodes` has the nodes, and finds out which of them serves which slot. `pieces` takes a pipeline apart and joins the
//! replies; a `group` is what of it goes to one node.

mod group;
mod nodes;
mod pieces;

use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::{Arg, Cmd, Pipeline, Value};

use super::guarded::LEAST;
use super::node::Node;
use super::sendable::Sendable;
use super::words::{Steps, Words};
use crate::connect::cluster::{Redirect, Route, Topology, only_slot, route, slot_of};
use crate::connect::target::Address;
use crate::connect::{Backend, BoxFuture, Terms, change_nothing};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::all;
pub(super) use group::Group;
pub(super) use nodes::{Event, Spread};
pub(super) use pieces::{Parts, Pieces};

/// How often a command follows a redirect. A Cluster that has settled needs one.
const HOPS: usize = 8;

/// How long a command waits in all for a slot to have moved.
const PATIENCE: Duration = Duration::from_millis(60);

/// The first of its pauses, which get longer.
const PAUSE: Duration = Duration::from_millis(5);

impl Spread {
    /// Sends one command.
    pub(super) async fn request(
        &self,
        command: &Cmd,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<Value> {
        match route(command) {
            Route::Slot(slot) => self.at(slot, command, terms, begun).await,
            Route::Anywhere => self.anywhere(command, terms, begun).await,
            Route::Parts(parts, join) => {
                let parts = Parts::new(parts, join);
                let replies = self.pipeline(parts.pipeline(), terms, begun).await?;
                parts.joined(replies)
            }
        }
    }

    /// Sends one command to the node that serves the slot, wherever that is.
    pub(super) async fn at(
        &self,
        slot: u16,
        command: &Cmd,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<Value> {
        match self.whole(Some(slot), command, terms, begun).await? {
            (node, Err(error)) => {
                Box::pin(self.follow(slot, command, terms, begun, (node, error))).await
            }
            (_, reply) => reply,
        }
    }

    /// [`at`](Spread::at), of a command that is given as its words.
    pub(super) async fn words(
        &self,
        slot: u16,
        words: Words<'_>,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<Value> {
        match self.whole(Some(slot), &words, terms, begun).await? {
            (node, Err(error)) => {
                let command = words.command();
                Box::pin(self.follow(slot, &command, terms, begun, (node, error))).await
            }
            (_, reply) => reply,
        }
    }

    /// Goes on after an error of the node that was asked: where it says, or not at all.
    async fn follow(
        &self,
        slot: u16,
        command: &Cmd,
        terms: Terms,
        begun: Option<Instant>,
        (mut node, mut error): (Arc<Node>, Error),
    ) -> Result<Value> {
        let since = self.runtime().now();
        let (mut pause, mut asked) = (PAUSE, false);
        for _ in 0..HOPS {
            let redirect = Redirect::of(&error, &host_of(node.host()));
            if redirect.is_none() || self.runtime().left_of(terms.limit, begun) < LEAST {
                break;
            }
            self.turn_off();
            let outcome = match redirect {
                Some(Redirect::Moved { slot, to }) => {
                    node = self.moved(slot, &to, terms.limit).await?;
                    let (terms, begun) = self.left(terms, begun);
                    node.attempt(command, terms, begun).await
                }
                Some(Redirect::Ask { .. } | Redirect::TryAgain) if several_keys(command) => {
                    return self.key_by_key(command, terms, begun).await;
                }
                Some(Redirect::Ask { to }) => {
                    asked = true;
                    node = self.node(&to);
                    let asking = Asking(command);
                    let (terms, begun) = self.left(terms, begun);
                    node.attempt(&asking, terms, begun).await
                }
                Some(Redirect::TryAgain) => {
                    let waited = self.runtime().now().saturating_duration_since(since);
                    if waited + pause > PATIENCE.min(terms.limit) {
                        break;
                    }
                    self.runtime().sleep(pause).await;
                    pause *= 2;
                    node = self.serving(slot, terms.limit).await?;
                    let (terms, begun) = self.left(terms, begun);
                    node.attempt(command, terms, begun).await
                }
                Some(Redirect::Down) | None => break,
            };
            match outcome {
                Err(next) => error = next,
                reply => return reply,
            }
        }
        self.doubt(&error, asked);
        Err(still_elsewhere(error))
    }

    /// Sends a command that does the same for each of its keys once for each of them: in a slot that is moving, some of
    /// them may be here and some there. What deletes is sent twice, so that nothing is left that a load has put there
    /// between the deletion of an entry and that of its lease.
    ///
    /// model: Action::Delete
    fn key_by_key<'a>(
        &'a self,
        command: &'a Cmd,
        terms: Terms,
        begun: Option<Instant>,
    ) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let (verb, keys) = words(command);
            let deletes = matches!(verb, b"UNLINK" | b"DEL");
            let mut replies = vec![Value::Nil; keys.len()];
            for _ in 0..if deletes { 2 } else { 1 } {
                for (key, reply) in keys.iter().zip(&mut replies) {
                    let mut single = Cmd::new();
                    single.arg(verb).arg(*key);
                    let (terms, begun) = self.left(terms, begun);
                    let found = self
                        .at(crate::slot::slot(key), &single, terms, begun)
                        .await?;
                    if *reply != Value::Int(1) {
                        *reply = found;
                    }
                }
            }
            if verb == b"MGET" {
                let first = |reply| match reply {
                    Value::Array(mut values) if values.len() == 1 => values.remove(0),
                    other => other,
                };
                return Ok(Value::Array(replies.into_iter().map(first).collect()));
            }
            let count = |reply: &Value| match reply {
                Value::Int(count) => *count,
                _ => 0,
            };
            Ok(Value::Int(replies.iter().map(count).sum()))
        })
    }

    /// Sends a command without keys to any primary; to another one if the first is away and it is sure not to have
    /// carried it out.
    pub(super) async fn anywhere(
        &self,
        command: &Cmd,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<Value> {
        let nodes = self.primaries_in_turn(terms.limit).await?;
        let mut failed = None;
        for node in nodes.iter().take(2) {
            let (terms, begun) = self.left(terms, begun);
            match node.attempt(command, terms, begun).await {
                Err(error) if self.may_go_elsewhere(command, &error) => {
                    self.doubt(&error, false);
                    failed = Some(error);
                }
                outcome => return outcome,
            }
        }
        Err(failed.unwrap_or_else(nobody))
    }

    fn may_go_elsewhere(&self, command: &Cmd, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::Connect => change_nothing([command]),
            ErrorKind::Unavailable => !error.is_outdated(),
            _ => false,
        }
    }

    /// Sends commands together, each to the node that serves its slot, those of one node in one go.
    pub(super) async fn pipeline(
        &self,
        pipeline: &Pipeline,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<Vec<Value>> {
        let slot = match only_slot(pipeline.cmd_iter()) {
            slot @ Some(_) => slot,
            None => {
                let topology = self.topology(terms.limit).await?;
                let pieces = Pieces::of(pipeline, &topology);
                match pieces.only_group() {
                    Some(slot) => slot,
                    None => return self.in_groups(pieces, terms, begun).await,
                }
            }
        };
        let sent = self.whole(slot, pipeline, terms, begun).await?;
        self.mend(from_ref(pipeline), sent, terms, begun).await
    }

    /// [`pipeline`](Spread::pipeline), of commands that are given as their words.
    pub(super) async fn steps(
        &self,
        steps: &Steps<'_>,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<Vec<Value>> {
        let slot @ Some(_) = steps.slot() else {
            return self.pipeline(&steps.pipeline(), terms, begun).await;
        };
        match self.whole(slot, steps, terms, begun).await? {
            (_, Ok(replies)) if !replies.iter().any(is_error) => Ok(replies),
            sent => {
                let pipeline = steps.pipeline();
                Box::pin(self.mend(from_ref(&pipeline), sent, terms, begun)).await
            }
        }
    }

    /// Sends what goes to one node.
    pub(super) async fn group(
        &self,
        group: &Group,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<Vec<Value>> {
        let sent = self.whole(group.slot, group, terms, begun).await?;
        self.mend(group.parts(), sent, terms, begun).await
    }

    async fn in_groups(
        &self,
        pieces: Pieces<'_>,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<Vec<Value>> {
        let groups = pieces.groups();
        let send = |group| Box::pin(self.group(group, terms, begun)) as BoxFuture<'_, _>;
        let outcomes = all(groups.iter().map(send).collect()).await;
        pieces.concluded(outcomes)
    }

    /// Sends something whole to the node that serves the slot, or to any. Its answer, and who gave it; an error if there
    /// is nobody.
    async fn whole<S: Sendable>(
        &self,
        slot: Option<u16>,
        what: &S,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<(Arc<Node>, Result<S::Reply>)> {
        let node = match slot.and_then(|slot| self.serving_now(slot)) {
            Some(node) => node,
            // Boxed, because it is rare: without it, every call's future would be larger.
            None => Box::pin(self.serving_or_any(slot, terms.limit)).await?,
        };
        let outcome = node.attempt(what, terms, begun).await;
        Ok((node, outcome))
    }

    /// The replies of commands that went to one node, after those that it sent elsewhere were asked for there. Of a
    /// transaction, the error may be that of another command, so each is asked for anew.
    async fn mend(
        &self,
        parts: &[Pipeline],
        (node, outcome): (Arc<Node>, Result<Vec<Value>>),
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<Vec<Value>> {
        let mut replies = match outcome {
            Ok(replies) if !replies.iter().any(is_error) => return Ok(replies),
            Ok(replies) => replies,
            // As if each command had this error.
            Err(error) if Redirect::of(&error, "").is_some() => {
                vec![error.as_reply(); parts.iter().map(Pipeline::len).sum()]
            }
            Err(error) => {
                self.doubt(&error, false);
                return Err(error);
            }
        };
        let transaction = parts.iter().any(Pipeline::is_transaction);
        let commands = parts.iter().flat_map(Pipeline::cmd_iter);
        for (command, reply) in commands.zip(&mut replies) {
            let Value::ServerError(refused) = &*reply else {
                continue;
            };
            let error = Error::from_server(refused);
            let slot = match Redirect::of(&error, "") {
                Some(Redirect::Down) => {
                    self.doubt(&error, false);
                    None
                }
                Some(_) => slot_of(command),
                None => None,
            };
            let Some(slot) = slot else {
                continue;
            };
            let (terms, begun) = self.left(terms, begun);
            let again = if transaction {
                self.at(slot, command, terms, begun).await
            } else {
                let from = (Arc::clone(&node), error);
                self.follow(slot, command, terms, begun, from).await
            };
            *reply = again
                .map_err(not_sent)
                .unwrap_or_else(|error| error.as_reply());
        }
        Ok(replies)
    }

    /// Sends commands that a caller wants to take effect together or not at all.
    ///
    /// # Errors
    /// `InvalidKey` if their keys are in several slots.
    pub(super) async fn transaction(
        &self,
        pipeline: &Pipeline,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<Vec<Value>> {
        let mut slots = pipeline.cmd_iter().filter_map(slot_of);
        let slot = slots.next();
        if slots.any(|other| Some(other) != slot) {
            return Err(Error::in_several_slots());
        }
        let (mut node, mut outcome) = self.whole(slot, pipeline, terms, begun).await?;
        for _ in 0..HOPS {
            let Err(error) = &outcome else { break };
            let Some(Redirect::Moved { slot, to }) = Redirect::of(error, &host_of(node.host()))
            else {
                self.doubt(error, false);
                break;
            };
            self.turn_off();
            node = self.moved(slot, &to, terms.limit).await?;
            let (terms, begun) = self.left(terms, begun);
            outcome = node.attempt(pipeline, terms, begun).await;
        }
        outcome.map_err(still_elsewhere)
    }

    /// What is left of a limit that began then, and since when that is: nothing is taken off twice.
    fn left(&self, terms: Terms, begun: Option<Instant>) -> (Terms, Option<Instant>) {
        let (left, begun) = self.runtime().rest_of(terms.limit, begun);
        let limit = left.max(LEAST);
        (Terms { limit, ..terms }, begun)
    }

    /// Looks for a new topology, if the error lets one doubt the old one.
    fn doubt(&self, error: &Error, asked: bool) {
        let away = matches!(
            error.kind(),
            ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable
        );
        if (away && !error.is_outdated()) || asked || Redirect::of(error, "").is_some() {
            self.refresh_soon();
        }
    }

    /// The primaries, beginning with another one each time, and those that are away last.
    async fn primaries_in_turn(&self, limit: Duration) -> Result<Vec<Arc<Node>>> {
        static TURN: AtomicUsize = AtomicUsize::new(0);
        let mut nodes = self.primaries(limit).await?;
        let turn = TURN.fetch_add(1, Ordering::Relaxed) % nodes.len().max(1);
        nodes.rotate_left(turn);
        nodes.sort_by_key(|node| node.breaker().state() == super::BreakerState::Open);
        Ok(nodes)
    }

    async fn any(&self, limit: Duration) -> Result<Arc<Node>> {
        let nodes = self.primaries_in_turn(limit).await?;
        nodes.into_iter().next().ok_or_else(nobody)
    }

    /// The node that has this key; any if there is none.
    pub(super) async fn node_of(&self, key: Option<&[u8]>, limit: Duration) -> Result<Arc<Node>> {
        self.serving_or_any(key.map(crate::slot::slot), limit).await
    }

    async fn serving_or_any(&self, slot: Option<u16>, limit: Duration) -> Result<Arc<Node>> {
        match slot {
            Some(slot) => self.serving(slot, limit).await,
            None => self.any(limit).await,
        }
    }
}

fn is_error(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(_))
}

fn primary_of(topology: &Topology, slot: u16) -> Option<&Address> {
    topology.shard(slot).map(|shard| &shard.primary)
}

/// The host of an address as text.
fn host_of(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}

/// An error in the place of a reply. What was not sent because another server answers is not sent again: other commands
/// of the same call were carried out.
fn not_sent(error: Error) -> Error {
    if error.is_outdated() {
        Error::new(
            ErrorKind::Unavailable,
            "another server has taken over this part of the keys meanwhile, so this was not sent",
        )
    } else {
        error
    }
}

/// The error of a command that each node has sent to another one, until its time was over. Nobody has carried it out.
fn still_elsewhere(error: Error) -> Error {
    match Redirect::of(&error, "") {
        Some(Redirect::Moved { .. } | Redirect::Ask { .. }) => Error::new(
            ErrorKind::Unavailable,
            format!(
                "this part of the keys is moving from one node of the Cluster to another; the last one said: {}",
                error.said().unwrap_or_default()
            ),
        ),
        _ => error,
    }
}

fn nobody() -> Error {
    Error::new(ErrorKind::Unavailable, "CLUSTERDOWN no primary is known")
}

fn words(command: &Cmd) -> (&[u8], Vec<&[u8]>) {
    let mut words = command.args_iter().filter_map(|word| match word {
        Arg::Simple(word) => Some(word),
        _ => None,
    });
    (words.next().unwrap_or_default(), words.collect())
}

/// Whether a command does the same for each of several keys.
fn several_keys(command: &Cmd) -> bool {
    let (verb, keys) = words(command);
    keys.len() > 1 && matches!(verb, b"MGET" | b"UNLINK" | b"DEL" | b"EXISTS" | b"TOUCH")
}

/// A command for a node that is taking the slot over: it has the key already, or nobody has.
struct Asking<'c>(&'c Cmd);

impl Sendable for Asking<'_> {
    type Reply = Value;

    async fn send<'a>(&'a self, backend: &'a dyn Backend, terms: Terms) -> Result<Value> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("ASKING");
        pipeline.add_command(self.0.clone());
        let reply = backend.pipeline(&pipeline, terms).await?.pop();
        match reply.unwrap_or(Value::Nil) {
            Value::ServerError(error) => Err(Error::from_server(&error)),
            reply => Ok(reply),
        }
    }

    fn spread<'a>(
        &'a self,
        spread: &'a Spread,
        terms: Terms,
        begun: Option<Instant>,
    ) -> impl Future<Output = Result<Value>> + Send + 'a {
        Box::pin(spread.request(self.0, terms, begun))
    }

    fn changes_nothing(&self) -> bool {
        self.0.changes_nothing()
    }

    fn names(&self) -> Vec<&[u8]> {
        self.0.names()
    }
}
