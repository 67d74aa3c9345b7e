//! One server, with a circuit breaker of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breaker::{Breaker, Permit};
use super::guarded::LEAST;
use super::sendable::Sendable;
use crate::connect::{Backend, Dedicated, Terms};
use crate::error::Result;

/// A backend that calls do not wait for while it is away.
#[derive(Debug)]
pub(crate) struct Node {
    backend: Arc<dyn Backend>,
    breaker: Breaker,
}

impl Node {
    pub(super) fn new(backend: Arc<dyn Backend>, breaker: bool) -> Arc<Self> {
        let breaker = Breaker::new(breaker);
        Arc::new(Node { backend, breaker })
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// The host, as it appears in messages.
    pub(super) fn host(&self) -> &Arc<str> {
        self.backend.common().host()
    }

    /// One attempt through the breaker, and a retry if it is allowed. `begun` is when the call began.
    ///
    /// # Errors
    /// `is_outdated` if it was not sent, because the epoch has changed.
    pub(super) async fn attempt<S: Sendable>(
        &self,
        what: &S,
        terms: Terms,
        begun: Option<Instant>,
    ) -> Result<S::Reply> {
        let permit = self.breaker.admit(&*self.backend)?;
        let mut outcome = what.send(&*self.backend, terms).await;
        if let Err(error) = &outcome
            && what.may_be_sent_again(error)
        {
            // The retry only gets what is left of the time.
            let limit = self.backend.common().runtime().left_of(terms.limit, begun);
            if limit >= LEAST {
                // Boxed, because it is rare: without it, every call's future would be larger.
                let again = what.send(&*self.backend, Terms { limit, ..terms });
                outcome = Box::pin(again).await;
            }
        }
        self.report(permit, outcome)
    }

    /// A connection for the caller alone, opened within the limit.
    pub(super) async fn dedicated(&self, limit: Duration) -> Result<Dedicated> {
        let permit = self.breaker.admit(&*self.backend)?;
        self.report(permit, self.backend.dedicated(limit).await)
    }

    /// The same, for messages that the server sends by itself.
    pub(super) async fn for_messages(&self, limit: Duration) -> Result<Dedicated> {
        let permit = self.breaker.admit(&*self.backend)?;
        self.report(permit, self.backend.for_messages(limit).await)
    }

    /// Reports the outcome to the breaker, and adds the host to an error.
    #[inline]
    fn report<T>(&self, permit: Permit<'_>, outcome: Result<T>) -> Result<T> {
        match outcome {
            Ok(reply) => {
                permit.report(None);
                Ok(reply)
            }
            Err(error) => {
                let error = error.on_host(self.host());
                permit.report(Some(&error));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nearcache_testkit::Redis;
    use redis::{Cmd, Pipeline, Value};

    use super::*;
    use crate::connect::target::{Place, Target};
    use crate::connect::{Mode, open};

    const PASSWORD: &str = "s3cret";

    fn target(place: Place) -> Target {
        Target {
            password: Some(PASSWORD.to_owned()),
            ..Target::new(place)
        }
    }

    /// The command that meets a connection whose user is gone is sent again, on another one.
    async fn no_call_fails_when_a_connection_loses_its_user(backend: Arc<dyn Backend>) {
        let node = Node::new(backend, true);
        let terms = || Terms {
            limit: Duration::from_secs(10),
            epoch: node.backend().common().epoch().current(),
        };
        let incr = Cmd::new().arg("INCR").arg("n").clone();
        assert_eq!(
            node.attempt(&incr, terms(), None).await.unwrap(),
            Value::Int(1)
        );
        let reset = Cmd::new().arg("RESET").clone();
        node.attempt(&reset, terms(), None).await.unwrap();
        let mut both = Pipeline::new();
        both.add_command(incr.clone()).add_command(incr.clone());
        let counted = node.attempt(&both, terms(), None).await.unwrap();
        assert_eq!(counted, [Value::Int(2), Value::Int(3)]);
        assert_eq!(node.breaker().openings(), 0);
    }

    #[tokio::test]
    async fn no_call_fails_when_a_connection_to_a_server_loses_its_user() {
        let redis = Redis::start_with(&["--requirepass", PASSWORD]);
        let target = target(Place::Tcp {
            host: "127.0.0.1".into(),
            port: redis.port(),
        });
        let asynchronous = open(&target, Mode::Async).unwrap();
        no_call_fails_when_a_connection_loses_its_user(asynchronous).await;
        #[cfg(feature = "blocking")]
        {
            redis.inlines(&[&format!("AUTH {PASSWORD}"), "FLUSHALL"]);
            let blocking = open(&target, Mode::Blocking).unwrap();
            no_call_fails_when_a_connection_loses_its_user(blocking).await;
        }
    }

    #[cfg(feature = "cluster")]
    #[tokio::test]
    async fn no_call_fails_when_a_connection_to_a_node_of_a_cluster_loses_its_user() {
        let cluster = nearcache_testkit::Cluster::start_with(nearcache_testkit::ClusterOptions {
            primaries: 1,
            replicas: 0,
            password: Some(PASSWORD.to_owned()),
            ..nearcache_testkit::ClusterOptions::default()
        });
        let target = target(Place::Node(crate::connect::target::Address {
            host: "127.0.0.1".into(),
            port: cluster.node(0).port(),
        }));
        let epoch = crate::connect::Epoch::default();
        let backend = crate::connect::open_node(target, Mode::Async, &epoch);
        no_call_fails_when_a_connection_loses_its_user(backend).await;
    }
}
