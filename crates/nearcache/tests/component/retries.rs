//! Calls that find no server are made anew.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nearcache::ErrorKind;
use nearcache::compat::component::Params;
use nearcache_testkit::{Close, Fault, Proxy, Redis};

use crate::either::Either;
use crate::face::run;
use crate::target::{Place, Target};

const FACES: [Target; 2] = [
    Target::asynchronous(Place::RedisResp3),
    Target::blocking(Place::RedisResp3),
];

async fn open(target: Target, url: &str, retries: u32) -> Either {
    let component = Either::new(target);
    component.configure(
        &Params::from([("connection.uri", url)])
            .with("options.retries", retries)
            .with("options.call_timeout", 10_000),
    );
    on!(component.open(None)).unwrap();
    component
}

#[test]
fn a_call_is_made_as_often_as_the_option_says() {
    run(async {
        for target in FACES {
            for retries in [0, 1, 3] {
                let door = Door::new();
                let component = open(target, &door.url(), retries).await;
                let error = on!(component.store("123", "k", 1, None)).unwrap_err();
                assert_eq!(
                    (error.kind(), error.trace_id()),
                    (ErrorKind::Connect, Some("123"))
                );
                assert_eq!(door.knocks(), 1 + retries);
            }
        }
    });
}

#[test]
fn it_is_made_three_times_more_if_the_option_says_nothing() {
    run(async {
        for target in FACES {
            let door = Door::new();
            let component = Either::new(target);
            component.configure(
                &Params::from([("connection.uri", door.url())])
                    .with("options.call_timeout", 10_000),
            );
            on!(component.open(None)).unwrap();
            assert!(on!(component.store("123", "k", 1, None)).is_err());
            assert_eq!(door.knocks(), 1 + 3);
        }
    });
}

/// Whoever comes is counted, and turned away.
struct Door {
    port: u16,
    knocks: Arc<AtomicU32>,
}

impl Door {
    fn new() -> Door {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let knocks = Arc::new(AtomicU32::new(0));
        let count = Arc::downgrade(&knocks);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(count) = count.upgrade() else {
                    return;
                };
                // Before it is closed: the one who came knows no sooner.
                count.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        Door { port, knocks }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn knocks(&self) -> u32 {
        self.knocks.load(Ordering::SeqCst)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.knocks = Arc::default();
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

#[test]
fn a_server_that_comes_back_meanwhile_is_found() {
    let redis = Redis::start();
    run(async {
        for target in FACES {
            let proxy = Proxy::start(&redis.address());
            let component = open(target, &proxy.url(), 100).await;
            on!(component.store(None, "k", 1, None)).unwrap();
            proxy.set(Fault::Reject(Close::Finish));
            proxy.cut(Close::Finish);
            let rejected = proxy.counts().connections;
            thread::scope(|scope| {
                scope.spawn(|| {
                    // After it was asked in vain, and before the breaker opens.
                    while proxy.counts().connections == rejected {
                        thread::yield_now();
                    }
                    proxy.heal();
                });
                let stored = match &component {
                    Either::Blocking(component) => component.store(None, "k", 2, None).run(),
                    Either::Async(component) => tokio::task::block_in_place(|| {
                        tokio::runtime::Handle::current()
                            .block_on(component.store(None, "k", 2, None).into_future())
                    }),
                };
                stored.unwrap();
            });
            assert_eq!(on!(component.retrieve::<i32>(None, "k")).unwrap(), Some(2));
        }
    });
}

#[test]
fn an_error_that_the_server_answers_with_is_no_reason_to_ask_again() {
    let redis = Redis::start();
    redis.inline("RPUSH k x");
    run(async {
        for target in FACES {
            let proxy = Proxy::start(&redis.address());
            let component = open(target, &proxy.url(), 3).await;
            let error = on!(component.retrieve::<i32>(None, "k")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongType);
            let asked = proxy
                .commands()
                .into_iter()
                .filter(|command| command == "GET k")
                .count();
            assert_eq!(asked, 1);
        }
    });
}
