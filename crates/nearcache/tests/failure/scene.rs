//! The faults, each on a real server of its own.

use nearcache::{Cache, blocking};
use nearcache_testkit::{Inline, Redis, free_port};

use crate::TIMEOUT;
use crate::face::Face;

/// A server and a fault that begins and ends.
pub(crate) struct Scene {
    redis: Redis,
    /// A connection from before the fault, to end it by.
    admin: Inline,
    url: String,
    fault: Fault,
}

enum Fault {
    Killed,
    UnknownHost,
    WrongPassword,
    Stopped,
    OutOfMemory,
    Loading,
    ReadOnlyReplica,
    Full,
}

impl Scene {
    fn new(redis: Redis, fault: Fault) -> Scene {
        let url = redis.url();
        let admin = Inline::open(redis.port()).unwrap();
        Scene {
            redis,
            admin,
            url,
            fault,
        }
    }

    pub(crate) fn killed() -> Scene {
        Scene::new(Redis::start(), Fault::Killed)
    }

    pub(crate) fn unknown_host() -> Scene {
        let mut scene = Scene::new(Redis::start(), Fault::UnknownHost);
        scene.url = "redis://no-such-host.invalid".into();
        scene
    }

    pub(crate) fn wrong_password() -> Scene {
        let mut scene = Scene::new(Redis::start(), Fault::WrongPassword);
        scene.url = scene.url.replace("redis://", "redis://default:s3cret@");
        scene
    }

    pub(crate) fn stopped() -> Scene {
        Scene::new(Redis::start(), Fault::Stopped)
    }

    pub(crate) fn out_of_memory() -> Scene {
        Scene::new(Redis::start(), Fault::OutOfMemory)
    }

    /// A server that reads a large snapshot, slowly.
    pub(crate) fn loading() -> Scene {
        let slowly = [
            "--enable-debug-command",
            "yes",
            "--loading-process-events-interval-bytes",
            "1024",
        ];
        Scene::new(Redis::start_with(&slowly), Fault::Loading)
    }

    pub(crate) fn read_only_replica() -> Scene {
        Scene::new(Redis::start(), Fault::ReadOnlyReplica)
    }

    pub(crate) fn full() -> Scene {
        Scene::new(Redis::start(), Fault::Full)
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
        !matches!(self.fault, Fault::UnknownHost | Fault::Full)
    }

    /// Whether the caches can work again once the fault is over.
    pub(crate) fn mends(&self) -> bool {
        !matches!(self.fault, Fault::UnknownHost)
    }

    pub(crate) fn begin(&mut self) {
        match self.fault {
            Fault::Killed => self.redis.kill(),
            Fault::UnknownHost => {}
            Fault::WrongPassword => {
                self.tell("ACL SETUSER default resetpass >another");
                self.tell("CLIENT KILL TYPE normal SKIPME yes");
            }
            Fault::Stopped => self.redis.freeze(),
            Fault::OutOfMemory => self.tell("CONFIG SET maxmemory 1kb maxmemory-policy noeviction"),
            Fault::Loading => {
                self.tell("DEBUG POPULATE 20000");
                self.tell("SAVE");
                // Twenty seconds, unless it is hurried.
                self.redis.restart_with(&["--key-load-delay", "1000"]);
            }
            // Of a primary that is away: it serves what it has.
            Fault::ReadOnlyReplica => self.tell(&format!("REPLICAOF 127.0.0.1 {}", free_port())),
            Fault::Full => self.tell("CONFIG SET maxclients 1"),
        }
    }

    pub(crate) fn end(&mut self) {
        match self.fault {
            Fault::Killed => self.redis.restart(),
            Fault::UnknownHost => {}
            Fault::WrongPassword => self.tell("ACL SETUSER default nopass"),
            Fault::Stopped => self.redis.thaw(),
            Fault::OutOfMemory => self.tell("CONFIG SET maxmemory 0"),
            Fault::Loading => {
                self.admin = Inline::open(self.redis.port()).unwrap();
                self.tell("CONFIG SET key-load-delay 0");
            }
            Fault::ReadOnlyReplica => self.tell("REPLICAOF NO ONE"),
            Fault::Full => self.tell("CONFIG SET maxclients 1000"),
        }
    }

    fn tell(&mut self, command: &str) {
        let reply = self.admin.ask(command).unwrap();
        assert!(!reply.starts_with('-'), "{command}: {reply}");
    }
}
