//! The faults, each on a real server of its own.

use std::time::Duration;

use nearcache::{Cache, blocking};
use nearcache_testkit::{Fault, Frames, Inline, Port, Proxy, Redis};

use crate::TIMEOUT;
use crate::face::Face;

/// A server and a fault that begins and ends.
pub(crate) struct Scene {
    redis: Redis,
    /// A connection from before the fault, to end it by.
    admin: Inline,
    /// Where the fault is on the way.
    proxy: Option<Proxy>,
    url: String,
    /// Where nobody is.
    nobody: Port,
    what: What,
}

enum What {
    Killed,
    UnknownHost,
    WrongPassword,
    Stopped,
    OutOfMemory,
    Loading,
    ReadOnlyReplica,
    Full,
    OnTheWay(Fault),
}

impl Scene {
    fn new(redis: Redis, what: What) -> Scene {
        let url = redis.url();
        let admin = Inline::open(redis.port()).unwrap();
        Scene {
            redis,
            admin,
            proxy: None,
            url,
            nobody: Port::unused(),
            what,
        }
    }

    pub(crate) fn killed() -> Scene {
        Scene::new(Redis::start(), What::Killed)
    }

    pub(crate) fn unknown_host() -> Scene {
        let mut scene = Scene::new(Redis::start(), What::UnknownHost);
        scene.url = "redis://no-such-host.invalid".into();
        scene
    }

    pub(crate) fn wrong_password() -> Scene {
        let mut scene = Scene::new(Redis::start(), What::WrongPassword);
        scene.url = scene.url.replace("redis://", "redis://default:s3cret@");
        scene
    }

    pub(crate) fn stopped() -> Scene {
        Scene::new(Redis::start(), What::Stopped)
    }

    pub(crate) fn out_of_memory() -> Scene {
        Scene::new(Redis::start(), What::OutOfMemory)
    }

    /// A server that reads a large snapshot, slowly.
    pub(crate) fn loading() -> Scene {
        let slowly = [
            "--enable-debug-command",
            "yes",
            "--loading-process-events-interval-bytes",
            "1024",
        ];
        Scene::new(Redis::start_with(&slowly), What::Loading)
    }

    pub(crate) fn read_only_replica() -> Scene {
        Scene::new(Redis::start(), What::ReadOnlyReplica)
    }

    pub(crate) fn full() -> Scene {
        Scene::new(Redis::start(), What::Full)
    }

    pub(crate) fn slow() -> Scene {
        Scene::on_the_way(Fault::delay(Frames::replies(), Duration::from_millis(200)))
    }

    pub(crate) fn half_open() -> Scene {
        Scene::on_the_way(Fault::Silence)
    }

    fn on_the_way(fault: Fault) -> Scene {
        let mut scene = Scene::new(Redis::start(), What::OnTheWay(fault));
        let proxy = Proxy::start(&scene.redis.address());
        scene.url = proxy.url();
        scene.proxy = Some(proxy);
        scene
    }

    /// The commands that have passed since the last time, if they can be seen.
    pub(crate) fn sent(&self) -> Vec<String> {
        let sent = self.proxy.as_ref().map(Proxy::commands).unwrap_or_default();
        self.proxy.iter().for_each(Proxy::reset_counts);
        sent
    }

    /// An async and a blocking cache on the server.
    pub(crate) fn open(&self, options: &str) -> [Face; 2] {
        let url = format!(
            "{}?prefix=app&timeout={}ms&{options}",
            self.url,
            TIMEOUT.as_millis()
        );
        [
            Face::Async(Cache::open(&url).unwrap()),
            Face::Blocking(blocking::Cache::open(&url).unwrap()),
        ]
    }

    /// Whether the caches are connected before the fault begins.
    pub(crate) fn begins_connected(&self) -> bool {
        !matches!(self.what, What::UnknownHost | What::Full)
    }

    /// Whether the caches can work again once the fault is over.
    pub(crate) fn mends(&self) -> bool {
        !matches!(self.what, What::UnknownHost)
    }

    pub(crate) fn begin(&mut self) {
        match &self.what {
            What::Killed => self.redis.kill(),
            What::UnknownHost => {}
            What::WrongPassword => {
                self.tell("ACL SETUSER default resetpass >another");
                self.tell("CLIENT KILL TYPE normal SKIPME yes");
            }
            What::Stopped => self.redis.freeze(),
            What::OutOfMemory => self.tell("CONFIG SET maxmemory 1kb maxmemory-policy noeviction"),
            What::Loading => {
                self.tell("DEBUG POPULATE 20000");
                self.tell("SAVE");
                // Twenty seconds, unless it is hurried.
                self.redis.restart_with(&["--key-load-delay", "1000"]);
            }
            // Of a primary that is away: it serves what it has.
            What::ReadOnlyReplica => self.tell(&format!("REPLICAOF 127.0.0.1 {}", self.nobody)),
            What::Full => self.tell("CONFIG SET maxclients 1"),
            What::OnTheWay(fault) => self.proxy.iter().for_each(|proxy| proxy.set(fault.clone())),
        }
    }

    pub(crate) fn end(&mut self) {
        match &self.what {
            What::Killed => self.redis.restart(),
            What::UnknownHost => {}
            What::WrongPassword => self.tell("ACL SETUSER default nopass"),
            What::Stopped => self.redis.thaw(),
            What::OutOfMemory => self.tell("CONFIG SET maxmemory 0"),
            What::Loading => {
                self.admin = Inline::open(self.redis.port()).unwrap();
                self.tell("CONFIG SET key-load-delay 0");
            }
            What::ReadOnlyReplica => self.tell("REPLICAOF NO ONE"),
            What::Full => self.tell("CONFIG SET maxclients 1000"),
            What::OnTheWay(_) => self.proxy.iter().for_each(Proxy::heal),
        }
    }

    fn tell(&mut self, command: &str) {
        let reply = self.admin.ask(command).unwrap();
        assert!(!reply.starts_with('-'), "{command}: {reply}");
    }
}
