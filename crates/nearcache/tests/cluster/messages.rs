//! Topics on a Cluster: on all of its nodes, or, if they are sharded, on those of their slot.

use std::time::Duration;

use nearcache::structures::{Heard, Subscription};
use nearcache_testkit::{Cluster, random_prefix};

use crate::face::Face;
use crate::site::{both, open_at};

/// A subscription of either face.
enum Listener {
    Async(Subscription<u32>),
    Blocking(Subscription<u32, nearcache::operation::Blocking>),
}

impl Listener {
    async fn to(cache: &Face, topic: &str, sharded: bool) -> Listener {
        macro_rules! subscribe {
            ($cache:ident) => {{
                let topic = $cache.topic::<u32>(topic);
                if sharded { topic.sharded() } else { topic }.subscribe()
            }};
        }
        match cache {
            Face::Async(cache) => Listener::Async(subscribe!(cache).await.unwrap()),
            Face::Blocking(cache) => Listener::Blocking(subscribe!(cache).run().unwrap()),
        }
    }

    async fn hears(&mut self) -> Heard<u32> {
        let patience = Duration::from_secs(60);
        let heard = match self {
            Listener::Async(listener) => {
                let heard = tokio::time::timeout(patience, listener.next()).await;
                heard.expect("a message in time")
            }
            Listener::Blocking(listener) => listener.next_timeout(patience),
        };
        heard.expect("it goes on").unwrap()
    }
}

#[test]
fn what_is_published_is_heard_whichever_node_either_side_is_on() {
    let cluster = Cluster::shared();
    both(async |target| {
        let prefix = random_prefix();
        let one = open_at(target, &cluster.url(), &prefix);
        let seeds = cluster.url_of(&[2, 1, 0]);
        let other = open_at(target, &format!("{seeds}?client_name=other"), &prefix);
        let mut listeners = Vec::new();
        for i in 0..8 {
            let name = format!("topic:{i}");
            let listener = Listener::to(&one, &name, false).await;
            listeners.push((name, listener));
        }
        for (i, (name, listener)) in (0..).zip(&mut listeners) {
            call!(other.topic::<u32>(&*name).publish(i)).unwrap();
            assert_eq!(listener.hears().await, Heard::Message(i));
        }
    });
}

#[test]
fn a_sharded_topic_follows_its_slot() {
    let cluster = Cluster::start();
    both(async |target| {
        let prefix = random_prefix();
        let cache = open_at(target, &cluster.url(), &prefix);
        let slot = cluster.slot(format!("{prefix}:moves"));
        let mut listener = Listener::to(&cache, "moves", true).await;
        let publish = async |number: u32| call!(cache.topic("moves").sharded().publish(number));
        assert_eq!(publish(1).await.unwrap(), 1);
        assert_eq!(listener.hears().await, Heard::Message(1));
        let to = (cluster.primary_of(slot) + 1) % 3;
        cluster.reshard(slot..=slot, to);
        assert_eq!(listener.hears().await, Heard::Gap);
        assert_eq!(publish(2).await.unwrap(), 1);
        assert_eq!(listener.hears().await, Heard::Message(2));
    });
}
