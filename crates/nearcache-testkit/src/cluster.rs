//! A real Cluster: servers that share 16,384 slots, as many primaries and replicas as a test wants, on free ports of
//! 127.0.0.1.
//!
//! [`Cluster::shared`] is one Cluster for the whole test binary, which nobody kills or reshapes; [`Cluster::start`] is
//! one of a test's own, whose primaries may be killed and frozen, and whose slots may be moved ([`Migration`]).
//!
//! The servers are told of each other before they start, by the file in which each keeps what it knows of its Cluster.
//! So nothing has to be agreed on, and what is left of the start is the two seconds for which a primary that was just
//! started takes no commands.

mod migration;
mod proxies;
mod view;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub use migration::Migration;
pub use proxies::Proxies;
pub use view::{Member, View};

use crate::client::{Client, Reply};
use crate::{Port, Redis, Server, eventually};

/// How many slots there are.
pub const SLOTS: u16 = 16_384;

/// The bus of a node is on its port plus this.
const BUS: u16 = 10_000;

/// What the Cluster is like. [`ClusterOptions::default`] is three primaries with a replica each.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many share the slots.
    pub primaries: usize,
    /// How many replicas each of them has.
    pub replicas: usize,
    /// `cluster-node-timeout`. About so long after a primary has died its replica takes its place.
    pub node_timeout: Duration,
    /// Whether the whole Cluster refuses commands while some slots have no primary, as is the server's default.
    pub full_coverage: bool,
    /// What every user and every node is asked for.
    pub password: Option<String>,
    /// More arguments of every node.
    pub arguments: Vec<String>,
    /// Which server its nodes run.
    pub server: Server,
}

impl Default for ClusterOptions {
    fn default() -> ClusterOptions {
        ClusterOptions {
            primaries: 3,
            replicas: 1,
            node_timeout: Duration::from_secs(15),
            full_coverage: true,
            password: None,
            arguments: Vec::new(),
            server: Server::Installed,
        }
    }
}

impl ClusterOptions {
    /// Three primaries with a replica each, which takes the place of a dead primary after about two seconds. What
    /// belongs to the others is served meanwhile.
    pub fn failing_over_soon() -> ClusterOptions {
        ClusterOptions {
            node_timeout: Duration::from_secs(1),
            full_coverage: false,
            ..ClusterOptions::default()
        }
    }
}

/// See the module. The first nodes are the primaries, then come their replicas: with three primaries, node 3 is a replica of
/// node 0. When it is dropped, its servers end.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Redis>,
    ids: Vec<String>,
    options: ClusterOptions,
    frozen: Mutex<BTreeSet<usize>>,
}

impl Cluster {
    /// One of the caller's own, which fails over soon ([`ClusterOptions::failing_over_soon`]).
    pub fn start() -> Cluster {
        Cluster::start_with(ClusterOptions::failing_over_soon())
    }

    /// One of the caller's own.
    ///
    /// # Panics
    /// If a server does not start, or they do not become a Cluster within a minute.
    pub fn start_with(options: ClusterOptions) -> Cluster {
        let count = options.primaries * (1 + options.replicas);
        let ports: Vec<(Port, Port)> = (0..count).map(|_| ports()).collect();
        let ids: Vec<String> = (0..count).map(|_| id()).collect();
        let numbers: Vec<u16> = ports.iter().map(|(port, _)| port.number()).collect();
        let mut nodes: Vec<Redis> = ports
            .into_iter()
            .enumerate()
            .map(|(i, ports)| {
                let known = view::nodes_conf(i, &ids, &numbers, options.primaries);
                node(ports, &options, Some(&known))
            })
            .collect();
        for node in &mut nodes {
            assert!(node.waited(), "a node did not start:\n{}", node.log());
        }
        let cluster = Cluster {
            nodes,
            ids,
            options,
            frozen: Mutex::default(),
        };
        cluster.agreed();
        cluster
    }

    /// One Cluster for the whole test binary. It ends with the process.
    pub fn shared() -> &'static Cluster {
        static SHARED: LazyLock<Cluster> =
            LazyLock::new(|| Cluster::start_with(ClusterOptions::default()));
        &SHARED
    }

    /// `redis-cluster://127.0.0.1:A,127.0.0.1:B,...`, with every node.
    pub fn url(&self) -> String {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.url_of(&all)
    }

    /// The same with these nodes as seeds.
    pub fn url_of(&self, nodes: &[usize]) -> String {
        let password = &self.options.password;
        let user = password
            .as_ref()
            .map_or_else(String::new, |password| format!(":{password}@"));
        let addresses: Vec<String> = nodes.iter().map(|&i| self.nodes[i].address()).collect();
        format!("redis-cluster://{user}{}", addresses.join(","))
    }

    /// How many nodes there are, dead ones included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A Cluster has nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The server of a node.
    pub fn node(&self, i: usize) -> &Redis {
        &self.nodes[i]
    }

    /// The node's name in the Cluster.
    pub fn id(&self, i: usize) -> &str {
        &self.ids[i]
    }

    /// Runs a command at one node, which may answer with an error.
    ///
    /// # Panics
    /// If the node does not answer.
    pub fn ask<A: AsRef<[u8]>>(&self, i: usize, arguments: &[A]) -> Reply {
        let mut client = self.client(i).expect("the node takes connections");
        client.ask(arguments).expect("the node answers")
    }

    /// Runs a command at one node.
    ///
    /// # Panics
    /// If the node does not answer, or refuses.
    pub fn tell<A: AsRef<[u8]>>(&self, i: usize, arguments: &[A]) -> Reply {
        let reply = self.ask(i, arguments);
        let said: Vec<_> = arguments
            .iter()
            .map(|a| String::from_utf8_lossy(a.as_ref()))
            .collect();
        assert!(!reply.is_error(), "{}: {}", said.join(" "), reply.text());
        reply
    }

    fn client(&self, i: usize) -> std::io::Result<Client> {
        let mut client = Client::open(self.nodes[i].port())?;
        if let Some(password) = &self.options.password {
            client.ask(&["AUTH", password])?;
        }
        Ok(client)
    }

    /// The slot of a key, as a node says it.
    pub fn slot(&self, key: impl AsRef<[u8]>) -> u16 {
        let i = self.alive().next().expect("a node is alive");
        let reply = self.tell(i, &[b"CLUSTER".as_ref(), b"KEYSLOT", key.as_ref()]);
        reply.text().parse().expect("a slot")
    }

    /// Where everybody says the slots are, as one that is alive sees it.
    pub fn view(&self) -> View {
        let i = self.alive().next().expect("a node is alive");
        self.view_of(i)
    }

    fn view_of(&self, i: usize) -> View {
        View::parsed(&self.tell(i, &["CLUSTER", "NODES"]).text())
    }

    /// The primary that serves a slot.
    ///
    /// # Panics
    /// If nobody does.
    pub fn primary_of(&self, slot: u16) -> usize {
        let view = self.view();
        let member = view.primary_of(slot).expect("somebody serves the slot");
        self.index(&member.id)
    }

    /// The primary that serves a key.
    pub fn primary_of_key(&self, key: impl AsRef<[u8]>) -> usize {
        self.primary_of(self.slot(key))
    }

    /// Those that are primaries now, and alive.
    pub fn primaries(&self) -> Vec<usize> {
        let view = self.view();
        self.alive()
            .filter(|&i| {
                view.member(&self.ids[i])
                    .is_some_and(|member| member.is_primary)
            })
            .collect()
    }

    /// The replicas of a primary that are alive.
    pub fn replicas_of(&self, primary: usize) -> Vec<usize> {
        let view = self.view();
        let of = Some(self.ids[primary].as_str());
        self.alive()
            .filter(|&i| {
                view.member(&self.ids[i])
                    .is_some_and(|m| m.replicates.as_deref() == of)
            })
            .collect()
    }

    fn index(&self, id: &str) -> usize {
        let found = self.ids.iter().position(|known| known == id);
        found.expect("one of the nodes")
    }

    fn alive(&self) -> impl Iterator<Item = usize> {
        let frozen = self.frozen.lock().expect("nobody panics here").clone();
        (0..self.nodes.len()).filter(move |i| self.nodes[*i].is_running() && !frozen.contains(i))
    }

    /// Kills a node, as a crash would.
    pub fn kill(&mut self, i: usize) {
        self.nodes[i].kill();
    }

    /// Kills the primary of a slot, and returns which it was.
    pub fn kill_primary_of(&mut self, slot: u16) -> usize {
        let primary = self.primary_of(slot);
        self.kill(primary);
        primary
    }

    /// Stops a node: it accepts connections, but answers nothing.
    pub fn freeze(&self, i: usize) {
        self.frozen.lock().expect("nobody panics here").insert(i);
        self.nodes[i].freeze();
    }

    /// Continues a frozen node.
    pub fn thaw(&self, i: usize) {
        self.nodes[i].thaw();
        self.frozen.lock().expect("nobody panics here").remove(&i);
    }

    /// Starts a killed node again, without data. It is what the others have made of it: a replica, if its replica took
    /// its place.
    pub fn restart(&mut self, i: usize) {
        self.nodes[i].restart();
    }

    /// Makes a replica the primary, with the consent of its primary: nothing is lost. Waits until all know it.
    pub fn failover(&self, replica: usize) {
        let known = self.view_of(replica);
        let old = known
            .member(&self.ids[replica])
            .and_then(|member| member.replicates.clone());
        let mut asked: Option<Instant> = None;
        eventually("the replica is the primary", || {
            // It gives up if it does not succeed within five seconds.
            if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(6)) {
                let reply = self.ask(replica, &["CLUSTER", "FAILOVER"]);
                assert!(asked.is_some() || !reply.is_error(), "{}", reply.text());
                asked = Some(Instant::now());
            }
            self.is_primary(replica)
        });
        if let Some(old) = old.map(|id| self.index(&id)) {
            eventually("the old primary is a replica", || {
                self.ask(old, &["ROLE"])
                    .elements()
                    .first()
                    .is_some_and(|role| role == b"slave")
            });
        }
        self.agreed();
    }

    /// Waits until a replica has become a primary.
    pub fn taken_over(&self, replica: usize) {
        eventually("the replica is the primary", || self.is_primary(replica));
    }

    fn is_primary(&self, i: usize) -> bool {
        let role = self.ask(i, &["ROLE"]).elements();
        role.first().is_some_and(|role| role == b"master")
    }

    /// Waits until every node that is alive serves, says the same of all slots and roles, and every replica has its primary's
    /// data.
    pub fn agreed(&self) {
        eventually("the nodes agree", || self.do_agree());
    }

    fn do_agree(&self) -> bool {
        let mut views = Vec::new();
        for i in self.alive() {
            let Ok(mut client) = self.client(i) else {
                return false;
            };
            let mut text = |command: &[&str]| client.ask(command).map(|reply| reply.text());
            let (Ok(info), Ok(nodes), Ok(replication)) = (
                text(&["CLUSTER", "INFO"]),
                text(&["CLUSTER", "NODES"]),
                text(&["INFO", "replication"]),
            ) else {
                return false;
            };
            let synced = !replication.contains("role:slave")
                || replication.contains("master_link_status:up");
            if !info.contains("cluster_state:ok") || !synced {
                return false;
            }
            let view = View::parsed(&nodes);
            // Which replicas a primary has, and that they are connected, it says itself.
            let expected = view.members.iter().filter(|member| {
                member.replicates.as_deref() == Some(&self.ids[i]) && !member.has_failed
            });
            let (expected, online) = (
                expected.count(),
                replication.matches("state=online").count(),
            );
            if view.members.len() != self.nodes.len() || online < expected {
                return false;
            }
            views.push(view.roles());
        }
        views.windows(2).all(|two| two[0] == two[1])
    }

    /// A proxy before every node, and a Cluster as seen through them.
    pub fn proxies(&self) -> Proxies {
        Proxies::start(self)
    }

    /// Moves one slot to another primary, in steps.
    pub fn migration(&self, slot: u16, to: usize) -> Migration<'_> {
        Migration::new(self, slot, to)
    }

    /// Moves slots to another primary, with their keys, while clients go on. Waits until all know it.
    pub fn reshard(&self, slots: RangeInclusive<u16>, to: usize) {
        for slot in slots {
            if self.primary_of(slot) != to {
                self.migration(slot, to).whole();
            }
        }
        self.agreed();
    }

    /// Adds a primary without slots, and waits until all know it.
    pub fn add_primary(&mut self) -> usize {
        let mut node = node(ports(), &self.options, None);
        assert!(node.waited(), "the node did not start:\n{}", node.log());
        let new = self.nodes.len();
        self.nodes.push(node);
        let known = self.alive().next().expect("a node is alive");
        let id = self.tell(new, &["CLUSTER", "MYID"]).text();
        self.ids.push(id);
        let port = self.nodes[known].port().to_string();
        self.tell(new, &["CLUSTER", "MEET", "127.0.0.1", &port]);
        self.agreed();
        new
    }
}

/// A port whose bus is free as well.
pub(crate) fn ports() -> (Port, Port) {
    for _ in 0..1_000 {
        let port = Port::unused();
        let bus = port
            .number()
            .checked_add(BUS)
            .and_then(|bus| Port::free((std::net::Ipv4Addr::LOCALHOST, bus).into()).ok());
        if let Some(bus) = bus {
            return (port, bus);
        }
    }
    panic!("no port is free whose bus is free as well");
}

fn node(ports: (Port, Port), options: &ClusterOptions, known: Option<&str>) -> Redis {
    let mut arguments: Vec<String> = [
        "--cluster-enabled",
        "yes",
        "--cluster-config-file",
        "nodes.conf",
        // Replicas stay where the test has put them.
        "--cluster-migration-barrier",
        "100",
        "--cluster-replica-validity-factor",
        "0",
        "--repl-diskless-sync-delay",
        "0",
        "--cluster-node-timeout",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(options.node_timeout.as_millis().to_string());
    let coverage = if options.full_coverage { "yes" } else { "no" };
    arguments.extend([
        "--cluster-require-full-coverage".to_owned(),
        coverage.to_owned(),
    ]);
    if let Some(password) = &options.password {
        let and = ["--requirepass", password, "--masterauth", password];
        arguments.extend(and.map(str::to_owned));
    }
    arguments.extend(options.arguments.iter().cloned());
    let binary = options.server.binary();
    Redis::spawned(binary, ports.0, Some(ports.1), arguments, |folder| {
        if let Some(known) = known {
            std::fs::write(folder.join("nodes.conf"), known).expect("a file for the node");
        }
    })
}

/// A name as nodes have.
fn id() -> String {
    let digit = || char::from_digit(fastrand::u32(0..16), 16).unwrap_or('0');
    std::iter::repeat_with(digit).take(40).collect()
}
